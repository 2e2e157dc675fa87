//! Scheduling: the host schedules the guest's threads; what a program sets here is checked, kept and reported.

use crate::args::UserAddr;
use abi::Errno;
use abi::cap::CAP_SYS_NICE;
use abi::sched::SchedParam;
use abi::time::Timespec;
use sentry::host::{CpuSet, processors};
use sentry::kernel::limits::Resource;
use sentry::kernel::{Cx, Task};
use sentry::syscall::SysResult;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// sched_yield(2)
pub fn sched_yield(_: &mut Cx) -> SysResult {
    sync::thread::yield_now();
    Ok(0)
}

fn target(cx: &Cx, pid: i32) -> Result<Arc<Task>, Errno> {
    match pid {
        0 => Ok(cx.task().clone()),
        p if p < 0 => Err(Errno::EINVAL),
        p => cx.pid_ns().task(p).ok_or(Errno::ESRCH),
    }
}

fn may_change(cx: &Cx, task: &Task) -> Result<(), Errno> {
    let (own, other) = (cx.task().cred(), task.cred());
    if own.euid == other.ruid
        || own.euid == other.euid
        || own.has_cap_in(&other.user_ns, CAP_SYS_NICE)
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Bytes of a mask of processors, in whole words.
fn mask_len() -> usize {
    let words = processors().iter().rposition(|word| *word != 0);
    words
        .map_or(1, |last| last.saturating_add(1))
        .saturating_mul(8)
}

/// sched_getaffinity(2): the bytes written.
pub fn sched_getaffinity(cx: &mut Cx, pid: i32, len: u32, mask: u64) -> SysResult {
    let full = mask_len();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len < full || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    let cpus = target(cx, pid)?.affinity();
    let bytes = zerocopy::IntoBytes::as_bytes(&cpus);
    cx.mm()?
        .write_bytes(mask, bytes.get(..full).unwrap_or_default())?;
    Ok(u64::try_from(full).unwrap_or(0))
}

/// sched_setaffinity(2)
pub fn sched_setaffinity(cx: &mut Cx, pid: i32, len: u32, mask: u64) -> SysResult {
    let task = target(cx, pid)?;
    let mut cpus = CpuSet::default();
    let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut cpus);
    let n = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len());
    cx.mm()?
        .read_bytes(mask, bytes.get_mut(..n).unwrap_or_default())?;
    may_change(cx, &task)?;
    for (word, there) in cpus.iter_mut().zip(processors()) {
        *word &= there;
    }
    if cpus == CpuSet::default() {
        return Err(Errno::EINVAL);
    }
    task.set_affinity(cpus);
    Ok(0)
}

const SCHED_OTHER: i32 = 0;
const SCHED_FIFO: i32 = 1;
const SCHED_RR: i32 = 2;
const SCHED_BATCH: i32 = 3;
const SCHED_IDLE: i32 = 5;
const SCHED_DEADLINE: i32 = 6;
const RESET_ON_FORK: i32 = 0x4000_0000;

