//! mlock(2) and its kin.

use super::{Addr, limits};
use abi::Errno;
use abi::mman::MLOCK_ONFAULT;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// mlock(2)
pub fn mlock(cx: &mut Cx, addr: Addr, length: u64) -> SysResult {
    cx.mm()?
        .mlock(addr.0, length, false, &limits(cx))
        .map(|()| 0)
}

/// mlock2(2)
pub fn mlock2(cx: &mut Cx, addr: Addr, length: u64, flags: u32) -> SysResult {
    if flags & !MLOCK_ONFAULT.unsigned_abs() != 0 {
        return Err(Errno::EINVAL);
    }
    cx.mm()?
        .mlock(addr.0, length, flags != 0, &limits(cx))
        .map(|()| 0)
}

/// munlock(2)
pub fn munlock(cx: &mut Cx, addr: Addr, length: u64) -> SysResult {
    cx.mm()?.munlock(addr.0, length).map(|()| 0)
}

/// mlockall(2)
pub fn mlockall(cx: &mut Cx, flags: i32) -> SysResult {
    cx.mm()?.mlockall(flags, &limits(cx)).map(|()| 0)
}

/// munlockall(2)
pub fn munlockall(cx: &mut Cx) -> SysResult {
    cx.mm()?.munlockall();
    Ok(0)
}
