//! The host calls that no safe wrapper exists for: this crate's only `unsafe`.
//!
//! Everything here is called while the process has one thread, or touches nothing but the descriptors and sets it is given.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// What [`clone_process`] returned, and where.
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the caller.
    Parent {
        /// The new process, as the caller's pid namespace numbers it.
        pid: Pid,
        /// A descriptor of it that a reused number cannot fool.
        pidfd: OwnedFd,
    },
}

/// `clone_args` of clone3(2), its first version plus `cgroup`.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks, with new namespaces (`CLONE_NEW*`) as `flags` says. The child runs on a copy of the caller's memory.
///
/// # Panics
/// When the process has more than one thread: a lock that another thread held would stay held in the child.
pub fn clone_process(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    assert!(thread_count() == 1, "clone_process with threads");
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        // A child of CLONE_PARENT inherits its sibling's signal.
        exit_signal: if flags & libc::CLONE_PARENT as u64 != 0 {
            0
        } else {
            libc::SIGCHLD as u64
        },
        ..CloneArgs::default()
    };
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd.as_raw_fd() as u64;
    }
    // SAFETY: the flags share no memory (no CLONE_VM), so the child has its own copy of everything; the process has one thread
    // (asserted above), so no lock is held by a thread that the child lacks; `args` and `pidfd` outlive the call.
    let r = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match r {
        0 => Ok(Cloned::Child),
        r if r > 0 => {
            let pid = i32::try_from(r)
                .ok()
                .and_then(Pid::from_raw)
                .ok_or_else(|| io::Error::other("clone3: bad pid"))?;
            // SAFETY: the kernel stored a new descriptor there that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves this process, which has one thread, to a new network namespace.
pub fn unshare_network() -> rustix::io::Result<()> {
    // SAFETY: a network namespace is nothing that memory or descriptors depend on.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Threads of this process, from its link count of `/proc/self/task`; 1 where there is no /proc.
fn thread_count() -> u64 {
    rustix::fs::stat("/proc/self/task").map_or(1, |s| s.st_nlink.saturating_sub(2).max(1))
}

/// Takes ownership of a descriptor that this process inherited under a fixed number, or says that there is none.
pub fn adopt_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag and has no other effect, whatever the number.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open (checked) and inherited, so nothing in this program owns it: callers adopt each number once, at start.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor but `keep` and the standard three. For a fresh child that goes on with `keep` alone.
pub fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .filter(|&fd| fd > 2)
        .collect();
    keep.sort_unstable();
    keep.dedup();
    let mut from = 3u32;
    for fd in keep.into_iter().chain([u32::MAX]) {
        let last = if fd == u32::MAX { fd } else { fd - 1 };
        if from <= last {
            // SAFETY: descriptors are closed that the caller gave up: it is a new child and keeps only what it named, and the
            // owners of the others are never dropped in it (it leaves by `exit`, not by return).
            unsafe { libc::syscall(libc::SYS_close_range, from, last, 0u32) };
        }
        from = fd.saturating_add(1);
    }
}

/// Blocks `signals` in this thread (and those it starts) and returns a descriptor that they are read from.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = sigset(signals);
    // SAFETY: both calls read the set and nothing else of ours.
    unsafe {
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The next signal of a [`signal_fd`], if one is pending.
pub fn read_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut buf = [0u8; 128];
    let n = rustix::io::read(fd, &mut buf).ok()?;
    let number = buf.first_chunk::<4>().filter(|_| n == 128)?;
    i32::try_from(u32::from_ne_bytes(*number)).ok()
}

/// Restores the default action of every signal and empties the mask: what an exec'd hook or a new sandbox expects.
pub fn reset_signals() {
    for signal in 1..=64 {
        if [libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal) {
            continue;
        }
        // SAFETY: setting the default action installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let empty = sigset(&[]);
    // SAFETY: reads the set only.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
}

/// Ignores `signal`.
pub fn ignore_signal(signal: i32) {
    // SAFETY: ignoring a signal installs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn sigset(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset refuses bad numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &s in signals {
            libc::sigaddset(set.as_mut_ptr(), s);
        }
        set.assume_init()
    }
}

/// Ends this process at once, without destructors or exit handlers: the way out of a forked child.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Bounds the C library's allocator to this many arenas: less memory, and no look at /sys for the number of processors when a thread
/// contends.
pub fn bound_allocator(arenas: i32) {
    // SAFETY: sets a parameter of the allocator; it has no other effect and cannot fail in a way that matters.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
    }
}

/// Gives back the memory that this process's start took: free heap, and the pages of the program that it has mapped. Those it needs
/// from here on it finds in the page cache again; most belong to the command line, the configuration and the making of walls.
pub fn forget_program() {
    unsafe extern "C" fn forget(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        _data: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the C library hands its callback a description that is valid during the call.
        let info = unsafe { &*info };
        for n in 0..info.dlpi_phnum {
            // SAFETY: as the description says, there are `dlpi_phnum` headers.
            let h = unsafe { &*info.dlpi_phdr.add(usize::from(n)) };
            if h.p_type != libc::PT_LOAD || h.p_flags & libc::PF_W != 0 {
                continue;
            }
            let at = info.dlpi_addr.wrapping_add(h.p_vaddr);
            let (start, end) = (at & !4095, at.wrapping_add(h.p_memsz));
            // SAFETY: a segment without PF_W was never written (what is relocated is in one that has it), so its pages are those of the
            // program's file, and are read from there again.
            unsafe {
                libc::madvise(
                    start as *mut libc::c_void,
                    end.wrapping_sub(start) as usize,
                    libc::MADV_DONTNEED,
                )
            };
        }
        // The first is the program.
        1
    }
    // SAFETY: the callback keeps nothing; the allocator is told to return what is free, which is always allowed.
    unsafe {
        libc::malloc_trim(0);
        libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut());
    }
}
