//! Timers of a process. The service that fires them and the calls that set them are in [`crate::time`].

use std::any::Any;
use std::sync::Arc;
use sync::Mutex;

/// The timers of a thread group: interval timers and POSIX timers, kept by the timer service.
#[derive(Default)]
pub struct ProcessTimers {
    slots: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

impl ProcessTimers {
    /// The timer service's own state for this process, made on first use.
    pub fn get_or_init<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        let mut slots = self.slots.lock();
        slots
            .get_or_insert_with(|| Arc::new(make()))
            .clone()
            .downcast()
            .ok()
    }
    /// The state, if the process ever set a timer.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.slots.lock().clone()?.downcast().ok()
    }
    /// Drops every timer: the state's own `Drop` disarms them.
    pub fn clear(&self) {
        let old = self.slots.lock().take();
        drop(old);
    }
}
