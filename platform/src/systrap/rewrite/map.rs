//! The rewritten text of one address space: where files are mapped to be executed, and over which pages of that a rewritten one is mapped.
//!
//! Every change of the address space comes by here ([`TextMap::apply`]). What changes a mapping that has rewritten pages finds the original there:
//! it is mapped again first. A second mapping of a page that has been rewritten elsewhere keeps the original, since the code of a site knows one
//! address per family of address spaces.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::x86::UserRegs;
use abi::{Iovec, PAGE_SIZE, Result};

use super::code::{self, Progress};
use super::decode::Kind;
use super::{Family, FileId, Page, Pages, Rewriter, TextPage, gate};
use crate::stub::{
    self, BASES, BASES_LEN, DONATED_FD, Entry, PAGES, PAGES_LEN, Process, SITES_TEXT,
    SITES_TEXT_LEN, SLOTS, SLOTS_LEN,
};
use crate::{Backing, MapHint, MemoryFile, Order, Prot};

const READ_EXECUTE: Prot = Prot::READ.union(Prot::EXEC);

/// See the module.
pub(crate) struct TextMap {
    rewriter: Arc<Rewriter>,
    state: sync::Mutex<State, { sync::level::TEXT }>,
    /// Some page may be rewritten: true from before the first is mapped, since another thread may come to be in the middle of a site at once.
    any: AtomicBool,
}

#[derive(Clone, Default)]
struct State {
    /// The guest has something where the slots would be, or the host would not map something.
    off: bool,
    /// What sites need is mapped, with these words.
    family: Option<Arc<Family>>,
    /// By start.
    texts: BTreeMap<u64, Text>,
    /// By address.
    pages: BTreeMap<u64, Arc<TextPage>>,
}

/// Part of a file that is mapped to be executed.
#[derive(Clone)]
struct Text {
    end: u64,
    fd: Arc<OwnedFd>,
    file: FileId,
    offset: u64,
}

impl Text {
    /// The text that an order maps, if it is a file's.
    fn of(order: &Order) -> Option<(u64, Text)> {
        match order {
            Order::Map {
                start,
                len,
                backing:
                    Backing::File {
                        fd,
                        offset,
                        shared: false,
                    },
                prot,
                ..
            } if *prot == READ_EXECUTE => {
                let text = Text {
                    end: start + len,
                    fd: fd.clone(),
                    file: FileId::of(fd)?,
                    offset: *offset,
                };
                Some((*start, text))
            }
            _ => None,
        }
    }
}

/// What is to be mapped for rewritten pages to be seen.
struct Showing {
    family: Arc<Family>,
    entries: Vec<Entry>,
    pages: Vec<(u64, Arc<TextPage>)>,
}

/// So many mappings, at most, are made with one order.
const TOGETHER: usize = 32;

/// Does it matter not whether the order is carried out once or twice in a row?
fn repeatable(order: &Order) -> bool {
    match order {
        Order::Map { hint, .. } => !hint.contains(MapHint::NOREPLACE),
        Order::Unmap { .. } => true,
        _ => false,
    }
}

/// What was in the middle of a site where a thread is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Middle {
    /// The `syscall`: an address where it is made.
    Call(u64),
    /// A comparison, which is done.
    Compared,
}

