//! getrlimit(2), setrlimit(2), prlimit(2), getrusage(2).

use crate::args::UserAddr;
use crate::process::rusage;
use abi::Errno;
use abi::cap::CAP_SYS_RESOURCE;
use abi::resource::{Rlimit, Rusage};
use sentry::kernel::limits::{Limit, Resource};
use sentry::kernel::{Cx, ThreadGroup};
use sentry::syscall::SysResult;
use std::sync::Arc;

/// getrlimit(2)
pub fn getrlimit(cx: &mut Cx, resource: u32, out: UserAddr<Rlimit>) -> SysResult {
    prlimit64(cx, 0, resource, UserAddr::new(0), out)
}

/// setrlimit(2)
pub fn setrlimit(cx: &mut Cx, resource: u32, new: UserAddr<Rlimit>) -> SysResult {
    let limit = new.read(cx)?;
    set(cx, &cx.group().clone(), resource, limit)?;
    Ok(0)
}

fn set(cx: &Cx, target: &Arc<ThreadGroup>, resource: u32, new: Rlimit) -> Result<Limit, Errno> {
    let number = resource as usize;
    let old = target.limits.get_raw(number)?;
    if new.rlim_cur > new.rlim_max {
        return Err(Errno::EINVAL);
    }
    if number == Resource::Nofile as usize && new.rlim_max > sentry::kernel::fd_table::NR_OPEN {
        return Err(Errno::EPERM);
    }
    if new.rlim_max > old.hard && !cx.task().cred().has_cap(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    let old = target
        .limits
        .set_raw(number, Limit::new(new.rlim_cur, new.rlim_max))?;
    if number == Resource::Cpu as usize {
        sentry::time::watch_cpu_limit(target);
    }
    if number == Resource::Stack as usize
        && let Some(mm) = target.any_live().and_then(|task| task.mm_opt())
    {
        // Faults have no task to ask.
        mm.set_stack_limit(new.rlim_cur);
    }
    Ok(old)
}

/// prlimit(2)
pub fn prlimit64(
    cx: &mut Cx,
    pid: i32,
    resource: u32,
    new: UserAddr<Rlimit>,
    out: UserAddr<Rlimit>,
) -> SysResult {
    let target = if pid == 0 {
        cx.group().clone()
    } else {
        let task = cx.pid_ns().task(pid).ok_or(Errno::ESRCH)?;
        let (own, other) = (cx.task().cred(), task.cred());
        let same = [other.ruid, other.euid, other.suid]
            .iter()
            .all(|id| *id == own.ruid)
            && [other.rgid, other.egid, other.sgid]
                .iter()
                .all(|id| *id == own.rgid);
        if !Arc::ptr_eq(task.group(), cx.group())
            && !same
            && !own.has_cap_in(&other.user_ns, CAP_SYS_RESOURCE)
        {
            return Err(Errno::EPERM);
        }
        task.group().clone()
    };
    let wanted = new.some().map(|n| n.read(cx)).transpose()?;
    let old = match wanted {
        Some(wanted) => set(cx, &target, resource, wanted)?,
        None => target.limits.get_raw(resource as usize)?,
    };
    out.write_if_some(
        cx,
        &Rlimit {
            rlim_cur: old.soft,
            rlim_max: old.hard,
        },
    )?;
    Ok(0)
}

/// getrusage(2)
pub fn getrusage(cx: &mut Cx, who: i32, out: UserAddr<Rusage>) -> SysResult {
    const SELF: i32 = 0;
    const CHILDREN: i32 = -1;
    const THREAD: i32 = 1;
    let usage = match who {
        SELF => cx.group().total_usage(),
        CHILDREN => cx.group().children_usage(),
        THREAD => cx.task().usage(),
        _ => return Err(Errno::EINVAL),
    };
    out.write(cx, &rusage(&usage))?;
    Ok(0)
}
