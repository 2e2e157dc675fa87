//! brk(2).

use super::file::page_up;
use super::{Host, MemLimits, MemoryManager, STACK_GUARD, VmBacking, VmFlags, Vma};
use abi::PAGE_SIZE;
use platform::{Backing, MapHint, Order, Prot};

impl MemoryManager {
    /// brk(2): the new end of the heap, or the old one when it cannot be had.
    pub fn brk(&self, wanted: u64, limits: &MemLimits) -> u64 {
        self.set_stack_limit(limits.stack);
        let (new, populate) = self.change_brk(wanted, limits);
        if let Some((range, on_fault)) = populate {
            self.populate_locked(range, on_fault);
        }
        new
    }

    fn change_brk(
        &self,
        wanted: u64,
        limits: &MemLimits,
    ) -> (u64, Option<(std::ops::Range<u64>, bool)>) {
        let _removed: Vec<Vma>;
        let mut state = self.lock();
        let old = state.layout.brk;
        let data = state
            .layout
            .end_data
            .saturating_sub(state.layout.start_data);
        let heap = wanted.saturating_sub(state.layout.start_brk);
        if wanted < state.layout.start_brk || heap.saturating_add(data) > limits.data {
            return (old, None);
        }
        let (Some(from), Some(to)) = (page_up(old), page_up(wanted)) else {
            return (old, None);
        };
        if to == from {
            state.layout.brk = wanted;
            return (wanted, None);
        }
        if to < from {
            if self
                .space
                .apply(&[Order::Unmap {
                    start: to,
                    len: from.saturating_sub(to),
                }])
                .is_err()
            {
                return (old, None);
            }
            _removed = state.remove(to..from);
            state.layout.brk = wanted;
            return (wanted, None);
        }
        let len = to.saturating_sub(from);
        let pages = len / PAGE_SIZE;
        let lock = state.lock_future;
        let free = to <= self.range.end && {
            let next = state.vmas.at_or_after(from);
            next.is_none_or(|v| {
                to.saturating_add(PAGE_SIZE) <= v.start
                    && (!v.flags.contains(VmFlags::GROWSDOWN)
                        || to.saturating_add(STACK_GUARD) <= v.start)
            })
        };
        let lockable = lock.is_empty()
            || state.stats.locked.saturating_add(pages) <= limits.memlock / PAGE_SIZE;
        if !free
            || !lockable
            || state.may_grow(pages, true, limits).is_err()
            || state.room_for(1).is_err()
        {
            return (old, None);
        }
        let prot = Prot::READ | Prot::WRITE;
        let order = Order::Map {
            start: from,
            len,
            backing: Backing::Anonymous,
            prot,
            hint: MapHint::empty(),
        };
        if self.space.apply(&[order]).is_err() {
            return (old, None);
        }
        let max_prot = prot | Prot::EXEC;
        state.insert(Vma {
            start: from,
            end: to,
            prot,
            max_prot,
            flags: lock,
            backing: VmBacking::Anonymous,
            host: Host::Mapped,
        });
        state.layout.brk = wanted;
        (
            wanted,
            (!lock.is_empty()).then(|| (from..to, lock.contains(VmFlags::LOCKONFAULT))),
        )
    }
}
