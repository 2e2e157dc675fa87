//! A host file as an inode.

use super::ahead::Ahead;
use super::attr::{Cached, kind_of, nanos, time};
use super::dir::{GoferDir, Listings};
use super::fds::Fds;
use super::file::GoferFile;
use super::outside::Outside;
use super::{GoferFs, Identity, xattr};
use crate::file::FileOps;
use crate::inode::{Attr, FileSystem, Follow, Inode, NodeKind, SetAttr};
use crate::vfs::acl::{self, Acl};
use crate::vfs::perm::{self, Owner};
use crate::vfs::{Moment, Vnode};
use crate::{Caller, Cred};
use abi::Errno;
use gofer::client::{Node, stat_fd};
use gofer::wire::{Access, Owner as NewOwner, RenameFlags, SetAttr as HostSetAttr, SetTime};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock, RwLock};

/// Whether a file has extended attributes: most have none, and programs ask all the time.
mod bare {
    pub const UNKNOWN: u8 = 0;
    pub const YES: u8 = 1;
    pub const NO: u8 = 2;
}

/// A file of the gofer's.
pub struct GoferInode {
    pub(super) fs: Arc<GoferFs>,
    pub(super) node: Node,
    kind: NodeKind,
    identity: Identity,
    pub(super) cached: Cached,
    pub(super) fds: RwLock<Fds>,
    /// Open descriptions of the data.
    pub(super) users: AtomicUsize,
    /// In the ring of files with idle descriptors.
    pub(super) in_ring: AtomicBool,
    /// Opened since the ring last looked.
    pub(super) recent: AtomicBool,
    /// The descriptor came with the look-up and nobody has asked for it yet.
    pub(super) brought: AtomicBool,
    /// Guests may write to it through a mapping: times change at any moment.
    pub(super) mapped_writable: AtomicBool,
    /// Guests map it through the descriptor that only reads.
    pub(super) mapped_read_only: AtomicBool,
    bare: AtomicU8,
    /// Where others change files, too: the `ctime` for which that holds.
    bare_at: AtomicI64,
    target: OnceLock<Arc<[u8]>>,
    pub(super) listings: Listings,
    pub(super) ahead: Ahead,
    outside: Outside,
    /// Orders writes and truncation, and with them the size.
    pub(super) order: Mutex<(), { sync::level::INODE }>,
    vnode: Vnode,
    pub(super) me: Weak<GoferInode>,
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        self.fs.forget(self.identity, self);
        if self.cached.nlink.load(Ordering::Relaxed) == 0 {
            self.node.close_at_once();
        }
    }
}

impl GoferInode {
    pub(super) fn new(
        fs: Arc<GoferFs>,
        node: Node,
        attr: &gofer::wire::Attr,
        fd: Option<OwnedFd>,
    ) -> Arc<Self> {
        let dev = fs.device((attr.dev_major, attr.dev_minor));
        let brought = fd.is_some();
        let inode = Arc::new_cyclic(|me| GoferInode {
            fs,
            node,
            kind: kind_of(attr),
            identity: attr.identity(),
            cached: Cached::new(attr, dev),
            fds: RwLock::new(Fds {
                ro: fd.map(Arc::new),
                rw: None,
            }),
            users: AtomicUsize::new(0),
            in_ring: AtomicBool::new(false),
            recent: AtomicBool::new(false),
            brought: AtomicBool::new(brought),
            mapped_writable: AtomicBool::new(false),
            mapped_read_only: AtomicBool::new(false),
            bare: AtomicU8::new(bare::UNKNOWN),
            bare_at: AtomicI64::new(0),
            target: OnceLock::new(),
            listings: Listings::default(),
            ahead: Ahead::default(),
            outside: Outside::new(nanos(attr.ctime)),
            order: Mutex::new(()),
            vnode: Vnode::new(),
            me: me.clone(),
        });
        if brought {
            inode.fs.prefetch.spent();
            inode.enter_ring(&inode);
        }
        inode
    }

    /// Times, blocks or links have changed on the host.
    pub(super) fn touched(&self) {
        if !self.cached.stale.load(Ordering::Relaxed) {
            self.cached.stale.store(true, Ordering::Relaxed);
            self.outside.changed_here();
        }
    }

    /// The gofer has just told these attributes.
    pub(super) fn seen(&self, host: &gofer::wire::Attr) {
        self.cached.set(host);
        // Of a regular file that nobody else changes the sentry knows the size better: a write may be under way.
        if self.fs.shared() || self.kind != NodeKind::Regular {
            self.cached.size.store(host.size, Ordering::Relaxed);
        }
    }

