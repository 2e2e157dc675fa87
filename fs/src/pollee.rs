//! Readiness: the one primitive on which blocking reads, `poll`, `select`, `epoll` and io waits sit.
//!
//! A file that can become ready owns a [`Pollee`] and does one thing: [`Pollee::notify`] after a change. Whoever waits does it in this order, so that no change is
//! lost: **register** an [`Observer`], then **check** the file (`FileOps::poll`, or just try the operation), then sleep, then check again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sync::Mutex;

bitflags::bitflags! {
    /// Readiness bits, with `EPOLL*`/`POLL*` values (`eventpoll.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// Data to read, or an end of file.
        const IN = 0x001;
        /// Urgent data.
        const PRI = 0x002;
        /// Room to write.
        const OUT = 0x004;
        /// An error is pending; always watched.
        const ERR = 0x008;
        /// Hung up; always watched.
        const HUP = 0x010;
        /// Invalid descriptor (`poll` only).
        const NVAL = 0x020;
        /// Normal data to read.
        const RDNORM = 0x040;
        /// Priority band data to read.
        const RDBAND = 0x080;
        /// Room to write normal data.
        const WRNORM = 0x100;
        /// Room to write priority data.
        const WRBAND = 0x200;
        /// The peer shut its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// What is reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
    /// Readable, in both spellings.
    pub const READ: Self = Self::IN.union(Self::RDNORM);
    /// Writable, in both spellings.
    pub const WRITE: Self = Self::OUT.union(Self::WRNORM);
}

/// Somebody who wants to hear that a file's readiness may have changed.
pub trait Observer: Send + Sync {
    /// Called without any lock of the file held. `events` are the bits that may have become set; spurious calls are allowed.
    fn on_events(&self, events: Events);

    /// As [`Observer::on_events`], for one registered exclusively: says whether it has somebody who will act on the news. If not, the next one is asked too.
    fn on_exclusive(&self, events: Events) -> bool {
        self.on_events(events);
        true
    }
}

struct Entry {
    key: usize,
    mask: Events,
    exclusive: bool,
    observer: Arc<dyn Observer>,
}

/// The list of those who watch one file.
pub struct Pollee {
    entries: Mutex<Vec<Entry>>,
    /// How many watch: lets `notify` return without a lock when nobody does.
    count: AtomicUsize,
    next_key: AtomicUsize,
}

impl Default for Pollee {
    fn default() -> Self {
        Self::new()
    }
}

impl Pollee {
    /// Nobody watches yet.
    pub const fn new() -> Self {
        Self {
            entries: Mutex::new(Vec::new()),
            count: AtomicUsize::new(0),
            next_key: AtomicUsize::new(1),
        }
    }

    /// Adds an observer for `mask` (and [`Events::ALWAYS`]). Check the file only after this returns. The key removes it again.
    pub fn register(&self, observer: Arc<dyn Observer>, mask: Events) -> usize {
        self.add(observer, mask, false)
    }

    /// As [`Pollee::register`], but a notification calls only one of the exclusive observers (`EPOLLEXCLUSIVE`, `accept`): the one that has waited longest.
    pub fn register_exclusive(&self, observer: Arc<dyn Observer>, mask: Events) -> usize {
        self.add(observer, mask, true)
    }

    fn add(&self, observer: Arc<dyn Observer>, mask: Events, exclusive: bool) -> usize {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        entries.push(Entry {
            key,
            mask: mask | Events::ALWAYS,
            exclusive,
            observer,
        });
        // SeqCst pairs with the load in `notify`: either the notifier sees us, or our later check sees its change.
        self.count.store(entries.len(), Ordering::SeqCst);
        key
    }

    /// Removes what `register` added; a second removal does nothing.
    pub fn unregister(&self, key: usize) {
        let mut entries = self.entries.lock();
        let removed = entries
            .iter()
            .position(|e| e.key == key)
            .map(|i| entries.remove(i));
        self.count.store(entries.len(), Ordering::SeqCst);
        drop(entries);
        // The observer's own drop may take locks.
        drop(removed);
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.count.load(Ordering::SeqCst) != 0
    }

    /// Tells the observers that `events` may have become set. Call it after the change, with no lock held that an observer may take.
    pub fn notify(&self, events: Events) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        // Two calls without an allocation cover a reader and an epoll instance.
        let mut first: [Option<Arc<dyn Observer>>; 2] = [None, None];
        let mut more = Vec::new();
        let mut exclusive = Vec::new();
        let entries = self.entries.lock();
        for entry in entries.iter().filter(|e| e.mask.intersects(events)) {
            if entry.exclusive {
                exclusive.push((entry.key, entry.observer.clone()));
            } else if let Some(free) = first.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(entry.observer.clone());
            } else {
                more.push(entry.observer.clone());
            }
        }
        drop(entries);
        for observer in first.iter().flatten().chain(&more) {
            observer.on_events(events);
        }
        for (key, observer) in exclusive {
            if observer.on_exclusive(events) {
                self.move_last(key);
                break;
            }
        }
    }

    /// The next exclusive wake-up goes to the next waiter.
    fn move_last(&self, key: usize) {
        let mut entries = self.entries.lock();
        if let Some(i) = entries.iter().position(|e| e.key == key) {
            let entry = entries.remove(i);
            entries.push(entry);
        }
    }
}
