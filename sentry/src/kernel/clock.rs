//! Time. All of the sentry's comes from a [`Clock`], so that timers can be tested with a fake one and moved by checkpoint.

/// The clocks the kernel reads. Nanoseconds.
pub trait Clock: Send + Sync {
    /// `CLOCK_MONOTONIC`.
    fn monotonic(&self) -> u64;
    /// `CLOCK_REALTIME`.
    fn realtime(&self) -> i64;
    /// `CLOCK_REALTIME_COARSE`: as of the last tick, as the vDSO tells it.
    fn realtime_coarse(&self) -> i64 {
        self.realtime()
    }
    /// `CLOCK_MONOTONIC_RAW`: not slewed.
    fn monotonic_raw(&self) -> u64 {
        self.monotonic()
    }
    /// `CLOCK_MONOTONIC_COARSE`.
    fn monotonic_coarse(&self) -> u64 {
        self.monotonic()
    }
    /// `CLOCK_BOOTTIME`.
    fn boottime(&self) -> u64 {
        self.monotonic()
    }
}

/// The host's clocks; the guest's vDSO reads the same ones.
pub struct HostClock;

fn nanos(ts: rustix::time::Timespec) -> i64 {
    ts.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(ts.tv_nsec)
}

impl Clock for HostClock {
    fn monotonic(&self) -> u64 {
        u64::try_from(nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::Monotonic,
        )))
        .unwrap_or(0)
    }
    fn realtime(&self) -> i64 {
        nanos(rustix::time::clock_gettime(rustix::time::ClockId::Realtime))
    }
    fn realtime_coarse(&self) -> i64 {
        nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::RealtimeCoarse,
        ))
    }
    fn monotonic_raw(&self) -> u64 {
        u64::try_from(nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::MonotonicRaw,
        )))
        .unwrap_or(0)
    }
    fn monotonic_coarse(&self) -> u64 {
        u64::try_from(nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::MonotonicCoarse,
        )))
        .unwrap_or(0)
    }
    fn boottime(&self) -> u64 {
        u64::try_from(nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::Boottime,
        )))
        .unwrap_or(0)
    }
}
