//! Attributes: `chmod(2)`, `chown(2)`, `utimensat(2)`, `truncate(2)`, `access(2)`, `statfs(2)`, `readlink(2)` (`fs/open.c`, `fs/attr.c`, `fs/utimes.c`).

use super::create::notify_attrib;
use super::mount::{MountFlags, Path};
use super::perm::{self, MAY_EXEC, MAY_READ, MAY_WRITE, cap};
use super::vnode::{event, notify};
use super::walk::Lookup;
use crate::Caller;
use crate::file::File;
use crate::inode::{Attr, NodeKind, SetAttr};
use abi::Errno;
use abi::fs::{Statfs, StatfsFlags};

/// One of the two times of `utimensat(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSet {
    /// `UTIME_OMIT`
    Omit,
    /// `UTIME_NOW`
    Now,
    /// Nanoseconds of `CLOCK_REALTIME`.
    At(i64),
}

impl Lookup<'_> {
    /// `stat(2)` and its kin: resolves and asks.
    pub fn stat(&self, path: &[u8]) -> Result<Attr, Errno> {
        self.resolve(path)?.inode().attr()
    }
}

/// `chmod(2)` on a resolved place; `EOPNOTSUPP` for a symbolic link.
pub fn chmod(caller: &dyn Caller, at: &Path, mode: u32) -> Result<(), Errno> {
    at.mount.want_write()?;
    if at.dentry.kind() == NodeKind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let cred = caller.cred();
    let owner = at.inode().owner()?;
    if !perm::owner_or_capable(owner, &cred) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & 0o7777;
    if !cred.in_group(owner.gid) && !cred.has_cap(cap::FSETID) {
        mode &= !0o2000;
    }
    at.inode().set_attr(
        caller,
        &SetAttr {
            mode: Some(mode),
            ctime: caller.now_ns(),
            ..SetAttr::default()
        },
    )?;
    notify_attrib(at);
    Ok(())
}

/// `chown(2)` on a resolved place; `None` leaves the owner or group. Clears setuid and setgid of what is no directory, for root as well.
pub fn chown(
    caller: &dyn Caller,
    at: &Path,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<(), Errno> {
    at.mount.want_write()?;
    let cred = caller.cred();
    let owner = at.inode().owner()?;
    if !cred.has_cap(cap::CHOWN) {
        let owned = cred.fsuid == owner.uid;
        if uid.is_some_and(|uid| !owned || uid != owner.uid)
            || gid.is_some_and(|gid| !owned || !(cred.in_group(gid) || gid == owner.gid))
        {
            return Err(Errno::EPERM);
        }
    }
    let mode = if at.dentry.is_dir() {
        None
    } else {
        perm::strip_suid(owner.mode)
    };
    at.inode().set_attr(
        caller,
        &SetAttr {
            uid,
            gid,
            mode,
            ctime: caller.now_ns(),
            ..SetAttr::default()
        },
    )?;
    if at.dentry.kind() == NodeKind::Regular {
        // File capabilities belong to the old owner. Most files have none.
        let _ = at.inode().remove_xattr(caller, b"security.capability");
    }
    notify_attrib(at);
    Ok(())
}

/// `utimensat(2)` on a resolved place.
pub fn utimens(
    caller: &dyn Caller,
    at: &Path,
    atime: TimeSet,
    mtime: TimeSet,
) -> Result<(), Errno> {
    if (atime, mtime) == (TimeSet::Omit, TimeSet::Omit) {
        return Ok(());
    }
    at.mount.want_write()?;
    let cred = caller.cred();
    let owner = at.inode().owner()?;
    if !perm::owner_or_capable(owner, &cred) {
        if (atime, mtime) != (TimeSet::Now, TimeSet::Now) {
            return Err(Errno::EPERM);
        }
        at.inode().permission(caller, &cred, MAY_WRITE)?;
    }
    let now = caller.now_ns();
    let time = |set| match set {
        TimeSet::Omit => None,
        TimeSet::Now => Some(now),
        TimeSet::At(ns) => Some(ns),
    };
    at.inode().set_attr(
        caller,
        &SetAttr {
            atime: time(atime),
            mtime: time(mtime),
            ctime: now,
            ..SetAttr::default()
        },
    )?;
    // One time alone is as good as an access or a change (`fsnotify_change`).
    match (atime, mtime) {
        (_, TimeSet::Omit) => notify(&at.dentry, event::ACCESS),
        (TimeSet::Omit, _) => notify(&at.dentry, event::MODIFY),
        _ => notify_attrib(at),
    }
    Ok(())
}

/// `truncate(2)` on a resolved place.
pub fn truncate(caller: &dyn Caller, at: &Path, len: u64) -> Result<(), Errno> {
    match at.dentry.kind() {
        NodeKind::Regular => {}
        NodeKind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::EINVAL),
    }
    at.mount.want_write()?;
    at.inode().permission(caller, &caller.cred(), MAY_WRITE)?;
    let vnode = at.inode().vnode();
    vnode.get_write()?;
    let result = set_size(caller, at, len);
    vnode.put_write();
    result
}

