//! Timers: one service thread for the sandbox keeps every armed timer in a heap and fires them; interval timers, POSIX timers and timerfds are its clients.
//!
//! The thread sleeps until the earliest deadline and for ever when there is none, so an idle sandbox makes no wake-ups.

mod cpu_clock;
mod limit;
pub mod posix;
pub mod timerfd;

pub use cpu_clock::{process_cpu, task_cpu};
pub use limit::watch_cpu_limit;

use crate::kernel::Kernel;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, Parker, level};

/// What happens when a timer's time has come. Called by the service thread with no lock of the service held.
pub trait Expire: Send + Sync {
    /// `now` is monotonic nanoseconds.
    fn expire(&self, now: u64);
}

type Key = (u64, u64);

/// The service.
pub struct TimerService {
    armed: Mutex<BTreeMap<Key, Weak<dyn Expire>>, { level::TIMERS }>,
    parker: Arc<Parker>,
    running: AtomicBool,
    next_id: AtomicU64,
}

impl Default for TimerService {
    fn default() -> Self {
        Self {
            armed: Mutex::new(BTreeMap::new()),
            parker: Arc::new(Parker::new()),
            running: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        }
    }
}

/// An armed timer, to disarm it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed(Key);

impl Armed {
    /// When it goes off, monotonic nanoseconds.
    pub fn deadline(self) -> u64 {
        self.0.0
    }
}

/// The sandbox's service.
pub fn service(kernel: &Arc<Kernel>) -> Arc<TimerService> {
    kernel.extension(TimerService::default)
}

impl TimerService {
    /// Calls `who` at `deadline` (monotonic nanoseconds), once, unless it is dropped or disarmed before.
    pub fn arm(
        self: &Arc<Self>,
        kernel: &Arc<Kernel>,
        deadline: u64,
        who: Weak<dyn Expire>,
    ) -> Armed {
        let key = (deadline, self.next_id.fetch_add(1, Ordering::Relaxed));
        let first = {
            let mut armed = self.armed.lock();
            armed.insert(key, who);
            armed.first_key_value().is_some_and(|(k, _)| *k == key)
        };
        if !self.running.swap(true, Ordering::SeqCst) {
            self.start(kernel);
        } else if first {
            self.parker.unpark();
        }
        Armed(key)
    }

    /// Takes it back; what is firing at this moment fires.
    pub fn disarm(&self, armed: Armed) {
        let old = self.armed.lock().remove(&armed.0);
        drop(old);
    }

    fn start(self: &Arc<Self>, kernel: &Arc<Kernel>) {
        let (service, kernel) = (self.clone(), Arc::downgrade(kernel));
        let body = move || {
            while let Some(clock) = kernel.upgrade().map(|k| k.clock.clone()) {
                let deadline = service.fire_due(clock.monotonic());
                service.parker.park(deadline);
            }
        };
        if sync::thread::spawn(sync::thread::Builder::new("timers"), body).is_err() {
            log::error!("no thread for timers: they will not fire until the next one is armed");
            self.running.store(false, Ordering::SeqCst);
        }
    }

    /// Fires what is due; the next deadline.
    fn fire_due(&self, now: u64) -> Option<u64> {
        loop {
            let due = {
                let mut armed = self.armed.lock();
                match armed.first_key_value() {
                    None => return None,
                    Some((key, _)) if key.0 > now => return Some(key.0),
                    Some(_) => armed.pop_first(),
                }
            };
            if let Some(timer) = due.and_then(|(_, t)| t.upgrade()) {
                timer.expire(now);
            }
        }
    }
}

/// A periodic deadline: how often it has passed at `now`, and the next one. `interval` 0 means once.
pub(crate) fn advance(deadline: u64, interval: u64, now: u64) -> (u64, Option<u64>) {
    if now < deadline {
        return (0, Some(deadline));
    }
    if interval == 0 {
        return (1, None);
    }
    let passed = now
        .saturating_sub(deadline)
        .checked_div(interval)
        .unwrap_or(0)
        .saturating_add(1);
    (
        passed,
        Some(deadline.saturating_add(interval.saturating_mul(passed))),
    )
}
