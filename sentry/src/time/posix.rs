//! Interval timers (`setitimer(2)`) and POSIX timers (`timer_create(2)`) of a process.
//!
//! A periodic timer that has sent its signal stands still until that signal is taken from the queue; only then does it count what it has missed, and go
//! on (`posixtimer_rearm`, and `dequeue_signal` for `ITIMER_REAL`). So an interval of a nanosecond costs a signal for each time that the guest takes
//! one, and nothing while it does not. Interval timers of processor time go off at most once a tick, and on their own.

use super::limit::CpuLimit;
use super::{Armed, Expire, advance, process_cpu, service, task_cpu};
use crate::kernel::signal::Sent;
use crate::kernel::{Kernel, Task, ThreadGroup};
use abi::Errno;
use abi::siginfo::{SI_TIMER, SigInfo};
use abi::signal::{SigSet, Signal};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// What a timer counts.
#[derive(Clone)]
pub enum Source {
    /// Monotonic or real time; deadlines are monotonic.
    Wall,
    /// The process's processor time (`ITIMER_PROF`, `CLOCK_PROCESS_CPUTIME_ID`); deadlines are on that clock.
    ProcessCpu,
    /// What of it was spent in guest code (`ITIMER_VIRTUAL`).
    ProcessUser,
    /// The processor time of one thread (`CLOCK_THREAD_CPUTIME_ID`); the clock stands still when the thread is gone.
    ThreadCpu(Weak<Task>),
}

impl Source {
    pub(super) fn now(&self, group: &ThreadGroup) -> u64 {
        match self {
            Self::Wall => group.kernel().clock.monotonic(),
            Self::ProcessCpu => process_cpu(group),
            Self::ProcessUser => group.user_time(),
            Self::ThreadCpu(task) => task.upgrade().map_or(0, |task| task_cpu(&task)),
        }
    }

    /// The earliest monotonic time at which `deadline` may have come. Processor time runs at most as fast as all the threads at once: it is looked at
    /// again no later than that.
    pub(super) fn earliest(&self, group: &ThreadGroup, deadline: u64) -> u64 {
        let threads = match self {
            Self::Wall => return deadline,
            Self::ProcessCpu | Self::ProcessUser => group.live_threads().clamp(1, 64),
            Self::ThreadCpu(_) => 1,
        };
        let left = deadline.saturating_sub(self.now(group));
        let wall = group.kernel().clock.monotonic();
        wall.saturating_add(left.checked_div(threads).unwrap_or(left).max(CPU_TICK))
    }
}

/// How fine processor time is looked at, as a kernel's tick is: nanoseconds.
const CPU_TICK: u64 = 1_000_000;

/// How long after a signal that nobody took another is tried, as the tick of a kernel: nanoseconds.
const RETRY: u64 = 4_000_000;

/// Whom an expiry tells.
#[derive(Clone)]
pub enum Notify {
    /// Nobody (`SIGEV_NONE`).
    Nobody,
    /// A signal to the process.
    Process(Signal),
    /// A signal to one thread (`SIGEV_THREAD_ID`).
    Thread(Signal, Weak<Task>),
}

struct State {
    deadline: Option<u64>,
    interval: u64,
    armed: Option<Armed>,
    /// Its signal is pending, and `deadline` the time that it was sent for.
    waits: bool,
    overrun: u64,
}

/// One timer.
pub struct Timer {
    group: Weak<ThreadGroup>,
    source: Source,
    notify: Notify,
    /// POSIX timer id and value; interval timers send plain signals.
    posix: Option<(i32, u64)>,
    /// The clock it was made on, for absolute times.
    clock: i32,
    state: Mutex<State, { level::TIMER }>,
    me: Weak<Timer>,
}

