//! A network namespace: what sockets of one family find each other through.

use super::unix::{NameTable, UnixSocket};
use netstack::Stack;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock};

/// Abstract Unix names, interfaces, and the TCP/IP stack, made when the first socket needs it.
#[derive(Default)]
pub struct NetNamespace {
    /// Abstract Unix names.
    pub(super) abstract_names: NameTable<UnixSocket>,
    /// All Unix sockets, by their address in memory (`/proc/net/unix`).
    pub(super) unix_sockets: Mutex<BTreeMap<usize, Weak<UnixSocket>>>,
    /// Port ids of netlink sockets.
    pub(super) netlink_ports: super::netlink::Ports,
    stack: OnceLock<Arc<Stack>>,
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

    /// TCP, UDP and their ports.
    pub fn stack(&self) -> &Arc<Stack> {
        self.stack
            .get_or_init(|| Stack::new(Arc::new(HostTime), sync::time::realtime_ns()))
    }
}
