//! Names: dentries, mounts, the walk, and every call that takes a path.
//!
//! ```text
//!   Lookup ──resolve──► Path { mount, dentry } ──► Inode          (walk.rs; one step per component, cached)
//!     │                   │        │
//!     │                   │        └ Superblock: cache bound, rename order   (dentry.rs)
//!     │                   └ MountNamespace: the tree of mounts               (mount.rs, namespace.rs)
//!     └ open, mkdir, rename, … : checks in Linux's order, then one Inode call (open.rs, create.rs, remove.rs, rename.rs, attrs.rs, xattr.rs)
//! ```
//!
//! Lock order: the namespace's tree, then a superblock's rename lock, then directories (ancestors first), then whatever the filesystem takes, then
//! a dentry's children and link.

pub mod acl;
mod attrs;
mod create;
mod dentry;
mod device;
mod moment;
mod mount;
mod mountinfo;
mod namespace;
mod open;
mod pathname;
pub mod perm;
mod propagation;
mod remove;
mod rename;
mod superblock;
#[cfg(test)]
mod tests;
mod vnode;
mod walk;
mod xattr;

pub use attrs::{TimeSet, access, chmod, chown, ftruncate, readlink, statfs, truncate, utimens};
pub use dentry::{Dentry, DirWrite};
pub use device::{Device, DeviceRegistry, devices};
pub use moment::{Moment, look_again};
pub use mount::{Mount, MountFlags, Path, Propagation};
pub use namespace::{MountInfo, MountNamespace, PropagationType, UmountFlags};
pub use open::{open_at, open_new};
pub use pathname::{PathText, path_text};
pub use perm::KernelCaller;
pub use superblock::Superblock;
pub use vnode::{
    MappingObserver, Slot, Vnode, WATCHES, Watches, event, notify, notify_child, notify_self,
};
pub use walk::{LastKind, Lookup, LookupFlags, Parent, Resolve, may_search};
pub use xattr::{XATTR_NAME_MAX, XATTR_SIZE_MAX, get_xattr, list_xattr, remove_xattr, set_xattr};
