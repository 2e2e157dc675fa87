//! Instances that watch instances: no loops, and no chains longer than Linux allows, since a notification climbs the whole chain.

use super::{Epoll, of};
use abi::Errno;
use std::sync::Arc;
use sync::{Mutex, level};

/// Links in the longest chain (`EP_MAX_NESTS`): five instances.
const MAX_LINKS: usize = 4;

/// Held while the shape of the tree changes.
static SHAPE: Mutex<(), { level::EPOLL_TREE }> = Mutex::new(());

/// Runs `add`, which makes `outer` watch `inner`, if the tree stays one: else `ELOOP`.
pub(super) fn link(
    outer: &Epoll,
    inner: &Arc<Epoll>,
    add: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let shape = SHAPE.lock();
    let down = depth_below(inner, outer, 0)?;
    if down
        .saturating_add(1)
        .saturating_add(height_above(outer, 0))
        > MAX_LINKS
    {
        return Err(Errno::ELOOP);
    }
    inner.parents.lock().push(outer.me.clone());
    let result = add();
    drop(shape);
    if result == Err(Errno::ENOSPC) {
        let mut parents = inner.parents.lock();
        if let Some(i) = parents.iter().position(|p| p.ptr_eq(&outer.me)) {
            parents.swap_remove(i);
        }
    }
    result
}

/// The links below `epoll`; `ELOOP` if `forbidden` is among what it watches.
fn depth_below(epoll: &Arc<Epoll>, forbidden: &Epoll, level: usize) -> Result<usize, Errno> {
    if std::ptr::eq(&**epoll, forbidden) || level > MAX_LINKS {
        return Err(Errno::ELOOP);
    }
    let items: Vec<_> = epoll.interest.lock().values().cloned().collect();
    let mut depth = 0;
    for item in items {
        let Some(file) = item.file.upgrade() else {
            continue;
        };
        if let Some(child) = of(&file) {
            depth = depth
                .max(depth_below(child, forbidden, level.saturating_add(1))?.saturating_add(1));
        }
    }
    Ok(depth)
}

/// The links above `epoll`.
fn height_above(epoll: &Epoll, level: usize) -> usize {
    if level > MAX_LINKS {
        return level;
    }
    let parents: Vec<_> = epoll
        .parents
        .lock()
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .collect();
    parents
        .iter()
        .map(|p| height_above(p, level.saturating_add(1)).saturating_add(1))
        .max()
        .unwrap_or(0)
}
