//! capget(2), capset(2).

use abi::Errno;
use abi::cap::{CAP_SETPCAP, CapUserData, CapUserHeader};
use sentry::kernel::cred::CAP_FULL;
use sentry::kernel::{Credentials, Cx};
use sentry::syscall::SysResult;
use std::sync::Arc;

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// The header, and how many words of data its version has. An unknown version is told the one that is preferred.
fn header(cx: &Cx, addr: u64) -> Result<Option<(CapUserHeader, usize)>, Errno> {
    let mm = cx.mm()?;
    let mut header: CapUserHeader = mm.read_obj(addr)?;
    match header.version {
        VERSION_1 => Ok(Some((header, 1))),
        VERSION_2 | VERSION_3 => Ok(Some((header, 2))),
        _ => {
            header.version = VERSION_3;
            mm.write_obj(addr, &header)?;
            Ok(None)
        }
    }
}

fn word(set: u64, index: usize) -> u32 {
    (if index == 0 { set } else { set >> 32 }) as u32
}

/// capget(2)
pub fn capget(cx: &mut Cx, addr: u64, data: u64) -> SysResult {
    let Some((header, words)) = header(cx, addr)? else {
        return if data == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    };
    if header.pid < 0 {
        return Err(Errno::EINVAL);
    }
    let cred: Arc<Credentials> = if header.pid == 0 || header.pid == cx.tid() {
        cx.task().cred()
    } else {
        cx.pid_ns().task(header.pid).ok_or(Errno::ESRCH)?.cred()
    };
    if data == 0 {
        return Ok(0);
    }
    let mm = cx.mm()?;
    for index in 0..words {
        let out = CapUserData {
            effective: word(cred.effective, index),
            permitted: word(cred.permitted, index),
            inheritable: word(cred.inheritable, index),
        };
        mm.write_obj(data.wrapping_add((index as u64).wrapping_mul(12)), &out)?;
    }
    Ok(0)
}

/// capset(2)
pub fn capset(cx: &mut Cx, addr: u64, data: u64) -> SysResult {
    let Some((header, words)) = header(cx, addr)? else {
        return Err(Errno::EINVAL);
    };
    if header.pid != 0 && header.pid != cx.tid() {
        return Err(Errno::EPERM);
    }
    let (mut effective, mut permitted, mut inheritable) = (0u64, 0u64, 0u64);
    for index in 0..words {
        let part: CapUserData = cx
            .mm()?
            .read_obj(data.wrapping_add((index as u64).wrapping_mul(12)))?;
        let shift = if index == 0 { 0 } else { 32 };
        effective |= u64::from(part.effective) << shift;
        permitted |= u64::from(part.permitted) << shift;
        inheritable |= u64::from(part.inheritable) << shift;
    }
    let (effective, permitted, inheritable) = (
        effective & CAP_FULL,
        permitted & CAP_FULL,
        inheritable & CAP_FULL,
    );
    let old = cx.task().cred();
    let may_inherit = old.inheritable
        | if old.has_cap(CAP_SETPCAP) {
            old.bounding
        } else {
            old.permitted
        };
    if permitted & !old.permitted != 0
        || effective & !permitted != 0
        || inheritable & !(may_inherit | old.permitted) != 0
        || inheritable & !(old.inheritable | old.bounding) != 0
    {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    (new.effective, new.permitted, new.inheritable) = (effective, permitted, inheritable);
    new.ambient &= permitted & inheritable;
    super::uids::finish(cx, &old, new);
    Ok(0)
}
