//! The operations of `futex(2)`, arguments already decoded.

use super::{FutexTable, Waiter};
use crate::kernel::{Cx, Kernel, Woken};
use crate::mm::{FutexKey, MemoryManager};
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) fn table(kernel: &Kernel) -> Arc<FutexTable> {
    kernel.extension(FutexTable::default)
}

/// `FUTEX_WAIT`, `FUTEX_WAIT_BITSET`: sleeps while the word is `expected`. `EAGAIN` when it is not, `ETIMEDOUT` at `deadline` (monotonic), `ERESTARTSYS` for a signal.
pub fn wait(
    cx: &Cx,
    addr: u64,
    shared: bool,
    expected: u32,
    deadline: Option<u64>,
    bitset: u32,
) -> Result<(), Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let mm = cx.mm()?;
    let key = mm.futex_key(addr, shared)?;
    let table = table(cx.kernel());
    let waiter = Arc::new(Waiter::new(cx.waker(), bitset, key, 0));
    table.enqueue(&waiter);
    let found = match mm.load_u32(addr) {
        Ok(value) => value,
        Err(e) => {
            table.dequeue(&waiter);
            return Err(e);
        }
    };
    if found != expected {
        // A wake that took us meanwhile was meant for a sleeper: it counts as one.
        return if table.dequeue(&waiter) {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        };
    }
    loop {
        if waiter.woken.load(Ordering::SeqCst) {
            return Ok(());
        }
        match cx.block(deadline) {
            Ok(()) => {}
            Err(why) => {
                if !table.dequeue(&waiter) {
                    return Ok(());
                }
                return Err(if why == Woken::TimedOut {
                    Errno::ETIMEDOUT
                } else {
                    Errno::ERESTARTSYS
                });
            }
        }
    }
}

/// `FUTEX_WAKE`, `FUTEX_WAKE_BITSET`: how many were woken.
pub fn wake(cx: &Cx, addr: u64, shared: bool, count: i32, bitset: u32) -> Result<u64, Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = cx.mm()?.futex_key(addr, shared)?;
    // Linux wakes one even for a count of zero or less.
    let count = usize::try_from(count).unwrap_or(1).max(1);
    Ok(table(cx.kernel()).wake(&key, count, bitset) as u64)
}

/// Wakes one waiter of a word, shared or not, as the end of a thread does.
pub fn wake_one_at(kernel: &Arc<crate::kernel::Kernel>, mm: &Arc<MemoryManager>, addr: u64) {
    let table = table(kernel);
    for shared in [false, true] {
        if let Ok(key) = mm.futex_key(addr, shared) {
            table.wake(&key, 1, u32::MAX);
        }
    }
}

/// `FUTEX_REQUEUE` (`expected` is `None`) and `FUTEX_CMP_REQUEUE`: woken plus moved, or only the woken for plain requeue, as Linux counts.
pub fn cmp_requeue(
    cx: &Cx,
    addr: u64,
    addr2: u64,
    shared: bool,
    wake: i32,
    requeue: i32,
    expected: Option<u32>,
) -> Result<u64, Errno> {
    let (Ok(wake), Ok(requeue)) = (usize::try_from(wake), usize::try_from(requeue)) else {
        return Err(Errno::EINVAL);
    };
    let mm = cx.mm()?;
    let (from, to): (FutexKey, FutexKey) =
        (mm.futex_key(addr, shared)?, mm.futex_key(addr2, shared)?);
    if let Some(expected) = expected
        && mm.load_u32(addr)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    let (woken, moved) = table(cx.kernel()).requeue(&from, &to, wake, requeue);
    Ok(woken.saturating_add(moved) as u64)
}

/// `FUTEX_WAKE_OP`: changes the word at `addr2` atomically, wakes at `addr`, and at `addr2` when the old value compares.
pub fn wake_op(
    cx: &Cx,
    addr: u64,
    addr2: u64,
    shared: bool,
    wake: i32,
    wake2: i32,
    encoded: u32,
) -> Result<u64, Errno> {
    let mm = cx.mm()?;
    let (key, key2) = (mm.futex_key(addr, shared)?, mm.futex_key(addr2, shared)?);
    let sign_extend = |v: u32| (((v & 0xfff) << 20) as i32) >> 20;
    let op = (encoded >> 28) & 7;
    let shift = encoded >> 31 != 0;
    let cmp = (encoded >> 24) & 0xf;
    let mut operand = sign_extend(encoded >> 12);
    let comparand = sign_extend(encoded);
    if shift {
        operand = 1i32.wrapping_shl((operand & 31) as u32);
    }
    let operand = operand as u32;
    let apply = |old: u32| -> Option<u32> {
        Some(match op {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            4 => old ^ operand,
            _ => return None,
        })
    };
    if apply(0).is_none() || cmp > 5 {
        return Err(Errno::ENOSYS);
    }
    let mut old = mm.load_u32(addr2)?;
    // Not for as long as somebody likes to change the word.
    while let Err(found) = mm.compare_exchange_u32(addr2, old, apply(old).unwrap_or(old))? {
        if cx.signal_pending() {
            return Err(Errno::ERESTARTNOINTR);
        }
        old = found;
    }
    let old = old as i32;
    let second = match cmp {
        0 => old == comparand,
        1 => old != comparand,
        2 => old < comparand,
        3 => old <= comparand,
        4 => old > comparand,
        _ => old >= comparand,
    };
    let table = table(cx.kernel());
    let count = |n: i32| usize::try_from(n).unwrap_or(1).max(1);
    let mut woken = table.wake(&key, count(wake), u32::MAX);
    if second {
        woken = woken.saturating_add(table.wake(&key2, count(wake2), u32::MAX));
    }
    Ok(woken as u64)
}
