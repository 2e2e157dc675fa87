//! read(2), write(2) and their vectors, lseek(2).
//!
//! Data passes through one kernel buffer, the task's own scratch, in pieces of at most [`CHUNK`]. A stream is asked once: what it gives is the result. A file with
//! positions is asked until the count is reached or it gives less.

use super::lookup::open_file;
use crate::args::{Fd, InBuf, OutBuf};
use abi::Errno;
use abi::signal::{SigInfo, Signal};
use abi::{IOV_MAX, Iovec, MAX_RW_COUNT};
use fs::{Events, File};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// The largest piece moved at a time.
const CHUNK: usize = 256 << 10;
const RWF_DSYNC: u32 = 2;
const RWF_SYNC: u32 = 4;
const RWF_NOWAIT: u32 = 8;
const RWF_APPEND: u32 = 16;
const RWF_HIPRI: u32 = 1;

/// Where a transfer happens.
#[derive(Clone, Copy)]
struct At {
    offset: Option<u64>,
    nowait: bool,
    append: bool,
    /// When a terminal's read gives up (VTIME).
    deadline: Option<u64>,
}

const STREAM: At = At {
    offset: None,
    nowait: false,
    append: false,
    deadline: None,
};

/// Borrows the task's buffer; large ones are not kept.
fn with_scratch<R>(cx: &mut Cx, len: usize, body: impl FnOnce(&mut Cx, &mut [u8]) -> R) -> R {
    const KEPT: usize = 64 << 10;
    let mut buf = std::mem::take(&mut cx.state.scratch);
    if buf.len() < len {
        buf.resize(len, 0);
    }
    let result = body(cx, buf.get_mut(..len).unwrap_or_default());
    if buf.len() > KEPT {
        buf.truncate(KEPT);
        buf.shrink_to_fit();
    }
    cx.state.scratch = buf;
    result
}

fn read_once(cx: &Cx, file: &File, buf: &mut [u8], at: At) -> Result<usize, Errno> {
    // A signalfd gives its reader's signals, not its maker's.
    let signals = file.downcast::<crate::signal::SignalFd>();
    let attempt = |buf: &mut [u8]| match (signals, at.offset) {
        (Some(signals), _) => signals.take(cx.task(), buf),
        (None, Some(offset)) => file.read_at(buf, offset),
        (None, None) => file.read(buf),
    };
    match attempt(buf) {
        Err(Errno::EAGAIN) if !file.nonblocking() && !at.nowait => {}
        done => return done,
    }
    let Some(pollee) = file.ops().pollee() else {
        return Err(Errno::EAGAIN);
    };
    wait(
        cx,
        pollee,
        Events::READ | Events::RDHUP,
        file.ops().timeouts().0,
        || attempt(buf),
    )
}

/// Waits as long as the file says. With a time limit an interrupted call is not restarted, for the time would begin anew.
fn wait(
    cx: &Cx,
    pollee: &fs::Pollee,
    events: Events,
    timeout: Option<u64>,
    attempt: impl FnMut() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let deadline = timeout.map(|t| cx.kernel().clock.monotonic().saturating_add(t));
    match cx.wait_on(pollee, events, deadline, attempt) {
        Err(Errno::ERESTARTSYS) if timeout.is_some() => Err(Errno::EINTR),
        other => other,
    }
}

fn write_once(cx: &Cx, file: &File, buf: &[u8], at: At) -> Result<usize, Errno> {
    let caller: &dyn fs::Caller = &**cx.task();
    let attempt = || match at.offset {
        _ if at.append => file.write_pos(caller, buf, fs::Pos::Append),
        Some(offset) => file.write_at(caller, buf, offset),
        None => file.write(caller, buf),
    };
    match attempt() {
        Err(Errno::EAGAIN) if !file.nonblocking() && !at.nowait => {}
        done => return done,
    }
    let Some(pollee) = file.ops().pollee() else {
        return Err(Errno::EAGAIN);
    };
    wait(cx, pollee, Events::WRITE, file.ops().timeouts().1, attempt)
}

