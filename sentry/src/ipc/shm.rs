//! Shared memory segments: shmget(2), shmat(2), shmdt(2), shmctl(2).

use super::{Common, IpcNamespace, Object, get_again, now};
use crate::kernel::Task;
use crate::mm::{Attachment, MapRequest, MapSource, MemLimits, Prot, Region};
use abi::ipc::*;
use abi::mman::MapFlags;
use abi::{Errno, PAGE_SIZE};
use std::any::Any;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A segment.
pub struct Segment {
    common: Common,
    region: Arc<Region>,
    /// As asked for.
    size: u64,
    attached: AtomicU64,
    /// `IPC_RMID` was called: goes with its last attachment.
    doomed: AtomicI32,
    locked: AtomicI32,
    atime: AtomicI64,
    dtime: AtomicI64,
    ctime: AtomicI64,
    creator: i32,
    last: AtomicI32,
}

impl Object for Segment {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// One address space's use of a segment.
struct Attach {
    segment: Arc<Segment>,
    ns: Weak<IpcNamespace>,
}

impl Attach {
    fn new(segment: Arc<Segment>, ns: Weak<IpcNamespace>) -> Arc<Self> {
        segment.attached.fetch_add(1, Ordering::SeqCst);
        Arc::new(Self { segment, ns })
    }
}

impl Attachment for Attach {
    fn duplicate(&self) -> Arc<dyn Attachment> {
        Self::new(self.segment.clone(), self.ns.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Attach {
    fn drop(&mut self) {
        let last = self.segment.attached.fetch_sub(1, Ordering::SeqCst) == 1;
        self.segment
            .dtime
            .store(fs::meta::now_ns() / 1_000_000_000, Ordering::Relaxed);
        if last
            && self.segment.doomed.load(Ordering::SeqCst) != 0
            && let Some(ns) = self.ns.upgrade()
        {
            ns.shm.remove(&self.segment);
        }
    }
}

impl Segment {
    fn ds(&self) -> ShmidDs {
        let mut perm = self.common.perm();
        if self.doomed.load(Ordering::SeqCst) != 0 {
            perm.mode |= SHM_DEST;
        }
        if self.locked.load(Ordering::Relaxed) != 0 {
            perm.mode |= SHM_LOCKED;
        }
        ShmidDs {
            shm_perm: perm.to_abi(self.common.id),
            shm_segsz: self.size,
            shm_atime: self.atime.load(Ordering::Relaxed),
            shm_dtime: self.dtime.load(Ordering::Relaxed),
            shm_ctime: self.ctime.load(Ordering::Relaxed),
            shm_cpid: self.creator,
            shm_lpid: self.last.load(Ordering::Relaxed),
            shm_nattch: self.attached.load(Ordering::SeqCst),
            ..ShmidDs::default()
        }
    }
}

/// shmget(2)
pub fn get(task: &Task, key: i32, size: u64, flags: i32) -> Result<i32, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    let fits = |segment: &Segment| {
        if size > segment.size {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    };
    let make = |common: Common| {
        if !(SHMMIN..=SHMMAX).contains(&size) {
            return Err(Errno::EINVAL);
        }
        if flags & SHM_HUGETLB != 0 {
            // No pool of huge pages.
            return Err(Errno::ENOMEM);
        }
        let name = format!("/SYSV{:08x} (deleted)", common.perm().key).into_bytes();
        let ino = u64::try_from(common.id).unwrap_or(0);
        let region = Region::named(task.kernel().platform.memory_file(), size, name, ino)?;
        Ok(Segment {
            common,
            region,
            size,
            attached: AtomicU64::new(0),
            doomed: AtomicI32::new(0),
            locked: AtomicI32::new(0),
            atime: AtomicI64::new(0),
            dtime: AtomicI64::new(0),
            ctime: AtomicI64::new(now(task)),
            creator: task.tgid(),
            last: AtomicI32::new(0),
        })
    };
    get_again(|| {
        ns.shm.get(
            &cred,
            key,
            flags,
            usize::try_from(SHMMNI).unwrap_or(0),
            fits,
            make,
        )
    })
}

/// shmat(2): the address.
pub fn attach(
    task: &Task,
    id: i32,
    addr: u64,
    flags: i32,
    limits: &MemLimits,
) -> Result<u64, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    let mut place = addr;
    let remap = flags & SHM_REMAP != 0;
    if !addr.is_multiple_of(PAGE_SIZE) {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        place &= !(PAGE_SIZE - 1);
    }
    if place == 0 && remap {
        return Err(Errno::EINVAL);
    }
    let mut prot = Prot::READ;
    let mut wanted = 0o444;
    if flags & SHM_RDONLY == 0 {
        prot |= Prot::WRITE;
        wanted |= 0o222;
    }
    if flags & SHM_EXEC != 0 {
        prot |= Prot::EXEC;
        wanted |= 0o111;
    }
    let segment = ns.shm.find(id)?;
    segment.common.perm().check(&task.cred(), wanted)?;
    let fixed = match (place, remap) {
        (0, _) => MapFlags::empty(),
        (_, true) => MapFlags::MAP_FIXED,
        (_, false) => MapFlags::MAP_FIXED_NOREPLACE,
    };
    // Counted before it is mapped: a removal meanwhile leaves the segment to us.
    let attachment: Arc<dyn Attachment> = Attach::new(segment.clone(), Arc::downgrade(&ns));
    segment.common.alive()?;
    let request = MapRequest {
        addr: place,
        len: segment.size,
        prot,
        flags: MapFlags::MAP_SHARED | fixed,
        source: MapSource::Region {
            region: segment.region.clone(),
            attachment: Some(attachment),
        },
    };
    let at = task
        .mm()?
        .mmap(&request, limits)
        .map_err(|e| if e == Errno::EEXIST { Errno::EINVAL } else { e })?;
    segment.atime.store(now(task), Ordering::Relaxed);
    segment.last.store(task.tgid(), Ordering::Relaxed);
    Ok(at)
}

/// shmdt(2)
pub fn detach(task: &Task, addr: u64) -> Result<(), Errno> {
    let attachment = task.mm()?.detach(addr)?;
    if let Some(attach) = attachment.as_any().downcast_ref::<Attach>() {
        attach.segment.last.store(task.tgid(), Ordering::Relaxed);
    }
    Ok(())
}

/// What shmctl(2) answers.
pub enum Answer {
    /// A number alone.
    Value(i32),
    /// `struct shmid_ds`, and the number.
    Status(Box<ShmidDs>, i32),
    /// `IPC_INFO`
    Limits(Shminfo, i32),
    /// `SHM_INFO`
    Usage(ShmInfo, i32),
}

/// shmctl(2); `set` reads the argument of `IPC_SET`.
pub fn control(
    task: &Task,
    id: i32,
    cmd: i32,
    memlock: u64,
    set: impl FnOnce() -> Result<ShmidDs, Errno>,
) -> Result<Answer, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    if id < 0 || cmd < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        IPC_INFO => {
            let info = Shminfo {
                shmmax: SHMMAX,
                shmmin: SHMMIN,
                shmmni: SHMMNI.unsigned_abs().into(),
                shmseg: SHMMNI.unsigned_abs().into(),
                shmall: SHMALL,
                ..Shminfo::default()
            };
            Ok(Answer::Limits(info, ns.shm.list().1))
        }
        SHM_INFO => {
            let (all, highest) = ns.shm.list();
            let pages = all.iter().map(|s| s.region.len / PAGE_SIZE).sum();
            let info = ShmInfo {
                used_ids: i32::try_from(all.len()).unwrap_or(i32::MAX),
                shm_tot: pages,
                ..ShmInfo::default()
            };
            Ok(Answer::Usage(info, highest))
        }
        SHM_STAT | SHM_STAT_ANY => {
            let segment = ns.shm.at(id)?;
            if cmd == SHM_STAT {
                segment.common.perm().check(&cred, 0o444)?;
            }
            Ok(Answer::Status(Box::new(segment.ds()), segment.common.id))
        }
        IPC_STAT => {
            let segment = ns.shm.find(id)?;
            segment.common.perm().check(&cred, 0o444)?;
            Ok(Answer::Status(Box::new(segment.ds()), 0))
        }
        IPC_SET => {
            let ds = set()?;
            let segment = ns.shm.find(id)?;
            segment.common.change(&cred, &ds.shm_perm)?;
            segment.ctime.store(now(task), Ordering::Relaxed);
            Ok(Answer::Value(0))
        }
        IPC_RMID => {
            let segment = ns.shm.find(id)?;
            segment.common.perm().check_owner(&cred)?;
            ns.shm.forget_key(&segment);
            segment.doomed.store(1, Ordering::SeqCst);
            if segment.attached.load(Ordering::SeqCst) == 0 {
                ns.shm.remove(&segment);
            }
            Ok(Answer::Value(0))
        }
        SHM_LOCK | SHM_UNLOCK => {
            let segment = ns.shm.find(id)?;
            let perm = segment.common.perm();
            if memlock != u64::MAX {
                if cred.euid != perm.uid && cred.euid != perm.cuid {
                    return Err(Errno::EPERM);
                }
                if cmd == SHM_LOCK && memlock == 0 {
                    return Err(Errno::EPERM);
                }
                if cmd == SHM_LOCK && segment.size > memlock {
                    return Err(Errno::ENOMEM);
                }
            }
            segment
                .locked
                .store(i32::from(cmd == SHM_LOCK), Ordering::Relaxed);
            Ok(Answer::Value(0))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Rows of `/proc/sysvipc/shm`.
pub(super) fn rows(ns: &IpcNamespace) -> Vec<(i32, ShmidDs, u64)> {
    ns.shm
        .list()
        .0
        .iter()
        .map(|s| (s.common.id, s.ds(), s.region.len))
        .collect()
}
