//! `AF_INET` and `AF_INET6` over `netstack` (`ip(7)`, `ipv6(7)`, `tcp(7)`, `udp(7)`): addresses, privileges and control messages; the protocols are below.

use super::{
    Common, Control, Halves, Identity, NetNamespace, Received, SendMsg, Socket, SocketCaller,
    SocketFile,
};
use abi::Errno;
use abi::socket::*;
use fs::{Events, Pollee, UserMemory, anon};
use netstack::{Family, Notify, Owner, RecvFlags, Shutdown, TcpEndpoint, UdpEndpoint};
use std::any::Any;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_RAW: u32 = 13;

/// Who waits on a socket: the endpoint tells it, and does not own the socket.
#[derive(Default)]
struct Wake(Pollee);

impl Notify for Wake {
    fn notify(&self, events: u32) {
        self.0.notify(Events::from_bits_truncate(events));
    }
}

enum Endpoint {
    Tcp(Arc<TcpEndpoint>),
    Udp(Arc<UdpEndpoint>),
}

/// A TCP or UDP socket.
pub struct InetSocket {
    endpoint: Endpoint,
    family: Family,
    wake: Arc<Wake>,
    common: Common,
    net: Arc<NetNamespace>,
    owner: Owner,
}

/// `socket(AF_INET or AF_INET6, …)`
pub fn create(
    caller: &dyn SocketCaller,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<SocketFile, Errno> {
    let net = caller.net();
    if net.host().is_some() {
        return super::host::create(caller, domain, kind, protocol);
    }
    let family = if domain == i32::from(AF_INET) {
        Family::Inet
    } else {
        Family::Inet6
    };
    let stream = match (kind, protocol) {
        (SOCK_STREAM, 0 | IPPROTO_TCP) => true,
        (SOCK_DGRAM, 0 | IPPROTO_UDP) => false,
        _ => return Err(not_supported(caller, kind, protocol)),
    };
    let path = anon::socket(caller);
    let owner = Owner {
        uid: caller.creds().uid,
        inode: path.inode().attr().map_or(0, |a| a.ino),
    };
    let wake = Arc::new(Wake::default());
    let endpoint = if stream {
        Endpoint::Tcp(net.stack().tcp(family, owner, wake.clone()))
    } else {
        Endpoint::Udp(net.stack().udp(family, owner, wake.clone()))
    };
    let socket = InetSocket {
        endpoint,
        family,
        wake,
        common: Common::default(),
        net,
        owner,
    };
    Ok(SocketFile::with_path(Arc::new(socket), path))
}

/// Why there is no socket of this type and protocol.
pub(super) fn not_supported(caller: &dyn SocketCaller, kind: i32, protocol: i32) -> Errno {
    let real = (0..IPPROTO_MAX).contains(&protocol);
    match kind {
        SOCK_STREAM | SOCK_DGRAM | SOCK_RAW if !real => Errno::EINVAL,
        SOCK_RAW if protocol != 0 && !caller.cred().has_cap(CAP_NET_RAW) => Errno::EPERM,
        SOCK_STREAM | SOCK_DGRAM | SOCK_RAW => Errno::EPROTONOSUPPORT,
        _ => Errno::ESOCKTNOSUPPORT,
    }
}

/// `SO_PEERCRED`: nobody.
pub(super) fn no_peer_credentials() -> Vec<u8> {
    [0i32, -1, -1].map(i32::to_ne_bytes).concat()
}

/// A `sockaddr_in` or `sockaddr_in6`.
pub fn to_bytes(addr: SocketAddr) -> Vec<u8> {
    match addr {
        SocketAddr::V4(a) => [
            &AF_INET.to_ne_bytes()[..],
            &a.port().to_be_bytes(),
            &a.ip().octets(),
            &[0; 8],
        ]
        .concat(),
        SocketAddr::V6(a) => [
            &AF_INET6.to_ne_bytes()[..],
            &a.port().to_be_bytes(),
            &a.flowinfo().to_be_bytes(),
            &a.ip().octets(),
            &a.scope_id().to_ne_bytes(),
        ]
        .concat(),
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Errno> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .ok_or(Errno::EINVAL)
}

fn family_of(addr: &[u8]) -> Result<u16, Errno> {
    Ok(u16::from_ne_bytes(chunk(addr, 0)?))
}

fn parse_v4(addr: &[u8]) -> Result<SocketAddr, Errno> {
    if addr.len() < 16 {
        return Err(Errno::EINVAL);
    }
    let ip = Ipv4Addr::from(chunk::<4>(addr, 4)?);
    Ok(SocketAddr::new(
        ip.into(),
        u16::from_be_bytes(chunk(addr, 2)?),
    ))
}

fn parse_v6(addr: &[u8]) -> Result<SocketAddr, Errno> {
    // RFC 2133 had no scope.
    if addr.len() < 24 {
        return Err(Errno::EINVAL);
    }
    let ip = Ipv6Addr::from(chunk::<16>(addr, 8)?);
    let scope = chunk::<4>(addr, 24).map_or(0, u32::from_ne_bytes);
    let port = u16::from_be_bytes(chunk(addr, 2)?);
    Ok(SocketAddrV6::new(ip, port, u32::from_be_bytes(chunk(addr, 4)?), scope).into())
}

impl InetSocket {
    /// The address of a `bind`, `connect` or `sendto`. `AF_UNSPEC` is the caller's to treat first.
    fn parse(&self, addr: &[u8], datagram_target: bool) -> Result<SocketAddr, Errno> {
        let family = family_of(addr)?;
        match (self.family, family) {
            (Family::Inet, AF_INET) => parse_v4(addr),
            (Family::Inet, AF_UNSPEC) if datagram_target => parse_v4(addr),
            // An IPv6 datagram socket takes IPv4 targets as they are.
            (Family::Inet6, AF_INET) if datagram_target => match parse_v4(addr)? {
                SocketAddr::V4(a) => Ok(SocketAddr::new(a.ip().to_ipv6_mapped().into(), a.port())),
                other => Ok(other),
            },
            (Family::Inet6, AF_INET6) => parse_v6(addr),
            _ if addr.len() < if self.family == Family::Inet { 16 } else { 24 } => {
                Err(Errno::EINVAL)
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn recv_udp(
        &self,
        udp: &UdpEndpoint,
        buf: &mut [u8],
        flags: MsgFlags,
    ) -> Result<Received, Errno> {
        if flags.contains(MsgFlags::MSG_ERRQUEUE) {
            let (len, error) = udp.recv_error(buf)?;
            return Ok(returned(self.family, len, error));
        }
        let got = udp.recv(buf, how(flags))?;
        let mut control = Vec::new();
        if got.from.is_some() {
            // The stack's clock stands still when the machine sleeps; the time of day does not.
            let age = sync::time::monotonic_ns().saturating_sub(got.at);
            self.common
                .received(sync::time::realtime_ns().saturating_sub(age), &mut control);
        }
        let on = |level, name| udp.is_on(level, name);
        match (self.family, got.to) {
            (Family::Inet, IpAddr::V4(to)) => {
                if on(SOL_IP, IP_PKTINFO) {
                    let info = [&1i32.to_ne_bytes()[..], &to.octets(), &to.octets()].concat();
                    control.push(Control::Other(SOL_IP, IP_PKTINFO, info));
                }
                if on(SOL_IP, IP_RECVTTL) {
                    control.push(Control::Other(
                        SOL_IP,
                        IP_TTL,
                        i32::from(got.ttl).to_ne_bytes().to_vec(),
                    ));
                }
                if on(SOL_IP, IP_RECVTOS) {
                    control.push(Control::Other(SOL_IP, IP_TOS, vec![got.tos]));
                }
            }
            (Family::Inet6, to) => {
                let ip = match to {
                    IpAddr::V6(ip) => ip,
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                };
                if on(SOL_IPV6, IPV6_RECVPKTINFO) {
                    let info = [&ip.octets()[..], &1i32.to_ne_bytes()].concat();
                    control.push(Control::Other(SOL_IPV6, IPV6_PKTINFO, info));
                }
                if on(SOL_IPV6, IPV6_RECVHOPLIMIT) {
                    control.push(Control::Other(
                        SOL_IPV6,
                        IPV6_HOPLIMIT,
                        i32::from(got.ttl).to_ne_bytes().to_vec(),
                    ));
                }
                if on(SOL_IPV6, IPV6_RECVTCLASS) {
                    control.push(Control::Other(
                        SOL_IPV6,
                        IPV6_TCLASS,
                        i32::from(got.tos).to_ne_bytes().to_vec(),
                    ));
                }
            }
            _ => {}
        }
        let mut out = MsgFlags::empty();
        out.set(MsgFlags::MSG_TRUNC, got.len > got.count);
        Ok(Received {
            len: got.count,
            full_len: got.len,
            from: got.from.map(to_bytes),
            control,
            flags: out,
        })
    }
}

/// What `MSG_ERRQUEUE` received: an error, with the first bytes of the datagram that it is about.
fn returned(family: Family, len: usize, error: netstack::SocketError) -> Received {
    let v4 = family == Family::Inet;
    // Port unreachable, in ICMP's and ICMPv6's numbers.
    let icmp4 = error.offender.to_canonical().is_ipv4();
    let extended = SockExtendedErr {
        ee_errno: error.errno.raw().unsigned_abs(),
        ee_origin: if icmp4 { 2 } else { 3 },
        ee_type: if icmp4 { 3 } else { 1 },
        ee_code: if icmp4 { 3 } else { 4 },
        ..SockExtendedErr::default()
    };
    let mut data = zerocopy::IntoBytes::as_bytes(&extended).to_vec();
    data.extend(to_bytes(SocketAddr::new(error.offender, 0)));
    let (level, name) = if v4 {
        (SOL_IP, IP_RECVERR)
    } else {
        (SOL_IPV6, IPV6_RECVERR)
    };
    let mut flags = MsgFlags::MSG_ERRQUEUE;
    flags.set(MsgFlags::MSG_TRUNC, error.data.len() > len);
    Received {
        len,
        full_len: len,
        from: Some(to_bytes(error.to)),
        control: vec![Control::Other(level, name, data)],
        flags,
    }
}

/// What `MSG_OOB` received: a byte, or nothing at the end.
fn one_urgent(buf: &mut [u8], byte: Option<u8>) -> Received {
    let Some(byte) = byte else {
        return Received::default();
    };
    let mut flags = MsgFlags::MSG_OOB;
    let len = buf.first_mut().map_or(0, |to| {
        *to = byte;
        1
    });
    flags.set(MsgFlags::MSG_TRUNC, len == 0);
    Received {
        len,
        full_len: len,
        flags,
        ..Received::default()
    }
}

fn how(flags: MsgFlags) -> RecvFlags {
    let mut how = RecvFlags::empty();
    how.set(RecvFlags::PEEK, flags.contains(MsgFlags::MSG_PEEK));
    how.set(RecvFlags::NONBLOCK, flags.contains(MsgFlags::MSG_DONTWAIT));
    how
}

impl Socket for InetSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn identity(&self) -> Identity {
        let domain = i32::from(if self.family == Family::Inet {
            AF_INET
        } else {
            AF_INET6
        });
        match &self.endpoint {
            Endpoint::Tcp(_) => Identity {
                domain,
                kind: SOCK_STREAM,
                protocol: IPPROTO_TCP,
            },
            Endpoint::Udp(_) => Identity {
                domain,
                kind: SOCK_DGRAM,
                protocol: IPPROTO_UDP,
            },
        }
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn pollee(&self) -> &Pollee {
        &self.wake.0
    }
    fn poll(&self) -> Events {
        Events::from_bits_truncate(match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.readiness(),
            Endpoint::Udp(udp) => udp.readiness(),
        })
    }

    fn bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let to = match (self.family, family_of(addr)?) {
            // Compatible with programs that forget the family.
            (Family::Inet, AF_UNSPEC) if addr.len() >= 16 && chunk::<4>(addr, 4)? == [0; 4] => {
                parse_v4(addr)?
            }
            _ => self.parse(addr, false)?,
        };
        let privileged = self.net.stack().settings().unprivileged_port_start;
        if to.port() != 0 && to.port() < privileged && !caller.cred().has_cap(CAP_NET_BIND_SERVICE)
        {
            return Err(Errno::EACCES);
        }
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.bind(to),
            Endpoint::Udp(udp) => udp.bind(to),
        }
    }
    fn listen(&self, _caller: &dyn SocketCaller, backlog: i32) -> Result<(), Errno> {
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.listen(backlog),
            Endpoint::Udp(_) => Err(Errno::EOPNOTSUPP),
        }
    }
    fn connect(&self, _caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        if family_of(addr)? == AF_UNSPEC {
            return match &self.endpoint {
                Endpoint::Tcp(tcp) => tcp.disconnect(),
                Endpoint::Udp(udp) => udp.disconnect(),
            };
        }
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.connect(self.parse(addr, false)?),
            Endpoint::Udp(udp) => udp.connect(self.parse(addr, self.family == Family::Inet6)?),
        }
    }
    fn accept(&self, caller: &dyn SocketCaller) -> Result<SocketFile, Errno> {
        let Endpoint::Tcp(tcp) = &self.endpoint else {
            return Err(Errno::EOPNOTSUPP);
        };
        let path = anon::socket(caller);
        let owner = Owner {
            uid: self.owner.uid,
            inode: path.inode().attr().map_or(0, |a| a.ino),
        };
        let wake = Arc::new(Wake::default());
        let (endpoint, _) = tcp.accept(owner, wake.clone())?;
        let common = Common::default();
        common.inherit(&self.common);
        let socket = InetSocket {
            endpoint: Endpoint::Tcp(endpoint),
            family: self.family,
            wake,
            common,
            net: self.net.clone(),
            owner,
        };
        Ok(SocketFile::with_path(Arc::new(socket), path))
    }

    fn send(&self, _caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        let urgent = msg.flags.contains(MsgFlags::MSG_OOB);
        match &self.endpoint {
            // The address of a stream's message is ignored.
            Endpoint::Tcp(tcp) if urgent => tcp.send_urgent(msg.data),
            Endpoint::Tcp(tcp) => tcp.send(msg.data),
            Endpoint::Udp(_) if urgent => Err(Errno::EOPNOTSUPP),
            Endpoint::Udp(udp) => {
                udp.send(msg.data, msg.to.map(|to| self.parse(to, true)).transpose()?)
            }
        }
    }
    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        match &self.endpoint {
            Endpoint::Tcp(_) if flags.contains(MsgFlags::MSG_ERRQUEUE) => Err(Errno::EAGAIN),
            Endpoint::Tcp(tcp) if flags.contains(MsgFlags::MSG_OOB) => {
                let byte = tcp.recv_urgent(how(flags))?;
                Ok(one_urgent(buf, byte))
            }
            Endpoint::Tcp(tcp) => {
                let mut how = how(flags);
                how.set(RecvFlags::DISCARD, flags.contains(MsgFlags::MSG_TRUNC));
                let len = tcp.recv(buf, how)?;
                let left = tcp
                    .inq()
                    .map(|left| Control::Other(SOL_TCP, TCP_INQ, left.to_ne_bytes().to_vec()));
                Ok(Received {
                    len,
                    full_len: len,
                    control: left.into_iter().collect(),
                    ..Received::default()
                })
            }
            Endpoint::Udp(udp) => self.recv_udp(udp, buf, flags),
        }
    }
    fn shutdown(&self, how: Halves) -> Result<(), Errno> {
        let how = match (how.read, how.write) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            _ => Shutdown::Write,
        };
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.shutdown(how),
            Endpoint::Udp(udp) => udp.shutdown(how),
        }
    }
    fn local_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(to_bytes(match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.local_addr(),
            Endpoint::Udp(udp) => udp.local_addr(),
        }))
    }
    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(to_bytes(match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.peer_addr()?,
            Endpoint::Udp(udp) => udp.peer_addr()?,
        }))
    }
    fn accepted_from(&self) -> Result<Vec<u8>, Errno> {
        match &self.endpoint {
            Endpoint::Tcp(tcp) => Ok(to_bytes(tcp.accepted_from()?)),
            Endpoint::Udp(_) => Err(Errno::ENOTCONN),
        }
    }
    fn get_option(
        &self,
        _caller: &dyn SocketCaller,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        if level == SOL_SOCKET
            && matches!(
                name,
                SO_RCVTIMEO_OLD
                    | SO_RCVTIMEO_NEW
                    | SO_SNDTIMEO_OLD
                    | SO_SNDTIMEO_NEW
                    | SO_TIMESTAMP_OLD
                    | SO_TIMESTAMPNS_OLD
                    | SO_TIMESTAMP_NEW
                    | SO_TIMESTAMPNS_NEW
            )
        {
            return Err(Errno::ENOPROTOOPT);
        }
        if level == SOL_SOCKET && name == SO_PEERCRED {
            return Ok(no_peer_credentials());
        }
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.get_option(level, name, 4),
            Endpoint::Udp(udp) => udp.get_option(level, name, 4),
        }
    }
    fn set_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        let force = level == SOL_SOCKET && matches!(name, SO_SNDBUFFORCE | SO_RCVBUFFORCE);
        if force && !caller.cred().has_cap(abi::cap::CAP_NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        if level == SOL_SOCKET
            && matches!(
                name,
                SO_RCVTIMEO_OLD
                    | SO_RCVTIMEO_NEW
                    | SO_SNDTIMEO_OLD
                    | SO_SNDTIMEO_NEW
                    | SO_TIMESTAMP_OLD
                    | SO_TIMESTAMPNS_OLD
                    | SO_TIMESTAMP_NEW
                    | SO_TIMESTAMPNS_NEW
                    | SO_ATTACH_FILTER
                    | SO_DETACH_FILTER
                    | SO_LOCK_FILTER
                    | SO_MARK
                    | SO_DEBUG
                    | SO_BINDTODEVICE
            )
        {
            // Kept, and privileges checked, where all families have it.
            return Err(Errno::ENOPROTOOPT);
        }
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.set_option(level, name, value),
            Endpoint::Udp(udp) => udp.set_option(level, name, value),
        }
    }
    fn filter_changed(&self) {
        if let Endpoint::Udp(udp) = &self.endpoint {
            udp.set_filter(self.common.filter().map(|program| -> netstack::Filter {
                Arc::new(move |packet: &[u8]| program.keep(packet))
            }));
        }
    }
    fn take_error(&self) -> Option<Errno> {
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.take_error(),
            Endpoint::Udp(udp) => udp.take_error(),
        }
    }
    fn is_listening(&self) -> bool {
        const TCP_LISTEN: u8 = 10;
        matches!(&self.endpoint, Endpoint::Tcp(tcp) if tcp.tcp_state() == TCP_LISTEN)
    }
    fn ioctl(
        &self,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        use abi::ioctl::{SIOCATMARK, SIOCGSTAMP, SIOCGSTAMPNS, SIOCINQ, SIOCOUTQ};
        if matches!(cmd, SIOCGSTAMP | SIOCGSTAMPNS) {
            let time = self.common.last_stamp(cmd == SIOCGSTAMPNS)?;
            mem.write(arg, &time)?;
            return Ok(0);
        }
        let n = match (cmd, &self.endpoint) {
            (SIOCINQ, Endpoint::Tcp(tcp)) => tcp.input_queue()?,
            (SIOCINQ, Endpoint::Udp(udp)) => udp.input_queue(),
            (SIOCOUTQ, Endpoint::Tcp(tcp)) => tcp.output_queue()?,
            (SIOCOUTQ, Endpoint::Udp(_)) => 0,
            (SIOCATMARK, Endpoint::Tcp(tcp)) => usize::from(tcp.is_at_mark()),
            _ => return super::interface::ioctl(&self.net, caller, mem, cmd, arg),
        };
        mem.write(arg, &i32::try_from(n).unwrap_or(i32::MAX).to_ne_bytes())?;
        Ok(0)
    }
    fn close(&self) {
        match &self.endpoint {
            Endpoint::Tcp(tcp) => tcp.close(),
            Endpoint::Udp(udp) => udp.close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::testing::TestCaller;
    use crate::socket::{get_option, of};
    use fs::File;

    fn socket(c: &TestCaller, kind: i32) -> Arc<File> {
        create(c, 2, kind, 0).unwrap().into_file(c, 0)
    }
    fn addr(port: u16) -> Vec<u8> {
        to_bytes(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
    }

    #[test]
    fn tcp_over_loopback() {
        let c = TestCaller::new(1);
        let (l, k) = (socket(&c, SOCK_STREAM), socket(&c, SOCK_STREAM));
        let (l, k) = (of(&l).unwrap(), of(&k).unwrap());
        assert_eq!(l.bind(&c, &addr(80)), Err(Errno::EACCES));
        l.bind(&c, &addr(0)).unwrap();
        let name = l.local_name().unwrap();
        l.listen(&c, 5).unwrap();
        assert_eq!(k.connect(&c, &name[..8]), Err(Errno::EINVAL));
        assert_eq!(k.connect(&c, &name), Err(Errno::EINPROGRESS));
        assert_eq!(k.connect(&c, &name), Ok(()));
        let server = l.accept(&c).unwrap().into_file(&c, 0);
        let server = of(&server).unwrap();
        assert_eq!(server.peer_name(), k.local_name());
        let msg = SendMsg {
            data: b"hello",
            to: None,
            control: &[],
            flags: MsgFlags::empty(),
        };
        assert_eq!(k.send(&c, &msg), Ok(5));
        let mut buf = [0; 9];
        assert_eq!(server.recv(&mut buf, MsgFlags::MSG_PEEK).unwrap().len, 5);
        assert_eq!(server.recv(&mut buf, MsgFlags::empty()).unwrap().len, 5);
        assert_eq!(
            get_option(&**k, &c, SOL_SOCKET, SO_TYPE).unwrap(),
            SOCK_STREAM.to_ne_bytes()
        );
        assert_eq!(
            get_option(&**l, &c, SOL_SOCKET, SO_ACCEPTCONN).unwrap(),
            1i32.to_ne_bytes()
        );
    }

    #[test]
    fn udp_with_packet_information() {
        let c = TestCaller::new(1);
        let (a, b) = (socket(&c, SOCK_DGRAM), socket(&c, SOCK_DGRAM));
        let (a, b) = (of(&a).unwrap(), of(&b).unwrap());
        a.bind(&c, &addr(0)).unwrap();
        a.set_option(&c, SOL_IP, IP_PKTINFO, &1i32.to_ne_bytes())
            .unwrap();
        let to = a.local_name().unwrap();
        let msg = SendMsg {
            data: b"hello",
            to: Some(&to),
            control: &[],
            flags: MsgFlags::empty(),
        };
        assert_eq!(b.send(&c, &msg), Ok(5));
        let got = a.recv(&mut [0; 3], MsgFlags::empty()).unwrap();
        assert_eq!(
            (got.len, got.full_len, got.flags),
            (3, 5, MsgFlags::MSG_TRUNC)
        );
        assert!(
            matches!(&got.control[..], [Control::Other(SOL_IP, IP_PKTINFO, data)] if data.len() == 12)
        );
        assert_eq!(got.from.unwrap()[..2], [2, 0]);
        assert_eq!(create(&c, 2, SOCK_RAW, 1).err(), Some(Errno::EPERM));
    }
}
