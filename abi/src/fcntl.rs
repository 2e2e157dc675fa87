//! Opening and controlling files (`asm-generic/fcntl.h`, `linux/fcntl.h`): open(2), fcntl(2), flock(2), the `*at` calls.
#![allow(missing_docs)]

bitflags::bitflags! {
    /// open(2). `O_RDONLY` is no bit: see [`OpenFlags::readable`]. `O_SYNC` and `O_TMPFILE` have two bits each: use `contains`.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct OpenFlags: u32 {
        const O_WRONLY = 0o0000001;
        const O_RDWR = 0o0000002;
        const O_CREAT = 0o0000100;
        const O_EXCL = 0o0000200;
        const O_NOCTTY = 0o0000400;
        const O_TRUNC = 0o0001000;
        const O_APPEND = 0o0002000;
        const O_NONBLOCK = 0o0004000;
        const O_DSYNC = 0o0010000;
        const FASYNC = 0o0020000;
        const O_DIRECT = 0o0040000;
        const O_LARGEFILE = 0o0100000;
        const O_DIRECTORY = 0o0200000;
        const O_NOFOLLOW = 0o0400000;
        const O_NOATIME = 0o1000000;
        const O_CLOEXEC = 0o2000000;
        const O_PATH = 0o10000000;
        const O_SYNC = 0o4010000;
        const O_TMPFILE = 0o20200000;
        const O_ACCMODE = 3;
    }
}

impl OpenFlags {
    pub const O_RDONLY: OpenFlags = OpenFlags::empty();
    /// What fcntl(F_SETFL) changes.
    pub const SETFL: OpenFlags = OpenFlags::O_APPEND
        .union(OpenFlags::O_NONBLOCK)
        .union(OpenFlags::FASYNC)
        .union(OpenFlags::O_DIRECT)
        .union(OpenFlags::O_NOATIME);

    /// May the description be read?
    pub const fn readable(self) -> bool {
        matches!(self.bits() & 3, 0 | 2) && !self.contains(OpenFlags::O_PATH)
    }

    /// May the description be written?
    pub const fn writable(self) -> bool {
        matches!(self.bits() & 3, 1 | 2) && !self.contains(OpenFlags::O_PATH)
    }
}

bitflags::bitflags! {
    /// The flags of the `*at` calls. 0x200 means `AT_EACCESS` to faccessat2 and `AT_REMOVEDIR` to unlinkat.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct AtFlags: u32 {
        const AT_SYMLINK_NOFOLLOW = 0x100;
        const AT_SYMLINK_FOLLOW = 0x400;
        const AT_NO_AUTOMOUNT = 0x800;
        const AT_EMPTY_PATH = 0x1000;
        const AT_STATX_FORCE_SYNC = 0x2000;
        const AT_STATX_DONT_SYNC = 0x4000;
        const AT_RECURSIVE = 0x8000;
        const AT_EACCESS = 0x200;
        const AT_REMOVEDIR = 0x200;
    }
}

/// The current directory, in place of a directory descriptor.
pub const AT_FDCWD: i32 = -100;

bitflags::bitflags! {
    /// Seals of a memfd (fcntl(2), F_ADD_SEALS).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct Seals: u32 {
        const F_SEAL_SEAL = 0x0001;
        const F_SEAL_SHRINK = 0x0002;
        const F_SEAL_GROW = 0x0004;
        const F_SEAL_WRITE = 0x0008;
        const F_SEAL_FUTURE_WRITE = 0x0010;
        const F_SEAL_EXEC = 0x20;
    }
}

pub const F_DUPFD: i32 = 0;
pub const F_EXLCK: i32 = 4;
pub const F_GETFD: i32 = 1;
pub const F_GETFL: i32 = 3;
pub const F_GETLK: i32 = 5;
pub const F_GETLK64: i32 = 12;
pub const F_GETOWN: i32 = 9;
pub const F_GETOWNER_UIDS: i32 = 17;
pub const F_GETOWN_EX: i32 = 16;
pub const F_GETSIG: i32 = 11;
pub const F_OFD_GETLK: i32 = 36;
pub const F_OFD_SETLK: i32 = 37;
pub const F_OFD_SETLKW: i32 = 38;
pub const F_OWNER_PGRP: i32 = 2;
pub const F_OWNER_PID: i32 = 1;
pub const F_OWNER_TID: i32 = 0;
pub const F_RDLCK: i32 = 0;
pub const F_SETFD: i32 = 2;
pub const F_SETFL: i32 = 4;
pub const F_SETLK: i32 = 6;
pub const F_SETLK64: i32 = 13;
pub const F_SETLKW: i32 = 7;
pub const F_SETLKW64: i32 = 14;
pub const F_SETOWN: i32 = 8;
pub const F_SETOWN_EX: i32 = 15;
pub const F_SETSIG: i32 = 10;
pub const F_SHLCK: i32 = 8;
pub const F_UNLCK: i32 = 2;
pub const F_WRLCK: i32 = 1;
pub const F_SETLEASE: i32 = 1024;
pub const F_GETLEASE: i32 = 1025;
pub const F_NOTIFY: i32 = 1026;
pub const F_DUPFD_QUERY: i32 = 1027;
pub const F_CREATED_QUERY: i32 = 1028;
pub const F_CANCELLK: i32 = 1029;
pub const F_DUPFD_CLOEXEC: i32 = 1030;
pub const F_SETPIPE_SZ: i32 = 1031;
pub const F_GETPIPE_SZ: i32 = 1032;
pub const F_ADD_SEALS: i32 = 1033;
pub const F_GET_SEALS: i32 = 1034;
pub const F_GET_RW_HINT: i32 = 1035;
pub const F_SET_RW_HINT: i32 = 1036;
pub const F_GET_FILE_RW_HINT: i32 = 1037;
pub const F_SET_FILE_RW_HINT: i32 = 1038;
pub const FD_CLOEXEC: i32 = 1;
pub const LOCK_SH: i32 = 1;
pub const LOCK_EX: i32 = 2;
pub const LOCK_NB: i32 = 4;
pub const LOCK_UN: i32 = 8;
pub const LOCK_MAND: i32 = 32;
pub const LOCK_READ: i32 = 64;
pub const LOCK_WRITE: i32 = 128;
pub const LOCK_RW: i32 = 192;
pub const DN_ACCESS: u32 = 0x00000001;
pub const DN_MODIFY: u32 = 0x00000002;
pub const DN_CREATE: u32 = 0x00000004;
pub const DN_DELETE: u32 = 0x00000008;
pub const DN_RENAME: u32 = 0x00000010;
pub const DN_ATTRIB: u32 = 0x00000020;
pub const DN_MULTISHOT: u32 = 0x80000000;

