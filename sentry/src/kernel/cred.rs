//! Credentials (`credentials(7)`, `capabilities(7)`): immutable, replaced as a whole, shared by `Arc`.

use abi::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::{Mutex, level};

/// Capability numbers that the kernel itself asks for are in `abi::cap`; a set is one bit per number.
pub type CapBits = u64;
/// Every capability Linux 6.x has (`CAP_LAST_CAP` = 40).
pub const CAP_FULL: CapBits = (1 << 41) - 1;

/// What is counted per user id (`RLIMIT_NPROC`, `RLIMIT_SIGPENDING`, …).
#[derive(Default)]
pub struct UserCounts {
    /// Tasks of this user.
    pub tasks: AtomicU64,
    /// Queued signals sent by this user's processes.
    pub sigpending: AtomicU64,
    /// Bytes locked or in message queues.
    pub mlocked: AtomicU64,
}

/// One line of `/proc/PID/uid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id in the parent.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A user namespace. Ids in [`Credentials`] are those of the sandbox's first user namespace ("kernel ids"); maps translate at the edge.
pub struct UserNamespace {
    id: u64,
    /// `None` for the first.
    pub parent: Option<Arc<UserNamespace>>,
    /// The effective ids of the creator.
    pub owner: (u32, u32),
    uid_map: Mutex<Vec<IdRange>>,
    gid_map: Mutex<Vec<IdRange>>,
    counts: Mutex<HashMap<u32, Arc<UserCounts>>, { level::USER_COUNTS }>,
}

impl UserNamespace {
    /// The sandbox's first: the identity map.
    pub fn root() -> Arc<Self> {
        let all = vec![IdRange {
            inside: 0,
            outside: 0,
            count: u32::MAX,
        }];
        Arc::new(Self {
            id: super::ns::next_id(),
            parent: None,
            owner: (0, 0),
            uid_map: Mutex::new(all.clone()),
            gid_map: Mutex::new(all),
            counts: Mutex::new(HashMap::new()),
        })
    }
    /// Its inode number.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The counters of a user (kept by the first namespace).
    pub fn counts(&self, uid: u32) -> Arc<UserCounts> {
        match &self.parent {
            Some(parent) => parent.counts(uid),
            None => {
                let mut all = self.counts.lock();
                if !all.contains_key(&uid) && all.len().is_power_of_two() {
                    // Now and then those of whom nothing is left go: a guest may be every user in turn.
                    all.retain(|_, counts| Arc::strong_count(counts) > 1);
                }
                all.entry(uid).or_default().clone()
            }
        }
    }
    /// The uid map's lines.
    pub fn uid_map(&self) -> Vec<IdRange> {
        self.uid_map.lock().clone()
    }
    /// The gid map's lines.
    pub fn gid_map(&self) -> Vec<IdRange> {
        self.gid_map.lock().clone()
    }
}

/// The credentials of a task.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct Credentials {
    pub ruid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub rgid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    /// Supplementary groups, sorted.
    pub groups: Arc<[u32]>,
    pub permitted: CapBits,
    pub effective: CapBits,
    pub inheritable: CapBits,
    pub bounding: CapBits,
    pub ambient: CapBits,
    /// `SECBIT_*` (prctl(2)).
    pub securebits: u32,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    pub user_ns: Arc<UserNamespace>,
    /// Counters of `ruid`.
    pub counts: Arc<UserCounts>,
}

impl Credentials {
    /// Root of a user namespace with every capability.
    pub fn root(user_ns: Arc<UserNamespace>) -> Self {
        let counts = user_ns.counts(0);
        Self {
            ruid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            rgid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Arc::from([]),
            permitted: CAP_FULL,
            effective: CAP_FULL,
            inheritable: 0,
            bounding: CAP_FULL,
            ambient: 0,
            securebits: 0,
            no_new_privs: false,
            user_ns,
            counts,
        }
    }

    /// Whether `cap` is in effect in the task's own user namespace.
    pub fn has_cap(&self, cap: u32) -> bool {
        1u64.checked_shl(cap)
            .is_some_and(|bit| self.effective & bit != 0)
    }

    /// Whether `cap` is in effect towards an object owned by `ns` (`ns_capable`): the own namespace, or one of its ancestors' owners.
    pub fn has_cap_in(&self, ns: &UserNamespace, cap: u32) -> bool {
        let mut at = Some(ns);
        while let Some(n) = at {
            if n.id == self.user_ns.id {
                return self.has_cap(cap);
            }
            if n.parent.as_ref().is_some_and(|p| p.id == self.user_ns.id) && n.owner.0 == self.euid
            {
                return true;
            }
            at = n.parent.as_deref();
        }
        false
    }

