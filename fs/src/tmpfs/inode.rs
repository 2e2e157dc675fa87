//! An inode of tmpfs.

use super::TmpFs;
use super::data::Data;
use super::dir::{DIRENT_SIZE, Dir};
use super::file::{DirFile, RegularFile};
use super::usage::Usage;
use crate::file::FileOps;
use crate::inode::{Attr, FileSystem, Follow, Inode, NodeKind, SetAttr};
use crate::meta::Meta;
use crate::vfs::Vnode;
use crate::vfs::acl::{self, Acl};
use crate::vfs::perm::{self, Owner};
use crate::{Caller, Cred};
use abi::Errno;
use abi::fcntl::{RENAME_EXCHANGE, RENAME_WHITEOUT, Seals};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync::{Mutex, OnceLock, RwLock, level};

const EXEC_BITS: u32 = 0o111;
/// Heap that an extended attribute costs besides its bytes.
const XATTR_COST: usize = 64;

/// Bytes of a regular file.
#[derive(Default)]
pub struct Body {
    pub data: RwLock<Data, { level::INODE }>,
    /// The size and pages in `data`, to be read without its lock.
    size: AtomicU64,
    pages: AtomicU64,
    seals: AtomicU32,
}

impl Body {
    /// Publishes what `data` says, while its lock is held.
    pub fn publish(&self, data: &Data) {
        self.size.store(data.size(), Ordering::Release);
        self.pages.store(data.pages(), Ordering::Relaxed);
    }
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
    /// The seals (`F_SEAL_*`). Changed under the data's write lock.
    pub fn seals(&self) -> Seals {
        Seals::from_bits_retain(self.seals.load(Ordering::Acquire))
    }
    pub fn set_seals(&self, seals: Seals) {
        self.seals.store(seals.bits(), Ordering::Release);
    }
}

enum Content {
    Regular(Box<Body>),
    Directory(Mutex<Dir, { level::INODE }>),
    Link(Arc<[u8]>),
    Special,
}

type Xattrs = Mutex<BTreeMap<Vec<u8>, Vec<u8>>>;

/// An inode of tmpfs.
pub struct TmpInode {
    pub(super) meta: Meta,
    vnode: Vnode,
    pub(super) fs: Arc<TmpFs>,
    xattrs: OnceLock<Box<Xattrs>>,
    content: Content,
}

fn ours(inode: &Arc<dyn Inode>) -> Result<Arc<TmpInode>, Errno> {
    let any: Arc<dyn Any + Send + Sync> = inode.clone();
    any.downcast().map_err(|_| Errno::EXDEV)
}

impl TmpInode {
    /// The root directory: counted, but never refused.
    pub(super) fn root(fs: Arc<TmpFs>, owner: Owner, now: i64) -> Arc<Self> {
        let _ = fs.usage.add_inode();
        let content = Content::Directory(Mutex::new(Dir::default()));
        Arc::new(Self {
            meta: Meta::new(NodeKind::Directory, owner, now),
            vnode: Vnode::new(),
            fs,
            xattrs: OnceLock::new(),
            content,
        })
    }

    pub(super) fn new(
        fs: &Arc<TmpFs>,
        kind: NodeKind,
        owner: Owner,
        now: i64,
        link: &[u8],
    ) -> Result<Arc<Self>, Errno> {
        if !link.is_empty() {
            Usage::add_bytes(link.len())?;
        }
        let taken = fs.usage.charge(link_pages(link)).and_then(|()| {
            let inode = fs.usage.add_inode();
            inode.inspect_err(|_| fs.usage.uncharge(link_pages(link)))
        });
        if let Err(error) = taken {
            Usage::remove_bytes(link.len());
            return Err(error);
        }
        let content = match kind {
            NodeKind::Regular => {
                let body = Box::<Body>::default();
                // Only memfds may be sealed.
                body.set_seals(Seals::F_SEAL_SEAL);
                Content::Regular(body)
            }
            NodeKind::Directory => Content::Directory(Mutex::new(Dir::default())),
            NodeKind::Symlink => Content::Link(Arc::from(link)),
            _ => Content::Special,
        };
        Ok(Arc::new(Self {
            meta: Meta::new(kind, owner, now),
            vnode: Vnode::new(),
            fs: fs.clone(),
            xattrs: OnceLock::new(),
            content,
        }))
    }

