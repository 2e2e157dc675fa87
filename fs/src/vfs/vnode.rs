//! What the VFS keeps for each inode, whatever its filesystem.

use abi::Errno;
use std::any::Any;
use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, OnceLock};

/// A slot for something of another module, made once and kept for the inode's life.
pub type Slot = OnceLock<Arc<dyn Any + Send + Sync>>;

/// Whoever shows a file's pages to guests (an address space's mapping of it).
pub trait MappingObserver: Send + Sync {
    /// Pages are about to go: whoever has asked for some and not mapped them yet must find out. All observers hear this first.
    fn note(&self) {}
    /// The bytes `[offset, offset + len)` of the file behind `of` are gone or moved: unmap them from guests, so that the next touch asks again (and finds what
    /// is there now, or SIGBUS past the end). Called with no lock of this crate held; never call back into the file from here.
    fn invalidate(&self, of: &Vnode, offset: u64, len: u64);
    /// The address space that shows the pages. Of all that name the same one is called, for all of its mappings; each that names none is.
    fn space(&self) -> Option<usize> {
        None
    }
}

/// Inotify and fanotify marks of one inode; module `inotify` implements it.
pub trait Watches: Send + Sync {
    /// An event of `IN_*` bits on the inode (`name` is `None`) or on its child `name`.
    fn event(&self, mask: u32, cookie: u32, name: Option<&[u8]>);
    /// For the implementor.
    fn as_any(&self) -> &dyn Any;
}

/// State of an inode that belongs to no filesystem: FIFO, bound socket, locks, watches, writers, mappings.
#[derive(Default)]
pub struct Vnode {
    /// The pipe behind a FIFO (module `pipe`).
    pub fifo: Slot,
    /// The socket bound to a socket node (sentry).
    pub socket: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// POSIX, OFD and flock locks (module `locks`).
    pub locks: Slot,
    /// Inotify marks (module `inotify`).
    pub watches: OnceLock<Arc<dyn Watches>>,
    /// Descriptions open for writing, or minus the number of those who deny writing (a running program's text).
    writers: AtomicI32,
    /// Writable shared mappings: whoever maps adds and takes away. A memfd with any cannot be sealed against writing.
    pub shared_writers: AtomicUsize,
    mappings: Mutex<Vec<Weak<dyn MappingObserver>>>,
    /// Length of `mappings`, to see without a lock that there are none.
    mapped: AtomicUsize,
}

impl Vnode {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            fifo: OnceLock::new(),
            socket: Mutex::new(None),
            locks: OnceLock::new(),
            watches: OnceLock::new(),
            writers: AtomicI32::new(0),
            shared_writers: AtomicUsize::new(0),
            mappings: Mutex::new(Vec::new()),
            mapped: AtomicUsize::new(0),
        }
    }

    /// Counts a writer (`get_write_access`): `ETXTBSY` while a program runs from the file. Give back with [`Vnode::put_write`].
    pub fn get_write(&self) -> Result<(), Errno> {
        let counted = self
            .writers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                if n < 0 { None } else { n.checked_add(1) }
            });
        counted.map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Undoes [`Vnode::get_write`].
    pub fn put_write(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Denies writing (`deny_write_access`, at exec): `ETXTBSY` while somebody has it open for writing. Give back with [`Vnode::allow_write`].
    pub fn deny_write(&self) -> Result<(), Errno> {
        let counted = self
            .writers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                if n > 0 { None } else { n.checked_sub(1) }
            });
        counted.map(drop).map_err(|_| Errno::ETXTBSY)
    }

    /// Undoes [`Vnode::deny_write`].
    pub fn allow_write(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    /// Descriptions open for writing now.
    pub fn writers(&self) -> u32 {
        u32::try_from(self.writers.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Adds an observer of mappings; it goes when the `Weak` dies.
    pub fn observe_mappings(&self, observer: &Arc<dyn MappingObserver>) {
        let mut mappings = self.mappings.lock();
        if mappings.len().is_power_of_two() {
            // Now and then: a guest may map one file tens of thousands of times.
            mappings.retain(|m| m.strong_count() != 0);
        }
        mappings.push(Arc::downgrade(observer));
        self.mapped.store(mappings.len(), Ordering::Release);
    }

    /// Tells the observers that bytes are gone. Filesystems call it after truncation and hole punching, with none of their locks held.
    pub fn invalidate(&self, offset: u64, len: u64) {
        if self.mapped.load(Ordering::Acquire) == 0 {
            return;
        }
        let observers: Vec<_> = self
            .mappings
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        observers.iter().for_each(|observer| observer.note());
        let mut told = HashSet::new();
        for observer in observers {
            if observer.space().is_none_or(|space| told.insert(space)) {
                observer.invalidate(self, offset, len);
            }
        }
    }
}

/// Marks in the sandbox: as long as there are none, events cost one load. Module `inotify` counts.
pub static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// `inotify(7)` masks that this crate sends.
#[allow(missing_docs)]
pub mod event {
    pub const ACCESS: u32 = 0x1;
    pub const MODIFY: u32 = 0x2;
    pub const ATTRIB: u32 = 0x4;
    pub const CLOSE_WRITE: u32 = 0x8;
    pub const CLOSE_NOWRITE: u32 = 0x10;
    pub const OPEN: u32 = 0x20;
    pub const MOVED_FROM: u32 = 0x40;
    pub const MOVED_TO: u32 = 0x80;
    pub const CREATE: u32 = 0x100;
    pub const DELETE: u32 = 0x200;
    pub const DELETE_SELF: u32 = 0x400;
    pub const MOVE_SELF: u32 = 0x800;
    pub const UNMOUNT: u32 = 0x2000;
    pub const ISDIR: u32 = 0x4000_0000;
}

/// An event on `dentry`'s inode and, with its name, on the directory it is in (`fsnotify_parent`).
#[inline]
pub fn notify(dentry: &super::Dentry, mask: u32) {
    if WATCHES.load(Ordering::Relaxed) != 0 {
        notify_slow(dentry, mask);
    }
}

#[cold]
fn notify_slow(dentry: &super::Dentry, mask: u32) {
    let mask = if dentry.is_dir() {
        mask | event::ISDIR
    } else {
        mask
    };
    if !dentry.deleted()
        && let (Some(parent), name) = dentry.link()
        && let Some(watches) = parent.inode().vnode().watches.get()
    {
        watches.event(mask, 0, Some(&name));
    }
    if let Some(watches) = dentry.inode().vnode().watches.get() {
        watches.event(mask, 0, None);
    }
}

/// An event on the directory `dir` about its child `name` (creation, deletion, moves).
#[inline]
pub fn notify_child(dir: &super::Dentry, mask: u32, cookie: u32, name: &[u8]) {
    if WATCHES.load(Ordering::Relaxed) != 0
        && let Some(watches) = dir.inode().vnode().watches.get()
    {
        watches.event(mask, cookie, Some(name));
    }
}

/// An event on the inode itself (`DELETE_SELF`, `MOVE_SELF`).
#[inline]
pub fn notify_self(inode: &dyn crate::Inode, mask: u32) {
    if WATCHES.load(Ordering::Relaxed) != 0
        && let Some(watches) = inode.vnode().watches.get()
    {
        watches.event(mask, 0, None);
    }
}