fn priority_range(policy: i32) -> Result<(i32, i32), Errno> {
    match policy {
        SCHED_FIFO | SCHED_RR => Ok((1, 99)),
        SCHED_OTHER | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// sched_get_priority_max(2)
pub fn sched_get_priority_max(_: &mut Cx, policy: i32) -> SysResult {
    Ok(u64::try_from(priority_range(policy)?.1).unwrap_or(0))
}

/// sched_get_priority_min(2)
pub fn sched_get_priority_min(_: &mut Cx, policy: i32) -> SysResult {
    Ok(u64::try_from(priority_range(policy)?.0).unwrap_or(0))
}

/// sched_getscheduler(2)
pub fn sched_getscheduler(cx: &mut Cx, pid: i32) -> SysResult {
    let task = target(cx, pid)?;
    let policy = task.sched.lock().0;
    Ok(u64::try_from(policy).unwrap_or(0))
}

/// sched_setscheduler(2)
pub fn sched_setscheduler(
    cx: &mut Cx,
    pid: i32,
    policy: i32,
    param: UserAddr<SchedParam>,
) -> SysResult {
    if param.is_null() || policy < 0 {
        return Err(Errno::EINVAL);
    }
    let priority = param.read(cx)?.sched_priority;
    let task = target(cx, pid)?;
    let bare = policy & !RESET_ON_FORK;
    let (low, high) = priority_range(bare)?;
    if bare == SCHED_DEADLINE || !(low..=high).contains(&priority) {
        return Err(Errno::EINVAL);
    }
    may_change(cx, &task)?;
    if priority > 0 {
        let limit = task.group().limits.soft(Resource::Rtprio);
        if u64::from(priority.unsigned_abs()) > limit && !cx.task().cred().has_cap(CAP_SYS_NICE) {
            return Err(Errno::EPERM);
        }
    }
    *task.sched.lock() = (policy, priority);
    Ok(0)
}

/// sched_getparam(2)
pub fn sched_getparam(cx: &mut Cx, pid: i32, param: UserAddr<SchedParam>) -> SysResult {
    if param.is_null() {
        return Err(Errno::EINVAL);
    }
    let task = target(cx, pid)?;
    let sched_priority = task.sched.lock().1;
    param.write(cx, &SchedParam { sched_priority })?;
    Ok(0)
}

/// sched_setparam(2)
pub fn sched_setparam(cx: &mut Cx, pid: i32, param: UserAddr<SchedParam>) -> SysResult {
    let policy = target(cx, pid)?.sched.lock().0;
    sched_setscheduler(cx, pid, policy, param)
}

/// sched_rr_get_interval(2): 100 ms for SCHED_RR, 0 otherwise.
pub fn sched_rr_get_interval(cx: &mut Cx, pid: i32, tp: UserAddr<Timespec>) -> SysResult {
    let task = target(cx, pid)?;
    let policy = task.sched.lock().0 & !RESET_ON_FORK;
    tp.write(
        cx,
        &Timespec {
            tv_sec: 0,
            tv_nsec: if policy == SCHED_RR {
                100_000_000
            } else {
                4_000_000
            },
        },
    )?;
    Ok(0)
}

/// The tasks that `which` and `who` of getpriority(2) and ioprio_get(2) mean.
fn select(cx: &Cx, which: i32, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    const PROCESS: i32 = 0;
    const GROUP: i32 = 1;
    const USER: i32 = 2;
    let ns = cx.pid_ns();
    let found = match which {
        PROCESS => target(cx, who).map(|t| vec![t]).map_err(|_| Errno::ESRCH)?,
        GROUP => {
            let pgrp = if who == 0 {
                Some(cx.group().process_group())
            } else {
                ns.lookup(who).and_then(|p| p.process_group())
            };
            pgrp.map(|p| p.members().iter().flat_map(|g| g.tasks()).collect())
                .unwrap_or_default()
        }
        USER => {
            let uid = if who == 0 {
                cx.task().cred().ruid
            } else {
                who as u32
            };
            ns.pids()
                .into_iter()
                .filter_map(|(_, p)| p.task())
                .filter(|t| t.cred().ruid == uid)
                .collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() {
        Err(Errno::ESRCH)
    } else {
        Ok(found)
    }
}

/// getpriority(2), the system call: 20 minus the nice value.
pub fn getpriority(cx: &mut Cx, which: i32, who: i32) -> SysResult {
    let best = select(cx, which, who)?
        .iter()
        .map(|t| t.nice.load(Ordering::Relaxed))
        .min()
        .unwrap_or(0);
    Ok(u64::try_from(20i32.saturating_sub(best)).unwrap_or(0))
}

/// setpriority(2)
pub fn setpriority(cx: &mut Cx, which: i32, who: i32, nice: i32) -> SysResult {
    let nice = nice.clamp(-20, 19);
    for task in select(cx, which, who)? {
        may_change(cx, &task)?;
        let floor = 20i64
            .saturating_sub(i64::try_from(task.group().limits.soft(Resource::Nice)).unwrap_or(40));
        if nice < task.nice.load(Ordering::Relaxed)
            && i64::from(nice) < floor
            && !cx.task().cred().has_cap(CAP_SYS_NICE)
        {
            return Err(Errno::EACCES);
        }
        task.nice.store(nice, Ordering::Relaxed);
    }
    Ok(0)
}

/// ioprio_get(2)
pub fn ioprio_get(cx: &mut Cx, which: i32, who: i32) -> SysResult {
    let found = select(cx, which.checked_sub(1).ok_or(Errno::EINVAL)?, who)?;
    Ok(u64::try_from(
        found
            .iter()
            .map(|t| t.ioprio.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0),
    )
    .unwrap_or(0))
}

/// ioprio_set(2)
pub fn ioprio_set(cx: &mut Cx, which: i32, who: i32, ioprio: i32) -> SysResult {
    let class = ioprio >> 13;
    if !(0..=3).contains(&class) || ioprio & 0x1fff > if class == 0 { 0 } else { 7 } {
        return Err(Errno::EINVAL);
    }
    if class == 1 {
        cx.task().cred().require(abi::cap::CAP_SYS_ADMIN)?;
    }
    for task in select(cx, which.checked_sub(1).ok_or(Errno::EINVAL)?, who)? {
        may_change(cx, &task)?;
        task.ioprio.store(ioprio, Ordering::Relaxed);
    }
    Ok(0)
}

const ATTR_MIN: u32 = 48;
const ATTR_KNOWN: u32 = size_of::<abi::sched::SchedAttr>() as u32;

/// sched_getattr(2)
pub fn sched_getattr(cx: &mut Cx, pid: i32, addr: u64, size: u32, flags: u32) -> SysResult {
    if flags != 0 || !(ATTR_MIN..=4096).contains(&size) || addr == 0 {
        return Err(Errno::EINVAL);
    }
    let task = target(cx, pid)?;
    let (policy, priority) = *task.sched.lock();
    let attr = abi::sched::SchedAttr {
        size: size.min(56),
        sched_policy: (policy & !RESET_ON_FORK).unsigned_abs(),
        sched_flags: u64::from(policy & RESET_ON_FORK != 0),
        sched_nice: task.nice.load(Ordering::Relaxed),
        sched_priority: priority.unsigned_abs(),
        ..abi::sched::SchedAttr::default()
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&attr);
    let len = usize::try_from(size).unwrap_or(56).min(bytes.len());
    cx.mm()?
        .write_bytes(addr, bytes.get(..len).unwrap_or_default())?;
    Ok(0)
}

/// sched_setattr(2)
pub fn sched_setattr(cx: &mut Cx, pid: i32, addr: u64, flags: u32) -> SysResult {
    if flags != 0 || addr == 0 {
        return Err(Errno::EINVAL);
    }
    let at = UserAddr::<abi::sched::SchedAttr>::new(addr);
    let size: u32 = cx.mm()?.read_obj(addr)?;
    let read = match size {
        0 => at.read_extensible(cx, ATTR_MIN as usize),
        size if size < ATTR_MIN => Err(Errno::E2BIG),
        size => at.read_extensible(cx, usize::try_from(size).map_err(|_| Errno::E2BIG)?),
    };
    if matches!(read, Err(Errno::E2BIG)) {
        // So that the program may try again with what is known.
        UserAddr::new(addr).write(cx, &ATTR_KNOWN)?;
    }
    let attr = read?;
    let policy = i32::try_from(attr.sched_policy).map_err(|_| Errno::EINVAL)?;
    let priority = i32::try_from(attr.sched_priority).map_err(|_| Errno::EINVAL)?;
    let (low, high) = priority_range(policy)?;
    if policy == SCHED_DEADLINE
        || !(low..=high).contains(&priority)
        || attr.sched_flags & !1 != 0
        || !(-20..=19).contains(&attr.sched_nice)
    {
        return Err(Errno::EINVAL);
    }
    let task = target(cx, pid)?;
    may_change(cx, &task)?;
    let privileged = cx.task().cred().has_cap(CAP_SYS_NICE);
    if !privileged && (priority > 0 || attr.sched_nice < task.nice.load(Ordering::Relaxed)) {
        return Err(Errno::EPERM);
    }
    *task.sched.lock() = (
        policy
            | if attr.sched_flags & 1 != 0 {
                RESET_ON_FORK
            } else {
                0
            },
        priority,
    );
    task.nice.store(attr.sched_nice, Ordering::Relaxed);
    Ok(0)
}
