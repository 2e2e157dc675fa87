//! The memory file: one memfd per sandbox, for memory that more than one guest process or the sentry itself must see: shared anonymous
//! memory, tmpfs and memfd files, SysV and POSIX shared memory.
//!
//! Ranges of it are allocated, mapped into address spaces by [`crate::Backing::Memory`], and freed. A fresh range reads as zeroes and takes no
//! memory until touched; a freed one is punched out. The file only ever grows (and is sealed against shrinking), so no mapping of an allocated
//! range can raise SIGBUS.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::{Errno, PAGE_SIZE};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use crate::Result;

/// Where the file stops growing, and the size of the sentry's own mapping of it (address space only, nothing is touched before use).
pub const MAX_SIZE: u64 = 1 << 40;
/// The file grows by so much at least: a system call per growth, no memory.
const GROWTH: u64 = 64 << 20;

/// See the module.
pub struct MemoryFile {
    fd: Arc<OwnedFd>,
    space: sync::Mutex<Space>,
    used: AtomicU64,
    window: sync::OnceLock<Option<Window>>,
}

/// Which ranges are free: by address to merge them, by length to find the one that fits best.
#[derive(Default)]
struct Space {
    size: u64,
    by_start: BTreeMap<u64, u64>,
    by_len: BTreeSet<(u64, u64)>,
}

impl Space {
    fn insert(&mut self, mut start: u64, mut len: u64) {
        if let Some((&before, &before_len)) = self.by_start.range(..start).next_back()
            && before + before_len == start
        {
            self.remove(before, before_len);
            start = before;
            len += before_len;
        }
        if let Some(&after_len) = self.by_start.get(&(start + len)) {
            self.remove(start + len, after_len);
            len += after_len;
        }
        self.by_start.insert(start, len);
        self.by_len.insert((len, start));
    }

    fn remove(&mut self, start: u64, len: u64) {
        self.by_start.remove(&start);
        self.by_len.remove(&(len, start));
    }

    /// The smallest free range that is long enough; of equal ones the first.
    fn take(&mut self, len: u64) -> Option<u64> {
        let &(found_len, start) = self.by_len.range((len, 0)..).next()?;
        self.remove(start, found_len);
        if found_len > len {
            self.by_start.insert(start + len, found_len - len);
            self.by_len.insert((found_len - len, start + len));
        }
        Some(start)
    }

    /// Is any byte of the range free?
    fn overlaps(&self, start: u64, len: u64) -> bool {
        self.by_start
            .range(..start + len)
            .next_back()
            .is_some_and(|(&s, &l)| s + l > start)
    }
}

