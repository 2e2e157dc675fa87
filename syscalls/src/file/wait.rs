//! Time limits of waiting calls.

use crate::args::UserAddr;
use crate::time::nanoseconds;
use abi::Errno;
use abi::time::Timespec;
use sentry::kernel::Cx;

/// A relative time from the guest as a deadline; `None` for a null pointer: for ever.
pub(crate) fn read_timespec(cx: &Cx, addr: UserAddr<Timespec>) -> Result<Option<u64>, Errno> {
    let Some(addr) = addr.some() else {
        return Ok(None);
    };
    let ns = nanoseconds(&addr.read(cx)?)?;
    Ok(Some(cx.kernel().clock.monotonic().saturating_add(ns)))
}

/// A time in milliseconds as a deadline; negative: for ever.
pub(crate) fn deadline_of(cx: &Cx, milliseconds: i32) -> Option<u64> {
    let ms = u64::try_from(milliseconds).ok()?;
    Some(
        cx.kernel()
            .clock
            .monotonic()
            .saturating_add(ms.saturating_mul(1_000_000)),
    )
}
