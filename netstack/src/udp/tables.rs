//! The UDP tables of a stack: who is at a port, and who of them gets a datagram.

use super::UdpEndpoint;
use crate::ports::{BindAddr, Ports};
use crate::tcp::spread;
use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// A socket as senders see it.
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) addr: BindAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) endpoint: Weak<UdpEndpoint>,
}

/// The UDP tables of a stack.
pub(crate) struct UdpTables {
    pub(super) ports: Ports,
    /// In the order of binding.
    pub(super) slots: BTreeMap<u16, Vec<Slot>>,
    /// How many sockets have joined a group.
    pub(super) groups: BTreeMap<IpAddr, usize>,
}

impl UdpTables {
    pub(crate) fn new(seed: u64) -> UdpTables {
        UdpTables {
            ports: Ports::new(seed),
            slots: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    pub(crate) fn endpoints(&self) -> Vec<Arc<UdpEndpoint>> {
        self.slots
            .values()
            .flatten()
            .filter_map(|slot| slot.endpoint.upgrade())
            .collect()
    }

    pub(super) fn slot_mut(&mut self, port: u16, id: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut(&port)?
            .iter_mut()
            .find(|slot| slot.id == id)
    }

    /// The socket that a datagram is for (`udp4_lib_lookup`): the best fit; among equals one by hash if they share by SO_REUSEPORT,
    /// else the newest.
    pub(super) fn find(&self, from: SocketAddr, to: SocketAddr) -> Option<Arc<UdpEndpoint>> {
        let score = |slot: &Slot| {
            let base = slot.addr.score(to.ip())?;
            match slot.peer {
                None => Some(base),
                Some(peer) if peer == from => Some(base.saturating_add(8)),
                Some(_) => None,
            }
        };
        let slots = self.slots.get(&to.port())?;
        let best = slots.iter().filter_map(score).max()?;
        let equals: Vec<&Slot> = slots
            .iter()
            .filter(|slot| score(slot) == Some(best))
            .collect();
        let newest = *equals.last()?;
        let shared = equals.len() > 1 && equals.iter().all(|s| self.ports_share(to.port(), s.id));
        let chosen = if shared {
            let index = usize::try_from(spread(from, to))
                .unwrap_or(0)
                .checked_rem(equals.len())?;
            *equals.get(index)?
        } else {
            newest
        };
        chosen.endpoint.upgrade()
    }

    pub(super) fn ports_share(&self, port: u16, id: u64) -> bool {
        self.ports.get(port, id).is_some_and(|bind| bind.reuse_port)
    }

    /// Everybody whom a broadcast or a group's datagram reaches.
    pub(super) fn find_all(&self, from: SocketAddr, to: SocketAddr) -> Vec<Arc<UdpEndpoint>> {
        let slots = self
            .slots
            .get(&to.port())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let fits = |slot: &&Slot| {
            slot.addr.score(to.ip()).is_some() && slot.peer.is_none_or(|peer| peer == from)
        };
        slots
            .iter()
            .filter(fits)
            .filter_map(|slot| slot.endpoint.upgrade())
            .collect()
    }
}
