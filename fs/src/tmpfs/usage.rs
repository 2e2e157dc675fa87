//! What a tmpfs may use, and uses: pages, inodes, and the sentry's own memory for names and attributes.

use abi::Errno;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Inodes of all tmpfs of the sandbox together: an inode lives on the sentry's heap, which a guest must not exhaust.
pub const INODES_OF_SANDBOX: u64 = 1 << 20;
/// Bytes of names, links and extended attributes of all tmpfs together.
pub const NAMES_OF_SANDBOX: u64 = 256 << 20;

static INODES: AtomicU64 = AtomicU64::new(0);
static NAMES: AtomicU64 = AtomicU64::new(0);

/// Limits and use of one filesystem. Limits of 0 are none.
#[derive(Debug, Default)]
pub struct Usage {
    pages_limit: AtomicU64,
    pages: AtomicU64,
    inodes_limit: AtomicU64,
    inodes: AtomicU64,
}

fn take(counter: &AtomicU64, n: u64, limit: u64) -> Result<(), Errno> {
    let taken = counter.fetch_update(Relaxed, Relaxed, |used| {
        used.checked_add(n)
            .filter(|sum| limit == 0 || *sum <= limit)
    });
    taken.map(drop).map_err(|_| Errno::ENOSPC)
}

fn give(counter: &AtomicU64, n: u64) {
    let _ = counter.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(n)));
}

impl Usage {
    /// Limits in pages and inodes.
    pub fn new(pages: u64, inodes: u64) -> Self {
        Self {
            pages_limit: AtomicU64::new(pages),
            inodes_limit: AtomicU64::new(inodes),
            ..Self::default()
        }
    }
    /// Takes `n` pages, or `ENOSPC`.
    pub fn charge(&self, n: u64) -> Result<(), Errno> {
        if n == 0 {
            Ok(())
        } else {
            take(&self.pages, n, self.pages_limit.load(Relaxed))
        }
    }
    /// Gives `n` pages back.
    pub fn uncharge(&self, n: u64) {
        if n != 0 {
            give(&self.pages, n);
        }
    }
    /// Takes an inode, or `ENOSPC`.
    pub fn add_inode(&self) -> Result<(), Errno> {
        take(&INODES, 1, INODES_OF_SANDBOX)?;
        take(&self.inodes, 1, self.inodes_limit.load(Relaxed)).inspect_err(|_| give(&INODES, 1))
    }
    /// Gives an inode back.
    pub fn remove_inode(&self) {
        give(&self.inodes, 1);
        give(&INODES, 1);
    }
    /// Takes heap for `n` bytes of a name, link or attribute, or `ENOSPC`.
    pub fn add_bytes(n: usize) -> Result<(), Errno> {
        take(&NAMES, n as u64, NAMES_OF_SANDBOX)
    }
    /// Gives them back.
    pub fn remove_bytes(n: usize) {
        give(&NAMES, n as u64);
    }
    /// Limit and use of pages.
    pub fn pages(&self) -> (u64, u64) {
        (self.pages_limit.load(Relaxed), self.pages.load(Relaxed))
    }
    /// Limit and use of inodes.
    pub fn inodes(&self) -> (u64, u64) {
        (self.inodes_limit.load(Relaxed), self.inodes.load(Relaxed))
    }
    /// New limits (`remount`): `EINVAL` below what is in use.
    pub fn set_limits(&self, pages: Option<u64>, inodes: Option<u64>) -> Result<(), Errno> {
        let below = |limit: Option<u64>, used: &AtomicU64| {
            limit.is_some_and(|l| l != 0 && l < used.load(Relaxed))
        };
        if below(pages, &self.pages) || below(inodes, &self.inodes) {
            return Err(Errno::EINVAL);
        }
        if let Some(pages) = pages {
            self.pages_limit.store(pages, Relaxed);
        }
        if let Some(inodes) = inodes {
            self.inodes_limit.store(inodes, Relaxed);
        }
        Ok(())
    }
}
