//! Advisory locks: POSIX records and open-file-description records (`fcntl(2)`), whole-file locks (`flock(2)`) (Linux: `fs/locks.c`).
//!
//! The locks of an inode hang in [`Vnode::locks`]. Nothing blocks here: a request in conflict answers `EAGAIN`; one that wants to wait gets a [`Waiting`], which
//! stands in the deadlock graph while its holder sleeps on [`Locks::pollee`]:
//!
//! ```text
//! let key = locks.pollee().register(observer, Locks::EVENTS);
//! loop { match locks.set_waiting(request)? { None => break, Some(waiting) => { sleep()?; drop(waiting) } } }
//! ```
//!
//! Who releases: the descriptor table, at every `close(2)`, its POSIX locks on the inode ([`release_posix`]); the description, at its end, OFD locks and flock.

mod graph;
mod records;
#[cfg(test)]
mod tests;

pub use graph::Waiting;
pub use records::{Kind, Owner, Range, Record};

use crate::file::File;
use crate::pollee::{Events, Pollee};
use crate::vfs::Vnode;
use abi::Errno;
use records::Records;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sync::{Mutex, level};

/// Locks held in the whole sandbox: a bound on the sandbox's memory.
const MAX_LOCKS: usize = 1 << 20;
static HELD: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct State {
    records: Records,
    /// Description id and whether exclusive.
    flocks: Vec<(u64, bool)>,
}

/// The locks of one inode.
#[derive(Default)]
pub struct Locks {
    state: Mutex<State, { level::FILE_LOCKS }>,
    pollee: Pollee,
}

/// A request for a record lock: who, what, where; `pid` is what `F_GETLK` shows others.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Request {
    pub owner: Owner,
    /// `None` unlocks.
    pub kind: Option<Kind>,
    pub range: Range,
    pub pid: i32,
}

impl Locks {
    /// What a waiter registers for.
    pub const EVENTS: Events = Events::WRITE;

    /// Whom to wait on: notified whenever something is unlocked.
    pub fn pollee(&self) -> &Pollee {
        &self.pollee
    }

    /// `F_SETLK`, `F_OFD_SETLK`: `EAGAIN` on a conflict.
    pub fn set(&self, request: Request) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if let Some(kind) = request.kind
            && state
                .records
                .conflict(request.owner, kind, request.range)
                .is_some()
        {
            return Err(Errno::EAGAIN);
        }
        let result = self.apply(&mut state.records, request);
        drop(state);
        self.pollee.notify(Self::EVENTS);
        result
    }

    /// `F_SETLKW`, `F_OFD_SETLKW`: `None` when it is done, else what to hold while sleeping. `EDEADLK` if a POSIX owner would wait for itself.
    pub fn set_waiting(&self, request: Request) -> Result<Option<Waiting>, Errno> {
        let mut state = self.state.lock();
        let waiting = match request
            .kind
            .and_then(|kind| state.records.conflict(request.owner, kind, request.range))
        {
            Some(record) => Some(graph::wait(request.owner, record.owner)?),
            None => {
                self.apply(&mut state.records, request)?;
                None
            }
        };
        drop(state);
        if waiting.is_none() {
            // A lock may have become weaker or smaller.
            self.pollee.notify(Self::EVENTS);
        }
        Ok(waiting)
    }

    /// `F_GETLK`, `F_OFD_GETLK`: the record in the way, if any.
    pub fn test(&self, owner: Owner, kind: Kind, range: Range) -> Option<Record> {
        self.state.lock().records.conflict(owner, kind, range)
    }

    fn apply(&self, records: &mut Records, request: Request) -> Result<(), Errno> {
        let before = records.len();
        if request.kind.is_some() && HELD.load(Ordering::Relaxed) >= MAX_LOCKS {
            return Err(Errno::ENOLCK);
        }
        records.set(request.owner, request.kind, request.range, request.pid);
        count(before, records.len());
        Ok(())
    }

    /// `flock(2)` by a description; `None` unlocks. `EAGAIN` on a conflict, with the lock it had lost, as in Linux.
    pub fn flock(&self, file: &File, kind: Option<Kind>) -> Result<(), Errno> {
        let exclusive = kind == Some(Kind::Write);
        let mut state = self.state.lock();
        let held = state.flocks.iter().position(|(id, _)| *id == file.id());
        if let (Some(i), Some(_)) = (held, kind)
            && state.flocks.get(i).is_some_and(|(_, e)| *e == exclusive)
        {
            return Ok(());
        }
        let before = state.flocks.len();
        if let Some(i) = held {
            state.flocks.swap_remove(i);
        }
        let conflict = kind.is_some() && state.flocks.iter().any(|(_, e)| *e || exclusive);
        if kind.is_some() && !conflict {
            state.flocks.push((file.id(), exclusive));
        }
        count(before, state.flocks.len());
        drop(state);
        if held.is_some() {
            self.pollee.notify(Self::EVENTS);
        }
        if conflict { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    fn release(&self, owner: Owner) {
        let mut state = self.state.lock();
        let before = state.records.len();
        state.records.remove_owner(owner);
        let changed = before != state.records.len();
        count(before, state.records.len());
        drop(state);
        if changed {
            self.pollee.notify(Self::EVENTS);
        }
    }

    /// What is held, for `/proc/locks`: records, and whole-file locks as description id and exclusiveness.
    pub fn list(&self) -> (Vec<Record>, Vec<(u64, bool)>) {
        let state = self.state.lock();
        (state.records.all().to_vec(), state.flocks.clone())
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        count(state.records.len().saturating_add(state.flocks.len()), 0);
    }
}

fn count(before: usize, after: usize) {
    HELD.fetch_add(after, Ordering::Relaxed);
    HELD.fetch_sub(before, Ordering::Relaxed);
}

/// The locks of an inode, made at the first request.
pub fn of(vnode: &Vnode) -> Result<Arc<Locks>, Errno> {
    let any = vnode
        .locks
        .get_or_init(|| Arc::new(Locks::default()))
        .clone();
    any.downcast().map_err(|_| Errno::ENOLCK)
}

fn existing(vnode: &Vnode) -> Option<&Locks> {
    vnode.locks.get().and_then(|any| any.downcast_ref())
}

/// Takes away the POSIX locks of a descriptor table on an inode: for every `close(2)` of any of its descriptors, as POSIX has it, and at its end.
pub fn release_posix(vnode: &Vnode, table: u64) {
    if let Some(locks) = existing(vnode) {
        locks.release(Owner::Posix(table));
    }
}

/// Takes away what a description holds, at its end.
pub(crate) fn release_file(file: &File) {
    if let Some(locks) = existing(file.inode().vnode()) {
        locks.release(Owner::Ofd(file.id()));
        let _ = locks.flock(file, None);
    }
}

/// What `fcntl(2)` demands of the description: `F_RDLCK` needs it readable, `F_WRLCK` writable.
pub fn check_mode(file: &File, kind: Option<Kind>) -> Result<(), Errno> {
    let allowed = match kind {
        Some(Kind::Read) => file.readable(),
        Some(Kind::Write) => file.writable(),
        None => true,
    };
    if allowed { Ok(()) } else { Err(Errno::EBADF) }
}
