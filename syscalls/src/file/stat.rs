//! stat(2) and its kin, statx(2), access(2), readlink(2), statfs(2).

use super::lookup::{
    AT_EACCESS, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_SYMLINK_NOFOLLOW, file, resolve,
};
use crate::args::{DirFd, Fd, OutBuf, UserAddr, UserPath};
use abi::Errno;
use abi::fs::Statfs;
use abi::stat::{Stat, Statx, StatxTimestamp};
use fs::{Attr, Caller, Cred};
use sentry::kernel::{Cx, Task};
use sentry::syscall::SysResult;
use std::sync::Arc;

fn split(ns: i64) -> (i64, u64) {
    (
        ns.div_euclid(1_000_000_000),
        u64::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0),
    )
}

fn to_stat(attr: &Attr) -> Stat {
    let (atime, mtime, ctime) = (split(attr.atime), split(attr.mtime), split(attr.ctime));
    Stat {
        st_dev: attr.dev,
        st_ino: attr.ino,
        st_nlink: u64::from(attr.nlink),
        st_mode: attr.mode,
        st_uid: attr.uid,
        st_gid: attr.gid,
        st_rdev: attr.rdev,
        st_size: i64::try_from(attr.size).unwrap_or(i64::MAX),
        st_blksize: i64::from(attr.blksize),
        st_blocks: i64::try_from(attr.blocks).unwrap_or(i64::MAX),
        st_atime: atime.0 as u64,
        st_atime_nsec: atime.1,
        st_mtime: mtime.0 as u64,
        st_mtime_nsec: mtime.1,
        st_ctime: ctime.0 as u64,
        st_ctime_nsec: ctime.1,
        ..Stat::default()
    }
}

/// stat(2)
pub fn stat(cx: &mut Cx, path: UserPath, buf: UserAddr<Stat>) -> SysResult {
    newfstatat(cx, DirFd::Cwd, path, buf, 0)
}

/// lstat(2)
pub fn lstat(cx: &mut Cx, path: UserPath, buf: UserAddr<Stat>) -> SysResult {
    newfstatat(cx, DirFd::Cwd, path, buf, AT_SYMLINK_NOFOLLOW)
}

/// fstat(2)
pub fn fstat(cx: &mut Cx, fd: Fd, buf: UserAddr<Stat>) -> SysResult {
    let attr = file(cx, fd)?.inode().attr()?;
    buf.write(cx, &to_stat(&attr))?;
    Ok(0)
}

/// newfstatat(2)
pub fn newfstatat(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    buf: UserAddr<Stat>,
    flags: i32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = read_maybe_null(cx, path, flags)?;
    if let DirFd::Fd(fd) = dir
        && path.is_empty()
        && flags & AT_EMPTY_PATH != 0
    {
        return fstat(cx, Fd::new(fd)?, buf);
    }
    let attr = resolve(cx, dir, &path, flags)?.inode().attr()?;
    buf.write(cx, &to_stat(&attr))?;
    Ok(0)
}

/// Since Linux 6.11 a null path means an empty one with `AT_EMPTY_PATH`.
fn read_maybe_null(cx: &Cx, path: UserPath, flags: i32) -> Result<Vec<u8>, Errno> {
    if path.is_null() && flags & AT_EMPTY_PATH != 0 {
        Ok(Vec::new())
    } else {
        path.read(cx)
    }
}

/// statx(2)
pub fn statx(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    flags: i32,
    mask: u32,
    buf: UserAddr<Statx>,
) -> SysResult {
    const AT_STATX_SYNC_TYPE: i32 = 0x6000;
    const BASIC: u32 = 0x7ff;
    const BTIME: u32 = 0x800;
    const MNT_ID: u32 = 0x1000;
    if mask & 0x8000_0000 != 0
        || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
        || flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)
            != 0
    {
        return Err(Errno::EINVAL);
    }
    let path = read_maybe_null(cx, path, flags)?;
    let at = match dir {
        DirFd::Fd(fd) if path.is_empty() && flags & AT_EMPTY_PATH != 0 => {
            file(cx, Fd::new(fd)?)?.path().clone()
        }
        _ => resolve(cx, dir, &path, flags)?,
    };
    let attr = match dir {
        DirFd::Fd(fd) if path.is_empty() && flags & AT_EMPTY_PATH != 0 => {
            file(cx, Fd::new(fd)?)?.inode().attr()?
        }
        _ => at.inode().attr()?,
    };
    let time = |ns: i64| {
        let (sec, nsec) = split(ns);
        StatxTimestamp {
            tv_sec: sec,
            tv_nsec: u32::try_from(nsec).unwrap_or(0),
            ..StatxTimestamp::default()
        }
    };
    let (major, minor) = (
        |dev: u64| (dev >> 8 & 0xfff) as u32,
        |dev: u64| ((dev & 0xff) | (dev >> 12 & 0xfff00)) as u32,
    );
    let statx = Statx {
        stx_mask: BASIC | MNT_ID | if attr.btime.is_some() { BTIME } else { 0 },
        stx_blksize: attr.blksize,
        stx_nlink: attr.nlink,
        stx_uid: attr.uid,
        stx_gid: attr.gid,
        stx_mode: (attr.mode & 0xffff) as u16,
        stx_ino: attr.ino,
        stx_size: attr.size,
        stx_blocks: attr.blocks,
        stx_attributes_mask: 0x2000,
        stx_attributes: if Arc::ptr_eq(at.mount.root(), &at.dentry) {
            0x2000
        } else {
            0
        },
        stx_atime: time(attr.atime),
        stx_btime: attr.btime.map(time).unwrap_or_default(),
        stx_ctime: time(attr.ctime),
        stx_mtime: time(attr.mtime),
        stx_rdev_major: major(attr.rdev),
        stx_rdev_minor: minor(attr.rdev),
        stx_dev_major: major(attr.dev),
        stx_dev_minor: minor(attr.dev),
        stx_mnt_id: at.mount.id(),
        ..Statx::default()
    };
    buf.write(cx, &statx)?;
    Ok(0)
}

