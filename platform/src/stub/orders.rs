//! From [`Order`]s to what the helper executes: validation, and the numbers.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use abi::{Errno, PAGE_SIZE, Result};

use super::layout::{DONATED_FD, MAX_ENTRIES, USER, VECTOR, VECTOR_LEN};
use super::order_book::Entry;
use super::process::{MAX_DONATED, Process};
use crate::{Backing, HostUsage, MapHint, MemoryFile, Order, Prot};

/// A range of whole pages that is the guest's.
fn range(start: u64, len: u64) -> Result<()> {
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    let aligned = start.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE);
    if aligned && len > 0 && start >= USER.start && end <= USER.end {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Is the advice one that a guest may give about its own memory? Those missing here poison pages of the host or concern other processes.
fn harmless(advice: i32) -> bool {
    const POPULATE_READ: i32 = 22;
    const POPULATE_WRITE: i32 = 23;
    const DONTNEED_LOCKED: i32 = 24;
    const COLLAPSE: i32 = 25;
    matches!(
        advice,
        libc::MADV_NORMAL
            | libc::MADV_RANDOM
            | libc::MADV_SEQUENTIAL
            | libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_FREE
            | libc::MADV_REMOVE
            | libc::MADV_DONTFORK
            | libc::MADV_DOFORK
            | libc::MADV_MERGEABLE
            | libc::MADV_UNMERGEABLE
            | libc::MADV_HUGEPAGE
            | libc::MADV_NOHUGEPAGE
            | libc::MADV_DONTDUMP
            | libc::MADV_DODUMP
            | libc::MADV_WIPEONFORK
            | libc::MADV_KEEPONFORK
            | libc::MADV_COLD
            | libc::MADV_PAGEOUT
            | POPULATE_READ
            | POPULATE_WRITE
            | DONTNEED_LOCKED
            | COLLAPSE
    )
}

/// The system call that an order is, if all of it is in the order itself.
pub fn plain_call(order: &Order) -> Result<Option<Entry>> {
    let call = |nr: i64, args: [u64; 5]| {
        Ok(Some([
            nr as u64, args[0], args[1], args[2], args[3], args[4], 0,
        ]))
    };
    match *order {
        Order::Map { .. } => Ok(None),
        Order::Unmap { start, len } => {
            range(start, len)?;
            call(libc::SYS_munmap, [start, len, 0, 0, 0])
        }
        Order::Protect { start, len, prot } => {
            range(start, len)?;
            call(
                libc::SYS_mprotect,
                [start, len, u64::from(prot.bits()), 0, 0],
            )
        }
        Order::Relocate {
            old,
            old_len,
            new,
            new_len,
            dont_unmap,
        } => {
            range(old, old_len)?;
            range(new, new_len)?;
            let apart = old.saturating_add(old_len) <= new || new.saturating_add(new_len) <= old;
            let flags = match (old == new, dont_unmap) {
                (true, false) => 0,
                (false, _) if !apart => return Err(Errno::EINVAL),
                (false, false) => libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                (false, true) if old_len == new_len => {
                    libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP
                }
                _ => return Err(Errno::EINVAL),
            };
            let to = if flags == 0 { 0 } else { new };
            call(libc::SYS_mremap, [old, old_len, new_len, flags as u64, to])
        }
        Order::Advise { start, len, advice } => {
            range(start, len)?;
            if !harmless(advice) {
                return Err(Errno::EINVAL);
            }
            call(libc::SYS_madvise, [start, len, advice as u64, 0, 0])
        }
        Order::Lock {
            start,
            len,
            on_fault,
        } => {
            range(start, len)?;
            call(libc::SYS_mlock2, [start, len, u64::from(on_fault), 0, 0])
        }
        Order::Unlock { start, len } => {
            range(start, len)?;
            call(libc::SYS_munlock, [start, len, 0, 0, 0])
        }
    }
}

/// Orders on their way to the helper, at most one page of them at a time.
struct Batch<'a> {
    entries: Vec<Entry>,
    fds: Vec<BorrowedFd<'a>>,
}

