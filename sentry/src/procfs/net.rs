//! `/proc/PID/net`: the network namespace of a process (`proc_pid_net(5)`).

use super::counts;
use super::task::Who;
use crate::pseudo::{Content, Tree, text};
use crate::socket::netns::NetNamespace;
use netstack::Family;
use netstack::SocketEntry;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Files that have nothing but their heading until something fills them.
const HEADINGS: &[(&str, &str)] = &[
    (
        "udplite",
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n",
    ),
    (
        "udplite6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "raw",
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "raw6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "icmp",
        "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n",
    ),
    (
        "icmp6",
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
    ),
    (
        "packet",
        "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n",
    ),
    (
        "netlink",
        "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
    ),
    (
        "arp",
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    ),
    (
        "route",
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n",
    ),
    (
        "dev",
        "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n",
    ),
    (
        "if_inet6",
        "00000000000000000000000000000001 01 80 10 80       lo\n",
    ),
    (
        "ipv6_route",
        "00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo\n",
    ),
    ("dev_mcast", ""),
    (
        "igmp",
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n",
    ),
    ("igmp6", ""),
    ("ptype", "Type Device      Function\n"),
    (
        "wireless",
        "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n",
    ),
    ("psched", "000003e8 00000040 000f4240 3b9aca00\n"),
    ("snmp6", ""),
    (
        "netstat",
        "TcpExt: SyncookiesSent\nTcpExt: 0\nIpExt: InNoRoutes\nIpExt: 0\n",
    ),
    (
        "protocols",
        "protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n",
    ),
];

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UDP: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n";
const UDP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";

/// The directory.
pub fn dir(who: Who) -> Content {
    let mut tree = Tree::new();
    for (name, heading) in HEADINGS {
        let who = who.clone();
        tree.add(
            name,
            text(0o444, move |_| heading_and_lines(&who, name, heading)),
        );
    }
    let mut live = |name: &str, read: fn(&NetNamespace) -> String| {
        let who = who.clone();
        tree.add(
            name,
            text(0o444, move |_| {
                let net = who
                    .look()
                    .ok()
                    .and_then(|l| l.task.ns().net.content(NetNamespace::default));
                net.map_or_else(String::new, |net| read(&net))
            }),
        );
    };
    live("tcp", |net| table(TCP, net.tcp_sockets(), false, false));
    live("tcp6", |net| table(TCP6, net.tcp_sockets(), true, false));
    live("udp", |net| table(UDP, net.udp_sockets(), false, true));
    live("udp6", |net| table(UDP6, net.udp_sockets(), true, true));
    live("unix", crate::socket::unix::table);
    live("snmp", counts::snmp);
    live("sockstat", counts::sockstat);
    live("sockstat6", counts::sockstat6);
    tree.build().content
}

/// A file that has nothing but its heading here; of a namespace of the host's there may be more to say.
fn heading_and_lines(who: &Who, name: &str, heading: &str) -> String {
    let net = who
        .look()
        .ok()
        .and_then(|l| l.task.ns().net.content(NetNamespace::default));
    let lines = net
        .as_ref()
        .and_then(|n| n.host())
        .and_then(|host| crate::socket::host::tables::lines(host, name));
    let Some(lines) = lines else {
        return heading.to_owned();
    };
    // What is below the heading here is of the one interface of ours.
    let own = match name {
        "dev" => 2,
        "if_inet6" => 0,
        _ => 1,
    };
    let mut out: String = heading.split_inclusive('\n').take(own).collect();
    out.push_str(&lines);
    out
}

/// An address and port as hexadecimal digits: each 32-bit word of the address as this machine reads it.
fn place(at: SocketAddr) -> String {
    let word = |b: &[u8]| {
        b.iter()
            .rev()
            .map(|b| format!("{b:02X}"))
            .collect::<String>()
    };
    let address = match at.ip() {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks(4).map(word).collect(),
    };
    format!("{address}:{:04X}", at.port())
}

fn table(heading: &str, sockets: Vec<SocketEntry>, v6: bool, udp: bool) -> String {
    let mut out = heading.to_owned();
    let shown = sockets
        .into_iter()
        .filter(|s| (s.family == Family::Inet6) == v6);
    for (sl, s) in shown.enumerate() {
        let width = if udp { 5 } else { 4 };
        // Timer 3 is a lingering connection's.
        let timer = if s.expires == 0 { 0 } else { 3 };
        let _ = write!(
            out,
            "{sl:>width$}: {} {} {:02X} {:08X}:{:08X} {timer:02X}:{:08X} 00000000 {:>5} {:>8} {} 2 0000000000000000",
            place(s.local),
            place(s.remote),
            s.state,
            s.tx_queue,
            s.rx_queue,
            s.expires.saturating_mul(100),
            s.owner.uid,
            0,
            s.owner.inode,
        );
        let _ = if udp {
            writeln!(out, " {}", s.drops)
        } else {
            writeln!(out, " 100 0 0 10 0")
        };
    }
    out
}
