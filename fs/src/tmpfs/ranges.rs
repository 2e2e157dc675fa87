//! A set of page numbers, as ranges: which pages of an extent hold data.

/// Disjoint, ascending, never touching ranges.
#[derive(Debug, Default)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Index of the first range that ends after `page`.
    fn first_after(&self, page: u32) -> usize {
        self.0.partition_point(|r| r.1 <= page)
    }

    /// How many of the pages `[start, end)` are in the set.
    pub fn count(&self, start: u32, end: u32) -> u32 {
        let from = self.first_after(start);
        let overlap = |r: &(u32, u32)| r.1.min(end).saturating_sub(r.0.max(start));
        self.0
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|r| r.0 < end)
            .map(overlap)
            .fold(0, u32::saturating_add)
    }

    /// Adds `[start, end)`.
    pub fn insert(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        // Ranges that overlap or touch become one.
        let from = self.0.partition_point(|r| r.1 < start);
        let to = self.0.partition_point(|r| r.0 <= end);
        let mut new = (start, end);
        if let Some(first) = self.0.get(from).filter(|_| from < to) {
            new.0 = new.0.min(first.0);
        }
        if let Some(last) = to
            .checked_sub(1)
            .filter(|last| *last >= from)
            .and_then(|last| self.0.get(last))
        {
            new.1 = new.1.max(last.1);
        }
        self.0.splice(from..to, [new]);
    }

    /// Removes `[start, end)`.
    pub fn remove(&mut self, start: u32, end: u32) {
        if start >= end {
            return;
        }
        let from = self.first_after(start);
        let to = self.0.partition_point(|r| r.0 < end);
        if from >= to {
            return;
        }
        let left = self.0.get(from).map(|r| (r.0, start)).filter(|r| r.0 < r.1);
        let right = to
            .checked_sub(1)
            .and_then(|last| self.0.get(last))
            .map(|r| (end, r.1))
            .filter(|r| r.0 < r.1);
        self.0.splice(from..to, left.into_iter().chain(right));
    }

    /// The first page at or after `page` that is in the set.
    pub fn next_in(&self, page: u32) -> Option<u32> {
        self.0.get(self.first_after(page)).map(|r| r.0.max(page))
    }

    /// The first page at or after `page` that is not in the set.
    pub fn next_out(&self, page: u32) -> u32 {
        match self.0.get(self.first_after(page)) {
            Some(r) if r.0 <= page => r.1,
            _ => page,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn like_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..64, 0u32..64), 1..60)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for (add, start, len) in steps {
                let end = start + len % 16;
                if add { ranges.insert(start, end); model.extend(start..end); } else { ranges.remove(start, end); model.retain(|p| !(start..end).contains(p)); }
                prop_assert!(ranges.0.windows(2).all(|w| w[0].1 < w[1].0));
                prop_assert_eq!(ranges.count(3, 50) as usize, model.range(3..50).count());
                for page in 0..80 {
                    prop_assert_eq!(ranges.next_in(page), model.range(page..).next().copied());
                    prop_assert_eq!(ranges.next_out(page), (page..).find(|p| !model.contains(p)).unwrap());
                }
            }
        }
    }
}
