//! clock_gettime(2), gettimeofday(2), time(2), times(2), adjtimex(2).

use super::timespec;
use crate::args::UserAddr;
use abi::Errno;
use abi::time::{Timespec, Timeval, Timex, Timezone, Tms};
use sentry::kernel::exit::ticks;
use sentry::kernel::{Cx, Task, ThreadGroup};
use sentry::syscall::SysResult;
use sentry::time::{process_cpu, task_cpu};
use std::sync::Arc;

/// What a clock id names.
pub(super) enum ClockId {
    /// `CLOCK_REALTIME` and its coarse and settable kin.
    Real,
    /// `CLOCK_MONOTONIC`, raw and coarse.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boot,
    /// A process's processor time.
    Process(Arc<ThreadGroup>),
    /// A thread's.
    Thread(Arc<Task>),
}

impl ClockId {
    /// `EINVAL` for what is no clock.
    pub fn new(cx: &Cx, id: i32) -> Result<Self, Errno> {
        const PER_THREAD: i32 = 4;
        Ok(match id {
            0 | 5 | 8 | 11 => Self::Real,
            1 | 4 | 6 => Self::Monotonic,
            7 | 9 => Self::Boot,
            2 => Self::Process(cx.group().clone()),
            3 => Self::Thread(cx.task().clone()),
            id if id < 0 && id & 3 != 3 => {
                // MAKE_PROCESS_CPUCLOCK: the complement of the pid, three bits up.
                let pid = !(id >> 3);
                let task = if pid == 0 {
                    cx.task().clone()
                } else {
                    cx.pid_ns().task(pid).ok_or(Errno::EINVAL)?
                };
                if id & PER_THREAD == 0 {
                    Self::Process(task.group().clone())
                } else if Arc::ptr_eq(task.group(), cx.group()) {
                    Self::Thread(task)
                } else {
                    return Err(Errno::EINVAL);
                }
            }
            _ => return Err(Errno::EINVAL),
        })
    }

    /// Nanoseconds now.
    pub fn now(&self, cx: &Cx) -> u64 {
        let clock = &cx.kernel().clock;
        match self {
            Self::Real => u64::try_from(clock.realtime()).unwrap_or(0),
            Self::Monotonic => clock.monotonic(),
            Self::Boot => clock.boottime(),
            Self::Process(group) => process_cpu(group),
            Self::Thread(task) => task_cpu(task),
        }
    }

    /// An absolute time of this clock as a monotonic deadline.
    pub fn to_monotonic(&self, cx: &Cx, at: u64) -> u64 {
        match self {
            Self::Monotonic => at,
            _ => cx
                .kernel()
                .clock
                .monotonic()
                .saturating_add(at.saturating_sub(self.now(cx))),
        }
    }
}

/// clock_gettime(2)
pub fn clock_gettime(cx: &mut Cx, id: i32, tp: UserAddr<Timespec>) -> SysResult {
    let now = match id {
        // What the vDSO answers and what the call answers must not run against each other.
        abi::time::CLOCK_REALTIME_COARSE => {
            u64::try_from(cx.kernel().clock.realtime_coarse()).unwrap_or(0)
        }
        abi::time::CLOCK_MONOTONIC_COARSE => cx.kernel().clock.monotonic_coarse(),
        abi::time::CLOCK_MONOTONIC_RAW => cx.kernel().clock.monotonic_raw(),
        _ => ClockId::new(cx, id)?.now(cx),
    };
    tp.write(cx, &timespec(now))?;
    Ok(0)
}

/// clock_getres(2)
pub fn clock_getres(cx: &mut Cx, id: i32, res: UserAddr<Timespec>) -> SysResult {
    ClockId::new(cx, id)?;
    // The coarse clocks count the host's ticks.
    let ns = if matches!(id, 5 | 6) { 4_000_000 } else { 1 };
    res.write_if_some(cx, &timespec(ns))?;
    Ok(0)
}

/// clock_settime(2)
pub fn clock_settime(cx: &mut Cx, id: i32, tp: UserAddr<Timespec>) -> SysResult {
    match ClockId::new(cx, id)? {
        ClockId::Real => {}
        _ => return Err(Errno::EINVAL),
    }
    super::nanoseconds(&tp.read(cx)?)?;
    Err(Errno::EPERM)
}

/// gettimeofday(2)
pub fn gettimeofday(cx: &mut Cx, tv: UserAddr<Timeval>, tz: UserAddr<Timezone>) -> SysResult {
    let now = cx.kernel().clock.realtime();
    tv.write_if_some(
        cx,
        &Timeval {
            tv_sec: now.div_euclid(1_000_000_000),
            tv_usec: now.rem_euclid(1_000_000_000) / 1000,
        },
    )?;
    tz.write_if_some(cx, &Timezone::default())?;
    Ok(0)
}

/// settimeofday(2)
pub fn settimeofday(_: &mut Cx, _: UserAddr<Timeval>, _: UserAddr<Timezone>) -> SysResult {
    Err(Errno::EPERM)
}

/// time(2)
pub fn time(cx: &mut Cx, tloc: UserAddr<i64>) -> SysResult {
    let now = cx.kernel().clock.realtime().div_euclid(1_000_000_000);
    tloc.write_if_some(cx, &now)?;
    Ok(now as u64)
}

/// times(2)
pub fn times(cx: &mut Cx, buf: UserAddr<Tms>) -> SysResult {
    let (user, system) = cx.group().cpu_times();
    let children = cx.group().children_times();
    let tms = Tms {
        tms_utime: ticks(user),
        tms_stime: ticks(system),
        tms_cutime: ticks(children.0),
        tms_cstime: ticks(children.1),
    };
    buf.write_if_some(cx, &tms)?;
    Ok(ticks(cx.kernel().clock.monotonic()) as u64)
}

/// adjtimex(2): the state of a clock that nobody here adjusts.
pub fn adjtimex(cx: &mut Cx, buf: UserAddr<Timex>) -> SysResult {
    const TIME_ERROR: u64 = 5;
    const STA_UNSYNC: i32 = 0x40;
    let asked = buf.read(cx)?;
    if asked.modes != 0 {
        return Err(Errno::EPERM);
    }
    let now = cx.kernel().clock.realtime();
    let time = Timeval {
        tv_sec: now.div_euclid(1_000_000_000),
        tv_usec: now.rem_euclid(1_000_000_000) / 1000,
    };
    buf.write(
        cx,
        &Timex {
            status: STA_UNSYNC,
            tick: 10_000,
            precision: 1,
            tolerance: 32_768_000,
            maxerror: 16_000_000,
            esterror: 16_000_000,
            time,
            ..Timex::default()
        },
    )?;
    Ok(TIME_ERROR)
}

/// clock_adjtime(2)
pub fn clock_adjtime(cx: &mut Cx, id: i32, buf: UserAddr<Timex>) -> SysResult {
    match ClockId::new(cx, id)? {
        ClockId::Real => adjtimex(cx, buf),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
