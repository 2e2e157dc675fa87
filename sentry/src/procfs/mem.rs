//! `/proc/PID/mem`: the memory of a process, by address.

use super::task::Who;
use crate::kernel::Task;
use crate::mm::MemoryManager;
use crate::pseudo::FileNode;
use abi::Errno;
use fs::{Caller, File, FileOps, Pos};
use std::any::Any;
use std::sync::{Arc, Weak};

/// The file.
pub struct MemNode {
    pub(super) who: Who,
}

impl FileNode for MemNode {
    fn text(&self, _opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EIO)
    }
    fn open(&self, caller: &dyn Caller) -> Option<Result<Box<dyn FileOps>, Errno>> {
        Some(self.who.look_closely(caller).map(|look| {
            let mm = look.mm().map_or_else(Weak::new, |mm| Arc::downgrade(&mm));
            Box::new(MemFile { mm }) as Box<dyn FileOps>
        }))
    }
}

/// The memory that was there when it was opened; nothing once that is gone.
struct MemFile {
    mm: Weak<MemoryManager>,
}

impl FileOps for MemFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn spliceable(&self) -> bool {
        false
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let (Pos::At(addr), Some(mm)) = (pos, self.mm.upgrade()) else {
            return Ok(0);
        };
        mm.read_some(addr, buf).map_err(|_| Errno::EIO)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let (Pos::At(addr), Some(mm)) = (pos, self.mm.upgrade()) else {
            return Ok((0, 0));
        };
        let n = mm.write_some(addr, buf).map_err(|_| Errno::EIO)?;
        Ok((n, addr.saturating_add(n as u64)))
    }
    fn seek_end(&self, _file: &File, _whence: i32, _offset: i64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
}
