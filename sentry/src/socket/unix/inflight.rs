//! Descriptions in flight (`SCM_RIGHTS`): counted, limited, and collected when nobody can receive them any more.
//!
//! A socket whose every reference lies in queues may be unreachable: sent into itself, or in a circle. The collector works on the graph of sockets in flight:
//!
//! ```text
//!   candidate   every reference to its description is in flight
//!   edge a → b  b's description lies in a's queue (or, a being a listener, in that of a connection in its backlog)
//!   live        a candidate with more references in flight than edges from candidates: some queue that can be read holds it;
//!               and whatever a live one leads to
//!   garbage     the rest: their queues' descriptions are dropped, which undoes the circles
//! ```
//!
//! Descriptions enter and leave queues under one lock ([`lock`]), which the collector holds while it looks. They are dropped through [`bury`], one after the other:
//! a description that holds a queue of descriptions that hold queues must not become recursion.

use super::{Phase, UnixSocket};
use crate::socket::{self, SocketCaller};
use abi::Errno;
use abi::socket::SCM_MAX_FD;
use fs::File;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use sync::time::monotonic_ns;
use sync::{Mutex, MutexGuard, level};

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
/// More sockets than this in flight make a sender look for garbage; twice what was left after that, the next time.
const MANY: usize = 4096;
static ENOUGH: AtomicUsize = AtomicUsize::new(MANY);
/// When a close may look next: a look costs as much as there are sockets in flight, and gets a ninth of the time at most.
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Registry {
    /// Sockets in flight by description id, with the number of times.
    sockets: BTreeMap<u64, (Weak<File>, usize)>,
    /// Descriptions in flight by their sender's user.
    users: BTreeMap<u32, usize>,
}

static REGISTRY: Mutex<Registry, { level::UNIX_SCM }> = Mutex::new(Registry {
    sockets: BTreeMap::new(),
    users: BTreeMap::new(),
});
/// Size of `Registry::sockets`, to see without a lock that there are none.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

/// Descriptions in flight with one message. Only [`Guard::detach`] and [`discard`] take them out, which is why dropping it does nothing of its own.
pub struct Rights {
    files: Vec<Arc<File>>,
    uid: u32,
}

impl Rights {
    /// For `MSG_PEEK`: further references.
    pub fn copy(&self) -> Vec<Arc<File>> {
        self.files.clone()
    }
}

/// The lock under which descriptions enter and leave queues.
pub struct Guard(MutexGuard<'static, Registry, { level::UNIX_SCM }>);

pub fn lock() -> Guard {
    Guard(REGISTRY.lock())
}

impl Guard {
    /// Takes the descriptions out of flight.
    pub fn detach(&mut self, rights: &mut Rights) -> Vec<Arc<File>> {
        let files = std::mem::take(&mut rights.files);
        self.0.uncount(&files, rights.uid);
        files
    }
}

impl Registry {
    fn uncount(&mut self, files: &[Arc<File>], uid: u32) {
        for file in files {
            if let Some((_, count)) = self.sockets.get_mut(&file.id()) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.sockets.remove(&file.id());
                }
            }
        }
        SOCKETS.store(self.sockets.len(), Ordering::Release);
        if let Some(count) = self.users.get_mut(&uid) {
            *count = count.saturating_sub(files.len());
            if *count == 0 {
                self.users.remove(&uid);
            }
        }
    }
}

fn unix_socket(file: &File) -> Option<&UnixSocket> {
    socket::of(file).ok()?.as_any().downcast_ref()
}

/// Puts descriptions into flight: `EINVAL` for too many in one message, `ETOOMANYREFS` beyond the sender's limit.
pub fn attach(caller: &dyn SocketCaller, files: Vec<Arc<File>>) -> Result<Rights, Errno> {
    if files.len() > SCM_MAX_FD {
        return Err(Errno::EINVAL);
    }
    if SOCKETS.load(Ordering::Acquire) > ENOUGH.load(Ordering::Relaxed) {
        collect();
    }
    let cred = caller.cred();
    let uid = cred.fsuid;
    let limit = usize::try_from(caller.fd_limit()).unwrap_or(usize::MAX);
    let mut registry = REGISTRY.lock();
    let count = registry.users.entry(uid).or_default();
    if *count > limit && !cred.has_cap(CAP_SYS_RESOURCE) && !cred.has_cap(CAP_SYS_ADMIN) {
        return Err(Errno::ETOOMANYREFS);
    }
    *count = count.saturating_add(files.len());
    for file in files.iter().filter(|f| unix_socket(f).is_some()) {
        let entry = registry
            .sockets
            .entry(file.id())
            .or_insert_with(|| (Arc::downgrade(file), 0));
        entry.1 = entry.1.saturating_add(1);
    }
    SOCKETS.store(registry.sockets.len(), Ordering::Release);
    Ok(Rights { files, uid })
}

