//! `rename(2)`, `renameat2(2)` (`fs/namei.c`: `do_renameat2`, `vfs_rename`).

use super::dentry::{Dentry, DirWrite};
use super::mount::Path;
use super::perm::{MAY_EXEC, MAY_WRITE};
use super::remove::{may_delete, notify_gone};
use super::vnode::{event, notify_child, notify_self};
use super::walk::{LastKind, Lookup, Parent};
use abi::Errno;
use abi::fcntl::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ties the two inotify events of a move together.
static NEXT_COOKIE: AtomicU32 = AtomicU32::new(1);

/// Both directories of a rename, locked; the rename lock with them when they differ.
struct Locked<'a> {
    _first: DirWrite<'a>,
    _second: Option<DirWrite<'a>>,
    /// What an ancestor's child stands in the way: the ancestor of one directory that is a child of the other.
    trap: Option<Arc<Dentry>>,
}

/// What moves, and what stood at the new name.
type Moved = (Arc<Dentry>, Option<Arc<Dentry>>);

/// Locks `a` and `b` in the order ancestor first; the superblock's rename lock is held if they differ, so that neither moves.
fn lock_both<'a>(a: &'a Arc<Dentry>, b: &'a Arc<Dentry>) -> Result<Locked<'a>, Errno> {
    if Arc::ptr_eq(a, b) {
        return Ok(Locked {
            _first: a.lock_dir()?,
            _second: None,
            trap: None,
        });
    }
    let (first, second, trap) = match child_on_the_way(b, a) {
        Some(trap) => (a, b, Some(trap)),
        None => (b, a, child_on_the_way(a, b)),
    };
    let one = first.lock_dir()?;
    let two = second.lock_second_dir()?;
    Ok(Locked {
        _first: one,
        _second: Some(two),
        trap,
    })
}

/// The child of `top` through which `from` is reached; `None` when `from` is not below it.
fn child_on_the_way(from: &Arc<Dentry>, top: &Arc<Dentry>) -> Option<Arc<Dentry>> {
    let mut at = from.clone();
    loop {
        let parent = at.parent()?;
        if Arc::ptr_eq(&parent, top) {
            return Some(at);
        }
        at = parent;
    }
}