    /// The bytes, of a regular file.
    pub(super) fn body(&self) -> Option<&Body> {
        match &self.content {
            Content::Regular(body) => Some(body),
            _ => None,
        }
    }

    /// The names, of a directory.
    pub(super) fn dir(&self) -> Result<&Mutex<Dir, { level::INODE }>, Errno> {
        match &self.content {
            Content::Directory(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// A new inode for this directory: its default list says what it gets.
    fn child(
        &self,
        kind: NodeKind,
        mut owner: Owner,
        now: i64,
        link: &[u8],
    ) -> Result<Arc<Self>, Errno> {
        let list = match kind {
            NodeKind::Symlink => None,
            _ => self.acl(acl::DEFAULT)?,
        };
        let Some(list) = list else {
            return Self::new(&self.fs, kind, owner, now, link);
        };
        let (access, mode) = list.inherit(owner.mode);
        owner.mode = mode;
        let inode = Self::new(&self.fs, kind, owner, now, link)?;
        if !access.is_minimal() {
            inode.put_xattr(acl::ACCESS, &access.value(), 0)?;
        }
        if kind == NodeKind::Directory {
            inode.put_xattr(acl::DEFAULT, &list.value(), 0)?;
        }
        Ok(inode)
    }

    /// Adds a new inode under `name`.
    fn add(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        link: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        let dir = self.dir()?;
        dir.lock().check_room(name)?;
        let now = caller.now_ns();
        let owner = perm::inherit(
            self.meta.owner(),
            kind == NodeKind::Directory,
            mode,
            &caller.cred(),
        );
        let inode = self.child(kind, owner, now, link)?;
        dir.lock().insert(name, inode.clone())?;
        if kind == NodeKind::Directory {
            self.meta.link();
        }
        self.meta.modified(now);
        Ok(inode)
    }

    /// Sets the length, and takes what is cut off away from guests before anybody else may get it.
    pub(super) fn set_size(&self, body: &Body, size: u64) -> Result<(), Errno> {
        let freed = {
            let mut data = body.data.write();
            let seals = body.seals();
            if (size < data.size() && seals.contains(Seals::F_SEAL_SHRINK))
                || (size > data.size() && seals.contains(Seals::F_SEAL_GROW))
            {
                return Err(Errno::EPERM);
            }
            let freed = data.set_size(&*self.fs.store, &self.fs.usage, size);
            body.publish(&data);
            freed?
        };
        let start = size.next_multiple_of(4096);
        self.vnode.invalidate(start, u64::MAX.saturating_sub(start));
        Data::release(&*self.fs.store, freed);
        Ok(())
    }

    fn put_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let mut xattrs = self.xattrs().lock();
        let old = xattrs.get(name).map(Vec::len);
        match old {
            Some(_) if flags & 1 != 0 => return Err(Errno::EEXIST),
            None if flags & 2 != 0 => return Err(Errno::ENODATA),
            _ => {}
        }
        Usage::add_bytes(
            name.len()
                .saturating_add(value.len())
                .saturating_add(XATTR_COST),
        )?;
        if let Some(old) = old {
            Usage::remove_bytes(name.len().saturating_add(old).saturating_add(XATTR_COST));
        }
        xattrs.insert(name.to_vec(), value.to_vec());
        drop(xattrs);
        Ok(())
    }

    fn xattrs(&self) -> &Xattrs {
        self.xattrs.get_or_init(Box::default)
    }

    /// Removes `name`, which leads to `child`.
    fn take(&self, caller: &dyn Caller, name: &[u8], child: &TmpInode) -> Result<(), Errno> {
        let removed = self.dir()?.lock().remove(name).ok_or(Errno::ENOENT)?;
        let now = caller.now_ns();
        if child.meta.kind() == NodeKind::Directory {
            self.meta.unlink();
            child.meta.set_nlink(0);
        } else {
            child.meta.unlink();
        }
        child.meta.changed(now);
        self.meta.modified(now);
        drop(removed);
        Ok(())
    }

    fn exchange(
        &self,
        name: &[u8],
        child: Arc<TmpInode>,
        new_dir: &TmpInode,
        new_name: &[u8],
        other: Arc<TmpInode>,
    ) -> Result<(), Errno> {
        let a = self.dir()?.lock().replace(name, other);
        let b = new_dir.dir()?.lock().replace(new_name, child);
        drop((a, b));
        Ok(())
    }
}

impl Inode for TmpInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.meta.kind()
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let (size, blocks) = match &self.content {
            Content::Regular(body) => (
                body.size(),
                body.pages.load(Ordering::Relaxed).saturating_mul(8),
            ),
            Content::Directory(dir) => ((dir.lock().count() as u64).saturating_mul(DIRENT_SIZE), 0),
            Content::Link(text) => (text.len() as u64, 0),
            Content::Special => (0, 0),
        };
        Ok(self.meta.attr(self.fs.dev(), size, blocks))
    }
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.meta.owner())
    }
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        if let (Some(mode), Some(body)) = (set.mode, self.body())
            && body.seals().contains(Seals::F_SEAL_EXEC)
            && (mode ^ self.meta.mode()) & EXEC_BITS != 0
        {
            return Err(Errno::EPERM);
        }
        if let Some(size) = set.size {
            let body = self.body().ok_or(Errno::EINVAL)?;
            self.set_size(body, size)?;
        }
        if let Some(mode) = set.mode
            && let Some(mut list) = self.acl(acl::ACCESS)?
        {
            list.set_mode(mode);
            self.put_xattr(acl::ACCESS, &list.value(), 0)?;
        }
        self.meta.set(set);
        Ok(())
    }
    fn permission(&self, _caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
        acl::permission(self, cred, mask)
    }
    fn acl(&self, name: &[u8]) -> Result<Option<Acl>, Errno> {
        let Some(xattrs) = self.xattrs.get() else {
            return Ok(None);
        };
        let value = xattrs.lock().get(name).cloned();
        value.map_or(Ok(None), |value| Acl::parse(&value))
    }
    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        match self.dir()?.lock().get(name) {
            Some(inode) => Ok(inode.clone()),
            None => Err(Errno::ENOENT),
        }
    }
    fn create(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
    ) -> Result<Arc<dyn Inode>, Errno> {
        self.add(caller, name, kind, mode, b"")
    }
    fn symlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        target: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        self.add(caller, name, NodeKind::Symlink, 0o777, target)
    }
    fn tmpfile(&self, caller: &dyn Caller, mode: u32) -> Result<Arc<dyn Inode>, Errno> {
        let owner = perm::inherit(self.meta.owner(), false, mode, &caller.cred());
        let inode = self.child(NodeKind::Regular, owner, caller.now_ns(), b"")?;
        inode.meta.set_nlink(0);
        Ok(inode)
    }
    fn link(&self, caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let target = ours(target)?;
        if !Arc::ptr_eq(&target.fs, &self.fs) {
            return Err(Errno::EXDEV);
        }
        if target.kind() == NodeKind::Directory {
            return Err(Errno::EPERM);
        }
        if target.meta.nlink() == u32::MAX {
            return Err(Errno::EMLINK);
        }
        self.dir()?.lock().insert(name, target.clone())?;
        let now = caller.now_ns();
        target.meta.link();
        target.meta.changed(now);
        self.meta.modified(now);
        Ok(())
    }
    fn unlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        self.take(caller, name, &*ours(child)?)
    }
    fn rmdir(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let child = ours(child)?;
        child.dir()?.lock().kill()?;
        self.take(caller, name, &child)
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
        let (child, new_dir) = (ours(child)?, ours(new_dir)?);
        let replaced = replaced.map(ours).transpose()?;
        let now = caller.now_ns();
        let is_dir = child.kind() == NodeKind::Directory;
        let exchange = flags & RENAME_EXCHANGE != 0;
        // Made first: nothing fails once something has moved.
        let whiteout = if flags & RENAME_WHITEOUT != 0 {
            let owner = perm::inherit(self.meta.owner(), false, 0, &caller.cred());
            Some(self.child(NodeKind::CharDevice(0), owner, now, b"")?)
        } else {
            None
        };
        let leave = |dir: &mut Dir| match whiteout {
            Some(whiteout) => dir.replace(name, whiteout),
            None => dir.remove(name),
        };
        match &replaced {
            Some(other) if exchange => {
                let other_is_dir = other.kind() == NodeKind::Directory;
                self.exchange(name, child.clone(), &new_dir, new_name, other.clone())?;
                if is_dir != other_is_dir {
                    let (less, more) = if is_dir {
                        (self, &*new_dir)
                    } else {
                        (&*new_dir, self)
                    };
                    less.meta.unlink();
                    more.meta.link();
                }
                other.meta.changed(now);
            }
            Some(other) => {
                if let Ok(dir) = other.dir() {
                    dir.lock().kill()?;
                }
                // The old name goes first: its bytes are what the new one may need.
                let moved = leave(&mut self.dir()?.lock()).ok_or(Errno::ENOENT)?;
                let old = new_dir.dir()?.lock().replace(new_name, moved);
                if is_dir {
                    // One directory less in each: the moved one here, the replaced one there.
                    self.meta.unlink();
                    other.meta.set_nlink(0);
                } else {
                    other.meta.unlink();
                }
                other.meta.changed(now);
                drop(old);
            }
            None => {
                new_dir.dir()?.lock().insert(new_name, child.clone())?;
                let old = leave(&mut self.dir()?.lock());
                drop(old);
                if is_dir {
                    self.meta.unlink();
                    new_dir.meta.link();
                }
            }
        }
        child.meta.changed(now);
        self.meta.modified(now);
        new_dir.meta.modified(now);
        Ok(())
    }
    fn follow(&self, _caller: &dyn Caller) -> Result<Follow, Errno> {
        match &self.content {
            Content::Link(text) => Ok(Follow::Text(text.clone())),
            _ => Err(Errno::EINVAL),
        }
    }
    fn open(self: Arc<Self>, _caller: &dyn Caller, _flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        match &self.content {
            Content::Regular(_) => Ok(Box::new(RegularFile { inode: self })),
            Content::Directory(_) => Ok(Box::new(DirFile { inode: self })),
            _ => Err(Errno::ENXIO),
        }
    }
    fn get_xattr(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let xattrs = self.xattrs.get().ok_or(Errno::ENODATA)?;
        let xattrs = xattrs.lock();
        xattrs.get(name).cloned().ok_or(Errno::ENODATA)
    }
    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        if name == acl::ACCESS
            && let Some(list) = Acl::parse(value)?
        {
            let mode = acl::new_mode(&list, self.meta.owner(), &caller.cred());
            if list.is_minimal() {
                // The mode says all of it.
                let _ = self.remove_xattr(caller, name);
            } else {
                self.put_xattr(name, value, flags)?;
            }
            self.meta.set(&SetAttr {
                mode: Some(mode),
                ctime: caller.now_ns(),
                ..SetAttr::default()
            });
        } else {
            self.put_xattr(name, value, flags)?;
        }
        self.meta.changed(caller.now_ns());
        Ok(())
    }
    fn list_xattr(&self, _caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        let Some(xattrs) = self.xattrs.get() else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for name in xattrs.lock().keys() {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }
    fn remove_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<(), Errno> {
        let xattrs = self.xattrs.get().ok_or(Errno::ENODATA)?;
        let value = xattrs.lock().remove(name).ok_or(Errno::ENODATA)?;
        Usage::remove_bytes(
            name.len()
                .saturating_add(value.len())
                .saturating_add(XATTR_COST),
        );
        self.meta.changed(caller.now_ns());
        Ok(())
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

/// A link that is not short takes a page, as in Linux (`SHORT_SYMLINK_LEN`, the end's zero included).
fn link_pages(link: &[u8]) -> u64 {
    u64::from(link.len() >= 128)
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.fs.usage.remove_inode();
        if let Some(xattrs) = self.xattrs.get_mut() {
            for (name, value) in std::mem::take(xattrs.get_mut()) {
                Usage::remove_bytes(
                    name.len()
                        .saturating_add(value.len())
                        .saturating_add(XATTR_COST),
                );
            }
        }
        match &mut self.content {
            Content::Regular(body) => {
                let freed = body.data.get_mut().take_all(&self.fs.usage);
                Data::release(&*self.fs.store, freed);
            }
            Content::Link(text) => {
                Usage::remove_bytes(text.len());
                self.fs.usage.uncharge(link_pages(text));
            }
            Content::Directory(dir) => {
                // A whole tree that ends here is taken apart in a loop: its depth is the guest's choice.
                let mut work = dir.get_mut().take_all();
                while let Some(inode) = work.pop() {
                    if let Some(mut last) = Arc::into_inner(inode)
                        && let Content::Directory(dir) = &mut last.content
                    {
                        work.append(&mut dir.get_mut().take_all());
                    }
                }
            }
            Content::Special => {}
        }
    }
}