/// Drops descriptions that nobody will receive.
pub fn discard(mut rights: Rights) {
    let files = lock().detach(&mut rights);
    bury(files);
}

static GRAVE: Mutex<Vec<Arc<File>>> = Mutex::new(Vec::new());
static BURYING: AtomicBool = AtomicBool::new(false);

/// Drops descriptions without recursion: what their end frees in turn is queued for whoever is already at it.
fn bury(files: Vec<Arc<File>>) {
    if files.is_empty() {
        return;
    }
    GRAVE.lock().extend(files);
    while !BURYING.swap(true, Ordering::AcqRel) {
        loop {
            let file = GRAVE.lock().pop();
            match file {
                Some(file) => drop(file),
                None => break,
            }
        }
        BURYING.store(false, Ordering::Release);
        // Somebody may have come between the last look and the store.
        if GRAVE.lock().is_empty() {
            break;
        }
    }
}

/// After a close: looks for garbage if any socket is in flight.
pub fn collect_if_needed() {
    if SOCKETS.load(Ordering::Acquire) != 0 && monotonic_ns() >= NEXT_LOOK.load(Ordering::Relaxed) {
        collect();
    }
}

struct Node {
    file: Arc<File>,
    in_flight: usize,
    from_candidates: usize,
    leads_to: Vec<usize>,
    live: bool,
}

/// Finds garbage and drops it.
pub fn collect() {
    let began = monotonic_ns();
    let mut guard = REGISTRY.lock();
    let mut nodes = Vec::new();
    let mut index = BTreeMap::new();
    let mut rest = Vec::new();
    for (id, (weak, in_flight)) in &guard.sockets {
        let Some(file) = weak.upgrade() else { continue };
        // Ours is one more.
        if Arc::strong_count(&file) > in_flight.saturating_add(1) {
            rest.push(file);
            continue;
        }
        index.insert(*id, nodes.len());
        nodes.push(Node {
            file,
            in_flight: *in_flight,
            from_candidates: 0,
            leads_to: Vec::new(),
            live: false,
        });
    }
    for at in 0..nodes.len() {
        let mut targets = Vec::new();
        if let Some(socket) = nodes.get(at).and_then(|n| unix_socket(&n.file)) {
            for_each_right(socket, &mut |rights| {
                targets.extend(
                    rights
                        .files
                        .iter()
                        .filter_map(|f| index.get(&f.id()).copied()),
                )
            });
        }
        for target in &targets {
            if let Some(node) = nodes.get_mut(*target) {
                node.from_candidates = node.from_candidates.saturating_add(1);
            }
        }
        if let Some(node) = nodes.get_mut(at) {
            node.leads_to = targets;
        }
    }
    let mut todo: Vec<usize> = (0..nodes.len())
        .filter(|i| {
            nodes
                .get(*i)
                .is_some_and(|n| n.in_flight > n.from_candidates)
        })
        .collect();
    while let Some(at) = todo.pop() {
        if let Some(node) = nodes.get_mut(at)
            && !std::mem::replace(&mut node.live, true)
        {
            todo.extend_from_slice(&node.leads_to);
        }
    }
    let mut dead = Vec::new();
    for socket in nodes
        .iter()
        .filter(|n| !n.live)
        .filter_map(|n| unix_socket(&n.file))
    {
        for_each_right(socket, &mut |rights| {
            dead.push((std::mem::take(&mut rights.files), rights.uid))
        });
    }
    for (files, uid) in &dead {
        guard.uncount(files, *uid);
    }
    ENOUGH.store(
        guard.sockets.len().saturating_mul(2).max(MANY),
        Ordering::Relaxed,
    );
    drop(guard);
    let ended = monotonic_ns();
    NEXT_LOOK.store(
        ended.saturating_add(ended.saturating_sub(began).saturating_mul(8)),
        Ordering::Relaxed,
    );
    rest.extend(nodes.into_iter().map(|n| n.file));
    rest.extend(dead.into_iter().flat_map(|(files, _)| files));
    bury(rest);
}

/// The messages with descriptions that `socket` can receive, itself or by accepting.
fn for_each_right(socket: &UnixSocket, f: &mut dyn FnMut(&mut Rights)) {
    let backlog: Vec<Arc<UnixSocket>> = match &socket.state.lock().phase {
        Phase::Listening { pending, .. } => pending.iter().cloned().collect(),
        _ => Vec::new(),
    };
    let mut queue = socket.queue.lock();
    queue
        .packets
        .iter_mut()
        .filter_map(|p| p.rights.as_mut())
        .for_each(&mut *f);
    drop(queue);
    for connection in backlog {
        let mut queue = connection.queue.lock();
        queue
            .packets
            .iter_mut()
            .filter_map(|p| p.rights.as_mut())
            .for_each(&mut *f);
    }
}
