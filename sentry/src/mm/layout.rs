//! Where things go in an address space (`arch/x86/mm/mmap.c`, `fs/binfmt_elf.c`): random bases, and the ranges that `/proc/PID/stat` shows.

use abi::PAGE_SIZE;
use std::ops::Range;

/// Randomness of the stack's top: 22 bits of pages.
const STACK_RANDOM: u64 = 0x3f_ffff << 12;
/// Randomness of the mmap base and of PIE programs: 28 bits of pages.
const MMAP_RANDOM: u64 = ((1 << 28) - 1) << 12;
/// Randomness of the heap's start.
const BRK_RANDOM: u64 = 0x200_0000;
/// The least distance between the stack's top and the mmap base.
const MIN_GAP: u64 = 128 << 20;

/// The places of one address space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Layout {
    /// New mappings go below this, or above it when `bottom_up`.
    pub mmap_base: u64,
    pub bottom_up: bool,
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// Start of the vDSO's image, 0 without one.
    pub vdso: u64,
}

/// Random numbers for one program's layout.
pub struct Random {
    words: [u64; 8],
    next: usize,
    enabled: bool,
}

impl Random {
    /// From the host's generator; `enabled: false` (`ADDR_NO_RANDOMIZE`) makes every offset 0, but not [`Random::bytes`].
    pub fn new(enabled: bool) -> Self {
        let mut bytes = [0u8; 64];
        // The call is interruptible only before the host's pool is ready.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |w, b| w << 8 | u64::from(*b));
        }
        Self {
            words,
            next: 0,
            enabled,
        }
    }

    fn word(&mut self) -> u64 {
        let next = self.next.checked_rem(self.words.len()).unwrap_or(0);
        let word = self.words.get(next).copied().unwrap_or(0);
        self.next = self.next.wrapping_add(1);
        word
    }

    /// A multiple of the page size, at most `mask`.
    pub fn pages(&mut self, mask: u64) -> u64 {
        if self.enabled {
            self.word() & mask & !(PAGE_SIZE - 1)
        } else {
            0
        }
    }

    /// A number below `bound` (a power of two).
    pub fn below(&mut self, bound: u64) -> u64 {
        if self.enabled {
            self.word() & bound.wrapping_sub(1)
        } else {
            0
        }
    }

    /// The 16 bytes of `AT_RANDOM`, random whatever the personality.
    pub fn bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip([self.word(), self.word()]) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

impl Layout {
    /// The bases for a new program. `legacy`: `ADDR_COMPAT_LAYOUT`, or no limit on the stack.
    pub fn new(range: &Range<u64>, stack_limit: u64, legacy: bool, random: &mut Random) -> Self {
        let offset = random.pages(MMAP_RANDOM.min(range.end / 8));
        let bottom_up = legacy || stack_limit == u64::MAX;
        let mmap_base = if bottom_up {
            ((range.end / 3) & !(PAGE_SIZE - 1)).saturating_add(offset)
        } else {
            let most = (range.end / 6).saturating_mul(5);
            let pad = STACK_RANDOM
                .min(range.end / 8)
                .saturating_add(super::STACK_GUARD);
            let gap = stack_limit
                .clamp(MIN_GAP, most)
                .saturating_add(pad)
                .min(most);
            range.end.saturating_sub(gap).saturating_sub(offset) & !(PAGE_SIZE - 1)
        };
        Self {
            mmap_base,
            bottom_up,
            ..Self::default()
        }
    }

    /// The stack's top.
    pub fn stack_top(range: &Range<u64>, random: &mut Random) -> u64 {
        range
            .end
            .saturating_sub(random.pages(STACK_RANDOM.min(range.end / 8)))
    }

    /// Where a position-independent program goes that has an interpreter (`ELF_ET_DYN_BASE`).
    pub fn pie_base(range: &Range<u64>, random: &mut Random) -> u64 {
        let base = (range.end / 3).saturating_mul(2) & !(PAGE_SIZE - 1);
        base.saturating_add(random.pages(MMAP_RANDOM.min(range.end / 8)))
    }

    /// The heap's start, given the end of the program's data.
    pub fn brk_start(end: u64, random: &mut Random) -> u64 {
        end.saturating_add(random.pages(BRK_RANDOM - 1))
    }
}
