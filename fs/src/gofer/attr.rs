//! Attributes as the sentry knows them: read without a lock, since every step of a walk asks for mode and owner.

use crate::inode::{Attr, NodeKind};
use crate::vfs::perm::Owner;
use gofer::wire::{Attr as Host, Time};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

const NSEC: i64 = 1_000_000_000;

/// Nanoseconds since the epoch.
pub(super) fn nanos(time: Time) -> i64 {
    time.sec
        .saturating_mul(NSEC)
        .saturating_add(i64::from(time.nsec))
}

/// The host's form of nanoseconds since the epoch.
pub(super) fn time(nanos: i64) -> Time {
    Time::new(
        nanos.div_euclid(NSEC),
        u32::try_from(nanos.rem_euclid(NSEC)).unwrap_or(0),
    )
}

/// The type of a file, from its attributes.
pub(super) fn kind_of(attr: &Host) -> NodeKind {
    let rdev = abi::stat::makedev(attr.rdev_major, attr.rdev_minor);
    match attr.file_type() {
        abi::stat::S_IFDIR => NodeKind::Directory,
        abi::stat::S_IFLNK => NodeKind::Symlink,
        abi::stat::S_IFCHR => NodeKind::CharDevice(rdev),
        abi::stat::S_IFBLK => NodeKind::BlockDevice(rdev),
        abi::stat::S_IFIFO => NodeKind::Fifo,
        abi::stat::S_IFSOCK => NodeKind::Socket,
        _ => NodeKind::Regular,
    }
}

/// Attributes of one file.
#[derive(Debug)]
pub(super) struct Cached {
    ino: u64,
    dev: u64,
    rdev: u64,
    blksize: u32,
    btime: Option<i64>,
    mode: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    pub nlink: AtomicU32,
    pub size: AtomicU64,
    blocks: AtomicU64,
    atime: AtomicI64,
    mtime: AtomicI64,
    ctime: AtomicI64,
    /// Something was done that changes times, blocks or links on the host.
    pub stale: AtomicBool,
}

impl Cached {
    pub fn new(host: &Host, dev: u64) -> Self {
        let cached = Self {
            ino: host.ino,
            dev,
            rdev: abi::stat::makedev(host.rdev_major, host.rdev_minor),
            blksize: host.blksize,
            btime: (host.btime != Time::default()).then(|| nanos(host.btime)),
            mode: AtomicU32::new(0),
            uid: AtomicU32::new(0),
            gid: AtomicU32::new(0),
            nlink: AtomicU32::new(0),
            size: AtomicU64::new(host.size),
            blocks: AtomicU64::new(0),
            atime: AtomicI64::new(0),
            mtime: AtomicI64::new(0),
            ctime: AtomicI64::new(0),
            stale: AtomicBool::new(false),
        };
        cached.set(host);
        cached
    }

    /// Takes over what the gofer says, the size excepted.
    pub fn set(&self, host: &Host) {
        self.uid.store(host.uid, Relaxed);
        self.gid.store(host.gid, Relaxed);
        self.set_seen_here(host);
    }

    /// Takes over what the sentry itself saw of a descriptor. The owner is not to be had that way: the sentry lives in a user namespace
    /// in which the guest's users do not exist, and sees `nobody`.
    pub fn set_seen_here(&self, host: &Host) {
        self.mode.store(host.mode, Relaxed);
        self.nlink.store(host.nlink, Relaxed);
        self.blocks.store(host.blocks, Relaxed);
        self.atime.store(nanos(host.atime), Relaxed);
        self.mtime.store(nanos(host.mtime), Relaxed);
        self.ctime.store(nanos(host.ctime), Relaxed);
    }

    pub fn owner(&self) -> Owner {
        Owner {
            mode: self.mode.load(Relaxed),
            uid: self.uid.load(Relaxed),
            gid: self.gid.load(Relaxed),
        }
    }

    pub fn attr(&self) -> Attr {
        Attr {
            ino: self.ino,
            mode: self.mode.load(Relaxed),
            nlink: self.nlink.load(Relaxed),
            uid: self.uid.load(Relaxed),
            gid: self.gid.load(Relaxed),
            size: self.size.load(Relaxed),
            blocks: self.blocks.load(Relaxed),
            blksize: self.blksize,
            dev: self.dev,
            rdev: self.rdev,
            atime: self.atime.load(Relaxed),
            mtime: self.mtime.load(Relaxed),
            ctime: self.ctime.load(Relaxed),
            btime: self.btime,
        }
    }

    /// One name less.
    pub fn unlinked(&self) -> u32 {
        let before = self
            .nlink
            .fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1))
            .unwrap_or(0);
        before.saturating_sub(1)
    }
}
