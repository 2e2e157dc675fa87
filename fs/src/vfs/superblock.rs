//! The superblock: a filesystem in use, the bound of its cache of dentries and the order of its renames.

use super::dentry::Dentry;
use crate::inode::FileSystem;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// How many absent names a superblock remembers.
const NEGATIVE_LIMIT: usize = 8192;

/// Recently used dentries, kept alive: a clock whose hand passes over those used since it came by last.
#[derive(Default)]
struct Recent {
    slots: Vec<Option<Arc<Dentry>>>,
    free: Vec<u32>,
    hand: usize,
}

impl Recent {
    /// Puts `dentry` in and returns what had to go.
    fn put(&mut self, dentry: Arc<Dentry>, limit: usize) -> Option<Arc<Dentry>> {
        let index = match self.free.pop().and_then(|slot| usize::try_from(slot).ok()) {
            Some(index) => index,
            None if self.slots.len() < limit => {
                self.slots.push(None);
                self.slots.len().saturating_sub(1)
            }
            None => self.victim(),
        };
        dentry
            .slot
            .store(u32::try_from(index).unwrap_or(NO_SLOT), Ordering::Relaxed);
        let out = self.slots.get_mut(index)?.replace(dentry);
        if let Some(out) = &out {
            out.slot.store(NO_SLOT, Ordering::Relaxed);
        }
        out
    }

    fn victim(&mut self) -> usize {
        // Bounded: where everything is in use the oldest of a few goes all the same.
        for _ in 0..16 {
            self.hand = self.hand.saturating_add(1);
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            match self.slots.get(self.hand) {
                Some(Some(dentry)) if dentry.take_used() => {}
                _ => break,
            }
        }
        self.hand
    }

    fn take(&mut self, dentry: &Dentry) -> Option<Arc<Dentry>> {
        let slot = dentry.slot.load(Ordering::Relaxed);
        let entry = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        if !entry.as_ref().is_some_and(|d| std::ptr::eq(&**d, dentry)) {
            return None;
        }
        self.free.push(slot);
        entry.take()
    }
}

/// `slot`: not in the list.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A name known to be absent, and where.
type Absent = (Weak<Dentry>, Arc<[u8]>);

/// A filesystem in use: its cache of dentries and its order of renames. Every mount of it shares one.
pub struct Superblock {
    fs: Arc<dyn FileSystem>,
    root: Mutex<Weak<Dentry>, { level::DENTRY_LIST }>,
    recent: Mutex<Recent, { level::DENTRY_LIST }>,
    limit: usize,
    absent: Mutex<VecDeque<Absent>, { level::DENTRY_LIST }>,
    /// Held by a rename that changes the shape of the tree (`s_vfs_rename_mutex`).
    pub(super) rename: Mutex<(), { level::SUPERBLOCK_RENAME }>,
    /// Even when no rename is under way; scoped walks with `..` compare it.
    pub(super) rename_seq: AtomicU64,
    /// Mounts of this filesystem. Without any the list keeps nothing.
    pub(super) mounts: AtomicUsize,
    readonly: AtomicBool,
}

impl Superblock {
    /// Puts a filesystem into use. Make one per filesystem: two would cache its names apart.
    pub fn new(fs: Arc<dyn FileSystem>) -> Arc<Self> {
        let limit = fs.dentry_limit();
        Arc::new(Self {
            fs,
            root: Mutex::new(Weak::new()),
            recent: Mutex::new(Recent::default()),
            limit,
            absent: Mutex::new(VecDeque::new()),
            rename: Mutex::new(()),
            rename_seq: AtomicU64::new(0),
            mounts: AtomicUsize::new(0),
            readonly: AtomicBool::new(false),
        })
    }

    /// The filesystem.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Mounted read-only as a whole (`remount,ro` without `bind`).
    pub fn readonly(&self) -> bool {
        self.readonly.load(Ordering::Relaxed)
    }

    /// Changes [`Superblock::readonly`].
    pub fn set_readonly(&self, readonly: bool) {
        self.readonly.store(readonly, Ordering::Relaxed);
    }

    /// The dentry of the filesystem's root. The caller keeps it (a mount does).
    pub(super) fn root(self: &Arc<Self>) -> Arc<Dentry> {
        let inode = self.fs.root();
        let fresh = Dentry::build(self.clone(), inode, None, Arc::from(&b"/"[..]));
        let mut root = self.root.lock();
        match root.upgrade() {
            Some(first) => first,
            None => {
                *root = Arc::downgrade(&fresh);
                fresh
            }
        }
    }

    /// Whether unused names are kept at all.
    pub(super) fn keeps(&self) -> bool {
        self.limit != 0
    }

    /// Keeps `dentry` for a while; what falls out is dropped here, with no lock held.
    pub(super) fn keep(&self, dentry: &Arc<Dentry>) {
        if self.limit == 0 || self.mounts.load(Ordering::Relaxed) == 0 {
            return;
        }
        let out = self.recent.lock().put(dentry.clone(), self.limit);
        drop(out);
    }

    /// The list lets go of a dentry whose name is gone, so that its inode can end.
    pub(super) fn unkeep(&self, dentry: &Dentry) {
        let out = self.recent.lock().take(dentry);
        drop(out);
    }

    /// Remembers that `name` is absent in `dir` and returns the mark that must go to keep the bound.
    pub(super) fn keep_absent(&self, dir: &Arc<Dentry>, name: &Arc<[u8]>) {
        let out = {
            let mut absent = self.absent.lock();
            absent.push_back((Arc::downgrade(dir), name.clone()));
            if absent.len() > NEGATIVE_LIMIT {
                absent.pop_front()
            } else {
                None
            }
        };
        let Some((dir, name)) = out else { return };
        let Some(dir) = dir.upgrade() else { return };
        dir.unmark_absent(&name);
        drop(dir);
    }

    /// Drops everything the cache keeps (last unmount, `drop_caches`).
    pub fn shrink(&self) {
        let recent = std::mem::take(&mut *self.recent.lock());
        drop(recent);
        let absent = std::mem::take(&mut *self.absent.lock());
        for (dir, name) in absent {
            let Some(dir) = dir.upgrade() else { continue };
            dir.unmark_absent(&name);
        }
    }
}
