//! The copy of an address space for fork(2): the platform copies the memory, this module what is known of it.

use super::{Host, MemoryManager, State, VmBacking, VmFlags, Vma};
use abi::Errno;
use platform::{Backing, MapHint, Order};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl MemoryManager {
    /// Memory as a forked child has it.
    pub fn fork(&self) -> Result<Arc<MemoryManager>, Errno> {
        let mut lost: Vec<Range<u64>> = Vec::new();
        let parent = self.lock();
        // Who maps a file's pages must be known to the file before the copy exists: pages that go meanwhile are counted in the new observer.
        let mut maps = HashMap::new();
        let mut attachments = HashMap::new();
        let mut child = State {
            layout: parent.layout.clone(),
            exe: parent.exe.clone(),
            auxv: parent.auxv.clone(),
            ..State::default()
        };
        let mut orders = Vec::new();
        for vma in parent.vmas.iter() {
            let mut vma = vma.clone();
            let (start, len) = (vma.start, vma.len());
            if vma.flags.contains(VmFlags::DONTCOPY) || matches!(vma.backing, VmBacking::Scratch(_))
            {
                orders.push(Order::Unmap { start, len });
                continue;
            }
            if vma.flags.contains(VmFlags::WIPEONFORK) {
                let hint = if vma.flags.contains(VmFlags::NORESERVE) {
                    MapHint::NORESERVE
                } else {
                    MapHint::empty()
                };
                orders.push(Order::Map {
                    start,
                    len,
                    backing: Backing::Anonymous,
                    prot: vma.host_prot(vma.prot),
                    hint,
                });
            }
            vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT);
            match &mut vma.backing {
                VmBacking::File { map, .. } => {
                    let copy = maps
                        .entry(Arc::as_ptr(map) as usize)
                        .or_insert_with(|| map.fork());
                    if let Some(copy) = copy {
                        *map = copy.clone();
                    }
                }
                VmBacking::Region {
                    attachment: Some(attachment),
                    ..
                } => {
                    let copy = attachments
                        .entry(Arc::as_ptr(attachment).cast::<()>() as usize)
                        .or_insert_with(|| attachment.duplicate());
                    *attachment = copy.clone();
                }
                _ => {}
            }
            child.stats.account(&vma, true);
            child.vmas.insert(vma);
        }
        let space = self.space.fork()?;
        drop(parent);
        space.apply(&orders)?;
        let mm = Self::build(
            space,
            self.memory.clone(),
            self.range.clone(),
            child,
            self.stack_limit.load(Ordering::Relaxed),
            self.dumpable(),
        );
        for map in maps.into_values().flatten() {
            if !map.adopt(&mm.this) {
                let state = mm.lock();
                lost.extend(
                    state
                        .vmas
                        .iter()
                        .filter(|v| {
                            v.host != Host::Absent && v.file().is_some_and(|m| Arc::ptr_eq(m, &map))
                        })
                        .map(Vma::range),
                );
            }
        }
        for range in lost {
            let mut state = mm.lock();
            mm.space.apply(&[Order::Unmap {
                start: range.start,
                len: range.end.saturating_sub(range.start),
            }])?;
            state.update(range, |v| v.host = Host::Absent);
        }
        Ok(mm)
    }

    /// Totals, for tests: counted anew.
    #[cfg(test)]
    pub(super) fn recount(&self) -> (super::Stats, super::Stats) {
        let state = self.lock();
        let mut fresh = super::Stats {
            peak: state.stats.peak,
            ..Default::default()
        };
        for vma in state.vmas.iter() {
            fresh.account(vma, true);
        }
        (state.stats, fresh)
    }
}
