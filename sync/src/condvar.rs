//! The condition variable.

use crate::futex::{Word, const_unless_loom};
use crate::mutex::MutexGuard;
use core::sync::atomic::Ordering::SeqCst;

/// A place to wait, with a mutex released, until another thread says that something has changed.
///
/// Wakeups may come without a reason: wait in a loop, or with [`Condvar::wait_while`].
#[derive(Debug)]
pub struct Condvar {
    /// Counts notifications; a waiter sleeps while it is what it was under the mutex.
    sequence: Word,
    waiters: Word,
}

impl Default for Condvar {
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    const_unless_loom! {
        /// Nobody waits.
        pub fn new() -> Condvar {
            Condvar { sequence: Word::new(0), waiters: Word::new(0) }
        }
    }

    /// Unlocks, waits for a notification, locks again.
    pub fn wait<'a, T: ?Sized, const LEVEL: u16>(
        &self,
        guard: MutexGuard<'a, T, LEVEL>,
    ) -> MutexGuard<'a, T, LEVEL> {
        self.wait_until(guard, None).0
    }

    /// As [`Condvar::wait`], until CLOCK_MONOTONIC passes `deadline` nanoseconds. True: it has passed.
    pub fn wait_until<'a, T: ?Sized, const LEVEL: u16>(
        &self,
        guard: MutexGuard<'a, T, LEVEL>,
        deadline: Option<u64>,
    ) -> (MutexGuard<'a, T, LEVEL>, bool) {
        let mutex = MutexGuard::mutex(&guard);
        // Raised under the mutex and before the sequence is read: a notifier that comes later sees the waiter or changes the number.
        self.waiters.fetch_add(1, SeqCst);
        let seen = self.sequence.load(SeqCst);
        drop(guard);
        let in_time = self.sequence.wait(seen, deadline);
        self.waiters.fetch_sub(1, SeqCst);
        (mutex.lock_nested(), !in_time)
    }

    /// Waits while `condition` holds.
    pub fn wait_while<'a, T: ?Sized, const LEVEL: u16>(
        &self,
        mut guard: MutexGuard<'a, T, LEVEL>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T, LEVEL> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Wakes one waiter, if there is one.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notify(i32::MAX);
    }

    fn notify(&self, count: i32) {
        self.sequence.fetch_add(1, SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            self.sequence.wake(count);
        }
    }
}
