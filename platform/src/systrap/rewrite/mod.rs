//! Call-site rewriting: a `syscall` of a program's or library's text that is used more than once becomes a jump to code of ours
//! ([`code`]), which can do better than the instruction, and at the least makes the same call.
//!
//! It only accelerates: a site that is missed meets the same filter. A rewritten page is made once per sandbox, in the memory file, and mapped over
//! the file's own page by every address space that maps that page of that file ([`map`]). It is never changed: another site makes another
//! version of it. Programs see neither: reads of guest memory, registers and frames show what would be there without.

mod code;
mod decode;
mod gate;
mod map;
mod page;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{PAGE_SIZE, Result};

use crate::MemoryFile;
use crate::stub::{BASES_LEN, MAX_SITES, SITES_TEXT, SITES_TEXT_LEN, SLOTS_LEN};
use decode::{LEAD, Site};

pub(super) use code::Progress;
pub(super) use gate::{Stage, unwind};
pub(crate) use map::TextMap;
pub(super) use map::{Middle, is_site_code};
pub(crate) use page::{Page, Pages, Request};

/// How many pages of text a sandbox can have rewritten; the word of number 0 is not used.
const MAX_PAGES: u32 = (BASES_LEN / 8) as u32;

/// How many families' words are kept for the next.
const MAX_FREE_FAMILIES: usize = 8;

/// Which file, and which contents of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl FileId {
    /// `None` for one that has changed so lately that the same times may come to stand for other contents.
    fn of(fd: &OwnedFd) -> Option<FileId> {
        let stat = rustix::fs::fstat(fd).ok()?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .ok()?;
        let settled = std::time::Duration::from_millis(100);
        let before = i64::try_from(now.checked_sub(settled)?.as_millis()).ok()?;
        let changed = stat
            .st_ctime
            .checked_mul(1000)?
            .checked_add((stat.st_ctime_nsec / 1_000_000) as i64)?;
        (changed < before).then_some(FileId {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as u64),
        })
    }
}

/// A site whose code is written.
#[derive(Copy, Clone, Debug)]
struct Placed {
    site: Site,
    /// The number of its page.
    page: u32,
}

/// A version of a page of text.
struct TextPage {
    /// The page's number, the same for all versions.
    number: u32,
    /// Where it is in the memory file.
    offset: u64,
    sites: Vec<Rewritten>,
}

/// A site in it.
#[derive(Copy, Clone)]
struct Rewritten {
    site: Site,
    /// The number of its code.
    number: u32,
    /// What was there, and what is: the first [`Site::len`] bytes.
    original: [u8; 8],
    replacement: [u8; 8],
}

impl Rewritten {
    /// In the page.
    fn range(&self) -> std::ops::Range<usize> {
        let start = usize::from(self.site.start);
        start..start + self.site.len()
    }
}

impl TextPage {
    /// The site of the `syscall` at an offset.
    fn site_of(&self, call: u64) -> Option<&Rewritten> {
        self.sites.iter().find(|s| s.site.call() == call)
    }
}

/// What is known of a page of a file.
struct Known {
    number: u32,
    newest: Option<Arc<TextPage>>,
    /// The offsets of calls that are not rewritten.
    refused: HashSet<u64>,
}

#[derive(Default)]
struct Cache {
    pages: HashMap<(FileId, u64), Known>,
    entrances: u32,
    sites: u32,
    numbers: u32,
}

/// What a sandbox has rewritten.
pub(crate) struct Rewriter {
    memory: Arc<MemoryFile>,
    /// The slots and entrances in the memory file.
    low: u64,
    /// The code of sites in it.
    text: u64,
    /// Threads may hand over by their pages.
    spin: bool,
    cache: sync::Mutex<Cache, { sync::level::TEXT_CACHE }>,
    /// Where words of families are that nobody uses: all 0.
    families: sync::Mutex<Vec<u64>, { sync::level::TEXT_CACHE }>,
    /// By number, in pieces that are made when the first of one is wanted.
    sites: Box<[sync::OnceLock<SitePiece>]>,
}