impl Timer {
    /// Disarmed.
    pub fn new(
        group: &Arc<ThreadGroup>,
        source: Source,
        notify: Notify,
        posix: Option<(i32, u64)>,
        clock: i32,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            group: Arc::downgrade(group),
            source,
            notify,
            posix,
            clock,
            state: Mutex::new(State {
                deadline: None,
                interval: 0,
                armed: None,
                waits: false,
                overrun: 0,
            }),
            me: me.clone(),
        })
    }

    /// `CLOCK_*` as created.
    pub fn clock(&self) -> i32 {
        self.clock
    }

    fn now(&self, group: &ThreadGroup) -> u64 {
        self.source.now(group)
    }

    /// Time left and interval.
    pub fn get(&self) -> (u64, u64) {
        let Some(group) = self.group.upgrade() else {
            return (0, 0);
        };
        let now = self.now(&group);
        let state = self.state.lock();
        let left = match state.deadline {
            None => 0,
            Some(d) if d > now => d.saturating_sub(now),
            // What has expired and not been delivered shows the least there is; without anybody to tell, nothing is left.
            Some(d) => advance(d, state.interval, now)
                .1
                .map_or(u64::from(!self.tells_nobody()), |next| {
                    next.saturating_sub(now).max(1)
                }),
        };
        (left, state.interval)
    }

    /// The clock now, for callers that compute deadlines.
    pub fn clock_now(&self) -> u64 {
        self.group.upgrade().map_or(0, |g| self.now(&g))
    }

    /// Sets the deadline on its own clock (`None` disarms) and the interval; what was left before.
    pub fn set(&self, deadline: Option<u64>, interval: u64) -> (u64, u64) {
        let old = self.get();
        let Some(group) = self.group.upgrade() else {
            return old;
        };
        let kernel = group.kernel().clone();
        {
            let mut state = self.state.lock();
            state.deadline = deadline;
            state.interval = interval;
            state.waits = false;
            state.overrun = 0;
            if let Some(armed) = state.armed.take() {
                service(&kernel).disarm(armed);
            }
        }
        self.rearm(&kernel, &group, 0);
        old
    }

    fn tells_nobody(&self) -> bool {
        matches!(self.notify, Notify::Nobody)
    }

    /// Its signal has been taken: how many more there would have been, if it was waited for.
    fn taken(&self, group: &ThreadGroup) -> Option<u64> {
        let now = self.now(group);
        let overrun = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.waits) {
                return None;
            }
            let deadline = state.deadline?;
            let (passed, next) = advance(deadline, state.interval, now);
            state.deadline = next;
            state.overrun = passed.saturating_sub(1);
            state.overrun
        };
        self.rearm(&group.kernel().clone(), group, 0);
        Some(overrun)
    }

    /// Its signal has been thrown away.
    fn lost(&self, group: &ThreadGroup) {
        let waited = std::mem::take(&mut self.state.lock().waits);
        if waited {
            self.rearm(&group.kernel().clone(), group, RETRY);
        }
    }

    /// Overruns of the last delivered expiry.
    pub fn overrun(&self) -> i32 {
        i32::try_from(self.state.lock().overrun).unwrap_or(i32::MAX)
    }

    /// Has it looked at again when its time may have come, and after `pause` nanoseconds.
    fn rearm(&self, kernel: &Arc<Kernel>, group: &ThreadGroup, pause: u64) {
        if self.tells_nobody() {
            return;
        }
        let pause = match pause {
            0 => 0,
            pause => kernel.clock.monotonic().saturating_add(pause),
        };
        loop {
            let Some(deadline) = self.state.lock().deadline else {
                return;
            };
            // Looks at processor times, with locks that come before the timer's.
            let at = self.source.earliest(group, deadline).max(pause);
            let mut state = self.state.lock();
            if state.deadline != Some(deadline) {
                continue;
            }
            if state.waits {
                return;
            }
            let weak: Weak<dyn Expire> = self.me.clone();
            let armed = service(kernel).arm(kernel, at, weak);
            if let Some(old) = state.armed.replace(armed) {
                service(kernel).disarm(old);
            }
            return;
        }
    }

    /// What became of the signal; `None` without anybody to send it to.
    fn signal(&self, group: &ThreadGroup) -> Option<Sent> {
        let info = |signal: Signal| match self.posix {
            Some((id, value)) => SigInfo::timer(signal, id, 0, value),
            None => SigInfo::kernel(signal),
        };
        match &self.notify {
            Notify::Nobody => None,
            Notify::Process(signal) => Some(group.send(info(*signal))),
            Notify::Thread(signal, task) => {
                let task = task.upgrade()?;
                Some(group.send_task(&task, info(*signal)))
            }
        }
    }

    /// Periodic, and to go on when its signal is taken?
    fn goes_on_when_taken(&self) -> bool {
        self.posix.is_some() || matches!(self.source, Source::Wall)
    }
}

