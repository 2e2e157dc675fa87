//! What the sentry asks: the operations and their arguments.

use super::args::{Access, Name, Names, Owner, ReadDirFlags, RenameFlags, SocketKind, WalkFlags};
use super::{Cursor, SetAttr};
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

/// A request, decoded or to be encoded.
#[derive(Copy, Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are the arguments of the operations' namesakes in Linux"
)]
pub enum Request<'a> {
    /// [`Op::Hello`]
    Hello { version: u32 },
    /// [`Op::AddChannel`]
    AddChannel,
    /// [`Op::Close`]
    Close,
    /// [`Op::Walk`]
    Walk {
        dir: u64,
        flags: WalkFlags,
        access: Access,
        names: Names<'a>,
    },
    /// [`Op::GetAttr`]
    GetAttr { node: u64 },
    /// [`Op::SetAttr`]
    SetAttr { node: u64, set: SetAttr },
    /// [`Op::Open`]
    Open { node: u64, access: Access },
    /// [`Op::Create`]
    Create {
        dir: u64,
        access: Access,
        owner: Owner,
        name: Name<'a>,
    },
    /// [`Op::TmpFile`]
    TmpFile {
        dir: u64,
        access: Access,
        owner: Owner,
    },
    /// [`Op::MkDir`]
    MkDir {
        dir: u64,
        owner: Owner,
        name: Name<'a>,
    },
    /// [`Op::MkNod`]; `file_type` is one of `S_IFIFO`, `S_IFSOCK`, `S_IFCHR`, `S_IFBLK`
    MkNod {
        dir: u64,
        owner: Owner,
        file_type: u32,
        major: u32,
        minor: u32,
        name: Name<'a>,
    },
    /// [`Op::Symlink`]
    Symlink {
        dir: u64,
        uid: u32,
        gid: u32,
        name: Name<'a>,
        target: &'a [u8],
    },
    /// [`Op::Link`]
    Link { node: u64, dir: u64, name: Name<'a> },
    /// [`Op::Unlink`]; `rmdir` as `AT_REMOVEDIR`
    Unlink {
        dir: u64,
        rmdir: bool,
        name: Name<'a>,
    },
    /// [`Op::Rename`]
    Rename {
        old_dir: u64,
        old_name: Name<'a>,
        new_dir: u64,
        new_name: Name<'a>,
        flags: RenameFlags,
    },
    /// [`Op::ReadLink`]
    ReadLink { node: u64 },
    /// [`Op::ReadDir`]; `cookie` 0 is the start, else that of the last entry seen; `max` entries, or 0 for as many as fit
    ReadDir {
        node: u64,
        cookie: u64,
        flags: ReadDirFlags,
        max: u32,
    },
    /// [`Op::GetXattr`]
    GetXattr { node: u64, name: &'a [u8] },
    /// [`Op::SetXattr`]; `flags` as `XATTR_CREATE` (1), `XATTR_REPLACE` (2)
    SetXattr {
        node: u64,
        flags: u32,
        name: &'a [u8],
        value: &'a [u8],
    },
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
    Bind {
        dir: u64,
        kind: SocketKind,
        owner: Owner,
        name: Name<'a>,
    },
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
}

/// The node ids that rode along with a request.
#[derive(Copy, Clone, Debug)]
pub struct Closes<'a>(pub(super) &'a [u8]);

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
