//! Processor time. A task's user time is its host thread's, which the host counts per stub process only: what a process used is exact, and its threads
//! share that by the time that each spent in guest code. A task's system time is that of the sentry thread that serves it. Both are read from the host's
//! clocks by whoever asks; a switch costs two readings of the time-stamp counter.

use super::task::Task;
use super::thread_group::{ChildUsage, ThreadGroup, Usage};
use crate::mm::MemoryManager;
use platform::{HostUsage, LastUsage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sync::Mutex;

/// What is counted of a task.
#[derive(Default)]
pub struct CpuAccount {
    seat: Mutex<Seat>,
    /// The time-stamp counter when guest code was entered, 0 while it is not running.
    entered: AtomicU64,
    /// Ticks of that counter spent in guest code, in this address space, up to the last return from it.
    ticks: AtomicU64,
    /// User time in the address spaces before this one.
    former: AtomicU64,
    /// The user time last told: a clock does not go back.
    told: AtomicU64,
    /// How often the task has slept.
    sleeps: AtomicU64,
}

/// The sentry thread that serves a task; it served others before, and an `execve` may change it.
#[derive(Default)]
struct Seat {
    /// As the host numbers it; 0 for none.
    tid: i32,
    /// Its clock when it took the task over.
    base: u64,
    /// What earlier threads spent on the task.
    done: u64,
}

impl CpuAccount {
    /// The calling thread serves the task from here on.
    pub(super) fn sit(&self) {
        let tid = sync::thread::current_tid();
        let base = platform::thread_cpu_time(tid);
        let mut seat = self.seat.lock();
        (seat.tid, seat.base) = (tid, base);
    }
    /// It does so no more.
    pub(super) fn rise(&self) {
        let mut seat = self.seat.lock();
        seat.done = seat.now();
        seat.tid = 0;
    }
    /// Guest code is about to run.
    pub(super) fn enter(&self) {
        self.entered.store(platform::rdtsc(), Ordering::Relaxed);
    }
    /// It has stopped.
    pub(super) fn leave(&self) {
        let spent = platform::rdtsc().wrapping_sub(self.entered.load(Ordering::Relaxed));
        let ticks = self.ticks.load(Ordering::Relaxed).wrapping_add(spent);
        // In this order: who sees the new sum sees that the stay in it is over.
        self.entered.store(0, Ordering::Relaxed);
        self.ticks.store(ticks, Ordering::Release);
    }
    /// The task went to sleep.
    pub(super) fn count_sleep(&self) {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
    }
    /// How often it has.
    pub fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::Relaxed)
    }

    /// Ticks in guest code until now.
    fn ticks(&self) -> u64 {
        loop {
            let entered = self.entered.load(Ordering::Relaxed);
            let ticks = self.ticks.load(Ordering::Acquire);
            if self.entered.load(Ordering::Relaxed) != entered {
                continue;
            }
            return match entered {
                0 => ticks,
                since => ticks.wrapping_add(platform::rdtsc().saturating_sub(since)),
            };
        }
    }
    fn system(&self) -> u64 {
        self.seat.lock().now()
    }
}

impl Seat {
    fn now(&self) -> u64 {
        let since = match self.tid {
            0 => 0,
            tid => platform::thread_cpu_time(tid).saturating_sub(self.base),
        };
        self.done.saturating_add(since)
    }
}

/// What is counted of a thread group.
#[derive(Default)]
pub struct GroupAccount {
    /// Ticks of threads that have ended, in this address space.
    ticks: AtomicU64,
    /// User time in the address spaces before this one.
    former: AtomicU64,
    /// User and system time last told.
    told: (AtomicU64, AtomicU64),
    /// The address space is another group's (`CLONE_VM` without `CLONE_THREAD`, so mostly `vfork`): the host's count of it is that group's, and this
    /// one's time is that on the wall.
    borrowed: AtomicBool,
}

impl GroupAccount {
    pub(super) fn borrow_memory(&self) {
        self.borrowed.store(true, Ordering::Relaxed);
    }
    /// Whether the address space is another group's.
    pub fn borrows_memory(&self) -> bool {
        self.borrowed.load(Ordering::Relaxed)
    }
}

