//! `AF_UNIX` (`unix(7)`; Linux: `net/unix/af_unix.c`).
//!
//! ```text
//!   client ──connect──► listener.pending ──accept──► server
//!     │  peer                                          │  peer
//!     └───────── each sends into the other's Queue ────┘
//! ```
//!
//! Locks: a socket's `state` and its `queue` are never held together, nor those of two sockets. Peers refer to each other strongly; [`Socket::close`], which runs
//! with the descriptor's last reference, cuts that.

mod connect;
mod inflight;
mod name;
mod queue;
#[cfg(test)]
mod tests;
mod transfer;

pub use name::{Name, NameTable};

use super::options::int;
use super::{
    Common, Creds, Halves, Identity, NetNamespace, Received, SendMsg, Socket, SocketCaller,
    SocketFile,
};
use abi::Errno;
use abi::socket::*;
use fs::vfs::Path;
use fs::{Events, Pollee, UserMemory};
use queue::Queue;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// Bits of [`UnixSocket::shut`].
const SHUT_RECV: u8 = 1;
const SHUT_SEND: u8 = 2;
/// The descriptor is closed.
const SHUT_CLOSED: u8 = 4;

/// What a shutdown or close may change.
const ENDED: Events = Events::all().difference(Events::PRI);

enum Phase {
    Idle,
    /// A connect is under way.
    Connecting,
    Listening {
        backlog: usize,
        pending: VecDeque<Arc<UnixSocket>>,
    },
    /// Streams stay so when the peer closes; datagram sockets go back to idle.
    Connected(Arc<UnixSocket>),
}

struct State {
    phase: Phase,
    name: Option<Arc<Name>>,
    /// The node that a path name is bound to; held, so that its inode stays the one others find.
    node: Option<Path>,
    /// Whom `SO_PEERCRED` shows.
    peer_creds: Option<Creds>,
    /// Who listens: what connecting clients see.
    own_creds: Option<Creds>,
}

/// A Unix socket.
pub struct UnixSocket {
    me: Weak<UnixSocket>,
    kind: i32,
    net: Arc<NetNamespace>,
    common: Common,
    state: Mutex<State, { level::UNIX_SOCKET }>,
    queue: Mutex<Queue>,
    /// Bytes sent and not yet received, with overhead: bounded by `SO_SNDBUF`.
    sent: AtomicUsize,
    shut: AtomicU8,
    error: AtomicI32,
    pollee: Pollee,
}

/// What an inode's [`fs::vfs::Vnode::socket`] holds.
struct Bound(Weak<UnixSocket>);

fn check(kind: i32, protocol: i32) -> Result<i32, Errno> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        SOCK_STREAM | SOCK_DGRAM | SOCK_SEQPACKET => Ok(kind),
        // Believed to be a datagram socket since time immemorial.
        SOCK_RAW => Ok(SOCK_DGRAM),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// `socket(AF_UNIX, …)`
pub fn create(
    caller: &dyn SocketCaller,
    kind: i32,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    Ok(UnixSocket::new(caller.net(), check(kind, protocol)?))
}

/// `socketpair(AF_UNIX, …)`
pub fn create_pair(
    caller: &dyn SocketCaller,
    kind: i32,
    protocol: i32,
) -> Result<(SocketFile, SocketFile), Errno> {
    let kind = check(kind, protocol)?;
    let (a, b) = (
        UnixSocket::new(caller.net(), kind),
        UnixSocket::new(caller.net(), kind),
    );
    let creds = caller.creds();
    for (one, other) in [(&a, &b), (&b, &a)] {
        let mut state = one.state.lock();
        state.phase = Phase::Connected(other.clone());
        state.peer_creds = Some(creds.clone());
    }
    Ok((SocketFile::new(a), SocketFile::new(b)))
}

/// `/proc/net/unix`
pub fn table(net: &NetNamespace) -> String {
    let sockets: Vec<_> = net
        .unix_sockets
        .lock()
        .values()
        .filter_map(Weak::upgrade)
        .collect();
    let mut text = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (number, socket) in sockets.iter().enumerate() {
        text.push_str(&socket.show(number));
    }
    text
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let address = std::ptr::from_ref::<Self>(self).addr();
        self.net.unix_sockets.lock().remove(&address);
    }
}

