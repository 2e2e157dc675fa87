//! Sockets: making, naming, connecting, sending, receiving, options. The objects are in `sentry::socket`; here guest structures become typed ones, and calls wait.

mod address;
mod control;
mod open;
mod option;
mod recv;
mod send;
mod show;

use crate::args::{Fd, InBuf, LooseFlags, OutBuf};
use abi::Errno;
use abi::socket::MsgFlags;
use address::{InAddr, OutAddr};
use fs::File;
use sentry::kernel::Cx;
use sentry::socket::Socket;
use sentry::syscall::Syscall;
use show::{Domain, Level, MsgArg, Option_, Type};
use std::sync::Arc;

type Flags = LooseFlags<MsgFlags>;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    SOCKET socket(domain: Domain, kind: Type, protocol: i32) => open::socket, Partial("families besides AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK (routes: dumps only); interfaces besides loopback");
    SOCKETPAIR socketpair(domain: Domain, kind: Type, protocol: i32, sv: u64 as OutAt<[i32; 2]>) => open::socketpair, Full;
    BIND bind(fd: Fd, addr: InAddr, addrlen: i32) => open::bind, Full;
    LISTEN listen(fd: Fd, backlog: i32) => open::listen, Full;
    ACCEPT accept(fd: Fd, addr: OutAddr, addrlen: u64 as OutAt<i32>) => open::accept, Full;
    ACCEPT4 accept4(fd: Fd, addr: OutAddr, addrlen: u64 as OutAt<i32>, flags: i32) => open::accept4, Full;
    CONNECT connect(fd: Fd, addr: InAddr, addrlen: i32) => open::connect, Full;
    GETSOCKNAME getsockname(fd: Fd, addr: OutAddr, addrlen: u64 as OutAt<i32>) => open::getsockname, Full;
    GETPEERNAME getpeername(fd: Fd, addr: OutAddr, addrlen: u64 as OutAt<i32>) => open::getpeername, Full;
    SHUTDOWN shutdown(fd: Fd, how: i32 as ShutdownHow) => open::shutdown, Full;
    SENDTO sendto(fd: Fd, buf: InBuf, len: usize, flags: Flags, addr: InAddr, addrlen: i32) => send::sendto, Full;
    SENDMSG sendmsg(fd: Fd, msg: MsgArg, flags: Flags) => send::sendmsg, Full;
    SENDMMSG sendmmsg(fd: Fd, msgvec: u64 as Hex, vlen: u32, flags: Flags) => send::sendmmsg, Full;
    RECVFROM recvfrom(fd: Fd, buf: OutBuf, len: usize, flags: Flags, addr: OutAddr, addrlen: u64 as OutAt<i32>) => recv::recvfrom, Full;
    RECVMSG recvmsg(fd: Fd, msg: MsgArg, flags: Flags) => recv::recvmsg, Full;
    RECVMMSG recvmmsg(fd: Fd, msgvec: u64 as Hex, vlen: u32, flags: Flags, timeout: u64) => recv::recvmmsg, Full;
    SETSOCKOPT setsockopt(fd: Fd, level: Level, name: Option_, value: u64 as OptionIn, len: i32) => option::setsockopt, Partial("filters of streams and of what lies beside a packet; options that no family here has (ENOPROTOOPT)");
    GETSOCKOPT getsockopt(fd: Fd, level: Level, name: Option_, value: u64 as OptionOut, len: u64 as OutAt<i32>) => option::getsockopt, Partial("options that no family here has (ENOPROTOOPT)");
};

/// A socket's description and itself: `EBADF`, `ENOTSOCK`.
struct Open {
    file: Arc<File>,
    socket: Arc<dyn Socket>,
}

impl Open {
    fn get(cx: &Cx, fd: Fd) -> Result<Self, Errno> {
        let file = cx.files()?.get(fd)?;
        if file.is_path() {
            return Err(Errno::EBADF);
        }
        let socket = sentry::socket::of(&file)?.clone();
        Ok(Self { file, socket })
    }

    fn nonblocking(&self, flags: MsgFlags) -> bool {
        self.file.nonblocking() || flags.contains(MsgFlags::MSG_DONTWAIT)
    }
}

/// Waits on a socket until `attempt` no longer answers `EAGAIN`, at most `timeout` nanoseconds (`SO_RCVTIMEO`, `SO_SNDTIMEO`). With a timeout an interrupted call
/// is not restarted, for the time would begin anew.
fn wait<T>(
    cx: &Cx,
    socket: &dyn Socket,
    events: fs::Events,
    timeout: Option<u64>,
    attempt: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let deadline = timeout.map(|t| cx.kernel().clock.monotonic().saturating_add(t));
    match cx.wait_on(socket.pollee(), events, deadline, attempt) {
        Err(Errno::ERESTARTSYS) if timeout.is_some() => Err(Errno::EINTR),
        other => other,
    }
}

/// The calling task, as sockets see it.
fn caller(cx: &Cx) -> &dyn sentry::socket::SocketCaller {
    &**cx.task()
}
