//! membarrier(2), rseq(2).

use crate::args::UserAddr;
use abi::Errno;
use abi::sched::Rseq;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::atomic::Ordering;

/// membarrier(2). The host's own barrier over the sentry's threads would not reach guest threads; each guest thread is brought out of guest code instead, which is a
/// full barrier on its processor.
/// That also breaks off their restartable sequences: on the way back the host sees that they did not run on.
pub fn membarrier(cx: &mut Cx, cmd: i32, flags: u32, _cpu: i32) -> SysResult {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
    const PRIVATE_EXPEDITED: i32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 16;
    const PRIVATE_EXPEDITED_RSEQ: i32 = 128;
    const REGISTER_PRIVATE_EXPEDITED_RSEQ: i32 = 256;
    /// Only the sequences on one processor: more may be broken off.
    const FLAG_CPU: u32 = 1;
    const KNOWN: i32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED
        | PRIVATE_EXPEDITED_RSEQ
        | REGISTER_PRIVATE_EXPEDITED_RSEQ;
    if flags != 0 && (cmd, flags) != (PRIVATE_EXPEDITED_RSEQ, FLAG_CPU) {
        return Err(Errno::EINVAL);
    }
    let registered = &cx.group().membarrier;
    match cmd {
        QUERY => Ok(u64::try_from(KNOWN).unwrap_or(0)),
        REGISTER_GLOBAL_EXPEDITED => Ok(0),
        REGISTER_PRIVATE_EXPEDITED | REGISTER_PRIVATE_EXPEDITED_RSEQ => {
            registered.fetch_or(cmd, Ordering::Relaxed);
            Ok(0)
        }
        // The registration for a command is the next bit.
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_RSEQ
            if registered.load(Ordering::Relaxed) & (cmd << 1) == 0 =>
        {
            Err(Errno::EPERM)
        }
        PRIVATE_EXPEDITED | PRIVATE_EXPEDITED_RSEQ => {
            cx.barrier(&cx.group().tasks());
            Ok(0)
        }
        GLOBAL | GLOBAL_EXPEDITED => {
            let tasks: Vec<_> = cx
                .kernel()
                .root_pid_ns
                .pids()
                .into_iter()
                .filter_map(|(_, p)| p.task())
                .collect();
            cx.barrier(&tasks);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// rseq(2)
pub fn rseq(cx: &mut Cx, area: UserAddr<Rseq>, len: u32, flags: i32, sig: u32) -> SysResult {
    cx.rseq(area.addr, len, flags, sig)?;
    Ok(0)
}
