//! Options of UDP sockets that are a matter of the endpoint's state: groups, the port's sharing, errors.

use super::tables::UdpTables;
use super::{State, UdpEndpoint};
use crate::addr::{Family, Kind};
use abi::socket::*;
use abi::{Errno, Result};
use core::net::{IpAddr, Ipv4Addr};
use zerocopy::{FromBytes, IntoBytes};

impl UdpEndpoint {
    /// setsockopt(2) at SOL_SOCKET, SOL_IP, SOL_IPV6, SOL_UDP. Privileges are the caller's to check.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let settings = self.stack.settings();
        let mut tables = self.stack.udp.write();
        let mut state = self.state.lock();
        match (level, name) {
            (SOL_IPV6, IPV6_V6ONLY) if state.port.is_some() => return Err(Errno::EINVAL),
            (SOL_IP, IP_ADD_MEMBERSHIP) => {
                return self.join(&mut tables, &mut state, self.group4(value)?);
            }
            (SOL_IP, IP_DROP_MEMBERSHIP) => {
                return drop_group(&mut tables, &mut state, self.group4(value)?);
            }
            (SOL_IPV6, IPV6_ADD_MEMBERSHIP) => {
                return self.join(&mut tables, &mut state, self.group6(value)?);
            }
            (SOL_IPV6, IPV6_DROP_MEMBERSHIP) => {
                return drop_group(&mut tables, &mut state, self.group6(value)?);
            }
            (SOL_IP, IP_MULTICAST_IF) => {
                state.multicast_if = self.interface4(value)?;
                return Ok(());
            }
            (SOL_IPV6, IPV6_MULTICAST_IF) => {
                state.multicast_if = match crate::options::int(value)? {
                    0 => false,
                    1 => true,
                    _ => return Err(Errno::ENODEV),
                };
                return Ok(());
            }
            _ => state.options.set(level, name, value, &settings)?,
        }
        match (level, name) {
            (SOL_SOCKET, SO_PEEK_OFF) => state.peek_off = state.options.peek_off(),
            (SOL_IP, IP_RECVERR) | (SOL_IPV6, IPV6_RECVERR)
                if !state.options.is_on(level, name) =>
            {
                state.errors.clear();
            }
            _ => {}
        }
        let (reuse_addr, reuse_port) = (
            state.options.is_on(SOL_SOCKET, SO_REUSEADDR),
            state.options.is_on(SOL_SOCKET, SO_REUSEPORT),
        );
        if let Some(bind) = state
            .port
            .and_then(|port| tables.ports.get_mut(port, self.id))
        {
            bind.reuse_addr = reuse_addr;
            bind.reuse_port = reuse_port;
        }
        Ok(())
    }

    /// Does an `ip_mreqn`, an `ip_mreq` or an `in_addr` name the loopback interface?
    fn interface4(&self, value: &[u8]) -> Result<bool> {
        let (address, index) = match value.len() {
            0..4 => return Err(Errno::EINVAL),
            4..8 => (value.first_chunk::<4>().copied().unwrap_or_default(), 0),
            8..12 => (
                value
                    .get(4..)
                    .and_then(|v| v.first_chunk::<4>())
                    .copied()
                    .unwrap_or_default(),
                0,
            ),
            _ => IpMreqn::read_from_prefix(value)
                .map(|(m, _)| (m.imr_address, m.imr_ifindex))
                .unwrap_or_default(),
        };
        let ip = Ipv4Addr::from(address);
        match (index, ip.is_unspecified()) {
            (1, _) => Ok(true),
            (0, true) => Ok(false),
            (0, false) if self.stack.classify(ip.into()) == Kind::Local => Ok(true),
            (0, false) => Err(Errno::EADDRNOTAVAIL),
            _ => Err(Errno::ENODEV),
        }
    }

    /// The group of a membership; there is no route to choose an interface by, so it must be named.
    fn group4(&self, value: &[u8]) -> Result<IpAddr> {
        let group = Ipv4Addr::from(
            value
                .first_chunk::<4>()
                .copied()
                .filter(|_| value.len() >= 8)
                .ok_or(Errno::EINVAL)?,
        );
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        match self.interface4(value) {
            Ok(true) => Ok(group.into()),
            _ => Err(Errno::ENODEV),
        }
    }

    fn group6(&self, value: &[u8]) -> Result<IpAddr> {
        if self.family == Family::Inet {
            return Err(Errno::ENOPROTOOPT);
        }
        let (request, _) = Ipv6Mreq::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
        let group = IpAddr::from(request.ipv6mr_multiaddr);
        match request.ipv6mr_ifindex {
            _ if !group.is_multicast() => Err(Errno::EINVAL),
            1 => Ok(group),
            _ => Err(Errno::ENODEV),
        }
    }

    fn join(&self, tables: &mut UdpTables, state: &mut State, group: IpAddr) -> Result<()> {
        if state.groups.contains(&group) {
            return Err(Errno::EADDRINUSE);
        }
        // net.ipv4.igmp_max_memberships
        if state.groups.len() >= 20 {
            return Err(Errno::ENOBUFS);
        }
        state.groups.push(group);
        let members = tables.groups.entry(group).or_default();
        *members = members.saturating_add(1);
        Ok(())
    }

    /// getsockopt(2). The result may be longer than `wanted`, which is what the program has room for: cut it.
    pub fn get_option(&self, level: i32, name: i32, wanted: usize) -> Result<Vec<u8>> {
        let number = |n: i32| Ok(n.as_bytes().to_vec());
        let state = self.state.lock();
        match (level, name) {
            (SOL_SOCKET, SO_ERROR) => {
                drop(state);
                number(self.take_error().map_or(0, Errno::raw))
            }
            (SOL_SOCKET, SO_PEEK_OFF) => number(
                state
                    .peek_off
                    .map_or(-1, |off| i32::try_from(off).unwrap_or(i32::MAX)),
            ),
            (SOL_SOCKET, SO_COOKIE) => Ok(self.id.as_bytes().to_vec()),
            (SOL_SOCKET, SO_ACCEPTCONN) => number(0),
            (SOL_IP, IP_MTU) if state.peer.is_some() => number(65535),
            (SOL_IP, IP_MTU) => Err(Errno::ENOTCONN),
            (SOL_IP, IP_MULTICAST_IF) => Ok(if state.multicast_if {
                vec![127, 0, 0, 1]
            } else {
                vec![0; 4]
            }),
            (SOL_IPV6, IPV6_MULTICAST_IF) => number(i32::from(state.multicast_if)),
            _ => state.options.get(level, name, wanted),
        }
    }
}

/// One socket less is in a group.
pub(super) fn leave(tables: &mut UdpTables, group: IpAddr) {
    if let Some(members) = tables.groups.get_mut(&group) {
        *members = members.saturating_sub(1);
        if *members == 0 {
            tables.groups.remove(&group);
        }
    }
}

fn drop_group(tables: &mut UdpTables, state: &mut State, group: IpAddr) -> Result<()> {
    let before = state.groups.len();
    state.groups.retain(|g| *g != group);
    if state.groups.len() == before {
        return Err(Errno::EADDRNOTAVAIL);
    }
    leave(tables, group);
    Ok(())
}
