//! Guest threads that do not come when they are told to.
//!
//! A guest thread is told to come by a signal, and it cannot block signals: only the handler on systrap does, and what leaves the handler by its own
//! code has them unblocked. But the host takes a thread out of a restartable sequence (rseq(2)) wherever that sequence is said to be, and a
//! program can say that it is where the handler is. Its thread is then in code of the guest's with every signal blocked. Such a thread can do
//! nothing that others cannot, but to those who wait for it. So while a thread with a registered area is waited for, the processor time of its process is looked at
//! (the host does not tell another process's thread's): when that has computed for so long that each of its threads must have had its turn, the thread is one of
//! those, and its process is ended. Nothing is taken from who waits for a processor, and an honest program has no such sequence.
//!
//! The watcher sleeps while nobody is waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use abi::{Errno, Result};

use crate::interrupt::{self, Interruption};
use crate::stub::cpu_time;

/// How often it is looked, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;
/// How much processor time a thread may use before it comes, in nanoseconds. The longest call that the host makes for it is a munmap of much memory.
const LIMIT: u64 = 2_000_000_000;
/// And how much each other thread may use that the host lets run first.
const TURN: u64 = 20_000_000;

struct Awaited {
    who: Weak<Interruption>,
    /// For which time it was waited for when it was first looked at, and its processor time then.
    since: Option<(u32, u64)>,
}

struct State {
    /// By the address of what they point to.
    awaited: BTreeMap<usize, Awaited>,
    /// The watcher sleeps until it is woken.
    idle: bool,
}

static STATE: sync::Mutex<State> = sync::Mutex::new(State {
    awaited: BTreeMap::new(),
    idle: false,
});
static WORK: sync::Condvar = sync::Condvar::new();
static STARTED: sync::OnceLock<bool> = sync::OnceLock::new();

/// Starts the watcher, once.
pub fn start() -> Result<()> {
    let started = STARTED.get_or_init(|| {
        let builder = sync::thread::Builder::new("watcher").stack_size(64 << 10);
        sync::thread::spawn(builder, run).is_ok()
    });
    if *started { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// It is waited for this one.
pub fn add(who: &Weak<Interruption>) {
    let mut state = STATE.lock();
    let awaited = Awaited {
        who: who.clone(),
        since: None,
    };
    state.awaited.entry(who.as_ptr().addr()).or_insert(awaited);
    if std::mem::take(&mut state.idle) {
        WORK.notify_one();
    }
}

/// No longer. Once this returns, its process is not ended on its account.
pub fn remove(who: &Weak<Interruption>) {
    STATE.lock().awaited.remove(&who.as_ptr().addr());
}

fn run() {
    let mut state = STATE.lock();
    loop {
        state.idle = state.awaited.is_empty();
        while state.idle {
            state = WORK.wait(state);
        }
        let next = sync::time::monotonic_ns().saturating_add(PERIOD);
        let mut passed = false;
        while !passed {
            (state, passed) = WORK.wait_until(state, Some(next));
        }
        state.awaited.retain(|_, one| one.look());
    }
}

impl Awaited {
    /// Is it still to be waited for?
    fn look(&mut self) -> bool {
        let Some((who, time)) = self
            .who
            .upgrade()
            .and_then(|who| who.missing().map(|time| (who, time)))
        else {
            return false;
        };
        let used = cpu_time(who.pid);
        let limit = LIMIT + TURN.saturating_mul(interrupt::live());
        match self.since {
            Some((first, then)) if first == time => {
                if used.saturating_sub(then) > limit {
                    end(&who);
                    return false;
                }
            }
            _ => self.since = Some((time, used)),
        }
        true
    }
}

fn end(who: &Arc<Interruption>) {
    log::warn!(
        "guest thread {} does not come: its process, stub {}, is ended",
        who.tid,
        who.pid
    );
    // SAFETY: the pid is that of our child, which nobody reaps before this thread's context is gone; and that waits for `remove`.
    unsafe { libc::kill(who.pid, libc::SIGKILL) };
}
