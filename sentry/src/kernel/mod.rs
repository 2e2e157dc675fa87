//! Tasks and what they are made of.
//!
//! | file | concept |
//! |---|---|
//! | `run.rs` | the task loop: switch, serve, deliver signals |
//! | `cx.rs` | what only the task's own thread touches: registers, context, masks to restore |
//! | `task.rs`, `thread_group.rs`, `session.rs`, `pid.rs` | the objects others see |
//! | `clone.rs`, `exec.rs`, `exit.rs`, `wait.rs` | birth, change, death, and who hears of it |
//! | `signal/` | queues, sending, delivery, frames |
//! | `seccomp/` | filters of calls: the configuration's and the guests' own |
//! | `rseq.rs` | restartable sequences |
//! | `cred.rs`, `ns.rs`, `limits.rs`, `fd_table.rs` | what tasks hold |
//! | `clock.rs`, `timer.rs`, `cpu.rs`, `io_count.rs` | time, and what is counted |

mod barrier;
pub mod clock;
pub mod clone;
pub mod container;
pub mod cpu;
pub mod cred;
pub mod cx;
pub mod exec;
pub mod exit;
pub mod fd_table;
pub mod io_count;
pub mod limits;
pub mod ns;
pub mod pid;
mod rseq;
mod run;
pub mod seccomp;
pub mod session;
pub mod sigio;
pub mod signal;
pub mod task;
pub mod thread_group;
pub mod timer;
pub mod wait;

pub use clock::{Clock, HostClock};
pub use container::{Container, ProcessSpec};
pub use cred::{Credentials, UserNamespace};
pub use cx::Cx;
pub use fd_table::{Fd, FdTable};
pub use ns::{FsContext, Namespaces};
pub use pid::{Pid, PidNamespace};
pub use session::{ControllingTty, ProcessGroup, Session};
pub use task::{Task, Waker, Woken};
pub use thread_group::{ExitStatus, ThreadGroup};

use crate::syscall::{SyscallTable, Tracer};
use fs::Pollee;
use platform::Platform;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use sync::{Mutex, RwLock, level};

/// The most tasks a sandbox has (`kernel.threads-max`): a fork bomb ends in `EAGAIN`, not in an exhausted host.
pub const THREADS_MAX: u64 = 32_768;

