//! ELF64 files for x86-64: headers from a stranger, checked once; segments into a plan.

use crate::mm::{FileMap, Piece, Plan, VmFlags};
use abi::elf::*;
use abi::{Errno, PAGE_SIZE, PATH_MAX};
use fs::{File, Pos};
use platform::Prot;
use std::ops::Range;
use std::sync::Arc;
use zerocopy::FromBytes;

/// The program headers may take so many bytes at most.
const MAX_PHDRS: usize = 65_536;
/// Writable segments up to this size, all together, are copied at once.
const EAGER: u64 = 4 << 20;

/// A file's headers.
pub struct Image {
    header: Ehdr,
    phdrs: Vec<Phdr>,
}

/// Where an image has come to lie.
#[derive(Default)]
pub struct Placed {
    /// `/proc/PID/stat`: the lowest executable address.
    pub start_code: u64,
    /// The end of the executable segment.
    pub end_code: u64,
    /// The lowest address of data.
    pub start_data: u64,
    /// The end of the data that the file holds.
    pub end_data: u64,
    /// Behind everything.
    pub end: u64,
}

fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

fn page_up(addr: u64) -> Result<u64, Errno> {
    Ok(addr.checked_add(PAGE_SIZE - 1).ok_or(Errno::EINVAL)? & !(PAGE_SIZE - 1))
}

/// Fills `buf` from the file; `EIO` where it is too short.
fn read_exact(file: &File, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        let at = offset
            .checked_add(done as u64)
            .filter(|at| i64::try_from(*at).is_ok())
            .ok_or(Errno::EINVAL)?;
        match file.ops().read(file, rest, Pos::At(at))? {
            0 => return Err(Errno::EIO),
            n => done = done.saturating_add(n),
        }
    }
    Ok(())
}

impl Image {
    /// Looks at the headers; `head` is the beginning of the file.
    pub fn parse(file: &File, head: Vec<u8>) -> Result<Self, Errno> {
        let (header, _) = Ehdr::read_from_prefix(&head).map_err(|_| Errno::ENOEXEC)?;
        let ident = &header.e_ident;
        let right = ident.starts_with(&ELFMAG)
            && ident.get(EI_CLASS) == Some(&ELFCLASS64)
            && ident.get(EI_DATA) == Some(&ELFDATA2LSB)
            && header.e_machine == EM_X86_64
            && matches!(header.e_type, ET_EXEC | ET_DYN)
            && usize::from(header.e_phentsize) == size_of::<Phdr>();
        let len = usize::from(header.e_phnum).saturating_mul(size_of::<Phdr>());
        if !right || len == 0 || len > MAX_PHDRS {
            return Err(Errno::ENOEXEC);
        }
        let inside = usize::try_from(header.e_phoff)
            .ok()
            .and_then(|at| head.get(at..at.checked_add(len)?));
        let table = match inside {
            Some(bytes) => bytes.to_vec(),
            None => {
                let mut bytes = vec![0; len];
                read_exact(file, header.e_phoff, &mut bytes)?;
                bytes
            }
        };
        let phdrs = table
            .chunks_exact(size_of::<Phdr>())
            .filter_map(|b| Phdr::read_from_bytes(b).ok())
            .collect();
        Ok(Self { header, phdrs })
    }

    /// The path in `PT_INTERP`.
    pub fn interpreter(&self, file: &File) -> Result<Option<Vec<u8>>, Errno> {
        let Some(phdr) = self.phdrs.iter().find(|p| p.p_type == PT_INTERP) else {
            return Ok(None);
        };
        let len = usize::try_from(phdr.p_filesz)
            .ok()
            .filter(|len| (2..=PATH_MAX).contains(len))
            .ok_or(Errno::ENOEXEC)?;
        let mut path = vec![0; len];
        read_exact(file, phdr.p_offset, &mut path)?;
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
        path.truncate(end);
        Ok(Some(path))
    }

    /// Position-independent.
    pub fn is_dynamic(&self) -> bool {
        self.header.e_type == ET_DYN
    }
    /// The entry point, before relocation.
    pub fn entry(&self) -> u64 {
        self.header.e_entry
    }
    /// `AT_PHNUM`
    pub fn phnum(&self) -> u64 {
        self.header.e_phnum.into()
    }
    /// `PT_GNU_STACK` asks for an executable stack.
    pub fn exec_stack(&self) -> bool {
        self.phdrs
            .iter()
            .any(|p| p.p_type == PT_GNU_STACK && p.p_flags & PF_X != 0)
    }

    fn loads(&self) -> impl Iterator<Item = &Phdr> {
        self.phdrs.iter().filter(|p| p.p_type == PT_LOAD)
    }

    /// `AT_PHDR`: where the program headers are in memory.
    pub fn phdr_addr(&self, bias: u64) -> u64 {
        if let Some(phdr) = self.phdrs.iter().find(|p| p.p_type == PT_PHDR) {
            return bias.wrapping_add(phdr.p_vaddr);
        }
        let at = self.header.e_phoff;
        let holder = self
            .loads()
            .find(|p| p.p_offset <= at && at < p.p_offset.saturating_add(p.p_filesz));
        holder.map_or(0, |p| {
            bias.wrapping_add(at.wrapping_sub(p.p_offset))
                .wrapping_add(p.p_vaddr)
        })
    }

