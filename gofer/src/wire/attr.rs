//! File attributes as they travel: a fixed 128-byte image of `statx(2)`, and what `setattr` changes.

use super::Malformed;
use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds of a second.
const NSEC: u32 = 1_000_000_000;
/// The file-type bits of a mode.
const S_IFMT: u32 = 0o170_000;

/// A point in time (`struct statx_timestamp`).
#[derive(
    Copy,
    Clone,
    Debug,
    Default,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct Time {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds, below 10⁹.
    pub nsec: u32,
    /// Zero.
    pub zero: u32,
}

impl Time {
    /// A time from its parts.
    pub const fn new(sec: i64, nsec: u32) -> Self {
        Self { sec, nsec, zero: 0 }
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.nsec >= NSEC || self.zero != 0 {
            Err(Malformed("time out of range"))
        } else {
            Ok(())
        }
    }
}

/// Attributes of a file.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Attr {
    /// Inode number on the host.
    pub ino: u64,
    /// Size in bytes; at most `i64::MAX`.
    pub size: u64,
    /// Allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the data.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Birth, zero where the host does not tell.
    pub btime: Time,
    /// Type and permissions.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred block size.
    pub blksize: u32,
    /// Host device that holds the file: with `ino`, the file's identity.
    pub dev_major: u32,
    /// Minor half of the device.
    pub dev_minor: u32,
    /// Device number of a device node.
    pub rdev_major: u32,
    /// Minor half of it.
    pub rdev_minor: u32,
    /// `STATX_ATTR_*` bits (append-only, immutable, …), the low 32.
    pub attributes: u32,
}

impl Attr {
    /// The type bits of the mode (`S_IFREG`, …).
    pub const fn file_type(&self) -> u32 {
        self.mode & S_IFMT
    }

    /// Whether it is a directory.
    pub const fn is_dir(&self) -> bool {
        self.file_type() == 0o040_000
    }

    /// Whether it is a regular file.
    pub const fn is_regular(&self) -> bool {
        self.file_type() == 0o100_000
    }

    /// Whether it is a symbolic link.
    pub const fn is_symlink(&self) -> bool {
        self.file_type() == 0o120_000
    }

    /// What makes two names the same file: device and inode number.
    pub const fn identity(&self) -> (u32, u32, u64) {
        (self.dev_major, self.dev_minor, self.ino)
    }

    /// Refuses what no Linux file has.
    pub fn check(&self) -> Result<(), Malformed> {
        self.atime.check()?;
        self.mtime.check()?;
        self.ctime.check()?;
        self.btime.check()?;
        if i64::try_from(self.size).is_err() {
            return Err(Malformed("file size out of range"));
        }
        match self.file_type() {
            0o010_000 | 0o020_000 | 0o040_000 | 0o060_000 | 0o100_000 | 0o120_000 | 0o140_000 => {}
            _ => return Err(Malformed("unknown file type")),
        }
        if self.mode & !(S_IFMT | 0o7777) != 0 {
            return Err(Malformed("unknown mode bits"));
        }
        Ok(())
    }
}

/// A node of the server's table and the attributes it had when it was made.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NodeInfo {
    /// The node's id; never zero.
    pub id: u64,
    /// Its attributes.
    pub attr: Attr,
}

impl NodeInfo {
    /// Refuses the null id and impossible attributes.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.id == 0 {
            return Err(Malformed("null node id"));
        }
        self.attr.check()
    }
}

bitflags! {
    /// What a mount of the gofer is and what may be done through it.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
    pub struct MountFlags: u32 {
        /// Nothing below may be changed.
        const READ_ONLY = 1;
        /// Others change the tree too: the sentry must revalidate what it caches.
        const SHARED = 2;
        /// Host FIFOs may be opened.
        const OPEN_FIFOS = 4;
        /// Host character devices may be opened.
        const OPEN_DEVICES = 8;
        /// Host Unix sockets may be connected to.
        const CONNECT = 16;
        /// Host Unix sockets may be bound.
        const BIND = 32;
        /// Device nodes may be made.
        const MAKE_DEVICES = 64;
    }
}

bitflags! {
    /// Which fields of a [`SetAttr`] count.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
    pub struct SetAttrMask: u32 {
        /// Change the permission bits.
        const MODE = 1;
        /// Change the owner.
        const UID = 2;
        /// Change the group.
        const GID = 4;
        /// Set the access time.
        const ATIME = 16;
        /// Set the modification time.
        const MTIME = 32;
        /// The access time is the host's now; `atime` is zero.
        const ATIME_NOW = 64;
        /// The modification time is the host's now; `mtime` is zero.
        const MTIME_NOW = 128;
    }
}

/// A time to set.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SetTime {
    /// This time.
    To(Time),
    /// The host's clock.
    Now,
}

/// What `setattr` changes. The size is not among it: who may truncate a file may have a descriptor for it, and truncates that.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SetAttr {
    /// A [`SetAttrMask`].
    pub mask: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Access time.
    pub atime: Time,
    /// Modification time.
    pub mtime: Time,
}

impl SetAttr {
    /// Which fields count.
    pub fn mask(&self) -> SetAttrMask {
        SetAttrMask::from_bits_truncate(self.mask)
    }

    fn add(&mut self, mask: SetAttrMask) {
        self.mask |= mask.bits();
    }

    /// Also set the permission bits.
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o7777;
        self.add(SetAttrMask::MODE);
        self
    }

    /// Also set the owner.
    pub fn with_uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self.add(SetAttrMask::UID);
        self
    }

    /// Also set the group.
    pub fn with_gid(mut self, gid: u32) -> Self {
        self.gid = gid;
        self.add(SetAttrMask::GID);
        self
    }

    /// Also set the access time.
    pub fn with_atime(mut self, time: SetTime) -> Self {
        self.add(SetAttrMask::ATIME);
        match time {
            SetTime::To(time) => self.atime = time,
            SetTime::Now => self.add(SetAttrMask::ATIME_NOW),
        }
        self
    }

    /// Also set the modification time.
    pub fn with_mtime(mut self, time: SetTime) -> Self {
        self.add(SetAttrMask::MTIME);
        match time {
            SetTime::To(time) => self.mtime = time,
            SetTime::Now => self.add(SetAttrMask::MTIME_NOW),
        }
        self
    }

    /// Refuses unknown bits and numbers out of range.
    pub fn check(&self) -> Result<(), Malformed> {
        let mask = SetAttrMask::from_bits(self.mask).ok_or(Malformed("unknown setattr bits"))?;
        if mask.contains(SetAttrMask::ATIME_NOW) && !mask.contains(SetAttrMask::ATIME)
            || mask.contains(SetAttrMask::MTIME_NOW) && !mask.contains(SetAttrMask::MTIME)
        {
            return Err(Malformed("a time is now but not set"));
        }
        self.atime.check()?;
        self.mtime.check()?;
        if self.mode & !0o7777 != 0 {
            return Err(Malformed("mode bits beyond permissions"));
        }
        // uid and gid -1 mean "leave it" to chown(2): a request that wants that leaves the bit out.
        if mask.contains(SetAttrMask::UID) && self.uid == u32::MAX
            || mask.contains(SetAttrMask::GID) && self.gid == u32::MAX
        {
            return Err(Malformed("invalid owner"));
        }
        Ok(())
    }
}

/// `struct statfs`, less what the sentry knows itself.
#[derive(
    Copy, Clone, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FsStat {
    /// Magic number of the host's file system.
    pub kind: u64,
    /// Block size.
    pub bsize: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Blocks free to the unprivileged.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Longest name.
    pub namelen: u64,
    /// Fragment size.
    pub frsize: u64,
}
