//! File attributes (`asm/stat.h`, `linux/stat.h`): stat(2), statx(2), file types and permission bits.
#![allow(missing_docs)]

pub const S_IFMT: u32 = 0o170000;
pub const S_IFSOCK: u32 = 0o140000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFIFO: u32 = 0o010000;
pub const S_ISUID: u32 = 0o4000;
pub const S_ISGID: u32 = 0o2000;
pub const S_ISVTX: u32 = 0o1000;
pub const S_IRWXU: u32 = 0o700;
pub const S_IRUSR: u32 = 0o400;
pub const S_IWUSR: u32 = 0o200;
pub const S_IXUSR: u32 = 0o100;
pub const S_IRWXG: u32 = 0o070;
pub const S_IRGRP: u32 = 0o040;
pub const S_IWGRP: u32 = 0o020;
pub const S_IXGRP: u32 = 0o010;
pub const S_IRWXO: u32 = 0o007;
pub const S_IROTH: u32 = 0o004;
pub const S_IWOTH: u32 = 0o002;
pub const S_IXOTH: u32 = 0o001;
/// Everything chmod(2) can set.
pub const S_IALLUGO: u32 = 0o7777;
/// All read, write and execute bits.
pub const S_IRWXUGO: u32 = 0o777;

abi_struct! {
    /// `struct stat` of x86-64.
    pub struct Stat [144] {
        pub st_dev: u64,
        pub st_ino: u64,
        pub st_nlink: u64,
        pub st_mode: u32,
        pub st_uid: u32,
        pub st_gid: u32,
        pub _pad0: u32,
        pub st_rdev: u64,
        pub st_size: i64,
        pub st_blksize: i64,
        pub st_blocks: i64,
        pub st_atime: u64,
        pub st_atime_nsec: u64,
        pub st_mtime: u64,
        pub st_mtime_nsec: u64,
        pub st_ctime: u64,
        pub st_ctime_nsec: u64,
        pub _unused: [i64; 3],
    }

    /// `struct statx_timestamp`.
    pub struct StatxTimestamp [16] {
        pub tv_sec: i64,
        pub tv_nsec: u32,
        pub _reserved: i32,
    }

    /// `struct statx`.
    pub struct Statx [256] {
        pub stx_mask: u32,
        pub stx_blksize: u32,
        pub stx_attributes: u64,
        pub stx_nlink: u32,
        pub stx_uid: u32,
        pub stx_gid: u32,
        pub stx_mode: u16,
        pub _spare0: u16,
        pub stx_ino: u64,
        pub stx_size: u64,
        pub stx_blocks: u64,
        pub stx_attributes_mask: u64,
        pub stx_atime: StatxTimestamp,
        pub stx_btime: StatxTimestamp,
        pub stx_ctime: StatxTimestamp,
        pub stx_mtime: StatxTimestamp,
        pub stx_rdev_major: u32,
        pub stx_rdev_minor: u32,
        pub stx_dev_major: u32,
        pub stx_dev_minor: u32,
        pub stx_mnt_id: u64,
        pub stx_dio_mem_align: u32,
        pub stx_dio_offset_align: u32,
        pub stx_subvol: u64,
        pub stx_atomic_write_unit_min: u32,
        pub stx_atomic_write_unit_max: u32,
        pub stx_atomic_write_segments_max: u32,
        pub stx_dio_read_offset_align: u32,
        pub _spare3: [u64; 9],
    }
}

bitflags::bitflags! {
    /// statx(2): what is wanted, what is given.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct StatxMask: u32 {
        const STATX_TYPE = 0x00000001;
        const STATX_MODE = 0x00000002;
        const STATX_NLINK = 0x00000004;
        const STATX_UID = 0x00000008;
        const STATX_GID = 0x00000010;
        const STATX_ATIME = 0x00000020;
        const STATX_MTIME = 0x00000040;
        const STATX_CTIME = 0x00000080;
        const STATX_INO = 0x00000100;
        const STATX_SIZE = 0x00000200;
        const STATX_BLOCKS = 0x00000400;
        const STATX_BTIME = 0x00000800;
        const STATX_MNT_ID = 0x00001000;
        const STATX_DIOALIGN = 0x00002000;
        const STATX_MNT_ID_UNIQUE = 0x4000;
        const STATX_SUBVOL = 0x8000;
    }
}

impl StatxMask {
    /// What stat(2) gives.
    pub const STATX_BASIC_STATS: StatxMask = StatxMask::from_bits_retain(0x7ff);
    /// A bit no caller may set.
    pub const STATX__RESERVED: u32 = 0x8000_0000;
}

bitflags::bitflags! {
    /// Attributes of a file (`stx_attributes`).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct StatxAttr: u64 {
        const STATX_ATTR_COMPRESSED = 0x00000004;
        const STATX_ATTR_IMMUTABLE = 0x00000010;
        const STATX_ATTR_APPEND = 0x00000020;
        const STATX_ATTR_NODUMP = 0x00000040;
        const STATX_ATTR_ENCRYPTED = 0x00000800;
        const STATX_ATTR_AUTOMOUNT = 0x00001000;
        const STATX_ATTR_MOUNT_ROOT = 0x00002000;
        const STATX_ATTR_VERITY = 0x00100000;
        const STATX_ATTR_DAX = 0x00200000;
    }
}

/// `UTIME_NOW`: utimensat(2) takes the current time.
pub const UTIME_NOW: i64 = 0x3fff_ffff;
/// `UTIME_OMIT`: utimensat(2) leaves this time alone.
pub const UTIME_OMIT: i64 = 0x3fff_fffe;

/// A device number as `st_dev` has it (`new_encode_dev` widened by glibc's makedev(3)).
pub const fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xfff) << 8 | (major & !0xfff) << 32 | (minor & 0xff) | (minor & !0xff) << 12
}

/// The major number.
pub const fn major(dev: u64) -> u32 {
    ((dev >> 8 & 0xfff) | (dev >> 32 & 0xffff_f000)) as u32
}

/// The minor number.
pub const fn minor(dev: u64) -> u32 {
    ((dev & 0xff) | (dev >> 12 & 0xffff_ff00)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers() {
        for (ma, mi) in [(1, 3), (136, 0), (8, 0x12345), (0xfffff, u32::MAX)] {
            assert_eq!((major(makedev(ma, mi)), minor(makedev(ma, mi))), (ma, mi));
        }
        assert_eq!(
            (makedev(1, 3), makedev(136, 0), makedev(0, 256)),
            (0x103, 0x8800, 0x10_0000)
        );
    }
}
