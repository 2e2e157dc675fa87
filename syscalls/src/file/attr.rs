//! Changing attributes and contents: chmod(2), chown(2), utimensat(2), truncate(2), fallocate(2), fsync(2) and their kin.

use super::lookup::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, file, open_file, resolve};
use crate::args::{DirFd, Fd, Octal, UserAddr, UserPath};
use abi::Errno;
use abi::time::{Timespec, Timeval, Utimbuf};
use fs::NodeKind;
use fs::vfs::{Path, TimeSet};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// chmod(2)
pub fn chmod(cx: &mut Cx, path: UserPath, mode: Octal) -> SysResult {
    fchmodat2(cx, DirFd::Cwd, path, mode, 0)
}

/// fchmod(2)
pub fn fchmod(cx: &mut Cx, fd: Fd, mode: Octal) -> SysResult {
    let file = open_file(cx, fd)?;
    fs::vfs::chmod(&**cx.task(), file.path(), mode.0 & 0o7777)?;
    Ok(0)
}

/// fchmodat(2), the system call, which has no flags
pub fn fchmodat(cx: &mut Cx, dir: DirFd, path: UserPath, mode: Octal) -> SysResult {
    fchmodat2(cx, dir, path, mode, 0)
}

/// fchmodat2(2)
pub fn fchmodat2(cx: &mut Cx, dir: DirFd, path: UserPath, mode: Octal, flags: i32) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let at = resolve(cx, dir, &path, flags)?;
    fs::vfs::chmod(&**cx.task(), &at, mode.0 & 0o7777)?;
    Ok(0)
}

fn owner(id: u32) -> Option<u32> {
    (id != u32::MAX).then_some(id)
}

/// chown(2)
pub fn chown(cx: &mut Cx, path: UserPath, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, DirFd::Cwd, path, uid, gid, 0)
}

/// lchown(2)
pub fn lchown(cx: &mut Cx, path: UserPath, uid: u32, gid: u32) -> SysResult {
    fchownat(cx, DirFd::Cwd, path, uid, gid, AT_SYMLINK_NOFOLLOW)
}

/// fchown(2)
pub fn fchown(cx: &mut Cx, fd: Fd, uid: u32, gid: u32) -> SysResult {
    let file = open_file(cx, fd)?;
    fs::vfs::chown(&**cx.task(), file.path(), owner(uid), owner(gid))?;
    Ok(0)
}

/// fchownat(2)
pub fn fchownat(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    uid: u32,
    gid: u32,
    flags: i32,
) -> SysResult {
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let at = resolve(cx, dir, &path, flags)?;
    fs::vfs::chown(&**cx.task(), &at, owner(uid), owner(gid))?;
    Ok(0)
}

fn time_set(ts: &Timespec) -> Result<TimeSet, Errno> {
    const UTIME_NOW: i64 = 0x3fff_ffff;
    const UTIME_OMIT: i64 = 0x3fff_fffe;
    match ts.tv_nsec {
        UTIME_NOW => Ok(TimeSet::Now),
        UTIME_OMIT => Ok(TimeSet::Omit),
        nsec if (0..1_000_000_000).contains(&nsec) => Ok(TimeSet::At(
            ts.tv_sec.saturating_mul(1_000_000_000).saturating_add(nsec),
        )),
        _ => Err(Errno::EINVAL),
    }
}

fn set_times(cx: &Cx, at: &Path, atime: TimeSet, mtime: TimeSet) -> SysResult {
    fs::vfs::utimens(&**cx.task(), at, atime, mtime)?;
    Ok(0)
}

/// utimensat(2): a null path means the descriptor itself.
pub fn utimensat(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    times: UserAddr<[Timespec; 2]>,
    flags: i32,
) -> SysResult {
    let (atime, mtime) = match times.some() {
        None => (TimeSet::Now, TimeSet::Now),
        Some(times) => {
            let [a, m] = times.read(cx)?;
            (time_set(&a)?, time_set(&m)?)
        }
    };
    if (atime, mtime) == (TimeSet::Omit, TimeSet::Omit) {
        return Ok(0);
    }
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    if let (true, DirFd::Fd(fd)) = (path.is_null(), dir) {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let file = open_file(cx, Fd::new(fd)?)?;
        return set_times(cx, file.path(), atime, mtime);
    }
    let path = path.read(cx)?;
    let at = resolve(cx, dir, &path, flags)?;
    set_times(cx, &at, atime, mtime)
}

/// utimes(2)
pub fn utimes(cx: &mut Cx, path: UserPath, times: u64) -> SysResult {
    futimesat(cx, DirFd::Cwd, path, times)
}

/// futimesat(2)
pub fn futimesat(cx: &mut Cx, dir: DirFd, path: UserPath, times: u64) -> SysResult {
    let (atime, mtime) = match UserAddr::<[Timeval; 2]>::new(times).some() {
        None => (TimeSet::Now, TimeSet::Now),
        Some(times) => {
            let set = |tv: &Timeval| match tv.tv_usec {
                usec if (0..1_000_000).contains(&usec) => Ok(TimeSet::At(
                    tv.tv_sec
                        .saturating_mul(1_000_000_000)
                        .saturating_add(usec.saturating_mul(1000)),
                )),
                _ => Err(Errno::EINVAL),
            };
            let [a, m] = times.read(cx)?;
            (set(&a)?, set(&m)?)
        }
    };
    let path = path.read(cx)?;
    let at = resolve(cx, dir, &path, 0)?;
    set_times(cx, &at, atime, mtime)
}

