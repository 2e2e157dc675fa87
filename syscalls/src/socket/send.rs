//! sendto(2), sendmsg(2), sendmmsg(2).

use super::address::{self, InAddr};
use super::show::MsgArg;
use super::{Flags, Open, caller, control, wait};
use crate::args::{Fd, InBuf};
use abi::signal::{SigInfo, Signal};
use abi::socket::{Mmsghdr, MsgFlags, Msghdr, SOCK_STREAM};
use abi::{Errno, IOV_MAX, Iovec, MAX_RW_COUNT};
use fs::Events;
use sentry::kernel::Cx;
use sentry::socket::{Control, SendMsg};
use sentry::syscall::SysResult;

/// The largest piece of a stream moved at a time.
const CHUNK: usize = 256 << 10;
/// No datagram is larger; a longer one is refused before it is copied.
const MAX_DATAGRAM: usize = 8 << 20;

/// What one call sends.
struct Outgoing<'a> {
    iovecs: &'a [Iovec],
    to: Option<&'a [u8]>,
    control: &'a [Control],
    flags: MsgFlags,
}

/// The part of `iovecs` from byte `skip` on into `buf`: how much there was before a fault.
fn gather(cx: &Cx, iovecs: &[Iovec], mut skip: usize, buf: &mut [u8]) -> Result<usize, Errno> {
    let mm = cx.mm()?;
    let mut done = 0usize;
    for iovec in iovecs {
        let size = usize::try_from(iovec.iov_len).unwrap_or(usize::MAX);
        if skip >= size {
            skip = skip.saturating_sub(size);
            continue;
        }
        let n = size
            .saturating_sub(skip)
            .min(buf.len().saturating_sub(done));
        let Some(part) = buf
            .get_mut(done..done.saturating_add(n))
            .filter(|p| !p.is_empty())
        else {
            continue;
        };
        mm.read_bytes(iovec.iov_base.wrapping_add(skip as u64), part)?;
        done = done.saturating_add(n);
        skip = 0;
    }
    Ok(done)
}

fn total(iovecs: &[Iovec]) -> Result<usize, Errno> {
    let mut sum = 0usize;
    for iovec in iovecs {
        let len = usize::try_from(iovec.iov_len)
            .ok()
            .filter(|n| isize::try_from(*n).is_ok())
            .ok_or(Errno::EINVAL)?;
        sum = sum.checked_add(len).ok_or(Errno::EINVAL)?;
    }
    Ok(sum.min(MAX_RW_COUNT))
}

fn send(cx: &mut Cx, open: &Open, message: &Outgoing<'_>) -> SysResult {
    let mut buf = std::mem::take(&mut cx.state.scratch);
    let result = send_with(cx, open, message, &mut buf);
    if buf.len() > 64 << 10 {
        buf.truncate(64 << 10);
        buf.shrink_to_fit();
    }
    cx.state.scratch = buf;
    if result == Err(Errno::EPIPE)
        && open.socket.identity().kind == SOCK_STREAM
        && !message.flags.contains(MsgFlags::MSG_NOSIGNAL)
    {
        cx.group().send_task(
            cx.task(),
            SigInfo::kill(Signal::SIGPIPE, cx.tgid(), cx.task().cred().ruid),
        );
    }
    result
}