impl Lookup<'_> {
    /// `renameat2(2)`. `new_start` is where the new path begins, asked for when the old one has been walked; everything else of `self` counts for both.
    pub fn rename(
        &self,
        old: &[u8],
        new_start: impl FnOnce() -> Result<Path, Errno>,
        new: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
            || (flags & RENAME_EXCHANGE != 0 && flags != RENAME_EXCHANGE)
        {
            return Err(Errno::EINVAL);
        }
        let from = self.parent(old)?;
        let new_start = new_start()?;
        let to = Lookup {
            start: &new_start,
            ..*self
        }
        .parent(new)?;
        if !Arc::ptr_eq(&from.dir.mount, &to.dir.mount) {
            return Err(Errno::EXDEV);
        }
        if from.kind != LastKind::Name {
            return Err(Errno::EBUSY);
        }
        if to.kind != LastKind::Name {
            return Err(if flags & RENAME_NOREPLACE != 0 {
                Errno::EEXIST
            } else {
                Errno::EBUSY
            });
        }
        from.dir.mount.want_write()?;
        let superblock = from.dir.dentry.superblock();
        let across = !Arc::ptr_eq(&from.dir.dentry, &to.dir.dentry);
        let rename_lock = across.then(|| superblock.rename.lock());
        let locked = lock_both(&from.dir.dentry, &to.dir.dentry)?;
        let moved = self.rename_locked(&from, &to, &locked, flags)?;
        let Some((source, target)) = moved else {
            return Ok(());
        };
        if across {
            superblock.rename_seq.fetch_add(1, Ordering::AcqRel);
        }
        move_dentries(&from, &to, &source, target.as_ref(), flags);
        if across {
            superblock.rename_seq.fetch_add(1, Ordering::AcqRel);
        }
        drop(locked);
        drop(rename_lock);
        tell(&from, &to, &source, target.as_ref(), flags);
        Ok(())
    }

    /// The checks and the filesystem's part. `None` when both names lead to one inode already: nothing happens then.
    fn rename_locked(
        &self,
        from: &Parent,
        to: &Parent,
        locked: &Locked,
        flags: u32,
    ) -> Result<Option<Moved>, Errno> {
        let exchange = flags & RENAME_EXCHANGE != 0;
        let Some(source) = from.dir.dentry.child_ordered(self.caller, &from.name)? else {
            return Err(Errno::ENOENT);
        };
        let target = to.dir.dentry.child_ordered(self.caller, &to.name)?;
        if flags & RENAME_NOREPLACE != 0 && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if exchange {
            let Some(target) = &target else {
                return Err(Errno::ENOENT);
            };
            if to.trailing_slash && !target.is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        if !source.is_dir() && (from.trailing_slash || (!exchange && to.trailing_slash)) {
            return Err(Errno::ENOTDIR);
        }
        if let Some(trap) = &locked.trap {
            if Arc::ptr_eq(trap, &source) {
                return Err(Errno::EINVAL);
            }
            if target.as_ref().is_some_and(|t| Arc::ptr_eq(trap, t)) {
                return Err(if exchange {
                    Errno::EINVAL
                } else {
                    Errno::ENOTEMPTY
                });
            }
        }
        if target
            .as_ref()
            .is_some_and(|t| Arc::ptr_eq(t.inode(), source.inode()))
        {
            return Ok(None);
        }
        let cred = self.caller.cred();
        may_delete(self.caller, &cred, &from.dir, &source, source.is_dir())?;
        match &target {
            None => to
                .dir
                .inode()
                .permission(self.caller, &cred, MAY_WRITE | MAY_EXEC)?,
            Some(target) => may_delete(
                self.caller,
                &cred,
                &to.dir,
                target,
                if exchange {
                    target.is_dir()
                } else {
                    source.is_dir()
                },
            )?,
        }
        if !Arc::ptr_eq(&from.dir.dentry, &to.dir.dentry) {
            // A directory that moves gets another `..`.
            if source.is_dir() {
                source.inode().permission(self.caller, &cred, MAY_WRITE)?;
            }
            if let Some(target) = target.as_ref().filter(|t| exchange && t.is_dir()) {
                target.inode().permission(self.caller, &cred, MAY_WRITE)?;
            }
        }
        if source.is_mountpoint() || target.as_ref().is_some_and(|t| t.is_mountpoint()) {
            return Err(Errno::EBUSY);
        }
        // A directory that is replaced must not get new names meanwhile; it is below the directories that are held.
        let inner = match &target {
            Some(target) if target.is_dir() && !exchange => Some(target.lock_second_dir()?),
            _ => None,
        };
        let replaced = target.as_ref().map(|t| t.inode());
        from.dir.inode().rename(
            self.caller,
            &from.name,
            source.inode(),
            to.dir.inode(),
            &to.name,
            replaced,
            flags,
        )?;
        drop(inner);
        Ok(Some((source, target)))
    }
}

/// What the rename means for the cache, with both directories still locked.
fn move_dentries(
    from: &Parent,
    to: &Parent,
    source: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    flags: u32,
) {
    let (from_dir, to_dir) = (&from.dir.dentry, &to.dir.dentry);
    from_dir.remove_entry(&from.name, Arc::as_ptr(source));
    match target {
        Some(target) if flags & RENAME_EXCHANGE != 0 => {
            to_dir.remove_entry(&to.name, Arc::as_ptr(target));
            target.set_link(from_dir.clone(), from.name.clone());
            from_dir.enter(target);
        }
        Some(target) => to_dir.forget(target),
        None => {}
    }
    source.set_link(to_dir.clone(), to.name.clone());
    to_dir.enter(source);
    if flags & (RENAME_EXCHANGE | RENAME_WHITEOUT) == 0 {
        from_dir.mark_absent(&from.name);
    }
}

fn tell(
    from: &Parent,
    to: &Parent,
    source: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    flags: u32,
) {
    if super::WATCHES.load(Ordering::Relaxed) == 0 {
        return;
    }
    let one_way = |a: &Parent, b: &Parent, moved: &Arc<Dentry>| {
        let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
        let dir = if moved.is_dir() { event::ISDIR } else { 0 };
        notify_child(&a.dir.dentry, event::MOVED_FROM | dir, cookie, &a.name);
        notify_child(&b.dir.dentry, event::MOVED_TO | dir, cookie, &b.name);
        notify_self(&**moved.inode(), event::MOVE_SELF);
    };
    one_way(from, to, source);
    match target {
        Some(target) if flags & RENAME_EXCHANGE != 0 => one_way(to, from, target),
        Some(target) => notify_gone(target),
        None => {}
    }
}