impl Expire for Timer {
    fn expire(&self, wall: u64) {
        let Some(group) = self.group.upgrade() else {
            return;
        };
        if group.is_zombie() {
            return;
        }
        let now = self.now(&group);
        let expired = {
            let mut state = self.state.lock();
            if state.armed.is_some_and(|armed| armed.deadline() <= wall) {
                state.armed = None;
            }
            let Some(deadline) = state.deadline.filter(|_| !state.waits) else {
                return;
            };
            let (passed, next) = advance(deadline, state.interval, now);
            if passed > 0 && state.interval != 0 && self.goes_on_when_taken() {
                // Before the signal is there to be taken.
                state.waits = true;
            } else {
                state.deadline = next;
            }
            passed > 0
        };
        let sent = if expired { self.signal(&group) } else { None };
        if sent.is_some_and(|sent| sent != Sent::Queued) && self.posix.is_some() {
            self.lost(&group);
        } else {
            self.rearm(&group.kernel().clone(), &group, 0);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(armed), Some(group)) =
            (self.state.get_mut().armed.take(), self.group.upgrade())
        {
            service(group.kernel()).disarm(armed);
        }
    }
}

/// The timers of one process.
#[derive(Default)]
pub struct Timers {
    intervals: Mutex<[Option<Arc<Timer>>; 3]>,
    posix: Mutex<(i32, BTreeMap<i32, Arc<Timer>>)>,
    /// Watches `RLIMIT_CPU`.
    pub(super) cpu_limit: Mutex<Option<Arc<CpuLimit>>>,
}

/// The timers of `group`, made on first use.
pub fn timers(group: &ThreadGroup) -> Result<Arc<Timers>, Errno> {
    group
        .timers
        .get_or_init(Timers::default)
        .ok_or(Errno::ENOMEM)
}

/// A signal has been taken from the queue. If a timer sent it, that goes on, and the record says how often it would have.
pub fn signal_taken(group: &ThreadGroup, info: &mut SigInfo) {
    let alarm = info.signal() == Some(Signal::SIGALRM);
    if info.si_code != SI_TIMER && !alarm {
        return;
    }
    let Some(timers) = group.timers.get::<Timers>() else {
        return;
    };
    if info.si_code == SI_TIMER {
        let overrun = timers
            .get(info.timer_id())
            .ok()
            .and_then(|t| t.taken(group));
        if let Some(overrun) = overrun {
            info.set_overrun(i32::try_from(overrun).unwrap_or(i32::MAX));
        }
    }
    if alarm {
        let real = timers.intervals.lock().first().cloned().flatten();
        if let Some(timer) = real {
            timer.taken(group);
        }
    }
}

/// Pending signals have been thrown away: POSIX timers that wait for one of them to be taken try again.
pub fn signals_lost(group: &ThreadGroup, which: SigSet) {
    let Some(timers) = group.timers.get::<Timers>() else {
        return;
    };
    let all: Vec<_> = timers.posix.lock().1.values().cloned().collect();
    for timer in all {
        if let Notify::Process(signal) | Notify::Thread(signal, _) = &timer.notify
            && which.contains(*signal)
        {
            timer.lost(group);
        }
    }
}

impl Timers {
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL` or `ITIMER_PROF`.
    pub fn interval(&self, group: &Arc<ThreadGroup>, which: usize) -> Result<Arc<Timer>, Errno> {
        let mut all = self.intervals.lock();
        let slot = all.get_mut(which).ok_or(Errno::EINVAL)?;
        let (source, signal) = match which {
            0 => (Source::Wall, Signal::SIGALRM),
            1 => (Source::ProcessUser, Signal::SIGVTALRM),
            _ => (Source::ProcessCpu, Signal::SIGPROF),
        };
        Ok(slot
            .get_or_insert_with(|| Timer::new(group, source, Notify::Process(signal), None, 1))
            .clone())
    }

    /// A new POSIX timer with the next free id; `make` is told it.
    pub fn create(&self, limit: usize, make: impl FnOnce(i32) -> Arc<Timer>) -> Result<i32, Errno> {
        let mut posix = self.posix.lock();
        if posix.1.len() >= limit {
            return Err(Errno::EAGAIN);
        }
        let id = posix.0;
        posix.0 = id.checked_add(1).ok_or(Errno::EAGAIN)?;
        let timer = make(id);
        posix.1.insert(id, timer);
        Ok(id)
    }
    /// By id.
    pub fn get(&self, id: i32) -> Result<Arc<Timer>, Errno> {
        self.posix.lock().1.get(&id).cloned().ok_or(Errno::EINVAL)
    }
    /// Deletes every POSIX timer (`execve`).
    pub fn delete_all(&self) {
        let old = std::mem::take(&mut self.posix.lock().1);
        for timer in old.values() {
            timer.set(None, 0);
        }
    }
    /// `timer_delete`.
    pub fn delete(&self, id: i32) -> Result<(), Errno> {
        let old = self.posix.lock().1.remove(&id).ok_or(Errno::EINVAL)?;
        old.set(None, 0);
        Ok(())
    }
}
