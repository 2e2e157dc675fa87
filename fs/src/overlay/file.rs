//! Open files of the overlay: they follow their inode into the upper layer.

use super::inode::OverlayInode;
use crate::Caller;
use crate::file::{File, FileOps, Mappable, Pos};
use crate::inode::{DirEntry, Inode};
use crate::kept::Kept;
use abi::Errno;
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use sync::OnceLock;

/// A regular file, open. Nothing is copied at open: a file that is truncated at once has nothing to copy.
pub struct OverlayFile {
    inode: Arc<OverlayInode>,
    lower: OnceLock<Arc<File>>,
    upper: OnceLock<Arc<File>>,
}

impl OverlayFile {
    pub fn open(
        inode: Arc<OverlayInode>,
        _caller: &dyn Caller,
        _flags: u32,
    ) -> Result<Self, Errno> {
        let file = Self {
            inode,
            lower: OnceLock::new(),
            upper: OnceLock::new(),
        };
        // Errors belong to open(2).
        file.current()?;
        Ok(file)
    }

    fn open_upper(&self, upper: &Arc<dyn Inode>) -> Result<&Arc<File>, Errno> {
        if let Some(file) = self.upper.get() {
            return Ok(file);
        }
        let opened = self.inode.fs.open_layer(&self.inode.fs.upper, upper, 2)?;
        Ok(self.upper.get_or_init(|| opened))
    }

    /// The file of the layer that counts now.
    fn current(&self) -> Result<&Arc<File>, Errno> {
        if let Some(file) = self.upper.get() {
            return Ok(file);
        }
        if let Some(upper) = self.inode.upper() {
            return self.open_upper(upper);
        }
        if let Some(file) = self.lower.get() {
            return Ok(file);
        }
        let lower = self.inode.lower.as_ref().ok_or(Errno::EIO)?;
        let opened = self.inode.fs.open_layer(&self.inode.fs.lower, lower, 0)?;
        Ok(self.lower.get_or_init(|| opened))
    }

    /// The upper file, copied up if need be.
    fn writable(&self) -> Result<&Arc<File>, Errno> {
        match self.upper.get() {
            Some(file) => Ok(file),
            None => self.open_upper(&self.inode.copy_up(None)?),
        }
    }
}

impl FileOps for OverlayFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let real = self.current()?;
        real.ops().read(real, buf, pos)
    }
    fn write(
        &self,
        _file: &File,
        caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let real = self.writable()?;
        real.ops().write(real, caller, buf, pos)
    }
    fn seek_end(&self, _file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        let real = self.current()?;
        real.ops().seek_end(real, whence, offset)
    }
    fn mmap(
        &self,
        _file: &File,
        offset: u64,
        len: u64,
        writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        let real = if writable_shared {
            self.writable()?
        } else {
            self.current()?
        };
        real.ops().mmap(real, offset, len, writable_shared)
    }
    fn sync(&self, _file: &File, data_only: bool) -> Result<(), Errno> {
        match self.upper.get() {
            Some(real) => real.ops().sync(real, data_only),
            // Nothing of the lower tree was ever written.
            None => Ok(()),
        }
    }
    fn allocate(
        &self,
        _file: &File,
        caller: &dyn Caller,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let real = self.writable()?;
        real.ops().allocate(real, caller, mode, offset, len)
    }
    fn host_fd(&self) -> Option<Arc<OwnedFd>> {
        // For reading only, and only as long as nothing was written.
        let real = self.current().ok()?;
        if self.inode.upper().is_some() {
            None
        } else {
            real.ops().host_fd()
        }
    }
}

/// How the entries of a directory are listed, from one rewind to the next.
#[derive(Clone)]
enum Listing {
    /// Straight from the one layer there is.
    Layer(Arc<File>),
    /// A copy of the merged names: cookie 3 is the first.
    Merged(Arc<[Entry]>),
}

impl Listing {
    fn bytes(&self) -> usize {
        match self {
            // That file keeps its own.
            Self::Layer(_) => 0,
            Self::Merged(entries) => {
                let each = |e: &Entry| e.name.len().saturating_add(size_of::<Entry>());
                entries.iter().map(each).sum()
            }
        }
    }
}

struct Entry {
    name: Box<[u8]>,
    ino: u64,
    kind: u8,
}

/// A directory, open.
pub struct OverlayDir {
    inode: Arc<OverlayInode>,
    listing: Kept<Listing>,
}

impl OverlayDir {
    pub fn new(inode: Arc<OverlayInode>) -> Self {
        Self {
            inode,
            listing: Kept::default(),
        }
    }

    fn choose(&self, caller: &dyn Caller) -> Result<Listing, Errno> {
        let fs = &self.inode.fs;
        match (self.inode.upper(), &self.inode.lower) {
            (Some(upper), None) => Ok(Listing::Layer(fs.open_layer(&fs.upper, upper, 0)?)),
            (None, Some(lower)) => Ok(Listing::Layer(fs.open_layer(&fs.lower, lower, 0)?)),
            _ => {
                let mut entries = Vec::new();
                self.inode.each_entry(caller, &mut |e| {
                    entries.push(Entry {
                        name: e.name.into(),
                        ino: e.ino,
                        kind: e.kind,
                    });
                    true
                })?;
                Ok(Listing::Merged(entries.into()))
            }
        }
    }

    fn listing(&self, caller: &dyn Caller, rewind: bool) -> Result<Listing, Errno> {
        if !rewind && let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let fresh = self.choose(caller)?;
        self.listing.put(fresh.clone(), fresh.bytes());
        Ok(fresh)
    }
}

impl FileOps for OverlayDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, _buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }
    fn read_dir(
        &self,
        _file: &File,
        caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        match self.listing(caller, cookie <= 2)? {
            Listing::Layer(real) => {
                let fs = &self.inode.fs;
                let upper = Arc::ptr_eq(&real.path().mount, &fs.upper);
                real.ops().read_dir(&real, caller, cookie, &mut |e| {
                    sink(&DirEntry {
                        ino: if upper { fs.upper_ino(e.ino) } else { e.ino },
                        ..*e
                    })
                })
            }
            Listing::Merged(entries) => {
                let first = usize::try_from(cookie.max(2).saturating_sub(2)).unwrap_or(usize::MAX);
                for (i, entry) in entries.iter().enumerate().skip(first) {
                    let cookie = (i as u64).saturating_add(3);
                    if !sink(&DirEntry {
                        name: &entry.name,
                        ino: entry.ino,
                        kind: entry.kind,
                        cookie,
                    }) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }
}
