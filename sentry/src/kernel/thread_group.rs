//! Thread groups: what Linux's users call processes.

use super::limits::Limits;
use super::signal::{Pending, SigHandlers};
use super::{Kernel, Pid, ProcessGroup, Session, Task};
use abi::signal::Signal;
use fs::Pollee;
use platform::LastUsage;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock, RwLock, level};

/// How a process ended, as `wait4(2)` encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// `_exit(code)`: the low eight bits count.
    Exited(u8),
    /// Killed by a signal; `core` when Linux would have dumped one.
    Signaled {
        /// Which.
        signal: Signal,
        /// The core-dump bit.
        core: bool,
    },
}

impl ExitStatus {
    /// The status word of `wait4(2)`.
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code) << 8,
            Self::Signaled { signal, core } => signal.raw() | if core { 0x80 } else { 0 },
        }
    }
    /// A shell's exit code.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code),
            Self::Signaled { signal, .. } => signal.raw().saturating_add(128),
        }
    }
}

/// Where a group stands in a job-control stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopState {
    /// Runs.
    Running,
    /// A stop signal was taken; some threads have yet to park.
    Stopping(Signal),
    /// All threads are parked.
    Stopped(Signal),
}

/// The group's signal state, under [`ThreadGroup::signals`].
pub struct GroupSignals {
    /// Signals sent to the group as a whole.
    pub pending: Pending,
    /// Set once: the group is ending with this status.
    pub exiting: Option<ExitStatus>,
    /// A thread is in `execve` and waits for the others to be gone.
    pub exec: Option<Arc<Task>>,
    /// Job control.
    pub stop: StopState,
    /// A thread has taken a stop signal and is about to act on it; `SIGCONT` takes that back (`JOBCTL_STOP_DEQUEUED`).
    pub stop_taken: bool,
    /// A stop that `wait4(WUNTRACED)` has yet to report.
    pub stop_unreported: bool,
    /// A continue that `wait4(WCONTINUED)` has yet to report.
    pub continue_unreported: bool,
}

/// The place in the tree of processes; changes only under [`Kernel::tree`].
pub struct Family {
    /// Who waits for it; `None` for a namespace-less orphan (the sandbox's own inits).
    pub parent: Option<Weak<ThreadGroup>>,
    /// Children not yet reaped.
    pub children: Vec<Arc<ThreadGroup>>,
    /// The process group.
    pub pgrp: Arc<ProcessGroup>,
    /// What the parent is sent at the end; 0 for nothing.
    pub exit_signal: i32,
}

/// CPU time and memory of reaped children and of dead threads.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// User CPU, nanoseconds.
    pub utime: u64,
    /// System CPU, nanoseconds.
    pub stime: u64,
    /// Largest resident set, KiB.
    pub maxrss: u64,
    /// Minor faults.
    pub minflt: u64,
    /// Major faults.
    pub majflt: u64,
    /// Voluntary and involuntary context switches.
    pub switches: (u64, u64),
}

impl Usage {
    /// Adds another's.
    pub fn add(&mut self, other: &Usage) {
        self.utime = self.utime.saturating_add(other.utime);
        self.stime = self.stime.saturating_add(other.stime);
        self.maxrss = self.maxrss.max(other.maxrss);
        self.minflt = self.minflt.saturating_add(other.minflt);
        self.majflt = self.majflt.saturating_add(other.majflt);
        self.switches = (
            self.switches.0.saturating_add(other.switches.0),
            self.switches.1.saturating_add(other.switches.1),
        );
    }
}

/// What children have used.
#[derive(Clone, Default)]
pub(super) struct ChildUsage {
    /// As far as it is known.
    pub(super) sum: Usage,
    /// What the host has not told yet.
    pub(super) untold: Vec<Arc<LastUsage>>,
}

/// A thread group.
pub struct ThreadGroup {
    pub(super) kernel: Arc<Kernel>,
    pid: Arc<Pid>,
    /// Live threads, and a dead leader that others outlive.
    pub(super) tasks: Mutex<Vec<Arc<Task>>, { level::GROUP_TASKS }>,
    pub(super) family: Mutex<Family, { level::FAMILY }>,
    /// Signal state.
    pub signals: Mutex<GroupSignals, { level::GROUP_SIGNALS }>,
    pub(super) handlers: RwLock<Arc<SigHandlers>, { level::HANDLERS }>,
    /// `getrlimit(2)`.
    pub limits: Limits,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: AtomicBool,
    /// Notified when a child changes state (wait4).
    pub child_events: Pollee,
    /// Notified when this group is a zombie (pidfd, the sandbox's own wait).
    pub exit_events: Pollee,
    /// 1 once every thread has ended.
    zombie: AtomicBool,
    pub(super) final_status: Mutex<Option<ExitStatus>>,
    /// Usage of children that were waited for.
    pub(super) child_usage: Mutex<ChildUsage>,
    /// What the host will tell of its memory, when that has ended with it.
    pub(super) last_memory: OnceLock<Arc<LastUsage>>,
    /// Usage of threads that have ended, but for their user time.
    pub dead_usage: Mutex<Usage>,
    /// What was read and written, but for its live threads.
    pub(super) dead_io: super::io_count::IoCount,
    /// Its clocks.
    pub cpu: super::cpu::GroupAccount,
    /// `oom_score_adj`.
    pub oom_score_adj: AtomicI32,
    /// `coredump_filter`: what a dump would hold (`core(5)`).
    pub coredump_filter: AtomicU32,
    /// Monotonic nanoseconds of its birth.
    pub start_ns: u64,
    /// Whether `execve` has happened since the fork (`setpgid`'s EACCES).
    pub did_exec: AtomicBool,
    /// The registrations of membarrier(2), as its commands.
    pub membarrier: AtomicI32,
    /// Live threads.
    pub(super) live: AtomicU64,
    /// Timers of the process: interval timers, POSIX timers.
    pub timers: super::timer::ProcessTimers,
    /// Which container of the sandbox it belongs to.
    pub container: Arc<super::Container>,
}

