//! Names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rename(2); the working and root directory; umask(2).

use super::lookup::{
    AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, From, file, resolve,
};
use crate::args::{DirFd, Fd, Octal, OutBuf, UserPath};
use abi::Errno;
use fs::NodeKind;
use fs::vfs::{LookupFlags, may_search, path_text};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// mkdir(2)
pub fn mkdir(cx: &mut Cx, path: UserPath, mode: Octal) -> SysResult {
    mkdirat(cx, DirFd::Cwd, path, mode)
}

/// mkdirat(2)
pub fn mkdirat(cx: &mut Cx, dir: DirFd, path: UserPath, mode: Octal) -> SysResult {
    let path = path.read(cx)?;
    From::new(cx, dir, &path)?.lookup(cx).mkdir(&path, mode.0)?;
    Ok(0)
}

/// mknod(2)
pub fn mknod(cx: &mut Cx, path: UserPath, mode: Octal, dev: u64) -> SysResult {
    mknodat(cx, DirFd::Cwd, path, mode, dev)
}

/// mknodat(2)
pub fn mknodat(cx: &mut Cx, dir: DirFd, path: UserPath, mode: Octal, dev: u64) -> SysResult {
    // The device number is an unsigned int.
    let dev = dev & 0xffff_ffff;
    let kind = match mode.0 & 0o170000 {
        0 | 0o100000 => NodeKind::Regular,
        0o020000 => NodeKind::CharDevice(dev),
        0o060000 => NodeKind::BlockDevice(dev),
        0o010000 => NodeKind::Fifo,
        0o140000 => NodeKind::Socket,
        0o040000 => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    };
    let path = path.read(cx)?;
    From::new(cx, dir, &path)?
        .lookup(cx)
        .mknod(&path, kind, mode.0 & 0o7777)?;
    Ok(0)
}

/// symlink(2)
pub fn symlink(cx: &mut Cx, target: UserPath, path: UserPath) -> SysResult {
    symlinkat(cx, target, DirFd::Cwd, path)
}

/// symlinkat(2)
pub fn symlinkat(cx: &mut Cx, target: UserPath, dir: DirFd, path: UserPath) -> SysResult {
    let (target, path) = (target.read(cx)?, path.read(cx)?);
    From::new(cx, dir, &path)?
        .lookup(cx)
        .symlink(&target, &path)?;
    Ok(0)
}

/// link(2)
pub fn link(cx: &mut Cx, old: UserPath, new: UserPath) -> SysResult {
    linkat(cx, DirFd::Cwd, old, DirFd::Cwd, new, 0)
}

/// linkat(2)
pub fn linkat(
    cx: &mut Cx,
    old_dir: DirFd,
    old: UserPath,
    new_dir: DirFd,
    new: UserPath,
    flags: i32,
) -> SysResult {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (old, new) = (old.read(cx)?, new.read(cx)?);
    let how = (flags & AT_EMPTY_PATH)
        | if flags & AT_SYMLINK_FOLLOW == 0 {
            AT_SYMLINK_NOFOLLOW
        } else {
            0
        };
    let at = resolve(cx, old_dir, &old, how)?;
    From::new(cx, new_dir, &new)?.lookup(cx).link(&at, &new)?;
    Ok(0)
}

/// unlink(2)
pub fn unlink(cx: &mut Cx, path: UserPath) -> SysResult {
    unlinkat(cx, DirFd::Cwd, path, 0)
}

/// rmdir(2)
pub fn rmdir(cx: &mut Cx, path: UserPath) -> SysResult {
    unlinkat(cx, DirFd::Cwd, path, AT_REMOVEDIR)
}

/// unlinkat(2)
pub fn unlinkat(cx: &mut Cx, dir: DirFd, path: UserPath, flags: i32) -> SysResult {
    if flags & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let from = From::new(cx, dir, &path)?;
    let lookup = from.lookup(cx);
    if flags & AT_REMOVEDIR != 0 {
        lookup.rmdir(&path)?
    } else {
        lookup.unlink(&path)?
    };
    Ok(0)
}

/// rename(2)
pub fn rename(cx: &mut Cx, old: UserPath, new: UserPath) -> SysResult {
    renameat2(cx, DirFd::Cwd, old, DirFd::Cwd, new, 0)
}

/// renameat(2)
pub fn renameat(
    cx: &mut Cx,
    old_dir: DirFd,
    old: UserPath,
    new_dir: DirFd,
    new: UserPath,
) -> SysResult {
    renameat2(cx, old_dir, old, new_dir, new, 0)
}

/// renameat2(2)
pub fn renameat2(
    cx: &mut Cx,
    old_dir: DirFd,
    old: UserPath,
    new_dir: DirFd,
    new: UserPath,
    flags: u32,
) -> SysResult {
    let (old, new) = (old.read(cx)?, new.read(cx)?);
    From::new(cx, old_dir, &old)?.lookup(cx).rename(
        &old,
        || Ok(From::new(cx, new_dir, &new)?.start),
        &new,
        flags,
    )?;
    Ok(0)
}

/// chdir(2)
pub fn chdir(cx: &mut Cx, path: UserPath) -> SysResult {
    let path = path.read(cx)?;
    let mut from = From::new(cx, DirFd::Cwd, &path)?;
    from.flags = LookupFlags::DIRECTORY;
    let dir = from.lookup(cx).resolve(&path)?;
    may_search(&**cx.task(), &dir)?;
    cx.fs()?.set_cwd(dir);
    Ok(0)
}

/// fchdir(2)
pub fn fchdir(cx: &mut Cx, fd: Fd) -> SysResult {
    let dir = file(cx, fd)?.path().clone();
    if !dir.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    may_search(&**cx.task(), &dir)?;
    cx.fs()?.set_cwd(dir);
    Ok(0)
}

/// chroot(2)
pub fn chroot(cx: &mut Cx, path: UserPath) -> SysResult {
    let path = path.read(cx)?;
    let mut from = From::new(cx, DirFd::Cwd, &path)?;
    from.flags = LookupFlags::DIRECTORY;
    let dir = from.lookup(cx).resolve(&path)?;
    may_search(&**cx.task(), &dir)?;
    cx.task().cred().require(abi::cap::CAP_SYS_CHROOT)?;
    cx.fs()?.set_root(dir);
    Ok(0)
}

/// getcwd(2): the length with the zero.
pub fn getcwd(cx: &mut Cx, buf: OutBuf, size: usize) -> SysResult {
    let (root, cwd) = cx.fs()?.root_and_cwd();
    let mut text = path_text(&cwd, &root).into_cwd()?;
    text.push(0);
    if text.len() > size {
        return Err(Errno::ERANGE);
    }
    cx.mm()?.write_bytes(buf.0, &text)?;
    Ok(text.len() as u64)
}

/// umask(2)
pub fn umask(cx: &mut Cx, mask: Octal) -> SysResult {
    Ok(u64::from(cx.fs()?.set_umask(mask.0)))
}