    fn refresh(&self) -> Result<(), Errno> {
        let stale = self.cached.stale.swap(false, Ordering::AcqRel);
        if !stale && !self.fs.shared() && !self.mapped_writable.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Others may change the owner of a shared file, and that only the gofer sees.
        let fd = if self.fs.shared() {
            None
        } else {
            self.any_fd()
        };
        let result = match fd {
            Some(fd) => stat_fd(&*fd).map(|host| self.cached.set_seen_here(&host)),
            None => self.node.attr().map(|host| self.seen(&host)),
        };
        result.inspect_err(|_| self.touched())
    }

    /// Size now, for reads that depend on it and for appending.
    pub(super) fn size(&self) -> Result<u64, Errno> {
        if self.fs.shared() {
            self.refresh()?;
        }
        Ok(self.cached.size.load(Ordering::Relaxed))
    }

    pub(super) fn truncate(&self, size: u64) -> Result<(), Errno> {
        let fd = self.writable_fd()?;
        let order = self.order.lock();
        let before = self.cached.size.load(Ordering::Relaxed);
        rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&*fd, size)).map_err(host_errno)?;
        self.cached.size.store(size, Ordering::Relaxed);
        self.touched();
        drop(order);
        if size < before || self.fs.shared() {
            self.vnode.invalidate(size, u64::MAX.saturating_sub(size));
        }
        Ok(())
    }

    /// Brings what was written to the disk.
    pub(super) fn write_back(&self) -> Result<(), Errno> {
        let rw = self.fds.read().rw.clone();
        match rw {
            Some(fd) => rustix::fs::fdatasync(&*fd).map_err(host_errno),
            None => Ok(()),
        }
    }

    /// A name in this directory has gone.
    fn name_gone(&self, name: &[u8]) {
        self.ahead.removed(name);
        self.listings.changed();
        self.touched();
    }

    /// A name in this directory was to be made.
    fn name_made<T>(&self, name: &[u8], result: Result<T, Errno>) -> Result<T, Errno> {
        self.listings.changed();
        match &result {
            Ok(_) => self.ahead.added(name),
            // Whatever is there now, it is not what was thought.
            Err(errno) => {
                self.ahead.unsure(name);
                if *errno == Errno::EEXIST {
                    crate::vfs::look_again();
                }
            }
        }
        self.touched();
        result
    }

    fn child_owner(&self, caller: &dyn Caller, directory: bool, mode: u32) -> NewOwner {
        let owner = perm::inherit(self.cached.owner(), directory, mode, &caller.cred());
        // The host hands the list down; what it makes of the mode is the mode.
        let mode = match self.acl(acl::DEFAULT) {
            Ok(Some(list)) => list.inherit(owner.mode).1,
            _ => owner.mode,
        };
        NewOwner {
            mode: mode & 0o7777,
            uid: owner.uid,
            gid: owner.gid,
        }
    }

    /// A file that was just made: without extended attributes, unless the directory hands some down.
    fn made(
        &self,
        made: gofer::client::Made,
        fd: Option<OwnedFd>,
    ) -> Result<Arc<GoferInode>, Errno> {
        let inode = self.fs.inode(made.node, &made.attr, None)?;
        // One question per directory instead of one per file: `chown` asks every file for its capabilities.
        if !self.fs.shared() && self.is_bare().unwrap_or(false) {
            inode.bare.store(bare::YES, Ordering::Relaxed);
        }
        if let Some(fd) = fd {
            inode.fds.write().rw = Some(Arc::new(fd));
            inode.enter_ring(&inode);
        }
        Ok(inode)
    }

    fn is_bare(&self) -> Result<bool, Errno> {
        let ctime = self.cached.attr().ctime;
        let valid = !self.fs.shared() || self.bare_at.load(Ordering::Relaxed) == ctime;
        match self.bare.load(Ordering::Relaxed) {
            known @ (bare::YES | bare::NO) if valid => Ok(known == bare::YES),
            _ => {
                let none = self.node.xattrs()?.is_empty();
                self.bare
                    .store(if none { bare::YES } else { bare::NO }, Ordering::Relaxed);
                self.bare_at.store(ctime, Ordering::Relaxed);
                Ok(none)
            }
        }
    }
}

/// The host's error number as the guest's.
pub(super) fn host_errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