impl ThreadGroup {
    /// A group without threads. It is in no tree and no process group's list yet.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        kernel: &Arc<Kernel>,
        pid: Arc<Pid>,
        family: Family,
        handlers: Arc<SigHandlers>,
        limits: Limits,
        container: Arc<super::Container>,
    ) -> Arc<Self> {
        let group = Arc::new(Self {
            kernel: kernel.clone(),
            pid,
            tasks: Mutex::new(Vec::new()),
            family: Mutex::new(family),
            signals: Mutex::new(GroupSignals {
                pending: Pending::default(),
                exiting: None,
                exec: None,
                stop: StopState::Running,
                stop_unreported: false,
                continue_unreported: false,
                stop_taken: false,
            }),
            handlers: RwLock::new(handlers),
            limits,
            subreaper: AtomicBool::new(false),
            child_events: Pollee::new(),
            exit_events: Pollee::new(),
            zombie: AtomicBool::new(false),
            final_status: Mutex::new(None),
            child_usage: Mutex::default(),
            last_memory: OnceLock::new(),
            dead_usage: Mutex::new(Usage::default()),
            dead_io: super::io_count::IoCount::default(),
            cpu: super::cpu::GroupAccount::default(),
            oom_score_adj: AtomicI32::new(0),
            coredump_filter: AtomicU32::new(0x33),
            start_ns: kernel.clock.monotonic(),
            did_exec: AtomicBool::new(false),
            membarrier: AtomicI32::new(0),
            live: AtomicU64::new(0),
            timers: super::timer::ProcessTimers::default(),
            container,
        });
        group.pid.set_group(Arc::downgrade(&group));
        group
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }
    /// Its identity (tgid).
    pub fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }
    /// Its threads.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.tasks.lock().clone()
    }
    /// The leader, or any thread when the leader's object is gone already.
    pub fn leader(&self) -> Option<Arc<Task>> {
        let tasks = self.tasks.lock();
        tasks
            .iter()
            .find(|t| t.is_leader())
            .or(tasks.first())
            .cloned()
    }
    /// A thread that still has its memory (the leader may have exited before the others).
    pub fn any_live(&self) -> Option<Arc<Task>> {
        let tasks = self.tasks.lock();
        tasks
            .iter()
            .find(|t| t.is_leader() && !t.is_dead())
            .or(tasks.iter().find(|t| !t.is_dead()))
            .cloned()
    }
    /// How many threads live.
    pub fn live_threads(&self) -> u64 {
        self.live.load(Ordering::SeqCst)
    }
    /// The parent process.
    pub fn parent(&self) -> Option<Arc<ThreadGroup>> {
        self.family.lock().parent.as_ref()?.upgrade()
    }
    /// The process group.
    pub fn process_group(&self) -> Arc<ProcessGroup> {
        self.family.lock().pgrp.clone()
    }
    /// The session.
    pub fn session(&self) -> Arc<Session> {
        self.family.lock().pgrp.session.clone()
    }
    /// Children not yet reaped.
    pub fn children(&self) -> Vec<Arc<ThreadGroup>> {
        self.family.lock().children.clone()
    }
    /// What the parent is sent at the end.
    pub fn exit_signal(&self) -> i32 {
        self.family.lock().exit_signal
    }
    /// The dispositions.
    pub fn handlers(&self) -> Arc<SigHandlers> {
        self.handlers.read().clone()
    }
    /// Every thread has ended; only the status is left.
    pub fn is_zombie(&self) -> bool {
        self.zombie.load(Ordering::SeqCst)
    }
    pub(super) fn set_zombie(&self, status: ExitStatus) {
        *self.final_status.lock() = Some(status);
        self.zombie.store(true, Ordering::SeqCst);
    }
    /// How it ended.
    pub fn final_status(&self) -> Option<ExitStatus> {
        *self.final_status.lock()
    }
    /// All threads are parked by job control.
    pub fn is_stopped(&self) -> bool {
        matches!(self.signals.lock().stop, StopState::Stopped(_))
    }
    /// The init of its pid namespace: signals from inside reach it only if it handles them.
    pub fn is_ns_init(&self) -> bool {
        self.pid.is_init()
    }
}
