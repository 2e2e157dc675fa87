//! Requests to bytes and back. The decoder is strict: it is what stands between the gofer and a sentry that a guest has taken over.

use super::args::{Access, Name, Names, Owner, ReadDirFlags, RenameFlags, SocketKind, WalkFlags};
use super::codec::{Cursor, Encoder, Malformed};
use super::request::{Closes, Op, Request, RequestHeader};
use super::{MAX_CLOSES, MAX_TARGET, MAX_XATTR, MAX_XATTR_NAME, SetAttr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The one fixed body all operations share: what an operation does not use is zero. 80 bytes on a socket cost nothing
/// next to the wake-up, and one layout is one decoder.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
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
    /// Length of the first of two strings in the tail, the number of names, or the most entries.
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
            Request::Walk {
                dir,
                flags,
                access,
                names,
            } => {
                (body.node, body.flags, body.access) = (dir, flags.bits(), access.raw());
                body.split = u32::try_from(names.len()).map_err(|_| Malformed("too many names"))?;
            }
            Request::GetAttr { node }
            | Request::ReadLink { node }
            | Request::ListXattr { node }
            | Request::StatFs { node }
            | Request::Fsync { node } => body.node = node,
            Request::SetAttr { node, .. } => body.node = node,
            Request::Open { node, access } => (body.node, body.access) = (node, access.raw()),
            Request::Create {
                dir,
                access,
                owner,
                name,
            } => {
                (body.node, body.access, body.owner) = (dir, access.raw(), owner);
                tail = [name.as_bytes(), &[]];
            }
            Request::TmpFile { dir, access, owner } => {
                (body.node, body.access, body.owner) = (dir, access.raw(), owner)
            }
            Request::MkDir { dir, owner, name } => {
                (body.node, body.owner) = (dir, owner);
                tail = [name.as_bytes(), &[]];
            }
            Request::MkNod {
                dir,
                owner,
                file_type,
                major,
                minor,
                name,
            } => {
                (body.node, body.owner, body.kind, body.major, body.minor) =
                    (dir, owner, file_type, major, minor);
                tail = [name.as_bytes(), &[]];
            }
            Request::Symlink {
                dir,
                uid,
                gid,
                name,
                target,
            } => {
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
            Request::Rename {
                old_dir,
                old_name,
                new_dir,
                new_name,
                flags,
            } => {
                (body.node, body.node2, body.flags) = (old_dir, new_dir, flags.bits());
                (body.split, tail) = (
                    len(old_name.as_bytes())?,
                    [old_name.as_bytes(), new_name.as_bytes()],
                );
            }
            Request::ReadDir {
                node,
                cookie,
                flags,
                max,
            } => {
                (body.node, body.cookie, body.flags) = (node, cookie, flags.bits());
                body.split = max;
            }
            Request::GetXattr { node, name } | Request::RemoveXattr { node, name } => {
                (body.node, tail) = (node, [name, &[]])
            }
            Request::SetXattr {
                node,
                flags,
                name,
                value,
            } => {
                (body.node, body.flags) = (node, flags);
                (body.split, tail) = (len(name)?, [name, value]);
            }
            Request::Connect { node, kind } => (body.node, body.kind) = (node, kind.raw()),
            Request::Bind {
                dir,
                kind,
                owner,
                name,
            } => {
                (body.node, body.kind, body.owner) = (dir, kind.raw(), owner);
                tail = [name.as_bytes(), &[]];
            }
        }
        out.put(&body);
        match self {
            Request::SetAttr { set, .. } => out.put(set),
            Request::Walk { names, .. } => {
                for name in names.iter() {
                    out.put(
                        &u16::try_from(name.as_bytes().len())
                            .map_err(|_| Malformed("name too long"))?,
                    );
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
        let header = RequestHeader {
            len: out.finish()?,
            op: self.op().raw(),
            closes,
        };
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
        let at = tail
            .len()
            .checked_sub(count.saturating_mul(8))
            .ok_or(Malformed("closes cut short"))?;
        let (tail, closes) = tail
            .split_at_checked(at)
            .ok_or(Malformed("closes cut short"))?;
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
                names: Names::decode(
                    c,
                    usize::try_from(b.split).map_err(|_| Malformed("too many names"))?,
                )?,
            },
            Op::GetAttr => Request::GetAttr { node: b.node },
            Op::SetAttr => {
                let set: SetAttr = c.take()?;
                set.check()?;
                Request::SetAttr { node: b.node, set }
            }
            Op::Open => Request::Open {
                node: b.node,
                access: Access::from_raw(b.access)?,
            },
            Op::Create => Request::Create {
                dir: b.node,
                access: Access::from_raw(b.access)?,
                owner: b.owner.check()?,
                name: Name::decode(c.rest())?,
            },
            Op::TmpFile => Request::TmpFile {
                dir: b.node,
                access: Access::from_raw(b.access)?,
                owner: b.owner.check()?,
            },
            Op::MkDir => Request::MkDir {
                dir: b.node,
                owner: b.owner.check()?,
                name: Name::decode(c.rest())?,
            },
            Op::MkNod => {
                if !matches!(b.kind, 0o010_000 | 0o020_000 | 0o060_000 | 0o140_000) {
                    return Err(Malformed("not a type for mknod"));
                }
                Request::MkNod {
                    dir: b.node,
                    owner: b.owner.check()?,
                    file_type: b.kind,
                    major: b.major,
                    minor: b.minor,
                    name: Name::decode(c.rest())?,
                }
            }
            Op::Symlink => {
                let (name, target) = split(c, &b)?;
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                    return Err(Malformed("not a link target"));
                }
                let owner = b.owner.check()?;
                Request::Symlink {
                    dir: b.node,
                    uid: owner.uid,
                    gid: owner.gid,
                    name: Name::decode(name)?,
                    target,
                }
            }
            Op::Link => Request::Link {
                node: b.node,
                dir: b.node2,
                name: Name::decode(c.rest())?,
            },
            Op::Unlink => Request::Unlink {
                dir: b.node,
                rmdir: flag(b.flags)?,
                name: Name::decode(c.rest())?,
            },
            Op::Rename => {
                let (old_name, new_name) = split(c, &b)?;
                let flags =
                    RenameFlags::from_bits(b.flags).ok_or(Malformed("unknown rename flags"))?;
                Request::Rename {
                    old_dir: b.node,
                    old_name: Name::decode(old_name)?,
                    new_dir: b.node2,
                    new_name: Name::decode(new_name)?,
                    flags,
                }
            }
            Op::ReadLink => Request::ReadLink { node: b.node },
            Op::ReadDir => {
                // The cookie becomes a file offset, which is signed.
                if i64::try_from(b.cookie).is_err() {
                    return Err(Malformed("cookie out of range"));
                }
                Request::ReadDir {
                    node: b.node,
                    cookie: b.cookie,
                    flags: ReadDirFlags::from_bits(b.flags)
                        .ok_or(Malformed("unknown readdir flags"))?,
                    max: b.split,
                }
            }
            Op::GetXattr => Request::GetXattr {
                node: b.node,
                name: xattr_name(c.rest())?,
            },
            Op::SetXattr => {
                let (name, value) = split(c, &b)?;
                if b.flags > 2 || value.len() > MAX_XATTR {
                    return Err(Malformed("unknown flag bits"));
                }
                Request::SetXattr {
                    node: b.node,
                    flags: b.flags,
                    name: xattr_name(name)?,
                    value,
                }
            }
            Op::ListXattr => Request::ListXattr { node: b.node },
            Op::RemoveXattr => Request::RemoveXattr {
                node: b.node,
                name: xattr_name(c.rest())?,
            },
            Op::StatFs => Request::StatFs { node: b.node },
            Op::Fsync => Request::Fsync { node: b.node },
            Op::Connect => Request::Connect {
                node: b.node,
                kind: SocketKind::from_raw(b.kind)?,
            },
            Op::Bind => Request::Bind {
                dir: b.node,
                kind: SocketKind::from_raw(b.kind)?,
                owner: b.owner.check()?,
                name: Name::decode(c.rest())?,
            },
        };
        cursor.end()?;
        request.check_unused(&b)?;
        Ok((request, Closes(closes)))
    }

    /// What an operation does not use must be zero: rebuild the body from what was understood and compare.
    fn check_unused(&self, body: &Body) -> Result<(), Malformed> {
        let none = matches!(
            self,
            Request::Hello { .. } | Request::AddChannel | Request::Close
        );
        let mut used = Body {
            node: if none { 0 } else { body.node },
            ..Body::default()
        };
        match self {
            Request::Hello { .. } | Request::Unlink { .. } => used.flags = body.flags,
            Request::Walk { .. } => {
                (used.flags, used.access, used.split) = (body.flags, body.access, body.split)
            }
            Request::Open { .. } => used.access = body.access,
            Request::Create { .. } | Request::TmpFile { .. } => {
                (used.access, used.owner) = (body.access, body.owner)
            }
            Request::MkDir { .. } => used.owner = body.owner,
            Request::MkNod { .. } => {
                (used.owner, used.kind, used.major, used.minor) =
                    (body.owner, body.kind, body.major, body.minor)
            }
            Request::Symlink { .. } => {
                (used.owner, used.split) = (body.owner, body.split);
                used.owner.mode = 0;
            }
            Request::Link { .. } => used.node2 = body.node2,
            Request::Rename { .. } => {
                (used.node2, used.flags, used.split) = (body.node2, body.flags, body.split)
            }
            Request::ReadDir { .. } => {
                (used.cookie, used.flags, used.split) = (body.cookie, body.flags, body.split);
            }
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
        if used == *body {
            Ok(())
        } else {
            Err(Malformed("a field that is not used is not zero"))
        }
    }
}
