//! Donated descriptors: how many are kept, and whether to ask for them ahead.

use super::GoferInode;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed};
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
        Self { score: AtomicI32::new(64), probe: AtomicU32::new(0) }
    }
}

impl Prefetch {
    /// Whether this look-up should.
    pub fn wanted(&self) -> bool {
        // Once it has proved useless one in sixteen still tries.
        self.score.load(Relaxed) > 0 || self.probe.fetch_add(1, Relaxed) % 16 == 0
    }
    /// It was brought: to be earned back.
    pub fn spent(&self) {
        self.score.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_sub(1).max(-64))).ok();
    }
    /// It was used.
    pub fn earned(&self) {
        self.score.fetch_update(Relaxed, Relaxed, |n| Some(n.saturating_add(8).min(256))).ok();
    }
}
