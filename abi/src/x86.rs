//! The processor's registers as Linux lays them out (`asm/user_64.h`, `asm/ptrace.h`, `asm/sigcontext.h`) and constants of XSAVE.

abi_struct! {
    /// `struct user_regs_struct`: the registers of one thread, as PTRACE_GETREGS gives them.
    #[allow(missing_docs)]
    pub struct UserRegs [216] {
        pub r15: u64,
        pub r14: u64,
        pub r13: u64,
        pub r12: u64,
        pub rbp: u64,
        pub rbx: u64,
        pub r11: u64,
        pub r10: u64,
        pub r9: u64,
        pub r8: u64,
        pub rax: u64,
        pub rcx: u64,
        pub rdx: u64,
        pub rsi: u64,
        pub rdi: u64,
        pub orig_rax: u64,
        pub rip: u64,
        pub cs: u64,
        pub eflags: u64,
        pub rsp: u64,
        pub ss: u64,
        pub fs_base: u64,
        pub gs_base: u64,
        pub ds: u64,
        pub es: u64,
        pub fs: u64,
        pub gs: u64,
    }

    /// `struct user_fpregs_struct` = `struct _fpstate_64`: the FXSAVE image.
    pub struct UserFpRegs [512] {
        /// Control word.
        pub cwd: u16,
        /// Status word.
        pub swd: u16,
        /// Tag word, abridged.
        pub ftw: u16,
        /// Last opcode.
        pub fop: u16,
        /// Last instruction pointer.
        pub rip: u64,
        /// Last data pointer.
        pub rdp: u64,
        /// SSE control and status.
        pub mxcsr: u32,
        /// The bits of MXCSR that may be set.
        pub mxcsr_mask: u32,
        /// ST0–ST7, 16 bytes each.
        pub st_space: [u32; 32],
        /// XMM0–XMM15, 16 bytes each.
        pub xmm_space: [u32; 64],
        /// Not used.
        pub reserved: [u32; 12],
        /// What a signal frame says of the extended state behind this image.
        pub sw_reserved: FpxSwBytes,
    }

    /// `struct _fpx_sw_bytes`: the last 48 bytes of the FXSAVE image in a signal frame.
    pub struct FpxSwBytes [48] {
        /// [`FP_XSTATE_MAGIC1`], or 0 in a legacy frame.
        pub magic1: u32,
        /// Bytes of the whole area, [`FP_XSTATE_MAGIC2`] included.
        pub extended_size: u32,
        /// The state components that are present.
        pub xfeatures: u64,
        /// Bytes of the XSAVE image alone.
        pub xstate_size: u32,
        /// Zero.
        pub padding: [u32; 7],
    }

    /// `struct _xstate_hdr`: the XSAVE header, behind the FXSAVE image.
    pub struct XstateHeader [64] {
        /// Components that are not in their initial state.
        pub xfeatures: u64,
        /// Bit 63 set: the image is compacted. Zero in signal frames and for PTRACE_SETREGSET.
        pub xcomp_bv: u64,
        /// Zero.
        pub reserved: [u64; 6],
    }
}

/// In `sw_reserved.magic1`: an XSAVE image follows.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// The four bytes behind the XSAVE image of a signal frame.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Size of [`FP_XSTATE_MAGIC2`].
pub const FP_XSTATE_MAGIC2_SIZE: usize = 4;
/// Size of the FXSAVE image.
pub const FXSAVE_SIZE: usize = 512;
/// Offset of the XSAVE header, which is 64 bytes long.
pub const XSAVE_HEADER_OFFSET: usize = 512;
/// The smallest XSAVE image: legacy area and header.
pub const XSAVE_MIN_SIZE: usize = 576;
/// The alignment XSAVE wants.
pub const XSAVE_ALIGN: usize = 64;
/// State component bits of XCR0 and of the header's `xfeatures`.
pub const XFEATURE_MASK_FP: u64 = 1 << 0;
/// XMM registers.
pub const XFEATURE_MASK_SSE: u64 = 1 << 1;
/// Upper halves of YMM.
pub const XFEATURE_MASK_YMM: u64 = 1 << 2;
/// AVX-512 mask registers, upper ZMM halves, ZMM16–31.
pub const XFEATURE_MASK_AVX512: u64 = 0b111 << 5;
/// PKRU.
pub const XFEATURE_MASK_PKRU: u64 = 1 << 9;
/// AMX tile configuration and data.
pub const XFEATURE_MASK_XTILE: u64 = 0b11 << 17;
/// MXCSR after reset.
pub const MXCSR_DEFAULT: u32 = 0x1f80;
/// FPU control word after FNINIT.
pub const FCW_DEFAULT: u16 = 0x37f;

