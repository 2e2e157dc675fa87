//! timerfd_create(2), timerfd_settime(2), timerfd_gettime(2).

use super::clock::ClockId;
use super::{nanoseconds, timespec};
use crate::args::{Fd, UserAddr};
use abi::Errno;
use abi::time::Itimerspec;
use fs::File;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use sentry::time::timerfd::{self, Timer};
use std::sync::Arc;

const CLOEXEC: i32 = 0o2000000;
const NONBLOCK: i32 = 0o4000;

/// timerfd_create(2)
pub fn timerfd_create(cx: &mut Cx, clock: i32, flags: i32) -> SysResult {
    if !matches!(clock, 0 | 1 | 7 | 8 | 9) || flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if matches!(clock, 8 | 9) {
        cx.task().cred().require(abi::cap::CAP_WAKE_ALARM)?;
    }
    let file = timerfd::create(cx.kernel(), clock, flags as u32);
    crate::file::install(cx, file, flags & CLOEXEC != 0)
}

fn timer(file: &File) -> Result<&Arc<Timer>, Errno> {
    timerfd::of(file).ok_or(Errno::EINVAL)
}

/// timerfd_settime(2)
pub fn timerfd_settime(
    cx: &mut Cx,
    fd: Fd,
    flags: i32,
    new: UserAddr<Itimerspec>,
    old: UserAddr<Itimerspec>,
) -> SysResult {
    const ABSTIME: i32 = 1;
    const CANCEL_ON_SET: i32 = 2;
    if flags & !(ABSTIME | CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let spec = new.read(cx)?;
    let file = cx.files()?.get(fd)?;
    let timer = timer(&file)?;
    let (first, every) = (
        nanoseconds(&spec.it_value)?,
        nanoseconds(&spec.it_interval)?,
    );
    let deadline = match first {
        0 => None,
        at if flags & ABSTIME != 0 => Some(ClockId::new(cx, timer.clock())?.to_monotonic(cx, at)),
        after => Some(cx.kernel().clock.monotonic().saturating_add(after)),
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

/// timerfd_gettime(2)
pub fn timerfd_gettime(cx: &mut Cx, fd: Fd, value: UserAddr<Itimerspec>) -> SysResult {
    let file = cx.files()?.get(fd)?;
    let (left, every) = timer(&file)?.get();
    value.write(
        cx,
        &Itimerspec {
            it_interval: timespec(every),
            it_value: timespec(left),
        },
    )?;
    Ok(0)
}