/// access(2)
pub fn access(cx: &mut Cx, path: UserPath, mode: u32) -> SysResult {
    faccessat2(cx, DirFd::Cwd, path, mode, 0)
}

/// faccessat(2), the system call, which has no flags
pub fn faccessat(cx: &mut Cx, dir: DirFd, path: UserPath, mode: u32) -> SysResult {
    faccessat2(cx, dir, path, mode, 0)
}

/// The caller with his real ids, as access(2) asks.
struct RealCaller {
    task: Arc<Task>,
    cred: Arc<Cred>,
}

impl Caller for RealCaller {
    fn cred(&self) -> Arc<Cred> {
        self.cred.clone()
    }
    fn umask(&self) -> u32 {
        self.task.umask()
    }
    fn now_ns(&self) -> i64 {
        self.task.now_ns()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self.task.as_any()
    }
}

/// faccessat2(2)
pub fn faccessat2(cx: &mut Cx, dir: DirFd, path: UserPath, mode: u32, flags: i32) -> SysResult {
    if mode & !7 != 0 || flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let from = super::lookup::From::at(cx, dir, &path, flags)?;
    if flags & AT_EACCESS != 0 {
        let at = from.lookup(cx).resolve(&path)?;
        return fs::vfs::access(&**cx.task(), &at, mode).map(|()| 0);
    }
    let own = cx.task().cred();
    let mut cred = own.fs_cred();
    (cred.fsuid, cred.fsgid) = (own.ruid, own.rgid);
    // access(2): root has what it is permitted, others nothing.
    cred.caps = if own.ruid == 0 { own.permitted } else { 0 };
    let caller = RealCaller {
        task: cx.task().clone(),
        cred: Arc::new(cred),
    };
    let mut lookup = from.lookup(cx);
    lookup.caller = &caller;
    let at = lookup.resolve(&path)?;
    fs::vfs::access(&caller, &at, mode).map(|()| 0)
}

/// readlink(2)
pub fn readlink(cx: &mut Cx, path: UserPath, buf: OutBuf, size: i32) -> SysResult {
    readlinkat(cx, DirFd::Cwd, path, buf, size)
}

/// readlinkat(2)
pub fn readlinkat(cx: &mut Cx, dir: DirFd, path: UserPath, buf: OutBuf, size: i32) -> SysResult {
    let size = usize::try_from(size)
        .ok()
        .filter(|s| *s > 0)
        .ok_or(Errno::EINVAL)?;
    let path = path.read(cx)?;
    let empty = path.is_empty();
    let at = resolve(cx, dir, &path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let text = match fs::vfs::readlink(&**cx.task(), &at) {
        Err(Errno::EINVAL) if empty => return Err(Errno::ENOENT),
        other => other?,
    };
    let text = text.get(..size).unwrap_or(&text);
    cx.mm()?.write_bytes(buf.0, text)?;
    Ok(text.len() as u64)
}

/// statfs(2)
pub fn statfs(cx: &mut Cx, path: UserPath, buf: UserAddr<Statfs>) -> SysResult {
    let path = path.read(cx)?;
    let at = resolve(cx, DirFd::Cwd, &path, 0)?;
    buf.write(cx, &fs::vfs::statfs(&at)?)?;
    Ok(0)
}

/// fstatfs(2)
pub fn fstatfs(cx: &mut Cx, fd: Fd, buf: UserAddr<Statfs>) -> SysResult {
    let file = file(cx, fd)?;
    buf.write(cx, &fs::vfs::statfs(file.path())?)?;
    Ok(0)
}
