//! UDP endpoints: what a file description of a datagram socket wraps.
//!
//! A datagram goes from the sender's call straight into the receiver's queue. A full queue drops it, nobody at the port is an
//! `ECONNREFUSED` for a connected sender: both as on Linux. Options and groups are in `options`, who gets what in `tables`.

mod errors;
mod options;
mod tables;

pub use errors::SocketError;
pub(crate) use tables::UdpTables;

use crate::addr::{self, Family, Kind};
use crate::options::{Options, Timeouts};
use crate::ports::{Bind, BindAddr, Ports, udp_rule};
use crate::stack::{SocketEntry, Stack};
use crate::tcp::{RecvFlags, Shutdown};
use crate::{Notify, Owner};
use abi::poll::{
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRBAND, EPOLLWRNORM,
};
use abi::socket::*;
use abi::{Errno, Result};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use sync::{Mutex, level};
use tables::Slot;

const IN: u32 = EPOLLIN | EPOLLRDNORM;
const OUT: u32 = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND;
/// What a queued datagram costs beside its bytes (Linux: the sk_buff).
const OVERHEAD: usize = 768;

/// A received datagram's circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes copied.
    pub count: usize,
    /// Bytes it had: more than `count` means MSG_TRUNC.
    pub len: usize,
    /// Who sent it; `None` after shutdown(SHUT_RD), where receiving yields nothing.
    pub from: Option<SocketAddr>,
    /// To what address it was sent: for IP_PKTINFO, on interface 1.
    pub to: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// When it arrived, by the stack's clock.
    pub at: u64,
}

struct Datagram {
    data: Vec<u8>,
    from: SocketAddr,
    to: IpAddr,
    ttl: u8,
    tos: u8,
    at: u64,
}

struct State {
    options: Options,
    /// Canonical.
    local: SocketAddr,
    port: Option<u16>,
    /// The address was bound, not just chosen by connect.
    bound_ip: bool,
    explicit: bool,
    peer: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    bytes: usize,
    drops: u64,
    error: Option<Errno>,
    /// What MSG_ERRQUEUE receives.
    errors: VecDeque<SocketError>,
    /// SO_PEEK_OFF: from where the next look is taken, if it is on.
    peek_off: Option<usize>,
    shut: (bool, bool),
    groups: Vec<IpAddr>,
    filter: Option<Filter>,
    /// IP_MULTICAST_IF or IPV6_MULTICAST_IF names the loopback interface.
    multicast_if: bool,
    closed: bool,
}

/// A UDP socket. Dropping it closes it.
pub struct UdpEndpoint {
    stack: Arc<Stack>,
    family: Family,
    owner: Owner,
    id: u64,
    notify: Arc<dyn Notify>,
    me: Weak<UdpEndpoint>,
    state: Mutex<State, { level::NET_ENDPOINT }>,
}

/// What /proc/net/snmp counts of UDP (RFC 4113).
#[derive(Debug, Default)]
pub struct UdpCounts {
    /// Datagrams that programs received.
    pub received: AtomicU64,
    /// Datagrams to ports where nobody was.
    pub no_ports: AtomicU64,
    /// Datagrams that found no room.
    pub full: AtomicU64,
    /// Datagrams sent.
    pub sent: AtomicU64,
}

/// How many bytes of a datagram, its UDP header included, are received: 0 for none of it.
pub type Filter = Arc<dyn Fn(&[u8]) -> usize + Send + Sync>;

impl Datagram {
    /// Cut to what the filter keeps; false if that is nothing.
    fn pass(&mut self, filter: &Filter, port: u16) -> bool {
        const HEADER: usize = 8;
        let len = self.data.len().saturating_add(HEADER);
        let mut packet = Vec::with_capacity(len);
        for field in [self.from.port(), port, u16::try_from(len).unwrap_or(0), 0] {
            packet.extend_from_slice(&field.to_be_bytes());
        }
        packet.extend_from_slice(&self.data);
        let keep = filter(&packet);
        self.data.truncate(keep.saturating_sub(HEADER));
        keep > 0
    }
}

