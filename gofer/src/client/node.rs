//! Handles to files, and everything that can be asked of them.

use super::Inner;
use super::channel::{check_type, one};
use crate::wire::{
    Access, Attr, Cursor, DirEntries, FsStat, MAX_NAME, MAX_TARGET, MAX_WALK, MAX_XATTR, Malformed,
    MountFlags, Name, Names, NodeInfo, Owner, ReadDirFlags, RenameFlags, Request, SetAttr,
    SocketKind, WalkFlags,
};
use abi::stat::{S_IFDIR, S_IFLNK, S_IFREG, S_IFSOCK};
use abi::{Errno, Result};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A file of the gofer's. Dropping it closes it there, in good time.
pub struct Node {
    inner: Arc<Inner>,
    id: u64,
    file_type: u32,
    flags: MountFlags,
    root: bool,
    at_once: AtomicBool,
}

impl core::fmt::Debug for Node {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Node({:#x}, type {:o})", self.id, self.file_type)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.root {
            self.inner.close_later(self.id);
            if *self.at_once.get_mut() {
                self.inner.flush();
            }
        }
    }
}

/// Where a walk came to.
#[derive(Debug)]
pub struct Walked {
    /// Each component that exists, with its attributes.
    pub nodes: Vec<(Node, Attr)>,
    /// Why the walk went no further: `ENOENT`, `ELOOP` (the last node is a symbolic link), `ENOTDIR` (the last node is none), or
    /// the host's refusal.
    pub stop: Option<Errno>,
    /// Target of the last node, if that is a symbolic link and was asked for.
    pub target: Option<Vec<u8>>,
    /// The last node's data, if it is a regular file and was asked for.
    pub opened: Option<Result<OwnedFd>>,
}

/// A file that was just made.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub node: Node,
    /// Its attributes.
    pub attr: Attr,
}

/// One directory entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Where to go on after this entry.
    pub cookie: u64,
    /// `DT_*`
    pub kind: u8,
    /// Attributes, if asked for and the file was still there.
    pub attr: Option<Attr>,
    /// The name; never `.` or `..`.
    pub name: Vec<u8>,
}

/// Some entries of a directory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DirPage {
    /// The entries.
    pub entries: Vec<DirEntry>,
    /// Whether nothing comes after them.
    pub end: bool,
}

fn info(cursor: &mut Cursor<'_>, file_type: u32) -> core::result::Result<NodeInfo, Malformed> {
    let info: NodeInfo = cursor.take()?;
    info.check()?;
    if info.attr.file_type() == file_type {
        Ok(info)
    } else {
        Err(Malformed("made something else than was asked for"))
    }
}

fn attr(cursor: &mut Cursor<'_>, file_type: u32) -> core::result::Result<Attr, Malformed> {
    let attr: Attr = cursor.take()?;
    attr.check()?;
    if attr.file_type() == file_type {
        Ok(attr)
    } else {
        Err(Malformed("a file changed its type"))
    }
}

fn nothing(_: &mut Cursor<'_>, _: &mut Vec<OwnedFd>) -> core::result::Result<(), Malformed> {
    Ok(())
}

impl Node {
    fn new(inner: &Arc<Inner>, info: &NodeInfo, flags: MountFlags) -> Node {
        Node {
            inner: inner.clone(),
            id: info.id,
            file_type: info.attr.file_type(),
            flags,
            root: false,
            at_once: AtomicBool::new(false),
        }
    }

    pub(super) fn root(inner: &Arc<Inner>, info: &NodeInfo, flags: MountFlags) -> Node {
        let mut node = Node::new(inner, info, flags);
        node.root = true;
        node
    }

    /// One more handle to the root of a mount; `None` if this is none. Roots are never closed.
    pub fn root_again(&self) -> Option<Node> {
        let (inner, id, file_type, flags) =
            (self.inner.clone(), self.id, self.file_type, self.flags);
        self.root.then(|| Node {
            inner,
            id,
            file_type,
            flags,
            root: true,
            at_once: AtomicBool::new(false),
        })
    }

    /// Its last name is gone: when the handle is dropped, the gofer is to let go of it then and there, so that the host frees
    /// its blocks.
    pub fn close_at_once(&self) {
        self.at_once.store(true, Ordering::Relaxed);
    }