impl UnixSocket {
    fn new(net: Arc<NetNamespace>, kind: i32) -> Arc<Self> {
        let socket = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            kind,
            net,
            common: Common::default(),
            state: Mutex::new(State {
                phase: Phase::Idle,
                name: None,
                node: None,
                peer_creds: None,
                own_creds: None,
            }),
            queue: Mutex::new(Queue::default()),
            sent: AtomicUsize::new(0),
            shut: AtomicU8::new(0),
            error: AtomicI32::new(0),
            pollee: Pollee::new(),
        });
        socket
            .net
            .unix_sockets
            .lock()
            .insert(Arc::as_ptr(&socket).addr(), socket.me.clone());
        socket
    }

    /// Its line of `/proc/net/unix`.
    fn show(&self, number: usize) -> String {
        const ACCEPTS: u32 = 0x10000;
        let (flags, phase, name) = {
            let state = self.state.lock();
            let (flags, phase) = match state.phase {
                Phase::Listening { .. } => (ACCEPTS, 1),
                Phase::Connected(_) if self.connection_based() => (0, 3),
                Phase::Connecting => (0, 2),
                _ => (0, 1),
            };
            (flags, phase, state.name.clone())
        };
        let mut line = format!(
            "{number:016x}: {:08X} {:08X} {flags:08X} {:04X} {phase:02X} {:5}",
            2,
            0,
            self.kind,
            self.common.inode()
        );
        match name.as_deref() {
            Some(Name::Path(path)) => line.extend([" ", &String::from_utf8_lossy(path)]),
            Some(Name::Abstract(name)) => {
                line.extend([" @", &String::from_utf8_lossy(name).replace('\0', "@")])
            }
            None => {}
        }
        line.push('\n');
        line
    }

    fn connection_based(&self) -> bool {
        self.kind != SOCK_DGRAM
    }

    fn is_shut(&self, bits: u8) -> bool {
        self.shut.load(Ordering::Acquire) & bits == bits
    }

    fn peer(&self) -> Option<Arc<UnixSocket>> {
        match &self.state.lock().phase {
            Phase::Connected(peer) => Some(peer.clone()),
            _ => None,
        }
    }

    fn name(&self) -> Option<Arc<Name>> {
        self.state.lock().name.clone()
    }

    /// Room for new data as poll sees it: a quarter of the buffer is in use at most.
    fn writable(&self) -> bool {
        self.sent.load(Ordering::Acquire).saturating_mul(4) <= self.common.sndbuf()
    }

    fn set_error(&self, errno: Errno) {
        self.error.store(errno.raw(), Ordering::Release);
    }

    /// The peer of a stream has shut these of its halves, or closed.
    fn peer_shut(&self, bits: u8) {
        self.shut.fetch_or(bits, Ordering::AcqRel);
        self.pollee.notify(ENDED);
    }

    /// Sockets that wait for room in this one's queue or backlog.
    fn wake_waiters(&self) {
        let waiters = std::mem::take(&mut self.queue.lock().waiters);
        for waiter in waiters.iter().filter_map(Weak::upgrade) {
            waiter.pollee.notify(Events::WRITE);
        }
    }

    fn add_waiter(&self, waiter: &UnixSocket) {
        let mut queue = self.queue.lock();
        queue.waiters.retain(|w| w.strong_count() != 0);
        if !queue.waiters.iter().any(|w| w.ptr_eq(&waiter.me)) {
            queue.waiters.push(waiter.me.clone());
        }
    }

    /// A datagram's receiver has no room for senders it is not connected to.
    fn crowded_for(&self, sender: &UnixSocket) -> bool {
        let connected_back = self.peer().is_some_and(|p| std::ptr::eq(&*p, sender));
        !connected_back && !std::ptr::eq(self, sender) && self.queue.lock().is_crowded()
    }
}

impl Socket for UnixSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn identity(&self) -> Identity {
        Identity {
            domain: i32::from(AF_UNIX),
            kind: self.kind,
            protocol: 0,
        }
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn pollee(&self) -> &Pollee {
        &self.pollee
    }