fn of_gofer(inode: &Arc<dyn Inode>) -> Result<&GoferInode, Errno> {
    inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

impl Inode for GoferInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.kind
    }
    fn attr(&self) -> Result<Attr, Errno> {
        self.refresh()?;
        Ok(self.cached.attr())
    }
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.cached.owner())
    }

    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        let mut host = HostSetAttr::default();
        if let Some(size) = set.size {
            self.truncate(size)?;
        }
        if let Some(mode) = set.mode {
            host = host.with_mode(mode);
        }
        if let Some(uid) = set.uid {
            host = host.with_uid(uid);
        }
        if let Some(gid) = set.gid {
            host = host.with_gid(gid);
        }
        if let Some(atime) = set.atime {
            host = host.with_atime(SetTime::To(time(atime)));
        }
        // Truncation has set the modification time on the host already; an explicit one differs from the change time.
        if let Some(mtime) = set
            .mtime
            .filter(|mtime| set.size.is_none() || *mtime != set.ctime)
        {
            host = host.with_mtime(SetTime::To(time(mtime)));
        }
        if !host.mask().is_empty() {
            let attr = self.node.set_attr(&host)?;
            self.seen(&attr);
        }
        Ok(())
    }

    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if self.kind != NodeKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if !self.fs.shared() {
            if self.ahead.absent(name) {
                return Err(Errno::ENOENT);
            }
            if let Some((node, attr)) = self.ahead.take(self, name) {
                return Ok(self.fs.inode(node, &attr, None)?);
            }
        }
        let open = self.fs.prefetch.wanted().then_some(Access::Read);
        let mut walked = self.node.walk(&[name], open, true)?;
        let Some((node, attr)) = walked.nodes.pop() else {
            return Err(walked.stop.unwrap_or(Errno::ENOENT));
        };
        let fd = walked.opened.and_then(Result::ok);
        let inode = self.fs.inode(node, &attr, fd)?;
        if let Some(target) = walked.target {
            inode.target.set(Arc::from(target)).ok();
        }
        Ok(inode)
    }
    fn cacheable(&self) -> bool {
        !self.fs.shared()
    }
    fn changes_seldom(&self) -> bool {
        self.kind == NodeKind::Directory && !self.fs.shared()
    }
    fn changes(&self, moment: Moment) -> u32 {
        self.outside.count(self, moment)
    }
    fn revalidate(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        child: Option<&Arc<dyn Inode>>,
    ) -> bool {
        let Ok(mut walked) = self.node.walk(&[name], None, false) else {
            return false;
        };
        match (walked.nodes.pop(), child.map(of_gofer)) {
            (Some((_, attr)), Some(Ok(child))) if attr.identity() == child.identity => {
                child.seen(&attr);
                true
            }
            (None, None) => walked.stop == Some(Errno::ENOENT),
            _ => false,
        }
    }

    fn create(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
    ) -> Result<Arc<dyn Inode>, Errno> {
        let owner = self.child_owner(caller, kind == NodeKind::Directory, mode);
        let device = |rdev| (abi::stat::major(rdev), abi::stat::minor(rdev));
        let plain = |made: Result<_, Errno>| made.map(|made| (made, None));
        let result = match kind {
            NodeKind::Regular => {
                let made = self.node.create(name, Access::ReadWrite, owner);
                made.map(|(made, fd)| (made, Some(fd)))
            }
            NodeKind::Directory => plain(self.node.mkdir(name, owner)),
            NodeKind::Fifo | NodeKind::Socket => {
                plain(self.node.mknod(name, owner, kind.mode_bits(), (0, 0)))
            }
            NodeKind::CharDevice(rdev) | NodeKind::BlockDevice(rdev) => {
                plain(self.node.mknod(name, owner, kind.mode_bits(), device(rdev)))
            }
            NodeKind::Symlink | NodeKind::Anonymous => return Err(Errno::EINVAL),
        };
        let (made, fd) = self.name_made(name, result)?;
        let inode = self.made(made, fd)?;
        if kind == NodeKind::Directory && !self.fs.shared() {
            inode.ahead.made_here();
        }
        Ok(inode)
    }

    fn symlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        target: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        let owner = self.child_owner(caller, false, 0o777);
        let made = self.node.symlink(name, target, owner.uid, owner.gid);
        let made = self.name_made(name, made)?;
        let inode = self.made(made, None)?;
        inode.target.set(Arc::from(target)).ok();
        Ok(inode)
    }

    fn tmpfile(&self, caller: &dyn Caller, mode: u32) -> Result<Arc<dyn Inode>, Errno> {
        let (made, fd) = self
            .node
            .tmp_file(Access::ReadWrite, self.child_owner(caller, false, mode))?;
        Ok(self.made(made, Some(fd))?)
    }

    fn link(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        target: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        let target = of_gofer(target)?;
        let attr = self.name_made(name, self.node.link(name, &target.node))?;
        target.seen(&attr);
        Ok(())
    }

    fn unlink(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        self.node.unlink(name)?;
        self.name_gone(name);
        let child = of_gofer(child)?;
        child.cached.unlinked();
        child.touched();
        Ok(())
    }

    fn rmdir(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        self.node.rmdir(name)?;
        self.name_gone(name);
        let child = of_gofer(child)?;
        child.cached.nlink.store(0, Ordering::Relaxed);
        child.touched();
        Ok(())
    }

    fn rename(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
        new_dir: &Arc<dyn Inode>,
        new_name: &[u8],
        replaced: Option<&Arc<dyn Inode>>,
        flags: u32,
    ) -> Result<(), Errno> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let new_dir = of_gofer(new_dir)?;
        let renamed = self.node.rename(name, &new_dir.node, new_name, flags);
        new_dir.ahead.forget(new_name);
        new_dir.name_made(new_name, renamed)?;
        if flags.intersects(RenameFlags::EXCHANGE | RenameFlags::WHITEOUT) {
            self.ahead.forget(name);
            self.listings.changed();
            self.touched();
        } else {
            self.name_gone(name);
        }
        of_gofer(child)?.touched();
        if let Some(replaced) = replaced {
            let replaced = of_gofer(replaced)?;
            if !flags.contains(RenameFlags::EXCHANGE) {
                replaced.cached.unlinked();
                if replaced.kind == NodeKind::Directory {
                    replaced.cached.nlink.store(0, Ordering::Relaxed);
                }
            }
            replaced.touched();
        }
        Ok(())
    }

    fn follow(&self, _caller: &dyn Caller) -> Result<Follow, Errno> {
        if self.kind != NodeKind::Symlink {
            return Err(Errno::EINVAL);
        }
        // What a link says never changes: another text is another link.
        if let Some(target) = self.target.get() {
            return Ok(Follow::Text(target.clone()));
        }
        let target: Arc<[u8]> = Arc::from(self.node.read_link()?);
        Ok(Follow::Text(self.target.get_or_init(|| target).clone()))
    }

    fn open(self: Arc<Self>, _caller: &dyn Caller, flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        match self.kind {
            NodeKind::Directory => return Ok(Box::new(GoferDir::new(self))),
            NodeKind::Regular => {}
            NodeKind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        self.acquire();
        // From here on dropping it releases.
        let file = GoferFile::new(self);
        if flags & 3 == 0 {
            file.inode.fd()?;
        } else {
            file.inode.writable_fd()?;
        }
        Ok(Box::new(file))
    }

    fn permission(&self, _caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
        acl::permission(self, cred, mask)
    }
    fn acl(&self, name: &[u8]) -> Result<Option<Acl>, Errno> {
        if self.is_bare()? {
            return Ok(None);
        }
        match self.node.xattr(name) {
            Ok(value) => Acl::parse(&value),
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
            Err(error) => Err(error),
        }
    }
    fn get_xattr(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let name = xattr::on_host(name)?;
        self.refresh()?;
        if self.is_bare()? {
            return Err(Errno::ENODATA);
        }
        self.node.xattr(&name)
    }
    fn set_xattr(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let served = matches!(self.kind, NodeKind::Regular | NodeKind::Directory);
        if name.starts_with(b"trusted.") && !served {
            return Err(Errno::EOPNOTSUPP);
        }
        let name = match xattr::on_host(name) {
            Err(Errno::ENODATA) => Err(Errno::EPERM),
            other => other,
        }?;
        self.node.set_xattr(&name, value, flags)?;
        self.bare.store(bare::NO, Ordering::Relaxed);
        // An access list changes the mode.
        let attr = self.node.attr()?;
        self.seen(&attr);
        Ok(())
    }
    fn list_xattr(&self, _caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        self.refresh()?;
        if self.is_bare()? {
            return Ok(Vec::new());
        }
        let names = self.node.xattrs()?;
        let mut list = Vec::new();
        for name in names.iter().filter_map(|name| xattr::of_host(name)) {
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }
    fn remove_xattr(&self, _caller: &dyn Caller, name: &[u8]) -> Result<(), Errno> {
        let name = xattr::on_host(name)?;
        self.refresh()?;
        if self.is_bare()? {
            return Err(Errno::ENODATA);
        }
        self.node.remove_xattr(&name)?;
        self.bare.store(bare::UNKNOWN, Ordering::Relaxed);
        self.touched();
        Ok(())
    }

    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}