fn shared(at: u64, len: u64, prot: Prot, offset: u64, flags: i32) -> Entry {
    [
        libc::SYS_mmap as u64,
        at,
        len,
        u64::from(prot.bits()),
        (libc::MAP_SHARED | flags) as u64,
        DONATED_FD,
        offset,
    ]
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The ranges whose mapping an order changes.
fn changed(order: &Order) -> [Range<u64>; 2] {
    let range = |start: u64, len: u64| start..start.saturating_add(len);
    match *order {
        Order::Map { start, len, .. } | Order::Unmap { start, len } => [range(start, len), 0..0],
        Order::Protect { start, len, prot } if prot != READ_EXECUTE => [range(start, len), 0..0],
        Order::Relocate {
            old,
            old_len,
            new,
            new_len,
            ..
        } => [range(old, old_len), range(new, new_len)],
        _ => [0..0, 0..0],
    }
}

impl State {
    fn text(&self, address: u64) -> Option<(u64, &Text)> {
        let (start, text) = self.texts.range(..=address).next_back()?;
        (address < text.end).then_some((*start, text))
    }

    /// Forgets texts in a range, and takes out the pages that are rewritten there.
    fn cut(&mut self, range: &Range<u64>) -> Vec<(u64, Text)> {
        let found: Vec<u64> = self
            .texts
            .range(..range.end)
            .filter(|(_, text)| text.end > range.start)
            .map(|(start, _)| *start)
            .collect();
        let mut pages = Vec::new();
        for start in found {
            let Some(text) = self.texts.remove(&start) else {
                continue;
            };
            let mut keep = |part: Range<u64>| {
                if part.start < part.end {
                    let offset = text.offset + (part.start - start);
                    let end = part.end;
                    self.texts.insert(
                        part.start,
                        Text {
                            end,
                            offset,
                            ..text.clone()
                        },
                    );
                }
            };
            keep(start..range.start.min(text.end));
            keep(range.end.max(start)..text.end);
            let inside = range.start.max(start)..range.end.min(text.end);
            let rewritten: Vec<u64> = self.pages.range(inside).map(|(at, _)| *at).collect();
            for at in rewritten {
                self.pages.remove(&at);
                let offset = text.offset + (at - start);
                pages.push((
                    at,
                    Text {
                        offset,
                        ..text.clone()
                    },
                ));
            }
        }
        pages
    }
}

impl TextMap {
    pub(crate) fn new(rewriter: &Arc<Rewriter>) -> TextMap {
        TextMap {
            rewriter: rewriter.clone(),
            state: sync::Mutex::default(),
            any: AtomicBool::new(false),
        }
    }

    /// That of a copy of the address space, which `copy` makes.
    pub(crate) fn fork<T>(&self, copy: impl FnOnce() -> Result<T>) -> Result<(T, TextMap)> {
        let state = self.state.lock();
        let copy = copy()?;
        let map = TextMap {
            rewriter: self.rewriter.clone(),
            state: sync::Mutex::new(state.clone()),
            any: AtomicBool::new(!state.pages.is_empty()),
        };
        Ok((copy, map))
    }

    /// Where the rewritten pages are, if there are any.
    pub(crate) fn family(&self) -> Option<Arc<Family>> {
        self.state.lock().family.clone()
    }

    /// Has orders carried out, by `carry_out`, on an address space that shows the original where they change something. `carry_out` is given what is
    /// to be mapped of the memory file with them.
    pub(crate) fn apply(
        &self,
        process: &Process,
        orders: &[Order],
        carry_out: impl Fn(&[Entry]) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state.off {
            drop(state);
            return carry_out(&[]);
        }
        let low = SLOTS..SLOTS + SLOTS_LEN;
        let mut originals = Vec::new();
        for range in orders.iter().flat_map(changed) {
            if overlap(&range, &low) {
                originals.extend(state.cut(&(0..u64::MAX)));
                state.off = true;
            } else if range.start < range.end {
                originals.extend(state.cut(&range));
            }
        }
        self.give_back(process, &state, originals)?;
        if state.off {
            if state.family.take().is_some() {
                let (start, len) = (SLOTS, SLOTS_LEN);
                stub::apply(
                    process,
                    &self.rewriter.memory,
                    &[Order::Unmap { start, len }],
                    &[],
                )?;
            }
            drop(state);
            return carry_out(&[]);
        }
        let texts: Vec<(u64, Text)> = orders.iter().filter_map(Text::of).collect();
        let mut known = Vec::new();
        for (start, text) in &texts {
            let pages = self
                .rewriter
                .newest_in(&text.file, text.offset, text.end - start);
            known.extend(
                pages
                    .into_iter()
                    .map(|(at, page)| (start + (at - text.offset), page)),
            );
        }
        let together = !known.is_empty() && known.len() < TOGETHER && orders.iter().all(repeatable);
        let mut show = if together {
            self.showing(&state, &known)
        } else {
            None
        };
        if let Some(Showing { entries, .. }) = &show
            && let Err(error) = carry_out(entries)
        {
            // The orders themselves, or what came with them: then it is done without.
            if let Some(show) = show.take() {
                self.give_up(process, &mut state, &show, error)?;
            }
            drop(state);
            return carry_out(&[]);
        } else if show.is_none() {
            carry_out(&[])?;
        }
        state.texts.extend(texts);
        match show {
            Some(show) => self.shown(process, &mut state, show),
            None if !known.is_empty() => self.show(process, &mut state, &known),
            None => {}
        }
        Ok(())
    }

    /// Maps the file's own pages where rewritten ones were.
    fn give_back(&self, process: &Process, state: &State, pages: Vec<(u64, Text)>) -> Result<()> {
        if pages.is_empty() {
            return Ok(());
        }
        let orders: Vec<Order> = pages
            .into_iter()
            .map(|(start, text)| Order::Map {
                start,
                len: PAGE_SIZE,
                backing: Backing::File {
                    fd: text.fd,
                    offset: text.offset,
                    shared: false,
                },
                prot: READ_EXECUTE,
                hint: MapHint::empty(),
            })
            .collect();
        stub::apply(process, &self.rewriter.memory, &orders, &[])?;
        self.any.store(!state.pages.is_empty(), Ordering::SeqCst);
        Ok(())
    }

    /// How rewritten pages are mapped, and before the first of them what they need.
    fn showing(&self, state: &State, pages: &[(u64, Arc<TextPage>)]) -> Option<Showing> {
        let (fixed, new) = (libc::MAP_FIXED, libc::MAP_FIXED_NOREPLACE);
        let mut entries = Vec::new();
        let family = match &state.family {
            Some(family) => family.clone(),
            None => {
                let family = Family::new(&self.rewriter).ok()?;
                let (low, text) = (self.rewriter.low, self.rewriter.text);
                entries.extend([
                    shared(SLOTS, SLOTS_LEN, READ_EXECUTE, low, new),
                    shared(SITES_TEXT, SITES_TEXT_LEN, READ_EXECUTE, text, fixed),
                    shared(BASES, BASES_LEN, Prot::READ, family.offset, fixed),
                ]);
                Arc::new(family)
            }
        };
        let mut shown = Vec::new();
        for (at, page) in pages {
            if family.claim(page.number, *at) {
                entries.push(shared(*at, PAGE_SIZE, READ_EXECUTE, page.offset, fixed));
                shown.push((*at, page.clone()));
            }
        }
        self.any.store(true, Ordering::SeqCst);
        Some(Showing {
            family,
            entries,
            pages: shown,
        })
    }

    /// It has been done.
    fn shown(&self, process: &Process, state: &mut State, show: Showing) {
        process.keep_family(&show.family);
        state.family = Some(show.family);
        state.pages.extend(show.pages);
    }

    /// It could not be done: no rewritten page is to be seen any more. Most likely the guest has something where the slots would be. Nothing else can
    /// fail but a host without memory.
    fn give_up(
        &self,
        process: &Process,
        state: &mut State,
        show: &Showing,
        error: abi::Errno,
    ) -> Result<()> {
        log::debug!("stub {}: no rewritten text: {error}", process.pid());
        process.keep_family(&show.family);
        state.off = true;
        let new = show.pages.iter().cloned();
        state.pages.extend(
            new.filter(|(at, _)| state.text(*at).is_some())
                .collect::<Vec<_>>(),
        );
        let originals = state.cut(&(0..u64::MAX));
        self.give_back(process, state, originals)
    }

    /// Maps rewritten pages.
    fn show(&self, process: &Process, state: &mut State, pages: &[(u64, Arc<TextPage>)]) {
        let memory: &MemoryFile = &self.rewriter.memory;
        let Some(show) = self.showing(state, pages) else {
            return;
        };
        for entries in show.entries.chunks(TOGETHER) {
            if let Err(error) = process.run(entries, &[memory.as_fd()]) {
                if self.give_up(process, state, &show, error).is_err() {
                    process.kill();
                }
                return;
            }
        }
        self.shown(process, state, show);
    }

    /// Rewrites the site of a call `nr` that came from before `rip`, if it is one.
    pub(crate) fn rewrite(&self, process: &Process, rip: u64, nr: u32) {
        let mut state = self.state.lock();
        if state.off {
            return;
        }
        let Some(call) = rip.checked_sub(2) else {
            return;
        };
        let page = call & !(PAGE_SIZE - 1);
        let Some((start, text)) = state.text(page) else {
            return;
        };
        let offset = text.offset + (page - start);
        let rewriter = &self.rewriter;
        let found = rewriter.rewrite(&text.file, &text.fd, offset, call - page, nr, page > start);
        if let Some(version) = found {
            self.show(process, &mut state, &[(page, version)]);
        }
    }

    /// May its threads hand over by their pages?
    pub(crate) fn spins(&self) -> bool {
        self.rewriter.spin
    }

    /// A page for the guest thread of a seat to share with its sentry thread. `None` if it cannot have one.
    pub(crate) fn page(&self, process: &Process, seat: u64) -> Option<Page> {
        // Held, so that the first threads that want one do not make two.
        let _state = self.state.lock();
        if !gate::possible() {
            return None;
        }
        let pages = match process.pages() {
            Some(pages) => pages.clone(),
            None => {
                let memory = &self.rewriter.memory;
                let pages = Arc::new(Pages::new(memory).ok()?);
                let rights = Prot::READ | Prot::WRITE;
                let private = libc::MADV_DONTFORK as u64;
                let entries = [
                    shared(PAGES, PAGES_LEN, rights, pages.offset, libc::MAP_FIXED),
                    [libc::SYS_madvise as u64, PAGES, PAGES_LEN, private, 0, 0, 0],
                ];
                // Whatever comes of it, they are the process's as long as it lives.
                process.keep(pages.clone());
                match process.run(&entries, &[memory.as_fd()]) {
                    Ok(()) => pages.mapped.store(true, Ordering::SeqCst),
                    Err(error) => log::debug!("stub {}: no pages: {error}", process.pid()),
                }
                pages
            }
        };
        Page::new(&pages, seat)
    }

    /// Where the call came from that was made before `rip`, by the code of a site.
    pub(crate) fn caller(&self, rip: u64) -> Option<u64> {
        let mut user = UserRegs {
            rip,
            ..UserRegs::default()
        };
        self.show_thread(&mut user)?;
        Some(user.rip)
    }

    /// Shows a thread that is in the code of a site as it would be without; how far it is there.
    pub(crate) fn show_thread(&self, user: &mut UserRegs) -> Option<Progress> {
        let (number, within) = code::number(user.rip)?;
        let placed = self.rewriter.placed(number)?;
        let family = self.state.lock().family.clone()?;
        let base = family.base(placed.page)?;
        Some(code::show(&placed.site, within, base, user))
    }

    /// Is a thread in the middle of a site? A comparison is then done.
    pub(crate) fn middle(&self, user: &mut UserRegs) -> Option<Middle> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        let state = self.state.lock();
        let base = user.rip & !(PAGE_SIZE - 1);
        let within = user.rip - base;
        let page = state.pages.get(&base)?;
        let in_it = |s: &&super::Rewritten| match s.site.kind {
            Kind::Number => s.site.call() == within,
            Kind::LongNumber => false,
            Kind::Compare { .. } => s.site.after() == within,
        };
        let found = page.sites.iter().find(in_it)?;
        Some(match found.site.kind {
            Kind::Compare { wide } => {
                code::compare(&found.site, wide, base, user);
                Middle::Compared
            }
            _ => Middle::Call(code::own_call(&found.site, found.number)),
        })
    }

    /// Puts the original bytes into what has been read of guest memory.
    pub(crate) fn unrewrite(&self, remote: &[Iovec], mut bytes: &mut [u8]) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let state = self.state.lock();
        for range in remote {
            let len = usize::try_from(range.iov_len)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let (piece, rest) = std::mem::take(&mut bytes).split_at_mut(len);
            let start = range.iov_base;
            let first = start & !(PAGE_SIZE - 1);
            let Some(end) = start.checked_add(len as u64) else {
                return;
            };
            for (at, page) in state.pages.range(first..end) {
                for site in &page.sites {
                    let bytes = site.original.get(..site.site.len()).unwrap_or_default();
                    for (n, byte) in bytes.iter().enumerate() {
                        let address = at + u64::from(site.site.start) + n as u64;
                        let index = address
                            .checked_sub(start)
                            .and_then(|i| usize::try_from(i).ok());
                        if let Some(there) = index.and_then(|i| piece.get_mut(i)) {
                            *there = *byte;
                        }
                    }
                }
            }
            bytes = rest;
        }
    }
}

/// Is the address one of the code that stands for call sites?
pub(crate) fn is_site_code(address: u64) -> bool {
    code::contains(address)
}