    /// `EPERM` without `cap`.
    pub fn require(&self, cap: u32) -> Result<(), Errno> {
        if self.has_cap(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// Whether `gid` is the effective group or a supplementary one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.egid == gid || self.groups.binary_search(&gid).is_ok()
    }

    /// The part of these that filesystem checks look at.
    pub fn fs_cred(&self) -> fs::Cred {
        fs::Cred {
            fsuid: self.fsuid,
            fsgid: self.fsgid,
            groups: self.groups.to_vec(),
            caps: self.effective,
        }
    }

    /// Sets the real user id and moves to that user's counters.
    pub fn set_ruid(&mut self, ruid: u32) {
        self.ruid = ruid;
        self.counts = self.user_ns.counts(ruid);
    }
}

/// One task of a user, counted for as long as this lives.
pub struct TaskCount(Arc<UserCounts>);

impl TaskCount {
    /// Counts one more task.
    pub fn new(counts: &Arc<UserCounts>) -> Self {
        counts.tasks.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for TaskCount {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The credentials after executing `file` (`capabilities(7)`, "Transformation of capabilities during execve"), and whether they count as secure execution.
/// `shared`: does another process share the caller's root and working directory? Then it could move them under a program that trusts them.
pub fn exec_credentials(
    old: &Credentials,
    file: &fs::File,
    shared: &dyn Fn() -> bool,
) -> Result<(Credentials, bool), Errno> {
    use abi::prctl::{SECBIT_KEEP_CAPS, SECBIT_NOROOT};
    let mut new = old.clone();
    let attr = file.inode().attr()?;
    let suid_allowed = !old.no_new_privs
        && !file
            .path()
            .mount
            .flags()
            .contains(fs::vfs::MountFlags::NOSUID);
    if suid_allowed {
        if attr.mode & 0o4000 != 0 {
            new.euid = attr.uid;
        }
        if attr.mode & 0o2010 == 0o2010 {
            new.egid = attr.gid;
        }
    }
    let file_caps = if suid_allowed {
        FileCaps::of(file)
    } else {
        FileCaps::default()
    };
    let changed = new.euid != old.euid || new.egid != old.egid;
    if changed || file_caps.permitted | file_caps.inheritable != 0 {
        new.ambient = 0;
    }
    let (mut permitted, mut inheritable, mut effective) = (
        file_caps.permitted,
        file_caps.inheritable,
        file_caps.effective,
    );
    if old.securebits & SECBIT_NOROOT == 0 && (new.ruid == 0 || new.euid == 0) {
        // Root gets a file that has everything; only an effective root has it in effect.
        (permitted, inheritable) = (CAP_FULL, CAP_FULL);
        effective = new.euid == 0;
    }
    let mut granted = (old.inheritable & inheritable) | (permitted & old.bounding);
    if file_caps.effective && file_caps.permitted & !granted != 0 {
        return Err(Errno::EPERM);
    }
    if (changed || granted & !old.permitted != 0) && (old.no_new_privs || shared()) {
        // No more than there was, and maybe less (`cap_bprm_creds_from_file`).
        if old.no_new_privs || !old.has_cap(abi::cap::CAP_SETUID) {
            (new.euid, new.egid) = (new.ruid, new.rgid);
        }
        granted &= old.permitted;
    }
    new.permitted = granted | new.ambient;
    new.effective = if effective {
        new.permitted
    } else {
        new.ambient
    };
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    new.securebits &= !SECBIT_KEEP_CAPS;
    let secure = new.euid != new.ruid
        || new.egid != new.rgid
        || (new.ruid != 0 && (effective && new.permitted & !new.ambient != 0));
    Ok((new, secure))
}

/// `security.capability` of a file.
#[derive(Default)]
struct FileCaps {
    permitted: CapBits,
    inheritable: CapBits,
    effective: bool,
}

impl FileCaps {
    fn of(file: &fs::File) -> Self {
        Self::parse(file).unwrap_or_default()
    }
    /// `struct vfs_cap_data`, revisions 2 and 3 (`linux/capability.h`).
    fn parse(file: &fs::File) -> Option<Self> {
        let raw = file
            .inode()
            .get_xattr(&KernelCaller, b"security.capability")
            .ok()?;
        let word = |i: usize| {
            raw.get(i.checked_mul(4)?..i.checked_mul(4)?.checked_add(4)?)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_le_bytes)
        };
        let magic = word(0)?;
        if !matches!(magic >> 24, 2 | 3) {
            return None;
        }
        let set = |low: usize, high: usize| {
            Some((u64::from(word(low)?) | u64::from(word(high)?) << 32) & CAP_FULL)
        };
        Some(Self {
            permitted: set(1, 3)?,
            inheritable: set(2, 4)?,
            effective: magic & 1 != 0,
        })
    }
}

/// The kernel's own look at a file.
pub struct KernelCaller;

impl fs::Caller for KernelCaller {
    fn cred(&self) -> Arc<fs::Cred> {
        Arc::new(fs::Cred::kernel())
    }
    fn umask(&self) -> u32 {
        0
    }
    fn now_ns(&self) -> i64 {
        0
    }
    fn as_any(&self) -> &dyn std::any::Any {
        &()
    }
}
