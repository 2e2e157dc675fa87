//! munmap(2), and pages that a file takes back.

use super::file::page_up;
use super::{Attachment, Host, MAX_MAP_COUNT, MemoryManager, VmBacking, Vma};
use abi::{Errno, PAGE_SIZE};
use fs::vfs::Vnode;
use platform::Order;
use std::sync::Arc;

impl MemoryManager {
    /// munmap(2)
    pub fn munmap(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let len = page_up(len).filter(|len| *len != 0).ok_or(Errno::EINVAL)?;
        let range = self.checked_range(addr, len)?;
        let _removed: Vec<Vma>;
        let mut state = self.lock();
        let Some(first) = state.vmas.overlapping(range.clone()).next() else {
            return Ok(());
        };
        let splits = first.start < range.start && first.end > range.end;
        if splits && state.vmas.len() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        self.space.apply(&[Order::Unmap { start: addr, len }])?;
        _removed = state.remove(range);
        drop(state);
        Ok(())
    }

    /// shmdt(2): unmaps the attachment that begins at `addr`, all that is left of it, and returns it.
    pub fn detach(&self, addr: u64) -> Result<Arc<dyn Attachment>, Errno> {
        // Declared before the guard: dropped after it.
        let mut removed: Vec<Vma> = Vec::new();
        let mut state = self.lock();
        let part = |vma: &Vma| match &vma.backing {
            VmBacking::Region {
                attachment: Some(attachment),
                region,
                ..
            } if vma.start.checked_sub(vma.offset_of(vma.start)) == Some(addr) => {
                Some((attachment.clone(), addr..addr.saturating_add(region.len)))
            }
            _ => None,
        };
        let first = state
            .vmas
            .overlapping(addr..self.range.end)
            .find_map(part)
            .filter(|_| addr.is_multiple_of(PAGE_SIZE));
        let (attachment, extent) = first.ok_or(Errno::EINVAL)?;
        let same = |vma: &&Vma| matches!(&vma.backing, VmBacking::Region { attachment: Some(a), .. } if Arc::ptr_eq(a, &attachment));
        let ranges: Vec<_> = state
            .vmas
            .overlapping(extent)
            .filter(same)
            .map(Vma::range)
            .collect();
        let orders: Vec<_> = ranges
            .iter()
            .map(|r| Order::Unmap {
                start: r.start,
                len: r.end.saturating_sub(r.start),
            })
            .collect();
        self.space.apply(&orders)?;
        for range in ranges {
            removed.extend(state.remove(range));
        }
        drop(state);
        drop(removed);
        Ok(attachment)
    }

    /// The last guest thread is gone: lets go of files, segments and the program, before anybody hears of the end. The memory itself goes with the
    /// address space, later; nothing runs in it any more.
    pub fn exit(&self) {
        let old = std::mem::take(&mut *self.lock());
        drop(old);
    }

    /// A file's bytes `[offset, offset + len)` are gone: whatever shows them is unmapped in the host, and the next touch asks the file.
    pub(super) fn drop_pages(&self, of: &Vnode, offset: u64, len: u64) {
        let mut state = self.lock();
        let end = offset.saturating_add(page_up(len).unwrap_or(u64::MAX - PAGE_SIZE));
        let hit = |vma: &Vma| {
            let VmBacking::File { map, offset: begin } = &vma.backing else {
                return None;
            };
            if !map.observes(of) || vma.host == Host::Absent {
                return None;
            }
            // In file offsets, then back to addresses.
            let from = offset.max(*begin).saturating_sub(*begin);
            let to = end
                .min(begin.saturating_add(vma.len()))
                .saturating_sub(*begin);
            (from < to).then(|| vma.start.saturating_add(from)..vma.start.saturating_add(to))
        };
        let ranges: Vec<_> = state.vmas.iter().filter_map(hit).collect();
        let orders: Vec<_> = ranges
            .iter()
            .map(|r| Order::Unmap {
                start: r.start,
                len: r.end.saturating_sub(r.start),
            })
            .collect();
        if orders.is_empty() {
            return;
        }
        if let Err(error) = self.space.apply(&orders) {
            // The pages may be handed out again: the guest must not see them, whatever the price.
            log::error!("cannot unmap pages that a file has given up: {error}");
            let all = self.user_range();
            let _ = self.space.apply(&[Order::Unmap {
                start: all.start,
                len: all.end.saturating_sub(all.start),
            }]);
        }
        for range in ranges {
            state.update(range, |vma| vma.host = Host::Absent);
        }
    }
}
