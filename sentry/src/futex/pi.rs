//! Locks with priority inheritance (`FUTEX_LOCK_PI` and its kin, the kernel's `pi-futex.rst`): the word holds its owner's tid, and a contended lock is handed over by
//! the kernel. What is inherited is the turn, first come, first served: guest threads have no priorities that the host knows of.
//!
//! ```text
//!   lock:    0 ─► own tid                          unlock:  nobody queued ─► 0
//!            owned ─► enqueue, set WAITERS, sleep           else the first waiter's tid | WAITERS, wake it
//! ```

use super::ops::table;
use super::{FutexTable, Waiter};
use crate::kernel::{Cx, Kernel, Woken};
use crate::mm::{FutexKey, MemoryManager};
use abi::Errno;
use abi::futex::{FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a look at the word came to.
enum Look {
    Acquired,
    /// Somebody has it, and knows that there are waiters if that was asked for.
    Owned,
    Changed,
}

struct Lock {
    mm: Arc<MemoryManager>,
    key: FutexKey,
    addr: u64,
    own: u32,
}

impl Lock {
    fn new(cx: &Cx, addr: u64, shared: bool) -> Result<Self, Errno> {
        let mm = cx.mm()?;
        Ok(Self {
            key: mm.futex_key(addr, shared)?,
            mm,
            addr,
            own: u32::try_from(cx.tid()).unwrap_or(0),
        })
    }

    fn replace(&self, old: u32, new: u32) -> Result<bool, Errno> {
        Ok(self.mm.compare_exchange_u32(self.addr, old, new)?.is_ok())
    }

    /// Takes the lock if nobody has it, or, for a waiter, if its owner is gone; else announces waiters.
    fn look(&self, cx: &Cx, table: &FutexTable, waiting: bool) -> Result<Look, Errno> {
        let word = self.mm.load_u32(self.addr)?;
        let owner = word & FUTEX_TID_MASK;
        let others = if waiting || table.is_waited_for(&self.key) {
            FUTEX_WAITERS
        } else {
            0
        };
        let alive = || {
            let owner = i32::try_from(owner).unwrap_or(0);
            cx.pid_ns().task(owner).is_some_and(|task| !task.is_dead())
        };
        let taken = if owner == 0 {
            self.replace(word, self.own | word & FUTEX_OWNER_DIED | others)?
        } else if owner == self.own {
            // A waiter was handed it this moment, and is about to be told.
            return if waiting {
                Ok(Look::Owned)
            } else {
                Err(Errno::EDEADLK)
            };
        } else if !alive() {
            if !waiting {
                return Err(Errno::ESRCH);
            }
            self.replace(word, self.own | FUTEX_OWNER_DIED | others)?
        } else if !waiting
            || word & FUTEX_WAITERS != 0
            || self.replace(word, word | FUTEX_WAITERS)?
        {
            return Ok(Look::Owned);
        } else {
            false
        };
        Ok(if taken { Look::Acquired } else { Look::Changed })
    }
}

/// `FUTEX_LOCK_PI`, `FUTEX_LOCK_PI2`: `EDEADLK` for a lock of one's own, `ESRCH` for one whose owner is no thread, `ETIMEDOUT` at `deadline` (monotonic).
pub fn lock(cx: &Cx, addr: u64, shared: bool, deadline: Option<u64>) -> Result<(), Errno> {
    let lock = Lock::new(cx, addr, shared)?;
    let table = table(cx.kernel());
    loop {
        match lock.look(cx, &table, false)? {
            Look::Acquired => return Ok(()),
            Look::Changed if cx.signal_pending() => return Err(Errno::ERESTARTNOINTR),
            Look::Changed => {}
            Look::Owned => break,
        }
    }
    loop {
        let waiter = Arc::new(Waiter::new(cx.waker(), u32::MAX, lock.key, lock.own));
        table.pi_waiters.fetch_add(1, Ordering::SeqCst);
        table.enqueue(&waiter);
        let result = sleep(cx, &lock, &table, &waiter, deadline);
        let queued = table.dequeue(&waiter);
        table.pi_waiters.fetch_sub(1, Ordering::SeqCst);
        if waiter.owns.load(Ordering::SeqCst) {
            return Ok(());
        }
        match result {
            Ok(true) => return Ok(()),
            // Woken to look again, or by a wake that was meant for another kind of futex.
            Ok(false) => {}
            Err(Errno::ERESTARTNOINTR) if !queued => {}
            Err(e) => return Err(e),
        }
    }
}

/// Until the lock is this waiter's own doing (true), or it was taken out of the queue.
fn sleep(
    cx: &Cx,
    lock: &Lock,
    table: &FutexTable,
    waiter: &Waiter,
    deadline: Option<u64>,
) -> Result<bool, Errno> {
    loop {
        if waiter.woken.load(Ordering::SeqCst) {
            return Ok(false);
        }
        match lock.look(cx, table, true)? {
            Look::Acquired => return Ok(true),
            // Not for as long as somebody likes to change it.
            Look::Changed if cx.signal_pending() => return Err(Errno::ERESTARTNOINTR),
            Look::Changed => continue,
            Look::Owned => {}
        }
        match cx.block(deadline) {
            Ok(()) => {}
            Err(Woken::TimedOut) => return Err(Errno::ETIMEDOUT),
            Err(Woken::Interrupted) => return Err(Errno::ERESTARTNOINTR),
        }
    }
}

/// `FUTEX_TRYLOCK_PI`: `EAGAIN` when somebody has it.
pub fn try_lock(cx: &Cx, addr: u64, shared: bool) -> Result<(), Errno> {
    let lock = Lock::new(cx, addr, shared)?;
    let table = table(cx.kernel());
    loop {
        match lock.look(cx, &table, false)? {
            Look::Acquired => return Ok(()),
            Look::Changed if cx.signal_pending() => return Err(Errno::ERESTARTNOINTR),
            Look::Changed => {}
            Look::Owned => return Err(Errno::EAGAIN),
        }
    }
}

/// `FUTEX_UNLOCK_PI`: to the first in the queue. `EPERM` for whoever does not have it.
pub fn unlock(cx: &Cx, addr: u64, shared: bool) -> Result<(), Errno> {
    let lock = Lock::new(cx, addr, shared)?;
    let table = table(cx.kernel());
    if lock.mm.load_u32(addr)? & FUTEX_TID_MASK != lock.own {
        return Err(Errno::EPERM);
    }
    let next = table.first(&lock.key);
    let new = next.as_ref().map_or(0, |waiter| waiter.pi | FUTEX_WAITERS);
    let result = loop {
        let word = match lock.mm.load_u32(addr) {
            Ok(word) => word,
            Err(e) => break Err(e),
        };
        if word & FUTEX_TID_MASK != lock.own {
            break Err(Errno::EPERM);
        }
        match lock.replace(word, new) {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(e) => break Err(e),
        }
    };
    if let Some(waiter) = next {
        // In this order: who sees that it was woken sees whether it owns the lock. If not, it looks again.
        waiter.owns.store(result.is_ok(), Ordering::SeqCst);
        waiter.woken.store(true, Ordering::SeqCst);
        waiter.waker.wake();
    }
    result
}

/// A thread has ended: whoever waits for a lock of its looks again.
pub fn owner_died(kernel: &Arc<Kernel>) {
    let table = table(kernel);
    if table.pi_waiters.load(Ordering::SeqCst) > 0 {
        table.prod();
    }
}
