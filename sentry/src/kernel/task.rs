//! Tasks: guest threads, as others see them. What only the owner touches is in [`super::Cx`].

use super::cred::{Credentials, TaskCount};
use super::fd_table::FdTable;
use super::ns::{FsContext, Namespaces};
use super::signal::TaskSignals;
use super::{Kernel, Pid, ThreadGroup};
use crate::mm::MemoryManager;
use abi::Errno;
use abi::signal::SigSet;
use fs::{Events, Observer, Pollee};
use platform::CpuSet;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use sync::{Mutex, Parker, RwLock, level};

/// What wakes a sleeping task: its parking place, as a readiness observer.
pub struct Waker {
    parker: Parker,
}

impl Waker {
    /// Ends the sleep, or makes the next one return at once.
    pub fn wake(&self) {
        self.parker.unpark();
    }
}

impl Observer for Waker {
    fn on_events(&self, _events: Events) {
        self.wake();
    }
}

/// Reasons for the owner to leave its loop's fast path; bits of [`Task::work`].
pub mod work {
    /// A signal may be deliverable, or the group stops or ends.
    pub const SIGNAL: u32 = 1;
    /// A pause of the whole container (`runsc-rs pause`).
    pub const PAUSE: u32 = 2;
    /// The processors it may run on have changed.
    pub const AFFINITY: u32 = 4;
    /// The guest may no longer be told by itself who it is ([`platform::Context::publish`]).
    pub const FACTS: u32 = 8;
}

/// Task states as `/proc/PID/stat` letters.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Running = b'R',
    Sleeping = b'S',
    Stopped = b'T',
    Zombie = b'Z',
    Dead = b'X',
}

/// Why a sleep ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A signal wants attention: answer with an ERESTART code.
    Interrupted,
    /// The deadline passed.
    TimedOut,
}

/// A guest thread.
pub struct Task {
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    pid: Mutex<Arc<Pid>, { level::TASK_FIELD }>,
    /// The number in its own pid namespace, for getpid-like hot paths.
    tid: AtomicI32,
    mm: RwLock<Option<Arc<MemoryManager>>, { level::TASK_FIELD }>,
    files: RwLock<Option<Arc<FdTable>>, { level::TASK_FIELD }>,
    fs: RwLock<Option<Arc<FsContext>>, { level::TASK_FIELD }>,
    cred: RwLock<Arc<Credentials>, { level::TASK_FIELD }>,
    /// The part of `cred` that file calls look at, made once per change.
    fs_cred: RwLock<Arc<fs::Cred>, { level::TASK_FIELD }>,
    ns: RwLock<Arc<Namespaces>, { level::TASK_FIELD }>,
    count: Mutex<TaskCount>,
    /// Its own signal state.
    pub signals: Mutex<TaskSignals, { level::TASK_SIGNALS }>,
    work: AtomicU32,
    in_guest: AtomicBool,
    /// How often guest code was entered.
    entries: AtomicU64,
    waker: Arc<Waker>,
    interrupter: Mutex<Option<platform::Interrupter>, { level::TASK_FIELD }>,
    comm: Mutex<[u8; 16]>,
    state: AtomicU8,
    exiting: AtomicBool,
    dead: AtomicBool,
    /// Parked by a group stop, counted in it.
    pub(super) parked: AtomicBool,
    /// `set_robust_list(2)`: head address, 0 for none.
    pub robust_list: AtomicU64,
    /// `PR_SET_PDEATHSIG`.
    pub pdeath_signal: AtomicI32,
    /// `PR_SET_TIMERSLACK`, nanoseconds.
    pub timer_slack: AtomicU64,
    /// `nice(2)`, -20 to 19.
    pub nice: AtomicI32,
    /// `sched_setaffinity(2)`
    affinity: Mutex<CpuSet>,
    /// Scheduling policy and real-time priority as set.
    pub sched: Mutex<(i32, i32)>,
    /// `personality(2)`
    pub personality: AtomicU32,
    /// `set_mempolicy(2)`: the mode with its flags, and in bit 16 node 0.
    pub mempolicy: AtomicU32,
    /// `ioprio_set(2)`.
    pub ioprio: AtomicI32,
    /// The system call it is in, -1 for none (`/proc/PID/syscall`, hang reports).
    pub in_syscall: AtomicI32,
    /// System calls made.
    pub syscalls: AtomicU64,
    /// Monotonic nanoseconds of its birth.
    pub start_ns: u64,
    /// Which calls it may make.
    pub seccomp: super::seccomp::Slot,
    /// What it has read and written.
    pub io: super::io_count::IoCount,
    /// Its clocks.
    pub cpu: super::cpu::CpuAccount,
}

