//! Files without names: pipe(2), eventfd(2), inotify(7).

use super::fd::limit;
use super::lookup::open_file;
use crate::args::{DirFd, Fd, LooseFlags, UserAddr, UserPath};
use abi::Errno;
use abi::fcntl::OpenFlags;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

type Flags = LooseFlags<OpenFlags>;

/// pipe(2)
pub fn pipe(cx: &mut Cx, fds: UserAddr<[i32; 2]>) -> SysResult {
    pipe2(cx, fds, LooseFlags(OpenFlags::empty()))
}

/// pipe2(2)
pub fn pipe2(cx: &mut Cx, fds: UserAddr<[i32; 2]>, flags: Flags) -> SysResult {
    let flags = flags.0;
    if flags.difference(OpenFlags::O_CLOEXEC | OpenFlags::O_NONBLOCK | OpenFlags::O_DIRECT)
        != OpenFlags::empty()
    {
        return Err(Errno::EINVAL);
    }
    let (reader, writer) = fs::pipe::pair(&**cx.task(), flags.bits())?;
    let cloexec = flags.contains(OpenFlags::O_CLOEXEC);
    let files = cx.files()?;
    let first = files.install(reader, cloexec, limit(cx))?;
    let installed = files
        .install(writer, cloexec, limit(cx))
        .and_then(|second| {
            fds.write(cx, &[first.raw(), second.raw()])
                .inspect_err(|_| drop(files.remove(second)))
        });
    if let Err(e) = installed {
        drop(files.remove(first));
        return Err(e);
    }
    Ok(0)
}

/// eventfd(2) of old
pub fn eventfd(cx: &mut Cx, count: u32) -> SysResult {
    eventfd2(cx, count, LooseFlags(OpenFlags::empty()))
}

/// eventfd2(2)
pub fn eventfd2(cx: &mut Cx, count: u32, flags: Flags) -> SysResult {
    let raw = cx.regs.user.rsi as u32;
    let file = fs::eventfd::eventfd(count, raw)?;
    super::install(cx, file, flags.0.contains(OpenFlags::O_CLOEXEC))
}

/// inotify_init(2)
pub fn inotify_init(cx: &mut Cx) -> SysResult {
    inotify_init1(cx, LooseFlags(OpenFlags::empty()))
}

/// inotify_init1(2)
pub fn inotify_init1(cx: &mut Cx, flags: Flags) -> SysResult {
    let file = fs::inotify::create(flags.0.bits())?;
    super::install(cx, file, flags.0.contains(OpenFlags::O_CLOEXEC))
}

/// inotify_add_watch(2)
pub fn inotify_add_watch(cx: &mut Cx, fd: Fd, path: UserPath, mask: u32) -> SysResult {
    const IN_DONT_FOLLOW: u32 = 0x0200_0000;
    const MAY_READ: u32 = 4;
    let file = open_file(cx, fd)?;
    let instance = fs::inotify::of(&file).ok_or(Errno::EINVAL)?;
    let path = path.read(cx)?;
    let nofollow = if mask & IN_DONT_FOLLOW != 0 {
        super::lookup::AT_SYMLINK_NOFOLLOW
    } else {
        0
    };
    let at = super::lookup::resolve(cx, DirFd::Cwd, &path, nofollow)?;
    fs::vfs::access(&**cx.task(), &at, MAY_READ)?;
    Ok(u64::try_from(instance.add_watch(at.inode(), mask)?).unwrap_or(0))
}

/// inotify_rm_watch(2)
pub fn inotify_rm_watch(cx: &mut Cx, fd: Fd, wd: i32) -> SysResult {
    let file = open_file(cx, fd)?;
    fs::inotify::of(&file)
        .ok_or(Errno::EINVAL)?
        .remove_watch(wd)?;
    Ok(0)
}
