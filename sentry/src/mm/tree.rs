//! The ordered set of disjoint address ranges that an address space is made of.
//!
//! ```text
//!   blocks   [ a b c … ] [ k l m … ] [ t u … ]      each at most MAX spans, in order of address, never empty
//!   max_gap      8 MiB        4 KiB      1 GiB       the largest free range that ends at a span of the block
//! ```
//!
//! Two levels are enough: a process has tens to hundreds of mappings (one or two blocks, a binary search in a few cache lines), and at the limit
//! of 65,530 a search for a gap skips whole blocks by `max_gap`. Nothing here knows what a mapping is: see [`Span`].

use std::ops::Range;

/// What the tree keeps: a non-empty range that can be cut in two and joined with its neighbour.
pub trait Span: Clone {
    /// The first address.
    fn start(&self) -> u64;
    /// The first address behind.
    fn end(&self) -> u64;
    /// The lowest address that a gap search must leave free below (a growing stack's guard gap); at most `start`.
    fn floor(&self) -> u64 {
        self.start()
    }
    /// Cuts at `at`, strictly inside: `self` keeps what is below, the rest is returned.
    fn split_off(&mut self, at: u64) -> Self;
    /// Takes in `next`, which begins where this ends, if both are parts of one thing.
    fn try_merge(&mut self, next: &Self) -> bool;
}

/// The most spans of one block.
const MAX: usize = 64;

#[derive(Clone)]
struct Block<S> {
    items: Vec<S>,
    max_gap: u64,
}

/// Where a span sits: block and index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct At(usize, usize);

/// The set of spans.
#[derive(Clone)]
pub struct SpanTree<S> {
    blocks: Vec<Block<S>>,
    len: usize,
}

impl<S: Span> Default for SpanTree<S> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<S: Span> SpanTree<S> {
    /// The number of spans.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The span that holds `addr`.
    pub fn find(&self, addr: u64) -> Option<&S> {
        self.at_or_after(addr).filter(|s| s.start() <= addr)
    }

    /// The first span that ends above `addr` (Linux's `find_vma`).
    pub fn at_or_after(&self, addr: u64) -> Option<&S> {
        self.get(self.locate(addr))
    }

    /// The last span that ends at or below `addr`.
    pub fn before(&self, addr: u64) -> Option<&S> {
        self.get(self.prev(self.locate(addr))?)
    }

