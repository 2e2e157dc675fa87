//! Guest memory: the mappings of each address space, and every change of them.
//!
//! ```text
//!   mmap, munmap, mprotect …  ──► MemoryManager ──► State (VMAs, under the mm lock) ──► one batch of platform Orders
//!   a fault of guest code     ──► fault.rs: stack growth, copies of private file pages, pages past an old end of file
//!   arguments of system calls ──► access.rs: AddressSpace::read/write, never with the lock held
//! ```
//!
//! The host's kernel keeps the pages; this module keeps what is mapped where and why. A change takes the mm lock, works out the orders, has the platform carry them
//! out, and records the result; a failure leaves the record as it was. Files are asked for their pages before the lock is taken ([`file::FileMap::generation`] tells
//! whether the answer still holds).
//!
//! A private mapping of a host file is never writable in the host: small ones are copied when they are made, large ones chunk by chunk on the first store
//! ([`vma::Host`]).

mod access;
mod advise;
mod brk;
mod fault;
mod file;
mod fork;
pub mod layout;
mod locked;
mod map;
mod plan;
mod protect;
mod remap;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tree;
mod unmap;
mod view;
mod vma;

pub use access::{FutexKey, FutexObject};
pub use fault::FaultOutcome;
pub use file::{Attachment, ExeFile, FileMap, Region};
pub use layout::Layout;
pub use map::{MapRequest, MapSource};
pub use plan::{Piece, Plan};
pub use platform::Prot;
pub use store::{Store, internal_tmpfs};
pub use view::Statm;
pub use vma::{Host, STACK_GUARD, VmBacking, VmFlags, Vma};

use crate::kernel::Kernel;
use abi::{Errno, PAGE_SIZE};
use platform::{AddressSpace, MemoryFile, Platform};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, MutexGuard, level};
use tree::SpanTree;

/// `vm.max_map_count`. Below the host's default of 65,530, because an address space is a host process with some mappings of the platform's own, and a copy of
/// one that is full to the brim could not map even its orders.
pub const MAX_MAP_COUNT: usize = 65_000;

