//! Donated descriptors: how many are kept, and whether to ask for them ahead.

use super::GoferInode;
use crate::Inode;
use abi::Errno;
use gofer::wire::Access;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicI32, AtomicU32};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// Data descriptors of a regular file. For writing there is one that reads as well, and from then on it is the only one in use: on an overlay file system the
/// one opened before for reading shows the file as it was before the first write.
#[derive(Debug, Default)]
pub(super) struct Fds {
    pub ro: Option<Arc<OwnedFd>>,
    pub rw: Option<Arc<OwnedFd>>,
}

impl Fds {
    pub fn current(&self) -> Option<&Arc<OwnedFd>> {
        self.rw.as_ref().or(self.ro.as_ref())
    }
}

/// Files that nobody has open but that still hold descriptors, in the order of a clock: what was opened since it was last looked at stays for another round.
#[derive(Default)]
pub(super) struct Ring(Mutex<VecDeque<Weak<GoferInode>>>);

/// How many such files there may be.
const IDLE: usize = 1024;

impl Ring {
    /// Enters a file; what falls out for it loses its descriptors.
    pub fn enter(&self, inode: &Arc<GoferInode>) {
        let mut new = Some(Arc::downgrade(inode));
        // One round at most.
        for _ in 0..IDLE {
            let oldest = {
                let mut ring = self.0.lock();
                if let Some(new) = new.take() {
                    ring.push_back(new);
                }
                if ring.len() <= IDLE {
                    return;
                }
                ring.pop_front()
            };
            // With the lock released: the last reference may be dropped here.
            match oldest.and_then(|weak| weak.upgrade()) {
                Some(inode) if inode.keep_fds() => new = Some(Arc::downgrade(&inode)),
                _ => {}
            }
        }
    }
}

/// Whether look-ups should bring data along: yes, as long as more than about one in eight is then opened.
#[derive(Debug)]
pub(super) struct Prefetch {
    score: AtomicI32,
    probe: AtomicU32,
}

impl Default for Prefetch {
    fn default() -> Self {
        Self {
            score: AtomicI32::new(64),
            probe: AtomicU32::new(0),
        }
    }
}

impl Prefetch {
    /// Whether this look-up should.
    pub fn wanted(&self) -> bool {
        // Once it has proved useless one in sixteen still tries.
        self.score.load(Relaxed) > 0 || self.probe.fetch_add(1, Relaxed).is_multiple_of(16)
    }
    /// It was brought: to be earned back.
    pub fn spent(&self) {
        self.score
            .fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1).max(-64)))
            .ok();
    }
    /// It was used.
    pub fn earned(&self) {
        self.score
            .fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_add(8).min(256)))
            .ok();
    }
}

/// A file's own descriptors.
impl GoferInode {
    pub(super) fn enter_ring(&self, me: &Arc<GoferInode>) {
        if !self.in_ring.swap(true, Ordering::AcqRel) {
            self.fs.ring.enter(me);
        }
    }

    /// The ring came round: whether it should keep this file. If not, its descriptors are closed.
    pub(super) fn keep_fds(&self) -> bool {
        if self.users.load(Ordering::SeqCst) != 0 {
            // It enters again when it is closed.
            self.in_ring.store(false, Ordering::Release);
            if self.users.load(Ordering::SeqCst) != 0 {
                return false;
            }
            return !self.in_ring.swap(true, Ordering::AcqRel);
        }
        if self.recent.swap(false, Ordering::Relaxed) {
            return true;
        }
        self.in_ring.store(false, Ordering::Release);
        let mut fds = self.fds.write();
        // Who opens counts itself as a user first, and looks for descriptors afterwards.
        if self.users.load(Ordering::SeqCst) == 0 {
            let gone = std::mem::take(&mut *fds);
            drop(fds);
            drop(gone);
        }
        false
    }

    /// A description is opened.
    pub(super) fn acquire(&self) {
        self.users.fetch_add(1, Ordering::SeqCst);
        self.recent.store(true, Ordering::Relaxed);
        if self.brought.load(Ordering::Relaxed) && self.brought.swap(false, Ordering::Relaxed) {
            self.fs.prefetch.earned();
        }
    }

    /// A description is closed.
    pub(super) fn release(&self) {
        if self.users.fetch_sub(1, Ordering::SeqCst) == 1
            && let Some(me) = self.me.upgrade()
        {
            self.enter_ring(&me);
        }
    }

    /// The descriptor to read from.
    pub(super) fn fd(&self) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(fd) = self.fds.read().current() {
            return Ok(fd.clone());
        }
        let (fd, _) = self.node.open(Access::Read)?;
        let mut fds = self.fds.write();
        if fds.current().is_none() {
            fds.ro = Some(Arc::new(fd));
        }
        fds.current().cloned().ok_or(Errno::EIO)
    }

    /// The descriptor to write to.
    pub(super) fn writable_fd(&self) -> Result<Arc<OwnedFd>, Errno> {
        if let Some(fd) = &self.fds.read().rw {
            return Ok(fd.clone());
        }
        let (fd, _) = self.node.open(Access::ReadWrite)?;
        let fd = Arc::new(fd);
        let old = {
            let mut fds = self.fds.write();
            if let Some(other) = &fds.rw {
                return Ok(other.clone());
            }
            fds.rw = Some(fd.clone());
            fds.ro.take()
        };
        // What is mapped through the old one would not show what is written from now on.
        if old.is_some()
            && self.mapped_read_only.swap(false, Ordering::AcqRel)
            && self.fs.is_overlay()
        {
            self.vnode().invalidate(0, u64::MAX);
        }
        Ok(fd)
    }

    pub(super) fn any_fd(&self) -> Option<Arc<OwnedFd>> {
        self.fds.read().current().cloned()
    }
}
