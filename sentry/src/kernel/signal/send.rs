//! Sending signals: to a group or to one task, from anybody, with Linux's rules of what is dropped, what wakes whom, and what ends a group at once
//! (`kernel/signal.c`: prepare_signal, send_signal, complete_signal).

use crate::kernel::limits::Resource;
use crate::kernel::task::work;
use crate::kernel::thread_group::{ExitStatus, GroupSignals, StopState};
use crate::kernel::{Task, ThreadGroup};
use abi::Errno;
use abi::signal::{DefaultAction, SIG_DFL, SigInfo, SigSet, Signal};
use std::sync::Arc;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Pending now.
    Queued,
    /// Ignored, or already pending.
    Dropped,
    /// A queued real-time signal over `RLIMIT_SIGPENDING`.
    Full,
}

impl ThreadGroup {
    /// Sends to the group: any thread that does not block it may take it.
    pub fn send(&self, info: SigInfo) -> Sent {
        self.send_to(None, info)
    }

    /// Sends to one thread (`tgkill`, faults, per-thread timers).
    pub fn send_task(&self, task: &Task, info: SigInfo) -> Sent {
        self.send_to(Some(task), info)
    }

    /// Forces a fault signal on the thread that caused it: blocked or ignored dispositions fall back to the default, which kills (`force_sig`).
    pub fn force(&self, task: &Task, info: SigInfo) {
        let Some(signal) = info.signal() else { return };
        {
            let mut own = task.signals.lock();
            let handlers = self.handlers();
            let action = handlers.get(signal);
            if own.blocked.contains(signal) || action.sa_handler == abi::signal::SIG_IGN {
                handlers.set(signal, abi::signal::SigAction::default());
                own.blocked.remove(signal);
            }
            own.pending.push(info, true);
        }
        task.kick(work::SIGNAL);
    }

    fn send_to(&self, target: Option<&Task>, info: SigInfo) -> Sent {
        let Some(signal) = info.signal() else {
            return Sent::Dropped;
        };
        if self.is_zombie() {
            return Sent::Dropped;
        }
        let tasks = self.tasks();
        let mut group = self.signals.lock();
        if group.exiting.is_some() && signal != Signal::SIGKILL {
            return Sent::Dropped;
        }
        let mut notify_parent = None;
        self.job_control_effects(&mut group, &tasks, signal, &mut notify_parent);
        let sent = if self.is_dropped(target, &tasks, signal, &info) {
            Sent::Dropped
        } else {
            self.queue(&mut group, target, &tasks, signal, info)
        };
        drop(group);
        if sent == Sent::Queued {
            // Signalfds; without the lock, for whoever is told may send signals in turn.
            self.kernel().signal_events.notify(fs::Events::IN);
        }
        if let Some(code) = notify_parent {
            self.notify_parent_of_stop(code, Signal::SIGCONT);
        }
        sent
    }

    /// `SIGCONT` undoes stops, stop signals undo pending `SIGCONT`s, whatever the dispositions (`prepare_signal`).
    fn job_control_effects(
        &self,
        group: &mut GroupSignals,
        tasks: &[Arc<Task>],
        signal: Signal,
        notify_parent: &mut Option<i32>,
    ) {
        let discard = |group: &mut GroupSignals, which: SigSet| {
            group.pending.discard(which);
            for task in tasks {
                task.signals.lock().pending.discard(which);
            }
        };
        if signal == Signal::SIGCONT {
            discard(group, SigSet::STOP);
            group.stop_taken = false;
            match group.stop {
                StopState::Running => {}
                StopState::Stopping(_) => group.stop = StopState::Running,
                StopState::Stopped(_) => {
                    group.stop = StopState::Running;
                    group.stop_unreported = false;
                    group.continue_unreported = true;
                    *notify_parent = Some(abi::siginfo::CLD_CONTINUED);
                }
            }
            for task in tasks {
                task.kick(work::SIGNAL);
            }
        } else if SigSet::STOP.contains(signal) {
            discard(group, SigSet::of(&[Signal::SIGCONT]));
        }
    }

