//! recvfrom(2), recvmsg(2), recvmmsg(2).

use super::address::{self, OutAddr};
use super::send::read_vector;
use super::show::MsgArg;
use super::{Flags, Open, control, wait};
use crate::args::{Fd, OutBuf};
use abi::socket::{IPPROTO_TCP, Mmsghdr, MsgFlags, Msghdr, SOCK_STREAM};
use abi::time::Timespec;
use abi::{Errno, IOV_MAX, Iovec, MAX_RW_COUNT};
use fs::Events;
use sentry::kernel::Cx;
use sentry::socket::{Control, Received};
use sentry::syscall::SysResult;

/// The most bytes received at a time.
const CHUNK: usize = 256 << 10;

/// One message, its bytes already in guest memory.
struct Incoming {
    /// What the call returns.
    count: u64,
    from: Option<Vec<u8>>,
    control: Vec<Control>,
    flags: MsgFlags,
}

fn scatter(cx: &Cx, iovecs: &[Iovec], mut skip: usize, data: &[u8]) -> Result<(), Errno> {
    let mm = cx.mm()?;
    let mut rest = data;
    for iovec in iovecs {
        let size = usize::try_from(iovec.iov_len).unwrap_or(usize::MAX);
        if skip >= size {
            skip = skip.saturating_sub(size);
            continue;
        }
        let n = size.saturating_sub(skip).min(rest.len());
        let (part, tail) = rest.split_at_checked(n).unwrap_or((rest, &[]));
        if part.is_empty() {
            break;
        }
        mm.write_bytes(iovec.iov_base.wrapping_add(skip as u64), part)?;
        rest = tail;
        skip = 0;
    }
    Ok(())
}

fn recv(cx: &mut Cx, open: &Open, iovecs: &[Iovec], flags: MsgFlags) -> Result<Incoming, Errno> {
    let mut buf = std::mem::take(&mut cx.state.scratch);
    let result = recv_with(cx, open, iovecs, flags, &mut buf);
    if buf.len() > 64 << 10 {
        buf.truncate(64 << 10);
        buf.shrink_to_fit();
    }
    cx.state.scratch = buf;
    result
}