/// utime(2)
pub fn utime(cx: &mut Cx, path: UserPath, times: u64) -> SysResult {
    let (atime, mtime) = match UserAddr::<Utimbuf>::new(times).some() {
        None => (TimeSet::Now, TimeSet::Now),
        Some(times) => {
            let buf = times.read(cx)?;
            (
                TimeSet::At(buf.actime.saturating_mul(1_000_000_000)),
                TimeSet::At(buf.modtime.saturating_mul(1_000_000_000)),
            )
        }
    };
    let path = path.read(cx)?;
    let at = resolve(cx, DirFd::Cwd, &path, 0)?;
    set_times(cx, &at, atime, mtime)
}

/// `RLIMIT_FSIZE` of a growing truncate: `SIGXFSZ` and `EFBIG`.
fn check_size(cx: &Cx, size_now: u64, len: u64) -> Result<(), Errno> {
    let limit = cx
        .group()
        .limits
        .soft(sentry::kernel::limits::Resource::Fsize);
    if len > limit && len > size_now {
        super::io::signal_fsize(cx);
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// truncate(2)
pub fn truncate(cx: &mut Cx, path: UserPath, length: i64) -> SysResult {
    let length = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let path = path.read(cx)?;
    let at = resolve(cx, DirFd::Cwd, &path, 0)?;
    check_size(cx, at.inode().attr()?.size, length)?;
    fs::vfs::truncate(&**cx.task(), &at, length)?;
    Ok(0)
}

/// ftruncate(2)
pub fn ftruncate(cx: &mut Cx, fd: Fd, length: i64) -> SysResult {
    let length = u64::try_from(length).map_err(|_| Errno::EINVAL)?;
    let file = open_file(cx, fd)?;
    check_size(cx, file.inode().attr()?.size, length)?;
    fs::vfs::ftruncate(&**cx.task(), &file, length)?;
    Ok(0)
}

/// fallocate(2)
pub fn fallocate(cx: &mut Cx, fd: Fd, mode: i32, offset: i64, len: i64) -> SysResult {
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else {
        return Err(Errno::EINVAL);
    };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let file = open_file(cx, fd)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    match file.inode().kind() {
        NodeKind::Regular => {}
        NodeKind::Fifo => return Err(Errno::ESPIPE),
        NodeKind::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    let end = offset
        .checked_add(len)
        .filter(|e| i64::try_from(*e).is_ok())
        .ok_or(Errno::EFBIG)?;
    if mode & 1 == 0 {
        check_size(cx, file.inode().attr()?.size, end)?;
    }
    file.allocate(&**cx.task(), mode, offset, len)?;
    Ok(0)
}

/// fsync(2)
pub fn fsync(cx: &mut Cx, fd: Fd) -> SysResult {
    let file = open_file(cx, fd)?;
    file.ops().sync(&file, false)?;
    Ok(0)
}

/// fdatasync(2)
pub fn fdatasync(cx: &mut Cx, fd: Fd) -> SysResult {
    let file = open_file(cx, fd)?;
    file.ops().sync(&file, true)?;
    Ok(0)
}

/// sync(2): every filesystem of the caller's namespace.
pub fn sync(cx: &mut Cx) -> SysResult {
    let root = cx.fs()?.root();
    // sync(2) has no errors.
    for info in cx.ns().mnt.list(&root) {
        let _ = info.mount.fs().sync();
    }
    Ok(0)
}

/// syncfs(2)
pub fn syncfs(cx: &mut Cx, fd: Fd) -> SysResult {
    let file = open_file(cx, fd)?;
    file.path().mount.fs().sync()?;
    Ok(0)
}

/// sync_file_range(2): stronger than asked, the whole file's data.
pub fn sync_file_range(cx: &mut Cx, fd: Fd, offset: i64, len: i64, flags: u32) -> SysResult {
    if flags & !7 != 0 || offset < 0 || len < 0 || offset.checked_add(len).is_none() {
        return Err(Errno::EINVAL);
    }
    let file = open_file(cx, fd)?;
    if matches!(
        file.inode().kind(),
        NodeKind::Fifo | NodeKind::Socket | NodeKind::CharDevice(_)
    ) {
        return Err(Errno::ESPIPE);
    }
    if flags != 0 {
        file.ops().sync(&file, true)?;
    }
    Ok(0)
}

/// fadvise64(2): advice only; the host's page cache decides for itself.
pub fn fadvise64(cx: &mut Cx, fd: Fd, _offset: i64, len: i64, advice: i32) -> SysResult {
    let file = open_file(cx, fd)?;
    if matches!(file.inode().kind(), NodeKind::Fifo | NodeKind::Socket) {
        return Err(Errno::ESPIPE);
    }
    if len < 0 || !(0..=5).contains(&advice) {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}

/// readahead(2)
pub fn readahead(cx: &mut Cx, fd: Fd, _offset: i64, _count: usize) -> SysResult {
    let file = file(cx, fd)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if file.inode().kind() != NodeKind::Regular {
        return Err(Errno::EINVAL);
    }
    Ok(0)
}
