//! Open files: a text with the manners of Linux's seq files, and directories.

use super::{DirNode, FileNode, ino_of};
use crate::kernel::Task;
use abi::Errno;
use fs::kept::Kept;
use fs::vfs::MountNamespace;
use fs::{Caller, DirEntry, Events, File, FileOps, Pollee, Pos};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The most that one write may bring (a page, as sysctls take).
const WRITE_MAX: usize = 4096;

/// A text, open. It is made when it is first read and again whenever it is read from the start; what is read further on belongs to the text that was begun.
pub struct TextFile {
    file: Arc<dyn FileNode>,
    /// Weak: an open file must not keep a dead task.
    opener: Option<Weak<Task>>,
    snapshot: Kept<Arc<[u8]>>,
    /// The mounts it is about, and which change of them was told last.
    mounts: Option<(Arc<MountNamespace>, AtomicU64)>,
}

impl TextFile {
    pub(super) fn new(file: Arc<dyn FileNode>, opener: Option<Arc<Task>>) -> Self {
        let mounts = file.mounts().map(|ns| {
            let seen = ns.event();
            (ns, AtomicU64::new(seen))
        });
        Self {
            file,
            mounts,
            opener: opener.map(|t| Arc::downgrade(&t)),
            snapshot: Kept::default(),
        }
    }

    fn text(&self, from_start: bool) -> Result<Arc<[u8]>, Errno> {
        if !from_start && let Some(text) = self.snapshot.get() {
            return Ok(text);
        }
        let opener = self.opener.as_ref().and_then(Weak::upgrade);
        let text: Arc<[u8]> = self.file.text(opener.as_ref())?.into();
        self.snapshot.put(text.clone(), text.len());
        Ok(text)
    }
}

impl FileOps for TextFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(offset) = pos else {
            return Err(Errno::EINVAL);
        };
        let text = self.text(offset == 0)?;
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|o| text.get(o..))
            .unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
    fn write(
        &self,
        _file: &File,
        caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let offset = if let Pos::At(offset) = pos { offset } else { 0 };
        let data = buf.get(..WRITE_MAX).unwrap_or(buf);
        self.file.write(caller, data, offset)?;
        Ok((data.len(), offset.saturating_add(data.len() as u64)))
    }
    fn seek_end(&self, _file: &File, _whence: i32, _offset: i64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
    fn poll(&self, _file: &File) -> Events {
        let Some((mounts, seen)) = &self.mounts else {
            return Events::READ | Events::WRITE;
        };
        // A change is told once (`mounts_poll`).
        let now = mounts.event();
        let changed = seen.swap(now, Ordering::AcqRel) != now;
        if changed {
            Events::READ | Events::ERR | Events::PRI
        } else {
            Events::READ
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        self.mounts.as_ref().map(|(mounts, _)| mounts.pollee())
    }
}

/// A directory, open.
pub struct DirFile {
    pub(super) dir: Arc<dyn DirNode>,
    pub(super) ino: u64,
}

impl FileOps for DirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, _buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }
    fn seek_end(&self, _file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        // Its size is 0.
        if whence != 2 {
            return Err(Errno::EINVAL);
        }
        u64::try_from(offset).map_err(|_| Errno::EINVAL)
    }
    fn read_dir(
        &self,
        _file: &File,
        caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        self.dir
            .list(caller, cookie, &mut |name, kind, ino, cookie| {
                let ino = if ino == 0 {
                    ino_of(self.ino, name)
                } else {
                    ino
                };
                sink(&DirEntry {
                    name,
                    ino,
                    kind,
                    cookie,
                })
            })
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }
}

struct Fixed(Vec<u8>);

impl FileNode for Fixed {
    fn text(&self, _opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Ok(self.0.clone())
    }
    fn write(&self, _caller: &dyn Caller, _data: &[u8], _offset: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

/// An open file with a text that does not change.
pub fn fixed(text: Vec<u8>) -> Box<dyn FileOps> {
    Box::new(TextFile::new(Arc::new(Fixed(text)), None))
}
