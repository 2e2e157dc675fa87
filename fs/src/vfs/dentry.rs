//! Dentries: the cache of names, one tree per mounted filesystem.
//!
//! A dentry always leads to an inode; a name known to be absent is only a mark in its parent's map. Parents are held by their children, children by
//! whoever uses them and by the superblock's bounded list (second chance), so that a guest cannot grow the cache: a dentry that falls out of the list and has
//! no user disappears from its parent's map. While anybody holds a dentry, its name leads to that very dentry.
//!
//! ```text
//!   lookup hit:   parent.children (read) ──Weak──► child           no other lock, no allocation
//!   lookup miss:  parent.order (read) → Inode::lookup → children (write) → superblock list
//!   create, unlink, rename: parent.order (write) → Inode::… → children (write)
//! ```

use super::moment::Moment;
use super::superblock::{NO_SLOT, Superblock};
use crate::inode::{Inode, NodeKind};
use crate::{Attr, Caller};
use abi::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, level};

/// `state`: used since the list last looked.
const USED: u32 = 1;
/// `state`: no longer in its parent (unlinked, or found stale).
const DELETED: u32 = 2;
/// `state`: its children may be used without asking the filesystem.
const CACHEABLE: u32 = 4;
/// `state`: the name is a text of its own, not a path (`pipe:[7]`).
const PSEUDO: u32 = 8;

/// `state`: made by `O_TMPFILE` and may get a name by `linkat`.
const LINKABLE: u32 = 16;

/// `state`: its children may be used within the moment in which the filesystem was asked for changes.
const SELDOM: u32 = 32;
/// `state`: the filesystem must be asked whether its name still leads to it.
const UNSURE: u32 = 64;

/// What a directory's dentry knows of one name.
enum Child {
    Present(Weak<Dentry>),
    Absent,
}

type Children = HashMap<Arc<[u8]>, Child>;

/// Takes an entry out, and gives memory back once most of the map is empty: a directory that was huge once must not stay so.
fn take_out(children: &mut Children, name: &[u8]) {
    children.remove(name);
    if children.capacity() > 256 && children.len() < children.capacity() / 8 {
        children.shrink_to(children.len().saturating_mul(2));
    }
}

struct Link {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

/// A name in a directory and the inode it leads to.
pub struct Dentry {
    superblock: Arc<Superblock>,
    inode: Arc<dyn Inode>,
    kind: NodeKind,
    link: RwLock<Link, { level::DENTRY_LINK }>,
    children: RwLock<Children, { level::DENTRY_CHILDREN }>,
    /// Orders changes of this directory against each other and against lookups that miss the cache (`i_rwsem`).
    order: RwLock<(), { level::DIRECTORY }>,
    state: AtomicU32,
    /// Mounts that sit on this dentry, in any namespace.
    mounted: AtomicU32,
    /// Its place in the superblock's list.
    pub(super) slot: AtomicU32,
    /// For [`SELDOM`]: the moment in which the filesystem was asked last, and how many changes it had counted.
    moment: AtomicU32,
    changes: AtomicU32,
}

/// The right to change a directory.
pub type DirWrite<'a> = RwLockWriteGuard<'a, (), { level::DIRECTORY }>;
type DirRead<'a> = RwLockReadGuard<'a, (), { level::DIRECTORY }>;

impl Dentry {
    pub(super) fn build(
        superblock: Arc<Superblock>,
        inode: Arc<dyn Inode>,
        parent: Option<Arc<Dentry>>,
        name: Arc<[u8]>,
    ) -> Arc<Self> {
        let mut state = if inode.cacheable() { CACHEABLE } else { 0 };
        if inode.changes_seldom() {
            state |= SELDOM;
        }
        Arc::new(Self {
            superblock,
            kind: inode.kind(),
            inode,
            link: RwLock::new(Link { parent, name }),
            children: RwLock::new(HashMap::new()),
            order: RwLock::new(()),
            state: AtomicU32::new(state),
            mounted: AtomicU32::new(0),
            slot: AtomicU32::new(NO_SLOT),
            moment: AtomicU32::new(0),
            changes: AtomicU32::new(0),
        })
    }

