//! kill(2), tkill(2), tgkill(2), rt_sigqueueinfo(2), rt_tgsigqueueinfo(2).

use crate::args::{SigArg, UserAddr};
use abi::Errno;
use abi::siginfo::SI_TKILL;
use abi::signal::{SigInfo, Signal};
use sentry::kernel::signal::Sent;
use sentry::kernel::{Cx, Task, ThreadGroup};
use sentry::syscall::SysResult;
use std::sync::Arc;

fn to_group(cx: &Cx, group: &Arc<ThreadGroup>, signal: Option<Signal>) -> Result<(), Errno> {
    let Some(leader) = group.leader() else {
        return Err(Errno::ESRCH);
    };
    cx.may_signal(&leader, signal)?;
    if let Some(signal) = signal {
        group.send(cx.kill_info(group, signal));
    }
    Ok(())
}

/// kill(2)
pub fn kill(cx: &mut Cx, pid: i32, signal: SigArg) -> SysResult {
    let ns = cx.pid_ns();
    let signal = signal.0;
    if pid > 0 {
        let task = ns.task(pid).ok_or(Errno::ESRCH)?;
        to_group(cx, task.group(), signal)?;
        return Ok(0);
    }
    let targets: Vec<Arc<ThreadGroup>> = match pid {
        0 => cx.group().process_group().members(),
        -1 => {
            let own = cx.group().clone();
            ns.pids()
                .into_iter()
                .filter_map(|(nr, p)| (nr > 1).then(|| p.group()).flatten())
                .filter(|g| !Arc::ptr_eq(g, &own))
                .collect()
        }
        i32::MIN => return Err(Errno::ESRCH),
        p => ns
            .lookup(p.saturating_neg())
            .and_then(|p| p.process_group())
            .map(|g| g.members())
            .unwrap_or_default(),
    };
    // As Linux: success if any could be signalled; else the last failure.
    let mut result = Err(Errno::ESRCH);
    for group in &targets {
        match to_group(cx, group, signal) {
            Ok(()) => result = Ok(0),
            Err(e) if result.is_err() => result = Err(e),
            Err(_) => {}
        }
    }
    result
}

fn to_task(
    cx: &Cx,
    tgid: Option<i32>,
    tid: i32,
    signal: Option<Signal>,
    info: impl FnOnce(&Task, Signal) -> SigInfo,
) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|t| t <= 0) {
        return Err(Errno::EINVAL);
    }
    let task = cx.pid_ns().task(tid).ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|tgid| task.group().pid().nr_in(&cx.pid_ns()) != tgid) {
        return Err(Errno::ESRCH);
    }
    cx.may_signal(&task, signal)?;
    if let Some(signal) = signal
        && task.group().send_task(&task, info(&task, signal)) == Sent::Full
    {
        return Err(Errno::EAGAIN);
    }
    Ok(0)
}

fn tgkill_info(cx: &Cx) -> impl FnOnce(&Task, Signal) -> SigInfo + '_ {
    |task, signal| {
        let from = cx.kill_info(task.group(), signal);
        SigInfo::tgkill(signal, from.pid(), from.uid())
    }
}

/// tkill(2)
pub fn tkill(cx: &mut Cx, tid: i32, signal: SigArg) -> SysResult {
    to_task(cx, None, tid, signal.0, tgkill_info(cx))
}

/// tgkill(2)
pub fn tgkill(cx: &mut Cx, tgid: i32, tid: i32, signal: SigArg) -> SysResult {
    to_task(cx, Some(tgid), tid, signal.0, tgkill_info(cx))
}

/// A record from the guest: nobody may pretend to be the kernel or `tgkill`, but towards himself.
fn queued_info(
    cx: &Cx,
    info: UserAddr<SigInfo>,
    signal: Option<Signal>,
    own: bool,
) -> Result<SigInfo, Errno> {
    let mut record = info.read(cx)?;
    record.si_signo = signal.map_or(0, Signal::raw);
    if (record.si_code >= 0 || record.si_code == SI_TKILL) && !own {
        return Err(Errno::EPERM);
    }
    Ok(record)
}

/// rt_sigqueueinfo(2)
pub fn rt_sigqueueinfo(
    cx: &mut Cx,
    pid: i32,
    signal: SigArg,
    info: UserAddr<SigInfo>,
) -> SysResult {
    let record = queued_info(cx, info, signal.0, pid == cx.tgid())?;
    let task = cx.pid_ns().task(pid).ok_or(Errno::ESRCH)?;
    cx.may_signal(&task, signal.0)?;
    if signal.0.is_some() && task.group().send(record) == Sent::Full {
        return Err(Errno::EAGAIN);
    }
    Ok(0)
}

/// rt_tgsigqueueinfo(2)
pub fn rt_tgsigqueueinfo(
    cx: &mut Cx,
    tgid: i32,
    tid: i32,
    signal: SigArg,
    info: UserAddr<SigInfo>,
) -> SysResult {
    let record = queued_info(cx, info, signal.0, tgid == cx.tgid())?;
    to_task(cx, Some(tgid), tid, signal.0, move |_, _| record)
}