    fn made(&self, info: NodeInfo) -> Made {
        Made {
            node: Node::new(&self.inner, &info, self.flags),
            attr: info.attr,
        }
    }

    /// `S_IF*` type bits.
    pub fn file_type(&self) -> u32 {
        self.file_type
    }

    /// Flags of the mount it was reached through.
    pub fn mount_flags(&self) -> MountFlags {
        self.flags
    }

    /// Walks down by up to [`MAX_WALK`] names; `open` also opens what is at the end if it is a regular file, `target` also reads the
    /// symbolic link the walk ends at. One round trip in all.
    pub fn walk(&self, names: &[&[u8]], open: Option<Access>, target: bool) -> Result<Walked> {
        if names.len() > MAX_WALK {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut checked = Vec::with_capacity(names.len());
        for name in names {
            checked.push(Name::new(name)?);
        }
        let mut flags = WalkFlags::empty();
        flags.set(WalkFlags::OPEN, open.is_some());
        flags.set(WalkFlags::TARGET, target);
        let request = Request::Walk {
            dir: self.id,
            flags,
            access: open.unwrap_or(Access::Read),
            names: Names::List(&checked),
        };
        self.inner.call(&request, |cursor, fds| {
            let walked =
                crate::wire::Walked::decode(cursor, names.len(), open.is_some(), fds.len())?;
            let fd = fds.pop();
            if let Some(fd) = &fd {
                check_type(fd, S_IFREG)?;
            }
            if walked.target.is_some() && !target {
                return Err(Malformed("a link target nobody asked for"));
            }
            Ok(Walked {
                nodes: walked
                    .nodes
                    .iter()
                    .map(|info| (Node::new(&self.inner, info, self.flags), info.attr))
                    .collect(),
                stop: walked.stop.map(Errno::from_raw),
                target: walked.target,
                opened: walked
                    .open_errno
                    .map(|errno| Err(Errno::from_raw(errno)))
                    .or(fd.map(Ok)),
            })
        })
    }

    /// Looks one name up.
    pub fn lookup(&self, name: &[u8]) -> Result<(Node, Attr)> {
        let mut walked = self.walk(&[name], None, false)?;
        walked
            .nodes
            .pop()
            .ok_or(walked.stop.unwrap_or(Errno::ENOENT))
    }

    /// Attributes now.
    pub fn attr(&self) -> Result<Attr> {
        self.inner
            .call(&Request::GetAttr { node: self.id }, |cursor, _| {
                attr(cursor, self.file_type)
            })
    }

    /// Changes attributes; answers with what they are then.
    pub fn set_attr(&self, set: &SetAttr) -> Result<Attr> {
        set.check().map_err(|_| Errno::EINVAL)?;
        self.inner.call(
            &Request::SetAttr {
                node: self.id,
                set: *set,
            },
            |cursor, _| attr(cursor, self.file_type),
        )
    }

    /// Truncates or extends a regular file, through a descriptor had for the purpose.
    pub fn truncate(&self, size: u64) -> Result<Attr> {
        let (fd, _) = self.open(Access::Write)?;
        rustix::fs::ftruncate(&fd, size).map_err(|e| Errno::from_raw(e.raw_os_error()))?;
        self.attr()
    }

    /// A descriptor for the data.
    pub fn open(&self, access: Access) -> Result<(OwnedFd, Attr)> {
        self.inner.call(
            &Request::Open {
                node: self.id,
                access,
            },
            |cursor, fds| {
                let attr = attr(cursor, self.file_type)?;
                let fd = one(fds)?;
                check_type(&fd, self.file_type)?;
                Ok((fd, attr))
            },
        )
    }

    /// Makes a regular file, which must not exist, and opens it.
    pub fn create(&self, name: &[u8], access: Access, owner: Owner) -> Result<(Made, OwnedFd)> {
        let name = Name::new(name)?;
        let (info, fd) = self.inner.call(
            &Request::Create {
                dir: self.id,
                access,
                owner,
                name,
            },
            made_open,
        )?;
        Ok((self.made(info), fd))
    }

    /// Makes a regular file without a name (`O_TMPFILE`) and opens it.
    pub fn tmp_file(&self, access: Access, owner: Owner) -> Result<(Made, OwnedFd)> {
        let (info, fd) = self.inner.call(
            &Request::TmpFile {
                dir: self.id,
                access,
                owner,
            },
            made_open,
        )?;
        Ok((self.made(info), fd))
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &[u8], owner: Owner) -> Result<Made> {
        let request = Request::MkDir {
            dir: self.id,
            owner,
            name: Name::new(name)?,
        };
        self.inner
            .call(&request, |cursor, _| info(cursor, S_IFDIR))
            .map(|info| self.made(info))
    }

    /// Makes a FIFO, a socket file or a device node.
    pub fn mknod(
        &self,
        name: &[u8],
        owner: Owner,
        file_type: u32,
        dev: (u32, u32),
    ) -> Result<Made> {
        let request = Request::MkNod {
            dir: self.id,
            owner,
            file_type,
            major: dev.0,
            minor: dev.1,
            name: Name::new(name)?,
        };
        self.inner
            .call(&request, |cursor, _| info(cursor, file_type))
            .map(|info| self.made(info))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Made> {
        if target.len() > MAX_TARGET {
            return Err(Errno::ENAMETOOLONG);
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Errno::ENOENT);
        }
        let request = Request::Symlink {
            dir: self.id,
            uid,
            gid,
            name: Name::new(name)?,
            target,
        };
        self.inner
            .call(&request, |cursor, _| info(cursor, S_IFLNK))
            .map(|info| self.made(info))
    }

    /// Gives `file` a name in this directory.
    pub fn link(&self, name: &[u8], file: &Node) -> Result<Attr> {
        let request = Request::Link {
            node: file.id,
            dir: self.id,
            name: Name::new(name)?,
        };
        self.inner
            .call(&request, |cursor, _| attr(cursor, file.file_type))
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        self.inner.call(
            &Request::Unlink {
                dir: self.id,
                rmdir: false,
                name: Name::new(name)?,
            },
            nothing,
        )
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.inner.call(
            &Request::Unlink {
                dir: self.id,
                rmdir: true,
                name: Name::new(name)?,
            },
            nothing,
        )
    }

    /// Moves a name of this directory.
    pub fn rename(
        &self,
        name: &[u8],
        new_dir: &Node,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let (old_name, new_name) = (Name::new(name)?, Name::new(new_name)?);
        self.inner.call(
            &Request::Rename {
                old_dir: self.id,
                old_name,
                new_dir: new_dir.id,
                new_name,
                flags,
            },
            nothing,
        )
    }

    /// Target of a symbolic link.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        self.inner
            .call(&Request::ReadLink { node: self.id }, |cursor, _| {
                let target = cursor.rest();
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                    return Err(Malformed("not a link target"));
                }
                Ok(target.to_vec())
            })
    }

    /// Entries after `cookie` (0: from the start).
    pub fn read_dir(&self, cookie: u64, attrs: bool) -> Result<DirPage> {
        let flags = if attrs {
            ReadDirFlags::ATTRS
        } else {
            ReadDirFlags::empty()
        };
        if i64::try_from(cookie).is_err() {
            return Err(Errno::EINVAL);
        }
        self.inner.call(
            &Request::ReadDir {
                node: self.id,
                cookie,
                flags,
                max: 0,
            },
            |cursor, _| {
                let page = DirEntries::decode(cursor)?;
                let own = |e: &crate::wire::DirEntry<'_>| DirEntry {
                    ino: e.ino,
                    cookie: e.cookie,
                    kind: e.kind,
                    attr: e.attr,
                    name: e.name.to_vec(),
                };
                Ok(DirPage {
                    entries: page.entries.iter().map(own).collect(),
                    end: page.end,
                })
            },
        )
    }

    /// Up to `max` entries after `cookie` with their nodes and attributes: look-ups of what was listed, in one round trip.
    pub fn read_dir_nodes(&self, cookie: u64, max: u32) -> Result<Vec<(Vec<u8>, Node, Attr)>> {
        if i64::try_from(cookie).is_err() {
            return Err(Errno::EINVAL);
        }
        let request = Request::ReadDir {
            node: self.id,
            cookie,
            flags: ReadDirFlags::NODES,
            max,
        };
        self.inner.call(&request, |cursor, _| {
            let page = DirEntries::decode(cursor)?;
            let own = |e: &crate::wire::DirEntry<'_>| {
                let info = NodeInfo {
                    id: e.node?,
                    attr: e.attr?,
                };
                let node = Node::new(&self.inner, &info, self.flags);
                Some((e.name.to_vec(), node, info.attr))
            };
            Ok(page.entries.iter().filter_map(own).collect())
        })
    }

    /// An extended attribute.
    pub fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        xattr_name(name)?;
        self.inner.call(
            &Request::GetXattr {
                node: self.id,
                name,
            },
            |cursor, _| match cursor.rest() {
                value if value.len() <= MAX_XATTR => Ok(value.to_vec()),
                _ => Err(Malformed("value too long")),
            },
        )
    }

    /// Sets an extended attribute; `flags` are `XATTR_CREATE` (1) and `XATTR_REPLACE` (2).
    pub fn set_xattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        xattr_name(name)?;
        if flags > 2 {
            return Err(Errno::EINVAL);
        }
        if value.len() > MAX_XATTR {
            return Err(Errno::E2BIG);
        }
        self.inner.call(
            &Request::SetXattr {
                node: self.id,
                flags,
                name,
                value,
            },
            nothing,
        )
    }

    /// Names of all extended attributes.
    pub fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        self.inner
            .call(&Request::ListXattr { node: self.id }, |cursor, _| {
                let list = cursor.rest();
                if list.is_empty() {
                    return Ok(Vec::new());
                }
                let list = list
                    .strip_suffix(&[0])
                    .ok_or(Malformed("not a list of names"))?;
                let names: Vec<Vec<u8>> = list.split(|&b| b == 0).map(<[u8]>::to_vec).collect();
                if names
                    .iter()
                    .any(|name| name.is_empty() || name.len() > MAX_NAME)
                {
                    return Err(Malformed("not a list of names"));
                }
                Ok(names)
            })
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        xattr_name(name)?;
        self.inner.call(
            &Request::RemoveXattr {
                node: self.id,
                name,
            },
            nothing,
        )
    }

    /// The file system's numbers.
    pub fn stat_fs(&self) -> Result<FsStat> {
        self.inner
            .call(&Request::StatFs { node: self.id }, |cursor, _| {
                cursor.take()
            })
    }

    /// Writes a directory, or a file without a descriptor, back to the disk.
    pub fn fsync(&self) -> Result<()> {
        self.inner.call(&Request::Fsync { node: self.id }, nothing)
    }

    /// Connects to the host's socket behind this file.
    pub fn connect(&self, kind: SocketKind) -> Result<OwnedFd> {
        self.inner.call(
            &Request::Connect {
                node: self.id,
                kind,
            },
            |_, fds| {
                let fd = one(fds)?;
                check_type(&fd, S_IFSOCK)?;
                Ok(fd)
            },
        )
    }

    /// Binds a host socket to a name in this directory. Listening on it is the caller's.
    pub fn bind(&self, name: &[u8], kind: SocketKind, owner: Owner) -> Result<(Made, OwnedFd)> {
        let request = Request::Bind {
            dir: self.id,
            kind,
            owner,
            name: Name::new(name)?,
        };
        let (info, fd) = self.inner.call(&request, |cursor, fds| {
            let info = info(cursor, S_IFSOCK)?;
            let fd = one(fds)?;
            check_type(&fd, S_IFSOCK)?;
            Ok((info, fd))
        })?;
        Ok((self.made(info), fd))
    }
}

fn made_open(
    cursor: &mut Cursor<'_>,
    fds: &mut Vec<OwnedFd>,
) -> core::result::Result<(NodeInfo, OwnedFd), Malformed> {
    let info = info(cursor, S_IFREG)?;
    let fd = one(fds)?;
    check_type(&fd, S_IFREG)?;
    Ok((info, fd))
}

fn xattr_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
        Err(Errno::ERANGE)
    } else {
        Ok(())
    }
}
