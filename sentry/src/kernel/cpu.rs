//! Processor time of tasks. A task's user time is its host thread's in the stub, its system time its sentry thread's; both are read from the host's clocks by whoever asks.

use super::thread_group::Usage;
use crate::mm::MemoryManager;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Where a task's processor time is to be read.
#[derive(Default)]
pub struct CpuAccount {
    /// The sentry thread, as the host numbers it; 0 before the task runs.
    sentry_tid: AtomicI32,
    /// Final values, once the task has ended.
    utime: AtomicU64,
    stime: AtomicU64,
}

impl CpuAccount {
    /// Called by the task's own thread at its start.
    pub fn attach(&self, sentry_tid: i32) {
        self.sentry_tid.store(sentry_tid, Ordering::Relaxed);
    }

    /// Called by the task's own thread: its system time so far.
    pub fn sample_own(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let ns = u64::try_from(
            now.tv_sec
                .saturating_mul(1_000_000_000)
                .saturating_add(now.tv_nsec),
        )
        .unwrap_or(0);
        self.stime.store(ns, Ordering::Relaxed);
    }

    /// Adds user time measured by the platform.
    pub fn add_user(&self, ns: u64) {
        self.utime.fetch_add(ns, Ordering::Relaxed);
    }
    /// Replaces the user time by the platform's reading.
    pub fn set_user(&self, ns: u64) {
        self.utime.store(ns, Ordering::Relaxed);
    }
    /// User nanoseconds as last read.
    pub fn user(&self) -> u64 {
        self.utime.load(Ordering::Relaxed)
    }
    /// System nanoseconds as last read.
    pub fn system(&self) -> u64 {
        self.stime.load(Ordering::Relaxed)
    }

    /// What the task has used.
    pub fn usage(&self, mm: Option<&Arc<MemoryManager>>) -> Usage {
        let maxrss = mm.map_or(0, |mm| mm.max_rss_kib());
        Usage {
            utime: self.user(),
            stime: self.system(),
            maxrss,
            ..Usage::default()
        }
    }

    /// The same at its end, by its own thread.
    pub fn final_usage(&self, mm: Option<&Arc<MemoryManager>>) -> Usage {
        self.sample_own();
        self.usage(mm)
    }
}
