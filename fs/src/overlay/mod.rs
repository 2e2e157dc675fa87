//! overlay: a writable layer in memory over a tree that is never changed (the image, through the gofer).
//!
//! ```text
//!   OverlayInode ── upper: set once, by creation or copy-up ──► an inode of the upper tmpfs
//!        │     └── lower: where it came from                ──► an inode of the lower tree
//!        └── Origin (kept by the filesystem under the upper inode's number): inode number, lower directory, hidden names
//! ```
//!
//! What Linux's overlayfs writes into the upper layer (whiteouts, opaque marks, redirects, the index of hard links) is memory here, in [`Origin`]: the
//! upper layer lives exactly as long as the sandbox does. So a directory of the image can be renamed at no cost, inode numbers survive copy-up, and hard links of
//! the image stay links. A directory without an origin hides whatever the lower tree has under its name.
//!
//! The upper tmpfs holds two directories: `upper`, the layer, and `work`, where copies grow before they appear in one step.

mod copy_up;
mod file;
mod inode;
#[cfg(test)]
mod tests;

use crate::inode::{FileSystem, Inode, NodeKind, SetAttr};
use crate::vfs::{Dentry, KernelCaller, Mount, MountFlags, Path};
use crate::{Caller, File};
use abi::Errno;
use abi::fs::Statfs;
use inode::OverlayInode;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// Added to the numbers of inodes that exist in the upper layer alone, to keep them apart from the lower ones.
const UPPER_INO: u64 = 1 << 40;

/// Where an upper inode came from.
struct Origin {
    /// Its inode number in the overlay: the lower one's.
    ino: u64,
    /// The lower directory it is merged with.
    lower: Option<Arc<dyn Inode>>,
    /// Names of the lower directory that are gone (whiteouts). All of them exist there, so their number is the image's choice, not the guest's.
    hidden: Mutex<HashSet<Arc<[u8]>>>,
    /// Names of a lower file that still lead here without being in the upper layer (hard links).
    lower_links: AtomicU32,
    /// The lower file's identity, if it has several names.
    lower_key: Option<(u64, u64)>,
}

/// How an inode is found again while it is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Upper(u64),
    Lower(u64, u64),
}

/// An overlay.
pub struct OverlayFs {
    lower: Arc<Mount>,
    upper: Arc<Mount>,
    work: Arc<dyn Inode>,
    dev: u64,
    lower_dev: u64,
    root: Mutex<Option<Arc<OverlayInode>>>,
    /// By the number of the upper inode.
    origins: Mutex<HashMap<u64, Arc<Origin>>>,
    /// Copied-up files of which the lower tree has further names.
    copied: Mutex<HashMap<(u64, u64), Arc<dyn Inode>>>,
    /// How many names of a lower file with several are gone, while it has no copy.
    lost: Mutex<HashMap<(u64, u64), u32>>,
    /// Inodes in use: both names of a hard link must lead to one.
    inodes: Mutex<HashMap<Key, Weak<OverlayInode>>>,
    next_work: AtomicU64,
}

impl OverlayFs {
    /// Lays the empty filesystem `upper` (a tmpfs) over `lower`, which nobody changes from now on.
    pub fn new(lower: Arc<dyn FileSystem>, upper: Arc<dyn FileSystem>) -> Result<Arc<Self>, Errno> {
        let caller = KernelCaller;
        let lower = Mount::of_fs(lower, MountFlags::RDONLY | MountFlags::NOATIME, b"overlay");
        let upper = Mount::of_fs(upper, MountFlags::empty(), b"overlay");
        let lower_root = lower.root().inode().clone();
        let top = upper.root().inode().clone();
        let layer = top.create(&caller, b"upper", NodeKind::Directory, 0o755)?;
        let work = top.create(&caller, b"work", NodeKind::Directory, 0o700)?;
        let attr = lower_root.attr()?;
        layer.set_attr(&caller, &copy_up::attributes(&attr, None))?;
        copy_up::xattrs(&caller, &lower_root, &layer)?;
        let origin = Arc::new(Origin {
            ino: attr.ino,
            lower: Some(lower_root.clone()),
            hidden: Mutex::default(),
            lower_links: AtomicU32::new(0),
            lower_key: None,
        });
        let fs = Arc::new(Self {
            lower,
            upper,
            work,
            dev: crate::meta::next_dev(),
            lower_dev: attr.dev,
            root: Mutex::new(None),
            origins: Mutex::default(),
            copied: Mutex::default(),
            lost: Mutex::default(),
            inodes: Mutex::default(),
            next_work: AtomicU64::new(0),
        });
        let layer_ino = layer.attr()?.ino;
        fs.origins.lock().insert(layer_ino, origin.clone());
        let root = OverlayInode::with_upper(&fs, layer, Some(origin))?;
        *fs.root.lock() = Some(root);
        Ok(fs)
    }

    /// The number in the overlay of a lower inode.
    fn lower_ino(&self, dev: u64, ino: u64) -> u64 {
        if dev == self.lower_dev {
            return ino;
        }
        // A lower tree over several devices: keep their numbers apart.
        ino ^ dev.wrapping_mul(0x9e37_79b9_7f4a_7c15) & 0x7fff_ffff_0000_0000
    }

    /// The number in the overlay of an upper inode.
    fn upper_ino(&self, ino: u64) -> u64 {
        self.origins
            .lock()
            .get(&ino)
            .map_or(ino.wrapping_add(UPPER_INO), |o| o.ino)
    }

