//! An inode of the overlay.

use super::file::{OverlayDir, OverlayFile};
use super::{Key, Origin, OverlayFs};
use crate::file::FileOps;
use crate::inode::{Attr, DirEntry, FileSystem, Follow, Inode, NodeKind, SetAttr};
use crate::vfs::acl::{self, Acl};
use crate::vfs::perm::Owner;
use crate::vfs::{KernelCaller, MappingObserver, Vnode};
use crate::{Caller, Cred};
use abi::Errno;
use abi::fcntl::{RENAME_EXCHANGE, RENAME_WHITEOUT};
use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock, level};

/// A directory, and a name in it.
pub(super) type Place = (Arc<OverlayInode>, Arc<[u8]>);

/// An inode of the overlay.
pub struct OverlayInode {
    pub(super) fs: Arc<OverlayFs>,
    this: Weak<OverlayInode>,
    kind: NodeKind,
    ino: u64,
    vnode: Vnode,
    /// In the lower tree; of what was made in the upper layer, nothing.
    pub(super) lower: Option<Arc<dyn Inode>>,
    /// In the upper layer, from its copy-up or making on.
    pub(super) upper: OnceLock<Upper>,
    /// Where a lower inode stands; nowhere once that name is gone. Not asked for after copy-up.
    pub(super) place: Mutex<Option<Place>>,
    /// Names of a lower file that were removed before its copy-up.
    pub(super) lost_links: AtomicU32,
    /// One copy-up at a time.
    pub(super) copying: Mutex<(), { level::OVERLAY }>,
    /// Under which keys it can be found.
    pub(super) keys: Mutex<Vec<Key>>,
}

/// The upper half of an inode.
pub struct Upper {
    pub inode: Arc<dyn Inode>,
    pub origin: Option<Arc<Origin>>,
    /// Hears of truncations, for those who map the overlay's file.
    _forward: Arc<dyn MappingObserver>,
}

/// Pages of the upper file are gone: so are the overlay's.
struct Forward(Weak<OverlayInode>);

impl MappingObserver for Forward {
    fn invalidate(&self, _of: &Vnode, offset: u64, len: u64) {
        if let Some(inode) = self.0.upgrade() {
            inode.vnode.invalidate(offset, len);
        }
    }
}

pub fn ours(inode: &Arc<dyn Inode>) -> Result<Arc<OverlayInode>, Errno> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast().map_err(|_| Errno::EXDEV)
}

