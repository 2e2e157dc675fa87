//! seccomp(2) and classic BPF (`linux/seccomp.h`, `linux/filter.h`, `linux/bpf_common.h`).
#![allow(missing_docs)]

pub const SECCOMP_MODE_DISABLED: u32 = 0x0;
pub const SECCOMP_MODE_STRICT: u32 = 0x1;
pub const SECCOMP_MODE_FILTER: u32 = 0x2;
pub const SECCOMP_SET_MODE_STRICT: u32 = 0x0;
pub const SECCOMP_SET_MODE_FILTER: u32 = 0x1;
pub const SECCOMP_GET_ACTION_AVAIL: u32 = 0x2;
pub const SECCOMP_GET_NOTIF_SIZES: u32 = 0x3;
pub const SECCOMP_FILTER_FLAG_TSYNC: u32 = 0x1;
pub const SECCOMP_FILTER_FLAG_LOG: u32 = 0x2;
pub const SECCOMP_FILTER_FLAG_SPEC_ALLOW: u32 = 0x4;
pub const SECCOMP_FILTER_FLAG_NEW_LISTENER: u32 = 0x8;
pub const SECCOMP_FILTER_FLAG_TSYNC_ESRCH: u32 = 0x10;
pub const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: u32 = 0x20;
pub const SECCOMP_RET_KILL_PROCESS: u32 = 0x80000000;
pub const SECCOMP_RET_KILL_THREAD: u32 = 0x0;
pub const SECCOMP_RET_KILL: u32 = 0x0;
pub const SECCOMP_RET_TRAP: u32 = 0x30000;
pub const SECCOMP_RET_ERRNO: u32 = 0x50000;
pub const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc00000;
pub const SECCOMP_RET_TRACE: u32 = 0x7ff00000;
pub const SECCOMP_RET_LOG: u32 = 0x7ffc0000;
pub const SECCOMP_RET_ALLOW: u32 = 0x7fff0000;
pub const SECCOMP_RET_ACTION_FULL: u32 = 0xffff0000;
pub const SECCOMP_RET_ACTION: u32 = 0x7fff0000;
pub const SECCOMP_RET_DATA: u32 = 0xffff;
pub const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 0x1;
pub const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: u64 = 1;
pub const SECCOMP_IOCTL_NOTIF_RECV: u32 = 0xc0502100;
pub const SECCOMP_IOCTL_NOTIF_SEND: u32 = 0xc0182101;
pub const SECCOMP_IOCTL_NOTIF_ID_VALID: u32 = 0x40082102;
pub const SECCOMP_IOCTL_NOTIF_ADDFD: u32 = 0x40182103;
pub const SECCOMP_ADDFD_FLAG_SETFD: u32 = 0x1;
pub const SECCOMP_ADDFD_FLAG_SEND: u32 = 0x2;
pub const SECCOMP_IOCTL_NOTIF_SET_FLAGS: u32 = 0x40082104;

pub const BPF_LD: u16 = 0x00;
pub const BPF_LDX: u16 = 0x01;
pub const BPF_ST: u16 = 0x02;
pub const BPF_STX: u16 = 0x03;
pub const BPF_ALU: u16 = 0x04;
pub const BPF_JMP: u16 = 0x05;
pub const BPF_RET: u16 = 0x06;
pub const BPF_MISC: u16 = 0x07;
pub const BPF_W: u16 = 0x00;
pub const BPF_H: u16 = 0x08;
pub const BPF_B: u16 = 0x10;
pub const BPF_IMM: u16 = 0x00;
pub const BPF_ABS: u16 = 0x20;
pub const BPF_IND: u16 = 0x40;
pub const BPF_MEM: u16 = 0x60;
pub const BPF_LEN: u16 = 0x80;
pub const BPF_MSH: u16 = 0xa0;
pub const BPF_ADD: u16 = 0x00;
pub const BPF_SUB: u16 = 0x10;
pub const BPF_MUL: u16 = 0x20;
pub const BPF_DIV: u16 = 0x30;
pub const BPF_OR: u16 = 0x40;
pub const BPF_AND: u16 = 0x50;
pub const BPF_LSH: u16 = 0x60;
pub const BPF_RSH: u16 = 0x70;
pub const BPF_NEG: u16 = 0x80;
pub const BPF_MOD: u16 = 0x90;
pub const BPF_XOR: u16 = 0xa0;
pub const BPF_JA: u16 = 0x00;
pub const BPF_JEQ: u16 = 0x10;
pub const BPF_JGT: u16 = 0x20;
pub const BPF_JGE: u16 = 0x30;
pub const BPF_JSET: u16 = 0x40;
pub const BPF_K: u16 = 0x00;
pub const BPF_X: u16 = 0x08;
pub const BPF_MAXINSNS: u16 = 4096;
pub const BPF_A: u16 = 0x10;
pub const BPF_TAX: u16 = 0x00;
pub const BPF_TXA: u16 = 0x80;
pub const BPF_MEMWORDS: u16 = 16;

abi_struct! {
    /// `struct sock_filter`: one instruction.
    pub struct SockFilter [8] {
        pub code: u16,
        pub jt: u8,
        pub jf: u8,
        pub k: u32,
    }

    /// `struct sock_fprog`.
    pub struct SockFprog [16] {
        pub len: u16,
        pub _pad: [u16; 3],
        pub filter: u64,
    }

    /// `struct seccomp_data`: what a filter sees.
    pub struct SeccompData [64] {
        pub nr: i32,
        pub arch: u32,
        pub instruction_pointer: u64,
        pub args: [u64; 6],
    }

    /// `struct seccomp_notif`.
    pub struct SeccompNotif [80] {
        pub id: u64,
        pub pid: u32,
        pub flags: u32,
        pub data: SeccompData,
    }

    /// `struct seccomp_notif_resp`.
    pub struct SeccompNotifResp [24] {
        pub id: u64,
        pub val: i64,
        pub error: i32,
        pub flags: u32,
    }

    /// `struct seccomp_notif_sizes`.
    pub struct SeccompNotifSizes [6] {
        pub seccomp_notif: u16,
        pub seccomp_notif_resp: u16,
        pub seccomp_data: u16,
    }
}
