//! mprotect(2), and protection keys as on a processor that has none.

use super::{Addr, ProtArg, limits};
use abi::Errno;
use abi::mman::ProtFlags;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// mprotect(2)
pub fn mprotect(cx: &mut Cx, addr: Addr, length: u64, prot: ProtArg) -> SysResult {
    let flags = ProtFlags::from_bits_retain(prot.0);
    let direction = ProtFlags::PROT_GROWSDOWN | ProtFlags::PROT_GROWSUP;
    if flags.contains(direction) {
        return Err(Errno::EINVAL);
    }
    let known =
        ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC | ProtFlags::PROT_SEM;
    if !(known | direction).contains(flags) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(ProtFlags::PROT_GROWSUP) && length != 0 {
        // No mapping grows up on this machine.
        return Err(Errno::EINVAL);
    }
    cx.mm()?
        .mprotect(
            addr.0,
            length,
            prot.prot(cx),
            flags.contains(ProtFlags::PROT_GROWSDOWN),
            &limits(cx),
        )
        .map(|()| 0)
}

/// pkey_mprotect(2): key -1 is mprotect.
pub fn pkey_mprotect(cx: &mut Cx, addr: Addr, length: u64, prot: ProtArg, pkey: i32) -> SysResult {
    if pkey == -1 {
        mprotect(cx, addr, length, prot)
    } else {
        Err(Errno::EINVAL)
    }
}

/// pkey_alloc(2)
pub fn pkey_alloc(_: &mut Cx, flags: u64, access: u64) -> SysResult {
    const ACCESS_MASK: u64 = 3;
    Err(if flags != 0 || access & !ACCESS_MASK != 0 {
        Errno::EINVAL
    } else {
        Errno::ENOSPC
    })
}

/// pkey_free(2)
pub fn pkey_free(_: &mut Cx, _pkey: i32) -> SysResult {
    Err(Errno::EINVAL)
}
