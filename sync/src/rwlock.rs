//! The readers-writer lock.

use crate::futex::const_unless_loom;
use crate::level;
use crate::raw::RawRwLock;
use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A value that many threads may read or one may write. Writers go first. `LEVEL` counts for readers too: one thread does not read twice.
pub struct RwLock<T: ?Sized, const LEVEL: u16 = { level::LEAF }> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value is moved between threads by writers and shared between them by readers.
unsafe impl<T: ?Sized + Send + Sync, const LEVEL: u16> Sync for RwLock<T, LEVEL> {}
// SAFETY: the lock owns its value; the raw lock is two atomics.
unsafe impl<T: ?Sized + Send, const LEVEL: u16> Send for RwLock<T, LEVEL> {}

/// The right to read; dropping it unlocks. Stays on its thread.
#[must_use = "dropping the guard unlocks"]
pub struct RwLockReadGuard<'a, T: ?Sized, const LEVEL: u16 = { level::LEAF }> {
    lock: &'a RwLock<T, LEVEL>,
    thread: PhantomData<*const ()>,
}

/// The right to write; dropping it unlocks. Stays on its thread.
#[must_use = "dropping the guard unlocks"]
pub struct RwLockWriteGuard<'a, T: ?Sized, const LEVEL: u16 = { level::LEAF }> {
    lock: &'a RwLock<T, LEVEL>,
    thread: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync, const LEVEL: u16> Sync for RwLockReadGuard<'_, T, LEVEL> {}
// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync, const LEVEL: u16> Sync for RwLockWriteGuard<'_, T, LEVEL> {}

impl<T, const LEVEL: u16> RwLock<T, LEVEL> {
    const_unless_loom! {
        /// Unlocked.
        pub fn new(value: T) -> Self {
            RwLock { raw: RawRwLock::new(), value: UnsafeCell::new(value) }
        }
    }

    /// The value of a lock nobody else can see.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized, const LEVEL: u16> RwLock<T, LEVEL> {
    /// Locks for reading.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read(&self) -> RwLockReadGuard<'_, T, LEVEL> {
        level::check(LEVEL, false);
        self.raw.read();
        level::push(LEVEL);
        RwLockReadGuard {
            lock: self,
            thread: PhantomData,
        }
    }

    /// Locks for reading while another lock of the same level is held; see [`crate::Mutex::lock_nested`].
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_nested(&self) -> RwLockReadGuard<'_, T, LEVEL> {
        level::check(LEVEL, true);
        self.raw.read();
        level::push(LEVEL);
        RwLockReadGuard {
            lock: self,
            thread: PhantomData,
        }
    }

    /// Locks for writing.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write(&self) -> RwLockWriteGuard<'_, T, LEVEL> {
        level::check(LEVEL, false);
        self.raw.write();
        level::push(LEVEL);
        RwLockWriteGuard {
            lock: self,
            thread: PhantomData,
        }
    }

    /// Locks for writing while another lock of the same level is held; see [`crate::Mutex::lock_nested`].
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write_nested(&self) -> RwLockWriteGuard<'_, T, LEVEL> {
        level::check(LEVEL, true);
        self.raw.write();
        level::push(LEVEL);
        RwLockWriteGuard {
            lock: self,
            thread: PhantomData,
        }
    }

    /// Locks for reading if that takes no waiting.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T, LEVEL>> {
        self.raw.try_read().then(|| {
            level::push(LEVEL);
            RwLockReadGuard {
                lock: self,
                thread: PhantomData,
            }
        })
    }

    /// Locks for writing if that takes no waiting.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T, LEVEL>> {
        self.raw.try_write().then(|| {
            level::push(LEVEL);
            RwLockWriteGuard {
                lock: self,
                thread: PhantomData,
            }
        })
    }

    /// The value, without locking: the borrow proves that nobody else is there.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized, const LEVEL: u16> Drop for RwLockReadGuard<'_, T, LEVEL> {
    #[inline]
    fn drop(&mut self) {
        level::pop(LEVEL);
        self.lock.raw.unlock_read();
    }
}

impl<T: ?Sized, const LEVEL: u16> Drop for RwLockWriteGuard<'_, T, LEVEL> {
    #[inline]
    fn drop(&mut self) {
        level::pop(LEVEL);
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized, const LEVEL: u16> Deref for RwLockReadGuard<'_, T, LEVEL> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock for reading: nobody writes while it lives.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized, const LEVEL: u16> Deref for RwLockWriteGuard<'_, T, LEVEL> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard holds the lock for writing: no other reference is alive but those made from this guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized, const LEVEL: u16> DerefMut for RwLockWriteGuard<'_, T, LEVEL> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed for writing.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Default, const LEVEL: u16> Default for RwLock<T, LEVEL> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T, const LEVEL: u16> From<T> for RwLock<T, LEVEL> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug, const LEVEL: u16> fmt::Debug for RwLock<T, LEVEL> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_tuple("RwLock").field(&&*guard).finish(),
            None => f.write_str("RwLock(<locked>)"),
        }
    }
}
