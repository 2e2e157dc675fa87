//! The bytes of one regular file: extents of the page store.
//!
//! ```text
//!   file offset   0        64K       128K                256K                          512K …
//!   extent        [  64K  ][  64K  ][      128K       ][           256K              ][ … up to 64 MiB each
//! ```
//!
//! An extent is store space for its whole range, taken at the first write or mapping in it; its pages cost memory (and count against the filesystem's
//! size) only once they hold data. Where a page has no data, store and file read as zeroes. Guests that map the file write to the store behind our back: pages
//! are counted when they are mapped.

use super::ranges::Ranges;
use super::store::PageStore;
use super::usage::Usage;
use abi::Errno;

const PAGE: u64 = 4096;
const FIRST_EXTENT: u64 = 64 * 1024;
const LARGEST_EXTENT: u64 = 64 << 20;
/// Extents one file may have: keeps a mapping of a huge sparse file from filling the sentry.
const EXTENTS_MAX: usize = 1 << 20;

/// Where the extent around `offset` starts, and its length.
fn extent_at(offset: u64) -> (u64, u64) {
    if offset < FIRST_EXTENT {
        return (0, FIRST_EXTENT);
    }
    let len = (1u64 << offset.ilog2().min(63)).min(LARGEST_EXTENT);
    (offset & !len.wrapping_sub(1), len)
}

struct Extent {
    start: u64,
    len: u64,
    store: u64,
    /// Pages that hold data and are counted.
    data: Ranges,
}

impl Extent {
    fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
    /// Page number in the extent of a file offset in it.
    fn page(&self, offset: u64) -> u32 {
        u32::try_from(offset.saturating_sub(self.start) / PAGE).unwrap_or(u32::MAX)
    }
    fn page_up(&self, offset: u64) -> u32 {
        u32::try_from(offset.saturating_sub(self.start).div_ceil(PAGE)).unwrap_or(u32::MAX)
    }
    fn at(&self, offset: u64) -> u64 {
        self.store.saturating_add(offset.saturating_sub(self.start))
    }
}

/// Ranges of the store that a file no longer uses: free them when nobody maps them any more.
#[must_use = "free them with `Data::release`"]
#[derive(Default)]
pub struct Freed(Vec<(u64, u64)>);

/// The extents of a file, ascending.
#[derive(Default)]
pub struct Data {
    extents: Vec<Extent>,
    size: u64,
    /// Pages counted, over all extents.
    pages: u64,
    /// Pages were mapped that the limit did not let us count: any page of an extent may hold data.
    uncounted: bool,
}

