//! nanosleep(2), clock_nanosleep(2).

use super::clock::ClockId;
use super::{nanoseconds, timespec};
use crate::args::UserAddr;
use abi::Errno;
use abi::time::Timespec;
use sentry::kernel::{Cx, Woken};
use sentry::syscall::SysResult;

/// nanosleep(2)
pub fn nanosleep(cx: &mut Cx, req: UserAddr<Timespec>, rem: UserAddr<Timespec>) -> SysResult {
    clock_nanosleep(cx, 1, 0, req, rem)
}

/// clock_nanosleep(2)
pub fn clock_nanosleep(
    cx: &mut Cx,
    id: i32,
    flags: i32,
    req: UserAddr<Timespec>,
    rem: UserAddr<Timespec>,
) -> SysResult {
    const TIMER_ABSTIME: i32 = 1;
    let clock = ClockId::new(cx, id)?;
    if matches!(clock, ClockId::Thread(_)) || id == 4 {
        return Err(if id == 4 {
            Errno::EOPNOTSUPP
        } else {
            Errno::EINVAL
        });
    }
    let ns = nanoseconds(&req.read(cx)?)?;
    let absolute = flags & TIMER_ABSTIME != 0;
    if let ClockId::Process(_) = clock {
        let until = if absolute {
            ns
        } else {
            clock.now(cx).saturating_add(ns)
        };
        return sleep_cpu(cx, &clock, until);
    }
    let deadline = if absolute {
        clock.to_monotonic(cx, ns)
    } else {
        cx.kernel().clock.monotonic().saturating_add(ns)
    };
    if absolute {
        return match sleep_until(cx, deadline) {
            Err(_) => Err(Errno::ERESTARTNOHAND),
            ok => ok,
        };
    }
    relative(cx, deadline, rem)
}

fn relative(cx: &mut Cx, deadline: u64, rem: UserAddr<Timespec>) -> SysResult {
    if sleep_until(cx, deadline).is_ok() {
        return Ok(0);
    }
    let left = deadline.saturating_sub(cx.kernel().clock.monotonic());
    if left == 0 {
        return Ok(0);
    }
    rem.write_if_some(cx, &timespec(left))?;
    Err(cx.restart_with(Box::new(move |cx| relative(cx, deadline, rem))))
}

fn sleep_until(cx: &Cx, deadline: u64) -> SysResult {
    loop {
        match cx.block(Some(deadline)) {
            Ok(()) if cx.kernel().clock.monotonic() < deadline => {}
            Ok(()) | Err(Woken::TimedOut) => return Ok(0),
            Err(Woken::Interrupted) => return Err(Errno::EINTR),
        }
    }
}

/// Sleeping on the process's processor time: looked at again as soon as it could have passed.
fn sleep_cpu(cx: &Cx, clock: &ClockId, until: u64) -> SysResult {
    loop {
        let left = until.saturating_sub(clock.now(cx));
        if left == 0 {
            return Ok(0);
        }
        let threads = cx.group().live_threads().max(1);
        let pause = left.checked_div(threads).unwrap_or(left).max(1_000_000);
        if cx.block(Some(cx.kernel().clock.monotonic().saturating_add(pause)))
            == Err(Woken::Interrupted)
        {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
}