fn recv_with(
    cx: &Cx,
    open: &Open,
    iovecs: &[Iovec],
    flags: MsgFlags,
    buf: &mut Vec<u8>,
) -> Result<Incoming, Errno> {
    let identity = open.socket.identity();
    let stream = identity.kind == SOCK_STREAM;
    let total = iovecs
        .iter()
        .map(|i| usize::try_from(i.iov_len).unwrap_or(usize::MAX))
        .fold(0usize, usize::saturating_add)
        .min(MAX_RW_COUNT);
    if buf.len() < total.min(CHUNK) {
        buf.resize(total.min(CHUNK), 0);
    }
    // Errors are there or they are not: nobody waits for one.
    let nonblocking = open.nonblocking(flags) || flags.contains(MsgFlags::MSG_ERRQUEUE);
    let mut flags = flags;
    flags.set(MsgFlags::MSG_DONTWAIT, nonblocking);
    let timeout = open.socket.common().recv_timeout();
    // `MSG_TRUNC` on TCP throws bytes away instead of copying them.
    let discard = flags.contains(MsgFlags::MSG_TRUNC) && identity.protocol == IPPROTO_TCP;
    let all =
        stream && flags.contains(MsgFlags::MSG_WAITALL) && !flags.contains(MsgFlags::MSG_PEEK);
    let mut done = 0usize;
    let mut first: Option<Received> = None;
    loop {
        let want = total.saturating_sub(done).min(CHUNK);
        let part = buf.get_mut(..want).unwrap_or_default();
        let mut attempt = || open.socket.recv(part, flags);
        let got = match attempt() {
            Err(Errno::EAGAIN) if !nonblocking => wait(
                cx,
                &*open.socket,
                Events::READ | Events::RDHUP | Events::ERR | Events::HUP,
                timeout,
                attempt,
            ),
            other => other,
        };
        let got = match got {
            Ok(got) => got,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        let n = got.len;
        if !discard {
            scatter(cx, iovecs, done, buf.get(..n).unwrap_or_default())?;
        }
        done = done.saturating_add(n);
        let stop = !all || n == 0 || done >= total || !got.control.is_empty();
        if first.is_none() {
            first = Some(got);
        } else if let Some(first) = &mut first {
            first.control.extend(got.control);
        }
        if stop {
            break;
        }
    }
    let first = first.unwrap_or_default();
    let whole = !stream && flags.contains(MsgFlags::MSG_TRUNC);
    let count = if whole { first.full_len } else { done };
    Ok(Incoming {
        count: count as u64,
        from: first.from,
        control: first.control,
        flags: first.flags,
    })
}

/// recvfrom(2)
pub fn recvfrom(
    cx: &mut Cx,
    fd: Fd,
    buf: OutBuf,
    len: usize,
    flags: Flags,
    addr: OutAddr,
    addrlen: u64,
) -> SysResult {
    let open = Open::get(cx, fd)?;
    let iovecs = [Iovec {
        iov_base: buf.0,
        iov_len: len.min(MAX_RW_COUNT) as u64,
    }];
    let got = recv(cx, &open, &iovecs, flags.0)?;
    if addr.0 != 0 {
        address::write(cx, addr.0, addrlen, got.from.as_deref().unwrap_or(&[]))?;
    }
    Ok(got.count)
}

/// Offsets in `struct msghdr`.
const NAMELEN: u64 = 8;
const CONTROLLEN: u64 = 40;
const FLAGS: u64 = 48;

fn recv_header(cx: &mut Cx, open: &Open, at: u64, flags: MsgFlags) -> SysResult {
    let header: Msghdr = cx.mm()?.read_obj(at)?;
    let iovecs = read_vector(cx, &header)?;
    let got = recv(cx, open, &iovecs, flags)?;
    let mm = cx.mm()?;
    if header.msg_name != 0 {
        let name = got.from.as_deref().unwrap_or(&[]);
        let room = usize::try_from(header.msg_namelen).unwrap_or(0);
        mm.write_bytes(header.msg_name, name.get(..room).unwrap_or(name))?;
        mm.write_obj(
            at.wrapping_add(NAMELEN),
            &i32::try_from(name.len()).unwrap_or(0),
        )?;
    }
    let room = if header.msg_control == 0 {
        0
    } else {
        header.msg_controllen
    };
    let mut writer = control::Writer::new(room);
    let cloexec = flags.contains(MsgFlags::MSG_CMSG_CLOEXEC);
    writer.put_all(cx, got.control, cloexec)?;
    let used = writer.finish(cx, header.msg_control)?;
    let mut out = got.flags | writer.flags;
    out.set(MsgFlags::MSG_CMSG_CLOEXEC, cloexec);
    mm.write_obj(at.wrapping_add(CONTROLLEN), &used)?;
    mm.write_obj(at.wrapping_add(FLAGS), &out.bits())?;
    Ok(got.count)
}

/// recvmsg(2)
pub fn recvmsg(cx: &mut Cx, fd: Fd, msg: MsgArg, flags: Flags) -> SysResult {
    let open = Open::get(cx, fd)?;
    recv_header(cx, &open, msg.0, flags.0)
}

/// recvmmsg(2). The timeout is looked at between messages only, as in Linux.
pub fn recvmmsg(
    cx: &mut Cx,
    fd: Fd,
    msgvec: u64,
    count: u32,
    flags: Flags,
    timeout: u64,
) -> SysResult {
    let open = Open::get(cx, fd)?;
    let now = |cx: &Cx| cx.kernel().clock.monotonic();
    let deadline = if timeout == 0 {
        None
    } else {
        let time: Timespec = cx.mm()?.read_obj(timeout)?;
        Some(now(cx).saturating_add(crate::time::nanoseconds(&time)?))
    };
    let mut flags = flags.0;
    let wait_for_one = flags.contains(MsgFlags::MSG_WAITFORONE);
    flags.remove(MsgFlags::MSG_WAITFORONE);
    let mut done = 0u64;
    for index in 0..u64::from(count).min(IOV_MAX as u64) {
        let at = msgvec.wrapping_add(index.wrapping_mul(size_of::<Mmsghdr>() as u64));
        let one = recv_header(cx, &open, at, flags);
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
        if wait_for_one {
            flags |= MsgFlags::MSG_DONTWAIT;
        }
        if deadline.is_some_and(|d| now(cx) >= d) {
            break;
        }
    }
    if let Some(deadline) = deadline {
        let left = deadline.saturating_sub(now(cx));
        let sec = i64::try_from(left / 1_000_000_000).unwrap_or(0);
        let nsec = i64::try_from(left % 1_000_000_000).unwrap_or(0);
        cx.mm()?.write_obj(
            timeout,
            &Timespec {
                tv_sec: sec,
                tv_nsec: nsec,
            },
        )?;
    }
    Ok(done)
}
