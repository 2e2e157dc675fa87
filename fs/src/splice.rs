//! Moving data between descriptions: `splice(2)`, `tee(2)`, `vmsplice(2)`, `sendfile(2)`, `copy_file_range(2)` (Linux: `fs/splice.c`, `fs/read_write.c`).
//!
//! Data goes through kernel buffers; between two pipes, and from a file into a pipe, the buffer itself becomes the pipe's. As everywhere in this crate nothing
//! blocks: a call that has moved nothing and would wait says on whom ([`Stop::Wait`]); the caller waits there, or answers `EAGAIN` if [`nonblocking`] says so.

use crate::Caller;
use crate::file::File;
use crate::inode::NodeKind;
use crate::pipe::{self, Pipe};
use crate::pollee::Events;
use abi::Errno;
use abi::fcntl::SEEK_END;
use std::sync::Arc;

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 0xf;
const O_APPEND: u32 = 0o2000;
/// The most bytes held in one kernel buffer.
const CHUNK: usize = 256 << 10;

/// Why nothing was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An error; `EPIPE` raises `SIGPIPE` as it does in `write(2)`.
    Error(Errno),
    /// It would wait for this side.
    Wait(Side),
}

/// A side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source has nothing to read.
    In,
    /// The destination has no room.
    Out,
}

impl Side {
    /// The readiness to wait for.
    pub fn events(self) -> Events {
        match self {
            Self::In => Events::READ,
            Self::Out => Events::WRITE,
        }
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// Bytes moved, or why none.
pub type Moved = Result<usize, Stop>;

/// Whether a splice or tee with these flags answers `EAGAIN` instead of waiting for `side`.
pub fn nonblocking(input: &File, out: &File, side: Side, flags: u32) -> bool {
    let pipes = pipe::of(input).is_some() && pipe::of(out).is_some();
    flags & SPLICE_F_NONBLOCK != 0
        || match side {
            _ if pipes => input.nonblocking() || out.nonblocking(),
            Side::In => input.nonblocking(),
            Side::Out => out.nonblocking(),
        }
}

/// What moving one piece did.
enum Step {
    Moved(usize),
    End,
    Stop(Stop),
}

/// Repeats `step` with what is left of `len` until it ends; an obstacle counts only if nothing was moved before it.
fn repeat(len: usize, mut step: impl FnMut(usize) -> Step) -> Moved {
    let mut done = 0usize;
    while done < len {
        match step(len.saturating_sub(done)) {
            Step::Moved(0) | Step::End => break,
            Step::Moved(n) => done = done.saturating_add(n),
            Step::Stop(_) if done > 0 => break,
            Step::Stop(stop) => return Err(stop),
        }
    }
    Ok(done)
}

fn stop_at(side: Side, errno: Errno) -> Step {
    Step::Stop(if errno == Errno::EAGAIN {
        Stop::Wait(side)
    } else {
        Stop::Error(errno)
    })
}

/// Where a positioned side of a transfer stands: an explicit offset, or the description's own.
enum Place<'a> {
    Stream,
    Own,
    At(&'a mut u64),
}

impl<'a> Place<'a> {
    fn new(file: &File, offset: Option<&'a mut u64>) -> Self {
        match offset {
            Some(offset) => Self::At(offset),
            None if file.ops().seekable() => Self::Own,
            None => Self::Stream,
        }
    }

    fn read(&mut self, file: &File, buf: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Stream | Self::Own => file.read(buf),
            Self::At(offset) => {
                let n = file.read_at(buf, **offset)?;
                **offset = offset.saturating_add(n as u64);
                Ok(n)
            }
        }
    }

    fn write(&mut self, file: &File, caller: &dyn Caller, buf: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Stream | Self::Own => file.write(caller, buf),
            Self::At(offset) => {
                let n = file.write_at(caller, buf, **offset)?;
                **offset = offset.saturating_add(n as u64);
                Ok(n)
            }
        }
    }

    /// Moves a position back by what was read but could not be delivered.
    fn unread(&mut self, file: &File, n: usize) {
        match self {
            Self::Stream => {}
            Self::Own => file.with_offset(|offset| *offset = offset.saturating_sub(n as u64)),
            Self::At(offset) => **offset = offset.saturating_sub(n as u64),
        }
    }
}

