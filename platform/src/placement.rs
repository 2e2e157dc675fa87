//! Where threads run that hand over to each other.
//!
//! A task's sentry thread and what it waits for (its guest thread, the stub's helper) never run at the same time, so they belong on one
//! processor. The host's scheduler does not know that: it sees a waker that is still running and an idle processor elsewhere, and each
//! hand-over then pays for waking that processor from idle: 10 instead of 5 µs for a system call on one machine, 65 instead of 11 on another
//! (virtual, like most). So the pair is bound to the processor its sentry thread is on:
//!
//! * Every [`REBALANCE`] it is let go for one round trip, in which the scheduler moves it if another processor has less to do.
//! * A guest thread that computes without coming back is let go by the [`Balancer`], which looks every [`TICK`] while any bound guest thread
//!   runs, and sleeps otherwise. It is bound again only after [`CALM`] switches.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};

use crate::stub::raw::{current_cpu, rdtsc};

/// Ticks of the time-stamp counter: between 10 and 30 ms.
const REBALANCE: u64 = 50_000_000;
/// How often bound guest threads are looked at, in nanoseconds.
const TICK: u64 = 5_000_000;
/// How many switches a thread that has computed for long makes before it is bound again.
const CALM: u32 = 32;

/// A thread that may run anywhere.
const ANYWHERE: u32 = u32::MAX;

struct Here {
    /// The processor the thread is bound to.
    cpu: Cell<u32>,
    since: Cell<u64>,
    /// How many times more it is to be left alone.
    leave: Cell<u32>,
    /// Only threads of tasks are bound.
    task: Cell<bool>,
    /// Where its task may run; empty for anywhere.
    allowed: Cell<Mask>,
}

sync::per_thread! {
    static HERE: Here = Here { cpu: Cell::new(ANYWHERE), since: Cell::new(0), leave: Cell::new(0), task: Cell::new(false), allowed: Cell::new(NOWHERE) };
}

/// Processors: one bit each, as sched_setaffinity(2) takes them.
pub type Mask = [u64; 16];
const NOWHERE: Mask = [0; 16];

/// The processors that are there to choose from.
pub fn all() -> &'static Mask {
    static ALL: sync::OnceLock<Mask> = sync::OnceLock::new();
    ALL.get_or_init(|| {
        let mut mask: Mask = [0; 16];
        // SAFETY: the kernel writes at most the size given.
        unsafe {
            libc::syscall(
                libc::SYS_sched_getaffinity,
                0,
                size_of::<Mask>(),
                mask.as_mut_ptr(),
            )
        };
        mask
    })
}

/// Is there anything to choose?
fn useful() -> bool {
    all().iter().map(|word| word.count_ones()).sum::<u32>() > 1
}

/// Binds a thread (0: the calling one) to a processor, or lets it go to those allowed.
fn bind(tid: i32, cpu: u32, allowed: &Mask) -> bool {
    let mut mask: Mask = NOWHERE;
    let mask = if cpu == ANYWHERE {
        if *allowed == NOWHERE { all() } else { allowed }
    } else if let Some(word) = mask.get_mut(cpu as usize / 64) {
        *word = 1 << (cpu % 64);
        &mask
    } else {
        return false;
    };
    // SAFETY: the kernel reads the mask. It concerns threads of ours: this one, or of a stub that is not reaped before its Process is dropped.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            tid,
            size_of::<Mask>(),
            mask.as_ptr(),
        ) == 0
    }
}

/// Makes the calling thread one that is bound to where it is.
pub fn enter() {
    HERE.with(|here| {
        here.task.set(true);
        here.leave.set(0);
    });
}

/// Ends that.
pub fn leave() {
    HERE.with(|here| {
        here.task.set(false);
        if here.allowed.replace(NOWHERE) != NOWHERE {
            // Bound or not, it was not free.
            here.cpu.set(0);
        }
        let_go(here, 0);
    });
}

/// The processor of the calling thread, if it is bound to one; whoever it is about to wake belongs there too.
pub fn here() -> Option<u32> {
    HERE.with(|here| Some(here.cpu.get()).filter(|cpu| *cpu != ANYWHERE))
}

