//! The few ways in which the gofer touches the host's files. Every path the host ever sees from a request is built here.
//!
//! **Down, by name.** [`open_child`] takes one component at a time: `openat2` with `RESOLVE_BENEATH`,
//! `RESOLVE_NO_MAGICLINKS` and `RESOLVE_NO_SYMLINKS`, relative to an `O_PATH` descriptor we hold, and with a name that
//! [`Name`] has checked to be a single component other than `.` and `..`. So whatever somebody else renames meanwhile,
//! the result is an entry of that very directory. `RESOLVE_NO_XDEV` is not set: a recursive bind mount has mounts below it
//! that belong to the container, and no other mount can appear, because the gofer's mount namespace is private and empty.
//!
//! **From `O_PATH` to data.** A node's `O_PATH` descriptor has to become one that reads and writes. Opening the name again
//! below the parent would be a second look-up: between the two a hostile neighbour can put a FIFO or a device there (the open
//! itself then blocks or has effects), and the parent may be gone by rename. Instead the descriptor is opened again through
//! `/proc/self/fd/N`: that magic link leads to the very `struct path` the descriptor holds, with no look-up by name, so there
//! is nothing to race. `/proc` itself is not in the jail: [`SelfFds`] holds one descriptor, opened before the chroot, on a
//! detached clone of the mount whose root *is* `/proc/self/fd`, so that not even `..` leads out of it. Afterwards the
//! identity (device and inode number) is compared with the node's all the same ([`reopen`]): a kernel that did otherwise is
//! refused rather than trusted.

use super::table::Node;
use crate::wire::{Access, Attr, Name, Time};
use abi::Errno;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Statx, StatxFlags, StatxTimestamp};
use rustix::path::DecInt;

/// Result of a host call.
pub type Result<T> = core::result::Result<T, Errno>;

/// The host's error number as ours.
pub fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// How every name is resolved.
pub const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_SYMLINKS);

const O_PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory of this process's own descriptors.
#[derive(Debug)]
pub struct SelfFds {
    dir: OwnedFd,
    /// Whether the process's working directory is `dir`: then `N` is a path for calls that take no directory descriptor.
    is_cwd: bool,
}

impl SelfFds {
    /// Opens `/proc/self/fd`, in a process that still has a `/proc`.
    pub fn open() -> Result<SelfFds> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).map_err(errno)?;
        Ok(SelfFds { dir, is_cwd: false })
    }

    /// Takes what the jail made: `dir` is also the working directory.
    pub fn from_jail(dir: OwnedFd) -> SelfFds {
        SelfFds { dir, is_cwd: true }
    }

    /// The directory, for `*at` calls with [`name_of`].
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// A path that leads to `fd`'s file, for calls without a directory argument.
    pub fn path(&self, fd: &impl AsFd) -> String {
        let number = fd.as_fd().as_raw_fd();
        if self.is_cwd {
            format!("{number}")
        } else {
            format!("/proc/self/fd/{number}")
        }
    }
}

/// The name of a descriptor in [`SelfFds`].
pub fn name_of(fd: &impl AsFd) -> DecInt {
    DecInt::from_fd(fd)
}

/// Opens an entry of a directory as `O_PATH`, a symbolic link as itself.
///
/// `RESOLVE_BENEATH` ends with a check that what was found is still below the directory: an entry that is moved away in that
/// moment gives `EXDEV` (or `EAGAIN`). One more look finds what is there now.
pub fn open_child(dir: &impl AsFd, name: Name<'_>) -> Result<OwnedFd> {
    use rustix::io::Errno as Host;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(dir, name.as_bytes(), O_PATH, Mode::empty(), BENEATH) {
            Err(Host::XDEV | Host::AGAIN) => {}
            other => return other.map_err(errno),
        }
    }
    Err(Errno::ESTALE)
}

/// How often an entry may be moved away under our eyes.
const RETRIES: u32 = 1000;

/// Opens a directory for reading its entries.
pub fn open_dir(dir: &impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat2(dir, ".", flags, Mode::empty(), BENEATH).map_err(errno)
}

/// One more `O_PATH` descriptor for the file of a descriptor.
pub fn path_of(own: &SelfFds, fd: &impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(
        own.dir(),
        name_of(fd),
        flags,
        Mode::empty(),
        ResolveFlags::empty(),
    )
    .map_err(errno)
}

/// The flags of an access mode.
pub fn access_flags(access: Access) -> OFlags {
    match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    }
}

/// Opens a node's data. The caller has checked type and mount.
pub fn reopen(own: &SelfFds, node: &Node, flags: OFlags) -> Result<(OwnedFd, Attr)> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = rustix::fs::openat2(
        own.dir(),
        name_of(&node.fd),
        flags,
        Mode::empty(),
        ResolveFlags::empty(),
    )
    .map_err(errno)?;
    let attr = stat(&fd)?;
    // Overlay file systems may give a file another number when a first open for writing copies it up: then the node
    // itself has changed likewise.
    if attr.identity() != node.identity && stat(&node.fd)?.identity() != attr.identity() {
        return Err(Errno::ESTALE);
    }
    if attr.file_type() != node.file_type {
        return Err(Errno::ESTALE);
    }
    Ok((fd, attr))
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

/// Attributes of the file of a descriptor, `O_PATH` or not.
pub fn stat(fd: &impl AsFd) -> Result<Attr> {
    rustix::fs::statx(
        fd,
        "",
        AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW,
        wanted(),
    )
    .map(|stx| attr_of(&stx))
    .map_err(errno)
}

/// Attributes of an entry that the host's own `getdents64` just named, not following it.
pub fn stat_entry(dir: &impl AsFd, name: Name<'_>) -> Result<Attr> {
    rustix::fs::statx(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW, wanted())
        .map(|stx| attr_of(&stx))
        .map_err(errno)
}

fn time_of(time: &StatxTimestamp) -> Time {
    Time::new(time.tv_sec, time.tv_nsec.min(999_999_999))
}

/// The host's `statx` as it travels. Client code uses it too, for donated descriptors.
pub fn attr_of(stx: &Statx) -> Attr {
    let attributes = stx.stx_attributes.bits() & u64::from(u32::MAX);
    Attr {
        ino: stx.stx_ino,
        size: stx.stx_size.min(i64::MAX.unsigned_abs()),
        blocks: stx.stx_blocks,
        atime: time_of(&stx.stx_atime),
        mtime: time_of(&stx.stx_mtime),
        ctime: time_of(&stx.stx_ctime),
        btime: if stx.stx_mask & StatxFlags::BTIME.bits() != 0 {
            time_of(&stx.stx_btime)
        } else {
            Time::default()
        },
        mode: u32::from(stx.stx_mode),
        nlink: stx.stx_nlink,
        uid: stx.stx_uid,
        gid: stx.stx_gid,
        blksize: stx.stx_blksize,
        dev_major: stx.stx_dev_major,
        dev_minor: stx.stx_dev_minor,
        rdev_major: stx.stx_rdev_major,
        rdev_minor: stx.stx_rdev_minor,
        attributes: u32::try_from(attributes).unwrap_or(0),
    }
}
