//! seccomp_unotify(2) of one guest thread, typed.

use std::os::fd::{AsRawFd, OwnedFd};

use abi::{Errno, Result};

use crate::stub::{self, errno};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// The thread whose call is answered runs at once, where the caller does.
const FD_SYNC_WAKE_UP: u64 = 1;

/// A call that waits for an answer.
#[derive(Copy, Clone, Debug)]
pub struct Call {
    /// What the answer is addressed to.
    pub id: u64,
    /// The thread that makes it, which the host says.
    pub tid: i32,
    pub nr: i32,
    pub args: [u64; 6],
    /// The address behind the instruction.
    pub rip: u64,
    /// Made by `syscall` in 64-bit mode (or through the vsyscall page).
    pub native: bool,
}

impl Call {
    /// Is it the handler's, and if so, for which signal, and where is the frame? All of it is what the guest thread says.
    pub fn handler(&self) -> Option<(i32, u64)> {
        let [how, set, old, len, signal, frame] = self.args;
        let same = self.native
            && self.rip == stub::resume_pc()
            && i64::from(self.nr) == libc::SYS_rt_sigprocmask
            && (how, set, old, len) == (libc::SIG_SETMASK as u64, stub::SIGNAL_MASK, 0, 8);
        same.then_some((signal as i32, frame))
    }
}

/// Has the thread that is answered run on the answering thread's processor.
pub fn hand_over(listener: &OwnedFd) -> Result<()> {
    set_synchronous(listener, true)
}

/// The same, or wherever the host likes.
pub fn set_synchronous(listener: &OwnedFd, yes: bool) -> Result<()> {
    // SAFETY: the argument is a number.
    let done = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            if yes { FD_SYNC_WAKE_UP } else { 0 },
        )
    };
    if done == 0 { Ok(()) } else { Err(errno()) }
}

/// Waits for the next call of thread `tid` of process `pid`. `ESRCH` when it is no more.
pub fn receive(listener: &OwnedFd, pid: i32, tid: i32) -> Result<Call> {
    receive_while(listener, || alive(pid, tid))
}

/// The same for the first call, before anybody knows the thread or could send it a signal.
pub fn receive_first(listener: &OwnedFd) -> Result<Call> {
    receive_while(listener, || false)
}

fn receive_while(listener: &OwnedFd, alive: impl Fn() -> bool) -> Result<Call> {
    loop {
        // SAFETY: all-zero bytes are a seccomp_notif, and what the kernel wants to find.
        let mut found: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes a seccomp_notif.
        let done = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut found,
            )
        };
        if done == 0 {
            return Ok(Call {
                id: found.id,
                tid: found.pid as i32,
                nr: found.data.nr,
                args: found.data.args,
                rip: found.data.instruction_pointer,
                native: found.data.arch == AUDIT_ARCH_X86_64,
            });
        }
        match errno() {
            Errno::EINTR => {}
            // The call was taken back for a signal, or nobody is left to make one.
            Errno::ENOENT if alive() => {}
            _ => return Err(Errno::ESRCH),
        }
    }
}

fn alive(pid: i32, tid: i32) -> bool {
    // SAFETY: sends nothing.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, 0) == 0 }
}

fn send(listener: &OwnedFd, answer: &libc::seccomp_notif_resp) -> Result<()> {
    // SAFETY: the kernel reads a seccomp_notif_resp.
    let done = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            std::ptr::from_ref(answer),
        )
    };
    if done == 0 { Ok(()) } else { Err(errno()) }
}

/// Makes a call return a value.
pub fn answer(listener: &OwnedFd, id: u64, value: u64) -> Result<()> {
    send(
        listener,
        &libc::seccomp_notif_resp {
            id,
            val: value as i64,
            error: 0,
            flags: 0,
        },
    )
}

/// Has the host execute a call, with the arguments that the notification told.
pub fn proceed(listener: &OwnedFd, id: u64) -> Result<()> {
    send(
        listener,
        &libc::seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        },
    )
}