impl<'a> Batch<'a> {
    /// The number that a file will have in the stub: one per file, however often it is mapped.
    fn donate(&mut self, fd: BorrowedFd<'a>) -> u64 {
        let known = self
            .fds
            .iter()
            .position(|known| known.as_raw_fd() == fd.as_raw_fd());
        let index = known.unwrap_or_else(|| {
            self.fds.push(fd);
            self.fds.len() - 1
        });
        DONATED_FD + index as u64
    }

    fn map(
        &mut self,
        memory: &'a MemoryFile,
        start: u64,
        len: u64,
        backing: &'a Backing,
        prot: Prot,
        hint: MapHint,
    ) -> Result<()> {
        range(start, len)?;
        let mut flags = if hint.contains(MapHint::NOREPLACE) {
            libc::MAP_FIXED_NOREPLACE
        } else {
            libc::MAP_FIXED
        };
        if hint.contains(MapHint::NORESERVE) {
            flags |= libc::MAP_NORESERVE;
        }
        if hint.contains(MapHint::POPULATE) {
            flags |= libc::MAP_POPULATE;
        }
        let (fd, offset) = match backing {
            Backing::Anonymous => {
                flags |= libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                (u64::MAX, 0)
            }
            Backing::Memory { offset, shared } => {
                flags |= if *shared {
                    libc::MAP_SHARED
                } else {
                    libc::MAP_PRIVATE
                };
                (self.donate(memory.as_fd()), *offset)
            }
            Backing::File {
                fd,
                offset,
                shared: true,
            } => {
                flags |= libc::MAP_SHARED;
                (self.donate(fd.as_fd()), *offset)
            }
            Backing::File {
                fd,
                offset,
                shared: false,
            } => {
                // The host must never copy on write from a host file.
                if prot.contains(Prot::WRITE) {
                    return Err(Errno::EINVAL);
                }
                // A shared mapping of a file that is open for reading only can never become writable, whatever mprotect is ordered. Of a file
                // open for writing it could, and would change the file; there a private one is the lesser evil of a mistake above.
                let mode =
                    rustix::fs::fcntl_getfl(fd).map_err(|e| Errno::from_raw(e.raw_os_error()))?;
                let read_only = mode & rustix::fs::OFlags::RWMODE == rustix::fs::OFlags::RDONLY;
                flags |= if read_only {
                    libc::MAP_SHARED
                } else {
                    libc::MAP_PRIVATE
                };
                (self.donate(fd.as_fd()), *offset)
            }
        };
        if !offset.is_multiple_of(PAGE_SIZE)
            || offset
                .checked_add(len)
                .is_none_or(|end| end > i64::MAX as u64)
        {
            return Err(Errno::EINVAL);
        }
        self.entries.push([
            libc::SYS_mmap as u64,
            start,
            len,
            u64::from(prot.bits()),
            flags as u64,
            fd,
            offset,
        ]);
        Ok(())
    }

    fn add(&mut self, memory: &'a MemoryFile, order: &'a Order) -> Result<()> {
        if let Order::Map {
            start,
            len,
            backing,
            prot,
            hint,
        } = order
        {
            return self.map(memory, *start, *len, backing, *prot, *hint);
        }
        self.entries.extend(plain_call(order)?);
        Ok(())
    }

    fn full(&self) -> bool {
        self.entries.len() == MAX_ENTRIES || self.fds.len() == MAX_DONATED
    }

    fn send(&mut self, process: &Process) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let outcome = process.run(&self.entries, &self.fds);
        self.entries.clear();
        self.fds.clear();
        outcome
    }
}

/// Has the orders carried out in turn, as many as fit with one wake-up of the helper. An order that is refused here ends it like one that
/// fails there: those before it are done. `more`: mappings of the memory file that are made with them.
pub fn apply(
    process: &Process,
    memory: &MemoryFile,
    orders: &[Order],
    more: &[Entry],
) -> Result<()> {
    let mut batch = Batch {
        entries: Vec::with_capacity(orders.len().min(MAX_ENTRIES)),
        fds: Vec::new(),
    };
    if !more.is_empty() {
        // The spawner's filter knows these with the first number only.
        batch.donate(memory.as_fd());
    }
    for order in orders {
        if batch.full() {
            batch.send(process)?;
        }
        if let Err(refused) = batch.add(memory, order) {
            batch.send(process)?;
            return Err(refused);
        }
    }
    if !more.is_empty() {
        let room = batch.entries.len() + more.len() <= MAX_ENTRIES;
        let other = |fd: &BorrowedFd<'_>| fd.as_raw_fd() != memory.as_fd().as_raw_fd();
        if !room || batch.fds.first().is_some_and(other) {
            batch.send(process)?;
        }
        batch.donate(memory.as_fd());
        batch.entries.extend(more);
    }
    batch.send(process)
}

