//! Who a task is: user and group ids, capabilities, prctl(2), resource limits, scheduling.

mod caps;
mod gids;
mod limits;
mod prctl;
mod sched;
mod seccomp;
mod uids;

use crate::args::{Flags, UserAddr};
use abi::resource::{Rlimit, Rusage};
use abi::sched::SchedParam;
use sentry::syscall::Syscall;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    GETUID getuid() => uids::getuid, Full;
    GETEUID geteuid() => uids::geteuid, Full;
    GETGID getgid() => gids::getgid, Full;
    GETEGID getegid() => gids::getegid, Full;
    SETUID setuid(uid: u32) => uids::setuid, Full;
    SETREUID setreuid(ruid: u32, euid: u32) => uids::setreuid, Full;
    SETRESUID setresuid(ruid: u32, euid: u32, suid: u32) => uids::setresuid, Full;
    GETRESUID getresuid(ruid: UserAddr<u32> as OutAt<u32>, euid: UserAddr<u32> as OutAt<u32>, suid: UserAddr<u32> as OutAt<u32>) => uids::getresuid, Full;
    SETFSUID setfsuid(uid: u32) => uids::setfsuid, Full;
    SETGID setgid(gid: u32) => gids::setgid, Full;
    SETREGID setregid(rgid: u32, egid: u32) => gids::setregid, Full;
    SETRESGID setresgid(rgid: u32, egid: u32, sgid: u32) => gids::setresgid, Full;
    GETRESGID getresgid(rgid: UserAddr<u32> as OutAt<u32>, egid: UserAddr<u32> as OutAt<u32>, sgid: UserAddr<u32> as OutAt<u32>) => gids::getresgid, Full;
    SETFSGID setfsgid(gid: u32) => gids::setfsgid, Full;
    GETGROUPS getgroups(size: i32, list: u64 as Hex) => gids::getgroups, Full;
    SETGROUPS setgroups(size: i32, list: u64 as Hex) => gids::setgroups, Full;
    CAPGET capget(header: u64 as Hex, data: u64 as Hex) => caps::capget, Full;
    CAPSET capset(header: u64 as Hex, data: u64 as Hex) => caps::capset, Full;
    PRCTL prctl(option: i32 as PrctlOp, arg2: u64 as PrctlArg, arg3: u64, arg4: u64, arg5: u64) => prctl::prctl, Partial("options of hardware, tracing and scheduling cores (EINVAL)");
    SECCOMP seccomp(operation: u32 as SeccompOp, flags: u32 as SeccompBits, args: u64 as Hex) => seccomp::seccomp, Partial("user notification (EINVAL, EOPNOTSUPP)");
    GETRLIMIT getrlimit(resource: u32 as ResourceName, limit: UserAddr<Rlimit> as OutAt<Rlimit>) => limits::getrlimit, Full;
    SETRLIMIT setrlimit(resource: u32 as ResourceName, limit: UserAddr<Rlimit> as At<Rlimit>) => limits::setrlimit, Full;
    PRLIMIT64 prlimit64(pid: i32, resource: u32 as ResourceName, new: UserAddr<Rlimit> as At<Rlimit>, old: UserAddr<Rlimit> as OutAt<Rlimit>) => limits::prlimit64, Full;
    GETRUSAGE getrusage(who: i32 as UsageOf, usage: UserAddr<Rusage> as OutAt<Rusage>) => limits::getrusage, Partial("a thread's own faults and preemptions; I/O is 0");
    SCHED_YIELD sched_yield() => sched::sched_yield, Full;
    SCHED_GETAFFINITY sched_getaffinity(pid: i32, len: u32, mask: u64 as Hex) => sched::sched_getaffinity, Full;
    SCHED_SETAFFINITY sched_setaffinity(pid: i32, len: u32, mask: u64 as Hex) => sched::sched_setaffinity, Full;
    SCHED_GETSCHEDULER sched_getscheduler(pid: i32) => sched::sched_getscheduler, Full;
    SCHED_SETSCHEDULER sched_setscheduler(pid: i32, policy: i32, param: UserAddr<SchedParam>) => sched::sched_setscheduler, Partial("any effect: it is recorded and reported; without capabilities a priority that was lowered could never be raised again");
    SCHED_GETPARAM sched_getparam(pid: i32, param: UserAddr<SchedParam>) => sched::sched_getparam, Full;
    SCHED_SETPARAM sched_setparam(pid: i32, param: UserAddr<SchedParam>) => sched::sched_setparam, Partial("any effect: it is recorded and reported; without capabilities a priority that was lowered could never be raised again");
    SCHED_GET_PRIORITY_MAX sched_get_priority_max(policy: i32) => sched::sched_get_priority_max, Full;
    SCHED_GET_PRIORITY_MIN sched_get_priority_min(policy: i32) => sched::sched_get_priority_min, Full;
    SCHED_RR_GET_INTERVAL sched_rr_get_interval(pid: i32, tp: UserAddr<abi::time::Timespec>) => sched::sched_rr_get_interval, Full;
    SCHED_GETATTR sched_getattr(pid: i32, attr: u64, size: u32, flags: u32) => sched::sched_getattr, Full;
    SCHED_SETATTR sched_setattr(pid: i32, attr: u64, flags: u32) => sched::sched_setattr, Partial("any effect, as setpriority; SCHED_DEADLINE");
    GETPRIORITY getpriority(which: i32, who: i32) => sched::getpriority, Full;
    SETPRIORITY setpriority(which: i32, who: i32, nice: i32) => sched::setpriority, Partial("any effect: it is recorded and reported; without capabilities a priority that was lowered could never be raised again");
    IOPRIO_GET ioprio_get(which: i32, who: i32) => sched::ioprio_get, Full;
    IOPRIO_SET ioprio_set(which: i32, who: i32, ioprio: i32) => sched::ioprio_set, Partial("any effect: it is recorded and reported; without capabilities a priority that was lowered could never be raised again");
    UNSHARE unshare(flags: Flags<abi::sched::CloneFlags>) => super::system::namespaces::unshare, Partial("CLONE_NEWUSER, CLONE_NEWCGROUP, CLONE_NEWTIME: ENOSPC, as where their number is limited to 0");
};
