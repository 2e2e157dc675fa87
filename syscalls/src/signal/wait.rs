//! rt_sigsuspend(2), rt_sigtimedwait(2), pause(2), restart_syscall(2).

use crate::args::UserAddr;
use abi::Errno;
use abi::signal::{SIGSET_SIZE, SigInfo, SigSet};
use abi::time::Timespec;
use sentry::kernel::{Cx, Woken};
use sentry::syscall::SysResult;

/// rt_sigsuspend(2)
pub fn rt_sigsuspend(cx: &mut Cx, set: UserAddr<SigSet>, size: usize) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let mask = set.read(cx)?;
    cx.set_temporary_mask(mask);
    pause(cx)
}

/// pause(2)
pub fn pause(cx: &mut Cx) -> SysResult {
    while cx.block(None) != Err(Woken::Interrupted) {}
    Err(Errno::ERESTARTNOHAND)
}

/// rt_sigtimedwait(2)
pub fn rt_sigtimedwait(
    cx: &mut Cx,
    set: UserAddr<SigSet>,
    info: UserAddr<SigInfo>,
    timeout: UserAddr<Timespec>,
    size: usize,
) -> SysResult {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let set = set.read(cx)?.blockable();
    let deadline = match timeout.some() {
        None => None,
        Some(timeout) => {
            let ts = timeout.read(cx)?;
            let sec = u64::try_from(ts.tv_sec).map_err(|_| Errno::EINVAL)?;
            let nsec = u64::try_from(ts.tv_nsec)
                .ok()
                .filter(|n| *n < 1_000_000_000)
                .ok_or(Errno::EINVAL)?;
            Some(
                cx.kernel()
                    .clock
                    .monotonic()
                    .saturating_add(sec.saturating_mul(1_000_000_000))
                    .saturating_add(nsec),
            )
        }
    };
    let found = match cx.dequeue_signal(set) {
        Some(found) => Some(found),
        None => {
            cx.signals.lock().waiting_for = set;
            let found = sleep_for(cx, set, deadline);
            cx.signals.lock().waiting_for = SigSet::EMPTY;
            found?
        }
    };
    let found = found.ok_or(Errno::EAGAIN)?;
    info.write_if_some(cx, &found)?;
    Ok(u64::try_from(found.si_signo).unwrap_or(0))
}

fn sleep_for(cx: &Cx, set: SigSet, deadline: Option<u64>) -> Result<Option<SigInfo>, Errno> {
    loop {
        if let Some(found) = cx.dequeue_signal(set) {
            return Ok(Some(found));
        }
        match cx.block(deadline) {
            Ok(()) => {}
            Err(Woken::TimedOut) => return Ok(cx.dequeue_signal(set)),
            Err(Woken::Interrupted) => return cx.dequeue_signal(set).map(Some).ok_or(Errno::EINTR),
        }
    }
}

/// restart_syscall(2)
pub fn restart_syscall(cx: &mut Cx) -> SysResult {
    match cx.state.restart.take() {
        Some(rest) => rest(cx),
        None => Err(Errno::EINTR),
    }
}
