//! How many mappings a stub can have at most, so that an order is let through only where the host cannot refuse it for having too many.
//!
//! Every mapping of the host's starts where some order started or ended, and what is mapped or unmapped as a whole has no such place inside. So
//! these places are kept; there are at least as many as there are mappings, whatever the host has merged.

use std::collections::BTreeSet;

use crate::Order;

/// Linux's default for `vm.max_map_count`, and what is left of it for what nobody ordered: the stub's own area, rewritten pages.
const HOST_MAX: usize = 65_530;
const RESERVE: usize = 8192;

/// More than this at once the host may refuse to make writable, because it has not so much memory.
const MODEST: u64 = 64 << 20;

/// See the module.
#[derive(Clone, Default)]
pub struct Edges(BTreeSet<u64>);

impl Edges {
    /// Is it certain that the host does what is ordered?
    pub fn sure(&self, order: &Order) -> bool {
        let modest = match order {
            Order::Protect { len, prot, .. } => {
                *len <= MODEST || !prot.contains(crate::Prot::WRITE)
            }
            _ => true,
        };
        modest && self.0.len() < HOST_MAX - RESERVE
    }

    /// An order has been given. If it has failed, nobody knows how far it came.
    pub fn given(&mut self, order: &Order, done: bool) {
        match *order {
            Order::Map { start, len, .. } | Order::Unmap { start, len } => {
                if done {
                    self.clear(start, len);
                }
                self.ends(start, len);
            }
            Order::Relocate {
                old,
                old_len,
                new,
                new_len,
                dont_unmap,
            } => {
                if done && old != new {
                    self.clear(new, new_len);
                }
                let inner: Vec<u64> = self.inside(old, old_len).collect();
                for edge in inner {
                    self.0.insert(edge.wrapping_sub(old).wrapping_add(new));
                }
                if done && old != new && !dont_unmap {
                    self.clear(old, old_len);
                }
                self.ends(old, old_len);
                self.ends(new, new_len);
            }
            Order::Protect { start, len, .. }
            | Order::Advise { start, len, .. }
            | Order::Lock { start, len, .. }
            | Order::Unlock { start, len } => self.ends(start, len),
        }
    }

    fn inside(&self, start: u64, len: u64) -> impl Iterator<Item = u64> {
        let first = start.saturating_add(1);
        self.0
            .range(first..start.saturating_add(len).max(first))
            .copied()
    }

    fn clear(&mut self, start: u64, len: u64) {
        let gone: Vec<u64> = self.inside(start, len).collect();
        for edge in gone {
            self.0.remove(&edge);
        }
    }

    fn ends(&mut self, start: u64, len: u64) {
        self.0.extend([start, start.saturating_add(len)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backing, MapHint, Prot};

    const PAGE: u64 = 4096;

    fn map(page: u64, pages: u64) -> Order {
        Order::Map {
            start: page * PAGE,
            len: pages * PAGE,
            backing: Backing::Anonymous,
            prot: Prot::READ,
            hint: MapHint::empty(),
        }
    }

    fn protect(page: u64, pages: u64, prot: Prot) -> Order {
        Order::Protect {
            start: page * PAGE,
            len: pages * PAGE,
            prot,
        }
    }

    #[test]
    fn what_is_replaced_does_not_count() {
        let mut edges = Edges::default();
        edges.given(&map(0, 100), true);
        for page in 0..100 {
            edges.given(&protect(page, 1, Prot::WRITE), true);
        }
        assert_eq!(edges.0.len(), 101);
        edges.given(&map(10, 80), false);
        assert_eq!(edges.0.len(), 101);
        edges.given(&map(10, 80), true);
        assert_eq!(edges.0.len(), 22);
        let away = Order::Relocate {
            old: 0,
            old_len: 10 * PAGE,
            new: 1000 * PAGE,
            new_len: 20 * PAGE,
            dont_unmap: false,
        };
        edges.given(&away, true);
        // Two ends and nine places moved; their old ends stay; the new one's end is farther.
        assert_eq!(
            edges.0.len(),
            22 - 9 + 9 + 3 - 1 + usize::from(edges.0.contains(&(1010 * PAGE)))
        );
        edges.given(
            &Order::Unmap {
                start: 0,
                len: 2000 * PAGE,
            },
            true,
        );
        assert_eq!(edges.0.len(), 2);
    }

    #[test]
    fn nothing_is_sure_when_there_are_many() {
        let mut edges = Edges::default();
        let order = protect(0, 1, Prot::WRITE);
        assert!(edges.sure(&order));
        assert!(!edges.sure(&protect(0, 1 << 20, Prot::WRITE)));
        assert!(edges.sure(&protect(0, 1 << 20, Prot::READ)));
        for page in 0..40_000 {
            edges.given(&protect(2 * page, 1, Prot::WRITE), true);
        }
        assert!(!edges.sure(&order));
    }
}
