//! System V IPC: shared memory, semaphores, message queues, one set per ipc namespace (`ipc/util.c`); POSIX message queues.
//!
//! An object is known by its key (what programs agree on) and its id (index and generation, never that of an object that is gone).

pub mod mqueue;
pub mod mqueue_fs;
pub mod msg;
pub mod sem;
pub mod shm;
mod text;

use crate::kernel::ns::OpaqueNamespace;
use crate::kernel::{Credentials, Task};
use abi::Errno;
use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sync::Mutex;

/// Ids are `generation * IPCMNI + index`.
const IPCMNI: usize = 32_768;
const CAP_IPC_OWNER: u32 = 15;
const CAP_SYS_ADMIN: u32 = 21;

/// The objects of one ipc namespace.
#[derive(Default)]
pub struct IpcNamespace {
    /// Shared memory.
    pub shm: Table<shm::Segment>,
    /// Semaphores.
    pub sem: Table<sem::SemSet>,
    /// Message queues.
    pub msg: Table<msg::Queue>,
    /// POSIX message queues.
    pub mqueue: mqueue::Queues,
    /// Sets of semaphores that have undo entries: none makes exits cheap.
    pub(crate) undo: sem::UndoIndex,
}

impl IpcNamespace {
    /// The one of a task.
    pub fn of(ns: &OpaqueNamespace) -> Result<Arc<Self>, Errno> {
        ns.content(Self::default).ok_or(Errno::ENOSYS)
    }
}

/// What a task's process leaves undone (`SEM_UNDO`) in a namespace: call when its last thread ends, or leaves it.
pub fn exit_group(ns: &OpaqueNamespace, task: &Task) {
    if let Ok(ns) = IpcNamespace::of(ns) {
        sem::exit_group(&ns, task);
    }
}

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
}

