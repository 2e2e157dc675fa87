//! close(2), close_range(2), dup(2), dup2(2), dup3(2).

use crate::args::{Fd, LooseFlags};
use abi::Errno;
use abi::fcntl::OpenFlags;
use fs::File;
use sentry::kernel::limits::Resource;
use sentry::kernel::{Cx, fd_table};
use sentry::syscall::SysResult;
use std::sync::Arc;

/// A descriptor number as a result.
pub(super) fn number(fd: Fd) -> SysResult {
    u64::try_from(fd.raw()).map_err(|_| Errno::EBADF)
}

/// The bound on descriptor numbers.
pub(super) fn limit(cx: &Cx) -> u64 {
    cx.group().limits.soft(Resource::Nofile)
}

/// Gives `file` the lowest free number.
pub(crate) fn install(cx: &Cx, file: Arc<File>, cloexec: bool) -> SysResult {
    number(cx.files()?.install(file, cloexec, limit(cx))?)
}

/// close(2)
pub fn close(cx: &mut Cx, fd: Fd) -> SysResult {
    let files = cx.files()?;
    let file = files.remove(fd)?;
    fd_table::close_file(file, files.id())
        .map(|()| 0)
        .map_err(|e| if e.is_restart() { Errno::EINTR } else { e })
}

/// close_range(2)
pub fn close_range(cx: &mut Cx, first: u32, last: u32, flags: u32) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    let mut files = cx.files()?;
    if flags & UNSHARE != 0 {
        files = Arc::new(files.fork());
        drop(cx.set_files(Some(files.clone())));
    }
    if flags & CLOEXEC != 0 {
        files.set_cloexec_range(first, last);
        return Ok(0);
    }
    for file in files.remove_range(first, last, |_| true) {
        // As Linux: errors of single files are not reported.
        let _ = fd_table::close_file(file, files.id());
    }
    Ok(0)
}

/// dup(2)
pub fn dup(cx: &mut Cx, fd: Fd) -> SysResult {
    let file = cx.files()?.get(fd)?;
    install(cx, file, false)
}

/// dup2(2)
pub fn dup2(cx: &mut Cx, old: Fd, new: Fd) -> SysResult {
    if old == new {
        cx.files()?.get(old)?;
        return number(new);
    }
    replace(cx, old, new, false)
}

/// dup3(2)
pub fn dup3(cx: &mut Cx, old: Fd, new: Fd, flags: LooseFlags<OpenFlags>) -> SysResult {
    if flags.0.difference(OpenFlags::O_CLOEXEC) != OpenFlags::empty() || old == new {
        return Err(Errno::EINVAL);
    }
    replace(cx, old, new, flags.0.contains(OpenFlags::O_CLOEXEC))
}

fn replace(cx: &Cx, old: Fd, new: Fd, cloexec: bool) -> SysResult {
    let files = cx.files()?;
    let file = files.get(old)?;
    if let Some(replaced) = files.install_at(new, file, cloexec, limit(cx))? {
        let _ = fd_table::close_file(replaced, files.id());
    }
    number(new)
}
