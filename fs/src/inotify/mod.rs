//! `inotify(7)` (Linux: `fs/notify/`).
//!
//! ```text
//!   VFS event on an inode ─► Vnode.watches (Marks) ─► each Watch whose mask asks ─► its Instance's queue ─► read()
//! ```
//!
//! An instance owns its watches; an inode's [`Marks`] refer to them weakly. A watch holds its inode, as Linux pins it, so that the marks are found again
//! however the name is walked to.

mod queue;
#[cfg(test)]
mod tests;

use crate::file::{File, FileOps, Pos, UserMemory};
use crate::inode::Inode;
use crate::pollee::{Events, Pollee};
use crate::vfs::{self, Vnode, event};
use crate::{Caller, anon};
use abi::Errno;
use abi::ioctl::FIONREAD;
use queue::Queue;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// All event bits a watch may ask for.
pub const IN_ALL_EVENTS: u32 = 0xfff;
const IN_UNMOUNT: u32 = 0x2000;
const IN_Q_OVERFLOW: u32 = 0x4000;
const IN_IGNORED: u32 = 0x8000;
const IN_ONLYDIR: u32 = 0x0100_0000;
const IN_DONT_FOLLOW: u32 = 0x0200_0000;
const IN_EXCL_UNLINK: u32 = 0x0400_0000;
const IN_MASK_CREATE: u32 = 0x1000_0000;
const IN_MASK_ADD: u32 = 0x2000_0000;
const IN_ISDIR: u32 = 0x4000_0000;
const IN_ONESHOT: u32 = 0x8000_0000;
/// What `inotify_add_watch` takes.
const ALL_BITS: u32 = IN_ALL_EVENTS
    | IN_UNMOUNT
    | IN_Q_OVERFLOW
    | IN_IGNORED
    | IN_ONLYDIR
    | IN_DONT_FOLLOW
    | IN_EXCL_UNLINK
    | IN_MASK_CREATE
    | IN_MASK_ADD
    | IN_ISDIR
    | IN_ONESHOT;
const O_NONBLOCK: u32 = 0o4000;
const O_CLOEXEC: u32 = 0o2000000;

/// `/proc/sys/fs/inotify/max_queued_events`
pub const MAX_QUEUED: usize = 16384;
/// `/proc/sys/fs/inotify/max_user_watches`, here for the sandbox as a whole.
pub const MAX_WATCHES: usize = 1 << 18;
/// `/proc/sys/fs/inotify/max_user_instances`, here for the sandbox as a whole, and so more than Linux's 128 for one user.
pub const MAX_INSTANCES: usize = 4096;

static INSTANCES: AtomicUsize = AtomicUsize::new(0);

struct Watch {
    wd: i32,
    instance: Weak<Instance>,
    inode: Arc<dyn Inode>,
    /// Event bits and `IN_ONESHOT`, `IN_EXCL_UNLINK`.
    mask: AtomicU32,
    /// No further events: removed, or its one shot is fired.
    done: AtomicBool,
}

/// The marks of one inode ([`Vnode::watches`]).
#[derive(Default)]
pub struct Marks(Mutex<Vec<Weak<Watch>>>);

