//! Changing what is there: attributes, names, and bringing it to the disk.

use super::Server;
use super::host::{self, Result, errno};
use super::table::Node;
use crate::wire::{Attr, FsStat, Name, RenameFlags, SetAttr, SetAttrMask};
use abi::Errno;
use abi::stat::{S_IFDIR, S_IFLNK, S_IFREG};
use rustix::fs::{AtFlags, Gid, OFlags, Timespec, Timestamps, Uid};
use std::sync::Arc;

impl Server {
    /// Owner, then mode (a change of owner clears set-user-ID bits, and the sentry has said which it wants), then times.
    pub(super) fn set_attr(&self, node: u64, set: &SetAttr) -> Result<Attr> {
        let node = self.nodes.get(node)?;
        node.mount.writable()?;
        let mask = set.mask();
        if mask.intersects(SetAttrMask::UID | SetAttrMask::GID) {
            let uid = mask
                .contains(SetAttrMask::UID)
                .then(|| Uid::from_raw(set.uid));
            let gid = mask
                .contains(SetAttrMask::GID)
                .then(|| Gid::from_raw(set.gid));
            rustix::fs::chownat(
                &node.fd,
                "",
                uid,
                gid,
                AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(errno)?;
        }
        if mask.contains(SetAttrMask::MODE) {
            if node.file_type == S_IFLNK {
                return Err(Errno::EOPNOTSUPP);
            }
            self.chmod(&node.fd, set.mode)?;
        }
        if mask.intersects(SetAttrMask::ATIME | SetAttrMask::MTIME) {
            let time = |set: bool, now: bool, time: crate::wire::Time| Timespec {
                tv_sec: if set { time.sec } else { 0 },
                tv_nsec: match (set, now) {
                    (false, _) => rustix::fs::UTIME_OMIT,
                    (true, true) => rustix::fs::UTIME_NOW,
                    (true, false) => time.nsec.into(),
                },
            };
            let times = Timestamps {
                last_access: time(
                    mask.contains(SetAttrMask::ATIME),
                    mask.contains(SetAttrMask::ATIME_NOW),
                    set.atime,
                ),
                last_modification: time(
                    mask.contains(SetAttrMask::MTIME),
                    mask.contains(SetAttrMask::MTIME_NOW),
                    set.mtime,
                ),
            };
            rustix::fs::utimensat(
                &node.fd,
                "",
                &times,
                AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(errno)?;
        }
        host::stat(&node.fd)
    }

    /// Names the file of a descriptor: through the descriptor's own magic link, so it is that file and no other, and
    /// nameless files can be named too.
    pub(super) fn link(&self, node: u64, dir: u64, name: Name<'_>) -> Result<Attr> {
        let dir = self.writable_dir(dir)?;
        let node = self.nodes.get(node)?;
        same_mount(&node, &dir)?;
        if node.file_type == S_IFDIR {
            return Err(Errno::EPERM);
        }
        rustix::fs::linkat(
            self.own.dir(),
            host::name_of(&node.fd),
            &dir.fd,
            name.as_bytes(),
            AtFlags::SYMLINK_FOLLOW,
        )
        .map_err(errno)?;
        host::stat(&node.fd)
    }

    pub(super) fn unlink(&self, dir: u64, rmdir: bool, name: Name<'_>) -> Result<()> {
        let dir = self.writable_dir(dir)?;
        let flags = if rmdir {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(&dir.fd, name.as_bytes(), flags).map_err(errno)
    }

    pub(super) fn rename(
        &self,
        old_dir: u64,
        old_name: Name<'_>,
        new_dir: u64,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        let old_dir = self.writable_dir(old_dir)?;
        let new_dir = self.writable_dir(new_dir)?;
        same_mount(&old_dir, &new_dir)?;
        // What WHITEOUT leaves behind is a device that nothing can open, which the host lets anybody make (Linux 5.8).
        let flags = rustix::fs::RenameFlags::from_bits_truncate(flags.bits());
        rustix::fs::renameat_with(
            &old_dir.fd,
            old_name.as_bytes(),
            &new_dir.fd,
            new_name.as_bytes(),
            flags,
        )
        .map_err(errno)
    }

    pub(super) fn stat_fs(&self, node: u64) -> Result<FsStat> {
        let node = self.nodes.get(node)?;
        let stat = rustix::fs::fstatfs(&node.fd).map_err(errno)?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(FsStat {
            kind: number(stat.f_type),
            bsize: number(stat.f_bsize),
            blocks: stat.f_blocks,
            bfree: stat.f_bfree,
            bavail: stat.f_bavail,
            files: stat.f_files,
            ffree: stat.f_ffree,
            namelen: number(stat.f_namelen),
            frsize: number(stat.f_frsize),
        })
    }

    /// Directories, and files the sentry has no descriptor for.
    pub(super) fn fsync(&self, node: u64) -> Result<()> {
        let node = self.nodes.get(node)?;
        let fd = match node.file_type {
            S_IFDIR => host::open_dir(&node.fd)?,
            S_IFREG => host::reopen(&self.own, &node, OFlags::RDONLY)?.0,
            _ => return Err(Errno::EINVAL),
        };
        rustix::fs::fsync(fd).map_err(errno)
    }
}

/// Two trees may be on one host file system; they are different mounts all the same, and the guest must not join them.
fn same_mount(a: &Node, b: &Node) -> Result<()> {
    if Arc::ptr_eq(&a.mount, &b.mount) {
        Ok(())
    } else {
        Err(Errno::EXDEV)
    }
}