impl State {
    /// The datagram that byte `off` of all lies in, and where there.
    fn find(&self, mut off: usize) -> (usize, usize) {
        let mut index: usize = 0;
        for datagram in &self.queue {
            if off == 0 || off < datagram.data.len() {
                break;
            }
            off = off.saturating_sub(datagram.data.len());
            index = index.saturating_add(1);
        }
        (index, off)
    }
}

impl UdpEndpoint {
    pub(crate) fn new(
        stack: Arc<Stack>,
        family: Family,
        owner: Owner,
        notify: Arc<dyn Notify>,
    ) -> Arc<UdpEndpoint> {
        let id = stack.next_id();
        let state = State {
            options: Options::new(family, false, &stack.settings()),
            local: SocketAddr::new(addr::any(family), 0),
            port: None,
            bound_ip: false,
            explicit: false,
            peer: None,
            queue: VecDeque::new(),
            bytes: 0,
            drops: 0,
            error: None,
            errors: VecDeque::new(),
            peek_off: None,
            shut: (false, false),
            groups: Vec::new(),
            filter: None,
            multicast_if: false,
            closed: false,
        };
        Arc::new_cyclic(|me| UdpEndpoint {
            stack,
            family,
            owner,
            id,
            notify,
            me: me.clone(),
            state: Mutex::new(state),
        })
    }

    /// The namespace it lives in.
    pub fn stack(&self) -> &Arc<Stack> {
        &self.stack
    }

    /// AF_INET or AF_INET6.
    pub fn family(&self) -> Family {
        self.family
    }

    /// bind(2). Port 0 picks one. Privileged ports are the caller's to refuse.
    pub fn bind(&self, to: SocketAddr) -> Result<()> {
        let to = addr::canonical(to);
        let range = self.stack.settings().port_range;
        let mut tables = self.stack.udp.write();
        let mut state = self.state.lock();
        let v6only = state.options.v6only();
        self.stack
            .check_bind(to.ip(), self.family, v6only, state.options.foreign(), false)?;
        if state.port.is_some() {
            return Err(Errno::EINVAL);
        }
        self.take_port(&mut tables, &mut state, to, range)?;
        state.bound_ip = !to.ip().is_unspecified();
        state.explicit = to.port() != 0;
        Ok(())
    }

    fn take_port(
        &self,
        tables: &mut UdpTables,
        state: &mut State,
        to: SocketAddr,
        range: (u16, u16),
    ) -> Result<()> {
        let addr = BindAddr::new(to.ip(), self.family, state.options.v6only());
        let bind = Bind {
            addr,
            reuse_addr: state.options.is_on(SOL_SOCKET, SO_REUSEADDR),
            reuse_port: state.options.is_on(SOL_SOCKET, SO_REUSEPORT),
            uid: self.owner.uid,
            listening: false,
            auto: false,
            explicit: true,
            open: true,
            lingering: false,
        };
        let port = match to.port() {
            0 => tables
                .ports
                .pick(range, Ports::is_free)
                .ok_or(Errno::EADDRINUSE)?,
            port if tables.ports.conflicts(port, self.id, &bind, udp_rule) => {
                return Err(Errno::EADDRINUSE);
            }
            port => port,
        };
        tables.ports.insert(port, self.id, bind);
        let slot = Slot {
            id: self.id,
            addr,
            peer: None,
            endpoint: self.me.clone(),
        };
        tables.slots.entry(port).or_default().push(slot);
        state.port = Some(port);
        state.local = SocketAddr::new(to.ip(), port);
        Ok(())
    }

    fn release_port(&self, tables: &mut UdpTables, state: &mut State) {
        let Some(port) = state.port.take() else {
            return;
        };
        tables.ports.update(port, self.id, |bind| bind.open = false);
        if let Some(slots) = tables.slots.get_mut(&port) {
            slots.retain(|slot| slot.id != self.id);
            if slots.is_empty() {
                tables.slots.remove(&port);
            }
        }
    }

    /// An unbound socket that sends or connects gets a port.
    fn auto_bind(&self, tables: &mut UdpTables, state: &mut State) -> Result<()> {
        if state.port.is_none() {
            let range = self.stack.settings().port_range;
            self.take_port(
                tables,
                state,
                SocketAddr::new(addr::any(self.family), 0),
                range,
            )
            .map_err(|_| Errno::EAGAIN)?;
        }
        Ok(())
    }

