//! Files without a kernel: the VFS (mounts, dentries, inodes, open files, readiness) and the filesystems that need neither tasks nor
//! guest memory.
//!
//! ```text
//!   fd table (sentry) ──► File (open file description) ──► FileOps (what read, write, poll do)
//!                           │ path: Mount + Dentry
//!                           ▼
//!                         Dentry ──► Inode (names, attributes, directory operations) ──► FileSystem
//! ```
//!
//! Three rules hold everywhere in this crate:
//!
//! 1. **Nothing blocks.** An operation that would wait returns `EAGAIN`; the caller waits on the file's [`Pollee`] and tries again. Host calls on
//!    donated descriptors of regular files may take as long as the host's disk.
//! 2. **Buffers are the kernel's.** Guest memory never appears here but through [`UserMemory`] in `ioctl`, with no lock held.
//! 3. **The caller is an argument.** Credentials, umask, root and current directory come from [`Caller`]; there is no current task.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod anon;
pub mod dev;
pub mod epoll;
pub mod eventfd;
pub mod file;
pub mod gofer;
pub mod hostfile;
pub mod inode;
pub mod inotify;
pub mod kept;
pub mod locks;
pub mod meta;
pub mod overlay;
pub mod pipe;
pub mod pollee;
pub mod splice;
#[cfg(test)]
mod testing;
pub mod tmpfs;
pub mod vfs;

pub use file::{File, FileOps, Mappable, Pos, UserMemory};
pub use inode::{Attr, DirEntry, FileSystem, Follow, Inode, NodeKind, SetAttr};
pub use pollee::{Events, Observer, Pollee};

use std::any::Any;
use std::sync::Arc;

/// What the VFS needs to know about whoever makes a call. The sentry's task implements it.
pub trait Caller: Send + Sync {
    /// The filesystem credentials of the caller (`fsuid`, `fsgid`, groups, capabilities in effect).
    fn cred(&self) -> Arc<Cred>;
    /// `umask(2)`, permission bits only.
    fn umask(&self) -> u32;
    /// The current time for timestamps, nanoseconds of `CLOCK_REALTIME`.
    fn now_ns(&self) -> i64;
    /// `RLIMIT_FSIZE` in bytes, `u64::MAX` for none.
    fn file_size_limit(&self) -> u64 {
        u64::MAX
    }
    /// The task itself, for filesystems of the sentry (procfs looks up `self` with it).
    fn as_any(&self) -> &dyn Any;
}

/// Filesystem credentials: what permission checks look at (`credentials(7)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cred {
    /// The user id that filesystem checks use.
    pub fsuid: u32,
    /// The group id that filesystem checks use.
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Effective capabilities, one bit per number (`capability.h`), already limited to what a user namespace grants.
    pub caps: u64,
}

impl Cred {
    /// Root with every capability: the kernel's own accesses.
    pub fn kernel() -> Self {
        Self {
            fsuid: 0,
            fsgid: 0,
            groups: Vec::new(),
            caps: u64::MAX,
        }
    }

    /// Whether capability number `cap` is in effect.
    pub fn has_cap(&self, cap: u32) -> bool {
        1u64.checked_shl(cap)
            .is_some_and(|bit| self.caps & bit != 0)
    }

    /// Whether `gid` is the filesystem group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.binary_search(&gid).is_ok()
    }
}
