//! exit(2), exit_group(2).

use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// exit(2): the calling thread.
pub fn exit(cx: &mut Cx, status: i32) -> SysResult {
    cx.exit_thread((status & 0xff) as u8);
    Ok(0)
}

/// exit_group(2): the whole process.
pub fn exit_group(cx: &mut Cx, status: i32) -> SysResult {
    cx.exit_group((status & 0xff) as u8);
    Ok(0)
}