/// How many of the sites are together.
const PIECE: u64 = 64;
type SitePiece = Box<[sync::OnceLock<Placed>]>;

impl Rewriter {
    pub(crate) fn new(memory: &Arc<MemoryFile>, spin: bool) -> Result<Rewriter> {
        let text = memory.allocate(SITES_TEXT_LEN)?;
        memory.write_at(text + (gate::GATE - SITES_TEXT), &gate::page())?;
        Ok(Rewriter {
            low: memory.allocate(SLOTS_LEN)?,
            text,
            spin,
            memory: memory.clone(),
            cache: sync::Mutex::default(),
            families: sync::Mutex::default(),
            sites: (0..MAX_SITES / PIECE)
                .map(|_| sync::OnceLock::new())
                .collect(),
        })
    }

    fn placed(&self, number: u32) -> Option<&Placed> {
        let number = u64::from(number);
        let piece = self.sites.get((number / PIECE) as usize)?.get()?;
        piece.get((number % PIECE) as usize)?.get()
    }

    /// Where that is to be.
    fn place(&self, number: u32) -> Option<&sync::OnceLock<Placed>> {
        let number = u64::from(number);
        let piece = self.sites.get((number / PIECE) as usize)?;
        let piece = piece.get_or_init(|| (0..PIECE).map(|_| sync::OnceLock::new()).collect());
        piece.get((number % PIECE) as usize)
    }

    /// The newest versions of those pages in a range of a file that have been rewritten.
    fn newest_in(&self, file: &FileId, offset: u64, len: u64) -> Vec<(u64, Arc<TextPage>)> {
        let cache = self.cache.lock();
        let within = cache
            .pages
            .iter()
            .filter(|((of, at), _)| of == file && *at >= offset && at.saturating_sub(offset) < len);
        within
            .filter_map(|((_, at), known)| Some((*at, known.newest.clone()?)))
            .collect()
    }

    /// The newest version of a page in which the `syscall` at `at` is rewritten, with which call `nr` was made. `lead`: the bytes before the page
    /// are code, too.
    fn rewrite(
        &self,
        file: &FileId,
        fd: &OwnedFd,
        offset: u64,
        at: u64,
        nr: u32,
        lead: bool,
    ) -> Option<Arc<TextPage>> {
        if let Some(known) = self.cache.lock().pages.get(&(*file, offset)) {
            if known.refused.contains(&at) {
                return None;
            }
            let newest = known.newest.as_ref();
            if let Some(page) = newest.filter(|page| page.site_of(at).is_some()) {
                return Some(page.clone());
            }
        }
        let mut page = [0; PAGE_SIZE as usize];
        read(fd, &mut page, offset)?;
        let lead = if lead { LEAD } else { 0 };
        let mut before = vec![0; lead];
        read(fd, &mut before, offset.checked_sub(lead as u64)?)?;
        let found = decode::site(&before, &page, usize::try_from(at).ok()?, nr);

        let mut cache = self.cache.lock();
        let Cache {
            pages,
            entrances,
            sites,
            numbers,
        } = &mut *cache;
        let known = match pages.entry((*file, offset)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // Numbers begin with 1.
                let number = numbers.checked_add(1).filter(|n| *n < MAX_PAGES)?;
                *numbers = number;
                entry.insert(Known {
                    number,
                    newest: None,
                    refused: HashSet::new(),
                })
            }
        };
        if let Some(newest) = &known.newest
            && newest.site_of(at).is_some()
        {
            return Some(newest.clone());
        }
        let next = found.and_then(|site| self.version(known, &page, site, sites, entrances));
        match next {
            Some(version) => known.newest = Some(version),
            None => {
                known.refused.insert(at);
                return None;
            }
        }
        known.newest.clone()
    }

    /// A version with one more site.
    fn version(
        &self,
        known: &Known,
        original: &[u8; PAGE_SIZE as usize],
        site: Site,
        numbers: &mut u32,
        entrances: &mut u32,
    ) -> Option<Arc<TextPage>> {
        let mut sites = match &known.newest {
            Some(page) => page.sites.clone(),
            None => Vec::new(),
        };
        let number = *numbers;
        let placed = self.place(number)?;
        let entrance = code::entrance(*entrances);
        let mut new = Rewritten {
            site,
            number,
            original: [0; 8],
            replacement: code::replacement(&site, number, entrance.unwrap_or(0)),
        };
        let range = new.range();
        let apart = |s: &Rewritten| s.range().end <= range.start || range.end <= s.range().start;
        if !sites.iter().all(apart) {
            return None;
        }
        let there = original.get(range.clone())?;
        new.original.get_mut(..there.len())?.copy_from_slice(there);
        sites.push(new);

        let put = |at: u64, bytes: &[u8]| self.memory.write_at(at, bytes).ok();
        if let decode::Kind::Compare { .. } = site.kind {
            put(self.low + entrance?, &code::entrance_code(number))?;
            *entrances += 1;
        }
        *numbers += 1;
        let address = code::address(number);
        let code = code::code(&site, number, known.number);
        put(self.text + (address - SITES_TEXT), &code)?;
        put(self.low + code::slot(number), &address.to_le_bytes())?;
        let _ = placed.set(Placed {
            site,
            page: known.number,
        });
        let mut page = *original;
        for site in &sites {
            let range = site.range();
            let replacement = site.replacement.get(..range.len())?;
            page.get_mut(range)?.copy_from_slice(replacement);
        }
        let offset = self.memory.allocate(PAGE_SIZE).ok()?;
        put(offset, &page)?;
        Some(Arc::new(TextPage {
            number: known.number,
            offset,
            sites,
        }))
    }
}

