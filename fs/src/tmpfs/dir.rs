//! A directory of tmpfs: names in the order they were made, each with a cookie that never changes, so that `getdents64` goes on rightly whatever is removed meanwhile.

use super::inode::TmpInode;
use super::usage::Usage;
use abi::Errno;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What Linux's tmpfs adds to a directory's size per name.
pub const DIRENT_SIZE: u64 = 20;
/// Heap that a name costs besides its bytes.
const NAME_COST: usize = 64;

/// The names of one directory.
pub struct Dir {
    by_name: HashMap<Arc<[u8]>, u64>,
    by_cookie: BTreeMap<u64, (Arc<[u8]>, Arc<TmpInode>)>,
    next: u64,
    /// Removed: takes no more names.
    dead: bool,
}

impl Default for Dir {
    fn default() -> Self {
        // 0, 1 and 2 are the start, `.` and `..`.
        Self {
            by_name: HashMap::new(),
            by_cookie: BTreeMap::new(),
            next: 3,
            dead: false,
        }
    }
}

impl Dir {
    /// The child `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<TmpInode>> {
        self.by_cookie
            .get(self.by_name.get(name)?)
            .map(|(_, inode)| inode)
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Whether a name may be added.
    pub fn check_room(&self, name: &[u8]) -> Result<(), Errno> {
        if self.dead {
            return Err(Errno::ENOENT);
        }
        if self.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        Ok(())
    }

    /// Adds a name.
    pub fn insert(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Result<(), Errno> {
        self.check_room(name)?;
        Usage::add_bytes(name.len().saturating_add(NAME_COST))?;
        let name: Arc<[u8]> = Arc::from(name);
        let cookie = self.next;
        self.next = self.next.saturating_add(1);
        self.by_name.insert(name.clone(), cookie);
        self.by_cookie.insert(cookie, (name, inode));
        Ok(())
    }

    /// Puts another inode under an existing name and returns the one that was there.
    pub fn replace(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Option<Arc<TmpInode>> {
        let slot = self.by_cookie.get_mut(self.by_name.get(name)?)?;
        Some(std::mem::replace(&mut slot.1, inode))
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let cookie = self.by_name.remove(name)?;
        let (_, inode) = self.by_cookie.remove(&cookie)?;
        Usage::remove_bytes(name.len().saturating_add(NAME_COST));
        // A directory that was huge once must not stay so.
        if self.by_name.capacity() > 256 && self.by_name.len() < self.by_name.capacity() / 8 {
            self.by_name.shrink_to(self.by_name.len().saturating_mul(2));
        }
        Some(inode)
    }

    /// Marks an empty directory as removed; `ENOTEMPTY` otherwise.
    pub fn kill(&mut self) -> Result<(), Errno> {
        if !self.by_name.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.dead = true;
        Ok(())
    }

    /// The next few entries after `cookie`.
    pub fn after(&self, cookie: u64, max: usize) -> Vec<(u64, Arc<[u8]>, Arc<TmpInode>)> {
        let start = cookie.saturating_add(1);
        self.by_cookie
            .range(start..)
            .take(max)
            .map(|(cookie, (name, inode))| (*cookie, name.clone(), inode.clone()))
            .collect()
    }

    /// Everything, at the end of the directory's life.
    pub fn take_all(&mut self) -> Vec<Arc<TmpInode>> {
        for name in self.by_name.keys() {
            Usage::remove_bytes(name.len().saturating_add(NAME_COST));
        }
        self.by_name.clear();
        std::mem::take(&mut self.by_cookie)
            .into_values()
            .map(|(_, inode)| inode)
            .collect()
    }
}
