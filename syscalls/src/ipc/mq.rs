//! mq_open(2), mq_unlink(2), mq_timedsend(2), mq_timedreceive(2), mq_notify(2), mq_getsetattr(2).

use crate::args::{Fd, UserAddr, UserPath};
use crate::memory::Addr;
use abi::Errno;
use abi::ipc::MqAttr;
use abi::signal::{SIGEV_NONE, SIGEV_SIGNAL, SigEvent, Signal};
use abi::time::Timespec;
use fs::File;
use fs::file::O_NONBLOCK;
use sentry::ipc::mqueue::{self, MqFile, PRIO_MAX, Queue};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::sync::Arc;

const O_CREAT: u32 = 0o100;

/// mq_open(2), without the slash that the C library takes away.
pub fn mq_open(
    cx: &mut Cx,
    name: UserPath,
    flags: u32,
    mode: u32,
    attr: UserAddr<MqAttr>,
) -> SysResult {
    let name = name.read(cx)?;
    let attr = match attr.some() {
        Some(attr) if flags & O_CREAT != 0 => Some(attr.read(cx)?),
        _ => None,
    };
    let file = mqueue::open(cx.task(), &name, flags, mode, attr)?;
    // Closed by execve whatever was asked for, as on Linux.
    crate::file::install(cx, file, true)
}

/// mq_unlink(2)
pub fn mq_unlink(cx: &mut Cx, name: UserPath) -> SysResult {
    let name = name.read(cx)?;
    mqueue::unlink(cx.task(), &name).map(|()| 0)
}

fn open(cx: &Cx, fd: Fd) -> Result<(Arc<File>, Arc<Queue>), Errno> {
    let file = cx.files()?.get(fd)?;
    let queue = file.downcast::<MqFile>().ok_or(Errno::EBADF)?.queue();
    let queue = queue.clone();
    Ok((file, queue))
}

/// A time on the realtime clock as a monotonic deadline.
fn deadline(cx: &Cx, until: UserAddr<Timespec>) -> Result<Option<u64>, Errno> {
    let Some(until) = until.some() else {
        return Ok(None);
    };
    let at = crate::time::nanoseconds(&until.read(cx)?)?;
    let clock = &cx.kernel().clock;
    let now = u64::try_from(clock.realtime()).unwrap_or(0);
    Ok(Some(
        clock.monotonic().saturating_add(at.saturating_sub(now)),
    ))
}

/// mq_timedsend(2)
pub fn mq_timedsend(
    cx: &mut Cx,
    fd: Fd,
    message: Addr,
    len: u64,
    priority: u32,
    until: UserAddr<Timespec>,
) -> SysResult {
    if priority >= PRIO_MAX {
        return Err(Errno::EINVAL);
    }
    let deadline = deadline(cx, until)?;
    let (file, queue) = open(cx, fd)?;
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= queue.max_size)
        .ok_or(Errno::EMSGSIZE)?;
    let mut text = vec![0; len];
    cx.mm()?.read_bytes(message.0, &mut text)?;
    queue.send(cx.task(), &text, priority, file.nonblocking(), deadline)?;
    Ok(0)
}

/// mq_timedreceive(2)
pub fn mq_timedreceive(
    cx: &mut Cx,
    fd: Fd,
    buf: Addr,
    len: u64,
    priority: UserAddr<u32>,
    until: UserAddr<Timespec>,
) -> SysResult {
    let deadline = deadline(cx, until)?;
    let (file, queue) = open(cx, fd)?;
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    if usize::try_from(len).is_ok_and(|len| len < queue.max_size) {
        return Err(Errno::EMSGSIZE);
    }
    let (text, prio) = queue.receive(cx.task(), file.nonblocking(), deadline)?;
    cx.mm()?.write_bytes(buf.0, &text)?;
    priority.write_if_some(cx, &prio)?;
    Ok(text.len() as u64)
}

/// mq_notify(2)
pub fn mq_notify(cx: &mut Cx, fd: Fd, event: UserAddr<SigEvent>) -> SysResult {
    let event = event.some().map(|event| event.read(cx)).transpose()?;
    let wish = match event {
        None => None,
        Some(event) => Some(match event.sigev_notify {
            SIGEV_NONE => None,
            SIGEV_SIGNAL => {
                let signal = Signal::new(event.sigev_signo).ok_or(Errno::EINVAL)?;
                Some((signal, event.sigev_value))
            }
            _ => return Err(Errno::EINVAL),
        }),
    };
    let (_, queue) = open(cx, fd)?;
    queue.notify(cx.task(), wish)?;
    Ok(0)
}

/// mq_getsetattr(2): of what is set, only `O_NONBLOCK` counts.
pub fn mq_getsetattr(
    cx: &mut Cx,
    fd: Fd,
    new: UserAddr<MqAttr>,
    old: UserAddr<MqAttr>,
) -> SysResult {
    let new = new.some().map(|new| new.read(cx)).transpose()?;
    let nonblock = i64::from(O_NONBLOCK);
    if new
        .as_ref()
        .is_some_and(|new| new.mq_flags & !nonblock != 0)
    {
        return Err(Errno::EINVAL);
    }
    let (file, queue) = open(cx, fd)?;
    let flags = file.flags();
    let mut attr = queue.attr();
    attr.mq_flags = i64::from(flags & O_NONBLOCK);
    if let Some(new) = new {
        let wanted = if new.mq_flags != 0 { O_NONBLOCK } else { 0 };
        file.set_status_flags(flags & !O_NONBLOCK | wanted)?;
    }
    old.write_if_some(cx, &attr)?;
    Ok(0)
}
