//! shmget(2), shmat(2), shmdt(2), shmctl(2).

use super::{give, number};
use crate::memory::{Addr, limits};
use sentry::ipc::shm::{self, Answer};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// shmget(2)
pub fn shmget(cx: &mut Cx, key: i32, size: u64, flags: i32) -> SysResult {
    number(shm::get(cx.task(), key, size, flags)?)
}

/// shmat(2)
pub fn shmat(cx: &mut Cx, id: i32, addr: Addr, flags: i32) -> SysResult {
    shm::attach(cx.task(), id, addr.0, flags, &limits(cx))
}

/// shmdt(2)
pub fn shmdt(cx: &mut Cx, addr: Addr) -> SysResult {
    shm::detach(cx.task(), addr.0).map(|()| 0)
}

/// shmctl(2)
pub fn shmctl(cx: &mut Cx, id: i32, cmd: i32, buf: Addr) -> SysResult {
    let mm = cx.mm()?;
    match shm::control(cx.task(), id, cmd, limits(cx).memlock, || {
        mm.read_obj(buf.0)
    })? {
        Answer::Value(value) => number(value),
        Answer::Status(ds, value) => give(cx, buf, &*ds, value),
        Answer::Limits(info, value) => give(cx, buf, &info, value),
        Answer::Usage(info, value) => give(cx, buf, &info, value),
    }
}