    /// All spans, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &S> {
        self.blocks.iter().flat_map(|b| b.items.iter())
    }

    /// The spans that overlap `range`, in order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &S> {
        let At(block, index) = self.locate(range.start);
        let first = self
            .blocks
            .get(block)
            .and_then(|b| b.items.get(index..))
            .unwrap_or_default();
        let rest = self
            .blocks
            .get(block.saturating_add(1)..)
            .unwrap_or_default();
        first
            .iter()
            .chain(rest.iter().flat_map(|b| b.items.iter()))
            .take_while(move |s| s.start() < range.end)
    }

    /// Whether the spans cover all of `range`.
    pub fn covers(&self, range: Range<u64>) -> bool {
        let mut reached = range.start;
        for span in self.overlapping(range.clone()) {
            if span.start() > reached {
                return false;
            }
            reached = span.end();
        }
        reached >= range.end
    }

    /// Adds a span where nothing is, and joins it with its neighbours.
    pub fn insert(&mut self, span: S) {
        let (start, end) = (span.start(), span.end());
        debug_assert!(
            start < end && self.overlapping(start..end).next().is_none(),
            "span {start:x}-{end:x} overlaps"
        );
        let at = self.locate(start);
        self.insert_at(at, span);
        self.merge_around(start..end);
    }

    /// Takes out everything in `range`, cutting what crosses its ends.
    pub fn remove(&mut self, range: Range<u64>) -> Vec<S> {
        let mut removed = Vec::new();
        self.split_at(range.start);
        self.split_at(range.end);
        loop {
            let at = self.locate(range.start);
            if self.get(at).is_none_or(|s| s.start() >= range.end) {
                return removed;
            }
            removed.extend(self.remove_at(at));
        }
    }

    /// Changes each part of a span that lies in `range`, then joins what has become equal. `change` must keep the ranges.
    pub fn update(&mut self, range: Range<u64>, mut change: impl FnMut(&mut S)) {
        self.split_at(range.start);
        self.split_at(range.end);
        let mut at = self.locate(range.start);
        while let Some(span) = self.get_mut(at) {
            if span.start() >= range.end {
                break;
            }
            change(span);
            at = self.next(at);
        }
        self.refresh_range(range.clone());
        self.merge_around(range);
    }

    /// The highest free range of `len` bytes in `within`, its start a multiple of `align` (a power of two).
    pub fn gap_top_down(&self, len: u64, within: Range<u64>, align: u64) -> Option<u64> {
        let fits = |low: u64, top: u64| {
            let low = low.max(within.start);
            let addr = top.checked_sub(len)? & !align.wrapping_sub(1);
            (addr >= low).then_some(addr)
        };
        let mut top = within.end;
        let start = self.locate(within.end);
        if let Some(above) = self.get(start) {
            top = top.min(above.floor());
        }
        let mut at = self.prev(start);
        while let Some(here) = at {
            let At(block, index) = here;
            let whole = self.blocks.get(block)?;
            let span = whole.items.get(index)?;
            if let Some(addr) = fits(span.end(), top) {
                return Some(addr);
            }
            if span.end() <= within.start {
                return None;
            }
            // From a block's last span on, its own gaps can be judged at once.
            if whole.max_gap < len && index.saturating_add(1) == whole.items.len() {
                top = within.end.min(whole.items.first()?.floor());
                at = self.prev(At(block, 0));
            } else {
                top = within.end.min(span.floor());
                at = self.prev(here);
            }
        }
        fits(within.start, top)
    }

    /// The lowest free range of `len` bytes in `within`, its start a multiple of `align` (a power of two).
    pub fn gap_bottom_up(&self, len: u64, within: Range<u64>, align: u64) -> Option<u64> {
        let fits = |low: u64, top: u64| {
            let addr = low.checked_add(align.wrapping_sub(1))? & !align.wrapping_sub(1);
            (addr.checked_add(len)? <= top.min(within.end)).then_some(addr)
        };
        let mut low = within.start;
        let mut at = self.locate(within.start);
        loop {
            let At(block, index) = at;
            let Some(whole) = self.blocks.get(block) else {
                break;
            };
            if whole.max_gap < len && index == 0 {
                low = low.max(whole.items.last()?.end());
                at = At(block.saturating_add(1), 0);
                continue;
            }
            let span = whole.items.get(index)?;
            if let Some(addr) = fits(low, span.floor()) {
                return Some(addr);
            }
            if span.start() >= within.end {
                return None;
            }
            low = low.max(span.end());
            at = self.next(at);
        }
        fits(low, within.end)
    }

    /// Cuts the span that has `addr` strictly inside.
    fn split_at(&mut self, addr: u64) {
        let At(block, index) = self.locate(addr);
        let Some(span) = self.get_mut(At(block, index)) else {
            return;
        };
        if span.start() < addr {
            let upper = span.split_off(addr);
            self.insert_at(At(block, index.saturating_add(1)), upper);
        }
    }

    /// Joins neighbours, from the span before `range` to the one behind it.
    fn merge_around(&mut self, range: Range<u64>) {
        let mut at = self.locate(range.start);
        if let Some(prev) = self.prev(at) {
            at = prev;
        }
        loop {
            let next = self.next(at);
            let Some(following) = self.get(next) else {
                return;
            };
            if following.start() > range.end {
                return;
            }
            let following = following.clone();
            let joined = self
                .get_mut(at)
                .is_some_and(|s| s.end() == following.start() && s.try_merge(&following));
            if joined {
                self.remove_at(next);
                // The removed span may have been its block's only one; `at` lies before it and stays.
            } else {
                at = next;
            }
        }
    }

    /// The place of the first span that ends above `addr`; the end if there is none.
    fn locate(&self, addr: u64) -> At {
        let block = self
            .blocks
            .partition_point(|b| b.items.last().is_none_or(|s| s.end() <= addr));
        let index = self
            .blocks
            .get(block)
            .map_or(0, |b| b.items.partition_point(|s| s.end() <= addr));
        At(block, index)
    }

    fn get(&self, At(block, index): At) -> Option<&S> {
        self.blocks.get(block)?.items.get(index)
    }

    fn get_mut(&mut self, At(block, index): At) -> Option<&mut S> {
        self.blocks.get_mut(block)?.items.get_mut(index)
    }

    fn next(&self, At(block, index): At) -> At {
        let next = index.saturating_add(1);
        if self.blocks.get(block).is_some_and(|b| next < b.items.len()) {
            At(block, next)
        } else {
            At(block.saturating_add(1), 0)
        }
    }

    fn prev(&self, At(block, index): At) -> Option<At> {
        if let Some(before) = index.checked_sub(1) {
            return Some(At(block, before));
        }
        let block = block.checked_sub(1)?;
        Some(At(
            block,
            self.blocks.get(block)?.items.len().checked_sub(1)?,
        ))
    }

    fn insert_at(&mut self, At(block, index): At, span: S) {
        self.len = self.len.saturating_add(1);
        // Behind the last block means behind its last span.
        let (block, index) = match self.blocks.len().checked_sub(1) {
            None => {
                self.blocks.push(Block {
                    items: Vec::new(),
                    max_gap: 0,
                });
                (0, 0)
            }
            Some(last) if block > last => {
                (last, self.blocks.get(last).map_or(0, |b| b.items.len()))
            }
            Some(_) => (block, index),
        };
        let mut tail = None;
        if let Some(b) = self.blocks.get_mut(block) {
            b.items.insert(index.min(b.items.len()), span);
            if b.items.len() > MAX {
                // Appending in order is the common way to grow: leave the old block full rather than half empty.
                let cut = if index.saturating_add(1) == b.items.len() {
                    MAX
                } else {
                    MAX / 2
                };
                tail = Some(b.items.split_off(cut));
            }
        }
        if let Some(items) = tail {
            self.blocks
                .insert(block.saturating_add(1), Block { items, max_gap: 0 });
            self.refresh(block.saturating_add(2));
        }
        self.refresh(block);
        self.refresh(block.saturating_add(1));
    }

    fn remove_at(&mut self, At(block, index): At) -> Option<S> {
        let b = self.blocks.get_mut(block)?;
        if index >= b.items.len() {
            return None;
        }
        let span = b.items.remove(index);
        self.len = self.len.saturating_sub(1);
        if b.items.is_empty() {
            self.blocks.remove(block);
        }
        self.refresh(block);
        self.refresh(block.saturating_add(1));
        Some(span)
    }

    /// Computes a block's `max_gap` anew. It depends on the block and on the end of the span before it.
    fn refresh(&mut self, block: usize) {
        let mut end = block
            .checked_sub(1)
            .and_then(|b| self.blocks.get(b))
            .and_then(|b| b.items.last())
            .map_or(0, Span::end);
        let Some(b) = self.blocks.get_mut(block) else {
            return;
        };
        b.max_gap = 0;
        for span in &b.items {
            b.max_gap = b.max_gap.max(span.floor().saturating_sub(end));
            end = span.end();
        }
    }

    fn refresh_range(&mut self, range: Range<u64>) {
        let At(first, _) = self.locate(range.start);
        let At(last, _) = self.locate(range.end);
        for block in first..=last.saturating_add(1).min(self.blocks.len()) {
            self.refresh(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Part {
        range: Range<u64>,
        tag: u8,
    }

    impl Span for Part {
        fn start(&self) -> u64 {
            self.range.start
        }
        fn end(&self) -> u64 {
            self.range.end
        }
        fn floor(&self) -> u64 {
            // Tag 3 stands for a stack.
            if self.tag == 3 {
                self.range.start.saturating_sub(2)
            } else {
                self.range.start
            }
        }
        fn split_off(&mut self, at: u64) -> Self {
            let upper = Self {
                range: at..self.range.end,
                tag: self.tag,
            };
            self.range.end = at;
            upper
        }
        fn try_merge(&mut self, next: &Self) -> bool {
            let same = self.tag == next.tag;
            if same {
                self.range.end = next.range.end;
            }
            same
        }
    }

    const TOP: u64 = 600;

    /// The model: one tag per address.
    type Model = Vec<Option<u8>>;

    fn parts(model: &Model) -> Vec<Part> {
        let mut out: Vec<Part> = Vec::new();
        for (addr, tag) in model.iter().enumerate() {
            let addr = addr as u64;
            match (tag, out.last_mut()) {
                (Some(tag), Some(last)) if last.range.end == addr && last.tag == *tag => {
                    last.range.end += 1
                }
                (Some(tag), _) => out.push(Part {
                    range: addr..addr + 1,
                    tag: *tag,
                }),
                _ => {}
            }
        }
        out
    }

    fn free(model: &Model, addr: u64, len: u64) -> bool {
        // Only the span right above keeps a guard: what lies between would be in its way already.
        let above = (addr + len..addr + len + 2)
            .find_map(|a| model.get(a as usize).copied().flatten().map(|tag| (a, tag)));
        let guard = matches!(above, Some((_, 3)));
        (addr..addr + len).all(|a| model[a as usize].is_none()) && !guard
    }

    #[derive(Clone, Debug)]
    enum Op {
        Put(u64, u64, u8),
        Remove(u64, u64),
        Retag(u64, u64, u8),
        Gap(u64, u64, u64, u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        let at = 0..TOP - 40;
        prop_oneof![
            4 => (at.clone(), 1..12u64, 0..4u8).prop_map(|(a, l, t)| Op::Put(a, l, t)),
            1 => (at.clone(), 1..40u64).prop_map(|(a, l)| Op::Remove(a, l)),
            2 => (at.clone(), 1..30u64, 0..4u8).prop_map(|(a, l, t)| Op::Retag(a, l, t)),
            2 => (at.clone(), at, 1..20u64, 0..4u32).prop_map(|(a, b, l, s)| Op::Gap(a.min(b), a.max(b), l, s)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_an_array(ops in proptest::collection::vec(op(), 1..500)) {
            let mut model: Model = vec![None; TOP as usize];
            let mut tree = SpanTree::default();
            for op in ops {
                match op {
                    Op::Put(a, l, t) => {
                        tree.remove(a..a + l);
                        tree.insert(Part { range: a..a + l, tag: t });
                        model[a as usize..(a + l) as usize].fill(Some(t));
                    }
                    Op::Remove(a, l) => {
                        tree.remove(a..a + l);
                        model[a as usize..(a + l) as usize].fill(None);
                    }
                    Op::Retag(a, l, t) => {
                        tree.update(a..a + l, |p| p.tag = t);
                        for cell in model[a as usize..(a + l) as usize].iter_mut().flatten() {
                            *cell = t;
                        }
                    }
                    Op::Gap(lo, hi, len, shift) => {
                        let align = 1u64 << shift;
                        let candidates: Vec<u64> = (lo..hi.saturating_sub(len - 1)).filter(|a| a % align == 0 && free(&model, *a, len)).collect();
                        prop_assert_eq!(tree.gap_bottom_up(len, lo..hi, align), candidates.first().copied());
                        prop_assert_eq!(tree.gap_top_down(len, lo..hi, align), candidates.last().copied());
                    }
                }
                let expected = parts(&model);
                prop_assert_eq!(tree.iter().cloned().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(tree.len(), expected.len());
                for probe in [0, 17, 100, 299, TOP - 1] {
                    prop_assert_eq!(tree.find(probe).map(|p| p.tag), model[probe as usize]);
                    let after = expected.iter().find(|p| p.range.end > probe);
                    prop_assert_eq!(tree.at_or_after(probe), after);
                    let before = expected.iter().rev().find(|p| p.range.end <= probe);
                    prop_assert_eq!(tree.before(probe), before);
                }
                prop_assert_eq!(tree.covers(50..60), model[50..60].iter().all(Option::is_some));
            }
        }
    }

    #[test]
    fn thousands_of_spans() {
        let mut tree = SpanTree::default();
        for i in 0..5000u64 {
            tree.insert(Part {
                range: i * 16..i * 16 + 8,
                tag: (i % 2) as u8,
            });
        }
        assert_eq!(tree.len(), 5000);
        assert_eq!(tree.gap_bottom_up(8, 0..1 << 40, 1), Some(8));
        assert_eq!(tree.gap_bottom_up(9, 0..1 << 40, 1), Some(4999 * 16 + 8));
        assert_eq!(tree.gap_top_down(9, 0..5000 * 16, 1), None);
        tree.remove(16_000..16_032);
        assert_eq!(tree.gap_top_down(9, 0..5000 * 16 - 8, 1), Some(16_032 - 9));
        assert_eq!(tree.gap_bottom_up(9, 0..1 << 40, 1), Some(15_992));
    }
}
