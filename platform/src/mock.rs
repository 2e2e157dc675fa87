//! An address space made of vectors, and guest "programs" that are Rust closures: everything above this crate is unit-tested on it, without a
//! host process.
//!
//! ```
//! use platform::{Backing, Event, MapHint, Order, Platform, Prot, mock::MockPlatform};
//! let platform = MockPlatform::new().unwrap();
//! let space = platform.new_address_space().unwrap();
//! let map = Order::Map { start: 0x10000, len: 4096, backing: Backing::Anonymous, prot: Prot::READ | Prot::WRITE, hint: MapHint::empty() };
//! space.apply(&[map]).unwrap();
//! assert_eq!(space.write(0x10ffe, b"four"), Ok(2));
//! assert_eq!(space.write(0x11000, b"four").unwrap_err().addr, 0x11000);
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::{Errno, Iovec, PAGE_SIZE};

use crate::{
    AddressSpace, Backing, Context, Entry, Event, Fault, Interrupt, Interrupter, MapHint,
    MemoryFile, Order, Platform, Prot, Registers, Result,
};

/// What stands for guest code: called for each switch, it plays the guest until something happens.
pub type Program = Arc<dyn Fn(&MockAddressSpace, &mut Registers) -> Event + Send + Sync>;

/// See the module.
pub struct MockPlatform {
    memory: Arc<MemoryFile>,
    program: sync::Mutex<Program>,
}

const USER: Range<u64> = 0x1_0000..0x7fff_f000_0000;
const PAGE: usize = PAGE_SIZE as usize;

impl MockPlatform {
    /// Guest programs do nothing but wait to be interrupted.
    pub fn new() -> Result<MockPlatform> {
        let idle: Program = Arc::new(|_, _| Event::Interrupted);
        Ok(MockPlatform {
            memory: Arc::new(MemoryFile::new()?),
            program: sync::Mutex::new(idle),
        })
    }

    /// What guest threads of address spaces made from now on do.
    pub fn set_program(&self, program: Program) {
        *self.program.lock() = program;
    }

    /// [`Platform::new_address_space`], with its type.
    pub fn address_space(&self) -> Arc<MockAddressSpace> {
        let program = self.program.lock().clone();
        Arc::new(MockAddressSpace {
            memory: self.memory.clone(),
            pages: sync::Mutex::new(BTreeMap::new()),
            program,
        })
    }
}

impl Platform for MockPlatform {
    fn name(&self) -> &'static str {
        "mock"
    }
    fn memory_file(&self) -> &Arc<MemoryFile> {
        &self.memory
    }
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>> {
        Ok(self.address_space())
    }
    fn user_range(&self) -> Range<u64> {
        USER
    }
    fn host_vdso(&self) -> Option<Range<u64>> {
        None
    }
}

#[derive(Clone)]
enum Content {
    /// `None`: never written, all zeroes.
    Private(Option<Box<[u8]>>),
    Memory(u64),
    File(Arc<OwnedFd>, u64),
}

#[derive(Clone)]
struct Page {
    prot: Prot,
    content: Content,
}

/// See the module.
pub struct MockAddressSpace {
    memory: Arc<MemoryFile>,
    pages: sync::Mutex<BTreeMap<u64, Page>, { sync::level::PLATFORM }>,
    program: Program,
}

fn pages_of(start: u64, len: u64) -> Result<Range<u64>> {
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if !start.is_multiple_of(PAGE_SIZE)
        || !len.is_multiple_of(PAGE_SIZE)
        || len == 0
        || start < USER.start
        || end > USER.end
    {
        return Err(Errno::EINVAL);
    }
    Ok(start / PAGE_SIZE..end / PAGE_SIZE)
}

impl MockAddressSpace {
    /// The rights of the page at `addr`, if one is mapped.
    pub fn prot(&self, addr: u64) -> Option<Prot> {
        self.pages
            .lock()
            .get(&(addr / PAGE_SIZE))
            .map(|page| page.prot)
    }

