//! Open directories: snapshots of a listing, shared by all who read the directory while it does not change.

use super::inode::GoferInode;
use crate::Caller;
use crate::file::{File, FileOps, Pos};
use crate::inode::DirEntry;
use crate::inode::Inode;
use crate::kept::Kept;
use crate::vfs::Moment;
use abi::Errno;
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use sync::Mutex;

/// One entry; the names lie behind each other in the listing's text.
struct Entry {
    ino: u64,
    kind: u8,
    len: u8,
    start: u32,
    /// Where the host goes on after it.
    cookie: u64,
}

/// Everything in a directory, as it was at one moment.
#[derive(Default)]
pub(super) struct Listing {
    entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Listing {
    pub fn read(inode: &GoferInode) -> Result<Listing, Errno> {
        let mut listing = Listing::default();
        let mut cookie = 0;
        loop {
            let page = inode.node.read_dir(cookie, false)?;
            for entry in &page.entries {
                let start = u32::try_from(listing.names.len()).map_err(|_| Errno::ENOMEM)?;
                let len = u8::try_from(entry.name.len()).map_err(|_| Errno::EIO)?;
                listing.entries.push(Entry {
                    ino: entry.ino,
                    kind: entry.kind,
                    len,
                    start,
                    cookie: entry.cookie,
                });
                listing.names.extend_from_slice(&entry.name);
                cookie = entry.cookie;
            }
            if page.end {
                return Ok(listing);
            }
        }
    }

    /// All names, if there are not more than so many.
    pub fn names(&self, most: usize) -> Option<HashSet<Box<[u8]>>> {
        let names = self.entries.iter().map(|entry| Box::from(self.name(entry)));
        (self.entries.len() <= most).then(|| names.collect())
    }

    fn bytes(&self) -> usize {
        let entries = self.entries.len().saturating_mul(size_of::<Entry>());
        entries.saturating_add(self.names.len())
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
        self.names
            .get(start..)
            .and_then(|rest| rest.get(..usize::from(entry.len)))
            .unwrap_or(&[])
    }
}

/// The last listing of a directory, if it still holds.
#[derive(Default)]
pub(super) struct Listings {
    version: AtomicU64,
    last: Mutex<Option<(u64, Arc<Listing>)>>,
    /// Where the last search ended: look-ups come in the order of the listing.
    hint: AtomicUsize,
}

/// Larger listings are read again each time: memory is for the many small ones.
const KEPT: usize = 16384;

impl Listings {
    /// Another number after every change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A name has come or gone.
    pub fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The host's cookie just before `name` in the last listing, even if that does not hold any more.
    pub fn position(&self, name: &[u8]) -> Option<u64> {
        let listing = self
            .last
            .lock()
            .as_ref()
            .map(|(_, listing)| listing.clone())?;
        let entries = &listing.entries;
        let hint = self.hint.load(Ordering::Relaxed);
        let found = |(_, entry): &(usize, &Entry)| {
            usize::from(entry.len) == name.len() && listing.name(entry) == name
        };
        let mut search = entries.iter().enumerate();
        let mut wrapped = entries.iter().enumerate().take(hint);
        let (index, _) = search
            .by_ref()
            .skip(hint)
            .find(found)
            .or_else(|| wrapped.find(found))?;
        self.hint.store(index.saturating_add(1), Ordering::Relaxed);
        let before = index.checked_sub(1).and_then(|before| entries.get(before));
        Some(before.map_or(0, |entry| entry.cookie))
    }

    fn get(&self, inode: &GoferInode, moment: Moment) -> Result<Arc<Listing>, Errno> {
        if inode.changes_seldom() {
            inode.changes(moment);
        }
        let version = self.version.load(Ordering::Acquire);
        inode.ahead.listed();
        if !inode.fs.shared()
            && let Some((at, listing)) = &*self.last.lock()
            && *at == version
        {
            return Ok(listing.clone());
        }
        // What changes while this is read makes the version another, and the listing is not used again.
        let listing = Arc::new(Listing::read(inode)?);
        *self.last.lock() = (listing.entries.len() <= KEPT && !inode.fs.shared())
            .then(|| (version, listing.clone()));
        Ok(listing)
    }
}

/// A description of a directory.
pub(super) struct GoferDir {
    inode: Arc<GoferInode>,
    /// What this description reads from: taken at the start and at every rewind, so that positions keep their meaning while names come and go.
    snapshot: Kept<Arc<Listing>>,
}

impl GoferDir {
    pub fn new(inode: Arc<GoferInode>) -> Self {
        Self {
            inode,
            snapshot: Kept::default(),
        }
    }

    fn listing(&self, rewind: bool, moment: Moment) -> Result<Arc<Listing>, Errno> {
        if !rewind && let Some(listing) = self.snapshot.get() {
            return Ok(listing);
        }
        let listing = self.inode.listings.get(&self.inode, moment)?;
        self.snapshot.put(listing.clone(), listing.bytes());
        Ok(listing)
    }
}

/// Cookies start above those of `.` and `..`.
const FIRST: u64 = 2;

impl FileOps for GoferDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, _buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }
    fn read_dir(
        &self,
        _file: &File,
        caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        let listing = self.listing(cookie <= FIRST, Moment::of(caller))?;
        let skip = usize::try_from(cookie.saturating_sub(FIRST)).unwrap_or(usize::MAX);
        for (entry, cookie) in listing
            .entries
            .iter()
            .zip(FIRST.saturating_add(1)..)
            .skip(skip)
        {
            if !sink(&DirEntry {
                name: listing.name(entry),
                ino: entry.ino,
                kind: entry.kind,
                cookie,
            }) {
                break;
            }
        }
        Ok(())
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<(), Errno> {
        self.inode.node.fsync()
    }
}
