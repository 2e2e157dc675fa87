//! What the gofer answers, and the strict decoder the client runs on every answer.

use super::codec::{Cursor, Encoder, Malformed};
use super::{Attr, MAX_MOUNTS, MAX_NAME, MAX_TARGET, MAX_WALK, MountFlags, NodeInfo, Op, VERSION};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Starts every reply.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ReplyHeader {
    /// Bytes of the message, this header included.
    pub len: u32,
    /// 0, or an error number below 4096; then nothing follows.
    pub errno: u32,
    /// The operation that is answered.
    pub op: u16,
    /// Descriptors that come along: 0 or 1.
    pub fds: u16,
    /// Zero.
    pub zero: u32,
}

impl ReplyHeader {
    /// Checks the header of an answer to `op` that came with `fds` descriptors; what is left is the body.
    pub fn decode(
        message: &[u8],
        op: Op,
        fds: usize,
    ) -> Result<(Result<(), i32>, Cursor<'_>), Malformed> {
        let mut cursor = Cursor::new(message);
        let header: ReplyHeader = cursor.take()?;
        if usize::try_from(header.len) != Ok(message.len()) {
            return Err(Malformed("length differs from the header's"));
        }
        if header.op != op.raw() {
            return Err(Malformed("answer to another operation"));
        }
        if usize::from(header.fds) != fds || fds > 1 {
            return Err(Malformed("wrong number of descriptors"));
        }
        if header.zero != 0 {
            return Err(Malformed("a field that is not used is not zero"));
        }
        if header.errno == 0 {
            return Ok((Ok(()), cursor));
        }
        let errno = i32::try_from(header.errno)
            .ok()
            .filter(|&e| e < 4096)
            .ok_or(Malformed("error number out of range"))?;
        if fds != 0 || !cursor.is_empty() {
            return Err(Malformed("an error with a body"));
        }
        Ok((Err(errno), cursor))
    }
}

/// Answer to [`Op::Hello`]; `mounts` times [`HelloMount`] follow.
#[derive(Copy, Clone, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// [`VERSION`] of the server.
    pub version: u32,
    /// How many mounts follow.
    pub mounts: u32,
}

/// One mount: its root and what it is.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct HelloMount {
    /// The root.
    pub root: NodeInfo,
    /// A [`MountFlags`].
    pub flags: u32,
    /// Zero.
    pub zero: u32,
}

impl Hello {
    /// The mounts of an answer.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Vec<(NodeInfo, MountFlags)>, Malformed> {
        let head: Hello = cursor.take()?;
        if head.version != VERSION {
            return Err(Malformed("another version of the protocol"));
        }
        let count = usize::try_from(head.mounts)
            .ok()
            .filter(|&n| n <= MAX_MOUNTS)
            .ok_or(Malformed("too many mounts"))?;
        let mut mounts = Vec::with_capacity(count);
        for _ in 0..count {
            let mount: HelloMount = cursor.take()?;
            mount.root.check()?;
            let flags =
                MountFlags::from_bits(mount.flags).ok_or(Malformed("unknown mount flags"))?;
            if mount.zero != 0 {
                return Err(Malformed("a field that is not used is not zero"));
            }
            mounts.push((mount.root, flags));
        }
        Ok(mounts)
    }
}

/// Answer to [`Op::Walk`]: this, `count` times [`NodeInfo`], then `target_len` bytes of link target.
#[derive(Copy, Clone, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WalkHead {
    /// Components that exist and were walked.
    pub count: u32,
    /// Why the walk went no further: 0 (it is complete), `ENOENT`, `ELOOP` (at a symbolic link that is not the last
    /// component), `ENOTDIR`, or what the host said.
    pub stop: u32,
    /// Error of the open that was asked for, 0 if there was none or it succeeded.
    pub open_errno: u32,
    /// Bytes of the link target of the last node.
    pub target_len: u32,
}

/// A walk as the client sees it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Walked {
    /// Nodes of the components that exist.
    pub nodes: Vec<NodeInfo>,
    /// Error number that stopped the walk.
    pub stop: Option<i32>,
    /// Error number of the open.
    pub open_errno: Option<i32>,
    /// Target of the symbolic link at the end.
    pub target: Option<Vec<u8>>,
}

fn errno(raw: u32) -> Result<Option<i32>, Malformed> {
    match i32::try_from(raw) {
        Ok(0) => Ok(None),
        Ok(errno) if errno < 4096 => Ok(Some(errno)),
        _ => Err(Malformed("error number out of range")),
    }
}

