//! The walk and the calls that take paths.

mod host;
mod walk;

use super::*;
use crate::testing::TestCaller;
use crate::tmpfs::{Options, TmpFs, store::HeapStore};
use std::sync::Arc;

/// A tree on tmpfs, and who looks at it.
pub struct World {
    pub ns: Arc<MountNamespace>,
    pub root: Path,
    pub caller: TestCaller,
}

pub fn tmpfs_mount(flags: MountFlags) -> Arc<Mount> {
    Mount::of_fs(
        TmpFs::new(
            Arc::new(HeapStore::default()),
            Options::parse(b"mode=755").unwrap(),
        ),
        flags,
        b"tmpfs",
    )
}

impl World {
    pub fn new() -> Self {
        let ns = MountNamespace::new(tmpfs_mount(MountFlags::empty()));
        Self {
            root: ns.root(),
            ns,
            caller: TestCaller::root(),
        }
    }
    pub fn at(&self) -> Lookup<'_> {
        Lookup::new(&self.caller, &self.root, &self.root)
    }
    pub fn path(&self, path: &str) -> Path {
        self.at().resolve(path.as_bytes()).unwrap()
    }
    pub fn mkdir(&self, path: &str) -> Path {
        self.at().mkdir(path.as_bytes(), 0o755).unwrap()
    }
    pub fn file(&self, path: &str) -> Arc<crate::File> {
        self.at().open(path.as_bytes(), 0o102, 0o644).unwrap()
    }
    pub fn text(&self, path: &Path) -> String {
        let text = path_text(path, &self.root);
        String::from_utf8(text.into_proc()).unwrap()
    }
}
