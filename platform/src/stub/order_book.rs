//! The order book: one memfd per sandbox with a page of orders for every stub. The sentry writes through the one writable mapping there will
//! ever be (the file is sealed with `F_SEAL_FUTURE_WRITE`); each stub maps its own page, read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::{Errno, Result};
use rustix::fs::{MemfdFlags, SealFlags};

use super::layout::{COUNT, DIGITS, DONATED, ENTRIES, ENTRY_LEN, MAX_ENTRIES};

/// How many stubs there can be at once. Address space only: pages are taken as they are used.
const PAGES: u64 = 64 << 10;
const PAGE: u64 = 4096;

/// One order: a system call's number and arguments.
pub type Entry = [u64; 7];

/// See the module.
pub struct OrderBook {
    fd: OwnedFd,
    base: NonNull<u8>,
    free: sync::Mutex<Free>,
}

#[derive(Default)]
struct Free {
    returned: Vec<u64>,
    next: u64,
}

// SAFETY: the mapping is used through atomics only, by whoever owns the page.
unsafe impl Send for OrderBook {}
// SAFETY: as above.
unsafe impl Sync for OrderBook {}

impl OrderBook {
    /// An empty book.
    pub fn new() -> Result<OrderBook> {
        use rustix::mm::{MapFlags, ProtFlags};
        let errno = |e: rustix::io::Errno| Errno::from_raw(e.raw_os_error());
        let len = PAGES * PAGE;
        let fd = rustix::fs::memfd_create(
            "runsc-rs-orders",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )
        .map_err(errno)?;
        rustix::fs::ftruncate(&fd, len).map_err(errno)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len as usize,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )
        };
        let base = NonNull::new(base.map_err(errno)?.cast()).ok_or(Errno::ENOMEM)?;
        let book = OrderBook {
            fd,
            base,
            free: sync::Mutex::new(Free::default()),
        };
        rustix::fs::fcntl_add_seals(
            &book.fd,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )
        .map_err(errno)?;
        Ok(book)
    }

    /// A page for a new stub; it returns to the book when dropped.
    pub fn page(self: Arc<Self>) -> Result<OrderPage> {
        let mut free = self.free.lock();
        let number = match free.returned.pop() {
            Some(number) => number,
            None if free.next < PAGES => {
                free.next += 1;
                free.next - 1
            }
            None => return Err(Errno::EAGAIN),
        };
        drop(free);
        Ok(OrderPage {
            book: self,
            offset: number * PAGE,
        })
    }

    /// The file, for the zygote.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for OrderBook {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; every page, which points into it, holds a reference to the book.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), (PAGES * PAGE) as usize) };
    }
}

/// One stub's page. To be dropped only when no process maps it any more.
pub struct OrderPage {
    book: Arc<OrderBook>,
    offset: u64,
}

impl OrderPage {
    /// Where it is in the book's file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The book it is from.
    pub fn book(&self) -> &Arc<OrderBook> {
        &self.book
    }

    fn at(&self, at: usize) -> *mut u8 {
        debug_assert!(at < PAGE as usize);
        // SAFETY: `offset` is that of a page inside the mapping, `at` is inside the page.
        unsafe { self.book.base.as_ptr().add(self.offset as usize + at) }
    }

    fn put32(&self, at: usize, value: u32) {
        // SAFETY: aligned, inside the mapping, and accessed atomically by everybody in this process.
        unsafe { AtomicU32::from_ptr(self.at(at).cast()) }.store(value, Ordering::Relaxed);
    }

    fn put64(&self, at: usize, value: u64) {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(self.at(at).cast()) }.store(value, Ordering::Relaxed);
    }

    /// Writes what the stub will find when it is woken; the wake-up is a system call, which orders the stores before it. At most
    /// [`MAX_ENTRIES`].
    pub fn write(&self, entries: &[Entry], donated: bool, digits: u32) {
        debug_assert!(!entries.is_empty() && entries.len() <= MAX_ENTRIES);
        self.put32(COUNT, entries.len() as u32);
        self.put32(DIGITS, digits);
        self.put32(DONATED, u32::from(donated));
        for (n, entry) in entries.iter().take(MAX_ENTRIES).enumerate() {
            for (word, value) in entry.iter().enumerate() {
                self.put64(ENTRIES + n * ENTRY_LEN + word * 8, *value);
            }
        }
    }
}

impl Drop for OrderPage {
    fn drop(&mut self) {
        let number = self.offset / PAGE;
        // The seal forbids punching the page out; it is the next to be used again.
        self.book.free.lock().returned.push(number);
    }
}
