//! `rtnetlink(7)`: dumps of links, addresses, routes, neighbours; questions about one link or route. Nothing can be changed, and whoever tries is told so. A namespace
//! of ours has `lo` alone; for one of the host's, the host is asked.

use super::message::{NLM_F_DUMP, NLM_F_MULTI, Reply, Request, attributes, u32_at};
use crate::socket::host::routes::{Message, Routes};
use crate::socket::interface::{FLAGS, HARDWARE, INDEX, MTU, QUEUE_LEN};
use abi::Errno;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
const RTM_GETQDISC: u16 = 38;
const RTM_GETNEIGHTBL: u16 = 66;
/// Types come in fours: new, delete, get, set.
const GET: u16 = 2;

const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFF_LOWER_UP: u32 = 0x10000;
const IFLA_IFNAME: u16 = 3;
const IFLA_ALT_IFNAME: u16 = 53;
const SCOPE_HOST: u8 = 254;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const IFA_F_PERMANENT: u8 = 0x80;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
const PROTO_KERNEL: u8 = 2;
const LOCAL: u8 = 2;
const BROADCAST: u8 = 3;
const LOCALHOST4: [u8; 4] = [127, 0, 0, 1];
const LOCALHOST6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CAP_NET_ADMIN: u32 = 12;

fn index() -> u32 {
    INDEX.unsigned_abs()
}

/// What a request asks beyond its type: how strictly filters are read.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// `NETLINK_GET_STRICT_CHK`
    pub strict: bool,
    /// Whose request it is.
    pub cred: &'a fs::Cred,
    /// Of a namespace of the host's.
    pub host: Option<&'a Routes>,
}

