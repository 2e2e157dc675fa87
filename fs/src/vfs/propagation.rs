//! How mounts and unmounts travel between mounts that show the same (`mount_namespaces(7)`; Linux: `fs/pnode.c`).
//!
//! ```text
//!   peer group 1:   A ─── B ─── C        shared:1            what happens at one happens at all of them,
//!                         │
//!                         ▼
//!                         S ─── T        master:1 shared:2   at their slaves, at the slaves' peers, at whose slaves …: never back
//! ```
//!
//! Mounts name their groups by number ([`Propagation`]); who is in a group is kept here, for all namespaces, under one lock that everything takes which changes
//! the shape of a tree of mounts (Linux: `namespace_sem`).

use super::mount::{Mount, Path, Propagation};
use super::namespace::{MountNamespace, PropagationType, copy_tree};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use sync::{Mutex, level};

#[derive(Default)]
struct Group {
    members: Vec<Weak<Mount>>,
    slaves: Vec<Weak<Mount>>,
}

/// All groups and namespaces.
pub(super) struct Topology {
    groups: BTreeMap<u64, Group>,
    namespaces: BTreeMap<u64, Weak<MountNamespace>>,
}

pub(super) static TOPOLOGY: Mutex<Topology, { level::MOUNT_TOPOLOGY }> = Mutex::new(Topology {
    groups: BTreeMap::new(),
    namespaces: BTreeMap::new(),
});

/// A copy to be hung in.
pub(super) struct Copied {
    pub(super) at: Path,
    pub(super) mount: Arc<Mount>,
    pub(super) namespace: Arc<MountNamespace>,
    /// How many mounts it is.
    pub(super) count: usize,
}

fn live(list: &[Weak<Mount>]) -> Vec<Arc<Mount>> {
    list.iter().filter_map(Weak::upgrade).collect()
}

fn forget(list: &mut Vec<Weak<Mount>>, mount: &Mount) {
    list.retain(|m| m.strong_count() != 0 && !std::ptr::eq(m.as_ptr(), mount));
}

impl Topology {
    pub(super) fn add_namespace(&mut self, namespace: &Arc<MountNamespace>) {
        self.namespaces
            .insert(namespace.id(), Arc::downgrade(namespace));
    }

    pub(super) fn remove_namespace(&mut self, id: u64) {
        self.namespaces.remove(&id);
    }

    /// The lowest number that no group has.
    fn new_group(&mut self) -> u64 {
        let mut id = 1;
        for used in self.groups.keys() {
            if *used != id {
                break;
            }
            id = id.saturating_add(1);
        }
        self.groups.insert(id, Group::default());
        id
    }

    /// Takes note of the groups that a mount's state names.
    pub(super) fn enlist(&mut self, mount: &Arc<Mount>) {
        let p = mount.propagation();
        if let Some(group) = p.shared {
            let members = &mut self.groups.entry(group).or_default().members;
            members.push(Arc::downgrade(mount));
        }
        if let Some(group) = p.master {
            let slaves = &mut self.groups.entry(group).or_default().slaves;
            slaves.push(Arc::downgrade(mount));
        }
    }

    /// A mount is in no group any more. Slaves of a group that has lost its last member belong to that one's master.
    pub(super) fn delist(&mut self, mount: &Mount) {
        let p = std::mem::take(&mut *mount.propagation.lock());
        if let Some(group) = p.master
            && let Some(group) = self.groups.get_mut(&group)
        {
            forget(&mut group.slaves, mount);
        }
        let Some(id) = p.shared else { return };
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        forget(&mut group.members, mount);
        if !group.members.is_empty() {
            return;
        }
        let orphans = live(&group.slaves);
        self.groups.remove(&id);
        for orphan in &orphans {
            orphan.propagation.lock().master = p.master;
        }
        if let Some(master) = p.master.and_then(|id| self.groups.get_mut(&id)) {
            master.slaves.extend(orphans.iter().map(Arc::downgrade));
        }
    }

