//! Memory: mappings, the heap, advice, locking, other processes' memory, NUMA policy on one node.

mod advice;
mod lock;
mod map;
mod numa;
mod protect;
pub(crate) mod remote;

use crate::args::{Fd, FromArg, UserPath, arg, show_flags, show_named};
use abi::Errno;
use abi::mman::{MapFlags, ProtFlags};
use sentry::kernel::Cx;
use sentry::kernel::limits::Resource;
use sentry::mm::MemLimits;
use sentry::mm::Prot;
use sentry::syscall::{SysResult, Syscall};

/// `CAP_IPC_LOCK`
const CAP_IPC_LOCK: u32 = 14;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    MMAP mmap(addr: Addr, length: u64, prot: ProtArg, flags: MapArg, fd: i32, offset: Addr as Offset) => map::mmap, Partial("pages of the huge page pool (ENOMEM)");
    MUNMAP munmap(addr: Addr, length: u64) => map::munmap, Full;
    MREMAP mremap(old_address: Addr, old_size: u64, new_size: u64, flags: u32 as MremapBits, new_address: Addr) => map::mremap, Full;
    BRK brk(addr: Addr) => map::brk, Full;
    MEMFD_CREATE memfd_create(name: UserPath, flags: u32 as MemfdBits) => map::memfd_create, Partial("MFD_HUGETLB");
    MPROTECT mprotect(addr: Addr, length: u64, prot: ProtArg) => protect::mprotect, Full;
    PKEY_MPROTECT pkey_mprotect(addr: Addr, length: u64, prot: ProtArg, pkey: i32) => protect::pkey_mprotect, Partial("keys: as on a processor without them");
    PKEY_ALLOC pkey_alloc(flags: u64, access: u64) => protect::pkey_alloc, Refused(Errno::ENOSPC, "as on a processor without protection keys");
    PKEY_FREE pkey_free(pkey: i32) => protect::pkey_free, Refused(Errno::EINVAL, "as on a processor without protection keys");
    MADVISE madvise(addr: Addr, length: u64, advice: Advice) => advice::madvise, Partial("guard regions, poisoning (EINVAL)");
    PROCESS_MADVISE process_madvise(pidfd: Fd, iovec: Addr, vlen: u64, advice: Advice, flags: u32) => advice::process_madvise, Full;
    MINCORE mincore(addr: Addr, length: u64, vec: Addr) => advice::mincore, Full;
    MSYNC msync(addr: Addr, length: u64, flags: i32) => advice::msync, Full;
    MLOCK mlock(addr: Addr, length: u64) => lock::mlock, Full;
    MLOCK2 mlock2(addr: Addr, length: u64, flags: u32) => lock::mlock2, Full;
    MUNLOCK munlock(addr: Addr, length: u64) => lock::munlock, Full;
    MLOCKALL mlockall(flags: i32) => lock::mlockall, Full;
    MUNLOCKALL munlockall() => lock::munlockall, Full;
    PROCESS_VM_READV process_vm_readv(pid: i32, local: Addr, liovcnt: u64, remote: Addr, riovcnt: u64, flags: u64) => remote::process_vm_readv, Full;
    PROCESS_VM_WRITEV process_vm_writev(pid: i32, local: Addr, liovcnt: u64, remote: Addr, riovcnt: u64, flags: u64) => remote::process_vm_writev, Full;
    MBIND mbind(addr: Addr, length: u64, mode: i32, nodemask: Addr, maxnode: u64, flags: u32) => numa::mbind, Partial("any effect: the guest has one node");
    SET_MEMPOLICY set_mempolicy(mode: i32, nodemask: Addr, maxnode: u64) => numa::set_mempolicy, Partial("any effect: the guest has one node");
    GET_MEMPOLICY get_mempolicy(mode: Addr, nodemask: Addr, maxnode: u64, addr: Addr, flags: u64) => numa::get_mempolicy, Partial("policies of memory other than the default");
    MIGRATE_PAGES migrate_pages(pid: i32, maxnode: u64, old: Addr, new: Addr) => numa::migrate_pages, Partial("any effect: the guest has one node, where everything is already");
    MOVE_PAGES move_pages(pid: i32, count: u64, pages: Addr, nodes: Addr, status: Addr, flags: i32) => numa::move_pages, Partial("any effect: the guest has one node, where everything is already");
};