/// `SIGXFSZ` for a write past `RLIMIT_FSIZE`.
pub(super) fn signal_fsize(cx: &Cx) {
    let info = SigInfo::kill(Signal::SIGXFSZ, cx.tgid(), cx.task().cred().ruid);
    cx.group().send_task(cx.task(), info);
}

/// What a failed write owes besides its error.
fn write_error(cx: &Cx, errno: Errno) -> Errno {
    match errno {
        Errno::EPIPE => {
            cx.group().send_task(
                cx.task(),
                SigInfo::kill(Signal::SIGPIPE, cx.tgid(), cx.task().cred().ruid),
            );
        }
        // Only the limit gives this error below the largest offset.
        Errno::EFBIG
            if cx
                .group()
                .limits
                .soft(sentry::kernel::limits::Resource::Fsize)
                != u64::MAX =>
        {
            signal_fsize(cx)
        }
        _ => {}
    }
    errno
}

fn read_segments(cx: &mut Cx, fd: Fd, segments: &[Iovec], at: At) -> SysResult {
    let result = read_uncounted(cx, fd, segments, at);
    cx.io.count_read(&result);
    result
}

fn read_uncounted(cx: &mut Cx, fd: Fd, segments: &[Iovec], mut at: At) -> SysResult {
    let file = open_file(cx, fd)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    check_ranges(segments)?;
    at.deadline = sentry::tty::before_read(cx, &file)?;
    let total = segments
        .iter()
        .map(|s| s.iov_len as usize)
        .fold(0usize, usize::saturating_add)
        .min(MAX_RW_COUNT);
    let seekable = file.ops().seekable();
    check_end(&at, total)?;
    let mut done = 0usize;
    // One vector of small pieces is one read: datagrams and packets must not be split.
    with_scratch(cx, total.min(CHUNK), |cx, buf| {
        loop {
            let want = total.saturating_sub(done).min(buf.len());
            let part = buf.get_mut(..want).unwrap_or_default();
            let n = match read_once(cx, &file, part, at) {
                Ok(n) => n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            let part = part.get(..n).unwrap_or_default();
            match copy_out(cx, segments, done, part) {
                Ok(copied) if copied == n => {}
                Ok(copied) if done.saturating_add(copied) > 0 => {
                    done = done.saturating_add(copied);
                    break;
                }
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
            done = done.saturating_add(n);
            at.offset = at.offset.map(|o| o.saturating_add(n as u64));
            if n == 0 || n < want || done >= total || !seekable {
                break;
            }
        }
        Ok(done as u64)
    })
}

fn write_segments(cx: &mut Cx, fd: Fd, segments: &[Iovec], at: At) -> SysResult {
    let result = write_uncounted(cx, fd, segments, at);
    cx.io.count_write(&result);
    result
}

fn write_uncounted(cx: &mut Cx, fd: Fd, segments: &[Iovec], mut at: At) -> SysResult {
    let file = open_file(cx, fd)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    check_ranges(segments)?;
    sentry::tty::before_write(cx, &file)?;
    let total = segments
        .iter()
        .map(|s| s.iov_len as usize)
        .fold(0usize, usize::saturating_add)
        .min(MAX_RW_COUNT);
    check_end(&at, total)?;
    if file.ops().discards() {
        return Ok(total as u64);
    }
    let mut done = 0usize;
    with_scratch(cx, total.min(CHUNK), |cx, buf| {
        loop {
            let want = total.saturating_sub(done).min(buf.len());
            let part = buf.get_mut(..want).unwrap_or_default();
            let got = match copy_in(cx, segments, done, part) {
                Ok(got) => got,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            };
            let part = part.get(..got).unwrap_or_default();
            let n = match write_once(cx, &file, part, at) {
                Ok(n) => n,
                Err(e) if done > 0 => {
                    // A pipe signals its end even when part was written; a socket does not.
                    if e == Errno::EPIPE && fs::pipe::of(&file).is_some() {
                        write_error(cx, e);
                    }
                    break;
                }
                Err(e) => return Err(write_error(cx, e)),
            };
            done = done.saturating_add(n);
            at.offset = at.offset.map(|o| o.saturating_add(n as u64));
            // A stream takes the whole count unless it is non-blocking or somebody interrupts.
            if done >= total
                || got < want
                || n == 0
                || (n < got && (file.nonblocking() || at.nowait || file.ops().seekable()))
            {
                break;
            }
        }
        Ok(done as u64)
    })
}

/// A transfer may not end past the largest offset, whatever there is to read (`rw_verify_area`).
fn check_end(at: &At, total: usize) -> Result<(), Errno> {
    let end = at.offset.unwrap_or(0).checked_add(total as u64);
    end.and_then(|e| i64::try_from(e).ok())
        .map(drop)
        .ok_or(Errno::EINVAL)
}

/// The parts of `segments` from byte `skip` on, at most `len` bytes long.
fn window(segments: &[Iovec], mut skip: usize, mut len: usize) -> Vec<Iovec> {
    let mut out = Vec::with_capacity(segments.len().min(8));
    for segment in segments {
        let size = segment.iov_len as usize;
        if skip >= size {
            skip = skip.saturating_sub(size);
            continue;
        }
        let take = size.saturating_sub(skip).min(len);
        if take == 0 {
            break;
        }
        out.push(Iovec {
            iov_base: segment.iov_base.wrapping_add(skip as u64),
            iov_len: take as u64,
        });
        len = len.saturating_sub(take);
        skip = 0;
    }
    out
}

fn copy_out(cx: &Cx, segments: &[Iovec], skip: usize, data: &[u8]) -> Result<usize, Errno> {
    let mm = cx.mm()?;
    let mut done = 0usize;
    for part in window(segments, skip, data.len()) {
        let bytes = data
            .get(done..done.saturating_add(part.iov_len as usize))
            .unwrap_or_default();
        match mm.write_some(part.iov_base, bytes) {
            Ok(n) => {
                done = done.saturating_add(n);
                if n < bytes.len() {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn copy_in(cx: &Cx, segments: &[Iovec], skip: usize, buf: &mut [u8]) -> Result<usize, Errno> {
    let mm = cx.mm()?;
    let mut done = 0usize;
    for part in window(segments, skip, buf.len()) {
        let end = done.saturating_add(part.iov_len as usize);
        let bytes = buf.get_mut(done..end).unwrap_or_default();
        match mm.read_some(part.iov_base, bytes) {
            Ok(n) if n == bytes.len() => done = end,
            Ok(n) => {
                done = done.saturating_add(n);
                break;
            }
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

fn single(addr: u64, count: usize) -> [Iovec; 1] {
    [Iovec {
        iov_base: addr,
        iov_len: count as u64,
    }]
}

/// `EFAULT` unless every segment lies where programs may have memory, all of it (`access_ok`).
fn check_ranges(segments: &[Iovec]) -> Result<(), Errno> {
    const TASK_SIZE: u64 = 0x7fff_ffff_f000;
    let inside = |s: &Iovec| {
        let end = s.iov_base.checked_add(s.iov_len);
        end.is_some_and(|end| end <= TASK_SIZE)
    };
    if segments.iter().all(inside) {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}

/// Copies in and checks an iovec array.
pub(super) fn read_iovecs(cx: &Cx, addr: u64, count: usize) -> Result<Vec<Iovec>, Errno> {
    if count > IOV_MAX {
        return Err(Errno::EINVAL);
    }
    let mm = cx.mm()?;
    let mut all = vec![Iovec::default(); count];
    mm.read_bytes(addr, zerocopy::IntoBytes::as_mut_bytes(all.as_mut_slice()))?;
    let mut total = 0i64;
    for segment in &all {
        let len = i64::try_from(segment.iov_len).map_err(|_| Errno::EINVAL)?;
        total = total.checked_add(len).ok_or(Errno::EINVAL)?;
    }
    Ok(all)
}

/// read(2)
pub fn read(cx: &mut Cx, fd: Fd, buf: OutBuf, count: usize) -> SysResult {
    read_segments(cx, fd, &single(buf.0, count), STREAM)
}

/// write(2)
pub fn write(cx: &mut Cx, fd: Fd, buf: InBuf, count: usize) -> SysResult {
    write_segments(cx, fd, &single(buf.0, count), STREAM)
}

fn positioned(cx: &Cx, fd: Fd, offset: i64) -> Result<At, Errno> {
    let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    if !open_file(cx, fd)?.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    Ok(At {
        offset: Some(offset),
        ..STREAM
    })
}

/// pread64(2)
pub fn pread64(cx: &mut Cx, fd: Fd, buf: OutBuf, count: usize, offset: i64) -> SysResult {
    let at = positioned(cx, fd, offset)?;
    read_segments(cx, fd, &single(buf.0, count), at)
}

/// pwrite64(2)
pub fn pwrite64(cx: &mut Cx, fd: Fd, buf: InBuf, count: usize, offset: i64) -> SysResult {
    let at = positioned(cx, fd, offset)?;
    write_segments(cx, fd, &single(buf.0, count), at)
}

/// readv(2)
pub fn readv(cx: &mut Cx, fd: Fd, iov: u64, count: usize) -> SysResult {
    let segments = read_iovecs(cx, iov, count)?;
    read_segments(cx, fd, &segments, STREAM)
}

/// writev(2)
pub fn writev(cx: &mut Cx, fd: Fd, iov: u64, count: usize) -> SysResult {
    let segments = read_iovecs(cx, iov, count)?;
    write_segments(cx, fd, &segments, STREAM)
}

/// preadv(2)
pub fn preadv(cx: &mut Cx, fd: Fd, iov: u64, count: usize, offset: i64, _high: u64) -> SysResult {
    let at = positioned(cx, fd, offset)?;
    let segments = read_iovecs(cx, iov, count)?;
    read_segments(cx, fd, &segments, at)
}

/// pwritev(2)
pub fn pwritev(cx: &mut Cx, fd: Fd, iov: u64, count: usize, offset: i64, _high: u64) -> SysResult {
    let at = positioned(cx, fd, offset)?;
    let segments = read_iovecs(cx, iov, count)?;
    write_segments(cx, fd, &segments, at)
}

fn with_flags(cx: &Cx, fd: Fd, offset: i64, flags: u32, known: u32) -> Result<At, Errno> {
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut at = if offset == -1 {
        STREAM
    } else {
        positioned(cx, fd, offset)?
    };
    at.nowait = flags & RWF_NOWAIT != 0;
    at.append = flags & RWF_APPEND != 0;
    Ok(at)
}

/// preadv2(2)
pub fn preadv2(
    cx: &mut Cx,
    fd: Fd,
    iov: u64,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    let at = with_flags(cx, fd, offset, flags, RWF_HIPRI | RWF_NOWAIT)?;
    let segments = read_iovecs(cx, iov, count)?;
    read_segments(cx, fd, &segments, at)
}

/// pwritev2(2)
pub fn pwritev2(
    cx: &mut Cx,
    fd: Fd,
    iov: u64,
    count: usize,
    offset: i64,
    _high: u64,
    flags: u32,
) -> SysResult {
    let at = with_flags(
        cx,
        fd,
        offset,
        flags,
        RWF_HIPRI | RWF_NOWAIT | RWF_APPEND | RWF_SYNC | RWF_DSYNC,
    )?;
    let segments = read_iovecs(cx, iov, count)?;
    let n = write_segments(cx, fd, &segments, at)?;
    if flags & (RWF_SYNC | RWF_DSYNC) != 0 {
        let file = open_file(cx, fd)?;
        file.ops().sync(&file, flags & RWF_SYNC == 0)?;
    }
    Ok(n)
}

/// lseek(2)
pub fn lseek(cx: &mut Cx, fd: Fd, offset: i64, whence: i32) -> SysResult {
    if !(0..=4).contains(&whence) {
        return Err(Errno::EINVAL);
    }
    open_file(cx, fd)?.seek(whence, offset)
}
