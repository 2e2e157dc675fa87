//! A network namespace: its addresses, its ports, its endpoints.

use crate::addr::{self, Family, Kind};
use crate::tcp::{TcpCounts, TcpEndpoint, TcpTables};
use crate::udp::{UdpCounts, UdpEndpoint, UdpTables};
use crate::{Clock, Notify, Owner};
use abi::{Errno, Result};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use sync::{Mutex, RwLock, level};

/// What /proc/sys/net says; Linux's defaults.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// net.ipv4.ip_local_port_range.
    pub port_range: (u16, u16),
    /// net.core.somaxconn.
    pub somaxconn: u32,
    /// net.core.rmem_max.
    pub rmem_max: u32,
    /// net.core.wmem_max.
    pub wmem_max: u32,
    /// net.core.rmem_default, of UDP.
    pub rmem_default: u32,
    /// net.core.wmem_default, of UDP.
    pub wmem_default: u32,
    /// net.ipv4.tcp_fin_timeout, in seconds.
    pub fin_timeout: u32,
    /// net.ipv4.ip_unprivileged_port_start. The caller of `bind` asks it: privileges are not known here.
    pub unprivileged_port_start: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port_range: (32768, 60999),
            somaxconn: 4096,
            rmem_max: 212_992,
            wmem_max: 212_992,
            rmem_default: 212_992,
            wmem_default: 212_992,
            fin_timeout: 60,
            unprivileged_port_start: 1024,
        }
    }
}

/// One line of /proc/net/{tcp,tcp6,udp,udp6}.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketEntry {
    /// Which of the two files.
    pub family: Family,
    /// In the form of the family: mapped where IPv4 is spoken on AF_INET6.
    pub local: SocketAddr,
    /// The wildcard where there is none.
    pub remote: SocketAddr,
    /// TCP_* of `abi::socket`; of UDP, ESTABLISHED or CLOSE.
    pub state: u8,
    /// Bytes not delivered to the peer.
    pub tx_queue: u32,
    /// Bytes to be read; of a listener, connections to be accepted.
    pub rx_queue: u32,
    /// Owner and inode; no inode for what no file holds.
    pub owner: Owner,
    /// Datagrams thrown away because the queue was full.
    pub drops: u64,
    /// Seconds until a lingering connection goes, else zero.
    pub expires: u32,
}

/// A network namespace.
pub struct Stack {
    pub(crate) tcp: Mutex<TcpTables, { level::NET_TABLES }>,
    pub(crate) udp: RwLock<UdpTables, { level::NET_TABLES }>,
    clock: Arc<dyn Clock>,
    local: RwLock<Vec<IpAddr>>,
    settings: RwLock<Settings>,
    next_id: AtomicU64,
    /// What of UDP is counted.
    pub udp_counts: UdpCounts,
}

impl Stack {
    /// A namespace whose only interface is `lo`, up. `seed` spreads the ports it picks.
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Arc<Stack> {
        Arc::new(Stack {
            tcp: Mutex::new(TcpTables::new(seed)),
            udp: RwLock::new(UdpTables::new(seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15)),
            clock,
            local: RwLock::new(Vec::new()),
            settings: RwLock::new(Settings::default()),
            next_id: AtomicU64::new(1),
            udp_counts: UdpCounts::default(),
        })
    }

    /// A TCP socket.
    pub fn tcp(
        self: &Arc<Self>,
        family: Family,
        owner: Owner,
        notify: Arc<dyn Notify>,
    ) -> Arc<TcpEndpoint> {
        TcpEndpoint::new(self.clone(), family, owner, notify)
    }

    /// A UDP socket.
    pub fn udp(
        self: &Arc<Self>,
        family: Family,
        owner: Owner,
        notify: Arc<dyn Notify>,
    ) -> Arc<UdpEndpoint> {
        UdpEndpoint::new(self.clone(), family, owner, notify)
    }

    /// Makes one more address the namespace's own, as that of an interface would be.
    pub fn add_local(&self, ip: IpAddr) {
        let mut local = self.local.write();
        if !local.contains(&ip) {
            local.push(ip);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        *self.settings.read()
    }

    /// Changes settings: for writes to /proc/sys/net, which check ranges themselves.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write() = settings;
    }

    /// All that /proc/net/tcp and tcp6 show.
    pub fn tcp_sockets(&self) -> Vec<SocketEntry> {
        let now = self.now_ns();
        let mut tables = self.tcp.lock();
        tables.expire(now);
        tables.entries(now)
    }

    /// What of TCP is counted.
    pub fn tcp_counts(&self) -> TcpCounts {
        self.tcp.lock().counts
    }

    /// All that /proc/net/udp and udp6 show.
    pub fn udp_sockets(&self) -> Vec<SocketEntry> {
        // The endpoints are asked with the tables unlocked: dropping the last reference to one takes them.
        let endpoints = self.udp.read().endpoints();
        endpoints.iter().filter_map(|e| e.entry()).collect()
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn classify(&self, ip: IpAddr) -> Kind {
        addr::classify(ip, &self.local.read())
    }

    /// May a socket be bound to this canonical address?
    pub(crate) fn check_bind(
        &self,
        ip: IpAddr,
        family: Family,
        v6only: bool,
        foreign: bool,
        stream: bool,
    ) -> Result<()> {
        if family == Family::Inet && ip.is_ipv6() {
            return Err(Errno::EAFNOSUPPORT);
        }
        if family == Family::Inet6 && ip.is_ipv4() && v6only {
            return Err(Errno::EINVAL);
        }
        match self.classify(ip) {
            Kind::Multicast if stream && ip.is_ipv6() => Err(Errno::EINVAL),
            Kind::Unreachable if !foreign => Err(Errno::EADDRNOTAVAIL),
            _ => Ok(()),
        }
    }

    /// Checks a destination against the socket's family; the wildcard means this host.
    pub(crate) fn destination(
        &self,
        to: SocketAddr,
        family: Family,
        v6only: bool,
    ) -> Result<SocketAddr> {
        let to = addr::canonical(to);
        match (family, to.ip()) {
            (Family::Inet, IpAddr::V6(_)) => return Err(Errno::EAFNOSUPPORT),
            (Family::Inet6, IpAddr::V4(_)) if v6only => return Err(Errno::ENETUNREACH),
            _ => {}
        }
        let ip = if to.ip().is_unspecified() {
            addr::loopback_like(to.ip())
        } else {
            to.ip()
        };
        Ok(SocketAddr::new(ip, to.port()))
    }

    /// The source address of what goes to `to`, for a socket bound to no address.
    pub(crate) fn source(&self, to: IpAddr) -> IpAddr {
        if to.is_loopback() || self.classify(to) != Kind::Local {
            addr::loopback_like(to)
        } else {
            to
        }
    }
}
