//! Sockets in traces: addresses, message headers, names of numbers.

use crate::args::{FromArg, arg, show_named, show_pointer, show_string};
use abi::Errno;
use abi::socket::*;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::fmt::Write;

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident($args:ident, $index:ident) $names:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name(pub i32);

        impl FromArg for $name {
            fn from_raw(raw: u64) -> Result<Self, Errno> {
                Ok(Self(raw as i32))
            }
            fn show(_: &Cx, $args: &[u64; 6], $index: usize, _: Option<SysResult>, out: &mut String) {
                show_named(i64::from(arg($args, $index) as i32), $names, out);
            }
        }
    )*};
}

const DOMAINS: &[(i64, &str)] = &[
    (0, "AF_UNSPEC"),
    (1, "AF_UNIX"),
    (2, "AF_INET"),
    (10, "AF_INET6"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (40, "AF_VSOCK"),
];
const LEVELS: &[(i64, &str)] = &[
    (1, "SOL_SOCKET"),
    (0, "SOL_IP"),
    (41, "SOL_IPV6"),
    (6, "SOL_TCP"),
    (17, "SOL_UDP"),
    (270, "SOL_NETLINK"),
    (263, "SOL_PACKET"),
];
const SOCKET_OPTIONS: &[(i64, &str)] = &[
    (1, "SO_DEBUG"),
    (2, "SO_REUSEADDR"),
    (3, "SO_TYPE"),
    (4, "SO_ERROR"),
    (5, "SO_DONTROUTE"),
    (6, "SO_BROADCAST"),
    (7, "SO_SNDBUF"),
    (8, "SO_RCVBUF"),
    (9, "SO_KEEPALIVE"),
    (10, "SO_OOBINLINE"),
    (12, "SO_PRIORITY"),
    (13, "SO_LINGER"),
    (15, "SO_REUSEPORT"),
    (16, "SO_PASSCRED"),
    (17, "SO_PEERCRED"),
    (18, "SO_RCVLOWAT"),
    (19, "SO_SNDLOWAT"),
    (20, "SO_RCVTIMEO"),
    (21, "SO_SNDTIMEO"),
    (25, "SO_BINDTODEVICE"),
    (26, "SO_ATTACH_FILTER"),
    (29, "SO_TIMESTAMP"),
    (30, "SO_ACCEPTCONN"),
    (31, "SO_PEERSEC"),
    (32, "SO_SNDBUFFORCE"),
    (33, "SO_RCVBUFFORCE"),
    (36, "SO_MARK"),
    (38, "SO_PROTOCOL"),
    (39, "SO_DOMAIN"),
    (57, "SO_COOKIE"),
    (59, "SO_PEERGROUPS"),
    (76, "SO_PASSPIDFD"),
    (77, "SO_PEERPIDFD"),
];
const TCP_OPTIONS: &[(i64, &str)] = &[
    (1, "TCP_NODELAY"),
    (2, "TCP_MAXSEG"),
    (3, "TCP_CORK"),
    (4, "TCP_KEEPIDLE"),
    (5, "TCP_KEEPINTVL"),
    (6, "TCP_KEEPCNT"),
    (9, "TCP_DEFER_ACCEPT"),
    (11, "TCP_INFO"),
    (12, "TCP_QUICKACK"),
    (13, "TCP_CONGESTION"),
    (18, "TCP_USER_TIMEOUT"),
    (23, "TCP_FASTOPEN"),
];

named! {
    /// `AF_*`
    Domain(args, index) DOMAINS;
    /// `SOL_*`
    Level(args, index) LEVELS;
    /// An option's name; which set it is from follows from the level before it.
    Option_(args, index) match arg(args, index.saturating_sub(1)) as i32 {
        SOL_SOCKET => SOCKET_OPTIONS,
        SOL_TCP => TCP_OPTIONS,
        _ => &[],
    };
}

/// `SOCK_*` with its flags.
#[derive(Clone, Copy)]
pub struct Type(pub i32);

impl FromArg for Type {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw as i32))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        const NAMES: &[(i64, &str)] = &[
            (1, "SOCK_STREAM"),
            (2, "SOCK_DGRAM"),
            (3, "SOCK_RAW"),
            (5, "SOCK_SEQPACKET"),
        ];
        let value = arg(args, index) as i32;
        show_named(i64::from(value & SOCK_TYPE_MASK), NAMES, out);
        if value & SOCK_CLOEXEC != 0 {
            out.push_str("|SOCK_CLOEXEC");
        }
        if value & SOCK_NONBLOCK != 0 {
            out.push_str("|SOCK_NONBLOCK");
        }
    }
}

