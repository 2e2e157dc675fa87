//! seccomp(2) and its prctl(2) ancestor.

use crate::args::UserAddr;
use abi::Errno;
use abi::seccomp::*;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// seccomp(2)
pub fn seccomp(cx: &mut Cx, operation: u32, flags: u32, args: u64) -> SysResult {
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && args == 0 => cx.set_seccomp_strict(),
        SECCOMP_SET_MODE_FILTER => filter(cx, flags, args),
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => match UserAddr::<u32>::new(args).read(cx)? {
            SECCOMP_RET_KILL_PROCESS
            | SECCOMP_RET_KILL_THREAD
            | SECCOMP_RET_TRAP
            | SECCOMP_RET_ERRNO
            | SECCOMP_RET_TRACE
            | SECCOMP_RET_LOG
            | SECCOMP_RET_ALLOW => Ok(0),
            _ => Err(Errno::EOPNOTSUPP),
        },
        _ => Err(Errno::EINVAL),
    }
}

/// `prctl(PR_SET_SECCOMP)`
pub fn set_mode(cx: &mut Cx, mode: u64, program: u64) -> SysResult {
    match u32::try_from(mode) {
        Ok(SECCOMP_MODE_STRICT) => cx.set_seccomp_strict(),
        Ok(SECCOMP_MODE_FILTER) => filter(cx, 0, program),
        _ => Err(Errno::EINVAL),
    }
}

fn filter(cx: &mut Cx, flags: u32, program: u64) -> SysResult {
    // What goes with a listener is not there: no user notification.
    const KNOWN: u32 = SECCOMP_FILTER_FLAG_TSYNC
        | SECCOMP_FILTER_FLAG_LOG
        | SECCOMP_FILTER_FLAG_SPEC_ALLOW
        | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let program: SockFprog = UserAddr::new(program).read(cx)?;
    if program.len == 0 || program.len > BPF_MAXINSNS {
        return Err(Errno::EINVAL);
    }
    let cred = cx.task().cred();
    if !cred.no_new_privs && !cred.has_cap(abi::cap::CAP_SYS_ADMIN) {
        return Err(Errno::EACCES);
    }
    if program.filter == 0 {
        return Err(Errno::EINVAL);
    }
    let code: Vec<SockFilter> = cx
        .mm()?
        .read_vec(program.filter, usize::from(program.len))?;
    cx.add_seccomp_filter(&code, flags)
}