/// One sandbox's kernel.
pub struct Kernel {
    /// What guest code runs on.
    pub platform: Arc<dyn Platform>,
    /// The system calls.
    pub syscalls: SyscallTable,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The outermost pid namespace of the sandbox.
    pub root_pid_ns: Arc<PidNamespace>,
    /// The first user namespace.
    pub root_user_ns: Arc<UserNamespace>,
    /// Orders every change of parents, children, process groups and sessions, as Linux's `tasklist_lock` does.
    pub tree: Mutex<(), { level::TASKS }>,
    /// Told whenever a signal becomes pending anywhere (signalfd).
    pub signal_events: Pollee,
    sigio: Arc<sigio::Sigio>,
    /// Told when a container's init ends.
    pub container_events: Pollee,
    containers: Mutex<Vec<Arc<Container>>, { level::CONTAINERS }>,
    tasks: AtomicU64,
    /// How many there may be: [`THREADS_MAX`], or the container's pids limit where that is lower.
    pub tasks_max: AtomicU64,
    /// `processes` of `/proc/stat`.
    pub forks: AtomicU64,
    /// Runnable and sleeping are the host's business; the load average is made of these samples.
    pub boot_monotonic: u64,
    /// `CLOCK_REALTIME` at boot (btime).
    pub boot_realtime: AtomicI64,
    /// The time-stamp counter at boot.
    boot_tsc: u64,
    /// What thread groups that have ended had used.
    pub ended: Mutex<thread_group::Usage>,
    tracing: AtomicBool,
    tracer: RwLock<Option<Arc<dyn Tracer>>>,
    xsave: sync::OnceLock<(usize, u64)>,
    /// Services of other modules (futex table, timers, SysV objects, tty driver…), one of each type.
    extensions: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Kernel {
    /// A kernel without tasks.
    pub fn new(
        platform: Arc<dyn Platform>,
        syscalls: SyscallTable,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, abi::Errno> {
        crate::loader::ask_host();
        let boot_monotonic = clock.monotonic();
        let boot_realtime = AtomicI64::new(clock.realtime());
        Ok(Arc::new(Self {
            platform,
            syscalls,
            root_pid_ns: PidNamespace::new(None)?,
            root_user_ns: UserNamespace::root(),
            tree: Mutex::new(()),
            signal_events: Pollee::new(),
            sigio: Arc::default(),
            container_events: Pollee::new(),
            containers: Mutex::new(Vec::new()),
            tasks: AtomicU64::new(0),
            tasks_max: AtomicU64::new(THREADS_MAX),
            forks: AtomicU64::new(0),
            boot_monotonic,
            boot_realtime,
            boot_tsc: platform::rdtsc(),
            ended: Mutex::new(thread_group::Usage::default()),
            clock,
            tracing: AtomicBool::new(false),
            tracer: RwLock::new(None),
            xsave: sync::OnceLock::new(),
            extensions: Mutex::new(HashMap::new()),
        }))
    }

    /// The service of type `T`, made on first use. Modules keep their sandbox-wide state so without the kernel knowing them.
    pub fn extension<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.extensions.lock();
        let entry = all.entry(TypeId::of::<T>());
        let found: Arc<dyn Any + Send + Sync> = match entry {
            std::collections::hash_map::Entry::Occupied(e) => e.get().clone(),
            std::collections::hash_map::Entry::Vacant(e) => e.insert(Arc::new(make())).clone(),
        };
        drop(all);
        match found.downcast() {
            Ok(service) => service,
            // Keyed by its own type id.
            Err(_) => unreachable!("an extension is stored under its own type"),
        }
    }

    /// Starts or stops tracing system calls.
    pub fn set_tracer(&self, tracer: Option<Arc<dyn Tracer>>) {
        self.tracing.store(tracer.is_some(), Ordering::SeqCst);
        *self.tracer.write() = tracer;
        for (_, pid) in self.root_pid_ns.pids() {
            if let Some(task) = pid.task() {
                task.kick(task::work::FACTS);
            }
        }
    }
    /// Whether there is one.
    pub(crate) fn is_tracing(&self) -> bool {
        self.tracing.load(Ordering::SeqCst)
    }
    /// The tracer, when there is one: one relaxed load and a predictable branch when not.
    pub fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        if self.tracing.load(Ordering::Relaxed) {
            self.tracer.read().clone()
        } else {
            None
        }
    }

    /// Nanoseconds of a number of ticks of the time-stamp counter, as it has run since boot.
    pub(crate) fn ticks_to_ns(&self, ticks: u64) -> u64 {
        let all = platform::rdtsc().wrapping_sub(self.boot_tsc);
        let ns = self.clock.monotonic().saturating_sub(self.boot_monotonic);
        cpu::share(ns, ticks, all)
    }

    /// Counts a new task; `EAGAIN` at [`Kernel::tasks_max`].
    fn admit_task(&self) -> Result<(), abi::Errno> {
        if self.tasks.fetch_add(1, Ordering::SeqCst) >= self.tasks_max.load(Ordering::Relaxed) {
            self.tasks.fetch_sub(1, Ordering::SeqCst);
            return Err(abi::Errno::EAGAIN);
        }
        Ok(())
    }
    fn retire_task(&self) {
        self.tasks.fetch_sub(1, Ordering::SeqCst);
    }
    /// Tasks alive.
    pub fn task_count(&self) -> u64 {
        self.tasks.load(Ordering::SeqCst)
    }

    /// The size of this machine's XSAVE image and the features in it; known after the first task asked.
    pub fn xsave_size(&self) -> usize {
        self.xsave.get().map_or(abi::x86::XSAVE_MIN_SIZE, |x| x.0)
    }
    /// The features of the XSAVE image (XCR0).
    pub fn xfeatures(&self) -> u64 {
        self.xsave.get().map_or(3, |x| x.1)
    }
    fn note_xsave(&self, image: &[u8]) {
        if self.xsave.get().is_none() {
            // PTRACE_GETREGSET leaves XCR0 in the software bytes (`xstate_fx_sw_bytes`, first word).
            let xcr0 = image
                .get(464..472)
                .and_then(|b| b.try_into().ok())
                .map_or(3, u64::from_le_bytes);
            let _ = self.xsave.set((image.len(), xcr0));
        }
    }
}