/// `ftruncate(2)`.
pub fn ftruncate(caller: &dyn Caller, file: &File, len: u64) -> Result<(), Errno> {
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    if file.inode().kind() != NodeKind::Regular || !file.writable() {
        return Err(Errno::EINVAL);
    }
    set_size(caller, file.path(), len)
}

fn set_size(caller: &dyn Caller, at: &Path, len: u64) -> Result<(), Errno> {
    if len > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let attr = at.inode().attr()?;
    if len > attr.size && len > caller.file_size_limit() {
        return Err(Errno::EFBIG);
    }
    let now = caller.now_ns();
    let mode = perm::without_suid((&attr).into(), &caller.cred());
    at.inode().set_attr(
        caller,
        &SetAttr {
            size: Some(len),
            mtime: Some(now),
            ctime: now,
            mode,
            ..SetAttr::default()
        },
    )?;
    notify(&at.dentry, event::MODIFY);
    Ok(())
}

/// `access(2)` on a resolved place, with the credentials of `caller` (the system call passes a caller with the real ids unless `AT_EACCESS`).
pub fn access(caller: &dyn Caller, at: &Path, mask: u32) -> Result<(), Errno> {
    let mask = mask & (MAY_READ | MAY_WRITE | MAY_EXEC);
    if mask == 0 {
        return Ok(());
    }
    perm::check(at, caller, &caller.cred(), mask & !MAY_WRITE)?;
    if mask & MAY_WRITE != 0 {
        at.inode().permission(caller, &caller.cred(), mask)?;
        perm::check(at, caller, &caller.cred(), mask)?;
    }
    Ok(())
}

/// `readlink(2)` on a resolved place: `EINVAL` for what is no link.
pub fn readlink(caller: &dyn Caller, at: &Path) -> Result<Vec<u8>, Errno> {
    if at.dentry.kind() != NodeKind::Symlink {
        return Err(Errno::EINVAL);
    }
    at.inode().readlink(caller)
}

/// `statfs(2)` on a resolved place, with the mount's flags.
pub fn statfs(at: &Path) -> Result<Statfs, Errno> {
    let mut statfs = at.inode().filesystem().statfs()?;
    let mount = at.mount.flags();
    let mut flags = StatfsFlags::ST_VALID;
    let pairs = [
        (MountFlags::NOSUID, StatfsFlags::ST_NOSUID),
        (MountFlags::NODEV, StatfsFlags::ST_NODEV),
        (MountFlags::NOEXEC, StatfsFlags::ST_NOEXEC),
        (MountFlags::NOATIME, StatfsFlags::ST_NOATIME),
        (MountFlags::NODIRATIME, StatfsFlags::ST_NODIRATIME),
        (MountFlags::RELATIME, StatfsFlags::ST_RELATIME),
        (MountFlags::NOSYMFOLLOW, StatfsFlags::ST_NOSYMFOLLOW),
    ];
    for (of_mount, shown) in pairs {
        flags.set(shown, mount.contains(of_mount));
    }
    flags.set(StatfsFlags::ST_RDONLY, at.mount.want_write().is_err());
    statfs.f_flags = i64::try_from(flags.bits()).unwrap_or(0);
    if statfs.f_frsize == 0 {
        statfs.f_frsize = statfs.f_bsize;
    }
    Ok(statfs)
}
