//! `AF_INET` and `AF_INET6` by sockets of the host (`--network=host-sockets`), opened in the network namespace that the sandbox was put into.
//!
//! ```text
//!   Socket (the seam) ─► HostSocket ─► platform::hostsocket: non-blocking host calls
//!   poll, epoll, waits ◄─ Pollee of HostFd ◄─ the notifier thread's epoll_wait on the host socket
//! ```
//!
//! Nothing here waits: what would answers `EAGAIN` or `EINPROGRESS`, and the task sleeps on the [`Pollee`]. What a guest asks is checked twice: here, against lists of what is
//! passed on ([`options`]) and the guest's own capabilities, and by the host, for which the sandbox has none.

pub mod options;
pub mod routes;
pub mod tables;
#[cfg(test)]
mod tests;

use super::options::int;
use super::{
    Common, Halves, Identity, NetNamespace, Received, SendMsg, Socket, SocketCaller, SocketFile,
    inet,
};
use abi::Errno;
use abi::socket::*;
use fs::hostfile::HostFd;
use fs::{Events, Pollee, UserMemory, anon};
use netstack::{Family, Owner, SocketEntry};
use options::{RECV_FLAGS, SEND_FLAGS, TOLD_FLAGS};
use platform::hostsocket::{self, Queue};
use std::any::Any;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use sync::Mutex;

const IPPROTO_ICMPV6: i32 = 58;
/// Room for the control messages of one message.
const CONTROL: usize = 512;

/// A network namespace of the host's, as the sandbox uses it.
pub struct HostNet {
    /// Links, addresses, routes.
    routes: routes::Routes,
    /// Sockets of the guest's, by their address in memory (`/proc/net`).
    sockets: Mutex<BTreeMap<usize, Weak<HostSocket>>>,
}

impl HostNet {
    /// `netlink`: a `NETLINK_ROUTE` socket made in the namespace.
    pub fn new(netlink: OwnedFd) -> Self {
        Self {
            routes: routes::Routes::new(netlink),
            sockets: Mutex::default(),
        }
    }

    /// A socket for [`HostNet::new`], in the namespace of the caller.
    pub fn socket() -> Result<OwnedFd, Errno> {
        hostsocket::open(i32::from(AF_NETLINK), SOCK_RAW, 0)
    }

    /// Links, addresses, routes.
    pub fn routes(&self) -> &routes::Routes {
        &self.routes
    }

    /// The guest's sockets of a kind, as /proc/net shows them.
    pub fn entries(&self, kind: i32) -> Vec<SocketEntry> {
        let all: Vec<_> = self
            .sockets
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        all.iter()
            .filter(|s| s.identity.kind == kind && s.is_shown())
            .map(|s| s.entry())
            .collect()
    }
}

/// A socket of the host's.
pub struct HostSocket {
    host: Arc<HostFd>,
    identity: Identity,
    common: Common,
    net: Arc<NetNamespace>,
    owner: Owner,
    /// Of an accepted one.
    peer: Option<Vec<u8>>,
}

/// `socket(AF_INET or AF_INET6, …)`
pub fn create(
    caller: &dyn SocketCaller,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<SocketFile, Errno> {
    let echo = if domain == i32::from(AF_INET) {
        IPPROTO_ICMP
    } else {
        IPPROTO_ICMPV6
    };
    let protocol = match (kind, protocol) {
        (SOCK_STREAM, 0 | IPPROTO_TCP) => IPPROTO_TCP,
        (SOCK_DGRAM, 0 | IPPROTO_UDP) => IPPROTO_UDP,
        (SOCK_DGRAM, p) if p == echo => p,
        _ => return Err(inet::not_supported(caller, kind, protocol)),
    };
    let fd = hostsocket::open(domain, kind, protocol)?;
    let identity = Identity {
        domain,
        kind,
        protocol,
    };
    file(
        caller,
        caller.net(),
        fd,
        identity,
        caller.creds().uid,
        Common::default(),
        None,
    )
}

/// A description for a host socket.
fn file(
    caller: &dyn SocketCaller,
    net: Arc<NetNamespace>,
    fd: OwnedFd,
    identity: Identity,
    uid: u32,
    common: Common,
    peer: Option<Vec<u8>>,
) -> Result<SocketFile, Errno> {
    let path = anon::socket(caller);
    let inode = path.inode().attr().map_or(0, |a| a.ino);
    let socket = Arc::new(HostSocket {
        host: HostFd::socket(fd)?,
        identity,
        common,
        net,
        owner: Owner { uid, inode },
        peer,
    });
    if let Some(host) = socket.net.host() {
        let key = Arc::as_ptr(&socket).addr();
        host.sockets.lock().insert(key, Arc::downgrade(&socket));
    }
    Ok(SocketFile::with_path(socket, path))
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        if let Some(host) = self.net.host() {
            let key = std::ptr::from_ref(self).addr();
            host.sockets.lock().remove(&key);
        }
    }
}

