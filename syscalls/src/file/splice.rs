//! splice(2), tee(2), vmsplice(2), sendfile(2), copy_file_range(2).

use super::io::read_iovecs;
use super::lookup::open_file;
use crate::args::{Fd, UserAddr};
use abi::Errno;
use abi::MAX_RW_COUNT;
use abi::signal::{SigInfo, Signal};
use fs::File;
use fs::splice::{Moved, Side, Stop, nonblocking};
use sentry::kernel::{Cx, Woken};
use sentry::syscall::SysResult;

/// Repeats `attempt` while it would wait for a side that may be waited for.
fn wait(
    cx: &Cx,
    input: &File,
    out: &File,
    flags: u32,
    mut attempt: impl FnMut() -> Moved,
) -> SysResult {
    loop {
        let side = match attempt() {
            Ok(n) => return Ok(n as u64),
            Err(Stop::Error(Errno::EPIPE)) => {
                cx.group().send_task(
                    cx.task(),
                    SigInfo::kill(Signal::SIGPIPE, cx.tgid(), cx.task().cred().ruid),
                );
                return Err(Errno::EPIPE);
            }
            Err(Stop::Error(e)) => return Err(e),
            Err(Stop::Wait(side)) => side,
        };
        if nonblocking(input, out, side, flags) {
            return Err(Errno::EAGAIN);
        }
        let file = if side == Side::In { input } else { out };
        let Some(pollee) = file.ops().pollee() else {
            return Err(Errno::EAGAIN);
        };
        let key = pollee.register(cx.waker().clone(), side.events());
        // Ready already, since the registration: no sleep.
        let ready = file.poll().intersects(side.events() | fs::Events::ALWAYS);
        let woken = if ready { Ok(()) } else { cx.block(None) };
        pollee.unregister(key);
        if woken == Err(Woken::Interrupted) {
            return Err(Errno::ERESTARTSYS);
        }
    }
}

fn read_offset(cx: &Cx, addr: UserAddr<u64>) -> Result<Option<u64>, Errno> {
    addr.some().map(|a| a.read(cx)).transpose()
}

fn write_offset(cx: &Cx, addr: UserAddr<u64>, offset: Option<u64>) -> Result<(), Errno> {
    match offset {
        Some(offset) => addr.write(cx, &offset),
        None => Ok(()),
    }
}

/// splice(2)
pub fn splice(
    cx: &mut Cx,
    fd_in: Fd,
    off_in: UserAddr<u64>,
    fd_out: Fd,
    off_out: UserAddr<u64>,
    len: usize,
    flags: u32,
) -> SysResult {
    if flags & !0xf != 0 {
        return Err(Errno::EINVAL);
    }
    if len == 0 {
        return Ok(0);
    }
    let (input, out) = (open_file(cx, fd_in)?, open_file(cx, fd_out)?);
    if (fs::pipe::of(&input).is_some() && !off_in.is_null())
        || (fs::pipe::of(&out).is_some() && !off_out.is_null())
    {
        return Err(Errno::ESPIPE);
    }
    let (mut from, mut to) = (read_offset(cx, off_in)?, read_offset(cx, off_out)?);
    let n = wait(cx, &input, &out, flags, || {
        fs::splice::splice(
            &**cx.task(),
            &input,
            from.as_mut(),
            &out,
            to.as_mut(),
            len.min(MAX_RW_COUNT),
            flags,
        )
    })?;
    write_offset(cx, off_in, from)?;
    write_offset(cx, off_out, to)?;
    Ok(n)
}

/// tee(2)
pub fn tee(cx: &mut Cx, fd_in: Fd, fd_out: Fd, len: usize, flags: u32) -> SysResult {
    let (input, out) = (open_file(cx, fd_in)?, open_file(cx, fd_out)?);
    wait(cx, &input, &out, flags, || {
        fs::splice::tee(&input, &out, len.min(MAX_RW_COUNT), flags)
    })
}

/// vmsplice(2): pages are copied, never given away.
pub fn vmsplice(cx: &mut Cx, fd: Fd, iov: u64, count: usize, flags: u32) -> SysResult {
    let file = open_file(cx, fd)?;
    if flags & !0xf != 0 {
        return Err(Errno::EINVAL);
    }
    if fs::pipe::of(&file).is_none() {
        return Err(Errno::EBADF);
    }
    if !file.writable() {
        // From the pipe to memory: a read.
        return super::io::readv(cx, fd, iov, count);
    }
    const PIECE: usize = 64 << 10;
    let mm = cx.mm()?;
    let mut done = 0u64;
    for segment in read_iovecs(cx, iov, count)? {
        let mut at = 0u64;
        while at < segment.iov_len {
            let piece = usize::try_from(segment.iov_len.saturating_sub(at))
                .unwrap_or(PIECE)
                .min(PIECE);
            let mut data = vec![0; piece];
            let copied = mm.read_bytes(segment.iov_base.wrapping_add(at), &mut data);
            let moved = copied.and_then(|()| {
                wait(cx, &file, &file, flags, || {
                    fs::splice::vmsplice_in(&file, &data, flags)
                })
            });
            match moved {
                Ok(n) => {
                    at = at.saturating_add(n);
                    done = done.saturating_add(n);
                }
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
    }
    Ok(done)
}

/// sendfile(2)
pub fn sendfile(
    cx: &mut Cx,
    out_fd: Fd,
    in_fd: Fd,
    offset: UserAddr<u64>,
    count: usize,
) -> SysResult {
    let input = open_file(cx, in_fd)?;
    let out = open_file(cx, out_fd)?;
    let mut from = read_offset(cx, offset)?;
    let count = i64::try_from(count).map_err(|_| Errno::EINVAL)?;
    let count = usize::try_from(count).unwrap_or(0).min(MAX_RW_COUNT);
    if from.is_some_and(|at| {
        at.checked_add(count as u64)
            .is_none_or(|end| i64::try_from(end).is_err())
    }) {
        return Err(Errno::EINVAL);
    }
    let mut done = 0u64;
    // A blocking destination takes everything there is.
    let result = loop {
        let left = count.saturating_sub(usize::try_from(done).unwrap_or(usize::MAX));
        match wait(cx, &input, &out, 0, || {
            fs::splice::sendfile(&**cx.task(), &out, &input, from.as_mut(), left)
        }) {
            Ok(0) => break Ok(done),
            Ok(n) => done = done.saturating_add(n),
            Err(_) if done > 0 => break Ok(done),
            Err(e) => break Err(e),
        }
        // A file that is sent to its own end never runs dry: signals end it.
        if done >= count as u64 || out.nonblocking() || cx.signal_pending() {
            break Ok(done);
        }
    };
    write_offset(cx, offset, from)?;
    result
}

/// copy_file_range(2)
pub fn copy_file_range(
    cx: &mut Cx,
    fd_in: Fd,
    off_in: UserAddr<u64>,
    fd_out: Fd,
    off_out: UserAddr<u64>,
    len: usize,
    flags: u32,
) -> SysResult {
    let (input, out) = (open_file(cx, fd_in)?, open_file(cx, fd_out)?);
    let (mut from, mut to) = (read_offset(cx, off_in)?, read_offset(cx, off_out)?);
    let n = fs::splice::copy_file_range(
        &**cx.task(),
        &input,
        from.as_mut(),
        &out,
        to.as_mut(),
        len.min(MAX_RW_COUNT),
        flags,
    )?;
    write_offset(cx, off_in, from)?;
    write_offset(cx, off_out, to)?;
    Ok(n as u64)
}
