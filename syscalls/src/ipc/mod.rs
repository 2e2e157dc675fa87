//! System V IPC: shared memory, semaphores, message queues; POSIX message queues.

mod mq;
mod msg;
mod sem;
mod shm;

use crate::args::{Fd, UserAddr, UserPath};
use crate::memory::Addr;
use abi::Errno;
use abi::ipc::MqAttr;
use abi::signal::SigEvent;
use abi::time::Timespec;
use sentry::kernel::Cx;
use sentry::syscall::{SysResult, Syscall};
use zerocopy::{Immutable, IntoBytes};

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    SHMGET shmget(key: i32, size: u64, shmflg: i32) => shm::shmget, Partial("pages of the huge page pool (ENOMEM)");
    SHMAT shmat(shmid: i32, shmaddr: Addr, shmflg: i32) => shm::shmat, Full;
    SHMDT shmdt(shmaddr: Addr) => shm::shmdt, Full;
    SHMCTL shmctl(shmid: i32, cmd: i32, buf: Addr) => shm::shmctl, Full;
    SEMGET semget(key: i32, nsems: i32, semflg: i32) => sem::semget, Full;
    SEMOP semop(semid: i32, sops: Addr, nsops: u32) => sem::semop, Full;
    SEMTIMEDOP semtimedop(semid: i32, sops: Addr, nsops: u32, timeout: Addr) => sem::semtimedop, Full;
    SEMCTL semctl(semid: i32, semnum: i32, cmd: i32, arg: Addr) => sem::semctl, Full;
    MSGGET msgget(key: i32, msgflg: i32) => msg::msgget, Full;
    MSGSND msgsnd(msqid: i32, msgp: Addr, msgsz: u64, msgflg: i32) => msg::msgsnd, Full;
    MSGRCV msgrcv(msqid: i32, msgp: Addr, msgsz: u64, msgtyp: i64, msgflg: i32) => msg::msgrcv, Full;
    MSGCTL msgctl(msqid: i32, cmd: i32, buf: Addr) => msg::msgctl, Full;
    MQ_OPEN mq_open(name: UserPath, oflag: u32, mode: u32, attr: UserAddr<MqAttr>) => mq::mq_open, Full;
    MQ_UNLINK mq_unlink(name: UserPath) => mq::mq_unlink, Full;
    MQ_TIMEDSEND mq_timedsend(mqdes: Fd, msg_ptr: Addr, msg_len: u64, msg_prio: u32, abs_timeout: UserAddr<Timespec>) => mq::mq_timedsend, Full;
    MQ_TIMEDRECEIVE mq_timedreceive(mqdes: Fd, msg_ptr: Addr, msg_len: u64, msg_prio: UserAddr<u32>, abs_timeout: UserAddr<Timespec>) => mq::mq_timedreceive, Full;
    MQ_NOTIFY mq_notify(mqdes: Fd, sevp: UserAddr<SigEvent>) => mq::mq_notify, Partial("SIGEV_THREAD (EINVAL)");
    MQ_GETSETATTR mq_getsetattr(mqdes: Fd, new: UserAddr<MqAttr>, old: UserAddr<MqAttr>) => mq::mq_getsetattr, Full;
};

/// An id or count as a result.
fn number(value: i32) -> SysResult {
    u64::try_from(value).map_err(|_| Errno::EINVAL)
}

/// Copies a structure out and returns `value`.
fn give(
    cx: &Cx,
    at: Addr,
    structure: &(impl IntoBytes + Immutable + ?Sized),
    value: i32,
) -> SysResult {
    cx.mm()?.write_obj(at.0, structure)?;
    number(value)
}
