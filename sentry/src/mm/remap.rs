//! mremap(2).
//!
//! What a guest sees as one mapping may be several here and several in the host ([`Vma::continues`]): a move goes piece by piece, and a piece that the
//! host keeps in two parts is halved until each half fits one.

use super::file::page_up;
use super::{Host, MemLimits, MemoryManager, State, VmBacking, VmFlags, Vma};
use abi::mman::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE, MapFlags};
use abi::{Errno, PAGE_SIZE};
use platform::{Backing, MapHint, Order};
use std::ops::Range;

impl MemoryManager {
    /// mremap(2)
    pub fn mremap(
        &self,
        addr: u64,
        old_len: u64,
        new_len: u64,
        flags: u32,
        new_addr: u64,
        limits: &MemLimits,
    ) -> Result<u64, Errno> {
        self.set_stack_limit(limits.stack);
        if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) != 0
            || !addr.is_multiple_of(PAGE_SIZE)
        {
            return Err(Errno::EINVAL);
        }
        let may_move = flags & MREMAP_MAYMOVE != 0;
        let keep = flags & MREMAP_DONTUNMAP != 0;
        let fixed = flags & MREMAP_FIXED != 0;
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len).ok_or(Errno::EINVAL)?;
        if (fixed || keep) && !may_move || keep && old_len != new_len || new_len == 0 {
            return Err(Errno::EINVAL);
        }
        let old_end = addr.checked_add(old_len).ok_or(Errno::EINVAL)?;
        if fixed {
            let new_end = new_addr
                .checked_add(new_len)
                .filter(|end| *end <= self.range.end)
                .ok_or(Errno::EINVAL)?;
            if !new_addr.is_multiple_of(PAGE_SIZE) || new_addr < old_end && addr < new_end {
                return Err(Errno::EINVAL);
            }
            if new_addr < self.range.start {
                return Err(Errno::EPERM);
            }
        }
        let mut dead: Vec<Vma> = Vec::new();
        let mut state = self.lock();
        if state.vmas.len().saturating_add(6) > super::MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let first = state
            .vmas
            .find(addr)
            .filter(|v| !matches!(v.backing, VmBacking::Scratch(_)))
            .ok_or(Errno::EFAULT)?
            .clone();
        if old_len == 0 && !first.shared() {
            return Err(Errno::EINVAL);
        }
        if !fixed && !keep && old_len != 0 && new_len <= old_len {
            // Shrinks in place; the rest may hold anything, as with munmap.
            let from = addr.saturating_add(new_len);
            if from < old_end {
                if old_end > self.range.end {
                    return Err(Errno::EINVAL);
                }
                self.space.apply(&[Order::Unmap {
                    start: from,
                    len: old_end.saturating_sub(from),
                }])?;
                dead = state.remove(from..old_end);
            }
            drop(state);
            drop(dead);
            return Ok(addr);
        }
        // All of the old range must be one mapping.
        let extent = logical_end(&state, &first);
        if old_end > extent {
            return Err(Errno::EFAULT);
        }
        if matches!(first.backing, VmBacking::Special { .. }) && new_len != old_len {
            return Err(Errno::EFAULT);
        }
        let growth = new_len.saturating_sub(old_len);
        let locked = first.flags.contains(VmFlags::LOCKED);
        if locked
            && growth != 0
            && state.stats.locked.saturating_add(growth / PAGE_SIZE) > limits.memlock / PAGE_SIZE
        {
            return Err(Errno::EAGAIN);
        }
        if growth != 0 {
            if let VmBacking::File { .. } = first.backing
                && first.offset_of(addr).checked_add(new_len).is_none()
            {
                return Err(Errno::EINVAL);
            }
            state.may_grow(growth / PAGE_SIZE, first.is_data(), limits)?;
        }
        if keep {
            state.may_grow(old_len / PAGE_SIZE, first.is_data(), limits)?;
        }
        let result = if !fixed
            && !keep
            && old_len != 0
            && old_end == extent
            && self.grow_in_place(&mut state, &first, old_end, growth)?
        {
            addr
        } else if may_move {
            let target = if fixed {
                new_addr
            } else {
                self.place(&state, 0, new_len, MapFlags::empty())?
            };
            if fixed {
                self.space.apply(&[Order::Unmap {
                    start: target,
                    len: new_len,
                }])?;
                dead.extend(state.remove(target..target.saturating_add(new_len)));
            }
            self.relocate(
                &mut state,
                &first,
                addr..old_end,
                target,
                new_len,
                keep,
                &mut dead,
            )?;
            target
        } else {
            return Err(Errno::ENOMEM);
        };
        drop(state);
        drop(dead);
        if locked {
            self.populate_locked(
                result..result.saturating_add(new_len),
                first.flags.contains(VmFlags::LOCKONFAULT),
            );
        }
        Ok(result)
    }

    /// Adds `growth` bytes at `end`, where the mapping of `first` ends, if nothing is there.
    fn grow_in_place(
        &self,
        state: &mut State,
        first: &Vma,
        end: u64,
        growth: u64,
    ) -> Result<bool, Errno> {
        let Some(new_end) = end.checked_add(growth).filter(|e| *e <= self.range.end) else {
            return Ok(false);
        };
        if state.vmas.overlapping(end..new_end).next().is_some() {
            return Ok(false);
        }
        let tail = extension(first, end, new_end);
        self.space.apply(&fresh_orders(&tail))?;
        for vma in tail {
            state.insert(vma);
        }
        Ok(true)
    }

    /// Moves `old` to `target` and makes it `new_len` long.
    #[allow(clippy::too_many_arguments)]
    fn relocate(
        &self,
        state: &mut State,
        first: &Vma,
        old: Range<u64>,
        target: u64,
        new_len: u64,
        keep: bool,
        dead: &mut Vec<Vma>,
    ) -> Result<(), Errno> {
        let old_len = old.end.saturating_sub(old.start);
        let moved_len = old_len.min(new_len);
        let moved_end = old.start.saturating_add(moved_len);
        let mut moved: Vec<Vma> = Vec::new();
        for piece in state.vmas.overlapping(old.start..moved_end) {
            let mut piece = piece.clone();
            clip(&mut piece, old.start..moved_end);
            moved.push(piece);
        }
        let shift = |at: u64| target.saturating_add(at.saturating_sub(old.start));
        for (index, piece) in moved.iter().enumerate() {
            if piece.host == Host::Absent {
                continue;
            }
            // Only anonymous memory keeps a mapping behind in the host; the rest of what DONTUNMAP leaves is asked for again when touched.
            let leave = keep && piece.is_anonymous();
            if let Err(error) = self.move_piece(piece.start, shift(piece.start), piece.len(), leave)
            {
                // Put back what has gone already, as Linux does.
                for undo in moved.iter().take(index).filter(|p| p.host != Host::Absent) {
                    let _ = self.move_piece(shift(undo.start), undo.start, undo.len(), false);
                }
                return Err(error);
            }
        }
        if keep {
            state.update(old.start..moved_end, |vma| {
                vma.flags.remove(VmFlags::LOCKED | VmFlags::LOCKONFAULT);
                if !vma.is_anonymous() {
                    vma.host = Host::Absent;
                }
            });
        } else if old_len != 0 {
            if moved_end < old.end {
                self.space.apply(&[Order::Unmap {
                    start: moved_end,
                    len: old.end.saturating_sub(moved_end),
                }])?;
            }
            dead.extend(state.remove(old.clone()));
        }
        let tail = extension(
            first,
            old.start.saturating_add(moved_len),
            old.start.saturating_add(new_len),
        );
        let mut orders = fresh_orders(&tail);
        super::map::rebase_to(&mut orders, old.start, target);
        let mapped = self.space.apply(&orders);
        for mut vma in moved.into_iter().chain(tail) {
            let len = vma.len();
            vma.start = shift(vma.start);
            vma.end = vma.start.saturating_add(len);
            if mapped.is_err() && vma.start >= target.saturating_add(moved_len) {
                continue;
            }
            state.insert(vma);
        }
        mapped
    }

    fn move_piece(&self, old: u64, new: u64, len: u64, leave: bool) -> Result<(), Errno> {
        match self.space.apply(&[Order::Relocate {
            old,
            old_len: len,
            new,
            new_len: len,
            dont_unmap: leave,
        }]) {
            Err(Errno::EFAULT) if len > PAGE_SIZE => {
                let half = (len / 2 / PAGE_SIZE).saturating_mul(PAGE_SIZE);
                self.move_piece(old, new, half, leave)?;
                self.move_piece(
                    old.saturating_add(half),
                    new.saturating_add(half),
                    len.saturating_sub(half),
                    leave,
                )
            }
            other => other,
        }
    }
}

