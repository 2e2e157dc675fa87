//! What is counted of a network namespace: `/proc/net/snmp`, `sockstat`, `sockstat6`. There are no packets underneath, so what counts those is 0.

use crate::socket::netns::NetNamespace;
use abi::socket::{TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_TIME_WAIT};
use netstack::{Family, SocketEntry};
use std::sync::atomic::Ordering::Relaxed;

const IP: &str = "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
const ICMP: &str = "Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps\nIcmp: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
const TCP: &str = "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n";
const UDP: &str = "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n";

/// `/proc/net/snmp`
pub fn snmp(net: &NetNamespace) -> String {
    let stack = net.stack();
    let tcp = stack.tcp_counts();
    let sockets = net.tcp_sockets();
    let established = sockets
        .iter()
        .filter(|s| matches!(s.state, TCP_ESTABLISHED | TCP_CLOSE_WAIT))
        .count();
    let udp = &stack.udp_counts;
    let full = udp.full.load(Relaxed);
    format!(
        "{IP}{ICMP}{TCP}Tcp: 1 200 120000 -1 {} {} {} {} {established} 0 0 0 0 0 0\nUdp: {UDP}Udp: {} {} {full} {} {full} 0 0 0 0\nUdpLite: {UDP}UdpLite: 0 0 0 0 0 0 0 0 0\n",
        tcp.active_opens,
        tcp.passive_opens,
        tcp.attempt_fails,
        tcp.resets,
        udp.received.load(Relaxed),
        udp.no_ports.load(Relaxed),
        udp.sent.load(Relaxed),
    )
}

fn of(sockets: &[SocketEntry], family: Family) -> usize {
    sockets
        .iter()
        .filter(|s| s.family == family && s.state != TCP_TIME_WAIT)
        .count()
}

/// `/proc/net/sockstat`
pub fn sockstat(net: &NetNamespace) -> String {
    let (tcp, udp) = (net.tcp_sockets(), net.udp_sockets());
    let waiting = tcp.iter().filter(|s| s.state == TCP_TIME_WAIT).count();
    let held = tcp.len().saturating_sub(waiting);
    let used = held
        .saturating_add(udp.len())
        .saturating_add(net.unix_sockets.lock().len());
    let (tcp4, udp4) = (of(&tcp, Family::Inet), of(&udp, Family::Inet));
    format!(
        "sockets: used {used}\nTCP: inuse {tcp4} orphan 0 tw {waiting} alloc {held} mem 0\nUDP: inuse {udp4} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
    )
}

/// `/proc/net/sockstat6`
pub fn sockstat6(net: &NetNamespace) -> String {
    let (tcp, udp) = (net.tcp_sockets(), net.udp_sockets());
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
        of(&tcp, Family::Inet6),
        of(&udp, Family::Inet6)
    )
}
