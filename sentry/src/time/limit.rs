//! `RLIMIT_CPU`: `SIGXCPU` for each second of processor time from the soft limit on, `SIGKILL` at the hard one (`check_process_timers` of
//! `kernel/time/posix-cpu-timers.c`, which moves the soft limit up by a second each time, too).

use super::posix::{Source, timers};
use super::{Armed, Expire, process_cpu, service};
use crate::kernel::ThreadGroup;
use crate::kernel::limits::{INFINITY, Limit, Resource};
use abi::siginfo::SigInfo;
use abi::signal::Signal;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

const SECOND: u64 = 1_000_000_000;

/// Looks at a process's processor time when the next limit may have been reached.
pub struct CpuLimit {
    group: Weak<ThreadGroup>,
    armed: Mutex<Option<Armed>, { level::TIMER }>,
}

/// Has the limit of `group` watched, which is new: set, or inherited by a new process.
pub fn watch_cpu_limit(group: &Arc<ThreadGroup>) {
    if group.limits.soft(Resource::Cpu) == INFINITY {
        return;
    }
    let Ok(timers) = timers(group) else { return };
    let watcher = timers
        .cpu_limit
        .lock()
        .get_or_insert_with(|| Arc::new(CpuLimit::new(group)))
        .clone();
    watcher.look(group);
}

impl CpuLimit {
    fn new(group: &Arc<ThreadGroup>) -> Self {
        Self {
            group: Arc::downgrade(group),
            armed: Mutex::new(None),
        }
    }

    /// Says what is due, and looks again at the next limit.
    fn look(self: &Arc<Self>, group: &Arc<ThreadGroup>) {
        let Limit { soft, hard } = group.limits.get(Resource::Cpu);
        if soft == INFINITY || group.is_zombie() {
            return;
        }
        let used = process_cpu(group);
        if hard != INFINITY && used >= hard.saturating_mul(SECOND) {
            group.send(SigInfo::kernel(Signal::SIGKILL));
            return;
        }
        let mut next = soft;
        if used >= soft.saturating_mul(SECOND) {
            group.send(SigInfo::kernel(Signal::SIGXCPU));
            next = soft.saturating_add(1);
            let _ = group
                .limits
                .set_raw(Resource::Cpu as usize, Limit::new(next, hard));
        }
        let at = Source::ProcessCpu.earliest(group, next.min(hard).saturating_mul(SECOND));
        let weak: Weak<CpuLimit> = Arc::downgrade(self);
        let service = service(group.kernel());
        let mut armed = self.armed.lock();
        if let Some(old) = armed.replace(service.arm(group.kernel(), at, weak)) {
            service.disarm(old);
        }
    }
}

impl Expire for CpuLimit {
    fn expire(&self, _now: u64) {
        if let Some(group) = self.group.upgrade() {
            watch_cpu_limit(&group);
        }
    }
}
