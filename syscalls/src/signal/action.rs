//! rt_sigaction(2), rt_sigprocmask(2), rt_sigpending(2), rt_sigreturn(2), sigaltstack(2).

use crate::args::UserAddr;
use abi::Errno;
use abi::signal::{
    SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, SIGSET_SIZE, SaFlags, SigAction, SigInfo, SigSet, Signal,
};
use abi::ucontext::StackT;
use sentry::kernel::Cx;
use sentry::kernel::signal::frame;
use sentry::syscall::SysResult;

fn check_size(size: usize) -> Result<(), Errno> {
    if size == SIGSET_SIZE {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// rt_sigaction(2)
pub fn rt_sigaction(
    cx: &mut Cx,
    signal: i32,
    act: UserAddr<SigAction>,
    oldact: UserAddr<SigAction>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let signal = Signal::new(signal).ok_or(Errno::EINVAL)?;
    let handlers = cx.group().handlers();
    let old = match act.some() {
        None => handlers.get(signal),
        Some(act) => {
            let mut new = act.read(cx)?;
            if signal.is_unstoppable() {
                return Err(Errno::EINVAL);
            }
            // Unknown bits are cleared, so that programs can probe for flags (sigaction(2)).
            new.sa_flags = SaFlags::from_bits_truncate(new.sa_flags).bits();
            let old = handlers.set(signal, new);
            if handlers.ignores(signal) {
                cx.group().discard_pending(SigSet::of(&[signal]));
            }
            old
        }
    };
    oldact.write_if_some(cx, &old)?;
    Ok(0)
}

/// rt_sigprocmask(2)
pub fn rt_sigprocmask(
    cx: &mut Cx,
    how: i32,
    set: UserAddr<SigSet>,
    oldset: UserAddr<SigSet>,
    size: usize,
) -> SysResult {
    check_size(size)?;
    let old = cx.signals.lock().blocked;
    if let Some(set) = set.some() {
        let set = set.read(cx)?;
        let new = match how {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.difference(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        cx.set_blocked(new);
    }
    oldset.write_if_some(cx, &old)?;
    Ok(0)
}

/// rt_sigpending(2)
pub fn rt_sigpending(cx: &mut Cx, set: UserAddr<SigSet>, size: usize) -> SysResult {
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let blocked = cx.signals.lock().blocked;
    let pending = cx.pending_signals().intersection(blocked);
    let bytes = pending.0.to_le_bytes();
    cx.mm()?
        .write_bytes(set.addr, bytes.get(..size).unwrap_or_default())?;
    Ok(0)
}

/// rt_sigreturn(2): a frame that cannot be read is `SIGSEGV`, as on Linux.
pub fn rt_sigreturn(cx: &mut Cx) -> SysResult {
    cx.state.keep_registers = true;
    cx.state.restart = None;
    if frame::sigreturn(cx).is_err() {
        let task = cx.task().clone();
        task.group().force(&task, SigInfo::kernel(Signal::SIGSEGV));
    }
    Ok(0)
}

/// sigaltstack(2)
pub fn sigaltstack(cx: &mut Cx, ss: UserAddr<StackT>, old: UserAddr<StackT>) -> SysResult {
    cx.load_registers()?;
    let sp = cx.regs.user.rsp;
    let current = cx.state.altstack;
    if let Some(ss) = ss.some() {
        let new = ss.read(cx)?;
        frame::set_altstack(cx, &new, sp)?;
    }
    let autodisarm = current.ss_flags & abi::ucontext::SS_AUTODISARM;
    let shown = StackT {
        ss_flags: frame::altstack_flags(&current, sp) | autodisarm,
        ..current
    };
    old.write_if_some(cx, &shown)?;
    Ok(0)
}