/// A `struct msghdr`.
#[derive(Clone, Copy)]
pub struct MsgArg(pub u64);

impl FromArg for MsgArg {
    // A receive fills it in; a send is as well shown after it.
    const OUT: bool = true;

    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        let addr = arg(args, index);
        if show_header(cx, addr, done, out).is_err() {
            show_pointer(addr, out);
        }
    }
}

fn show_header(cx: &Cx, addr: u64, done: Option<SysResult>, out: &mut String) -> Result<(), Errno> {
    let mm = cx.mm()?;
    let header: Msghdr = mm.read_obj(addr)?;
    out.push_str("{msg_name=");
    match super::address::read(cx, header.msg_name, header.msg_namelen) {
        Ok(bytes) if header.msg_name != 0 => show_address(&bytes, out),
        _ => show_pointer(header.msg_name, out),
    }
    let _ = write!(out, ", msg_namelen={}, msg_iov=[", header.msg_namelen);
    // For a receive that has returned this is what was received, else what is sent.
    let mut left = match done {
        Some(Ok(n)) => n,
        _ => u64::MAX,
    };
    let count = usize::try_from(header.msg_iovlen).unwrap_or(0).min(8);
    for (i, iovec) in mm
        .read_vec::<abi::Iovec>(header.msg_iov, count)?
        .iter()
        .enumerate()
    {
        let shown = usize::try_from(iovec.iov_len.min(left).min(33)).unwrap_or(0);
        left = left.saturating_sub(iovec.iov_len);
        let mut bytes = vec![0; shown];
        out.push_str(if i == 0 { "{iov_base=" } else { ", {iov_base=" });
        match mm.read_bytes(iovec.iov_base, &mut bytes) {
            Ok(()) => show_string(&bytes, 32, out),
            Err(_) => show_pointer(iovec.iov_base, out),
        }
        let _ = write!(out, ", iov_len={}}}", iovec.iov_len);
    }
    let _ = write!(
        out,
        "], msg_iovlen={}, msg_controllen={}, msg_flags=",
        header.msg_iovlen, header.msg_controllen
    );
    crate::args::show_flags(
        MsgFlags::from_bits_retain(u32::from_ne_bytes(header.msg_flags.to_ne_bytes())),
        out,
    );
    out.push('}');
    Ok(())
}

/// Writes a `sockaddr` as strace(1) does.
pub fn show_address(bytes: &[u8], out: &mut String) {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else {
        out.push_str("\"\"");
        return;
    };
    let family = u16::from_ne_bytes(*family);
    out.push_str("{sa_family=");
    show_named(i64::from(family), DOMAINS, out);
    let port = || {
        rest.first_chunk::<2>()
            .map_or(0, |b| u16::from_be_bytes(*b))
    };
    match family {
        AF_UNIX => {
            if let Some((0, name)) = rest.split_first() {
                out.push_str(", sun_path=@");
                show_string(name, usize::MAX, out);
            } else if !rest.is_empty() {
                out.push_str(", sun_path=");
                show_string(
                    rest.split(|b| *b == 0).next().unwrap_or(rest),
                    usize::MAX,
                    out,
                );
            }
        }
        AF_INET => {
            let ip = rest
                .get(2..)
                .and_then(|r| r.first_chunk::<4>())
                .copied()
                .unwrap_or_default();
            let _ = write!(
                out,
                ", sin_port=htons({}), sin_addr=inet_addr(\"{}\")",
                port(),
                std::net::Ipv4Addr::from(ip)
            );
        }
        AF_INET6 => {
            let ip = rest
                .get(6..)
                .and_then(|r| r.first_chunk::<16>())
                .copied()
                .unwrap_or_default();
            let _ = write!(
                out,
                ", sin6_port=htons({}), inet_pton(AF_INET6, \"{}\", &sin6_addr)",
                port(),
                std::net::Ipv6Addr::from(ip)
            );
        }
        AF_NETLINK => {
            let field = |at: usize| {
                rest.get(at..)
                    .and_then(|r| r.first_chunk::<4>())
                    .map_or(0, |b| u32::from_ne_bytes(*b))
            };
            let _ = write!(out, ", nl_pid={}, nl_groups={:08x}", field(2), field(6));
        }
        _ => {
            out.push_str(", sa_data=");
            show_string(rest, 32, out);
        }
    }
    out.push('}');
}
