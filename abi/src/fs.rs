//! File systems (`linux/mount.h`, `linux/magic.h`, `linux/openat2.h`, `linux/xattr.h`, `linux/inotify.h`, `linux/fanotify.h`): mount(2), statfs(2), openat2(2), inotify(7).
#![allow(missing_docs)]

bitflags::bitflags! {
    /// mount(2).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct MountFlags: u32 {
        const MS_RDONLY = 0x1;
        const MS_NOSUID = 0x2;
        const MS_NODEV = 0x4;
        const MS_NOEXEC = 0x8;
        const MS_SYNCHRONOUS = 0x10;
        const MS_REMOUNT = 0x20;
        const MS_MANDLOCK = 0x40;
        const MS_DIRSYNC = 0x80;
        const MS_NOSYMFOLLOW = 0x100;
        const MS_NOATIME = 0x400;
        const MS_NODIRATIME = 0x800;
        const MS_BIND = 0x1000;
        const MS_MOVE = 0x2000;
        const MS_REC = 0x4000;
        const MS_SILENT = 0x8000;
        const MS_POSIXACL = 0x10000;
        const MS_UNBINDABLE = 0x20000;
        const MS_PRIVATE = 0x40000;
        const MS_SLAVE = 0x80000;
        const MS_SHARED = 0x100000;
        const MS_RELATIME = 0x200000;
        const MS_KERNMOUNT = 0x400000;
        const MS_I_VERSION = 0x800000;
        const MS_STRICTATIME = 0x1000000;
        const MS_LAZYTIME = 0x2000000;
        const MS_SUBMOUNT = 0x4000000;
        const MS_NOREMOTELOCK = 0x8000000;
        const MS_NOSEC = 0x10000000;
        const MS_BORN = 0x20000000;
        const MS_ACTIVE = 0x40000000;
        const MS_NOUSER = 0x80000000;
    }
}

bitflags::bitflags! {
    /// mount_setattr(2), fsmount(2). The bits 0x70 are a number: 0 relatime, 0x10 noatime, 0x20 strictatime.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct MountAttr: u64 {
        const MOUNT_ATTR_RDONLY = 0x1;
        const MOUNT_ATTR_NOSUID = 0x2;
        const MOUNT_ATTR_NODEV = 0x4;
        const MOUNT_ATTR_NOEXEC = 0x8;
        const MOUNT_ATTR_NOATIME = 0x10;
        const MOUNT_ATTR_STRICTATIME = 0x20;
        const MOUNT_ATTR_NODIRATIME = 0x80;
        const MOUNT_ATTR_IDMAP = 0x100000;
        const MOUNT_ATTR_NOSYMFOLLOW = 0x200000;
    }
}

pub const MOUNT_ATTR__ATIME: u64 = 0x70;
pub const MNT_FORCE: u32 = 0x1;
pub const MNT_DETACH: u32 = 0x2;
pub const MNT_EXPIRE: u32 = 0x4;
pub const UMOUNT_NOFOLLOW: u32 = 0x8;
pub const OPEN_TREE_CLONE: u32 = 0x1;
pub const MOVE_MOUNT_F_SYMLINKS: u32 = 0x1;
pub const MOVE_MOUNT_F_AUTOMOUNTS: u32 = 0x2;
pub const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
pub const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;
pub const MOVE_MOUNT_T_AUTOMOUNTS: u32 = 0x20;
pub const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
pub const MOVE_MOUNT_SET_GROUP: u32 = 0x100;
pub const MOVE_MOUNT__MASK: u32 = 0x177;
pub const FSOPEN_CLOEXEC: u32 = 0x1;
pub const FSPICK_CLOEXEC: u32 = 0x1;
pub const FSPICK_SYMLINK_NOFOLLOW: u32 = 0x2;
pub const FSPICK_NO_AUTOMOUNT: u32 = 0x4;
pub const FSPICK_EMPTY_PATH: u32 = 0x8;
pub const FSCONFIG_SET_FLAG: u32 = 0x0;
pub const FSCONFIG_SET_STRING: u32 = 0x1;
pub const FSCONFIG_SET_BINARY: u32 = 0x2;
pub const FSCONFIG_SET_PATH: u32 = 0x3;
pub const FSCONFIG_SET_PATH_EMPTY: u32 = 0x4;
pub const FSCONFIG_SET_FD: u32 = 0x5;
pub const FSCONFIG_CMD_CREATE: u32 = 0x6;
pub const FSCONFIG_CMD_RECONFIGURE: u32 = 0x7;
pub const FSMOUNT_CLOEXEC: u32 = 0x1;

