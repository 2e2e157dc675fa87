//! The memory file as the filesystems see it.

use crate::kernel::Kernel;
use abi::Errno;
use fs::tmpfs::PageStore;
use fs::vfs::Mount;
use platform::MemoryFile;
use std::sync::Arc;
use sync::OnceLock;

/// Pages for files in memory (tmpfs, memfd): the sandbox's memory file.
pub struct Store(pub Arc<MemoryFile>);

impl PageStore for Store {
    fn allocate(&self, len: u64) -> Result<u64, Errno> {
        self.0.allocate(len)
    }
    fn free(&self, offset: u64, len: u64) {
        self.0.free(offset, len);
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.0.write_at(offset, buf)
    }
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.0.zero(offset, len)
    }
}

impl Store {
    /// The kernel's pages.
    pub fn of(kernel: &Kernel) -> Arc<dyn PageStore> {
        Arc::new(Self(kernel.platform.memory_file().clone()))
    }
}

#[derive(Default)]
struct Internal(OnceLock<Arc<Mount>>);

/// The kernel's own tmpfs, mounted nowhere: memfd_create(2).
pub fn internal_tmpfs(kernel: &Kernel) -> Arc<Mount> {
    let slot = kernel.extension(Internal::default);
    slot.0
        .get_or_init(|| fs::tmpfs::internal_mount(Store::of(kernel)))
        .clone()
}
