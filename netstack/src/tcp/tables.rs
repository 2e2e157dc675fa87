//! The TCP tables of a stack: ports, listeners, and every connection's ends, those without an endpoint included.

use crate::addr::{self, Family};
use crate::options::Options;
use crate::ports::{Bind, BindAddr, Ports};
use crate::stack::SocketEntry;
use crate::tcp::connection::{Connection, OVER, Phase, Side};
use crate::{Notify, Owner};
use abi::socket::{TCP_ESTABLISHED, TCP_FIN_WAIT2, TCP_LISTEN, TCP_TIME_WAIT};
use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use sync::{Mutex, level};

/// TIME_WAIT lasts this long.
const TIME_WAIT_NS: u64 = 60_000_000_000;
/// After this long, a connection may take a TIME_WAIT's place (net.ipv4.tcp_tw_reuse = 2: over loopback).
const REUSE_AFTER_NS: u64 = 1_000_000_000;

/// Local and remote address of an end.
pub type Key = (SocketAddr, SocketAddr);

/// Who is to be notified once all locks are gone.
#[derive(Default)]
pub struct Events(Vec<(Arc<dyn Notify>, u32)>);

impl Events {
    pub fn add(&mut self, notify: &Arc<dyn Notify>, events: u32) {
        self.0.push((notify.clone(), events));
    }

    pub fn add_end(&mut self, conn: &Connection, side: Side, events: u32) {
        if let Some(notify) = conn.attached(side) {
            self.add(notify, events);
        }
    }

    pub fn send(self) {
        self.0
            .into_iter()
            .for_each(|(notify, events)| notify.notify(events));
    }
}

/// A listening socket's queues.
pub struct Backlog {
    /// Established connections may be one more than this.
    pub limit: usize,
    pub ready: VecDeque<Arc<Connection>>,
    /// Established ones that have sent nothing yet, and until when that keeps them from being accepted (TCP_DEFER_ACCEPT).
    pub deferred: VecDeque<(u64, Arc<Connection>)>,
    /// Clients that found no room: SYN_SENT.
    pub waiting: VecDeque<Arc<Connection>>,
    prune_at: usize,
    pub closed: bool,
    /// What accepted sockets inherit.
    pub options: Options,
}

/// A listening socket as connections see it.
pub struct Listener {
    pub addr: BindAddr,
    /// Canonical.
    pub local: SocketAddr,
    pub family: Family,
    pub owner: Owner,
    pub reuse_port: bool,
    pub notify: Arc<dyn Notify>,
    pub queue: Mutex<Backlog, { level::NET_CONNECTION }>,
}

impl Backlog {
    pub fn new(limit: usize, options: Options) -> Backlog {
        Backlog {
            limit,
            ready: VecDeque::new(),
            deferred: VecDeque::new(),
            waiting: VecDeque::new(),
            prune_at: 64,
            closed: false,
            options,
        }
    }

    /// Connections that were deferred for long enough are ready.
    pub fn time_out(&mut self, now: impl Fn() -> u64) {
        while let Some((until, _)) = self.deferred.front()
            && *until <= now()
            && let Some((_, conn)) = self.deferred.pop_front()
        {
            conn.deferred.store(false, Ordering::Relaxed);
            self.ready.push_back(conn);
        }
    }

    pub fn has_room(&self) -> bool {
        self.ready.len() <= self.limit
    }
}

enum SlotKind {
    Live(Arc<Connection>, Side),
    /// No endpoint: FIN_WAIT2 or TIME_WAIT until then.
    Lingering {
        state: u8,
        until: u64,
    },
}

struct Slot {
    kind: SlotKind,
    /// The holder of the port.
    id: u64,
    family: Family,
    owner: Owner,
}

/// What /proc/net/snmp counts of TCP (RFC 4022).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpCounts {
    /// Connections begun by connect(2).
    pub active_opens: u64,
    /// Connections that a listener got.
    pub passive_opens: u64,
    /// Connections that were refused.
    pub attempt_fails: u64,
    /// Established ones that ended with a RST.
    pub resets: u64,
}

