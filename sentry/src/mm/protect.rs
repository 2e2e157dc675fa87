//! mprotect(2).

use super::file::page_up;
use super::{Host, MemLimits, MemoryManager, VmFlags, Vma};
use abi::{Errno, PAGE_SIZE};
use platform::{Order, Prot};

/// Adds a range to `orders`, joined with the last if it goes on there with the same rights.
fn push_protect(orders: &mut Vec<Order>, at: u64, size: u64, rights: Prot) {
    if let Some(Order::Protect { start, len, prot }) = orders.last_mut()
        && *prot == rights
        && start.checked_add(*len) == Some(at)
    {
        *len = len.saturating_add(size);
        return;
    }
    orders.push(Order::Protect {
        start: at,
        len: size,
        prot: rights,
    });
}

impl MemoryManager {
    /// mprotect(2). `grows_down`: `PROT_GROWSDOWN`, from the start of the stack that holds `addr`. What comes before an unmapped page or one that
    /// forbids the change is changed all the same, as in Linux.
    pub fn mprotect(
        &self,
        addr: u64,
        len: u64,
        prot: Prot,
        grows_down: bool,
        limits: &MemLimits,
    ) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let end = addr
            .checked_add(len)
            .filter(|end| *end <= self.range.end)
            .ok_or(Errno::ENOMEM)?;
        let mut state = self.lock();
        let first = state
            .vmas
            .at_or_after(addr)
            .filter(|v| v.start < end)
            .ok_or(Errno::ENOMEM)?;
        let mut start = addr;
        if grows_down {
            if !first.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            start = first.start;
        }
        state.room_for(2)?;
        let mut orders = Vec::new();
        let mut reached = start;
        let mut failure = None;
        let mut new_data = 0u64;
        for vma in state.vmas.overlapping(start..end) {
            if vma.start > reached {
                failure = Some(Errno::ENOMEM);
                break;
            }
            if !vma.max_prot.contains(prot) {
                failure = Some(Errno::EACCES);
                break;
            }
            let upto = vma.end.min(end);
            let becomes_data = prot.contains(Prot::WRITE)
                && !vma.is_data()
                && !vma.shared()
                && !vma.flags.contains(VmFlags::GROWSDOWN);
            if becomes_data {
                new_data = new_data.saturating_add(upto.saturating_sub(reached) / PAGE_SIZE);
                if state.stats.data.saturating_add(new_data) > limits.data / PAGE_SIZE {
                    failure = Some(Errno::ENOMEM);
                    break;
                }
            }
            if vma.host != Host::Absent && vma.host_prot(vma.prot) != vma.host_prot(prot) {
                push_protect(
                    &mut orders,
                    reached,
                    upto.saturating_sub(reached),
                    vma.host_prot(prot),
                );
            }
            reached = upto;
        }
        if reached < end && failure.is_none() {
            failure = Some(Errno::ENOMEM);
        }
        if !orders.is_empty() {
            self.space.apply(&orders)?;
        }
        if start < reached {
            state.update(start..reached, |vma: &mut Vma| vma.prot = prot);
        }
        failure.map_or(Ok(()), Err)
    }
}
