//! The system as a whole: names, memory and load, randomness, processors, mounts and namespaces.

mod info;
mod mount;
pub(crate) mod namespaces;
mod sync;

use crate::args::{Fd, OutBuf, UserAddr, UserPath};
use abi::sched::Rseq;
use abi::sysinfo::Sysinfo;
use abi::uts::Utsname;
use sentry::syscall::Syscall;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    UNAME uname(buf: UserAddr<Utsname> as OutAt<Utsname>) => info::uname, Full;
    SETHOSTNAME sethostname(name: u64, len: usize) => info::sethostname, Full;
    SETDOMAINNAME setdomainname(name: u64, len: usize) => info::setdomainname, Full;
    SYSINFO sysinfo(info: UserAddr<Sysinfo> as OutAt<Sysinfo>) => info::sysinfo, Full;
    GETRANDOM getrandom(buf: OutBuf, count: usize, flags: u32 as RandomBits) => info::getrandom, Full;
    GETCPU getcpu(cpu: UserAddr<u32> as OutAt<u32>, node: UserAddr<u32> as OutAt<u32>, unused: u64 as Hex) => info::getcpu, Full;
    PERSONALITY personality(persona: u32) => info::personality, Partial("personalities besides PER_LINUX (EINVAL)");
    SYSLOG syslog(op: i32, buf: u64, len: i32) => info::syslog, Partial("messages: the log is empty");
    MEMBARRIER membarrier(cmd: i32, flags: u32, cpu: i32) => sync::membarrier, Partial("the SYNC_CORE commands (EINVAL)");
    RSEQ rseq(area: UserAddr<Rseq>, len: u32, flags: i32, sig: u32) => sync::rseq, Full;
    MOUNT mount(source: u64, target: UserPath, fstype: u64, flags: u64, data: u64) => mount::mount, Partial("filesystems besides tmpfs, ramfs, proc, sysfs, devpts, mqueue and cgroup2 (ENODEV)");
    UMOUNT2 umount2(target: UserPath, flags: u32) => mount::umount2, Full;
    PIVOT_ROOT pivot_root(new_root: UserPath, put_old: UserPath) => mount::pivot_root, Full;
    SETNS setns(fd: Fd, nstype: u32) => namespaces::setns, Full;
};
