//! Seccomp (`kernel/seccomp.c`): the filters of a container's configuration and those that guests install themselves.
//!
//! ```text
//!  every call ─► mode as the owner last saw it ──none──► allowed
//!                      │ filter
//!                      ▼
//!             one bit per number: always allowed by every filter of the chain? ──yes──► allowed
//!                      │ no, or not known yet
//!                      ▼
//!             run the chain, newest first; the strictest answer counts
//! ```
//!
//! The bit is found out when a number is first used, by running the programs with nothing but number and architecture known: a program that asks for
//! more does not always allow.

pub mod bpf;

use super::Cx;
use super::cx::Leave;
use super::task::Task;
use super::thread_group::ExitStatus;
use crate::syscall::SysResult;
use abi::Errno;
use abi::seccomp::*;
use abi::signal::{SigInfo, Signal};
use bpf::{Program, Words};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use sync::{RwLock, level};

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// Numbers with a bit.
const CACHED: usize = 512;
/// The most instructions on one way through a chain, each filter counting four more (`MAX_INSNS_PER_PATH`).
const MOST_INSTRUCTIONS: usize = 32_768;

/// One installed filter and those before it.
#[derive(Debug)]
pub struct Filter {
    program: Program,
    before: Option<Arc<Filter>>,
    /// How many filters there are, this one included.
    pub depth: usize,
    instructions: usize,
    /// `SECCOMP_FILTER_FLAG_LOG`
    log: bool,
    /// Which numbers were looked at, and which of them are always allowed.
    known: [AtomicU64; CACHED / 64],
    always: [AtomicU64; CACHED / 64],
}

impl Filter {
    /// A program on top of the filters `before`: `EINVAL` for a bad program, `ENOMEM` when the chain grows too long.
    pub fn new(
        code: &[SockFilter],
        before: Option<Arc<Filter>>,
        log: bool,
    ) -> Result<Arc<Self>, Errno> {
        let program = Program::new(code)?;
        let instructions = before
            .as_ref()
            .map_or(0, |b| b.instructions)
            .saturating_add(program.len())
            .saturating_add(4);
        if instructions > MOST_INSTRUCTIONS {
            return Err(Errno::ENOMEM);
        }
        Ok(Arc::new(Self {
            program,
            depth: before.as_ref().map_or(0, |b| b.depth).saturating_add(1),
            before,
            instructions,
            log,
            known: Default::default(),
            always: Default::default(),
        }))
    }

    fn chain(&self) -> impl Iterator<Item = &Filter> {
        std::iter::successors(Some(self), |f| f.before.as_deref())
    }

    /// Whether `other` is this chain or what a later part of it stands on.
    fn stands_on(&self, other: &Filter) -> bool {
        self.chain().any(|f| std::ptr::eq(f, other))
    }

    /// The strictest answer of the chain: its value, and whether it is to be logged. `None` when a program asks for an unknown word.
    fn answer(&self, data: impl Fn(usize) -> Option<u32> + Copy) -> Option<(u32, bool)> {
        let mut strictest = (SECCOMP_RET_ALLOW, false);
        for filter in self.chain() {
            let value = filter.program.run(data)?;
            if strictness(value) < strictness(strictest.0) {
                strictest = (value, filter.log);
            }
        }
        Some(strictest)
    }

    /// Whether a number is allowed whatever its arguments.
    fn always_allows(&self, nr: u64) -> bool {
        let Ok(nr) = usize::try_from(nr) else {
            return false;
        };
        let (Some(known), Some(always)) = (self.known.get(nr / 64), self.always.get(nr / 64))
        else {
            return false;
        };
        let bit = 1u64 << (nr % 64);
        if always.load(Ordering::Relaxed) & bit != 0 {
            return true;
        }
        if known.load(Ordering::Relaxed) & bit != 0 {
            return false;
        }
        let number = u32::try_from(nr).unwrap_or(u32::MAX);
        let allowed = self
            .answer(|word| match word {
                0 => Some(number),
                1 => Some(ARCH),
                _ => None,
            })
            .is_some_and(|(value, _)| value == SECCOMP_RET_ALLOW);
        if allowed {
            always.fetch_or(bit, Ordering::Relaxed);
        }
        known.fetch_or(bit, Ordering::Relaxed);
        allowed
    }
}

impl Drop for Filter {
    /// One after the other: a chain is thousands long at worst, a sentry thread's stack is small.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut filter) = next.and_then(Arc::into_inner) {
            next = filter.before.take();
        }
    }
}

