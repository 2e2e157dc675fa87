//! Mounts: a filesystem, or a part of one, attached to the tree of names.
//!
//! A parent holds its children; a child knows its parent weakly. The tree hangs from its [`super::MountNamespace`]: when that goes, or a subtree is detached,
//! the mounts in it live on only as long as files and working directories hold them, and `..` stops at their root.

use super::dentry::Dentry;
use super::superblock::Superblock;
use crate::inode::FileSystem;
use abi::Errno;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, RwLock, level};

/// A place in the tree of mounts: which mount, and which dentry in it.
#[derive(Clone)]
pub struct Path {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The dentry in the mount's filesystem.
    pub dentry: Arc<Dentry>,
}

impl Path {
    /// Whether both are the very same place.
    pub fn same(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// Whether it is the root of a mount (`STATX_ATTR_MOUNT_ROOT`).
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, self.mount.root())
    }

    /// The inode.
    pub fn inode(&self) -> &Arc<dyn crate::Inode> {
        self.dentry.inode()
    }

    /// Goes down into whatever is mounted here, to the topmost mount.
    pub(super) fn enter_mounts(&mut self) -> bool {
        let mut moved = false;
        while self.dentry.is_mountpoint() {
            let Some(child) = self.mount.child_at(&self.dentry) else {
                break;
            };
            self.dentry = child.root().clone();
            self.mount = child;
            moved = true;
        }
        moved
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}",
            self.mount.id(),
            String::from_utf8_lossy(&self.dentry.name())
        )
    }
}

bitflags::bitflags! {
    /// Per-mount flags, with the values of `MS_*` (`mount(2)`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// `MS_RDONLY`
        const RDONLY = 1;
        /// `MS_NOSUID`
        const NOSUID = 2;
        /// `MS_NODEV`
        const NODEV = 4;
        /// `MS_NOEXEC`
        const NOEXEC = 8;
        /// `MS_NOSYMFOLLOW`
        const NOSYMFOLLOW = 256;
        /// `MS_NOATIME`
        const NOATIME = 1024;
        /// `MS_NODIRATIME`
        const NODIRATIME = 2048;
        /// `MS_RELATIME`
        const RELATIME = 1 << 21;
        /// `MS_STRICTATIME`: neither of the above.
        const STRICTATIME = 1 << 24;
    }
}

/// How mount events travel (`mount_namespaces(7)`); [`super::propagation`] carries it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// Peer group of a shared mount.
    pub shared: Option<u64>,
    /// Peer group this mount is a slave of.
    pub master: Option<u64>,
    /// `MS_UNBINDABLE`.
    pub unbindable: bool,
}

pub(super) struct Attachment {
    pub(super) parent: Weak<Mount>,
    pub(super) mountpoint: Arc<Dentry>,
}

/// A filesystem attached to the tree.
pub struct Mount {
    id: u64,
    superblock: Arc<Superblock>,
    root: Arc<Dentry>,
    flags: AtomicU32,
    /// What `/proc/mounts` shows in the first column.
    source: Arc<[u8]>,
    /// The namespace it belongs to; 0 for none (detached, internal).
    pub(super) namespace: AtomicU64,
    pub(super) attachment: RwLock<Option<Attachment>, { level::MOUNT_LINKS }>,
    /// By the address of the dentry they sit on (each child's attachment keeps that dentry alive).
    pub(super) children: RwLock<HashMap<usize, Arc<Mount>>, { level::MOUNT_LINKS }>,
    pub(super) propagation: Mutex<Propagation, { level::MOUNT_LINKS }>,
    /// `MNT_EXPIRE` was asked for once.
    pub(super) expiring: AtomicBool,
    /// `MNT_LOCKED`: came with a namespace of more privilege; may not be unmounted alone.
    pub(super) locked: AtomicBool,
}

static NEXT_MOUNT: AtomicU64 = AtomicU64::new(1);

impl Mount {
    /// A mount of the whole filesystem behind `superblock`, attached nowhere yet.
    pub fn new(superblock: &Arc<Superblock>, flags: MountFlags, source: &[u8]) -> Arc<Self> {
        let root = superblock.root();
        Self::of(superblock, root, flags, Arc::from(source))
    }

    /// A mount of a filesystem nobody has put into use before.
    pub fn of_fs(fs: Arc<dyn FileSystem>, flags: MountFlags, source: &[u8]) -> Arc<Self> {
        Self::new(&Superblock::new(fs), flags, source)
    }

