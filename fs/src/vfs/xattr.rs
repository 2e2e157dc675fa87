//! Extended attributes (`xattr(7)`; `fs/xattr.c`: `xattr_permission`).

use super::acl::{self, Acl};
use super::create::notify_attrib;
use super::mount::Path;
use super::perm::{self, MAY_READ, MAY_WRITE, cap};
use crate::Caller;
use crate::inode::NodeKind;
use abi::Errno;

/// Largest value (`XATTR_SIZE_MAX`).
pub const XATTR_SIZE_MAX: usize = 65536;
/// Longest name (`XATTR_NAME_MAX`).
pub const XATTR_NAME_MAX: usize = 255;

fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        return Err(Errno::ERANGE);
    }
    Ok(())
}

fn permission(caller: &dyn Caller, at: &Path, name: &[u8], mask: u32) -> Result<(), Errno> {
    let write = mask == MAY_WRITE;
    let cred = caller.cred();
    if write {
        at.mount.want_write()?;
    }
    if let Some(rest) = name.strip_prefix(b"security.") {
        if rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let needed = if rest == b"capability" {
            cap::SETFCAP
        } else {
            cap::SYS_ADMIN
        };
        return if write && !cred.has_cap(needed) {
            Err(Errno::EPERM)
        } else {
            Ok(())
        };
    }
    if name.starts_with(b"system.") {
        return Err(Errno::EOPNOTSUPP);
    }
    if let Some(rest) = name.strip_prefix(b"trusted.") {
        if !cred.has_cap(cap::SYS_ADMIN) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        return if rest.is_empty() {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        };
    }
    let Some(rest) = name.strip_prefix(b"user.") else {
        return Err(Errno::EOPNOTSUPP);
    };
    if !matches!(at.dentry.kind(), NodeKind::Regular | NodeKind::Directory) {
        return Err(if write { Errno::EPERM } else { Errno::ENODATA });
    }
    let owner = at.inode().owner()?;
    if write
        && at.dentry.is_dir()
        && owner.mode & 0o1000 != 0
        && !perm::owner_or_capable(owner, &cred)
    {
        return Err(Errno::EPERM);
    }
    if rest.is_empty() {
        return Err(Errno::EINVAL);
    }
    at.inode().permission(caller, &cred, mask)
}

/// Who may change an access control list (`set_posix_acl`), and where there are such.
fn may_set_acl(caller: &dyn Caller, at: &Path) -> Result<(), Errno> {
    at.mount.want_write()?;
    if at.dentry.kind() == NodeKind::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    if perm::owner_or_capable(at.inode().owner()?, &caller.cred()) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn set_acl(caller: &dyn Caller, at: &Path, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    let Some(acl) = Acl::parse(value)? else {
        return remove_acl(caller, at, name);
    };
    if name == acl::DEFAULT && !matches!(at.dentry.kind(), NodeKind::Directory | NodeKind::Symlink)
    {
        return Err(Errno::EACCES);
    }
    may_set_acl(caller, at)?;
    at.inode().set_xattr(caller, name, &acl.value(), 0)
}

/// A list that is not there can be removed.
fn remove_acl(caller: &dyn Caller, at: &Path, name: &[u8]) -> Result<(), Errno> {
    may_set_acl(caller, at)?;
    match at.inode().remove_xattr(caller, name) {
        Err(Errno::ENODATA) => Ok(()),
        other => other,
    }
}

/// `getxattr(2)` on a resolved place: the whole value (`ERANGE` for a short buffer is the system call's).
pub fn get_xattr(caller: &dyn Caller, at: &Path, name: &[u8]) -> Result<Vec<u8>, Errno> {
    check_name(name)?;
    if acl::is_acl(name) {
        return match at.dentry.kind() {
            NodeKind::Symlink => Err(Errno::EOPNOTSUPP),
            _ => at.inode().get_xattr(caller, name),
        };
    }
    permission(caller, at, name, MAY_READ)?;
    at.inode().get_xattr(caller, name)
}

/// `setxattr(2)` on a resolved place.
pub fn set_xattr(
    caller: &dyn Caller,
    at: &Path,
    name: &[u8],
    value: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    if flags & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    check_name(name)?;
    if value.len() > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    if acl::is_acl(name) {
        set_acl(caller, at, name, value)?;
    } else {
        permission(caller, at, name, MAY_WRITE)?;
        at.inode().set_xattr(caller, name, value, flags)?;
    }
    notify_attrib(at);
    Ok(())
}

/// `listxattr(2)` on a resolved place: `trusted.` names only for those who may read them.
pub fn list_xattr(caller: &dyn Caller, at: &Path) -> Result<Vec<u8>, Errno> {
    let names = at.inode().list_xattr(caller)?;
    if caller.cred().has_cap(cap::SYS_ADMIN) || names.is_empty() {
        return Ok(names);
    }
    let shown = names
        .split_inclusive(|b| *b == 0)
        .filter(|n| !n.starts_with(b"trusted."));
    Ok(shown.flatten().copied().collect())
}

/// `removexattr(2)` on a resolved place.
pub fn remove_xattr(caller: &dyn Caller, at: &Path, name: &[u8]) -> Result<(), Errno> {
    check_name(name)?;
    if acl::is_acl(name) {
        remove_acl(caller, at, name)?;
    } else {
        permission(caller, at, name, MAY_WRITE)?;
        at.inode().remove_xattr(caller, name)?;
    }
    notify_attrib(at);
    Ok(())
}
