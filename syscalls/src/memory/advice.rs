//! madvise(2), process_madvise(2), mincore(2), msync(2).

use super::{Addr, Advice, remote};
use crate::args::Fd;
use abi::mman::{MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED};
use abi::{Errno, PAGE_SIZE};
use sentry::kernel::Cx;
use sentry::kernel::wait::PidFd;
use sentry::syscall::SysResult;

/// madvise(2)
pub fn madvise(cx: &mut Cx, addr: Addr, length: u64, advice: Advice) -> SysResult {
    cx.mm()?
        .madvise(&**cx.task(), addr.0, length, advice.0)
        .map(|()| 0)
}

/// process_madvise(2): how many bytes were advised.
pub fn process_madvise(
    cx: &mut Cx,
    pidfd: Fd,
    iovec: Addr,
    vlen: u64,
    advice: Advice,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let iovecs = cx.mm()?.read_iovecs(iovec.0, vlen)?;
    let file = cx.files()?.get(pidfd)?;
    let target = file
        .downcast::<PidFd>()
        .ok_or(Errno::EBADF)?
        .group()
        .any_live()
        .ok_or(Errno::ESRCH)?;
    if !matches!(
        advice.0,
        MADV_COLD | MADV_PAGEOUT | MADV_WILLNEED | MADV_COLLAPSE
    ) {
        return Err(Errno::EINVAL);
    }
    let mm = remote::access(cx, &target)?;
    let mut done = 0u64;
    for iovec in iovecs {
        if let Err(error) = mm.madvise(&**cx.task(), iovec.iov_base, iovec.iov_len, advice.0) {
            return if done == 0 { Err(error) } else { Ok(done) };
        }
        done = done.saturating_add(iovec.iov_len);
    }
    Ok(done)
}

/// mincore(2)
pub fn mincore(cx: &mut Cx, addr: Addr, length: u64, vec: Addr) -> SysResult {
    /// As much as is asked for at once.
    const STEP: u64 = 4096 * PAGE_SIZE;
    let mm = cx.mm()?;
    let (mut at, mut left, mut out) = (addr.0, length, vec.0);
    if !at.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    while left != 0 {
        if cx.fatal_signal_pending() {
            return Err(Errno::EINTR);
        }
        let len = left.min(STEP);
        let resident = mm.mincore(at, len)?;
        mm.write_bytes(out, &resident)?;
        at = at.saturating_add(len);
        left = left.saturating_sub(len);
        out = out.saturating_add(resident.len() as u64);
    }
    Ok(0)
}

/// msync(2)
pub fn msync(cx: &mut Cx, addr: Addr, length: u64, flags: i32) -> SysResult {
    cx.mm()?.msync(addr.0, length, flags).map(|()| 0)
}