/// Actions in order: the smaller wins.
fn strictness(value: u32) -> i32 {
    (value & SECCOMP_RET_ACTION_FULL).cast_signed()
}

/// A task's mode.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// No seccomp.
    #[default]
    Disabled,
    /// `read`, `write`, `exit`, `rt_sigreturn`.
    Strict,
    /// What the filters say.
    Filter(Arc<Filter>),
}

impl Mode {
    /// As `prctl(PR_GET_SECCOMP)` and `/proc/PID/status` number it.
    pub fn number(&self) -> u32 {
        match self {
            Mode::Disabled => SECCOMP_MODE_DISABLED,
            Mode::Strict => SECCOMP_MODE_STRICT,
            Mode::Filter(_) => SECCOMP_MODE_FILTER,
        }
    }
    /// The filters, newest first.
    pub fn filter(&self) -> Option<&Arc<Filter>> {
        match self {
            Mode::Filter(f) => Some(f),
            _ => None,
        }
    }
}

/// A task's mode as other tasks see and, with `SECCOMP_FILTER_FLAG_TSYNC`, set it.
#[derive(Debug, Default)]
pub struct Slot {
    mode: RwLock<Mode, { level::TASK_FIELD }>,
    changes: AtomicU32,
    /// The thread that set it had no_new_privs: this one gets it too.
    no_new_privs: AtomicBool,
}

impl Slot {
    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode.read().clone()
    }
    /// Sets it.
    pub fn set(&self, mode: Mode) {
        let old = std::mem::replace(&mut *self.mode.write(), mode);
        self.changes.fetch_add(1, Ordering::Release);
        drop(old);
    }
    /// Takes over a parent's.
    pub(super) fn inherit(&self, parent: &Slot) {
        let mode = parent.mode();
        if !matches!(mode, Mode::Disabled) {
            self.no_new_privs
                .store(parent.no_new_privs(), Ordering::Release);
            self.set(mode);
        }
    }
    /// Whether no_new_privs is about to be taken over from another thread.
    pub fn no_new_privs(&self) -> bool {
        self.no_new_privs.load(Ordering::Acquire)
    }
}

/// The mode as the owner last saw it: no lock on the way of a call.
#[derive(Debug, Default)]
pub struct Seen {
    mode: Mode,
    changes: u32,
}

impl Cx {
    /// What becomes of a call before it is served: `None` lets it through.
    pub(super) fn seccomp(&mut self, nr: u64, args: &[u64; 6]) -> Option<SysResult> {
        if self.seccomp.changes.load(Ordering::Acquire) != self.state.seccomp.changes {
            self.refresh_seccomp();
        }
        match &self.state.seccomp.mode {
            Mode::Disabled => None,
            Mode::Strict => self.strict(nr),
            Mode::Filter(filter) if filter.always_allows(nr) => None,
            Mode::Filter(filter) => {
                let filter = filter.clone();
                self.filtered(&filter, nr, args)
            }
        }
    }

    #[cold]
    fn refresh_seccomp(&mut self) {
        let changes = self.task().seccomp.changes.load(Ordering::Acquire);
        self.state.seccomp = Seen {
            mode: self.task().seccomp.mode(),
            changes,
        };
        let old = self.task().cred();
        if self.task().seccomp.no_new_privs() && !old.no_new_privs {
            let mut cred = (*old).clone();
            cred.no_new_privs = true;
            self.task().set_cred(Arc::new(cred));
        }
    }

    /// Whether every call is let through that only asks who one is.
    pub(super) fn seccomp_lets_ask(&mut self) -> bool {
        use abi::nr::{GETEGID, GETEUID, GETGID, GETPID, GETTID, GETUID};
        if self.seccomp.changes.load(Ordering::Acquire) != self.state.seccomp.changes {
            self.refresh_seccomp();
        }
        match &self.state.seccomp.mode {
            Mode::Disabled => true,
            Mode::Strict => false,
            Mode::Filter(filter) => [GETPID, GETTID, GETUID, GETEUID, GETGID, GETEGID]
                .into_iter()
                .all(|nr| filter.always_allows(nr)),
        }
    }

    fn strict(&mut self, nr: u64) -> Option<SysResult> {
        if matches!(
            nr,
            abi::nr::READ | abi::nr::WRITE | abi::nr::EXIT | abi::nr::RT_SIGRETURN
        ) {
            return None;
        }
        Some(self.end_thread(nr, Signal::SIGKILL))
    }