/// Fills `into` from a file; zeroes past its end.
fn read(fd: &OwnedFd, into: &mut [u8], offset: u64) -> Option<()> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(fd, into.get_mut(done..)?, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(())
}

/// Where rewritten pages are in an address space and its copies: the words that are mapped at `BASES`. Once set, a word stays. To be dropped only when
/// no process maps them any more.
pub(crate) struct Family {
    rewriter: Arc<Rewriter>,
    offset: u64,
}

impl Family {
    fn new(rewriter: &Arc<Rewriter>) -> Result<Family> {
        let used = rewriter.families.lock().pop();
        Ok(Family {
            offset: used.map_or_else(|| rewriter.memory.allocate(BASES_LEN), Ok)?,
            rewriter: rewriter.clone(),
        })
    }

    fn words(&self) -> &[AtomicU64] {
        let words = self.rewriter.memory.words(self.offset, BASES_LEN);
        words.unwrap_or_default()
    }

    fn word(&self, number: u32) -> Option<&AtomicU64> {
        self.words().get(number as usize)
    }

    /// May the page be mapped at `base`?
    fn claim(&self, number: u32, base: u64) -> bool {
        let claimed = self
            .word(number)
            .map(|word| word.compare_exchange(0, base, Ordering::SeqCst, Ordering::SeqCst));
        matches!(claimed, Some(Ok(_))) || claimed == Some(Err(base))
    }

    fn base(&self, number: u32) -> Option<u64> {
        self.word(number)
            .map(|word| word.load(Ordering::SeqCst))
            .filter(|base| *base != 0)
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let numbers = self.rewriter.cache.lock().numbers as usize;
        // Giving memory back costs more than all else in ending a short program.
        if self.rewriter.families.lock().len() < MAX_FREE_FAMILIES {
            let words = self.words().iter().take(numbers.saturating_add(1));
            words.for_each(|word| word.store(0, Ordering::SeqCst));
            self.rewriter.families.lock().push(self.offset);
        } else {
            self.rewriter.memory.free(self.offset, BASES_LEN);
        }
    }
}
