//! The table of file descriptors: numbers to open file descriptions.
//!
//! Shared by threads (`CLONE_FILES`), copied by `fork`. Lookups take a read lock and clone an `Arc`; the lowest free number is found by a bitmap word scan,
//! as Linux's `find_next_zero_bit` does.

use abi::Errno;
use fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::{RwLock, level};

/// A descriptor number, checked not to be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd(u32);

impl Fd {
    /// From what the guest passed: negative numbers are `EBADF`.
    pub fn new(raw: i32) -> Result<Self, Errno> {
        u32::try_from(raw).map(Self).map_err(|_| Errno::EBADF)
    }
    /// The number as the guest sees it.
    pub fn raw(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone)]
struct Slot {
    file: Arc<File>,
    cloexec: bool,
}

#[derive(Default, Clone)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// One bit per number in use; bits past `slots.len()` are clear.
    used: Vec<u64>,
    count: usize,
}

impl Slots {
    fn first_free(&self, from: usize) -> usize {
        let mut word = from / 64;
        let mut mask = u64::MAX.checked_shl((from % 64) as u32).unwrap_or(0);
        loop {
            match self.used.get(word) {
                None => return from.max(word.saturating_mul(64)),
                Some(bits) => {
                    let free = !bits & mask;
                    if free != 0 {
                        return word
                            .saturating_mul(64)
                            .saturating_add(free.trailing_zeros() as usize);
                    }
                }
            }
            word = word.saturating_add(1);
            mask = u64::MAX;
        }
    }

    fn set(&mut self, index: usize, slot: Slot) -> Option<Slot> {
        if self.slots.len() <= index {
            self.slots.resize_with(index.saturating_add(1), || None);
            self.used.resize(self.slots.len().div_ceil(64), 0);
        }
        if let Some(bits) = self.used.get_mut(index / 64) {
            *bits |= 1 << (index % 64);
        }
        let old = self.slots.get_mut(index).and_then(|s| s.replace(slot));
        if old.is_none() {
            self.count = self.count.saturating_add(1);
        }
        old
    }

    fn take(&mut self, index: usize) -> Option<Slot> {
        let old = self.slots.get_mut(index)?.take()?;
        if let Some(bits) = self.used.get_mut(index / 64) {
            *bits &= !(1 << (index % 64));
        }
        self.count = self.count.saturating_sub(1);
        Some(old)
    }
}

/// The descriptors of one or more tasks.
pub struct FdTable {
    slots: RwLock<Slots, { level::FD_TABLE }>,
    /// Owner identity for POSIX record locks, unique for life.
    id: u64,
}

/// The hard bound on numbers whatever the rlimit says (`fs.nr_open`'s default).
pub const NR_OPEN: u64 = 1 << 20;

impl Default for FdTable {
    fn default() -> Self {
        Self::new()
    }
}

impl FdTable {
    fn with(slots: Slots) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            slots: RwLock::new(slots),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// An empty table.
    pub fn new() -> Self {
        Self::with(Slots::default())
    }

    /// A copy for `fork`: the same descriptions under the same numbers.
    pub fn fork(&self) -> Self {
        Self::with(self.slots.read().clone())
    }

