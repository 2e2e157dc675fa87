//! Ending a guest thread's run from any thread: by a signal to it, at most one at a time. On ptrace it stops the thread, on systrap its
//! handler tells the sentry.
//!
//! ```text
//!   interrupt():  PENDING; if RUNNING and not SENT: SENT, tgkill     ── any thread
//!   begin():      PENDING? take it, do not run. else RUNNING          ── its sentry thread, before the guest runs
//!   end():        not RUNNING                                         ── its sentry thread, after it stopped, for whatever reason
//!   received():   not SENT; PENDING? take it                          ── its sentry thread, when it stopped for the signal
//! ```
//! If the guest stopped for another reason just before the signal, PENDING makes the next `begin` return at once, and the signal, still SENT,
//! arrives during a later run: `received` finds nothing pending and the run goes on. So an interrupt is neither lost nor seen twice.
//!
//! A thread with an area for restartable sequences may never come: see [`crate::watch`].

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use crate::stub::INTERRUPT;
use crate::{Interrupt, watch};

const RUNNING: u32 = 1;
const PENDING: u32 = 2;
const SENT: u32 = 4;
const GONE: u32 = 8;
/// The thread has been told to come, and is waited for.
const CALLED: u32 = 16;

static LIVE: AtomicU64 = AtomicU64::new(0);

/// How many guest threads there are, at most.
pub fn live() -> u64 {
    LIVE.load(Relaxed)
}

/// The state of one guest thread's interruption.
pub struct Interruption {
    state: AtomicU32,
    /// Of the guest thread's process.
    pub pid: i32,
    /// The guest thread's.
    pub tid: i32,
    /// How often it has been told to come.
    times: AtomicU32,
    watched: AtomicBool,
    this: Weak<Interruption>,
}

impl Interruption {
    pub fn new(pid: i32, tid: i32) -> Arc<Interruption> {
        LIVE.fetch_add(1, Relaxed);
        Arc::new_cyclic(|this| Interruption {
            state: AtomicU32::new(0),
            pid,
            tid,
            times: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            this: this.clone(),
        })
    }

    /// From now on it is watched whether the thread comes. `EAGAIN` if there is nobody to do it.
    pub fn watch(&self) -> abi::Result<()> {
        watch::start()?;
        self.watched.store(true, SeqCst);
        Ok(())
    }

    /// Waits for the thread, which has been told to come.
    pub fn called<T>(&self, wait: impl FnOnce() -> T) -> T {
        if !self.watched.load(SeqCst) {
            return wait();
        }
        self.times.fetch_add(1, SeqCst);
        self.state.fetch_or(CALLED, SeqCst);
        watch::add(&self.this);
        let outcome = wait();
        self.state.fetch_and(!CALLED, SeqCst);
        watch::remove(&self.this);
        outcome
    }

    /// For which of the times that it was told to come it is still waited; `None` if it is not.
    pub fn missing(&self) -> Option<u32> {
        let state = self.state.load(SeqCst);
        let sent = state & (RUNNING | SENT | GONE) == RUNNING | SENT;
        (sent || state & CALLED != 0).then(|| self.times.load(SeqCst))
    }

    /// May the guest run? If not, an interrupt has been taken.
    pub fn begin(&self) -> bool {
        let found = self.state.fetch_or(RUNNING, SeqCst);
        if found & PENDING != 0 {
            self.state.fetch_and(!(RUNNING | PENDING), SeqCst);
            return false;
        }
        true
    }

    /// The guest has stopped.
    pub fn end(&self) {
        self.state.fetch_and(!RUNNING, SeqCst);
    }

    /// The guest has stopped for the signal. Is an interrupt to be reported?
    pub fn received(&self) -> bool {
        self.state.fetch_and(!(SENT | PENDING), SeqCst) & PENDING != 0
    }

    /// The signal has come, but not because of an interrupt: one that is pending stays so.
    pub fn arrived(&self) {
        self.state.fetch_and(!SENT, SeqCst);
    }

    /// Nothing is to be interrupted any more.
    pub fn gone(&self) {
        self.state.fetch_or(GONE, SeqCst);
        if self.watched.load(SeqCst) {
            watch::remove(&self.this);
        }
    }
}

impl Interrupt for Interruption {
    fn interrupt(&self) {
        let mut state = self.state.load(SeqCst);
        loop {
            if state & GONE != 0 {
                return;
            }
            let send = state & (RUNNING | SENT) == RUNNING;
            let new = state | PENDING | if send { SENT } else { 0 };
            match self.state.compare_exchange(state, new, SeqCst, SeqCst) {
                Ok(_) if send => break,
                Ok(_) => return,
                Err(found) => state = found,
            }
        }
        // SAFETY: sends a signal. Should the thread have ended since, then at worst another thread of the same stub gets it, which ignores it
        // if it is not traced, and its tracer does if it is.
        unsafe { libc::syscall(libc::SYS_tgkill, self.pid, self.tid, INTERRUPT) };
        if self.watched.load(SeqCst) {
            self.times.fetch_add(1, SeqCst);
            watch::add(&self.this);
        }
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}