pub const AUTOFS_SUPER_MAGIC: u64 = 0x187;
pub const CEPH_SUPER_MAGIC: u64 = 0xc36400;
pub const CRAMFS_MAGIC: u64 = 0x28cd3d45;
pub const DEBUGFS_MAGIC: u64 = 0x64626720;
pub const SECURITYFS_MAGIC: u64 = 0x73636673;
pub const SELINUX_MAGIC: u64 = 0xf97cff8c;
pub const SMACK_MAGIC: u64 = 0x43415d53;
pub const RAMFS_MAGIC: u64 = 0x858458f6;
pub const TMPFS_MAGIC: u64 = 0x1021994;
pub const HUGETLBFS_MAGIC: u64 = 0x958458f6;
pub const SQUASHFS_MAGIC: u64 = 0x73717368;
pub const ECRYPTFS_SUPER_MAGIC: u64 = 0xf15f;
pub const EFS_SUPER_MAGIC: u64 = 0x414a53;
pub const EXT2_SUPER_MAGIC: u64 = 0xef53;
pub const EXT3_SUPER_MAGIC: u64 = 0xef53;
pub const XENFS_SUPER_MAGIC: u64 = 0xabba1974;
pub const EXT4_SUPER_MAGIC: u64 = 0xef53;
pub const BTRFS_SUPER_MAGIC: u64 = 0x9123683e;
pub const NILFS_SUPER_MAGIC: u64 = 0x3434;
pub const F2FS_SUPER_MAGIC: u64 = 0xf2f52010;
pub const ISOFS_SUPER_MAGIC: u64 = 0x9660;
pub const JFFS2_SUPER_MAGIC: u64 = 0x72b6;
pub const XFS_SUPER_MAGIC: u64 = 0x58465342;
pub const PSTOREFS_MAGIC: u64 = 0x6165676c;
pub const EFIVARFS_MAGIC: u64 = 0xde5e81e4;
pub const HOSTFS_SUPER_MAGIC: u64 = 0xc0ffee;
pub const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c7630;
pub const FUSE_SUPER_MAGIC: u64 = 0x65735546;
pub const MSDOS_SUPER_MAGIC: u64 = 0x4d44;
pub const EXFAT_SUPER_MAGIC: u64 = 0x2011bab0;
pub const NCP_SUPER_MAGIC: u64 = 0x564c;
pub const NFS_SUPER_MAGIC: u64 = 0x6969;
pub const OPENPROM_SUPER_MAGIC: u64 = 0x9fa1;
pub const CGROUP_SUPER_MAGIC: u64 = 0x27e0eb;
pub const CGROUP2_SUPER_MAGIC: u64 = 0x63677270;
pub const RDTGROUP_SUPER_MAGIC: u64 = 0x7655821;
pub const STACK_END_MAGIC: u64 = 0x57ac6e9d;
pub const TRACEFS_MAGIC: u64 = 0x74726163;
pub const V9FS_MAGIC: u64 = 0x1021997;
pub const BDEVFS_MAGIC: u64 = 0x62646576;
pub const DAXFS_MAGIC: u64 = 0x64646178;
pub const BINFMTFS_MAGIC: u64 = 0x42494e4d;
pub const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
pub const BINDERFS_SUPER_MAGIC: u64 = 0x6c6f6f70;
pub const FUTEXFS_SUPER_MAGIC: u64 = 0xbad1dea;
pub const PIPEFS_MAGIC: u64 = 0x50495045;
pub const PROC_SUPER_MAGIC: u64 = 0x9fa0;
pub const SOCKFS_MAGIC: u64 = 0x534f434b;
pub const SYSFS_MAGIC: u64 = 0x62656572;
pub const USBDEVICE_SUPER_MAGIC: u64 = 0x9fa2;
pub const ANON_INODE_FS_MAGIC: u64 = 0x9041934;
pub const BTRFS_TEST_MAGIC: u64 = 0x73727279;
pub const NSFS_MAGIC: u64 = 0x6e736673;
pub const BPF_FS_MAGIC: u64 = 0xcafe4a11;
pub const ZONEFS_MAGIC: u64 = 0x5a4f4653;
pub const UDF_SUPER_MAGIC: u64 = 0x15013346;
pub const DMA_BUF_MAGIC: u64 = 0x444d4142;
pub const DEVMEM_MAGIC: u64 = 0x454d444d;
pub const SECRETMEM_MAGIC: u64 = 0x5345434d;
pub const MQUEUE_MAGIC: u64 = 0x1980_0202;

bitflags::bitflags! {
    /// `f_flags` of statfs(2).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct StatfsFlags: u64 {
        const ST_RDONLY = 0x1;
        const ST_NOSUID = 0x2;
        const ST_NODEV = 0x4;
        const ST_NOEXEC = 0x8;
        const ST_SYNCHRONOUS = 0x10;
        const ST_VALID = 0x20;
        const ST_MANDLOCK = 0x40;
        const ST_NOATIME = 0x400;
        const ST_NODIRATIME = 0x800;
        const ST_RELATIME = 0x1000;
        const ST_NOSYMFOLLOW = 0x2000;
    }
}

