//! Sending and receiving.

use super::connect::{discard, uncharge};
use super::inflight::{self, Rights};
use super::queue::{OVERHEAD, Packet, Queue};
use super::{SHUT_CLOSED, SHUT_RECV, SHUT_SEND, UnixSocket};
use crate::socket::{Control, Creds, Received, SendMsg, SocketCaller};
use abi::Errno;
use abi::socket::{MsgFlags, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET};
use fs::Events;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The most bytes of a stream in one piece.
const PIECE: usize = 64 << 10;
/// The id that stands for "nobody" where no credentials were sent.
const OVERFLOW_ID: u32 = 65534;

/// The ancillary data of a message, checked.
struct Extras {
    creds: Option<Creds>,
    rights: Option<Rights>,
    eor: bool,
    urgent: bool,
}

impl UnixSocket {
    pub(super) fn do_send(
        &self,
        caller: &dyn SocketCaller,
        msg: &SendMsg<'_>,
    ) -> Result<usize, Errno> {
        if msg.flags.contains(MsgFlags::MSG_OOB)
            && (self.kind != SOCK_STREAM || msg.data.is_empty())
        {
            return Err(Errno::EOPNOTSUPP);
        }
        match self.kind {
            SOCK_STREAM => self.send_stream(caller, msg),
            SOCK_DGRAM => self.send_datagram(caller, msg),
            _ => {
                // The address of a seqpacket's message is ignored.
                let peer = self.peer().ok_or(Errno::ENOTCONN)?;
                self.send_packet(caller, msg, &peer)
            }
        }
    }

    fn send_stream(&self, caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        let peer = self.peer();
        if msg.to.is_some() {
            return Err(if peer.is_some() {
                Errno::EISCONN
            } else {
                Errno::EOPNOTSUPP
            });
        }
        let peer = peer.ok_or(Errno::ENOTCONN)?;
        if self.is_shut(SHUT_SEND) {
            return Err(Errno::EPIPE);
        }
        if msg.data.is_empty() {
            return Ok(0);
        }
        if self.sent.load(Ordering::Acquire) >= self.common.sndbuf() {
            return Err(Errno::EAGAIN);
        }
        let mut extras = self.extras(caller, msg, &peer)?;
        let piece = PIECE.min(self.common.sndbuf() / 2).max(1);
        let mut done = 0usize;
        let (plain, urgent) = match msg.data.split_last() {
            Some((last, before)) if msg.flags.contains(MsgFlags::MSG_OOB) => {
                (before, Some(std::slice::from_ref(last)))
            }
            _ => (msg.data, None),
        };
        let pieces = plain.chunks(piece).map(|data| (data, false));
        for (data, urgent) in pieces.chain(urgent.map(|byte| (byte, true))) {
            if done > 0 && self.sent.load(Ordering::Acquire) >= self.common.sndbuf() {
                break;
            }
            let message = Extras {
                creds: extras.creds.clone(),
                rights: extras.rights.take(),
                eor: false,
                urgent,
            };
            if let Err((errno, packet)) = self.push(&peer, data.to_vec(), message) {
                discard(packet);
                return if done > 0 { Ok(done) } else { Err(errno) };
            }
            done = done.saturating_add(data.len());
        }
        peer.pollee.notify(match urgent {
            Some(_) if done == msg.data.len() => Events::READ | Events::PRI,
            _ => Events::READ,
        });
        Ok(done)
    }

    fn send_datagram(&self, caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        if self.common.passcred() {
            self.autobind()?;
        }
        let peer = match msg.to {
            Some(addr) => {
                let other = self.find(caller, addr)?;
                self.may_send_to(&other)?;
                other
            }
            None => self.peer().ok_or(Errno::ENOTCONN)?,
        };
        if peer.is_shut(SHUT_CLOSED) {
            if msg.to.is_none() {
                self.disconnect();
            }
            return Err(Errno::ECONNREFUSED);
        }
        if peer.crowded_for(self) {
            peer.add_waiter(self);
            if peer.crowded_for(self) {
                return Err(Errno::EAGAIN);
            }
        }
        self.send_packet(caller, msg, &peer)
    }

