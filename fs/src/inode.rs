//! Inodes and filesystems: what a name leads to.

use crate::Caller;
use crate::file::FileOps;
use crate::vfs::perm::Owner;
use abi::Errno;
use std::any::Any;
use std::sync::Arc;

/// File type, by the `S_IFMT` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `S_IFREG`
    Regular,
    /// `S_IFDIR`
    Directory,
    /// `S_IFLNK`
    Symlink,
    /// `S_IFCHR` with its device number
    CharDevice(u64),
    /// `S_IFBLK` with its device number
    BlockDevice(u64),
    /// `S_IFIFO`
    Fifo,
    /// `S_IFSOCK`
    Socket,
    /// No type bits: what `eventfd`, `epoll_create` and their like open.
    Anonymous,
}

impl NodeKind {
    /// The `S_IFMT` bits.
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => 0o100000,
            Self::Directory => 0o040000,
            Self::Symlink => 0o120000,
            Self::CharDevice(_) => 0o020000,
            Self::BlockDevice(_) => 0o060000,
            Self::Fifo => 0o010000,
            Self::Socket => 0o140000,
            Self::Anonymous => 0,
        }
    }
    /// `d_type` of `getdents64(2)`.
    pub const fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// Attributes, as `statx(2)` shows them. Times are nanoseconds of `CLOCK_REALTIME`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Attr {
    pub ino: u64,
    /// `S_IFMT` and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    pub blksize: u32,
    /// The filesystem's device number (new encoding).
    pub dev: u64,
    /// Device number of a device node.
    pub rdev: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// Birth time, where there is one.
    pub btime: Option<i64>,
}

/// A change of attributes; `None` leaves as is. Permission was checked by the VFS.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct SetAttr {
    /// Permission bits (with setuid, setgid, sticky), no type.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<i64>,
    pub mtime: Option<i64>,
    /// `ctime` becomes this (the caller's now) on every change.
    pub ctime: i64,
}

/// One directory entry. `cookie` is what `d_off` says: where to go on after this one.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct DirEntry<'a> {
    pub name: &'a [u8],
    pub ino: u64,
    /// `d_type`.
    pub kind: u8,
    pub cookie: u64,
}

/// Where a symbolic link leads.
pub enum Follow {
    /// A text to walk.
    Text(Arc<[u8]>),
    /// A magic link (`/proc/PID/fd/N`, `exe`, `cwd`, `root`): straight there.
    Jump(crate::vfs::Path),
}