    pub(super) fn of(
        superblock: &Arc<Superblock>,
        root: Arc<Dentry>,
        flags: MountFlags,
        source: Arc<[u8]>,
    ) -> Arc<Self> {
        superblock.mounts.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self {
            id: NEXT_MOUNT.fetch_add(1, Ordering::Relaxed),
            superblock: superblock.clone(),
            root,
            flags: AtomicU32::new(flags.bits()),
            source,
            namespace: AtomicU64::new(0),
            attachment: RwLock::new(None),
            children: RwLock::new(HashMap::new()),
            propagation: Mutex::new(Propagation::default()),
            expiring: AtomicBool::new(false),
            locked: AtomicBool::new(false),
        })
    }

    /// A second mount of the same part, attached nowhere (`bind`, a copied namespace).
    pub(super) fn copy(&self, root: Arc<Dentry>) -> Arc<Self> {
        let copy = Self::of(&self.superblock, root, self.flags(), self.source.clone());
        let propagation = self.propagation();
        *copy.propagation.lock() = propagation;
        copy
    }

    /// Mount id, as `mountinfo` and `statx` show it.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The superblock.
    pub fn superblock(&self) -> &Arc<Superblock> {
        &self.superblock
    }
    /// The filesystem.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        self.superblock.fs()
    }
    /// The dentry that is this mount's root.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// The mount's root as a path.
    pub fn root_path(self: &Arc<Self>) -> Path {
        Path {
            mount: self.clone(),
            dentry: self.root.clone(),
        }
    }
    /// The flags now.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }
    /// Replaces the flags (`MS_REMOUNT|MS_BIND`).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }
    /// First column of `/proc/mounts`.
    pub fn source(&self) -> &[u8] {
        &self.source
    }
    /// How events travel.
    pub fn propagation(&self) -> Propagation {
        *self.propagation.lock()
    }

    /// `EROFS` when the mount or its filesystem is read-only (`mnt_want_write`).
    pub fn want_write(&self) -> Result<(), Errno> {
        if self.flags().contains(MountFlags::RDONLY) || self.superblock.readonly() {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// The mount on `dentry` in this mount.
    pub fn child_at(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        self.children.read().get(&key(dentry)).cloned()
    }

    /// Mount and dentry this mount sits on; `None` at the root of a namespace and when detached.
    pub fn mountpoint(&self) -> Option<Path> {
        let attachment = self.attachment.read();
        let at = attachment.as_ref()?;
        Some(Path {
            mount: at.parent.upgrade()?,
            dentry: at.mountpoint.clone(),
        })
    }

    /// The children, oldest first.
    pub(super) fn children(&self) -> Vec<Arc<Mount>> {
        let mut children: Vec<_> = self.children.read().values().cloned().collect();
        children.sort_by_key(|m| m.id);
        children
    }

    /// Hangs `self` under `at`. The namespace's lock is held, `at` is not a mountpoint of its mount.
    pub(super) fn attach(self: &Arc<Self>, at: &Path) {
        at.dentry.mounted_add();
        *self.attachment.write() = Some(Attachment {
            parent: Arc::downgrade(&at.mount),
            mountpoint: at.dentry.clone(),
        });
        let old = at
            .mount
            .children
            .write()
            .insert(key(&at.dentry), self.clone());
        debug_assert!(old.is_none(), "two mounts on one place");
        drop(old);
    }

    /// Takes `self` off its parent. The caller keeps it alive; the namespace's lock is held.
    pub(super) fn detach(&self) {
        let attachment = self.attachment.write().take();
        let Some(at) = attachment else { return };
        let removed = at
            .parent
            .upgrade()
            .and_then(|parent| parent.children.write().remove(&key(&at.mountpoint)));
        at.mountpoint.mounted_sub();
        drop(removed);
    }

    /// Takes everything mounted below off, for the end of a namespace or a detached subtree, and puts it (with `self`'s children first) into `out`.
    pub(super) fn collect(self: &Arc<Self>, out: &mut Vec<Arc<Mount>>) {
        let start = out.len();
        out.push(self.clone());
        let mut next = start;
        while let Some(mount) = out.get(next).cloned() {
            out.extend(mount.children());
            next = next.saturating_add(1);
        }
    }
}

fn key(dentry: &Arc<Dentry>) -> usize {
    Arc::as_ptr(dentry).addr()
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(at) = self.attachment.get_mut().take() {
            at.mountpoint.mounted_sub();
        }
        if self.superblock.mounts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.superblock.shrink();
            self.superblock.fs().unmounted();
        }
        // What is mounted below goes with it, in a loop: a deep pile of mounts must not become deep recursion.
        let mut below: Vec<_> = self.children.get_mut().drain().collect();
        while let Some((_, mount)) = below.pop() {
            if let Some(mut last) = Arc::into_inner(mount) {
                below.extend(last.children.get_mut().drain());
            }
        }
    }
}
