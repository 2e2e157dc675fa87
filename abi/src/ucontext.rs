//! The signal frame that a handler finds on its stack (`asm/sigcontext.h`, `asm/ucontext.h`, `arch/x86/include/asm/sigframe.h`).

use crate::siginfo::SigInfo;

abi_struct! {
    /// `stack_t` (sigaltstack(2)).
    pub struct StackT [24] {
        /// Lowest address.
        pub ss_sp: u64,
        /// SS_ONSTACK, SS_DISABLE, SS_AUTODISARM.
        pub ss_flags: i32,
        /// Padding.
        pub _pad: i32,
        /// Bytes.
        pub ss_size: u64,
    }

    /// `struct sigcontext_64`: the interrupted registers.
    #[allow(missing_docs)]
    pub struct SigContext [256] {
        pub r8: u64,
        pub r9: u64,
        pub r10: u64,
        pub r11: u64,
        pub r12: u64,
        pub r13: u64,
        pub r14: u64,
        pub r15: u64,
        pub di: u64,
        pub si: u64,
        pub bp: u64,
        pub bx: u64,
        pub dx: u64,
        pub ax: u64,
        pub cx: u64,
        pub sp: u64,
        pub ip: u64,
        pub flags: u64,
        pub cs: u16,
        pub gs: u16,
        pub fs: u16,
        pub ss: u16,
        pub err: u64,
        pub trapno: u64,
        pub oldmask: u64,
        pub cr2: u64,
        /// Address of the FXSAVE or XSAVE image, 64-byte aligned when extended; zero when there is none.
        pub fpstate: u64,
        pub reserved1: [u64; 8],
    }

    /// `struct ucontext`.
    pub struct UContext [304] {
        /// UC_* flags.
        pub uc_flags: u64,
        /// Always zero.
        pub uc_link: u64,
        /// The alternate stack in force.
        pub uc_stack: StackT,
        /// The interrupted registers.
        pub uc_mcontext: SigContext,
        /// The mask to restore.
        pub uc_sigmask: u64,
    }

    /// `struct rt_sigframe`: what rsp points at when a handler starts. `rdi` = signal, `rsi` = &info, `rdx` = &uc, `rax` = 0.
    pub struct RtSigFrame [440] {
        /// The handler's return address: `sa_restorer`.
        pub pretcode: u64,
        /// Context.
        pub uc: UContext,
        /// Cause.
        pub info: SigInfo,
    }
}

/// The frame's FP state is an XSAVE image.
pub const UC_FP_XSTATE: u64 = 1;
/// `ss` of the context is valid.
pub const UC_SIGCONTEXT_SS: u64 = 2;
/// sigreturn must restore `ss` exactly.
pub const UC_STRICT_RESTORE_SS: u64 = 4;
/// The bytes below rsp that a handler's frame must leave alone.
pub const RED_ZONE: u64 = 128;
/// The thread is on its alternate stack.
pub const SS_ONSTACK: i32 = 1;
/// There is no alternate stack.
pub const SS_DISABLE: i32 = 2;
/// The alternate stack is disabled while a handler runs on it.
pub const SS_AUTODISARM: i32 = i32::MIN;
/// The smallest alternate stack the kernel takes.
pub const MINSIGSTKSZ: u64 = 2048;
/// What SIGSTKSZ was in old headers.
pub const SIGSTKSZ: u64 = 8192;
