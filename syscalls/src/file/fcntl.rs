//! fcntl(2), flock(2), ioctl(2).

use super::fd::{limit, number};
use super::lookup::{file, open_file};
use crate::args::{Fd, UserAddr};
use abi::Errno;
use abi::fcntl as op;
use abi::fcntl::Flock;
use fs::locks::{Kind, Locks, Owner, Range, Request};
use fs::{File, UserMemory};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::Arc;

/// What an `O_PATH` descriptor answers.
const PATH_OK: &[i32] = &[
    op::F_DUPFD,
    op::F_DUPFD_CLOEXEC,
    op::F_GETFD,
    op::F_SETFD,
    op::F_GETFL,
];

/// fcntl(2)
pub fn fcntl(cx: &mut Cx, fd: Fd, cmd: i32, arg: u64) -> SysResult {
    let files = cx.files()?;
    let (file, cloexec) = files.get_with_flags(fd)?;
    if file.is_path() && !PATH_OK.contains(&cmd) {
        return Err(Errno::EBADF);
    }
    match cmd {
        op::F_DUPFD | op::F_DUPFD_CLOEXEC => {
            let min = u32::try_from(arg & 0xffff_ffff).map_err(|_| Errno::EINVAL)?;
            if u64::from(min) >= limit(cx) {
                return Err(Errno::EINVAL);
            }
            number(files.install_from(file, cmd == op::F_DUPFD_CLOEXEC, min, limit(cx))?)
        }
        op::F_GETFD => Ok(u64::from(cloexec)),
        op::F_SETFD => files.set_cloexec(fd, arg & 1 != 0).map(|()| 0),
        op::F_GETFL => Ok(u64::from(file.flags())),
        op::F_SETFL => set_flags(cx, &file, fd, arg as u32),
        op::F_GETLK
        | op::F_SETLK
        | op::F_SETLKW
        | op::F_OFD_GETLK
        | op::F_OFD_SETLK
        | op::F_OFD_SETLKW => record_lock(cx, &file, files.id(), cmd, arg),
        op::F_GETPIPE_SZ => Ok(fs::pipe::of(&file).ok_or(Errno::EBADF)?.size() as u64),
        op::F_SETPIPE_SZ => Ok(fs::pipe::of(&file)
            .ok_or(Errno::EBADF)?
            .set_size(&fs::Caller::cred(&**cx.task()), arg)? as u64),
        op::F_ADD_SEALS | op::F_GET_SEALS => seals(&file, cmd, arg),
        op::F_GETOWN
        | op::F_SETOWN
        | op::F_GETOWN_EX
        | op::F_SETOWN_EX
        | op::F_GETSIG
        | op::F_SETSIG => sentry::kernel::sigio::fcntl(cx, &file, cmd, arg),
        op::F_DUPFD_QUERY => {
            let other = Fd::new(arg as i32).and_then(|fd| files.get(fd))?;
            Ok(u64::from(Arc::ptr_eq(&file, &other)))
        }
        op::F_GETLEASE => Ok(op::F_UNLCK as u64),
        op::F_SETLEASE | op::F_NOTIFY => Err(Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

fn set_flags(cx: &Cx, file: &Arc<File>, fd: Fd, flags: u32) -> SysResult {
    const O_ASYNC: u32 = 0o20000;
    let changed = (file.flags() ^ flags) & O_ASYNC != 0;
    file.set_status_flags(flags)?;
    if changed {
        sentry::kernel::sigio::update(cx.task(), file, fd.raw())?;
    }
    Ok(0)
}

fn seals(file: &Arc<File>, cmd: i32, arg: u64) -> SysResult {
    if cmd == op::F_GET_SEALS {
        return fs::tmpfs::get_seals(file).map(u64::from);
    }
    if !file.writable() {
        return Err(Errno::EPERM);
    }
    fs::tmpfs::add_seals(file, arg as u32).map(|()| 0)
}

fn kind_of(raw: i16) -> Result<Option<Kind>, Errno> {
    match i32::from(raw) {
        op::F_RDLCK => Ok(Some(Kind::Read)),
        op::F_WRLCK => Ok(Some(Kind::Write)),
        op::F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

fn record_lock(cx: &Cx, file: &Arc<File>, table: u64, cmd: i32, arg: u64) -> SysResult {
    let addr = UserAddr::<Flock>::new(arg);
    let mut lock = addr.read(cx)?;
    let ofd = matches!(cmd, op::F_OFD_GETLK | op::F_OFD_SETLK | op::F_OFD_SETLKW);
    if ofd && lock.l_pid != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = kind_of(lock.l_type)?;
    let base = match lock.l_whence {
        0 => 0,
        1 => file.offset(),
        2 => file.inode().attr()?.size,
        _ => return Err(Errno::EINVAL),
    };
    let range = Range::new(base, lock.l_start, lock.l_len)?;
    let owner = if ofd {
        Owner::Ofd(file.id())
    } else {
        Owner::Posix(table)
    };
    let locks = fs::locks::of(file.inode().vnode())?;
    if matches!(cmd, op::F_GETLK | op::F_OFD_GETLK) {
        let kind = kind.ok_or(Errno::EINVAL)?;
        match locks.test(owner, kind, range) {
            None => lock.l_type = op::F_UNLCK as i16,
            Some(found) => {
                lock.l_type = if found.kind == Kind::Write {
                    op::F_WRLCK as i16
                } else {
                    op::F_RDLCK as i16
                };
                lock.l_whence = 0;
                lock.l_start = i64::try_from(found.range.start).unwrap_or(i64::MAX);
                lock.l_len = found.range.len();
                lock.l_pid = found.pid;
            }
        }
        addr.write(cx, &lock)?;
        return Ok(0);
    }
    fs::locks::check_mode(file, kind)?;
    let pid = if ofd { -1 } else { cx.tgid() };
    let request = Request {
        owner,
        kind,
        range,
        pid,
    };
    if matches!(cmd, op::F_SETLK | op::F_OFD_SETLK) {
        locks.set(request)?;
        return Ok(0);
    }
    // Held while asleep: the claim by which a deadlock is found. It is made anew at every look, for the one in the way may be another.
    let mut claim = None;
    cx.wait_on(locks.pollee(), Locks::EVENTS, None, || {
        drop(claim.take());
        claim = locks.set_waiting(request)?;
        if claim.is_some() {
            Err(Errno::EAGAIN)
        } else {
            Ok(0)
        }
    })
}

/// flock(2)
pub fn flock(cx: &mut Cx, fd: Fd, operation: i32) -> SysResult {
    let file = open_file(cx, fd)?;
    let kind = match operation & !op::LOCK_NB {
        op::LOCK_SH => Some(Kind::Read),
        op::LOCK_EX => Some(Kind::Write),
        op::LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let locks = fs::locks::of(file.inode().vnode())?;
    if operation & op::LOCK_NB != 0 {
        return locks.flock(&file, kind).map(|()| 0);
    }
    cx.wait_on(locks.pollee(), Locks::EVENTS, None, || {
        locks.flock(&file, kind).map(|()| 0)
    })
}

/// ioctl(2): what every descriptor knows, then the file's own.
pub fn ioctl(cx: &mut Cx, fd: Fd, cmd: u32, arg: u64) -> SysResult {
    const FIOCLEX: u32 = 0x5451;
    const FIONCLEX: u32 = 0x5450;
    const FIONBIO: u32 = 0x5421;
    const FIOASYNC: u32 = 0x5452;
    use abi::ioctl::FIONREAD;
    const FIOSETOWN: u32 = 0x8901;
    const SIOCSPGRP: u32 = 0x8902;
    const FIOGETOWN: u32 = 0x8903;
    const SIOCGPGRP: u32 = 0x8904;
    let file = file(cx, fd)?;
    if file.is_path() {
        return Err(Errno::EBADF);
    }
    let mm = cx.mm()?;
    let toggle = |bit: u32| -> SysResult {
        let on: i32 = mm.read_obj(arg)?;
        let flags = if on != 0 {
            file.flags() | bit
        } else {
            file.flags() & !bit
        };
        set_flags(cx, &file, fd, flags)
    };
    match cmd {
        FIOCLEX | FIONCLEX => cx.files()?.set_cloexec(fd, cmd == FIOCLEX).map(|()| 0),
        FIONBIO => toggle(0o4000),
        FIOASYNC => toggle(0o20000),
        // The socket's spelling of F_SETOWN and F_GETOWN.
        FIOSETOWN | SIOCSPGRP if file.inode().kind() == fs::NodeKind::Socket => {
            let owner: i32 = mm.read_obj(arg)?;
            sentry::kernel::sigio::fcntl(cx, &file, op::F_SETOWN, owner as u64)
        }
        FIOGETOWN | SIOCGPGRP if file.inode().kind() == fs::NodeKind::Socket => {
            let owner = sentry::kernel::sigio::fcntl(cx, &file, op::F_GETOWN, 0)?;
            mm.write_obj(arg, &(owner as i32)).map(|()| 0)
        }
        FIONREAD if file.inode().kind() == fs::NodeKind::Regular && file.ops().seekable() => {
            let left = file.inode().attr()?.size.saturating_sub(file.offset());
            mm.write_obj(arg, &i32::try_from(left).unwrap_or(i32::MAX))?;
            Ok(0)
        }
        _ => {
            let memory: &dyn UserMemory = &*mm;
            file.ops()
                .ioctl(&file, &**cx.task(), memory, cmd, arg)
                .map(|n| n as u64)
        }
    }
}
