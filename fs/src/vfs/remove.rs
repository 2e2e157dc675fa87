//! Names that go: `unlink(2)`, `rmdir(2)` (`fs/namei.c`: `do_unlinkat`, `do_rmdir`, `may_delete`).

use super::dentry::Dentry;
use super::mount::Path;
use super::perm::{self, MAY_EXEC, MAY_WRITE};
use super::vnode::{event, notify_child, notify_self};
use super::walk::{LastKind, Lookup, Parent};
use crate::{Caller, Cred};
use abi::Errno;
use std::sync::Arc;

/// `may_delete`: write and search permission in the directory, the sticky bit, and the type.
pub(super) fn may_delete(
    caller: &dyn Caller,
    cred: &Cred,
    dir: &Path,
    victim: &Arc<Dentry>,
    directory: bool,
) -> Result<(), Errno> {
    dir.inode().permission(caller, cred, MAY_WRITE | MAY_EXEC)?;
    let parent = dir.inode().owner()?;
    if parent.mode & 0o1000 != 0 && perm::sticky_forbids(parent, victim.inode().owner()?, cred) {
        return Err(Errno::EPERM);
    }
    match (directory, victim.is_dir()) {
        (true, false) => Err(Errno::ENOTDIR),
        (false, true) => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

impl Lookup<'_> {
    /// `unlinkat(2)` without `AT_REMOVEDIR`.
    pub fn unlink(&self, path: &[u8]) -> Result<(), Errno> {
        let Parent {
            dir,
            name,
            kind,
            trailing_slash,
        } = self.parent(path)?;
        if kind != LastKind::Name {
            return Err(Errno::EISDIR);
        }
        dir.mount.want_write()?;
        let order = dir.dentry.lock_dir()?;
        let Some(victim) = dir.dentry.child_ordered(self.caller, &name)? else {
            return Err(Errno::ENOENT);
        };
        if trailing_slash {
            return Err(if victim.is_dir() {
                Errno::EISDIR
            } else {
                Errno::ENOTDIR
            });
        }
        may_delete(self.caller, &self.caller.cred(), &dir, &victim, false)?;
        if victim.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        dir.inode().unlink(self.caller, &name, victim.inode())?;
        dir.dentry.forget(&victim);
        dir.dentry.mark_absent(&name);
        drop(order);
        notify_gone(&victim);
        notify_child(&dir.dentry, event::DELETE, 0, &name);
        Ok(())
    }

    /// `unlinkat(2)` with `AT_REMOVEDIR`.
    pub fn rmdir(&self, path: &[u8]) -> Result<(), Errno> {
        let Parent {
            dir, name, kind, ..
        } = self.parent(path)?;
        match kind {
            LastKind::Name => {}
            LastKind::Dot => return Err(Errno::EINVAL),
            LastKind::DotDot => return Err(Errno::ENOTEMPTY),
            LastKind::Root => return Err(Errno::EBUSY),
        }
        dir.mount.want_write()?;
        let order = dir.dentry.lock_dir()?;
        let Some(victim) = dir.dentry.child_ordered(self.caller, &name)? else {
            return Err(Errno::ENOENT);
        };
        may_delete(self.caller, &self.caller.cred(), &dir, &victim, true)?;
        if victim.is_mountpoint() {
            return Err(Errno::EBUSY);
        }
        {
            // Nobody makes a name in it meanwhile: parent before child.
            let inner = victim.lock_second_dir()?;
            dir.inode().rmdir(self.caller, &name, victim.inode())?;
            dir.dentry.forget(&victim);
            drop(inner);
        }
        dir.dentry.mark_absent(&name);
        drop(order);
        notify_gone(&victim);
        notify_child(&dir.dentry, event::DELETE | event::ISDIR, 0, &name);
        Ok(())
    }
}

/// A name of the inode is gone; perhaps the last one.
pub(super) fn notify_gone(victim: &Arc<Dentry>) {
    if super::WATCHES.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        return;
    }
    let inode = victim.inode();
    let last = victim.is_dir() || inode.attr().is_ok_and(|a| a.nlink == 0);
    if !victim.is_dir() {
        notify_self(&**inode, event::ATTRIB);
    }
    if last {
        notify_self(&**inode, event::DELETE_SELF);
    }
}