    fn end_thread(&mut self, nr: u64, signal: Signal) -> SysResult {
        let status = ExitStatus::Signaled {
            signal,
            core: false,
        };
        self.state.leave = Some(Leave::Exit(status));
        self.state.keep_registers = true;
        Ok(nr)
    }

    fn filtered(&mut self, filter: &Filter, nr: u64, args: &[u64; 6]) -> Option<SysResult> {
        let ip = self.regs.user.rip;
        let data = words(nr, ip, args);
        // Every word is given, so there is an answer.
        let (value, log) = filter
            .answer(|word| data.get(word).copied())
            .unwrap_or((SECCOMP_RET_KILL_PROCESS, false));
        let action = value & SECCOMP_RET_ACTION_FULL;
        let low = value & SECCOMP_RET_DATA;
        // As seccomp_log(): kills always, SECCOMP_RET_LOG always, the rest where the filter asked for it. A guest can write as many lines as it
        // likes, so they are for --debug only.
        if log
            || matches!(action, SECCOMP_RET_LOG | SECCOMP_RET_KILL_PROCESS)
            || action == SECCOMP_RET_KILL_THREAD
        {
            log::debug!(
                "[{}] seccomp: call {nr} ({}) answered {value:#010x}",
                self.tid(),
                abi::nr::name(nr).unwrap_or("?")
            );
        }
        match action {
            SECCOMP_RET_ALLOW | SECCOMP_RET_LOG => None,
            SECCOMP_RET_ERRNO => {
                const MAX_ERRNO: u32 = 4095;
                Some(Ok(i64::from(low.min(MAX_ERRNO))
                    .wrapping_neg()
                    .cast_unsigned()))
            }
            SECCOMP_RET_TRAP => {
                let data = i32::try_from(low).unwrap_or(0);
                let number = i32::try_from(nr).unwrap_or(-1);
                let task = self.task().clone();
                task.group()
                    .force(&task, SigInfo::sys(ip, number, ARCH, data));
                Some(Ok(nr))
            }
            // There is no tracer and no listener.
            SECCOMP_RET_TRACE | SECCOMP_RET_USER_NOTIF => Some(Err(Errno::ENOSYS)),
            SECCOMP_RET_KILL_THREAD if self.task().group().live_threads() > 1 => {
                Some(self.end_thread(nr, Signal::SIGSYS))
            }
            // Unknown actions are SECCOMP_RET_KILL_PROCESS.
            _ => {
                self.task().group().start_exit(ExitStatus::Signaled {
                    signal: Signal::SIGSYS,
                    core: false,
                });
                Some(self.end_thread(nr, Signal::SIGSYS))
            }
        }
    }

    /// `SECCOMP_SET_MODE_STRICT`
    pub fn set_seccomp_strict(&mut self) -> SysResult {
        match self.task().seccomp.mode() {
            Mode::Filter(_) => Err(Errno::EINVAL),
            _ => {
                self.task().seccomp.set(Mode::Strict);
                Ok(0)
            }
        }
    }

    /// `SECCOMP_SET_MODE_FILTER`: the caller alone, or all threads of its group (`SECCOMP_FILTER_FLAG_TSYNC`). The number of a thread that
    /// cannot follow is the result then, and nothing is changed.
    pub fn add_seccomp_filter(&mut self, code: &[SockFilter], flags: u32) -> SysResult {
        let task = self.task().clone();
        let cred = task.cred();
        let log = flags & SECCOMP_FILTER_FLAG_LOG != 0;
        // No thread is born, and none changes another's filter, meanwhile.
        let kernel = task.kernel().clone();
        let _tree = kernel.tree.lock();
        let before = match task.seccomp.mode() {
            Mode::Disabled => None,
            Mode::Strict => return Err(Errno::EINVAL),
            Mode::Filter(f) => Some(f),
        };
        let filter = Filter::new(code, before.clone(), log)?;
        let mut others: Vec<Arc<Task>> = Vec::new();
        if flags & SECCOMP_FILTER_FLAG_TSYNC != 0 {
            others = task.group().tasks();
            others.retain(|t| !Arc::ptr_eq(t, &task) && !t.is_dead());
            let follows = |other: &&Arc<Task>| match (other.seccomp.mode(), &before) {
                (Mode::Disabled, _) => true,
                (Mode::Filter(theirs), Some(ours)) => ours.stands_on(&theirs),
                _ => false,
            };
            if let Some(stuck) = others.iter().find(|t| !follows(t)) {
                return if flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH != 0 {
                    Err(Errno::ESRCH)
                } else {
                    Ok(u64::try_from(stuck.tid()).unwrap_or(0))
                };
            }
        }
        task.seccomp.set(Mode::Filter(filter.clone()));
        for other in others {
            if cred.no_new_privs {
                other.seccomp.no_new_privs.store(true, Ordering::Release);
            }
            other.seccomp.set(Mode::Filter(filter.clone()));
            other.kick(crate::kernel::task::work::FACTS);
        }
        Ok(0)
    }
}

