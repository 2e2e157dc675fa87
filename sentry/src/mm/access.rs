//! Guest memory as the kernel reads and writes it. Hostile, and changing meanwhile: copy in once, then look.
//!
//! No lock is held while guest memory is touched. A fault is served once as a guest's would be (stacks grow, private file pages are copied) and tried
//! again; what still fails is `EFAULT`.

use super::{FaultOutcome, Host, MemoryManager, VmBacking, VmFlags};
use abi::siginfo::SEGV_ACCERR;
use abi::{Errno, IOV_MAX, Iovec, MAX_RW_COUNT};
use fs::UserMemory;
use platform::{Access, Fault};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const SIGSEGV: i32 = 11;

/// Who sleeps where: the identity of a futex word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FutexKey {
    /// A word of one address space.
    Private {
        /// [`MemoryManager::id`]
        mm: u64,
        /// Its address.
        addr: u64,
    },
    /// A word of memory that several address spaces may show.
    Shared {
        /// Which memory.
        object: FutexObject,
        /// The byte in it.
        offset: u64,
    },
}

/// Memory that may be mapped at several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FutexObject {
    /// A region of the memory file ([`super::Region::id`]).
    Region(u64),
    /// Private memory of the address space with this [`MemoryManager::id`].
    Space(u64),
    /// A file, by device and inode number.
    Inode {
        /// `st_dev`
        dev: u64,
        /// `st_ino`
        ino: u64,
    },
}

