//! Socket options: what can be set, to what, and what it is at first (socket(7), ip(7), ipv6(7), tcp(7), udp(7)).
//!
//! Most are numbers that a program sets and reads back; a table has their ranges and defaults. An option that would promise something this
//! stack does not do is refused with `ENOPROTOOPT` or `EOPNOTSUPP` rather than stored.

use crate::addr::Family;
use crate::stack::Settings;
use abi::socket::*;
use abi::time::Timeval;
use abi::{Errno, Result};
use zerocopy::{FromBytes, IntoBytes};

/// What values a number may have.
enum Allow {
    /// Zero or not; read back as 0 or 1.
    Bool,
    /// From, to.
    Range(i32, i32),
    /// From, to; -1 means the default.
    RangeOrDefault(i32, i32),
}

/// What sockets have it.
#[derive(PartialEq)]
enum On {
    Any,
    Stream,
    Datagram,
}

struct Row(i32, i32, Allow, i32, On);

use Allow::{Bool, Range, RangeOrDefault};
use On::{Any, Datagram, Stream};

const ROWS: &[Row] = &[
    Row(SOL_SOCKET, SO_DEBUG, Bool, 0, Any),
    Row(SOL_SOCKET, SO_REUSEADDR, Bool, 0, Any),
    Row(SOL_SOCKET, SO_REUSEPORT, Bool, 0, Any),
    Row(SOL_SOCKET, SO_DONTROUTE, Bool, 0, Any),
    Row(SOL_SOCKET, SO_BROADCAST, Bool, 0, Any),
    Row(SOL_SOCKET, SO_KEEPALIVE, Bool, 0, Any),
    Row(SOL_SOCKET, SO_OOBINLINE, Bool, 0, Any),
    Row(SOL_SOCKET, SO_NO_CHECK, Bool, 0, Any),
    Row(SOL_SOCKET, SO_PRIORITY, Range(0, 6), 0, Any),
    Row(SOL_SOCKET, SO_RXQ_OVFL, Bool, 0, Any),
    Row(SOL_SOCKET, SO_SELECT_ERR_QUEUE, Bool, 0, Any),
    Row(
        SOL_SOCKET,
        SO_INCOMING_CPU,
        Range(i32::MIN, i32::MAX),
        -1,
        Any,
    ),
    Row(SOL_SOCKET, SO_PEEK_OFF, Range(i32::MIN, i32::MAX), -1, Any),
    Row(SOL_IP, IP_TOS, Range(0, 255), 0, Any),
    Row(SOL_IP, IP_TTL, RangeOrDefault(1, 255), 64, Any),
    Row(SOL_IP, IP_RECVOPTS, Bool, 0, Any),
    Row(SOL_IP, IP_RETOPTS, Bool, 0, Any),
    Row(SOL_IP, IP_PKTINFO, Bool, 0, Any),
    Row(SOL_IP, IP_RECVTTL, Bool, 0, Any),
    Row(SOL_IP, IP_RECVTOS, Bool, 0, Any),
    Row(SOL_IP, IP_RECVERR, Bool, 0, Any),
    Row(SOL_IP, IP_RECVORIGDSTADDR, Bool, 0, Any),
    Row(SOL_IP, IP_RECVFRAGSIZE, Bool, 0, Datagram),
    Row(SOL_IP, IP_FREEBIND, Bool, 0, Any),
    Row(SOL_IP, IP_MTU_DISCOVER, Range(0, 5), 1, Any),
    Row(SOL_IP, IP_MINTTL, Range(0, 255), 0, Any),
    Row(SOL_IP, IP_BIND_ADDRESS_NO_PORT, Bool, 0, Any),
    Row(SOL_IP, IP_MULTICAST_TTL, RangeOrDefault(0, 255), 1, Any),
    Row(SOL_IP, IP_MULTICAST_LOOP, Bool, 1, Any),
    Row(SOL_IP, IP_MULTICAST_ALL, Bool, 1, Any),
    Row(SOL_IPV6, IPV6_V6ONLY, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_UNICAST_HOPS, RangeOrDefault(0, 255), 64, Any),
    Row(
        SOL_IPV6,
        IPV6_MULTICAST_HOPS,
        RangeOrDefault(0, 255),
        1,
        Datagram,
    ),
    Row(SOL_IPV6, IPV6_MULTICAST_LOOP, Bool, 1, Any),
    Row(SOL_IPV6, IPV6_MULTICAST_ALL, Bool, 1, Any),
    Row(SOL_IPV6, IPV6_RECVPKTINFO, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVHOPLIMIT, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVRTHDR, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVHOPOPTS, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVDSTOPTS, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVTCLASS, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVPATHMTU, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_TCLASS, RangeOrDefault(0, 255), 0, Any),
    Row(SOL_IPV6, IPV6_MTU_DISCOVER, Range(0, 5), 1, Any),
    Row(SOL_IPV6, IPV6_DONTFRAG, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_RECVERR, Bool, 0, Any),
    Row(SOL_IPV6, IPV6_AUTOFLOWLABEL, Bool, 1, Any),
    Row(SOL_IPV6, IPV6_FREEBIND, Bool, 0, Any),
    Row(SOL_TCP, TCP_NODELAY, Bool, 0, Stream),
    Row(SOL_TCP, TCP_CORK, Bool, 0, Stream),
    Row(SOL_TCP, TCP_QUICKACK, Bool, 1, Stream),
    Row(SOL_TCP, TCP_KEEPIDLE, Range(1, 32767), 7200, Stream),
    Row(SOL_TCP, TCP_KEEPINTVL, Range(1, 32767), 75, Stream),
    Row(SOL_TCP, TCP_KEEPCNT, Range(1, 127), 9, Stream),
    Row(SOL_TCP, TCP_SYNCNT, Range(1, 127), 6, Stream),
    Row(SOL_TCP, TCP_LINGER2, Range(i32::MIN, i32::MAX), 60, Stream),
    Row(SOL_TCP, TCP_INQ, Range(0, 1), 0, Stream),
    Row(
        SOL_TCP,
        TCP_DEFER_ACCEPT,
        Range(i32::MIN, i32::MAX),
        0,
        Stream,
    ),
    Row(SOL_TCP, TCP_WINDOW_CLAMP, Range(0, i32::MAX), 0, Stream),
    Row(SOL_TCP, TCP_USER_TIMEOUT, Range(0, i32::MAX), 0, Stream),
    Row(SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, Range(0, 1), 0, Stream),
    Row(SOL_TCP, TCP_THIN_DUPACK, Range(0, 1), 0, Stream),
    Row(
        SOL_TCP,
        TCP_NOTSENT_LOWAT,
        Range(i32::MIN, i32::MAX),
        0,
        Stream,
    ),
    Row(SOL_TCP, TCP_FASTOPEN, Range(0, i32::MAX), 0, Stream),
    Row(SOL_TCP, TCP_SAVE_SYN, Range(0, 1), 0, Stream),
    Row(SOL_UDP, UDP_GRO, Bool, 0, Datagram),
    Row(SOL_UDP, UDP_NO_CHECK6_TX, Bool, 0, Datagram),
    Row(SOL_UDP, UDP_NO_CHECK6_RX, Bool, 0, Datagram),
];

