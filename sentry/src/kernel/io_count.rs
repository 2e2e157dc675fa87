//! What tasks have read and written (`/proc/PID/io`, `proc_pid_io(5)`).

use super::task::Task;
use super::thread_group::ThreadGroup;
use crate::syscall::SysResult;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a task; of a group, those of its threads that have ended and of the children it has waited for.
#[derive(Default)]
pub struct IoCount {
    reads: Count,
    writes: Count,
}

#[derive(Default)]
struct Count {
    calls: AtomicU64,
    bytes: AtomicU64,
}

/// Their values.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct IoUsage {
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
}

impl Count {
    fn add(&self, calls: u64, bytes: u64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn get(&self) -> (u64, u64) {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        (get(&self.calls), get(&self.bytes))
    }
}

impl IoCount {
    /// A call of the `read(2)` family has ended so.
    pub fn count_read(&self, result: &SysResult) {
        self.reads.add(1, result.unwrap_or(0));
    }
    /// One of the `write(2)` family.
    pub fn count_write(&self, result: &SysResult) {
        self.writes.add(1, result.unwrap_or(0));
    }
    /// The values.
    pub fn usage(&self) -> IoUsage {
        let ((syscr, rchar), (syscw, wchar)) = (self.reads.get(), self.writes.get());
        IoUsage {
            rchar,
            wchar,
            syscr,
            syscw,
        }
    }
    /// Takes over what another had counted.
    pub(super) fn add(&self, other: &IoUsage) {
        self.reads.add(other.syscr, other.rchar);
        self.writes.add(other.syscw, other.wchar);
    }
}

impl ThreadGroup {
    /// What its threads, dead ones included, and the children it has waited for have read and written.
    pub fn io_usage(&self) -> IoUsage {
        let sum = IoCount::default();
        sum.add(&self.dead_io.usage());
        for task in self.tasks().iter().filter(|task| !task.is_dead()) {
            sum.add(&task.io.usage());
        }
        sum.usage()
    }
    /// A child was waited for.
    pub(super) fn inherit_io(&self, child: &ThreadGroup) {
        self.dead_io.add(&child.io_usage());
    }
}

impl Task {
    /// It counts as dead from now on.
    pub(super) fn retire_io(&self) {
        self.group().dead_io.add(&self.io.usage());
    }
}