    /// `change_mnt_propagation`
    pub(super) fn set(&mut self, mount: &Arc<Mount>, to: PropagationType) {
        let old = mount.propagation();
        let new = match to {
            PropagationType::Shared => {
                let group = old.shared.unwrap_or_else(|| self.new_group());
                Propagation {
                    shared: Some(group),
                    unbindable: false,
                    ..old
                }
            }
            PropagationType::Private => Propagation::default(),
            PropagationType::Unbindable => Propagation {
                unbindable: true,
                ..Propagation::default()
            },
            // Without peers there is nobody to be the slave of, but who was the group's master.
            PropagationType::Slave => Propagation {
                shared: None,
                master: old
                    .shared
                    .filter(|id| {
                        self.groups
                            .get(id)
                            .is_some_and(|g| live(&g.members).len() > 1)
                    })
                    .or(old.master),
                unbindable: false,
            },
        };
        if old.shared.is_none() || new.shared.is_none() {
            // A mount that starts to share stays the slave it was.
            if new.shared.is_some() {
                *mount.propagation.lock() = new;
                if let Some(group) = new.shared.and_then(|id| self.groups.get_mut(&id)) {
                    group.members.push(Arc::downgrade(mount));
                }
                return;
            }
            self.delist(mount);
            *mount.propagation.lock() = new;
            self.enlist(mount);
        }
    }

    /// Whom an event at `at` reaches besides its own mount: those that have the place too, and are in a namespace.
    fn receivers(&self, at: &Path) -> Vec<Arc<Mount>> {
        let mut out = Vec::new();
        let mut groups = VecDeque::from_iter(at.mount.propagation().shared);
        let mut seen: HashSet<u64> = groups.iter().copied().collect();
        while let Some(id) = groups.pop_front() {
            let Some(group) = self.groups.get(&id) else {
                continue;
            };
            out.extend(live(&group.members));
            for slave in live(&group.slaves) {
                match slave.propagation().shared {
                    Some(own) if seen.insert(own) => groups.push_back(own),
                    Some(_) => {}
                    None => out.push(slave),
                }
            }
        }
        out.retain(|m| !Arc::ptr_eq(m, &at.mount) && has_place(m, at));
        out
    }

    /// Copies of the tree under `new`, which is going to be at `at`, for all whom that reaches; `new` itself becomes shared as `at`'s mount is.
    pub(super) fn copies(&mut self, at: &Path, new: &Arc<Mount>) -> Vec<Copied> {
        let Some(first) = at.mount.propagation().shared else {
            return Vec::new();
        };
        let mut source = Vec::new();
        new.collect(&mut source);
        for mount in &source {
            self.set(mount, PropagationType::Shared);
        }
        let states: Vec<Propagation> = source.iter().map(|m| m.propagation()).collect();
        let moving: HashSet<u64> = source.iter().map(|m| m.id()).collect();
        let places: HashMap<u64, usize> = source
            .iter()
            .enumerate()
            .map(|(i, m)| (m.id(), i))
            .collect();
        let mut out = Vec::new();
        // Each group with what the copies at its members are to be.
        let mut groups = VecDeque::from([(first, states)]);
        let mut seen = HashSet::from([first]);
        while let Some((id, states)) = groups.pop_front() {
            let Some(group) = self.groups.get(&id) else {
                continue;
            };
            let wanted = |m: &Arc<Mount>| {
                !Arc::ptr_eq(m, &at.mount) && !moving.contains(&m.id()) && has_place(m, at)
            };
            let (members, slaves) = (live(&group.members), live(&group.slaves));
            for member in members.into_iter().filter(wanted) {
                out.extend(self.copy(&member, at, new, &places, &states));
            }
            // At slaves: slaves of the copies here.
            let below: Vec<Propagation> = states
                .iter()
                .map(|p| Propagation {
                    shared: None,
                    master: p.shared.or(p.master),
                    unbindable: false,
                })
                .collect();
            for slave in slaves {
                match slave.propagation().shared {
                    Some(own) if seen.insert(own) => {
                        let reached = self.groups.get(&own).map(|g| live(&g.members));
                        let mut states = below.clone();
                        if reached.unwrap_or_default().iter().any(wanted) {
                            for state in &mut states {
                                state.shared = Some(self.new_group());
                            }
                        }
                        groups.push_back((own, states));
                    }
                    Some(_) => {}
                    None if wanted(&slave) => {
                        out.extend(self.copy(&slave, at, new, &places, &below));
                    }
                    None => {}
                }
            }
        }
        out
    }