    /// connect(2): fixes the peer. Datagrams of others are not received from now on.
    pub fn connect(&self, to: SocketAddr) -> Result<()> {
        let mut tables = self.stack.udp.write();
        let mut state = self.state.lock();
        let to = self
            .stack
            .destination(to, self.family, state.options.v6only())?;
        self.check_route(&state, to.ip())?;
        self.auto_bind(&mut tables, &mut state)?;
        let ip = if state.bound_ip {
            state.local.ip()
        } else {
            self.stack.source(to.ip())
        };
        state.local.set_ip(ip);
        state.peer = Some(to);
        self.update_slot(&mut tables, &state);
        Ok(())
    }

    /// connect(2) with AF_UNSPEC.
    pub fn disconnect(&self) -> Result<()> {
        let mut tables = self.stack.udp.write();
        let mut state = self.state.lock();
        state.peer = None;
        if !state.bound_ip {
            state.local.set_ip(addr::any(self.family));
        }
        if state.explicit {
            self.update_slot(&mut tables, &state);
        } else {
            self.release_port(&mut tables, &mut state);
            state.local.set_port(0);
        }
        Ok(())
    }

    fn update_slot(&self, tables: &mut UdpTables, state: &State) {
        let Some(port) = state.port else { return };
        let addr = BindAddr::new(state.local.ip(), self.family, state.options.v6only());
        if let Some(bind) = tables.ports.get_mut(port, self.id) {
            bind.addr = addr;
        }
        if let Some(slot) = tables.slot_mut(port, self.id) {
            slot.addr = addr;
            slot.peer = state.peer;
        }
    }

    fn check_route(&self, state: &State, to: IpAddr) -> Result<()> {
        match self.stack.classify(to) {
            Kind::Local | Kind::Any => Ok(()),
            Kind::Broadcast if !state.options.is_on(SOL_SOCKET, SO_BROADCAST) => Err(Errno::EACCES),
            Kind::Broadcast if to == IpAddr::V4(Ipv4Addr::BROADCAST) => Err(Errno::ENETUNREACH),
            Kind::Broadcast => Ok(()),
            Kind::Multicast if state.multicast_if || state.bound_ip => Ok(()),
            Kind::Multicast | Kind::Unreachable => Err(Errno::ENETUNREACH),
        }
    }

