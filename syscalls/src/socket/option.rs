//! getsockopt(2), setsockopt(2).

use super::show::{Level, Option_};
use super::{Open, caller};
use crate::args::Fd;
use abi::Errno;
use abi::seccomp::{BPF_MAXINSNS, SockFilter, SockFprog};
use abi::socket::{
    NETLINK_LIST_MEMBERSHIPS, SO_ATTACH_FILTER, SO_PEERGROUPS, SOL_NETLINK, SOL_SOCKET,
};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use zerocopy::FromBytes;

/// No option here is longer.
const MAX: usize = 4096;

/// setsockopt(2)
pub fn setsockopt(
    cx: &mut Cx,
    fd: Fd,
    level: Level,
    name: Option_,
    value: u64,
    len: i32,
) -> SysResult {
    let open = Open::get(cx, fd)?;
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut bytes = vec![0; len.min(MAX)];
    cx.mm()?.read_bytes(value, &mut bytes)?;
    if (level.0, name.0) == (SOL_SOCKET, SO_ATTACH_FILTER) {
        bytes = program(cx, &bytes)?;
    }
    sentry::socket::set_option(&*open.socket, caller(cx), level.0, name.0, &bytes)?;
    Ok(0)
}

/// The instructions that a `struct sock_fprog` points to.
fn program(cx: &Cx, value: &[u8]) -> Result<Vec<u8>, Errno> {
    let (program, _) = SockFprog::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if program.len == 0 || program.len > BPF_MAXINSNS {
        return Err(Errno::EINVAL);
    }
    let mut code = vec![0; usize::from(program.len).saturating_mul(size_of::<SockFilter>())];
    cx.mm()?.read_bytes(program.filter, &mut code)?;
    Ok(code)
}

/// getsockopt(2)
pub fn getsockopt(
    cx: &mut Cx,
    fd: Fd,
    level: Level,
    name: Option_,
    value: u64,
    len_at: u64,
) -> SysResult {
    let open = Open::get(cx, fd)?;
    let mm = cx.mm()?;
    let room: i32 = mm.read_obj(len_at)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = sentry::socket::get_option(&*open.socket, caller(cx), level.0, name.0)?;
    let full = i32::try_from(bytes.len()).unwrap_or(0);
    if (level.0, name.0) == (SOL_SOCKET, SO_PEERGROUPS) && room < bytes.len() {
        mm.write_obj(len_at, &full)?;
        return Err(Errno::ERANGE);
    }
    let part = bytes.get(..room).unwrap_or(&bytes);
    mm.write_bytes(value, part)?;
    // Of this one the whole length is told, so that the caller can ask again.
    let told = if (level.0, name.0) == (SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS) {
        full
    } else {
        i32::try_from(part.len()).unwrap_or(full)
    };
    mm.write_obj(len_at, &told)?;
    Ok(0)
}