    fn copy(
        &mut self,
        to: &Arc<Mount>,
        at: &Path,
        new: &Arc<Mount>,
        places: &HashMap<u64, usize>,
        states: &[Propagation],
    ) -> Option<Copied> {
        let namespace = self.namespace_of(to)?;
        let mut pairs = Vec::new();
        let mount = copy_tree(new, new.root(), true, false, &mut pairs);
        for (old, copy) in &pairs {
            let state = places.get(old).and_then(|i| states.get(*i));
            *copy.propagation.lock() = state.copied().unwrap_or_default();
            self.enlist(copy);
        }
        Some(Copied {
            at: Path {
                mount: to.clone(),
                dentry: at.dentry.clone(),
            },
            mount,
            namespace,
            count: pairs.len(),
        })
    }

    /// The namespace of a mount.
    pub(super) fn namespace_of(&self, mount: &Mount) -> Option<Arc<MountNamespace>> {
        let id = mount.namespace.load(Ordering::Acquire);
        self.namespaces.get(&id).and_then(Weak::upgrade)
    }

    /// Whether somebody uses a copy of `mount` that would have to go with it (`propagate_mount_busy`).
    pub(super) fn copies_in_use(&self, mount: &Mount) -> bool {
        let Some(at) = mount.mountpoint() else {
            return false;
        };
        let copies: Vec<Weak<Mount>> = self
            .receivers(&at)
            .iter()
            .filter_map(|r| r.child_at(&at.dentry))
            .filter(|c| c.children.read().is_empty())
            .map(|c| Arc::downgrade(&c))
            .collect();
        drop(at);
        // One reference is its parent's.
        copies.iter().any(|c| c.strong_count() > 1)
    }

    /// What goes with the mounts `gone`, which are all still in their places: the copies that unmounting each of them reaches, but for those that have something
    /// else mounted on them (`propagate_umount`).
    pub(super) fn also_gone(&self, gone: &[Arc<Mount>]) -> Vec<Arc<Mount>> {
        let mut known: HashSet<u64> = gone.iter().map(|m| m.id()).collect();
        let mut found = Vec::new();
        for mount in gone {
            let Some(at) = mount.mountpoint() else {
                continue;
            };
            for receiver in self.receivers(&at) {
                if let Some(copy) = receiver.child_at(&at.dentry)
                    && known.insert(copy.id())
                {
                    found.push(copy);
                }
            }
        }
        // Whatever keeps a child keeps its place; what lies on its very root is moved to where it was.
        loop {
            let before = found.len();
            let stays = |m: &Arc<Mount>| {
                m.children().iter().any(|c| {
                    let covers = c
                        .mountpoint()
                        .is_some_and(|p| Arc::ptr_eq(&p.dentry, m.root()));
                    !known.contains(&c.id()) && !covers
                })
            };
            let kept: Vec<u64> = found.iter().filter(|m| stays(m)).map(|m| m.id()).collect();
            found.retain(|m| !kept.contains(&m.id()));
            kept.iter().for_each(|id| {
                known.remove(id);
            });
            if found.len() == before {
                return found;
            }
        }
    }
}

/// Whether a mount in some namespace shows the place.
fn has_place(mount: &Mount, at: &Path) -> bool {
    mount.namespace.load(Ordering::Acquire) != 0
        && Arc::ptr_eq(mount.superblock(), at.mount.superblock())
        && at.dentry.is_below(mount.root())
}

/// Hangs a copy in; what was there already is on top of it afterwards.
pub(super) fn attach_under(at: &Path, new: &Arc<Mount>) {
    let on_top = at.mount.child_at(&at.dentry);
    if let Some(on_top) = &on_top {
        on_top.detach();
    }
    new.attach(at);
    if let Some(on_top) = on_top {
        let mut top = new.root_path();
        top.enter_mounts();
        on_top.attach(&top);
    }
}

/// Takes a mount off; what covers its root is put where it was.
pub(super) fn detach_from_under(mount: &Arc<Mount>) {
    let at = mount.mountpoint();
    let on_top = mount.child_at(mount.root());
    if let Some(on_top) = &on_top {
        on_top.detach();
    }
    mount.detach();
    if let (Some(at), Some(on_top)) = (at, on_top) {
        on_top.attach(&at);
    }
}
