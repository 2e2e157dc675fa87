//! The page that a sentry thread and its guest thread share: what the gate ([`super::gate`]) answers by itself, and calls that are handed over
//! without the host.
//!
//! ```text
//!            sentry              guest                sentry              sentry: result
//!   DEAF ────────────▶ LISTENING ────────▶ REQUEST ────────────▶ TAKEN ────────────────▶ LISTENING or DEAF
//!    ▲ gives up looking    │                  │ guest: GAVE_UP      │ guest: ASLEEP, or sentry: REDO
//!    └─────────────────────┘                  ▼                     ▼
//!                                      makes the call          makes the call, which is no other but brings the answer
//! ```
//!
//! Every thread of the process can write all of them at any time. So a request is copied once and is then a call of that thread, whatever else the page says;
//! the sentry never waits for the page, but looks at it for a bounded time; and what it finds instead of what should be there sends it to an ordinary
//! receive. What [`super::gate::unwind`] takes from the page are registers of that thread.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};

use abi::{PAGE_SIZE, Result};

use crate::stub::{PAGES, PAGES_LEN};
use crate::{Facts, MemoryFile};

/// Of the words of a page: which state the hand-over is in. The first eight are one line of the processor's cache.
pub const STATE: usize = 0;
/// The number of the call, then its result.
pub const NUMBER: usize = 8;
/// Its arguments.
pub const ARGS: usize = 16;
/// The guest's own from here: where in its site's code it goes on, if it is to make the call.
pub const LINK: usize = 64;
/// Its stack pointer.
pub const RSP: usize = 72;
/// Its flags.
pub const FLAGS: usize = 80;
/// What it came with in rax.
pub const RAX: usize = 88;
/// The sentry's: how long the guest may wait, in ticks of the time-stamp counter.
pub const LIMIT: usize = 96;
/// The sentry's: what [`FACT_CALLS`] return; negative where the sentry is to be asked.
pub const FACTS: usize = 128;

/// Nobody looks at the page.
pub const DEAF: u64 = 0;
/// The sentry thread does.
pub const LISTENING: u64 = 1;
/// A call is there.
pub const REQUEST: u64 = 2;
/// The sentry thread serves it.
pub const TAKEN: u64 = 3;
/// The guest thread is to make the call.
pub const REDO: u64 = 4;
/// It has waited for too long and makes it, to wait there.
pub const ASLEEP: u64 = 5;
/// Nobody has taken it for too long: it makes it.
pub const GAVE_UP: u64 = 6;

/// The calls that a word of the page may answer, in their order.
pub const FACT_CALLS: [i64; 6] = [
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
];
/// How long a guest thread waits, in ticks: between 8 and 25 µs.
const PATIENCE: u64 = 40_000;
/// None: ask.
const ASK: u64 = u64::MAX;

/// The pages of one address space. They go to no copy of it (`MADV_DONTFORK`). To be dropped only when no process maps them any more.
pub(crate) struct Pages {
    memory: Arc<MemoryFile>,
    /// Where they are in it.
    pub offset: u64,
    /// They are mapped.
    pub mapped: AtomicBool,
}

impl Pages {
    pub(crate) fn new(memory: &Arc<MemoryFile>) -> Result<Pages> {
        Ok(Pages {
            offset: memory.allocate(PAGES_LEN)?,
            memory: memory.clone(),
            mapped: AtomicBool::new(false),
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.memory.free(self.offset, PAGES_LEN);
    }
}

/// That of one guest thread, for its sentry thread.
pub(crate) struct Page {
    words: NonNull<AtomicU64>,
    /// Where the guest thread has it.
    pub address: u64,
    facts: Option<Facts>,
    _pages: Arc<Pages>,
}

// SAFETY: the memory is used through atomics only, and stays mapped while `_pages` keeps the memory file.
unsafe impl Send for Page {}

/// A call that came by a page. All of it is what some thread of the process has written there.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Request {
    pub nr: u64,
    pub args: [u64; 6],
    /// Where in its site's code the thread would make it.
    pub link: u64,
}

impl Page {
    /// The page of a seat, if there is one. Whoever had the seat before is gone.
    pub(crate) fn new(pages: &Arc<Pages>, seat: u64) -> Option<Page> {
        if !pages.mapped.load(SeqCst) {
            return None;
        }
        let within = seat
            .checked_mul(PAGE_SIZE)
            .filter(|within| *within < PAGES_LEN)?;
        let words = pages.memory.words(pages.offset + within, PAGE_SIZE).ok()?;
        words.iter().for_each(|word| word.store(0, SeqCst));
        if let Some(limit) = words.get(LIMIT / 8) {
            limit.store(PATIENCE, SeqCst);
        }
        let page = Page {
            words: NonNull::from(words).cast(),
            address: PAGES + within,
            facts: None,
            _pages: pages.clone(),
        };
        page.tell(None);
        Some(page)
    }

    fn at(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < PAGE_SIZE as usize);
        // SAFETY: inside the page that `new` was given, which stays mapped while `_pages` keeps the memory file.
        unsafe { self.words.add(offset / 8).as_ref() }
    }

    /// A word.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.at(offset).load(Relaxed)
    }

    fn tell(&self, facts: Option<Facts>) {
        let values = facts.map_or([ASK; FACT_CALLS.len()], |f| {
            [f.pid, f.tid, f.uid, f.euid, f.gid, f.egid].map(u64::from)
        });
        for (n, value) in values.into_iter().enumerate() {
            self.at(FACTS + 8 * n).store(value, Relaxed);
        }
    }

    fn change(&self, from: u64, to: u64) -> bool {
        self.at(STATE)
            .compare_exchange(from, to, SeqCst, Relaxed)
            .is_ok()
    }

    /// While the guest thread waits for the host's answer: will somebody look at the page afterwards?
    pub(crate) fn listen(&self, listen: bool) {
        let state = if listen { LISTENING } else { DEAF };
        if self.word(STATE) != state {
            self.at(STATE).store(state, SeqCst);
        }
    }

    /// The call that is there.
    pub(crate) fn take(&self) -> Option<Request> {
        if self.word(STATE) != REQUEST || !self.change(REQUEST, TAKEN) {
            return None;
        }
        Some(Request {
            nr: self.word(NUMBER),
            args: std::array::from_fn(|n| self.word(ARGS + 8 * n)),
            link: self.word(LINK),
        })
    }

    /// Nobody looks any more; the call that has come just before.
    pub(crate) fn turn_away(&self) -> Option<Request> {
        if self.change(LISTENING, DEAF) {
            return None;
        }
        let last = self.take();
        if last.is_none() {
            self.at(STATE).store(DEAF, SeqCst);
        }
        last
    }

    /// The result of the call that was taken. `false` if the guest thread waits for it elsewhere.
    pub(crate) fn answer(&self, value: u64, listen: bool) -> bool {
        self.at(NUMBER).store(value, Relaxed);
        self.change(TAKEN, if listen { LISTENING } else { DEAF })
    }

    /// The call that was taken is to be made.
    pub(crate) fn redo(&self) {
        self.change(TAKEN, REDO);
    }

    /// What the gate may answer from now on.
    pub(crate) fn publish(&mut self, facts: Option<Facts>) {
        if self.facts != facts {
            self.tell(facts);
            self.facts = facts;
        }
    }
}