/// renameat2(2): do not replace.
pub const RENAME_NOREPLACE: u32 = 1;
/// renameat2(2): swap both names.
pub const RENAME_EXCHANGE: u32 = 2;
/// renameat2(2): leave a whiteout.
pub const RENAME_WHITEOUT: u32 = 4;

pub const POSIX_FADV_NORMAL: i32 = 0;
pub const POSIX_FADV_RANDOM: i32 = 1;
pub const POSIX_FADV_SEQUENTIAL: i32 = 2;
pub const POSIX_FADV_WILLNEED: i32 = 3;
pub const POSIX_FADV_DONTNEED: i32 = 4;
pub const POSIX_FADV_NOREUSE: i32 = 5;

bitflags::bitflags! {
    /// fallocate(2) modes (`linux/falloc.h`).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct FallocFlags: u32 {
        const FALLOC_FL_KEEP_SIZE = 0x01;
        const FALLOC_FL_PUNCH_HOLE = 0x02;
        const FALLOC_FL_NO_HIDE_STALE = 0x04;
        const FALLOC_FL_COLLAPSE_RANGE = 0x08;
        const FALLOC_FL_ZERO_RANGE = 0x10;
        const FALLOC_FL_INSERT_RANGE = 0x20;
        const FALLOC_FL_UNSHARE_RANGE = 0x40;
    }

    /// preadv2(2), pwritev2(2).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct RwFlags: u32 {
        const RWF_HIPRI = 0x01;
        const RWF_DSYNC = 0x02;
        const RWF_SYNC = 0x04;
        const RWF_NOWAIT = 0x08;
        const RWF_APPEND = 0x10;
        const RWF_NOAPPEND = 0x20;
        const RWF_ATOMIC = 0x40;
        const RWF_DONTCACHE = 0x80;
    }

    /// splice(2), tee(2), vmsplice(2).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct SpliceFlags: u32 {
        const SPLICE_F_MOVE = 1;
        const SPLICE_F_NONBLOCK = 2;
        const SPLICE_F_MORE = 4;
        const SPLICE_F_GIFT = 8;
    }
}

/// sync_file_range(2): the flags there are.
pub const SYNC_FILE_RANGE_VALID: u32 = 7;

/// lseek(2).
pub const SEEK_SET: i32 = 0;
pub const SEEK_CUR: i32 = 1;
pub const SEEK_END: i32 = 2;
pub const SEEK_DATA: i32 = 3;
pub const SEEK_HOLE: i32 = 4;

/// access(2).
pub const R_OK: u32 = 4;
pub const W_OK: u32 = 2;
pub const X_OK: u32 = 1;
pub const F_OK: u32 = 0;

pub const CLOSE_RANGE_UNSHARE: u32 = 2;
pub const CLOSE_RANGE_CLOEXEC: u32 = 4;

pub const MFD_CLOEXEC: u32 = 1;
pub const MFD_ALLOW_SEALING: u32 = 2;
pub const MFD_HUGETLB: u32 = 4;
pub const MFD_NOEXEC_SEAL: u32 = 8;
pub const MFD_EXEC: u32 = 16;

abi_struct! {
    /// `struct flock` (fcntl(2), F_SETLK).
    pub struct Flock [32] {
        pub l_type: i16,
        pub l_whence: i16,
        pub _pad: i32,
        pub l_start: i64,
        pub l_len: i64,
        pub l_pid: i32,
        pub _pad2: i32,
    }

    /// `struct f_owner_ex` (fcntl(2), F_SETOWN_EX).
    pub struct FOwnerEx [8] {
        pub r#type: i32,
        pub pid: i32,
    }
}