    /// Whether the signal vanishes on arrival: ignored and not blocked, or from inside a namespace to its init that does not handle it.
    fn is_dropped(
        &self,
        target: Option<&Task>,
        tasks: &[Arc<Task>],
        signal: Signal,
        info: &SigInfo,
    ) -> bool {
        // A blocked signal is kept, ignored or not: the disposition may change before it is unblocked, and sigwait takes it even from an init.
        let blocked = match target {
            Some(task) => task.signals.lock().blocked.contains(signal),
            None => tasks
                .iter()
                .find(|t| t.is_leader())
                .is_some_and(|t| t.signals.lock().blocked.contains(signal)),
        };
        if blocked {
            return false;
        }
        let handlers = self.handlers();
        // SIGKILL and SIGSTOP from outside the namespace (the runtime) reach an init; nothing else does without a handler.
        if self.is_ns_init()
            && handlers.get(signal).sa_handler == SIG_DFL
            && (is_from_inside(info) || !signal.is_unstoppable())
        {
            return true;
        }
        handlers.ignores(signal)
    }

    fn queue(
        &self,
        group: &mut GroupSignals,
        target: Option<&Task>,
        tasks: &[Arc<Task>],
        signal: Signal,
        info: SigInfo,
    ) -> Sent {
        let limit = self.limits.soft(Resource::Sigpending);
        let queued = match target {
            Some(task) => {
                let mut own = task.signals.lock();
                let fits = (own.pending.len() as u64) < limit;
                if !fits && signal.is_realtime() && info.si_code != abi::siginfo::SI_USER {
                    return Sent::Full;
                }
                own.pending.push(info, fits || !signal.is_realtime())
            }
            None => {
                let fits = (group.pending.len() as u64) < limit;
                if !fits && signal.is_realtime() && info.si_code != abi::siginfo::SI_USER {
                    return Sent::Full;
                }
                group.pending.push(info, fits || !signal.is_realtime())
            }
        };
        if !queued {
            return Sent::Dropped;
        }
        // A stopped group takes nothing until it is continued, not even what would end it (`wants_signal`).
        if matches!(group.stop, StopState::Stopped(_)) && signal != Signal::SIGKILL {
            return Sent::Queued;
        }
        let taker = match target {
            Some(task) => tasks
                .iter()
                .find(|t| std::ptr::eq(&***t, task))
                .filter(|t| wants(t, signal))
                .cloned(),
            None => tasks
                .iter()
                .find(|t| t.is_leader() && wants(t, signal))
                .or_else(|| tasks.iter().find(|t| wants(t, signal)))
                .cloned(),
        };
        let Some(taker) = taker else {
            return Sent::Queued;
        };
        // What certainly kills kills the whole group now, so that no thread runs on in user code meanwhile.
        let fatal = signal == Signal::SIGKILL
            || (self.handlers().get(signal).sa_handler == SIG_DFL
                && signal.default_action() == DefaultAction::Terminate
                && !taker.signals.lock().blocked.contains(signal));
        if fatal {
            self.start_exit_locked(
                group,
                tasks,
                ExitStatus::Signaled {
                    signal,
                    core: false,
                },
            );
        } else {
            taker.kick(work::SIGNAL);
        }
        Sent::Queued
    }

    /// Ends the group with `status`, unless it is ending already. Locks [`ThreadGroup::signals`].
    pub fn start_exit(&self, status: ExitStatus) {
        let tasks = self.tasks();
        let mut group = self.signals.lock();
        self.start_exit_locked(&mut group, &tasks, status);
    }

    fn start_exit_locked(&self, group: &mut GroupSignals, tasks: &[Arc<Task>], status: ExitStatus) {
        if group.exiting.is_none() {
            group.exiting = Some(status);
        }
        group.stop = StopState::Running;
        for task in tasks {
            task.kick(work::SIGNAL);
        }
    }
}

/// Sent by a process that the receiver's pid namespace can see (others have pid 0, the kernel a positive code).
pub(super) fn is_from_inside(info: &SigInfo) -> bool {
    info.is_from_user() && info.pid() != 0
}

fn wants(task: &Task, signal: Signal) -> bool {
    if task.is_exiting() {
        return false;
    }
    let own = task.signals.lock();
    signal == Signal::SIGKILL || !own.blocked.contains(signal) || own.waiting_for.contains(signal)
}