impl MemoryManager {
    /// Copies in all of `buf`.
    pub fn read_bytes(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        if self.read_some(addr, buf)? == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies out all of `buf`.
    pub fn write_bytes(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        if self.write_some(addr, buf)? == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies in what can be reached; `EFAULT` only if nothing can.
    pub fn read_some(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.check_user(addr, buf.len())?;
        let mut done = 0;
        let mut served = None;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let at = addr.saturating_add(done as u64);
            match self.space.read(at, rest) {
                Ok(n) if n != 0 => done = done.saturating_add(n),
                Ok(_) | Err(_) => {
                    if !self.serve(at, Access::Read, &mut served) {
                        break;
                    }
                }
            }
        }
        if done == 0 && !buf.is_empty() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    /// Copies out as far as it goes; `EFAULT` only if nothing can be written.
    pub fn write_some(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.check_user(addr, buf.len())?;
        let mut done = 0;
        let mut served = None;
        while let Some(rest) = buf.get(done..).filter(|r| !r.is_empty()) {
            let at = addr.saturating_add(done as u64);
            match self.space.write(at, rest) {
                Ok(n) if n != 0 => done = done.saturating_add(n),
                Ok(_) | Err(_) => {
                    if !self.serve(at, Access::Write, &mut served) {
                        break;
                    }
                }
            }
        }
        if done == 0 && !buf.is_empty() {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    /// Gathers from several ranges into one buffer, as far as it goes; `EFAULT` only if nothing can be read.
    pub fn read_iovecs_into(&self, iovecs: &[Iovec], buf: &mut [u8]) -> Result<usize, Errno> {
        self.check_iovecs(iovecs)?;
        let mut done = match self.space.readv(iovecs, buf) {
            Ok(n) if n == buf.len() => return Ok(n),
            Ok(n) => n,
            Err(_) => 0,
        };
        // The rare way: on from where it stopped, range by range, with faults served.
        let mut skip = done as u64;
        for iovec in iovecs {
            if skip >= iovec.iov_len {
                skip = skip.saturating_sub(iovec.iov_len);
                continue;
            }
            let want = usize::try_from(iovec.iov_len.saturating_sub(skip)).unwrap_or(usize::MAX);
            let Some(rest) = buf.get_mut(done..) else {
                break;
            };
            let want = want.min(rest.len());
            let Some(piece) = rest.get_mut(..want).filter(|p| !p.is_empty()) else {
                break;
            };
            match self.read_some(iovec.iov_base.saturating_add(skip), piece) {
                Ok(n) => {
                    done = done.saturating_add(n);
                    if n < want {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
            skip = 0;
        }
        Ok(done)
    }

    /// Scatters one buffer over several ranges, as far as it goes; `EFAULT` only if nothing can be written.
    pub fn write_iovecs_from(&self, iovecs: &[Iovec], buf: &[u8]) -> Result<usize, Errno> {
        self.check_iovecs(iovecs)?;
        let mut done = match self.space.writev(iovecs, buf) {
            Ok(n) if n == buf.len() => return Ok(n),
            Ok(n) => n,
            Err(_) => 0,
        };
        let mut skip = done as u64;
        for iovec in iovecs {
            if skip >= iovec.iov_len {
                skip = skip.saturating_sub(iovec.iov_len);
                continue;
            }
            let want = usize::try_from(iovec.iov_len.saturating_sub(skip)).unwrap_or(usize::MAX);
            let Some(rest) = buf.get(done..) else { break };
            let want = want.min(rest.len());
            let Some(piece) = rest.get(..want).filter(|p| !p.is_empty()) else {
                break;
            };
            match self.write_some(iovec.iov_base.saturating_add(skip), piece) {
                Ok(n) => {
                    done = done.saturating_add(n);
                    if n < want {
                        break;
                    }
                }
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
            skip = 0;
        }
        Ok(done)
    }

    /// Copies in a structure.
    pub fn read_obj<T: FromZeros + FromBytes + IntoBytes>(&self, addr: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies out a structure.
    pub fn write_obj<T: IntoBytes + Immutable + ?Sized>(
        &self,
        addr: u64,
        value: &T,
    ) -> Result<(), Errno> {
        self.write_bytes(addr, value.as_bytes())
    }

    /// Copies in `count` structures.
    pub fn read_vec<T: FromZeros + FromBytes + IntoBytes>(
        &self,
        addr: u64,
        count: usize,
    ) -> Result<Vec<T>, Errno> {
        let mut values: Vec<T> = (0..count).map(|_| T::new_zeroed()).collect();
        self.read_bytes(addr, values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// A string without its terminating zero, which must come within `max` bytes: `ENAMETOOLONG` otherwise.
    pub fn read_cstring(&self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        let mut chunk = [0u8; 512];
        loop {
            let at = addr.checked_add(text.len() as u64).ok_or(Errno::EFAULT)?;
            // To the end of the page at first: most strings are short, and the next page may not be there.
            let room =
                usize::try_from(abi::PAGE_SIZE.saturating_sub(at % abi::PAGE_SIZE)).unwrap_or(1);
            let want = chunk.len().min(room).min(max.saturating_sub(text.len()));
            let Some(part) = chunk.get_mut(..want).filter(|p| !p.is_empty()) else {
                return Err(Errno::ENAMETOOLONG);
            };
            let n = self.read_some(at, part)?;
            let part = part.get(..n).unwrap_or_default();
            if let Some(end) = part.iter().position(|b| *b == 0) {
                text.extend_from_slice(part.get(..end).unwrap_or_default());
                return Ok(text);
            }
            text.extend_from_slice(part);
        }
    }

    /// The array of readv(2) and its kin: at most `IOV_MAX` elements (`EINVAL`), no negative length (`EINVAL`), all in user space (`EFAULT`), together cut to
    /// `MAX_RW_COUNT`.
    pub fn read_iovecs(&self, addr: u64, count: u64) -> Result<Vec<Iovec>, Errno> {
        let count = usize::try_from(count)
            .ok()
            .filter(|n| *n <= IOV_MAX)
            .ok_or(Errno::EINVAL)?;
        let mut iovecs: Vec<Iovec> = self.read_vec(addr, count)?;
        if iovecs.iter().any(|v| i64::try_from(v.iov_len).is_err()) {
            return Err(Errno::EINVAL);
        }
        self.check_iovecs(&iovecs)?;
        let mut left = MAX_RW_COUNT as u64;
        for iovec in &mut iovecs {
            iovec.iov_len = iovec.iov_len.min(left);
            left = left.saturating_sub(iovec.iov_len);
        }
        Ok(iovecs)
    }

    /// Loads a futex word.
    pub fn load_u32(&self, addr: u64) -> Result<u32, Errno> {
        self.word(addr, Access::Read, || self.space.load_u32(addr))
    }

    /// `Ok(old)` if the word was `old` and now is `new`, else `Err` of what it is.
    pub fn compare_exchange_u32(
        &self,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, Errno> {
        self.word(addr, Access::Write, || {
            self.space.compare_exchange_u32(addr, old, new)
        })
    }

    fn word<T>(
        &self,
        addr: u64,
        access: Access,
        mut attempt: impl FnMut() -> Result<T, Fault>,
    ) -> Result<T, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        self.check_user(addr, 4)?;
        if let Ok(value) = attempt() {
            return Ok(value);
        }
        if !self.serve(addr, access, &mut None) {
            return Err(Errno::EFAULT);
        }
        attempt().map_err(|_| Errno::EFAULT)
    }

    /// The identity of the futex at `addr`; `shared` unless `FUTEX_PRIVATE_FLAG` was given.
    pub fn futex_key(&self, addr: u64, shared: bool) -> Result<FutexKey, Errno> {
        if !addr.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        self.check_user(addr, 4)?;
        let private = FutexKey::Private { mm: self.id, addr };
        if !shared {
            return Ok(private);
        }
        let state = self.lock();
        let vma = state.vmas.find(addr).ok_or(Errno::EFAULT)?;
        // Private memory may be named either way, and the two names do not meet (`FUT_OFF_MMSHARED`).
        let here = FutexKey::Shared {
            object: FutexObject::Space(self.id),
            offset: addr,
        };
        if !vma.flags.contains(VmFlags::SHARED) {
            return Ok(here);
        }
        let offset = vma.offset_of(addr);
        Ok(match &vma.backing {
            VmBacking::Region { region, .. } => FutexKey::Shared {
                object: FutexObject::Region(region.id()),
                offset,
            },
            VmBacking::File { map, .. } => FutexKey::Shared {
                object: FutexObject::Inode {
                    dev: map.dev,
                    ino: map.ino,
                },
                offset,
            },
            _ => here,
        })
    }

    /// `access_ok`: whether all of a range is user space.
    fn check_user(&self, addr: u64, len: usize) -> Result<(), Errno> {
        let end = addr.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        if end > self.range.end && len != 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(())
        }
    }

    fn check_iovecs(&self, iovecs: &[Iovec]) -> Result<(), Errno> {
        let fine = |v: &Iovec| {
            v.iov_len == 0
                || v.iov_base
                    .checked_add(v.iov_len)
                    .is_some_and(|end| end <= self.range.end)
        };
        if iovecs.iter().all(fine) {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Serves the fault that reading or writing `addr` has met; false if that was tried already or it is a real one.
    fn serve(&self, addr: u64, access: Access, served: &mut Option<u64>) -> bool {
        if *served == Some(addr) {
            return false;
        }
        *served = Some(addr);
        self.handle_fault(addr, access, SIGSEGV, SEGV_ACCERR) == FaultOutcome::Resolved
    }

    /// How much of `[addr, addr + len)` lies, from its start on, in mappings that allow stores.
    pub fn writable_len(&self, addr: u64, len: u64) -> u64 {
        let end = addr.saturating_add(len);
        let state = self.lock();
        let mut at = addr;
        for vma in state.vmas.overlapping(addr..end) {
            if vma.start > at || !vma.prot.contains(platform::Prot::WRITE) {
                break;
            }
            at = vma.end.min(end);
        }
        at.saturating_sub(addr)
    }

    /// Whether `[addr, addr + len)` is mapped with stores allowed, without looking at it (`clear_child_tid`, robust lists).
    pub fn writable(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else {
            return false;
        };
        let state = self.lock();
        let allowed = state
            .vmas
            .overlapping(addr..end)
            .all(|v| v.prot.contains(platform::Prot::WRITE) && v.host != Host::Absent);
        allowed && state.vmas.covers(addr..end)
    }
}

impl UserMemory for MemoryManager {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.read_bytes(addr, buf)
    }
    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        self.write_bytes(addr, buf)
    }
}
