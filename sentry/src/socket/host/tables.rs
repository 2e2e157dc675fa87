//! `/proc/net` of a namespace of the host's, from what its kernel says (`proc_pid_net(5)`).

use super::HostNet;
use super::routes::Message;
use crate::socket::interface::Link;
use crate::socket::netlink::message::{attributes, u32_at};
use std::fmt::Write;

const RTM_GETROUTE: u16 = 26;
const RTM_GETNEIGH: u16 = 30;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A file's lines below its heading; `None` for files that this namespace has nothing of its own to say in.
pub fn lines(net: &HostNet, file: &str) -> Option<String> {
    let links = || net.routes.links().unwrap_or_default();
    match file {
        "dev" => Some(dev(&links())),
        "if_inet6" => Some(if_inet6(&links())),
        "route" => Some(route(
            &links(),
            &net.routes.dump(RTM_GETROUTE, AF_INET).unwrap_or_default(),
        )),
        "arp" => Some(arp(
            &links(),
            &net.routes.dump(RTM_GETNEIGH, AF_INET).unwrap_or_default(),
        )),
        _ => None,
    }
}

fn name(links: &[Link], index: Option<u32>) -> &str {
    let found = links.iter().find(|l| Some(l.index) == index);
    found.map_or("*", |l| l.name.as_str())
}

fn dev(links: &[Link]) -> String {
    let mut out = String::new();
    for l in links {
        let [
            rxp,
            txp,
            rxb,
            txb,
            rxe,
            txe,
            rxd,
            txd,
            multicast,
            collisions,
        ] = l.counters;
        let _ = writeln!(
            out,
            "{:>6}: {rxb:7} {rxp:7} {rxe:4} {rxd:4} {:4} {:5} {:10} {multicast:9} {txb:8} {txp:7} {txe:4} {txd:4} {:4} {collisions:5} {:7} {:10}",
            l.name, 0, 0, 0, 0, 0, 0
        );
    }
    out
}

fn if_inet6(links: &[Link]) -> String {
    let mut out = String::new();
    for l in links {
        for a in l.addresses.iter().filter(|a| a.family == AF_INET6) {
            for byte in &a.ip {
                let _ = write!(out, "{byte:02x}");
            }
            // What the kernel calls scopes there are other numbers than rtnetlink's.
            let scope = match a.scope {
                253 => 0x20,
                254 => 0x10,
                200 => 0x40,
                _ => 0,
            };
            let (prefix, flags) = (a.prefix, a.flags);
            let _ = writeln!(
                out,
                " {:02x} {prefix:02x} {scope:02x} {flags:02x} {:>8}",
                l.index, l.name
            );
        }
    }
    out
}

/// Four bytes as this machine reads them.
fn word(bytes: Option<&[u8]>) -> u32 {
    bytes
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |b| u32::from_ne_bytes(*b))
}

fn route(links: &[Link], routes: &[Message]) -> String {
    const MAIN: u32 = 254;
    const RTN_UNICAST: u8 = 1;
    let mut out = String::new();
    for m in routes {
        let all = attributes(&m.body, 12);
        let get = |kind: u16| all.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
        let number = |kind: u16| get(kind).and_then(|v| u32_at(v, 0));
        let prefix = u32::from(m.body.get(1).copied().unwrap_or(0));
        let unicast = m.body.get(7) == Some(&RTN_UNICAST);
        // RTA_TABLE
        if !unicast || number(15) != Some(MAIN) {
            continue;
        }
        let mask = u32::MAX
            .checked_shl(32u32.saturating_sub(prefix))
            .unwrap_or(0)
            .to_be();
        // RTF_UP, RTF_GATEWAY, RTF_HOST
        let flags = 1 | if get(5).is_some() { 2 } else { 0 } | if prefix == 32 { 4 } else { 0 };
        let line = format!(
            "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{mask:08X}\t0\t0\t0",
            name(links, number(4)),
            word(get(1)),
            word(get(5)),
            number(6).unwrap_or(0),
        );
        let _ = writeln!(out, "{line:<127}");
    }
    out
}

fn arp(links: &[Link], neighbours: &[Message]) -> String {
    // NUD_PERMANENT, NUD_NOARP; NUD_VALID's others.
    const NOARP: u16 = 0x40;
    const PERMANENT: u16 = 0x80;
    const VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | PERMANENT;
    let mut out = String::new();
    for m in neighbours {
        let all = attributes(&m.body, 12);
        let get = |kind: u16| all.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
        let state = m.body.get(8..).and_then(<[u8]>::first_chunk);
        let state = state.map_or(0, |b| u16::from_ne_bytes(*b));
        let Some([a, b, c, d]) = get(1).filter(|_| state & NOARP == 0) else {
            continue;
        };
        let mac: Vec<_> = get(2)
            .unwrap_or(&[0; 6])
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let flags = if state & PERMANENT != 0 {
            6
        } else if state & VALID != 0 {
            2
        } else {
            0
        };
        let _ = writeln!(
            out,
            "{:<16} 0x1         0x{flags:<10x}{}     *        {}",
            format!("{a}.{b}.{c}.{d}"),
            mac.join(":"),
            name(links, u32_at(&m.body, 4))
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like the kernel's own files, which are those of the namespace that the tests run in.
    #[test]
    fn as_the_host_prints_them() {
        let netlink = HostNet::socket().unwrap();
        let net = HostNet::new(netlink);
        for (file, heading, columns) in [("dev", 2, 1), ("route", 1, 8), ("if_inet6", 0, 6)] {
            let theirs = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap();
            let ours = lines(&net, file).unwrap();
            // Counters move meanwhile, and the kernel does not order its lists.
            let pick = |text: &str| {
                let mut rows: Vec<Vec<String>> = text
                    .lines()
                    .map(|l| {
                        l.split_whitespace()
                            .take(columns)
                            .map(String::from)
                            .collect()
                    })
                    .collect();
                rows.sort();
                rows
            };
            let theirs: String = theirs
                .lines()
                .skip(heading)
                .map(|l| format!("{l}\n"))
                .collect();
            assert_eq!(pick(&ours), pick(&theirs), "{file}");
        }
        assert!(lines(&net, "tcp").is_none());
    }
}