    fn content(&self, backing: &Backing, at: u64) -> Result<Content> {
        Ok(match backing {
            Backing::Anonymous => Content::Private(None),
            Backing::Memory {
                offset,
                shared: true,
            } => Content::Memory(offset + at),
            Backing::File {
                fd,
                offset,
                shared: true,
            } => Content::File(fd.clone(), offset + at),
            Backing::Memory {
                offset,
                shared: false,
            } => {
                let mut bytes = vec![0; PAGE].into_boxed_slice();
                self.memory.read_at(offset + at, &mut bytes)?;
                Content::Private(Some(bytes))
            }
            Backing::File {
                fd,
                offset,
                shared: false,
            } => {
                let mut bytes = vec![0; PAGE].into_boxed_slice();
                rustix::io::pread(fd, &mut *bytes, offset + at)
                    .map_err(|e| Errno::from_raw(e.raw_os_error()))?;
                Content::Private(Some(bytes))
            }
        })
    }

    fn one(&self, pages: &mut BTreeMap<u64, Page>, order: &Order) -> Result<()> {
        match order {
            Order::Map {
                start,
                len,
                backing,
                prot,
                hint,
            } => {
                let range = pages_of(*start, *len)?;
                if let Backing::File { shared: false, .. } = backing
                    && prot.contains(Prot::WRITE)
                {
                    return Err(Errno::EINVAL);
                }
                if hint.contains(MapHint::NOREPLACE) && pages.range(range.clone()).next().is_some()
                {
                    return Err(Errno::EEXIST);
                }
                for page in range.clone() {
                    let content = self.content(backing, (page - range.start) * PAGE_SIZE)?;
                    pages.insert(
                        page,
                        Page {
                            prot: *prot,
                            content,
                        },
                    );
                }
            }
            Order::Unmap { start, len } => {
                for page in pages_of(*start, *len)? {
                    pages.remove(&page);
                }
            }
            Order::Protect { start, len, prot } => {
                for page in pages_of(*start, *len)? {
                    pages.get_mut(&page).ok_or(Errno::ENOMEM)?.prot = *prot;
                }
            }
            Order::Relocate {
                old,
                old_len,
                new,
                new_len,
                dont_unmap,
            } => {
                let (from, to) = (pages_of(*old, *old_len)?, pages_of(*new, *new_len)?);
                let mut moved = Vec::new();
                for page in from {
                    let found = pages.get(&page).cloned().ok_or(Errno::EFAULT)?;
                    if *dont_unmap {
                        pages.insert(
                            page,
                            Page {
                                prot: found.prot,
                                content: Content::Private(None),
                            },
                        );
                    } else {
                        pages.remove(&page);
                    }
                    moved.push(found);
                }
                let last = moved.last().cloned().ok_or(Errno::EINVAL)?;
                let count = moved.len() as u64;
                for page in to.clone() {
                    pages.remove(&page);
                    let index = page - to.start;
                    let beyond = (index + 1).saturating_sub(count) * PAGE_SIZE;
                    let new = moved.get(index as usize).cloned().unwrap_or_else(|| Page {
                        prot: last.prot,
                        content: match &last.content {
                            Content::Private(_) => Content::Private(None),
                            Content::Memory(offset) => Content::Memory(offset + beyond),
                            Content::File(fd, offset) => Content::File(fd.clone(), offset + beyond),
                        },
                    });
                    pages.insert(page, new);
                }
            }
            Order::Advise { start, len, advice } => {
                for page in pages_of(*start, *len)? {
                    let page = pages.get_mut(&page).ok_or(Errno::ENOMEM)?;
                    match (*advice, &mut page.content) {
                        (libc::MADV_DONTNEED, Content::Private(bytes)) => *bytes = None,
                        (libc::MADV_REMOVE, Content::Memory(offset)) => {
                            self.memory.zero(*offset, PAGE_SIZE)?
                        }
                        _ => {}
                    }
                }
            }
            Order::Lock { start, len, .. } | Order::Unlock { start, len } => {
                for page in pages_of(*start, *len)? {
                    pages.get(&page).ok_or(Errno::ENOMEM)?;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with the pieces of a range, page by page, until one is not there with the rights asked for.
    fn walk(
        &self,
        addr: u64,
        len: usize,
        need: Prot,
        mut each: impl FnMut(&mut Page, usize, Range<usize>) -> Result<(), Errno>,
    ) -> Result<usize, Fault> {
        let mut pages = self.pages.lock();
        let mut done = 0;
        while done < len {
            let at = addr.wrapping_add(done as u64);
            let fault = Fault { addr: at };
            let inside = (at % PAGE_SIZE) as usize;
            let n = (PAGE - inside).min(len - done);
            let page = pages
                .get_mut(&(at / PAGE_SIZE))
                .filter(|page| page.prot.contains(need));
            if page.is_none_or(|page| each(page, inside, done..done + n).is_err()) {
                return if done == 0 { Err(fault) } else { Ok(done) };
            }
            done += n;
        }
        Ok(done)
    }

    fn many(
        remote: &[Iovec],
        mut each: impl FnMut(u64, Range<usize>) -> Result<usize, Fault>,
        len: usize,
    ) -> Result<usize, Fault> {
        let mut done = 0;
        for piece in remote {
            let want = usize::try_from(piece.iov_len)
                .unwrap_or(usize::MAX)
                .min(len - done);
            match each(piece.iov_base, done..done + want) {
                Ok(n) => {
                    done += n;
                    if n < want {
                        return Ok(done);
                    }
                }
                Err(fault) if done == 0 => return Err(fault),
                Err(_) => return Ok(done),
            }
        }
        Ok(done)
    }
}

impl AddressSpace for MockAddressSpace {
    fn apply(&self, orders: &[Order]) -> Result<()> {
        let mut pages = self.pages.lock();
        orders
            .iter()
            .try_for_each(|order| self.one(&mut pages, order))
    }

    fn fork(&self) -> Result<Arc<dyn AddressSpace>> {
        let pages = self.pages.lock().clone();
        Ok(Arc::new(MockAddressSpace {
            memory: self.memory.clone(),
            pages: sync::Mutex::new(pages),
            program: self.program.clone(),
        }))
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Fault> {
        let len = buf.len();
        self.walk(addr, len, Prot::READ, |page, inside, piece| {
            let to = buf.get_mut(piece.clone()).ok_or(Errno::EFAULT)?;
            match &page.content {
                Content::Private(None) => to.fill(0),
                Content::Private(Some(bytes)) => {
                    to.copy_from_slice(&bytes[inside..inside + piece.len()])
                }
                Content::Memory(offset) => self.memory.read_at(offset + inside as u64, to)?,
                Content::File(fd, offset) => {
                    let n = rustix::io::pread(fd, &mut *to, offset + inside as u64)
                        .map_err(|_| Errno::EIO)?;
                    to.get_mut(n..).ok_or(Errno::EIO)?.fill(0);
                }
            }
            Ok(())
        })
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Fault> {
        self.walk(addr, buf.len(), Prot::WRITE, |page, inside, piece| {
            let from = buf.get(piece.clone()).ok_or(Errno::EFAULT)?;
            match &mut page.content {
                Content::Private(bytes) => {
                    let bytes = bytes.get_or_insert_with(|| vec![0; PAGE].into_boxed_slice());
                    bytes[inside..inside + piece.len()].copy_from_slice(from);
                }
                Content::Memory(offset) => self.memory.write_at(*offset + inside as u64, from)?,
                Content::File(fd, offset) => {
                    rustix::io::pwrite(fd, from, *offset + inside as u64)
                        .map_err(|_| Errno::EIO)?;
                }
            }
            Ok(())
        })
    }

    fn readv(&self, remote: &[Iovec], buf: &mut [u8]) -> Result<usize, Fault> {
        let len = buf.len();
        Self::many(
            remote,
            |addr, piece| self.read(addr, buf.get_mut(piece).unwrap_or(&mut [])),
            len,
        )
    }

    fn writev(&self, remote: &[Iovec], buf: &[u8]) -> Result<usize, Fault> {
        Self::many(
            remote,
            |addr, piece| self.write(addr, buf.get(piece).unwrap_or(&[])),
            buf.len(),
        )
    }

    fn compare_exchange_u32(
        &self,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, Fault> {
        if !addr.is_multiple_of(4) {
            return Err(Fault { addr });
        }
        let mut outcome = Err(0);
        self.walk(addr, 4, Prot::READ | Prot::WRITE, |page, inside, _| {
            match &mut page.content {
                Content::Private(bytes) => {
                    let bytes = bytes.get_or_insert_with(|| vec![0; PAGE].into_boxed_slice());
                    let word = bytes.get_mut(inside..inside + 4).ok_or(Errno::EFAULT)?;
                    let found = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
                    outcome = if found == old { Ok(found) } else { Err(found) };
                    if outcome.is_ok() {
                        word.copy_from_slice(&new.to_ne_bytes());
                    }
                }
                Content::Memory(offset) => {
                    outcome = self
                        .memory
                        .compare_exchange_u32(*offset + inside as u64, old, new)?
                }
                Content::File(..) => return Err(Errno::EFAULT),
            }
            Ok(())
        })?;
        Ok(outcome)
    }

    fn load_u32(&self, addr: u64) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        match self.read(addr, &mut bytes)? {
            4 => Ok(u32::from_ne_bytes(bytes)),
            n => Err(Fault {
                addr: addr.wrapping_add(n as u64),
            }),
        }
    }

    fn mincore(&self, start: u64, len: u64, resident: &mut [u8]) -> Result<()> {
        let pages = self.pages.lock();
        for (number, byte) in pages_of(start, len)?.zip(resident) {
            *byte = u8::from(!matches!(
                pages.get(&number).ok_or(Errno::ENOMEM)?.content,
                Content::Private(None)
            ));
        }
        Ok(())
    }

    fn rss(&self, mapped: &[Range<u64>]) -> u64 {
        let pages = self.pages.lock();
        let in_range = |range: &Range<u64>| {
            pages
                .range(range.start / PAGE_SIZE..range.end / PAGE_SIZE)
                .count() as u64
        };
        mapped.iter().map(in_range).sum()
    }

    fn alive(&self) -> bool {
        true
    }

    fn usage(&self) -> crate::HostUsage {
        crate::HostUsage {
            peak_rss: self.pages.lock().len() as u64,
            ..crate::HostUsage::default()
        }
    }

    fn cpu_time(&self) -> u64 {
        0
    }

    fn spawn(self: Arc<Self>, name: &str, entry: Entry) -> Result<()> {
        sync::thread::spawn(sync::thread::Builder::new(name), move || {
            crate::run_to_end(self, entry)
        })
        .map(drop)
        .map_err(|_| Errno::EAGAIN)
    }

    fn enter(self: Arc<Self>, entry: Entry) -> Result<Option<crate::Handoff>> {
        Ok(entry(Box::new(MockContext {
            space: self,
            fp: vec![0; 576],
            interrupt: Arc::new(MockInterrupt(AtomicBool::new(false))),
        })))
    }
}

struct MockContext {
    space: Arc<MockAddressSpace>,
    fp: Vec<u8>,
    interrupt: Arc<MockInterrupt>,
}

struct MockInterrupt(AtomicBool);

impl Interrupt for MockInterrupt {
    fn interrupt(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Context for MockContext {
    fn switch(&mut self, regs: &mut Registers) -> Event {
        loop {
            if self.interrupt.0.swap(false, Ordering::SeqCst) {
                return Event::Interrupted;
            }
            match (self.space.program)(&self.space, regs) {
                // A program that only waits: let whoever interrupts run.
                Event::Interrupted => sync::thread::yield_now(),
                event => return event,
            }
        }
    }
    fn load(&mut self, _regs: &mut Registers) -> Result<()> {
        Ok(())
    }
    fn fp_state(&mut self) -> Result<Vec<u8>> {
        Ok(self.fp.clone())
    }
    fn set_fp_state(&mut self, image: &[u8]) -> Result<()> {
        self.fp.fill(0);
        self.fp
            .get_mut(..image.len())
            .ok_or(Errno::EINVAL)?
            .copy_from_slice(image);
        Ok(())
    }
    fn reset_fp_state(&mut self) {
        self.fp.fill(0);
    }
    fn set_affinity(&mut self, _cpus: &crate::CpuSet) -> Result<()> {
        Ok(())
    }
    fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.interrupt.clone())
    }
}

#[cfg(test)]
#[path = "mock_tests.rs"]
mod tests;
