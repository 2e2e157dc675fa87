//! mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2).

use super::file::page_down;
use super::{Host, MemLimits, MemoryManager, VmFlags, Vma};
use abi::mman::{MADV_POPULATE_READ, MADV_POPULATE_WRITE, MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT};
use abi::{Errno, PAGE_SIZE};
use platform::{Order, Prot};
use std::ops::Range;

impl MemoryManager {
    /// mlock2(2): `on_fault` is `MLOCK_ONFAULT`.
    pub fn mlock(
        &self,
        addr: u64,
        len: u64,
        on_fault: bool,
        limits: &MemLimits,
    ) -> Result<(), Errno> {
        let range = Self::outer_pages(addr, len)?;
        if limits.memlock == 0 {
            return Err(Errno::EPERM);
        }
        let flags = lock_flags(on_fault);
        {
            let mut state = self.lock();
            let already: u64 = state
                .vmas
                .overlapping(range.clone())
                .filter(|v| v.flags.contains(VmFlags::LOCKED))
                .map(|v| overlap(v, &range) / PAGE_SIZE)
                .sum();
            let pages = range.end.saturating_sub(range.start) / PAGE_SIZE;
            if state
                .stats
                .locked
                .saturating_add(pages)
                .saturating_sub(already)
                > limits.memlock / PAGE_SIZE
            {
                return Err(Errno::ENOMEM);
            }
            state.room_for(2)?;
            // What comes before a hole is locked, then ENOMEM.
            let end = covered_until(state.vmas.overlapping(range.clone()), &range);
            if range.start < end {
                state.update(range.start..end, |vma| {
                    vma.flags = vma.flags.difference(VmFlags::LOCKED | VmFlags::LOCKONFAULT) | flags
                });
            }
            if end < range.end {
                return Err(Errno::ENOMEM);
            }
        }
        if self.populate_locked(range, on_fault) {
            Ok(())
        } else {
            Err(Errno::ENOMEM)
        }
    }

    /// munlock(2)
    pub fn munlock(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = Self::outer_pages(addr, len)?;
        let mut state = self.lock();
        state.room_for(2)?;
        let end = covered_until(state.vmas.overlapping(range.clone()), &range);
        if range.start < end {
            let _ = self.space.apply(&[Order::Unlock {
                start: range.start,
                len: end.saturating_sub(range.start),
            }]);
            state.update(range.start..end, |vma| {
                vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT)
            });
        }
        if end < range.end {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    /// mlockall(2)
    pub fn mlockall(&self, flags: i32, limits: &MemLimits) -> Result<(), Errno> {
        if flags == 0
            || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0
            || flags == MCL_ONFAULT
        {
            return Err(Errno::EINVAL);
        }
        if limits.memlock == 0 {
            return Err(Errno::EPERM);
        }
        let lock = lock_flags(flags & MCL_ONFAULT != 0);
        let mut ranges = Vec::new();
        {
            let mut state = self.lock();
            if flags & MCL_CURRENT != 0 && state.stats.total > limits.memlock / PAGE_SIZE {
                return Err(Errno::ENOMEM);
            }
            state.lock_future = if flags & MCL_FUTURE != 0 {
                lock
            } else {
                VmFlags::empty()
            };
            if flags & MCL_CURRENT != 0 {
                let all = self.user_range();
                state.update(all, |vma| {
                    vma.flags = vma.flags.difference(VmFlags::LOCKED | VmFlags::LOCKONFAULT) | lock
                });
                ranges = state.vmas.iter().map(Vma::range).collect();
            }
        }
        // As in Linux, what cannot be made resident is no error here.
        for range in ranges {
            self.populate_locked(range, flags & MCL_ONFAULT != 0);
        }
        Ok(())
    }

    /// munlockall(2)
    pub fn munlockall(&self) {
        let mut state = self.lock();
        state.lock_future = VmFlags::empty();
        let locked: Vec<_> = state
            .vmas
            .iter()
            .filter(|v| v.flags.contains(VmFlags::LOCKED))
            .map(Vma::range)
            .collect();
        for range in locked {
            let _ = self.space.apply(&[Order::Unlock {
                start: range.start,
                len: range.end.saturating_sub(range.start),
            }]);
            state.update(range, |vma| {
                vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT)
            });
        }
    }

    /// Makes what was just locked resident. The host's own mlock is asked for first; where its limits forbid it, the pages are at least touched. False when
    /// something cannot be (`PROT_NONE`, past the end of a file).
    pub(super) fn populate_locked(&self, range: Range<u64>, on_fault: bool) -> bool {
        let pieces: Vec<Vma> = self
            .lock()
            .vmas
            .overlapping(range.clone())
            .cloned()
            .collect();
        let mut all = true;
        for vma in pieces {
            if vma.host == Host::Absent {
                all &= on_fault;
                continue;
            }
            // Nobody may touch it, the kernel for this included.
            if vma.prot.is_empty() {
                all &= on_fault;
                continue;
            }
            let (start, len) = (vma.start.max(range.start), overlap(&vma, &range));
            let locked = self
                .space
                .apply(&[Order::Lock {
                    start,
                    len,
                    on_fault,
                }])
                .is_ok();
            if !locked && !on_fault {
                let writes =
                    vma.prot.contains(Prot::WRITE) && !vma.copies_on_write() && !vma.shared();
                let advice = if writes {
                    MADV_POPULATE_WRITE
                } else {
                    MADV_POPULATE_READ
                };
                match self.space.apply(&[Order::Advise { start, len, advice }]) {
                    // Hosts before 5.14 do not know the advice.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(_) => all = false,
                }
            }
        }
        all
    }

    /// The pages that `[addr, addr + len)` touches.
    fn outer_pages(addr: u64, len: u64) -> Result<Range<u64>, Errno> {
        let start = page_down(addr);
        let end = addr
            .checked_add(len)
            .and_then(super::file::page_up)
            .ok_or(Errno::EINVAL)?;
        Ok(start..end)
    }
}

fn lock_flags(on_fault: bool) -> VmFlags {
    if on_fault {
        VmFlags::LOCKED | VmFlags::LOCKONFAULT
    } else {
        VmFlags::LOCKED
    }
}

/// How many bytes of `range` a mapping holds.
pub(super) fn overlap(vma: &Vma, range: &Range<u64>) -> u64 {
    vma.end
        .min(range.end)
        .saturating_sub(vma.start.max(range.start))
}

/// Up to where `range` is mapped without a hole.
pub(super) fn covered_until<'a>(vmas: impl Iterator<Item = &'a Vma>, range: &Range<u64>) -> u64 {
    let mut reached = range.start;
    for vma in vmas {
        if vma.start > reached {
            break;
        }
        reached = vma.end.min(range.end);
    }
    reached
}
