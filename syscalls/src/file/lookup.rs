//! From a directory descriptor and a path to a place.

use crate::args::{DirFd, Fd};
use abi::Errno;
use fs::File;
use fs::vfs::{Lookup, LookupFlags, Path, Resolve};
use sentry::kernel::Cx;
use std::sync::Arc;

pub(super) const AT_SYMLINK_NOFOLLOW: i32 = 0x100;
pub(super) const AT_EACCESS: i32 = 0x200;
pub(super) const AT_REMOVEDIR: i32 = 0x200;
pub(super) const AT_SYMLINK_FOLLOW: i32 = 0x400;
pub(super) const AT_NO_AUTOMOUNT: i32 = 0x800;
pub(super) const AT_EMPTY_PATH: i32 = 0x1000;

/// The file of a descriptor.
pub(super) fn file(cx: &Cx, fd: Fd) -> Result<Arc<File>, Errno> {
    cx.files()?.get(fd)
}

/// The file of a descriptor that is more than a name.
pub(super) fn open_file(cx: &Cx, fd: Fd) -> Result<Arc<File>, Errno> {
    let file = file(cx, fd)?;
    if file.is_path() {
        Err(Errno::EBADF)
    } else {
        Ok(file)
    }
}

/// A walk's fixed points: the root, and where a relative path starts.
pub(super) struct From {
    pub root: Path,
    pub start: Path,
    pub flags: LookupFlags,
    pub resolve: Resolve,
}

impl From {
    /// For `path` seen from `dir`. The descriptor is looked at only for relative paths, as Linux does.
    pub fn new(cx: &Cx, dir: DirFd, path: &[u8]) -> Result<Self, Errno> {
        Self::at(cx, dir, path, 0)
    }
    /// The same, with what `AT_*` flags say of an empty path and of the final component. An empty path is refused before the descriptor is
    /// looked at.
    pub fn at(cx: &Cx, dir: DirFd, path: &[u8], flags: i32) -> Result<Self, Errno> {
        if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
            return Err(Errno::ENOENT);
        }
        let (root, cwd) = cx.fs()?.root_and_cwd();
        let start = match dir {
            DirFd::Fd(fd) if path.first() != Some(&b'/') => file(cx, Fd::new(fd)?)?.path().clone(),
            _ => cwd,
        };
        let mut lookup = LookupFlags::empty();
        lookup.set(LookupFlags::NOFOLLOW, flags & AT_SYMLINK_NOFOLLOW != 0);
        lookup.set(LookupFlags::EMPTY, flags & AT_EMPTY_PATH != 0);
        Ok(Self {
            root,
            start,
            flags: lookup,
            resolve: Resolve::empty(),
        })
    }
    /// The walk itself.
    pub fn lookup<'a>(&'a self, cx: &'a Cx) -> Lookup<'a> {
        Lookup {
            caller: &**cx.task(),
            root: &self.root,
            start: &self.start,
            flags: self.flags,
            resolve: self.resolve,
        }
    }
}

/// The place that `path` leads to from `dir`, as `flags` (`AT_*`) ask.
pub(super) fn resolve(cx: &Cx, dir: DirFd, path: &[u8], flags: i32) -> Result<Path, Errno> {
    let from = From::at(cx, dir, path, flags)?;
    from.lookup(cx).resolve(path)
}