    fn origin(&self, upper_ino: u64) -> Option<Arc<Origin>> {
        self.origins.lock().get(&upper_ino).cloned()
    }

    /// The inode for an upper one, shared by all its names.
    fn of_upper(self: &Arc<Self>, upper: Arc<dyn Inode>) -> Result<Arc<OverlayInode>, Errno> {
        let ino = upper.attr()?.ino;
        let directory = upper.kind() == NodeKind::Directory;
        if !directory && let Some(found) = self.in_use(Key::Upper(ino)) {
            return Ok(found);
        }
        let fresh = OverlayInode::with_upper(self, upper, self.origin(ino))?;
        Ok(if directory {
            fresh
        } else {
            self.enter(Key::Upper(ino), fresh)
        })
    }

    /// The inode for a lower one called `name` in `parent`.
    fn of_lower(
        self: &Arc<Self>,
        lower: Arc<dyn Inode>,
        parent: &Arc<OverlayInode>,
        name: &[u8],
    ) -> Result<Arc<OverlayInode>, Errno> {
        let attr = lower.attr()?;
        let key = (attr.dev, attr.ino);
        let directory = lower.kind() == NodeKind::Directory;
        if !directory {
            let copied = if attr.nlink > 1 {
                self.copied.lock().get(&key).cloned()
            } else {
                None
            };
            if let Some(upper) = copied {
                return self.of_upper(upper);
            }
            if let Some(found) = self.in_use(Key::Lower(key.0, key.1)) {
                return Ok(found);
            }
        }
        let fresh = OverlayInode::with_lower(self, lower, &attr, parent.clone(), Arc::from(name));
        Ok(if directory {
            fresh
        } else {
            self.enter(Key::Lower(key.0, key.1), fresh)
        })
    }

    /// Names of a lower file that are gone already.
    fn lost_links(&self, attr: &crate::Attr) -> u32 {
        if attr.nlink > 1 {
            self.lost
                .lock()
                .get(&(attr.dev, attr.ino))
                .copied()
                .unwrap_or(0)
        } else {
            0
        }
    }

    fn in_use(&self, key: Key) -> Option<Arc<OverlayInode>> {
        self.inodes.lock().get(&key).and_then(Weak::upgrade)
    }

    /// Enters `fresh`, unless another lookup was faster.
    fn enter(&self, key: Key, fresh: Arc<OverlayInode>) -> Arc<OverlayInode> {
        let mut inodes = self.inodes.lock();
        if let Some(found) = inodes.get(&key).and_then(Weak::upgrade) {
            drop(inodes);
            return found;
        }
        inodes.insert(key, Arc::downgrade(&fresh));
        drop(inodes);
        fresh.keys.lock().push(key);
        fresh
    }

    /// A name of an upper inode is gone: forgets its origin with the last.
    fn upper_gone(&self, upper: &Arc<dyn Inode>) {
        let Ok(attr) = upper.attr() else { return };
        let last = upper.kind() == NodeKind::Directory || attr.nlink == 0;
        let mut origins = self.origins.lock();
        let Some(origin) = origins.get(&attr.ino) else {
            return;
        };
        if last && origin.lower_links.load(Ordering::Relaxed) == 0 {
            let origin = origins.remove(&attr.ino);
            drop(origins);
            if let Some(key) = origin.as_ref().and_then(|o| o.lower_key) {
                let upper = self.copied.lock().remove(&key);
                drop(upper);
            }
            drop(origin);
        }
    }

    /// Opens an inode of one of the layers for the overlay's own use.
    fn open_layer(
        &self,
        mount: &Arc<Mount>,
        inode: &Arc<dyn Inode>,
        flags: u32,
    ) -> Result<Arc<File>, Errno> {
        let ops = inode.clone().open(&KernelCaller, flags)?;
        let dentry = Dentry::detached(mount.superblock(), inode.clone(), b"overlay", true);
        Ok(File::new(
            ops,
            Path {
                mount: mount.clone(),
                dentry,
            },
            inode.clone(),
            flags,
        ))
    }

    /// A name in `work` that nobody uses.
    fn work_name(&self) -> Vec<u8> {
        format!("{}", self.next_work.fetch_add(1, Ordering::Relaxed)).into_bytes()
    }
}

impl FileSystem for OverlayFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "overlay"
    }
    fn root(&self) -> Arc<dyn Inode> {
        match &*self.root.lock() {
            Some(root) => root.clone(),
            // After the last unmount: nothing but an empty shell of the lower root.
            None => self.lower.root().inode().clone(),
        }
    }
    fn statfs(&self) -> Result<Statfs, Errno> {
        Ok(Statfs {
            f_type: 0x794c_7630,
            ..self.upper.fs().statfs()?
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        ",lowerdir=/,upperdir=/upper,workdir=/work".to_owned()
    }
    fn dentry_limit(&self) -> usize {
        // Each keeps a lower inode, and what that costs is the lower filesystem's to say.
        self.lower.fs().dentry_limit().max(64)
    }
    fn unmounted(&self) {
        let root = self.root.lock().take();
        drop(root);
    }
}

/// Nothing but what [`SetAttr`] needs to say "the inode changed".
fn changed(caller: &dyn Caller) -> SetAttr {
    SetAttr {
        ctime: caller.now_ns(),
        ..SetAttr::default()
    }
}