    fn disconnect(&self) {
        let old = std::mem::replace(&mut self.state.lock().phase, super::Phase::Idle);
        drop(old);
    }

    fn send_packet(
        &self,
        caller: &dyn SocketCaller,
        msg: &SendMsg<'_>,
        peer: &Arc<UnixSocket>,
    ) -> Result<usize, Errno> {
        if self.is_shut(SHUT_SEND) {
            return Err(Errno::EPIPE);
        }
        if msg.data.len() > self.common.sndbuf().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        if self.sent.load(Ordering::Acquire) >= self.common.sndbuf() {
            return Err(Errno::EAGAIN);
        }
        let mut data = msg.data;
        if let Some(filter) = peer.common.filter() {
            match filter.keep(data) {
                // The sender is not told.
                0 => return Ok(msg.data.len()),
                n => data = data.get(..n).unwrap_or(data),
            }
        }
        let extras = self.extras(caller, msg, peer)?;
        if let Err((errno, packet)) = self.push(peer, data.to_vec(), extras) {
            discard(packet);
            return Err(errno);
        }
        peer.pollee.notify(Events::READ);
        Ok(msg.data.len())
    }

    fn extras(
        &self,
        caller: &dyn SocketCaller,
        msg: &SendMsg<'_>,
        peer: &UnixSocket,
    ) -> Result<Extras, Errno> {
        let mut creds = None;
        let mut files = Vec::new();
        for control in msg.control {
            match control {
                Control::Rights(more) => files.extend(more.iter().cloned()),
                Control::Credentials(claimed) => creds = Some(claimed.clone()),
                Control::Other(level, ..) if *level == SOL_SOCKET => return Err(Errno::EINVAL),
                Control::Other(..) => {}
            }
        }
        // Whoever has not been accepted yet may still ask for them.
        if creds.is_none()
            && (self.common.passcred() || peer.common.passcred() || peer.common.inode() == 0)
        {
            creds = Some(caller.real_creds());
        }
        let rights = if files.is_empty() {
            None
        } else {
            Some(inflight::attach(caller, files)?)
        };
        Ok(Extras {
            creds,
            rights,
            eor: msg.flags.contains(MsgFlags::MSG_EOR),
            urgent: false,
        })
    }

    /// Into the peer's queue, charged to this socket. `EPIPE` or `ECONNREFUSED` give the message back.
    fn push(
        &self,
        peer: &Arc<UnixSocket>,
        data: Vec<u8>,
        extras: Extras,
    ) -> Result<(), (Errno, Packet)> {
        let charge = data.len().saturating_add(OVERHEAD);
        self.sent.fetch_add(charge, Ordering::AcqRel);
        let from = self.me.upgrade().unwrap_or_else(|| peer.clone());
        let packet = Packet {
            data,
            start: 0,
            from,
            creds: extras.creds,
            rights: extras.rights,
            charge,
            eor: extras.eor,
            urgent: extras.urgent,
            at: (self.kind != SOCK_STREAM && peer.common.stamps()).then(sync::time::realtime_ns),
        };
        let mut queue = peer.queue.lock();
        // Under the queue's lock: who closes sets the bit first and empties the queue after.
        if peer.shut.load(Ordering::Acquire) & SHUT_RECV != 0 {
            drop(queue);
            let refused = self.kind == SOCK_DGRAM && peer.is_shut(SHUT_CLOSED);
            return Err((
                if refused {
                    Errno::ECONNREFUSED
                } else {
                    Errno::EPIPE
                },
                packet,
            ));
        }
        queue.push(packet);
        Ok(())
    }

