//! The helper of a stub on systrap, as the sentry holds it: a thread that carries out orders, with a listener of its own.
//!
//! ```text
//!   sentry thread                                         helper
//!   ─────────────                                         ──────
//!   orders into the page; answer the last call ──────────▶ makes the calls of the page
//!   receive ◀───────── its next call: what came of them ── (sched_yield(2), notified; never executed)
//! ```
//!
//! Neither can be forged: only the sentry writes the page, only this thread makes calls on this listener, and what it tells is in its registers.

use std::os::fd::OwnedFd;

use abi::{Errno, Result};

use super::text;
use crate::placement;
use crate::systrap::listener::{self, Call};

/// See the module.
pub struct Helper {
    listener: OwnedFd,
    tid: i32,
    /// Its report that waits for an answer.
    call: u64,
}

/// What came of a page of orders.
pub struct Report {
    /// `DONE`, `DIFFERS`, or the errno of the first order that failed.
    pub outcome: u8,
    /// What the last order gave, or what was found instead.
    pub value: u64,
    /// How many were not carried out, the failed one included.
    pub left: usize,
}

impl Helper {
    /// The one that a new listener belongs to, once it is there.
    pub fn new(listener: OwnedFd) -> Result<Helper> {
        listener::hand_over(&listener)?;
        let call = listener::receive_first(&listener)?;
        report(&call)?;
        placement::free(call.tid);
        Ok(Helper {
            listener,
            tid: call.tid,
            call: call.id,
        })
    }

    /// Has it carry out what is in the page.
    pub fn order(&mut self, pid: i32) -> Result<Report> {
        listener::answer(&self.listener, self.call, 0)?;
        let call = listener::receive(&self.listener, pid, self.tid)?;
        self.call = call.id;
        report(&call)
    }
}

fn report(call: &Call) -> Result<Report> {
    let [outcome, value, left, ..] = call.args;
    let made = call.native && call.rip == text::reported();
    match (u8::try_from(outcome), usize::try_from(left)) {
        (Ok(outcome), Ok(left)) if made => Ok(Report {
            outcome,
            value,
            left,
        }),
        _ => Err(Errno::EIO),
    }
}
