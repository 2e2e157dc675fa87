//! What a pipe holds: bytes accounted in page-sized slots, as Linux's ring of `pipe_buffer`s has them, but stored in as few pieces as the writes came in.
//!
//! ```text
//!   write(5000)          write(100)             write(4096)
//!   ├── page ─┼─ 904 ────── 100 ──┤             ├── page ─┤
//!   └──────── chunk 0 ────────────┘             └ chunk 1 ┘      3 slots in use
//! ```
//!
//! A chunk begins at a slot's edge; the slots it uses are the pages between its first unread and its last byte. A write whose remainder (length modulo the page)
//! fits behind the last byte is continued there, else it begins a new slot: so a write of up to `PIPE_BUF` bytes never needs more than one slot, which is
//! what makes it atomic.

use std::collections::VecDeque;

/// The size of a slot.
pub const PAGE: usize = 4096;
/// Below this capacity an empty chunk's memory is kept for the next small write.
const SPARE: usize = 512;

struct Chunk {
    data: Vec<u8>,
    /// Bytes already read.
    start: usize,
    /// Each page is a packet of its own (`O_DIRECT`): never continued, read one at a time.
    packet: bool,
}

impl Chunk {
    fn len(&self) -> usize {
        self.data.len().saturating_sub(self.start)
    }
    fn slots(&self) -> usize {
        if self.len() == 0 {
            0
        } else {
            self.data
                .len()
                .div_ceil(PAGE)
                .saturating_sub(self.start / PAGE)
        }
    }
    fn unread(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or(&[])
    }
    /// The bytes one read may take: a packet ends with its page.
    fn readable(&self) -> &[u8] {
        let all = self.unread();
        if !self.packet {
            return all;
        }
        let to_page_end = PAGE.saturating_sub(self.start % PAGE);
        all.get(..to_page_end).unwrap_or(all)
    }
}

/// The bytes in a pipe.
pub struct Buffer {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    used: usize,
    slots: usize,
    spare: Vec<u8>,
}

