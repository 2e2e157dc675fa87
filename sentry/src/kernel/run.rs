//! The task loop. One sentry thread per guest thread runs it: switch to guest code, serve what happened, deliver signals, and again.
//!
//! ```text
//!          ┌───────────────────────────────────────────────┐
//!          ▼                                               │
//!   work pending? ──yes──► deliver_signals ──Exit──► exit  │
//!          │no                   │ Run                     │
//!          ▼◄────────────────────┘                         │
//!   context.switch() ──► Syscall ──► dispatch ─────────────┤
//!                   ├──► Fault ────► mm resolves, or SIGSEGV
//!                   ├──► Exception ► signal                │
//!                   └──► Interrupted ──────────────────────┘
//! ```

use super::cx::{Cx, InterruptedCall, Leave, OwnState};
use super::signal::deliver::Next;
use super::task::{Task, work};
use super::{ExitStatus, Kernel, exit};
use crate::mm::FaultOutcome;
use crate::syscall::SysResult;
use abi::Errno;
use abi::signal::{SigInfo, Signal};
use platform::{Access, Context, Event, Handoff, Registers};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

sync::per_thread! {
    /// The task that the calling sentry thread runs, by its number in the outermost pid namespace; 0 for none.
    static CURRENT: Cell<i32> = Cell::new(0);
}

impl Kernel {
    /// The task that the calling sentry thread runs: for what Linux, too, asks of `current` deep down.
    pub fn current_task(&self) -> Option<Arc<Task>> {
        self.root_pid_ns.task(CURRENT.with(Cell::get))
    }
}

/// The body of a task's thread from its first instruction, or from an `execve`, to its end or the next `execve`.
pub(super) fn task_main(
    task: Arc<Task>,
    context: Box<dyn Context>,
    regs: Registers,
    state: OwnState,
) -> Option<Handoff> {
    task.set_interrupter(Some(context.interrupter()));
    task.cpu.sit();
    CURRENT.with(|current| current.set(task.pid().nr_in(&task.kernel().root_pid_ns)));
    if task.affinity() != *platform::processors() {
        task.set_work(work::AFFINITY);
    }
    let mut cx = Cx::new(task, context, regs, state);
    match cx.run() {
        Leave::Exit(status) => {
            cx.task().set_interrupter(None);
            exit::finish(cx, status);
            CURRENT.with(|current| current.set(0));
            None
        }
        Leave::Exec(aspace) => {
            cx.task().set_interrupter(None);
            cx.task().cpu.rise();
            let (task, regs, state) = cx.into_parts();
            Some(Handoff {
                address_space: aspace,
                entry: Box::new(move |context| task_main(task, context, regs, state)),
            })
        }
    }
}

impl Cx {
    fn run(&mut self) -> Leave {
        let task = self.task().clone();
        loop {
            if let Some(leave) = self.state.leave.take() {
                return leave;
            }
            if task.work() != 0
                || self.state.interrupted_call.is_some()
                || self.state.saved_mask.is_some()
            {
                // Before the facts are looked at: whoever sets it again has changed something since.
                task.clear_work(work::FACTS);
                self.move_to_affinity();
                task.pause_point();
                if let Next::Exit(status) = self.deliver_signals() {
                    return Leave::Exit(status);
                }
            }
            if self.context.publishes() {
                self.publish_facts();
            }
            if !task.entering_guest() {
                continue;
            }
            task.cpu.enter();
            let event = self.context.switch(&mut self.regs);
            task.cpu.leave();
            task.left_guest();
            match event {
                Event::Syscall => self.serve_syscall(),
                Event::Syscall32 => {
                    self.force(SigInfo::fault(Signal::SIGSEGV, abi::siginfo::SI_KERNEL, 0))
                }
                Event::Fault {
                    signo,
                    code,
                    addr,
                    access,
                } => self.serve_fault(signo, code, addr, access),
                Event::Exception {
                    signo,
                    code,
                    addr,
                    trapno,
                } => {
                    self.state.fault_trapno = trapno;
                    self.state.fault_err = 0;
                    if let Some(signal) = Signal::new(signo) {
                        self.force(SigInfo::fault(signal, code, addr));
                    }
                }
                Event::Interrupted => {}
                Event::Died => {
                    log::warn!("[{}] its host thread was killed", task.tid());
                    let status = ExitStatus::Signaled {
                        signal: Signal::SIGKILL,
                        core: false,
                    };
                    task.group().start_exit(status);
                    return Leave::Exit(status);
                }
            }
        }
    }

