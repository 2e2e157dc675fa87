//! mmap(2).

use super::file::{FileMap, page_up};
use super::{Host, MemLimits, MemoryManager, Region, State, VmBacking, VmFlags, Vma};
use abi::mman::MapFlags;
use abi::{Errno, PAGE_SIZE};
use fs::File;
use platform::{Backing, MapHint, Order, Prot};
use std::ops::Range;
use std::sync::Arc;

/// A writable private mapping of a host file up to this size is copied at once, a larger one as it is written.
const EAGER_COPY: u64 = 1 << 20;
/// Where `MAP_32BIT` looks.
const LOW_RANGE: Range<u64> = 0x4000_0000..0x8000_0000;

/// What to map.
pub enum MapSource {
    /// `MAP_ANONYMOUS`
    Anonymous,
    /// A file from a byte offset, a multiple of the page size.
    File {
        /// The description.
        file: Arc<File>,
        /// Where in it.
        offset: u64,
    },
    /// Memory of the sandbox that is no file (SysV), always shared.
    Region {
        /// Which.
        region: Arc<Region>,
        /// Counted as one attachment.
        attachment: Option<Arc<dyn super::Attachment>>,
    },
}

/// The arguments of mmap(2).
pub struct MapRequest {
    /// The hint, or with `MAP_FIXED` the place.
    pub addr: u64,
    /// In bytes.
    pub len: u64,
    /// `PROT_READ|WRITE|EXEC`
    pub prot: Prot,
    /// As given; the type in the low bits counts too.
    pub flags: MapFlags,
    /// What.
    pub source: MapSource,
}

/// A mapping worked out for address 0.
struct Prepared {
    vmas: Vec<Vma>,
    orders: Vec<Order>,
    /// The first bytes of the copied part.
    fill: Vec<u8>,
    /// The file and its generation when it was asked.
    asked: Option<(Arc<FileMap>, u64)>,
}

/// Orders for addresses from `from` on, moved to `to`.
pub(super) fn rebase_to(orders: &mut [Order], from: u64, to: u64) {
    for order in orders {
        if let Order::Map { start, .. } | Order::Unmap { start, .. } = order {
            *start = to.saturating_add(start.saturating_sub(from));
        }
    }
}

pub(super) fn hints(flags: VmFlags, populate: bool) -> MapHint {
    let mut hint = MapHint::empty();
    hint.set(MapHint::NORESERVE, flags.contains(VmFlags::NORESERVE));
    hint.set(MapHint::POPULATE, populate);
    hint
}

