//! A connection: two ends, and what each end's program sees of it.
//!
//! ```text
//!            this end's FIN   peer's FIN      (a FIN is shutdown(SHUT_WR) or close; what is queued before it stays readable)
//! ESTABLISHED      –              –
//! FIN_WAIT2       yes             –
//! CLOSE_WAIT       –             yes
//! CLOSE           yes            yes          the end that sent its FIN first leaves a TIME_WAIT in the stack's tables
//! SYN_SENT    the listener's queue is full    CLOSE    refused, or reset by either end
//! ```

use crate::Notify;
use crate::tcp::queue::{CHUNK, Queue, SMALL};
use crate::tcp::urgent::Urgent;
use abi::poll::{
    EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLLRDNORM, EPOLLWRNORM,
};
use abi::socket::{
    TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_SYN_SENT,
};
use abi::{Errno, Result};
use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use sync::{Mutex, OnceLock, level};

/// Readable.
pub const IN: u32 = EPOLLIN | EPOLLRDNORM;
/// Writable.
pub const OUT: u32 = EPOLLOUT | EPOLLWRNORM;
/// The connection is over.
pub const OVER: u32 = IN | OUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP;

bitflags::bitflags! {
    /// How to receive.
    #[derive(Copy, Clone, Debug, PartialEq, Eq)]
    pub struct RecvFlags: u32 {
        /// Leave the bytes in the queue (MSG_PEEK).
        const PEEK = 1;
        /// Throw the bytes away: only the buffer's length counts (MSG_TRUNC on TCP).
        const DISCARD = 2;
        /// The caller does not wait (MSG_DONTWAIT): a datagram socket does not tell it that nothing will come.
        const NONBLOCK = 4;
    }
}

/// Which end: the one that connected or the one that was accepted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];

    pub fn peer(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One of something for each end.
#[derive(Debug, Default)]
pub struct Pair<T> {
    client: T,
    server: T,
}

impl<T> Pair<T> {
    pub fn new(client: T, server: T) -> Pair<T> {
        Pair { client, server }
    }

    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// An end and its peer.
    pub fn both_mut(&mut self, side: Side) -> (&mut T, &mut T) {
        match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        }
    }
}

/// What one end's options say: sizes in bytes of data.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    pub send: usize,
    pub receive: usize,
    /// SO_RCVLOWAT.
    pub low_water: usize,
    /// SO_OOBINLINE.
    pub oob_inline: bool,
    /// SO_PEEK_OFF when the connection was made.
    pub peek_off: Option<usize>,
}

/// How far a connection has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waits for room in the listener's queue.
    Opening,
    /// The handshake is done.
    Open,
    /// It never opened.
    Refused,
}

/// One end.
#[derive(Debug, Default)]
pub struct End {
    /// What this end has sent and the peer not read.
    pub out: Queue,
    /// The last byte of it that was sent as urgent.
    pub urgent: Option<Urgent>,
    /// SO_PEEK_OFF: from where this end peeks next, if it is on.
    pub peek_off: Option<usize>,
    pub caps: Caps,
    /// Nothing more will be sent.
    pub fin: bool,
    /// This end's FIN came before the peer's.
    pub fin_first: bool,
    /// shutdown(SHUT_RD).
    pub read_shut: bool,
    /// The endpoint is gone.
    pub closed: bool,
    /// SO_ERROR.
    pub error: Option<Errno>,
    /// Somebody found the buffer full and waits.
    pub wants_space: bool,
    pub bytes_sent: u64,
    pub sends: u32,
}

/// What both ends share.
#[derive(Debug)]
pub struct State {
    pub phase: Phase,
    pub reset: bool,
    pub ends: Pair<End>,
}

#[derive(Debug, Default)]
struct Io {
    read: Mutex<(), { level::NET_IO }>,
    write: Mutex<(), { level::NET_IO }>,
}

/// A TCP connection.
pub struct Connection {
    /// Local address of each end, canonical.
    pub addrs: Pair<SocketAddr>,
    /// The key of each end's hold on its port.
    pub ids: Pair<u64>,
    pub state: Mutex<State, { level::NET_CONNECTION }>,
    /// A socket connected to itself (a simultaneous open): it reads as the client what it has sent as the server.
    pub looped: bool,
    /// Its listener gives it out with the first data only (TCP_DEFER_ACCEPT).
    pub deferred: AtomicBool,
    io: Pair<Io>,
    notify: Pair<OnceLock<Arc<dyn Notify>>>,
}