/// The tables.
pub struct TcpTables {
    pub ports: Ports,
    listeners: BTreeMap<u16, Vec<Arc<Listener>>>,
    slots: BTreeMap<Key, Slot>,
    expiry: BTreeSet<(u64, Key)>,
    /// The time of the last [`TcpTables::expire`].
    now: u64,
    pub counts: TcpCounts,
}

impl TcpTables {
    pub fn new(seed: u64) -> TcpTables {
        TcpTables {
            ports: Ports::new(seed),
            listeners: BTreeMap::new(),
            slots: BTreeMap::new(),
            expiry: BTreeSet::new(),
            now: 0,
            counts: TcpCounts::default(),
        }
    }

    /// Forgets lingering connections whose time has come.
    pub fn expire(&mut self, now: u64) {
        self.now = now;
        while let Some((until, key)) = self.expiry.first().copied()
            && until <= now
        {
            self.expiry.pop_first();
            // The slot may have a later time, or belong to another connection, by now.
            if let Some(slot) = self.slots.get(&key)
                && matches!(slot.kind, SlotKind::Lingering { until: its, .. } if its == until)
            {
                self.remove(key);
            }
        }
    }

    /// The listener that fits a destination best; of several with SO_REUSEPORT, the one that the source falls to.
    pub fn find_listener(&self, from: SocketAddr, to: SocketAddr) -> Option<Arc<Listener>> {
        let all = self.listeners.get(&to.port())?;
        let best = all.iter().filter_map(|l| l.addr.score(to.ip())).max()?;
        let group: Vec<&Arc<Listener>> = all
            .iter()
            .filter(|l| l.addr.score(to.ip()) == Some(best))
            .collect();
        let index = usize::try_from(spread(from, to))
            .unwrap_or(0)
            .checked_rem(group.len())?;
        group.get(index).map(|l| (*l).clone())
    }

    pub fn add_listener(&mut self, listener: Arc<Listener>) {
        self.listeners
            .entry(listener.local.port())
            .or_default()
            .push(listener);
    }

    /// Takes a listener away: those in its queue are reset, those that wait are refused.
    pub fn close_listener(&mut self, listener: &Arc<Listener>, now: u64, events: &mut Events) {
        let port = listener.local.port();
        if let Some(all) = self.listeners.get_mut(&port) {
            all.retain(|l| !Arc::ptr_eq(l, listener));
            if all.is_empty() {
                self.listeners.remove(&port);
            }
        }
        let (ready, waiting) = {
            let mut queue = listener.queue.lock();
            queue.closed = true;
            queue.time_out(|| u64::MAX);
            (
                core::mem::take(&mut queue.ready),
                core::mem::take(&mut queue.waiting),
            )
        };
        for conn in ready {
            {
                let mut state = conn.state.lock();
                state.ends.of_mut(Side::Server).closed = true;
                if !state.is_over() {
                    state.reset(Side::Server);
                }
            }
            self.settle(&conn, now, 0);
            events.add_end(&conn, Side::Client, OVER);
        }
        for conn in waiting {
            {
                let mut state = conn.state.lock();
                if state.phase == Phase::Opening {
                    state.phase = Phase::Refused;
                    state.ends.of_mut(Side::Client).error = Some(abi::Errno::ECONNREFUSED);
                }
            }
            self.settle(&conn, now, 0);
            events.add_end(&conn, Side::Client, OVER);
        }
    }

    /// Is there no connection with these addresses, or only one long enough in TIME_WAIT?
    pub fn is_vacant(&self, key: Key, now: u64) -> bool {
        match self.slots.get(&key).map(|slot| &slot.kind) {
            None => true,
            Some(SlotKind::Live(..)) => false,
            Some(SlotKind::Lingering { state, until }) => {
                let since = until.saturating_sub(TIME_WAIT_NS);
                *state == TCP_TIME_WAIT && now.saturating_sub(since) > REUSE_AFTER_NS
            }
        }
    }

    /// A port for connect: unused, or shared with connections to other destinations.
    pub fn pick_for_connect(
        &mut self,
        range: (u16, u16),
        local: core::net::IpAddr,
        to: SocketAddr,
        now: u64,
    ) -> Option<u16> {
        let mut ports = core::mem::take(&mut self.ports);
        let port = ports.pick(range, |ports, port| {
            let from = SocketAddr::new(local, port);
            from != to && ports.is_shareable(port) && self.is_vacant((from, to), now)
        });
        self.ports = ports;
        port
    }

