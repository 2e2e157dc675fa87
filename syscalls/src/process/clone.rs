//! fork(2), vfork(2), clone(2), clone3(2).

use crate::args::{LooseFlags, UserAddr};
use abi::Errno;
use abi::sched::CloneFlags;
use sentry::kernel::Cx;
use sentry::kernel::clone::CloneArgs;
use sentry::syscall::SysResult;

const CSIGNAL: u64 = 0xff;
const SIGCHLD: i32 = 17;
/// `CLONE_ARGS_SIZE_VER0`: what every clone3 caller has.
const CLONE3_MIN: usize = 64;

/// fork(2)
pub fn fork(cx: &mut Cx) -> SysResult {
    cx.clone_task(CloneArgs {
        exit_signal: SIGCHLD,
        ..CloneArgs::default()
    })
}

/// vfork(2)
pub fn vfork(cx: &mut Cx) -> SysResult {
    cx.clone_task(CloneArgs {
        flags: CloneFlags::CLONE_VFORK | CloneFlags::CLONE_VM,
        exit_signal: SIGCHLD,
        ..CloneArgs::default()
    })
}

/// clone(2)
pub fn clone(
    cx: &mut Cx,
    flags: LooseFlags<CloneFlags>,
    stack: u64,
    parent_tid: UserAddr<i32>,
    child_tid: UserAddr<i32>,
    tls: u64,
) -> SysResult {
    let exit_signal = (cx.regs.user.rdi & CSIGNAL) as i32;
    let flags = flags.0;
    // The old call has one word for both: a pidfd goes where the parent's tid would.
    if flags.contains(CloneFlags::CLONE_PIDFD) && flags.contains(CloneFlags::CLONE_PARENT_SETTID) {
        return Err(Errno::EINVAL);
    }
    cx.clone_task(CloneArgs {
        flags: flags.difference(CloneFlags::CLONE_CLEAR_SIGHAND),
        exit_signal,
        stack,
        pidfd: parent_tid.addr,
        parent_tid: parent_tid.addr,
        child_tid: child_tid.addr,
        tls,
        set_tid: Vec::new(),
    })
}

/// clone3(2)
pub fn clone3(cx: &mut Cx, args: UserAddr<abi::sched::CloneArgs>, size: usize) -> SysResult {
    if size < CLONE3_MIN {
        return Err(Errno::EINVAL);
    }
    let raw = args.read_extensible(cx, size)?;
    let flags = CloneFlags::from_bits(raw.flags).ok_or(Errno::EINVAL)?;
    // The old call's place for the signal, of which one bit has become a flag.
    let no_flags = CSIGNAL & !CloneFlags::CLONE_NEWTIME.bits() | CloneFlags::CLONE_DETACHED.bits();
    if raw.flags & no_flags != 0
        || raw.exit_signal > 64
        || flags.contains(CloneFlags::CLONE_INTO_CGROUP)
    {
        return Err(Errno::EINVAL);
    }
    if flags.intersects(CloneFlags::CLONE_THREAD | CloneFlags::CLONE_PARENT) && raw.exit_signal != 0
    {
        return Err(Errno::EINVAL);
    }
    if (raw.stack == 0) != (raw.stack_size == 0)
        || (raw.set_tid == 0) != (raw.set_tid_size == 0)
        || raw.set_tid_size > 32
    {
        return Err(Errno::EINVAL);
    }
    let stack = raw.stack.checked_add(raw.stack_size).ok_or(Errno::EINVAL)?;
    let mut set_tid = Vec::new();
    for i in 0..raw.set_tid_size {
        set_tid.push(
            cx.mm()?
                .read_obj::<i32>(raw.set_tid.wrapping_add(i.wrapping_mul(4)))?,
        );
    }
    if !set_tid.is_empty() {
        let cred = cx.task().cred();
        if !cred.has_cap(abi::cap::CAP_CHECKPOINT_RESTORE) && !cred.has_cap(abi::cap::CAP_SYS_ADMIN)
        {
            return Err(Errno::EPERM);
        }
    }
    cx.clone_task(CloneArgs {
        flags,
        exit_signal: i32::try_from(raw.exit_signal).map_err(|_| Errno::EINVAL)?,
        stack,
        pidfd: raw.pidfd,
        parent_tid: raw.parent_tid,
        child_tid: raw.child_tid,
        tls: raw.tls,
        set_tid,
    })
}
