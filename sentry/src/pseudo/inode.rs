//! The inode of a node.

use super::file::{DirFile, TextFile};
use super::{Content, Node, PseudoFs, caller_task, ino_of};
use abi::Errno;
use fs::vfs::Vnode;
use fs::vfs::perm::{self, Owner};
use fs::{Attr, Caller, FileOps, FileSystem, Follow, Inode, NodeKind, SetAttr};
use std::any::Any;
use std::sync::Arc;

/// A node in use.
pub struct PseudoInode {
    fs: Arc<PseudoFs>,
    node: Node,
    vnode: Vnode,
}

impl PseudoInode {
    pub(super) fn new(fs: Arc<PseudoFs>, node: Node) -> Arc<Self> {
        Arc::new(Self {
            fs,
            node,
            vnode: Vnode::new(),
        })
    }
}

impl Inode for PseudoInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.node.content.kind()
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let owner = self.node.owner();
        let (nlink, size) = match &self.node.content {
            Content::Dir(dir) => (dir.subdirs().saturating_add(2), dir.size()),
            _ => (1, 0),
        };
        let time = self.fs.born;
        Ok(Attr {
            ino: self.node.ino,
            mode: self.kind().mode_bits() | owner.mode,
            nlink,
            uid: owner.uid,
            gid: owner.gid,
            size,
            blocks: 0,
            blksize: 1024,
            dev: self.fs.dev,
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: None,
        })
    }
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.node.owner())
    }
    fn permission(&self, caller: &dyn Caller, cred: &fs::Cred, mask: u32) -> Result<(), Errno> {
        if let Content::Dir(dir) = &self.node.content
            && let Some(verdict) = dir.permission(caller, mask)
        {
            return verdict;
        }
        perm::generic(
            self.node.owner(),
            self.kind() == NodeKind::Directory,
            cred,
            mask,
        )
    }
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        // A shell's `>` truncates: texts have no length to cut. Nothing else can be changed.
        let others = set.mode.is_some() || set.uid.is_some() || set.gid.is_some();
        if others || set.size.is_none() {
            Err(Errno::EPERM)
        } else {
            Ok(())
        }
    }
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let Content::Dir(dir) = &self.node.content else {
            return Err(Errno::ENOTDIR);
        };
        let mut node = dir.lookup(caller, name)?;
        if node.ino == 0 {
            node.ino = ino_of(self.node.ino, name);
        }
        Ok(Self::new(self.fs.clone(), node))
    }
    fn cacheable(&self) -> bool {
        match &self.node.content {
            Content::Dir(dir) => dir.is_static(),
            _ => true,
        }
    }
    fn revalidate(
        &self,
        _caller: &dyn Caller,
        name: &[u8],
        child: Option<&Arc<dyn Inode>>,
    ) -> bool {
        let Content::Dir(dir) = &self.node.content else {
            return false;
        };
        child
            .and_then(|c| c.as_any().downcast_ref::<Self>())
            .is_some_and(|c| dir.still(name, c.node.ident))
    }
    fn create(
        &self,
        _caller: &dyn Caller,
        _name: &[u8],
        _kind: NodeKind,
        _mode: u32,
    ) -> Result<Arc<dyn Inode>, Errno> {
        Err(Errno::ENOENT)
    }
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        match &self.node.content {
            Content::Link(link) => link.follow(caller),
            _ => Err(Errno::EINVAL),
        }
    }
    fn readlink(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        match &self.node.content {
            Content::Link(link) => link.read(caller),
            _ => Err(Errno::EINVAL),
        }
    }
    fn open(self: Arc<Self>, caller: &dyn Caller, _flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        match &self.node.content {
            Content::Dir(dir) => Ok(Box::new(DirFile {
                dir: dir.clone(),
                ino: self.node.ino,
            })),
            Content::Link(_) => Err(Errno::ELOOP),
            Content::File(file) => {
                file.check(caller)?;
                match file.open(caller) {
                    Some(own) => own,
                    None => Ok(Box::new(TextFile::new(file.clone(), caller_task(caller)))),
                }
            }
        }
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}
