//! What the owner of a task does with its signals, between an event and the next entry into guest code. The only place where restart codes become a restart or `EINTR`.

use super::frame;
use crate::kernel::Cx;
use crate::kernel::thread_group::{ExitStatus, StopState};
use crate::time::posix::signal_taken;
use abi::Errno;
use abi::siginfo::{CLD_STOPPED, SigInfo};
use abi::signal::{DefaultAction, SIG_DFL, SIG_IGN, SaFlags, SigAction, Signal};

/// What the task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Runs guest code.
    Run,
    /// Ends, with this status of its own (the group's may differ).
    Exit(ExitStatus),
}

enum Taken {
    Handler(SigInfo, SigAction),
    Nothing,
    Exit(ExitStatus),
}

impl Cx {
    /// Serves everything that is pending: stops, the end, handlers (one frame for each, as Linux stacks them), restarts.
    pub(in crate::kernel) fn deliver_signals(&mut self) -> Next {
        loop {
            match self.take_signal() {
                Taken::Exit(status) => return Next::Exit(status),
                Taken::Nothing => {
                    self.resolve_restart(None);
                    if let Some(mask) = self.state.saved_mask.take() {
                        self.task().set_blocked(mask);
                        if self.task().signal_pending() {
                            continue;
                        }
                    }
                    return Next::Run;
                }
                Taken::Handler(mut info, action) => {
                    signal_taken(self.group(), &mut info);
                    self.trace_signal(&info);
                    self.resolve_restart(Some(&action));
                    if let Err(signal) = self.push_handler(&info, &action) {
                        return Next::Exit(ExitStatus::Signaled { signal, core: true });
                    }
                    if !self.task().recheck_signals() {
                        return Next::Run;
                    }
                }
            }
        }
    }

    fn take_signal(&mut self) -> Taken {
        let task = self.task().clone();
        let group = task.group().clone();
        loop {
            let mut state = group.signals.lock();
            if let Some(status) = state.exiting {
                return Taken::Exit(status);
            }
            if state
                .exec
                .as_ref()
                .is_some_and(|t| !std::sync::Arc::ptr_eq(t, &task))
            {
                return Taken::Exit(ExitStatus::Exited(0));
            }
            if state.stop != StopState::Running {
                drop(state);
                self.park_stopped();
                continue;
            }
            let mut own = task.signals.lock();
            let allowed = own.blocked.complement();
            let Some(mut info) = own
                .pending
                .pop(allowed)
                .or_else(|| state.pending.pop(allowed))
            else {
                drop(own);
                drop(state);
                // Clears the hint under the lock.
                if task.recheck_signals() {
                    continue;
                }
                return Taken::Nothing;
            };
            drop(own);
            let Some(signal) = info.signal() else {
                continue;
            };
            let action = group.handlers().take_for_delivery(signal);
            match action.sa_handler {
                SIG_IGN => {
                    drop(state);
                    signal_taken(&group, &mut info);
                    continue;
                }
                SIG_DFL => {}
                _ => return Taken::Handler(info, action),
            }
            match signal.default_action() {
                DefaultAction::Ignore | DefaultAction::Continue => {
                    drop(state);
                    signal_taken(&group, &mut info);
                    continue;
                }
                // A forced fault has no sender and kills an init too; whatever else got here by a race does not.
                _ if group.is_ns_init() && info.is_from_user() && !signal.is_unstoppable() => {
                    continue;
                }
                DefaultAction::Stop => {
                    state.stop_taken = true;
                    drop(state);
                    self.trace_signal(&info);
                    if signal != Signal::SIGSTOP && group.process_group().is_orphaned() {
                        continue;
                    }
                    self.begin_stop(signal);
                }
                action @ (DefaultAction::Terminate | DefaultAction::Core) => {
                    drop(state);
                    self.trace_signal(&info);
                    // What looks like a fault may be that the host has killed the process (for memory), which is heard of only at the next switch.
                    let gone = matches!(signal, Signal::SIGSEGV | Signal::SIGBUS)
                        && task.mm().is_ok_and(|mm| !mm.address_space().alive());
                    let (signal, action) = if gone {
                        (Signal::SIGKILL, DefaultAction::Terminate)
                    } else {
                        (signal, action)
                    };
                    let status = ExitStatus::Signaled {
                        signal,
                        core: action == DefaultAction::Core && self.dumps_core(),
                    };
                    log::debug!("[{}] ends by {signal}", task.tid());
                    group.start_exit(status);
                }
            }
        }
    }