    pub(super) fn do_recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        let urgent = flags.contains(MsgFlags::MSG_OOB);
        if urgent && self.kind != SOCK_STREAM {
            return Err(Errno::EOPNOTSUPP);
        }
        if self.connection_based() && self.peer().is_none() && !self.is_shut(SHUT_CLOSED) {
            return Err(if self.kind == SOCK_STREAM {
                Errno::EINVAL
            } else {
                Errno::ENOTCONN
            });
        }
        if urgent {
            return self.recv_urgent(buf, flags);
        }
        // Descriptors leave the queue under the lock of all that are in flight; most messages carry none and do without.
        let mut left = Vec::new();
        let mut result = self.try_recv(buf, flags, None, &mut left);
        if result.is_none() {
            let mut guard = inflight::lock();
            result = self.try_recv(buf, flags, Some(&mut guard), &mut left);
        }
        left.into_iter().for_each(discard);
        result.unwrap_or(Err(Errno::EAGAIN))
    }

    /// `unix_stream_recv_urg`
    fn recv_urgent(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        if self.common.oob_inline() {
            return Err(Errno::EINVAL);
        }
        let peek = flags.contains(MsgFlags::MSG_PEEK);
        let byte = self.queue.lock().take_urgent(peek).ok_or(Errno::EINVAL)?;
        if let Some(to) = buf.first_mut() {
            *to = byte;
        }
        let len = buf.len().min(1);
        Ok(Received {
            len,
            full_len: len,
            flags: MsgFlags::MSG_OOB,
            ..Received::default()
        })
    }

    /// `None`: there are descriptors to receive and `scm` is missing.
    fn try_recv(
        &self,
        buf: &mut [u8],
        flags: MsgFlags,
        scm: Option<&mut inflight::Guard>,
        left: &mut Vec<Packet>,
    ) -> Option<Result<Received, Errno>> {
        let queue = self.queue.lock();
        if queue.is_empty() {
            drop(queue);
            return Some(self.nothing_to_recv(flags));
        }
        if self.kind == SOCK_STREAM {
            self.recv_stream(queue, buf, flags, scm, left)
        } else {
            self.recv_packet(queue, buf, flags, scm)
        }
    }

    fn nothing_to_recv(&self, flags: MsgFlags) -> Result<Received, Errno> {
        if let Some(errno) = crate::socket::Socket::take_error(self) {
            return Err(errno);
        }
        // A datagram socket tells the end only to those who wait.
        let told = self.kind != SOCK_DGRAM || !flags.contains(MsgFlags::MSG_DONTWAIT);
        if told && self.is_shut(SHUT_RECV) {
            Ok(Received::default())
        } else {
            Err(Errno::EAGAIN)
        }
    }

    fn passed_creds(&self, creds: &Option<Creds>) -> Option<Control> {
        let nobody = || Creds {
            uid: OVERFLOW_ID,
            gid: OVERFLOW_ID,
            ..Creds::default()
        };
        self.common
            .passcred()
            .then(|| Control::Credentials(creds.clone().unwrap_or_else(nobody)))
    }

    fn recv_packet(
        &self,
        mut queue: sync::MutexGuard<'_, Queue>,
        buf: &mut [u8],
        flags: MsgFlags,
        scm: Option<&mut inflight::Guard>,
    ) -> Option<Result<Received, Errno>> {
        let peek = flags.contains(MsgFlags::MSG_PEEK);
        let (at, skip) = match self.common.peek_off().filter(|_| peek) {
            None => (0, 0),
            Some(off) => match queue.packet_at(off) {
                None => return Some(Err(Errno::EAGAIN)),
                Some(found) => found,
            },
        };
        let front = queue.packets.get_mut(at)?;
        let mut control = Vec::new();
        if let Some(rights) = &mut front.rights {
            let scm = scm?;
            control.push(Control::Rights(if peek {
                rights.copy()
            } else {
                scm.detach(rights)
            }));
        }
        if !peek {
            front.rights = None;
        }
        control.extend(self.passed_creds(&front.creds));
        if self.common.stamps() {
            let at = front.at.unwrap_or_else(sync::time::realtime_ns);
            self.common.received(at, &mut control);
        }
        let data = front.data.get(skip..).unwrap_or_default();
        let n = data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), data.get(..n)) {
            to.copy_from_slice(from);
        }
        let mut out = MsgFlags::empty();
        out.set(MsgFlags::MSG_TRUNC, data.len() > n);
        out.set(MsgFlags::MSG_EOR, front.eor);
        let (full_len, sender) = (data.len(), front.from.clone());
        let packet = if peek { None } else { queue.pop() };
        self.common.peeked(if peek { n } else { full_len }, peek);
        drop(queue);
        if let Some(packet) = packet {
            uncharge(&packet);
            self.wake_waiters();
        }
        let from = sender.name().map(|name| name.to_bytes());
        Some(Ok(Received {
            len: n,
            full_len,
            from,
            control,
            flags: out,
        }))
    }

    fn recv_stream(
        &self,
        mut queue: sync::MutexGuard<'_, Queue>,
        buf: &mut [u8],
        flags: MsgFlags,
        mut scm: Option<&mut inflight::Guard>,
        left: &mut Vec<Packet>,
    ) -> Option<Result<Received, Errno>> {
        let peek = flags.contains(MsgFlags::MSG_PEEK);
        let passcred = self.common.passcred();
        if scm.is_none() {
            // Any message that the reader's buffer reaches.
            let mut before = 0usize;
            for packet in &queue.packets {
                if packet.rights.is_some() {
                    return None;
                }
                before = before.saturating_add(packet.unread().len());
                if before >= buf.len() {
                    break;
                }
            }
        }
        let mut control = Vec::new();
        let mut first_creds: Option<Option<Creds>> = None;
        let mut sender = None;
        let mut used = Vec::new();
        let (mut done, mut at) = (0usize, 0usize);
        let inline = self.common.oob_inline();
        let mut skip = self.common.peek_off().filter(|_| peek).unwrap_or(0);
        // A read of nothing still takes the descriptors that lie in front.
        while done < buf.len() || buf.is_empty() && first_creds.is_none() {
            let Some(now) = queue.pass_mark(at, done > 0, peek, inline, left) else {
                break;
            };
            at = now;
            let Some(front) = queue.packets.get_mut(at) else {
                break;
            };
            if skip >= front.unread().len() && skip > 0 {
                skip = skip.saturating_sub(front.unread().len());
                at = at.saturating_add(1);
                continue;
            }
            // Messages of different writers are not glued together where the reader wants to know who wrote.
            match &first_creds {
                Some(creds) if passcred && *creds != front.creds => break,
                Some(_) => {}
                None => {
                    first_creds = Some(front.creds.clone());
                    sender = Some(front.from.clone());
                }
            }
            let mut had_rights = false;
            if let Some(rights) = &mut front.rights {
                let Some(scm) = scm.as_deref_mut() else { break };
                control.push(Control::Rights(if peek {
                    rights.copy()
                } else {
                    scm.detach(rights)
                }));
                had_rights = true;
                if !peek {
                    front.rights = None;
                }
            }
            let from = front.unread().get(skip..).unwrap_or_default();
            skip = 0;
            let n = from.len().min(buf.len().saturating_sub(done));
            if let (Some(to), Some(from)) =
                (buf.get_mut(done..done.saturating_add(n)), from.get(..n))
            {
                to.copy_from_slice(from);
            }
            done = done.saturating_add(n);
            self.common.peeked(n, peek);
            if peek {
                at = at.saturating_add(1);
            } else {
                queue.advance(n);
                if queue.first_len() == 0 {
                    used.extend(queue.pop());
                }
            }
            // Reading goes up to a message with descriptors and not past it.
            if had_rights {
                break;
            }
        }
        drop(queue);
        if first_creds.is_none() {
            return Some(self.nothing_to_recv(flags));
        }
        used.iter().for_each(uncharge);
        control.extend(first_creds.and_then(|creds| self.passed_creds(&creds)));
        let from = sender.and_then(|s| s.name()).map(|name| name.to_bytes());
        Some(Ok(Received {
            len: done,
            full_len: done,
            from,
            control,
            flags: MsgFlags::empty(),
        }))
    }
}
