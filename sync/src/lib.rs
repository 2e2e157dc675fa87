//! Locks, condition variables, once-cells, parking, thread creation: the only source of them for the sandbox's process.
//!
//! Why not `std::sync`: every object here is a few words of plain memory that sleep on futexes *without* `FUTEX_PRIVATE_FLAG`, so it works
//! between processes that map it at the same address; it allocates nothing and registers no destructor with a thread; and each lock has a
//! [`level`], so that a wrong order is a panic in the first debug run that takes it, not a deadlock in production.
//!
//! There is no poisoning: a panic aborts the process.
//!
//! ```
//! use sync::{Condvar, Mutex, level};
//! struct Queue {
//!     items: Mutex<Vec<u32>>,                  // a leaf: nothing is locked under it
//!     table: Mutex<u32, { level::FD_TABLE }>,  // may be held while a leaf is taken
//!     filled: Condvar,
//! }
//! let queue = Queue { items: Mutex::new(vec![1]), table: Mutex::new(0), filled: Condvar::new() };
//! let table = queue.table.lock();
//! let mut items = queue.items.lock();
//! while items.is_empty() {
//!     items = queue.filled.wait(items);
//! }
//! assert_eq!((items.pop(), *table), (Some(1), 0));
//! ```

mod condvar;
mod futex;
pub mod level;
mod mutex;
mod once;
mod parker;
mod raw;
mod rwlock;
#[cfg(not(loom))]
pub mod thread;
pub mod time;

pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use once::{LazyLock, OnceLock};
pub use parker::{Parker, Wakeup};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The algorithms without data, for the model checker.
#[cfg(loom)]
pub mod model {
    pub use crate::futex::Word;
    pub use crate::raw::{RawMutex, RawRwLock};
}