impl Task {
    /// Looks again whether anything is deliverable, and clears the hint if not.
    pub(in crate::kernel) fn recheck_signals(&self) -> bool {
        let group = self.group().signals.lock();
        if self.has_signal_work(&group) {
            return true;
        }
        // Under the lock: whoever sends afterwards sets the hint again.
        self.clear_work(work::SIGNAL);
        false
    }

    fn has_signal_work(&self, group: &GroupSignals) -> bool {
        if group.exiting.is_some() || group.stop != StopState::Running {
            return true;
        }
        if group
            .exec
            .as_ref()
            .is_some_and(|t| !std::ptr::eq(&**t, self))
        {
            return true;
        }
        let own = self.signals.lock();
        let takes = own.blocked.difference(own.waiting_for).complement();
        !own.pending
            .set()
            .union(group.pending.set())
            .intersection(takes)
            .is_empty()
    }

    /// Whether this task is about to die.
    pub fn fatal_signal_pending(&self) -> bool {
        let group = self.group().signals.lock();
        group.exiting.is_some()
            || group
                .exec
                .as_ref()
                .is_some_and(|t| !std::ptr::eq(&**t, self))
    }

    /// Replaces the blocked mask; newly unblocked signals become deliverable. Only the owner calls it.
    pub fn set_blocked(&self, mask: SigSet) -> SigSet {
        let old = std::mem::replace(&mut self.signals.lock().blocked, mask.blockable());
        // Group signals that this thread alone could have taken go to somebody else.
        let newly_blocked = mask.difference(old);
        let group = self.group().signals.lock();
        let stranded = group.pending.set().intersection(newly_blocked);
        drop(group);
        if !stranded.is_empty() {
            for task in self.group().tasks() {
                if !std::ptr::eq(&*task, self) {
                    task.kick(work::SIGNAL);
                }
            }
        }
        self.kick_self();
        old
    }

    /// Makes the loop look for signals before it goes back to guest code.
    pub(in crate::kernel) fn kick_self(&self) {
        self.set_work(work::SIGNAL);
    }

    /// Takes the next signal of `allowed`, from the task's queue first (`sigtimedwait`, signalfd).
    pub fn dequeue_signal(&self, allowed: SigSet) -> Option<SigInfo> {
        let mut info = {
            let mut group = self.group().signals.lock();
            let own = self.signals.lock().pending.pop(allowed);
            own.or_else(|| group.pending.pop(allowed))
        }?;
        crate::time::posix::signal_taken(self.group(), &mut info);
        Some(info)
    }

    /// The signals pending for it or for its group (`sigpending(2)`: those it blocks).
    pub fn pending_signals(&self) -> SigSet {
        let group = self.group().signals.lock();
        let own = self.signals.lock();
        own.pending.set().union(group.pending.set())
    }

    /// Whether `self` may signal `target` (`kill(2)`).
    pub fn may_signal(&self, target: &Task, signal: Option<Signal>) -> Result<(), Errno> {
        let (own, other) = (self.cred(), target.cred());
        let same_user = own.euid == other.suid
            || own.euid == other.ruid
            || own.ruid == other.suid
            || own.ruid == other.ruid;
        let same_session = || {
            signal == Some(Signal::SIGCONT)
                && Arc::ptr_eq(&self.group().session(), &target.group().session())
        };
        if Arc::ptr_eq(self.group(), target.group())
            || same_user
            || own.has_cap_in(&other.user_ns, abi::cap::CAP_KILL)
            || same_session()
        {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}

impl ThreadGroup {
    /// Drops what is pending of `which`, for the group and each thread (a disposition became "ignore").
    pub fn discard_pending(&self, which: SigSet) {
        let tasks = self.tasks();
        {
            let mut group = self.signals.lock();
            group.pending.discard(which);
            for task in tasks {
                task.signals.lock().pending.discard(which);
            }
        }
        crate::time::posix::signals_lost(self, which);
    }

    /// Moves the process to another process group. Locking: the caller holds [`crate::kernel::Kernel::tree`].
    pub fn move_to(self: &Arc<Self>, pgrp: Arc<crate::kernel::ProcessGroup>) {
        let old = self.process_group();
        old.remove(self);
        pgrp.add(self);
        let last = std::mem::replace(&mut self.family.lock().pgrp, pgrp);
        drop(last);
    }
}