    /// Sends one datagram, to `to` or to the peer. Never waits.
    pub fn send(&self, data: &[u8], to: Option<SocketAddr>) -> Result<usize> {
        // 16 bits of length, less the headers.
        let limit = |ip: IpAddr| if ip.is_ipv4() { 65507 } else { 65527 };
        let (datagram, to, receivers) = {
            let mut state = self.state.lock();
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.shut.1 {
                return Err(Errno::EPIPE);
            }
            let to = match (to, state.peer) {
                (Some(to), _) if to.port() == 0 => return Err(Errno::EINVAL),
                (Some(to), _) => self
                    .stack
                    .destination(to, self.family, state.options.v6only())?,
                (None, Some(peer)) => peer,
                (None, None) => return Err(Errno::EDESTADDRREQ),
            };
            if data.len() > limit(to.ip()) {
                return Err(Errno::EMSGSIZE);
            }
            self.check_route(&state, to.ip())?;
            if state.port.is_none() {
                drop(state);
                let mut tables = self.stack.udp.write();
                state = self.state.lock();
                self.auto_bind(&mut tables, &mut state)?;
            }
            let ip = if state.local.ip().is_unspecified() {
                self.stack.source(to.ip())
            } else {
                state.local.ip()
            };
            addr::same_version(ip, to)?;
            let from = SocketAddr::new(ip, state.local.port());
            let v4 = to.is_ipv4();
            let multicast = to.ip().is_multicast();
            let ttl = match (v4, multicast) {
                (true, false) => state.options.number(SOL_IP, IP_TTL),
                (true, true) => state.options.number(SOL_IP, IP_MULTICAST_TTL),
                (false, false) => state.options.number(SOL_IPV6, IPV6_UNICAST_HOPS),
                (false, true) => state.options.number(SOL_IPV6, IPV6_MULTICAST_HOPS),
            };
            let tos = if v4 {
                state.options.number(SOL_IP, IP_TOS)
            } else {
                state.options.number(SOL_IPV6, IPV6_TCLASS)
            };
            let datagram = Datagram {
                data: data.to_vec(),
                from,
                to: to.ip(),
                ttl: u8::try_from(ttl).unwrap_or(64),
                tos: u8::try_from(tos).unwrap_or(0),
                at: self.stack.now_ns(),
            };
            let looped = !multicast || state.options.is_on(SOL_IP, IP_MULTICAST_LOOP);
            drop(state);
            let tables = self.stack.udp.read();
            let receivers = match self.stack.classify(to.ip()) {
                Kind::Multicast if !looped || !tables.groups.contains_key(&to.ip()) => Vec::new(),
                Kind::Multicast | Kind::Broadcast => tables.find_all(from, to),
                _ => tables.find(from, to).into_iter().collect(),
            };
            (datagram, to, receivers)
        };
        let many = to.ip().is_multicast() || self.stack.classify(to.ip()) == Kind::Broadcast;
        self.stack.udp_counts.sent.fetch_add(1, Relaxed);
        if receivers.is_empty() && !many {
            self.stack.udp_counts.no_ports.fetch_add(1, Relaxed);
            self.unreachable(to, &datagram.data);
        }
        match <[Arc<UdpEndpoint>; 1]>::try_from(receivers) {
            Ok([only]) => only.deliver(datagram),
            Err(all) => all.iter().for_each(|receiver| {
                let Datagram {
                    from,
                    to,
                    ttl,
                    tos,
                    at,
                    ..
                } = datagram;
                receiver.deliver(Datagram {
                    data: datagram.data.clone(),
                    from,
                    to,
                    ttl,
                    tos,
                    at,
                });
            }),
        }
        Ok(data.len())
    }

    /// What is asked how much of a datagram is received (SO_ATTACH_FILTER).
    pub fn set_filter(&self, filter: Option<Filter>) {
        let old = core::mem::replace(&mut self.state.lock().filter, filter);
        drop(old);
    }

    fn deliver(&self, mut datagram: Datagram) {
        let filter = self.state.lock().filter.clone();
        let refused = filter.is_some_and(|filter| !datagram.pass(&filter, self.port()));
        let mut state = self.state.lock();
        if refused {
            state.drops = state.drops.wrapping_add(1);
            return;
        }
        let limit = usize::try_from(state.options.receive_buf).unwrap_or(usize::MAX);
        if state.closed {
            return;
        }
        if state.bytes > limit {
            state.drops = state.drops.wrapping_add(1);
            self.stack.udp_counts.full.fetch_add(1, Relaxed);
            return;
        }
        if datagram.to.is_multicast()
            && !state.groups.contains(&datagram.to)
            && !state.options.is_on(SOL_IP, IP_MULTICAST_ALL)
        {
            return;
        }
        state.bytes = state
            .bytes
            .saturating_add(datagram.data.len())
            .saturating_add(OVERHEAD);
        state.queue.push_back(datagram);
        drop(state);
        self.notify.notify(IN);
    }

    /// Receives one datagram; what does not fit is lost. `EAGAIN`: wait for EPOLLIN.
    pub fn recv(&self, buf: &mut [u8], flags: RecvFlags) -> Result<Received> {
        let mut state = self.state.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let peek = flags.contains(RecvFlags::PEEK);
        let looked = state.peek_off.filter(|_| peek);
        let (index, skip) = state.find(looked.unwrap_or(0));
        let Some(datagram) = state.queue.get(index) else {
            let to = state.local.ip();
            let ended = state.shut.0 && state.queue.is_empty();
            return if ended && !flags.contains(RecvFlags::NONBLOCK) {
                Ok(Received {
                    count: 0,
                    len: 0,
                    from: None,
                    to,
                    ttl: 0,
                    tos: 0,
                    at: 0,
                })
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let len = datagram.data.len();
        let data = datagram.data.get(skip..).unwrap_or_default();
        let count = data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), data.get(..count)) {
            to.copy_from_slice(from);
        }
        let received = Received {
            count,
            len,
            from: Some(addr::shown(datagram.from, self.family)),
            to: datagram.to,
            ttl: datagram.ttl,
            tos: datagram.tos,
            at: datagram.at,
        };
        if peek {
            state.peek_off = state.peek_off.map(|off| off.saturating_add(count));
        } else {
            state.queue.pop_front();
            self.stack.udp_counts.received.fetch_add(1, Relaxed);
            state.bytes = state.bytes.saturating_sub(len).saturating_sub(OVERHEAD);
            state.peek_off = state.peek_off.map(|off| off.saturating_sub(len));
        }
        Ok(received)
    }