/// How long blocking calls of a socket wait, in nanoseconds; `None`: for ever.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// SO_RCVTIMEO: recv, accept.
    pub receive: Option<u64>,
    /// SO_SNDTIMEO: send, connect.
    pub send: Option<u64>,
}

/// The options of one socket.
#[derive(Clone, Debug)]
pub struct Options {
    family: Family,
    stream: bool,
    /// Numbers that are not at their default.
    changed: Vec<(i32, i32, i32)>,
    pub send_buf: u32,
    pub receive_buf: u32,
    /// The program has set the size: it is not adjusted any more.
    pub send_locked: bool,
    pub receive_locked: bool,
    pub low_water: u32,
    /// SO_LINGER, in seconds, if on.
    pub linger: Option<i32>,
    /// The seconds last given while it was on: getsockopt shows them when it is off again.
    linger_shown: i32,
    pub timeouts: Timeouts,
    congestion: &'static [u8],
    max_seg: i32,
}

const CONGESTION: [&[u8]; 2] = [b"cubic", b"reno"];
const MIN_SNDBUF: u32 = 4608;
const MIN_RCVBUF: u32 = 2304;
/// TCP_FIN_TIMEOUT_MAX, in seconds.
const FIN_TIMEOUT_MAX: i32 = 120;
const NS: u64 = 1_000_000_000;

