//! The futex word: all sleeping and waking of this crate happens in `Word::wait` and `Word::wake`.
//!
//! Built with `--cfg loom`, a word is a model of a futex instead, and the algorithms above it run under the model checker.

#[cfg(not(loom))]
mod imp {
    use core::ops::Deref;
    use core::sync::atomic::AtomicU32;

    /// An atomic 32-bit word that threads, of any process that maps it, can sleep on.
    #[repr(transparent)]
    #[derive(Debug)]
    pub struct Word(AtomicU32);

    impl Deref for Word {
        type Target = AtomicU32;

        fn deref(&self) -> &AtomicU32 {
            &self.0
        }
    }

    impl Word {
        pub const fn new(value: u32) -> Word {
            Word(AtomicU32::new(value))
        }

        /// Sleeps while the word is `expected`, until woken or until CLOCK_MONOTONIC passes `deadline` nanoseconds.
        /// May return early without a reason. False: the deadline has passed.
        pub fn wait(&self, expected: u32, deadline: Option<u64>) -> bool {
            let timespec = deadline.map(|ns| libc::timespec {
                tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: (ns % 1_000_000_000) as i64,
            });
            let timeout = timespec
                .as_ref()
                .map_or(core::ptr::null(), core::ptr::from_ref);
            // SAFETY: the word is a live, aligned u32 for the length of the call because `self` is borrowed; the kernel only loads it.
            // `timeout` is null or points at `timespec`, which outlives the call. WAIT_BITSET takes an absolute time.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.0.as_ptr(),
                    libc::FUTEX_WAIT_BITSET,
                    expected,
                    timeout,
                    core::ptr::null::<u32>(),
                    libc::FUTEX_BITSET_MATCH_ANY,
                )
            };
            // SAFETY: errno's location is valid on every thread.
            result == 0 || unsafe { *libc::__errno_location() } != libc::ETIMEDOUT
        }

        /// Wakes up to `count` sleepers.
        pub fn wake(&self, count: i32) {
            // SAFETY: FUTEX_WAKE does not touch the word, it only uses its address as a key; an address that is no longer mapped is an error
            // return, one that was reused wakes a sleeper that rechecks its condition.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, count) };
        }
    }
}

#[cfg(loom)]
#[allow(missing_docs)]
mod imp {
    use core::ops::Deref;
    use loom::sync::atomic::AtomicU32;
    use loom::sync::{Condvar, Mutex};

    /// A futex as a model: comparing and going to sleep are one step to wakers.
    #[derive(Debug)]
    pub struct Word {
        value: AtomicU32,
        queue: Mutex<()>,
        wakeup: Condvar,
    }

    impl Deref for Word {
        type Target = AtomicU32;

        fn deref(&self) -> &AtomicU32 {
            &self.value
        }
    }

    impl Word {
        pub fn new(value: u32) -> Word {
            Word {
                value: AtomicU32::new(value),
                queue: Mutex::new(()),
                wakeup: Condvar::new(),
            }
        }

        pub fn wait(&self, expected: u32, _deadline: Option<u64>) -> bool {
            let queue = self.queue.lock().unwrap();
            if self.value.load(core::sync::atomic::Ordering::SeqCst) == expected {
                drop(self.wakeup.wait(queue).unwrap());
            }
            true
        }

        pub fn wake(&self, count: i32) {
            let _queue = self.queue.lock().unwrap();
            if count == 1 {
                self.wakeup.notify_one()
            } else {
                self.wakeup.notify_all()
            }
        }
    }
}

pub use imp::Word;

/// Makes a constructor `const`, which the model's cannot be.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name($($arg: $ty),*) -> $ret $body

        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) -> $ret $body
    };
}
pub(crate) use const_unless_loom;
