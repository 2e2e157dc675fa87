//! When cached names are looked at again, in a tree that others change seldom: the root of a container, into which an engine copies a file (`docker cp`).
//!
//! Once in a moment, which is about a second, each directory that is walked through is asked whether others have changed it ([`Inode::changes`](crate::Inode::changes)). What
//! comes from outside ([`look_again`]) begins a new moment at once: a program that an engine starts sees what the engine has put there before. Within
//! a moment a cached name costs what it costs where nobody else changes anything: one comparison.

use crate::Caller;
use std::sync::atomic::{AtomicU32, Ordering};

/// Beginning with 1: 0 is no moment's number.
static CALLS: AtomicU32 = AtomicU32::new(1);

/// Begins a new moment.
pub fn look_again() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// A moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Another one in every other moment.
    pub number: u32,
    /// The time of whoever asked, nanoseconds of `CLOCK_REALTIME`.
    pub ns: i64,
}

impl Moment {
    /// 2^30 ns.
    const BITS: u32 = 30;

    /// The one that `caller` is in.
    pub fn of(caller: &dyn Caller) -> Moment {
        let ns = caller.now_ns();
        let time = u32::try_from((ns >> Self::BITS) & i64::from(u32::MAX)).unwrap_or(0);
        let number = time.wrapping_add(CALLS.load(Ordering::Relaxed));
        Moment { number, ns }
    }
}