/// Where the guest's mapping that `first` belongs to ends.
fn logical_end(state: &State, first: &Vma) -> u64 {
    let mut last = first;
    for next in state.vmas.overlapping(first.end..u64::MAX) {
        if !last.continues(next) {
            break;
        }
        last = next;
    }
    last.end
}

/// Cuts a copy of a mapping to `within`.
fn clip(vma: &mut Vma, within: Range<u64>) {
    use super::tree::Span;
    if vma.start < within.start {
        *vma = vma.split_off(within.start);
    }
    if vma.end > within.end {
        vma.split_off(within.end);
    }
}

/// The mappings that continue the one of `first` in `[from, to)`: new memory, or pages that the first touch asks for.
fn extension(first: &Vma, from: u64, to: u64) -> Vec<Vma> {
    if from >= to {
        return Vec::new();
    }
    let mut vma = first.clone();
    // The offset counts from where `first` begins, also past its end.
    let begin = first.offset_of(from);
    if let VmBacking::Region { offset, .. }
    | VmBacking::File { offset, .. }
    | VmBacking::Special { offset, .. } = &mut vma.backing
    {
        *offset = begin;
    }
    vma.start = from;
    vma.end = to;
    vma.host = if vma.is_anonymous() {
        Host::Mapped
    } else {
        Host::Absent
    };
    vec![vma]
}

/// Orders for new anonymous memory.
fn fresh_orders(vmas: &[Vma]) -> Vec<Order> {
    let anonymous = vmas.iter().filter(|v| v.host == Host::Mapped);
    anonymous
        .map(|v| Order::Map {
            start: v.start,
            len: v.len(),
            backing: Backing::Anonymous,
            prot: v.host_prot(v.prot),
            hint: MapHint::empty(),
        })
        .collect()
}
