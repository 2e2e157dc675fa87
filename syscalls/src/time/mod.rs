//! Time: clocks, sleeping, timers.

mod clock;
mod sleep;
mod timer;
mod timerfd;

use crate::args::{Fd, UserAddr};
use abi::signal::SigEvent;
use abi::time::{Itimerspec, Itimerval, Timespec, Timeval, Timex, Timezone, Tms};
use sentry::syscall::Syscall;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    CLOCK_GETTIME clock_gettime(clockid: i32 as ClockName, tp: UserAddr<Timespec> as OutAt<Timespec>) => clock::clock_gettime, Full;
    CLOCK_GETRES clock_getres(clockid: i32 as ClockName, res: UserAddr<Timespec> as OutAt<Timespec>) => clock::clock_getres, Full;
    CLOCK_SETTIME clock_settime(clockid: i32 as ClockName, tp: UserAddr<Timespec>) => clock::clock_settime, Refused(abi::Errno::EPERM, "the clocks are the host's");
    GETTIMEOFDAY gettimeofday(tv: UserAddr<Timeval> as OutAt<Timeval>, tz: UserAddr<Timezone>) => clock::gettimeofday, Full;
    SETTIMEOFDAY settimeofday(tv: UserAddr<Timeval>, tz: UserAddr<Timezone>) => clock::settimeofday, Refused(abi::Errno::EPERM, "the clocks are the host's");
    TIME time(tloc: UserAddr<i64>) => clock::time, Full;
    TIMES times(buf: UserAddr<Tms>) => clock::times, Full;
    ADJTIMEX adjtimex(buf: UserAddr<Timex>) => clock::adjtimex, Partial("setting: the clock is the host's (EPERM)");
    CLOCK_ADJTIME clock_adjtime(clockid: i32 as ClockName, buf: UserAddr<Timex>) => clock::clock_adjtime, Partial("setting: the clock is the host's (EPERM)");
    NANOSLEEP nanosleep(req: UserAddr<Timespec> as At<Timespec>, rem: UserAddr<Timespec>) => sleep::nanosleep, Full;
    CLOCK_NANOSLEEP clock_nanosleep(clockid: i32 as ClockName, flags: i32 as TimerBits, req: UserAddr<Timespec> as At<Timespec>, rem: UserAddr<Timespec>) => sleep::clock_nanosleep, Full;
    ALARM alarm(seconds: u32) => timer::alarm, Full;
    GETITIMER getitimer(which: i32 as ItimerName, value: UserAddr<Itimerval> as OutAt<Itimerval>) => timer::getitimer, Full;
    SETITIMER setitimer(which: i32 as ItimerName, value: UserAddr<Itimerval> as At<Itimerval>, old: UserAddr<Itimerval> as OutAt<Itimerval>) => timer::setitimer, Full;
    TIMER_CREATE timer_create(clockid: i32 as ClockName, sevp: UserAddr<SigEvent>, timerid: UserAddr<i32> as OutAt<i32>) => timer::timer_create, Partial("another process's processor time");
    TIMER_SETTIME timer_settime(timerid: i32, flags: i32 as TimerBits, new: UserAddr<Itimerspec> as At<Itimerspec>, old: UserAddr<Itimerspec> as OutAt<Itimerspec>) => timer::timer_settime, Full;
    TIMER_GETTIME timer_gettime(timerid: i32, value: UserAddr<Itimerspec> as OutAt<Itimerspec>) => timer::timer_gettime, Full;
    TIMER_GETOVERRUN timer_getoverrun(timerid: i32) => timer::timer_getoverrun, Full;
    TIMER_DELETE timer_delete(timerid: i32) => timer::timer_delete, Full;
    TIMERFD_CREATE timerfd_create(clockid: i32 as ClockName, flags: i32 as CloexecBits) => timerfd::timerfd_create, Full;
    TIMERFD_SETTIME timerfd_settime(fd: Fd, flags: i32 as TimerBits, new: UserAddr<Itimerspec> as At<Itimerspec>, old: UserAddr<Itimerspec> as OutAt<Itimerspec>) => timerfd::timerfd_settime, Partial("TFD_TIMER_CANCEL_ON_SET: accepted, the clock is never set");
    TIMERFD_GETTIME timerfd_gettime(fd: Fd, value: UserAddr<Itimerspec> as OutAt<Itimerspec>) => timerfd::timerfd_gettime, Full;
};

pub(crate) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}

/// Nanoseconds of a time from the guest: `EINVAL` for a negative or denormal one.
pub(crate) fn nanoseconds(ts: &Timespec) -> Result<u64, abi::Errno> {
    let sec = u64::try_from(ts.tv_sec).map_err(|_| abi::Errno::EINVAL)?;
    let nsec = u64::try_from(ts.tv_nsec)
        .ok()
        .filter(|n| *n < 1_000_000_000)
        .ok_or(abi::Errno::EINVAL)?;
    Ok(sec.saturating_mul(1_000_000_000).saturating_add(nsec))
}
