//! `cwd`, `root`, `exe`: links that lead to places, whatever their names.

use super::task::{Look, Who};
use crate::kernel::Task;
use crate::pseudo::LinkNode;
use abi::Errno;
use fs::vfs::{Path, path_text};
use fs::{Caller, Follow};

/// Which place of a task.
pub enum What {
    /// Current directory.
    Cwd,
    /// Root directory.
    Root,
    /// Program.
    Exe,
}

/// A link to a place of a task.
pub struct PlaceLink {
    pub(super) who: Who,
    pub(super) what: What,
}

impl PlaceLink {
    fn place(&self, look: &Look) -> Result<Path, Errno> {
        match self.what {
            What::Cwd => Ok(look.task.fs_opt().ok_or(Errno::ENOENT)?.cwd()),
            What::Root => Ok(look.task.fs_opt().ok_or(Errno::ENOENT)?.root()),
            What::Exe => Ok(look
                .mm()
                .and_then(|mm| mm.exe())
                .ok_or(Errno::ENOENT)?
                .file()
                .path()
                .clone()),
        }
    }
}

impl LinkNode for PlaceLink {
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        Ok(Follow::Jump(self.place(&self.who.look_closely(caller)?)?))
    }
    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        Ok(shown(&self.place(&self.who.look_closely(caller)?)?, caller))
    }
}

/// The text of a place as the caller's root has it.
pub fn shown(place: &Path, caller: &dyn Caller) -> Vec<u8> {
    let root = caller
        .as_any()
        .downcast_ref::<Task>()
        .and_then(Task::fs_opt)
        .map(|fs| fs.root());
    path_text(place, root.as_ref().unwrap_or(place)).into_proc()
}