/// The same, after binding it or letting it go as is due. To be called once per switch.
fn due(here: &Here) -> u32 {
    let cpu = here.cpu.get();
    if cpu != ANYWHERE {
        if rdtsc().wrapping_sub(here.since.get()) > REBALANCE {
            let_go(here, 1);
        }
    } else if here.leave.get() > 0 {
        here.leave.set(here.leave.get() - 1);
    } else if here.task.get() && useful() {
        let cpu = current_cpu();
        if bind(0, cpu, &NOWHERE) {
            here.cpu.set(cpu);
            here.since.set(rdtsc());
        } else {
            here.leave.set(1000);
        }
    }
    here.cpu.get()
}

fn let_go(here: &Here, leave: u32) {
    if here.cpu.get() != ANYWHERE {
        bind(0, ANYWHERE, &here.allowed.get());
        here.cpu.set(ANYWHERE);
    }
    here.leave.set(leave);
}

/// A thread, and the calling thread with it, may run on these processors only. `false` if the host has none of them.
pub fn restrict(tid: i32, cpus: &Mask) -> bool {
    if !bind(0, ANYWHERE, cpus) || !bind(tid, ANYWHERE, cpus) {
        return false;
    }
    HERE.with(|here| {
        here.allowed
            .set(if cpus == all() { NOWHERE } else { *cpus });
        here.cpu.set(ANYWHERE);
        here.leave.set(0);
    });
    true
}

/// Lets a new thread go from where it was made.
pub fn free(tid: i32) {
    if useful() {
        bind(tid, ANYWHERE, &NOWHERE);
    }
}

/// Sends a thread to any processor but the calling thread's.
pub fn apart(tid: i32) {
    let mut mask = *all();
    let cpu = current_cpu();
    if let Some(word) = mask.get_mut(cpu as usize / 64) {
        *word &= !(1 << (cpu % 64));
    }
    if mask != NOWHERE {
        bind(tid, ANYWHERE, &mask);
    }
}

/// Has a thread run where the calling thread does, while something is done that wakes it: a wake-up that does not hand over may wake an idle
/// processor first, and the thread's answer bring the caller there, too.
pub fn beside<R>(tid: i32, body: impl FnOnce() -> R) -> R {
    let bound = useful() && bind(tid, current_cpu(), &NOWHERE);
    let result = body();
    if bound {
        bind(tid, ANYWHERE, &HERE.with(|here| here.allowed.get()));
    }
    result
}

/// Starts something that inherits where the calling thread may run, which shall be anywhere.
pub fn anywhere<R>(body: impl FnOnce() -> R) -> R {
    let (cpu, allowed) = HERE.with(|here| (here.cpu.get(), here.allowed.get()));
    let bound = cpu != ANYWHERE || allowed != NOWHERE;
    if bound {
        bind(0, ANYWHERE, &NOWHERE);
    }
    let result = body();
    if bound {
        bind(0, cpu, &allowed);
    }
    result
}

/// The first thread of a stub, which is woken by one thread at a time.
#[derive(Default)]
pub struct Spawner(Option<u32>);

impl Spawner {
    /// Brings it to the calling thread, if that is bound, or where that runs now.
    pub fn come(&mut self, tid: i32, always: bool) {
        let cpu = here().or_else(|| (always && useful()).then(current_cpu));
        if cpu.is_some() && self.0 != cpu {
            bind(tid, cpu.unwrap_or(ANYWHERE), &NOWHERE);
            self.0 = cpu;
        }
    }

    /// It has been ordered to let itself go.
    pub fn gone(&mut self) {
        self.0 = None;
    }
}

/// A guest thread, as its sentry thread and the balancer see it.
pub struct Guest {
    tid: i32,
    /// Where it is bound to.
    cpu: AtomicU32,
    /// Counts switches.
    turns: AtomicU32,
    running: AtomicBool,
    /// The balancer has let it go.
    freed: AtomicBool,
    gone: AtomicBool,
    /// `turns` at the balancer's last look. Its own.
    seen: AtomicU32,
    /// Where it may run; empty for anywhere. Held while it is let go.
    allowed: sync::Mutex<Mask>,
}

impl Guest {
    /// A guest thread about to be traced by the calling thread, brought to it.
    pub fn new(tid: i32, balancer: &Balancer) -> Arc<Guest> {
        enter();
        let guest = Guest {
            tid,
            cpu: AtomicU32::new(ANYWHERE),
            turns: AtomicU32::new(0),
            running: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            seen: AtomicU32::new(0),
            allowed: sync::Mutex::new(NOWHERE),
        };
        let cpu = HERE.with(due);
        // Where it was bound is unknown: it inherited that.
        bind(tid, cpu, &NOWHERE);
        guest.cpu.store(cpu, Relaxed);
        let guest = Arc::new(guest);
        if useful() {
            balancer.add(guest.clone());
        }
        guest
    }

