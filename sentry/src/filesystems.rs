//! Filesystems by name, for mount(2).

use crate::kernel::Task;
use crate::mm::Store;
use abi::Errno;
use fs::FileSystem;
use fs::tmpfs::{Options, TmpFs};
use std::sync::Arc;

/// A new instance of filesystem `kind` with the mount's `data`: `ENODEV` for one that is not here.
pub fn make(task: &Task, kind: &[u8], data: &[u8]) -> Result<Arc<dyn FileSystem>, Errno> {
    match kind {
        b"" => Err(Errno::EINVAL),
        b"tmpfs" | b"ramfs" => Ok(TmpFs::new(Store::of(task.kernel()), Options::parse(data)?)),
        _ => Err(Errno::ENODEV),
    }
}
