//! Numbers of processes, groups and sessions; the thread's own registers of identity.

use abi::Errno;
use sentry::kernel::{Cx, ProcessGroup, Session, ThreadGroup};
use sentry::syscall::SysResult;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn number(n: i32) -> SysResult {
    Ok(u64::try_from(n).unwrap_or(0))
}

/// getpid(2)
pub fn getpid(cx: &mut Cx) -> SysResult {
    number(cx.tgid())
}

/// gettid(2)
pub fn gettid(cx: &mut Cx) -> SysResult {
    number(cx.tid())
}

/// getppid(2): 0 when the parent is outside the pid namespace.
pub fn getppid(cx: &mut Cx) -> SysResult {
    let ns = cx.pid_ns();
    number(cx.group().parent().map_or(0, |p| p.pid().nr_in(&ns)))
}

/// getpgrp(2)
pub fn getpgrp(cx: &mut Cx) -> SysResult {
    let ns = cx.pid_ns();
    number(cx.group().process_group().id.nr_in(&ns))
}

fn group_of(cx: &Cx, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    if pid == 0 {
        return Ok(cx.group().clone());
    }
    cx.pid_ns()
        .task(pid)
        .map(|t| t.group().clone())
        .ok_or(Errno::ESRCH)
}

/// getpgid(2)
pub fn getpgid(cx: &mut Cx, pid: i32) -> SysResult {
    let group = group_of(cx, pid)?;
    number(group.process_group().id.nr_in(&cx.pid_ns()))
}

/// getsid(2)
pub fn getsid(cx: &mut Cx, pid: i32) -> SysResult {
    let group = group_of(cx, pid)?;
    number(group.session().id.nr_in(&cx.pid_ns()))
}

/// setpgid(2)
pub fn setpgid(cx: &mut Cx, pid: i32, pgid: i32) -> SysResult {
    if pgid < 0 || pid < 0 {
        return Err(Errno::EINVAL);
    }
    let ns = cx.pid_ns();
    let own = cx.group().clone();
    let target = if pid == 0 || pid == cx.tgid() {
        own.clone()
    } else {
        ns.group(pid).ok_or(Errno::ESRCH)?
    };
    let kernel = cx.kernel().clone();
    let _tree = kernel.tree.lock();
    if !Arc::ptr_eq(&target, &own) {
        if !target.parent().is_some_and(|p| Arc::ptr_eq(&p, &own)) {
            return Err(Errno::ESRCH);
        }
        if !Arc::ptr_eq(&target.session(), &own.session()) {
            return Err(Errno::EPERM);
        }
        if target.did_exec.load(Ordering::Relaxed) {
            return Err(Errno::EACCES);
        }
    }
    let session = target.session();
    if Arc::ptr_eq(&session.id, target.pid()) {
        return Err(Errno::EPERM);
    }
    let wanted = if pgid == 0 || target.pid().nr_in(&ns) == pgid {
        target.pid().clone()
    } else {
        ns.lookup(pgid).ok_or(Errno::EPERM)?
    };
    let pgrp = match wanted.process_group().filter(|p| !p.members().is_empty()) {
        Some(pgrp) if Arc::ptr_eq(&pgrp.session, &session) => pgrp,
        Some(_) => return Err(Errno::EPERM),
        None if Arc::ptr_eq(&wanted, target.pid()) => ProcessGroup::new(wanted, session),
        None => return Err(Errno::EPERM),
    };
    target.move_to(pgrp);
    Ok(0)
}

/// setsid(2)
pub fn setsid(cx: &mut Cx) -> SysResult {
    let group = cx.group().clone();
    let kernel = cx.kernel().clone();
    let _tree = kernel.tree.lock();
    if group
        .pid()
        .process_group()
        .is_some_and(|p| !p.members().is_empty())
    {
        return Err(Errno::EPERM);
    }
    let session = Session::new(group.pid().clone());
    group.move_to(ProcessGroup::new(group.pid().clone(), session));
    number(cx.tgid())
}

/// set_tid_address(2)
pub fn set_tid_address(cx: &mut Cx, addr: u64) -> SysResult {
    cx.state.clear_child_tid = addr;
    number(cx.tid())
}

/// arch_prctl(2)
pub fn arch_prctl(cx: &mut Cx, code: i32, addr: u64) -> SysResult {
    use abi::x86::arch_prctl as op;
    let code = u64::try_from(code).map_err(|_| Errno::EINVAL)?;
    let top = cx.kernel().platform.user_range().end;
    if (op::ARCH_SET_GS..=op::ARCH_GET_GS).contains(&code) {
        cx.load_registers()?;
    }
    match code {
        op::ARCH_SET_FS | op::ARCH_SET_GS if addr >= top => Err(Errno::EPERM),
        op::ARCH_SET_FS => {
            cx.regs.user.fs_base = addr;
            Ok(0)
        }
        op::ARCH_SET_GS => {
            cx.regs.user.gs_base = addr;
            Ok(0)
        }
        op::ARCH_GET_FS => cx.mm()?.write_obj(addr, &cx.regs.user.fs_base).map(|()| 0),
        op::ARCH_GET_GS => cx.mm()?.write_obj(addr, &cx.regs.user.gs_base).map(|()| 0),
        op::ARCH_GET_CPUID => Ok(1),
        op::ARCH_SET_CPUID => Err(Errno::ENODEV),
        _ => Err(Errno::EINVAL),
    }
}
