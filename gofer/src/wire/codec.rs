//! Reading and writing fixed-layout structures without alignment, length or padding surprises.

use super::MAX_MESSAGE;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A message that is not what the protocol allows. There is no recovery: the peer is broken or hostile.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed gofer message: {0}")]
pub struct Malformed(pub &'static str);

/// Takes structures and byte strings off the front of a message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// A cursor over the whole of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next structure, copied out: the buffer has no alignment to rely on.
    pub fn take<T: FromBytes>(&mut self) -> Result<T, Malformed> {
        let (value, rest) =
            T::read_from_prefix(self.0).map_err(|_| Malformed("structure cut short"))?;
        self.0 = rest;
        Ok(value)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Malformed("tail cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes after the end"))
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Builds one message in a buffer that is reused from message to message.
#[derive(Debug)]
pub struct Encoder {
    buf: Vec<u8>,
    overflow: bool,
}

impl Encoder {
    /// An empty message.
    pub fn new() -> Self {
        Self {
            buf: Vec::with_capacity(512),
            overflow: false,
        }
    }

    /// Starts the next message.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.overflow = false;
    }

    /// Appends a structure.
    pub fn put<T: IntoBytes + Immutable>(&mut self, value: &T) {
        self.put_bytes(value.as_bytes());
    }

    /// Appends bytes. What would make the message too long is left out, and [`Encoder::finish`] then fails.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        if bytes.len() > self.room() {
            self.overflow = true;
        } else {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// How many bytes still fit.
    pub fn room(&self) -> usize {
        MAX_MESSAGE.saturating_sub(self.buf.len())
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was put.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Cuts the message back to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
        self.overflow = false;
    }

    /// Overwrites a structure that was put before at `offset`.
    pub fn patch<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) {
        let bytes = value.as_bytes();
        if let Some(place) = self
            .buf
            .get_mut(offset..)
            .and_then(|tail| tail.get_mut(..bytes.len()))
        {
            place.copy_from_slice(bytes);
        }
    }

    /// The length as the header wants it, unless something did not fit.
    pub fn finish(&self) -> Result<u32, Malformed> {
        if self.overflow {
            return Err(Malformed("message too long"));
        }
        u32::try_from(self.buf.len()).map_err(|_| Malformed("message too long"))
    }

    /// The message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}
