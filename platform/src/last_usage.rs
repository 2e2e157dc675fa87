//! What the host tells of an address space at its very end: who wants to know may have to wait until it is gone, but nobody else does.

use std::sync::Arc;

use abi::PAGE_SIZE;

use crate::{HostUsage, stub};

impl HostUsage {
    /// From what getrusage(2) and wait4(2) tell: the largest resident set in KiB, minor and major faults, involuntary switches. A guest may have
    /// written them: the numbers stay small enough to be added up.
    pub(crate) fn of(told: [u64; 4]) -> HostUsage {
        let [kib, minor_faults, major_faults, preemptions] = told.map(|n| n.min(1 << 48));
        HostUsage {
            peak_rss: (kib / (PAGE_SIZE / 1024)).min(stub::USER.end / PAGE_SIZE),
            minor_faults,
            major_faults,
            preemptions,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct LastUsage {
    told: sync::Mutex<Option<HostUsage>>,
    changed: sync::Condvar,
}

impl std::fmt::Debug for LastUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LastUsage")
    }
}

impl LastUsage {
    /// Not known yet.
    pub fn new() -> Arc<LastUsage> {
        Arc::default()
    }

    /// To be called once it is known.
    pub fn tell(&self, usage: HostUsage) {
        *self.told.lock() = Some(usage);
        self.changed.notify_all();
    }

    /// If it is known.
    pub fn known(&self) -> Option<HostUsage> {
        *self.told.lock()
    }

    /// Waits until it is. The address space must be about to end, and the caller hold nothing that its end needs.
    pub fn wait(&self) -> HostUsage {
        let mut told = self.told.lock();
        loop {
            if let Some(usage) = *told {
                return usage;
            }
            told = self.changed.wait(told);
        }
    }
}