/// Answers one request; an error is the caller's to wrap.
pub fn answer(request: &Request<'_>, context: Context<'_>, reply: &mut Reply) -> Result<(), Errno> {
    if request.kind & 3 != GET {
        // RTM_NEW, DEL, SET.
        return Err(if context.cred.has_cap(CAP_NET_ADMIN) {
            Errno::EOPNOTSUPP
        } else {
            Errno::EPERM
        });
    }
    let family = request.body.first().copied().unwrap_or(AF_UNSPEC);
    if let Some(host) = context.host {
        return of_host(request, family, context.strict, host, reply);
    }
    if request.flags & NLM_F_DUMP == 0 {
        return match request.kind {
            RTM_GETLINK => one_link(request, reply),
            RTM_GETROUTE => one_route(request, family, reply),
            _ => Err(Errno::EOPNOTSUPP),
        };
    }
    let wants = |f: u8| family == AF_UNSPEC || family == f;
    match request.kind {
        RTM_GETLINK => link(reply, NLM_F_MULTI),
        RTM_GETADDR => {
            let asked = if context.strict {
                u32_at(request.body, 4).unwrap_or(0)
            } else {
                0
            };
            if asked != 0 && asked != index() {
                return Err(Errno::ENODEV);
            }
            if wants(AF_INET) {
                address(reply, AF_INET, 8, &LOCALHOST4);
            }
            if wants(AF_INET6) {
                address(reply, AF_INET6, 128, &LOCALHOST6);
            }
        }
        RTM_GETROUTE => {
            if wants(AF_INET) {
                for (to, len, kind, scope) in [
                    ([127, 0, 0, 0], 8, LOCAL, SCOPE_HOST),
                    (LOCALHOST4, 32, LOCAL, SCOPE_HOST),
                    ([127, 255, 255, 255], 32, BROADCAST, SCOPE_LINK),
                ] {
                    let route = Route {
                        family: AF_INET,
                        to: &to,
                        len,
                        table: TABLE_LOCAL,
                        kind,
                        scope,
                        source: Some(&LOCALHOST4),
                        metric: None,
                        flags: 0,
                    };
                    route.put(reply, NLM_F_MULTI);
                }
            }
            if wants(AF_INET6) {
                let local = Route {
                    family: AF_INET6,
                    to: &LOCALHOST6,
                    len: 128,
                    table: TABLE_LOCAL,
                    kind: LOCAL,
                    scope: SCOPE_UNIVERSE,
                    source: None,
                    metric: Some(0),
                    flags: 0,
                };
                local.put(reply, NLM_F_MULTI);
            }
        }
        RTM_GETNEIGH | RTM_GETNEIGHTBL => {}
        RTM_GETRULE => {
            const TABLE_DEFAULT: u8 = 253;
            let all = [
                (0, TABLE_LOCAL),
                (32766, TABLE_MAIN),
                (32767, TABLE_DEFAULT),
            ];
            if wants(AF_INET) {
                all.iter()
                    .for_each(|(priority, table)| rule(reply, AF_INET, *priority, *table));
            }
            if wants(AF_INET6) {
                // IPv6 has no table for what comes last.
                all.iter()
                    .take(2)
                    .for_each(|(priority, table)| rule(reply, AF_INET6, *priority, *table));
            }
        }
        RTM_GETQDISC => qdisc(reply),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    reply.done();
    Ok(())
}

/// The host's answers, under the guest's number.
fn of_host(
    request: &Request<'_>,
    family: u8,
    strict: bool,
    host: &Routes,
    reply: &mut Reply,
) -> Result<(), Errno> {
    let put = |reply: &mut Reply, m: &Message, flags: u16| {
        reply.message(m.kind, flags, |b| b.raw(&m.body));
    };
    if request.flags & NLM_F_DUMP == 0 {
        match request.kind {
            RTM_GETLINK => {
                let asked = asked_link(request)?;
                let all = host.dump(RTM_GETLINK, AF_UNSPEC)?;
                let named = |m: &Message, name: &[u8]| {
                    attributes(&m.body, 16).into_iter().any(|(kind, value)| {
                        kind == IFLA_IFNAME && value.split(|b| *b == 0).next() == Some(name)
                    })
                };
                let found = all.iter().find(|m| match asked {
                    Asked::Index(n) => u32_at(&m.body, 4) == Some(n),
                    Asked::Name(name) => named(m, name),
                });
                put(reply, found.ok_or(Errno::ENODEV)?, 0);
            }
            RTM_GETROUTE => {
                for m in host.route_to(family, asked_route(request)?)? {
                    put(reply, &m, 0);
                }
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        return Ok(());
    }
    if !matches!(
        request.kind,
        RTM_GETLINK | RTM_GETADDR | RTM_GETROUTE | RTM_GETNEIGH | RTM_GETQDISC | RTM_GETRULE
    ) {
        return Err(Errno::EOPNOTSUPP);
    }
    let asked = match request.kind {
        RTM_GETADDR if strict => u32_at(request.body, 4).filter(|n| *n != 0),
        _ => None,
    };
    for m in host.dump(request.kind, family)? {
        if asked.is_none() || u32_at(&m.body, 4) == asked {
            put(reply, &m, m.flags | NLM_F_MULTI);
        }
    }
    reply.done();
    Ok(())
}

fn link(reply: &mut Reply, flags: u16) {
    reply.message(RTM_NEWLINK, flags, |b| {
        b.raw(&[0, 0]);
        b.raw(&HARDWARE.to_ne_bytes());
        b.raw(&INDEX.to_ne_bytes());
        b.raw(&(FLAGS | IFF_LOWER_UP).to_ne_bytes());
        b.raw(&0u32.to_ne_bytes());
        b.attribute(IFLA_IFNAME, b"lo\0");
        b.u32(13, QUEUE_LEN);
        b.attribute(16, &[0]); // IFLA_OPERSTATE: unknown
        b.attribute(17, &[0]); // IFLA_LINKMODE
        b.u32(4, MTU);
        b.u32(50, 0); // IFLA_MIN_MTU
        b.u32(51, 0); // IFLA_MAX_MTU
        b.u32(27, 0); // IFLA_GROUP
        b.u32(30, 0); // IFLA_PROMISCUITY
        b.u32(31, 1); // IFLA_NUM_TX_QUEUES
        b.u32(32, 1); // IFLA_NUM_RX_QUEUES
        b.attribute(33, &[1]); // IFLA_CARRIER
        b.attribute(6, b"noqueue\0");
        b.attribute(1, &[0; 6]); // IFLA_ADDRESS
        b.attribute(2, &[0; 6]); // IFLA_BROADCAST
        b.attribute(23, &[0; 200]); // IFLA_STATS64
        b.attribute(7, &[0; 96]); // IFLA_STATS
    });
}

/// Which link a question is about.
enum Asked<'a> {
    Index(u32),
    Name(&'a [u8]),
}

fn asked_link<'a>(request: &Request<'a>) -> Result<Asked<'a>, Errno> {
    let index = u32_at(request.body, 4).ok_or(Errno::EINVAL)?;
    if index != 0 {
        return Ok(Asked::Index(index));
    }
    let named = attributes(request.body, 16)
        .into_iter()
        .find(|(kind, _)| matches!(*kind, IFLA_IFNAME | IFLA_ALT_IFNAME));
    let (_, name) = named.ok_or(Errno::EINVAL)?;
    Ok(Asked::Name(name.split(|b| *b == 0).next().unwrap_or(name)))
}

fn one_link(request: &Request<'_>, reply: &mut Reply) -> Result<(), Errno> {
    let found = match asked_link(request)? {
        Asked::Index(n) => n == index(),
        Asked::Name(name) => name == b"lo",
    };
    if !found {
        return Err(Errno::ENODEV);
    }
    link(reply, 0);
    Ok(())
}

fn address(reply: &mut Reply, family: u8, prefix: u8, ip: &[u8]) {
    reply.message(RTM_NEWADDR, NLM_F_MULTI, |b| {
        b.raw(&[family, prefix, IFA_F_PERMANENT, SCOPE_HOST]);
        b.raw(&index().to_ne_bytes());
        b.attribute(1, ip);
        if family == AF_INET {
            b.attribute(2, ip); // IFA_LOCAL
            b.attribute(3, b"lo\0"); // IFA_LABEL
        }
        b.u32(8, u32::from(IFA_F_PERMANENT));
        let forever = u32::MAX.to_ne_bytes();
        b.attribute(6, &[forever, forever, [0; 4], [0; 4]].concat()); // IFA_CACHEINFO
    });
}

/// A rule that all routes of a table hold for everybody.
fn rule(reply: &mut Reply, family: u8, priority: u32, table: u8) {
    const TO_TABLE: u8 = 1;
    reply.message(RTM_NEWRULE, NLM_F_MULTI, |b| {
        b.raw(&[family, 0, 0, 0, table, 0, 0, TO_TABLE, 0, 0, 0, 0]);
        b.u32(15, u32::from(table));
        b.u32(14, u32::MAX); // FRA_SUPPRESS_PREFIXLEN: none
        b.attribute(21, &[PROTO_KERNEL]);
        if priority != 0 {
            b.u32(6, priority);
        }
    });
}

fn qdisc(reply: &mut Reply) {
    const RTM_NEWQDISC: u16 = 36;
    const TC_H_ROOT: u32 = u32::MAX;
    reply.message(RTM_NEWQDISC, NLM_F_MULTI, |b| {
        b.raw(&[0; 4]);
        b.raw(&INDEX.to_ne_bytes());
        b.raw(&[0; 4]);
        b.raw(&TC_H_ROOT.to_ne_bytes());
        b.raw(&2u32.to_ne_bytes());
        b.attribute(1, b"noqueue\0");
    });
}

#[derive(Clone, Copy)]
struct Route<'a> {
    family: u8,
    to: &'a [u8],
    len: u8,
    table: u8,
    kind: u8,
    scope: u8,
    source: Option<&'a [u8]>,
    metric: Option<u32>,
    /// `RTM_F_*` and `RTCF_*`
    flags: u32,
}