/// What a send did.
pub struct Sent {
    pub count: usize,
    /// The peer was gone: the connection is reset, and the tables want to know.
    pub reset: bool,
}

impl State {
    /// `tcpi_state` of one end.
    pub fn tcp_state(&self, side: Side) -> u8 {
        let (me, peer) = (self.ends.of(side), self.ends.of(side.peer()));
        match self.phase {
            Phase::Opening => TCP_SYN_SENT,
            Phase::Refused => TCP_CLOSE,
            Phase::Open if self.reset => TCP_CLOSE,
            Phase::Open => match (me.fin, peer.fin) {
                (false, false) => TCP_ESTABLISHED,
                (false, true) => TCP_CLOSE_WAIT,
                (true, false) if self.unsent(side) > 0 => TCP_FIN_WAIT1,
                (true, false) => TCP_FIN_WAIT2,
                (true, true) => TCP_CLOSE,
            },
        }
    }

    /// Is there nothing more to come, in either direction?
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Refused || self.reset || (self.ends.client.fin && self.ends.server.fin)
    }

    /// Bytes in this end's send buffer: what the peer's receive buffer does not hold.
    pub fn unsent(&self, side: Side) -> usize {
        self.ends
            .of(side)
            .out
            .len()
            .saturating_sub(self.ends.of(side.peer()).caps.receive)
    }

    /// Bytes this end could read.
    pub fn readable(&self, side: Side) -> usize {
        self.ends.of(side.peer()).out.len()
    }

    fn space(&self, side: Side) -> usize {
        let (me, peer) = (self.ends.of(side), self.ends.of(side.peer()));
        me.caps
            .send
            .saturating_add(peer.caps.receive)
            .saturating_sub(me.out.len())
    }

    /// Linux's measure: a third of the send buffer is free.
    fn is_writable(&self, side: Side) -> bool {
        let unsent = self.unsent(side);
        self.ends.of(side).caps.send.saturating_sub(unsent) >= unsent.div_ceil(2).max(1)
    }

    /// `tcp_poll`.
    pub fn readiness(&mut self, side: Side) -> u32 {
        let state = self.tcp_state(side);
        let writable = self.is_writable(side);
        let readable = self.readable(side);
        let over = self.is_over();
        let urgent = self.has_urgent(side);
        let low_water = self.ends.of(side).caps.low_water.max(1);
        let target = low_water.saturating_add(usize::from(self.skips_urgent(side)));
        let (me, peer) = self.ends.both_mut(side);
        let no_more = me.read_shut || peer.fin || over;
        let mut events = 0;
        if state == TCP_CLOSE || (no_more && me.fin) {
            events |= EPOLLHUP;
        }
        if no_more {
            events |= IN | EPOLLRDHUP;
        }
        if urgent {
            events |= EPOLLPRI;
        }
        if state != TCP_SYN_SENT {
            if readable >= target {
                events |= IN;
            }
            if me.fin || over || writable {
                events |= OUT;
            } else {
                me.wants_space = true;
            }
        }
        if me.error.is_some() {
            events |= EPOLLERR;
        }
        events
    }

    /// recv(2) with MSG_PEEK, from `skip` bytes on and where SO_PEEK_OFF says.
    fn peek(
        &mut self,
        side: Side,
        rest: &mut [u8],
        skip: usize,
        flags: RecvFlags,
    ) -> Result<usize> {
        let off = self.ends.of(side).peek_off;
        let skip = skip.saturating_add(off.unwrap_or(0));
        let queue = &self.ends.of(side.peer()).out;
        let count = if flags.contains(RecvFlags::DISCARD) {
            queue.len().saturating_sub(skip).min(rest.len())
        } else {
            queue.peek(rest, skip)
        };
        if count == 0 && !rest.is_empty() {
            return Connection::recv_nothing(self, side);
        }
        self.ends.of_mut(side).peek_off = off.map(|off| off.saturating_add(count));
        Ok(count)
    }

    /// A RST from `by`: its peer learns of it, its own end is just over.
    pub fn reset(&mut self, by: Side) {
        let (me, peer) = self.ends.both_mut(by);
        if !peer.closed {
            // After a FIN the peer was in CLOSE_WAIT, where Linux says EPIPE.
            peer.error = Some(if me.fin {
                Errno::EPIPE
            } else {
                Errno::ECONNRESET
            });
        }
        self.reset = true;
    }

    /// Sends the FIN of an end, if it was not sent before.
    pub fn finish(&mut self, side: Side) {
        let (me, peer) = self.ends.both_mut(side);
        if !me.fin {
            me.fin = true;
            me.fin_first = !peer.fin;
        }
    }
}