impl Buffer {
    /// Empty, with room for `slots` pages.
    pub fn new(slots: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            bytes: 0,
            used: 0,
            slots,
            spare: Vec::new(),
        }
    }

    /// Bytes to read.
    pub fn len(&self) -> usize {
        self.bytes
    }
    /// Nothing to read.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
    /// No slot is free: not writable.
    pub fn is_full(&self) -> bool {
        self.used >= self.slots
    }
    /// Slots in all.
    pub fn slots(&self) -> usize {
        self.slots
    }
    /// Slots that hold something.
    pub fn used(&self) -> usize {
        self.used
    }
    /// Changes the number of slots; false if more are in use.
    pub fn resize(&mut self, slots: usize) -> bool {
        if slots < self.used {
            return false;
        }
        self.slots = slots;
        true
    }
    /// Room in whole free slots: what a splice may add at least.
    pub fn room(&self) -> usize {
        self.slots.saturating_sub(self.used).saturating_mul(PAGE)
    }

    /// Appends as much of `data` as fits and says how much that was. `packet`: in packets of at most a page.
    pub fn write(&mut self, data: &[u8], packet: bool) -> usize {
        let mut rest = data;
        let remainder = rest.len() % PAGE;
        if !packet
            && remainder != 0
            && let Some(last) = self.chunks.back_mut()
            && !last.packet
        {
            let filled = last.data.len() % PAGE;
            // A slot partly read from its front has room at its back all the same.
            if filled != 0
                && filled.saturating_add(remainder) <= PAGE
                && let Some((head, tail)) = rest.split_at_checked(remainder)
            {
                last.data.extend_from_slice(head);
                self.bytes = self.bytes.saturating_add(head.len());
                rest = tail;
            }
        }
        let part = rest.get(..self.room()).unwrap_or(rest);
        if !part.is_empty() {
            let mut bytes = std::mem::take(&mut self.spare);
            bytes.extend_from_slice(part);
            let chunk = Chunk {
                data: bytes,
                start: 0,
                packet,
            };
            self.used = self.used.saturating_add(chunk.slots());
            self.bytes = self.bytes.saturating_add(part.len());
            self.chunks.push_back(chunk);
        }
        data.len()
            .saturating_sub(rest.len())
            .saturating_add(part.len())
    }

    /// Takes bytes into `buf`; at most one packet, whose bytes beyond `buf` are lost.
    pub fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(chunk) = self.chunks.front() {
            let packet = chunk.packet;
            let from = chunk.readable();
            let out = buf.get_mut(done..).unwrap_or(&mut []);
            let n = from.len().min(out.len());
            if n == 0 {
                break;
            }
            if let (Some(out), Some(from)) = (out.get_mut(..n), from.get(..n)) {
                out.copy_from_slice(from);
            }
            done = done.saturating_add(n);
            let consumed = if packet { from.len() } else { n };
            self.consume_front(consumed);
            if packet {
                break;
            }
        }
        done
    }

    /// Takes up to `max` bytes out without copying where it can; also says whether they were packets. Stops at a packet's end.
    pub fn take(&mut self, max: usize) -> Option<(Vec<u8>, bool)> {
        let front = self.chunks.front()?;
        let packet = front.packet;
        if front.start == 0 && front.len() <= max && (!packet || front.len() <= PAGE) {
            let chunk = self.chunks.pop_front()?;
            self.used = self.used.saturating_sub(chunk.slots());
            self.bytes = self.bytes.saturating_sub(chunk.len());
            return Some((chunk.data, packet));
        }
        let from = front.readable();
        let data = from.get(..max.min(from.len())).unwrap_or(from).to_vec();
        self.consume_front(data.len());
        Some((data, packet))
    }

    /// Puts bytes back that [`Buffer::take`] took and nobody wanted. They may exceed the room for a moment.
    pub fn put_back(&mut self, data: Vec<u8>, packet: bool) {
        if data.is_empty() {
            return;
        }
        let chunk = Chunk {
            data,
            start: 0,
            packet,
        };
        self.used = self.used.saturating_add(chunk.slots());
        self.bytes = self.bytes.saturating_add(chunk.len());
        self.chunks.push_front(chunk);
    }

    /// Appends bytes as they come, for splices: no copy, no continuation of the last slot. The caller looked at [`Buffer::room`]; gives back what does not fit.
    pub fn append(&mut self, mut data: Vec<u8>, packet: bool) -> Vec<u8> {
        let room = self.room();
        let rest = if data.len() > room {
            data.split_off(room)
        } else {
            Vec::new()
        };
        self.push(data, packet);
        rest
    }

    /// Appends beyond the room: for bytes that would be lost otherwise, at most one splice's worth.
    pub fn force(&mut self, data: Vec<u8>) {
        self.push(data, false);
    }

    fn push(&mut self, data: Vec<u8>, packet: bool) {
        if !data.is_empty() {
            let chunk = Chunk {
                data,
                start: 0,
                packet,
            };
            self.used = self.used.saturating_add(chunk.slots());
            self.bytes = self.bytes.saturating_add(chunk.len());
            self.chunks.push_back(chunk);
        }
    }

    /// Copies of what is there, piece by piece, up to `max` bytes (`tee(2)`).
    pub fn copies(&self, max: usize) -> Vec<(Vec<u8>, bool)> {
        let mut out = Vec::new();
        let mut left = max;
        for chunk in &self.chunks {
            if left == 0 {
                break;
            }
            let from = chunk.unread();
            let part = from.get(..left).unwrap_or(from);
            out.push((part.to_vec(), chunk.packet));
            left = left.saturating_sub(part.len());
        }
        out
    }

    fn consume_front(&mut self, n: usize) {
        let Some(front) = self.chunks.front_mut() else {
            return;
        };
        let before = front.slots();
        let n = n.min(front.len());
        front.start = front.start.saturating_add(n);
        let after = front.slots();
        self.bytes = self.bytes.saturating_sub(n);
        self.used = self.used.saturating_sub(before.saturating_sub(after));
        if front.len() == 0
            && let Some(chunk) = self.chunks.pop_front()
            && chunk.data.capacity() <= SPARE
        {
            self.spare = chunk.data;
            self.spare.clear();
        }
        if self.chunks.is_empty() && self.chunks.capacity() > 4 {
            self.chunks = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_as_linux_fills_them() {
        let mut b = Buffer::new(16);
        // 16 writes of one page fill it; 17 one-byte writes after 4095-byte ones merge.
        for _ in 0..16 {
            assert_eq!(b.write(&[1; 4096], false), 4096);
        }
        assert!(b.is_full());
        assert_eq!(b.write(&[1], false), 0);
        let mut out = vec![0; 4095];
        assert_eq!(b.read(&mut out), 4095);
        // One byte is left in the first slot: still full.
        assert!(b.is_full());
        assert_eq!(b.read(&mut out[..1]), 1);
        assert!(!b.is_full());
        assert_eq!(b.write(&[2; 10], false), 10);
        assert!(b.is_full());
        // The last slot has room for a small remainder.
        assert_eq!(b.write(&[3; 20], false), 20);
        assert_eq!(b.write(&[3; 4080], false), 0);
        assert_eq!(b.len(), 15 * 4096 + 30);
    }

    #[test]
    fn odd_sizes_take_a_slot_each() {
        let mut b = Buffer::new(16);
        let mut writes = 0;
        while b.write(&[0; 3000], false) == 3000 {
            writes += 1;
        }
        assert_eq!(writes, 16);
        let mut b = Buffer::new(16);
        assert_eq!(b.write(&vec![7; 100_000], false), 65536);
        let mut out = vec![0; 100_000];
        assert_eq!(b.read(&mut out), 65536);
        assert_eq!(b.used(), 0);
    }

    #[test]
    fn packets_keep_their_edges() {
        let mut b = Buffer::new(4);
        assert_eq!(b.write(&[1; 5000], true), 5000);
        assert_eq!(b.write(&[2; 10], true), 10);
        assert_eq!(b.used(), 3);
        let mut out = [0; 8192];
        assert_eq!(b.read(&mut out), 4096);
        assert_eq!(b.read(&mut out[..4]), 4);
        assert_eq!(b.read(&mut out), 10);
        assert!(b.is_empty());
    }

    #[test]
    fn take_and_put_back() {
        let mut b = Buffer::new(4);
        b.write(b"hello world", false);
        let (mut data, packet) = b.take(5).unwrap();
        assert_eq!(data, b"hello");
        b.put_back(data.split_off(2), packet);
        let mut out = [0; 32];
        let n = b.read(&mut out);
        assert_eq!(&out[..n], b"llo world");
        assert_eq!((b.used(), b.len()), (0, 0));
    }
}
