//! Making files: regular, nameless, directories, FIFOs, links. New files belong to whom the sentry says.
//!
//! The gofer makes a file as itself and then gives it away (`CAP_CHOWN`); making it with the owner's fsuid would need
//! `CAP_SETUID`, which is too much to hold. A regular file is made and held by one descriptor, so nothing can come
//! between. For the others the host has no call that makes and opens; the entry is opened by name right after, and is
//! given away only if it is of the right type and ours: a neighbour who swaps it meanwhile can at most make us refuse.

use super::Server;
use super::host::{self, Result, errno};
use super::table::Node;
use crate::wire::{Access, Attr, MountFlags, Name, NodeInfo, Owner};
use abi::Errno;
use abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFSOCK};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

/// Permission bits for the moment until the file is its owner's: never set-user-ID.
fn first_mode(owner: Owner) -> Mode {
    Mode::from_raw_mode(owner.mode & 0o777)
}

impl Server {
    pub(super) fn create(
        &self,
        dir: u64,
        access: Access,
        owner: Owner,
        name: Name<'_>,
    ) -> Result<(NodeInfo, OwnedFd)> {
        let dir = self.writable_dir(dir)?;
        let flags = host::access_flags(access)
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        let fd = rustix::fs::openat2(
            &dir.fd,
            name.as_bytes(),
            flags,
            first_mode(owner),
            host::BENEATH,
        )
        .map_err(errno)?;
        match self.own_new(&dir, &fd, owner) {
            Ok(info) => Ok((info, fd)),
            Err(errno) => {
                // Best effort: leave no file behind that is not whose it should be.
                rustix::fs::unlinkat(&dir.fd, name.as_bytes(), AtFlags::empty()).ok();
                Err(errno)
            }
        }
    }

    pub(super) fn tmp_file(
        &self,
        dir: u64,
        access: Access,
        owner: Owner,
    ) -> Result<(NodeInfo, OwnedFd)> {
        let dir = self.writable_dir(dir)?;
        if !access.writes() {
            return Err(Errno::EINVAL);
        }
        let flags = host::access_flags(access) | OFlags::TMPFILE | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&dir.fd, ".", flags, first_mode(owner), host::BENEATH)
            .map_err(errno)?;
        let info = self.own_new(&dir, &fd, owner)?;
        Ok((info, fd))
    }

    /// Owner, mode and a node for the file behind a data descriptor just made.
    fn own_new(&self, dir: &Node, fd: &OwnedFd, owner: Owner) -> Result<NodeInfo> {
        let attr = host::stat(fd)?;
        let attr = self.give(fd, attr, owner)?;
        let path = host::path_of(&self.own, fd)?;
        let (id, _) = self
            .nodes
            .insert(Node::new(path, dir.mount.clone(), &attr))?;
        Ok(NodeInfo { id, attr })
    }

    pub(super) fn mkdir(&self, dir: u64, owner: Owner, name: Name<'_>) -> Result<NodeInfo> {
        let dir = self.writable_dir(dir)?;
        rustix::fs::mkdirat(&dir.fd, name.as_bytes(), first_mode(owner)).map_err(errno)?;
        self.adopt(&dir, name, S_IFDIR, owner)
    }

    pub(super) fn mknod(
        &self,
        dir: u64,
        owner: Owner,
        file_type: u32,
        dev: (u32, u32),
        name: Name<'_>,
    ) -> Result<NodeInfo> {
        let dir = self.writable_dir(dir)?;
        let kind = match file_type {
            S_IFIFO => FileType::Fifo,
            S_IFSOCK => FileType::Socket,
            S_IFCHR => FileType::CharacterDevice,
            S_IFBLK => FileType::BlockDevice,
            _ => return Err(Errno::EINVAL),
        };
        let dev = if matches!(file_type, S_IFCHR | S_IFBLK) {
            dir.mount.allows(MountFlags::MAKE_DEVICES)?;
            rustix::fs::makedev(dev.0, dev.1)
        } else {
            0
        };
        rustix::fs::mknodat(&dir.fd, name.as_bytes(), kind, first_mode(owner), dev)
            .map_err(errno)?;
        self.adopt(&dir, name, file_type, owner)
    }

    pub(super) fn symlink(
        &self,
        dir: u64,
        uid: u32,
        gid: u32,
        name: Name<'_>,
        target: &[u8],
    ) -> Result<NodeInfo> {
        let dir = self.writable_dir(dir)?;
        rustix::fs::symlinkat(target, &dir.fd, name.as_bytes()).map_err(errno)?;
        self.adopt(
            &dir,
            name,
            S_IFLNK,
            Owner {
                mode: 0o777,
                uid,
                gid,
            },
        )
    }

    /// Opens what was just made under a name, makes sure that it is that, and gives it to its owner.
    pub(super) fn adopt(
        &self,
        dir: &Node,
        name: Name<'_>,
        file_type: u32,
        owner: Owner,
    ) -> Result<NodeInfo> {
        let fd = host::open_child(&dir.fd, name)?;
        let attr = host::stat(&fd)?;
        if attr.file_type() != file_type || attr.uid != self.uid {
            return Err(Errno::ESTALE);
        }
        let attr = self.give(&fd, attr, owner)?;
        let (id, _) = self.nodes.insert(Node::new(fd, dir.mount.clone(), &attr))?;
        Ok(NodeInfo { id, attr })
    }

    /// Sets owner and mode where they are not already right. The mode comes second: a change of owner clears the
    /// set-user-ID bit.
    fn give(&self, fd: &impl AsFd, attr: Attr, owner: Owner) -> Result<Attr> {
        let chown = attr.uid != owner.uid || attr.gid != owner.gid;
        if chown {
            let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(
                fd,
                "",
                Some(Uid::from_raw(owner.uid)),
                Some(Gid::from_raw(owner.gid)),
                flags,
            )
            .map_err(errno)?;
        }
        let chmod = attr.mode & 0o7777 != owner.mode && !attr.is_symlink();
        if chmod {
            self.chmod(fd, owner.mode)?;
        }
        if chown || chmod {
            host::stat(fd)
        } else {
            Ok(attr)
        }
    }

    /// `fchmod` for any descriptor: the plain call refuses `O_PATH`, and `fchmodat2` is younger than Debian 12's kernel.
    pub(super) fn chmod(&self, fd: &impl AsFd, mode: u32) -> Result<()> {
        rustix::fs::chmodat(
            self.own.dir(),
            host::name_of(fd),
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )
        .map_err(errno)
    }
}
