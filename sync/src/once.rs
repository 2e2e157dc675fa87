//! Values that are made once.

use crate::futex::{Word, const_unless_loom};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

const EMPTY: u32 = 0;
const RUNNING: u32 = 1;
/// Running, and somebody may sleep.
const AWAITED: u32 = 2;
const DONE: u32 = 3;

/// A value written at most once and read by everybody afterwards.
pub struct OnceLock<T> {
    state: Word,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: readers share `&T`, and the thread that reads or drops the value may be another than the one that made it.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
// SAFETY: the cell owns its value.
unsafe impl<T: Send> Send for OnceLock<T> {}

/// Puts the cell back to empty if the initialiser unwinds, which only tests can see.
struct Reset<'a>(&'a Word);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(EMPTY, Release);
        self.0.wake(i32::MAX);
    }
}

impl<T> OnceLock<T> {
    const_unless_loom! {
        /// Empty.
        pub fn new() -> OnceLock<T> {
            OnceLock { state: Word::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// The value, if it has been made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: `DONE` is stored after the value was written and never left while `self` is shared; acquire pairs with that store.
        (self.state.load(Acquire) == DONE).then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value, for a cell nobody else can see.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`; the borrow is exclusive.
        (self.state.load(Acquire) == DONE).then(|| unsafe { (*self.value.get()).assume_init_mut() })
    }

    /// Writes the value, or gives it back if there is one.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init_with(&mut || value.take());
        value.map_or(Ok(()), Err)
    }

    /// The value, made by `init` if this is the first call. Others wait; `init` must not ask for the same cell.
    #[inline]
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let mut init = Some(init);
        loop {
            self.get_or_init_with(&mut || init.take().map(|init| init()));
            if let Some(value) = self.get() {
                return value;
            }
        }
    }

    /// Runs `make` unless the cell is full, waiting for a `make` that runs elsewhere.
    #[cold]
    fn get_or_init_with(&self, make: &mut dyn FnMut() -> Option<T>) {
        loop {
            match self
                .state
                .compare_exchange(EMPTY, RUNNING, Acquire, Acquire)
            {
                Ok(_) => {
                    let reset = Reset(&self.state);
                    let Some(value) = make() else { return };
                    // SAFETY: the state is RUNNING by this thread alone: nobody reads, nobody else writes.
                    unsafe { (*self.value.get()).write(value) };
                    core::mem::forget(reset);
                    if self.state.swap(DONE, AcqRel) == AWAITED {
                        self.state.wake(i32::MAX);
                    }
                    return;
                }
                Err(DONE) => return,
                Err(RUNNING) => {
                    let _ = self
                        .state
                        .compare_exchange(RUNNING, AWAITED, Relaxed, Relaxed);
                }
                Err(_) => {
                    self.state.wait(AWAITED, None);
                }
            }
        }
    }

    /// Takes the value out and leaves the cell empty.
    pub fn take(&mut self) -> Option<T> {
        if self.state.swap(EMPTY, Acquire) != DONE {
            return None;
        }
        // SAFETY: the state was DONE, so the value is there; it is EMPTY now, so nobody reads or drops it again. The borrow is exclusive.
        Some(unsafe { (*self.value.get()).assume_init_read() })
    }

    /// The value of a cell nobody else can see.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceLock").field(&self.get()).finish()
    }
}

/// A value that its first use makes.
pub struct LazyLock<T, F = fn() -> T> {
    cell: OnceLock<T>,
    init: Cell<Option<F>>,
}

// SAFETY: `init` is touched only by the one thread that `cell` lets run its initialiser, and that thread may be any: hence `F: Send`.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    const_unless_loom! {
        /// Not made yet.
        pub fn new(init: F) -> LazyLock<T, F> {
            LazyLock { cell: OnceLock::new(), init: Cell::new(Some(init)) }
        }
    }

    /// The value, made now if need be.
    pub fn force(this: &Self) -> &T {
        this.cell.get_or_init(|| match this.init.take() {
            Some(init) => init(),
            None => panic!("the initialiser of a LazyLock has panicked before"),
        })
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        Self::force(self)
    }
}
