//! A whole new address space at once: what the loader puts there goes to the platform in one batch, and all bytes in one write.

use super::map::hints;
use super::{
    FileMap, Host, Layout, MemLimits, MemoryManager, Region, State, VmBacking, VmFlags, Vma,
};
use abi::{Errno, Iovec, PAGE_SIZE};
use fs::File;
use platform::{Backing, MapHint, Order, Prot};
use std::ops::Range;
use std::sync::Arc;

/// What a piece of the new address space shows.
pub enum Piece {
    /// Zeroes.
    Anonymous,
    /// A program's file. Writable pieces get their bytes by [`Plan::write`].
    File {
        /// Which.
        map: Arc<FileMap>,
        /// From where, page aligned.
        offset: u64,
        /// The pages are the address space's own from the start.
        copied: bool,
    },
    /// A range of the memory file that all address spaces share.
    Special {
        /// Its name in `/proc/PID/maps`.
        name: &'static str,
        /// Where.
        offset: u64,
    },
    /// A region of the memory file.
    Region(Arc<Region>),
}

/// Orders, records and bytes for an address space that no guest thread has seen.
#[derive(Default)]
pub struct Plan {
    state: State,
    orders: Vec<Order>,
    iovecs: Vec<Iovec>,
    bytes: Vec<u8>,
}

const ALL: Prot = Prot::all();

impl Plan {
    /// Nothing yet, with the bases of `layout`.
    pub fn new(layout: Layout) -> Self {
        Self {
            state: State {
                layout,
                ..State::default()
            },
            ..Self::default()
        }
    }

    /// The layout, to complete.
    pub fn layout(&mut self) -> &mut Layout {
        &mut self.state.layout
    }

    /// Prepares a file to be mapped into `mm`.
    pub fn file(mm: &MemoryManager, file: &Arc<File>) -> Result<Arc<FileMap>, Errno> {
        FileMap::new(file, &mm.this, false, false)?.ok_or(Errno::ENOEXEC)
    }

    /// Whether nothing is planned in `range`.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.state.vmas.overlapping(range).next().is_none()
    }

    /// A free place for `len` bytes (pages), where mmap would put it.
    pub fn place(&self, mm: &MemoryManager, len: u64) -> Result<u64, Errno> {
        mm.place(&self.state, 0, len, abi::mman::MapFlags::empty())
    }

    /// A free place below `top`.
    pub fn place_below(
        &self,
        mm: &MemoryManager,
        len: u64,
        top: u64,
        align: u64,
    ) -> Result<u64, Errno> {
        self.state
            .vmas
            .gap_top_down(len, mm.range.start..top, align)
            .ok_or(Errno::ENOMEM)
    }

    /// Adds a mapping; later ones replace earlier ones, as with `MAP_FIXED`.
    pub fn map(
        &mut self,
        range: Range<u64>,
        prot: Prot,
        flags: VmFlags,
        piece: Piece,
    ) -> Result<(), Errno> {
        let len = range.end.saturating_sub(range.start);
        if !range.start.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) || len == 0 {
            return Err(Errno::EINVAL);
        }
        self.state.remove(range.clone());
        let vma = |backing, max_prot, host| Vma {
            start: range.start,
            end: range.end,
            prot,
            max_prot,
            flags,
            backing,
            host,
        };
        let hint = hints(flags, false);
        let order = |backing: Backing, prot: Prot, hint: MapHint| Order::Map {
            start: range.start,
            len,
            backing,
            prot,
            hint,
        };
        match piece {
            Piece::Anonymous => {
                let vma = vma(VmBacking::Anonymous, ALL, Host::Mapped);
                self.orders
                    .push(order(Backing::Anonymous, vma.host_prot(prot), hint));
                self.state.insert(vma);
            }
            Piece::File {
                map,
                offset,
                copied,
            } => {
                let host = if copied { Host::Copied } else { Host::Mapped };
                let vma = vma(
                    VmBacking::File {
                        map: map.clone(),
                        offset,
                    },
                    ALL,
                    host,
                );
                if copied {
                    self.orders
                        .push(order(Backing::Anonymous, vma.host_prot(prot), hint));
                } else {
                    let within = if map.is_host() {
                        len
                    } else {
                        map.within_eof(offset, len)?
                    };
                    if within == len {
                        self.orders.extend(map.map_orders(
                            range.start,
                            offset,
                            len,
                            false,
                            vma.host_prot(prot),
                            hint,
                        )?);
                    } else {
                        // Past the end of a memory file: SIGBUS when touched, found out by the fault.
                        self.state.insert(Vma {
                            host: Host::Absent,
                            ..vma
                        });
                        return Ok(());
                    }
                }
                self.state.insert(vma);
            }
            Piece::Special { name, offset } => {
                let vma = vma(
                    VmBacking::Special { name, offset },
                    Prot::READ | Prot::EXEC,
                    Host::Mapped,
                );
                self.orders.push(order(
                    Backing::Memory {
                        offset,
                        shared: true,
                    },
                    prot,
                    hint,
                ));
                self.state.insert(vma);
            }
            Piece::Region(region) => {
                let offset = region.offset;
                let vma = vma(
                    VmBacking::Region {
                        region,
                        offset: 0,
                        attachment: None,
                    },
                    ALL,
                    Host::Mapped,
                );
                self.orders.push(order(
                    Backing::Memory {
                        offset,
                        shared: true,
                    },
                    vma.host_prot(prot),
                    hint,
                ));
                self.state.insert(vma);
            }
        }
        Ok(())
    }

    /// Bytes for `addr`, once everything is mapped.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.iovecs.push(Iovec {
                iov_base: addr,
                iov_len: bytes.len() as u64,
            });
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// How many bytes are to be written so far.
    pub fn copied(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// `len` bytes of a file, from `offset`, for `addr`; fewer where the file ends.
    pub fn write_file(
        &mut self,
        addr: u64,
        map: &FileMap,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::ENOMEM)?;
        let from = self.bytes.len();
        self.bytes
            .resize(from.checked_add(len).ok_or(Errno::ENOMEM)?, 0);
        map.read(offset, self.bytes.get_mut(from..).unwrap_or_default())?;
        self.iovecs.push(Iovec {
            iov_base: addr,
            iov_len: len as u64,
        });
        Ok(())
    }

    /// Makes it so in `mm`, which is empty.
    pub fn carry_out(self, mm: &MemoryManager, limits: &MemLimits) -> Result<(), Errno> {
        self.state.may_grow(0, true, limits)?;
        mm.set_stack_limit(limits.stack);
        mm.space.apply(&self.orders)?;
        *mm.lock() = self.state;
        if mm
            .space
            .writev(&self.iovecs, &self.bytes)
            .map_err(|_| Errno::EFAULT)?
            != self.bytes.len()
        {
            return Err(Errno::EFAULT);
        }
        Ok(())
    }
}
