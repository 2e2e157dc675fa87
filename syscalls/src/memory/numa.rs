//! NUMA policy on a machine with one node: arguments are checked, a thread's own is kept, and there is nothing to choose.

use super::{Addr, put, remote};
use abi::mman::*;
use abi::{Errno, PAGE_SIZE};
use sentry::kernel::{Cx, Task};
use sentry::syscall::SysResult;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING`
const MODE_FLAGS: i32 = 0xe000;
/// Node 0 in a task's policy.
const NODE: u32 = 1 << 16;
/// More bits than any mask has.
const MOST_NODES: u64 = PAGE_SIZE * 8;

/// Reads a node mask: whether node 0 is in it. Any other node is `EINVAL`.
fn mask(cx: &Cx, at: Addr, maxnode: u64) -> Result<bool, Errno> {
    if at.0 == 0 || maxnode <= 1 {
        return Ok(false);
    }
    if maxnode > MOST_NODES {
        return Err(Errno::EINVAL);
    }
    let words = maxnode.saturating_sub(1).div_ceil(64);
    let mut words: Vec<u64> = cx
        .mm()?
        .read_vec(at.0, usize::try_from(words).map_err(|_| Errno::EINVAL)?)?;
    // Bits from maxnode - 1 on do not count.
    let spare = maxnode.saturating_sub(1) % 64;
    if let Some(last) = words.last_mut().filter(|_| spare != 0) {
        *last &= (1u64 << spare).wrapping_sub(1);
    }
    let first = words.first().copied().unwrap_or(0);
    if first > 1 || words.iter().skip(1).any(|w| *w != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(first == 1)
}

/// Whether the policy names node 0.
fn check_policy(cx: &Cx, mode: i32, nodes: Addr, maxnode: u64) -> Result<bool, Errno> {
    const STATIC_AND_RELATIVE: i32 = 0xc000;
    if mode & STATIC_AND_RELATIVE == STATIC_AND_RELATIVE {
        return Err(Errno::EINVAL);
    }
    // A mask of no bits at all is one that is not there, and may not be.
    if nodes.0 != 0 && maxnode == 0 {
        return Err(Errno::EINVAL);
    }
    let node = mask(cx, nodes, maxnode)?;
    match mode & !MODE_FLAGS {
        MPOL_DEFAULT | MPOL_LOCAL if node => Err(Errno::EINVAL),
        MPOL_DEFAULT | MPOL_LOCAL | MPOL_PREFERRED => Ok(node),
        MPOL_BIND | MPOL_INTERLEAVE | MPOL_PREFERRED_MANY | MPOL_WEIGHTED_INTERLEAVE if node => {
            Ok(true)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// mbind(2)
pub fn mbind(
    cx: &mut Cx,
    addr: Addr,
    length: u64,
    mode: i32,
    nodemask: Addr,
    maxnode: u64,
    flags: u32,
) -> SysResult {
    /// `MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL`
    const FLAGS: u32 = 7;
    if flags & !FLAGS != 0 || !addr.0.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    check_policy(cx, mode, nodemask, maxnode)?;
    let len = length
        .checked_add(PAGE_SIZE.wrapping_sub(1))
        .ok_or(Errno::EINVAL)?
        & !PAGE_SIZE.wrapping_sub(1);
    let end = addr.0.checked_add(len).ok_or(Errno::EINVAL)?;
    let mut at = addr.0;
    for vma in cx
        .mm()?
        .vmas()
        .iter()
        .filter(|v| v.end > addr.0 && v.start < end)
    {
        if vma.start > at {
            return Err(Errno::EFAULT);
        }
        at = vma.end;
    }
    if at < end { Err(Errno::EFAULT) } else { Ok(0) }
}

/// set_mempolicy(2)
pub fn set_mempolicy(cx: &mut Cx, mode: i32, nodemask: Addr, maxnode: u64) -> SysResult {
    let node = check_policy(cx, mode, nodemask, maxnode)?;
    let mode = match mode & !MODE_FLAGS {
        // Without a node the nearest is preferred.
        MPOL_PREFERRED if !node => MPOL_LOCAL,
        MPOL_DEFAULT => MPOL_DEFAULT,
        _ => mode,
    };
    let mode = u32::try_from(mode).map_err(|_| Errno::EINVAL)?;
    let kept = mode | if node { NODE } else { 0 };
    cx.task().mempolicy.store(kept, Ordering::Relaxed);
    Ok(0)
}

/// get_mempolicy(2)
pub fn get_mempolicy(
    cx: &mut Cx,
    mode: Addr,
    nodemask: Addr,
    maxnode: u64,
    addr: Addr,
    flags: u64,
) -> SysResult {
    let (node, of_addr, allowed) = (
        u64::from(MPOL_F_NODE),
        u64::from(MPOL_F_ADDR),
        u64::from(MPOL_F_MEMS_ALLOWED),
    );
    if flags & !(node | of_addr | allowed) != 0
        || flags & allowed != 0 && flags & (node | of_addr) != 0
    {
        return Err(Errno::EINVAL);
    }
    if nodemask.0 != 0 && maxnode < 1 || flags & of_addr == 0 && addr.0 != 0 {
        return Err(Errno::EINVAL);
    }
    let policy = cx.task().mempolicy.load(Ordering::Relaxed);
    let mode_of = i32::try_from(policy & !NODE).unwrap_or(0) & !MODE_FLAGS;
    // Only pages that are dealt out in turn have a next node.
    if flags == node && !matches!(mode_of, MPOL_INTERLEAVE | MPOL_WEIGHTED_INTERLEAVE) {
        return Err(Errno::EINVAL);
    }
    if flags & of_addr != 0 && !cx.mm()?.vmas().iter().any(|v| v.range().contains(&addr.0)) {
        return Err(Errno::EFAULT);
    }
    // Of an address there is the default policy, and the node it is on: 0 both.
    let own = flags == 0;
    put(cx, mode, &if own { policy & !NODE } else { 0 })?;
    if nodemask.0 != 0 && maxnode > 1 {
        if maxnode > MOST_NODES {
            return Err(Errno::EINVAL);
        }
        let words =
            usize::try_from(maxnode.saturating_sub(1).div_ceil(64)).map_err(|_| Errno::EINVAL)?;
        let mut mask = vec![0u64; words];
        if let Some(first) = mask
            .first_mut()
            .filter(|_| flags & allowed != 0 || own && policy & NODE != 0)
        {
            *first = 1;
        }
        cx.mm()?.write_obj(nodemask.0, mask.as_slice())?;
    }
    Ok(0)
}

fn target(cx: &Cx, pid: i32) -> Result<Arc<Task>, Errno> {
    if pid == 0 {
        Ok(cx.task().clone())
    } else {
        cx.pid_ns().task(pid).ok_or(Errno::ESRCH)
    }
}

/// migrate_pages(2)
pub fn migrate_pages(cx: &mut Cx, pid: i32, maxnode: u64, old: Addr, new: Addr) -> SysResult {
    mask(cx, old, maxnode)?;
    mask(cx, new, maxnode)?;
    remote::access(cx, &*target(cx, pid)?).map(|_| 0)
}

/// move_pages(2): where pages are.
pub fn move_pages(
    cx: &mut Cx,
    pid: i32,
    count: u64,
    pages: Addr,
    nodes: Addr,
    status: Addr,
    flags: i32,
) -> SysResult {
    /// `MPOL_MF_MOVE | MPOL_MF_MOVE_ALL`
    const FLAGS: i32 = 6;
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let mm = remote::access(cx, &*target(cx, pid)?)?;
    let own = cx.mm()?;
    for i in 0..count {
        let at = |base: Addr, size: u64| base.0.wrapping_add(i.wrapping_mul(size));
        let page: u64 = own.read_obj(at(pages, 8))?;
        let wanted: i32 = if nodes.0 == 0 {
            0
        } else {
            own.read_obj(at(nodes, 4))?
        };
        if wanted != 0 {
            return Err(Errno::ENODEV);
        }
        let answer = match mm.mincore(page & !PAGE_SIZE.wrapping_sub(1), PAGE_SIZE) {
            Ok(resident) if resident.first().is_some_and(|r| r & 1 != 0) => 0,
            Ok(_) => Errno::ENOENT.raw().saturating_neg(),
            Err(_) => Errno::EFAULT.raw().saturating_neg(),
        };
        own.write_obj(at(status, 4), &answer)?;
        if cx.signal_pending() {
            return Err(Errno::EINTR);
        }
    }
    Ok(0)
}