impl Options {
    pub fn new(family: Family, stream: bool, settings: &Settings) -> Options {
        Options {
            family,
            stream,
            changed: Vec::new(),
            send_buf: if stream { 16384 } else { settings.wmem_default },
            receive_buf: if stream {
                131_072
            } else {
                settings.rmem_default
            },
            send_locked: false,
            receive_locked: false,
            low_water: 1,
            linger: None,
            linger_shown: 0,
            timeouts: Timeouts::default(),
            congestion: b"cubic",
            max_seg: 536,
        }
    }

    fn row(&self, level: i32, name: i32) -> Result<&'static Row> {
        if level == SOL_IPV6 && self.family == Family::Inet {
            return Err(Errno::ENOPROTOOPT);
        }
        let fits = |on: &On| match on {
            Any => true,
            Stream => self.stream,
            Datagram => !self.stream,
        };
        ROWS.iter()
            .find(|row| row.0 == level && row.1 == name && fits(&row.4))
            .ok_or(Errno::ENOPROTOOPT)
    }

    /// The value of a number of the table.
    pub fn number(&self, level: i32, name: i32) -> i32 {
        let changed = self
            .changed
            .iter()
            .find(|c| (c.0, c.1) == (level, name))
            .map(|c| c.2);
        changed.unwrap_or_else(|| self.row(level, name).map_or(0, |row| row.3))
    }

    /// Is a boolean on?
    pub fn is_on(&self, level: i32, name: i32) -> bool {
        self.number(level, name) != 0
    }

    /// SO_PEEK_OFF, if it is on.
    pub fn peek_off(&self) -> Option<usize> {
        usize::try_from(self.number(SOL_SOCKET, SO_PEEK_OFF)).ok()
    }

    /// IPV6_V6ONLY.
    pub fn v6only(&self) -> bool {
        self.is_on(SOL_IPV6, IPV6_V6ONLY)
    }

    /// How many seconds a closed end waits for its peer's FIN: TCP_LINGER2, or what the system says.
    pub fn fin_timeout(&self, settings: &Settings) -> u32 {
        let set = self
            .changed
            .iter()
            .find(|c| (c.0, c.1) == (SOL_TCP, TCP_LINGER2));
        set.map_or(settings.fin_timeout, |c| u32::try_from(c.2).unwrap_or(0))
    }

    /// May it be bound to an address that is not here?
    pub fn foreign(&self) -> bool {
        self.is_on(SOL_IP, IP_FREEBIND) || self.is_on(SOL_IPV6, IPV6_FREEBIND)
    }

    fn store(&mut self, level: i32, name: i32, value: i32) {
        self.changed.retain(|c| (c.0, c.1) != (level, name));
        self.changed.push((level, name, value));
    }

    /// setsockopt(2) of what is not a matter of the endpoint's state.
    pub fn set(&mut self, level: i32, name: i32, value: &[u8], settings: &Settings) -> Result<()> {
        match (level, name) {
            (SOL_SOCKET, SO_SNDBUF | SO_SNDBUFFORCE) => {
                let limit = if name == SO_SNDBUF {
                    settings.wmem_max
                } else {
                    u32::MAX >> 2
                };
                self.send_buf = doubled(value, limit)?.max(MIN_SNDBUF);
                self.send_locked = true;
            }
            (SOL_SOCKET, SO_RCVBUF | SO_RCVBUFFORCE) => {
                let limit = if name == SO_RCVBUF {
                    settings.rmem_max
                } else {
                    u32::MAX >> 2
                };
                self.receive_buf = doubled(value, limit)?.max(MIN_RCVBUF);
                self.receive_locked = true;
            }
            (SOL_SOCKET, SO_RCVLOWAT) => {
                let wanted = int(value)?;
                self.low_water = u32::try_from(wanted).unwrap_or(i32::MAX as u32).max(1);
            }
            (SOL_SOCKET, SO_LINGER) => {
                let (linger, _) = Linger::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                self.linger = (linger.l_onoff != 0).then_some(linger.l_linger);
                self.linger_shown = self.linger.unwrap_or(self.linger_shown);
            }
            (SOL_SOCKET, SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW) => {
                self.timeouts.receive = timeout(value)?
            }
            (SOL_SOCKET, SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW) => self.timeouts.send = timeout(value)?,
            (SOL_SOCKET, SO_BINDTODEVICE) => {
                let name = value.split(|b| *b == 0).next().unwrap_or_default();
                return if name.is_empty() || name == b"lo" {
                    Ok(())
                } else {
                    Err(Errno::ENODEV)
                };
            }
            (SOL_TCP, TCP_CONGESTION) if self.stream => {
                let name = value.split(|b| *b == 0).next().unwrap_or_default();
                self.congestion = CONGESTION
                    .into_iter()
                    .find(|known| *known == name)
                    .ok_or(Errno::ENOENT)?;
            }
            (SOL_TCP, TCP_MAXSEG) if self.stream => match int(value)? {
                0 => self.max_seg = 536,
                wanted @ 88..=32767 => self.max_seg = wanted,
                _ => return Err(Errno::EINVAL),
            },
            (SOL_TCP, TCP_DEFER_ACCEPT) if self.stream => {
                self.store(level, name, in_retries(int(value)?));
            }
            (SOL_TCP, TCP_LINGER2) if self.stream => {
                // 0 is the system's own value again; none may be longer than two minutes.
                let default = i32::try_from(settings.fin_timeout).unwrap_or(60);
                let kept = match int(value)? {
                    0 => default,
                    seconds if seconds < 0 => -1,
                    seconds => seconds.min(FIN_TIMEOUT_MAX),
                };
                self.store(level, name, kept);
            }
            (SOL_TCP, TCP_WINDOW_CLAMP) if self.stream => {
                let clamp = match int(value)? {
                    0 => 0,
                    wanted if wanted < 0 => return Err(Errno::EINVAL),
                    wanted => wanted.max(i32::try_from(MIN_RCVBUF / 2).unwrap_or(0)),
                };
                self.store(level, name, clamp);
            }
            (SOL_IP, IP_MULTICAST_TTL) if self.stream => return Err(Errno::EINVAL),
            (SOL_TCP, TCP_REPAIR) if self.stream => return Err(Errno::EPERM),
            (SOL_TCP, TCP_ULP) if self.stream => return Err(Errno::ENOENT),
            _ => return self.set_number(level, name, value),
        }
        Ok(())
    }

    fn set_number(&mut self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let row = self.row(level, name)?;
        // SOL_IP takes a single byte too.
        let wanted = match (level, value) {
            (SOL_IP, []) => 0,
            (SOL_IP, [byte, ..]) if value.len() < 4 => i32::from(*byte),
            _ => int(value)?,
        };
        let wanted = match row.2 {
            // The type of service is a byte, and only that is looked at.
            _ if (level, name) == (SOL_IP, IP_TOS) => wanted & 0xff,
            Bool => i32::from(wanted != 0),
            RangeOrDefault(..) if wanted == -1 => row.3,
            Range(low, high) | RangeOrDefault(low, high) if (low..=high).contains(&wanted) => {
                wanted
            }
            _ if (level, name) == (SOL_SOCKET, SO_PRIORITY) => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        };
        // The two ECN bits are TCP's own.
        let wanted = if (level, name) == (SOL_IP, IP_TOS) && self.stream {
            wanted & !3
        } else {
            wanted
        };
        self.store(level, name, wanted);
        Ok(())
    }

    /// getsockopt(2) of what is not a matter of the endpoint's state: the bytes, of which the caller gives at most as many as were asked for.
    pub fn get(&self, level: i32, name: i32, wanted: usize) -> Result<Vec<u8>> {
        let number = |n: i32| Ok(n.as_bytes().to_vec());
        match (level, name) {
            (SOL_SOCKET, SO_TYPE) => number(if self.stream { SOCK_STREAM } else { SOCK_DGRAM }),
            (SOL_SOCKET, SO_DOMAIN) => number(i32::from(if self.family == Family::Inet {
                AF_INET
            } else {
                AF_INET6
            })),
            (SOL_SOCKET, SO_PROTOCOL) => number(if self.stream {
                IPPROTO_TCP
            } else {
                IPPROTO_UDP
            }),
            (SOL_SOCKET, SO_SNDBUF) => number(i32::try_from(self.send_buf).unwrap_or(i32::MAX)),
            (SOL_SOCKET, SO_RCVBUF) => number(i32::try_from(self.receive_buf).unwrap_or(i32::MAX)),
            (SOL_SOCKET, SO_RCVLOWAT) => number(i32::try_from(self.low_water).unwrap_or(i32::MAX)),
            (SOL_SOCKET, SO_SNDLOWAT) => number(1),
            (SOL_SOCKET, SO_PEERCRED) => Ok(Ucred {
                pid: 0,
                uid: u32::MAX,
                gid: u32::MAX,
            }
            .as_bytes()
            .to_vec()),
            (SOL_SOCKET, SO_LINGER) => {
                let linger = Linger {
                    l_onoff: i32::from(self.linger.is_some()),
                    l_linger: self.linger_shown,
                };
                Ok(linger.as_bytes().to_vec())
            }
            (SOL_SOCKET, SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW) => {
                Ok(shown_timeout(self.timeouts.receive))
            }
            (SOL_SOCKET, SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW) => {
                Ok(shown_timeout(self.timeouts.send))
            }
            (SOL_SOCKET, SO_BINDTODEVICE) => Ok(Vec::new()),
            (SOL_IP, IP_OPTIONS) => Ok(Vec::new()),
            (SOL_IP, IP_PROTOCOL) => number(if self.stream {
                IPPROTO_TCP
            } else {
                IPPROTO_UDP
            }),
            (SOL_TCP, TCP_MAXSEG) if self.stream => number(self.max_seg),
            (SOL_TCP, TCP_CONGESTION) if self.stream => {
                let mut name = [0; 16];
                name.iter_mut()
                    .zip(self.congestion)
                    .for_each(|(to, from)| *to = *from);
                Ok(name.to_vec())
            }
            _ => {
                let known = match level {
                    SOL_SOCKET | SOL_IP => true,
                    SOL_TCP => self.stream,
                    SOL_UDP => !self.stream,
                    _ => self.family == Family::Inet6,
                };
                if !known {
                    return Err(Errno::EOPNOTSUPP);
                }
                self.row(level, name)?;
                let value = self.number(level, name);
                match u8::try_from(value) {
                    Ok(byte) if level == SOL_IP && (1..4).contains(&wanted) => Ok(vec![byte]),
                    _ => number(value),
                }
            }
        }
    }
}