/// An inode. Names are bytes without `/` and NUL, at most 255. `.` and `..` never arrive here. Permission, sticky bits, mount flags and name
/// length were checked by the VFS, which also holds the parent's lock for operations that change a directory (and the superblock's rename lock for
/// renames between directories), but a filesystem below an overlay is called without: keep your own structures consistent.
#[allow(unused_variables)]
pub trait Inode: Send + Sync + Any {
    /// For the kernel's own downcasts.
    fn as_any(&self) -> &dyn Any;
    /// The type, fixed for life.
    fn kind(&self) -> NodeKind;
    /// The attributes now.
    fn attr(&self) -> Result<Attr, Errno>;
    /// Mode and owner alone: what a permission check needs. Override where it is cheaper than [`Inode::attr`]; the walk asks once per component.
    fn owner(&self) -> Result<Owner, Errno> {
        self.attr().map(|attr| Owner::from(&attr))
    }
    /// Whether the caller may (`MAY_READ|MAY_WRITE|MAY_EXEC`); mount flags were checked. Override for rules of one's own (procfs), or to ask elsewhere.
    fn permission(&self, caller: &dyn Caller, cred: &crate::Cred, mask: u32) -> Result<(), Errno> {
        let owner = self.owner()?;
        crate::vfs::perm::generic(owner, self.kind() == NodeKind::Directory, cred, mask)
    }
    /// The access control list of that name ([`crate::vfs::acl`]). Filesystems that have such lists check permissions with
    /// [`crate::vfs::acl::permission`], keep mode and list together, and give new files what the directory's default list says.
    fn acl(&self, name: &[u8]) -> Result<Option<crate::vfs::acl::Acl>, Errno> {
        Ok(None)
    }
    /// Changes attributes; truncation included (pages past the end are gone from every mapping afterwards, see `Mappable`).
    fn set_attr(&self, caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
    /// The child called `name`, `ENOENT` when there is none.
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::ENOTDIR)
    }
    /// Whether a cached (positive or negative) child dentry may be used without asking again.
    fn cacheable(&self) -> bool {
        true
    }
    /// Whether others change this directory, so seldom that it is cacheable all the same: [`Inode::changes`] tells.
    fn changes_seldom(&self) -> bool {
        false
    }
    /// Counts how often others may have changed this directory since it was first asked about: asks again if the moment is another one.
    fn changes(&self, moment: crate::vfs::Moment) -> u32 {
        0
    }
    /// For inodes that are not [`Inode::cacheable`], and names in directories that others have changed: whether the cached child is still what `name` leads to. `None` is a negative entry.
    fn revalidate(&self, caller: &dyn Caller, name: &[u8], child: Option<&Arc<dyn Inode>>) -> bool {
        false
    }
    /// A new regular file, directory, device, FIFO or socket node; `mode` has permission bits with the umask applied; owner as in [`crate::Cred`]
    /// (setgid directories hand down their group).
    fn create(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
    ) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::EPERM)
    }
    /// A new symbolic link.
    fn symlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        target: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::EPERM)
    }
    /// A file without a name (`O_TMPFILE`).
    fn tmpfile(&self, caller: &dyn Caller, mode: u32) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// A further name for `target`, an inode of the same filesystem.
    fn link(&self, caller: &dyn Caller, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
    /// Removes a name that is no directory.
    fn unlink(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        child: &Arc<dyn Inode>,
    ) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
    /// Removes an empty directory.
    fn rmdir(&self, caller: &dyn Caller, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
    /// Renames within the filesystem; `flags` are renameat2(2)'s. `replaced` is what stood at the new name.
    #[allow(clippy::too_many_arguments)]
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
        Err(Errno::EXDEV)
    }
    /// Where the link leads.
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        Err(Errno::EINVAL)
    }
    /// What `readlink(2)` says; differs from [`Inode::follow`] for magic links.
    fn readlink(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        match self.follow(caller)? {
            Follow::Text(text) => Ok(text.to_vec()),
            Follow::Jump(_) => Err(Errno::EINVAL),
        }
    }
    /// Opens it: the operations of a new description. FIFOs, sockets and devices are opened by the VFS (by kind), not here, unless the filesystem has its own.
    fn open(self: Arc<Self>, caller: &dyn Caller, flags: u32) -> Result<Box<dyn FileOps>, Errno>;
    /// Whether [`Inode::open`] is called for devices, FIFOs and sockets too (a host FIFO behind the gofer, a terminal).
    fn opens_itself(&self) -> bool {
        false
    }
    /// `getxattr(2)`: the value, names as `user.x`.
    fn get_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `setxattr(2)`, flags `XATTR_CREATE`/`XATTR_REPLACE`.
    fn set_xattr(
        &self,
        caller: &dyn Caller,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `listxattr(2)`: names, each ended by a NUL.
    fn list_xattr(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        Ok(Vec::new())
    }
    /// `removexattr(2)`.
    fn remove_xattr(&self, caller: &dyn Caller, name: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// The filesystem it belongs to.
    fn filesystem(&self) -> Arc<dyn FileSystem>;
    /// Extra state the VFS keeps per inode whatever its filesystem: FIFO pipe, bound socket, locks, inotify watches. Never reallocated.
    fn vnode(&self) -> &crate::vfs::Vnode;
}

/// A mounted filesystem (superblock).
pub trait FileSystem: Send + Sync + Any {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// Its name in `/proc/mounts`: `tmpfs`, `proc`, `overlay`…
    fn name(&self) -> &'static str;
    /// The root inode.
    fn root(&self) -> Arc<dyn Inode>;
    /// `statfs(2)`.
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno>;
    /// The device number (`st_dev`, new encoding).
    fn dev(&self) -> u64;
    /// Options for `/proc/mounts` after `rw`/`ro`, with a leading comma, or empty.
    fn options(&self) -> String {
        String::new()
    }
    /// `syncfs(2)`.
    fn sync(&self) -> Result<(), Errno> {
        Ok(())
    }
    /// `MS_REMOUNT` with the filesystem's own options. Those without any take whatever is said.
    fn remount(&self, data: &[u8]) -> Result<(), Errno> {
        let _ = data;
        Ok(())
    }
    /// The last mount of it is gone: let go of the root, so that inodes and filesystem do not keep each other alive.
    fn unmounted(&self) {}
    /// How many unused dentries to keep. Each keeps its inode (and what that holds: a gofer handle, a descriptor). 0 for filesystems whose lookups cost nothing.
    fn dentry_limit(&self) -> usize {
        16384
    }
    /// Whether it can never be written (`squashfs`-like); mount flags apply besides.
    fn readonly(&self) -> bool {
        false
    }
}
