//! One mapping of an address space: a [`Vma`].
//!
//! What the guest asked for (`prot`, `flags`, `backing`) and how the host stands with it (`host`) are kept apart. Where the host's state changes in
//! the middle of what a guest sees as one mapping, the tree holds two neighbours; `/proc/PID/maps` and mremap join them again ([`Vma::continues`]).

use super::file::{Attachment, FileMap, Region};
use super::tree::Span;
use abi::PAGE_SIZE;
use platform::Prot;
use std::ops::Range;
use std::sync::Arc;

/// A growing stack keeps so much free below itself (`stack_guard_gap`).
pub const STACK_GUARD: u64 = 256 * PAGE_SIZE;

bitflags::bitflags! {
    /// What else was said about a mapping.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct VmFlags: u32 {
        /// `MAP_SHARED`
        const SHARED = 1;
        /// `MAP_GROWSDOWN`: a stack.
        const GROWSDOWN = 2;
        /// mlock(2)
        const LOCKED = 4;
        /// `MLOCK_ONFAULT`
        const LOCKONFAULT = 8;
        /// `MADV_DONTFORK`
        const DONTCOPY = 16;
        /// `MADV_WIPEONFORK`
        const WIPEONFORK = 32;
        /// `MAP_NORESERVE`
        const NORESERVE = 64;
        /// `MADV_DONTDUMP`
        const DONTDUMP = 128;
        /// `MADV_HUGEPAGE`
        const HUGEPAGE = 256;
        /// `MADV_NOHUGEPAGE`
        const NOHUGEPAGE = 512;
        /// `MADV_MERGEABLE`
        const MERGEABLE = 1024;
        /// `MADV_SEQUENTIAL`
        const SEQ_READ = 2048;
        /// `MADV_RANDOM`
        const RAND_READ = 4096;
    }
}

/// Where a mapping's contents come from.
#[derive(Clone)]
pub enum VmBacking {
    /// Private anonymous memory.
    Anonymous,
    /// Memory of the memory file that belongs to no file: shared anonymous, SysV.
    Region {
        /// Which.
        region: Arc<Region>,
        /// Where in it the mapping begins.
        offset: u64,
        /// The count of a SysV segment.
        attachment: Option<Arc<dyn Attachment>>,
    },
    /// A file.
    File {
        /// Which, and how.
        map: Arc<FileMap>,
        /// Where in it the mapping begins.
        offset: u64,
    },
    /// The vDSO: a range of the memory file that all address spaces share.
    Special {
        /// `[vdso]`
        name: &'static str,
        /// Where in the memory file.
        offset: u64,
    },
    /// Memory that is being filled before it takes its place; the guest was never told of it.
    Scratch(u64),
}

/// How the host stands with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Mapped from its backing. A private mapping of a host file is read-only there.
    Mapped,
    /// A private mapping whose pages were copied: anonymous memory now.
    Copied,
    /// Not mapped: past the end of the file, or not asked for yet. A fault finds out.
    Absent,
}

/// A mapping.
#[derive(Clone)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// First address behind.
    pub end: u64,
    /// What the guest may do.
    pub prot: Prot,
    /// What mprotect(2) may allow.
    pub max_prot: Prot,
    /// More.
    pub flags: VmFlags,
    /// Contents.
    pub backing: VmBacking,
    /// The host's side.
    pub host: Host,
}

impl Vma {
    /// Its addresses.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Its length in pages.
    pub fn pages(&self) -> u64 {
        self.len() / PAGE_SIZE
    }

    /// `MAP_SHARED`.
    pub fn shared(&self) -> bool {
        self.flags.contains(VmFlags::SHARED)
    }

    /// Private anonymous memory, as the guest sees it.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.backing, VmBacking::Anonymous)
    }

    /// The file behind it.
    pub fn file(&self) -> Option<&Arc<FileMap>> {
        match &self.backing {
            VmBacking::File { map, .. } => Some(map),
            _ => None,
        }
    }

    /// The offset in its backing of `addr`, which lies in it.
    pub fn offset_of(&self, addr: u64) -> u64 {
        let within = addr.saturating_sub(self.start);
        match &self.backing {
            VmBacking::Region { offset, .. }
            | VmBacking::File { offset, .. }
            | VmBacking::Special { offset, .. } => offset.saturating_add(within),
            VmBacking::Anonymous | VmBacking::Scratch(_) => 0,
        }
    }

    /// Whether the first store must copy: the host shows the file's own pages.
    pub fn copies_on_write(&self) -> bool {
        self.host == Host::Mapped && !self.shared() && self.file().is_some_and(|map| map.is_host())
    }

    /// What the host is told for a guest's `prot`.
    pub fn host_prot(&self, prot: Prot) -> Prot {
        // The processor cannot forbid reading what may be written or executed.
        let mut host = if prot.is_empty() {
            prot
        } else {
            prot | Prot::READ
        };
        if self.copies_on_write() {
            host.remove(Prot::WRITE);
        }
        host
    }

    /// Counted by `RLIMIT_DATA` (`is_data_mapping`).
    pub fn is_data(&self) -> bool {
        !self.flags.intersects(VmFlags::SHARED | VmFlags::GROWSDOWN)
            && self.prot.contains(Prot::WRITE)
    }

    /// Whether `next` is the rest of the same mapping, as a guest sees it: the host's side may differ.
    pub fn continues(&self, next: &Self) -> bool {
        if self.end != next.start
            || self.prot != next.prot
            || self.max_prot != next.max_prot
            || self.flags != next.flags
        {
            return false;
        }
        match (&self.backing, &next.backing) {
            (VmBacking::Anonymous, VmBacking::Anonymous) => true,
            (
                VmBacking::Region {
                    region: a,
                    attachment: x,
                    ..
                },
                VmBacking::Region {
                    region: b,
                    attachment: y,
                    ..
                },
            ) => {
                let same = match (x, y) {
                    (Some(x), Some(y)) => Arc::ptr_eq(x, y),
                    (x, y) => x.is_none() && y.is_none(),
                };
                same && Arc::ptr_eq(a, b) && self.offset_of(self.end) == next.offset_of(next.start)
            }
            (VmBacking::File { map: a, .. }, VmBacking::File { map: b, .. }) => {
                a.same(b) && self.offset_of(self.end) == next.offset_of(next.start)
            }
            _ => false,
        }
    }
}

impl Span for Vma {
    fn start(&self) -> u64 {
        self.start
    }
    fn end(&self) -> u64 {
        self.end
    }
    fn floor(&self) -> u64 {
        if self.flags.contains(VmFlags::GROWSDOWN) {
            self.start.saturating_sub(STACK_GUARD)
        } else {
            self.start
        }
    }
    fn split_off(&mut self, at: u64) -> Self {
        let mut upper = self.clone();
        let moved = self.offset_of(at);
        if let VmBacking::Region { offset, .. }
        | VmBacking::File { offset, .. }
        | VmBacking::Special { offset, .. } = &mut upper.backing
        {
            *offset = moved;
        }
        upper.start = at;
        self.end = at;
        upper
    }
    fn try_merge(&mut self, next: &Self) -> bool {
        let one = self.host == next.host && self.continues(next);
        if one {
            self.end = next.end;
        }
        one
    }
}
