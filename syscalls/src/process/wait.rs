//! wait4(2), waitid(2), pidfd_open(2), pidfd_send_signal(2).

use crate::args::{Fd, SigArg, UserAddr};
use abi::Errno;
use abi::resource::Rusage;
use abi::siginfo::{SI_TKILL, SigInfo};
use abi::time::Timeval;
use sentry::kernel::Cx;
use sentry::kernel::thread_group::Usage;
use sentry::kernel::wait::{PidFd, WaitOptions, Waited, Who, pidfd_file};
use sentry::syscall::SysResult;

const WNOHANG: i32 = 1;
const WUNTRACED: i32 = 2;
const WEXITED: i32 = 4;
const WCONTINUED: i32 = 8;
const WNOWAIT: i32 = 0x0100_0000;
const WNOTHREAD: i32 = 0x2000_0000;
const WALL: i32 = 0x4000_0000;
const WCLONE: i32 = i32::MIN;

/// `struct rusage` of what was used.
pub fn rusage(usage: &Usage) -> Rusage {
    let time = |ns: u64| Timeval {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_usec: i64::try_from(ns % 1_000_000_000 / 1000).unwrap_or(0),
    };
    let long = |v: u64| i64::try_from(v).unwrap_or(i64::MAX);
    Rusage {
        ru_utime: time(usage.utime),
        ru_stime: time(usage.stime),
        ru_maxrss: long(usage.maxrss),
        ru_minflt: long(usage.minflt),
        ru_majflt: long(usage.majflt),
        ru_nvcsw: long(usage.switches.0),
        ru_nivcsw: long(usage.switches.1),
        ..Rusage::default()
    }
}

fn options(raw: i32, exited: bool) -> WaitOptions {
    WaitOptions {
        exited,
        stopped: raw & WUNTRACED != 0,
        continued: raw & WCONTINUED != 0,
        no_hang: raw & WNOHANG != 0,
        no_wait: raw & WNOWAIT != 0,
        clone: raw & WCLONE != 0,
        all: raw & WALL != 0,
    }
}

/// wait4(2)
pub fn wait4(
    cx: &mut Cx,
    pid: i32,
    status: UserAddr<i32>,
    raw: i32,
    usage: UserAddr<Rusage>,
) -> SysResult {
    if raw & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL);
    }
    let ns = cx.pid_ns();
    let who = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Who::Any,
        0 => Who::Group(Some(cx.group().process_group())),
        p if p < 0 => Who::Group(
            ns.lookup(p.saturating_neg())
                .and_then(|p| p.process_group()),
        ),
        p => Who::Pid(p),
    };
    let Some(found) = cx.wait_child(&who, options(raw, true))? else {
        return Ok(0);
    };
    status.write_if_some(cx, &found.status)?;
    // Asking for it may take a while.
    if !usage.is_null() {
        usage.write(cx, &rusage(&found.usage()))?;
    }
    Ok(u64::try_from(found.pid).unwrap_or(0))
}

/// waitid(2)
pub fn waitid(
    cx: &mut Cx,
    idtype: i32,
    id: i32,
    info: UserAddr<SigInfo>,
    raw: i32,
    usage: UserAddr<Rusage>,
) -> SysResult {
    const P_ALL: i32 = 0;
    const P_PID: i32 = 1;
    const P_PGID: i32 = 2;
    const P_PIDFD: i32 = 3;
    if raw & !(WNOHANG | WNOWAIT | WEXITED | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE)
        != 0
        || raw & (WEXITED | WUNTRACED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL);
    }
    let mut options = options(raw, raw & WEXITED != 0);
    let ns = cx.pid_ns();
    let who = match idtype {
        P_ALL => Who::Any,
        P_PID if id > 0 => Who::Pid(id),
        P_PGID if id > 0 => Who::Group(ns.lookup(id).and_then(|p| p.process_group())),
        P_PGID if id == 0 => Who::Group(Some(cx.group().process_group())),
        P_PIDFD if id >= 0 => {
            let file = cx.files()?.get(Fd::new(id)?)?;
            options.no_hang |= file.nonblocking();
            let process = file
                .downcast::<PidFd>()
                .ok_or(Errno::EBADF)?
                .group()
                .clone();
            Who::Process(process)
        }
        _ => return Err(Errno::EINVAL),
    };
    let nonblocking_pidfd = options.no_hang && raw & WNOHANG == 0;
    let found: Option<Waited> = cx.wait_child(&who, options)?;
    if found.is_none() && nonblocking_pidfd {
        return Err(Errno::EAGAIN);
    }
    let record = found.as_ref().map_or_else(SigInfo::default, |f| {
        let mut record = SigInfo::child(f.code, f.pid, f.uid, f.si_status, 0, 0);
        record.si_signo = 17;
        record
    });
    info.write_if_some(cx, &record)?;
    if let Some(found) = found.filter(|_| !usage.is_null()) {
        usage.write(cx, &rusage(&found.usage()))?;
    }
    Ok(0)
}

/// pidfd_open(2)
pub fn pidfd_open(cx: &mut Cx, pid: i32, flags: u32) -> SysResult {
    const PIDFD_NONBLOCK: u32 = 0o4000;
    if flags & !PIDFD_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let found = cx.pid_ns().lookup(pid).ok_or(Errno::ESRCH)?;
    let group = match found.group() {
        Some(group) => group,
        None if found.task().is_some() => return Err(Errno::EINVAL),
        None => return Err(Errno::ESRCH),
    };
    let file = pidfd_file(&group, cx.task())?;
    if flags != 0 {
        file.set_status_flags(flags)?;
    }
    let limit = cx
        .group()
        .limits
        .soft(sentry::kernel::limits::Resource::Nofile);
    Ok(u64::try_from(cx.files()?.install(file, true, limit)?.raw()).unwrap_or(0))
}

/// pidfd_send_signal(2)
pub fn pidfd_send_signal(
    cx: &mut Cx,
    pidfd: Fd,
    signal: SigArg,
    info: UserAddr<SigInfo>,
    flags: u32,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let file = cx.files()?.get(pidfd)?;
    let group = file
        .downcast::<PidFd>()
        .ok_or(Errno::EBADF)?
        .group()
        .clone();
    let leader = group.leader().ok_or(Errno::ESRCH)?;
    let record = match info.some() {
        None => None,
        Some(info) => {
            let record = info.read(cx)?;
            if record.signal() != signal.0 {
                return Err(Errno::EINVAL);
            }
            if (record.si_code >= 0 || record.si_code == SI_TKILL)
                && !std::sync::Arc::ptr_eq(&group, cx.group())
            {
                return Err(Errno::EPERM);
            }
            Some(record)
        }
    };
    cx.may_signal(&leader, signal.0)?;
    if let Some(signal) = signal.0 {
        let record = record.unwrap_or_else(|| cx.kill_info(&group, signal));
        if group.is_zombie() && group.tasks().is_empty() {
            return Err(Errno::ESRCH);
        }
        group.send(record);
    }
    Ok(0)
}

/// pidfd_getfd(2)
pub fn pidfd_getfd(cx: &mut Cx, pidfd: Fd, target: Fd, flags: u32) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let file = cx.files()?.get(pidfd)?;
    let group = file
        .downcast::<PidFd>()
        .ok_or(Errno::EBADF)?
        .group()
        .clone();
    let task = group.any_live().ok_or(Errno::ESRCH)?;
    crate::memory::remote::access(cx, &task)?;
    let found = task.files()?.get(target)?;
    crate::file::install(cx, found, true)
}
