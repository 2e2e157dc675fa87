//! The mutex.

use crate::futex::const_unless_loom;
use crate::level;
use crate::raw::RawMutex;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A value that one thread at a time may touch. `LEVEL` is the lock's place in the order of [`level`].
///
/// Where nothing else says so (a field's type does), write the type: `Mutex::<_, { level::LEAF }>::new(…)`.
pub struct Mutex<T: ?Sized, const LEVEL: u16 = { level::LEAF }> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex hands out the value to one thread at a time, so sharing it moves the value between threads at most.
unsafe impl<T: ?Sized + Send, const LEVEL: u16> Sync for Mutex<T, LEVEL> {}
// SAFETY: the mutex owns its value; the raw lock is an atomic.
unsafe impl<T: ?Sized + Send, const LEVEL: u16> Send for Mutex<T, LEVEL> {}

/// The right to the value of a locked mutex; dropping it unlocks. Stays on its thread.
#[must_use = "dropping the guard unlocks"]
pub struct MutexGuard<'a, T: ?Sized, const LEVEL: u16 = { level::LEAF }> {
    mutex: &'a Mutex<T, LEVEL>,
    /// Not `Send`: levels are kept per thread.
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync, const LEVEL: u16> Sync for MutexGuard<'_, T, LEVEL> {}

impl<T, const LEVEL: u16> Mutex<T, LEVEL> {
    const_unless_loom! {
        /// Unlocked.
        pub fn new(value: T) -> Self {
            Mutex { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value of a mutex nobody else can see.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized, const LEVEL: u16> Mutex<T, LEVEL> {
    /// Locks, waiting as long as it takes.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T, LEVEL> {
        level::check(LEVEL, false);
        self.lock_unchecked()
    }

    /// Locks while another lock of the same level is held: the caller orders the two by a rule of its own, and says which.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_nested(&self) -> MutexGuard<'_, T, LEVEL> {
        level::check(LEVEL, true);
        self.lock_unchecked()
    }

    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub(crate) fn lock_unchecked(&self) -> MutexGuard<'_, T, LEVEL> {
        self.raw.lock();
        level::push(LEVEL);
        MutexGuard {
            mutex: self,
            thread: PhantomData,
        }
    }

    /// Locks if that takes no waiting; for that reason in any order.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T, LEVEL>> {
        self.raw.try_lock().then(|| {
            level::push(LEVEL);
            MutexGuard {
                mutex: self,
                thread: PhantomData,
            }
        })
    }

    /// The value, without locking: the borrow proves that nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Is it locked at this moment, by anybody? For assertions.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }
}

impl<'a, T: ?Sized, const LEVEL: u16> MutexGuard<'a, T, LEVEL> {
    /// The mutex this guard locks.
    pub(crate) fn mutex(guard: &Self) -> &'a Mutex<T, LEVEL> {
        guard.mutex
    }

    /// Runs `body` with the mutex unlocked, then locks it again.
    pub fn unlocked<R>(guard: &mut Self, body: impl FnOnce() -> R) -> R {
        level::pop(LEVEL);
        guard.mutex.raw.unlock();
        let result = body();
        level::check(LEVEL, false);
        guard.mutex.raw.lock();
        level::push(LEVEL);
        result
    }
}

impl<T: ?Sized, const LEVEL: u16> Drop for MutexGuard<'_, T, LEVEL> {
    #[inline]
    fn drop(&mut self) {
        level::pop(LEVEL);
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized, const LEVEL: u16> Deref for MutexGuard<'_, T, LEVEL> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock, so no other reference to the value is alive but those made from this guard.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized, const LEVEL: u16> DerefMut for MutexGuard<'_, T, LEVEL> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed for writing.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: Default, const LEVEL: u16> Default for Mutex<T, LEVEL> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T, const LEVEL: u16> From<T> for Mutex<T, LEVEL> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug, const LEVEL: u16> fmt::Debug for Mutex<T, LEVEL> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("Mutex").field(&&*guard).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

impl<T: ?Sized + fmt::Debug, const LEVEL: u16> fmt::Debug for MutexGuard<'_, T, LEVEL> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