fn whole_pages(offset: u64, len: u64) -> Result<()> {
    let end = offset.checked_add(len).ok_or(Errno::EINVAL)?;
    if len == 0
        || !offset.is_multiple_of(PAGE_SIZE)
        || !len.is_multiple_of(PAGE_SIZE)
        || end > MAX_SIZE
    {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

impl MemoryFile {
    /// An empty memory file.
    pub fn new() -> Result<MemoryFile> {
        let fd = rustix::fs::memfd_create(
            "runsc-rs-memory",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .map_err(errno)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).map_err(errno)?;
        Ok(MemoryFile {
            fd: Arc::new(fd),
            space: sync::Mutex::new(Space::default()),
            used: AtomicU64::new(0),
            window: sync::OnceLock::new(),
        })
    }

    /// A range of `len` bytes (whole pages) that reads as zeroes. `ENOMEM` when the file is as large as it may be.
    pub fn allocate(&self, len: u64) -> Result<u64> {
        whole_pages(0, len).map_err(|e| if len > MAX_SIZE { Errno::ENOMEM } else { e })?;
        let mut space = self.space.lock();
        let offset = match space.take(len) {
            Some(offset) => offset,
            None => {
                let old = space.size;
                let growth = len.max(GROWTH).min(MAX_SIZE - old);
                rustix::fs::ftruncate(&self.fd, old + growth).map_err(errno)?;
                space.size = old + growth;
                space.insert(old, growth);
                space.take(len).ok_or(Errno::ENOMEM)?
            }
        };
        drop(space);
        self.used.fetch_add(len, Ordering::Relaxed);
        Ok(offset)
    }

    /// Gives back a range, or a part of one, that no address space maps any more. Its memory returns to the host at once.
    pub fn free(&self, offset: u64, len: u64) {
        debug_assert!(
            whole_pages(offset, len).is_ok(),
            "free({offset:#x}, {len:#x})"
        );
        // A range that could not be punched must not be handed out again: it would not read as zeroes.
        if self.zero(offset, len).is_err() {
            return;
        }
        let mut space = self.space.lock();
        if space.overlaps(offset, len) {
            debug_assert!(false, "memory file: {offset:#x}+{len:#x} freed twice");
            return;
        }
        space.insert(offset, len);
        drop(space);
        self.used.fetch_sub(len, Ordering::Relaxed);
    }

    /// Makes a range (whole pages) read as zeroes and gives its memory back; it stays allocated.
    pub fn zero(&self, offset: u64, len: u64) -> Result<()> {
        whole_pages(offset, len)?;
        rustix::fs::fallocate(
            &self.fd,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            offset,
            len,
        )
        .map_err(errno)
    }

    /// Fills `buf` from the file. `EINVAL` beyond its end.
    pub fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        while !buf.is_empty() {
            match rustix::io::pread(&self.fd, &mut *buf, offset) {
                Ok(0) => return Err(Errno::EINVAL),
                Ok(n) => {
                    buf = &mut std::mem::take(&mut buf)[n..];
                    offset += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        }
        Ok(())
    }

    /// Writes `buf` to an allocated range.
    pub fn write_at(&self, mut offset: u64, mut buf: &[u8]) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64).ok_or(Errno::EINVAL)?;
        debug_assert!(end <= MAX_SIZE);
        while !buf.is_empty() {
            match rustix::io::pwrite(&self.fd, buf, offset) {
                Ok(0) => return Err(Errno::EIO),
                Ok(n) => {
                    buf = &buf[n..];
                    offset += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(errno(e)),
            }
        }
        Ok(())
    }

    /// Bytes that are allocated, touched or not.
    pub fn usage(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes of host memory that the file holds.
    pub fn resident(&self) -> u64 {
        rustix::fs::fstat(&self.fd).map_or(0, |stat| (stat.st_blocks as u64).saturating_mul(512))
    }

    /// The descriptor, to map ranges of it.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// A word of an allocated range, shared with every address space that maps it: for futexes in shared memory.
    fn word(&self, offset: u64) -> Result<&AtomicU32> {
        if !offset.is_multiple_of(4) || offset >= self.space.lock().size {
            return Err(Errno::EINVAL);
        }
        let window = self
            .window
            .get_or_init(|| Window::new(self.fd.as_fd()))
            .as_ref()
            .ok_or(Errno::ENOMEM)?;
        // SAFETY: the window maps MAX_SIZE bytes of the file for as long as `self` lives; `offset` is inside the file, which never shrinks,
        // so the page exists; it is a multiple of 4. The memory is only ever accessed atomically from this process, and what other
        // processes do to it is what AtomicU32 allows.
        Ok(unsafe { AtomicU32::from_ptr(window.base.as_ptr().add(offset as usize).cast()) })
    }

    /// An allocated range, shared with every address space that maps it.
    pub(crate) fn words(&self, offset: u64, len: u64) -> Result<&[AtomicU64]> {
        whole_pages(offset, len)?;
        let _ = self.word(offset.saturating_add(len) - 4)?;
        let window = self.window.get().and_then(|w| w.as_ref());
        let window = window.ok_or(Errno::ENOMEM)?;
        // SAFETY: as in `word`, which has looked at the last of them.
        Ok(unsafe {
            std::slice::from_raw_parts(
                window.base.as_ptr().add(offset as usize).cast(),
                (len / 8) as usize,
            )
        })
    }

    /// Loads the word at `offset`.
    pub fn load_u32(&self, offset: u64) -> Result<u32> {
        Ok(self.word(offset)?.load(Ordering::SeqCst))
    }

    /// `Ok(old)` if the word was `old` and now is `new`, else `Err` of what it is.
    pub fn compare_exchange_u32(
        &self,
        offset: u64,
        old: u32,
        new: u32,
    ) -> Result<Result<u32, u32>> {
        Ok(self
            .word(offset)?
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst))
    }
}

impl AsFd for MemoryFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The sentry's own mapping of the whole file, made when first needed.
struct Window {
    base: NonNull<u8>,
}

// SAFETY: the pointer is used only to make atomics of shared memory, which any thread may use.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    fn new(fd: BorrowedFd<'_>) -> Option<Window> {
        use rustix::mm::{MapFlags, ProtFlags};
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                MAX_SIZE as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
                fd,
                0,
            )
        };
        Some(Window {
            base: NonNull::new(base.ok()?.cast())?,
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and references into it borrow the MemoryFile that owns this.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), MAX_SIZE as usize) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_zero_reused_and_merged() {
        let file = MemoryFile::new().unwrap();
        let a = file.allocate(4096).unwrap();
        let b = file.allocate(8192).unwrap();
        let c = file.allocate(4096).unwrap();
        assert_eq!(file.usage(), 16384);
        file.write_at(b, &[7; 8192]).unwrap();
        assert_eq!(file.resident(), 8192);
        file.free(b, 4096);
        file.free(a, 4096);
        file.free(b + 4096, 4096);
        assert_eq!((file.usage(), file.resident()), (4096, 0));
        assert_eq!(
            file.allocate(12288).unwrap(),
            a,
            "three neighbours are one range again"
        );
        let mut bytes = [1; 12288];
        file.read_at(a, &mut bytes).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
        file.free(a, 12288);
        file.free(c, 4096);
        let space = file.space.lock();
        assert_eq!(space.by_start.len(), 1);
        assert_eq!(space.by_len.len(), 1);
    }

    #[test]
    fn words_are_shared_with_the_file() {
        let file = MemoryFile::new().unwrap();
        let at = file.allocate(4096).unwrap() + 8;
        assert_eq!(file.compare_exchange_u32(at, 0, 5).unwrap(), Ok(0));
        assert_eq!(file.compare_exchange_u32(at, 0, 6).unwrap(), Err(5));
        let mut bytes = [0; 4];
        file.read_at(at, &mut bytes).unwrap();
        assert_eq!(u32::from_ne_bytes(bytes), 5);
        assert_eq!(file.load_u32(at + 1), Err(Errno::EINVAL));
        assert_eq!(file.load_u32(1 << 50), Err(Errno::EINVAL));
    }

    #[test]
    fn bad_lengths() {
        let file = MemoryFile::new().unwrap();
        assert_eq!(file.allocate(0), Err(Errno::EINVAL));
        assert_eq!(file.allocate(1), Err(Errno::EINVAL));
        assert_eq!(file.allocate(MAX_SIZE + 4096), Err(Errno::ENOMEM));
        let all = file.allocate(MAX_SIZE).unwrap();
        assert_eq!(file.allocate(4096), Err(Errno::ENOMEM));
        file.free(all, MAX_SIZE);
        file.allocate(4096).unwrap();
    }
}