/// What a program sees of a call.
fn words(nr: u64, ip: u64, args: &[u64; 6]) -> Words {
    let mut data: Words = [0; 16];
    let low = |v: u64| (v & 0xffff_ffff) as u32;
    let pairs = std::iter::once(ip).chain(args.iter().copied());
    for (slot, value) in data.as_chunks_mut::<2>().0.iter_mut().skip(1).zip(pairs) {
        *slot = [low(value), low(value >> 32)];
    }
    let [number, arch, ..] = &mut data;
    (*number, *arch) = (low(nr), ARCH);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }
    fn returns(value: u32) -> Vec<SockFilter> {
        vec![insn(BPF_RET | BPF_K, 0, 0, value)]
    }
    /// `nr == 39 ? first argument == 5 ? ERRNO 7 : ALLOW : otherwise`
    fn on_argument(otherwise: u32) -> Vec<SockFilter> {
        vec![
            insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
            insn(BPF_JMP | BPF_JEQ, 0, 4, 39),
            insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 16),
            insn(BPF_JMP | BPF_JEQ, 0, 1, 5),
            insn(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 7),
            insn(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
            insn(BPF_RET | BPF_K, 0, 0, otherwise),
        ]
    }
    fn ask(f: &Filter, nr: u64, first: u64) -> u32 {
        let data = words(nr, 0x1234_5678_9abc, &[first, 0, 0, 0, 0, 0]);
        f.answer(|w| data.get(w).copied()).unwrap().0
    }

    #[test]
    fn data_is_laid_out_as_the_struct() {
        let data = words(
            7,
            0x1_0000_0002,
            &[0x3_0000_0004, 0, 0, 0, 0, 0x5_0000_0006],
        );
        assert_eq!(data[..6], [7, ARCH, 2, 1, 4, 3]);
        assert_eq!(data[14..], [6, 5]);
    }

    #[test]
    fn only_what_never_depends_on_arguments_has_its_bit() {
        let f = Filter::new(&on_argument(SECCOMP_RET_ALLOW), None, false).unwrap();
        assert!(!f.always_allows(39) && f.always_allows(40) && f.always_allows(40));
        assert!(!f.always_allows(512) && !f.always_allows(u64::MAX));
        assert_eq!(ask(&f, 39, 5), SECCOMP_RET_ERRNO | 7);
        assert_eq!(ask(&f, 39, 6), SECCOMP_RET_ALLOW);
    }

    #[test]
    fn the_strictest_of_a_chain_counts() {
        let first = Filter::new(&returns(SECCOMP_RET_ERRNO | 1), None, false).unwrap();
        let f = Filter::new(&returns(SECCOMP_RET_ALLOW), Some(first.clone()), false).unwrap();
        assert_eq!((ask(&f, 1, 0), f.depth), (SECCOMP_RET_ERRNO | 1, 2));
        assert!(!f.always_allows(1) && f.stands_on(&first) && !first.stands_on(&f));
        let f = Filter::new(&returns(SECCOMP_RET_KILL_PROCESS), Some(f), false).unwrap();
        assert_eq!(ask(&f, 1, 0), SECCOMP_RET_KILL_PROCESS);
        let f = Filter::new(&returns(SECCOMP_RET_KILL_THREAD), Some(f), false).unwrap();
        assert_eq!(ask(&f, 1, 0), SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn a_chain_has_an_end_and_falls_in_pieces() {
        let mut chain = None;
        let mut count = 0;
        while let Ok(f) = Filter::new(&returns(SECCOMP_RET_ALLOW), chain.clone(), false) {
            chain = Some(f);
            count += 1;
        }
        assert_eq!(count, MOST_INSTRUCTIONS / 5);
        let small = std::thread::Builder::new().stack_size(64 << 10);
        small.spawn(move || drop(chain)).unwrap().join().unwrap();
    }
}
