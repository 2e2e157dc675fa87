//! The memory file as the filesystems see it.

use platform::MemoryFile;
use std::sync::Arc;

/// Pages for files in memory (tmpfs, memfd): the sandbox's memory file.
pub struct Store(pub Arc<MemoryFile>);
