//! madvise(2), mincore(2), msync(2).

use super::file::page_up;
use super::{Host, MemoryManager, VmBacking, VmFlags, Vma};
use abi::mman::*;
use abi::{Errno, PAGE_SIZE};
use fs::Caller;
use platform::{MapHint, Order, Prot};
use std::ops::Range;

/// `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE`
const PUNCH_HOLE: i32 = 3;

impl MemoryManager {
    /// madvise(2), for the caller's own or another address space.
    pub fn madvise(
        &self,
        caller: &dyn Caller,
        addr: u64,
        len: u64,
        advice: i32,
    ) -> Result<(), Errno> {
        match advice {
            MADV_HWPOISON | MADV_SOFT_OFFLINE => {
                return Err(if caller.cred().has_cap(fs::vfs::perm::cap::SYS_ADMIN) {
                    Errno::EINVAL
                } else {
                    Errno::EPERM
                });
            }
            MADV_NORMAL..=MADV_DONTNEED | MADV_FREE..=MADV_DONTNEED_LOCKED => {}
            // Collapsing is for a host that can; nothing of it is promised.
            MADV_COLLAPSE => {}
            _ => return Err(Errno::EINVAL),
        }
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if len == 0 {
            return Ok(());
        }
        let range = addr..end.min(self.range.end.max(addr));
        match advice {
            MADV_REMOVE => self.advise_remove(caller, range),
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => self.advise_populate(range, advice),
            MADV_DONTNEED | MADV_DONTNEED_LOCKED | MADV_FREE => self.advise_drop(range, advice),
            _ => self.advise_flags(range, advice),
        }?;
        if end > self.range.end {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    /// Advices that are recorded, with those that the host may like to hear.
    fn advise_flags(&self, range: Range<u64>, advice: i32) -> Result<(), Errno> {
        let mut state = self.lock();
        state.room_for(2)?;
        let holes = !state.vmas.covers(range.clone());
        let parts: Vec<Vma> = state.vmas.overlapping(range.clone()).cloned().collect();
        for vma in &parts {
            let refused = match advice {
                MADV_WIPEONFORK => vma.shared() || !vma.is_anonymous(),
                MADV_COLD | MADV_PAGEOUT => vma.flags.contains(VmFlags::LOCKED),
                MADV_DOFORK | MADV_DODUMP => matches!(vma.backing, VmBacking::Special { .. }),
                _ => false,
            };
            if refused {
                return Err(Errno::EINVAL);
            }
        }
        let (add, clear) = match advice {
            MADV_NORMAL => (VmFlags::empty(), VmFlags::SEQ_READ | VmFlags::RAND_READ),
            MADV_RANDOM => (VmFlags::RAND_READ, VmFlags::SEQ_READ),
            MADV_SEQUENTIAL => (VmFlags::SEQ_READ, VmFlags::RAND_READ),
            MADV_DONTFORK => (VmFlags::DONTCOPY, VmFlags::empty()),
            MADV_DOFORK => (VmFlags::empty(), VmFlags::DONTCOPY),
            MADV_MERGEABLE => (VmFlags::MERGEABLE, VmFlags::empty()),
            MADV_UNMERGEABLE => (VmFlags::empty(), VmFlags::MERGEABLE),
            MADV_HUGEPAGE => (VmFlags::HUGEPAGE, VmFlags::NOHUGEPAGE),
            MADV_NOHUGEPAGE => (VmFlags::NOHUGEPAGE, VmFlags::HUGEPAGE),
            MADV_DONTDUMP => (VmFlags::DONTDUMP, VmFlags::empty()),
            MADV_DODUMP => (VmFlags::empty(), VmFlags::DONTDUMP),
            MADV_WIPEONFORK => (VmFlags::WIPEONFORK, VmFlags::empty()),
            MADV_KEEPONFORK => (VmFlags::empty(), VmFlags::WIPEONFORK),
            _ => (VmFlags::empty(), VmFlags::empty()),
        };
        if add != VmFlags::empty() || clear != VmFlags::empty() {
            state.update(range.clone(), |vma| {
                vma.flags = vma.flags.difference(clear) | add
            });
        }
        if matches!(
            advice,
            MADV_NORMAL
                ..=MADV_WILLNEED
                    | MADV_HUGEPAGE
                    | MADV_NOHUGEPAGE
                    | MADV_COLD
                    | MADV_PAGEOUT
                    | MADV_COLLAPSE
        ) {
            for vma in parts.iter().filter(|v| v.host != Host::Absent) {
                let (start, len) = (
                    vma.start.max(range.start),
                    super::locked::overlap(vma, &range),
                );
                // Advice: what the host makes of it is its own business.
                let _ = self.space.apply(&[Order::Advise { start, len, advice }]);
            }
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// `MADV_DONTNEED`, `MADV_FREE`: the pages go; a private mapping shows its file again.
    fn advise_drop(&self, range: Range<u64>, advice: i32) -> Result<(), Errno> {
        let mut state = self.lock();
        state.room_for(2)?;
        let holes = !state.vmas.covers(range.clone());
        let mut orders = Vec::new();
        let mut back_to_file = Vec::new();
        for vma in state.vmas.overlapping(range.clone()) {
            if advice != MADV_DONTNEED_LOCKED && vma.flags.contains(VmFlags::LOCKED)
                || advice == MADV_FREE && !vma.is_anonymous()
            {
                return Err(Errno::EINVAL);
            }
            let (start, len) = (
                vma.start.max(range.start),
                super::locked::overlap(vma, &range),
            );
            match (&vma.backing, vma.host) {
                (_, Host::Absent) => {}
                (VmBacking::File { map, .. }, Host::Copied) => {
                    let fresh = Vma {
                        host: Host::Mapped,
                        ..vma.clone()
                    };
                    orders.extend(map.map_orders(
                        start,
                        vma.offset_of(start),
                        len,
                        false,
                        fresh.host_prot(vma.prot),
                        MapHint::empty(),
                    )?);
                    back_to_file.push(start..start.saturating_add(len));
                }
                _ => {
                    let advice = if advice == MADV_FREE {
                        MADV_FREE
                    } else {
                        MADV_DONTNEED
                    };
                    match orders.last_mut() {
                        Some(Order::Advise {
                            start: s, len: l, ..
                        }) if s.checked_add(*l) == Some(start) => *l = l.saturating_add(len),
                        _ => orders.push(Order::Advise { start, len, advice }),
                    }
                }
            }
        }
        if !orders.is_empty() {
            match self.space.apply(&orders) {
                // The host has locked what our record has unlocked or not: its memory is emptied the hard way.
                Err(Errno::EINVAL) if advice == MADV_DONTNEED_LOCKED => return Err(Errno::EINVAL),
                other => other?,
            }
        }
        for range in back_to_file {
            state.update(range, |vma| vma.host = Host::Mapped);
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// `MADV_REMOVE`: a hole in what is mapped shared and writable.
    fn advise_remove(&self, caller: &dyn Caller, range: Range<u64>) -> Result<(), Errno> {
        let (parts, holes): (Vec<Vma>, bool) = {
            let state = self.lock();
            (
                state.vmas.overlapping(range.clone()).cloned().collect(),
                !state.vmas.covers(range.clone()),
            )
        };
        for vma in &parts {
            if vma.flags.contains(VmFlags::LOCKED) || vma.is_anonymous() {
                return Err(Errno::EINVAL);
            }
            if !vma.shared() || !vma.max_prot.contains(Prot::WRITE) {
                return Err(Errno::EACCES);
            }
            let (start, len) = (
                vma.start.max(range.start),
                super::locked::overlap(vma, &range),
            );
            let offset = vma.offset_of(start);
            match &vma.backing {
                VmBacking::Region { region, .. } => {
                    let len = region.len.saturating_sub(offset).min(len);
                    if len != 0 {
                        self.memory
                            .zero(region.offset.saturating_add(offset), len)?;
                    }
                }
                VmBacking::File { map, .. } => map
                    .file
                    .ops()
                    .allocate(&map.file, caller, PUNCH_HOLE, offset, len)?,
                _ => return Err(Errno::EINVAL),
            }
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// `MADV_POPULATE_READ`, `MADV_POPULATE_WRITE`
    fn advise_populate(&self, range: Range<u64>, advice: i32) -> Result<(), Errno> {
        let mut at = range.start;
        while at < range.end {
            let Some(vma) = self.lock().vmas.find(at).cloned() else {
                return Err(Errno::ENOMEM);
            };
            let write = advice == MADV_POPULATE_WRITE;
            let allowed = if write {
                vma.prot.contains(Prot::WRITE)
            } else {
                !vma.prot.is_empty()
            };
            if !allowed {
                return Err(Errno::ENOMEM);
            }
            let access = if write {
                platform::Access::Write
            } else {
                platform::Access::Read
            };
            if vma.host == Host::Absent || write && vma.copies_on_write() {
                // One step: the fault changes the mapping at `at`, and we look again.
                match self.handle_fault(at, access, 11, abi::siginfo::SEGV_ACCERR) {
                    super::FaultOutcome::Resolved => continue,
                    super::FaultOutcome::Signal { .. } => return Err(Errno::EFAULT),
                }
            }
            let end = vma.end.min(range.end);
            match self.space.apply(&[Order::Advise {
                start: at,
                len: end.saturating_sub(at),
                advice,
            }]) {
                // A host before 5.14: the guest is told what that host would say.
                Err(error) => return Err(error),
                Ok(()) => at = end,
            }
        }
        Ok(())
    }

    /// mincore(2): one byte per page.
    pub fn mincore(&self, addr: u64, len: u64) -> Result<Vec<u8>, Errno> {
        if !addr.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let end = addr
            .checked_add(len)
            .filter(|end| *end <= self.range.end)
            .ok_or(Errno::ENOMEM)?;
        let parts: Vec<Vma> = {
            let state = self.lock();
            if !state.vmas.covers(addr..end) {
                return Err(Errno::ENOMEM);
            }
            state.vmas.overlapping(addr..end).cloned().collect()
        };
        let mut out = vec![0; usize::try_from(len / PAGE_SIZE).map_err(|_| Errno::ENOMEM)?];
        for vma in parts.iter().filter(|v| v.host != Host::Absent) {
            let (start, bytes) = (
                vma.start.max(addr),
                super::locked::overlap(vma, &(addr..end)),
            );
            let from =
                usize::try_from(start.saturating_sub(addr) / PAGE_SIZE).unwrap_or(usize::MAX);
            let count = usize::try_from(bytes / PAGE_SIZE).unwrap_or(0);
            if let Some(slot) = out.get_mut(from..).and_then(|s| s.get_mut(..count)) {
                self.space.mincore(start, bytes, slot)?;
            }
        }
        Ok(out)
    }

    /// msync(2): `MS_SYNC` reaches the host; the pages of a shared mapping are the file's own, so nothing else is to do.
    pub fn msync(&self, addr: u64, len: u64, flags: i32) -> Result<(), Errno> {
        if flags & !(MS_ASYNC | MS_SYNC | MS_INVALIDATE) != 0
            || flags & (MS_ASYNC | MS_SYNC) == MS_ASYNC | MS_SYNC
            || !addr.is_multiple_of(PAGE_SIZE)
        {
            return Err(Errno::EINVAL);
        }
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
        let range = addr..end;
        let (parts, holes): (Vec<Vma>, bool) = {
            let state = self.lock();
            (
                state.vmas.overlapping(range.clone()).cloned().collect(),
                !state.vmas.covers(range),
            )
        };
        let mut synced: Vec<&fs::File> = Vec::new();
        for vma in &parts {
            if flags & MS_INVALIDATE != 0 && vma.flags.contains(VmFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            let Some(map) = vma.file().filter(|_| vma.shared() && flags & MS_SYNC != 0) else {
                continue;
            };
            if !synced.iter().any(|f| std::ptr::eq(*f, &*map.file)) {
                map.file.ops().sync(&map.file, true)?;
                synced.push(&map.file);
            }
        }
        if holes && len != 0 {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
}