impl MemoryManager {
    /// mmap(2). `EINVAL` and friends as Linux has them; descriptor kinds were not checked, access modes are.
    pub fn mmap(&self, request: &MapRequest, limits: &MemLimits) -> Result<u64, Errno> {
        self.set_stack_limit(limits.stack);
        if request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_up(request.len)
            .filter(|len| *len <= self.range.end)
            .ok_or(Errno::ENOMEM)?;
        let flags = request.flags;
        let shared = match flags.bits() & MapFlags::MAP_TYPE {
            1 | MapFlags::MAP_SHARED_VALIDATE => true,
            2 => false,
            _ => return Err(Errno::EINVAL),
        };
        if flags.contains(MapFlags::MAP_HUGETLB) {
            // The sandbox has no huge page pool: as a host whose pool is empty.
            return Err(if matches!(request.source, MapSource::Anonymous) {
                Errno::ENOMEM
            } else {
                Errno::EINVAL
            });
        }
        if shared && flags.contains(MapFlags::MAP_GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        let mut vm_flags = VmFlags::empty();
        vm_flags.set(VmFlags::SHARED, shared);
        vm_flags.set(VmFlags::GROWSDOWN, flags.contains(MapFlags::MAP_GROWSDOWN));
        vm_flags.set(VmFlags::NORESERVE, flags.contains(MapFlags::MAP_NORESERVE));
        vm_flags.set(VmFlags::LOCKED, flags.contains(MapFlags::MAP_LOCKED));
        if flags.contains(MapFlags::MAP_LOCKED) && limits.memlock == 0 {
            return Err(Errno::EPERM);
        }
        let populate = flags.contains(MapFlags::MAP_LOCKED)
            || flags.contains(MapFlags::MAP_POPULATE) && !flags.contains(MapFlags::MAP_NONBLOCK);
        loop {
            let prepared = self.prepare(request, len, vm_flags, populate)?;
            if let Some(addr) = self.install(request, len, prepared, limits)? {
                return Ok(addr);
            }
        }
    }

    /// Finds the place and maps; `None` if the file's pages have changed meanwhile.
    fn install(
        &self,
        request: &MapRequest,
        len: u64,
        mut prepared: Prepared,
        limits: &MemLimits,
    ) -> Result<Option<u64>, Errno> {
        // Declared before the guard: dropped after it.
        let _removed: Vec<Vma>;
        let mut state = self.lock();
        let addr = self.place(&state, request.addr, len, request.flags)?;
        let range = addr..addr.saturating_add(len);
        let fixed = request
            .flags
            .intersects(MapFlags::MAP_FIXED | MapFlags::MAP_FIXED_NOREPLACE);
        let pages = len / PAGE_SIZE;
        let replaced = if fixed {
            state.pages_in(range.clone())
        } else {
            0
        };
        let data = prepared.vmas.iter().any(Vma::is_data);
        state.may_grow(pages.saturating_sub(replaced), data, limits)?;
        state.room_for(prepared.vmas.len().saturating_add(2))?;
        let lock = state.lock_future;
        let locking = !lock.is_empty()
            || prepared
                .vmas
                .iter()
                .any(|v| v.flags.contains(VmFlags::LOCKED));
        if locking && state.stats.locked.saturating_add(pages) > limits.memlock / PAGE_SIZE {
            return Err(Errno::EAGAIN);
        }
        if prepared
            .asked
            .as_ref()
            .is_some_and(|(map, asked)| map.generation() != *asked)
        {
            return Ok(None);
        }
        rebase_to(&mut prepared.orders, 0, addr);
        if replaced != 0 && prepared.vmas.iter().any(|v| v.host == Host::Absent) {
            prepared.orders.insert(0, Order::Unmap { start: addr, len });
        }
        self.space.apply(&prepared.orders)?;
        _removed = if replaced != 0 {
            state.remove(range.clone())
        } else {
            Vec::new()
        };
        for mut vma in prepared.vmas {
            vma.start = vma.start.saturating_add(addr);
            vma.end = vma.end.saturating_add(addr);
            vma.flags |= lock;
            state.insert(vma);
        }
        drop(state);
        if !prepared.fill.is_empty() {
            // The memory is new, so nothing can fault but what another thread has changed since: its business.
            let _ = self.space.write(addr, &prepared.fill);
        }
        if locking {
            self.populate_locked(range, lock.contains(VmFlags::LOCKONFAULT));
        }
        Ok(Some(addr))
    }

    /// What to map where, as if at address 0.
    fn prepare(
        &self,
        request: &MapRequest,
        len: u64,
        flags: VmFlags,
        populate: bool,
    ) -> Result<Prepared, Errno> {
        let prot = request.prot;
        let all = Prot::READ | Prot::WRITE | Prot::EXEC;
        let vma =
            |backing: VmBacking, max_prot: Prot, flags: VmFlags, host: Host, range: Range<u64>| {
                Vma {
                    start: range.start,
                    end: range.end,
                    prot,
                    max_prot,
                    flags,
                    backing,
                    host,
                }
            };
        match &request.source {
            MapSource::Anonymous if !flags.contains(VmFlags::SHARED) => {
                let v = vma(VmBacking::Anonymous, all, flags, Host::Mapped, 0..len);
                let order = Order::Map {
                    start: 0,
                    len,
                    backing: Backing::Anonymous,
                    prot: v.host_prot(prot),
                    hint: hints(flags, populate),
                };
                Ok(Prepared {
                    vmas: vec![v],
                    orders: vec![order],
                    fill: Vec::new(),
                    asked: None,
                })
            }
            MapSource::Anonymous => {
                let region = Region::new(&self.memory, len)?;
                Ok(Self::prepare_region(
                    region, None, len, prot, all, flags, populate,
                ))
            }
            MapSource::Region { region, attachment } => {
                let max = if prot.contains(Prot::WRITE) {
                    all
                } else {
                    Prot::READ | Prot::EXEC
                };
                Ok(Self::prepare_region(
                    region.clone(),
                    attachment.clone(),
                    len,
                    prot,
                    max,
                    flags,
                    populate,
                ))
            }
            MapSource::File { file, offset } => {
                if !offset.is_multiple_of(PAGE_SIZE) {
                    return Err(Errno::EINVAL);
                }
                if offset
                    .checked_add(len)
                    .is_none_or(|end| i64::try_from(end).is_err())
                {
                    return Err(Errno::EOVERFLOW);
                }
                self.prepare_file(request, file, *offset, len, flags, populate)
            }
        }
    }

    fn prepare_region(
        region: Arc<Region>,
        attachment: Option<Arc<dyn super::Attachment>>,
        len: u64,
        prot: Prot,
        max_prot: Prot,
        flags: VmFlags,
        populate: bool,
    ) -> Prepared {
        let backing = Backing::Memory {
            offset: region.offset,
            shared: true,
        };
        let v = Vma {
            start: 0,
            end: len,
            prot,
            max_prot,
            flags,
            backing: VmBacking::Region {
                region,
                offset: 0,
                attachment,
            },
            host: Host::Mapped,
        };
        let order = Order::Map {
            start: 0,
            len,
            backing,
            prot: v.host_prot(prot),
            hint: hints(flags, populate),
        };
        Prepared {
            vmas: vec![v],
            orders: vec![order],
            fill: Vec::new(),
            asked: None,
        }
    }

    fn prepare_file(
        &self,
        request: &MapRequest,
        file: &Arc<File>,
        offset: u64,
        len: u64,
        flags: VmFlags,
        populate: bool,
    ) -> Result<Prepared, Errno> {
        let prot = request.prot;
        let shared = flags.contains(VmFlags::SHARED);
        if !file.readable() || shared && prot.contains(Prot::WRITE) && !file.writable() {
            return Err(Errno::EACCES);
        }
        let mut max_prot = Prot::READ | Prot::WRITE | Prot::EXEC;
        if FileMap::noexec(file) {
            if prot.contains(Prot::EXEC) {
                return Err(Errno::EPERM);
            }
            max_prot.remove(Prot::EXEC);
        }
        let mut writable = shared && file.writable();
        let map = match FileMap::new(file, &self.this, shared, writable) {
            // A seal forbids stores: what only reads is mapped all the same, and stays so.
            Err(Errno::EPERM) if writable && !prot.contains(Prot::WRITE) => {
                writable = false;
                FileMap::new(file, &self.this, shared, false)?
            }
            other => other?,
        };
        if shared && !writable {
            max_prot.remove(Prot::WRITE);
        }
        let Some(map) = map else {
            // /dev/zero
            let source = MapSource::Anonymous;
            return self.prepare(
                &MapRequest {
                    addr: 0,
                    len,
                    prot,
                    flags: request.flags,
                    source,
                },
                len,
                flags,
                populate,
            );
        };
        let asked = map.generation();
        let piece = |range: Range<u64>, host: Host| Vma {
            start: range.start,
            end: range.end,
            prot,
            max_prot,
            flags,
            backing: VmBacking::File {
                map: map.clone(),
                offset: offset.saturating_add(range.start),
            },
            host,
        };
        let hint = hints(flags, populate);
        let (mut vmas, mut orders, mut fill) = (Vec::new(), Vec::new(), Vec::new());
        let within = if map.is_host() && (shared || !prot.contains(Prot::WRITE)) {
            len
        } else {
            map.within_eof(offset, len)?
        };
        let mut mapped = 0..within;
        if map.is_host() {
            // The host itself knows where the file ends.
            mapped.end = len;
            if !shared && prot.contains(Prot::WRITE) && within != 0 && within <= EAGER_COPY {
                let v = piece(0..within, Host::Copied);
                orders.push(Order::Map {
                    start: 0,
                    len: within,
                    backing: Backing::Anonymous,
                    prot: v.host_prot(prot),
                    hint,
                });
                vmas.push(v);
                fill = vec![0; usize::try_from(within).map_err(|_| Errno::ENOMEM)?];
                map.read(offset, &mut fill)?;
                mapped.start = within;
            }
        }
        if !mapped.is_empty() {
            let v = piece(mapped.clone(), Host::Mapped);
            let at = offset.saturating_add(mapped.start);
            orders.extend(map.map_orders(
                mapped.start,
                at,
                v.len(),
                shared,
                v.host_prot(prot),
                hint,
            )?);
            vmas.push(v);
        }
        if mapped.end < len {
            vmas.push(piece(mapped.end..len, Host::Absent));
        }
        Ok(Prepared {
            vmas,
            orders,
            fill,
            asked: Some((map.clone(), asked)),
        })
    }

    /// `get_unmapped_area`
    pub(super) fn place(
        &self,
        state: &State,
        addr: u64,
        len: u64,
        flags: MapFlags,
    ) -> Result<u64, Errno> {
        if flags.intersects(MapFlags::MAP_FIXED | MapFlags::MAP_FIXED_NOREPLACE) {
            let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?;
            if end > self.range.end {
                return Err(Errno::ENOMEM);
            }
            if !addr.is_multiple_of(PAGE_SIZE) {
                return Err(Errno::EINVAL);
            }
            if addr < self.range.start {
                return Err(Errno::EPERM);
            }
            if flags.contains(MapFlags::MAP_FIXED_NOREPLACE)
                && state.vmas.overlapping(addr..end).next().is_some()
            {
                return Err(Errno::EEXIST);
            }
            return Ok(addr);
        }
        let low = flags.contains(MapFlags::MAP_32BIT);
        let within = if low {
            self.range.start.max(LOW_RANGE.start)..self.range.end.min(LOW_RANGE.end)
        } else {
            self.range.clone()
        };
        if addr != 0 {
            // As Linux rounds hints: up to a page, at least the lowest address.
            let hint = page_up(addr).unwrap_or(0).max(within.start);
            if let Some(end) = hint.checked_add(len).filter(|end| *end <= within.end) {
                let free = state
                    .vmas
                    .at_or_after(hint)
                    .is_none_or(|v| end <= super::tree::Span::floor(v));
                if free {
                    return Ok(hint);
                }
            }
        }
        let base = state
            .layout
            .mmap_base
            .clamp(self.range.start, self.range.end);
        let found = if low {
            state.vmas.gap_bottom_up(len, within, PAGE_SIZE)
        } else if state.layout.bottom_up || state.layout.mmap_base == 0 {
            state
                .vmas
                .gap_bottom_up(len, base..self.range.end, PAGE_SIZE)
        } else {
            let below = state
                .vmas
                .gap_top_down(len, self.range.start..base, PAGE_SIZE);
            below.or_else(|| {
                state
                    .vmas
                    .gap_bottom_up(len, base..self.range.end, PAGE_SIZE)
            })
        };
        found.ok_or(Errno::ENOMEM)
    }
}
