//! One watched description: who hears of its readiness and puts it on the ready list.

use super::Epoll;
use crate::file::{CloseHook, File};
use crate::pollee::{Events, Observer};
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use sync::Mutex;

/// What the caller asked for and gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// `EPOLL*` bits, flags included.
    pub events: u32,
    /// `epoll_data`.
    pub data: u64,
}

/// `EPOLLWAKEUP|EPOLLONESHOT|EPOLLET|EPOLLEXCLUSIVE`: not readiness.
pub(super) const PRIVATE: u32 = 0xf000_0000;

pub(super) struct Item {
    pub me: Weak<Item>,
    pub epoll: Weak<Epoll>,
    pub file: Weak<File>,
    /// The instance that the file is, if it is one.
    pub inner: Option<Weak<Epoll>>,
    pub fd: i32,
    pub spec: Mutex<Spec>,
    /// The readiness bits asked for; 0 after a oneshot event, when not even errors are reported. A copy of `spec` to look at without a lock.
    pub mask: AtomicU32,
    /// On the ready list. Changed only under the list's lock.
    pub queued: AtomicBool,
    /// Notifications so far. Changed only under the list's lock.
    pub news: AtomicU32,
    /// Taken from the interest list; the ready list may still hold it.
    pub dead: AtomicBool,
    /// Its registration with the file's pollee.
    pub key: AtomicUsize,
}

impl Item {
    pub fn mask(&self) -> Events {
        Events::from_bits_truncate(self.mask.load(Ordering::Acquire))
    }

    pub fn set_spec(&self, spec: Spec) {
        let mut now = self.spec.lock();
        *now = spec;
        let asked = Events::from_bits_truncate(spec.events & !PRIVATE) | Events::ALWAYS;
        self.mask.store(asked.bits(), Ordering::Release);
    }

    /// What of the file's readiness was asked for; nothing if the file is gone.
    pub fn ready(&self) -> Events {
        if self.dead.load(Ordering::Acquire) {
            return Events::empty();
        }
        let mask = self.mask();
        if mask.is_empty() {
            return mask;
        }
        self.file
            .upgrade()
            .map_or(Events::empty(), |file| file.poll() & mask)
    }

    pub fn hook(&self) -> Weak<dyn CloseHook> {
        self.me.clone()
    }

    /// Stops listening to the file.
    pub fn detach(&self, file: &File) {
        self.dead.store(true, Ordering::Release);
        if let Some(pollee) = file.ops().pollee() {
            pollee.unregister(self.key.load(Ordering::Acquire));
        }
        file.remove_hook(&self.hook());
    }
}

impl Observer for Item {
    fn on_events(&self, events: Events) {
        self.on_exclusive(events);
    }

    fn on_exclusive(&self, events: Events) -> bool {
        if !self.mask().intersects(events) {
            return false;
        }
        self.epoll
            .upgrade()
            .is_some_and(|epoll| epoll.make_ready(self))
    }
}

impl CloseHook for Item {
    fn on_close(&self, file: &File) {
        self.dead.store(true, Ordering::Release);
        if let Some(pollee) = file.ops().pollee() {
            pollee.unregister(self.key.load(Ordering::Acquire));
        }
        if let Some(epoll) = self.epoll.upgrade() {
            epoll.forget(self.fd, file);
        }
    }
}
