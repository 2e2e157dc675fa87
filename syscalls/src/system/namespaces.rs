//! unshare(2), setns(2).

use crate::args::{Fd, Flags};
use abi::Errno;
use abi::sched::CloneFlags;
use sentry::kernel::clone::new_namespaces;
use sentry::kernel::wait::PidFd;
use sentry::kernel::{Cx, Namespaces, Task};
use sentry::procfs::nsfs::{Held, NsFile};
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
        | F::CLONE_NEWUSER
        | F::CLONE_NEWCGROUP
        | F::CLONE_NEWTIME
        | F::CLONE_THREAD
        | F::CLONE_SIGHAND
        | F::CLONE_VM;
    if !known.contains(flags) {
        return Err(Errno::EINVAL);
    }
    // One cannot leave one's own process; alone in it, nothing is shared.
    if flags.intersects(F::CLONE_THREAD | F::CLONE_SIGHAND | F::CLONE_VM | F::CLONE_NEWUSER)
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
    enter(cx, ns);
    Ok(0)
}

/// Replaces the task's namespaces. A process that leaves its System V objects with its only thread is done with them.
fn enter(cx: &Cx, ns: Arc<Namespaces>) {
    let old = cx.ns();
    if old.ipc.id() != ns.ipc.id() && cx.group().live_threads() == 1 {
        sentry::ipc::exit_group(&old.ipc, cx.task());
    }
    cx.set_ns(ns);
}

/// What setns(2) joins.
enum Target {
    /// The namespaces of a process: those named.
    Process(Arc<Task>, CloneFlags),
    /// That of a file of `/proc/PID/ns`.
    File(Held, CloneFlags),
}

impl Target {
    fn new(cx: &Cx, fd: Fd, kinds: u32) -> Result<Self, Errno> {
        use CloneFlags as F;
        let kinds = F::from_bits(u64::from(kinds)).ok_or(Errno::EINVAL)?;
        let file = cx.files()?.get(fd)?;
        if let Some(process) = file.downcast::<PidFd>() {
            let known = F::CLONE_NEWNS
                | F::CLONE_NEWUTS
                | F::CLONE_NEWIPC
                | F::CLONE_NEWNET
                | F::CLONE_NEWPID;
            if kinds.is_empty() || !known.contains(kinds) {
                return Err(Errno::EINVAL);
            }
            let task = process.group().any_live().ok_or(Errno::ESRCH)?;
            return Ok(Self::Process(task, kinds));
        }
        let file = file.downcast::<NsFile>().ok_or(Errno::EINVAL)?;
        let kind = F::from_bits(file.clone_flag()).ok_or(Errno::EINVAL)?;
        if kinds.is_empty() || kinds == kind {
            Ok(Self::File(file.held().clone(), kind))
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// setns(2)
pub fn setns(cx: &mut Cx, fd: Fd, kinds: u32) -> SysResult {
    use CloneFlags as F;
    let (kinds, theirs, pid) = match Target::new(cx, fd, kinds)? {
        Target::Process(task, kinds) => (kinds, Some(task.ns()), Some(task.pid_ns())),
        Target::File(Held::Of(ns), kind) => (kind, Some(ns), None),
        Target::File(Held::Pid(ns), kind) => (kind, None, Some(ns)),
        // One cannot enter the user namespace one is in, and there is no other.
        Target::File(Held::User(_), _) => return Err(Errno::EINVAL),
        Target::File(Held::Only, kind) => (kind, None, None),
    };
    let cred = cx.task().cred();
    cred.require(abi::cap::CAP_SYS_ADMIN)?;
    let mut ns: Namespaces = (*cx.ns()).clone();
    if let Some(pid) = pid.filter(|_| kinds.contains(F::CLONE_NEWPID)) {
        if !pid.is_within(&cx.pid_ns()) {
            return Err(Errno::EINVAL);
        }
        ns.pid_for_children = pid;
    }
    if let Some(theirs) = theirs {
        if kinds.contains(F::CLONE_NEWUTS) {
            ns.uts = theirs.uts.clone();
        }
        if kinds.contains(F::CLONE_NEWIPC) {
            ns.ipc = theirs.ipc.clone();
        }
        if kinds.contains(F::CLONE_NEWNET) {
            ns.net = theirs.net.clone();
        }
        if kinds.contains(F::CLONE_NEWNS) {
            cred.require(abi::cap::CAP_SYS_CHROOT)?;
            ns.mnt = theirs.mnt.clone();
            let root = theirs.mnt.root();
            let fs = Arc::new(cx.fs()?.fork());
            fs.set_root(root.clone());
            fs.set_cwd(root);
            drop(cx.set_fs(Some(fs)));
        }
    }
    enter(cx, Arc::new(ns));
    Ok(0)
}
