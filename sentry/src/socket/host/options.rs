//! The options, control messages and flags that pass between a guest and the host's sockets. Whatever is on no list here does not reach the host.

use crate::socket::Control;
use abi::Errno;
use abi::socket::*;

/// An option that the host has.
pub struct Known {
    /// `SOL_…`
    pub level: i32,
    /// Its number.
    pub name: i32,
    /// Bytes of its longest value.
    pub size: usize,
    /// It may be asked for.
    pub get: bool,
    /// It may be set.
    pub set: bool,
}

const fn both(level: i32, name: i32, size: usize) -> Known {
    Known {
        level,
        name,
        size,
        get: true,
        set: true,
    }
}
const fn get(level: i32, name: i32, size: usize) -> Known {
    Known {
        set: false,
        ..both(level, name, size)
    }
}
const fn set(level: i32, name: i32, size: usize) -> Known {
    Known {
        get: false,
        ..both(level, name, size)
    }
}

/// What is passed on: values without pointers, about this socket alone. The host checks the caller's rights once more, who has none there, so options
/// that need a capability (`SO_MARK`, `IP_TRANSPARENT`) are not on the list. The sentry's filter is made from it.
pub const LIST: &[Known] = &[
    both(SOL_SOCKET, SO_REUSEADDR, 4),
    both(SOL_SOCKET, SO_REUSEPORT, 4),
    both(SOL_SOCKET, SO_KEEPALIVE, 4),
    both(SOL_SOCKET, SO_BROADCAST, 4),
    both(SOL_SOCKET, SO_DONTROUTE, 4),
    both(SOL_SOCKET, SO_OOBINLINE, 4),
    both(SOL_SOCKET, SO_NO_CHECK, 4),
    both(SOL_SOCKET, SO_PRIORITY, 4),
    both(SOL_SOCKET, SO_SNDBUF, 4),
    both(SOL_SOCKET, SO_RCVBUF, 4),
    both(SOL_SOCKET, SO_RCVLOWAT, 4),
    both(SOL_SOCKET, SO_LINGER, 8),
    both(SOL_SOCKET, SO_BINDTODEVICE, 16),
    both(SOL_SOCKET, SO_TIMESTAMP_OLD, 4),
    both(SOL_SOCKET, SO_TIMESTAMPNS_OLD, 4),
    both(SOL_SOCKET, SO_TIMESTAMP_NEW, 4),
    both(SOL_SOCKET, SO_TIMESTAMPNS_NEW, 4),
    both(SOL_SOCKET, SO_RXQ_OVFL, 4),
    both(SOL_SOCKET, SO_INCOMING_CPU, 4),
    both(SOL_SOCKET, SO_MAX_PACING_RATE, 8),
    get(SOL_SOCKET, SO_ERROR, 4),
    get(SOL_SOCKET, SO_ACCEPTCONN, 4),
    get(SOL_SOCKET, SO_BUSY_POLL, 4),
    get(SOL_SOCKET, SO_COOKIE, 8),
    both(SOL_IP, IP_TOS, 4),
    both(SOL_IP, IP_TTL, 4),
    both(SOL_IP, IP_PKTINFO, 4),
    both(SOL_IP, IP_MTU_DISCOVER, 4),
    both(SOL_IP, IP_RECVERR, 4),
    both(SOL_IP, IP_RECVTTL, 4),
    both(SOL_IP, IP_RECVTOS, 4),
    get(SOL_IP, IP_MTU, 4),
    both(SOL_IP, IP_FREEBIND, 4),
    both(SOL_IP, IP_RECVORIGDSTADDR, 4),
    both(SOL_IP, IP_MINTTL, 4),
    both(SOL_IP, IP_BIND_ADDRESS_NO_PORT, 4),
    both(SOL_IP, IP_LOCAL_PORT_RANGE, 4),
    both(SOL_IP, IP_UNICAST_IF, 4),
    both(SOL_IP, IP_MULTICAST_IF, 12),
    both(SOL_IP, IP_MULTICAST_TTL, 4),
    both(SOL_IP, IP_MULTICAST_LOOP, 4),
    both(SOL_IP, IP_MULTICAST_ALL, 4),
    set(SOL_IP, IP_ADD_MEMBERSHIP, 12),
    set(SOL_IP, IP_DROP_MEMBERSHIP, 12),
    both(SOL_IPV6, IPV6_V6ONLY, 4),
    both(SOL_IPV6, IPV6_UNICAST_HOPS, 4),
    both(SOL_IPV6, IPV6_MULTICAST_IF, 4),
    both(SOL_IPV6, IPV6_MULTICAST_HOPS, 4),
    both(SOL_IPV6, IPV6_MULTICAST_LOOP, 4),
    both(SOL_IPV6, IPV6_MULTICAST_ALL, 4),
    set(SOL_IPV6, IPV6_ADD_MEMBERSHIP, 20),
    set(SOL_IPV6, IPV6_DROP_MEMBERSHIP, 20),
    both(SOL_IPV6, IPV6_MTU_DISCOVER, 4),
    both(SOL_IPV6, IPV6_MTU, 4),
    both(SOL_IPV6, IPV6_RECVERR, 4),
    both(SOL_IPV6, IPV6_RECVPKTINFO, 4),
    both(SOL_IPV6, IPV6_RECVHOPLIMIT, 4),
    both(SOL_IPV6, IPV6_RECVTCLASS, 4),
    both(SOL_IPV6, IPV6_TCLASS, 4),
    both(SOL_IPV6, IPV6_DONTFRAG, 4),
    both(SOL_IPV6, IPV6_AUTOFLOWLABEL, 4),
    both(SOL_IPV6, IPV6_ADDR_PREFERENCES, 4),
    both(SOL_TCP, TCP_NODELAY, 4),
    both(SOL_TCP, TCP_MAXSEG, 4),
    both(SOL_TCP, TCP_CORK, 4),
    both(SOL_TCP, TCP_KEEPIDLE, 4),
    both(SOL_TCP, TCP_KEEPINTVL, 4),
    both(SOL_TCP, TCP_KEEPCNT, 4),
    both(SOL_TCP, TCP_SYNCNT, 4),
    both(SOL_TCP, TCP_LINGER2, 4),
    both(SOL_TCP, TCP_DEFER_ACCEPT, 4),
    both(SOL_TCP, TCP_WINDOW_CLAMP, 4),
    both(SOL_TCP, TCP_QUICKACK, 4),
    both(SOL_TCP, TCP_CONGESTION, 16),
    both(SOL_TCP, TCP_USER_TIMEOUT, 4),
    both(SOL_TCP, TCP_FASTOPEN, 4),
    both(SOL_TCP, TCP_TIMESTAMP, 4),
    both(SOL_TCP, TCP_NOTSENT_LOWAT, 4),
    both(SOL_TCP, TCP_INQ, 4),
    get(SOL_TCP, TCP_INFO, 512),
    get(SOL_TCP, TCP_CC_INFO, 64),
    both(SOL_UDP, UDP_CORK, 4),
    both(SOL_UDP, UDP_SEGMENT, 4),
    both(SOL_UDP, UDP_GRO, 4),
];