    /// Before it runs.
    pub fn begin(&self, balancer: &Balancer) {
        if self.freed.load(Relaxed) && self.freed.swap(false, SeqCst) {
            HERE.with(|here| let_go(here, CALM));
        }
        let cpu = HERE.with(due);
        if cpu != self.cpu.load(Relaxed) {
            bind(self.tid, cpu, &self.allowed.lock());
            self.cpu.store(cpu, Relaxed);
        }
        self.turns
            .store(self.turns.load(Relaxed).wrapping_add(1), Relaxed);
        self.running.store(true, SeqCst);
        if cpu != ANYWHERE && balancer.asleep.load(SeqCst) {
            balancer.wake();
        }
    }

    /// It, and the calling thread with it, may run on these processors only. `false` if the host has none of them.
    pub fn restrict(&self, cpus: &Mask) -> bool {
        let mut allowed = self.allowed.lock();
        if !restrict(self.tid, cpus) {
            return false;
        }
        *allowed = if cpus == all() { NOWHERE } else { *cpus };
        self.cpu.store(ANYWHERE, Relaxed);
        true
    }

    /// After it has stopped.
    pub fn end(&self) {
        self.running.store(false, Relaxed);
    }

    /// It will not run again.
    pub fn gone(&self) {
        self.gone.store(true, Relaxed);
    }

    /// One look of the balancer: does it need another?
    fn look(&self) -> bool {
        if self.gone.load(Relaxed) || self.cpu.load(Relaxed) == ANYWHERE {
            return false;
        }
        let turns = self.turns.load(Relaxed);
        let moved = self.seen.swap(turns, Relaxed) != turns;
        let allowed = self.allowed.lock();
        if !moved && self.running.load(SeqCst) {
            self.cpu.store(ANYWHERE, Relaxed);
            self.freed.store(true, SeqCst);
            bind(self.tid, ANYWHERE, &allowed);
            return false;
        }
        moved
    }
}

/// See the module.
pub struct Balancer {
    asleep: AtomicBool,
    guests: sync::Mutex<Guests, { sync::level::PLATFORM }>,
    changed: sync::Condvar,
}

#[derive(Default)]
struct Guests {
    list: Vec<Arc<Guest>>,
    /// When so many are listed it is time to strike off those that are gone.
    limit: usize,
    stop: bool,
}

impl Balancer {
    pub fn new() -> Balancer {
        Balancer {
            asleep: AtomicBool::new(true),
            guests: sync::Mutex::default(),
            changed: sync::Condvar::new(),
        }
    }

    fn add(&self, guest: Arc<Guest>) {
        let mut guests = self.guests.lock();
        if guests.list.len() >= guests.limit {
            guests.list.retain(|guest| !guest.gone.load(Relaxed));
            guests.limit = guests.list.len() * 2 + 16;
        }
        guests.list.push(guest);
    }

    fn wake(&self) {
        let guests = self.guests.lock();
        self.asleep.store(false, SeqCst);
        drop(guests);
        self.changed.notify_one();
    }

    /// The body of the balancer's thread.
    pub fn run(&self) {
        let mut guests = self.guests.lock();
        while !guests.stop {
            // All of them are to be looked at, not only up to the first that is busy.
            let busy = guests.list.iter().filter(|guest| guest.look()).count() > 0;
            if busy {
                let deadline = sync::time::monotonic_ns() + TICK;
                guests = self.changed.wait_until(guests, Some(deadline)).0;
            } else {
                self.asleep.store(true, SeqCst);
                // One that began to run meanwhile may have found the balancer awake.
                if !guests
                    .list
                    .iter()
                    .any(|guest| guest.running.load(SeqCst) && guest.cpu.load(Relaxed) != ANYWHERE)
                {
                    while self.asleep.load(SeqCst) && !guests.stop {
                        guests = self.changed.wait(guests);
                    }
                }
                self.asleep.store(false, SeqCst);
            }
        }
    }

    /// Ends the balancer's thread.
    pub fn stop(&self) {
        self.guests.lock().stop = true;
        self.changed.notify_one();
    }
}
