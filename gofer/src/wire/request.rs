//! What the sentry asks: operations, their bodies, and the strict decoder the server runs on every message.

use super::codec::{Cursor, Encoder, Malformed};
use super::{MAX_CLOSES, MAX_NAME, MAX_TARGET, MAX_WALK, MAX_XATTR, MAX_XATTR_NAME, SetAttr};
use abi::Errno;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Starts every request.
#[derive(Copy, Clone, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RequestHeader {
    /// Bytes of the message, this header and the closes included.
    pub len: u32,
    /// An [`Op`].
    pub op: u16,
    /// How many node ids to close stand at the end.
    pub closes: u16,
}

macro_rules! ops {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal,)*) => {
        /// The operations.
        #[derive(Copy, Clone, Debug, Eq, PartialEq)]
        #[repr(u16)]
        pub enum Op { $($(#[doc = $doc])* $name = $number,)* }

        impl Op {
            /// Every operation, for tests and listings.
            pub const ALL: &'static [Op] = &[$(Op::$name,)*];

            /// The operation of a number.
            pub const fn from_raw(raw: u16) -> Option<Op> {
                match raw { $($number => Some(Op::$name),)* _ => None }
            }

            /// Its number.
            pub const fn raw(self) -> u16 {
                match self { $(Op::$name => $number,)* }
            }
        }
    };
}

ops! {
    /// The first message: versions are compared, the mounts are told.
    Hello = 1,
    /// One more connection, answered with its descriptor.
    AddChannel = 2,
    /// Nothing but the closes; the only request without a reply.
    Close = 3,
    /// Walk down by names, optionally opening what is at the end.
    Walk = 4,
    /// Attributes of a node.
    GetAttr = 5,
    /// Change attributes of a node.
    SetAttr = 6,
    /// A descriptor for a node's data.
    Open = 7,
    /// Make a regular file and open it.
    Create = 8,
    /// Make a file without a name and open it.
    TmpFile = 9,
    /// Make a directory.
    MkDir = 10,
    /// Make a FIFO, a socket file, or (where permitted) a device.
    MkNod = 11,
    /// Make a symbolic link.
    Symlink = 12,
    /// Give a file one more name.
    Link = 13,
    /// Take a name away.
    Unlink = 14,
    /// Move a name.
    Rename = 15,
    /// Target of a symbolic link.
    ReadLink = 16,
    /// Entries of a directory.
    ReadDir = 17,
    /// One extended attribute.
    GetXattr = 18,
    /// Set one.
    SetXattr = 19,
    /// Names of all.
    ListXattr = 20,
    /// Remove one.
    RemoveXattr = 21,
    /// The file system's numbers.
    StatFs = 22,
    /// Write a directory (or a file without a descriptor) back.
    Fsync = 23,
    /// Connect to a host Unix socket.
    Connect = 24,
    /// Bind a host Unix socket.
    Bind = 25,
}

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

    fn from_raw(raw: u32) -> Result<Access, Malformed> {
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
    const fn raw(self) -> u32 {
        match self {
            SocketKind::Stream => 1,
            SocketKind::Datagram => 2,
            SocketKind::SeqPacket => 5,
        }
    }

    fn from_raw(raw: u32) -> Result<SocketKind, Malformed> {
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
        if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|&b| b == b'/' || b == 0) {
            return Err(Errno::EINVAL);
        }
        Ok(Name(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    fn decode(bytes: &'a [u8]) -> Result<Name<'a>, Malformed> {
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
        list.iter().copied().chain(core::iter::from_fn(move || next_name(&mut cursor).ok()))
    }

    fn decode(cursor: &mut Cursor<'a>, count: usize) -> Result<Names<'a>, Malformed> {
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
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
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
    fn check(self) -> Result<Owner, Malformed> {
        if self.mode & !0o7777 != 0 {
            return Err(Malformed("mode bits beyond permissions"));
        }
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(Malformed("invalid owner"));
        }
        Ok(self)
    }
}

/// A request, decoded or to be encoded.
#[derive(Copy, Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the arguments of the operations' namesakes in Linux")]
pub enum Request<'a> {
    /// [`Op::Hello`]
    Hello { version: u32 },
    /// [`Op::AddChannel`]
    AddChannel,
    /// [`Op::Close`]
    Close,
    /// [`Op::Walk`]
    Walk { dir: u64, flags: WalkFlags, access: Access, names: Names<'a> },
    /// [`Op::GetAttr`]
    GetAttr { node: u64 },
    /// [`Op::SetAttr`]
    SetAttr { node: u64, set: SetAttr },
    /// [`Op::Open`]
    Open { node: u64, access: Access },
    /// [`Op::Create`]
    Create { dir: u64, access: Access, owner: Owner, name: Name<'a> },
    /// [`Op::TmpFile`]
    TmpFile { dir: u64, access: Access, owner: Owner },
    /// [`Op::MkDir`]
    MkDir { dir: u64, owner: Owner, name: Name<'a> },
    /// [`Op::MkNod`]; `file_type` is one of `S_IFIFO`, `S_IFSOCK`, `S_IFCHR`, `S_IFBLK`
    MkNod { dir: u64, owner: Owner, file_type: u32, major: u32, minor: u32, name: Name<'a> },
    /// [`Op::Symlink`]
    Symlink { dir: u64, uid: u32, gid: u32, name: Name<'a>, target: &'a [u8] },
    /// [`Op::Link`]
    Link { node: u64, dir: u64, name: Name<'a> },
    /// [`Op::Unlink`]; `rmdir` as `AT_REMOVEDIR`
    Unlink { dir: u64, rmdir: bool, name: Name<'a> },
    /// [`Op::Rename`]
    Rename { old_dir: u64, old_name: Name<'a>, new_dir: u64, new_name: Name<'a>, flags: RenameFlags },
    /// [`Op::ReadLink`]
    ReadLink { node: u64 },
    /// [`Op::ReadDir`]; `cookie` 0 is the start, else that of the last entry seen
    ReadDir { node: u64, cookie: u64, flags: ReadDirFlags },
    /// [`Op::GetXattr`]
    GetXattr { node: u64, name: &'a [u8] },
    /// [`Op::SetXattr`]; `flags` as `XATTR_CREATE` (1), `XATTR_REPLACE` (2)
    SetXattr { node: u64, flags: u32, name: &'a [u8], value: &'a [u8] },
    /// [`Op::ListXattr`]
    ListXattr { node: u64 },
    /// [`Op::RemoveXattr`]
    RemoveXattr { node: u64, name: &'a [u8] },
    /// [`Op::StatFs`]
    StatFs { node: u64 },
    /// [`Op::Fsync`]
    Fsync { node: u64 },
    /// [`Op::Connect`]
    Connect { node: u64, kind: SocketKind },
    /// [`Op::Bind`]; listening is the caller's
    Bind { dir: u64, kind: SocketKind, owner: Owner, name: Name<'a> },
}

/// The one fixed body all operations share: what an operation does not use is zero. 80 bytes on a socket cost nothing
/// next to the wake-up, and one layout is one decoder.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Body {
    node: u64,
    node2: u64,
    cookie: u64,
    flags: u32,
    access: u32,
    owner: Owner,
    kind: u32,
    major: u32,
    minor: u32,
    /// Length of the first of two strings in the tail, or the number of names.
    split: u32,
    zero: u32,
}

fn xattr_name(name: &[u8]) -> Result<&[u8], Malformed> {
    if name.is_empty() || name.len() > MAX_XATTR_NAME || name.contains(&0) {
        return Err(Malformed("not an attribute name"));
    }
    Ok(name)
}

fn split<'a>(cursor: &mut Cursor<'a>, body: &Body) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let first = usize::try_from(body.split).map_err(|_| Malformed("tail cut short"))?;
    let first = cursor.bytes(first)?;
    Ok((first, cursor.rest()))
}

fn flag(raw: u32) -> Result<bool, Malformed> {
    match raw {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("unknown flag bits")),
    }
}

impl<'a> Request<'a> {
    /// Which operation it is.
    pub const fn op(&self) -> Op {
        match self {
            Request::Hello { .. } => Op::Hello,
            Request::AddChannel => Op::AddChannel,
            Request::Close => Op::Close,
            Request::Walk { .. } => Op::Walk,
            Request::GetAttr { .. } => Op::GetAttr,
            Request::SetAttr { .. } => Op::SetAttr,
            Request::Open { .. } => Op::Open,
            Request::Create { .. } => Op::Create,
            Request::TmpFile { .. } => Op::TmpFile,
            Request::MkDir { .. } => Op::MkDir,
            Request::MkNod { .. } => Op::MkNod,
            Request::Symlink { .. } => Op::Symlink,
            Request::Link { .. } => Op::Link,
            Request::Unlink { .. } => Op::Unlink,
            Request::Rename { .. } => Op::Rename,
            Request::ReadLink { .. } => Op::ReadLink,
            Request::ReadDir { .. } => Op::ReadDir,
            Request::GetXattr { .. } => Op::GetXattr,
            Request::SetXattr { .. } => Op::SetXattr,
            Request::ListXattr { .. } => Op::ListXattr,
            Request::RemoveXattr { .. } => Op::RemoveXattr,
            Request::StatFs { .. } => Op::StatFs,
            Request::Fsync { .. } => Op::Fsync,
            Request::Connect { .. } => Op::Connect,
            Request::Bind { .. } => Op::Bind,
        }
    }

    /// Writes the message, with `closes` (at most [`MAX_CLOSES`]) riding along. Fails only if it would be too long.
    pub fn encode(&self, out: &mut Encoder, closes: &[u64]) -> Result<(), Malformed> {
        out.clear();
        out.put(&RequestHeader::default());
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| Malformed("tail too long"));
        let mut body = Body::default();
        let mut tail: [&[u8]; 2] = [&[], &[]];
        match *self {
            Request::Hello { version } => body.flags = version,
            Request::AddChannel | Request::Close => {}
            Request::Walk { dir, flags, access, names } => {
                (body.node, body.flags, body.access) = (dir, flags.bits(), access.raw());
                body.split = u32::try_from(names.len()).map_err(|_| Malformed("too many names"))?;
            }
            Request::GetAttr { node } | Request::ReadLink { node } | Request::ListXattr { node } | Request::StatFs { node } | Request::Fsync { node } => body.node = node,
            Request::SetAttr { node, .. } => body.node = node,
            Request::Open { node, access } => (body.node, body.access) = (node, access.raw()),
            Request::Create { dir, access, owner, name } => {
                (body.node, body.access, body.owner) = (dir, access.raw(), owner);
                tail = [name.as_bytes(), &[]];
            }
            Request::TmpFile { dir, access, owner } => (body.node, body.access, body.owner) = (dir, access.raw(), owner),
            Request::MkDir { dir, owner, name } => {
                (body.node, body.owner) = (dir, owner);
                tail = [name.as_bytes(), &[]];
            }
            Request::MkNod { dir, owner, file_type, major, minor, name } => {
                (body.node, body.owner, body.kind, body.major, body.minor) = (dir, owner, file_type, major, minor);
                tail = [name.as_bytes(), &[]];
            }
            Request::Symlink { dir, uid, gid, name, target } => {
                (body.node, body.owner) = (dir, Owner { mode: 0, uid, gid });
                (body.split, tail) = (len(name.as_bytes())?, [name.as_bytes(), target]);
            }
            Request::Link { node, dir, name } => {
                (body.node, body.node2) = (node, dir);
                tail = [name.as_bytes(), &[]];
            }
            Request::Unlink { dir, rmdir, name } => {
                (body.node, body.flags) = (dir, u32::from(rmdir));
                tail = [name.as_bytes(), &[]];
            }
            Request::Rename { old_dir, old_name, new_dir, new_name, flags } => {
                (body.node, body.node2, body.flags) = (old_dir, new_dir, flags.bits());
                (body.split, tail) = (len(old_name.as_bytes())?, [old_name.as_bytes(), new_name.as_bytes()]);
            }
            Request::ReadDir { node, cookie, flags } => (body.node, body.cookie, body.flags) = (node, cookie, flags.bits()),
            Request::GetXattr { node, name } | Request::RemoveXattr { node, name } => (body.node, tail) = (node, [name, &[]]),
            Request::SetXattr { node, flags, name, value } => {
                (body.node, body.flags) = (node, flags);
                (body.split, tail) = (len(name)?, [name, value]);
            }
            Request::Connect { node, kind } => (body.node, body.kind) = (node, kind.raw()),
            Request::Bind { dir, kind, owner, name } => {
                (body.node, body.kind, body.owner) = (dir, kind.raw(), owner);
                tail = [name.as_bytes(), &[]];
            }
        }
        out.put(&body);
        match self {
            Request::SetAttr { set, .. } => out.put(set),
            Request::Walk { names, .. } => {
                for name in names.iter() {
                    out.put(&u16::try_from(name.as_bytes().len()).map_err(|_| Malformed("name too long"))?);
                    out.put_bytes(name.as_bytes());
                }
            }
            _ => tail.iter().for_each(|bytes| out.put_bytes(bytes)),
        }
        closes.iter().for_each(|id| out.put(id));
        let closes = u16::try_from(closes.len()).map_err(|_| Malformed("too many closes"))?;
        if usize::from(closes) > MAX_CLOSES {
            return Err(Malformed("too many closes"));
        }
        let header = RequestHeader { len: out.finish()?, op: self.op().raw(), closes };
        out.patch(0, &header);
        Ok(())
    }

    /// Reads a message, strictly: whatever this returns is in range, and re-encodes to the same bytes.
    pub fn decode(message: &'a [u8]) -> Result<(Request<'a>, Closes<'a>), Malformed> {
        let mut cursor = Cursor::new(message);
        let header: RequestHeader = cursor.take()?;
        if usize::try_from(header.len) != Ok(message.len()) {
            return Err(Malformed("length differs from the header's"));
        }
        let op = Op::from_raw(header.op).ok_or(Malformed("unknown operation"))?;
        let count = usize::from(header.closes);
        if count > MAX_CLOSES {
            return Err(Malformed("too many closes"));
        }
        let b: Body = cursor.take()?;
        let tail = cursor.rest();
        let at = tail.len().checked_sub(count.saturating_mul(8)).ok_or(Malformed("closes cut short"))?;
        let (tail, closes) = tail.split_at_checked(at).ok_or(Malformed("closes cut short"))?;
        let mut cursor = Cursor::new(tail);
        let c = &mut cursor;
        let request = match op {
            Op::Hello => Request::Hello { version: b.flags },
            Op::AddChannel => Request::AddChannel,
            Op::Close => Request::Close,
            Op::Walk => Request::Walk {
                dir: b.node,
                flags: WalkFlags::from_bits(b.flags).ok_or(Malformed("unknown walk flags"))?,
                access: Access::from_raw(b.access)?,
                names: Names::decode(c, usize::try_from(b.split).map_err(|_| Malformed("too many names"))?)?,
            },
            Op::GetAttr => Request::GetAttr { node: b.node },
            Op::SetAttr => {
                let set: SetAttr = c.take()?;
                set.check()?;
                Request::SetAttr { node: b.node, set }
            }
            Op::Open => Request::Open { node: b.node, access: Access::from_raw(b.access)? },
            Op::Create => {
                Request::Create { dir: b.node, access: Access::from_raw(b.access)?, owner: b.owner.check()?, name: Name::decode(c.rest())? }
            }
            Op::TmpFile => Request::TmpFile { dir: b.node, access: Access::from_raw(b.access)?, owner: b.owner.check()? },
            Op::MkDir => Request::MkDir { dir: b.node, owner: b.owner.check()?, name: Name::decode(c.rest())? },
            Op::MkNod => {
                if !matches!(b.kind, 0o010_000 | 0o020_000 | 0o060_000 | 0o140_000) {
                    return Err(Malformed("not a type for mknod"));
                }
                Request::MkNod { dir: b.node, owner: b.owner.check()?, file_type: b.kind, major: b.major, minor: b.minor, name: Name::decode(c.rest())? }
            }
            Op::Symlink => {
                let (name, target) = split(c, &b)?;
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                    return Err(Malformed("not a link target"));
                }
                let owner = b.owner.check()?;
                Request::Symlink { dir: b.node, uid: owner.uid, gid: owner.gid, name: Name::decode(name)?, target }
            }
            Op::Link => Request::Link { node: b.node, dir: b.node2, name: Name::decode(c.rest())? },
            Op::Unlink => Request::Unlink { dir: b.node, rmdir: flag(b.flags)?, name: Name::decode(c.rest())? },
            Op::Rename => {
                let (old_name, new_name) = split(c, &b)?;
                let flags = RenameFlags::from_bits(b.flags).ok_or(Malformed("unknown rename flags"))?;
                Request::Rename { old_dir: b.node, old_name: Name::decode(old_name)?, new_dir: b.node2, new_name: Name::decode(new_name)?, flags }
            }
            Op::ReadLink => Request::ReadLink { node: b.node },
            Op::ReadDir => {
                // The cookie becomes a file offset, which is signed.
                if i64::try_from(b.cookie).is_err() {
                    return Err(Malformed("cookie out of range"));
                }
                Request::ReadDir { node: b.node, cookie: b.cookie, flags: ReadDirFlags::from_bits(b.flags).ok_or(Malformed("unknown readdir flags"))? }
            }
            Op::GetXattr => Request::GetXattr { node: b.node, name: xattr_name(c.rest())? },
            Op::SetXattr => {
                let (name, value) = split(c, &b)?;
                if b.flags > 2 || value.len() > MAX_XATTR {
                    return Err(Malformed("unknown flag bits"));
                }
                Request::SetXattr { node: b.node, flags: b.flags, name: xattr_name(name)?, value }
            }
            Op::ListXattr => Request::ListXattr { node: b.node },
            Op::RemoveXattr => Request::RemoveXattr { node: b.node, name: xattr_name(c.rest())? },
            Op::StatFs => Request::StatFs { node: b.node },
            Op::Fsync => Request::Fsync { node: b.node },
            Op::Connect => Request::Connect { node: b.node, kind: SocketKind::from_raw(b.kind)? },
            Op::Bind => Request::Bind { dir: b.node, kind: SocketKind::from_raw(b.kind)?, owner: b.owner.check()?, name: Name::decode(c.rest())? },
        };
        cursor.end()?;
        request.check_unused(&b)?;
        Ok((request, Closes(closes)))
    }

    /// What an operation does not use must be zero: rebuild the body from what was understood and compare.
    fn check_unused(&self, body: &Body) -> Result<(), Malformed> {
        let mut used = Body::default();
        used.node = if matches!(self, Request::Hello { .. } | Request::AddChannel | Request::Close) { 0 } else { body.node };
        match self {
            Request::Hello { .. } | Request::Unlink { .. } => used.flags = body.flags,
            Request::Walk { .. } => (used.flags, used.access, used.split) = (body.flags, body.access, body.split),
            Request::Open { .. } => used.access = body.access,
            Request::Create { .. } | Request::TmpFile { .. } => (used.access, used.owner) = (body.access, body.owner),
            Request::MkDir { .. } => used.owner = body.owner,
            Request::MkNod { .. } => (used.owner, used.kind, used.major, used.minor) = (body.owner, body.kind, body.major, body.minor),
            Request::Symlink { .. } => {
                (used.owner, used.split) = (body.owner, body.split);
                used.owner.mode = 0;
            }
            Request::Link { .. } => used.node2 = body.node2,
            Request::Rename { .. } => (used.node2, used.flags, used.split) = (body.node2, body.flags, body.split),
            Request::ReadDir { .. } => (used.cookie, used.flags) = (body.cookie, body.flags),
            Request::SetXattr { .. } => (used.flags, used.split) = (body.flags, body.split),
            Request::Connect { .. } => used.kind = body.kind,
            Request::Bind { .. } => (used.kind, used.owner) = (body.kind, body.owner),
            Request::AddChannel
            | Request::Close
            | Request::GetAttr { .. }
            | Request::SetAttr { .. }
            | Request::ReadLink { .. }
            | Request::GetXattr { .. }
            | Request::ListXattr { .. }
            | Request::RemoveXattr { .. }
            | Request::StatFs { .. }
            | Request::Fsync { .. } => {}
        }
        if used == *body { Ok(()) } else { Err(Malformed("a field that is not used is not zero")) }
    }
}

/// The node ids that rode along with a request.
#[derive(Copy, Clone, Debug)]
pub struct Closes<'a>(&'a [u8]);

impl<'a> Closes<'a> {
    /// Goes through the ids.
    pub fn iter(&self) -> ClosesIter<'a> {
        ClosesIter(Cursor::new(self.0))
    }
}

impl<'a> IntoIterator for Closes<'a> {
    type Item = u64;
    type IntoIter = ClosesIter<'a>;
    fn into_iter(self) -> ClosesIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Closes`].
#[derive(Copy, Clone, Debug)]
pub struct ClosesIter<'a>(Cursor<'a>);

impl Iterator for ClosesIter<'_> {
    type Item = u64;
    fn next(&mut self) -> Option<u64> {
        self.0.take().ok()
    }
}
