//! Process identifiers and pid namespaces (`pid_namespaces(7)`).
//!
//! A [`Pid`] is an identity with one number in its own namespace and one in every ancestor. Tasks, thread groups, process groups and sessions hold it; its numbers
//! are free again when the last of them is gone, so that a process group outlives its leader's number as on Linux.

use super::{ProcessGroup, Session, Task, ThreadGroup};
use abi::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

/// The largest pid plus one (`kernel.pid_max` of a 64-bit Linux with many cores).
pub const PID_MAX: i32 = 4_194_304;
/// How deep pid namespaces nest (`MAX_PID_NS_LEVEL`).
const MAX_LEVEL: usize = 32;
/// Where allocation goes on after a wrap (`RESERVED_PIDS`).
const RESERVED: i32 = 300;

struct Map {
    pids: BTreeMap<i32, Weak<Pid>>,
    last: i32,
}

/// A pid namespace.
pub struct PidNamespace {
    parent: Option<Arc<PidNamespace>>,
    map: Mutex<Map, { level::PID_NS }>,
    /// Set when the namespace's init is dying: no new process may be born here.
    dead: AtomicBool,
    id: u64,
}

impl PidNamespace {
    /// A namespace under `parent`, or the sandbox's first.
    pub fn new(parent: Option<Arc<Self>>) -> Result<Arc<Self>, Errno> {
        let ns = Self {
            parent,
            map: Mutex::new(Map {
                pids: BTreeMap::new(),
                last: 0,
            }),
            dead: AtomicBool::new(false),
            id: super::ns::next_id(),
        };
        if ns.ancestry().count() > MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        Ok(Arc::new(ns))
    }

    /// The inode number of `/proc/PID/ns/pid`.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The enclosing namespace.
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }
    /// This namespace, its parent, and so on.
    pub fn ancestry(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |ns| ns.parent.as_deref())
    }
    /// Whether `self` is `other` or lies inside it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.ancestry().any(|ns| ns.id == other.id)
    }

    /// The identity with this number here.
    pub fn lookup(&self, nr: i32) -> Option<Arc<Pid>> {
        self.map.lock().pids.get(&nr)?.upgrade()
    }
    /// The task with this number here.
    pub fn task(&self, nr: i32) -> Option<Arc<Task>> {
        self.lookup(nr)?.task()
    }
    /// The thread group with this number here.
    pub fn group(&self, nr: i32) -> Option<Arc<ThreadGroup>> {
        self.lookup(nr)?.group()
    }
    /// All numbers in use, ascending.
    pub fn pids(&self) -> Vec<(i32, Arc<Pid>)> {
        self.map
            .lock()
            .pids
            .iter()
            .filter_map(|(n, p)| Some((*n, p.upgrade()?)))
            .collect()
    }
    /// The last number handed out (`/proc/loadavg`, `ns_last_pid`).
    pub fn last_pid(&self) -> i32 {
        self.map.lock().last
    }
    /// Ends births: `fork` answers `ENOMEM` from now on.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
    /// Whether the init of this namespace has gone.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn reserve(&self, wanted: Option<i32>, pid: &Weak<Pid>) -> Result<i32, Errno> {
        let mut map = self.map.lock();
        if let Some(nr) = wanted {
            if !(1..PID_MAX).contains(&nr) {
                return Err(Errno::EINVAL);
            }
            if map.pids.contains_key(&nr) {
                return Err(Errno::EEXIST);
            }
            map.pids.insert(nr, pid.clone());
            return Ok(nr);
        }
        let mut nr = map.last;
        for _ in 0..PID_MAX {
            nr = if nr.saturating_add(1) >= PID_MAX {
                RESERVED
            } else {
                nr.saturating_add(1)
            };
            if !map.pids.contains_key(&nr) {
                map.last = nr;
                map.pids.insert(nr, pid.clone());
                return Ok(nr);
            }
        }
        Err(Errno::EAGAIN)
    }
}

#[derive(Default)]
struct Links {
    task: Weak<Task>,
    group: Weak<ThreadGroup>,
    process_group: Weak<ProcessGroup>,
    session: Weak<Session>,
}

/// An identity: its numbers, and who bears it now.
pub struct Pid {
    /// Own namespace first, then its ancestors.
    numbers: Vec<(Arc<PidNamespace>, i32)>,
    links: Mutex<Links, { level::PID_LINKS }>,
    serial: u64,
}

impl Pid {
    /// A fresh identity in `ns`. `set_tid` (clone3) asks for numbers, own namespace first.
    pub fn new(ns: &Arc<PidNamespace>, set_tid: &[i32]) -> Result<Arc<Self>, Errno> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        if ns.is_dead() {
            return Err(Errno::ENOMEM);
        }
        let mut error = None;
        let pid = Arc::new_cyclic(|weak| {
            let mut numbers = Vec::new();
            let mut wanted = set_tid.iter().copied();
            let mut next = Some(ns.clone());
            while let Some(ns) = next {
                match ns.reserve(wanted.next(), weak) {
                    Ok(nr) => numbers.push((ns.clone(), nr)),
                    Err(e) => {
                        error = Some(e);
                        break;
                    }
                }
                next = ns.parent.clone();
            }
            Self {
                numbers,
                links: Mutex::new(Links::default()),
                serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            }
        });
        // On an error the half-made identity gives its numbers back as it drops.
        error.map_or(Ok(pid), Err)
    }

    /// The number in its own namespace.
    pub fn nr(&self) -> i32 {
        self.numbers.first().map_or(0, |n| n.1)
    }
    /// The namespace it was made in.
    pub fn ns(&self) -> Option<&Arc<PidNamespace>> {
        self.numbers.first().map(|n| &n.0)
    }
    /// The number as `ns` sees it; 0 when it cannot.
    pub fn nr_in(&self, ns: &PidNamespace) -> i32 {
        self.numbers
            .iter()
            .find(|(n, _)| n.id == ns.id)
            .map_or(0, |n| n.1)
    }
    /// The numbers from the outermost of `ns`'s view down to its own (`NSpid`).
    pub fn numbers(&self) -> &[(Arc<PidNamespace>, i32)] {
        &self.numbers
    }
    /// Never reused, for keys.
    pub fn serial(&self) -> u64 {
        self.serial
    }
    /// Whether it is the init of its own namespace.
    pub fn is_init(&self) -> bool {
        self.nr() == 1
    }

    /// The live or zombie task of this number.
    pub fn task(&self) -> Option<Arc<Task>> {
        self.links.lock().task.upgrade()
    }
    /// The thread group it leads.
    pub fn group(&self) -> Option<Arc<ThreadGroup>> {
        self.links.lock().group.upgrade()
    }
    /// The process group it named.
    pub fn process_group(&self) -> Option<Arc<ProcessGroup>> {
        self.links.lock().process_group.upgrade()
    }
    /// The session it named.
    pub fn session(&self) -> Option<Arc<Session>> {
        self.links.lock().session.upgrade()
    }
    pub(super) fn set_task(&self, task: Weak<Task>) {
        self.links.lock().task = task;
    }
    pub(super) fn set_group(&self, group: Weak<ThreadGroup>) {
        self.links.lock().group = group;
    }
    pub(super) fn set_process_group(&self, pgrp: &Arc<ProcessGroup>) {
        self.links.lock().process_group = Arc::downgrade(pgrp);
    }
    pub(super) fn set_session(&self, session: &Arc<Session>) {
        self.links.lock().session = Arc::downgrade(session);
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        for (ns, nr) in &self.numbers {
            ns.map.lock().pids.remove(nr);
        }
    }
}