    /// A dentry outside every tree, for anonymous files: with `pseudo` its name is the whole text that `/proc/PID/fd` shows; without, it is shown
    /// after `/` and as deleted (`/memfd:x (deleted)`).
    pub fn detached(
        superblock: &Arc<Superblock>,
        inode: Arc<dyn Inode>,
        name: &[u8],
        pseudo: bool,
    ) -> Arc<Self> {
        let dentry = Self::build(superblock.clone(), inode, None, Arc::from(name));
        dentry
            .state
            .fetch_or(if pseudo { PSEUDO } else { DELETED }, Ordering::Relaxed);
        dentry
    }

    /// The dentry of a file that `O_TMPFILE` made in `dir`: shown there as `#INO (deleted)`.
    pub(super) fn nameless(
        dir: &Arc<Dentry>,
        inode: Arc<dyn Inode>,
        linkable: bool,
    ) -> Result<Arc<Self>, Errno> {
        let name = format!("#{}", inode.attr()?.ino);
        let dentry = Self::build(
            dir.superblock.clone(),
            inode,
            Some(dir.clone()),
            Arc::from(name.as_bytes()),
        );
        dentry.state.fetch_or(
            DELETED | if linkable { LINKABLE } else { 0 },
            Ordering::Relaxed,
        );
        Ok(dentry)
    }

    /// Whether `linkat` may give it a name though it has none.
    pub fn linkable(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LINKABLE != 0
    }

    /// The inode.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The file type, without asking the inode.
    pub fn kind(&self) -> NodeKind {
        self.kind
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }

    /// The superblock.
    pub fn superblock(&self) -> &Arc<Superblock> {
        &self.superblock
    }

    /// The name now; `/` for a filesystem's root.
    pub fn name(&self) -> Arc<[u8]> {
        self.link.read().name.clone()
    }

    /// The parent now; `None` for roots and detached dentries.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.link.read().parent.clone()
    }

    /// Parent and name of one moment.
    pub fn link(&self) -> (Option<Arc<Dentry>>, Arc<[u8]>) {
        let link = self.link.read();
        (link.parent.clone(), link.name.clone())
    }

    /// Whether the name is gone: unlinked, removed, or stale.
    pub fn deleted(&self) -> bool {
        self.state.load(Ordering::Acquire) & DELETED != 0
    }

    /// Whether [`Dentry::name`] is a whole text (`socket:[12]`) rather than a component.
    pub fn pseudo(&self) -> bool {
        self.state.load(Ordering::Relaxed) & PSEUDO != 0
    }

    /// Whether it was used since the list last asked.
    pub(super) fn take_used(&self) -> bool {
        self.state.fetch_and(!USED, Ordering::Relaxed) & USED != 0
    }

    /// Whether any mount sits here.
    pub fn is_mountpoint(&self) -> bool {
        self.mounted.load(Ordering::Acquire) != 0
    }

    pub(super) fn mounted_add(&self) {
        self.mounted.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn mounted_sub(&self) {
        self.mounted.fetch_sub(1, Ordering::AcqRel);
    }

    /// The attributes now.
    pub fn attr(&self) -> Result<Attr, Errno> {
        self.inode.attr()
    }

    /// Takes the right to change this directory; `ENOENT` when it was removed.
    pub fn lock_dir(&self) -> Result<DirWrite<'_>, Errno> {
        let guard = self.order.write();
        if self.deleted() {
            Err(Errno::ENOENT)
        } else {
            Ok(guard)
        }
    }