/// The entry of an option.
pub fn find(level: i32, name: i32) -> Option<&'static Known> {
    LIST.iter().find(|o| (o.level, o.name) == (level, name))
}

/// Control messages that the host may be sent: level, type, bytes at least and at most.
const OUTGOING: &[(i32, i32, usize, usize)] = &[
    (SOL_IP, IP_PKTINFO, 12, 12),
    (SOL_IP, IP_TTL, 4, 4),
    (SOL_IP, IP_TOS, 1, 4),
    (SOL_IPV6, IPV6_PKTINFO, 20, 20),
    (SOL_IPV6, IPV6_HOPLIMIT, 4, 4),
    (SOL_IPV6, IPV6_TCLASS, 4, 4),
    (SOL_IPV6, IPV6_DONTFRAG, 4, 4),
    (SOL_UDP, UDP_SEGMENT, 2, 2),
];

/// Control messages that a guest may be told.
const INCOMING: &[(i32, i32)] = &[
    (SOL_SOCKET, SO_TIMESTAMP_OLD),
    (SOL_SOCKET, SO_TIMESTAMPNS_OLD),
    (SOL_SOCKET, SO_TIMESTAMP_NEW),
    (SOL_SOCKET, SO_TIMESTAMPNS_NEW),
    (SOL_SOCKET, SO_RXQ_OVFL),
    (SOL_IP, IP_PKTINFO),
    (SOL_IP, IP_TTL),
    (SOL_IP, IP_TOS),
    (SOL_IP, IP_RECVERR),
    (SOL_IP, IP_ORIGDSTADDR),
    (SOL_IPV6, IPV6_PKTINFO),
    (SOL_IPV6, IPV6_HOPLIMIT),
    (SOL_IPV6, IPV6_TCLASS),
    (SOL_IPV6, IPV6_RECVERR),
    (SOL_TCP, TCP_INQ),
    (SOL_UDP, UDP_GRO),
];

