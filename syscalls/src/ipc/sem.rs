//! semget(2), semop(2), semtimedop(2), semctl(2).

use super::{give, number};
use crate::memory::Addr;
use abi::Errno;
use abi::ipc::{SEMOPM, Sembuf, SemidDs};
use abi::time::Timespec;
use sentry::ipc::sem::{self, Answer, Argument};
use sentry::kernel::Cx;
use sentry::mm::MemoryManager;
use sentry::syscall::SysResult;
use std::sync::Arc;

/// semget(2)
pub fn semget(cx: &mut Cx, key: i32, count: i32, flags: i32) -> SysResult {
    number(sem::get(cx.task(), key, count, flags)?)
}

/// semop(2)
pub fn semop(cx: &mut Cx, id: i32, ops: Addr, count: u32) -> SysResult {
    semtimedop(cx, id, ops, count, Addr(0))
}

/// semtimedop(2)
pub fn semtimedop(cx: &mut Cx, id: i32, ops: Addr, count: u32, timeout: Addr) -> SysResult {
    if count == 0 || id < 0 {
        return Err(Errno::EINVAL);
    }
    if count > SEMOPM.unsigned_abs() {
        return Err(Errno::E2BIG);
    }
    let mm = cx.mm()?;
    let ops: Vec<Sembuf> = mm.read_vec(ops.0, usize::try_from(count).map_err(|_| Errno::E2BIG)?)?;
    let deadline = match timeout.0 {
        0 => None,
        at => {
            let wait: Timespec = mm.read_obj(at)?;
            let nanos = u64::try_from(wait.tv_nsec)
                .ok()
                .filter(|n| *n < 1_000_000_000)
                .ok_or(Errno::EINVAL)?;
            let wait = u64::try_from(wait.tv_sec)
                .map_err(|_| Errno::EINVAL)?
                .saturating_mul(1_000_000_000)
                .saturating_add(nanos);
            Some(cx.kernel().clock.monotonic().saturating_add(wait))
        }
    };
    sem::operate(cx.task(), id, &ops, deadline).map(|()| 0)
}

/// `union semun`, still in the guest.
struct Union {
    mm: Arc<MemoryManager>,
    raw: u64,
}

impl Argument for Union {
    fn value(&self) -> i32 {
        // As the calling convention has it: the low half of the register.
        self.raw as i32
    }
    fn values(&self, count: usize) -> Result<Vec<u16>, Errno> {
        self.mm.read_vec(self.raw, count)
    }
    fn status(&self) -> Result<SemidDs, Errno> {
        self.mm.read_obj(self.raw)
    }
}

/// semctl(2)
pub fn semctl(cx: &mut Cx, id: i32, number_: i32, cmd: i32, arg: Addr) -> SysResult {
    let argument = Union {
        mm: cx.mm()?,
        raw: arg.0,
    };
    match sem::control(cx.task(), id, number_, cmd, &argument)? {
        Answer::Value(value) => number(value),
        Answer::Status(ds, value) => give(cx, arg, &*ds, value),
        Answer::Values(values) => give(cx, arg, values.as_slice(), 0),
        Answer::Info(info, value) => give(cx, arg, &info, value),
    }
}