abi_struct! {
    /// `struct statfs`.
    pub struct Statfs [120] {
        pub f_type: i64,
        pub f_bsize: i64,
        pub f_blocks: u64,
        pub f_bfree: u64,
        pub f_bavail: u64,
        pub f_files: u64,
        pub f_ffree: u64,
        pub f_fsid: [i32; 2],
        pub f_namelen: i64,
        pub f_frsize: i64,
        pub f_flags: i64,
        pub f_spare: [i64; 4],
    }

    /// `struct open_how` (openat2(2)).
    pub struct OpenHow [24] {
        pub flags: u64,
        pub mode: u64,
        pub resolve: u64,
    }

    /// `struct mount_attr` (mount_setattr(2)).
    pub struct MountAttrArg [32] {
        pub attr_set: u64,
        pub attr_clr: u64,
        pub propagation: u64,
        pub userns_fd: u64,
    }

    /// `struct inotify_event`: the name follows, padded with zeroes to `len` bytes.
    pub struct InotifyEvent [16] {
        pub wd: i32,
        pub mask: u32,
        pub cookie: u32,
        pub len: u32,
    }

    /// `struct file_handle` (name_to_handle_at(2)): the handle follows.
    pub struct FileHandle [8] {
        pub handle_bytes: u32,
        pub handle_type: i32,
    }

    /// `struct file_clone_range` (FICLONERANGE).
    pub struct FileCloneRange [32] {
        pub src_fd: i64,
        pub src_offset: u64,
        pub src_length: u64,
        pub dest_offset: u64,
    }

    /// `struct xattr_args` (setxattrat(2)).
    pub struct XattrArgs [16] {
        pub value: u64,
        pub size: u32,
        pub flags: u32,
    }

    /// `struct cachestat_range`.
    pub struct CachestatRange [16] {
        pub off: u64,
        pub len: u64,
    }

    /// `struct cachestat`.
    pub struct Cachestat [40] {
        pub nr_cache: u64,
        pub nr_dirty: u64,
        pub nr_writeback: u64,
        pub nr_evicted: u64,
        pub nr_recently_evicted: u64,
    }
}

pub const OPEN_HOW_SIZE_VER0: usize = 24;
pub const MOUNT_ATTR_SIZE_VER0: usize = 32;
/// The longest file handle.
pub const MAX_HANDLE_SZ: u32 = 128;

bitflags::bitflags! {
    /// `open_how.resolve`.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct ResolveFlags: u64 {
        const RESOLVE_NO_XDEV = 0x01;
        const RESOLVE_NO_MAGICLINKS = 0x02;
        const RESOLVE_NO_SYMLINKS = 0x04;
        const RESOLVE_BENEATH = 0x08;
        const RESOLVE_IN_ROOT = 0x10;
        const RESOLVE_CACHED = 0x20;
    }
}

pub const XATTR_CREATE: i32 = 1;
pub const XATTR_REPLACE: i32 = 2;
pub const XATTR_NAME_MAX: usize = 255;
pub const XATTR_SIZE_MAX: usize = 65536;
pub const XATTR_LIST_MAX: usize = 65536;

bitflags::bitflags! {
    /// inotify(7).
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct InotifyMask: u32 {
        const IN_ACCESS = 0x00000001;
        const IN_MODIFY = 0x00000002;
        const IN_ATTRIB = 0x00000004;
        const IN_CLOSE_WRITE = 0x00000008;
        const IN_CLOSE_NOWRITE = 0x00000010;
        const IN_OPEN = 0x00000020;
        const IN_MOVED_FROM = 0x00000040;
        const IN_MOVED_TO = 0x00000080;
        const IN_CREATE = 0x00000100;
        const IN_DELETE = 0x00000200;
        const IN_DELETE_SELF = 0x00000400;
        const IN_MOVE_SELF = 0x00000800;
        const IN_UNMOUNT = 0x00002000;
        const IN_Q_OVERFLOW = 0x00004000;
        const IN_IGNORED = 0x00008000;
        const IN_ONLYDIR = 0x01000000;
        const IN_DONT_FOLLOW = 0x02000000;
        const IN_EXCL_UNLINK = 0x04000000;
        const IN_MASK_CREATE = 0x10000000;
        const IN_MASK_ADD = 0x20000000;
        const IN_ISDIR = 0x40000000;
        const IN_ONESHOT = 0x80000000;
    }
}

impl InotifyMask {
    pub const IN_ALL_EVENTS: InotifyMask = InotifyMask::from_bits_retain(0xfff);
    pub const IN_CLOSE: InotifyMask =
        InotifyMask::IN_CLOSE_WRITE.union(InotifyMask::IN_CLOSE_NOWRITE);
    pub const IN_MOVE: InotifyMask = InotifyMask::IN_MOVED_FROM.union(InotifyMask::IN_MOVED_TO);
}

pub const IN_CLOEXEC: i32 = 0o2000000;
pub const IN_NONBLOCK: i32 = 0o4000;

/// Attributes of FS_IOC_GETFLAGS.
pub const FS_IMMUTABLE_FL: u32 = 0x10;
pub const FS_APPEND_FL: u32 = 0x20;
pub const FS_NODUMP_FL: u32 = 0x40;
pub const FS_NOATIME_FL: u32 = 0x80;
