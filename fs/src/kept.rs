//! Copies that open files keep for their next read: listings, and texts of `/proc`. Each is as large as what it shows, and a guest may open anything any number of
//! times; so there is a bound on all of them together. A file that comes too late makes its copy anew at each read.

use std::sync::atomic::{AtomicUsize, Ordering};
use sync::Mutex;

/// What copies may take together.
pub struct Budget {
    used: AtomicUsize,
    most: usize,
}

/// All copies of the sandbox.
static ALL: Budget = Budget::new(64 << 20);

impl Budget {
    const fn new(most: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            most,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }
}

struct Charged<T> {
    what: T,
    bytes: usize,
    budget: &'static Budget,
}

impl<T> Drop for Charged<T> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The copy of one open file.
pub struct Kept<T> {
    copy: Mutex<Option<Charged<T>>>,
    budget: &'static Budget,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            copy: Mutex::new(None),
            budget: &ALL,
        }
    }
}

impl<T: Clone> Kept<T> {
    /// The copy, if there is one.
    pub fn get(&self) -> Option<T> {
        self.copy.lock().as_ref().map(|copy| copy.what.clone())
    }

    /// Keeps `what`, which takes so many bytes, in place of what was kept, if there is room.
    pub fn put(&self, what: T, bytes: usize) {
        let old = self.copy.lock().take();
        drop(old);
        let budget = self.budget;
        // Not `then_some`: what was not charged must not be given back.
        let new = budget.take(bytes).then(|| Charged {
            what,
            bytes,
            budget,
        });
        let old = std::mem::replace(&mut *self.copy.lock(), new);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_kept() {
        static FEW: Budget = Budget::new(10);
        let kept = || Kept {
            budget: &FEW,
            ..Kept::default()
        };
        let (a, b) = (kept(), kept());
        a.put('a', 8);
        b.put('b', 3);
        assert_eq!((a.get(), b.get()), (Some('a'), None));
        a.put('c', 7);
        b.put('b', 3);
        assert_eq!((a.get(), b.get()), (Some('c'), Some('b')));
        a.put('d', 8);
        assert_eq!((a.get(), FEW.used.load(Ordering::Relaxed)), (None, 3));
        drop(b);
        a.put('d', 10);
        assert_eq!(a.get(), Some('d'));
        a.put('e', usize::MAX);
        assert_eq!((a.get(), FEW.used.load(Ordering::Relaxed)), (None, 0));
    }
}
