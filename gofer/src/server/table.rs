//! The node table: ids the sentry uses, `O_PATH` descriptors they stand for.
//!
//! All connections of a gofer share one table. An id is a slot number and the slot's generation, so an id that was
//! closed stays invalid when its slot is used again. Slots live in chunks of fixed size: a table that grows never moves,
//! which keeps `mremap` out of the filter and latency flat.

use super::Mount;
use crate::wire::Attr;
use abi::Errno;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use sync::Mutex;

/// A directory opened for reading, and the cookie it stands at.
pub type Stream = (OwnedFd, u64);

/// One open node.
#[derive(Debug)]
pub struct Node {
    /// `O_PATH` descriptor; the only handle by which the file is ever reached.
    pub fd: OwnedFd,
    /// The mount it was reached through.
    pub mount: Arc<Mount>,
    /// Type bits of its mode: a file's type never changes.
    pub file_type: u32,
    /// Identity when the node was made.
    pub identity: (u32, u32, u64),
    /// Kept while somebody reads the directory from front to back.
    pub stream: Mutex<Option<Stream>, { sync::level::GOFER_STREAM }>,
}

impl Node {
    /// A node for an `O_PATH` descriptor with the attributes it was just seen to have.
    pub fn new(fd: OwnedFd, mount: Arc<Mount>, attr: &Attr) -> Self {
        Self {
            fd,
            mount,
            file_type: attr.file_type(),
            identity: attr.identity(),
            stream: Mutex::new(None),
        }
    }
}

const CHUNK: usize = 4096;

#[derive(Debug)]
struct Slot {
    generation: u32,
    node: Option<Arc<Node>>,
}

#[derive(Debug, Default)]
struct Slots {
    /// Each has room for [`CHUNK`] slots from the start, and is filled (and its memory touched) as they are needed.
    chunks: Vec<Vec<Slot>>,
    /// Chunk by chunk the slots that were given back; a list per chunk, so that no list grows large.
    free: Vec<Vec<u32>>,
    /// Chunks with slots given back.
    roomy: Vec<usize>,
    live: usize,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    slots: Mutex<Slots, { sync::level::GOFER_TABLE }>,
    limit: usize,
}

/// The chunk of a slot, and its place there.
fn place(index: u32) -> (usize, usize) {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    (index / CHUNK, index % CHUNK)
}

fn split(id: u64) -> (u32, u32) {
    let low = u32::try_from(id & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    (u32::try_from(id >> 32).unwrap_or(0), low)
}

impl Slots {
    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let (chunk, offset) = place(index);
        self.chunks.get_mut(chunk)?.get_mut(offset)
    }

    fn take_free(&mut self) -> Option<u32> {
        let Some(&chunk) = self.roomy.last() else {
            return self.take_new();
        };
        let free = self.free.get_mut(chunk)?;
        let index = free.pop()?;
        if free.is_empty() {
            self.roomy.pop();
        }
        Some(index)
    }

    fn take_new(&mut self) -> Option<u32> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
            self.free.push(Vec::new());
        }
        let base = self.chunks.len().checked_sub(1)?.checked_mul(CHUNK)?;
        let chunk = self.chunks.last_mut()?;
        let index = u32::try_from(base.checked_add(chunk.len())?).ok()?;
        chunk.push(Slot {
            generation: 1,
            node: None,
        });
        Some(index)
    }

    fn give_back(&mut self, index: u32) {
        let (chunk, _) = place(index);
        let Some(free) = self.free.get_mut(chunk) else {
            return;
        };
        if free.is_empty() {
            self.roomy.push(chunk);
        }
        free.push(index);
    }
}

impl Table {
    /// A table of at most `limit` nodes.
    pub fn new(limit: usize) -> Self {
        Self {
            slots: Mutex::new(Slots::default()),
            limit,
        }
    }

    /// Puts a node in; its id is never zero.
    pub fn insert(&self, node: Node) -> Result<(u64, Arc<Node>), Errno> {
        let node = Arc::new(node);
        let mut slots = self.slots.lock();
        if slots.live >= self.limit {
            return Err(Errno::ENFILE);
        }
        let index = slots.take_free().ok_or(Errno::ENFILE)?;
        let slot = slots.slot(index).ok_or(Errno::ENFILE)?;
        slot.node = Some(node.clone());
        let id = u64::from(slot.generation) << 32 | u64::from(index);
        slots.live = slots.live.saturating_add(1);
        Ok((id, node))
    }

    /// The node of an id.
    pub fn get(&self, id: u64) -> Result<Arc<Node>, Errno> {
        let (generation, index) = split(id);
        let mut slots = self.slots.lock();
        let slot = slots
            .slot(index)
            .filter(|slot| slot.generation == generation)
            .ok_or(Errno::EBADF)?;
        slot.node.clone().ok_or(Errno::EBADF)
    }

    /// Forgets a node. An id that is not there is no error: the sentry can only hurt itself.
    pub fn remove(&self, id: u64) {
        let (generation, index) = split(id);
        let mut slots = self.slots.lock();
        let Some(slot) = slots
            .slot(index)
            .filter(|slot| slot.generation == generation)
        else {
            return;
        };
        let Some(node) = slot.node.take() else { return };
        slot.generation = slot.generation.wrapping_add(1).max(1);
        slots.give_back(index);
        slots.live = slots.live.saturating_sub(1);
        drop(slots);
        // The last reference closes the descriptor, which may take long (a deleted file's blocks): not under the lock.
        drop(node);
    }

    /// Nodes in the table.
    pub fn live(&self) -> usize {
        self.slots.lock().live
    }
}