/// Code segment of 64-bit user code.
pub const USER_CS: u64 = 0x33;
/// Code segment of 32-bit user code.
pub const USER32_CS: u64 = 0x23;
/// Stack (and data) segment of user code.
pub const USER_DS: u64 = 0x2b;

/// Carry.
pub const EFLAGS_CF: u64 = 1 << 0;
/// Always one.
pub const EFLAGS_FIXED: u64 = 1 << 1;
/// Trap: single step.
pub const EFLAGS_TF: u64 = 1 << 8;
/// Interrupts enabled.
pub const EFLAGS_IF: u64 = 1 << 9;
/// Direction.
pub const EFLAGS_DF: u64 = 1 << 10;
/// Resume.
pub const EFLAGS_RF: u64 = 1 << 16;
/// Alignment check.
pub const EFLAGS_AC: u64 = 1 << 18;
/// The flags sigreturn and ptrace may change (`FIX_EFLAGS`): AC, OF, DF, TF, SF, ZF, AF, PF, CF, RF.
pub const FIX_EFLAGS: u64 = 0x0005_0dd5;

/// Trap numbers, as `sigcontext.trapno` has them.
pub mod trap {
    #![allow(missing_docs)]
    pub const DE: u64 = 0;
    pub const DB: u64 = 1;
    pub const BP: u64 = 3;
    pub const OF: u64 = 4;
    pub const BR: u64 = 5;
    pub const UD: u64 = 6;
    pub const NM: u64 = 7;
    pub const DF: u64 = 8;
    pub const TS: u64 = 10;
    pub const NP: u64 = 11;
    pub const SS: u64 = 12;
    pub const GP: u64 = 13;
    pub const PF: u64 = 14;
    pub const MF: u64 = 16;
    pub const AC: u64 = 17;
    pub const XF: u64 = 19;
    pub const CP: u64 = 21;
}

/// Page fault error code: the page was present.
pub const PF_PROT: u64 = 1 << 0;
/// Page fault error code: the access was a write.
pub const PF_WRITE: u64 = 1 << 1;
/// Page fault error code: from user mode.
pub const PF_USER: u64 = 1 << 2;
/// Page fault error code: an instruction fetch.
pub const PF_INSTR: u64 = 1 << 4;

/// arch_prctl(2) codes.
pub mod arch_prctl {
    #![allow(missing_docs)]
    pub const ARCH_SET_GS: u64 = 0x1001;
    pub const ARCH_SET_FS: u64 = 0x1002;
    pub const ARCH_GET_FS: u64 = 0x1003;
    pub const ARCH_GET_GS: u64 = 0x1004;
    pub const ARCH_GET_CPUID: u64 = 0x1011;
    pub const ARCH_SET_CPUID: u64 = 0x1012;
    pub const ARCH_GET_XCOMP_SUPP: u64 = 0x1021;
    pub const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
    pub const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    pub const ARCH_GET_XCOMP_GUEST_PERM: u64 = 0x1024;
    pub const ARCH_REQ_XCOMP_GUEST_PERM: u64 = 0x1025;
    pub const ARCH_MAP_VDSO_64: u64 = 0x2003;
    pub const ARCH_SHSTK_ENABLE: u64 = 0x5001;
    pub const ARCH_SHSTK_DISABLE: u64 = 0x5002;
    pub const ARCH_SHSTK_STATUS: u64 = 0x5005;
}

/// `AUDIT_ARCH_X86_64`: what seccomp and SIGSYS call this architecture.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`.
pub const AUDIT_ARCH_I386: u32 = 0x4000_0003;
/// Set in the number of an x32 call.
pub const X32_SYSCALL_BIT: u64 = 0x4000_0000;
