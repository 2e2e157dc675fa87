//! ptrace(2) (`linux/ptrace.h`).
#![allow(missing_docs)]

pub const PTRACE_TRACEME: i64 = 0;
pub const PTRACE_PEEKTEXT: i64 = 1;
pub const PTRACE_PEEKDATA: i64 = 2;
pub const PTRACE_PEEKUSR: i64 = 3;
pub const PTRACE_POKETEXT: i64 = 4;
pub const PTRACE_POKEDATA: i64 = 5;
pub const PTRACE_POKEUSR: i64 = 6;
pub const PTRACE_CONT: i64 = 7;
pub const PTRACE_KILL: i64 = 8;
pub const PTRACE_SINGLESTEP: i64 = 9;
pub const PTRACE_ATTACH: i64 = 16;
pub const PTRACE_DETACH: i64 = 17;
pub const PTRACE_SYSCALL: i64 = 24;
pub const PTRACE_SETOPTIONS: i64 = 0x4200;
pub const PTRACE_GETSIGINFO: i64 = 0x4202;
pub const PTRACE_SETSIGINFO: i64 = 0x4203;
pub const PTRACE_GETREGSET: i64 = 0x4204;
pub const PTRACE_SETREGSET: i64 = 0x4205;
pub const PTRACE_SEIZE: i64 = 0x4206;
pub const PTRACE_INTERRUPT: i64 = 0x4207;
pub const PTRACE_LISTEN: i64 = 0x4208;
pub const PTRACE_PEEKSIGINFO: i64 = 0x4209;
pub const PTRACE_GETSIGMASK: i64 = 0x420a;
pub const PTRACE_SETSIGMASK: i64 = 0x420b;
pub const PTRACE_SECCOMP_GET_FILTER: i64 = 0x420c;
pub const PTRACE_SECCOMP_GET_METADATA: i64 = 0x420d;
pub const PTRACE_GET_SYSCALL_INFO: i64 = 0x420e;
pub const PTRACE_GET_RSEQ_CONFIGURATION: i64 = 0x420f;
pub const PTRACE_GETREGS: i64 = 12;
pub const PTRACE_SETREGS: i64 = 13;
pub const PTRACE_GETFPREGS: i64 = 14;
pub const PTRACE_SETFPREGS: i64 = 15;
pub const PTRACE_GETFPXREGS: i64 = 18;
pub const PTRACE_SETFPXREGS: i64 = 19;
pub const PTRACE_OLDSETOPTIONS: i64 = 21;
pub const PTRACE_GET_THREAD_AREA: i64 = 25;
pub const PTRACE_SET_THREAD_AREA: i64 = 26;
pub const PTRACE_ARCH_PRCTL: i64 = 30;
pub const PTRACE_SYSEMU: i64 = 31;
pub const PTRACE_SYSEMU_SINGLESTEP: i64 = 32;
pub const PTRACE_SINGLEBLOCK: i64 = 33;
pub const PTRACE_EVENT_FORK: u8 = 1;
pub const PTRACE_EVENT_VFORK: u8 = 2;
pub const PTRACE_EVENT_CLONE: u8 = 3;
pub const PTRACE_EVENT_EXEC: u8 = 4;
pub const PTRACE_EVENT_VFORK_DONE: u8 = 5;
pub const PTRACE_EVENT_EXIT: u8 = 6;
pub const PTRACE_EVENT_SECCOMP: u8 = 7;
pub const PTRACE_EVENT_STOP: u8 = 128;
pub const PTRACE_SYSCALL_INFO_NONE: u8 = 0;
pub const PTRACE_SYSCALL_INFO_ENTRY: u8 = 1;
pub const PTRACE_SYSCALL_INFO_EXIT: u8 = 2;
pub const PTRACE_SYSCALL_INFO_SECCOMP: u8 = 3;
pub const PTRACE_SET_SYSCALL_INFO: i64 = 0x4212;
pub const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;
pub const PTRACE_EVENTMSG_SYSCALL_ENTRY: u64 = 1;
pub const PTRACE_EVENTMSG_SYSCALL_EXIT: u64 = 2;

bitflags::bitflags! {
    /// PTRACE_SETOPTIONS.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct PtraceOptions: u64 {
        const PTRACE_O_TRACESYSGOOD = 1 << 0;
        const PTRACE_O_TRACEFORK = 1 << 1;
        const PTRACE_O_TRACEVFORK = 1 << 2;
        const PTRACE_O_TRACECLONE = 1 << 3;
        const PTRACE_O_TRACEEXEC = 1 << 4;
        const PTRACE_O_TRACEVFORKDONE = 1 << 5;
        const PTRACE_O_TRACEEXIT = 1 << 6;
        const PTRACE_O_TRACESECCOMP = 1 << 7;
        const PTRACE_O_EXITKILL = 1 << 20;
        const PTRACE_O_SUSPEND_SECCOMP = 1 << 21;
    }
}

abi_struct! {
    /// `struct ptrace_peeksiginfo_args`.
    pub struct PeeksiginfoArgs [16] {
        pub off: u64,
        pub flags: u32,
        pub nr: i32,
    }

    /// `struct ptrace_syscall_info`, its union as words: entry has nr and six arguments, exit has the value and a flag.
    pub struct SyscallInfo [88] {
        pub op: u8,
        pub _pad: [u8; 3],
        pub arch: u32,
        pub instruction_pointer: u64,
        pub stack_pointer: u64,
        pub words: [u64; 8],
    }
}