/// `struct cmsghdr`: length, level, type.
const HEADER: usize = 16;

/// Control messages as the host takes them. Descriptors and credentials, which Linux ignores on these sockets, stay here.
pub fn outgoing(control: &[Control]) -> Result<Vec<u8>, Errno> {
    let mut out = Vec::new();
    for message in control {
        let Control::Other(level, kind, data) = message else {
            continue;
        };
        let good = OUTGOING.iter().any(|(l, k, least, most)| {
            (l, k) == (level, kind) && (*least..=*most).contains(&data.len())
        });
        if !good {
            return Err(Errno::EINVAL);
        }
        let len = HEADER.saturating_add(data.len());
        out.extend_from_slice(&(len as u64).to_ne_bytes());
        out.extend_from_slice(&level.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    Ok(out)
}

/// The host's control messages, as far as they are a guest's business.
pub fn incoming(mut bytes: &[u8]) -> Vec<Control> {
    let mut out = Vec::new();
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER>() {
        let [
            l0,
            l1,
            l2,
            l3,
            l4,
            l5,
            l6,
            l7,
            a0,
            a1,
            a2,
            a3,
            b0,
            b1,
            b2,
            b3,
        ] = *header;
        let len = u64::from_ne_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        let level = i32::from_ne_bytes([a0, a1, a2, a3]);
        let kind = i32::from_ne_bytes([b0, b1, b2, b3]);
        let len = usize::try_from(len).unwrap_or(0);
        let Some(data) = bytes.get(HEADER..len) else {
            break;
        };
        if INCOMING.contains(&(level, kind)) {
            out.push(Control::Other(level, kind, data.to_vec()));
        }
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    out
}

/// Flags of a send that the host is told; whoever waits does it here.
pub const SEND_FLAGS: MsgFlags = MsgFlags::MSG_OOB
    .union(MsgFlags::MSG_DONTROUTE)
    .union(MsgFlags::MSG_CONFIRM)
    .union(MsgFlags::MSG_MORE);
/// The same of a receive.
pub const RECV_FLAGS: MsgFlags = MsgFlags::MSG_OOB
    .union(MsgFlags::MSG_PEEK)
    .union(MsgFlags::MSG_TRUNC)
    .union(MsgFlags::MSG_ERRQUEUE);
/// Flags of a message that a guest is told.
pub const TOLD_FLAGS: MsgFlags = MsgFlags::MSG_OOB
    .union(MsgFlags::MSG_CTRUNC)
    .union(MsgFlags::MSG_TRUNC)
    .union(MsgFlags::MSG_EOR)
    .union(MsgFlags::MSG_ERRQUEUE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_there_and_back() {
        let ttl = Control::Other(SOL_IP, IP_TTL, vec![9, 0, 0, 0]);
        let rights = Control::Rights(Vec::new());
        let bytes = outgoing(&[rights, ttl]).unwrap();
        assert_eq!(bytes.len(), 24);
        let back = incoming(&bytes);
        assert!(
            matches!(&back[..], [Control::Other(SOL_IP, IP_TTL, data)] if data == &[9, 0, 0, 0])
        );
        // What is on no list, or of another size.
        for (level, kind, size) in [(SOL_IP, IP_OPTIONS, 4), (SOL_IP, IP_PKTINFO, 11)] {
            let bad = Control::Other(level, kind, vec![0; size]);
            assert_eq!(outgoing(&[bad]), Err(Errno::EINVAL));
        }
        // Descriptors never cross, whoever sent them; nor does a header that lies about its length.
        let mut rights = 20u64.to_ne_bytes().to_vec();
        rights.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert!(incoming(&rights).is_empty());
        assert!(incoming(&bytes[..19]).is_empty());
    }

    #[test]
    fn options_are_listed_once() {
        let mut all: Vec<_> = LIST.iter().map(|o| (o.level, o.name)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), LIST.len());
    }
}
