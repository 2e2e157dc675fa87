//! New names: `mkdir(2)`, `mknod(2)`, `symlink(2)`, `link(2)` (`fs/namei.c`: `filename_create` and the `vfs_*` behind it).

use super::acl;
use super::dentry::{Dentry, DirWrite};
use super::mount::Path;
use super::perm::{self, MAY_EXEC, MAY_WRITE, cap};
use super::vnode::{event, notify, notify_child, notify_self};
use super::walk::{LastKind, Lookup, Parent};
use crate::inode::{Inode, NodeKind};
use abi::{Errno, PATH_MAX};
use std::sync::Arc;

impl Lookup<'_> {
    /// Makes the last name of `path` with `make`, which gets the directory and the name; the checks of `filename_create` and `may_create` are done.
    fn create_name(
        &self,
        path: &[u8],
        directory: bool,
        make: impl FnOnce(&Path, &[u8]) -> Result<Arc<dyn Inode>, Errno>,
    ) -> Result<Path, Errno> {
        let Parent {
            dir,
            name,
            kind,
            trailing_slash,
        } = self.parent(path)?;
        if kind != LastKind::Name {
            return Err(Errno::EEXIST);
        }
        let order: DirWrite<'_> = dir.dentry.lock_dir()?;
        if dir.dentry.child_ordered(self.caller, &name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if trailing_slash && !directory {
            return Err(Errno::ENOENT);
        }
        dir.mount.want_write()?;
        let inode = make(&dir, &name)?;
        let dentry: Arc<Dentry> = dir.dentry.insert(&name, inode);
        drop(order);
        notify_child(
            &dir.dentry,
            event::CREATE | if directory { event::ISDIR } else { 0 },
            0,
            &name,
        );
        Ok(Path {
            mount: dir.mount,
            dentry,
        })
    }

    fn may_create(&self, dir: &Path) -> Result<(), Errno> {
        dir.inode()
            .permission(self.caller, &self.caller.cred(), MAY_WRITE | MAY_EXEC)
    }

    /// `mkdirat(2)`; returns the new directory.
    pub fn mkdir(&self, path: &[u8], mode: u32) -> Result<Path, Errno> {
        self.create_name(path, true, |dir, name| {
            self.may_create(dir)?;
            let mode = mode & 0o1777 & !acl::umask(&**dir.inode(), self.caller)?;
            dir.inode()
                .create(self.caller, name, NodeKind::Directory, mode)
        })
    }

    /// `mknodat(2)`, and what `bind(2)` makes for a Unix socket; returns the new node. `EPERM` for devices without `CAP_MKNOD`.
    pub fn mknod(&self, path: &[u8], kind: NodeKind, mode: u32) -> Result<Path, Errno> {
        match kind {
            NodeKind::Directory => return Err(Errno::EPERM),
            NodeKind::Symlink | NodeKind::Anonymous => return Err(Errno::EINVAL),
            _ => {}
        }
        self.create_name(path, false, |dir, name| {
            self.may_create(dir)?;
            let device = matches!(kind, NodeKind::CharDevice(_) | NodeKind::BlockDevice(_));
            if device && !self.caller.cred().has_cap(cap::MKNOD) {
                return Err(Errno::EPERM);
            }
            let mode = mode & 0o7777 & !acl::umask(&**dir.inode(), self.caller)?;
            dir.inode().create(self.caller, name, kind, mode)
        })
    }

    /// `symlinkat(2)`.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<Path, Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.create_name(path, false, |dir, name| {
            self.may_create(dir)?;
            dir.inode().symlink(self.caller, name, target)
        })
    }

    /// `linkat(2)`: `old` was resolved by the caller, with or without following its last link.
    pub fn link(&self, old: &Path, path: &[u8]) -> Result<Path, Errno> {
        let made = self.create_name(path, false, |dir, name| {
            if !Arc::ptr_eq(&dir.mount, &old.mount) {
                return Err(Errno::EXDEV);
            }
            perm::may_link(&**old.inode(), self.caller)?;
            self.may_create(dir)?;
            if old.dentry.is_dir() || old.dentry.kind() == NodeKind::Anonymous {
                return Err(Errno::EPERM);
            }
            if old.dentry.deleted() && !old.dentry.linkable() && old.inode().attr()?.nlink == 0 {
                return Err(Errno::ENOENT);
            }
            dir.inode().link(self.caller, name, old.inode())?;
            // The directory hears of it after the file.
            notify_self(&**old.inode(), event::ATTRIB);
            Ok(old.inode().clone())
        })?;
        Ok(made)
    }

    /// Whether anything has the name already: for callers that must know before they make something else (`bind(2)`).
    pub fn exists(&self, path: &[u8]) -> bool {
        self.resolve(path).is_ok()
    }
}

/// Tells whoever watches that attributes of `at` changed.
pub(super) fn notify_attrib(at: &Path) {
    notify(&at.dentry, event::ATTRIB);
}
