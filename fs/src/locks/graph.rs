//! Who waits for whom, over all inodes: finds the request that would close a circle.
//!
//! Only POSIX owners are in it, as in Linux: a description may be shared by processes that do not wait for each other.

use super::Owner;
use abi::Errno;
use std::collections::{BTreeMap, BTreeSet};
use sync::Mutex;

/// For each waiting owner, whom it waits for: one entry for each of its threads that sleep.
static WAITS: Mutex<BTreeMap<u64, Vec<u64>>> = Mutex::new(BTreeMap::new());

/// An edge of the graph: hold it while asleep.
#[derive(Debug)]
pub struct Waiting(Option<(u64, u64)>);

/// `owner` is about to wait for `holder`: `EDEADLK` if that one, directly or not, waits for `owner`.
pub(super) fn wait(owner: Owner, holder: Owner) -> Result<Waiting, Errno> {
    let (Owner::Posix(owner), Owner::Posix(holder)) = (owner, holder) else {
        return Ok(Waiting(None));
    };
    let mut waits = WAITS.lock();
    let mut seen = BTreeSet::new();
    let mut todo = vec![holder];
    while let Some(next) = todo.pop() {
        if next == owner {
            return Err(Errno::EDEADLK);
        }
        if seen.insert(next) {
            todo.extend(waits.get(&next).into_iter().flatten());
        }
    }
    waits.entry(owner).or_default().push(holder);
    Ok(Waiting(Some((owner, holder))))
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some((owner, holder)) = self.0 else {
            return;
        };
        let mut waits = WAITS.lock();
        if let Some(list) = waits.get_mut(&owner) {
            if let Some(i) = list.iter().position(|h| *h == holder) {
                list.swap_remove(i);
            }
            if list.is_empty() {
                waits.remove(&owner);
            }
        }
    }
}
