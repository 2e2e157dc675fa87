//! Making, naming and connecting sockets.

use super::address::{self, InAddr, OutAddr};
use super::show::{Domain, Type};
use super::{Open, caller, wait};
use crate::args::Fd;
use crate::file::install;
use abi::Errno;
use abi::socket::{SHUT_RD, SHUT_RDWR, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_TYPE_MASK};
use fs::Events;
use fs::file::O_NONBLOCK;
use sentry::kernel::Cx;
use sentry::kernel::limits::Resource;
use sentry::socket::{Halves, SocketFile};
use sentry::syscall::SysResult;

/// The type alone, the description's flags, close-on-exec.
fn split(kind: i32) -> Result<(i32, u32, bool), Errno> {
    let flags = kind & !SOCK_TYPE_MASK;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let nonblock = if flags & SOCK_NONBLOCK != 0 {
        O_NONBLOCK
    } else {
        0
    };
    Ok((kind & SOCK_TYPE_MASK, nonblock, flags & SOCK_CLOEXEC != 0))
}

/// socket(2)
pub fn socket(cx: &mut Cx, domain: Domain, kind: Type, protocol: i32) -> SysResult {
    let (kind, flags, cloexec) = split(kind.0)?;
    let socket = sentry::socket::create(caller(cx), domain.0, kind, protocol)?;
    install(cx, socket.into_file(caller(cx), flags), cloexec)
}

/// socketpair(2)
pub fn socketpair(cx: &mut Cx, domain: Domain, kind: Type, protocol: i32, sv: u64) -> SysResult {
    let (kind, flags, cloexec) = split(kind.0)?;
    let (a, b) = sentry::socket::create_pair(caller(cx), domain.0, kind, protocol)?;
    let file = |s: SocketFile| s.into_file(caller(cx), flags);
    let (a, b) = (file(a), file(b));
    let files = cx.files()?;
    let limit = cx.group().limits.soft(Resource::Nofile);
    let first = files.install(a, cloexec, limit)?;
    let both = files.install(b, cloexec, limit).and_then(|second| {
        let pair = [first.raw().to_ne_bytes(), second.raw().to_ne_bytes()].concat();
        cx.mm()
            .and_then(|mm| mm.write_bytes(sv, &pair))
            .inspect_err(|_| drop(files.remove(second)))
    });
    if let Err(e) = both {
        drop(files.remove(first));
        return Err(e);
    }
    Ok(0)
}

/// bind(2)
pub fn bind(cx: &mut Cx, fd: Fd, addr: InAddr, len: i32) -> SysResult {
    let open = Open::get(cx, fd)?;
    let addr = address::read(cx, addr.0, len)?;
    open.socket.bind(caller(cx), &addr)?;
    Ok(0)
}

/// listen(2)
pub fn listen(cx: &mut Cx, fd: Fd, backlog: i32) -> SysResult {
    Open::get(cx, fd)?.socket.listen(caller(cx), backlog)?;
    Ok(0)
}

/// accept(2)
pub fn accept(cx: &mut Cx, fd: Fd, addr: OutAddr, len: u64) -> SysResult {
    accept4(cx, fd, addr, len, 0)
}

/// accept4(2)
pub fn accept4(cx: &mut Cx, fd: Fd, addr: OutAddr, len: u64, flags: i32) -> SysResult {
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let open = Open::get(cx, fd)?;
    let attempt = || open.socket.accept(caller(cx));
    let new = match attempt() {
        Err(Errno::EAGAIN) if !open.file.nonblocking() => wait(
            cx,
            &*open.socket,
            Events::READ,
            open.socket.common().recv_timeout(),
            attempt,
        )?,
        done => done?,
    };
    if addr.0 != 0 {
        let peer = new
            .socket()
            .accepted_from()
            .map_err(|_| Errno::ECONNABORTED)?;
        address::write(cx, addr.0, len, &peer)?;
    }
    let status = if flags & SOCK_NONBLOCK != 0 {
        O_NONBLOCK
    } else {
        0
    };
    install(
        cx,
        new.into_file(caller(cx), status),
        flags & SOCK_CLOEXEC != 0,
    )
}

/// connect(2)
pub fn connect(cx: &mut Cx, fd: Fd, addr: InAddr, len: i32) -> SysResult {
    let open = Open::get(cx, fd)?;
    let addr = address::read(cx, addr.0, len)?;
    let first = open.socket.connect(caller(cx), &addr);
    let (Err(unfinished @ (Errno::EINPROGRESS | Errno::EALREADY | Errno::EAGAIN)), false) =
        (first, open.file.nonblocking())
    else {
        return first.map(|()| 0);
    };
    let events = Events::WRITE | Events::ERR | Events::HUP;
    let result = wait(
        cx,
        &*open.socket,
        events,
        open.socket.common().send_timeout(),
        || match open.socket.connect(caller(cx), &addr) {
            Err(Errno::EINPROGRESS | Errno::EALREADY) => Err(Errno::EAGAIN),
            other => other,
        },
    );
    match result {
        // The time is up; the connection may still come about.
        Err(Errno::EAGAIN) if unfinished != Errno::EAGAIN => Err(Errno::EINPROGRESS),
        other => other.map(|()| 0),
    }
}

/// getsockname(2)
pub fn getsockname(cx: &mut Cx, fd: Fd, addr: OutAddr, len: u64) -> SysResult {
    let name = Open::get(cx, fd)?.socket.local_name()?;
    address::write(cx, addr.0, len, &name)?;
    Ok(0)
}

/// getpeername(2)
pub fn getpeername(cx: &mut Cx, fd: Fd, addr: OutAddr, len: u64) -> SysResult {
    let name = Open::get(cx, fd)?.socket.peer_name()?;
    address::write(cx, addr.0, len, &name)?;
    Ok(0)
}

/// shutdown(2)
pub fn shutdown(cx: &mut Cx, fd: Fd, how: i32) -> SysResult {
    let open = Open::get(cx, fd)?;
    let halves = match how {
        SHUT_RD => Halves {
            read: true,
            write: false,
        },
        SHUT_WR => Halves {
            read: false,
            write: true,
        },
        SHUT_RDWR => Halves {
            read: true,
            write: true,
        },
        _ => return Err(Errno::EINVAL),
    };
    open.socket.shutdown(halves)?;
    Ok(0)
}
