//! futex(2) and its robust lists.

use crate::args::UserAddr;
use abi::Errno;
use abi::futex::{
    FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_CMP_REQUEUE, FUTEX_LOCK_PI, FUTEX_LOCK_PI2,
    FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI, FUTEX_WAIT,
    FUTEX_WAIT_BITSET, FUTEX_WAITV_MAX, FUTEX_WAKE, FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
    FUTEX2_PRIVATE, FUTEX2_SIZE_MASK, FUTEX2_SIZE_U32, FutexWaitv,
};
use abi::time::{CLOCK_MONOTONIC, CLOCK_REALTIME, Timespec};
use sentry::futex;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::atomic::Ordering;

fn deadline(cx: &Cx, addr: u64, absolute: bool, realtime: bool) -> Result<Option<u64>, Errno> {
    let Some(addr) = UserAddr::<Timespec>::new(addr).some() else {
        return Ok(None);
    };
    let ts = addr.read(cx)?;
    let ns = crate::time::nanoseconds(&ts)?;
    let clock = &cx.kernel().clock;
    let now = clock.monotonic();
    Ok(Some(match (absolute, realtime) {
        (false, _) => now.saturating_add(ns),
        (true, false) => ns,
        (true, true) => {
            now.saturating_add(ns.saturating_sub(u64::try_from(clock.realtime()).unwrap_or(0)))
        }
    }))
}

/// futex(2)
pub fn futex(
    cx: &mut Cx,
    uaddr: u64,
    op: i32,
    val: u32,
    timeout: u64,
    uaddr2: u64,
    val3: u32,
) -> SysResult {
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    let realtime = op & FUTEX_CLOCK_REALTIME != 0;
    let command = op & FUTEX_CMD_MASK;
    if realtime && !matches!(command, FUTEX_WAIT_BITSET | FUTEX_WAIT | FUTEX_LOCK_PI2) {
        return Err(Errno::ENOSYS);
    }
    if uaddr & 3 != 0 {
        return Err(Errno::EINVAL);
    }
    let count2 = timeout as u32 as i32;
    match command {
        FUTEX_WAIT => {
            let until = deadline(cx, timeout, false, realtime)?;
            wait(cx, uaddr, shared, val, until, u32::MAX)
        }
        FUTEX_WAIT_BITSET => {
            let until = deadline(cx, timeout, true, realtime)?;
            wait(cx, uaddr, shared, val, until, val3)
        }
        FUTEX_WAKE => futex::wake(cx, uaddr, shared, val as i32, u32::MAX),
        FUTEX_WAKE_BITSET => futex::wake(cx, uaddr, shared, val as i32, val3),
        FUTEX_REQUEUE | FUTEX_CMP_REQUEUE if uaddr2 & 3 != 0 => Err(Errno::EINVAL),
        FUTEX_REQUEUE => futex::cmp_requeue(cx, uaddr, uaddr2, shared, val as i32, count2, None),
        FUTEX_CMP_REQUEUE => {
            futex::cmp_requeue(cx, uaddr, uaddr2, shared, val as i32, count2, Some(val3))
        }
        FUTEX_WAKE_OP if uaddr2 & 3 != 0 => Err(Errno::EINVAL),
        FUTEX_WAKE_OP => futex::wake_op(cx, uaddr, uaddr2, shared, val as i32, count2, val3),
        // Always on the realtime clock, for which there was no flag yet.
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => {
            let realtime = realtime || command == FUTEX_LOCK_PI;
            let until = deadline(cx, timeout, true, realtime)?;
            futex::pi::lock(cx, uaddr, shared, until).map(|()| 0)
        }
        FUTEX_TRYLOCK_PI => futex::pi::try_lock(cx, uaddr, shared).map(|()| 0),
        FUTEX_UNLOCK_PI => futex::pi::unlock(cx, uaddr, shared).map(|()| 0),
        _ => Err(Errno::ENOSYS),
    }
}

/// futex_waitv(2)
pub fn futex_waitv(
    cx: &mut Cx,
    words: UserAddr<FutexWaitv>,
    count: u32,
    flags: u32,
    timeout: u64,
    clock: i32,
) -> SysResult {
    if flags != 0 || !(1..=FUTEX_WAITV_MAX).contains(&count) || words.is_null() {
        return Err(Errno::EINVAL);
    }
    let realtime = match clock {
        _ if timeout == 0 => false,
        CLOCK_REALTIME => true,
        CLOCK_MONOTONIC => false,
        _ => return Err(Errno::EINVAL),
    };
    let until = deadline(cx, timeout, true, realtime)?;
    let mut all = Vec::new();
    for at in 0..count {
        let raw = words.at(usize::try_from(at).unwrap_or(0)).read(cx)?;
        let known = raw.flags & !(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) == 0;
        if !known || raw.flags & FUTEX2_SIZE_MASK != FUTEX2_SIZE_U32 || raw._reserved != 0 {
            return Err(Errno::EINVAL);
        }
        if raw.uaddr & 3 != 0 {
            return Err(Errno::EINVAL);
        }
        all.push(futex::Word {
            addr: raw.uaddr,
            shared: raw.flags & FUTEX2_PRIVATE == 0,
            expected: u32::try_from(raw.val).map_err(|_| Errno::EINVAL)?,
        });
    }
    futex::wait_any(cx, &all, until).map(|at| at as u64)
}

fn wait(
    cx: &mut Cx,
    addr: u64,
    shared: bool,
    expected: u32,
    until: Option<u64>,
    bitset: u32,
) -> SysResult {
    match futex::wait(cx, addr, shared, expected, until, bitset) {
        Ok(()) => Ok(0),
        // With a timeout the rest of the wait goes on after a stop or an ignored signal; a handler makes it EINTR (futex(2)).
        Err(Errno::ERESTARTSYS) if until.is_some() => Err(cx.restart_with(Box::new(move |cx| {
            wait(cx, addr, shared, expected, until, bitset)
        }))),
        Err(e) => Err(e),
    }
}

/// set_robust_list(2)
pub fn set_robust_list(cx: &mut Cx, head: u64, len: usize) -> SysResult {
    if len != 24 {
        return Err(Errno::EINVAL);
    }
    cx.task().robust_list.store(head, Ordering::Relaxed);
    Ok(0)
}

/// get_robust_list(2)
pub fn get_robust_list(
    cx: &mut Cx,
    pid: i32,
    head: UserAddr<u64>,
    len: UserAddr<u64>,
) -> SysResult {
    let task = match pid {
        0 => cx.task().clone(),
        _ => cx
            .pid_ns()
            .task(pid)
            .filter(|t| !t.is_dead())
            .ok_or(Errno::ESRCH)?,
    };
    sentry::procfs::may_access(cx.task(), &task).map_err(|_| Errno::EPERM)?;
    len.write(cx, &24)?;
    head.write(cx, &task.robust_list.load(Ordering::Relaxed))?;
    Ok(0)
}
