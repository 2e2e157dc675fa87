//! Creating and scheduling tasks (`linux/sched.h`): clone(2), clone3(2), sched_setscheduler(2), sched_setaffinity(2).
#![allow(missing_docs)]

bitflags::bitflags! {
    /// clone(2), unshare(2), setns(2). The low eight bits of a clone argument are the exit signal, not flags; `CLONE_NEWTIME` is unshare's.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct CloneFlags: u64 {
        const CLONE_VM = 0x00000100;
        const CLONE_FS = 0x00000200;
        const CLONE_FILES = 0x00000400;
        const CLONE_SIGHAND = 0x00000800;
        const CLONE_PIDFD = 0x00001000;
        const CLONE_PTRACE = 0x00002000;
        const CLONE_VFORK = 0x00004000;
        const CLONE_PARENT = 0x00008000;
        const CLONE_THREAD = 0x00010000;
        const CLONE_NEWNS = 0x00020000;
        const CLONE_SYSVSEM = 0x00040000;
        const CLONE_SETTLS = 0x00080000;
        const CLONE_PARENT_SETTID = 0x00100000;
        const CLONE_CHILD_CLEARTID = 0x00200000;
        const CLONE_DETACHED = 0x00400000;
        const CLONE_UNTRACED = 0x00800000;
        const CLONE_CHILD_SETTID = 0x01000000;
        const CLONE_NEWCGROUP = 0x02000000;
        const CLONE_NEWUTS = 0x04000000;
        const CLONE_NEWIPC = 0x08000000;
        const CLONE_NEWUSER = 0x10000000;
        const CLONE_NEWPID = 0x20000000;
        const CLONE_NEWNET = 0x40000000;
        const CLONE_IO = 0x80000000;
        const CLONE_CLEAR_SIGHAND = 0x100000000;
        const CLONE_INTO_CGROUP = 0x200000000;
        const CLONE_NEWTIME = 0x00000080;
    }
}

/// The signal in the low byte of clone(2)'s flags.
pub const CSIGNAL: u64 = 0xff;
pub const CLONE_ARGS_SIZE_VER0: usize = 64;
pub const CLONE_ARGS_SIZE_VER1: usize = 80;
pub const CLONE_ARGS_SIZE_VER2: usize = 88;

abi_struct! {
    /// `struct clone_args` (clone3(2)).
    pub struct CloneArgs [88] {
        pub flags: u64,
        pub pidfd: u64,
        pub child_tid: u64,
        pub parent_tid: u64,
        pub exit_signal: u64,
        pub stack: u64,
        pub stack_size: u64,
        pub tls: u64,
        pub set_tid: u64,
        pub set_tid_size: u64,
        pub cgroup: u64,
    }

    /// `struct sched_param`.
    pub struct SchedParam [4] {
        pub sched_priority: i32,
    }

    /// `struct sched_attr` (sched_setattr(2)).
    pub struct SchedAttr [56] {
        pub size: u32,
        pub sched_policy: u32,
        pub sched_flags: u64,
        pub sched_nice: i32,
        pub sched_priority: u32,
        pub sched_runtime: u64,
        pub sched_deadline: u64,
        pub sched_period: u64,
        pub sched_util_min: u32,
        pub sched_util_max: u32,
    }
}

pub const SCHED_NORMAL: i32 = 0;
pub const SCHED_FIFO: i32 = 1;
pub const SCHED_RR: i32 = 2;
pub const SCHED_BATCH: i32 = 3;
pub const SCHED_IDLE: i32 = 5;
pub const SCHED_DEADLINE: i32 = 6;
pub const SCHED_RESET_ON_FORK: i32 = 1073741824;
pub const SCHED_EXT: i32 = 7;
pub const SCHED_FLAG_RESET_ON_FORK: u64 = 0x1;
pub const SCHED_FLAG_RECLAIM: u64 = 0x2;
pub const SCHED_FLAG_DL_OVERRUN: u64 = 0x4;
pub const SCHED_FLAG_KEEP_POLICY: u64 = 0x8;
pub const SCHED_FLAG_KEEP_PARAMS: u64 = 0x10;
pub const SCHED_FLAG_UTIL_CLAMP_MIN: u64 = 0x20;
pub const SCHED_FLAG_UTIL_CLAMP_MAX: u64 = 0x40;
pub const SCHED_FLAG_KEEP_ALL: u64 = 0x18;
pub const SCHED_FLAG_UTIL_CLAMP: u64 = 0x60;
pub const SCHED_FLAG_ALL: u64 = 0x7f;
pub const SCHED_ATTR_SIZE_VER0: u32 = 48;

/// rseq(2): undo a registration.
pub const RSEQ_FLAG_UNREGISTER: i32 = 1;

abi_struct! {
    /// `struct rseq`, its original 32 bytes.
    pub struct Rseq [32] {
        pub cpu_id_start: u32,
        pub cpu_id: u32,
        pub rseq_cs: u64,
        pub flags: u32,
        pub node_id: u32,
        pub mm_cid: u32,
        pub _pad: u32,
    }

    /// `struct rseq_cs`: one critical section.
    pub struct RseqCs [32] {
        pub version: u32,
        pub flags: u32,
        pub start_ip: u64,
        pub post_commit_offset: u64,
        pub abort_ip: u64,
    }
}

pub const RSEQ_CPU_ID_UNINITIALIZED: u32 = u32::MAX;
pub const RSEQ_CPU_ID_REGISTRATION_FAILED: u32 = u32::MAX - 1;