/// Asks the host which pages of some ranges are resident, as many ranges at once as fit one page of orders and the vector. `each` gets the
/// answers, range by range.
fn residence(process: &Process, pieces: &[(u64, u64)], mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut used = 0;
    let mut send = |entries: &mut Vec<Entry>, used: &mut u64| -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        process.run(entries, &[])?;
        let mut answer = vec![0; *used as usize];
        // A guest thread may have overwritten the answer: then it deceives nobody but its own process.
        let remote = abi::Iovec {
            iov_base: VECTOR,
            iov_len: *used,
        };
        super::memory::read(process.pid(), &[remote], &mut answer)?;
        let mut rest = &answer[..];
        for entry in entries.drain(..) {
            let (piece, more) = rest
                .split_at_checked((entry[2] / PAGE_SIZE) as usize)
                .ok_or(Errno::EFAULT)?;
            each(piece);
            rest = more;
        }
        *used = 0;
        Ok(())
    };
    for (start, len) in pieces {
        range(*start, *len)?;
        let mut at = *start;
        while at < start + len {
            let pages = ((start + len - at) / PAGE_SIZE).min(VECTOR_LEN - used);
            entries.push([
                libc::SYS_mincore as u64,
                at,
                pages * PAGE_SIZE,
                VECTOR + used,
                0,
                0,
                0,
            ]);
            at += pages * PAGE_SIZE;
            used += pages;
            if used == VECTOR_LEN || entries.len() == MAX_ENTRIES {
                send(&mut entries, &mut used)?;
            }
        }
    }
    send(&mut entries, &mut used)
}

/// mincore(2) of a range.
pub fn mincore(process: &Process, start: u64, len: u64, resident: &mut [u8]) -> Result<()> {
    let pages = usize::try_from(len / PAGE_SIZE).map_err(|_| Errno::ENOMEM)?;
    let mut rest = resident.get_mut(..pages).ok_or(Errno::EINVAL)?;
    residence(process, &[(start, len)], |piece| {
        if let Some((to, more)) = std::mem::take(&mut rest).split_at_mut_checked(piece.len()) {
            to.copy_from_slice(piece);
            rest = more;
        }
    })
}

/// How many pages of some mapped ranges are resident.
pub fn resident(process: &Process, mapped: &[Range<u64>]) -> u64 {
    let mut pages = 0;
    let mut count =
        |piece: &[u8]| pages += piece.iter().filter(|byte| **byte & 1 != 0).count() as u64;
    let pieces: Vec<_> = mapped
        .iter()
        .map(|range| (range.start, range.end.saturating_sub(range.start)))
        .collect();
    if residence(process, &pieces, &mut count).is_err() {
        // One of them has changed meanwhile: one by one, then, and without it.
        pages = 0;
        for piece in &pieces {
            let mut count =
                |piece: &[u8]| pages += piece.iter().filter(|byte| **byte & 1 != 0).count() as u64;
            let _ = residence(process, std::slice::from_ref(piece), &mut count);
        }
    }
    pages
}

/// What getrusage(2) says of it. It passes through memory that a guest thread may write.
pub fn usage(process: &Process) -> Result<HostUsage> {
    let mut usage = [0; size_of::<libc::rusage>()];
    process.run_for(
        &[[libc::SYS_getrusage as u64, 0, VECTOR, 0, 0, 0, 0]],
        &mut usage,
    )?;
    let field = |at: usize| {
        usage
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    };
    Ok(HostUsage::of([
        field(std::mem::offset_of!(libc::rusage, ru_maxrss)),
        field(std::mem::offset_of!(libc::rusage, ru_minflt)),
        field(std::mem::offset_of!(libc::rusage, ru_majflt)),
        field(std::mem::offset_of!(libc::rusage, ru_nivcsw)),
    ]))
}
