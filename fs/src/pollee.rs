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
    /// Of the exclusive ones the lowest is called first.
    turn: usize,
    /// `None`: removed, and yet to be cleared away.
    observer: Option<Arc<dyn Observer>>,
}

/// In the order of their keys. What is removed leaves its place until half of the list is such places: a guest may watch one file a million times, and
/// each of them goes at a price that does not depend on the others.
struct Entries {
    list: Vec<Entry>,
    removed: usize,
    last_key: usize,
}

impl Entries {
    const fn new() -> Self {
        Self {
            list: Vec::new(),
            removed: 0,
            last_key: 0,
        }
    }

    fn find(&mut self, key: usize) -> Option<&mut Entry> {
        let at = self.list.binary_search_by_key(&key, |e| e.key).ok()?;
        self.list.get_mut(at)
    }

    fn next_key(&mut self) -> usize {
        self.last_key = self.last_key.wrapping_add(1);
        self.last_key
    }

    fn take(&mut self, key: usize) -> Option<Arc<dyn Observer>> {
        let observer = self.find(key)?.observer.take()?;
        self.removed = self.removed.saturating_add(1);
        if self.removed.saturating_mul(2) > self.list.len() {
            self.list.retain(|e| e.observer.is_some());
            self.removed = 0;
            if self.list.capacity() > 256 && self.list.len() < self.list.capacity() / 8 {
                self.list.shrink_to(self.list.len().saturating_mul(2));
            }
        }
        Some(observer)
    }

    fn len(&self) -> usize {
        self.list.len().saturating_sub(self.removed)
    }
}

/// The list of those who watch one file.
pub struct Pollee {
    entries: Mutex<Entries>,
    /// How many watch: lets `notify` return without a lock when nobody does.
    count: AtomicUsize,
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
            entries: Mutex::new(Entries::new()),
            count: AtomicUsize::new(0),
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
        let mut entries = self.entries.lock();
        let key = entries.next_key();
        entries.list.push(Entry {
            key,
            mask: mask | Events::ALWAYS,
            exclusive,
            turn: key,
            observer: Some(observer),
        });
        // SeqCst pairs with the load in `notify`: either the notifier sees us, or our later check sees its change.
        self.count.store(entries.len(), Ordering::SeqCst);
        key
    }

    /// Removes what `register` added; a second removal does nothing.
    pub fn unregister(&self, key: usize) {
        let mut entries = self.entries.lock();
        let removed = entries.take(key);
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
        for entry in entries.list.iter().filter(|e| e.mask.intersects(events)) {
            let Some(observer) = &entry.observer else {
                continue;
            };
            if entry.exclusive {
                exclusive.push((entry.turn, entry.key, observer.clone()));
            } else if let Some(free) = first.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(observer.clone());
            } else {
                more.push(observer.clone());
            }
        }
        drop(entries);
        for observer in first.iter().flatten().chain(&more) {
            observer.on_events(events);
        }
        exclusive.sort_by_key(|(turn, ..)| *turn);
        for (_, key, observer) in exclusive {
            if observer.on_exclusive(events) {
                self.move_last(key);
                break;
            }
        }
    }

    /// The next exclusive wake-up goes to the next waiter.
    fn move_last(&self, key: usize) {
        let mut entries = self.entries.lock();
        let turn = entries.next_key();
        if let Some(entry) = entries.find(key) {
            entry.turn = turn;
        }
    }
}
