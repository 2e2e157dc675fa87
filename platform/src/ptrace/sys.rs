//! ptrace(2) and wait(2) of one guest thread, typed.

use abi::x86::UserRegs;
use abi::{Errno, Result};

use crate::stub::{self, errno};

/// `PTRACE_SYSEMU`: run until the next system call, and do not execute it. Not in every libc.
const SYSEMU: libc::c_uint = 31;
const SYSCALL_INFO: libc::c_uint = 0x420e;
const NT_X86_XSTATE: usize = 0x202;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Where a register is in `struct user`.
pub const RAX_OFFSET: usize = std::mem::offset_of!(UserRegs, rax);

/// What a wait found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a system call's entry.
    Syscall,
    /// About to receive a signal.
    Signal(i32),
    /// `PTRACE_EVENT_STOP`: by PTRACE_INTERRUPT, or a group stop.
    Event,
    /// It is no more.
    Gone,
}

/// A guest thread that the calling thread traces, or is about to.
#[derive(Copy, Clone, Debug)]
pub struct Tracee(pub i32);

impl Tracee {
    /// A request without results in memory.
    fn request(self, request: libc::c_uint, addr: usize, data: usize) -> Result<()> {
        // SAFETY: the requests made through this write nothing to this process's memory. glibc's wrapper is variadic and passes words on.
        if unsafe { libc::ptrace(request, self.0, addr, data) } == -1 {
            Err(errno())
        } else {
            Ok(())
        }
    }

    /// Begins to trace it. If the tracer dies, it is killed.
    pub fn seize(self) -> Result<()> {
        self.request(
            libc::PTRACE_SEIZE,
            0,
            (libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD) as usize,
        )
    }

    /// Stops it, wherever it is.
    pub fn interrupt(self) -> Result<()> {
        self.request(libc::PTRACE_INTERRUPT, 0, 0)
    }

    /// Runs it to the next system call, which is not executed. A signal that it stopped for is forgotten.
    pub fn emulate(self) -> Result<()> {
        self.request(SYSEMU, 0, 0)
    }

    /// Runs it to the next entry of or return from a system call, which is executed: for the stub's own code only.
    pub fn to_syscall(self) -> Result<()> {
        self.request(libc::PTRACE_SYSCALL, 0, 0)
    }

    /// Lets it run.
    pub fn resume(self) -> Result<()> {
        self.request(libc::PTRACE_CONT, 0, 0)
    }

    /// Lets it run untraced; with a signal if that is not 0.
    pub fn detach(self, signal: i32) -> Result<()> {
        self.request(libc::PTRACE_DETACH, 0, signal as usize)
    }

    /// Waits for it to stop or end.
    pub fn wait(self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a valid place for the result.
            let found = unsafe { libc::waitpid(self.0, &mut status, libc::__WALL) };
            if found == -1 && errno() == Errno::EINTR {
                continue;
            }
            if found != self.0 || !libc::WIFSTOPPED(status) {
                return Stop::Gone;
            }
            const SYSGOOD: i32 = libc::SIGTRAP | 0x80;
            return match (libc::WSTOPSIG(status), status >> 16) {
                (SYSGOOD, _) => Stop::Syscall,
                (_, libc::PTRACE_EVENT_STOP) => Stop::Event,
                (signal, _) => Stop::Signal(signal),
            };
        }
    }

    /// Its general registers.
    pub fn registers(self, into: &mut UserRegs) -> Result<()> {
        // SAFETY: `into` has the size and layout of user_regs_struct, any bits are valid in it.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_GETREGS,
                self.0,
                0usize,
                std::ptr::from_mut(into),
            )
        };
        if result == -1 { Err(errno()) } else { Ok(()) }
    }

    /// Replaces them.
    pub fn set_registers(self, from: &UserRegs) -> Result<()> {
        // SAFETY: the kernel reads a user_regs_struct from `from`.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_SETREGS,
                self.0,
                0usize,
                std::ptr::from_ref(from),
            )
        };
        if result == -1 { Err(errno()) } else { Ok(()) }
    }

    /// Replaces one.
    pub fn set_register(self, offset: usize, value: u64) -> Result<()> {
        self.request(libc::PTRACE_POKEUSER, offset, value as usize)
    }

    /// Why it stopped for a signal: `si_code`, `si_addr` (for SIGSYS the address of the call), and for SIGSYS the call's number.
    pub fn siginfo(self) -> Result<(i32, u64, i32)> {
        let mut info = [0u8; 128];
        // SAFETY: a siginfo_t is 128 bytes.
        if unsafe { libc::ptrace(libc::PTRACE_GETSIGINFO, self.0, 0usize, info.as_mut_ptr()) } == -1
        {
            return Err(errno());
        }
        let word = |at: usize| {
            info.get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map_or(0, i32::from_ne_bytes)
        };
        let addr = info
            .get(16..24)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_ne_bytes);
        Ok((word(8), addr, word(24)))
    }

    /// Was the system call it is stopped at made as a 64-bit program makes it?
    pub fn is_64bit_call(self) -> bool {
        // struct ptrace_syscall_info: op, padding, arch, …
        let mut info = [0u32; 32];
        // SAFETY: the kernel writes at most as many bytes as it is told there are.
        let n =
            unsafe { libc::ptrace(SYSCALL_INFO, self.0, size_of_val(&info), info.as_mut_ptr()) };
        n >= 8 && info.get(1) == Some(&AUDIT_ARCH_X86_64)
    }

    /// Its extended state.
    pub fn xstate(self, into: &mut Vec<u8>) -> Result<()> {
        let mut iovec = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        // SAFETY: the kernel writes at most `iov_len` bytes to the buffer and says how many.
        if unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.0, NT_X86_XSTATE, &mut iovec) } == -1
        {
            return Err(errno());
        }
        into.truncate(iovec.iov_len);
        Ok(())
    }

    /// Replaces it. The kernel wants all of it, and checks it.
    pub fn set_xstate(self, from: &[u8]) -> Result<()> {
        let mut iovec = libc::iovec {
            iov_base: from.as_ptr().cast_mut().cast(),
            iov_len: from.len(),
        };
        // SAFETY: the kernel reads `iov_len` bytes.
        if unsafe { libc::ptrace(libc::PTRACE_SETREGSET, self.0, NT_X86_XSTATE, &mut iovec) } == -1
        {
            Err(errno())
        } else {
            Ok(())
        }
    }

    /// Begins to trace a guest thread that is parked in the stub's code or on its way there. When this returns it is stopped in its park, past
    /// the installation of its filter.
    pub fn attach(self) -> Result<()> {
        self.seize()?;
        self.interrupt()?;
        let mut stop = self.wait();
        let mut regs = UserRegs::default();
        loop {
            if stop == Stop::Gone {
                return Err(Errno::ESRCH);
            }
            self.registers(&mut regs)?;
            if regs.rip == stub::parked_pc() && stop == Stop::Event {
                return Ok(());
            }
            // At the entry of its pause it must first get in, so that it is not stopped inside a system call that would still be made.
            if regs.rip == stub::parked_pc() {
                self.interrupt()?;
                self.resume()?;
            } else {
                self.to_syscall()?;
            }
            stop = self.wait();
        }
    }
}