    /// Enters one end of a connection.
    pub fn insert(&mut self, conn: &Arc<Connection>, side: Side, family: Family, owner: Owner) {
        let key = conn.key(side);
        self.remove(key); // a TIME_WAIT whose place it takes
        let slot = Slot {
            kind: SlotKind::Live(conn.clone(), side),
            id: *conn.ids.of(side),
            family,
            owner,
        };
        self.slots.insert(key, slot);
    }

    /// An accepted connection has a file now.
    pub fn set_owner(&mut self, conn: &Connection, owner: Owner) {
        if let Some(slot) = self.slots.get_mut(&conn.key(Side::Server)) {
            slot.owner = owner;
        }
    }

    /// Admits a connection to a listener's queue.
    pub fn establish(&mut self, listener: &Arc<Listener>, conn: &Arc<Connection>) {
        let options = listener.queue.lock().options.clone();
        let bind = Bind {
            addr: BindAddr::new(
                conn.addrs.of(Side::Server).ip(),
                listener.family,
                options.v6only(),
            ),
            reuse_addr: options.is_on(abi::socket::SOL_SOCKET, abi::socket::SO_REUSEADDR),
            reuse_port: listener.reuse_port,
            uid: listener.owner.uid,
            listening: false,
            auto: false,
            explicit: false,
            open: true,
            lingering: false,
        };
        self.ports
            .insert(listener.local.port(), *conn.ids.of(Side::Server), bind);
        let owner = Owner {
            inode: 0,
            ..listener.owner
        };
        self.insert(conn, Side::Server, listener.family, owner);
        conn.state.lock().phase = Phase::Open;
        self.counts.passive_opens = self.counts.passive_opens.wrapping_add(1);
        let defer = options.number(abi::socket::SOL_TCP, abi::socket::TCP_DEFER_ACCEPT);
        let mut queue = listener.queue.lock();
        match u64::try_from(defer) {
            Ok(seconds) if seconds > 0 => {
                conn.deferred.store(true, Ordering::Relaxed);
                let until = self
                    .now
                    .saturating_add(seconds.saturating_mul(1_000_000_000));
                queue.deferred.push_back((until, conn.clone()));
            }
            _ => queue.ready.push_back(conn.clone()),
        }
    }

    /// The client of a deferred connection has sent something.
    pub fn give_out(&mut self, conn: &Arc<Connection>, events: &mut Events) {
        if !conn.deferred.swap(false, Ordering::Relaxed) {
            return;
        }
        let (from, to) = conn.key(Side::Client);
        let Some(listener) = self.find_listener(from, to) else {
            return;
        };
        let mut queue = listener.queue.lock();
        let Some(at) = queue.deferred.iter().position(|d| Arc::ptr_eq(&d.1, conn)) else {
            return;
        };
        queue.deferred.remove(at);
        queue.ready.push_back(conn.clone());
        drop(queue);
        events.add(&listener.notify, super::connection::IN);
    }

    /// Queues a client, or lets it wait for room. True: it is connected.
    pub fn enqueue(&mut self, listener: &Arc<Listener>, conn: &Arc<Connection>) -> bool {
        let mut queue = listener.queue.lock();
        if queue.has_room() {
            drop(queue);
            self.establish(listener, conn);
            return true;
        }
        queue.waiting.push_back(conn.clone());
        if queue.waiting.len() >= queue.prune_at {
            let mut waiting = core::mem::take(&mut queue.waiting);
            drop(queue);
            waiting.retain(|c| c.state.lock().phase == Phase::Opening);
            queue = listener.queue.lock();
            queue.prune_at = waiting.len().saturating_mul(2).max(64);
            queue.waiting = waiting;
        }
        false
    }

