//! Sessions and process groups (`setsid(2)`, `setpgid(2)`, `credentials(7)`), and what a terminal asks of them.

use super::{Pid, ThreadGroup};
use abi::signal::{SigInfo, Signal};
use std::any::Any;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// A terminal as its session knows it; the tty layer implements it.
pub trait ControllingTty: Send + Sync {
    /// For the tty layer's own use.
    fn as_any(&self) -> &dyn Any;
    /// Device number, for `/proc/PID/stat` and `/dev/tty`.
    fn rdev(&self) -> u64;
    /// The foreground process group.
    fn foreground(&self) -> Option<Arc<ProcessGroup>>;
    /// The session leader is exiting: hang up and let go of the session.
    fn disassociate(&self);
}

/// A session.
pub struct Session {
    /// Its identity: that of the process that called `setsid`.
    pub id: Arc<Pid>,
    tty: Mutex<Option<Arc<dyn ControllingTty>>, { level::SESSION }>,
}

impl Session {
    /// A session led by `id`, without a terminal.
    pub fn new(id: Arc<Pid>) -> Arc<Self> {
        let session = Arc::new(Self {
            id,
            tty: Mutex::new(None),
        });
        session.id.set_session(&session);
        session
    }
    /// The controlling terminal.
    pub fn tty(&self) -> Option<Arc<dyn ControllingTty>> {
        self.tty.lock().clone()
    }
    /// Gives or takes the controlling terminal; returns the old one.
    pub fn set_tty(&self, tty: Option<Arc<dyn ControllingTty>>) -> Option<Arc<dyn ControllingTty>> {
        std::mem::replace(&mut *self.tty.lock(), tty)
    }
}

/// A process group.
pub struct ProcessGroup {
    /// Its identity: that of the process it was made for.
    pub id: Arc<Pid>,
    /// The session it lies in, for life.
    pub session: Arc<Session>,
    members: Mutex<Vec<Weak<ThreadGroup>>, { level::PROCESS_GROUP }>,
}

impl ProcessGroup {
    /// An empty group named `id`.
    pub fn new(id: Arc<Pid>, session: Arc<Session>) -> Arc<Self> {
        let pgrp = Arc::new(Self {
            id,
            session,
            members: Mutex::new(Vec::new()),
        });
        pgrp.id.set_process_group(&pgrp);
        pgrp
    }
    pub(super) fn add(&self, group: &Arc<ThreadGroup>) {
        self.members.lock().push(Arc::downgrade(group));
    }
    pub(super) fn remove(&self, group: &ThreadGroup) {
        self.members
            .lock()
            .retain(|m| m.strong_count() != 0 && !std::ptr::eq(m.as_ptr(), group));
    }
    /// The processes in it now, zombies included.
    pub fn members(&self) -> Vec<Arc<ThreadGroup>> {
        self.members
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
    /// Sends a signal to every member, as the kernel (terminal signals, hang-ups).
    pub fn signal(&self, signal: Signal) {
        for group in self.members() {
            group.send(SigInfo::kernel(signal));
        }
    }

    /// Whether no member has a parent in another group of the same session (`credentials(7)`): such a group must not be stopped by a terminal.
    /// A parent that is a container's init counts: Linux makes an exception of the machine's own init alone, and a sandbox's is none.
    pub fn is_orphaned(&self) -> bool {
        self.is_orphaned_without(None)
    }

    /// As [`Self::is_orphaned`], leaving out a member that is about to exit.
    pub fn is_orphaned_without(&self, leaving: Option<&ThreadGroup>) -> bool {
        !self.members().iter().any(|member| {
            if leaving.is_some_and(|l| std::ptr::eq(l, &**member)) || member.is_zombie() {
                return false;
            }
            member.parent().is_some_and(|parent| {
                let pgrp = parent.process_group();
                !std::ptr::eq(&*pgrp, self) && Arc::ptr_eq(&pgrp.session, &self.session)
            })
        })
    }

    /// Whether a member is stopped.
    pub fn has_stopped(&self) -> bool {
        self.members().iter().any(|m| m.is_stopped())
    }
}
