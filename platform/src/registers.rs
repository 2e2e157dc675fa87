//! A guest thread's general registers, with the names of the system-call convention.

use abi::x86::UserRegs;

/// `cs` in 64-bit mode.
pub(crate) const CODE_64: u64 = 0x33;
const CODE_32: u64 = 0x23;
/// `ss` in it.
pub(crate) const DATA_SEGMENT: u64 = 0x2b;
/// The flags a program may change: CF PF AF ZF SF TF DF OF NT RF AC ID. The kernel checks again.
const USER_FLAGS: u64 = 0x25_4dd5;
const INTERRUPT_FLAG: u64 = 0x200;
const RESERVED_FLAG: u64 = 2;

/// The general registers of one guest thread. The extended state (x87, SSE, AVX, AMX) stays with the host thread until
/// [`crate::Context::fp_state`] asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// As PTRACE_GETREGS gives them. After a system call `orig_rax` is its number; what a platform is given there is ignored.
    pub user: UserRegs,
    /// Only what a system call brings is there: its number and arguments, `rax` and `rip`. Nothing but `rax` may be changed then; for
    /// everything else [`crate::Context::load`] comes first.
    pub partial: bool,
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

/// The nearest registers that a program may have.
pub(crate) fn sanitised(user: &UserRegs) -> UserRegs {
    let selector = |value: u64| if value & 3 == 3 { value & 0xffff } else { 0 };
    UserRegs {
        orig_rax: u64::MAX,
        cs: if user.cs == CODE_32 { CODE_32 } else { CODE_64 },
        ss: DATA_SEGMENT,
        ds: selector(user.ds),
        es: selector(user.es),
        fs: selector(user.fs),
        gs: selector(user.gs),
        eflags: user.eflags & USER_FLAGS | INTERRUPT_FLAG | RESERVED_FLAG,
        ..*user
    }
}
