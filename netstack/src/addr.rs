//! Addresses: one canonical form inside, the socket's family outside.

use abi::{Errno, Result};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address family of a socket.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Family {
    /// AF_INET.
    Inet,
    /// AF_INET6; unless IPV6_V6ONLY is set it speaks IPv4 too, in mapped addresses.
    Inet6,
}

/// What an address is to a stack.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0.0.0.0 or ::.
    Any,
    /// One of the stack's own.
    Local,
    /// 255.255.255.255 or 127.255.255.255.
    Broadcast,
    /// A group.
    Multicast,
    /// There is no route to it.
    Unreachable,
}

/// An IPv4-mapped address becomes the IPv4 address it stands for; flow labels and scopes are dropped.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A canonical address as a socket of this family shows it.
pub fn shown(addr: SocketAddr, family: Family) -> SocketAddr {
    match (addr.ip(), family) {
        (IpAddr::V4(ip), Family::Inet6) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        _ => addr,
    }
}

/// A socket bound to an address of one version does not reach the other: there is no route from IPv6 to IPv4, and no such address from IPv4.
pub fn same_version(from: IpAddr, to: SocketAddr) -> Result<()> {
    match (from.is_ipv4(), to.is_ipv4()) {
        (false, true) => Err(Errno::ENETUNREACH),
        (true, false) => Err(Errno::EAFNOSUPPORT),
        _ => Ok(()),
    }
}

/// The wildcard of a family.
pub fn any(family: Family) -> IpAddr {
    match family {
        Family::Inet => Ipv4Addr::UNSPECIFIED.into(),
        Family::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The loopback address that goes with an address.
pub fn loopback_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// What a canonical address is, given the stack's extra ones.
pub fn classify(ip: IpAddr, local: &[IpAddr]) -> Kind {
    const LO_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
    match ip {
        _ if ip.is_unspecified() => Kind::Any,
        IpAddr::V4(Ipv4Addr::BROADCAST | LO_BROADCAST) => Kind::Broadcast,
        _ if ip.is_loopback() || local.contains(&ip) => Kind::Local,
        _ if ip.is_multicast() => Kind::Multicast,
        _ => Kind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let extra = ["10.0.0.2".parse().unwrap()];
        let table = [
            ("0.0.0.0", Kind::Any),
            ("::", Kind::Any),
            ("127.0.0.1", Kind::Local),
            ("127.200.3.4", Kind::Local),
            ("::1", Kind::Local),
            ("10.0.0.2", Kind::Local),
            ("10.0.0.3", Kind::Unreachable),
            ("127.255.255.255", Kind::Broadcast),
            ("255.255.255.255", Kind::Broadcast),
            ("224.0.0.1", Kind::Multicast),
            ("ff02::1", Kind::Multicast),
            ("fe80::1", Kind::Unreachable),
        ];
        for (text, kind) in table {
            assert_eq!(classify(text.parse().unwrap(), &extra), kind, "{text}");
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4_inside() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().unwrap();
        let plain: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(
            (
                canonical(mapped),
                shown(plain, Family::Inet6),
                shown(plain, Family::Inet)
            ),
            (plain, mapped, plain)
        );
    }
}
