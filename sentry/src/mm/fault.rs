//! Faults of guest code that the host could not serve: growing stacks, first stores to private file pages, pages that a file has gained since.
//!
//! ```text
//!   no mapping ──────────► below a stack, within its limits? grow it : SIGSEGV, SEGV_MAPERR
//!   forbidden ───────────► SIGSEGV, SEGV_ACCERR
//!   Host::Absent ────────► before the end of the file? map it : SIGBUS, BUS_ADRERR
//!   store, Mapped, private, host file ──► copy a chunk beside, move it into place
//!   else ────────────────► the mapping has changed since: try again
//! ```

use super::file::{page_down, page_up};
use super::{FileMap, Host, MemLimits, MemoryManager, STACK_GUARD, State, VmBacking, VmFlags, Vma};
use abi::siginfo::{BUS_ADRERR, SEGV_ACCERR, SEGV_MAPERR, SI_KERNEL};
use abi::{Errno, PAGE_SIZE};
use platform::{Access, Backing, MapHint, Order, Prot};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SIGBUS: i32 = 7;
const SIGSEGV: i32 = 11;
/// How much of a private file mapping one first store copies.
const CHUNK: u64 = 64 << 10;
/// How far a stack grows beyond what is touched, limits permitting.
const STACK_STEP: u64 = 64 << 10;
/// How often one and the same fault may turn out to be none before it is believed.
const SPURIOUS_LIMIT: u32 = 64;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOutcome {
    /// Run on.
    Resolved,
    /// The guest has earned a signal.
    Signal {
        /// `SIGSEGV` or `SIGBUS`.
        signo: i32,
        /// `si_code`
        code: i32,
    },
}

const MAPERR: FaultOutcome = FaultOutcome::Signal {
    signo: SIGSEGV,
    code: SEGV_MAPERR,
};
const ACCERR: FaultOutcome = FaultOutcome::Signal {
    signo: SIGSEGV,
    code: SEGV_ACCERR,
};
const ADRERR: FaultOutcome = FaultOutcome::Signal {
    signo: SIGBUS,
    code: BUS_ADRERR,
};

/// What a fault needs, found under the lock, done without it.
enum Need {
    Nothing(FaultOutcome),
    /// Ask the file for its pages at this address.
    Fill(Vma),
    /// Copy the chunk around this address.
    Copy(Vma),
}

impl MemoryManager {
    /// Serves a fault at `addr`; `signo` and `code` are the host's.
    pub fn handle_fault(&self, addr: u64, access: Access, signo: i32, code: i32) -> FaultOutcome {
        if code == SI_KERNEL || !self.range.contains(&addr) {
            // A general protection fault has no address; the rest is not the guest's memory.
            let code = if code == SI_KERNEL { code } else { SEGV_MAPERR };
            return FaultOutcome::Signal {
                signo: SIGSEGV,
                code,
            };
        }
        let need = self.look(addr, access, signo, code);
        let done = match need {
            Need::Nothing(outcome) => return outcome,
            Need::Fill(vma) => self.fill(addr, &vma),
            Need::Copy(vma) => self.copy_chunk(addr, &vma),
        };
        match done {
            Ok(outcome) => outcome,
            Err(error) => {
                log::warn!("fault at {addr:#x}: {error}");
                ADRERR
            }
        }
    }

    fn look(&self, addr: u64, access: Access, signo: i32, code: i32) -> Need {
        let mut state = self.lock();
        if state.vmas.find(addr).is_none() && !self.grow_stack(&mut state, addr) {
            return Need::Nothing(MAPERR);
        }
        let Some(vma) = state.vmas.find(addr) else {
            return Need::Nothing(MAPERR);
        };
        if matches!(vma.backing, VmBacking::Scratch(_)) {
            return Need::Nothing(MAPERR);
        }
        let host = if vma.host == Host::Absent {
            Prot::empty()
        } else {
            vma.host_prot(vma.prot)
        };
        let allowed = match access {
            Access::Read => !vma.prot.is_empty(),
            Access::Write => vma.prot.contains(Prot::WRITE),
            Access::Execute => vma.prot.contains(Prot::EXEC),
            Access::Unknown => !vma.prot.is_empty(),
        };
        // A platform that cannot tell: where the host's page may be read, what failed was a store (or a jump).
        let store = match access {
            Access::Write => true,
            Access::Unknown => code == SEGV_ACCERR && host.contains(Prot::READ),
            Access::Read | Access::Execute => false,
        };
        if !allowed || store && !vma.prot.contains(Prot::WRITE) {
            return Need::Nothing(ACCERR);
        }
        if vma.host == Host::Absent {
            return Need::Fill(vma.clone());
        }
        if signo == SIGBUS {
            // The host's file has ended, or its disk has failed.
            return Need::Nothing(FaultOutcome::Signal { signo, code });
        }
        if store && vma.copies_on_write() {
            return Need::Copy(vma.clone());
        }
        let now = (addr, state.changes);
        let (at, changes, count) = state.spurious;
        let count = if (at, changes) == now {
            count.saturating_add(1)
        } else {
            0
        };
        state.spurious = (addr, now.1, count);
        if count > SPURIOUS_LIMIT {
            return Need::Nothing(FaultOutcome::Signal { signo, code });
        }
        Need::Nothing(FaultOutcome::Resolved)
    }