    /// The identity that owns POSIX record locks.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The description behind `fd`.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        self.slots
            .read()
            .slots
            .get(fd.index())
            .and_then(|s| s.as_ref())
            .map(|s| s.file.clone())
            .ok_or(Errno::EBADF)
    }

    /// The description and its close-on-exec flag.
    pub fn get_with_flags(&self, fd: Fd) -> Result<(Arc<File>, bool), Errno> {
        self.slots
            .read()
            .slots
            .get(fd.index())
            .and_then(|s| s.as_ref())
            .map(|s| (s.file.clone(), s.cloexec))
            .ok_or(Errno::EBADF)
    }

    /// Installs `file` at the lowest free number ≥ `min` and below `limit` (`RLIMIT_NOFILE`): `EMFILE` when there is none.
    pub fn install_from(
        &self,
        file: Arc<File>,
        cloexec: bool,
        min: u32,
        limit: u64,
    ) -> Result<Fd, Errno> {
        let mut slots = self.slots.write();
        let index = slots.first_free(min as usize);
        if index as u64 >= limit.min(NR_OPEN) {
            return Err(Errno::EMFILE);
        }
        slots.set(index, Slot { file, cloexec });
        u32::try_from(index).map(Fd).map_err(|_| Errno::EMFILE)
    }

    /// Installs at the lowest free number.
    pub fn install(&self, file: Arc<File>, cloexec: bool, limit: u64) -> Result<Fd, Errno> {
        self.install_from(file, cloexec, 0, limit)
    }

    /// Installs at exactly `fd` (`dup2`); returns what was there, for the caller to close.
    pub fn install_at(
        &self,
        fd: Fd,
        file: Arc<File>,
        cloexec: bool,
        limit: u64,
    ) -> Result<Option<Arc<File>>, Errno> {
        if u64::from(fd.0) >= limit.min(NR_OPEN) {
            return Err(Errno::EBADF);
        }
        Ok(self
            .slots
            .write()
            .set(fd.index(), Slot { file, cloexec })
            .map(|s| s.file))
    }

    /// Takes `fd` out; the caller closes the description ([`close_file`]).
    pub fn remove(&self, fd: Fd) -> Result<Arc<File>, Errno> {
        self.slots
            .write()
            .take(fd.index())
            .map(|s| s.file)
            .ok_or(Errno::EBADF)
    }

    /// Sets or clears close-on-exec.
    pub fn set_cloexec(&self, fd: Fd, cloexec: bool) -> Result<(), Errno> {
        let mut slots = self.slots.write();
        let slot = slots
            .slots
            .get_mut(fd.index())
            .and_then(|s| s.as_mut())
            .ok_or(Errno::EBADF)?;
        slot.cloexec = cloexec;
        Ok(())
    }

    /// Takes out the descriptors in `[first, last]` for which `pick(cloexec)` holds (`close_range`, `execve`, exit).
    pub fn remove_range(
        &self,
        first: u32,
        last: u32,
        pick: impl Fn(bool) -> bool,
    ) -> Vec<Arc<File>> {
        let mut slots = self.slots.write();
        let end = slots.slots.len().min((last as usize).saturating_add(1));
        let mut out = Vec::new();
        for index in (first as usize)..end {
            let hit = slots
                .slots
                .get(index)
                .and_then(|s| s.as_ref())
                .is_some_and(|s| pick(s.cloexec));
            if hit && let Some(slot) = slots.take(index) {
                out.push(slot.file);
            }
        }
        out
    }

    /// Sets close-on-exec on a range (`close_range` with `CLOSE_RANGE_CLOEXEC`).
    pub fn set_cloexec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.write();
        let end = slots.slots.len().min((last as usize).saturating_add(1));
        for slot in slots
            .slots
            .iter_mut()
            .take(end)
            .skip(first as usize)
            .flatten()
        {
            slot.cloexec = true;
        }
    }

    /// The numbers in use, in order, with their descriptions (`/proc/PID/fd`).
    pub fn list(&self) -> Vec<(Fd, Arc<File>, bool)> {
        let slots = self.slots.read();
        slots
            .slots
            .iter()
            .enumerate()
            .filter_map(|(i, s)| {
                s.as_ref().map(|s| {
                    (
                        Fd(u32::try_from(i).unwrap_or(u32::MAX)),
                        s.file.clone(),
                        s.cloexec,
                    )
                })
            })
            .collect()
    }

    /// The numbers in use, in order, without holding on to what they lead to.
    pub fn numbers(&self) -> Vec<u32> {
        let slots = self.slots.read();
        (0_u32..)
            .zip(&slots.slots)
            .filter_map(|(i, s)| s.as_ref().map(|_| i))
            .collect()
    }

    /// Whether the description behind `fd` is open for reading and for writing; `None` without one.
    pub fn access(&self, fd: Fd) -> Option<(bool, bool)> {
        let slots = self.slots.read();
        let slot = slots.slots.get(usize::try_from(fd.0).ok()?)?.as_ref()?;
        Some((slot.file.readable(), slot.file.writable()))
    }

    /// How many descriptors are in use.
    pub fn count(&self) -> usize {
        self.slots.read().count
    }

    /// One past the highest number ever used (`FDSize`).
    pub fn size(&self) -> usize {
        self.slots.read().slots.len()
    }
}

/// Closes one descriptor's reference: POSIX locks of the table's owner go, the file hears `flush`. Errors of `flush` are `close(2)`'s.
pub fn close_file(file: Arc<File>, owner: u64) -> Result<(), Errno> {
    let result = if file.is_path() {
        Ok(())
    } else {
        file.ops().flush(&file)
    };
    fs::locks::release_posix(file.inode().vnode(), owner);
    drop(file);
    result
}

/// Lets go of a task's table; the last user closes every descriptor.
pub fn close_table(table: Arc<FdTable>, _task: &super::Task) {
    if let Some(table) = Arc::into_inner(table) {
        for file in table.remove_range(0, u32::MAX, |_| true) {
            // Nobody is left to tell.
            let _ = close_file(file, table.id());
        }
    }
}
