//! How many pipe pages each user has (`/proc/sys/fs/pipe-user-pages-soft`): beyond the limit an unprivileged user's new pipes are small and none may grow.

use super::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE};
use crate::Cred;
use abi::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sync::Mutex;

/// Pages a user may have at full convenience: 1,024 pipes of the default size.
const SOFT_LIMIT: usize = 16384;
/// Slots of a new pipe beyond the limit.
const MIN_SLOTS: usize = 2;

static USERS: Mutex<BTreeMap<u32, Arc<AtomicUsize>>> = Mutex::new(BTreeMap::new());

/// The pages that one pipe is accounted with.
pub struct Charge {
    uid: u32,
    user: Arc<AtomicUsize>,
    pages: usize,
}

fn limited(cred: &Cred) -> bool {
    !cred.has_cap(CAP_SYS_RESOURCE) && !cred.has_cap(CAP_SYS_ADMIN)
}

impl Charge {
    /// Charges a new pipe; returns the slots it gets.
    pub fn new(cred: &Cred, slots: usize) -> (Self, usize) {
        let user = USERS.lock().entry(cred.fsuid).or_default().clone();
        let mut charge = Self {
            uid: cred.fsuid,
            user,
            pages: 0,
        };
        let total = charge.set(slots);
        if total > SOFT_LIMIT && limited(cred) {
            charge.set(MIN_SLOTS);
        }
        let slots = charge.pages;
        (charge, slots)
    }

    fn set(&mut self, pages: usize) -> usize {
        let added = self
            .user
            .fetch_add(pages, Ordering::Relaxed)
            .saturating_add(pages);
        self.user.fetch_sub(self.pages, Ordering::Relaxed);
        let total = added.saturating_sub(self.pages);
        self.pages = pages;
        total
    }

    /// Charges for another number of slots; `EPERM` if that is growth beyond the limit.
    pub fn resize(&mut self, cred: &Cred, slots: usize, growing: bool) -> Result<(), Errno> {
        let before = self.pages;
        if self.set(slots) > SOFT_LIMIT && growing && limited(cred) {
            self.set(before);
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Back to `slots`, or fewer if it had fewer.
    pub fn reset(&mut self, slots: usize) -> usize {
        self.set(slots.min(self.pages.max(MIN_SLOTS)));
        self.pages
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
        let mut users = USERS.lock();
        // Two references: the map's and ours.
        if self.user.load(Ordering::Relaxed) == 0 && Arc::strong_count(&self.user) <= 2 {
            users.remove(&self.uid);
        }
    }
}
