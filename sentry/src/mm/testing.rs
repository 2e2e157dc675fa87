//! Files for the tests of this crate.
#![allow(missing_docs)]

use abi::Errno;
use fs::vfs::{Dentry, Mount, MountFlags, Path, Superblock, Vnode};
use fs::{Attr, Caller, File, FileOps, FileSystem, Inode, Mappable, NodeKind, Pos};
use platform::MemoryFile;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A regular file for tests: a host descriptor, or pages of the memory file.
pub struct TestInode {
    pub host: Option<Arc<OwnedFd>>,
    pub memory: Arc<MemoryFile>,
    pub offset: u64,
    pub size: AtomicU64,
    pub vnode: Vnode,
    pub fs: Arc<dyn FileSystem>,
}

pub struct TestFs;

impl FileSystem for TestFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "test"
    }
    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(TestInode {
            host: None,
            memory: Arc::new(MemoryFile::new().unwrap()),
            offset: 0,
            size: AtomicU64::new(0),
            vnode: Vnode::new(),
            fs: Arc::new(TestFs),
        })
    }
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno> {
        Err(Errno::ENOSYS)
    }
    fn dev(&self) -> u64 {
        7
    }
}

impl Inode for TestInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        NodeKind::Regular
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let size = self.size.load(Ordering::SeqCst);
        Ok(Attr {
            ino: 42,
            mode: 0o100644,
            nlink: 1,
            uid: 0,
            gid: 0,
            size,
            blocks: 0,
            blksize: 4096,
            dev: 0x801,
            rdev: 0,
            atime: 0,
            mtime: 0,
            ctime: 0,
            btime: None,
        })
    }
    fn open(self: Arc<Self>, _: &dyn Caller, _: u32) -> Result<Box<dyn FileOps>, Errno> {
        Err(Errno::ENOSYS)
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

pub struct TestOps(Arc<TestInode>);

impl FileOps for TestOps {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(offset) = pos else {
            return Err(Errno::EINVAL);
        };
        if let Some(fd) = &self.0.host {
            return Ok(rustix::io::pread(fd, buf, offset).unwrap());
        }
        let n = (self.0.size.load(Ordering::SeqCst).saturating_sub(offset)).min(buf.len() as u64)
            as usize;
        self.0
            .memory
            .read_at(self.0.offset + offset, &mut buf[..n])?;
        Ok(n)
    }
    fn mmap(&self, _: &File, offset: u64, len: u64, _: bool) -> Result<Mappable, Errno> {
        Ok(match &self.0.host {
            Some(fd) => Mappable::Host {
                fd: fd.clone(),
                offset,
            },
            None => Mappable::Memory(vec![(self.0.offset + offset, len)]),
        })
    }
}

/// A description of `inode`.
pub fn open(inode: Arc<TestInode>, flags: u32) -> Arc<File> {
    let superblock = Superblock::new(inode.fs.clone());
    let mount = Mount::new(&superblock, MountFlags::empty(), b"test");
    let dyn_inode: Arc<dyn Inode> = inode.clone();
    let dentry = Dentry::detached(&superblock, dyn_inode.clone(), b"/lib/test.so", true);
    File::new(
        Box::new(TestOps(inode)),
        Path { mount, dentry },
        dyn_inode,
        flags,
    )
}

/// A host file with these bytes, open for reading and writing.
pub fn host_file(memory: &Arc<MemoryFile>, bytes: &[u8]) -> Arc<File> {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&fd, bytes, 0).unwrap();
    let inode = TestInode {
        host: Some(Arc::new(fd)),
        memory: memory.clone(),
        offset: 0,
        size: AtomicU64::new(bytes.len() as u64),
        vnode: Vnode::new(),
        fs: Arc::new(TestFs),
    };
    open(Arc::new(inode), 2)
}
