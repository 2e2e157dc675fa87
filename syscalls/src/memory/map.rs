//! mmap(2), munmap(2), mremap(2), brk(2), memfd_create(2).

use super::{Addr, MapArg, ProtArg, limits};
use crate::args::{Fd, UserPath};
use abi::fcntl::{MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_EXEC, MFD_HUGETLB, MFD_NOEXEC_SEAL};
use abi::mman::MapFlags;
use abi::{Errno, PAGE_SIZE};
use sentry::kernel::Cx;
use sentry::mm::{MapRequest, MapSource};
use sentry::syscall::SysResult;

/// What `MAP_SHARED_VALIDATE` lets through (`LEGACY_MAP_MASK`); `MAP_SYNC` needs a file on persistent memory.
const VALIDATED: u32 = MapFlags::MAP_SHARED
    .union(MapFlags::MAP_PRIVATE)
    .union(MapFlags::MAP_FIXED)
    .union(MapFlags::MAP_ANONYMOUS)
    .union(MapFlags::MAP_DENYWRITE)
    .union(MapFlags::MAP_EXECUTABLE)
    .union(MapFlags::MAP_UNINITIALIZED)
    .union(MapFlags::MAP_GROWSDOWN)
    .union(MapFlags::MAP_LOCKED)
    .union(MapFlags::MAP_NORESERVE)
    .union(MapFlags::MAP_POPULATE)
    .union(MapFlags::MAP_NONBLOCK)
    .union(MapFlags::MAP_STACK)
    .union(MapFlags::MAP_HUGETLB)
    .union(MapFlags::MAP_32BIT)
    .union(MapFlags::MAP_FIXED_NOREPLACE)
    .bits()
    | MapFlags::MAP_HUGE_MASK << MapFlags::MAP_HUGE_SHIFT;

/// mmap(2)
pub fn mmap(
    cx: &mut Cx,
    addr: Addr,
    length: u64,
    prot: ProtArg,
    flags: MapArg,
    fd: i32,
    offset: Addr,
) -> SysResult {
    if !offset.0.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let bits = MapFlags::from_bits_truncate(flags.0);
    let source = if bits.contains(MapFlags::MAP_ANONYMOUS) {
        // There is no file that could validate.
        if flags.0 & MapFlags::MAP_TYPE == MapFlags::MAP_SHARED_VALIDATE {
            return Err(Errno::EINVAL);
        }
        MapSource::Anonymous
    } else {
        let file = cx.files()?.get(Fd::new(fd)?)?;
        if file.is_path() {
            return Err(Errno::EBADF);
        }
        if flags.0 & MapFlags::MAP_TYPE == MapFlags::MAP_SHARED_VALIDATE
            && flags.0 & !VALIDATED != 0
        {
            return Err(Errno::EOPNOTSUPP);
        }
        MapSource::File {
            file,
            offset: offset.0,
        }
    };
    let request = MapRequest {
        addr: addr.0,
        len: length,
        prot: prot.prot(cx),
        flags: bits,
        source,
    };
    cx.mm()?.mmap(&request, &limits(cx))
}

/// munmap(2)
pub fn munmap(cx: &mut Cx, addr: Addr, length: u64) -> SysResult {
    cx.mm()?.munmap(addr.0, length).map(|()| 0)
}

/// mremap(2)
pub fn mremap(
    cx: &mut Cx,
    old: Addr,
    old_size: u64,
    new_size: u64,
    flags: u32,
    new: Addr,
) -> SysResult {
    cx.mm()?
        .mremap(old.0, old_size, new_size, flags, new.0, &limits(cx))
}

/// brk(2): never an error, the old end instead.
pub fn brk(cx: &mut Cx, addr: Addr) -> SysResult {
    Ok(cx.mm()?.brk(addr.0, &limits(cx)))
}

/// memfd_create(2)
pub fn memfd_create(cx: &mut Cx, name: UserPath, flags: u32) -> SysResult {
    /// `NAME_MAX` less the prefix `memfd:`.
    const NAME_MAX: usize = 249;
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & MFD_HUGETLB != 0 {
        // As a kernel built without hugetlbfs.
        return Err(Errno::ENOSYS);
    }
    if flags & !known != 0 || flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL {
        return Err(Errno::EINVAL);
    }
    let name = cx
        .mm()?
        .read_cstring(name.addr, NAME_MAX.saturating_add(1))
        .map_err(|e| {
            if e == Errno::ENAMETOOLONG {
                Errno::EINVAL
            } else {
                e
            }
        })?;
    let mount = sentry::mm::internal_tmpfs(cx.kernel());
    let file = fs::tmpfs::memfd(&mount, &**cx.task(), &name, flags)?;
    crate::file::install(cx, file, flags & MFD_CLOEXEC != 0)
}
