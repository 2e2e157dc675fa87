//! open(2), openat(2), openat2(2), creat(2).

use super::lookup::From;
use crate::args::{DirFd, LooseFlags, Octal, UserAddr, UserPath};
use abi::Errno;
use abi::fcntl::OpenFlags;
use abi::fs::OpenHow;
use fs::vfs::Resolve;
use fs::{Events, File};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::Arc;

/// open(2)
pub fn open(cx: &mut Cx, path: UserPath, flags: LooseFlags<OpenFlags>, mode: Octal) -> SysResult {
    openat(cx, DirFd::Cwd, path, flags, mode)
}

/// creat(2)
pub fn creat(cx: &mut Cx, path: UserPath, mode: Octal) -> SysResult {
    openat(
        cx,
        DirFd::Cwd,
        path,
        LooseFlags(OpenFlags::O_CREAT | OpenFlags::O_WRONLY | OpenFlags::O_TRUNC),
        mode,
    )
}

/// openat(2)
pub fn openat(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    flags: LooseFlags<OpenFlags>,
    mode: Octal,
) -> SysResult {
    let path = path.read(cx)?;
    let from = From::new(cx, dir, &path)?;
    open_from(cx, &from, &path, flags.0.bits(), mode.0)
}

fn open_from(cx: &mut Cx, from: &From, path: &[u8], flags: u32, mode: u32) -> SysResult {
    let file = from.lookup(cx).open(path, flags, mode)?;
    finish(cx, &file)?;
    super::install(cx, file, flags & OpenFlags::O_CLOEXEC.bits() != 0)
}

/// Waits for a FIFO's partner, makes a terminal the controlling one.
fn finish(cx: &Cx, file: &Arc<File>) -> Result<(), Errno> {
    if file.is_path() {
        return Ok(());
    }
    if let Some(pollee) = file.ops().pollee()
        && file.ops().open_pending(file)
    {
        cx.wait_on(pollee, Events::all(), None, || {
            if file.ops().open_pending(file) {
                Err(Errno::EAGAIN)
            } else {
                Ok(())
            }
        })?;
    }
    Ok(())
}

/// openat2(2)
pub fn openat2(
    cx: &mut Cx,
    dir: DirFd,
    path: UserPath,
    how: UserAddr<OpenHow>,
    size: usize,
) -> SysResult {
    if size < size_of::<OpenHow>() {
        return Err(Errno::EINVAL);
    }
    let how = how.read_extensible(cx, size)?;
    let flags = u32::try_from(how.flags)
        .ok()
        .and_then(OpenFlags::from_bits)
        .ok_or(Errno::EINVAL)?;
    let resolve = Resolve::from_bits(how.resolve).ok_or(Errno::EINVAL)?;
    let creates = flags.contains(OpenFlags::O_CREAT) || flags.contains(OpenFlags::O_TMPFILE);
    if (how.mode != 0 && !creates)
        || how.mode & !0o7777 != 0
        || resolve.contains(Resolve::BENEATH | Resolve::IN_ROOT)
    {
        return Err(Errno::EINVAL);
    }
    if flags.contains(OpenFlags::O_PATH)
        && flags.intersects(OpenFlags::from_bits_retain(
            !(OpenFlags::O_DIRECTORY
                | OpenFlags::O_NOFOLLOW
                | OpenFlags::O_PATH
                | OpenFlags::O_CLOEXEC)
                .bits(),
        ))
    {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let mut from = match dir {
        // A scoped walk of an absolute path still starts at the directory.
        DirFd::Fd(fd) if resolve.contains(Resolve::IN_ROOT) => {
            let start = super::lookup::file(cx, crate::args::Fd::new(fd)?)?
                .path()
                .clone();
            let mut from = From::new(cx, DirFd::Cwd, b"/")?;
            from.start = start;
            from
        }
        _ => From::new(cx, dir, &path)?,
    };
    from.resolve = resolve;
    open_from(
        cx,
        &from,
        &path,
        flags.bits(),
        u32::try_from(how.mode).unwrap_or(0),
    )
}
