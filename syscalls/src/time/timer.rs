//! alarm(2), setitimer(2), timer_create(2) and their kin.

use super::clock::ClockId;
use super::{nanoseconds, timespec};
use crate::args::UserAddr;
use abi::Errno;
use abi::signal::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, SigEvent, Signal};
use abi::time::{Itimerspec, Itimerval, Timeval};
use sentry::kernel::Cx;
use sentry::kernel::limits::Resource;
use sentry::syscall::SysResult;
use sentry::time::posix::{Notify, Source, Timer, timers};
use std::sync::Arc;

fn timeval(ns: u64) -> Timeval {
    Timeval {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_usec: i64::try_from(ns % 1_000_000_000 / 1000).unwrap_or(0),
    }
}

fn from_timeval(tv: &Timeval) -> Result<u64, Errno> {
    let sec = u64::try_from(tv.tv_sec).map_err(|_| Errno::EINVAL)?;
    let usec = u64::try_from(tv.tv_usec)
        .ok()
        .filter(|u| *u < 1_000_000)
        .ok_or(Errno::EINVAL)?;
    Ok(sec
        .saturating_mul(1_000_000_000)
        .saturating_add(usec.saturating_mul(1000)))
}

fn interval(cx: &Cx, which: i32) -> Result<Arc<Timer>, Errno> {
    let which = usize::try_from(which).map_err(|_| Errno::EINVAL)?;
    timers(cx.group())?.interval(cx.group(), which)
}

fn relative(timer: &Timer, value: u64) -> Option<u64> {
    (value != 0).then(|| timer.clock_now().saturating_add(value))
}

/// alarm(2): seconds left, rounded, never to 0.
pub fn alarm(cx: &mut Cx, seconds: u32) -> SysResult {
    let timer = interval(cx, 0)?;
    let (left, _) = timer.set(
        relative(&timer, u64::from(seconds).saturating_mul(1_000_000_000)),
        0,
    );
    if left == 0 {
        return Ok(0);
    }
    Ok((left.saturating_add(500_000_000) / 1_000_000_000).max(1))
}

/// getitimer(2)
pub fn getitimer(cx: &mut Cx, which: i32, value: UserAddr<Itimerval>) -> SysResult {
    let (left, every) = interval(cx, which)?.get();
    value.write(
        cx,
        &Itimerval {
            it_interval: timeval(every),
            it_value: timeval(left),
        },
    )?;
    Ok(0)
}

/// setitimer(2): a null value is zero, as Linux still has it.
pub fn setitimer(
    cx: &mut Cx,
    which: i32,
    value: UserAddr<Itimerval>,
    old: UserAddr<Itimerval>,
) -> SysResult {
    let new = value
        .some()
        .map(|v| v.read(cx))
        .transpose()?
        .unwrap_or_default();
    let (first, every) = (
        from_timeval(&new.it_value)?,
        from_timeval(&new.it_interval)?,
    );
    let timer = interval(cx, which)?;
    let (left, was) = timer.set(relative(&timer, first), if first == 0 { 0 } else { every });
    old.write_if_some(
        cx,
        &Itimerval {
            it_interval: timeval(was),
            it_value: timeval(left),
        },
    )?;
    Ok(0)
}

/// timer_create(2)
pub fn timer_create(
    cx: &mut Cx,
    id: i32,
    sevp: UserAddr<SigEvent>,
    timerid: UserAddr<i32>,
) -> SysResult {
    let source = match ClockId::new(cx, id)? {
        _ if matches!(id, 4..=6) => return Err(Errno::EOPNOTSUPP),
        ClockId::Process(group) if !Arc::ptr_eq(&group, cx.group()) => return Err(Errno::EINVAL),
        ClockId::Process(_) => Source::ProcessCpu,
        ClockId::Thread(task) => Source::ThreadCpu(Arc::downgrade(&task)),
        _ => Source::Wall,
    };
    let event = sevp.some().map(|s| s.read(cx)).transpose()?;
    let (notify, value) = match &event {
        None => (Notify::Process(Signal::SIGALRM), None),
        Some(event) => {
            let signal = || Signal::new(event.sigev_signo).ok_or(Errno::EINVAL);
            let notify = match event.sigev_notify {
                SIGEV_NONE => Notify::Nobody,
                SIGEV_SIGNAL | SIGEV_THREAD => Notify::Process(signal()?),
                SIGEV_THREAD_ID => {
                    let task = cx
                        .pid_ns()
                        .task(event.sigev_tid)
                        .filter(|t| Arc::ptr_eq(t.group(), cx.group()))
                        .ok_or(Errno::EINVAL)?;
                    Notify::Thread(signal()?, Arc::downgrade(&task))
                }
                _ => return Err(Errno::EINVAL),
            };
            (notify, Some(event.sigev_value))
        }
    };
    let all = timers(cx.group())?;
    let limit = usize::try_from(cx.group().limits.soft(Resource::Sigpending))
        .unwrap_or(usize::MAX)
        .min(65_536);
    let group = cx.group().clone();
    let clock = id;
    let new = all.create(limit, |id| {
        Timer::new(
            &group,
            source,
            notify,
            Some((id, value.unwrap_or(u64::from(id.unsigned_abs())))),
            clock,
        )
    })?;
    if let Err(e) = timerid.write(cx, &new) {
        let _ = all.delete(new);
        return Err(e);
    }
    Ok(0)
}

/// timer_settime(2)
pub fn timer_settime(
    cx: &mut Cx,
    id: i32,
    flags: i32,
    new: UserAddr<Itimerspec>,
    old: UserAddr<Itimerspec>,
) -> SysResult {
    const TIMER_ABSTIME: i32 = 1;
    let timer = timers(cx.group())?.get(id)?;
    if new.is_null() {
        return Err(Errno::EINVAL);
    }
    let spec = new.read(cx)?;
    let (first, every) = (
        nanoseconds(&spec.it_value)?,
        nanoseconds(&spec.it_interval)?,
    );
    let deadline = match first {
        0 => None,
        at if flags & TIMER_ABSTIME != 0 => Some(match ClockId::new(cx, timer.clock())? {
            // Processor time: the timer's own clock.
            ClockId::Process(_) | ClockId::Thread(_) => at,
            wall => wall.to_monotonic(cx, at),
        }),
        after => relative(&timer, after),
    };
    let (left, was) = timer.set(deadline, every);
    old.write_if_some(
        cx,
        &Itimerspec {
            it_interval: timespec(was),
            it_value: timespec(left),
        },
    )?;
    Ok(0)
}

/// timer_gettime(2)
pub fn timer_gettime(cx: &mut Cx, id: i32, value: UserAddr<Itimerspec>) -> SysResult {
    let (left, every) = timers(cx.group())?.get(id)?.get();
    value.write(
        cx,
        &Itimerspec {
            it_interval: timespec(every),
            it_value: timespec(left),
        },
    )?;
    Ok(0)
}

/// timer_getoverrun(2)
pub fn timer_getoverrun(cx: &mut Cx, id: i32) -> SysResult {
    Ok(u64::try_from(timers(cx.group())?.get(id)?.overrun()).unwrap_or(0))
}

/// timer_delete(2)
pub fn timer_delete(cx: &mut Cx, id: i32) -> SysResult {
    timers(cx.group())?.delete(id)?;
    Ok(0)
}
