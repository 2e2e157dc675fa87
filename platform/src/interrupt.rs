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

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::Interrupt;
use crate::stub::INTERRUPT;

const RUNNING: u32 = 1;
const PENDING: u32 = 2;
const SENT: u32 = 4;
const GONE: u32 = 8;

/// The state of one guest thread's interruption.
pub struct Interruption {
    state: AtomicU32,
    pid: i32,
    tid: i32,
}

impl Interruption {
    pub fn new(pid: i32, tid: i32) -> Interruption {
        Interruption {
            state: AtomicU32::new(0),
            pid,
            tid,
        }
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
    }
}