/// What the host tells of a dead process's memory. So small a one that it has not added it up had what was brought in, at most.
fn of_memory(host: &HostUsage) -> Usage {
    let pages = match host.peak_rss {
        0 => host.minor_faults.min(64),
        pages => pages,
    };
    Usage {
        maxrss: pages.saturating_mul(abi::PAGE_SIZE / 1024),
        minflt: host.minor_faults,
        majflt: host.major_faults,
        switches: (0, host.preemptions),
        ..Usage::default()
    }
}

/// Waits for what the host has not told yet.
pub(super) fn with_memory<'a>(
    mut sum: Usage,
    untold: impl IntoIterator<Item = &'a Arc<LastUsage>>,
) -> Usage {
    for last in untold {
        sum.add(&of_memory(&last.wait()));
    }
    sum
}

fn later(told: &AtomicU64, now: u64) -> u64 {
    told.fetch_max(now, Ordering::Relaxed).max(now)
}

/// `whole` × `part` ÷ `all`.
pub(super) fn share(whole: u64, part: u64, all: u64) -> u64 {
    let product = u128::from(whole).saturating_mul(u128::from(part));
    product
        .checked_div(u128::from(all))
        .map_or(0, |n| u64::try_from(n).unwrap_or(u64::MAX))
}

impl Task {
    /// User and system nanoseconds.
    pub fn cpu_times(&self) -> (u64, u64) {
        (self.user_time(), self.cpu.system())
    }
    /// User nanoseconds.
    pub fn user_time(&self) -> u64 {
        let group = self.group();
        let here = match self.mm_opt() {
            Some(mm) if !self.is_dead() => {
                let own = self.cpu.ticks();
                if group.cpu.borrows_memory() {
                    self.kernel().ticks_to_ns(own)
                } else {
                    share(mm.address_space().cpu_time(), own, group.ticks())
                }
            }
            _ => 0,
        };
        let former = self.cpu.former.load(Ordering::Relaxed);
        later(&self.cpu.told, former.saturating_add(here))
    }
    /// What this thread alone has used (`RUSAGE_THREAD`); memory is its process's.
    pub fn usage(&self) -> Usage {
        let (utime, stime) = self.cpu_times();
        Usage {
            utime,
            stime,
            maxrss: self.mm_opt().map_or(0, |mm| mm.max_rss_kib()),
            switches: (self.cpu.sleeps(), 0),
            ..Usage::default()
        }
    }

    /// The group goes on in other memory (`execve`, its only thread left): to be called before that is the task's.
    pub(super) fn before_new_memory(&self) -> (u64, u64) {
        (self.user_time(), self.group().user_time())
    }
    /// To be called after.
    pub(super) fn in_new_memory(&self, (own, all): (u64, u64)) {
        let group = &self.group().cpu;
        self.cpu.ticks.store(0, Ordering::Relaxed);
        group.ticks.store(0, Ordering::Relaxed);
        group.borrowed.store(false, Ordering::Relaxed);
        self.cpu.former.store(own, Ordering::Relaxed);
        group.former.store(all, Ordering::Relaxed);
    }

    /// At its end, by its own thread, as long as it counts as alive: what remains of it in its group, but for the group's own clocks.
    pub(super) fn last_usage(&self, mm: Option<&Arc<MemoryManager>>) -> Usage {
        self.cpu.rise();
        let group = self.group();
        let mut usage = Usage {
            stime: self.cpu.system(),
            switches: (self.cpu.sleeps(), 0),
            ..Usage::default()
        };
        // One question to the host per process, not per thread; none if its memory ends with it, which tells.
        if let Some(mm) = mm.filter(|_| group.live_threads() == 1) {
            let alone = Arc::strong_count(mm) == 1 && !group.cpu.borrows_memory();
            match mm.address_space().last_usage().filter(|_| alone) {
                Some(last) => {
                    usage.maxrss = mm.max_rss_known();
                    let _ = group.last_memory.set(last);
                }
                None => usage.add(&group.memory_usage(mm)),
            }
        }
        usage
    }
    /// To be called when it counts as dead.
    pub(super) fn retire_clock(&self, usage: &Usage) {
        let group = self.group();
        group
            .cpu
            .ticks
            .fetch_add(self.cpu.ticks(), Ordering::Relaxed);
        group.dead_usage.lock().add(usage);
    }
}

