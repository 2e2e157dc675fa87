//! Mount namespaces: the tree of mounts that a group of tasks sees (`mount_namespaces(7)`, `mount(2)`, `umount(2)`, `pivot_root(2)`).

use super::dentry::Dentry;
use super::mount::{Mount, MountFlags, Path};
use super::propagation::{TOPOLOGY, attach_under, detach_from_under};
use super::walk::MOUNT_SEQ;
use crate::pollee::{Events, Pollee};
use abi::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::{Mutex, level};

/// How many mounts a namespace may hold (`fs.mount-max`).
const MOUNT_MAX: usize = 100_000;

bitflags::bitflags! {
    /// `umount2(2)` flags. `UMOUNT_NOFOLLOW` concerns the walk only.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct UmountFlags: u32 {
        /// `MNT_FORCE`
        const FORCE = 1;
        /// `MNT_DETACH`
        const DETACH = 2;
        /// `MNT_EXPIRE`
        const EXPIRE = 4;
    }
}

/// What `MS_SHARED` and its kin set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum PropagationType {
    Shared,
    Private,
    Slave,
    Unbindable,
}

/// One line of `/proc/PID/mountinfo`.
#[derive(Clone)]
pub struct MountInfo {
    /// The mount.
    pub mount: Arc<Mount>,
    /// Its parent's id; its own at the top.
    pub parent_id: u64,
    /// The dentry of the filesystem that is the mount's root, as a path in the filesystem.
    pub root: Vec<u8>,
    /// Where it is, seen from the given root.
    pub mountpoint: Vec<u8>,
}

struct Tree {
    root: Arc<Mount>,
    count: usize,
}

/// A tree of mounts.
pub struct MountNamespace {
    id: u64,
    tree: Mutex<Tree, { level::MOUNTS }>,
    /// Counts changes, for `poll` on `/proc/mounts`.
    event: AtomicU64,
    pollee: Pollee,
}

static NEXT_NAMESPACE: AtomicU64 = AtomicU64::new(1);

