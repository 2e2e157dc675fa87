//! Getting a connection, and losing it: bind, listen, connect, accept, shutdown, close. Each holds the stack's TCP tables.

use super::connection::{Connection, IN, OUT, OVER, Pair, Phase as ConnPhase, Side};
use super::tables::{Backlog, Events, Listener, TcpTables};
use super::{Phase, Shutdown, State, TcpEndpoint, caps};
use crate::addr::{self, Kind};
use crate::ports::{Bind, BindAddr, Ports, tcp_rule};
use crate::{Notify, Owner};
use abi::poll::{EPOLLHUP, EPOLLRDHUP};
use abi::socket::{SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET, SOL_TCP, TCP_CLOSE, TCP_INQ};
use abi::{Errno, Result};
use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use sync::{Mutex, MutexGuard, level};

type Tables<'a> = MutexGuard<'a, TcpTables, { level::NET_TABLES }>;

impl TcpEndpoint {
    /// Runs a step with tables and endpoint locked, then notifies.
    fn step<R>(&self, body: impl FnOnce(&mut Tables<'_>, &mut State, &mut Events, u64) -> R) -> R {
        let now = self.stack.now_ns();
        let mut events = Events::default();
        let result = {
            let mut tables = self.stack.tcp.lock();
            tables.expire(now);
            let mut state = self.state.lock();
            body(&mut tables, &mut state, &mut events, now)
        };
        events.send();
        result
    }

    fn new_bind(&self, state: &State, addr: BindAddr) -> Bind {
        Bind {
            addr,
            reuse_addr: state.options.is_on(SOL_SOCKET, SO_REUSEADDR),
            reuse_port: state.options.is_on(SOL_SOCKET, SO_REUSEPORT),
            uid: self.owner.uid,
            listening: false,
            auto: false,
            explicit: true,
            open: true,
            lingering: false,
        }
    }

    /// bind(2). Port 0 picks one. Privileged ports are the caller's to refuse.
    pub fn bind(&self, to: SocketAddr) -> Result<()> {
        let to = addr::canonical(to);
        let range = self.stack.settings().port_range;
        self.step(|tables, state, _, _| {
            let v6only = state.options.v6only();
            self.stack
                .check_bind(to.ip(), self.family, v6only, state.options.foreign(), true)?;
            if !matches!(state.phase, Phase::Idle) || state.port.is_some() {
                return Err(Errno::EINVAL);
            }
            self.take_port(tables, state, to, range)
        })
    }

    fn take_port(
        &self,
        tables: &mut Tables<'_>,
        state: &mut State,
        to: SocketAddr,
        range: (u16, u16),
    ) -> Result<()> {
        let bind = self.new_bind(
            state,
            BindAddr::new(to.ip(), self.family, state.options.v6only()),
        );
        let port = match to.port() {
            0 => tables
                .ports
                .pick(range, Ports::is_free)
                .ok_or(Errno::EADDRINUSE)?,
            port if tables.ports.conflicts(port, self.id, &bind, tcp_rule) => {
                return Err(Errno::EADDRINUSE);
            }
            port => port,
        };
        tables.ports.insert(port, self.id, bind);
        state.port = Some(port);
        state.explicit = true;
        state.local = SocketAddr::new(to.ip(), port);
        Ok(())
    }

    /// listen(2); again, it changes the backlog. An unbound socket gets a port.
    pub fn listen(&self, backlog: i32) -> Result<()> {
        let settings = self.stack.settings();
        // A negative backlog is a huge one.
        let limit = u32::try_from(backlog)
            .unwrap_or(u32::MAX)
            .min(settings.somaxconn);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.step(|tables, state, events, _| {
            match &state.phase {
                Phase::Listening(listener) => {
                    listener.queue.lock().limit = limit;
                    tables.admit_waiting(listener, events);
                    return Ok(());
                }
                Phase::Idle => {}
                _ => return Err(Errno::EINVAL),
            }
            if state.port.is_none() {
                let any = SocketAddr::new(state.local.ip(), 0);
                self.take_port(tables, state, any, settings.port_range)?;
            }
            let port = state.port.unwrap_or_default();
            let addr = BindAddr::new(state.local.ip(), self.family, state.options.v6only());
            let bind = Bind {
                listening: true,
                ..self.new_bind(state, addr)
            };
            // Sockets that shared the port so far do not share it with a listener.
            if tables.ports.conflicts(port, self.id, &bind, tcp_rule) {
                return Err(Errno::EADDRINUSE);
            }
            let reuse_port = bind.reuse_port;
            tables.ports.insert(port, self.id, bind);
            let listener = Arc::new(Listener {
                addr,
                local: state.local,
                family: self.family,
                owner: self.owner,
                reuse_port,
                notify: self.notify.clone(),
                queue: Mutex::new(Backlog::new(limit, state.options.clone())),
            });
            tables.add_listener(listener.clone());
            state.phase = Phase::Listening(listener);
            state.shut = (false, false);
            Ok(())
        })
    }

    /// connect(2) of a non-blocking socket: `EINPROGRESS` even where it is done at once. A blocking one waits for EPOLLOUT, EPOLLERR or
    /// EPOLLHUP and calls again: the second call says how it went, `EALREADY` if it goes on.
    pub fn connect(&self, to: SocketAddr) -> Result<()> {
        let range = self.stack.settings().port_range;
        self.step(|tables, state, events, now| {
            match state.phase.clone() {
                Phase::Listening(_) => return Err(Errno::EISCONN),
                Phase::Connected { reported: true, .. } => return Err(Errno::EISCONN),
                Phase::Closed => return Err(Errno::EINVAL),
                Phase::Connected { conn, side, .. } => {
                    return self.connect_result(state, &conn, side);
                }
                Phase::Idle => {}
            }
            let to = self
                .stack
                .destination(to, self.family, state.options.v6only())?;
            if self.stack.classify(to.ip()) != Kind::Local {
                return Err(Errno::ENETUNREACH);
            }
            let local = if state.local.ip().is_unspecified() {
                self.stack.source(to.ip())
            } else {
                state.local.ip()
            };
            addr::same_version(local, to)?;
            let port = match state.port {
                Some(port) if tables.is_vacant((SocketAddr::new(local, port), to), now) => port,
                Some(_) => return Err(Errno::EADDRNOTAVAIL),
                None => tables
                    .pick_for_connect(range, local, to, now)
                    .ok_or(Errno::EADDRNOTAVAIL)?,
            };
            self.start(tables, state, events, SocketAddr::new(local, port), to);
            Err(Errno::EINPROGRESS)
        })
    }

    /// The second call of connect.
    fn connect_result(&self, state: &mut State, conn: &Arc<Connection>, side: Side) -> Result<()> {
        let mut shared = conn.state.lock();
        match shared.phase {
            ConnPhase::Opening => Err(Errno::EALREADY),
            ConnPhase::Open if shared.tcp_state(side) != TCP_CLOSE => {
                drop(shared);
                state.phase = Phase::Connected {
                    conn: conn.clone(),
                    side,
                    reported: true,
                };
                Ok(())
            }
            _ => {
                // SO_ERROR may have shown the reason already.
                let error = shared
                    .ends
                    .of_mut(side)
                    .error
                    .take()
                    .unwrap_or(Errno::ECONNABORTED);
                drop(shared);
                self.forget_connection(state);
                Err(error)
            }
        }
    }

    /// Back to an unconnected socket, which keeps a port that the program has named.
    fn forget_connection(&self, state: &mut State) {
        state.phase = Phase::Idle;
        state.shut = (false, false);
        if !state.explicit {
            state.port = None;
            state.local = SocketAddr::new(addr::any(self.family), state.local.port());
        }
    }

    fn start(
        &self,
        tables: &mut Tables<'_>,
        state: &mut State,
        events: &mut Events,
        from: SocketAddr,
        to: SocketAddr,
    ) {
        let listener = tables.find_listener(from, to);
        let server_caps = match &listener {
            Some(listener) => caps(&listener.queue.lock().options),
            None => caps(&state.options),
        };
        let ids = Pair::new(self.id, self.stack.next_id());
        let conn = Arc::new(Connection::new(
            Pair::new(from, to),
            ids,
            caps(&state.options),
            server_caps,
        ));
        conn.attach(Side::Client, self.notify.clone());
        state.phase = Phase::Connected {
            conn: conn.clone(),
            side: Side::Client,
            reported: false,
        };
        state.local = from;
        state.shut = (false, false);
        state.error = None;
        tables.counts.active_opens = tables.counts.active_opens.wrapping_add(1);
        if listener.is_none() && conn.looped {
            // Its own SYN is the answer to its SYN.
            conn.attach(Side::Server, self.notify.clone());
            conn.state.lock().phase = ConnPhase::Open;
            tables.insert(&conn, Side::Client, self.family, self.owner);
            events.add(&self.notify, OUT);
            return;
        }
        let Some(listener) = listener else {
            tables.counts.attempt_fails = tables.counts.attempt_fails.wrapping_add(1);
            let mut shared = conn.state.lock();
            shared.phase = ConnPhase::Refused;
            shared.ends.of_mut(Side::Client).error = Some(Errno::ECONNREFUSED);
            if !state.explicit {
                state.local = SocketAddr::new(addr::any(self.family), from.port());
            }
            drop(shared);
            events.add(&self.notify, OVER);
            return;
        };
        if state.port.is_none() {
            let addr = BindAddr::new(from.ip(), self.family, state.options.v6only());
            let bind = Bind {
                auto: true,
                explicit: false,
                ..self.new_bind(state, addr)
            };
            tables.ports.insert(from.port(), self.id, bind);
            state.port = Some(from.port());
            state.explicit = false;
        }
        tables.insert(&conn, Side::Client, self.family, self.owner);
        if tables.enqueue(&listener, &conn) {
            events.add(&listener.notify, IN);
            events.add(&self.notify, OUT);
        }
    }

    /// connect(2) with AF_UNSPEC: drops the connection with a RST.
    pub fn disconnect(&self) -> Result<()> {
        self.step(|tables, state, events, now| {
            self.disconnect_locked(tables, state, events, now);
            Ok(())
        })
    }

    fn disconnect_locked(
        &self,
        tables: &mut Tables<'_>,
        state: &mut State,
        events: &mut Events,
        now: u64,
    ) {
        match state.phase.clone() {
            Phase::Idle | Phase::Closed => {}
            Phase::Listening(listener) => {
                tables.close_listener(&listener, now, events);
                if let Some(bind) = state
                    .port
                    .and_then(|port| tables.ports.get_mut(port, self.id))
                {
                    bind.listening = false;
                }
                state.phase = Phase::Idle;
            }
            Phase::Connected { conn, side, .. } => {
                let mut shared = conn.state.lock();
                if shared.phase == ConnPhase::Opening {
                    shared.phase = ConnPhase::Refused;
                    state.error = Some(Errno::ECONNRESET);
                } else if !shared.is_over() {
                    tables.counts.resets = tables.counts.resets.wrapping_add(1);
                    shared.reset(side);
                    state.error = Some(Errno::ECONNRESET);
                }
                shared.ends.of_mut(side).closed = true;
                drop(shared);
                tables.settle(&conn, now, 0);
                events.add_end(&conn, side.peer(), OVER);
                self.forget_connection(state);
            }
        }
        events.add(&self.notify, OVER);
    }

    /// accept(2), with the peer's address. `EAGAIN`: wait for EPOLLIN. `EINVAL`: it does not listen (any more).
    pub fn accept(
        &self,
        owner: Owner,
        notify: Arc<dyn Notify>,
    ) -> Result<(Arc<TcpEndpoint>, SocketAddr)> {
        // The tables alone: the endpoint's own lock and that of the new one do not nest.
        let Phase::Listening(listener) = self.phase() else {
            return Err(Errno::EINVAL);
        };
        let mut events = Events::default();
        let (conn, options) = {
            let mut tables = self.stack.tcp.lock();
            let mut queue = listener.queue.lock();
            if queue.closed {
                return Err(Errno::EINVAL);
            }
            queue.time_out(|| self.stack.now_ns());
            let conn = queue.ready.pop_front().ok_or(Errno::EAGAIN)?;
            let options = queue.options.clone();
            drop(queue);
            tables.admit_waiting(&listener, &mut events);
            tables.set_owner(&conn, owner);
            conn.attach(Side::Server, notify.clone());
            (conn, options)
        };
        events.send();
        let local = *conn.addrs.of(Side::Server);
        let peer = addr::shown(*conn.addrs.of(Side::Client), self.family);
        let id = *conn.ids.of(Side::Server);
        let inq = options.is_on(SOL_TCP, TCP_INQ);
        let state = State {
            phase: Phase::Connected {
                conn,
                side: Side::Server,
                reported: true,
            },
            options,
            local,
            port: Some(local.port()),
            explicit: false,
            error: None,
            shut: (false, false),
        };
        let stack = self.stack.clone();
        let endpoint = TcpEndpoint {
            stack,
            family: self.family,
            owner,
            id,
            notify,
            inq: AtomicBool::new(inq),
            state: Mutex::new(state),
        };
        Ok((Arc::new(endpoint), peer))
    }

    /// shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let fin_timeout = self.stack.settings().fin_timeout;
        self.step(|tables, state, events, now| match state.phase.clone() {
            Phase::Idle | Phase::Closed => {
                state.shut.0 |= how.reads();
                state.shut.1 |= how.writes();
                Err(Errno::ENOTCONN)
            }
            Phase::Listening(_) if !how.reads() => Ok(()),
            Phase::Listening(_) => {
                self.disconnect_locked(tables, state, events, now);
                Ok(())
            }
            Phase::Connected { conn, side, .. } => {
                let mut shared = conn.state.lock();
                if shared.phase == ConnPhase::Opening {
                    drop(shared);
                    self.disconnect_locked(tables, state, events, now);
                    return Ok(());
                }
                if shared.is_over() {
                    return Err(Errno::ENOTCONN);
                }
                if how.reads() {
                    shared.ends.of_mut(side).read_shut = true;
                }
                if how.writes() {
                    conn.finish(&mut shared, side);
                }
                let over = shared.is_over();
                drop(shared);
                if how.writes() {
                    if side == Side::Client {
                        tables.give_out(&conn, events);
                    }
                    tables.settle(&conn, now, fin_timeout);
                    events.add_end(
                        &conn,
                        side.peer(),
                        if over {
                            IN | EPOLLRDHUP | EPOLLHUP
                        } else {
                            IN | EPOLLRDHUP
                        },
                    );
                }
                events.add(
                    &self.notify,
                    if over { OVER } else { IN | OUT | EPOLLRDHUP },
                );
                Ok(())
            }
        })
    }

