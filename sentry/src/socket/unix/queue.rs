//! What a Unix socket has been sent.

use super::UnixSocket;
use super::inflight::Rights;
use crate::socket::Creds;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// A message costs its sender this much beyond its bytes, as a socket buffer's headers do in Linux.
pub const OVERHEAD: usize = 576;
/// `/proc/sys/net/unix/max_dgram_qlen`
const MAX_DATAGRAMS: usize = 10;

/// One message, or a piece of a stream.
pub struct Packet {
    pub data: Vec<u8>,
    /// Bytes a stream's reader has taken.
    pub start: usize,
    pub from: Arc<UnixSocket>,
    pub creds: Option<Creds>,
    pub rights: Option<Rights>,
    /// What the sender is charged.
    pub charge: usize,
    /// `MSG_EOR` of a seqpacket.
    pub eor: bool,
    /// `MSG_OOB` of a stream: one byte. Once received by itself it stays, empty, as a mark.
    pub urgent: bool,
    /// When it arrived, of `CLOCK_REALTIME`, if the receiver had asked.
    pub at: Option<u64>,
}

impl Packet {
    pub fn unread(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or(&[])
    }
}

#[derive(Default)]
pub struct Queue {
    pub packets: VecDeque<Packet>,
    /// Unread bytes.
    bytes: usize,
    /// The urgent packet that can be received by itself, as the packets before it and those gone: see `gone`.
    mark: Option<u64>,
    /// Packets taken off the front so far.
    gone: u64,
    /// Sockets that wait for room here, or for room in the backlog.
    pub waiters: Vec<Weak<UnixSocket>>,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
    pub fn len(&self) -> usize {
        self.bytes
    }
    pub fn first_len(&self) -> usize {
        self.packets.front().map_or(0, |p| p.unread().len())
    }
    pub fn is_crowded(&self) -> bool {
        self.packets.len() > MAX_DATAGRAMS
    }
    pub fn push(&mut self, packet: Packet) {
        if packet.urgent {
            self.mark = Some(self.gone.saturating_add(self.packets.len() as u64));
        }
        self.bytes = self.bytes.saturating_add(packet.unread().len());
        self.packets.push_back(packet);
    }
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes = self.bytes.saturating_sub(packet.unread().len());
        if self.mark == Some(self.gone) {
            self.mark = None;
        }
        self.gone = self.gone.saturating_add(1);
        if self.packets.is_empty() && self.packets.capacity() > 64 {
            self.packets = VecDeque::new();
        }
        Some(packet)
    }
    /// Takes `n` bytes off the first packet.
    pub fn advance(&mut self, n: usize) {
        if let Some(packet) = self.packets.front_mut() {
            packet.start = packet.start.saturating_add(n);
            self.bytes = self.bytes.saturating_sub(n);
        }
    }

    /// The packet that byte `off` of all lies in, and where there: for SO_PEEK_OFF.
    pub fn packet_at(&self, mut off: usize) -> Option<(usize, usize)> {
        for (at, packet) in self.packets.iter().enumerate() {
            if off == 0 || off < packet.data.len() {
                return Some((at, off));
            }
            off = off.saturating_sub(packet.data.len());
        }
        None
    }

    /// Where the packet is that can be received by itself.
    pub fn marked(&self) -> Option<usize> {
        usize::try_from(self.mark?.checked_sub(self.gone)?).ok()
    }

    /// Receives the urgent byte, or looks at it.
    pub fn take_urgent(&mut self, peek: bool) -> Option<u8> {
        let at = self.marked()?;
        let packet = self.packets.get_mut(at)?;
        let byte = packet.unread().first().copied()?;
        if !peek {
            self.mark = None;
            packet.start = packet.start.saturating_add(1);
            self.bytes = self.bytes.saturating_sub(1);
        }
        Some(byte)
    }

    /// Whether the reader stands at a mark (`SIOCATMARK`).
    pub fn is_at_mark(&self) -> bool {
        let Some(first) = self.packets.front() else {
            return false;
        };
        let marked = self.marked();
        marked == Some(0) || (first.unread().is_empty() && marked.is_none_or(|at| at == 1))
    }

    /// From packet `at` on, the one that a stream's read goes on with (Linux: `manage_oob`): it ends before a mark and does not begin with an urgent byte,
    /// unless such bytes are `inline`. What a read leaves out goes to `left`.
    pub fn pass_mark(
        &mut self,
        mut at: usize,
        copied: bool,
        peek: bool,
        inline: bool,
        left: &mut Vec<Packet>,
    ) -> Option<usize> {
        loop {
            let packet = self.packets.get(at)?;
            let (empty, marked) = (packet.unread().is_empty(), self.marked());
            let is_mark = marked == Some(at);
            if !empty && !is_mark {
                return Some(at);
            }
            // An empty one is the place of a byte that was received by itself.
            if copied && (is_mark || marked.is_none()) {
                return None;
            }
            if is_mark && inline {
                if !peek {
                    self.mark = None;
                }
                return Some(at);
            }
            if peek {
                at = at.saturating_add(1);
            } else {
                left.extend(self.pop());
            }
        }
    }
}
