//! Signals (`signal(7)`): queues and dispositions here, sending in [`send`], what the owner does with them in [`deliver`], the frame on the guest's stack in [`frame`].
//!
//! ```text
//!  send ──► group queue ─┐                        ┌─► ignored
//!  tgkill ─► task queue ─┴─► pending flag ─► owner ┼─► handler: frame.rs
//!                           + wake/interrupt       ├─► stop: parks until SIGCONT
//!                                                  └─► terminate: group exit
//! ```
//!
//! Locks: `ThreadGroup::signals` orders everything of a group; a task's own queue and mask ([`TaskSignals`]) nest inside it, dispositions ([`SigHandlers`]) inside that.

pub mod deliver;
pub mod frame;
mod send;

use abi::siginfo::SI_TIMER;
use abi::signal::{SIG_DFL, SIG_IGN, SaFlags, SigAction, SigInfo, SigSet, Signal};
use std::collections::VecDeque;
use sync::{Mutex, level};

pub use send::Sent;

/// A queue of pending signals, of a task or of a whole group.
#[derive(Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// The signals that are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds one. A standard signal already pending is dropped (false); a real-time one always queues, `may_queue` permitting: else only its bit is set
    /// when it comes from `kill`, as on Linux.
    pub fn push(&mut self, info: SigInfo, may_queue: bool) -> bool {
        let Some(signal) = info.signal() else {
            return false;
        };
        if !signal.is_realtime() && self.set.contains(signal) {
            return false;
        }
        if self.set.contains(signal)
            && info.si_code == SI_TIMER
            && self.queue.iter().any(|queued| {
                queued.si_code == SI_TIMER
                    && queued.signal() == Some(signal)
                    && queued.timer_id() == info.timer_id()
            })
        {
            // A timer has one record, which is there already: it was set again since.
            return true;
        }
        self.set.add(signal);
        if may_queue {
            self.queue.push_back(info);
        }
        true
    }

    /// Takes the next signal of `allowed`: synchronous faults first, then the lowest number, each number in order of arrival.
    pub fn pop(&mut self, allowed: SigSet) -> Option<SigInfo> {
        let ready = self.set.intersection(allowed);
        let signal = ready
            .intersection(SigSet::SYNCHRONOUS)
            .lowest()
            .or_else(|| ready.lowest())?;
        let position = self.queue.iter().position(|i| i.signal() == Some(signal));
        let info = position.and_then(|i| self.queue.remove(i));
        if !self.queue.iter().any(|i| i.signal() == Some(signal)) {
            self.set.remove(signal);
        }
        // A bit without a queued record: the queue was full when it came.
        Some(info.unwrap_or_else(|| SigInfo::kill(signal, 0, 0)))
    }

    /// Drops every pending signal of `which`.
    pub fn discard(&mut self, which: SigSet) {
        if self.set.intersection(which).is_empty() {
            return;
        }
        self.set = self.set.difference(which);
        self.queue
            .retain(|i| i.signal().is_some_and(|s| !which.contains(s)));
    }

    /// How many records are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

/// The part of a task's signal state that others may touch.
#[derive(Default)]
pub struct TaskSignals {
    /// Signals sent to this very task.
    pub pending: Pending,
    /// Signals it does not take now.
    pub blocked: SigSet,
    /// What `sigtimedwait`/`rt_sigtimedwait` waits for: these wake it though blocked.
    pub waiting_for: SigSet,
}

/// What a group does with each signal; shared by `CLONE_SIGHAND`.
pub struct SigHandlers {
    actions: Mutex<[SigAction; 64], { level::SIGHAND }>,
}

impl Default for SigHandlers {
    fn default() -> Self {
        Self {
            actions: Mutex::new([SigAction::default(); 64]),
        }
    }
}

impl SigHandlers {
    /// A copy for `fork`.
    pub fn fork(&self) -> Self {
        Self {
            actions: Mutex::new(*self.actions.lock()),
        }
    }

    /// The disposition of `signal`.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.actions
            .lock()
            .get(signal.index())
            .copied()
            .unwrap_or_default()
    }

    /// Replaces it, returns the old one. `SIGKILL` and `SIGSTOP` are the caller's to refuse; they leave every mask.
    pub fn set(&self, signal: Signal, mut action: SigAction) -> SigAction {
        action.sa_mask = action.sa_mask.blockable();
        match self.actions.lock().get_mut(signal.index()) {
            Some(slot) => std::mem::replace(slot, action),
            None => SigAction::default(),
        }
    }

    /// `execve`: handlers become the default, ignored signals stay ignored.
    pub fn reset_for_exec(&self) {
        for action in self.actions.lock().iter_mut() {
            *action = SigAction {
                sa_handler: if action.sa_handler == SIG_IGN {
                    SIG_IGN
                } else {
                    SIG_DFL
                },
                ..SigAction::default()
            };
        }
    }

    /// `CLONE_CLEAR_SIGHAND`: whatever is not ignored becomes the default.
    pub fn clear(&self) {
        self.reset_for_exec();
    }

    /// Takes the action for delivery; `SA_RESETHAND` puts the default back at once.
    fn take_for_delivery(&self, signal: Signal) -> SigAction {
        let mut actions = self.actions.lock();
        let Some(slot) = actions.get_mut(signal.index()) else {
            return SigAction::default();
        };
        let action = *slot;
        if SaFlags::from_bits_retain(action.sa_flags).contains(SaFlags::SA_RESETHAND)
            && action.sa_handler > SIG_IGN
        {
            slot.sa_handler = SIG_DFL;
        }
        action
    }

    /// Whether the signal would be thrown away when it arrives: ignored, or ignored by default.
    pub fn ignores(&self, signal: Signal) -> bool {
        let handler = self.get(signal).sa_handler;
        handler == SIG_IGN
            || (handler == SIG_DFL
                && signal.default_action() == abi::signal::DefaultAction::Ignore
                && signal != Signal::SIGCONT)
    }

    /// Sets of ignored and caught signals (`/proc/PID/status`).
    pub fn ignored_and_caught(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        let actions = self.actions.lock();
        for signal in Signal::all() {
            match actions.get(signal.index()).map(|a| a.sa_handler) {
                Some(SIG_IGN) => ignored.add(signal),
                Some(SIG_DFL) | None => {}
                Some(_) => caught.add(signal),
            }
        }
        (ignored, caught)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real-time signal queues as often as it is sent, but a timer has one record.
    #[test]
    fn a_timer_has_one_record() {
        let signal = Signal::new(40).unwrap();
        let mut pending = Pending::default();
        let timer = |id, overrun| SigInfo::timer(signal, id, overrun, 7);
        assert!(pending.push(timer(1, 0), true) && pending.push(timer(2, 0), true));
        assert!(pending.push(SigInfo::kill(signal, 1, 0), true));
        assert!(pending.push(timer(1, 0), true) && pending.push(timer(1, 3), true));
        assert_eq!(pending.len(), 3);
        let first = pending.pop(SigSet::of(&[signal])).unwrap();
        assert_eq!((first.timer_id(), first.overrun()), (1, 0));
        assert!(pending.push(timer(1, 0), true));
    }
}
