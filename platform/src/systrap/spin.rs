//! When a sentry thread and its guest thread hand over by their page, each on a processor of its own and neither asleep: only when that pays.
//!
//! It begins after several calls of which none took long, nor what the guest did before it; not while guest threads that run and sentry threads that
//! look at pages want more processors than there are. It ends as soon as waiting is in vain a few times, for each of
//! which a look or the guest's patience has run out: somebody else wanted the processor, or the program does something else now. Then it is left alone,
//! for twice as long each time that it has not paid. The wake-up that hands over on one processor is off meanwhile, so changing costs migrations.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::placement;
use crate::stub::raw::rdtsc;

/// Ticks of the time-stamp counter, of which a microsecond has between 1,600 and 5,000. How long a look takes that finds nothing.
const LOOK: u64 = 20_000;
/// The first one, until the guest thread has woken up elsewhere.
const FIRST_LOOK: u64 = 300_000;
/// From an answer to the next call, by the host, and from there to its answer: more is too long.
const SHORT: u64 = 60_000;
/// So many short calls in a row make it worth a try.
const STREAK: u32 = 12;
/// So many looks in vain end it,
const MISSES: u32 = 3;
/// of which one is forgiven after so many calls.
const HITS: u32 = 32;
/// What a try costs, those looks and two migrations, has come in again after so many.
const PAID: u32 = 100;
/// How long it is left alone: after a try that has paid, and at most.
const PAUSE: u64 = 4_000_000;
const LONGEST_PAUSE: u64 = 4_000_000_000;

/// Guest threads that run, of sandboxes that rewrite, and sentry threads that look at pages.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// One guest thread runs, from here to the drop.
pub struct Running;

impl Running {
    pub fn new() -> Running {
        BUSY.fetch_add(1, Relaxed);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Relaxed);
    }
}

fn processors() -> usize {
    static COUNT: sync::OnceLock<usize> = sync::OnceLock::new();
    *COUNT.get_or_init(|| {
        let words = placement::all().iter();
        words.map(|word| word.count_ones() as usize).sum()
    })
}

/// See the module.
pub struct Spin {
    allowed: bool,
    /// The pair hands over by page.
    on: bool,
    first: bool,
    streak: u32,
    /// Since it began.
    hits: u32,
    /// Not forgiven.
    misses: u32,
    /// When the guest thread was last let go, and when its call came.
    answered: u64,
    called: u64,
    /// Not before.
    again: u64,
    pause: u64,
}

impl Spin {
    pub fn new(allowed: bool) -> Spin {
        Spin {
            allowed: allowed && processors() > 1,
            on: false,
            first: false,
            streak: 0,
            hits: 0,
            misses: 0,
            answered: 0,
            called: 0,
            again: 0,
            pause: PAUSE,
        }
    }

    /// Not for this thread: it may not run everywhere.
    pub fn forbid(&mut self) {
        (self.allowed, self.on) = (false, false);
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    /// A call has come by the host.
    pub fn called(&mut self, by_site: bool) {
        if !self.allowed {
            return;
        }
        self.called = rdtsc();
        let short = by_site && self.called.wrapping_sub(self.answered) < SHORT;
        self.streak = if short {
            self.streak.saturating_add(1)
        } else {
            0
        };
    }

    /// It is about to be answered. Does the pair begin, or stop, to hand over by page? `Some` if that changes.
    pub fn answering(&mut self) -> Option<bool> {
        if !self.allowed {
            return None;
        }
        let now = rdtsc();
        self.answered = now;
        if self.on {
            return (self.misses >= MISSES).then(|| self.end(now));
        }
        if now.wrapping_sub(self.called) > SHORT {
            self.streak = 0;
        }
        let begin = self.streak >= STREAK && now > self.again && BUSY.load(Relaxed) < processors();
        begin.then(|| {
            (self.on, self.first) = (true, true);
            (self.hits, self.misses) = (0, 0);
            true
        })
    }

    fn end(&mut self, now: u64) -> bool {
        self.on = false;
        self.streak = 0;
        self.again = now.wrapping_add(self.pause);
        self.pause = if self.hits >= PAID {
            PAUSE
        } else {
            self.pause.saturating_mul(2).min(LONGEST_PAUSE)
        };
        false
    }

    /// Looks until there is something, or for as long as it is worth it.
    pub fn look<T>(&mut self, mut take: impl FnMut() -> Option<T>) -> Option<T> {
        let _looking = Running::new();
        let limit = if std::mem::take(&mut self.first) {
            FIRST_LOOK
        } else {
            LOOK
        };
        let start = rdtsc();
        loop {
            for _ in 0..16 {
                if let Some(found) = take() {
                    self.hit();
                    return Some(found);
                }
                std::hint::spin_loop();
            }
            if BUSY.load(Relaxed) > processors() {
                // Somebody else has something better to do here.
                self.misses = MISSES;
                return None;
            }
            if rdtsc().wrapping_sub(start) > limit {
                self.miss();
                return None;
            }
        }
    }

    fn hit(&mut self) {
        self.hits = self.hits.saturating_add(1);
        if self.hits.is_multiple_of(HITS) {
            self.misses = self.misses.saturating_sub(1);
        }
    }

    /// The guest thread or the sentry thread has waited in vain.
    pub fn miss(&mut self) {
        self.misses += 1;
    }
}