impl ThreadGroup {
    fn ticks(&self) -> u64 {
        let live = self.tasks.lock();
        live.iter()
            .filter(|task| !task.is_dead())
            .map(|task| task.cpu.ticks())
            .fold(self.cpu.ticks.load(Ordering::Relaxed), u64::saturating_add)
    }
    fn user_in(&self, mm: &MemoryManager) -> u64 {
        if self.cpu.borrows_memory() {
            self.kernel.ticks_to_ns(self.ticks())
        } else {
            mm.address_space().cpu_time()
        }
    }
    /// At the end of its last thread, as long as its memory is there.
    pub(super) fn settle_user_time(&self, mm: &MemoryManager) {
        let former = self.cpu.former.load(Ordering::Relaxed);
        let all = former.saturating_add(self.user_in(mm));
        later(&self.cpu.told.0, all);
    }
    fn memory_usage(&self, mm: &MemoryManager) -> Usage {
        let host = mm.host_usage();
        let maxrss = mm.max_rss_with(&host);
        if self.cpu.borrows_memory() {
            return Usage {
                maxrss,
                ..Usage::default()
            };
        }
        Usage {
            maxrss,
            minflt: host.minor_faults,
            majflt: host.major_faults,
            switches: (0, host.preemptions),
            ..Usage::default()
        }
    }
    fn memory(&self) -> Option<Arc<MemoryManager>> {
        self.any_live().and_then(|task| task.mm_opt())
    }

    /// User nanoseconds of all its threads, dead ones included.
    pub fn user_time(&self) -> u64 {
        let here = self.memory().map_or(0, |mm| self.user_in(&mm));
        let former = self.cpu.former.load(Ordering::Relaxed);
        later(&self.cpu.told.0, former.saturating_add(here))
    }
    /// User and system nanoseconds of all its threads, dead ones included.
    pub fn cpu_times(&self) -> (u64, u64) {
        let dead = self.dead_usage.lock().stime;
        let live = self.tasks();
        let system = live
            .iter()
            .filter(|task| !task.is_dead())
            .map(|task| task.cpu.system())
            .fold(dead, u64::saturating_add);
        (self.user_time(), later(&self.cpu.told.1, system))
    }
    /// How often its threads have slept.
    pub fn sleeps(&self) -> u64 {
        let dead = self.dead_usage.lock().switches.0;
        let live = self.tasks();
        live.iter()
            .filter(|task| !task.is_dead())
            .map(|task| task.cpu.sleeps())
            .fold(dead, u64::saturating_add)
    }
    /// What the whole group has used: dead threads and live ones, without children. Of one that has just ended this may have to be waited for.
    pub fn total_usage(&self) -> Usage {
        with_memory(self.usage_so_far(), self.last_memory.get())
    }
    /// What its children have used that were waited for, and theirs. The same.
    pub fn children_usage(&self) -> Usage {
        let ChildUsage { sum, untold } = self.child_usage.lock().clone();
        with_memory(sum, &untold)
    }
    /// Their user and system time.
    pub fn children_times(&self) -> (u64, u64) {
        let children = self.child_usage.lock();
        (children.sum.utime, children.sum.stime)
    }
    /// A child has been waited for: what it and its children have used is added, now or when the host has told it.
    pub(super) fn add_child(&self, usage: &Usage, untold: &[Arc<LastUsage>]) {
        let pending = {
            let mut children = self.child_usage.lock();
            children.sum.add(usage);
            children.untold.extend_from_slice(untold);
            children.untold.clone()
        };
        for last in pending {
            let Some(host) = last.known() else { continue };
            let mut children = self.child_usage.lock();
            let mut list = children.untold.iter();
            // Unless another thread has been quicker.
            if let Some(at) = list.position(|other| Arc::ptr_eq(other, &last)) {
                children.untold.swap_remove(at);
                children.sum.add(&of_memory(&host));
            }
        }
    }
    /// The memory of this group and of its children that the host has not told yet.
    pub(super) fn untold(&self) -> Vec<Arc<LastUsage>> {
        let mut untold = self.child_usage.lock().untold.clone();
        untold.extend(self.last_memory.get().cloned());
        untold
    }
    /// The same without what has to be waited for.
    pub(super) fn usage_so_far(&self) -> Usage {
        let mut usage = *self.dead_usage.lock();
        usage.switches.0 = self.sleeps();
        if let Some(mm) = self.memory() {
            usage.add(&self.memory_usage(&mm));
        }
        (usage.utime, usage.stime) = self.cpu_times();
        usage
    }
}