impl MountNamespace {
    /// A namespace whose root is `root`.
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        let namespace = Self::detached(root);
        TOPOLOGY.lock().add_namespace(&namespace);
        namespace
    }

    /// One that nothing reaches yet.
    fn detached(root: Arc<Mount>) -> Arc<Self> {
        let id = NEXT_NAMESPACE.fetch_add(1, Ordering::Relaxed);
        root.namespace.store(id, Ordering::Release);
        Arc::new(Self {
            id,
            tree: Mutex::new(Tree { root, count: 1 }),
            event: AtomicU64::new(0),
            pollee: Pollee::new(),
        })
    }

    /// A number of its own (not the inode number in `/proc/PID/ns`).
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The topmost root.
    pub fn root(&self) -> Path {
        let mut root = self.tree.lock().root.root_path();
        root.enter_mounts();
        root
    }

    /// Whose changes `poll` on `/proc/mounts` reports (`POLLERR|POLLPRI`), and the count of them.
    pub fn pollee(&self) -> &Pollee {
        &self.pollee
    }

    /// How many changes there were.
    pub fn event(&self) -> u64 {
        self.event.load(Ordering::Acquire)
    }

    fn changed(&self) {
        MOUNT_SEQ.fetch_add(1, Ordering::AcqRel);
        self.event.fetch_add(1, Ordering::AcqRel);
        self.pollee.notify(Events::ERR | Events::PRI);
    }

    /// Whether `mount` belongs to this namespace (`check_mnt`).
    pub fn contains(&self, mount: &Mount) -> bool {
        mount.namespace.load(Ordering::Acquire) == self.id
    }

    /// Hangs the tree under `new` in at `at` (`mount(2)`). `EBUSY` when the same filesystem is mounted there already.
    pub fn mount(&self, at: &Path, new: Arc<Mount>) -> Result<(), Errno> {
        let reached = self.attach_tree(at, new)?;
        self.changed();
        reached.iter().for_each(|other| other.changed());
        Ok(())
    }

    /// The namespaces that had to follow.
    fn attach_tree(&self, at: &Path, new: Arc<Mount>) -> Result<Vec<Arc<Self>>, Errno> {
        let mut topology = TOPOLOGY.lock();
        let mut at = at.clone();
        at.enter_mounts();
        if !self.contains(&at.mount) {
            return Err(Errno::EINVAL);
        }
        if at.dentry.deleted() {
            return Err(Errno::ENOENT);
        }
        if at.dentry.is_dir() != new.root().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if Arc::ptr_eq(at.mount.superblock(), new.superblock())
            && Arc::ptr_eq(&at.dentry, new.root())
            && Arc::ptr_eq(&at.dentry, at.mount.root())
            && Arc::ptr_eq(&new.superblock().root(), new.root())
        {
            return Err(Errno::EBUSY);
        }
        let mut all = Vec::new();
        new.collect(&mut all);
        let copies = topology.copies(&at, &new);
        let mut wanted = vec![(self, all.len())];
        wanted.extend(copies.iter().map(|c| (&*c.namespace, c.count)));
        if !wanted.iter().all(|(ns, count)| ns.has_room(*count)) {
            let mut unused = all;
            copies.iter().for_each(|c| c.mount.collect(&mut unused));
            unused.iter().for_each(|m| topology.delist(m));
            drop(topology);
            return Err(Errno::ENOSPC);
        }
        self.adopt(&all);
        new.attach(&at);
        let mut reached = Vec::new();
        for copy in copies {
            let mut all = Vec::new();
            copy.mount.collect(&mut all);
            copy.namespace.adopt(&all);
            attach_under(&copy.at, &copy.mount);
            reached.push(copy.namespace);
        }
        Ok(reached)
    }

    fn has_room(&self, more: usize) -> bool {
        self.tree.lock().count.saturating_add(more) <= MOUNT_MAX
    }

    fn adopt(&self, mounts: &[Arc<Mount>]) {
        for mount in mounts {
            mount.namespace.store(self.id, Ordering::Release);
        }
        let mut tree = self.tree.lock();
        tree.count = tree.count.saturating_add(mounts.len());
    }

    /// `MS_BIND` (with `MS_REC` when `recursive`): shows what is at `from` at `to` as well.
    pub fn bind(&self, from: &Path, to: &Path, recursive: bool) -> Result<(), Errno> {
        let copy = {
            let mut topology = TOPOLOGY.lock();
            if !self.contains(&from.mount) || from.mount.propagation().unbindable {
                return Err(Errno::EINVAL);
            }
            if !recursive
                && from.mount.children().iter().any(|c| {
                    c.locked.load(Ordering::Relaxed)
                        && c.mountpoint()
                            .is_some_and(|p| p.dentry.is_below(&from.dentry))
                })
            {
                return Err(Errno::EINVAL);
            }
            let mut pairs = Vec::new();
            let copy = copy_tree(&from.mount, &from.dentry, recursive, false, &mut pairs);
            pairs.iter().for_each(|(_, m)| topology.enlist(m));
            copy
        };
        let result = self.mount(to, copy.clone());
        if result.is_err() {
            let (mut topology, mut all) = (TOPOLOGY.lock(), Vec::new());
            copy.collect(&mut all);
            all.iter().for_each(|m| topology.delist(m));
        }
        result
    }

    /// A detached copy, as `open_tree(OPEN_TREE_CLONE)` makes; belongs to no namespace.
    pub fn clone_tree(&self, from: &Path, recursive: bool) -> Result<Arc<Mount>, Errno> {
        let mut topology = TOPOLOGY.lock();
        if !self.contains(&from.mount) || from.mount.propagation().unbindable {
            return Err(Errno::EINVAL);
        }
        let mut pairs = Vec::new();
        let copy = copy_tree(&from.mount, &from.dentry, recursive, false, &mut pairs);
        pairs.iter().for_each(|(_, m)| topology.enlist(m));
        Ok(copy)
    }

    /// `MS_MOVE`: `from` must be the root of a mount.
    pub fn move_mount(&self, from: &Path, to: &Path) -> Result<(), Errno> {
        let mut reached = Vec::new();
        {
            let mut topology = TOPOLOGY.lock();
            let mut to = to.clone();
            to.enter_mounts();
            if !self.contains(&from.mount)
                || !self.contains(&to.mount)
                || !Arc::ptr_eq(&from.dentry, from.mount.root())
            {
                return Err(Errno::EINVAL);
            }
            let Some(old) = from.mount.mountpoint() else {
                return Err(Errno::EINVAL);
            };
            if from.mount.locked.load(Ordering::Relaxed) || old.mount.propagation().shared.is_some()
            {
                return Err(Errno::EINVAL);
            }
            if to.dentry.is_dir() != from.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            if to.dentry.deleted() {
                return Err(Errno::ENOENT);
            }
            // Not below itself.
            let mut above = Some(to.mount.clone());
            while let Some(mount) = above {
                if Arc::ptr_eq(&mount, &from.mount) {
                    return Err(Errno::ELOOP);
                }
                above = mount.mountpoint().map(|p| p.mount);
            }
            let mut all = Vec::new();
            from.mount.collect(&mut all);
            if to.mount.propagation().shared.is_some()
                && all.iter().any(|m| m.propagation().unbindable)
            {
                return Err(Errno::EINVAL);
            }
            let copies = topology.copies(&to, &from.mount);
            from.mount.detach();
            from.mount.attach(&to);
            for copy in copies {
                let mut all = Vec::new();
                copy.mount.collect(&mut all);
                copy.namespace.adopt(&all);
                attach_under(&copy.at, &copy.mount);
                reached.push(copy.namespace);
            }
        }
        self.changed();
        reached.iter().for_each(|other| other.changed());
        Ok(())
    }

    /// `MS_REMOUNT`: `at` must be the root of a mount. With `bind` the mount's flags alone change, else the filesystem's read-only state as well.
    pub fn remount(&self, at: &Path, flags: MountFlags, bind: bool) -> Result<(), Errno> {
        {
            let _topology = TOPOLOGY.lock();
            if !self.contains(&at.mount) || !Arc::ptr_eq(&at.dentry, at.mount.root()) {
                return Err(Errno::EINVAL);
            }
            if !bind {
                at.mount
                    .superblock()
                    .set_readonly(flags.contains(MountFlags::RDONLY));
            }
            // Without a word about access times they stay as they are.
            let times = MountFlags::NOATIME
                | MountFlags::NODIRATIME
                | MountFlags::RELATIME
                | MountFlags::STRICTATIME;
            let kept = if flags.intersects(times) {
                MountFlags::empty()
            } else {
                at.mount.flags() & times
            };
            at.mount.set_flags(flags | kept);
        }
        self.changed();
        Ok(())
    }

    /// `MS_SHARED|MS_PRIVATE|MS_SLAVE|MS_UNBINDABLE`, with `MS_REC` for the whole tree below.
    pub fn set_propagation(
        &self,
        at: &Path,
        to: PropagationType,
        recursive: bool,
    ) -> Result<(), Errno> {
        let mut topology = TOPOLOGY.lock();
        if !self.contains(&at.mount) || !Arc::ptr_eq(&at.dentry, at.mount.root()) {
            return Err(Errno::EINVAL);
        }
        let mut mounts = vec![at.mount.clone()];
        if recursive {
            mounts.clear();
            at.mount.collect(&mut mounts);
        }
        for mount in mounts {
            topology.set(&mount, to);
        }
        drop(topology);
        self.changed();
        Ok(())
    }

    /// `umount2(2)`. `at` is consumed: a mount that anybody else uses is busy.
    pub fn umount(&self, at: Path, flags: UmountFlags) -> Result<(), Errno> {
        let (mut gone, mut reached) = (Vec::new(), Vec::new());
        {
            let mut topology = TOPOLOGY.lock();
            if !self.contains(&at.mount)
                || !Arc::ptr_eq(&at.dentry, at.mount.root())
                || at.mount.locked.load(Ordering::Relaxed)
            {
                return Err(Errno::EINVAL);
            }
            if flags.contains(UmountFlags::EXPIRE)
                && flags.intersects(UmountFlags::FORCE | UmountFlags::DETACH)
            {
                return Err(Errno::EINVAL);
            }
            if at.mount.mountpoint().is_none() {
                // The root of the namespace stays.
                return Err(if flags.contains(UmountFlags::DETACH) {
                    Errno::EINVAL
                } else {
                    Errno::EBUSY
                });
            }
            if !flags.contains(UmountFlags::DETACH) {
                // One reference is the tree's, one the caller's.
                if !at.mount.children.read().is_empty()
                    || Arc::strong_count(&at.mount) > 2
                    || topology.copies_in_use(&at.mount)
                {
                    return Err(Errno::EBUSY);
                }
                if flags.contains(UmountFlags::EXPIRE)
                    && !at.mount.expiring.swap(true, Ordering::AcqRel)
                {
                    return Err(Errno::EAGAIN);
                }
            }
            at.mount.collect(&mut gone);
            let elsewhere = topology.also_gone(&gone);
            at.mount.detach();
            for copy in &elsewhere {
                detach_from_under(copy);
            }
            gone.extend(elsewhere);
            for mount in &gone {
                if let Some(namespace) = topology.namespace_of(mount) {
                    let mut tree = namespace.tree.lock();
                    tree.count = tree.count.saturating_sub(1);
                    drop(tree);
                    reached.push(namespace);
                }
                mount.namespace.store(0, Ordering::Release);
                topology.delist(mount);
            }
        }
        drop(gone);
        drop(at);
        reached.dedup_by_key(|namespace| namespace.id);
        reached.iter().for_each(|namespace| namespace.changed());
        Ok(())
    }

    /// `pivot_root(2)`: `new_root` becomes the root, the old root moves to `put_old`. `root` is the caller's. Tasks whose root or working directory was the
    /// old root are the sentry's to move: compare with `root` by [`Path::same`] and give them `new_root`.
    pub fn pivot_root(&self, root: &Path, new_root: &Path, put_old: &Path) -> Result<(), Errno> {
        {
            let _topology = TOPOLOGY.lock();
            let mut tree = self.tree.lock();
            // Something may have been mounted there since the walk.
            let mut put_old = put_old.clone();
            put_old.enter_mounts();
            let put_old = &put_old;
            let (old, new, put) = (&root.mount, &new_root.mount, &put_old.mount);
            if !self.contains(old) || !self.contains(new) || !self.contains(put) {
                return Err(Errno::EINVAL);
            }
            if new_root.dentry.deleted() || put_old.dentry.deleted() {
                return Err(Errno::ENOENT);
            }
            if !new_root.dentry.is_dir() || !put_old.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            if Arc::ptr_eq(new, old) || Arc::ptr_eq(put, old) {
                return Err(Errno::EBUSY);
            }
            if !Arc::ptr_eq(&root.dentry, old.root()) || !Arc::ptr_eq(&new_root.dentry, new.root())
            {
                return Err(Errno::EINVAL);
            }
            let Some(new_at) = new.mountpoint() else {
                return Err(Errno::EINVAL);
            };
            if new.locked.load(Ordering::Relaxed)
                || old.propagation().shared.is_some()
                || new_at.mount.propagation().shared.is_some()
            {
                return Err(Errno::EINVAL);
            }
            // put_old at or below new_root, new_root below root.
            if !reachable(put_old, new_root) || !reachable(new_root, root) {
                return Err(Errno::EINVAL);
            }
            let old_at = old.mountpoint();
            new.detach();
            old.detach();
            old.attach(put_old);
            match old_at {
                Some(at) => new.attach(&at),
                None => tree.root = new.clone(),
            }
        }
        self.changed();
        Ok(())
    }

    /// A copy for `CLONE_NEWNS`. `paths` (root, working directory) are moved to the same places in the copy.
    pub fn copy(&self, paths: &mut [&mut Path]) -> Arc<Self> {
        let mut topology = TOPOLOGY.lock();
        let old_root = self.tree.lock().root.clone();
        let mut pairs = Vec::new();
        let root = copy_tree(&old_root, old_root.root(), true, true, &mut pairs);
        let copy = Self::detached(root);
        topology.add_namespace(&copy);
        copy.tree.lock().count = pairs.len();
        let mut moved = HashMap::new();
        for (old, new) in pairs {
            new.namespace.store(copy.id, Ordering::Release);
            topology.enlist(&new);
            moved.insert(old, new);
        }
        drop(topology);
        for path in paths {
            if let Some(new) = moved.get(&path.mount.id()) {
                path.mount = new.clone();
            }
        }
        copy
    }

    /// The mounts that can be reached from `root`, in the order they were made: `/proc/PID/mounts`, `mountinfo`.
    pub fn list(&self, root: &Path) -> Vec<MountInfo> {
        let mut all = Vec::new();
        let topology = TOPOLOGY.lock();
        let top = self.tree.lock().root.clone();
        top.collect(&mut all);
        drop(topology);
        all.sort_by_key(|m| m.id());
        all.into_iter()
            .filter_map(|mount| {
                let at = mount.root_path();
                let text = super::pathname::path_text(&at, root);
                if !text.reachable {
                    return None;
                }
                let parent_id = mount.mountpoint().map_or(mount.id(), |p| p.mount.id());
                Some(MountInfo {
                    parent_id,
                    root: super::pathname::in_filesystem(mount.root()),
                    mountpoint: text.bytes,
                    mount,
                })
            })
            .collect()
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        let mut all = Vec::new();
        let root = self.tree.get_mut().root.clone();
        let mut topology = TOPOLOGY.lock();
        root.collect(&mut all);
        for mount in &all {
            mount.namespace.store(0, Ordering::Release);
            topology.delist(mount);
        }
        topology.remove_namespace(self.id);
        drop(topology);
        // Leaves first, each on its own: no deep recursion.
        while let Some(mount) = all.pop() {
            mount.detach();
        }
    }
}