    /// No lock may be held: a tracer takes its own.
    fn trace_signal(&self, info: &SigInfo) {
        if let Some(tracer) = self.kernel().tracer() {
            tracer.signal(self, info);
        }
    }

    /// Linux sets the core bit when a dump was made; none is made without a limit.
    fn dumps_core(&self) -> bool {
        false
    }

    fn begin_stop(&self, signal: Signal) {
        let group = self.task().group();
        let tasks = group.tasks();
        let mut state = group.signals.lock();
        let taken_back = !std::mem::take(&mut state.stop_taken);
        if taken_back || state.exiting.is_some() || state.stop != StopState::Running {
            return;
        }
        state.stop = StopState::Stopping(signal);
        for task in tasks {
            task.kick(crate::kernel::task::work::SIGNAL);
        }
    }

    /// Parks until `SIGCONT` or the end. The last thread to park completes the stop and tells the parent.
    fn park_stopped(&self) {
        let task = self.task();
        let group = task.group();
        let tasks = group.tasks();
        task.parked.store(true, std::sync::atomic::Ordering::SeqCst);
        let mut notify = None;
        {
            let mut state = group.signals.lock();
            if let StopState::Stopping(signal) = state.stop
                && tasks
                    .iter()
                    .all(|t| t.is_dead() || t.parked.load(std::sync::atomic::Ordering::SeqCst))
            {
                state.stop = StopState::Stopped(signal);
                state.stop_unreported = true;
                state.continue_unreported = false;
                notify = Some(signal);
            }
        }
        if let Some(signal) = notify {
            group.notify_parent_of_stop(CLD_STOPPED, signal);
        }
        task.set_state(crate::kernel::task::State::Stopped);
        loop {
            {
                let state = group.signals.lock();
                let exec = state
                    .exec
                    .as_ref()
                    .is_some_and(|t| !std::sync::Arc::ptr_eq(t, task));
                if state.stop == StopState::Running || state.exiting.is_some() || exec {
                    break;
                }
            }
            task.park_raw();
        }
        task.parked
            .store(false, std::sync::atomic::Ordering::SeqCst);
        task.set_state(crate::kernel::task::State::Running);
    }

    /// Turns a restart code in the return register into a restart of the call or `EINTR`, as the handler about to run asks (`None`: no handler).
    fn resolve_restart(&mut self, action: Option<&SigAction>) {
        let Some(call) = self.state.interrupted_call.take() else {
            return;
        };
        let restart = match (call.code, action) {
            (Errno::ERESTARTNOINTR, _) => true,
            (Errno::ERESTARTSYS, Some(action)) => {
                SaFlags::from_bits_retain(action.sa_flags).contains(SaFlags::SA_RESTART)
            }
            (Errno::ERESTARTSYS, None) => true,
            (_, Some(_)) => false,
            (_, None) => true,
        };
        if !restart {
            self.regs.set_return(Errno::EINTR.to_return() as u64);
            return;
        }
        if self.load_registers().is_err() {
            // Its host thread is gone, as the next switch will say.
            return;
        }
        let regs = &mut self.regs.user;
        // Back to the two-byte `syscall` instruction, with the number in place.
        regs.rip = regs.rip.wrapping_sub(2);
        regs.rax = if call.code == Errno::ERESTART_RESTARTBLOCK {
            abi::nr::RESTART_SYSCALL
        } else {
            call.nr
        };
    }

    fn push_handler(&mut self, info: &SigInfo, action: &SigAction) -> Result<(), Signal> {
        let Some(signal) = info.signal() else {
            return Ok(());
        };
        let flags = SaFlags::from_bits_retain(action.sa_flags);
        // sigsuspend and its like: the mask to restore is the one from before the call.
        let mask = self
            .state
            .saved_mask
            .take()
            .unwrap_or_else(|| self.task().signals.lock().blocked);
        if self
            .break_off_sequence()
            .and_then(|()| frame::push(self, info, action, mask))
            .is_err()
        {
            // The stack cannot take the frame, or the sequence is not sound: SIGSEGV, which kills when it is SIGSEGV's own handler that failed.
            if signal == Signal::SIGSEGV {
                self.task()
                    .group()
                    .handlers()
                    .set(signal, SigAction::default());
            }
            self.task()
                .group()
                .force(&self.task().clone(), SigInfo::kernel(Signal::SIGSEGV));
            return Ok(());
        }
        let mut blocked = self.task().signals.lock().blocked.union(action.sa_mask);
        if !flags.contains(SaFlags::SA_NODEFER) {
            blocked.add(signal);
        }
        self.task().set_blocked(blocked);
        Ok(())
    }
}