    /// The largest alignment that a segment asks for.
    pub fn align(&self) -> u64 {
        let asked = self
            .loads()
            .map(|p| p.p_align)
            .filter(|a| a.is_power_of_two())
            .max()
            .unwrap_or(PAGE_SIZE);
        // More than a huge page of address space is not worth a failure.
        asked.clamp(PAGE_SIZE, 1 << 30)
    }

    /// From the first to the last page of the segments.
    fn extent(&self) -> Result<Range<u64>, Errno> {
        let mut extent: Option<Range<u64>> = None;
        for phdr in self.loads() {
            let end = page_up(
                phdr.p_vaddr
                    .checked_add(phdr.p_memsz)
                    .ok_or(Errno::EINVAL)?,
            )?;
            let start = page_down(phdr.p_vaddr);
            extent = Some(match extent {
                Some(e) => e.start.min(start)..e.end.max(end),
                None => start..end,
            });
        }
        extent.filter(|e| !e.is_empty()).ok_or(Errno::EINVAL)
    }

    /// How much address space the segments take.
    pub fn span(&self) -> Result<u64, Errno> {
        let extent = self.extent()?;
        Ok(extent.end.saturating_sub(extent.start))
    }

    /// What to add to every address so that the first segment lies at `base`, aligned as asked.
    pub fn bias_at(&self, base: u64) -> Result<u64, Errno> {
        let base = base & !self.align().wrapping_sub(1);
        Ok(base.wrapping_sub(self.extent()?.start))
    }

    /// Puts the segments into the plan.
    pub fn map(
        &self,
        plan: &mut Plan,
        map: &Arc<FileMap>,
        bias: u64,
        range: &Range<u64>,
    ) -> Result<Placed, Errno> {
        let mut placed = Placed {
            start_code: u64::MAX,
            ..Placed::default()
        };
        let extent = self.extent()?;
        let whole = bias.wrapping_add(extent.start)..bias.wrapping_add(extent.end);
        if whole.start < range.start || whole.end > range.end || whole.is_empty() {
            return Err(if whole.start < range.start {
                Errno::EPERM
            } else {
                Errno::EINVAL
            });
        }
        if !plan.is_free(whole) {
            return Err(Errno::EEXIST);
        }
        for phdr in self.loads() {
            // Where nothing of the file is mapped its offset does not matter.
            let askew = phdr.p_filesz != 0 && phdr.p_offset % PAGE_SIZE != phdr.p_vaddr % PAGE_SIZE;
            if phdr.p_filesz > phdr.p_memsz || askew {
                return Err(Errno::EINVAL);
            }
            if phdr
                .p_offset
                .checked_add(phdr.p_filesz)
                .is_none_or(|end| i64::try_from(end).is_err())
            {
                return Err(Errno::EINVAL);
            }
            let mut prot = Prot::empty();
            prot.set(Prot::READ, phdr.p_flags & PF_R != 0);
            prot.set(Prot::WRITE, phdr.p_flags & PF_W != 0);
            prot.set(Prot::EXEC, phdr.p_flags & PF_X != 0);
            // All of this is inside `extent`, which is inside the user's range.
            let vaddr = bias.wrapping_add(phdr.p_vaddr);
            let file_end = vaddr.saturating_add(phdr.p_filesz);
            let end = vaddr.saturating_add(phdr.p_memsz);
            segment(plan, map, phdr, vaddr, prot)?;
            if vaddr < placed.start_code {
                placed.start_code = vaddr;
            }
            if phdr.p_flags & PF_X != 0 {
                placed.end_code = placed.end_code.max(file_end);
            }
            placed.start_data = placed.start_data.max(vaddr);
            placed.end_data = placed.end_data.max(file_end);
            placed.end = placed.end.max(page_up(end)?);
        }
        Ok(placed)
    }
}

/// One segment: pages of the file, then zeroes.
fn segment(
    plan: &mut Plan,
    map: &Arc<FileMap>,
    phdr: &Phdr,
    vaddr: u64,
    prot: Prot,
) -> Result<(), Errno> {
    let start = page_down(vaddr);
    let within = vaddr.saturating_sub(start);
    let file_end = vaddr.saturating_add(phdr.p_filesz);
    let file_pages = if phdr.p_filesz == 0 {
        start
    } else {
        page_up(file_end)?
    };
    let end = page_up(vaddr.saturating_add(phdr.p_memsz))?;
    let offset = phdr.p_offset.saturating_sub(within);
    let file = |offset: u64, copied: bool| Piece::File {
        map: map.clone(),
        offset,
        copied,
    };
    if start < file_pages {
        if !prot.contains(Prot::WRITE) {
            plan.map(
                start..file_pages,
                prot,
                VmFlags::empty(),
                file(offset, false),
            )?;
        } else {
            // The last page is partly zeroes; what lies before it may wait for the first store if there is much of it.
            let eager = if file_pages.saturating_sub(start) <= EAGER.saturating_sub(plan.copied()) {
                start
            } else {
                page_down(file_end.saturating_sub(1)).max(start)
            };
            if start < eager {
                plan.map(start..eager, prot, VmFlags::empty(), file(offset, false))?;
            }
            let at = offset.saturating_add(eager.saturating_sub(start));
            plan.map(eager..file_pages, prot, VmFlags::empty(), file(at, true))?;
            plan.write_file(eager, map, at, file_end.saturating_sub(eager))?;
        }
    }
    if file_pages < end {
        plan.map(file_pages..end, prot, VmFlags::empty(), Piece::Anonymous)?;
    }
    Ok(())
}