    /// Closes: at the last close of the file. What is unread, or SO_LINGER with zero seconds, makes it a RST.
    pub fn close(&self) {
        let settings = self.stack.settings();
        self.step(|tables, state, events, now| {
            let fin_timeout = state.options.fin_timeout(&settings);
            match core::mem::replace(&mut state.phase, Phase::Closed) {
                Phase::Closed => return,
                Phase::Idle => {}
                Phase::Listening(listener) => tables.close_listener(&listener, now, events),
                Phase::Connected { conn, side, .. } => {
                    let abort = state.options.linger == Some(0);
                    let told = Self::close_end(&conn, side, abort);
                    if told == OVER {
                        tables.counts.resets = tables.counts.resets.wrapping_add(1);
                    }
                    if side == Side::Client {
                        tables.give_out(&conn, events);
                    }
                    tables.settle(&conn, now, fin_timeout);
                    events.add_end(&conn, side.peer(), told);
                }
            }
            if let Some(port) = state.port.take() {
                tables.ports.update(port, self.id, |bind| bind.open = false);
            }
        });
    }

    /// Says what the peer is told.
    fn close_end(conn: &Connection, side: Side, abort: bool) -> u32 {
        let mut shared = conn.state.lock();
        let unread = shared.readable(side) > 0;
        let mut told = 0;
        if shared.phase == ConnPhase::Opening {
            shared.phase = ConnPhase::Refused;
        } else if !shared.is_over() {
            if unread || abort {
                shared.reset(side);
                told = OVER;
            } else {
                conn.finish(&mut shared, side);
                told = if shared.is_over() {
                    IN | EPOLLRDHUP | EPOLLHUP
                } else {
                    IN | EPOLLRDHUP
                };
            }
        }
        shared.ends.of_mut(side).closed = true;
        shared.ends.of_mut(side.peer()).out.clear();
        told
    }
}