impl OverlayInode {
    fn build(
        fs: &Arc<OverlayFs>,
        kind: NodeKind,
        ino: u64,
        lower: Option<Arc<dyn Inode>>,
        place: Option<(Arc<OverlayInode>, Arc<[u8]>)>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            fs: fs.clone(),
            this: this.clone(),
            kind,
            ino,
            vnode: Vnode::new(),
            lower,
            upper: OnceLock::new(),
            place: Mutex::new(place),
            lost_links: AtomicU32::new(0),
            copying: Mutex::new(()),
            keys: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn with_upper(
        fs: &Arc<OverlayFs>,
        upper: Arc<dyn Inode>,
        origin: Option<Arc<Origin>>,
    ) -> Result<Arc<Self>, Errno> {
        let ino = match &origin {
            Some(origin) => origin.ino,
            None => upper.attr()?.ino.wrapping_add(super::UPPER_INO),
        };
        let lower = origin.as_ref().and_then(|o| o.lower.clone());
        let inode = Self::build(fs, upper.kind(), ino, lower, None);
        inode.set_upper(upper, origin);
        Ok(inode)
    }

    pub(super) fn with_lower(
        fs: &Arc<OverlayFs>,
        lower: Arc<dyn Inode>,
        attr: &Attr,
        parent: Arc<OverlayInode>,
        name: Arc<[u8]>,
    ) -> Arc<Self> {
        let ino = fs.lower_ino(attr.dev, attr.ino);
        let inode = Self::build(fs, lower.kind(), ino, Some(lower), Some((parent, name)));
        inode
            .lost_links
            .store(fs.lost_links(attr), Ordering::Relaxed);
        inode
    }

    /// From now on the upper inode is what everybody sees.
    pub(super) fn set_upper(&self, inode: Arc<dyn Inode>, origin: Option<Arc<Origin>>) {
        let forward: Arc<dyn MappingObserver> = Arc::new(Forward(self.this.clone()));
        if self.kind == NodeKind::Regular {
            inode.vnode().observe_mappings(&forward);
        }
        let _ = self.upper.set(Upper {
            inode,
            origin,
            _forward: forward,
        });
    }

    pub(super) fn arc(&self) -> Result<Arc<Self>, Errno> {
        self.this.upgrade().ok_or(Errno::EIO)
    }

    pub(super) fn upper(&self) -> Option<&Arc<dyn Inode>> {
        self.upper.get().map(|u| &u.inode)
    }

    /// The layer that counts now.
    pub(super) fn real(&self) -> Result<&Arc<dyn Inode>, Errno> {
        self.upper().or(self.lower.as_ref()).ok_or(Errno::EIO)
    }

    fn origin(&self) -> Option<&Arc<Origin>> {
        self.upper.get().and_then(|u| u.origin.as_ref())
    }

    /// Whether the lower directory's `name` was removed.
    pub(super) fn hides(&self, name: &[u8]) -> bool {
        self.origin()
            .is_some_and(|o| o.hidden.lock().contains(name))
    }

    /// Removes the lower directory's `name`, if it has one. True when it had and it was visible as far as the lower tree goes.
    fn hide(&self, name: &[u8]) -> Result<bool, Errno> {
        let (Some(lower), Some(origin)) = (&self.lower, self.origin()) else {
            return Ok(false);
        };
        if origin.hidden.lock().contains(name) {
            return Ok(false);
        }
        match lower.lookup(&KernelCaller, name) {
            Ok(_) => Ok(origin.hidden.lock().insert(Arc::from(name))),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies this directory up and returns its upper inode.
    fn upper_dir(&self) -> Result<Arc<dyn Inode>, Errno> {
        if self.kind != NodeKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        self.copy_up(None)
    }

    /// The upper inode under `name` of this directory, if the name is in the upper layer.
    fn upper_entry(
        &self,
        caller: &dyn Caller,
        name: &[u8],
    ) -> Result<Option<Arc<dyn Inode>>, Errno> {
        match self.upper() {
            None => Ok(None),
            Some(upper) => match upper.lookup(caller, name) {
                Ok(entry) => Ok(Some(entry)),
                Err(Errno::ENOENT) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// `ENOTEMPTY` if any name is visible in this directory.
    fn check_empty(&self, caller: &dyn Caller) -> Result<(), Errno> {
        let mut visible = false;
        self.each_entry(caller, &mut |_| {
            visible = true;
            false
        })?;
        if visible {
            Err(Errno::ENOTEMPTY)
        } else {
            Ok(())
        }
    }

    /// The visible entries, upper ones first, with the overlay's inode numbers. Stops when `sink` returns false.
    pub(super) fn each_entry(
        &self,
        caller: &dyn Caller,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        let mut names = std::collections::HashSet::new();
        let mut full = false;
        if let Some(upper) = self.upper() {
            let dir = self.fs.open_layer(&self.fs.upper, upper, 0)?;
            let merged = self.lower.is_some();
            dir.ops().read_dir(&dir, caller, 0, &mut |entry| {
                if merged {
                    names.insert(entry.name.to_vec());
                }
                full = !sink(&DirEntry {
                    ino: self.fs.upper_ino(entry.ino),
                    ..*entry
                });
                !full
            })?;
        }
        let Some(lower) = self.lower.as_ref().filter(|_| !full) else {
            return Ok(());
        };
        let dir = self.fs.open_layer(&self.fs.lower, lower, 0)?;
        dir.ops().read_dir(&dir, caller, 0, &mut |entry| {
            if names.contains(entry.name) || self.hides(entry.name) {
                return true;
            }
            sink(entry)
        })
    }

    /// After `name`, which led to `child`, was taken out of the upper layer or not: hides the lower name, and counts the links of the child.
    fn name_gone(&self, name: &[u8], child: &OverlayInode, was_upper: bool) -> Result<(), Errno> {
        let hid = self.hide(name)?;
        match child.upper.get() {
            Some(upper) => {
                if hid
                    && !was_upper
                    && let Some(origin) = &upper.origin
                {
                    let _ = origin.lower_links.fetch_update(
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                        |n| n.checked_sub(1),
                    );
                }
                self.fs.upper_gone(&upper.inode);
            }
            None => {
                let lost = child
                    .lost_links
                    .fetch_add(1, Ordering::Relaxed)
                    .saturating_add(1);
                if let Some(attr) = child
                    .lower
                    .as_ref()
                    .filter(|_| child.kind != NodeKind::Directory)
                    .and_then(|l| l.attr().ok())
                    .filter(|a| a.nlink > 1)
                {
                    self.fs.lost.lock().insert((attr.dev, attr.ino), lost);
                }
                let mut place = child.place.lock();
                if place
                    .as_ref()
                    .is_some_and(|(dir, at)| std::ptr::eq(&**dir, self) && **at == *name)
                {
                    let old = place.take();
                    drop(place);
                    drop(old);
                }
            }
        }
        Ok(())
    }
}

impl Inode for OverlayInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.kind
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = self.real()?.attr()?;
        attr.dev = self.fs.dev;
        attr.ino = self.ino;
        match self.upper.get() {
            _ if self.kind == NodeKind::Directory => {
                if self.lower.is_some() && attr.nlink != 0 {
                    // How many directories are in a merged one nobody counts; 1 tells programs not to.
                    attr.nlink = 1;
                }
            }
            Some(upper) => {
                let further = upper
                    .origin
                    .as_ref()
                    .map_or(0, |o| o.lower_links.load(Ordering::Relaxed));
                attr.nlink = attr.nlink.saturating_add(further);
            }
            None => {
                attr.nlink = attr
                    .nlink
                    .saturating_sub(self.lost_links.load(Ordering::Relaxed))
            }
        }
        Ok(attr)
    }
    fn owner(&self) -> Result<Owner, Errno> {
        self.real()?.owner()
    }
    fn permission(&self, _caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
        acl::permission(self, cred, mask)
    }
    fn acl(&self, name: &[u8]) -> Result<Option<Acl>, Errno> {
        self.real()?.acl(name)
    }
    fn set_attr(&self, caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        self.copy_up(set.size)?.set_attr(caller, set)
    }
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if self.kind != NodeKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if let Some(entry) = self.upper_entry(caller, name)? {
            return Ok(self.fs.of_upper(entry)?);
        }
        let lower = self
            .lower
            .as_ref()
            .filter(|_| !self.hides(name))
            .ok_or(Errno::ENOENT)?;
        Ok(self
            .fs
            .of_lower(lower.lookup(caller, name)?, &self.arc()?, name)?)
    }
    fn create(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
    ) -> Result<Arc<dyn Inode>, Errno> {
        let made = self.upper_dir()?.create(caller, name, kind, mode)?;
        Ok(self.fs.of_upper(made)?)
    }
    fn symlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        target: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        let made = self.upper_dir()?.symlink(caller, name, target)?;
        Ok(self.fs.of_upper(made)?)
    }
    fn tmpfile(&self, caller: &dyn Caller, mode: u32) -> Result<Arc<dyn Inode>, Errno> {
        let made = self.upper_dir()?.tmpfile(caller, mode)?;
        Ok(self.fs.of_upper(made)?)
    }
    fn link(&self, caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let target = ours(target)?;
        if !Arc::ptr_eq(&target.fs, &self.fs) {
            return Err(Errno::EXDEV);
        }
        let source = target.copy_up(None)?;
        self.upper_dir()?.link(caller, name, &source)
    }
    fn unlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        let child = ours(child)?;
        let dir = self.upper_dir()?;
        let entry = self.upper_entry(caller, name)?;
        if let Some(entry) = &entry {
            dir.unlink(caller, name, entry)?;
        } else {
            dir.set_attr(
                caller,
                &SetAttr {
                    mtime: Some(caller.now_ns()),
                    ..super::changed(caller)
                },
            )?;
        }
        self.name_gone(name, &child, entry.is_some())
    }
    fn rmdir(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let child = ours(child)?;
        child.check_empty(caller)?;
        let dir = self.upper_dir()?;
        let entry = self.upper_entry(caller, name)?;
        match &entry {
            Some(entry) => dir.rmdir(caller, name, entry)?,
            None => dir.set_attr(
                caller,
                &SetAttr {
                    mtime: Some(caller.now_ns()),
                    ..super::changed(caller)
                },
            )?,
        }
        self.name_gone(name, &child, entry.is_some())
    }
    fn rename(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        replaced: Option<&Arc<dyn Inode>>,
        flags: u32,
    ) -> Result<(), Errno> {
        if flags & RENAME_WHITEOUT != 0 {
            // What is left behind is a whiteout to the layers, and no file of the overlay (`ovl_rename`).
            return Err(Errno::EINVAL);
        }
        let (child, new_dir) = (ours(child)?, ours(new_dir)?);
        let replaced = replaced.map(ours).transpose()?;
        let exchange = flags & RENAME_EXCHANGE != 0;
        if let Some(old) = replaced
            .as_ref()
            .filter(|r| r.kind == NodeKind::Directory && !exchange)
        {
            old.check_empty(caller)?;
        }
        let dir = self.upper_dir()?;
        let to = new_dir.upper_dir()?;
        let moved = child.named_upper(self, name)?;
        let other = match &replaced {
            Some(other) if exchange => Some(other.named_upper(&new_dir, new_name)?),
            Some(_) => new_dir.upper_entry(caller, new_name)?,
            None => None,
        };
        dir.rename(caller, name, &moved, &to, new_name, other.as_ref(), flags)?;
        if exchange {
            // Both names are in the upper layer, and what the lower tree has there stays covered until it is removed.
            return Ok(());
        }
        self.hide(name)?;
        if let Some(replaced) = &replaced {
            new_dir.name_gone(new_name, replaced, other.is_some())?;
        }
        Ok(())
    }
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        self.real()?.follow(caller)
    }
    fn readlink(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        self.real()?.readlink(caller)
    }
    fn open(self: Arc<Self>, caller: &dyn Caller, flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        match self.kind {
            NodeKind::Directory => Ok(Box::new(OverlayDir::new(self))),
            NodeKind::Regular => Ok(Box::new(OverlayFile::open(self, caller, flags)?)),
            _ => Err(Errno::ENXIO),
        }
    }
    fn get_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.real()?.get_xattr(caller, name)
    }
    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        self.copy_up(None)?.set_xattr(caller, name, value, flags)
    }
    fn list_xattr(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        self.real()?.list_xattr(caller)
    }
    fn remove_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<(), Errno> {
        // Nothing is copied for an attribute that is not there (every chown asks for `security.capability`).
        self.real()?.get_xattr(caller, name)?;
        self.copy_up(None)?.remove_xattr(caller, name)
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

impl Drop for OverlayInode {
    fn drop(&mut self) {
        let keys = std::mem::take(self.keys.get_mut());
        if !keys.is_empty() {
            let mut inodes = self.fs.inodes.lock();
            for key in keys {
                if inodes.get(&key).is_some_and(|w| w.strong_count() == 0) {
                    inodes.remove(&key);
                }
            }
        }
        // Chains of parents end in a loop, not in recursion.
        let mut place = self.place.get_mut().take();
        while let Some((dir, _)) = place {
            let Some(mut last) = Arc::into_inner(dir) else {
                break;
            };
            place = last.place.get_mut().take();
        }
    }
}
