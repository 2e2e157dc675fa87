//! A guest thread's general registers, with the names of the system-call convention.

use abi::x86::UserRegs;

/// The general registers of one guest thread. The extended state (x87, SSE, AVX, AMX) stays with the host thread until
/// [`crate::Context::fp_state`] asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// As PTRACE_GETREGS gives them. After a system call `orig_rax` is its number; what a platform is given there is ignored.
    pub user: UserRegs,
}

impl Registers {
    /// The number of the system call just made, as the register has it. Linux looks at the low 32 bits, sign-extended.
    pub fn syscall_number(&self) -> u64 {
        self.user.orig_rax
    }

    /// Its six arguments.
    pub fn args(&self) -> [u64; 6] {
        let r = &self.user;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
    }

    /// What the system call returns.
    pub fn set_return(&mut self, value: u64) {
        self.user.rax = value;
    }

    /// Makes the guest execute its `syscall` instruction again, with the number it had.
    pub fn restart_syscall(&mut self) {
        self.user.rip = self.user.rip.wrapping_sub(2);
        self.user.rax = self.user.orig_rax;
    }
}
