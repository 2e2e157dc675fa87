//! Files without a name: pipes, sockets, and the `anon_inode` family (eventfd, epoll, timerfd, signalfd, pidfd, inotify).
//!
//! ```text
//! let path = anon::pipe(caller);                       // one inode for both ends
//! let file = File::new(ops, path.clone(), path.inode().clone(), flags);
//! let file = anon::file("[eventfd]", ops, flags);      // shares the one inode all of them have
//! ```

use crate::file::{File, FileOps};
use crate::inode::{Attr, FileSystem, Inode, NodeKind, SetAttr};
use crate::meta::{Meta, next_dev};
use crate::vfs::perm::Owner;
use crate::vfs::{Dentry, Mount, MountFlags, Path, Vnode};
use crate::{Caller, Cred};
use abi::Errno;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use sync::{Mutex, OnceLock};

/// `pipefs`, `sockfs` or `anon_inodefs`: never mounted where a guest could walk.
struct AnonFs {
    name: &'static str,
    magic: i64,
    dev: u64,
}

static PIPES: OnceLock<Arc<Mount>> = OnceLock::new();
static SOCKETS: OnceLock<Arc<Mount>> = OnceLock::new();
static OTHERS: OnceLock<Arc<Mount>> = OnceLock::new();

fn mount(
    slot: &'static OnceLock<Arc<Mount>>,
    name: &'static str,
    magic: i64,
) -> &'static Arc<Mount> {
    slot.get_or_init(|| {
        let fs = Arc::new(AnonFs {
            name,
            magic,
            dev: next_dev(),
        });
        Mount::of_fs(fs, MountFlags::NOATIME, name.as_bytes())
    })
}

fn pipes() -> &'static Arc<Mount> {
    mount(&PIPES, "pipefs", 0x5049_5045)
}
fn sockets() -> &'static Arc<Mount> {
    mount(&SOCKETS, "sockfs", 0x534f_434b)
}
fn others() -> &'static Arc<Mount> {
    mount(&OTHERS, "anon_inodefs", 0x0904_1934)
}

/// The place of a new anonymous pipe: `pipe:[N]`, a FIFO inode with mode 0600.
pub fn pipe(caller: &dyn Caller) -> Path {
    new(pipes(), "pipe", NodeKind::Fifo, 0o600, caller)
}

/// The place of a new socket: `socket:[N]`, mode 0777.
pub fn socket(caller: &dyn Caller) -> Path {
    new(sockets(), "socket", NodeKind::Socket, 0o777, caller)
}

fn new(mount: &Arc<Mount>, word: &str, kind: NodeKind, mode: u32, caller: &dyn Caller) -> Path {
    let cred = caller.cred();
    let owner = Owner {
        mode,
        uid: cred.fsuid,
        gid: cred.fsgid,
    };
    let meta = Meta::new(kind, owner, caller.now_ns());
    let name = format!("{word}:[{}]", meta.ino());
    let inode = Arc::new(AnonInode {
        meta,
        vnode: Vnode::new(),
        fs: mount.fs().clone(),
    });
    Path {
        mount: mount.clone(),
        dentry: Dentry::detached(mount.superblock(), inode, name.as_bytes(), true),
    }
}

/// The place that all files called `anon_inode:NAME` share; `name` with its brackets, as Linux shows it (`[eventpoll]`, `inotify`).
pub fn place(name: &'static str) -> Path {
    static PLACES: Mutex<BTreeMap<&'static str, Path>> = Mutex::new(BTreeMap::new());
    static INODE: OnceLock<Arc<AnonInode>> = OnceLock::new();
    if let Some(path) = PLACES.lock().get(name) {
        return path.clone();
    }
    let mount = others();
    let inode = INODE.get_or_init(|| {
        let owner = Owner {
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        Arc::new(AnonInode {
            meta: Meta::new(NodeKind::Anonymous, owner, crate::meta::now_ns()),
            vnode: Vnode::new(),
            fs: mount.fs().clone(),
        })
    });
    let text = format!("anon_inode:{name}");
    let path = Path {
        mount: mount.clone(),
        dentry: Dentry::detached(mount.superblock(), inode.clone(), text.as_bytes(), true),
    };
    let other = PLACES.lock().insert(name, path.clone());
    drop(other);
    path
}

/// A description on `anon_inode:NAME`. `flags` as in [`File::new`].
pub fn file(name: &'static str, ops: Box<dyn FileOps>, flags: u32) -> Arc<File> {
    let path = place(name);
    let inode = path.inode().clone();
    File::new(ops, path, inode, flags)
}

struct AnonInode {
    meta: Meta,
    vnode: Vnode,
    fs: Arc<dyn FileSystem>,
}

impl Inode for AnonInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.meta.kind()
    }
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(self.meta.attr(self.fs.dev(), 0, 0))
    }
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.meta.owner())
    }
    fn permission(&self, _caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
        crate::vfs::perm::generic(self.meta.owner(), false, cred, mask)
    }
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        match self.meta.kind() {
            NodeKind::Anonymous => Err(Errno::EOPNOTSUPP),
            _ if set.size.is_some() => Err(Errno::EINVAL),
            _ => {
                self.meta.set(set);
                Ok(())
            }
        }
    }
    fn open(self: Arc<Self>, _caller: &dyn Caller, _flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        Err(Errno::ENXIO)
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

impl FileSystem for AnonFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        self.name
    }
    fn root(&self) -> Arc<dyn Inode> {
        let fs = Arc::new(AnonFs {
            name: self.name,
            magic: self.magic,
            dev: self.dev,
        });
        let meta = Meta::new(
            NodeKind::Directory,
            Owner {
                mode: 0o555,
                uid: 0,
                gid: 0,
            },
            0,
        );
        Arc::new(AnonInode {
            meta,
            vnode: Vnode::new(),
            fs,
        })
    }
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno> {
        Ok(abi::fs::Statfs {
            f_type: self.magic,
            f_bsize: 4096,
            f_namelen: 255,
            f_frsize: 4096,
            ..Default::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn dentry_limit(&self) -> usize {
        0
    }
}
