//! Memory calls that the guest thread makes itself. Where a call of the guest's carries exactly what the sentry orders while it serves it, a
//! round trip to the helper is saved by letting that call proceed: registers cannot change under it. It is made when the sentry thread
//! switches back, so it is for a process whose only guest thread this is, and any other order that comes before takes it back.
//!
//! What the host answers is what the guest sees; for these calls with validated arguments that is what Linux would have answered.

use abi::PAGE_SIZE;

use super::listener::Call;
use crate::Order;
use crate::stub;

/// A call that may turn out to be an order.
#[derive(Default)]
pub enum Offer {
    /// There is none.
    #[default]
    None,
    /// It is being served.
    Open {
        /// Its number.
        nr: i64,
        /// Its first arguments; it has no more.
        args: [u64; 3],
    },
    /// It will be let through.
    Accepted(Order),
}

impl Offer {
    /// What a call offers.
    pub fn from(call: &Call) -> Option<Offer> {
        let nr = i64::from(call.nr);
        let [a, b, c, ..] = call.args;
        match nr {
            libc::SYS_munmap => Some([a, b, 0]),
            libc::SYS_mprotect | libc::SYS_madvise => Some([a, b, c]),
            _ => None,
        }
        .filter(|_| call.native)
        .map(|args| Offer::Open { nr, args })
    }

    /// Is the order what was offered?
    pub fn carries(&self, order: &Order) -> bool {
        let Offer::Open { nr, args } = self else {
            return false;
        };
        let fit = match order {
            Order::Advise { advice, .. } => {
                matches!(*advice, libc::MADV_DONTNEED | libc::MADV_FREE)
            }
            Order::Unmap { .. } | Order::Protect { .. } => true,
            _ => false,
        };
        let Ok(Some([number, start, len, what, ..])) = stub::plain_call(order) else {
            return false;
        };
        // The host rounds a length up as the sentry has.
        fit && *nr as u64 == number
            && args[0] == start
            && args[1].checked_next_multiple_of(PAGE_SIZE) == Some(len)
            && args[2] == what
    }
}
