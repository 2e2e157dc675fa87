//! Time (`linux/time.h`, `linux/time_types.h`, `linux/timex.h`): clocks, timers, timerfd.
#![allow(missing_docs)]

abi_struct! {
    /// `struct timespec` of 64-bit Linux.
    pub struct Timespec [16] {
        pub tv_sec: i64,
        pub tv_nsec: i64,
    }

    /// `struct timeval`.
    pub struct Timeval [16] {
        pub tv_sec: i64,
        pub tv_usec: i64,
    }

    /// `struct itimerspec`.
    pub struct Itimerspec [32] {
        pub it_interval: Timespec,
        pub it_value: Timespec,
    }

    /// `struct itimerval`.
    pub struct Itimerval [32] {
        pub it_interval: Timeval,
        pub it_value: Timeval,
    }

    /// `struct timezone`.
    pub struct Timezone [8] {
        pub tz_minuteswest: i32,
        pub tz_dsttime: i32,
    }

    /// `struct utimbuf` (utime(2)).
    pub struct Utimbuf [16] {
        pub actime: i64,
        pub modtime: i64,
    }

    /// `struct tms` (times(2)), in clock ticks.
    pub struct Tms [32] {
        pub tms_utime: i64,
        pub tms_stime: i64,
        pub tms_cutime: i64,
        pub tms_cstime: i64,
    }

    /// `struct timex` (adjtimex(2)).
    pub struct Timex [208] {
        pub modes: u32,
        pub _pad0: i32,
        pub offset: i64,
        pub freq: i64,
        pub maxerror: i64,
        pub esterror: i64,
        pub status: i32,
        pub _pad1: i32,
        pub constant: i64,
        pub precision: i64,
        pub tolerance: i64,
        pub time: Timeval,
        pub tick: i64,
        pub ppsfreq: i64,
        pub jitter: i64,
        pub shift: i32,
        pub _pad2: i32,
        pub stabil: i64,
        pub jitcnt: i64,
        pub calcnt: i64,
        pub errcnt: i64,
        pub stbcnt: i64,
        pub tai: i32,
        pub _pad3: [i32; 11],
    }
}

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

impl Timespec {
    /// From nanoseconds.
    pub const fn from_ns(ns: u64) -> Timespec {
        Timespec {
            tv_sec: (ns / NSEC_PER_SEC) as i64,
            tv_nsec: (ns % NSEC_PER_SEC) as i64,
        }
    }

    /// In nanoseconds, saturating; `None` for what every call refuses with EINVAL: negative, or a fraction out of range.
    pub const fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_nsec < 0 || self.tv_nsec >= NSEC_PER_SEC as i64 {
            return None;
        }
        Some(
            (self.tv_sec as u64)
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add(self.tv_nsec as u64),
        )
    }
}

impl Timeval {
    /// From nanoseconds, rounded down.
    pub const fn from_ns(ns: u64) -> Timeval {
        Timeval {
            tv_sec: (ns / NSEC_PER_SEC) as i64,
            tv_usec: (ns % NSEC_PER_SEC / 1000) as i64,
        }
    }

    /// In nanoseconds, saturating; `None` if negative or with a fraction out of range.
    pub const fn to_ns(self) -> Option<u64> {
        if self.tv_sec < 0 || self.tv_usec < 0 || self.tv_usec >= 1_000_000 {
            return None;
        }
        Some(
            (self.tv_sec as u64)
                .saturating_mul(NSEC_PER_SEC)
                .saturating_add((self.tv_usec as u64).saturating_mul(1000)),
        )
    }
}

pub const ITIMER_REAL: i32 = 0;
pub const ITIMER_VIRTUAL: i32 = 1;
pub const ITIMER_PROF: i32 = 2;
pub const CLOCK_REALTIME: i32 = 0;
pub const CLOCK_MONOTONIC: i32 = 1;
pub const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;
pub const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
pub const CLOCK_MONOTONIC_RAW: i32 = 4;
pub const CLOCK_REALTIME_COARSE: i32 = 5;
pub const CLOCK_MONOTONIC_COARSE: i32 = 6;
pub const CLOCK_BOOTTIME: i32 = 7;
pub const CLOCK_REALTIME_ALARM: i32 = 8;
pub const CLOCK_BOOTTIME_ALARM: i32 = 9;
pub const CLOCK_SGI_CYCLE: i32 = 10;
pub const CLOCK_TAI: i32 = 11;
pub const TIMER_ABSTIME: i32 = 1;
/// Ticks per second in times(2), /proc/PID/stat and siginfo: `USER_HZ`.
pub const USER_HZ: u64 = 100;
pub const TFD_TIMER_ABSTIME: i32 = 1;
pub const TFD_TIMER_CANCEL_ON_SET: i32 = 2;
pub const TFD_CLOEXEC: i32 = 0o2000000;
pub const TFD_NONBLOCK: i32 = 0o4000;
pub const EFD_SEMAPHORE: i32 = 1;
pub const EFD_CLOEXEC: i32 = 0o2000000;
pub const EFD_NONBLOCK: i32 = 0o4000;
/// `CLOCKFD`: a clock id whose low three bits are this is a descriptor's or a process's CPU clock.
pub const CPUCLOCK_CLOCK_MASK: i32 = 3;
pub const CPUCLOCK_PERTHREAD_MASK: i32 = 4;
pub const CPUCLOCK_PROF: i32 = 0;
pub const CPUCLOCK_VIRT: i32 = 1;
pub const CPUCLOCK_SCHED: i32 = 2;
pub const TIME_OK: i32 = 0;
pub const TIME_ERROR: i32 = 5;
pub const STA_UNSYNC: i32 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds() {
        let table = [
            (1, 5, Some(1_000_000_005)),
            (-1, 0, None),
            (0, 1_000_000_000, None),
            (0, -1, None),
            (i64::MAX, 0, Some(u64::MAX)),
        ];
        for (tv_sec, tv_nsec, ns) in table {
            assert_eq!(Timespec { tv_sec, tv_nsec }.to_ns(), ns);
        }
        assert_eq!(
            Timespec::from_ns(1_000_000_005),
            Timespec {
                tv_sec: 1,
                tv_nsec: 5
            }
        );
        assert_eq!(
            Timeval {
                tv_sec: 2,
                tv_usec: 3
            }
            .to_ns(),
            Some(2_000_003_000)
        );
    }
}
