//! System V IPC (`linux/ipc.h`, `linux/sem.h`, `linux/shm.h`, `linux/msg.h`) and POSIX message queues (`linux/mqueue.h`).
#![allow(missing_docs)]

pub const IPC_CREAT: i32 = 0o0001000;
pub const IPC_EXCL: i32 = 0o0002000;
pub const IPC_NOWAIT: i32 = 0o0004000;
pub const IPC_RMID: i32 = 0;
pub const IPC_SET: i32 = 1;
pub const IPC_STAT: i32 = 2;
pub const IPC_INFO: i32 = 3;
pub const SEMOP: i32 = 1;
pub const SEMGET: i32 = 2;
pub const SEMCTL: i32 = 3;
pub const SEMTIMEDOP: i32 = 4;
pub const SEM_UNDO: i32 = 0x1000;
pub const GETPID: i32 = 11;
pub const GETVAL: i32 = 12;
pub const GETALL: i32 = 13;
pub const GETNCNT: i32 = 14;
pub const GETZCNT: i32 = 15;
pub const SETVAL: i32 = 16;
pub const SETALL: i32 = 17;
pub const SEM_STAT: i32 = 18;
pub const SEM_INFO: i32 = 19;
pub const SEM_STAT_ANY: i32 = 20;
pub const SEMMNI: i32 = 32000;
pub const SEMMSL: i32 = 32000;
pub const SEMOPM: i32 = 500;
pub const SEMVMX: i32 = 32767;
pub const SHM_R: i32 = 0o400;
pub const SHM_W: i32 = 0o200;
pub const SHM_HUGETLB: i32 = 0o4000;
pub const SHM_NORESERVE: i32 = 0o10000;
pub const SHM_RDONLY: i32 = 0o10000;
pub const SHM_RND: i32 = 0o20000;
pub const SHM_REMAP: i32 = 0o40000;
pub const SHM_EXEC: i32 = 0o100000;
pub const SHM_LOCK: i32 = 11;
pub const SHM_UNLOCK: i32 = 12;
pub const SHM_STAT: i32 = 13;
pub const SHM_INFO: i32 = 14;
pub const SHM_STAT_ANY: i32 = 15;
pub const MSG_STAT: i32 = 11;
pub const MSG_INFO: i32 = 12;
pub const MSG_NOERROR: i32 = 0o10000;
pub const MSG_COPY: i32 = 0o40000;
pub const MSG_EXCEPT: i32 = 0o20000;
pub const IPC_64: i32 = 0x100;
pub const IPC_PRIVATE: i32 = 0;
pub const SEMMNS: i32 = 1_024_000_000;
pub const SHMMIN: u64 = 1;
pub const SHMMNI: i32 = 4096;
pub const SHMMAX: u64 = u64::MAX - (1 << 24);
pub const SHMALL: u64 = u64::MAX - (1 << 24);
/// `shm_perm.mode`: destroyed when the last attachment goes.
pub const SHM_DEST: u32 = 0o1000;
pub const SHM_LOCKED: u32 = 0o2000;
pub const MSGMNI: i32 = 32000;
pub const MSGMAX: i32 = 8192;
pub const MSGMNB: i32 = 16384;

abi_struct! {
    /// `struct ipc64_perm`.
    pub struct IpcPerm [48] {
        pub key: i32,
        pub uid: u32,
        pub gid: u32,
        pub cuid: u32,
        pub cgid: u32,
        pub mode: u32,
        pub seq: u16,
        pub _pad2: u16,
        pub _pad3: u32,
        pub _unused: [u64; 2],
    }

    /// `struct semid64_ds`.
    pub struct SemidDs [104] {
        pub sem_perm: IpcPerm,
        pub sem_otime: i64,
        pub _unused1: u64,
        pub sem_ctime: i64,
        pub _unused2: u64,
        pub sem_nsems: u64,
        pub _unused3: [u64; 2],
    }

    /// `struct shmid64_ds`.
    pub struct ShmidDs [112] {
        pub shm_perm: IpcPerm,
        pub shm_segsz: u64,
        pub shm_atime: i64,
        pub shm_dtime: i64,
        pub shm_ctime: i64,
        pub shm_cpid: i32,
        pub shm_lpid: i32,
        pub shm_nattch: u64,
        pub _unused: [u64; 2],
    }

    /// `struct msqid64_ds`.
    pub struct MsqidDs [120] {
        pub msg_perm: IpcPerm,
        pub msg_stime: i64,
        pub msg_rtime: i64,
        pub msg_ctime: i64,
        pub msg_cbytes: u64,
        pub msg_qnum: u64,
        pub msg_qbytes: u64,
        pub msg_lspid: i32,
        pub msg_lrpid: i32,
        pub _unused: [u64; 2],
    }

    /// `struct sembuf`.
    pub struct Sembuf [6] {
        pub sem_num: u16,
        pub sem_op: i16,
        pub sem_flg: i16,
    }

    /// `struct seminfo`.
    pub struct Seminfo [40] {
        pub semmap: i32,
        pub semmni: i32,
        pub semmns: i32,
        pub semmnu: i32,
        pub semmsl: i32,
        pub semopm: i32,
        pub semume: i32,
        pub semusz: i32,
        pub semvmx: i32,
        pub semaem: i32,
    }

    /// `struct shminfo64`.
    pub struct Shminfo [72] {
        pub shmmax: u64,
        pub shmmin: u64,
        pub shmmni: u64,
        pub shmseg: u64,
        pub shmall: u64,
        pub _unused: [u64; 4],
    }

    /// `struct shm_info`.
    pub struct ShmInfo [48] {
        pub used_ids: i32,
        pub _pad: i32,
        pub shm_tot: u64,
        pub shm_rss: u64,
        pub shm_swp: u64,
        pub swap_attempts: u64,
        pub swap_successes: u64,
    }

    /// `struct msginfo`.
    pub struct Msginfo [32] {
        pub msgpool: i32,
        pub msgmap: i32,
        pub msgmax: i32,
        pub msgmnb: i32,
        pub msgmni: i32,
        pub msgssz: i32,
        pub msgtql: i32,
        pub msgseg: u16,
        pub _pad: u16,
    }

    /// `struct mq_attr`.
    pub struct MqAttr [64] {
        pub mq_flags: i64,
        pub mq_maxmsg: i64,
        pub mq_msgsize: i64,
        pub mq_curmsgs: i64,
        pub _reserved: [i64; 4],
    }
}