impl Perm {
    /// `ipcperms`: whether `cred` may do what the permission bits in `wanted` say.
    fn check(&self, cred: &Credentials, wanted: u32) -> Result<(), Errno> {
        let wanted = (wanted >> 6 | wanted >> 3 | wanted) & 7;
        let granted = if cred.euid == self.uid || cred.euid == self.cuid {
            self.mode >> 6
        } else if cred.in_group(self.gid) || cred.in_group(self.cgid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted == 0 || cred.has_cap(CAP_IPC_OWNER) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    /// Whether `cred` may change or remove the object.
    fn check_owner(&self, cred: &Credentials) -> Result<(), Errno> {
        if cred.euid == self.uid || cred.euid == self.cuid || cred.has_cap(CAP_SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// `IPC_SET`: takes over what the owner may set.
    fn set(&mut self, from: &IpcPerm) {
        self.uid = from.uid;
        self.gid = from.gid;
        self.mode = self.mode & !0o777 | from.mode & 0o777;
    }

    /// As the guest sees it.
    fn to_abi(self, id: i32) -> IpcPerm {
        let seq = usize::try_from(id).unwrap_or(0) / IPCMNI;
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: u16::try_from(seq).unwrap_or(0),
            ..IpcPerm::default()
        }
    }
}

/// What every object has.
pub struct Common {
    /// Its id.
    pub id: i32,
    perm: Mutex<Perm>,
    dead: AtomicBool,
}

impl Common {
    /// Owner and mode now.
    pub fn perm(&self) -> Perm {
        *self.perm.lock()
    }
    /// `EIDRM` once it was removed.
    pub fn alive(&self) -> Result<(), Errno> {
        if self.dead.load(Ordering::SeqCst) {
            Err(Errno::EIDRM)
        } else {
            Ok(())
        }
    }
    fn change(&self, cred: &Credentials, from: &IpcPerm) -> Result<(), Errno> {
        let mut perm = self.perm.lock();
        perm.check_owner(cred)?;
        perm.set(from);
        Ok(())
    }
    fn bury(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

/// An object of a [`Table`].
pub trait Object: Send + Sync {
    /// Id and permissions.
    fn common(&self) -> &Common;
}

struct Slots<T> {
    slots: Vec<Option<Arc<T>>>,
    keys: HashMap<i32, usize>,
    generation: usize,
    used: usize,
}

/// All objects of one kind.
pub struct Table<T> {
    inner: Mutex<Slots<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Slots {
                slots: Vec::new(),
                keys: HashMap::new(),
                generation: 0,
                used: 0,
            }),
        }
    }
}

impl<T: Object> Table<T> {
    /// `ipcget`: the object of `key`, which `fits` accepts, or a new one that `make` builds; at most `limit`.
    fn get(
        &self,
        cred: &Credentials,
        key: i32,
        flags: i32,
        limit: usize,
        fits: impl FnOnce(&T) -> Result<(), Errno>,
        make: impl FnOnce(Common) -> Result<T, Errno>,
    ) -> Result<i32, Errno> {
        // Made before the lock is taken, dropped after it is gone: memory and other locks belong to neither.
        let found = {
            let inner = self.inner.lock();
            let index = if key == IPC_PRIVATE {
                None
            } else {
                inner.keys.get(&key).copied()
            };
            index.and_then(|i| inner.slots.get(i).cloned().flatten())
        };
        if let Some(object) = found {
            if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            fits(&object)?;
            object
                .common()
                .perm()
                .check(cred, flags.unsigned_abs() & 0o777)?;
            return Ok(object.common().id);
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        let (index, id) = {
            let mut inner = self.inner.lock();
            if inner.used >= limit {
                return Err(Errno::ENOSPC);
            }
            let index = match inner.slots.iter().position(Option::is_none) {
                Some(index) => index,
                None => {
                    inner.slots.push(None);
                    inner.slots.len().saturating_sub(1)
                }
            };
            inner.generation = inner.generation.wrapping_add(1) % 0x8000;
            (
                index,
                inner
                    .generation
                    .saturating_mul(IPCMNI)
                    .saturating_add(index),
            )
        };
        let mode = flags.unsigned_abs() & 0o777;
        let perm = Perm {
            key,
            uid: cred.euid,
            gid: cred.egid,
            cuid: cred.euid,
            cgid: cred.egid,
            mode,
        };
        let common = Common {
            id: i32::try_from(id).map_err(|_| Errno::ENOSPC)?,
            perm: Mutex::new(perm),
            dead: AtomicBool::new(false),
        };
        let id = common.id;
        let object = Arc::new(make(common)?);
        let mut inner = self.inner.lock();
        let free = inner.slots.get(index).is_some_and(Option::is_none);
        let raced = key != IPC_PRIVATE && inner.keys.contains_key(&key);
        if !free || raced {
            // Somebody was faster: the caller finds theirs, or a slot of its own, the next time.
            drop(inner);
            drop(object);
            return Err(Errno::EAGAIN);
        }
        if let Some(slot) = inner.slots.get_mut(index) {
            *slot = Some(object);
        }
        if key != IPC_PRIVATE {
            inner.keys.insert(key, index);
        }
        inner.used = inner.used.saturating_add(1);
        Ok(id)
    }

    /// By id; `EINVAL` for none.
    pub fn find(&self, id: i32) -> Result<Arc<T>, Errno> {
        let index = usize::try_from(id).map_err(|_| Errno::EINVAL)? % IPCMNI;
        let object = self
            .inner
            .lock()
            .slots
            .get(index)
            .cloned()
            .flatten()
            .ok_or(Errno::EINVAL)?;
        if object.common().id == id {
            Ok(object)
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// By index (`*_STAT`).
    fn at(&self, index: i32) -> Result<Arc<T>, Errno> {
        let index = usize::try_from(index).map_err(|_| Errno::EINVAL)?;
        self.inner
            .lock()
            .slots
            .get(index)
            .cloned()
            .flatten()
            .ok_or(Errno::EINVAL)
    }

    /// No longer found by its key.
    fn forget_key(&self, object: &T) {
        let mut perm = object.common().perm.lock();
        let key = std::mem::replace(&mut perm.key, IPC_PRIVATE);
        drop(perm);
        if key != IPC_PRIVATE {
            self.inner.lock().keys.remove(&key);
        }
    }

    /// Takes it out for good; once, however many ask for it: its place may have been given to another since.
    fn remove(&self, object: &T) {
        self.forget_key(object);
        object.common().bury();
        let index = usize::try_from(object.common().id).unwrap_or(usize::MAX) % IPCMNI;
        let out = {
            let mut inner = self.inner.lock();
            let out = inner
                .slots
                .get_mut(index)
                .and_then(|slot| slot.take_if(|found| std::ptr::eq(&**found, object)));
            if out.is_some() {
                inner.used = inner.used.saturating_sub(1);
            }
            out
        };
        drop(out);
    }

    /// All objects, and the highest index in use (0 for none).
    pub fn list(&self) -> (Vec<Arc<T>>, i32) {
        let inner = self.inner.lock();
        let highest = inner.slots.iter().rposition(Option::is_some).unwrap_or(0);
        (
            inner.slots.iter().flatten().cloned().collect(),
            i32::try_from(highest).unwrap_or(0),
        )
    }
}

/// Retries what [`Table::get`] lost to somebody else.
fn get_again(mut attempt: impl FnMut() -> Result<i32, Errno>) -> Result<i32, Errno> {
    loop {
        match attempt() {
            Err(Errno::EAGAIN) => {}
            done => return done,
        }
    }
}

/// Seconds of `CLOCK_REALTIME`.
fn now(task: &Task) -> i64 {
    task.kernel().clock.realtime() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::UserNamespace;

    struct Thing(Common);
    impl Object for Thing {
        fn common(&self) -> &Common {
            &self.0
        }
    }

    /// Two that remove one object, and a third that makes another in between: it stays, and so does its key.
    #[test]
    fn who_removes_late_removes_nothing() {
        let table = Table::<Thing>::default();
        let cred = Credentials::root(UserNamespace::root());
        let get = |key| {
            let make = |common| Ok(Thing(common));
            table.get(&cred, key, IPC_CREAT | 0o600, 10, |_| Ok(()), make)
        };
        let first = table.find(get(1).unwrap()).unwrap();
        table.remove(&first);
        let other = get(2).unwrap();
        table.remove(&first);
        assert!(table.find(other).is_ok_and(|o| o.0.alive().is_ok()));
        assert_eq!(get(2), Ok(other));
    }
}