fn check_offset(offset: Option<&u64>, len: usize) -> Result<(), Errno> {
    match offset {
        Some(offset)
            if offset
                .checked_add(len as u64)
                .is_none_or(|end| i64::try_from(end).is_err()) =>
        {
            Err(Errno::EINVAL)
        }
        _ => Ok(()),
    }
}

/// `splice(2)`. Offsets are updated in place. Same-kind checks as Linux's `do_splice`.
pub fn splice(
    caller: &dyn Caller,
    input: &File,
    off_in: Option<&mut u64>,
    out: &File,
    off_out: Option<&mut u64>,
    len: usize,
    flags: u32,
) -> Moved {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if !input.readable() || !out.writable() {
        return Err(Errno::EBADF.into());
    }
    match (pipe::of(input), pipe::of(out)) {
        (Some(from), Some(to)) => {
            if off_in.is_some() || off_out.is_some() {
                return Err(Errno::ESPIPE.into());
            }
            if Arc::ptr_eq(from, to) {
                return Err(Errno::EINVAL.into());
            }
            repeat(len, |left| pipe_to_pipe(from, to, left))
        }
        (Some(from), None) => {
            if off_in.is_some() {
                return Err(Errno::ESPIPE.into());
            }
            check_offset(off_out.as_deref(), len)?;
            if (off_out.is_some() && !out.ops().seekable())
                || out.flags() & O_APPEND != 0
                || !out.ops().spliceable()
            {
                return Err(Errno::EINVAL.into());
            }
            let mut place = Place::new(out, off_out);
            repeat(len, |left| {
                pipe_to_file(caller, from, out, &mut place, left)
            })
        }
        (None, Some(to)) => {
            if off_out.is_some() {
                return Err(Errno::ESPIPE.into());
            }
            check_offset(off_in.as_deref(), len)?;
            if (off_in.is_some() && !input.ops().seekable())
                || !input.ops().spliceable()
                || input.inode().kind() == NodeKind::Directory
            {
                return Err(Errno::EINVAL.into());
            }
            let mut place = Place::new(input, off_in);
            repeat(len, |left| file_to_pipe(input, &mut place, to, left))
        }
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

fn pipe_to_pipe(from: &Pipe, to: &Pipe, left: usize) -> Step {
    let room = match to.room() {
        Ok(room) => room,
        Err(errno) => return stop_at(Side::Out, errno),
    };
    let (data, packet) = match from.take(left.min(room)) {
        Ok(Some(taken)) => taken,
        Ok(None) => return Step::End,
        Err(errno) => return stop_at(Side::In, errno),
    };
    let n = data.len();
    match to.append(data, packet) {
        Ok(rest) => {
            let moved = n.saturating_sub(rest.len());
            from.put_back(rest, packet);
            if moved == 0 {
                Step::Stop(Stop::Wait(Side::Out))
            } else {
                Step::Moved(moved)
            }
        }
        // The last reader went between the look and the append: so do the bytes, as they would from the pipe itself.
        Err(errno) => stop_at(Side::Out, errno),
    }
}

fn pipe_to_file(
    caller: &dyn Caller,
    from: &Pipe,
    out: &File,
    place: &mut Place<'_>,
    left: usize,
) -> Step {
    let (mut data, packet) = match from.take(left) {
        Ok(Some(taken)) => taken,
        Ok(None) => return Step::End,
        Err(errno) => return stop_at(Side::In, errno),
    };
    match place.write(out, caller, &data) {
        Ok(n) => {
            let n = n.min(data.len());
            from.put_back(data.split_off(n), packet);
            Step::Moved(n)
        }
        Err(errno) => {
            from.put_back(data, packet);
            stop_at(Side::Out, errno)
        }
    }
}

fn file_to_pipe(input: &File, place: &mut Place<'_>, to: &Pipe, left: usize) -> Step {
    let room = match to.room() {
        Ok(room) => room,
        Err(errno) => return stop_at(Side::Out, errno),
    };
    let mut data = vec![0; left.min(room).min(CHUNK)];
    match place.read(input, &mut data) {
        Ok(0) => return Step::End,
        Ok(n) => data.truncate(n),
        Err(errno) => return stop_at(Side::In, errno),
    }
    let n = data.len();
    match to.append(data, false) {
        Ok(rest) => {
            // Another writer was quicker: a position goes back, a stream's bytes have no way back but to overfill the pipe for a moment.
            if !rest.is_empty() && matches!(place, Place::Stream) {
                to.force(rest);
                return Step::Moved(n);
            }
            place.unread(input, rest.len());
            Step::Moved(n.saturating_sub(rest.len()))
        }
        Err(errno) => {
            place.unread(input, n);
            stop_at(Side::Out, errno)
        }
    }
}

/// `tee(2)`: copies between pipes, consuming nothing.
pub fn tee(input: &File, out: &File, len: usize, flags: u32) -> Moved {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if len == 0 {
        return Ok(0);
    }
    if !input.readable() || !out.writable() {
        return Err(Errno::EBADF.into());
    }
    let (Some(from), Some(to)) = (pipe::of(input), pipe::of(out)) else {
        return Err(Errno::EINVAL.into());
    };
    if Arc::ptr_eq(from, to) {
        return Err(Errno::EINVAL.into());
    }
    // Linux waits for the source first.
    let peeked = match to.room() {
        Ok(room) => from.peek(len.min(room)),
        Err(errno) => match from.peek(1) {
            Err(Errno::EAGAIN) => return Err(Stop::Wait(Side::In)),
            Ok(None) => return Ok(0),
            _ if errno == Errno::EAGAIN => return Err(Stop::Wait(Side::Out)),
            _ => return Err(errno.into()),
        },
    };
    let pieces = match peeked {
        Ok(Some(pieces)) => pieces,
        Ok(None) => return Ok(0),
        Err(Errno::EAGAIN) => return Err(Stop::Wait(Side::In)),
        Err(errno) => return Err(errno.into()),
    };
    let mut done = 0usize;
    for (data, packet) in pieces {
        let n = data.len();
        let rest = to.append(data, packet)?;
        done = done.saturating_add(n.saturating_sub(rest.len()));
        if !rest.is_empty() {
            break;
        }
    }
    if done == 0 {
        Err(Stop::Wait(Side::Out))
    } else {
        Ok(done)
    }
}

/// `vmsplice(2)` to a pipe's writing end: as many bytes as fit now, without waiting for more room once there was some.
pub fn vmsplice_in(out: &File, data: &[u8], flags: u32) -> Moved {
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let to = pipe::of(out).ok_or(Errno::EBADF)?;
    if !out.writable() {
        return Err(Errno::EBADF.into());
    }
    if data.is_empty() {
        return Ok(0);
    }
    let room = match to.room() {
        Ok(room) => room,
        Err(Errno::EAGAIN) => return Err(Stop::Wait(Side::Out)),
        Err(errno) => return Err(errno.into()),
    };
    let part = data.get(..room).unwrap_or(data).to_vec();
    let n = part.len();
    let rest = to.append(part, false)?;
    match n.saturating_sub(rest.len()) {
        0 => Err(Stop::Wait(Side::Out)),
        n => Ok(n),
    }
}

/// `sendfile(2)`: from `offset`, or from the input's own offset.
pub fn sendfile(
    caller: &dyn Caller,
    out: &File,
    input: &File,
    offset: Option<&mut u64>,
    count: usize,
) -> Moved {
    if !input.readable() || !out.writable() {
        return Err(Errno::EBADF.into());
    }
    if offset.is_some() && !input.ops().seekable() {
        return Err(Errno::ESPIPE.into());
    }
    check_offset(offset.as_deref(), 0)?;
    if out.flags() & O_APPEND != 0
        || !input.ops().seekable()
        || !input.ops().spliceable()
        || !out.ops().spliceable()
    {
        return Err(Errno::EINVAL.into());
    }
    if input.inode().kind() == NodeKind::Directory {
        return Err(Errno::EINVAL.into());
    }
    let mut from = Place::new(input, offset);
    if let Some(to) = pipe::of(out) {
        return repeat(count, |left| file_to_pipe(input, &mut from, to, left));
    }
    let mut to = Place::new(out, None);
    let mut buf = vec![0; count.min(CHUNK)];
    repeat(count, |left| {
        let max = left.min(buf.len());
        let part = buf.get_mut(..max).unwrap_or(&mut []);
        let n = match from.read(input, part) {
            Ok(0) => return Step::End,
            Ok(n) => n,
            Err(errno) => return stop_at(Side::In, errno),
        };
        match to.write(out, caller, part.get(..n).unwrap_or(&[])) {
            Ok(written) => {
                from.unread(input, n.saturating_sub(written));
                Step::Moved(written)
            }
            Err(errno) => {
                from.unread(input, n);
                stop_at(Side::Out, errno)
            }
        }
    })
}

/// `copy_file_range(2)`: between regular files of one filesystem.
pub fn copy_file_range(
    caller: &dyn Caller,
    input: &File,
    off_in: Option<&mut u64>,
    out: &File,
    off_out: Option<&mut u64>,
    len: usize,
    flags: u32,
) -> Result<usize, Errno> {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let kinds = (input.inode().kind(), out.inode().kind());
    if kinds.0 == NodeKind::Directory || kinds.1 == NodeKind::Directory {
        return Err(Errno::EISDIR);
    }
    if kinds != (NodeKind::Regular, NodeKind::Regular)
        || !input.ops().seekable()
        || !out.ops().seekable()
    {
        return Err(Errno::EINVAL);
    }
    if !input.readable() || !out.writable() || out.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let start =
        |file: &File, offset: Option<&u64>| offset.copied().unwrap_or_else(|| file.offset());
    let (from, to) = (
        start(input, off_in.as_deref()),
        start(out, off_out.as_deref()),
    );
    let end = |at: u64| {
        at.checked_add(len as u64)
            .filter(|end| i64::try_from(*end).is_ok())
    };
    let (Some(from_end), Some(to_end)) = (end(from), end(to)) else {
        return Err(Errno::EOVERFLOW);
    };
    // What lies beyond the end now is not copied, even where the copy itself moves that end.
    let size = input.ops().seek_end(input, SEEK_END, 0)?;
    let len = len.min(usize::try_from(size.saturating_sub(from)).unwrap_or(usize::MAX));
    let (from_end, to_end) = (
        from_end.min(from.saturating_add(len as u64)),
        to_end.min(to.saturating_add(len as u64)),
    );
    if len == 0 {
        return Ok(0);
    }
    if std::ptr::eq(input.inode().vnode(), out.inode().vnode()) {
        if from < to_end && to < from_end {
            return Err(Errno::EINVAL);
        }
    } else if input.inode().filesystem().dev() != out.inode().filesystem().dev() {
        return Err(Errno::EXDEV);
    }
    let (mut source, mut target) = (Place::new(input, off_in), Place::new(out, off_out));
    let mut buf = vec![0; len.min(CHUNK)];
    let moved = repeat(len, |left| {
        let max = left.min(buf.len());
        let part = buf.get_mut(..max).unwrap_or(&mut []);
        let n = match source.read(input, part) {
            Ok(0) => return Step::End,
            Ok(n) => n,
            Err(errno) => return Step::Stop(errno.into()),
        };
        match target.write(out, caller, part.get(..n).unwrap_or(&[])) {
            Ok(written) => {
                source.unread(input, n.saturating_sub(written));
                Step::Moved(written)
            }
            Err(errno) => {
                source.unread(input, n);
                Step::Stop(errno.into())
            }
        }
    });
    moved.map_err(|stop| match stop {
        Stop::Error(errno) => errno,
        Stop::Wait(_) => Errno::EAGAIN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anon;
    use crate::file::{FileOps, Pos};
    use crate::testing::TestCaller;
    use std::any::Any;
    use sync::Mutex;

    /// A regular file in memory.
    struct Bytes(Mutex<Vec<u8>>);
    impl FileOps for Bytes {
        fn as_any(&self) -> &dyn Any {
            self
        }
        fn seekable(&self) -> bool {
            true
        }
        fn read(&self, _: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
            let Pos::At(at) = pos else {
                return Err(Errno::EINVAL);
            };
            let data = self.0.lock();
            let from = data.get(at as usize..).unwrap_or(&[]);
            let n = from.len().min(buf.len());
            buf[..n].copy_from_slice(&from[..n]);
            Ok(n)
        }
        fn write(
            &self,
            _: &File,
            _: &dyn Caller,
            buf: &[u8],
            pos: Pos,
        ) -> Result<(usize, u64), Errno> {
            let mut data = self.0.lock();
            let at = if let Pos::At(at) = pos {
                at as usize
            } else {
                data.len()
            };
            let end = at + buf.len();
            if data.len() < end {
                data.resize(end, 0);
            }
            data[at..end].copy_from_slice(buf);
            Ok((buf.len(), end as u64))
        }
    }

    fn file(content: &[u8], flags: u32) -> Arc<File> {
        anon::file("test", Box::new(Bytes(Mutex::new(content.to_vec()))), flags)
    }
    fn content(file: &File) -> Vec<u8> {
        file.downcast::<Bytes>().unwrap().0.lock().clone()
    }

    #[test]
    fn file_pipe_file() {
        let c = TestCaller::root();
        let (r, w) = pipe::pair(&c, 0).unwrap();
        let (a, b) = (file(b"0123456789", 0), file(b"", 2));
        let mut at = 2;
        assert_eq!(splice(&c, &a, Some(&mut at), &w, None, 5, 0), Ok(5));
        assert_eq!((at, a.offset()), (7, 0));
        assert_eq!(splice(&c, &a, None, &w, None, 3, 0), Ok(3));
        assert_eq!(a.offset(), 3);
        assert_eq!(splice(&c, &r, None, &b, None, 100, 0), Ok(8));
        assert_eq!((content(&b), b.offset()), (b"23456012".to_vec(), 8));
        assert_eq!(
            splice(&c, &r, None, &b, None, 100, 0),
            Err(Stop::Wait(Side::In))
        );
        assert_eq!(
            splice(&c, &a, None, &b, None, 1, 0),
            Err(Errno::EINVAL.into())
        );
        assert_eq!(
            splice(&c, &r, Some(&mut at), &b, None, 1, 0),
            Err(Errno::ESPIPE.into())
        );
        assert_eq!(
            splice(&c, &r, None, &w, None, 1, 0),
            Err(Errno::EINVAL.into())
        );
        drop(w);
        assert_eq!(splice(&c, &r, None, &b, None, 100, 0), Ok(0));
    }

    #[test]
    fn pipes_and_tee() {
        let c = TestCaller::root();
        let (r1, w1) = pipe::pair(&c, 0).unwrap();
        let (r2, w2) = pipe::pair(&c, 0).unwrap();
        w1.write(&c, &[7; 10000]).unwrap();
        assert_eq!(tee(&r1, &w2, 5000, 0), Ok(5000));
        assert_eq!(splice(&c, &r1, None, &w2, None, 1 << 20, 0), Ok(10000));
        assert_eq!(pipe::of(&r2).unwrap().len(), 15000);
        assert_eq!(tee(&r1, &w2, 1, 0), Err(Stop::Wait(Side::In)));
        w1.write(&c, &[7; 65536]).unwrap();
        w2.write(&c, &[7; 49152]).unwrap();
        assert_eq!(
            splice(&c, &r1, None, &w2, None, 1 << 20, 0),
            Err(Stop::Wait(Side::Out))
        );
        assert_eq!(tee(&r1, &w2, 10, 0), Err(Stop::Wait(Side::Out)));
        drop(r2);
        assert_eq!(
            splice(&c, &r1, None, &w2, None, 1 << 20, 0),
            Err(Errno::EPIPE.into())
        );
        assert_eq!(vmsplice_in(&w1, b"x", 0), Err(Stop::Wait(Side::Out)));
        r1.read(&mut [0; 4096]).unwrap();
        assert_eq!(vmsplice_in(&w1, &[1; 5000], 0), Ok(4096));
    }

    #[test]
    fn sendfile_stops_where_the_destination_does() {
        let c = TestCaller::root();
        let (_r, w) = pipe::pair(&c, 0).unwrap();
        let a = file(&[3; 100_000], 0);
        assert_eq!(sendfile(&c, &w, &a, None, 1 << 20), Ok(65536));
        assert_eq!(a.offset(), 65536);
        assert_eq!(
            sendfile(&c, &w, &a, None, 1 << 20),
            Err(Stop::Wait(Side::Out))
        );
        let b = file(b"", 1);
        let mut at = 99_990;
        assert_eq!(sendfile(&c, &b, &a, Some(&mut at), 100), Ok(10));
        assert_eq!((at, content(&b).len()), (100_000, 10));
        assert_eq!(
            sendfile(&c, &file(b"", 1 | O_APPEND), &a, None, 1),
            Err(Errno::EINVAL.into())
        );
    }

    #[test]
    fn copy_range_wants_regular_files() {
        let c = TestCaller::root();
        let a = file(b"0123456789", 2);
        let (mut x, mut y) = (0, 5);
        assert_eq!(
            copy_file_range(&c, &a, Some(&mut x), &a, Some(&mut y), 5, 0),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            copy_file_range(&c, &a, None, &a, None, 5, 1),
            Err(Errno::EINVAL)
        );
    }
}
