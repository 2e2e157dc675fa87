//! Extended attributes (`xattr(7)`).

use super::lookup::{AT_SYMLINK_NOFOLLOW, open_file, resolve};
use crate::args::{DirFd, Fd, InBuf, OutBuf, UserPath};
use abi::Errno;
use abi::fs::{XATTR_NAME_MAX, XATTR_SIZE_MAX};
use fs::vfs::Path;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

fn read_name(cx: &Cx, name: UserPath) -> Result<Vec<u8>, Errno> {
    let name = cx
        .mm()?
        .read_cstring(name.addr, XATTR_NAME_MAX.saturating_add(1))
        .map_err(|e| {
            if e == Errno::ENAMETOOLONG {
                Errno::ERANGE
            } else {
                e
            }
        })?;
    if name.is_empty() {
        Err(Errno::ERANGE)
    } else {
        Ok(name)
    }
}

fn place(cx: &Cx, path: UserPath, flags: i32) -> Result<Path, Errno> {
    let path = path.read(cx)?;
    resolve(cx, DirFd::Cwd, &path, flags)
}

fn set(cx: &Cx, at: &Path, name: UserPath, value: InBuf, size: usize, flags: u32) -> SysResult {
    if flags & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    let name = read_name(cx, name)?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size];
    cx.mm()?.read_bytes(value.0, &mut bytes)?;
    fs::vfs::set_xattr(&**cx.task(), at, &name, &bytes, flags)?;
    Ok(0)
}

/// Gives `bytes` out: only their number when `size` is 0, `ERANGE` when they do not fit.
fn give(cx: &Cx, bytes: &[u8], out: OutBuf, size: usize) -> SysResult {
    if size != 0 {
        if bytes.len() > size {
            return Err(Errno::ERANGE);
        }
        cx.mm()?.write_bytes(out.0, bytes)?;
    }
    Ok(bytes.len() as u64)
}

fn get(cx: &Cx, at: &Path, name: UserPath, value: OutBuf, size: usize) -> SysResult {
    let name = read_name(cx, name)?;
    let bytes = fs::vfs::get_xattr(&**cx.task(), at, &name)?;
    give(cx, &bytes, value, size)
}

fn list(cx: &Cx, at: &Path, out: OutBuf, size: usize) -> SysResult {
    let bytes = fs::vfs::list_xattr(&**cx.task(), at)?;
    give(cx, &bytes, out, size)
}

fn remove(cx: &Cx, at: &Path, name: UserPath) -> SysResult {
    let name = read_name(cx, name)?;
    fs::vfs::remove_xattr(&**cx.task(), at, &name)?;
    Ok(0)
}

/// setxattr(2)
pub fn setxattr(
    cx: &mut Cx,
    path: UserPath,
    name: UserPath,
    value: InBuf,
    size: usize,
    flags: u32,
) -> SysResult {
    set(cx, &place(cx, path, 0)?, name, value, size, flags)
}
/// lsetxattr(2)
pub fn lsetxattr(
    cx: &mut Cx,
    path: UserPath,
    name: UserPath,
    value: InBuf,
    size: usize,
    flags: u32,
) -> SysResult {
    set(
        cx,
        &place(cx, path, AT_SYMLINK_NOFOLLOW)?,
        name,
        value,
        size,
        flags,
    )
}
/// fsetxattr(2)
pub fn fsetxattr(
    cx: &mut Cx,
    fd: Fd,
    name: UserPath,
    value: InBuf,
    size: usize,
    flags: u32,
) -> SysResult {
    set(cx, open_file(cx, fd)?.path(), name, value, size, flags)
}
/// getxattr(2)
pub fn getxattr(
    cx: &mut Cx,
    path: UserPath,
    name: UserPath,
    value: OutBuf,
    size: usize,
) -> SysResult {
    get(cx, &place(cx, path, 0)?, name, value, size)
}
/// lgetxattr(2)
pub fn lgetxattr(
    cx: &mut Cx,
    path: UserPath,
    name: UserPath,
    value: OutBuf,
    size: usize,
) -> SysResult {
    get(
        cx,
        &place(cx, path, AT_SYMLINK_NOFOLLOW)?,
        name,
        value,
        size,
    )
}
/// fgetxattr(2)
pub fn fgetxattr(cx: &mut Cx, fd: Fd, name: UserPath, value: OutBuf, size: usize) -> SysResult {
    get(cx, open_file(cx, fd)?.path(), name, value, size)
}
/// listxattr(2)
pub fn listxattr(cx: &mut Cx, path: UserPath, out: OutBuf, size: usize) -> SysResult {
    list(cx, &place(cx, path, 0)?, out, size)
}
/// llistxattr(2)
pub fn llistxattr(cx: &mut Cx, path: UserPath, out: OutBuf, size: usize) -> SysResult {
    list(cx, &place(cx, path, AT_SYMLINK_NOFOLLOW)?, out, size)
}
/// flistxattr(2)
pub fn flistxattr(cx: &mut Cx, fd: Fd, out: OutBuf, size: usize) -> SysResult {
    list(cx, open_file(cx, fd)?.path(), out, size)
}
/// removexattr(2)
pub fn removexattr(cx: &mut Cx, path: UserPath, name: UserPath) -> SysResult {
    remove(cx, &place(cx, path, 0)?, name)
}
/// lremovexattr(2)
pub fn lremovexattr(cx: &mut Cx, path: UserPath, name: UserPath) -> SysResult {
    remove(cx, &place(cx, path, AT_SYMLINK_NOFOLLOW)?, name)
}
/// fremovexattr(2)
pub fn fremovexattr(cx: &mut Cx, fd: Fd, name: UserPath) -> SysResult {
    remove(cx, open_file(cx, fd)?.path(), name)
}
