//! `epoll(7)` (Linux: `fs/eventpoll.c`).
//!
//! ```text
//!   file's Pollee ──notify──► Item ──► ready list ──► waiters (epoll_wait), pollee (poll, outer epolls)
//!                                         │ collect(): take one, ask the file, report; level-triggered ones go to the back
//! ```
//!
//! The cost of waiting follows the ready list, not the interest list. Files are asked (`FileOps::poll`) with no lock of ours held. An item refers weakly to its
//! description; when that is closed for good a [`crate::file::CloseHook`] takes the item away.

mod item;
#[cfg(test)]
mod tests;
mod tree;

use crate::anon;
use crate::file::{File, FileOps};
use crate::pollee::{Events, Pollee};
use abi::Errno;
use abi::poll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLWAKEUP,
};
use item::{Item, PRIVATE, Spec};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// Watched descriptions in the whole sandbox: a bound on the sandbox's memory (`/proc/sys/fs/epoll/max_user_watches` is of this order).
const MAX_WATCHES: usize = 1 << 20;
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// What may accompany `EPOLLEXCLUSIVE`.
const EXCLUSIVE_OK: u32 = 0x1 | 0x4 | 0x8 | 0x10 | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

#[derive(Default)]
struct Ready {
    list: VecDeque<Arc<Item>>,
    /// How many of them were removed from the interest list: they go when somebody comes by, or when half of the list is such.
    dead: usize,
    /// Calls of `collect` under way: each may hold one item that belongs on the list.
    collecting: usize,
    /// Somebody found the list empty meanwhile.
    missed: bool,
}

/// An interest list. Items are named by descriptor number and description, as in Linux: one description may be watched through several numbers.
pub struct Epoll {
    me: Weak<Epoll>,
    interest: Mutex<BTreeMap<(i32, u64), Arc<Item>>, { level::EPOLL }>,
    ready: Mutex<Ready>,
    /// Who sleeps in `epoll_wait`.
    waiters: Pollee,
    /// Who polls the instance itself.
    pollee: Pollee,
    /// The instances that watch this one.
    parents: Mutex<Vec<Weak<Epoll>>>,
}

/// A ready description, as `epoll_wait(2)` reports it: events, and the data given with it.
pub type Report = (u32, u64);