/// The resource limits that memory calls look at, as they are when the call is made.
#[derive(Clone, Copy, Debug)]
pub struct MemLimits {
    /// `RLIMIT_AS`
    pub address_space: u64,
    /// `RLIMIT_DATA`
    pub data: u64,
    /// `RLIMIT_STACK`
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`; `u64::MAX` with `CAP_IPC_LOCK`.
    pub memlock: u64,
}

impl MemLimits {
    /// None at all.
    pub const NONE: Self = Self {
        address_space: u64::MAX,
        data: u64::MAX,
        stack: u64::MAX,
        memlock: u64::MAX,
    };
}

/// The memory of one guest process: shared by its threads, and by parent and child of vfork.
pub struct MemoryManager {
    id: u64,
    this: Weak<MemoryManager>,
    space: Arc<dyn AddressSpace>,
    memory: Arc<MemoryFile>,
    range: Range<u64>,
    state: Mutex<State, { level::MM }>,
    /// `RLIMIT_STACK` as last seen: faults have no task to ask.
    stack_limit: AtomicU64,
    /// `PR_SET_DUMPABLE`
    dumpable: AtomicU32,
    /// Largest resident set seen, pages.
    peak_rss: AtomicU64,
}

/// What the mm lock guards.
#[derive(Default)]
struct State {
    vmas: SpanTree<Vma>,
    layout: Layout,
    stats: Stats,
    /// `mlockall(MCL_FUTURE)`: flags for new mappings.
    lock_future: VmFlags,
    /// Counts changes, so that a fault can tell a stale one from a repeated one.
    changes: u64,
    /// The last fault that was found to be none: address, `changes`, how often.
    spurious: (u64, u64, u32),
    /// The program.
    exe: Option<Arc<ExeFile>>,
    /// The auxiliary vector, for `/proc/PID/auxv`.
    auxv: Arc<[u8]>,
}

/// Counted pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stats {
    total: u64,
    data: u64,
    stack: u64,
    exec: u64,
    locked: u64,
    peak: u64,
}

impl Stats {
    fn account(&mut self, vma: &Vma, add: bool) {
        let pages = vma.pages();
        let change = |count: &mut u64, matters: bool| {
            if matters {
                *count = if add {
                    count.saturating_add(pages)
                } else {
                    count.saturating_sub(pages)
                };
            }
        };
        if matches!(vma.backing, VmBacking::Scratch(_)) {
            return;
        }
        change(&mut self.total, true);
        change(&mut self.data, vma.is_data());
        change(&mut self.stack, vma.flags.contains(VmFlags::GROWSDOWN));
        change(
            &mut self.exec,
            vma.prot.contains(platform::Prot::EXEC)
                && !vma.prot.contains(platform::Prot::WRITE)
                && vma.file().is_some(),
        );
        change(&mut self.locked, vma.flags.contains(VmFlags::LOCKED));
        self.peak = self.peak.max(self.total);
    }
}

impl State {
    fn insert(&mut self, vma: Vma) {
        self.stats.account(&vma, true);
        self.vmas.insert(vma);
        self.changes = self.changes.wrapping_add(1);
    }

    /// Takes out what is in `range`. The caller drops it after the lock.
    fn remove(&mut self, range: Range<u64>) -> Vec<Vma> {
        let removed = self.vmas.remove(range);
        for vma in &removed {
            self.stats.account(vma, false);
        }
        self.changes = self.changes.wrapping_add(1);
        removed
    }

    fn update(&mut self, range: Range<u64>, mut change: impl FnMut(&mut Vma)) {
        let stats = &mut self.stats;
        self.vmas.update(range, |vma| {
            stats.account(vma, false);
            change(vma);
            stats.account(vma, true);
        });
        self.changes = self.changes.wrapping_add(1);
    }

    /// Pages of mappings in `range`.
    fn pages_in(&self, range: Range<u64>) -> u64 {
        let within = |v: &Vma| {
            v.end
                .min(range.end)
                .saturating_sub(v.start.max(range.start))
                / PAGE_SIZE
        };
        self.vmas.overlapping(range.clone()).map(within).sum()
    }

    /// `may_expand_vm`: whether `pages` more fit the limits.
    fn may_grow(&self, pages: u64, data: bool, limits: &MemLimits) -> Result<(), Errno> {
        let over = |have: u64, limit: u64| have.saturating_add(pages) > limit / PAGE_SIZE;
        if over(self.stats.total, limits.address_space)
            || data && over(self.stats.data, limits.data)
        {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Whether so many more mappings may be made.
    fn room_for(&self, more: usize) -> Result<(), Errno> {
        if self.vmas.len().saturating_add(more) > MAX_MAP_COUNT {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl MemoryManager {
    /// Empty memory on `space`, a new address space of the kernel's platform.
    pub fn new(kernel: &Arc<Kernel>, space: Arc<dyn AddressSpace>) -> Result<Arc<Self>, Errno> {
        Ok(Self::on(&*kernel.platform, space))
    }

    /// The same without a kernel.
    pub fn on(platform: &dyn Platform, space: Arc<dyn AddressSpace>) -> Arc<Self> {
        Self::build(
            space,
            platform.memory_file().clone(),
            platform.user_range(),
            State::default(),
            u64::MAX,
            1,
        )
    }

    fn build(
        space: Arc<dyn AddressSpace>,
        memory: Arc<MemoryFile>,
        range: Range<u64>,
        state: State,
        stack_limit: u64,
        dumpable: u32,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            id: next_id(),
            this: this.clone(),
            space,
            memory,
            range,
            state: Mutex::new(state),
            stack_limit: AtomicU64::new(stack_limit),
            dumpable: AtomicU32::new(dumpable),
            peak_rss: AtomicU64::new(0),
        })
    }

    /// Unique in the sandbox, never reused.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The platform's side.
    pub fn address_space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }
    /// The addresses a guest may map.
    pub fn user_range(&self) -> Range<u64> {
        self.range.clone()
    }
    /// The sandbox's memory file.
    pub fn memory_file(&self) -> &Arc<MemoryFile> {
        &self.memory
    }
    /// `RLIMIT_STACK` changed.
    pub fn set_stack_limit(&self, bytes: u64) {
        self.stack_limit.store(bytes, Ordering::Relaxed);
    }
    /// `PR_GET_DUMPABLE`
    pub fn dumpable(&self) -> u32 {
        self.dumpable.load(Ordering::Relaxed)
    }
    /// `PR_SET_DUMPABLE`, and what exec and credential changes do.
    pub fn set_dumpable(&self, value: u32) {
        self.dumpable.store(value, Ordering::Relaxed);
    }
    /// The program file.
    pub fn exe(&self) -> Option<Arc<ExeFile>> {
        self.lock().exe.clone()
    }
    /// Another program file (the loader, `PR_SET_MM_EXE_FILE`).
    pub fn set_exe(&self, exe: Option<Arc<ExeFile>>) {
        let old = std::mem::replace(&mut self.lock().exe, exe);
        drop(old);
    }
    /// Where things are (arguments, heap, code …).
    pub fn layout(&self) -> Layout {
        self.lock().layout.clone()
    }
    /// Changes [`MemoryManager::layout`].
    pub fn update_layout(&self, change: impl FnOnce(&mut Layout)) {
        change(&mut self.lock().layout);
    }
    /// The auxiliary vector.
    pub fn auxv(&self) -> Arc<[u8]> {
        self.lock().auxv.clone()
    }
    /// Sets it (the loader, `PR_SET_MM_AUXV`).
    pub fn set_auxv(&self, auxv: &[u8]) {
        self.lock().auxv = Arc::from(auxv);
    }

    fn lock(&self) -> MutexGuard<'_, State, { level::MM }> {
        self.state.lock()
    }

    /// `[addr, addr + len)` with `len` rounded up to pages: `EINVAL` unless `addr` is aligned and all of it is user space.
    fn checked_range(&self, addr: u64, len: u64) -> Result<Range<u64>, Errno> {
        let len = file::page_up(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        if !addr.is_multiple_of(PAGE_SIZE) || end > self.range.end {
            return Err(Errno::EINVAL);
        }
        Ok(addr..end)
    }
}