impl Connection {
    /// A connection from `client` to `server`, not open yet.
    pub fn new(addrs: Pair<SocketAddr>, ids: Pair<u64>, client: Caps, server: Caps) -> Connection {
        let ends = Pair::new(
            End {
                caps: client,
                peek_off: client.peek_off,
                ..End::default()
            },
            End {
                caps: server,
                peek_off: server.peek_off,
                ..End::default()
            },
        );
        Connection {
            looped: addrs.client == addrs.server,
            deferred: AtomicBool::new(false),
            addrs,
            ids,
            state: Mutex::new(State {
                phase: Phase::Opening,
                reset: false,
                ends,
            }),
            io: Pair::default(),
            notify: Pair::default(),
        }
    }

    /// Says whom to notify of an end's events. Once.
    pub fn attach(&self, side: Side, notify: Arc<dyn Notify>) {
        let _ = self.notify.of(side).set(notify);
    }

    /// Whom to notify of an end's events.
    pub fn attached(&self, side: Side) -> Option<&Arc<dyn Notify>> {
        self.notify.of(side).get()
    }

    /// The end as which `side` sends.
    pub fn sender(&self, side: Side) -> Side {
        if self.looped { side.peer() } else { side }
    }

    /// Sends the FIN of an end.
    pub fn finish(&self, state: &mut State, side: Side) {
        state.finish(side);
        if self.looped {
            state.finish(side.peer());
        }
    }

    /// [`State::readiness`] of an end.
    pub fn readiness(&self, side: Side) -> u32 {
        let mut state = self.state.lock();
        let events = state.readiness(side);
        if self.looped {
            (events & !OUT) | (state.readiness(side.peer()) & OUT)
        } else {
            events
        }
    }

    /// Local and remote address of an end.
    pub fn key(&self, side: Side) -> (SocketAddr, SocketAddr) {
        (*self.addrs.of(side), *self.addrs.of(side.peer()))
    }

    /// Reports events to an end's owner; no lock may be held.
    pub fn notify(&self, side: Side, events: u32) {
        if let Some(notify) = self.attached(side) {
            notify.notify(events);
        }
    }

    /// `tcp_sendmsg`, as far as it goes without waiting. `urgent`: the last byte is.
    pub fn send(&self, side: Side, data: &[u8], urgent: bool) -> Result<Sent> {
        let _writer = self.io.of(side).write.lock();
        let mut rest = data;
        let mut count: usize = 0;
        loop {
            let mut state = self.state.lock();
            if count > 0 && Self::may_not_send(&state, side) {
                return Ok(Sent {
                    count,
                    reset: false,
                }); // the error shows next time
            }
            if Self::may_not_send(&state, side) {
                return Err(state.ends.of_mut(side).error.take().unwrap_or(Errno::EPIPE));
            }
            if state.phase == Phase::Opening {
                return Err(Errno::EAGAIN);
            }
            let space = state.space(side);
            if rest.is_empty() {
                return Ok(Sent {
                    count,
                    reset: false,
                });
            }
            let peer = state.ends.of(side.peer());
            if peer.fin && (peer.closed || peer.read_shut) {
                // The data goes out, a RST comes back.
                state.reset(side);
                state.ends.of_mut(side).error = Some(Errno::EPIPE);
                return Ok(Sent {
                    count: data.len(),
                    reset: true,
                });
            }
            if space == 0 {
                state.ends.of_mut(side).wants_space = true;
                return if count > 0 {
                    Ok(Sent {
                        count,
                        reset: false,
                    })
                } else {
                    Err(Errno::EAGAIN)
                };
            }
            let (now, later) = rest.split_at(rest.len().min(space).min(CHUNK));
            let me = state.ends.of_mut(side);
            me.bytes_sent = me.bytes_sent.saturating_add(now.len() as u64);
            me.sends = me.sends.wrapping_add(1);
            let mark = now.last().filter(|_| urgent && later.is_empty());
            if now.len() <= SMALL {
                me.out.append(now);
                mark.inspect(|byte| state.mark_urgent(side, **byte));
                drop(state);
            } else {
                let mut buffer = me.out.spare();
                drop(state);
                buffer.reserve_exact(if now.len() > CHUNK / 2 {
                    CHUNK
                } else {
                    now.len()
                });
                buffer.extend_from_slice(now);
                let mut state = self.state.lock();
                state.ends.of_mut(side).out.push(buffer);
                mark.inspect(|byte| state.mark_urgent(side, **byte));
            }
            count = count.saturating_add(now.len());
            rest = later;
            self.notify(side.peer(), if mark.is_some() { IN | EPOLLPRI } else { IN });
        }
    }