fn send_with(cx: &Cx, open: &Open, message: &Outgoing<'_>, buf: &mut Vec<u8>) -> SysResult {
    let stream = open.socket.identity().kind == SOCK_STREAM;
    let total = total(message.iovecs)?;
    if !stream && total > MAX_DATAGRAM {
        return Err(Errno::EMSGSIZE);
    }
    let piece = if stream { total.min(CHUNK) } else { total };
    if buf.len() < piece {
        buf.resize(piece, 0);
    }
    let nonblocking = open.nonblocking(message.flags);
    let timeout = open.socket.common().send_timeout();
    let mut done = 0usize;
    loop {
        let want = total.saturating_sub(done).min(piece);
        let part = buf.get_mut(..want).unwrap_or_default();
        match gather(cx, message.iovecs, done, part) {
            Ok(_) => {}
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        // What goes along goes with the first bytes.
        let control = if done == 0 { message.control } else { &[] };
        let msg = SendMsg {
            data: part,
            to: message.to,
            control,
            flags: message.flags,
        };
        let attempt = || open.socket.send(caller(cx), &msg);
        let sent = match attempt() {
            Err(Errno::EAGAIN) if !nonblocking => wait(
                cx,
                &*open.socket,
                Events::WRITE | Events::ERR | Events::HUP,
                timeout,
                attempt,
            ),
            other => other,
        };
        match sent {
            Ok(n) => done = done.saturating_add(n),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        if !stream || done >= total || (nonblocking && sent.is_ok_and(|n| n < want)) {
            break;
        }
    }
    Ok(done as u64)
}

/// sendto(2)
pub fn sendto(
    cx: &mut Cx,
    fd: Fd,
    buf: InBuf,
    len: usize,
    flags: Flags,
    addr: InAddr,
    addrlen: i32,
) -> SysResult {
    let open = Open::get(cx, fd)?;
    let to = if addr.0 == 0 {
        None
    } else {
        Some(address::read(cx, addr.0, addrlen)?)
    };
    let iovecs = [Iovec {
        iov_base: buf.0,
        iov_len: len.min(MAX_RW_COUNT) as u64,
    }];
    send(
        cx,
        &open,
        &Outgoing {
            iovecs: &iovecs,
            to: to.as_deref(),
            control: &[],
            flags: flags.0,
        },
    )
}

/// The vector of a `msghdr`: `EMSGSIZE` if it is too long.
pub(super) fn read_vector(cx: &Cx, header: &Msghdr) -> Result<Vec<Iovec>, Errno> {
    let count = usize::try_from(header.msg_iovlen)
        .ok()
        .filter(|n| *n <= IOV_MAX)
        .ok_or(Errno::EMSGSIZE)?;
    cx.mm()?.read_vec(header.msg_iov, count)
}

fn send_header(cx: &mut Cx, open: &Open, header: &Msghdr, flags: MsgFlags) -> SysResult {
    let to = if header.msg_name == 0 || header.msg_namelen == 0 {
        None
    } else {
        let len = header.msg_namelen;
        Some(address::read(cx, header.msg_name, len.min(128))?)
    };
    let iovecs = read_vector(cx, header)?;
    let control = control::read(cx, header.msg_control, header.msg_controllen)?;
    send(
        cx,
        open,
        &Outgoing {
            iovecs: &iovecs,
            to: to.as_deref(),
            control: &control,
            flags,
        },
    )
}

/// sendmsg(2)
pub fn sendmsg(cx: &mut Cx, fd: Fd, msg: MsgArg, flags: Flags) -> SysResult {
    let open = Open::get(cx, fd)?;
    let header: Msghdr = cx.mm()?.read_obj(msg.0)?;
    send_header(cx, &open, &header, flags.0)
}

/// sendmmsg(2)
pub fn sendmmsg(cx: &mut Cx, fd: Fd, msgvec: u64, count: u32, flags: Flags) -> SysResult {
    let open = Open::get(cx, fd)?;
    let mut done = 0u64;
    for index in 0..u64::from(count).min(IOV_MAX as u64) {
        let at = msgvec.wrapping_add(index.wrapping_mul(size_of::<Mmsghdr>() as u64));
        let one = cx
            .mm()?
            .read_obj::<Msghdr>(at)
            .and_then(|header| send_header(cx, &open, &header, flags.0));
        let one = one.and_then(|n| {
            cx.mm()?.write_obj(
                at.wrapping_add(size_of::<Msghdr>() as u64),
                &u32::try_from(n).unwrap_or(u32::MAX),
            )
        });
        match one {
            Ok(()) => done = done.saturating_add(1),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
