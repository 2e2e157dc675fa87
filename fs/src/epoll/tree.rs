//! Instances that watch instances: no loops, no chains longer than Linux allows, and not too many ways up, since a notification climbs them all.

use super::Epoll;
use abi::Errno;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// Links in the longest chain (`EP_MAX_NESTS`): five instances.
const MAX_LINKS: usize = 4;
/// Ways up from one instance, itself included. Linux bounds them by their length, the shortest by this (`path_limits` in `fs/eventpoll.c`).
const MAX_WAYS: usize = 500;

/// Held while the shape of the tree changes. No file is asked anything, or let go of, under it.
static SHAPE: Mutex<(), { level::EPOLL_TREE }> = Mutex::new(());

/// Runs `add`, which makes `outer` watch `inner`, if the tree stays one (else `ELOOP`) and no bush (else `EINVAL`).
pub(super) fn link<T>(
    outer: &Epoll,
    inner: &Arc<Epoll>,
    add: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let (mut below, mut above) = (Visited::new(), Visited::new());
    let shape = SHAPE.lock();
    let depth = depth_below(inner, outer, &mut below)?;
    let height = look_above(outer, &mut above).links;
    if depth.saturating_add(1).saturating_add(height) > MAX_LINKS {
        return Err(Errno::ELOOP);
    }
    // Before it is added: who takes it away again finds it.
    inner.parents.lock().push(outer.me.clone());
    let mut bush = |(below, _): &(Arc<Epoll>, usize)| look_above(below, &mut above).ways > MAX_WAYS;
    let added = match below.values().any(&mut bush) {
        true => Err(Errno::EINVAL),
        false => add(),
    };
    if added.is_err() {
        let mut parents = inner.parents.lock();
        if let Some(i) = parents.iter().position(|p| p.ptr_eq(&outer.me)) {
            parents.swap_remove(i);
        }
    }
    drop(shape);
    added
}

/// The instances already looked at, by address, with what was found: each is looked at once, however many ways lead to it. They live as long as this
/// does, which is longer than the lock.
type Visited<T = Above> = BTreeMap<usize, (Arc<Epoll>, T)>;

fn key(epoll: &Epoll) -> usize {
    std::ptr::from_ref(epoll).addr()
}

/// The links below `epoll`; `ELOOP` if `forbidden` is there. The recursion ends because the tree is one so far.
fn depth_below(
    epoll: &Arc<Epoll>,
    forbidden: &Epoll,
    visited: &mut Visited<usize>,
) -> Result<usize, Errno> {
    if key(epoll) == key(forbidden) {
        return Err(Errno::ELOOP);
    }
    if let Some((_, known)) = visited.get(&key(epoll)) {
        return Ok(*known);
    }
    let inner: Vec<_> = epoll
        .interest
        .lock()
        .values()
        .filter_map(|item| item.inner.as_ref()?.upgrade())
        .collect();
    let mut depth = 0;
    for inner in inner {
        depth = depth.max(depth_below(&inner, forbidden, visited)?.saturating_add(1));
    }
    visited.insert(key(epoll), (epoll.clone(), depth));
    Ok(depth)
}

/// What is above an instance.
#[derive(Clone, Copy)]
struct Above {
    /// In the longest chain.
    links: usize,
    /// That a notification climbs, the one that ends here included.
    ways: usize,
}

fn look_above(epoll: &Epoll, visited: &mut Visited) -> Above {
    if let Some((_, known)) = visited.get(&key(epoll)) {
        return *known;
    }
    let parents: Vec<_> = epoll
        .parents
        .lock()
        .iter()
        .filter_map(Weak::upgrade)
        .collect();
    let mut above = Above { links: 0, ways: 1 };
    for parent in parents {
        let further = look_above(&parent, visited);
        above.links = above.links.max(further.links.saturating_add(1));
        above.ways = above.ways.saturating_add(further.ways);
    }
    if let Some(me) = epoll.me.upgrade() {
        visited.insert(key(epoll), (me, above));
    }
    above
}
