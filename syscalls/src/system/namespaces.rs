//! unshare(2), setns(2).

use crate::args::{Fd, Flags};
use abi::Errno;
use abi::sched::CloneFlags;
use sentry::kernel::clone::new_namespaces;
use sentry::kernel::wait::PidFd;
use sentry::kernel::{Cx, Namespaces};
use sentry::syscall::SysResult;
use std::sync::Arc;

/// unshare(2)
pub fn unshare(cx: &mut Cx, flags: Flags<CloneFlags>) -> SysResult {
    use CloneFlags as F;
    let flags = flags.0;
    let known = F::CLONE_FILES
        | F::CLONE_FS
        | F::CLONE_SYSVSEM
        | F::CLONE_NEWNS
        | F::CLONE_NEWUTS
        | F::CLONE_NEWIPC
        | F::CLONE_NEWNET
        | F::CLONE_NEWPID
        | F::CLONE_THREAD
        | F::CLONE_SIGHAND
        | F::CLONE_VM;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    // One cannot leave one's own process; alone in it, nothing is shared.
    if flags.intersects(F::CLONE_THREAD | F::CLONE_SIGHAND | F::CLONE_VM)
        && cx.group().live_threads() > 1
    {
        return Err(Errno::EINVAL);
    }
    if flags.contains(F::CLONE_FILES) {
        let own = Arc::new(cx.files()?.fork());
        drop(cx.set_files(Some(own)));
    }
    let mut fs = cx.fs()?;
    if flags.intersects(F::CLONE_FS | F::CLONE_NEWNS) {
        fs = Arc::new(fs.fork());
    }
    let ns = new_namespaces(cx, flags, &fs)?;
    drop(cx.set_fs(Some(fs)));
    cx.set_ns(ns);
    Ok(0)
}

/// setns(2)
pub fn setns(cx: &mut Cx, fd: Fd, kinds: u32) -> SysResult {
    use CloneFlags as F;
    let flags = F::from_bits(u64::from(kinds)).ok_or(Errno::EINVAL)?;
    let file = cx.files()?.get(fd)?;
    let group = file
        .downcast::<PidFd>()
        .ok_or(Errno::EINVAL)?
        .group()
        .clone();
    let known =
        F::CLONE_NEWNS | F::CLONE_NEWUTS | F::CLONE_NEWIPC | F::CLONE_NEWNET | F::CLONE_NEWPID;
    if flags.is_empty() || !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    cx.task().cred().require(abi::cap::CAP_SYS_ADMIN)?;
    let other = group.any_live().ok_or(Errno::ESRCH)?;
    let theirs = other.ns();
    let mut ns: Namespaces = (*cx.ns()).clone();
    if flags.contains(F::CLONE_NEWUTS) {
        ns.uts = theirs.uts.clone();
    }
    if flags.contains(F::CLONE_NEWIPC) {
        ns.ipc = theirs.ipc.clone();
    }
    if flags.contains(F::CLONE_NEWNET) {
        ns.net = theirs.net.clone();
    }
    if flags.contains(F::CLONE_NEWPID) {
        if !other.pid_ns().is_within(&cx.pid_ns()) {
            return Err(Errno::EINVAL);
        }
        ns.pid_for_children = other.pid_ns();
    }
    if flags.contains(F::CLONE_NEWNS) {
        ns.mnt = theirs.mnt.clone();
        let root = theirs.mnt.root();
        let fs = Arc::new(cx.fs()?.fork());
        fs.set_root(root.clone());
        fs.set_cwd(root);
        drop(cx.set_fs(Some(fs)));
    }
    cx.set_ns(Arc::new(ns));
    Ok(0)
}
