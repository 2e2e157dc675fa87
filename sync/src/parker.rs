//! Parking: how a task sleeps and how others wake it.

use crate::futex::{Word, const_unless_loom};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const EMPTY: u32 = 0;
/// An unpark that no park has taken yet.
const TOKEN: u32 = 1;
const PARKED: u32 = 2;

/// Why a park ended.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Wakeup {
    /// By an unpark, of now or of before.
    Unparked,
    /// The deadline has passed.
    TimedOut,
}

/// One sleeper's bed. One thread parks, any thread may unpark.
///
/// An unpark is never lost: if nobody is parked it stays as a token, which the next park takes instead of sleeping. Several unparks before
/// one park are one token. What an unparker wrote before is seen after the park.
#[derive(Debug)]
pub struct Parker {
    state: Word,
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

impl Parker {
    const_unless_loom! {
        /// Without a token.
        pub fn new() -> Parker {
            Parker { state: Word::new(EMPTY) }
        }
    }

    /// Sleeps until unparked, or until CLOCK_MONOTONIC passes `deadline` nanoseconds.
    pub fn park(&self, deadline: Option<u64>) -> Wakeup {
        if self
            .state
            .compare_exchange(EMPTY, PARKED, Acquire, Acquire)
            .is_err()
        {
            return self.take();
        }
        loop {
            let in_time = self.state.wait(PARKED, deadline);
            if self.state.load(Relaxed) == TOKEN || !in_time {
                return self.take();
            }
        }
    }

    /// Takes the token if there is one, without sleeping.
    pub fn try_park(&self) -> bool {
        self.state
            .compare_exchange(TOKEN, EMPTY, Acquire, Relaxed)
            .is_ok()
    }

    fn take(&self) -> Wakeup {
        match self.state.swap(EMPTY, Acquire) {
            TOKEN => Wakeup::Unparked,
            _ => Wakeup::TimedOut,
        }
    }

    /// Wakes the sleeper, or leaves it a token.
    pub fn unpark(&self) {
        if self.state.swap(TOKEN, Release) == PARKED {
            self.state.wake(1);
        }
    }
}