    /// `expand_stack`: whether `addr` now is part of a stack.
    fn grow_stack(&self, state: &mut State, addr: u64) -> bool {
        let Some(stack) = state
            .vmas
            .at_or_after(addr)
            .filter(|v| v.flags.contains(VmFlags::GROWSDOWN))
            .cloned()
        else {
            return false;
        };
        let limit = self.stack_limit.load(Ordering::Relaxed);
        let below = state
            .vmas
            .before(addr)
            .filter(|v| !v.prot.is_empty() && !v.flags.contains(VmFlags::GROWSDOWN));
        let lowest = below
            .map_or(self.range.start, |v| v.end.saturating_add(STACK_GUARD))
            .max(stack.end.saturating_sub(limit));
        let lowest = page_up(lowest).unwrap_or(u64::MAX);
        let wanted = page_down(addr);
        if wanted < lowest || wanted >= stack.start {
            return false;
        }
        let start = (wanted & !(STACK_STEP - 1)).max(lowest).min(wanted);
        let start = state.vmas.before(addr).map_or(start, |v| start.max(v.end));
        let len = stack.start.saturating_sub(start);
        let limits = MemLimits {
            stack: limit,
            ..MemLimits::NONE
        };
        if state.may_grow(len / PAGE_SIZE, false, &limits).is_err() {
            return false;
        }
        let order = Order::Map {
            start,
            len,
            backing: Backing::Anonymous,
            prot: stack.host_prot(stack.prot),
            hint: MapHint::empty(),
        };
        if self.space.apply(&[order]).is_err() {
            return false;
        }
        state.insert(Vma {
            start,
            end: stack.start,
            ..stack
        });
        true
    }

    /// Maps what a file (or region) has at `addr`.
    fn fill(&self, addr: u64, vma: &Vma) -> Result<FaultOutcome, Errno> {
        match &vma.backing {
            VmBacking::Region { region, .. } => {
                let start = page_down(addr);
                let offset = vma.offset_of(start);
                let len = region
                    .len
                    .saturating_sub(offset)
                    .min(vma.end.saturating_sub(start));
                if len == 0 {
                    return Ok(ADRERR);
                }
                let mapped = Vma {
                    host: Host::Mapped,
                    ..vma.clone()
                };
                let backing = Backing::Memory {
                    offset: region.offset.saturating_add(offset),
                    shared: true,
                };
                let order = Order::Map {
                    start,
                    len,
                    backing,
                    prot: mapped.host_prot(vma.prot),
                    hint: MapHint::empty(),
                };
                self.put(vec![order], start..start.saturating_add(len), |v| matches!(&v.backing, VmBacking::Region { region: r, .. } if Arc::ptr_eq(r, region)) && v.offset_of(start) == offset)
            }
            VmBacking::File { map, .. } => {
                let generation = map.generation();
                let start = page_down(addr);
                let offset = vma.offset_of(start);
                let mut len = vma.end.saturating_sub(start);
                if !map.is_host() {
                    len = map.within_eof(offset, len)?;
                    if len == 0 {
                        return Ok(ADRERR);
                    }
                }
                let mapped = Vma {
                    host: Host::Mapped,
                    ..vma.clone()
                };
                let orders = map.map_orders(
                    start,
                    offset,
                    len,
                    vma.shared(),
                    mapped.host_prot(vma.prot),
                    MapHint::empty(),
                )?;
                self.put(orders, start..start.saturating_add(len), |v| {
                    Self::shows(v, map, start, offset) && map.generation() == generation
                })
            }
            // A mapping that DONTUNMAP left behind.
            VmBacking::Special { offset, .. } => {
                let backing = Backing::Memory {
                    offset: *offset,
                    shared: true,
                };
                let order = Order::Map {
                    start: vma.start,
                    len: vma.len(),
                    backing,
                    prot: Prot::READ | Prot::EXEC,
                    hint: MapHint::empty(),
                };
                self.put(vec![order], vma.range(), |v| {
                    matches!(v.backing, VmBacking::Special { .. })
                })
            }
            VmBacking::Anonymous | VmBacking::Scratch(_) => Ok(FaultOutcome::Resolved),
        }
    }

