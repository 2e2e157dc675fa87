//! The memory file as the filesystems see it.

use platform::MemoryFile;
use std::sync::Arc;

/// Pages for files in memory (tmpfs, memfd): the sandbox's memory file.
pub struct Store(pub Arc<MemoryFile>);

impl fs::tmpfs::store::PageStore for Store {
    fn allocate(&self, len: u64) -> Result<u64, abi::Errno> {
        self.0.allocate(len)
    }
    fn free(&self, offset: u64, len: u64) {
        self.0.free(offset, len);
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), abi::Errno> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), abi::Errno> {
        self.0.write_at(offset, buf)
    }
    fn zero(&self, offset: u64, len: u64) -> Result<(), abi::Errno> {
        self.0.zero(offset, len)
    }
}
