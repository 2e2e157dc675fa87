//! The bytes on their way from one end of a connection to the other.
//!
//! A queue of chunks rather than a ring: a large copy happens into, or out of, a chunk that the queue has handed out, with the connection
//! unlocked; only pointers move under the lock.

use std::collections::VecDeque;

/// The largest chunk.
pub const CHUNK: usize = 64 << 10;
/// Copies up to this size are made under the lock: cheaper than handing a chunk over.
pub const SMALL: usize = 4096;
/// Chunks kept for the next writer.
const SPARES: usize = 4;

/// Some bytes, the first `start` of which have been read.
#[derive(Debug, Default)]
pub struct Chunk {
    data: Vec<u8>,
    start: usize,
}

impl Chunk {
    /// What has not been read.
    pub fn rest(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or_default()
    }

    /// Counts bytes as read.
    pub fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.data.len());
    }
}

/// A byte queue.
#[derive(Debug, Default)]
pub struct Queue {
    chunks: VecDeque<Chunk>,
    len: usize,
    /// Bytes read so far.
    read: u64,
    spares: Vec<Vec<u8>>,
}

impl Queue {
    /// Bytes in the queue, those of a chunk that is being read included.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The place in the stream of the next byte to be read.
    pub fn position(&self) -> u64 {
        self.read
    }

    /// The place after the last byte.
    pub fn end(&self) -> u64 {
        self.read.saturating_add(self.len as u64)
    }

    /// Reads bytes of the first chunk without looking at them.
    pub fn skip(&mut self, count: usize) {
        if let Some(chunk) = self.take_front() {
            let count = count.min(chunk.rest().len());
            self.put_back(chunk, count);
        }
    }

    /// Copies a few bytes in.
    pub fn append(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len());
        if let Some(last) = self.chunks.back_mut()
            && last.data.capacity().saturating_sub(last.data.len()) >= bytes.len()
        {
            last.data.extend_from_slice(bytes);
            return;
        }
        // A lone message gets what it needs, one of a series gets room for its successors.
        let capacity = if self.chunks.is_empty() {
            bytes.len()
        } else {
            bytes.len().max(SMALL)
        };
        let mut data = Vec::with_capacity(capacity);
        data.extend_from_slice(bytes);
        self.chunks.push_back(Chunk { data, start: 0 });
    }

    /// An empty buffer to fill with up to [`CHUNK`] bytes for [`Queue::push`].
    pub fn spare(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// Adds a filled buffer.
    pub fn push(&mut self, data: Vec<u8>) {
        self.len = self.len.saturating_add(data.len());
        self.chunks.push_back(Chunk { data, start: 0 });
    }

    /// The first chunk, for reading; [`Queue::put_back`] follows. Until then its bytes count as queued.
    pub fn take_front(&mut self) -> Option<Chunk> {
        self.chunks.pop_front()
    }

    /// Returns what [`Queue::take_front`] gave, of which `read` bytes were read.
    pub fn put_back(&mut self, mut chunk: Chunk, read: usize) {
        chunk.advance(read);
        self.len = self.len.saturating_sub(read);
        self.read = self.read.saturating_add(read as u64);
        if !chunk.rest().is_empty() {
            self.chunks.push_front(chunk);
        } else if chunk.data.capacity() >= CHUNK && self.spares.len() < SPARES {
            chunk.data.clear();
            self.spares.push(chunk.data);
        }
    }

    /// Copies bytes out without reading them, from `skip` bytes on.
    pub fn peek(&self, buf: &mut [u8], mut skip: usize) -> usize {
        let mut rest = &mut *buf;
        let mut copied: usize = 0;
        for chunk in &self.chunks {
            let (skipped, from) = chunk.rest().split_at(skip.min(chunk.rest().len()));
            skip = skip.saturating_sub(skipped.len());
            let count = from.len().min(rest.len());
            let (to, after) = rest.split_at_mut(count);
            to.copy_from_slice(from.get(..count).unwrap_or_default());
            copied = copied.saturating_add(count);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        copied
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Queue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut queue = Queue::default();
        for n in 0..100u8 {
            if n % 10 == 9 {
                queue.push(vec![n; 3])
            } else {
                queue.append(&[n; 3])
            }
        }
        let mut peeked = vec![0; 400];
        assert_eq!((queue.peek(&mut peeked, 0), queue.len()), (300, 300));
        let mut read = vec![];
        while let Some(chunk) = queue.take_front() {
            let count = chunk.rest().len().min(7);
            read.extend_from_slice(&chunk.rest()[..count]);
            queue.put_back(chunk, count);
        }
        let expected: Vec<u8> = (0..100).flat_map(|n| [n; 3]).collect();
        assert_eq!(
            (&read, &peeked[..300], queue.len()),
            (&expected, &expected[..], 0)
        );
    }

    #[test]
    fn large_buffers_are_used_again() {
        let mut queue = Queue::default();
        queue.push(Vec::with_capacity(CHUNK));
        let chunk = queue.take_front().unwrap();
        queue.put_back(chunk, 0);
        assert_eq!(queue.spare().capacity(), CHUNK);
        assert_eq!(queue.spare().capacity(), 0);
    }
}
