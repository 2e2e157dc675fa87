//! msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use super::{give, number};
use crate::memory::Addr;
use abi::Errno;
use abi::ipc::MSGMAX;
use sentry::ipc::msg::{self, Answer};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// Where the text begins in `struct msgbuf`.
const TEXT: u64 = 8;

/// msgget(2)
pub fn msgget(cx: &mut Cx, key: i32, flags: i32) -> SysResult {
    number(msg::get(cx.task(), key, flags)?)
}

/// msgsnd(2)
pub fn msgsnd(cx: &mut Cx, id: i32, message: Addr, size: u64, flags: i32) -> SysResult {
    let len = usize::try_from(size)
        .ok()
        .filter(|len| *len <= MSGMAX.unsigned_abs() as usize)
        .ok_or(Errno::EINVAL)?;
    let mm = cx.mm()?;
    let kind: i64 = mm.read_obj(message.0)?;
    let mut text = vec![0; len];
    mm.read_bytes(message.0.wrapping_add(TEXT), &mut text)?;
    msg::send(cx.task(), id, kind, text, flags).map(|()| 0)
}

/// msgrcv(2)
pub fn msgrcv(cx: &mut Cx, id: i32, message: Addr, size: u64, kind: i64, flags: i32) -> SysResult {
    let found = msg::receive(cx.task(), id, size, kind, flags)?;
    let mm = cx.mm()?;
    mm.write_obj(message.0, &found.kind)?;
    mm.write_bytes(message.0.wrapping_add(TEXT), &found.text)?;
    Ok(found.text.len() as u64)
}

/// msgctl(2)
pub fn msgctl(cx: &mut Cx, id: i32, cmd: i32, buf: Addr) -> SysResult {
    let mm = cx.mm()?;
    match msg::control(cx.task(), id, cmd, || mm.read_obj(buf.0))? {
        Answer::Value(value) => number(value),
        Answer::Status(ds, value) => give(cx, buf, &*ds, value),
        Answer::Info(info, value) => give(cx, buf, &info, value),
    }
}