impl Route<'_> {
    fn put(self, reply: &mut Reply, flags: u16) {
        reply.message(RTM_NEWROUTE, flags, |b| {
            b.raw(&[
                self.family,
                self.len,
                0,
                0,
                self.table,
                PROTO_KERNEL,
                self.scope,
                self.kind,
            ]);
            b.raw(&self.flags.to_ne_bytes());
            b.u32(15, u32::from(self.table));
            b.attribute(1, self.to);
            if let Some(metric) = self.metric {
                b.u32(6, metric);
            }
            if let Some(source) = self.source {
                b.attribute(7, source);
            }
            b.u32(4, index());
            if self.family == AF_INET6 {
                b.attribute(20, &[0]); // RTA_PREF: medium
            }
        });
    }
}

/// The destination of a question.
fn asked_route<'a>(request: &Request<'a>) -> Result<&'a [u8], Errno> {
    const RTA_DST: u16 = 1;
    attributes(request.body, 12)
        .into_iter()
        .find(|(kind, _)| *kind == RTA_DST)
        .map(|(_, ip)| ip)
        .ok_or(Errno::EINVAL)
}

/// `ip route get`: everything that is not local is unreachable.
fn one_route(request: &Request<'_>, family: u8, reply: &mut Reply) -> Result<(), Errno> {
    /// `RTM_F_CLONED`, `RTCF_LOCAL`: of the cache, and for this host.
    const CLONED: u32 = 0x8000_0200;
    let to = asked_route(request)?;
    let (local, source, len): (bool, &[u8], u8) = match family {
        AF_INET => (to.len() == 4 && to.first() == Some(&127), &LOCALHOST4, 32),
        AF_INET6 => (to == LOCALHOST6, &LOCALHOST6, 128),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if !local {
        return Err(Errno::ENETUNREACH);
    }
    Route {
        family,
        to,
        len,
        table: TABLE_LOCAL,
        kind: LOCAL,
        scope: SCOPE_UNIVERSE,
        source: Some(source),
        metric: None,
        flags: if family == AF_INET { CLONED } else { 0 },
    }
    .put(reply, 0);
    Ok(())
}
