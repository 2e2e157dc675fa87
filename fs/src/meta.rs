//! Attributes of an inode that lives in the sentry: mode, owner, links, times, without a lock.

use crate::inode::{Attr, NodeKind, SetAttr};
use crate::vfs::perm::Owner;
use crate::vfs::{MountFlags, Path};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use sync::OnceLock;

static CLOCK: OnceLock<fn() -> i64> = OnceLock::new();
static NEXT_INO: AtomicU64 = AtomicU64::new(2);
static NEXT_DEV: AtomicU32 = AtomicU32::new(20);

/// Where [`now_ns`] takes the time from; the first call wins. Without one it is the host's coarse real-time clock.
pub fn set_clock(clock: fn() -> i64) {
    let _ = CLOCK.set(clock);
}

/// The time for timestamps when no [`crate::Caller`] is at hand (access times, pipes), nanoseconds of `CLOCK_REALTIME`.
pub fn now_ns() -> i64 {
    if let Some(clock) = CLOCK.get() {
        return clock();
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

/// An inode number nobody else in the sandbox has, for filesystems without numbers of their own.
pub fn next_ino() -> u64 {
    NEXT_INO.fetch_add(1, Relaxed)
}

/// A device number (major 0) for a filesystem without a device.
pub fn next_dev() -> u64 {
    abi::stat::makedev(0, NEXT_DEV.fetch_add(1, Relaxed))
}

/// Mode, owner, link count and times.
#[derive(Debug)]
pub struct Meta {
    kind: NodeKind,
    ino: u64,
    mode: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    nlink: AtomicU32,
    atime: AtomicI64,
    mtime: AtomicI64,
    ctime: AtomicI64,
    btime: i64,
}

impl Meta {
    /// A new inode of `kind`, with one link (two for a directory), all times `now`.
    pub fn new(kind: NodeKind, owner: Owner, now: i64) -> Self {
        Self {
            kind,
            ino: next_ino(),
            mode: AtomicU32::new(owner.mode & 0o7777),
            uid: AtomicU32::new(owner.uid),
            gid: AtomicU32::new(owner.gid),
            nlink: AtomicU32::new(if kind == NodeKind::Directory { 2 } else { 1 }),
            atime: AtomicI64::new(now),
            mtime: AtomicI64::new(now),
            ctime: AtomicI64::new(now),
            btime: now,
        }
    }

    /// The same with a given inode number.
    pub fn with_ino(mut self, ino: u64) -> Self {
        self.ino = ino;
        self
    }

    /// The type.
    pub fn kind(&self) -> NodeKind {
        self.kind
    }
    /// The inode number.
    pub fn ino(&self) -> u64 {
        self.ino
    }
    /// Permission bits.
    pub fn mode(&self) -> u32 {
        self.mode.load(Relaxed)
    }
    /// Mode and owner.
    #[inline]
    pub fn owner(&self) -> Owner {
        Owner {
            mode: self.mode.load(Relaxed),
            uid: self.uid.load(Relaxed),
            gid: self.gid.load(Relaxed),
        }
    }
    /// Link count.
    pub fn nlink(&self) -> u32 {
        self.nlink.load(Relaxed)
    }
    /// One link more. Callers are ordered by the directories they hold.
    pub fn link(&self) {
        self.nlink.fetch_add(1, Relaxed);
    }
    /// One link less; returns what is left.
    pub fn unlink(&self) -> u32 {
        self.nlink
            .fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1)))
            .map_or(0, |n| n.saturating_sub(1))
    }
    /// Sets the link count.
    pub fn set_nlink(&self, n: u32) {
        self.nlink.store(n, Relaxed);
    }

    /// The attributes; `size` and 512-byte `blocks` are the caller's.
    pub fn attr(&self, dev: u64, size: u64, blocks: u64) -> Attr {
        let rdev = match self.kind {
            NodeKind::CharDevice(rdev) | NodeKind::BlockDevice(rdev) => rdev,
            _ => 0,
        };
        Attr {
            ino: self.ino,
            mode: self.kind.mode_bits() | self.mode(),
            nlink: self.nlink(),
            uid: self.uid.load(Relaxed),
            gid: self.gid.load(Relaxed),
            size,
            blocks,
            blksize: 4096,
            dev,
            rdev,
            atime: self.atime.load(Relaxed),
            mtime: self.mtime.load(Relaxed),
            ctime: self.ctime.load(Relaxed),
            btime: Some(self.btime),
        }
    }

    /// Applies everything but the size.
    pub fn set(&self, set: &SetAttr) {
        if let Some(mode) = set.mode {
            self.mode.store(mode & 0o7777, Relaxed);
        }
        if let Some(uid) = set.uid {
            self.uid.store(uid, Relaxed);
        }
        if let Some(gid) = set.gid {
            self.gid.store(gid, Relaxed);
        }
        if let Some(atime) = set.atime {
            self.atime.store(atime, Relaxed);
        }
        if let Some(mtime) = set.mtime {
            self.mtime.store(mtime, Relaxed);
        }
        self.ctime.store(set.ctime, Relaxed);
    }

    /// The content changed.
    pub fn modified(&self, now: i64) {
        self.mtime.store(now, Relaxed);
        self.ctime.store(now, Relaxed);
    }
    /// The inode changed.
    pub fn changed(&self, now: i64) {
        self.ctime.store(now, Relaxed);
    }

    /// The content was read through `path`: moves the access time as the mount asks (`relatime` unless told otherwise).
    pub fn accessed(&self, path: &Path, flags: u32) {
        let mount = path.mount.flags();
        let directory = self.kind == NodeKind::Directory;
        if flags & crate::file::O_NOATIME != 0
            || mount.intersects(MountFlags::NOATIME | MountFlags::RDONLY)
            || (directory && mount.contains(MountFlags::NODIRATIME))
        {
            return;
        }
        let atime = self.atime.load(Relaxed);
        let stale = atime <= self.mtime.load(Relaxed)
            || atime <= self.ctime.load(Relaxed)
            || mount.contains(MountFlags::STRICTATIME);
        let now = now_ns();
        const DAY: i64 = 24 * 3600 * 1_000_000_000;
        if now != atime && (stale || now.saturating_sub(atime) >= DAY) {
            self.atime.store(now, Relaxed);
        }
    }
}