impl Epoll {
    fn new() -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            interest: Mutex::new(BTreeMap::new()),
            ready: Mutex::new(Ready::default()),
            waiters: Pollee::new(),
            pollee: Pollee::new(),
            parents: Mutex::new(Vec::new()),
        })
    }

    /// `epoll_ctl(2)` on `target`, known to the caller as `fd`. `epfile` is this instance's own description.
    pub fn ctl(
        &self,
        epfile: &File,
        op: i32,
        fd: i32,
        target: &Arc<File>,
        events: u32,
        data: u64,
    ) -> Result<(), Errno> {
        if target.is_path() {
            return Err(Errno::EBADF);
        }
        if target.ops().pollee().is_none() {
            return Err(Errno::EPERM);
        }
        if std::ptr::eq(epfile, &**target) {
            return Err(Errno::EINVAL);
        }
        // `EPOLLWAKEUP` has no meaning where nothing suspends.
        let spec = Spec {
            events: events & !EPOLLWAKEUP,
            data,
        };
        let inner = of(target);
        if op != EPOLL_CTL_DEL
            && events & EPOLLEXCLUSIVE != 0
            && (op == EPOLL_CTL_MOD || inner.is_some() || events & !EXCLUSIVE_OK != 0)
        {
            return Err(Errno::EINVAL);
        }
        match op {
            EPOLL_CTL_ADD => {
                let item = match inner {
                    Some(inner) => tree::link(self, inner, || self.add(fd, target, spec))?,
                    None => self.add(fd, target, spec)?,
                };
                self.check(&item);
                Ok(())
            }
            EPOLL_CTL_DEL => self.remove(fd, target),
            EPOLL_CTL_MOD => self.modify(fd, target, spec),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Registers an item. Whether its file is ready is for the caller to check.
    fn add(&self, fd: i32, target: &Arc<File>, spec: Spec) -> Result<Arc<Item>, Errno> {
        let key = (fd, target.id());
        let item = Arc::new_cyclic(|me| Item {
            me: me.clone(),
            epoll: self.me.clone(),
            file: Arc::downgrade(target),
            inner: of(target).map(Arc::downgrade),
            fd,
            spec: Mutex::new(spec),
            mask: AtomicU32::new(0),
            queued: AtomicBool::new(false),
            news: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            key: AtomicUsize::new(0),
        });
        item.set_spec(spec);
        let mut interest = self.interest.lock();
        if interest.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        if WATCHES.fetch_add(1, Ordering::Relaxed) >= MAX_WATCHES {
            WATCHES.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let pollee = target.ops().pollee().ok_or(Errno::EPERM)?;
        // The registration keeps the full mask, so that a later modification needs no other one; the item filters.
        let key_at_pollee = if spec.events & EPOLLEXCLUSIVE != 0 {
            pollee.register_exclusive(item.clone(), Events::all())
        } else {
            pollee.register(item.clone(), Events::all())
        };
        item.key.store(key_at_pollee, Ordering::Release);
        target.add_hook(item.hook());
        interest.insert(key, item.clone());
        Ok(item)
    }

    fn modify(&self, fd: i32, target: &Arc<File>, spec: Spec) -> Result<(), Errno> {
        let item = self
            .interest
            .lock()
            .get(&(fd, target.id()))
            .cloned()
            .ok_or(Errno::ENOENT)?;
        if item.spec.lock().events & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        item.set_spec(spec);
        self.check(&item);
        Ok(())
    }

    fn remove(&self, fd: i32, target: &Arc<File>) -> Result<(), Errno> {
        let item = self
            .interest
            .lock()
            .remove(&(fd, target.id()))
            .ok_or(Errno::ENOENT)?;
        item.detach(target);
        self.removed(&item, target);
        Ok(())
    }

    /// The description was closed for good.
    fn forget(&self, fd: i32, file: &File) {
        let item = self.interest.lock().remove(&(fd, file.id()));
        if let Some(item) = item {
            self.removed(&item, file);
        }
    }

    fn removed(&self, item: &Arc<Item>, file: &File) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
        if let Some(inner) = of(file) {
            inner
                .parents
                .lock()
                .retain(|p| p.strong_count() != 0 && !p.ptr_eq(&self.me));
            // Watched through another number still: put the edge back.
            if self.interest.lock().keys().any(|(_, id)| *id == file.id()) {
                inner.parents.lock().push(self.me.clone());
            }
        }
        let mut ready = self.ready.lock();
        if item.queued.load(Ordering::Acquire) {
            ready.dead = ready.dead.saturating_add(1);
            if ready.dead.saturating_mul(2) > ready.list.len() {
                ready.list.retain(|i| !i.dead.load(Ordering::Acquire));
                ready.dead = 0;
            }
        }
    }

    /// Puts an item on the ready list if its file is ready now.
    fn check(&self, item: &Arc<Item>) {
        if !item.ready().is_empty() {
            self.make_ready(item);
        }
    }

    /// An item may have become ready. Says whether somebody sleeps who will look.
    fn make_ready(&self, item: &Item) -> bool {
        let Some(item) = item.me.upgrade() else {
            return false;
        };
        let mut ready = self.ready.lock();
        if item.dead.load(Ordering::Acquire) {
            return false;
        }
        item.news.fetch_add(1, Ordering::AcqRel);
        if !item.queued.swap(true, Ordering::AcqRel) {
            ready.list.push_back(item);
        }
        drop(ready);
        let heard = self.waiters.is_watched() || self.pollee.is_watched();
        self.waiters.notify(Events::READ);
        self.pollee.notify(Events::READ);
        heard
    }

    /// Takes up to `max` reports. Empty means: wait on [`Epoll::waiters`] (exclusively), call again after registering, and once more after any wake-up.
    pub fn collect(&self, max: usize) -> Vec<Report> {
        let mut ready = self.ready.lock();
        // Level-triggered items go to the back: this many steps visit each once.
        let mut steps = ready.list.len();
        if steps == 0 {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(max.min(steps).min(1024));
        ready.collecting = ready.collecting.saturating_add(1);
        while out.len() < max && steps > 0 {
            steps = steps.saturating_sub(1);
            let Some(item) = ready.list.pop_front() else {
                break;
            };
            item.queued.store(false, Ordering::Release);
            drop(ready);
            let events = item.ready();
            let mut again = false;
            if !events.is_empty() {
                let mut spec = item.spec.lock();
                out.push((events.bits(), spec.data));
                if spec.events & EPOLLONESHOT != 0 {
                    spec.events &= PRIVATE;
                    item.mask.store(0, Ordering::Release);
                } else {
                    again = spec.events & EPOLLET == 0;
                }
            }
            ready = self.ready.lock();
            if again
                && !item.dead.load(Ordering::Acquire)
                && !item.queued.swap(true, Ordering::AcqRel)
            {
                ready.list.push_back(item);
            }
        }
        ready.collecting = ready.collecting.saturating_sub(1);
        let left = !ready.list.is_empty();
        let missed = left && std::mem::take(&mut ready.missed);
        drop(ready);
        if left {
            self.waiters.notify(Events::READ);
        }
        if missed {
            self.pollee.notify(Events::READ);
        }
        out
    }

    /// Whom `epoll_wait` sleeps on; register exclusively, for [`Events::READ`].
    pub fn waiters(&self) -> &Pollee {
        &self.waiters
    }

    /// Is anything on the ready list still ready? Takes off what is not.
    fn any_ready(&self) -> bool {
        let mut ready = self.ready.lock();
        loop {
            let Some(item) = ready.list.front().cloned() else {
                if ready.collecting > 0 {
                    ready.missed = true;
                }
                return false;
            };
            let news = item.news.load(Ordering::Acquire);
            drop(ready);
            if !item.ready().is_empty() {
                return true;
            }
            ready = self.ready.lock();
            // Unless there was news since we asked, nothing is lost by taking it off: the next change brings it back.
            if news == item.news.load(Ordering::Acquire)
                && ready.list.front().is_some_and(|i| Arc::ptr_eq(i, &item))
            {
                ready.list.pop_front();
                item.queued.store(false, Ordering::Release);
            }
        }
    }
}

/// The description's side: it owns the interest list, which dies with it.
struct EpollFile(Arc<Epoll>);

impl Drop for EpollFile {
    fn drop(&mut self) {
        let items = std::mem::take(&mut *self.0.interest.lock());
        WATCHES.fetch_sub(items.len(), Ordering::Relaxed);
        for item in items.into_values() {
            if let Some(file) = item.file.upgrade() {
                item.detach(&file);
                if let Some(inner) = of(&file) {
                    inner
                        .parents
                        .lock()
                        .retain(|p| p.strong_count() != 0 && !p.ptr_eq(&self.0.me));
                }
            }
        }
        self.0.ready.lock().list.clear();
    }
}

impl FileOps for EpollFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn spliceable(&self) -> bool {
        false
    }
    fn poll(&self, _file: &File) -> Events {
        if self.0.any_ready() {
            Events::READ
        } else {
            Events::empty()
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.0.pollee)
    }
    fn ioctl(
        &self,
        _file: &File,
        _caller: &dyn crate::Caller,
        _mem: &dyn crate::UserMemory,
        _cmd: u32,
        _arg: u64,
    ) -> Result<i64, Errno> {
        // It has requests of its own (busy polling), hence not `ENOTTY`.
        Err(Errno::EINVAL)
    }
    fn fdinfo(&self, _file: &File) -> String {
        let items: Vec<_> = self.0.interest.lock().values().cloned().collect();
        let mut text = String::new();
        for item in items {
            let spec = *item.spec.lock();
            let Some(file) = item.file.upgrade() else {
                continue;
            };
            let ino = file.inode().attr().map_or(0, |a| a.ino);
            let _ = writeln!(
                text,
                "tfd: {:8} events: {:8x} data: {:16x}  pos:{} ino:{ino:x} sdev:{:x}",
                item.fd,
                spec.events,
                spec.data,
                file.offset(),
                file.inode().filesystem().dev()
            );
        }
        text
    }
}

/// `epoll_create1(2)`: `EPOLL_CLOEXEC` is the caller's to act on.
pub fn create() -> Arc<File> {
    anon::file("[eventpoll]", Box::new(EpollFile(Epoll::new())), 2)
}

/// The instance behind a description, if it is one.
pub fn of(file: &File) -> Option<&Arc<Epoll>> {
    file.downcast::<EpollFile>().map(|f| &f.0)
}