    /// Lets clients in that waited for room.
    pub fn admit_waiting(&mut self, listener: &Arc<Listener>, events: &mut Events) {
        loop {
            let conn = {
                let mut queue = listener.queue.lock();
                if !queue.has_room() {
                    return;
                }
                let Some(conn) = queue.waiting.pop_front() else {
                    return;
                };
                conn
            };
            if conn.state.lock().phase == Phase::Opening {
                self.establish(listener, &conn);
                events.add_end(&conn, Side::Client, super::connection::OUT);
                events.add(&listener.notify, super::connection::IN);
            }
        }
    }

    /// After a change of a connection: its ends that are over leave the tables or linger.
    pub fn settle(&mut self, conn: &Arc<Connection>, now: u64, fin_timeout: u32) {
        let state = conn.state.lock();
        let over = state.is_over();
        let plans = Side::BOTH.map(|side| {
            let me = state.ends.of(side);
            let linger = if over && state.phase == Phase::Open && !state.reset && me.fin_first {
                Some((TCP_TIME_WAIT, now.saturating_add(TIME_WAIT_NS)))
            } else if !over && me.closed {
                Some((
                    TCP_FIN_WAIT2,
                    now.saturating_add(u64::from(fin_timeout).saturating_mul(1_000_000_000)),
                ))
            } else {
                None
            };
            (side, linger, me.closed)
        });
        drop(state);
        for (side, linger, closed) in plans {
            let key = conn.key(side);
            let id = *conn.ids.of(side);
            let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.id == id) else {
                continue;
            };
            match linger {
                Some((state, until)) => {
                    if matches!(slot.kind, SlotKind::Lingering { state: its, .. } if its == state) {
                        continue;
                    }
                    slot.kind = SlotKind::Lingering { state, until };
                    slot.owner = Owner::default();
                    self.expiry.insert((until, key));
                    self.ports.update(key.0.port(), id, |bind| {
                        bind.lingering = true;
                        bind.open &= bind.explicit && !closed;
                    });
                }
                None if over => self.remove(key),
                None => {}
            }
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some(slot) = self.slots.remove(&key) {
            self.ports.update(key.0.port(), slot.id, |bind| {
                bind.lingering = false;
                bind.open &= bind.explicit;
            });
        }
    }

    /// The lines of /proc/net/tcp and tcp6: listeners first.
    pub fn entries(&self, now: u64) -> Vec<SocketEntry> {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let listeners = self.listeners.values().flatten().map(|l| SocketEntry {
            family: l.family,
            local: addr::shown(l.local, l.family),
            remote: SocketAddr::new(addr::any(l.family), 0),
            state: TCP_LISTEN,
            tx_queue: 0,
            rx_queue: count(l.queue.lock().ready.len()),
            owner: l.owner,
            drops: 0,
            expires: 0,
        });
        let slots = self.slots.iter().map(|((local, remote), slot)| {
            let mut entry = SocketEntry {
                family: slot.family,
                local: addr::shown(*local, slot.family),
                remote: addr::shown(*remote, slot.family),
                state: TCP_ESTABLISHED,
                tx_queue: 0,
                rx_queue: 0,
                owner: slot.owner,
                drops: 0,
                expires: 0,
            };
            match &slot.kind {
                SlotKind::Live(conn, side) => {
                    let state = conn.state.lock();
                    entry.state = state.tcp_state(*side);
                    entry.tx_queue = count(state.unsent(*side));
                    entry.rx_queue = count(state.readable(*side));
                }
                SlotKind::Lingering { state, until } => {
                    entry.state = *state;
                    entry.expires =
                        u32::try_from(until.saturating_sub(now).div_euclid(1_000_000_000))
                            .unwrap_or(u32::MAX);
                }
            }
            entry
        });
        listeners.chain(slots).collect()
    }
}

/// A number that depends on both addresses (FNV-1a).
pub fn spread(from: SocketAddr, to: SocketAddr) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for addr in [from, to] {
        match addr.ip() {
            core::net::IpAddr::V4(ip) => ip.octets().into_iter().for_each(&mut add),
            core::net::IpAddr::V6(ip) => ip.octets().into_iter().for_each(&mut add),
        }
        addr.port().to_be_bytes().into_iter().for_each(&mut add);
    }
    // The low bits of FNV are weak.
    hash >> 32
}