    fn shows(vma: &Vma, map: &FileMap, addr: u64, offset: u64) -> bool {
        vma.file().is_some_and(|m| m.same(map)) && vma.offset_of(addr) == offset
    }

    /// Carries out `orders` for `range` if it still is one absent mapping that `same` knows; else the fault is tried again.
    fn put(
        &self,
        orders: Vec<Order>,
        range: Range<u64>,
        same: impl Fn(&Vma) -> bool,
    ) -> Result<FaultOutcome, Errno> {
        let mut state = self.lock();
        let still = state
            .vmas
            .find(range.start)
            .is_some_and(|v| v.end >= range.end && v.host == Host::Absent && same(v));
        if still {
            self.space.apply(&orders)?;
            state.update(range, |v| v.host = Host::Mapped);
        }
        Ok(FaultOutcome::Resolved)
    }

    /// A first store to a private page of a host file: its chunk becomes memory of the address space's own. Readers in other threads see the file's pages
    /// until the copy takes their place as one.
    fn copy_chunk(&self, addr: u64, vma: &Vma) -> Result<FaultOutcome, Errno> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let VmBacking::File { map, .. } = &vma.backing else {
            return Ok(FaultOutcome::Resolved);
        };
        let start = (addr & !(CHUNK - 1)).max(vma.start);
        let end = (addr & !(CHUNK - 1)).saturating_add(CHUNK).min(vma.end);
        let offset = vma.offset_of(start);
        let len = map.within_eof(offset, end.saturating_sub(start))?;
        if addr >= start.saturating_add(len) {
            return Ok(ADRERR);
        }
        let range = start..start.saturating_add(len);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let scratch = {
            let mut state = self.lock();
            let at = self.place(&state, 0, len, abi::mman::MapFlags::empty())?;
            let prot = Prot::READ | Prot::WRITE;
            self.space.apply(&[Order::Map {
                start: at,
                len,
                backing: Backing::Anonymous,
                prot,
                hint: MapHint::empty(),
            }])?;
            state.insert(Vma {
                start: at,
                end: at.saturating_add(len),
                prot,
                max_prot: prot,
                flags: VmFlags::empty(),
                backing: VmBacking::Scratch(id),
                host: Host::Mapped,
            });
            at
        };
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::ENOMEM)?];
        let filled = map
            .read(offset, &mut bytes)
            .and_then(|()| self.space.write(scratch, &bytes).map_err(|_| Errno::EFAULT));

        let mut state = self.lock();
        let scratch_range = scratch..scratch.saturating_add(len);
        let ours = state.vmas.find(scratch).is_some_and(|v| {
            matches!(v.backing, VmBacking::Scratch(found) if found == id)
                && v.range() == scratch_range
        });
        if !ours {
            // The guest has unmapped what it could not know of.
            return Ok(FaultOutcome::Resolved);
        }
        let target = state
            .vmas
            .find(start)
            .filter(|v| {
                v.end >= range.end && v.copies_on_write() && Self::shows(v, map, start, offset)
            })
            .cloned();
        state.remove(scratch_range);
        let (Some(target), Ok(_)) = (target, &filled) else {
            self.space.apply(&[Order::Unmap {
                start: scratch,
                len,
            }])?;
            return filled.map(|_| FaultOutcome::Resolved);
        };
        let copied = Vma {
            host: Host::Copied,
            ..target
        };
        let orders = [
            Order::Protect {
                start: scratch,
                len,
                prot: copied.host_prot(copied.prot),
            },
            Order::Relocate {
                old: scratch,
                old_len: len,
                new: start,
                new_len: len,
                dont_unmap: false,
            },
        ];
        if let Err(error) = self.space.apply(&orders) {
            let _ = self.space.apply(&[Order::Unmap {
                start: scratch,
                len,
            }]);
            return Err(error);
        }
        state.update(range, |v| v.host = Host::Copied);
        Ok(FaultOutcome::Resolved)
    }
}