/// What a new task starts with.
pub struct NewTask {
    /// Its identity.
    pub pid: Arc<Pid>,
    /// Its group.
    pub group: Arc<ThreadGroup>,
    /// Its memory.
    pub mm: Arc<MemoryManager>,
    /// Its descriptors.
    pub files: Arc<FdTable>,
    /// Root, cwd, umask.
    pub fs: Arc<FsContext>,
    /// Credentials.
    pub cred: Arc<Credentials>,
    /// Namespaces.
    pub ns: Arc<Namespaces>,
    /// Blocked signals.
    pub blocked: SigSet,
    /// `comm`.
    pub comm: [u8; 16],
}

impl Task {
    pub(super) fn new(kernel: &Arc<Kernel>, new: NewTask, like: Option<&Task>) -> Arc<Self> {
        let tid = new.pid.nr();
        let task = Arc::new(Self {
            kernel: kernel.clone(),
            group: new.group,
            tid: AtomicI32::new(tid),
            pid: Mutex::new(new.pid.clone()),
            mm: RwLock::new(Some(new.mm)),
            files: RwLock::new(Some(new.files)),
            fs: RwLock::new(Some(new.fs)),
            count: Mutex::new(TaskCount::new(&new.cred.counts)),
            fs_cred: RwLock::new(Arc::new(new.cred.fs_cred())),
            cred: RwLock::new(new.cred),
            ns: RwLock::new(new.ns),
            signals: Mutex::new(TaskSignals {
                blocked: new.blocked,
                ..TaskSignals::default()
            }),
            work: AtomicU32::new(0),
            in_guest: AtomicBool::new(false),
            entries: AtomicU64::new(0),
            waker: Arc::new(Waker {
                parker: Parker::new(),
            }),
            interrupter: Mutex::new(None),
            comm: Mutex::new(new.comm),
            state: AtomicU8::new(State::Running as u8),
            exiting: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            robust_list: AtomicU64::new(0),
            pdeath_signal: AtomicI32::new(0),
            timer_slack: AtomicU64::new(
                like.map_or(50_000, |t| t.timer_slack.load(Ordering::Relaxed)),
            ),
            nice: AtomicI32::new(like.map_or(0, |t| t.nice.load(Ordering::Relaxed))),
            affinity: Mutex::new(like.map_or(*platform::processors(), Task::affinity)),
            sched: Mutex::new(like.map_or((0, 0), |t| *t.sched.lock())),
            personality: AtomicU32::new(like.map_or(0, |t| t.personality.load(Ordering::Relaxed))),
            mempolicy: AtomicU32::new(like.map_or(0, |t| t.mempolicy.load(Ordering::Relaxed))),
            ioprio: AtomicI32::new(like.map_or(0, |t| t.ioprio.load(Ordering::Relaxed))),
            in_syscall: AtomicI32::new(-1),
            syscalls: AtomicU64::new(0),
            start_ns: kernel.clock.monotonic(),
            seccomp: super::seccomp::Slot::default(),
            io: super::io_count::IoCount::default(),
            cpu: super::cpu::CpuAccount::default(),
        });
        new.pid.set_task(Arc::downgrade(&task));
        task
    }

    /// The kernel.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }
    /// Its thread group.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }
    /// Its identity.
    pub fn pid(&self) -> Arc<Pid> {
        self.pid.lock().clone()
    }
    /// `gettid()` in its own namespace.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }
    /// `getpid()` in its own namespace.
    pub fn tgid(&self) -> i32 {
        self.group.pid().nr()
    }
    /// Takes over an identity (`execve` by a thread that is not the leader).
    pub(super) fn set_pid(self: &Arc<Self>, pid: Arc<Pid>) {
        self.tid.store(pid.nr(), Ordering::Relaxed);
        pid.set_task(Arc::downgrade(self));
        let old = std::mem::replace(&mut *self.pid.lock(), pid);
        drop(old);
    }
    /// The pid namespace it lives in.
    pub fn pid_ns(&self) -> Arc<super::PidNamespace> {
        match self.group.pid().ns() {
            Some(ns) => ns.clone(),
            None => self.kernel.root_pid_ns.clone(),
        }
    }
    /// Whether it leads its group.
    pub fn is_leader(&self) -> bool {
        Arc::ptr_eq(&self.pid.lock(), self.group.pid())
    }

