//! The algorithms of the locks, without data and without levels.

use crate::futex::{Word, const_unless_loom};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How often a thread looks again before it sleeps: about the length of a short critical section.
const SPINS: u32 = if cfg!(loom) { 0 } else { 60 };

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
/// Locked, and somebody may sleep: unlocking must wake.
const CONTENDED: u32 = 2;

/// A mutex in one word (Drepper, "Futexes are tricky", third version).
#[derive(Debug)]
pub struct RawMutex {
    word: Word,
}

impl RawMutex {
    const_unless_loom! {
        /// Unlocked.
        pub fn new() -> RawMutex {
            RawMutex { word: Word::new(UNLOCKED) }
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> bool {
        self.word
            .compare_exchange(UNLOCKED, LOCKED, Acquire, Relaxed)
            .is_ok()
    }

    /// Takes the lock, sleeping if need be.
    #[inline]
    pub fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            match self.word.load(Relaxed) {
                UNLOCKED if self.try_lock() => return,
                CONTENDED => break,
                _ => core::hint::spin_loop(),
            }
        }
        // Whoever has slept once can no longer know that nobody else sleeps: it locks as contended, at the price of one needless wake.
        while self.word.swap(CONTENDED, Acquire) != UNLOCKED {
            self.word.wait(CONTENDED, None);
        }
    }

    /// Releases the lock, which the caller holds.
    #[inline]
    pub fn unlock(&self) {
        if self.word.swap(UNLOCKED, Release) == CONTENDED {
            self.word.wake(1);
        }
    }

    /// Is it locked by anybody at this moment?
    pub fn is_locked(&self) -> bool {
        self.word.load(Relaxed) != UNLOCKED
    }
}

const WRITER: u32 = 1 << 31;
/// A writer waits: new readers stay out. The writer that gets in clears it, those still waiting set it again.
const WRITER_WAITS: u32 = 1 << 30;
/// Somebody may sleep. Who frees the lock clears it and wakes everybody; those who must sleep on set it again.
const SLEEPERS: u32 = 1 << 29;
const READERS: u32 = SLEEPERS - 1;

/// A readers-writer lock in one word that prefers writers. Reading twice on one thread may deadlock; the levels forbid it.
#[derive(Debug)]
pub struct RawRwLock {
    state: Word,
}

impl RawRwLock {
    const_unless_loom! {
        /// Unlocked.
        pub fn new() -> RawRwLock {
            RawRwLock { state: Word::new(0) }
        }
    }

    /// Takes the lock for reading if no writer has it or waits for it.
    #[inline]
    pub fn try_read(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while state & (WRITER | WRITER_WAITS) == 0 && state & READERS != READERS {
            match self
                .state
                .compare_exchange(state, state + 1, Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes the lock for reading.
    #[inline]
    pub fn read(&self) {
        if !self.try_read() {
            self.sleep_until(Self::try_read, SLEEPERS);
        }
    }

    /// Takes the lock for writing if it is free.
    #[inline]
    pub fn try_write(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while state & (WRITER | READERS) == 0 {
            match self
                .state
                .compare_exchange(state, WRITER | (state & SLEEPERS), Acquire, Relaxed)
            {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Takes the lock for writing.
    #[inline]
    pub fn write(&self) {
        if !self.try_write() {
            self.sleep_until(Self::try_write, SLEEPERS | WRITER_WAITS);
        }
    }

    /// Releases a reader's lock.
    #[inline]
    pub fn unlock_read(&self) {
        let before = self.state.fetch_sub(1, Release);
        if before & READERS == 1 && before & SLEEPERS != 0 {
            // Cleared before the wake: whoever sets it in between and sleeps already is woken too, whoever sleeps later set it again.
            self.state.fetch_and(!SLEEPERS, Relaxed);
            self.state.wake(i32::MAX);
        }
    }

    /// Releases a writer's lock.
    #[inline]
    pub fn unlock_write(&self) {
        if self.state.fetch_and(!(WRITER | SLEEPERS), Release) & SLEEPERS != 0 {
            self.state.wake(i32::MAX);
        }
    }

    #[cold]
    fn sleep_until(&self, attempt: fn(&Self) -> bool, marks: u32) {
        for _ in 0..SPINS {
            if attempt(self) {
                return;
            }
            core::hint::spin_loop();
        }
        loop {
            // The marks go up before the last look, and the sleep expects what was then: nothing changes unnoticed in between.
            let seen = self.state.fetch_or(marks, Relaxed) | marks;
            if attempt(self) {
                return;
            }
            self.state.wait(seen, None);
        }
    }
}
