//! membarrier(2), rseq(2).

use crate::args::UserAddr;
use abi::Errno;
use abi::sched::Rseq;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::atomic::Ordering;

/// membarrier(2). The host's own barrier over the sentry's threads would not reach guest threads; each guest thread is brought out of guest code instead, which is a
/// full barrier on its processor.
pub fn membarrier(cx: &mut Cx, cmd: i32, flags: u32, _cpu: i32) -> SysResult {
    const QUERY: i32 = 0;
    const GLOBAL: i32 = 1;
    const GLOBAL_EXPEDITED: i32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
    const PRIVATE_EXPEDITED: i32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: i32 = 16;
    const KNOWN: i32 = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED;
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        QUERY => Ok(u64::try_from(KNOWN).unwrap_or(0)),
        REGISTER_GLOBAL_EXPEDITED => Ok(0),
        REGISTER_PRIVATE_EXPEDITED => {
            cx.group().membarrier.store(true, Ordering::Relaxed);
            Ok(0)
        }
        PRIVATE_EXPEDITED if !cx.group().membarrier.load(Ordering::Relaxed) => Err(Errno::EPERM),
        PRIVATE_EXPEDITED => {
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

/// rseq(2): glibc and others go on without it.
pub fn rseq(_: &mut Cx, _: UserAddr<Rseq>, _: u32, _: i32, _: u32) -> SysResult {
    Err(Errno::ENOSYS)
}