/// The limits of the calling process, now.
pub(crate) fn limits(cx: &Cx) -> MemLimits {
    let limits = &cx.group().limits;
    let memlock = if cx.cred().has_cap(CAP_IPC_LOCK) {
        u64::MAX
    } else {
        limits.soft(Resource::Memlock)
    };
    MemLimits {
        address_space: limits.soft(Resource::As),
        data: limits.soft(Resource::Data),
        stack: limits.soft(Resource::Stack),
        memlock,
    }
}

/// An address or offset, shown in hexadecimal.
#[derive(Clone, Copy)]
pub struct Addr(pub u64);

impl FromArg for Addr {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        crate::args::show_pointer(arg(args, index), out);
    }
}

/// `PROT_*`, unchecked.
#[derive(Clone, Copy)]
pub struct ProtArg(pub u32);

impl FromArg for ProtArg {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw as u32))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        match arg(args, index) as u32 {
            0 => out.push_str("PROT_NONE"),
            bits => show_flags(ProtFlags::from_bits_retain(bits), out),
        }
    }
}

impl ProtArg {
    /// What the platform knows of it; `READ_IMPLIES_EXEC` of personality(2) applied.
    fn prot(self, cx: &Cx) -> Prot {
        const READ_IMPLIES_EXEC: u32 = 0x040_0000;
        let mut prot = Prot::from_bits_truncate(self.0);
        if prot.contains(Prot::READ)
            && cx.personality.load(std::sync::atomic::Ordering::Relaxed) & READ_IMPLIES_EXEC != 0
        {
            prot |= Prot::EXEC;
        }
        prot
    }
}

/// `MAP_*`, unchecked.
#[derive(Clone, Copy)]
pub struct MapArg(pub u32);

impl FromArg for MapArg {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw as u32))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let bits = arg(args, index) as u32;
        if bits & MapFlags::MAP_TYPE == MapFlags::MAP_SHARED_VALIDATE {
            out.push_str("MAP_SHARED_VALIDATE|");
            show_flags(MapFlags::from_bits_retain(bits & !MapFlags::MAP_TYPE), out);
        } else {
            show_flags(MapFlags::from_bits_retain(bits), out);
        }
    }
}

/// `MADV_*`
#[derive(Clone, Copy)]
pub struct Advice(pub i32);

impl FromArg for Advice {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw as i32))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        const NAMES: &[(i64, &str)] = &[
            (0, "MADV_NORMAL"),
            (1, "MADV_RANDOM"),
            (2, "MADV_SEQUENTIAL"),
            (3, "MADV_WILLNEED"),
            (4, "MADV_DONTNEED"),
            (8, "MADV_FREE"),
            (9, "MADV_REMOVE"),
            (10, "MADV_DONTFORK"),
            (11, "MADV_DOFORK"),
            (12, "MADV_MERGEABLE"),
            (13, "MADV_UNMERGEABLE"),
            (14, "MADV_HUGEPAGE"),
            (15, "MADV_NOHUGEPAGE"),
            (16, "MADV_DONTDUMP"),
            (17, "MADV_DODUMP"),
            (18, "MADV_WIPEONFORK"),
            (19, "MADV_KEEPONFORK"),
            (20, "MADV_COLD"),
            (21, "MADV_PAGEOUT"),
            (22, "MADV_POPULATE_READ"),
            (23, "MADV_POPULATE_WRITE"),
            (24, "MADV_DONTNEED_LOCKED"),
            (25, "MADV_COLLAPSE"),
            (100, "MADV_HWPOISON"),
            (101, "MADV_SOFT_OFFLINE"),
            (102, "MADV_GUARD_INSTALL"),
            (103, "MADV_GUARD_REMOVE"),
        ];
        show_named((arg(args, index) as i32).into(), NAMES, out);
    }
}

/// Writes a number as a fixed-size value where `at` is not null.
fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(
    cx: &Cx,
    at: Addr,
    value: &T,
) -> Result<(), Errno> {
    if at.0 == 0 {
        Ok(())
    } else {
        cx.mm()?.write_obj(at.0, value)
    }
}