/// Whether `at` is `top` or below it, over mounts.
pub(super) fn reachable(at: &Path, top: &Path) -> bool {
    let mut at = at.clone();
    while !Arc::ptr_eq(&at.mount, &top.mount) {
        match at.mount.mountpoint() {
            Some(outside) => at = outside,
            None => return false,
        }
    }
    at.dentry.is_below(&top.dentry)
}

/// Copies the mount of `root` (a dentry in `from`) and, if `recursive`, the mounts on dentries below it. Unbindable ones are left out unless a whole namespace
/// is copied. `pairs` gets each original's id with its copy.
pub(super) fn copy_tree(
    from: &Arc<Mount>,
    root: &Arc<Dentry>,
    recursive: bool,
    namespace: bool,
    pairs: &mut Vec<(u64, Arc<Mount>)>,
) -> Arc<Mount> {
    let top = from.copy(root.clone());
    pairs.push((from.id(), top.clone()));
    if !recursive {
        return top;
    }
    let mut work = vec![(from.clone(), top.clone())];
    while let Some((old, new)) = work.pop() {
        for child in old.children() {
            let Some(at) = child.mountpoint() else {
                continue;
            };
            let below = !Arc::ptr_eq(&old, from) || at.dentry.is_below(root);
            if !below || (!namespace && child.propagation().unbindable) {
                continue;
            }
            let copy = child.copy(child.root().clone());
            copy.attach(&Path {
                mount: new.clone(),
                dentry: at.dentry,
            });
            pairs.push((child.id(), copy.clone()));
            work.push((child, copy));
        }
    }
    top
}