    /// Its memory; `None` once it is exiting.
    pub fn mm_opt(&self) -> Option<Arc<MemoryManager>> {
        self.mm.read().clone()
    }
    /// Its memory, for system calls: a task in a call has one.
    pub fn mm(&self) -> Result<Arc<MemoryManager>, Errno> {
        self.mm_opt().ok_or(Errno::ESRCH)
    }
    pub(super) fn set_mm(&self, mm: Option<Arc<MemoryManager>>) -> Option<Arc<MemoryManager>> {
        std::mem::replace(&mut *self.mm.write(), mm)
    }
    /// Its descriptors; `None` once it is exiting.
    pub fn files_opt(&self) -> Option<Arc<FdTable>> {
        self.files.read().clone()
    }
    /// Its descriptors, for system calls.
    pub fn files(&self) -> Result<Arc<FdTable>, Errno> {
        self.files_opt().ok_or(Errno::ESRCH)
    }
    /// Replaces the table (`unshare(CLONE_FILES)`, `execve`, exit).
    pub fn set_files(&self, files: Option<Arc<FdTable>>) -> Option<Arc<FdTable>> {
        std::mem::replace(&mut *self.files.write(), files)
    }
    /// Root, cwd, umask; `None` once it is exiting.
    pub fn fs_opt(&self) -> Option<Arc<FsContext>> {
        self.fs.read().clone()
    }
    /// Root, cwd, umask, for system calls.
    pub fn fs(&self) -> Result<Arc<FsContext>, Errno> {
        self.fs_opt().ok_or(Errno::ESRCH)
    }
    /// Replaces it (`unshare(CLONE_FS)`, exit).
    pub fn set_fs(&self, fs: Option<Arc<FsContext>>) -> Option<Arc<FsContext>> {
        std::mem::replace(&mut *self.fs.write(), fs)
    }
    /// Its credentials.
    pub fn cred(&self) -> Arc<Credentials> {
        self.cred.read().clone()
    }
    /// Replaces them; only the owner does.
    pub fn set_cred(&self, cred: Arc<Credentials>) {
        let recount = !Arc::ptr_eq(&self.cred.read().counts, &cred.counts);
        if recount {
            let count = TaskCount::new(&cred.counts);
            *self.count.lock() = count;
        }
        *self.fs_cred.write() = Arc::new(cred.fs_cred());
        let old = std::mem::replace(&mut *self.cred.write(), cred);
        drop(old);
    }
    /// Its namespaces.
    pub fn ns(&self) -> Arc<Namespaces> {
        self.ns.read().clone()
    }
    /// Replaces them; only the owner does.
    pub fn set_ns(&self, ns: Arc<Namespaces>) {
        let old = std::mem::replace(&mut *self.ns.write(), ns);
        drop(old);
    }
    /// `comm`, without the trailing zeros.
    pub fn comm(&self) -> Vec<u8> {
        self.comm
            .lock()
            .iter()
            .copied()
            .take_while(|b| *b != 0)
            .collect()
    }
    /// Sets `comm`: the first 15 bytes count.
    pub fn set_comm(&self, name: &[u8]) {
        *self.comm.lock() = comm_from(name);
    }
    /// `comm` with its padding, for a child.
    pub fn comm_raw(&self) -> [u8; 16] {
        *self.comm.lock()
    }
    /// The state letter.
    pub fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }
    pub(super) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
    /// It has begun to end: no signal changes its status any more (`PF_EXITING`).
    pub fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::SeqCst)
    }
    pub(super) fn set_exiting(&self) {
        self.exiting.store(true, Ordering::SeqCst);
    }
    /// Has ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
    pub(super) fn set_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    // ---- waking and sleeping ----

    /// Its parking place.
    pub fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }
    pub(super) fn set_interrupter(&self, interrupter: Option<platform::Interrupter>) {
        *self.interrupter.lock() = interrupter;
    }

    /// Makes the owner look at `bits`: wakes it when it sleeps, gets it out of guest code when it runs.
    pub fn kick(&self, bits: u32) {
        self.work.fetch_or(bits, Ordering::SeqCst);
        self.waker.wake();
        // SeqCst pairs with `entering_guest`: either the owner sees the bits, or we see it in the guest.
        if self.in_guest.load(Ordering::SeqCst)
            && let Some(interrupter) = self.interrupter.lock().as_ref()
        {
            interrupter.interrupt();
        }
    }
    /// The processors it may run on.
    pub fn affinity(&self) -> CpuSet {
        *self.affinity.lock()
    }
    /// Sends it to these processors, which the sandbox has.
    pub fn set_affinity(&self, cpus: CpuSet) {
        *self.affinity.lock() = cpus;
        self.kick(work::AFFINITY);
    }
    pub(super) fn work(&self) -> u32 {
        self.work.load(Ordering::SeqCst)
    }
    pub(super) fn set_work(&self, bits: u32) {
        self.work.fetch_or(bits, Ordering::SeqCst);
    }
    pub(super) fn clear_work(&self, bits: u32) {
        self.work.fetch_and(!bits, Ordering::SeqCst);
    }
    /// Marks that guest code is about to run; false when there is work to do first.
    pub(super) fn entering_guest(&self) -> bool {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.in_guest.store(true, Ordering::SeqCst);
        if self.work() != 0 {
            self.in_guest.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }
    pub(super) fn is_in_guest(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst)
    }
    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
    pub(super) fn left_guest(&self) {
        self.in_guest.store(false, Ordering::SeqCst);
    }

    /// Whether a signal (or a stop, or the end) wants the owner's attention.
    pub fn signal_pending(&self) -> bool {
        self.work() & work::SIGNAL != 0 && self.recheck_signals()
    }

    /// The only way a task sleeps: until woken, until `deadline` (monotonic nanoseconds), or until a signal. Spurious returns are allowed: check, and sleep again.
    /// Locking: hold nothing.
    pub fn block(&self, deadline: Option<u64>) -> Result<(), Woken> {
        if self.signal_pending() {
            return Err(Woken::Interrupted);
        }
        self.set_state(State::Sleeping);
        self.cpu.count_sleep();
        let timed_out = self.waker.parker.park(deadline) == sync::Wakeup::TimedOut;
        self.set_state(State::Running);
        if self.signal_pending() {
            return Err(Woken::Interrupted);
        }
        if timed_out {
            Err(Woken::TimedOut)
        } else {
            Ok(())
        }
    }

    /// Parks without looking at signals: for the stop and pause loops, which look themselves.
    pub(super) fn park_raw(&self) {
        self.cpu.count_sleep();
        self.waker.parker.park(None);
    }

    /// As [`Self::block`], but only a fatal signal interrupts it (`TASK_KILLABLE`: vfork, execve's wait for its siblings).
    pub fn block_killable(&self, deadline: Option<u64>) -> Result<(), Woken> {
        if self.fatal_signal_pending() {
            return Err(Woken::Interrupted);
        }
        self.cpu.count_sleep();
        let timed_out = self.waker.parker.park(deadline) == sync::Wakeup::TimedOut;
        if self.fatal_signal_pending() {
            return Err(Woken::Interrupted);
        }
        if timed_out {
            Err(Woken::TimedOut)
        } else {
            Ok(())
        }
    }

    /// Tries `attempt` until it answers something other than `EAGAIN`, sleeping on `pollee` between tries. `EAGAIN` when the deadline passes, `ERESTARTSYS` for a signal.
    pub fn wait_on<T>(
        &self,
        pollee: &Pollee,
        mask: Events,
        deadline: Option<u64>,
        mut attempt: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match attempt() {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
        let key = pollee.register(self.waker.clone(), mask);
        let result = loop {
            match attempt() {
                Err(Errno::EAGAIN) => {}
                done => break done,
            }
            match self.block(deadline) {
                Ok(()) => {}
                Err(Woken::Interrupted) => break Err(Errno::ERESTARTSYS),
                Err(Woken::TimedOut) => break attempt(),
            }
        };
        pollee.unregister(key);
        result
    }
}

/// `comm` from a name: 15 bytes and a zero.
pub fn comm_from(name: &[u8]) -> [u8; 16] {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    comm
}

impl fs::Caller for Task {
    fn cred(&self) -> Arc<fs::Cred> {
        self.fs_cred.read().clone()
    }
    fn umask(&self) -> u32 {
        self.fs_opt().map_or(0o022, |fs| fs.umask())
    }
    fn now_ns(&self) -> i64 {
        self.kernel.clock.realtime()
    }
    fn file_size_limit(&self) -> u64 {
        self.group.limits.soft(super::limits::Resource::Fsize)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
