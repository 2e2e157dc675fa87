//! TCP endpoints: what a file description of a stream socket wraps.
//!
//! Here: data, readiness, options. Getting and losing a connection is in `setup`, the two ends of one in `connection`.

mod connection;
mod info;
mod queue;
mod setup;
mod tables;
mod urgent;

pub use connection::RecvFlags;
pub use tables::{TcpCounts, TcpTables, spread};

use crate::addr::{self, Family};
use crate::options::{Options, Timeouts, int};
use crate::stack::Stack;
use crate::{Notify, Owner};
use abi::poll::{EPOLLERR, EPOLLHUP, EPOLLRDHUP};
use abi::socket::*;
use abi::{Errno, Result};
use connection::{Caps, Connection, IN, OUT, OVER, Side};
use core::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sync::{Mutex, level};
use tables::Listener;
use zerocopy::IntoBytes;

/// What shutdown(2) ends.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

impl Shutdown {
    /// From the number of shutdown(2).
    pub fn from_raw(how: i32) -> Result<Shutdown> {
        match how {
            SHUT_RD => Ok(Shutdown::Read),
            SHUT_WR => Ok(Shutdown::Write),
            SHUT_RDWR => Ok(Shutdown::Both),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn reads(self) -> bool {
        self != Shutdown::Write
    }

    pub(crate) fn writes(self) -> bool {
        self != Shutdown::Read
    }
}

/// What an unconnected socket's send buffer grows to once it is connected over loopback.
const AUTO_SEND: usize = 2_626_560;
/// The MTU of `lo`.
const MTU: i32 = 65536;
/// The MSS of a connection over it.
const MSS: i32 = 32741;

#[derive(Clone)]
enum Phase {
    /// New, bound, or disconnected.
    Idle,
    Listening(Arc<Listener>),
    /// Connecting, connected, refused or over: the connection knows. `reported`: connect has said that it succeeded.
    Connected {
        conn: Arc<Connection>,
        side: Side,
        reported: bool,
    },
    Closed,
}

struct State {
    phase: Phase,
    options: Options,
    /// Canonical; what getsockname shows.
    local: SocketAddr,
    /// The port it holds.
    port: Option<u16>,
    /// The program named the port: it outlives the connection.
    explicit: bool,
    /// SO_ERROR while there is no connection.
    error: Option<Errno>,
    /// What was shut down while there was no connection: it shows in poll.
    shut: (bool, bool),
}

/// A TCP socket. Dropping it closes it.
pub struct TcpEndpoint {
    stack: Arc<Stack>,
    family: Family,
    owner: Owner,
    id: u64,
    notify: Arc<dyn Notify>,
    /// TCP_INQ.
    inq: AtomicBool,
    state: Mutex<State, { level::NET_ENDPOINT }>,
}

fn caps(options: &Options) -> Caps {
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Caps {
        send: if options.send_locked {
            size(options.send_buf)
        } else {
            AUTO_SEND
        },
        // Half of the receive buffer is for the kernel's own use (tcp_adv_win_scale).
        receive: size(options.receive_buf >> 1),
        low_water: size(options.low_water),
        oob_inline: options.is_on(SOL_SOCKET, SO_OOBINLINE),
        peek_off: options.peek_off(),
    }
}

impl TcpEndpoint {
    pub(crate) fn new(
        stack: Arc<Stack>,
        family: Family,
        owner: Owner,
        notify: Arc<dyn Notify>,
    ) -> Arc<TcpEndpoint> {
        let options = Options::new(family, true, &stack.settings());
        let state = State {
            phase: Phase::Idle,
            options,
            local: SocketAddr::new(addr::any(family), 0),
            port: None,
            explicit: false,
            error: None,
            shut: (false, false),
        };
        let id = stack.next_id();
        Arc::new(TcpEndpoint {
            stack,
            family,
            owner,
            id,
            notify,
            inq: AtomicBool::new(false),
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

    fn phase(&self) -> Phase {
        self.state.lock().phase.clone()
    }

    /// Sends what there is room for. `EAGAIN`: wait for EPOLLOUT. `EPIPE`: the caller raises SIGPIPE unless told not to.
    pub fn send(&self, data: &[u8]) -> Result<usize> {
        self.send_with(data, false)
    }

    /// As [`TcpEndpoint::send`], and the last byte is urgent (MSG_OOB).
    pub fn send_urgent(&self, data: &[u8]) -> Result<usize> {
        self.send_with(data, true)
    }

    fn send_with(&self, data: &[u8], urgent: bool) -> Result<usize> {
        let (conn, side) = match self.phase() {
            Phase::Connected { conn, side, .. } => (conn, side),
            _ => return Err(self.state.lock().error.take().unwrap_or(Errno::EPIPE)),
        };
        let sent = conn.send(conn.sender(side), data, urgent)?;
        if conn.deferred.load(Ordering::Relaxed) && side == Side::Client {
            let mut events = tables::Events::default();
            self.stack.tcp.lock().give_out(&conn, &mut events);
            events.send();
        }
        if sent.reset {
            self.stack.tcp.lock().settle(&conn, self.stack.now_ns(), 0);
            conn.notify(side, OVER);
            conn.notify(side.peer(), OVER);
        }
        Ok(sent.count)
    }

    /// Receives what is there. Zero means that no more will come. `EAGAIN`: wait for EPOLLIN.
    pub fn recv(&self, buf: &mut [u8], flags: RecvFlags) -> Result<usize> {
        match self.phase() {
            Phase::Connected { conn, side, .. } => conn.recv(side, buf, flags),
            Phase::Listening(_) => Err(Errno::ENOTCONN),
            Phase::Idle | Phase::Closed => {
                let mut state = self.state.lock();
                match state.error.take() {
                    Some(error) => Err(error),
                    None if state.shut.0 => Ok(0),
                    None => Err(Errno::ENOTCONN),
                }
            }
        }
    }

    /// Receives the urgent byte (MSG_OOB). `None`: no more will come.
    pub fn recv_urgent(&self, flags: RecvFlags) -> Result<Option<u8>> {
        let Phase::Connected { conn, side, .. } = self.phase() else {
            return Err(Errno::EINVAL);
        };
        let mut state = conn.state.lock();
        state.take_urgent(side, flags.contains(RecvFlags::PEEK))
    }

    /// TCP_INQ: what recvmsg(2) is to tell of what is left, if it is on.
    pub fn inq(&self) -> Option<i32> {
        if !self.inq.load(Ordering::Relaxed) {
            return None;
        }
        let Phase::Connected { conn, side, .. } = self.phase() else {
            return None;
        };
        let state = conn.state.lock();
        let left = state.readable(side);
        // One more read will tell the end.
        let ended = left == 0 && state.ends.of(side.peer()).fin;
        Some(i32::try_from(left.max(usize::from(ended))).unwrap_or(i32::MAX))
    }

    /// SIOCATMARK: is the next byte an urgent one?
    pub fn is_at_mark(&self) -> bool {
        match self.phase() {
            Phase::Connected { conn, side, .. } => conn.state.lock().ahead_of_mark(side) == Some(0),
            _ => false,
        }
    }

    /// EPOLL* bits that are on.
    pub fn readiness(&self) -> u32 {
        let state = self.state.lock();
        match &state.phase {
            Phase::Connected { conn, side, .. } => conn.readiness(*side),
            Phase::Listening(listener) => {
                let mut queue = listener.queue.lock();
                queue.time_out(|| self.stack.now_ns());
                if queue.ready.is_empty() { 0 } else { IN }
            }
            Phase::Idle | Phase::Closed => {
                let mut events = OUT | EPOLLHUP;
                if state.shut.0 {
                    events |= IN | EPOLLRDHUP;
                }
                if state.error.is_some() {
                    events |= EPOLLERR;
                }
                events
            }
        }
    }

    /// getsockname(2).
    pub fn local_addr(&self) -> SocketAddr {
        addr::shown(self.state.lock().local, self.family)
    }

    /// getpeername(2).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let Phase::Connected { conn, side, .. } = self.phase() else {
            return Err(Errno::ENOTCONN);
        };
        if matches!(conn.state.lock().tcp_state(side), TCP_CLOSE | TCP_SYN_SENT) {
            return Err(Errno::ENOTCONN);
        }
        Ok(addr::shown(*conn.addrs.of(side.peer()), self.family))
    }

    /// The peer as accept(2) names it: known even when it has reset the connection meanwhile.
    pub fn accepted_from(&self) -> Result<SocketAddr> {
        match self.phase() {
            Phase::Connected { conn, side, .. } => {
                Ok(addr::shown(*conn.addrs.of(side.peer()), self.family))
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    /// TCP_* state, as TCP_INFO shows it.
    pub fn tcp_state(&self) -> u8 {
        match self.phase() {
            Phase::Connected { conn, side, .. } => conn.state.lock().tcp_state(side),
            Phase::Listening(_) => TCP_LISTEN,
            Phase::Idle | Phase::Closed => TCP_CLOSE,
        }
    }

    /// SIOCINQ: bytes that can be read.
    pub fn input_queue(&self) -> Result<usize> {
        match self.phase() {
            Phase::Connected { conn, side, .. } => Ok(conn.state.lock().input_queue(side)),
            Phase::Listening(_) => Err(Errno::EINVAL),
            Phase::Idle | Phase::Closed => Ok(0),
        }
    }

    /// SIOCOUTQ: bytes that the peer has no room for.
    pub fn output_queue(&self) -> Result<usize> {
        match self.phase() {
            Phase::Connected { conn, side, .. } => Ok(conn.state.lock().unsent(side)),
            Phase::Listening(_) => Err(Errno::EINVAL),
            Phase::Idle | Phase::Closed => Ok(0),
        }
    }

    /// How long blocking calls wait.
    pub fn timeouts(&self) -> Timeouts {
        self.state.lock().options.timeouts
    }

    /// SO_RCVLOWAT: a blocking receive waits for so many bytes.
    pub fn low_water(&self) -> usize {
        caps(&self.state.lock().options).low_water
    }

    /// SO_ERROR: takes the pending error.
    pub fn take_error(&self) -> Option<Errno> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Connected { conn, side, .. } => {
                conn.state.lock().ends.of_mut(*side).error.take()
            }
            _ => state.error.take(),
        }
    }

    /// setsockopt(2) at SOL_SOCKET, SOL_IP, SOL_IPV6, SOL_TCP. Privileges and namespaces are the caller's to check.
    pub fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let settings = self.stack.settings();
        let mut tables = self.stack.tcp.lock();
        let mut state = self.state.lock();
        if (level, name) == (SOL_IPV6, IPV6_V6ONLY) && state.port.is_some() {
            return Err(Errno::EINVAL);
        }
        let idle = matches!(state.phase, Phase::Idle | Phase::Closed);
        if (level, name) == (SOL_TCP, TCP_WINDOW_CLAMP) && !idle && int(value)? == 0 {
            return Err(Errno::EINVAL);
        }
        state.options.set(level, name, value, &settings)?;
        let options = state.options.clone();
        self.inq
            .store(options.is_on(SOL_TCP, TCP_INQ), Ordering::Relaxed);
        if let Some(bind) = state
            .port
            .and_then(|port| tables.ports.get_mut(port, self.id))
        {
            bind.reuse_addr = options.is_on(SOL_SOCKET, SO_REUSEADDR);
            bind.reuse_port = options.is_on(SOL_SOCKET, SO_REUSEPORT);
        }
        match &state.phase {
            Phase::Connected { conn, side, .. } => {
                let mut conn = conn.state.lock();
                let end = conn.ends.of_mut(*side);
                end.caps = caps(&options);
                if (level, name) == (SOL_SOCKET, SO_PEEK_OFF) {
                    end.peek_off = options.peek_off();
                }
            }
            Phase::Listening(listener) => listener.queue.lock().options = options,
            Phase::Idle | Phase::Closed => {}
        }
        Ok(())
    }

    /// getsockopt(2). The result may be longer than `wanted`, which is what the program has room for: cut it.
    pub fn get_option(&self, level: i32, name: i32, wanted: usize) -> Result<Vec<u8>> {
        let number = |n: i32| Ok(n.as_bytes().to_vec());
        match (level, name) {
            (SOL_SOCKET, SO_ERROR) => return number(self.take_error().map_or(0, Errno::raw)),
            (SOL_SOCKET, SO_COOKIE) => return Ok(self.id.as_bytes().to_vec()),
            (SOL_TCP, TCP_INFO) => return Ok(self.info().as_bytes().to_vec()),
            _ => {}
        }
        let state = self.state.lock();
        let connected = matches!(state.phase, Phase::Connected { .. });
        if (level, name) == (SOL_SOCKET, SO_PEEK_OFF)
            && let Phase::Connected { conn, side, .. } = &state.phase
        {
            let off = conn.state.lock().ends.of(*side).peek_off;
            return number(off.map_or(-1, |off| i32::try_from(off).unwrap_or(i32::MAX)));
        }
        match (level, name) {
            (SOL_SOCKET, SO_ACCEPTCONN) => {
                number(i32::from(matches!(state.phase, Phase::Listening(_))))
            }
            (SOL_SOCKET, SO_SNDBUF) if connected && !state.options.send_locked => {
                number(AUTO_SEND as i32)
            }
            (SOL_TCP, TCP_MAXSEG) if connected => number(MSS),
            (SOL_IP, IP_MTU) if connected => number(MTU.saturating_sub(1)),
            (SOL_IPV6, IPV6_MTU) if connected && self.family == Family::Inet6 => number(MTU),
            (SOL_IP, IP_MTU) => Err(Errno::ENOTCONN),
            (SOL_IPV6, IPV6_MTU) if self.family == Family::Inet6 => Err(Errno::ENOTCONN),
            _ => state.options.get(level, name, wanted),
        }
    }
}

impl Drop for TcpEndpoint {
    fn drop(&mut self) {
        self.close();
    }
}
