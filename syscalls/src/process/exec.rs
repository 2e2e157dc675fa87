//! execve(2), execveat(2).

use crate::args::{DirFd, UserAddr, UserPath};
use abi::Errno;
use abi::fcntl::AtFlags;
use sentry::kernel::exec::ExecArgs;
use sentry::kernel::{Cx, Fd};
use sentry::syscall::SysResult;

/// A quarter of the stack limit, at least 128 KiB, at most 6 MiB: what arguments and environment may take (`execve(2)`).
fn arg_limit(cx: &Cx) -> usize {
    let stack = cx
        .group()
        .limits
        .soft(sentry::kernel::limits::Resource::Stack);
    usize::try_from(stack.checked_div(4).unwrap_or(0).clamp(128 << 10, 6 << 20))
        .unwrap_or(128 << 10)
}

fn read_strings(cx: &Cx, array: UserAddr<u64>, left: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    const MAX_ARG_STRLEN: usize = 128 << 10;
    let mut out = Vec::new();
    if array.is_null() {
        return Ok(out);
    }
    let mm = cx.mm()?;
    loop {
        let at = array.at(out.len()).read(cx)?;
        if at == 0 {
            return Ok(out);
        }
        let text = mm.read_cstring(at, MAX_ARG_STRLEN).map_err(|e| {
            if e == Errno::ENAMETOOLONG {
                Errno::E2BIG
            } else {
                e
            }
        })?;
        // The string, its zero and its pointer.
        *left = left
            .checked_sub(text.len().saturating_add(9))
            .ok_or(Errno::E2BIG)?;
        out.push(text);
    }
}

/// execve(2)
pub fn execve(cx: &mut Cx, path: UserPath, argv: UserAddr<u64>, envp: UserAddr<u64>) -> SysResult {
    execveat(cx, DirFd::Cwd, path, argv, envp, 0)
}

/// execveat(2)
pub fn execveat(
    cx: &mut Cx,
    dirfd: DirFd,
    path: UserPath,
    argv: UserAddr<u64>,
    envp: UserAddr<u64>,
    flags: i32,
) -> SysResult {
    const AT_EMPTY_PATH: i32 = AtFlags::AT_EMPTY_PATH.bits() as i32;
    const AT_SYMLINK_NOFOLLOW: i32 = AtFlags::AT_SYMLINK_NOFOLLOW.bits() as i32;
    if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = path.read(cx)?;
    let task = cx.task().clone();
    let (file, filename, script_unreachable) = match dirfd {
        _ if path.is_empty() && flags & AT_EMPTY_PATH == 0 => return Err(Errno::ENOENT),
        DirFd::Fd(fd) if path.is_empty() => {
            let (file, cloexec) = cx.files()?.get_with_flags(Fd::new(fd)?)?;
            let file = sentry::kernel::exec::reopen_exec(&task, &file)?;
            (file, format!("/dev/fd/{fd}").into_bytes(), cloexec)
        }
        DirFd::Fd(fd) if path.first() != Some(&b'/') => {
            let (dir, cloexec) = cx.files()?.get_with_flags(Fd::new(fd)?)?;
            let file = sentry::kernel::exec::open_exec_at(
                &task,
                dir.path(),
                &path,
                flags & AT_SYMLINK_NOFOLLOW != 0,
            )?;
            let name = [format!("/dev/fd/{fd}/").as_bytes(), &path].concat();
            (file, name, cloexec)
        }
        _ => {
            let cwd = cx.fs()?.cwd();
            (
                sentry::kernel::exec::open_exec_at(
                    &task,
                    &cwd,
                    &path,
                    flags & AT_SYMLINK_NOFOLLOW != 0,
                )?,
                path,
                false,
            )
        }
    };
    let mut left = arg_limit(cx);
    let argv = read_strings(cx, argv, &mut left)?;
    let envp = read_strings(cx, envp, &mut left)?;
    // Linux 5.18 gives a program without arguments an empty first one.
    let argv = if argv.is_empty() {
        vec![Vec::new()]
    } else {
        argv
    };
    cx.exec(ExecArgs {
        file,
        filename,
        script_unreachable,
        argv,
        envp,
    })
}
