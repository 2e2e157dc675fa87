//! Record locks: who holds which bytes. Locks of one owner never overlap; equal neighbours are one record.

use abi::Errno;

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `F_RDLCK`, `LOCK_SH`
    Read,
    /// `F_WRLCK`, `LOCK_EX`
    Write,
}

/// Who holds a record lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A descriptor table (a process), by a number that is never reused.
    Posix(u64),
    /// An open file description, by [`crate::File::id`].
    Ofd(u64),
}

/// Bytes, both ends included; up to `i64::MAX`, which means the end of the file wherever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    /// The end of everything.
    pub const MAX: u64 = i64::MAX as u64;

    /// From `struct flock`: `base` is what `l_whence` refers to (0, the offset, the size).
    pub fn new(base: u64, start: i64, len: i64) -> Result<Self, Errno> {
        let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
        let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
        if start < 0 {
            return Err(Errno::EINVAL);
        }
        let (first, last) = match len {
            0 => (start, i64::MAX),
            1.. => (
                start,
                start
                    .checked_add(len.saturating_sub(1))
                    .ok_or(Errno::EOVERFLOW)?,
            ),
            _ => (
                start.checked_add(len).ok_or(Errno::EINVAL)?,
                start.saturating_sub(1),
            ),
        };
        let end = u64::try_from(last).map_err(|_| Errno::EINVAL)?;
        Ok(Self {
            start: u64::try_from(first).map_err(|_| Errno::EINVAL)?,
            end,
        })
    }

    /// `l_len` for `F_GETLK`: 0 up to the end of everything.
    pub fn len(self) -> i64 {
        if self.end == Self::MAX {
            0
        } else {
            i64::try_from(self.end.saturating_sub(self.start).saturating_add(1)).unwrap_or(0)
        }
    }

    fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn touches(self, other: Self) -> bool {
        self.start <= other.end.saturating_add(1) && other.start <= self.end.saturating_add(1)
    }
}

/// A lock held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    pub owner: Owner,
    pub kind: Kind,
    pub range: Range,
    pub pid: i32,
}

#[derive(Default)]
pub(super) struct Records(Vec<Record>);

impl Records {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn all(&self) -> &[Record] {
        &self.0
    }

    /// The first record that stands in the way.
    pub fn conflict(&self, owner: Owner, kind: Kind, range: Range) -> Option<Record> {
        let in_way = |r: &&Record| {
            r.owner != owner
                && r.range.overlaps(range)
                && (kind == Kind::Write || r.kind == Kind::Write)
        };
        self.0
            .iter()
            .filter(in_way)
            .min_by_key(|r| r.range.start)
            .copied()
    }

    /// Gives `owner` exactly `kind` on `range`, whatever it had there before; `None` nothing.
    pub fn set(&mut self, owner: Owner, kind: Option<Kind>, range: Range, pid: i32) {
        let mut new = range;
        let mut parts: [Option<Record>; 2] = [None, None];
        self.0.retain(|r| {
            if r.owner != owner || !r.range.touches(range) {
                return true;
            }
            if Some(r.kind) == kind {
                // Neighbour or overlap of the same kind: becomes part of the new record. It cannot reach a third one, for that would be part of it already.
                new = Range {
                    start: new.start.min(r.range.start),
                    end: new.end.max(r.range.end),
                };
                return false;
            }
            if !r.range.overlaps(range) {
                return true;
            }
            // Of another kind: what lies outside stays. Left and right remainders come from at most one record each.
            if r.range.start < range.start {
                parts[0] = Some(Record {
                    range: Range {
                        start: r.range.start,
                        end: range.start.saturating_sub(1),
                    },
                    ..*r
                });
            }
            if r.range.end > range.end {
                parts[1] = Some(Record {
                    range: Range {
                        start: range.end.saturating_add(1),
                        end: r.range.end,
                    },
                    ..*r
                });
            }
            false
        });
        self.0.extend(parts.into_iter().flatten());
        if let Some(kind) = kind {
            self.0.push(Record {
                owner,
                kind,
                range: new,
                pid,
            });
        }
    }

    pub fn remove_owner(&mut self, owner: Owner) {
        self.0.retain(|r| r.owner != owner);
    }
}