/// Seconds as Linux keeps them: up to the next time a SYN-ACK would be sent again (`secs_to_retrans`).
fn in_retries(wanted: i32) -> i32 {
    if wanted <= 0 {
        return 0;
    }
    let (mut step, mut sum) = (1i32, 1i32);
    while sum < wanted && sum < 28_000 {
        step = step.saturating_mul(2).min(120);
        sum = sum.saturating_add(step);
    }
    sum
}

/// An option's value as a number.
pub fn int(value: &[u8]) -> Result<i32> {
    i32::read_from_prefix(value)
        .map(|(n, _)| n)
        .map_err(|_| Errno::EINVAL)
}

/// Linux keeps twice what is asked for.
fn doubled(value: &[u8], limit: u32) -> Result<u32> {
    let wanted = int(value)?;
    // A negative size is a huge one.
    Ok(u32::try_from(wanted)
        .unwrap_or(u32::MAX)
        .min(limit)
        .saturating_mul(2))
}

fn timeout(value: &[u8]) -> Result<Option<u64>> {
    let (time, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if !(0..1_000_000).contains(&time.tv_usec) {
        return Err(Errno::EDOM);
    }
    if time.tv_sec < 0 {
        return Ok(Some(0));
    }
    Ok(time.to_ns().filter(|ns| *ns != 0))
}

fn shown_timeout(timeout: Option<u64>) -> Vec<u8> {
    let ns = timeout.unwrap_or(0);
    let shown = Timeval {
        tv_sec: i64::try_from(ns.checked_div(NS).unwrap_or(0)).unwrap_or(i64::MAX),
        tv_usec: i64::try_from((ns % NS) / 1000).unwrap_or(0),
    };
    shown.as_bytes().to_vec()
}

#[cfg(test)]
mod tests;
