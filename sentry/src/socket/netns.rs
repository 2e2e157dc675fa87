//! A network namespace: what sockets of one family find each other through.

use super::host::HostNet;
use super::unix::{NameTable, UnixSocket};
use netstack::{SocketEntry, Stack};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock};

/// Abstract Unix names, interfaces, and the TCP/IP stack, made when the first socket needs it.
#[derive(Default)]
pub struct NetNamespace {
    /// Abstract Unix names.
    pub(super) abstract_names: NameTable<UnixSocket>,
    /// All Unix sockets, by their address in memory (`/proc/net/unix`).
    pub(crate) unix_sockets: Mutex<BTreeMap<usize, Weak<UnixSocket>>>,
    /// Port ids of netlink sockets.
    pub(super) netlink_ports: super::netlink::Ports,
    stack: OnceLock<Arc<Stack>>,
    /// Internet sockets are the host's.
    host: Option<HostNet>,
}

struct HostTime;

impl netstack::Clock for HostTime {
    fn now_ns(&self) -> u64 {
        sync::time::monotonic_ns()
    }
}

impl NetNamespace {
    /// An empty one, with its loopback interface up.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// One whose internet sockets are opened on the host.
    pub fn of_host(host: HostNet) -> Self {
        Self {
            host: Some(host),
            ..Self::default()
        }
    }

    /// The host's, if this is one of those. Then the stack has no sockets, only settings.
    pub fn host(&self) -> Option<&HostNet> {
        self.host.as_ref()
    }

    /// All that /proc/net/tcp and tcp6 show.
    pub fn tcp_sockets(&self) -> Vec<SocketEntry> {
        match &self.host {
            Some(host) => host.entries(abi::socket::SOCK_STREAM),
            None => self.stack().tcp_sockets(),
        }
    }

    /// All that /proc/net/udp and udp6 show.
    pub fn udp_sockets(&self) -> Vec<SocketEntry> {
        match &self.host {
            Some(host) => host.entries(abi::socket::SOCK_DGRAM),
            None => self.stack().udp_sockets(),
        }
    }

    /// TCP, UDP and their ports.
    pub fn stack(&self) -> &Arc<Stack> {
        self.stack
            .get_or_init(|| Stack::new(Arc::new(HostTime), sync::time::realtime_ns()))
    }
}