    fn poll(&self) -> Events {
        let mut events = Events::empty();
        events.set(Events::ERR, self.error.load(Ordering::Acquire) != 0);
        events.set(Events::HUP, self.is_shut(SHUT_RECV | SHUT_SEND));
        if self.is_shut(SHUT_RECV) {
            events |= Events::RDHUP | Events::READ;
        }
        let (listening, idle, peer) = {
            let state = self.state.lock();
            match &state.phase {
                Phase::Listening { pending, .. } => {
                    if !pending.is_empty() {
                        events |= Events::READ;
                    }
                    (true, false, None)
                }
                Phase::Connected(peer) => (false, false, Some(peer.clone())),
                _ => (false, true, None),
            }
        };
        if listening {
            return events;
        }
        {
            let queue = self.queue.lock();
            if !queue.is_empty() {
                events |= Events::READ;
            }
            events.set(Events::PRI, queue.marked().is_some());
        }
        if self.connection_based() && idle {
            events |= Events::HUP;
        }
        let mut writable = self.writable();
        if let Some(peer) = peer.filter(|_| writable && !self.connection_based())
            && peer.crowded_for(self)
        {
            peer.add_waiter(self);
            // Room may have come before we were in the list.
            writable = !peer.crowded_for(self);
        }
        if writable {
            events |= Events::WRITE | Events::WRBAND;
        }
        events
    }

    fn bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        self.do_bind(caller, addr)
    }
    fn listen(&self, caller: &dyn SocketCaller, backlog: i32) -> Result<(), Errno> {
        self.do_listen(caller, backlog)
    }
    fn connect(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        self.do_connect(caller, addr)
    }
    fn accept(&self, _caller: &dyn SocketCaller) -> Result<SocketFile, Errno> {
        self.do_accept()
    }
    fn send(&self, caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        self.do_send(caller, msg)
    }
    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        self.do_recv(buf, flags)
    }

    fn shutdown(&self, how: Halves) -> Result<(), Errno> {
        let mut bits = 0;
        let mut theirs = 0;
        if how.read {
            bits |= SHUT_RECV;
            theirs |= SHUT_SEND;
        }
        if how.write {
            bits |= SHUT_SEND;
            theirs |= SHUT_RECV;
        }
        self.shut.fetch_or(bits, Ordering::AcqRel);
        self.pollee.notify(ENDED);
        if self.connection_based()
            && let Some(peer) = self.peer()
        {
            peer.peer_shut(theirs);
        }
        // A listener that no longer receives refuses those who wait.
        self.wake_waiters();
        Ok(())
    }

    fn local_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.name().map_or_else(Name::unnamed, |n| n.to_bytes()))
    }
    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        let peer = self.peer().ok_or(Errno::ENOTCONN)?;
        Ok(peer.name().map_or_else(Name::unnamed, |n| n.to_bytes()))
    }

    fn get_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        match name {
            SO_PEERCRED => {
                let creds = self.state.lock().peer_creds.clone();
                let (uid, gid) = creds
                    .as_ref()
                    .map_or((u32::MAX, u32::MAX), |c| (c.uid, c.gid));
                let pid = creds.map_or(0, |c| caller.pid_of(&c));
                Ok([pid.to_ne_bytes(), uid.to_ne_bytes(), gid.to_ne_bytes()].concat())
            }
            SO_PEERGROUPS => {
                let creds = self.state.lock().peer_creds.clone().ok_or(Errno::ENODATA)?;
                Ok(creds.groups.iter().flat_map(|g| g.to_ne_bytes()).collect())
            }
            SO_PEERNAME => self.peer_name(),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
    fn set_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        if level != SOL_SOCKET {
            return Err(Errno::EOPNOTSUPP);
        }
        match name {
            // Accepted and without effect in Linux too, but for port reuse, which has no meaning here.
            SO_REUSEPORT => {
                int(value)?;
                let _ = caller;
                Err(Errno::EOPNOTSUPP)
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
    fn take_error(&self) -> Option<Errno> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => None,
            raw => Some(Errno::from_raw(raw)),
        }
    }
    fn is_listening(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Listening { .. })
    }

    fn ioctl(
        &self,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        use abi::ioctl::{SIOCATMARK, SIOCINQ, SIOCOUTQ};
        let n = match cmd {
            SIOCINQ if self.is_listening() => return Err(Errno::EINVAL),
            SIOCINQ if self.kind == SOCK_DGRAM => self.queue.lock().first_len(),
            SIOCINQ => self.queue.lock().len(),
            SIOCOUTQ => self.sent.load(Ordering::Acquire),
            SIOCATMARK if self.kind == SOCK_STREAM => usize::from(self.queue.lock().is_at_mark()),
            _ => return super::interface::ioctl(&self.net, caller, mem, cmd, arg),
        };
        mem.write(arg, &i32::try_from(n).unwrap_or(i32::MAX).to_ne_bytes())?;
        Ok(0)
    }

    fn close(&self) {
        self.do_close();
        inflight::collect_if_needed();
    }
}
