//! What requests are made of: names, owners, flags. A value of these types is valid; `decode` makes none that is not.

use super::MAX_NAME;
use super::MAX_WALK;
use super::codec::{Cursor, Malformed};
use abi::Errno;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How data is to be opened.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY`
    Write,
    /// `O_RDWR`
    ReadWrite,
}

impl Access {
    /// `O_ACCMODE` value.
    pub const fn raw(self) -> u32 {
        match self {
            Access::Read => 0,
            Access::Write => 1,
            Access::ReadWrite => 2,
        }
    }

    pub(super) fn from_raw(raw: u32) -> Result<Access, Malformed> {
        match raw {
            0 => Ok(Access::Read),
            1 => Ok(Access::Write),
            2 => Ok(Access::ReadWrite),
            _ => Err(Malformed("unknown access mode")),
        }
    }

    /// Whether it writes.
    pub const fn writes(self) -> bool {
        !matches!(self, Access::Read)
    }
}

/// Type of a host Unix socket.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SocketKind {
    /// `SOCK_STREAM`
    Stream,
    /// `SOCK_DGRAM`
    Datagram,
    /// `SOCK_SEQPACKET`
    SeqPacket,
}

impl SocketKind {
    pub(super) const fn raw(self) -> u32 {
        match self {
            SocketKind::Stream => 1,
            SocketKind::Datagram => 2,
            SocketKind::SeqPacket => 5,
        }
    }

    pub(super) fn from_raw(raw: u32) -> Result<SocketKind, Malformed> {
        match raw {
            1 => Ok(SocketKind::Stream),
            2 => Ok(SocketKind::Datagram),
            5 => Ok(SocketKind::SeqPacket),
            _ => Err(Malformed("unknown socket type")),
        }
    }
}

bitflags! {
    /// What a walk does at its end.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
    pub struct WalkFlags: u32 {
        /// Open the last component if it is a regular file.
        const OPEN = 1;
        /// If the walk ends at a symbolic link, send its target along.
        const TARGET = 2;
    }
}

bitflags! {
    /// How a directory is read.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
    pub struct ReadDirFlags: u32 {
        /// Send the attributes of every entry.
        const ATTRS = 1;
        /// Send a node with every entry; its attributes come with it.
        const NODES = 2;
    }
}

bitflags! {
    /// Flags of `renameat2(2)`.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name exists.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
        /// Leave a whiteout at the old name.
        const WHITEOUT = 4;
    }
}

/// One component of a path: not empty, not `.` or `..`, no `/`, no NUL, at most [`MAX_NAME`] bytes. The only way a name
/// reaches the host.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks a name.
    pub fn new(bytes: &'a [u8]) -> Result<Name<'a>, Errno> {
        if bytes.len() > MAX_NAME {
            return Err(Errno::ENAMETOOLONG);
        }
        if bytes.is_empty()
            || bytes == b"."
            || bytes == b".."
            || bytes.iter().any(|&b| b == b'/' || b == 0)
        {
            return Err(Errno::EINVAL);
        }
        Ok(Name(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn decode(bytes: &'a [u8]) -> Result<Name<'a>, Malformed> {
        Name::new(bytes).map_err(|_| Malformed("not a single path component"))
    }
}

/// The names of a walk: a list to send, or packed as received.
#[derive(Copy, Clone, Debug)]
pub enum Names<'a> {
    /// To be sent.
    List(&'a [Name<'a>]),
    /// As received and checked: each name after its length in two bytes.
    Packed(&'a [u8], usize),
}

impl<'a> Names<'a> {
    /// How many.
    pub const fn len(&self) -> usize {
        match self {
            Names::List(list) => list.len(),
            Names::Packed(_, count) => *count,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = Name<'a>> {
        let (list, packed) = match *self {
            Names::List(list) => (list, &[] as &[u8]),
            Names::Packed(packed, _) => (&[] as &[Name<'a>], packed),
        };
        let mut cursor = Cursor::new(packed);
        list.iter()
            .copied()
            .chain(core::iter::from_fn(move || next_name(&mut cursor).ok()))
    }

    pub(super) fn decode(cursor: &mut Cursor<'a>, count: usize) -> Result<Names<'a>, Malformed> {
        if count > MAX_WALK {
            return Err(Malformed("too many names"));
        }
        let packed = cursor.rest();
        let mut check = Cursor::new(packed);
        for _ in 0..count {
            next_name(&mut check)?;
        }
        check.end()?;
        Ok(Names::Packed(packed, count))
    }
}

impl PartialEq for Names<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn next_name<'a>(cursor: &mut Cursor<'a>) -> Result<Name<'a>, Malformed> {
    let len: u16 = cursor.take()?;
    Name::decode(cursor.bytes(usize::from(len))?)
}

/// Who is to own a new file, and with which permission bits: what the sentry decided, set explicitly by the server.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Owner {
    /// Permission bits, the caller's umask already applied.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    pub(super) fn check(self) -> Result<Owner, Malformed> {
        if self.mode & !0o7777 != 0 {
            return Err(Malformed("mode bits beyond permissions"));
        }
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(Malformed("invalid owner"));
        }
        Ok(self)
    }
}