/// The address and port of a `sockaddr`.
fn parse(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    let ip: IpAddr = match u16::from_ne_bytes(*name.first_chunk()?) {
        AF_INET => Ipv4Addr::from(*name.get(4..)?.first_chunk::<4>()?).into(),
        AF_INET6 => Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

impl HostSocket {
    fn fd(&self) -> BorrowedFd<'_> {
        self.host.fd().as_fd()
    }

    fn is_stream(&self) -> bool {
        self.identity.kind == SOCK_STREAM
    }

    fn queued(&self, which: Queue) -> u32 {
        u32::try_from(hostsocket::queue(self.fd(), which).unwrap_or(0)).unwrap_or(0)
    }

    /// `tcpi_state`; of others, whether they are connected.
    fn state(&self) -> u8 {
        if !self.is_stream() {
            let connected = hostsocket::peer_name(self.fd()).is_ok();
            return if connected {
                TCP_ESTABLISHED
            } else {
                TCP_CLOSE
            };
        }
        let mut state = [0];
        match hostsocket::get_option(self.fd(), SOL_TCP, TCP_INFO, &mut state) {
            Ok(_) => state[0],
            Err(_) => TCP_CLOSE,
        }
    }

    /// Linux lists what has a port. (Sockets for echo requests are in other files.)
    fn is_shown(&self) -> bool {
        let port = hostsocket::local_name(self.fd())
            .ok()
            .and_then(|name| parse(&name))
            .map_or(0, |at| at.port());
        port != 0 && matches!(self.identity.protocol, IPPROTO_TCP | IPPROTO_UDP)
    }

    fn entry(&self) -> SocketEntry {
        let v6 = self.identity.domain == i32::from(AF_INET6);
        let nowhere: IpAddr = if v6 {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        let place = |name: Result<Vec<u8>, Errno>| {
            name.ok()
                .and_then(|n| parse(&n))
                .unwrap_or(SocketAddr::new(nowhere, 0))
        };
        SocketEntry {
            family: if v6 { Family::Inet6 } else { Family::Inet },
            local: place(hostsocket::local_name(self.fd())),
            remote: place(hostsocket::peer_name(self.fd())),
            state: self.state(),
            tx_queue: self.queued(Queue::Output),
            rx_queue: self.queued(Queue::Input),
            owner: self.owner,
            drops: 0,
            expires: 0,
        }
    }
}

impl Socket for HostSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn identity(&self) -> Identity {
        self.identity
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn pollee(&self) -> &Pollee {
        self.host.changes()
    }
    fn poll(&self) -> Events {
        self.host.poll()
    }

    fn bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let first = self.net.stack().settings().unprivileged_port_start;
        let port = parse(addr).map_or(0, |at| at.port());
        let may = || caller.cred().has_cap(abi::cap::CAP_NET_BIND_SERVICE);
        if (1..first).contains(&port) && !may() {
            return Err(Errno::EACCES);
        }
        hostsocket::bind(self.fd(), addr)
    }
    fn listen(&self, _caller: &dyn SocketCaller, backlog: i32) -> Result<(), Errno> {
        hostsocket::listen(self.fd(), backlog)
    }
    fn connect(&self, _caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        hostsocket::connect(self.fd(), addr)
    }
    fn accept(&self, caller: &dyn SocketCaller) -> Result<SocketFile, Errno> {
        let (fd, peer) = hostsocket::accept(self.fd())?;
        let common = Common::default();
        common.inherit(&self.common);
        let net = self.net.clone();
        let uid = self.owner.uid;
        file(caller, net, fd, self.identity, uid, common, Some(peer))
    }

    fn send(&self, _caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        if msg.flags.contains(MsgFlags::MSG_FASTOPEN) {
            return Err(Errno::EOPNOTSUPP);
        }
        // The address of a stream's message is ignored, and so is what goes along.
        let (to, control) = if self.is_stream() {
            (None, Vec::new())
        } else {
            (msg.to, options::outgoing(msg.control)?)
        };
        let flags = (msg.flags & SEND_FLAGS).bits();
        hostsocket::send(self.fd(), msg.data, to, &control, flags.cast_signed())
    }
    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        let mut asked = flags & RECV_FLAGS;
        if !self.is_stream() {
            // So that the host tells how long it was.
            asked |= MsgFlags::MSG_TRUNC;
        }
        let mut control = [0; CONTROL];
        let flags = asked.bits().cast_signed();
        let got = hostsocket::recv(self.fd(), buf, &mut control, flags)?;
        let told = MsgFlags::from_bits_truncate(got.flags.cast_unsigned());
        // (A stream's bytes may be thrown away instead of copied: then there may be more of them than room.)
        let len = if self.is_stream() {
            got.len
        } else {
            got.len.min(buf.len())
        };
        Ok(Received {
            len,
            full_len: got.len,
            from: got.from,
            control: options::incoming(control.get(..got.control).unwrap_or_default()),
            flags: told & TOLD_FLAGS,
        })
    }
    fn shutdown(&self, how: Halves) -> Result<(), Errno> {
        let how = match (how.read, how.write) {
            (true, true) => SHUT_RDWR,
            (true, false) => SHUT_RD,
            _ => SHUT_WR,
        };
        hostsocket::shutdown(self.fd(), how)
    }
    fn local_name(&self) -> Result<Vec<u8>, Errno> {
        hostsocket::local_name(self.fd())
    }
    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        hostsocket::peer_name(self.fd())
    }
    fn accepted_from(&self) -> Result<Vec<u8>, Errno> {
        self.peer.clone().ok_or(Errno::ENOTCONN)
    }

    fn has_all_options(&self) -> bool {
        true
    }
    fn get_option(
        &self,
        _caller: &dyn SocketCaller,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        if level == SOL_SOCKET && OURS.contains(&name) {
            return super::options::get(self, name);
        }
        if (level, name) == (SOL_SOCKET, SO_PEERCRED) {
            return Ok(inet::no_peer_credentials());
        }
        let known = options::find(level, name).filter(|o| o.get);
        let mut value = vec![0; known.ok_or(Errno::ENOPROTOOPT)?.size];
        let len = hostsocket::get_option(self.fd(), level, name, &mut value)?;
        value.truncate(len);
        Ok(value)
    }
    fn set_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        if level == SOL_SOCKET && name == SO_LINGER {
            // Time to wait at close is kept here alone: on the host it would hold up the thread that closes. No time at all is a
            // reset, which the host makes.
            super::options::set(self, caller, name, value)?;
            let reset = self.common.linger() == Some(0);
            let host = [i32::from(reset).to_ne_bytes(), [0; 4]].concat();
            return hostsocket::set_option(self.fd(), level, name, &host);
        }
        if level == SOL_SOCKET && OURS.contains(&name) {
            return super::options::set(self, caller, name, value);
        }
        if level == SOL_SOCKET && name == SO_PRIORITY {
            let admin = caller.cred().has_cap(abi::cap::CAP_NET_ADMIN);
            if !(0..=6).contains(&int(value)?) && !admin {
                return Err(Errno::EPERM);
            }
        }
        let known = options::find(level, name).filter(|o| o.set);
        let size = known.ok_or(Errno::ENOPROTOOPT)?.size;
        hostsocket::set_option(self.fd(), level, name, value.get(..size).unwrap_or(value))
    }
    fn take_error(&self) -> Option<Errno> {
        let mut value = [0; 4];
        hostsocket::get_option(self.fd(), SOL_SOCKET, SO_ERROR, &mut value).ok()?;
        Some(i32::from_ne_bytes(value))
            .filter(|n| *n != 0)
            .map(Errno::from_raw)
    }
    fn is_listening(&self) -> bool {
        let mut value = [0; 4];
        let asked = hostsocket::get_option(self.fd(), SOL_SOCKET, SO_ACCEPTCONN, &mut value);
        asked.is_ok() && value != [0; 4]
    }
    fn ioctl(
        &self,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        use abi::ioctl::{SIOCATMARK, SIOCINQ, SIOCOUTQ};
        let which = match cmd {
            SIOCINQ => Queue::Input,
            SIOCOUTQ => Queue::Output,
            SIOCATMARK if self.is_stream() => Queue::AtMark,
            _ => return super::interface::ioctl(&self.net, caller, mem, cmd, arg),
        };
        let n = hostsocket::queue(self.fd(), which)?;
        mem.write(arg, &n.to_ne_bytes())?;
        Ok(0)
    }
    /// The host socket goes with the last reference.
    fn close(&self) {}
}

/// Options of `SOL_SOCKET` that are the sentry's to keep: who waits and how long, and what is known without asking.
const OURS: &[i32] = &[
    SO_TYPE,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_ERROR,
    SO_ACCEPTCONN,
    SO_RCVTIMEO_OLD,
    SO_RCVTIMEO_NEW,
    SO_SNDTIMEO_OLD,
    SO_SNDTIMEO_NEW,
    SO_LINGER,
    SO_SNDLOWAT,
    SO_PASSCRED,
];