    fn may_not_send(state: &State, side: Side) -> bool {
        let me = state.ends.of(side);
        me.error.is_some() || me.fin || state.is_over()
    }

    /// `tcp_recvmsg`, as far as it goes without waiting. Zero: no more will come.
    pub fn recv(&self, side: Side, buf: &mut [u8], flags: RecvFlags) -> Result<usize> {
        let reader = self.io.of(side).read.lock();
        let mut filled: usize = 0;
        let mut wake_writer = false;
        while let Some(rest) = buf.get_mut(filled..)
            && (!rest.is_empty() || filled == 0)
        {
            let mut state = self.state.lock();
            let skips = state.skips_urgent(side);
            if state.readable(side) <= usize::from(skips && flags.contains(RecvFlags::PEEK)) {
                if filled == 0 {
                    return Self::recv_nothing(&mut state, side);
                }
                break;
            }
            // One read does not go past the mark, and does not begin with the urgent byte.
            let before_mark = match state.ahead_of_mark(side) {
                Some(0) if filled > 0 => break,
                Some(0) | None => usize::MAX,
                Some(ahead) => ahead,
            };
            let limit = rest.len().min(before_mark);
            let rest = rest.get_mut(..limit).unwrap_or_default();
            if flags.contains(RecvFlags::PEEK) {
                return state.peek(side, rest, usize::from(skips), flags);
            }
            let queue = &mut state.ends.of_mut(side.peer()).out;
            if skips {
                queue.skip(1);
                continue;
            }
            let Some(chunk) = queue.take_front() else {
                break;
            };
            let count = chunk.rest().len().min(rest.len());
            let from = chunk.rest().get(..count).unwrap_or_default();
            let to = rest.get_mut(..count).unwrap_or_default();
            if flags.contains(RecvFlags::DISCARD) {
                queue.put_back(chunk, count);
            } else if count <= SMALL {
                to.copy_from_slice(from);
                queue.put_back(chunk, count);
            } else {
                drop(state);
                to.copy_from_slice(from);
                state = self.state.lock();
                state.ends.of_mut(side.peer()).out.put_back(chunk, count);
            }
            filled = filled.saturating_add(count);
            let me = state.ends.of_mut(side);
            me.peek_off = me.peek_off.map(|off| off.saturating_sub(count));
            if state.ends.of(side.peer()).wants_space && state.is_writable(side.peer()) {
                state.ends.of_mut(side.peer()).wants_space = false;
                wake_writer = true;
            }
            if count == 0 {
                break; // an empty buffer
            }
        }
        drop(reader);
        if wake_writer {
            self.notify(side.peer(), OUT);
        }
        Ok(filled)
    }

    fn recv_nothing(state: &mut State, side: Side) -> Result<usize> {
        let over = state.is_over();
        let (me, peer) = state.ends.both_mut(side);
        if peer.fin {
            return Ok(0); // SOCK_DONE: even an error is not shown
        }
        match me.error.take() {
            Some(error) => Err(error),
            None if me.read_shut || over => Ok(0),
            None => Err(Errno::EAGAIN),
        }
    }
}