impl vfs::Watches for Marks {
    fn event(&self, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let bits = mask & (IN_ALL_EVENTS | IN_UNMOUNT);
        let watches: Vec<Arc<Watch>> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let gone = name.is_none() && mask & (event::DELETE_SELF | IN_UNMOUNT) != 0;
        for watch in watches {
            watch.event(bits, mask, cookie, name);
            if gone {
                watch.remove();
            }
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Watch {
    fn event(&self, bits: u32, mask: u32, cookie: u32, name: Option<&[u8]>) {
        let wanted = self.mask.load(Ordering::Acquire);
        // A watch on an unmounted filesystem hears of it whether it asked or not.
        if (wanted | IN_UNMOUNT) & bits == 0 || self.done.load(Ordering::Acquire) {
            return;
        }
        if wanted & IN_ONESHOT != 0 && self.done.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(instance) = self.instance.upgrade() else {
            return;
        };
        instance.push(self.wd, mask, cookie, name.unwrap_or(&[]));
        if wanted & IN_ONESHOT != 0 {
            self.remove();
        }
    }

    /// Takes the watch away and says so (`IN_IGNORED`); false if it was not there any more.
    fn remove(&self) -> bool {
        let Some(instance) = self.instance.upgrade() else {
            return false;
        };
        let watch = instance.watches.lock().by_wd.remove(&self.wd);
        let Some(watch) = watch else { return false };
        watch.done.store(true, Ordering::Release);
        watch.unmark();
        instance.push(watch.wd, IN_IGNORED, 0, &[]);
        true
    }

    fn unmark(&self) {
        vfs::WATCHES.fetch_sub(1, Ordering::AcqRel);
        if let Some(marks) = marks(self.inode.vnode()) {
            // Dead ones go as well.
            marks
                .0
                .lock()
                .retain(|w| w.upgrade().is_some_and(|w| !std::ptr::eq(&*w, self)));
        }
    }
}

fn marks(vnode: &Vnode) -> Option<&Marks> {
    vnode.watches.get().and_then(|w| w.as_any().downcast_ref())
}

#[derive(Default)]
struct WatchTable {
    by_wd: BTreeMap<i32, Arc<Watch>>,
    last_wd: i32,
}

/// An inotify instance.
pub struct Instance {
    me: Weak<Instance>,
    watches: Mutex<WatchTable>,
    queue: Mutex<Queue>,
    pollee: Pollee,
}

impl Instance {
    fn push(&self, wd: i32, mask: u32, cookie: u32, name: &[u8]) {
        let queued = self.queue.lock().push(wd, mask, cookie, name);
        if queued {
            self.pollee.notify(Events::READ);
        }
    }

    /// `inotify_add_watch(2)` on an inode that the caller has walked to and may read. Returns the watch descriptor.
    pub fn add_watch(&self, inode: &Arc<dyn Inode>, mask: u32) -> Result<i32, Errno> {
        if mask & !ALL_BITS != 0
            || mask & ALL_BITS == 0
            || mask & (IN_MASK_ADD | IN_MASK_CREATE) == IN_MASK_ADD | IN_MASK_CREATE
        {
            return Err(Errno::EINVAL);
        }
        if mask & IN_ONLYDIR != 0 && inode.kind() != crate::NodeKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let new = mask & (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK);
        let marks = inode
            .vnode()
            .watches
            .get_or_init(|| Arc::new(Marks::default()));
        let marks: &Marks = marks.as_any().downcast_ref().ok_or(Errno::EINVAL)?;
        let same = |w: &Arc<Watch>| w.instance.ptr_eq(&self.me) && !w.done.load(Ordering::Acquire);
        let found = marks.0.lock().iter().filter_map(Weak::upgrade).find(same);
        if let Some(watch) = found {
            if mask & IN_MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            if mask & IN_MASK_ADD != 0 {
                watch.mask.fetch_or(new, Ordering::AcqRel);
            } else {
                watch.mask.store(new, Ordering::Release);
            }
            return Ok(watch.wd);
        }
        if vfs::WATCHES.fetch_add(1, Ordering::AcqRel) >= MAX_WATCHES {
            vfs::WATCHES.fetch_sub(1, Ordering::AcqRel);
            return Err(Errno::ENOSPC);
        }
        let mut table = self.watches.lock();
        // Numbers rise and come round, as Linux's cyclic allocation has them.
        let mut wd = table.last_wd;
        loop {
            wd = if wd == i32::MAX {
                1
            } else {
                wd.saturating_add(1)
            };
            if !table.by_wd.contains_key(&wd) {
                break;
            }
        }
        table.last_wd = wd;
        let watch = Arc::new(Watch {
            wd,
            instance: self.me.clone(),
            inode: inode.clone(),
            mask: AtomicU32::new(new),
            done: AtomicBool::new(false),
        });
        table.by_wd.insert(wd, watch.clone());
        drop(table);
        marks.0.lock().push(Arc::downgrade(&watch));
        Ok(wd)
    }

    /// `inotify_rm_watch(2)`.
    pub fn remove_watch(&self, wd: i32) -> Result<(), Errno> {
        let watch = self
            .watches
            .lock()
            .by_wd
            .get(&wd)
            .cloned()
            .ok_or(Errno::EINVAL)?;
        if watch.remove() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// The description's side: closing it takes the watches away.
struct InotifyFile(Arc<Instance>);

/// Whether the file came from `inotify_init1(2)`.
pub fn is_instance(file: &File) -> bool {
    file.downcast::<InotifyFile>().is_some()
}

impl Drop for InotifyFile {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.0.watches.lock().by_wd);
        for watch in watches.into_values() {
            watch.done.store(true, Ordering::Release);
            watch.unmark();
        }
        INSTANCES.fetch_sub(1, Ordering::AcqRel);
    }
}

impl FileOps for InotifyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn spliceable(&self) -> bool {
        false
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        self.0.queue.lock().read(buf)
    }
    fn poll(&self, _file: &File) -> Events {
        if self.0.queue.lock().is_empty() {
            Events::empty()
        } else {
            Events::READ
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.0.pollee)
    }
    fn ioctl(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        if cmd != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = self.0.queue.lock().bytes();
        mem.write(arg, &i32::try_from(bytes).unwrap_or(i32::MAX).to_ne_bytes())?;
        Ok(0)
    }
    fn fdinfo(&self, _file: &File) -> String {
        let watches: Vec<_> = self.0.watches.lock().by_wd.values().cloned().collect();
        let mut text = String::new();
        for watch in watches {
            let ino = watch.inode.attr().map_or(0, |a| a.ino);
            let dev = watch.inode.filesystem().dev();
            let mask = watch.mask.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "inotify wd:{} ino:{ino:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0 ",
                watch.wd
            );
        }
        text
    }
}

/// `inotify_init1(2)`: `flags` are `IN_NONBLOCK` and `IN_CLOEXEC` (the caller's to act on).
pub fn create(flags: u32) -> Result<Arc<File>, Errno> {
    if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    if INSTANCES.fetch_add(1, Ordering::AcqRel) >= MAX_INSTANCES {
        INSTANCES.fetch_sub(1, Ordering::AcqRel);
        return Err(Errno::EMFILE);
    }
    let instance = Arc::new_cyclic(|me| Instance {
        me: me.clone(),
        watches: Mutex::new(WatchTable::default()),
        queue: Mutex::new(Queue::default()),
        pollee: Pollee::new(),
    });
    Ok(anon::file(
        "inotify",
        Box::new(InotifyFile(instance)),
        flags & O_NONBLOCK,
    ))
}

/// The instance behind a description, if it is one.
pub fn of(file: &File) -> Option<&Arc<Instance>> {
    file.downcast::<InotifyFile>().map(|f| &f.0)
}

/// A number that ties the two events of one rename together.
pub fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An event on an inode and, under its name, on the directory it is in. For callers without a dentry; the VFS has its own ([`vfs::notify`]).
pub fn notify(vnode: &Vnode, parent: Option<&Vnode>, name: &[u8], mask: u32, cookie: u32) {
    if vfs::WATCHES.load(Ordering::Relaxed) == 0 {
        return;
    }
    if let Some(watches) = parent.and_then(|p| p.watches.get()) {
        watches.event(mask, cookie, Some(name));
    }
    if let Some(watches) = vnode.watches.get() {
        watches.event(mask, cookie, None);
    }
}