    /// Goes where `sched_setaffinity(2)` sent the task.
    fn move_to_affinity(&mut self) {
        if self.work() & work::AFFINITY == 0 {
            return;
        }
        self.clear_work(work::AFFINITY);
        let cpus = self.affinity();
        if let Err(e) = self.context.set_affinity(&cpus) {
            log::warn!("[{}] cannot run where it shall: {e}", self.tid());
        }
    }

    /// Says what calls may return that the platform answers by itself: nothing where somebody is to see each of them.
    fn publish_facts(&mut self) {
        let facts = if self.kernel().is_tracing() || !self.seccomp_lets_ask() {
            None
        } else {
            let number = |n: i32| u32::try_from(n).unwrap_or(0);
            let cred = self.cred();
            Some(platform::Facts {
                pid: number(self.tgid()),
                tid: number(self.tid()),
                uid: cred.ruid,
                euid: cred.euid,
                gid: cred.rgid,
                egid: cred.egid,
            })
        };
        self.context.publish(facts);
    }

    fn force(&mut self, info: SigInfo) {
        let task = self.task().clone();
        task.group().force(&task, info);
    }

    fn serve_syscall(&mut self) {
        // Linux takes the low 32 bits of the number, sign-extended.
        let nr = self.regs.syscall_number() & 0xffff_ffff;
        let args = self.regs.args();
        self.syscalls.fetch_add(1, Ordering::Relaxed);
        self.in_syscall
            .store(i32::try_from(nr).unwrap_or(-1), Ordering::Relaxed);
        // As after a real `syscall` instruction.
        self.regs.user.rcx = self.regs.user.rip;
        self.regs.user.r11 = self.regs.user.eflags;
        let result = self.dispatch(nr, &args);
        self.in_syscall.store(-1, Ordering::Relaxed);
        if std::mem::take(&mut self.state.keep_registers) {
            return;
        }
        match result {
            Ok(value) => self.regs.set_return(value),
            Err(code) if code.is_restart() => {
                self.regs.set_return(Errno::EINTR.to_return() as u64);
                self.state.interrupted_call = Some(InterruptedCall { code, nr });
            }
            Err(errno) => self.regs.set_return(errno.to_return() as u64),
        }
    }

    fn dispatch(&mut self, nr: u64, args: &[u64; 6]) -> SysResult {
        let kernel = self.kernel().clone();
        let call = kernel.syscalls.get(nr);
        let tracer = kernel.tracer();
        let start = match &tracer {
            None => 0,
            Some(tracer) => {
                tracer.enter(self, call, nr, args);
                kernel.clock.monotonic()
            }
        };
        let result = match (self.seccomp(nr, args), call) {
            (Some(settled), _) => settled,
            (None, Some(call)) => (call.call)(self, args),
            (None, None) => {
                log::debug!("[{}] unknown system call {nr}", self.tid());
                Err(Errno::ENOSYS)
            }
        };
        kernel.sigio.send_due();
        if let Some(tracer) = tracer {
            tracer.exit(
                self,
                call,
                nr,
                args,
                result,
                kernel.clock.monotonic().saturating_sub(start),
            );
        }
        result
    }

    fn serve_fault(&mut self, signo: i32, code: i32, addr: u64, access: Access) {
        let outcome = match self.mm() {
            Ok(mm) => mm.handle_fault(addr, access, signo, code),
            Err(_) => return,
        };
        if let FaultOutcome::Signal { signo, code } = outcome {
            use abi::x86::{PF_INSTR, PF_PROT, PF_USER, PF_WRITE, trap};
            let general_protection = code == abi::siginfo::SI_KERNEL;
            self.state.fault_addr = addr;
            self.state.fault_trapno = if general_protection {
                trap::GP
            } else {
                trap::PF
            };
            self.state.fault_err = match access {
                _ if general_protection => 0,
                Access::Write => PF_USER | PF_WRITE,
                Access::Execute => PF_USER | PF_INSTR,
                _ => PF_USER,
            } | if code == abi::siginfo::SEGV_ACCERR {
                PF_PROT
            } else {
                0
            };
            if let Some(signal) = Signal::new(signo) {
                self.force(SigInfo::fault(signal, code, addr));
            }
        }
    }
}

impl Task {
    /// Waits while the container is paused; only the end gets a task out of it.
    fn pause_point(&self) {
        if self.work() & work::PAUSE == 0 {
            return;
        }
        while self.group().container.is_paused() && !self.fatal_signal_pending() {
            self.park_raw();
        }
        self.clear_work(work::PAUSE);
        if self.group().container.is_paused() {
            self.set_work(work::PAUSE);
        }
    }
}
