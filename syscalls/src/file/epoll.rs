//! epoll_create(2), epoll_ctl(2), epoll_wait(2).

use super::lookup::{file, open_file};
use super::poll::{apply_mask, end_mask};
use super::wait::{deadline_of, read_timespec};
use crate::args::{Fd, UserAddr};
use abi::Errno;
use abi::poll::{EPOLL_CLOEXEC, EPOLL_CTL_DEL, EpollEvent};
use abi::signal::SigSet;
use abi::time::Timespec;
use fs::Events;
use sentry::kernel::{Cx, Woken};
use sentry::syscall::SysResult;
use zerocopy::IntoBytes;

/// epoll_create(2)
pub fn epoll_create(cx: &mut Cx, size: i32) -> SysResult {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    super::install(cx, fs::epoll::create(), false)
}

/// epoll_create1(2)
pub fn epoll_create1(cx: &mut Cx, flags: i32) -> SysResult {
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    super::install(cx, fs::epoll::create(), flags & EPOLL_CLOEXEC != 0)
}

/// epoll_ctl(2)
pub fn epoll_ctl(cx: &mut Cx, epfd: Fd, op: i32, fd: Fd, event: UserAddr<EpollEvent>) -> SysResult {
    let event = if op == EPOLL_CTL_DEL {
        EpollEvent::default()
    } else {
        event.read(cx)?
    };
    let instance = file(cx, epfd)?;
    let target = file(cx, fd)?;
    let epoll = fs::epoll::of(&instance).ok_or(Errno::EINVAL)?;
    epoll.ctl(&instance, op, fd.raw(), &target, event.events, event.data)?;
    Ok(0)
}

fn wait(cx: &Cx, epfd: Fd, events: u64, max: i32, deadline: Option<u64>) -> SysResult {
    let max = usize::try_from(max)
        .ok()
        .filter(|m| *m > 0 && *m <= i32::MAX as usize / 12)
        .ok_or(Errno::EINVAL)?;
    let file = open_file(cx, epfd)?;
    let epoll = fs::epoll::of(&file).ok_or(Errno::EINVAL)?;
    let mut found = epoll.collect(max);
    if found.is_empty() && deadline != Some(0) {
        let key = epoll
            .waiters()
            .register_exclusive(cx.waker().clone(), Events::READ);
        let ended = loop {
            found = epoll.collect(max);
            if !found.is_empty() {
                break Ok(());
            }
            match cx.block(deadline) {
                Ok(()) => {}
                Err(Woken::TimedOut) => {
                    found = epoll.collect(max);
                    break Ok(());
                }
                Err(Woken::Interrupted) => break Err(Errno::EINTR),
            }
        };
        epoll.waiters().unregister(key);
        ended?;
    }
    let out: Vec<EpollEvent> = found
        .iter()
        .map(|(events, data)| EpollEvent {
            events: *events,
            data: *data,
        })
        .collect();
    cx.mm()?.write_bytes(events, out.as_slice().as_bytes())?;
    Ok(out.len() as u64)
}

/// epoll_wait(2)
pub fn epoll_wait(cx: &mut Cx, epfd: Fd, events: u64, max: i32, timeout: i32) -> SysResult {
    let deadline = if timeout == 0 {
        Some(0)
    } else {
        deadline_of(cx, timeout)
    };
    wait(cx, epfd, events, max, deadline)
}

/// epoll_pwait(2)
pub fn epoll_pwait(
    cx: &mut Cx,
    epfd: Fd,
    events: u64,
    max: i32,
    timeout: i32,
    mask: UserAddr<SigSet>,
    size: usize,
) -> SysResult {
    apply_mask(cx, mask, size)?;
    let result = epoll_wait(cx, epfd, events, max, timeout);
    end_mask(cx, result)
}

/// epoll_pwait2(2)
pub fn epoll_pwait2(
    cx: &mut Cx,
    epfd: Fd,
    events: u64,
    max: i32,
    timeout: UserAddr<Timespec>,
    mask: UserAddr<SigSet>,
    size: usize,
) -> SysResult {
    let deadline = read_timespec(cx, timeout)?;
    apply_mask(cx, mask, size)?;
    let result = wait(cx, epfd, events, max, deadline);
    end_mask(cx, result)
}