    /// EPOLL* bits that are on.
    pub fn readiness(&self) -> u32 {
        let state = self.state.lock();
        let mut events = OUT;
        if !state.queue.is_empty() {
            events |= IN;
        }
        if state.shut.0 {
            events |= IN | EPOLLRDHUP;
        }
        if state.shut == (true, true) {
            events |= EPOLLHUP;
        }
        if state.error.is_some() || !state.errors.is_empty() {
            events |= EPOLLERR;
        }
        events
    }

    /// shutdown(2). `ENOTCONN` without a peer, but it takes effect.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut state = self.state.lock();
        state.shut.0 |= how.reads();
        state.shut.1 |= how.writes();
        let connected = state.peer.is_some();
        drop(state);
        self.notify.notify(IN | OUT | EPOLLRDHUP | EPOLLHUP);
        if connected {
            Ok(())
        } else {
            Err(Errno::ENOTCONN)
        }
    }

    /// Closes: at the last close of the file.
    pub fn close(&self) {
        let mut tables = self.stack.udp.write();
        let mut state = self.state.lock();
        self.release_port(&mut tables, &mut state);
        state.closed = true;
        state.queue.clear();
        for group in core::mem::take(&mut state.groups) {
            options::leave(&mut tables, group);
        }
    }

    fn port(&self) -> u16 {
        self.state.lock().local.port()
    }

    /// getsockname(2).
    pub fn local_addr(&self) -> SocketAddr {
        addr::shown(self.state.lock().local, self.family)
    }

    /// getpeername(2).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.state
            .lock()
            .peer
            // Connected to port 0 counts as not connected (`inet_getname`).
            .filter(|peer| peer.port() != 0)
            .map(|peer| addr::shown(peer, self.family))
            .ok_or(Errno::ENOTCONN)
    }

    /// SIOCINQ: bytes of the first datagram.
    pub fn input_queue(&self) -> usize {
        self.state
            .lock()
            .queue
            .front()
            .map_or(0, |datagram| datagram.data.len())
    }

    /// How long blocking calls wait.
    pub fn timeouts(&self) -> Timeouts {
        self.state.lock().options.timeouts
    }

    /// SO_ERROR: takes the pending error.
    pub fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// Is a boolean option on? For the control messages of recvmsg(2): IP_PKTINFO, IP_RECVTTL, and so on.
    pub fn is_on(&self, level: i32, name: i32) -> bool {
        self.state.lock().options.is_on(level, name)
    }

    /// Its line of /proc/net/udp; bound sockets have one.
    pub(crate) fn entry(&self) -> Option<SocketEntry> {
        let state = self.state.lock();
        state.port?;
        let remote = state
            .peer
            .unwrap_or(SocketAddr::new(addr::any(self.family), 0));
        Some(SocketEntry {
            family: self.family,
            local: addr::shown(state.local, self.family),
            remote: addr::shown(remote, self.family),
            state: if state.peer.is_some() {
                TCP_ESTABLISHED
            } else {
                TCP_CLOSE
            },
            tx_queue: 0,
            rx_queue: u32::try_from(state.bytes).unwrap_or(u32::MAX),
            owner: self.owner,
            drops: state.drops,
            expires: 0,
        })
    }
}

impl Drop for UdpEndpoint {
    fn drop(&mut self) {
        self.close();
    }
}
