//! Look-ups without a round trip, in directories nobody else changes: names that cannot be there, and files that were brought along.
//!
//! Programs that list a directory look its entries up next, one after the other (`ls -l`, `find`, `rm -r`, `git status`, `tar`). From the second such look-up
//! on, one request brings the nodes of the entries that follow it. And a directory that was made here holds what was put there since, so what is in no list of
//! ours is not there: who unpacks an archive asks for every name before making it.

use super::dir::Listing;
use super::inode::GoferInode;
use gofer::client::Node;
use gofer::wire::Attr;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use sync::Mutex;

type Map<T> = HashMap<Box<[u8]>, T>;

/// What a directory knows of its entries before they are asked for.
#[derive(Default)]
pub(super) struct Ahead {
    /// Nodes brought along and not asked for yet. (Not a leaf lock: a node that is dropped takes one.)
    nodes: Mutex<Map<(Node, Attr)>, { sync::level::INODE }>,
    /// Entries looked up one by one since the directory was listed.
    missed: AtomicU32,
    /// How many nodes to bring next time.
    window: AtomicU32,
    /// All names there are, for a directory made here.
    names: Mutex<Option<HashSet<Box<[u8]>>>>,
}

/// Directories with more names than this are not remembered whole.
const NAMES: usize = 4096;
const WINDOW: (u32, u32) = (16, 256);

impl Ahead {
    /// A directory that was just made: empty.
    pub fn made_here(&self) {
        *self.names.lock() = Some(HashSet::new());
    }

    /// A name was added.
    pub fn added(&self, name: &[u8]) {
        let mut names = self.names.lock();
        if let Some(set) = &mut *names {
            if set.len() < NAMES {
                set.insert(Box::from(name));
            } else {
                *names = None;
            }
        }
    }

    /// Making a name failed: what is there is the host's to say.
    pub fn unsure(&self, name: &[u8]) {
        *self.names.lock() = None;
        self.forget(name);
    }

    /// A name was taken away.
    pub fn removed(&self, name: &[u8]) {
        if let Some(set) = &mut *self.names.lock() {
            set.remove(name);
        }
        self.forget(name);
    }

    /// A node brought for this name may be another's by now.
    pub fn forget(&self, name: &[u8]) {
        let node = self.nodes.lock().remove(name);
        drop(node);
    }

    /// Others may have changed anything. Of a directory that was made here, the names there are now are asked for: whoever fills it asks for every name.
    pub fn doubt(&self, dir: &GoferInode) {
        let nodes = std::mem::take(&mut *self.nodes.lock());
        drop(nodes);
        if self.names.lock().is_none() {
            return;
        }
        let version = dir.listings.version();
        let found = Listing::read(dir)
            .ok()
            .and_then(|listing| listing.names(NAMES));
        let mut names = self.names.lock();
        // (A name that is made here changes the version before it is added.)
        *names = found.filter(|_| dir.listings.version() == version);
    }

    /// Whether there is certainly nothing called `name`.
    pub fn absent(&self, name: &[u8]) -> bool {
        self.names
            .lock()
            .as_ref()
            .is_some_and(|set| !set.contains(name))
    }

    /// The node of `name`, if it was brought along or can be brought now with others.
    pub fn take(&self, dir: &GoferInode, name: &[u8]) -> Option<(Node, Attr)> {
        if let Some(found) = self.nodes.lock().remove(name) {
            return Some(found);
        }
        let cookie = dir.listings.position(name)?;
        if self.missed.fetch_add(1, Relaxed) == 0 {
            return None;
        }
        self.bring(dir, cookie);
        self.nodes.lock().remove(name)
    }

    /// Brings the entries after `cookie`.
    fn bring(&self, dir: &GoferInode, cookie: u64) {
        let window = self.window.load(Relaxed).clamp(WINDOW.0, WINDOW.1);
        let Ok(page) = dir.node.read_dir_nodes(cookie, window) else {
            return;
        };
        let mut fresh = Map::new();
        for (name, node, attr) in page {
            // Of a file in use the inode knows more than this says; and another name may lead to a file with several.
            if !dir.fs.in_use(&attr.identity()) && (attr.nlink == 1 || attr.is_dir()) {
                fresh.insert(name.into_boxed_slice(), (node, attr));
            }
        }
        let unused = std::mem::replace(&mut *self.nodes.lock(), fresh);
        let left = u32::try_from(unused.len()).unwrap_or(u32::MAX);
        drop(unused);
        // More, if the last ones were wanted.
        let next = if left > window / 2 {
            window / 2
        } else {
            window.saturating_mul(2)
        };
        self.window.store(next.clamp(WINDOW.0, WINDOW.1), Relaxed);
    }

    /// The directory was listed: look-ups will follow.
    pub fn listed(&self) {
        self.missed.store(0, Relaxed);
    }
}