impl Data {
    /// The file's length.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Pages that hold data.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    fn find(&self, offset: u64) -> Result<usize, usize> {
        self.extents.binary_search_by(|e| {
            if e.end() <= offset {
                std::cmp::Ordering::Less
            } else if e.start > offset {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
    }

    fn extent(&self, offset: u64) -> Option<&Extent> {
        self.extents.get(self.find(offset).ok()?)
    }

    /// The extent around `offset`, made if need be.
    fn extent_mut(&mut self, store: &dyn PageStore, offset: u64) -> Result<&mut Extent, Errno> {
        let index = match self.find(offset) {
            Ok(index) => index,
            Err(index) => {
                if self.extents.len() >= EXTENTS_MAX {
                    return Err(Errno::ENOMEM);
                }
                let (start, len) = extent_at(offset);
                let at = store.allocate(len)?;
                self.extents.insert(
                    index,
                    Extent {
                        start,
                        len,
                        store: at,
                        data: Ranges::default(),
                    },
                );
                index
            }
        };
        self.extents.get_mut(index).ok_or(Errno::EIO)
    }

    /// Reads at `offset`; short at the end of the file.
    pub fn read(&self, store: &dyn PageStore, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let left = self.size.saturating_sub(offset);
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let mut done = 0;
        while done < want {
            let at = offset.saturating_add(done as u64);
            let (end, source) = match self.extent(at) {
                Some(extent) => (extent.end(), Some(extent.at(at))),
                None => {
                    let (start, len) = extent_at(at);
                    (start.saturating_add(len), None)
                }
            };
            let n = usize::try_from(end.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(want.saturating_sub(done));
            let Some(piece) = buf.get_mut(done..done.saturating_add(n)) else {
                break;
            };
            match source {
                Some(source) => store.read_at(source, piece)?,
                None => piece.fill(0),
            }
            done = done.saturating_add(n);
        }
        Ok(done)
    }

    /// Writes at `offset`, growing the file. Short when space runs out; `ENOSPC` when nothing fits.
    pub fn write(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        buf: &[u8],
        offset: u64,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        let mut result = Ok(());
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            match self.write_piece(store, usage, buf.get(done..).unwrap_or_default(), at) {
                Ok(n) => done = done.saturating_add(n),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.size = self.size.max(if done == 0 {
            0
        } else {
            offset.saturating_add(done as u64)
        });
        if done == 0 {
            result.map(|()| 0)
        } else {
            Ok(done)
        }
    }

    /// Writes within one extent; at least one byte.
    fn write_piece(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        buf: &[u8],
        at: u64,
    ) -> Result<usize, Errno> {
        let extent = self.extent_mut(store, at)?;
        let room = usize::try_from(extent.end().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut n = buf.len().min(room);
        let first = extent.page(at);
        let mut last = extent.page_up(at.saturating_add(n as u64));
        let mut missing = u64::from(
            last.saturating_sub(first)
                .saturating_sub(extent.data.count(first, last)),
        );
        if missing != 0 && usage.charge(missing).is_err() {
            // Page by page, as far as there is space.
            missing = 0;
            let mut page = first;
            while page < last {
                if extent.data.next_out(page) == page {
                    if usage.charge(1).is_err() {
                        break;
                    }
                    missing = missing.saturating_add(1);
                }
                page = page.saturating_add(1);
            }
            if page == first {
                return Err(Errno::ENOSPC);
            }
            last = page;
            let end = extent
                .start
                .saturating_add(u64::from(last).saturating_mul(PAGE));
            n = n.min(usize::try_from(end.saturating_sub(at)).unwrap_or(0));
        }
        let to = extent.at(at);
        extent.data.insert(first, last);
        self.pages = self.pages.saturating_add(missing);
        store.write_at(to, buf.get(..n).unwrap_or_default())?;
        Ok(n)
    }

    /// Sets the length. What is cut off is returned, to be freed once it is unmapped everywhere.
    pub fn set_size(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        size: u64,
    ) -> Result<Freed, Errno> {
        let mut freed = Freed::default();
        if size <= self.size {
            let keep = self.extents.partition_point(|e| e.start < size);
            let mut gone = 0u64;
            for extent in self.extents.drain(keep..) {
                gone = gone.saturating_add(u64::from(extent.data.count(0, u32::MAX)));
                freed.0.push((extent.store, extent.len));
            }
            self.pages = self.pages.saturating_sub(gone);
            usage.uncharge(gone);
            if size < self.size {
                let end = self.extents.last().map_or(size, Extent::end);
                self.punch(store, usage, size, end)?;
            }
        }
        self.size = size;
        Ok(freed)
    }

    /// Gives freed ranges back to the store.
    pub fn release(store: &dyn PageStore, freed: Freed) {
        for (offset, len) in freed.0 {
            store.free(offset, len);
        }
    }

    /// Everything, at the end of the file's life.
    pub fn take_all(&mut self, usage: &Usage) -> Freed {
        usage.uncharge(self.pages);
        self.pages = 0;
        Freed(self.extents.drain(..).map(|e| (e.store, e.len)).collect())
    }

    /// Makes `[start, end)` read as zeroes; whole pages give their memory back.
    pub fn punch(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let mut freed = 0u64;
        let mut result = Ok(());
        let any = self.uncounted;
        let from = self.extents.partition_point(|e| e.end() <= start);
        for extent in self
            .extents
            .iter_mut()
            .skip(from)
            .take_while(|e| e.start < end)
        {
            let (start, end) = (start.max(extent.start), end.min(extent.end()));
            let first_whole = start.next_multiple_of(PAGE);
            let last_whole = end & !(PAGE - 1);
            let zeroes = [0u8; PAGE as usize];
            let clear = |from: u64, to: u64| match zeroes
                .get(..usize::try_from(to.saturating_sub(from)).unwrap_or(0))
            {
                Some(zeroes) if from < to => store.write_at(extent.at(from), zeroes),
                _ => Ok(()),
            };
            // The pages at both ends keep the rest of their data; they are touched only if they have any.
            let has_data = |from: u64, to: u64| {
                any || extent.data.count(extent.page(from), extent.page_up(to)) != 0
            };
            if first_whole > last_whole {
                // Within one page.
                if has_data(start, end) {
                    result = result.and(clear(start, end));
                }
                continue;
            }
            if has_data(start, first_whole) {
                result = result.and(clear(start, first_whole));
            }
            if has_data(last_whole, end) {
                result = result.and(clear(last_whole, end));
            }
            if first_whole < last_whole {
                result = result.and(store.zero(
                    extent.at(first_whole),
                    last_whole.saturating_sub(first_whole),
                ));
                let (a, b) = (extent.page(first_whole), extent.page(last_whole));
                freed = freed.saturating_add(u64::from(extent.data.count(a, b)));
                extent.data.remove(a, b);
            }
        }
        self.pages = self.pages.saturating_sub(freed);
        usage.uncharge(freed);
        result
    }

    /// Reserves the pages of `[start, end)`: all or nothing.
    pub fn reserve(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        // What is missing, before anything is made: holes between extents count whole.
        let first_page = start / PAGE;
        let total = end.div_ceil(PAGE).saturating_sub(first_page);
        let from = self.extents.partition_point(|e| e.end() <= start);
        let overlapping = self.extents.iter().skip(from).take_while(|e| e.start < end);
        let have: u64 = overlapping
            .map(|e| {
                u64::from(
                    e.data
                        .count(e.page(start.max(e.start)), e.page_up(end.min(e.end()))),
                )
            })
            .fold(0, u64::saturating_add);
        let missing = total.saturating_sub(have);
        usage.charge(missing)?;
        let mut counted = 0u64;
        let result = self.each_extent(store, start, end, |extent, start, end| {
            let (a, b) = (extent.page(start), extent.page_up(end));
            counted = counted.saturating_add(u64::from(
                b.saturating_sub(a).saturating_sub(extent.data.count(a, b)),
            ));
            extent.data.insert(a, b);
        });
        usage.uncharge(missing.saturating_sub(counted));
        self.pages = self.pages.saturating_add(counted);
        result
    }

    fn each_extent(
        &mut self,
        store: &dyn PageStore,
        start: u64,
        end: u64,
        mut f: impl FnMut(&mut Extent, u64, u64),
    ) -> Result<(), Errno> {
        let mut at = start;
        while at < end {
            let extent = self.extent_mut(store, at)?;
            let stop = extent.end().min(end);
            f(extent, at, stop);
            at = stop;
        }
        Ok(())
    }

    /// The pieces of the store behind `[start, end)` (page aligned), neighbours joined. With `count` the pages are counted as data, as far as space allows.
    pub fn map(
        &mut self,
        store: &dyn PageStore,
        usage: &Usage,
        start: u64,
        end: u64,
        count: bool,
    ) -> Result<Vec<(u64, u64)>, Errno> {
        if count {
            // A guest may write there at any time. Over the limit it maps all the same: Linux would not count before the first touch.
            match self.reserve(store, usage, start, end) {
                Ok(()) => {}
                Err(Errno::ENOSPC) => self.uncounted = true,
                Err(error) => return Err(error),
            }
        }
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        let known: Vec<u64> = self.starts_in(start, end);
        let mapped = self.each_extent(store, start, end, |extent, start, end| {
            let (at, len) = (extent.at(start), end.saturating_sub(start));
            match pieces.last_mut() {
                Some(last) if last.0.saturating_add(last.1) == at => {
                    last.1 = last.1.saturating_add(len)
                }
                _ => pieces.push((at, len)),
            }
        });
        if mapped.is_err() {
            // A file may be larger than the store is: what was taken for its holes must not be missing elsewhere.
            for new in self.starts_in(start, end).into_iter().rev() {
                if known.binary_search(&new).is_err()
                    && let Ok(index) = self.find(new)
                {
                    let extent = self.extents.remove(index);
                    store.free(extent.store, extent.len);
                }
            }
        }
        mapped.map(|()| pieces)
    }

    /// Where the extents in `[start, end)` begin.
    fn starts_in(&self, start: u64, end: u64) -> Vec<u64> {
        let from = self.extents.partition_point(|e| e.end() <= start);
        let there = self.extents.iter().skip(from).map(|e| e.start);
        there.take_while(|start| *start < end).collect()
    }

    /// `SEEK_DATA`: the first byte of data at or after `offset`; `ENXIO` when there is none.
    pub fn seek_data(&self, offset: u64) -> Result<u64, Errno> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        let from = self.extents.partition_point(|e| e.end() <= offset);
        for extent in self.extents.iter().skip(from) {
            if let Some(page) = extent.data.next_in(extent.page(offset)) {
                let at = extent
                    .start
                    .saturating_add(u64::from(page).saturating_mul(PAGE))
                    .max(offset);
                return if at < self.size {
                    Ok(at)
                } else {
                    Err(Errno::ENXIO)
                };
            }
        }
        Err(Errno::ENXIO)
    }

    /// `SEEK_HOLE`: the first hole at or after `offset`; the end of the file counts as one.
    pub fn seek_hole(&self, offset: u64) -> Result<u64, Errno> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        let mut at = offset;
        while let Some(extent) = self.extent(at) {
            let hole = extent.start.saturating_add(
                u64::from(extent.data.next_out(extent.page(at))).saturating_mul(PAGE),
            );
            if hole < extent.end() {
                return Ok(hole.max(at).min(self.size));
            }
            at = extent.end();
        }
        Ok(at.min(self.size))
    }
}
