//! Host files, through the gofer: the root file system and bind mounts.
//!
//! ```text
//!   GoferInode ── Node ───────────► gofer: names, attributes, directories   (one round trip each, cached here)
//!       └──────── Fds (ro, rw) ───► host: data, by pread, pwrite, mmap      (donated descriptors, no gofer)
//! ```
//!
//! **Exclusive** mounts are changed by nobody else but now and then by an engine: what was asked once is known, names, attributes, listings, absence, and once in a
//! while each directory is asked whether its names have changed ([`outside`]). The size of a regular file is the
//! sentry's own number; times and blocks change on the host with every read and write, so those only mark them stale, and the next `stat` asks the
//! descriptor. **Shared** mounts ask each time: every walk revalidates by the name's identity, attributes come from the host.
//!
//! One inode per host file ([`GoferFs::inode`] keeps them by device and inode number), so hard links share data, locks and writers. FIFOs and Unix sockets
//! made here are names on the host and nothing more: pipe and socket are the sentry's.
//!
//! Descriptors outlive the last `close`, in a ring of limited length: files are opened again. A look-up brings the data of a regular file along while that
//! proves worth it ([`Prefetch`]), so that a cold open costs one round trip.

mod ahead;
mod attr;
mod dir;
mod fds;
mod file;
mod inode;
#[cfg(test)]
mod oracle;
mod outside;
#[cfg(test)]
mod tests;
mod xattr;

use crate::inode::{FileSystem, Inode};
use abi::Errno;
use abi::fs::Statfs;
use fds::{Prefetch, Ring};
use gofer::client::{Client, Mount, Node};
use gofer::wire::MountFlags;
pub use inode::GoferInode;
use std::any::Any;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock};

/// What makes a host file one file: device and inode number.
type Identity = (u32, u32, u64);

/// One tree of a gofer.
pub struct GoferFs {
    client: Client,
    root_node: Node,
    root_attr: gofer::wire::Attr,
    flags: MountFlags,
    root: Mutex<Weak<GoferInode>>,
    /// Inodes in use.
    table: Mutex<HashMap<Identity, Weak<GoferInode>>>,
    /// Device numbers guests see, by the host's: a recursive bind mount may hold several file systems.
    devices: Mutex<Vec<((u32, u32), u64)>>,
    dev: u64,
    ring: Ring,
    prefetch: Prefetch,
    /// Whether the host's file system is an overlay, where a first write moves a file elsewhere: known after the first `statfs`.
    overlay: OnceLock<bool>,
    me: Weak<GoferFs>,
}

/// Dentries to keep, each with a descriptor in the gofer.
const DENTRIES: usize = 8192;

impl GoferFs {
    /// The file system of one of the gofer's mounts.
    pub fn new(client: &Client, mount: &Mount) -> Result<Arc<GoferFs>, Errno> {
        let root_node = mount.root.root_again().ok_or(Errno::EINVAL)?;
        let dev = crate::meta::next_dev();
        let host = (mount.attr.dev_major, mount.attr.dev_minor);
        Ok(Arc::new_cyclic(|me| GoferFs {
            client: client.clone(),
            root_node,
            root_attr: mount.attr,
            flags: mount.flags,
            root: Mutex::new(Weak::new()),
            table: Mutex::new(HashMap::new()),
            devices: Mutex::new(vec![(host, dev)]),
            dev,
            ring: Ring::default(),
            prefetch: Prefetch::default(),
            overlay: OnceLock::new(),
            me: me.clone(),
        }))
    }

    /// Others change the tree too.
    fn shared(&self) -> bool {
        self.flags.contains(MountFlags::SHARED)
    }

    /// The client of the gofer behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn device(&self, host: (u32, u32)) -> u64 {
        let mut devices = self.devices.lock();
        if let Some((_, dev)) = devices.iter().find(|(known, _)| *known == host) {
            return *dev;
        }
        let dev = crate::meta::next_dev();
        devices.push((host, dev));
        dev
    }

    /// The inode of a file that the gofer just told of: the one in use, or a new one. `fd` is its data, open for reading.
    fn inode(
        &self,
        node: Node,
        attr: &gofer::wire::Attr,
        fd: Option<OwnedFd>,
    ) -> Result<Arc<GoferInode>, Errno> {
        let found = self
            .table
            .lock()
            .get(&attr.identity())
            .and_then(Weak::upgrade);
        if let Some(inode) = found {
            inode.seen(attr);
            return Ok(inode);
        }
        let fs = self.me.upgrade().ok_or(Errno::ENODEV)?;
        let inode = GoferInode::new(fs, node, attr, fd);
        let mut table = self.table.lock();
        if let Some(other) = table.get(&attr.identity()).and_then(Weak::upgrade) {
            drop(table);
            return Ok(other);
        }
        table.insert(attr.identity(), Arc::downgrade(&inode));
        Ok(inode)
    }

    /// Whether a file has an inode now.
    fn in_use(&self, identity: &Identity) -> bool {
        self.table
            .lock()
            .get(identity)
            .is_some_and(|weak| weak.strong_count() != 0)
    }

    /// An inode is gone.
    fn forget(&self, identity: Identity, inode: *const GoferInode) {
        let mut table = self.table.lock();
        // Its place may belong to a successor by now.
        if table
            .get(&identity)
            .is_some_and(|weak| std::ptr::eq(weak.as_ptr(), inode))
        {
            table.remove(&identity);
        }
    }

    fn is_overlay(&self) -> bool {
        *self.overlay.get_or_init(|| {
            self.root_node
                .stat_fs()
                .is_ok_and(|stat| stat.kind == abi::fs::OVERLAYFS_SUPER_MAGIC)
        })
    }
}

impl FileSystem for GoferFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "gofer"
    }
    fn root(&self) -> Arc<dyn Inode> {
        let known = self.root.lock().upgrade();
        if let Some(inode) = known {
            return inode;
        }
        let node = self
            .root_node
            .root_again()
            .unwrap_or_else(|| unreachable!("a mount's root is a root"));
        let fs = self
            .me
            .upgrade()
            .unwrap_or_else(|| unreachable!("self is alive"));
        let inode = GoferInode::new(fs, node, &self.root_attr, None);
        // What has changed since the sandbox started is asked for.
        inode.touched();
        let mut root = self.root.lock();
        if let Some(other) = root.upgrade() {
            drop(root);
            return other;
        }
        *root = Arc::downgrade(&inode);
        drop(root);
        self.table
            .lock()
            .insert(self.root_attr.identity(), Arc::downgrade(&inode));
        inode
    }
    fn statfs(&self) -> Result<Statfs, Errno> {
        let stat = self.root_node.stat_fs()?;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(Statfs {
            f_type: signed(stat.kind),
            f_bsize: signed(stat.bsize),
            f_blocks: stat.blocks,
            f_bfree: stat.bfree,
            f_bavail: stat.bavail,
            f_files: stat.files,
            f_ffree: stat.ffree,
            f_fsid: [i32::try_from(self.dev & 0x7fff_ffff).unwrap_or(0), 0],
            f_namelen: signed(stat.namelen),
            f_frsize: signed(stat.frsize),
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn sync(&self) -> Result<(), Errno> {
        let inodes: Vec<_> = self
            .table
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut result = Ok(());
        for inode in inodes {
            if let Err(errno) = inode.write_back() {
                result = Err(errno);
            }
        }
        result.and(self.root_node.fsync())
    }
    fn dentry_limit(&self) -> usize {
        DENTRIES
    }
    fn readonly(&self) -> bool {
        self.flags.contains(MountFlags::READ_ONLY)
    }
}
