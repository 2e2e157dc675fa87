//! Names, connections, and their end.

use super::queue::Packet;
use super::{Bound, Name, Phase, SHUT_CLOSED, SHUT_RECV, SHUT_SEND, UnixSocket, inflight};
use crate::socket::{Socket, SocketCaller, SocketFile};
use abi::Errno;
use abi::socket::{AF_UNSPEC, SOCK_DGRAM, SOMAXCONN};
use fs::vfs::{Lookup, perm};
use fs::{Events, NodeKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl UnixSocket {
    fn arc(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    pub(super) fn do_bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let me = self.arc()?;
        let Some(name) = Name::parse(addr)? else {
            return self.autobind();
        };
        let bound = self.state.lock().name.is_some();
        match &name {
            Name::Abstract(_) if bound => return Err(Errno::EINVAL),
            Name::Path(path) if bound => {
                // Linux looks at the name first.
                let (root, cwd) = caller.root_and_cwd()?;
                let taken = Lookup::new(caller, &root, &cwd).resolve(path).is_ok();
                return Err(if taken {
                    Errno::EADDRINUSE
                } else {
                    Errno::EINVAL
                });
            }
            Name::Abstract(bytes) => {
                self.net.abstract_names.bind(self.kind, bytes, &me)?;
                let mut state = self.state.lock();
                if state.name.is_some() {
                    drop(state);
                    self.net.abstract_names.unbind(self.kind, bytes);
                    return Err(Errno::EINVAL);
                }
                state.name = Some(Arc::new(name));
            }
            Name::Path(path) => {
                let (root, cwd) = caller.root_and_cwd()?;
                let node = Lookup::new(caller, &root, &cwd).mknod(path, NodeKind::Socket, 0o777);
                let node = node.map_err(|e| {
                    if e == Errno::EEXIST {
                        Errno::EADDRINUSE
                    } else {
                        e
                    }
                })?;
                let bound: Arc<dyn std::any::Any + Send + Sync> = Arc::new(Bound(self.me.clone()));
                let old = node.inode().vnode().socket.lock().replace(bound);
                drop(old);
                let mut state = self.state.lock();
                if state.name.is_some() {
                    // Another thread bound it meanwhile: the node stays behind, as in Linux.
                    return Err(Errno::EINVAL);
                }
                state.name = Some(Arc::new(name));
                state.node = Some(node);
            }
        }
        Ok(())
    }

    /// A name of the kernel's choosing, unless it has one.
    pub(super) fn autobind(&self) -> Result<(), Errno> {
        if self.state.lock().name.is_some() {
            return Ok(());
        }
        let bytes = self.net.abstract_names.autobind(self.kind, &self.arc()?)?;
        let mut state = self.state.lock();
        if state.name.is_some() {
            drop(state);
            self.net.abstract_names.unbind(self.kind, &bytes);
        } else {
            state.name = Some(Arc::new(Name::Abstract(bytes)));
        }
        Ok(())
    }

    /// Whoever is bound to `addr`, if the caller may write to it.
    pub(super) fn find(
        &self,
        caller: &dyn SocketCaller,
        addr: &[u8],
    ) -> Result<Arc<UnixSocket>, Errno> {
        match Name::parse(addr)?.ok_or(Errno::EINVAL)? {
            Name::Abstract(bytes) => match self.net.abstract_names.find(self.kind, &bytes) {
                Some(found) => Ok(found),
                None => Err(Errno::ECONNREFUSED),
            },
            Name::Path(path) => {
                let (root, cwd) = caller.root_and_cwd()?;
                let node = Lookup::new(caller, &root, &cwd).resolve(&path)?;
                perm::check(&node, caller, &caller.cred(), perm::MAY_WRITE)?;
                if node.inode().kind() != NodeKind::Socket {
                    return Err(Errno::ECONNREFUSED);
                }
                let bound = node
                    .inode()
                    .vnode()
                    .socket
                    .lock()
                    .clone()
                    .ok_or(Errno::ECONNREFUSED)?;
                let found = bound
                    .downcast::<Bound>()
                    .ok()
                    .and_then(|b| b.0.upgrade())
                    .ok_or(Errno::ECONNREFUSED)?;
                if found.kind == self.kind {
                    Ok(found)
                } else {
                    Err(Errno::EPROTOTYPE)
                }
            }
        }
    }

    pub(super) fn do_listen(&self, caller: &dyn SocketCaller, backlog: i32) -> Result<(), Errno> {
        if self.kind == SOCK_DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let limit = usize::try_from(backlog)
            .unwrap_or(usize::MAX)
            .min(usize::try_from(SOMAXCONN).unwrap_or(4096));
        let creds = caller.creds();
        let mut state = self.state.lock();
        if state.name.is_none() {
            return Err(Errno::EINVAL);
        }
        state.own_creds = Some(creds);
        match &mut state.phase {
            Phase::Listening { backlog, .. } => *backlog = limit,
            phase @ Phase::Idle => {
                *phase = Phase::Listening {
                    backlog: limit,
                    pending: VecDeque::new(),
                }
            }
            _ => return Err(Errno::EINVAL),
        }
        // What `getsockopt(SO_PEERCRED)` shows on a listener: itself.
        state.peer_creds = state.own_creds.clone();
        drop(state);
        self.wake_waiters();
        Ok(())
    }

    pub(super) fn do_connect(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        if self.kind == SOCK_DGRAM {
            return self.connect_datagram(caller, addr);
        }
        let listener = {
            Name::parse(addr)?.ok_or(Errno::EINVAL)?;
            match &self.state.lock().phase {
                Phase::Idle => {}
                Phase::Connected(_) => return Err(Errno::EISCONN),
                Phase::Connecting => return Err(Errno::EALREADY),
                Phase::Listening { .. } => return Err(Errno::EINVAL),
            }
            self.find(caller, addr)?
        };
        if self.common.passcred() {
            self.autobind()?;
        }
        self.begin_connect()?;
        let result = self.join(caller, &listener);
        let mut state = self.state.lock();
        match result {
            Ok((server, creds)) => {
                state.phase = Phase::Connected(server);
                state.peer_creds = creds;
                drop(state);
                listener.pollee.notify(Events::READ);
                // A new connection is writable.
                self.pollee.notify(Events::WRITE);
                Ok(())
            }
            Err(errno) => {
                state.phase = Phase::Idle;
                Err(errno)
            }
        }
    }

    fn begin_connect(&self) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Idle) {
            return Err(Errno::EALREADY);
        }
        state.phase = Phase::Connecting;
        Ok(())
    }

    /// Puts the server's end of a new connection into the listener's backlog. Returns it, and who listens.
    fn join(
        &self,
        caller: &dyn SocketCaller,
        listener: &Arc<UnixSocket>,
    ) -> Result<(Arc<UnixSocket>, Option<crate::socket::Creds>), Errno> {
        let server = UnixSocket::new(listener.net.clone(), self.kind);
        server.common.inherit(&listener.common);
        let (name, creds) = (listener.name(), caller.creds());
        {
            let mut state = server.state.lock();
            state.phase = Phase::Connected(self.arc()?);
            state.peer_creds = Some(creds);
            state.name = name;
        }
        for _ in 0..2 {
            let mut state = listener.state.lock();
            if listener.shut.load(Ordering::Acquire) & (SHUT_RECV | SHUT_CLOSED) != 0 {
                return Err(Errno::ECONNREFUSED);
            }
            let creds = state.own_creds.clone();
            let Phase::Listening { backlog, pending } = &mut state.phase else {
                return Err(Errno::ECONNREFUSED);
            };
            if pending.len() <= *backlog {
                pending.push_back(server.clone());
                return Ok((server, creds));
            }
            drop(state);
            // First into the list, then look again: room that comes later wakes us.
            listener.add_waiter(self);
        }
        Err(Errno::EAGAIN)
    }

    fn connect_datagram(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let family = addr
            .first_chunk::<2>()
            .map(|b| u16::from_ne_bytes(*b))
            .ok_or(Errno::EINVAL)?;
        let phase = if family == AF_UNSPEC {
            Phase::Idle
        } else {
            let other = self.find(caller, addr)?;
            if self.common.passcred() {
                self.autobind()?;
            }
            self.may_send_to(&other)?;
            Phase::Connected(other)
        };
        let old = std::mem::replace(&mut self.state.lock().phase, phase);
        drop(old);
        self.pollee.notify(Events::WRITE);
        Ok(())
    }

    /// A datagram socket that is connected hears its peer only.
    pub(super) fn may_send_to(&self, other: &Arc<UnixSocket>) -> Result<(), Errno> {
        match other.peer() {
            Some(peer) if !std::ptr::eq(&*peer, self) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    pub(super) fn do_accept(&self) -> Result<SocketFile, Errno> {
        if self.kind == SOCK_DGRAM {
            return Err(Errno::EOPNOTSUPP);
        }
        let server = {
            let mut state = self.state.lock();
            let Phase::Listening { pending, .. } = &mut state.phase else {
                return Err(Errno::EINVAL);
            };
            match pending.pop_front() {
                Some(server) => server,
                None if self.is_shut(SHUT_RECV) => return Err(Errno::EINVAL),
                None => return Err(Errno::EAGAIN),
            }
        };
        self.wake_waiters();
        Ok(SocketFile::new(server))
    }

    pub(super) fn do_close(&self) {
        self.shut
            .fetch_or(SHUT_RECV | SHUT_SEND | SHUT_CLOSED, Ordering::AcqRel);
        let (phase, name, node) = {
            let mut state = self.state.lock();
            (
                std::mem::replace(&mut state.phase, Phase::Idle),
                state.name.clone(),
                state.node.take(),
            )
        };
        if let (Some(Name::Abstract(bytes)), true) = (name.as_deref(), self.owns_name()) {
            self.net.abstract_names.unbind(self.kind, bytes);
        }
        if let Some(node) = node {
            let mut slot = node.inode().vnode().socket.lock();
            let ours = slot
                .as_ref()
                .and_then(|s| s.downcast_ref::<Bound>())
                .is_some_and(|b| b.0.ptr_eq(&self.me));
            let old = if ours { slot.take() } else { None };
            drop(slot);
            drop(old);
        }
        let unread = self.drain();
        match phase {
            Phase::Connected(peer) if self.connection_based() => {
                if unread {
                    peer.set_error(Errno::ECONNRESET);
                }
                peer.peer_shut(SHUT_RECV | SHUT_SEND);
            }
            Phase::Connected(peer) => peer.wake_waiters(),
            Phase::Listening { pending, .. } => {
                for server in pending {
                    // Never accepted: to the client it is a reset.
                    if let Some(client) = server.peer() {
                        client.set_error(Errno::ECONNRESET);
                    }
                    server.close();
                }
            }
            _ => {}
        }
        self.wake_waiters();
        self.pollee.notify(Events::all());
    }

    /// Accepted sockets share their listener's name without owning it.
    fn owns_name(&self) -> bool {
        let Some(name) = self.name() else {
            return false;
        };
        let Name::Abstract(bytes) = &*name else {
            return false;
        };
        self.net
            .abstract_names
            .find(self.kind, bytes)
            .is_none_or(|s| std::ptr::eq(&*s, self))
    }

    /// Throws away what was not received; says whether there was anything.
    fn drain(&self) -> bool {
        let mut packets = Vec::new();
        {
            let mut queue = self.queue.lock();
            while let Some(packet) = queue.pop() {
                packets.push(packet);
            }
        }
        let unread = !packets.is_empty();
        for packet in packets {
            discard(packet);
        }
        unread
    }
}

/// Gives the sender its room back and closes what came along.
pub(super) fn discard(mut packet: Packet) {
    let rights = packet.rights.take();
    uncharge(&packet);
    if let Some(rights) = rights {
        inflight::discard(rights);
    }
}

/// The message is out of the queue: its sender may send more.
pub(super) fn uncharge(packet: &Packet) {
    let sender = &packet.from;
    let before = sender.sent.fetch_sub(packet.charge, Ordering::AcqRel);
    let limit = sender.common.sndbuf() / 4;
    if before > limit && before.saturating_sub(packet.charge) <= limit {
        sender.pollee.notify(Events::WRITE);
    }
}
