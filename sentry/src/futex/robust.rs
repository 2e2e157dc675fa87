//! Robust futexes (`get_robust_list(2)`, the kernel's `robust-futexes.txt`): locks whose owner dies are marked and handed on.

use crate::kernel::Cx;
use abi::Errno;
use std::sync::atomic::Ordering;

/// A bound on the list, which the guest may have made circular (`ROBUST_LIST_LIMIT`).
const LIMIT: usize = 2048;
const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const TID_MASK: u32 = 0x3fff_ffff;

/// Walks the dying thread's list. Every address is the guest's: whatever faults or does not make sense ends the walk.
pub fn exit_robust_list(cx: &mut Cx) {
    let head = cx.task().robust_list.swap(0, Ordering::Relaxed);
    if head != 0 {
        let _ = walk(cx, head);
    }
}

fn walk(cx: &Cx, head: u64) -> Result<(), Errno> {
    let mm = cx.mm()?;
    let [first, offset, pending]: [u64; 3] = mm.read_obj(head)?;
    let mut entry = first;
    for _ in 0..LIMIT {
        if entry & !1 == head {
            break;
        }
        // Bit 0 marks a priority-inheritance lock. The next link is read first: the entry may be freed once its lock is handed on.
        let next: Result<u64, Errno> = mm.read_obj(entry & !1);
        if entry & !1 != pending & !1 {
            mark_dead(cx, (entry & !1).wrapping_add(offset), entry & 1 != 0, false)?;
        }
        entry = next?;
    }
    if pending & !1 != 0 {
        mark_dead(
            cx,
            (pending & !1).wrapping_add(offset),
            pending & 1 != 0,
            true,
        )?;
    }
    Ok(())
}

fn mark_dead(cx: &Cx, addr: u64, pi: bool, pending: bool) -> Result<(), Errno> {
    if addr & 3 != 0 {
        return Err(Errno::EINVAL);
    }
    let mm = cx.mm()?;
    let tid = u32::try_from(cx.tid()).unwrap_or(0);
    loop {
        let value = mm.load_u32(addr)?;
        if pending && !pi && value & TID_MASK == 0 {
            // Died between unlocking and waking: the wake is still owed.
            super::wake_one_at(cx.kernel(), &mm, addr);
            return Ok(());
        }
        if value & TID_MASK != tid {
            return Ok(());
        }
        if mm
            .compare_exchange_u32(addr, value, (value & WAITERS) | OWNER_DIED)?
            .is_ok()
        {
            if !pi && value & WAITERS != 0 {
                super::wake_one_at(cx.kernel(), &mm, addr);
            }
            return Ok(());
        }
    }
}
