//! Processes: birth, change, death, waiting, identity.

mod clone;
mod exec;
mod exit;
mod futex;
mod ids;
mod wait;

pub(crate) use wait::rusage;

use crate::args::{DirFd, Fd, LooseFlags, UserAddr, UserPath};
use abi::futex::FutexWaitv;
use abi::sched::CloneFlags;
use abi::siginfo::SigInfo;
use sentry::syscall::Syscall;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    FORK fork() => clone::fork, Full;
    VFORK vfork() => clone::vfork, Full;
    CLONE clone(flags: LooseFlags<CloneFlags> as CloneBits, stack: u64 as Hex, parent_tid: UserAddr<i32>, child_tid: UserAddr<i32>, tls: u64) => clone::clone, Partial("CLONE_NEWUSER, CLONE_NEWCGROUP, CLONE_NEWTIME");
    CLONE3 clone3(args: UserAddr<abi::sched::CloneArgs> as At<abi::sched::CloneArgs>, size: usize) => clone::clone3, Partial("CLONE_NEWUSER, CLONE_NEWCGROUP, CLONE_NEWTIME, CLONE_INTO_CGROUP");
    EXECVE execve(path: UserPath, argv: UserAddr<u64> as Argv, envp: UserAddr<u64> as Envp) => exec::execve, Full;
    EXECVEAT execveat(dirfd: DirFd, path: UserPath, argv: UserAddr<u64> as Argv, envp: UserAddr<u64> as Envp, flags: i32) => exec::execveat, Full;
    EXIT exit(status: i32) => exit::exit, Full;
    EXIT_GROUP exit_group(status: i32) => exit::exit_group, Full;
    WAIT4 wait4(pid: i32, status: UserAddr<i32> as WaitStatus, options: i32 as WaitBits, rusage: UserAddr<abi::resource::Rusage> as OutAt<abi::resource::Rusage>) => wait::wait4, Full;
    WAITID waitid(idtype: i32 as IdType, id: i32, info: UserAddr<SigInfo> as OutAt<SigInfo>, options: i32 as WaitBits, rusage: UserAddr<abi::resource::Rusage> as OutAt<abi::resource::Rusage>) => wait::waitid, Full;
    PIDFD_OPEN pidfd_open(pid: i32, flags: u32) => wait::pidfd_open, Partial("PIDFD_THREAD");
    PIDFD_SEND_SIGNAL pidfd_send_signal(pidfd: Fd, sig: crate::args::SigArg, info: UserAddr<SigInfo>, flags: u32) => wait::pidfd_send_signal, Full;
    PIDFD_GETFD pidfd_getfd(pidfd: Fd, targetfd: Fd, flags: u32) => wait::pidfd_getfd, Full;
    GETPID getpid() => ids::getpid, Full;
    GETTID gettid() => ids::gettid, Full;
    GETPPID getppid() => ids::getppid, Full;
    GETPGRP getpgrp() => ids::getpgrp, Full;
    GETPGID getpgid(pid: i32) => ids::getpgid, Full;
    SETPGID setpgid(pid: i32, pgid: i32) => ids::setpgid, Full;
    GETSID getsid(pid: i32) => ids::getsid, Full;
    SETSID setsid() => ids::setsid, Full;
    SET_TID_ADDRESS set_tid_address(addr: u64 as Hex) => ids::set_tid_address, Full;
    ARCH_PRCTL arch_prctl(code: i32 as ArchCode, addr: u64 as Hex) => ids::arch_prctl, Partial("everything but the FS and GS bases (EINVAL)");
    FUTEX futex(uaddr: u64 as Hex, op: i32 as FutexOp, val: u32, timeout: u64 as FutexTimeout, uaddr2: u64 as Hex, val3: u32) => futex::futex, Partial("FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI (ENOSYS); locks with priority inheritance are handed over in turn");
    FUTEX_WAITV futex_waitv(waiters: UserAddr<FutexWaitv>, nr_futexes: u32, flags: u32, timeout: u64 as Hex, clockid: i32) => futex::futex_waitv, Full;
    SET_ROBUST_LIST set_robust_list(head: u64 as Hex, len: usize) => futex::set_robust_list, Full;
    GET_ROBUST_LIST get_robust_list(pid: i32, head: UserAddr<u64>, len: UserAddr<u64>) => futex::get_robust_list, Full;
};
