//! Names: mounts, dentries, the walk.

use crate::inode::Inode;
use std::sync::Arc;

/// A place in the tree of mounts: which mount, and which dentry in it.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry in the mount's filesystem.
    pub dentry: Arc<Dentry>,
}

/// A filesystem attached to the tree.
pub struct Mount {}

/// A name in a directory, and the inode it leads to.
pub struct Dentry {
    inode: Option<Arc<dyn Inode>>,
}

impl Dentry {
    /// The inode; `None` for a negative dentry.
    pub fn inode(&self) -> Option<&Arc<dyn Inode>> {
        self.inode.as_ref()
    }
}

/// What the VFS keeps for each inode, whatever its filesystem.
#[derive(Default)]
pub struct Vnode {}
