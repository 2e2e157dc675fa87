//! Permission checks: who may do what to an inode (`fs/namei.c`: `generic_permission`, `may_create`, `may_delete`; `fs/attr.c`: `setattr_prepare`).

use super::mount::{MountFlags, Path};
use crate::inode::NodeKind;
use crate::{Attr, Caller, Cred, Inode};
use abi::Errno;

/// Execute a file, search a directory.
pub const MAY_EXEC: u32 = 1;
/// Write.
pub const MAY_WRITE: u32 = 2;
/// Read.
pub const MAY_READ: u32 = 4;

/// Capability numbers that file access looks at (`linux/capability.h`).
#[allow(missing_docs)]
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_RESOURCE: u32 = 24;
    pub const MKNOD: u32 = 27;
    pub const SETFCAP: u32 = 31;
}

/// Mode and owner: all that a permission check needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owner {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl From<&Attr> for Owner {
    fn from(attr: &Attr) -> Self {
        Self {
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
        }
    }
}

/// The classic check: one class of mode bits, then capabilities.
#[inline]
pub fn generic(owner: Owner, directory: bool, cred: &Cred, mask: u32) -> Result<(), Errno> {
    let bits = if owner.uid == cred.fsuid {
        owner.mode >> 6
    } else if (owner.mode >> 3 ^ owner.mode) & mask & 7 != 0 && cred.in_group(owner.gid) {
        // Asked only when group and others differ in the bits wanted.
        owner.mode >> 3
    } else {
        owner.mode
    };
    if mask & !bits & 7 == 0 {
        return Ok(());
    }
    capable(owner, directory, cred, mask)
}

/// May it be done whatever the mode says?
pub fn capable(owner: Owner, directory: bool, cred: &Cred, mask: u32) -> Result<(), Errno> {
    if directory {
        if mask & MAY_WRITE == 0 && cred.has_cap(cap::DAC_READ_SEARCH) {
            return Ok(());
        }
        if cred.has_cap(cap::DAC_OVERRIDE) {
            return Ok(());
        }
        return Err(Errno::EACCES);
    }
    if mask & 7 == MAY_READ && cred.has_cap(cap::DAC_READ_SEARCH) {
        return Ok(());
    }
    // Even root executes only what somebody may execute.
    if (mask & MAY_EXEC == 0 || owner.mode & 0o111 != 0) && cred.has_cap(cap::DAC_OVERRIDE) {
        return Ok(());
    }
    Err(Errno::EACCES)
}

/// `inode_permission` with the mount's part: read-only mounts refuse writes to files, directories and links (not to devices, FIFOs, sockets).
pub fn check(path: &Path, caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
    if mask & MAY_WRITE != 0
        && matches!(
            path.dentry.kind(),
            NodeKind::Regular | NodeKind::Directory | NodeKind::Symlink
        )
    {
        path.mount.want_write()?;
    }
    if mask & MAY_EXEC != 0
        && path.dentry.kind() == NodeKind::Regular
        && path.mount.flags().contains(MountFlags::NOEXEC)
    {
        return Err(Errno::EACCES);
    }
    path.inode().permission(caller, cred, mask)
}

/// Owner of the file, or capable of acting as one (`inode_owner_or_capable`).
pub fn owner_or_capable(owner: Owner, cred: &Cred) -> bool {
    owner.uid == cred.fsuid || cred.has_cap(cap::FOWNER)
}

/// Whether a sticky directory keeps the caller from removing `victim` (`check_sticky`).
pub fn sticky_forbids(dir: Owner, victim: Owner, cred: &Cred) -> bool {
    dir.mode & 0o1000 != 0
        && victim.uid != cred.fsuid
        && dir.uid != cred.fsuid
        && !cred.has_cap(cap::FOWNER)
}

/// Whether a link at the end of a path is to be followed (`may_follow_link`, with `fs.protected_symlinks` 1): in a sticky directory that
/// everybody may write, only the caller's own links and the directory's owner's are.
pub fn link_forbidden(dir: Owner, link: Owner, cred: &Cred) -> bool {
    const OPEN_TO_ALL: u32 = 0o1002;
    dir.mode & OPEN_TO_ALL == OPEN_TO_ALL && link.uid != cred.fsuid && link.uid != dir.uid
}

/// Whether a second name of a file may be made (`may_linkat`, with `fs.protected_hardlinks` 1): by its owner; by others only of a regular
/// file that they may read and write and that gives no rights when executed.
pub fn may_link(inode: &dyn Inode, caller: &dyn Caller) -> Result<(), Errno> {
    const SETGID_EXEC: u32 = 0o2010;
    let (owner, cred) = (inode.owner()?, caller.cred());
    if owner_or_capable(owner, &cred) {
        return Ok(());
    }
    let gives_rights = owner.mode & 0o4000 != 0 || owner.mode & SETGID_EXEC == SETGID_EXEC;
    let open = || inode.permission(caller, &cred, MAY_READ | MAY_WRITE);
    if inode.kind() == NodeKind::Regular && !gives_rights && open().is_ok() {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Group and mode of a new inode in `dir` (`inode_init_owner`): a setgid directory hands down its group, and its setgid bit to directories.
pub fn inherit(dir: Owner, directory: bool, mode: u32, cred: &Cred) -> Owner {
    let (mut mode, mut gid) = (mode, cred.fsgid);
    if dir.mode & 0o2000 != 0 {
        gid = dir.gid;
        if directory {
            mode |= 0o2000;
        } else if mode & 0o2010 == 0o2010 && !cred.in_group(gid) && !cred.has_cap(cap::FSETID) {
            mode &= !0o2000;
        }
    }
    Owner {
        mode,
        uid: cred.fsuid,
        gid,
    }
}

/// The mode that a write, truncation or change of owner leaves (`should_remove_suid`): `None` when nothing changes.
pub fn without_suid(owner: Owner, cred: &Cred) -> Option<u32> {
    if owner.mode & 0o6000 == 0 || cred.has_cap(cap::FSETID) {
        return None;
    }
    strip_suid(owner.mode)
}

/// As [`without_suid`] whatever the caller's capabilities (`chown` of a file that is no directory).
pub fn strip_suid(mode: u32) -> Option<u32> {
    let mut kept = mode & !0o4000;
    // Without group execution the setgid bit once meant mandatory locking, and stays.
    if mode & 0o010 != 0 {
        kept &= !0o2000;
    }
    (kept != mode).then_some(kept & 0o7777)
}

/// The owner of an inode.
pub fn owner_of(inode: &dyn Inode) -> Result<Owner, Errno> {
    inode.owner()
}

/// The kernel itself as a caller: every capability, no umask.
pub struct KernelCaller;

impl Caller for KernelCaller {
    fn cred(&self) -> std::sync::Arc<Cred> {
        static CRED: sync::OnceLock<std::sync::Arc<Cred>> = sync::OnceLock::new();
        CRED.get_or_init(|| std::sync::Arc::new(Cred::kernel()))
            .clone()
    }
    fn umask(&self) -> u32 {
        0
    }
    fn now_ns(&self) -> i64 {
        crate::meta::now_ns()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
