//! Filesystems whose files are made up when they are read: procfs, sysfs, cgroup2.
//!
//! ```text
//!   PseudoFs ── root: Node ── Content::Dir(DirNode)   names and what they lead to, asked at every lookup
//!                            Content::File(FileNode)  a text, made at the first read and again at offset 0; perhaps a setter
//!                            Content::Link(LinkNode)  a text to walk, or straight to a place (magic links)
//! ```
//!
//! A [`Node`] is cheap and made anew by each lookup; what identifies it to guests is its inode number, derived from where it is.

mod file;
mod inode;
mod tree;

pub use file::fixed;
pub use tree::{Tree, link, text, writable};

use crate::kernel::Task;
use abi::Errno;
use fs::vfs::MountNamespace;
use fs::vfs::perm::Owner;
use fs::{Caller, FileOps, FileSystem, Follow, Inode, NodeKind};
use inode::PseudoInode;
use std::any::Any;
use std::sync::{Arc, Weak};

/// The task that makes a call, unless it is the kernel itself.
pub fn caller_task(caller: &dyn Caller) -> Option<Arc<Task>> {
    let task: &Task = caller.as_any().downcast_ref()?;
    let found = task.pid().task()?;
    std::ptr::eq(&*found, task).then_some(found)
}

/// Names of a directory.
pub trait DirNode: Send + Sync {
    /// What `name` leads to.
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno>;
    /// The entries after `cookie` (2 or less: from the start): name, `d_type`, inode number, cookie (above 2, ascending). `sink` returns false when it is full.
    fn list(&self, caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno>;
    /// Whether a child once found stays what it is for as long as somebody holds it.
    fn is_static(&self) -> bool {
        true
    }
    /// For others: whether `name` still leads to what a lookup found, by its [`Node::ident`].
    fn still(&self, name: &[u8], ident: u64) -> bool {
        let _ = (name, ident);
        false
    }
    /// Rules besides the mode. `None`: the mode decides.
    fn permission(&self, caller: &dyn Caller, mask: u32) -> Option<Result<(), Errno>> {
        let _ = (caller, mask);
        None
    }
    /// Directories in it, for its link count.
    fn subdirs(&self) -> u32 {
        0
    }
    /// `st_size`: the number of descriptors, for `/proc/PID/fd`.
    fn size(&self) -> u64 {
        0
    }
}

/// Takes an entry of a listing: name, type, inode number, cookie.
pub type Sink<'a> = dyn FnMut(&[u8], u8, u64, u64) -> bool + 'a;

/// A regular file.
pub trait FileNode: Send + Sync {
    /// Whether it may be opened by this caller, besides what the mode says.
    fn check(&self, caller: &dyn Caller) -> Result<(), Errno> {
        let _ = caller;
        Ok(())
    }
    /// Its whole text now. `opener` is the task that opened it, `None` when it is gone or was the kernel.
    fn text(&self, opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno>;
    /// A write of `data` at `offset`.
    fn write(&self, caller: &dyn Caller, data: &[u8], offset: u64) -> Result<(), Errno> {
        let _ = (caller, data, offset);
        Err(Errno::EIO)
    }
    /// The mounts that its text is about: `poll(2)` tells of their changes.
    fn mounts(&self) -> Option<Arc<MountNamespace>> {
        None
    }
    /// Operations of its own, for files that are no text.
    fn open(&self, caller: &dyn Caller) -> Option<Result<Box<dyn FileOps>, Errno>> {
        let _ = caller;
        None
    }
}

/// A symbolic link.
pub trait LinkNode: Send + Sync {
    /// Where it leads.
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno>;
    /// What `readlink(2)` says.
    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        match self.follow(caller)? {
            Follow::Text(text) => Ok(text.to_vec()),
            Follow::Jump(_) => Err(Errno::EINVAL),
        }
    }
}

/// What a node is.
#[derive(Clone)]
pub enum Content {
    /// A directory.
    Dir(Arc<dyn DirNode>),
    /// A regular file.
    File(Arc<dyn FileNode>),
    /// A symbolic link.
    Link(Arc<dyn LinkNode>),
}

impl Content {
    /// The file type.
    pub fn kind(&self) -> NodeKind {
        match self {
            Self::Dir(_) => NodeKind::Directory,
            Self::File(_) => NodeKind::Regular,
            Self::Link(_) => NodeKind::Symlink,
        }
    }
}

/// Whose a node is.
#[derive(Clone, Default)]
pub enum Belongs {
    /// root's.
    #[default]
    Root,
    /// The user's that a task runs as; root's when the task may not be looked at ([`crate::procfs`]).
    Task(Weak<Task>),
    /// This user's and this group's.
    User(u32, u32),
}

/// A name's target.
#[derive(Clone)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is.
    pub belongs: Belongs,
    /// Inode number.
    pub ino: u64,
    /// Tells a name's later targets from this one (a pid used again); 0 where that cannot be.
    pub ident: u64,
}

impl Node {
    /// root's, with an inode number still to be given.
    pub fn new(mode: u32, content: Content) -> Self {
        Self {
            content,
            mode,
            belongs: Belongs::Root,
            ino: 0,
            ident: 0,
        }
    }
    fn owner(&self) -> Owner {
        match &self.belongs {
            Belongs::Root => Owner {
                mode: self.mode,
                uid: 0,
                gid: 0,
            },
            Belongs::User(uid, gid) => Owner {
                mode: self.mode,
                uid: *uid,
                gid: *gid,
            },
            Belongs::Task(task) => {
                let (uid, gid) = task
                    .upgrade()
                    .map_or((0, 0), |t| crate::procfs::owner_of(&t, self.is_open_dir()));
                Owner {
                    mode: self.mode,
                    uid,
                    gid,
                }
            }
        }
    }
    fn is_open_dir(&self) -> bool {
        self.mode == 0o555 && self.content.kind() == NodeKind::Directory
    }
}

/// An inode number from where something is: a parent's number and a name.
pub fn ino_of(parent: u64, name: &[u8]) -> u64 {
    // FNV-1a; below 2^53 so that scripts that read it as a float keep it.
    let hash = parent
        .to_le_bytes()
        .iter()
        .chain(name)
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
        });
    (hash & ((1 << 48) - 1)) | 1 << 32
}

/// A filesystem made of nodes.
pub struct PseudoFs {
    name: &'static str,
    magic: u64,
    dev: u64,
    root: Node,
    options: String,
    born: i64,
    this: Weak<PseudoFs>,
}

impl PseudoFs {
    /// A filesystem called `name` in `/proc/mounts`, of the `statfs(2)` type `magic`.
    pub fn new(
        name: &'static str,
        magic: u64,
        options: String,
        mut root: Node,
    ) -> Arc<dyn FileSystem> {
        root.ino = 1;
        Arc::new_cyclic(|this| Self {
            name,
            magic,
            dev: fs::meta::next_dev(),
            root,
            options,
            born: fs::meta::now_ns(),
            this: this.clone(),
        })
    }
}

impl FileSystem for PseudoFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        self.name
    }
    fn root(&self) -> Arc<dyn Inode> {
        let Some(this) = self.this.upgrade() else {
            unreachable!("a method runs on a live filesystem")
        };
        PseudoInode::new(this, self.root.clone())
    }
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno> {
        let f_type = i64::try_from(self.magic).unwrap_or(0);
        Ok(abi::fs::Statfs {
            f_type,
            f_bsize: 4096,
            f_namelen: 255,
            f_frsize: 4096,
            ..Default::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        self.options.clone()
    }
    fn dentry_limit(&self) -> usize {
        0
    }
}