    /// As [`Dentry::lock_dir`], while the lock of another directory is held (a rename, which holds the superblock's rename lock and goes from ancestors down).
    pub(super) fn lock_second_dir(&self) -> Result<DirWrite<'_>, Errno> {
        let guard = self.order.write_nested();
        if self.deleted() {
            Err(Errno::ENOENT)
        } else {
            Ok(guard)
        }
    }

    /// The child, from the cache only: `None` when the cache does not know, `Some(None)` when it knows that there is none.
    #[inline]
    pub(super) fn cached(&self, moment: Moment, name: &[u8]) -> Option<Option<Arc<Dentry>>> {
        let state = self.state.load(Ordering::Relaxed);
        if state & CACHEABLE == 0
            || (state & SELDOM != 0 && self.moment.load(Ordering::Acquire) != moment.number)
        {
            return None;
        }
        let known = self.known(name)?;
        if let Some(child) = &known
            && child.state.load(Ordering::Relaxed) & UNSURE != 0
        {
            return None;
        }
        Some(known)
    }

    /// Asks for changes, with the order held: after one no absence is sure, and no presence.
    fn look_again(&self, moment: Moment) {
        let count = self.inode.changes(moment);
        if self.changes.swap(count, Ordering::Relaxed) != count {
            let mut present = Vec::new();
            self.children.write().retain(|_, child| match child {
                Child::Absent => false,
                Child::Present(weak) => {
                    present.extend(weak.upgrade());
                    true
                }
            });
            for child in &present {
                child.state.fetch_or(UNSURE, Ordering::Relaxed);
            }
        }
        self.moment.store(moment.number, Ordering::Release);
    }

    fn known(&self, name: &[u8]) -> Option<Option<Arc<Dentry>>> {
        let children = self.children.read();
        match children.get(name)? {
            Child::Absent => Some(None),
            Child::Present(weak) => {
                let child = weak.upgrade()?;
                if child.state.load(Ordering::Relaxed) & USED == 0 {
                    child.state.fetch_or(USED, Ordering::Relaxed);
                }
                Some(Some(child))
            }
        }
    }

    /// The child called `name`: from the cache, or from the filesystem. `None` when there is none.
    pub fn child(
        self: &Arc<Self>,
        caller: &dyn Caller,
        name: &[u8],
    ) -> Result<Option<Arc<Dentry>>, Errno> {
        if let Some(known) = self.cached(Moment::of(caller), name) {
            return Ok(known);
        }
        let order: DirRead<'_> = self.order.read();
        let found = self.child_ordered(caller, name);
        drop(order);
        found
    }

    /// As [`Dentry::child`], with this directory's order held.
    pub fn child_ordered(
        self: &Arc<Self>,
        caller: &dyn Caller,
        name: &[u8],
    ) -> Result<Option<Arc<Dentry>>, Errno> {
        if self.deleted() {
            return Err(Errno::ENOENT);
        }
        let state = self.state.load(Ordering::Relaxed);
        let cacheable = state & CACHEABLE != 0;
        if state & SELDOM != 0 {
            let moment = Moment::of(caller);
            if self.moment.load(Ordering::Acquire) != moment.number {
                self.look_again(moment);
            }
        }
        if let Some(known) = self.known(name) {
            let is_unsure = |d: &Arc<Dentry>| d.state.load(Ordering::Relaxed) & UNSURE != 0;
            let unsure = known.as_ref().is_some_and(is_unsure);
            if (cacheable && !unsure)
                || self
                    .inode
                    .revalidate(caller, name, known.as_ref().map(|d| d.inode()))
            {
                if let Some(child) = known.as_ref().filter(|_| unsure) {
                    child.state.fetch_and(!UNSURE, Ordering::Relaxed);
                }
                return Ok(known);
            }
            match known {
                Some(stale) => self.forget(&stale),
                None => self.unmark_absent(name),
            }
        }
        match self.inode.lookup(caller, name) {
            Ok(inode) => Ok(Some(self.insert(name, inode))),
            Err(Errno::ENOENT) => {
                if cacheable {
                    self.mark_absent(name);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Enters `inode` as the child `name`, with the order held. If another lookup was faster its dentry is returned.
    pub fn insert(self: &Arc<Self>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Dentry> {
        let name: Arc<[u8]> = Arc::from(name);
        let dentry = Self::build(
            self.superblock.clone(),
            inode,
            Some(self.clone()),
            name.clone(),
        );
        let other = {
            let mut children = self.children.write();
            match children.get(&name) {
                Some(Child::Present(weak)) if weak.strong_count() != 0 => weak.upgrade(),
                _ => None,
            }
            .or_else(|| {
                children.insert(name, Child::Present(Arc::downgrade(&dentry)));
                None
            })
        };
        if let Some(other) = other {
            return other;
        }
        if self.state.load(Ordering::Relaxed) & CACHEABLE != 0 {
            self.superblock.keep(&dentry);
        }
        dentry
    }

    /// Remembers that there is no child `name`, with the order held.
    pub fn mark_absent(self: &Arc<Self>, name: &[u8]) {
        if self.state.load(Ordering::Relaxed) & CACHEABLE == 0 || !self.superblock.keeps() {
            return;
        }
        let name: Arc<[u8]> = Arc::from(name);
        let fresh = {
            let mut children = self.children.write();
            match children.get(&name) {
                Some(Child::Present(weak)) if weak.strong_count() != 0 => false,
                Some(Child::Absent) => false,
                _ => {
                    children.insert(name.clone(), Child::Absent);
                    true
                }
            }
        };
        if fresh {
            self.superblock.keep_absent(self, &name);
        }
    }

    pub(super) fn unmark_absent(&self, name: &[u8]) {
        let mut children = self.children.write();
        if matches!(children.get(name), Some(Child::Absent)) {
            take_out(&mut children, name);
        }
    }

    /// Takes `child` out of this directory and marks it deleted, with the order held for writing (or because it was found stale).
    pub fn forget(&self, child: &Arc<Dentry>) {
        child.state.fetch_or(DELETED, Ordering::AcqRel);
        let name = child.name();
        self.remove_entry(&name, Arc::as_ptr(child));
        self.superblock.unkeep(child);
    }

    /// Gives it another parent and name (renames).
    pub(super) fn set_link(&self, parent: Arc<Dentry>, name: Arc<[u8]>) {
        let old = {
            let mut link = self.link.write();
            std::mem::replace(
                &mut *link,
                Link {
                    parent: Some(parent),
                    name,
                },
            )
        };
        drop(old);
    }

    /// Enters an existing dentry under its current name, replacing what is there.
    pub(super) fn enter(&self, child: &Arc<Dentry>) {
        let name = child.name();
        self.children
            .write()
            .insert(name, Child::Present(Arc::downgrade(child)));
    }

    /// Removes the entry `name` if it is `child` or no longer leads anywhere.
    pub(super) fn remove_entry(&self, name: &[u8], child: *const Dentry) {
        let mut children = self.children.write();
        if let Some(Child::Present(weak)) = children.get(name)
            && weak.as_ptr() == child
        {
            take_out(&mut children, name);
        }
    }

    /// How many present and absent names the cache holds for this directory, for tests.
    #[cfg(test)]
    pub(super) fn cached_counts(&self) -> (usize, usize) {
        let children = self.children.read();
        let absent = children
            .values()
            .filter(|c| matches!(c, Child::Absent))
            .count();
        (children.len() - absent, absent)
    }

    /// Whether `ancestor` is this dentry or above it.
    pub fn is_below(self: &Arc<Self>, ancestor: &Arc<Dentry>) -> bool {
        let mut at = Some(self.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(&dentry, ancestor) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }
}

impl Dentry {
    /// Removes the entry `name` when it leads to a dentry that is gone.
    fn remove_dead(&self, name: &[u8]) {
        let mut children = self.children.write();
        if let Some(Child::Present(weak)) = children.get(name)
            && weak.strong_count() == 0
        {
            take_out(&mut children, name);
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        let link = self.link.get_mut();
        let (mut parent, mut name) = (link.parent.take(), link.name.clone());
        // A chain of parents that nobody else holds ends here in a loop: a deep tree must not become deep recursion.
        while let Some(dir) = parent {
            dir.remove_dead(&name);
            let Some(mut last) = Arc::into_inner(dir) else {
                break;
            };
            let link = last.link.get_mut();
            (parent, name) = (link.parent.take(), link.name.clone());
        }
    }
}
