//! Copy-up: a lower inode gets a copy in the upper layer, under the same name, in one step.

use super::inode::OverlayInode;
use super::{Key, Origin};
use crate::Caller;
use crate::file::Pos;
use crate::inode::{Attr, Follow, Inode, NodeKind, SetAttr};
use crate::vfs::{KernelCaller, acl};
use abi::Errno;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use sync::Mutex;

const BUFFER: usize = 256 * 1024;

/// Owner, mode and times of `attr`, to be set on a copy.
pub fn attributes(attr: &Attr, size: Option<u64>) -> SetAttr {
    SetAttr {
        mode: Some(attr.mode & 0o7777),
        uid: Some(attr.uid),
        gid: Some(attr.gid),
        size,
        atime: Some(attr.atime),
        mtime: Some(attr.mtime),
        ctime: attr.ctime,
    }
}

/// Copies the extended attributes; those that the upper layer does not take are left behind.
pub fn xattrs(
    caller: &dyn Caller,
    from: &Arc<dyn Inode>,
    to: &Arc<dyn Inode>,
) -> Result<(), Errno> {
    // What it got from the directory above is not its own.
    for name in [acl::ACCESS, acl::DEFAULT] {
        let _ = to.remove_xattr(caller, name);
    }
    let names = match from.list_xattr(caller) {
        Ok(names) => names,
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty() && !n.starts_with(b"trusted.overlay."))
    {
        let value = match from.get_xattr(caller, name) {
            Ok(value) => value,
            Err(_) => continue,
        };
        match to.set_xattr(caller, name, &value, 0) {
            Err(Errno::EOPNOTSUPP) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl OverlayInode {
    /// The upper inode, made if need be, with those of all directories above. With `size` the caller truncates next: no more than that is copied.
    pub(super) fn copy_up(&self, size: Option<u64>) -> Result<Arc<dyn Inode>, Errno> {
        if let Some(upper) = self.upper() {
            return Ok(upper.clone());
        }
        // From the topmost directory that has no copy down to this one, each under its own lock alone.
        let mut chain: Vec<Arc<OverlayInode>> = Vec::new();
        let mut at = self.place.lock().as_ref().map(|(dir, _)| dir.clone());
        while let Some(dir) = at.take_if(|dir| dir.upper().is_none()) {
            at = dir.place.lock().as_ref().map(|(dir, _)| dir.clone());
            chain.push(dir);
        }
        drop(at);
        while let Some(dir) = chain.pop() {
            dir.copy_one(None)?;
        }
        self.copy_one(size)
    }

    /// The upper inode under this very name: a hard link of the lower tree whose copy has another name gets this one as well (renames need it).
    pub(super) fn named_upper(
        &self,
        dir: &OverlayInode,
        name: &[u8],
    ) -> Result<Arc<dyn Inode>, Errno> {
        let caller = KernelCaller;
        let upper = self.copy_up(None)?;
        let parent = dir.upper().ok_or(Errno::EIO)?;
        match parent.lookup(&caller, name) {
            Err(Errno::ENOENT) => {
                parent.link(&caller, name, &upper)?;
                if let Some(origin) = self.upper.get().and_then(|u| u.origin.as_ref()) {
                    let _ = origin.lower_links.fetch_update(
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                        |n| n.checked_sub(1),
                    );
                }
                Ok(upper)
            }
            other => other,
        }
    }

    fn copy_one(&self, size: Option<u64>) -> Result<Arc<dyn Inode>, Errno> {
        let _copying = self.copying.lock();
        if let Some(upper) = self.upper() {
            return Ok(upper.clone());
        }
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let place = self.place.lock().clone();
        if place.is_none() && self.kind() == NodeKind::Directory {
            // A removed directory: nothing can be made of it any more.
            return Err(Errno::ENOENT);
        }
        let caller = KernelCaller;
        let attr = lower.attr()?;
        let work = &self.fs.work;
        let name = self.fs.work_name();
        let copy = match self.kind() {
            NodeKind::Symlink => match lower.follow(&caller)? {
                Follow::Text(text) => work.symlink(&caller, &name, &text)?,
                Follow::Jump(_) => return Err(Errno::EIO),
            },
            kind => work.create(&caller, &name, kind, 0o600)?,
        };
        let made = self
            .fill(lower, &attr, &copy, size)
            .and_then(|()| self.appear(&attr, &copy, &name, place));
        if made.is_err() {
            let _ = match self.kind() {
                NodeKind::Directory => work.rmdir(&caller, &name, &copy),
                _ => work.unlink(&caller, &name, &copy),
            };
        }
        made?;
        Ok(copy)
    }

    /// Gives the copy its content and attributes.
    fn fill(
        &self,
        lower: &Arc<dyn Inode>,
        attr: &Attr,
        copy: &Arc<dyn Inode>,
        size: Option<u64>,
    ) -> Result<(), Errno> {
        let caller = KernelCaller;
        let mut want = None;
        if self.kind() == NodeKind::Regular {
            let len = size.map_or(attr.size, |size| size.min(attr.size));
            if len != 0 {
                self.copy_data(lower, copy, len)?;
            }
            want = Some(len);
        }
        xattrs(&caller, lower, copy)?;
        copy.set_attr(&caller, &attributes(attr, want))
    }

    fn copy_data(
        &self,
        lower: &Arc<dyn Inode>,
        copy: &Arc<dyn Inode>,
        len: u64,
    ) -> Result<(), Errno> {
        let caller = KernelCaller;
        let from = self.fs.open_layer(&self.fs.lower, lower, 0)?;
        let to = self.fs.open_layer(&self.fs.upper, copy, 2)?;
        let mut buffer = vec![0u8; usize::try_from(len).unwrap_or(usize::MAX).min(BUFFER)];
        let mut at = 0u64;
        while at < len {
            let want = usize::try_from(len.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let n = from.ops().read(
                &from,
                buffer.get_mut(..want).ok_or(Errno::EIO)?,
                Pos::At(at),
            )?;
            if n == 0 {
                break;
            }
            let piece = buffer.get(..n).ok_or(Errno::EIO)?;
            // Holes stay holes.
            if piece.iter().any(|b| *b != 0) {
                let mut done = 0;
                while let Some(rest) = piece.get(done..).filter(|r| !r.is_empty()) {
                    let (written, _) = to.ops().write(
                        &to,
                        &caller,
                        rest,
                        Pos::At(at.saturating_add(done as u64)),
                    )?;
                    if written == 0 {
                        return Err(Errno::EIO);
                    }
                    done = done.saturating_add(written);
                }
            }
            at = at.saturating_add(n as u64);
        }
        Ok(())
    }

    /// Moves the copy from `work` to its place and makes it count.
    fn appear(
        &self,
        attr: &Attr,
        copy: &Arc<dyn Inode>,
        name: &[u8],
        place: Option<(Arc<OverlayInode>, Arc<[u8]>)>,
    ) -> Result<(), Errno> {
        let caller = KernelCaller;
        let directory = self.kind() == NodeKind::Directory;
        let names = attr
            .nlink
            .saturating_sub(self.lost_links.load(Ordering::Relaxed));
        let lower_links = if directory {
            0
        } else {
            names.saturating_sub(u32::from(place.is_some()))
        };
        let origin = Arc::new(Origin {
            ino: self.fs.lower_ino(attr.dev, attr.ino),
            lower: if directory { self.lower.clone() } else { None },
            hidden: Mutex::new(HashSet::new()),
            lower_links: AtomicU32::new(lower_links),
            lower_key: (lower_links != 0).then_some((attr.dev, attr.ino)),
        });
        let upper_ino = copy.attr()?.ino;
        // Whoever finds the copy in the upper layer must find its origin.
        self.fs.origins.lock().insert(upper_ino, origin.clone());
        if !directory {
            self.fs
                .inodes
                .lock()
                .insert(Key::Upper(upper_ino), Arc::downgrade(&self.arc()?));
            self.keys.lock().push(Key::Upper(upper_ino));
        }
        if lower_links != 0 {
            let old = self
                .fs
                .copied
                .lock()
                .insert((attr.dev, attr.ino), copy.clone());
            drop(old);
        }
        let moved = match &place {
            Some((dir, at)) => {
                let parent: Arc<dyn Inode> = dir.upper().ok_or(Errno::EIO)?.clone();
                let times = parent.attr()?;
                let moved = self
                    .fs
                    .work
                    .rename(&caller, name, copy, &parent, at, None, 0);
                // The guest did not change the directory.
                let restored = parent.set_attr(&caller, &attributes(&times, None));
                // Nor the inode: a rename sets its ctime.
                let ctime = copy.set_attr(
                    &caller,
                    &SetAttr {
                        ctime: attr.ctime,
                        ..SetAttr::default()
                    },
                );
                moved.and(restored).and(ctime)
            }
            None => self.fs.work.unlink(&caller, name, copy),
        };
        if let Err(error) = moved {
            let old = self.fs.origins.lock().remove(&upper_ino);
            drop(old);
            let old = self.fs.copied.lock().remove(&(attr.dev, attr.ino));
            drop(old);
            self.fs.inodes.lock().remove(&Key::Upper(upper_ino));
            return Err(error);
        }
        self.set_upper(copy.clone(), Some(origin));
        let old = self.place.lock().take();
        drop(old);
        Ok(())
    }
}
