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
        self.bytes = self.bytes.saturating_add(packet.unread().len());
        self.packets.push_back(packet);
    }
    pub fn pop(&mut self) -> Option<Packet> {
        let packet = self.packets.pop_front()?;
        self.bytes = self.bytes.saturating_sub(packet.unread().len());
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
}