impl Walked {
    /// Reads the answer to a walk of `asked` names that came with `fds` descriptors.
    pub fn decode(
        cursor: &mut Cursor<'_>,
        asked: usize,
        open: bool,
        fds: usize,
    ) -> Result<Walked, Malformed> {
        let head: WalkHead = cursor.take()?;
        let count = usize::try_from(head.count)
            .ok()
            .filter(|&n| n <= asked.min(MAX_WALK))
            .ok_or(Malformed("more nodes than names"))?;
        let mut nodes = Vec::with_capacity(count);
        for _ in 0..count {
            let node: NodeInfo = cursor.take()?;
            node.check()?;
            nodes.push(node);
        }
        let (stop, open_errno) = (errno(head.stop)?, errno(head.open_errno)?);
        if (count == asked) != stop.is_none() {
            return Err(Malformed("a walk neither complete nor stopped"));
        }
        if fds != 0
            && (!open
                || stop.is_some()
                || open_errno.is_some()
                || !nodes.last().is_some_and(|node| node.attr.is_regular()))
        {
            return Err(Malformed("a descriptor for what was not opened"));
        }
        if open_errno.is_some() && (!open || stop.is_some()) {
            return Err(Malformed("an open that was not asked for"));
        }
        // All but the last must be directories, or there was nothing to walk in.
        let inner = nodes.len().saturating_sub(1);
        if nodes.iter().take(inner).any(|node| !node.attr.is_dir()) {
            return Err(Malformed("walked through what is not a directory"));
        }
        let target = match usize::try_from(head.target_len) {
            Ok(0) => None,
            Ok(len)
                if len <= MAX_TARGET && nodes.last().is_some_and(|node| node.attr.is_symlink()) =>
            {
                let target = cursor.bytes(len)?;
                if target.contains(&0) {
                    return Err(Malformed("not a link target"));
                }
                Some(target.to_vec())
            }
            _ => return Err(Malformed("not a link target")),
        };
        Ok(Walked {
            nodes,
            stop,
            open_errno,
            target,
        })
    }
}

/// Answer to [`Op::Create`] and its kin, and (with the id zero) to [`Op::Open`].
pub type Opened = NodeInfo;

/// Answer to [`Op::ReadDir`]; `count` times [`DirEntryHead`], an [`Attr`] if `has_attr`, and the name, follow.
#[derive(Copy, Clone, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirHead {
    /// Entries that follow.
    pub count: u32,
    /// 1 if there is nothing after them.
    pub end: u32,
}

/// One entry.
#[derive(Copy, Clone, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirEntryHead {
    /// Inode number.
    pub ino: u64,
    /// Where to go on after this entry.
    pub cookie: u64,
    /// The node's id, or 0 if there is none.
    pub node: u64,
    /// `DT_*`
    pub kind: u8,
    /// 1 if attributes follow.
    pub has_attr: u8,
    /// Bytes of the name.
    pub name_len: u16,
    /// Zero.
    pub zero: u32,
}

/// One entry, borrowed from the message.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Where to go on after this entry.
    pub cookie: u64,
    /// `DT_*`
    pub kind: u8,
    /// Attributes, if they were asked for and the file was still there.
    pub attr: Option<Attr>,
    /// Its node, if nodes were asked for and the file was still there; then the attributes are there too.
    pub node: Option<u64>,
    /// The name; never `.` or `..`.
    pub name: &'a [u8],
}

/// The entries of one answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DirEntries<'a> {
    /// In the host's order.
    pub entries: Vec<DirEntry<'a>>,
    /// Whether these are the last.
    pub end: bool,
}

impl DirEntry<'_> {
    /// Bytes on the wire.
    pub fn wire_len(name: usize, attr: bool) -> usize {
        let attr = if attr { size_of::<Attr>() } else { 0 };
        size_of::<DirEntryHead>()
            .saturating_add(attr)
            .saturating_add(name)
    }

    /// Appends the entry.
    pub fn encode(&self, out: &mut Encoder) {
        let name_len = u16::try_from(self.name.len()).unwrap_or(0);
        out.put(&DirEntryHead {
            ino: self.ino,
            cookie: self.cookie,
            node: self.node.unwrap_or(0),
            kind: self.kind,
            has_attr: u8::from(self.attr.is_some()),
            name_len,
            zero: 0,
        });
        if let Some(attr) = &self.attr {
            out.put(attr);
        }
        out.put_bytes(self.name);
    }
}

impl<'a> DirEntries<'a> {
    /// Reads the answer.
    pub fn decode(cursor: &mut Cursor<'a>) -> Result<DirEntries<'a>, Malformed> {
        let head: DirHead = cursor.take()?;
        let mut entries = Vec::new();
        for _ in 0..head.count {
            let e: DirEntryHead = cursor.take()?;
            if e.has_attr > 1 || e.zero != 0 || e.kind > 14 {
                return Err(Malformed("directory entry out of range"));
            }
            if i64::try_from(e.cookie).is_err() {
                return Err(Malformed("cookie out of range"));
            }
            if e.node != 0 && e.has_attr == 0 {
                return Err(Malformed("a node without attributes"));
            }
            let attr = if e.has_attr == 1 {
                let attr: Attr = cursor.take()?;
                attr.check()?;
                Some(attr)
            } else {
                None
            };
            let name = cursor.bytes(usize::from(e.name_len))?;
            if name.len() > MAX_NAME || super::Name::new(name).is_err() {
                return Err(Malformed("not a single path component"));
            }
            entries.push(DirEntry {
                ino: e.ino,
                cookie: e.cookie,
                kind: e.kind,
                attr,
                node: (e.node != 0).then_some(e.node),
                name,
            });
        }
        let end = match head.end {
            0 if entries.is_empty() => return Err(Malformed("no entries, yet not the end")),
            0 => false,
            1 => true,
            _ => return Err(Malformed("unknown flag bits")),
        };
        Ok(DirEntries { entries, end })
    }
}
