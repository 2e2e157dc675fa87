//! The system calls: one function per call over the sentry's objects, the table that names them, and the text of each for `--strace`.
//!
//! A call is one line in its family's list and one function:
//!
//! ```ignore
//! // in FAMILY/mod.rs
//! pub static CALLS: &[Syscall] = calls! {
//!     GETPPID getppid() => getppid::getppid, Full;
//!     DUP2 dup2(oldfd: Fd, newfd: Fd) => dup::dup2, Full;
//! };
//! // in FAMILY/dup.rs
//! pub fn dup2(cx: &mut Cx, old: Fd, new: Fd) -> SysResult { … }
//! ```
//!
//! Dispatch, traces, `runsc-rs syscalls` and `docs/compatibility.md` all come from that line. Arguments are typed ([`args`]): converting the raw register is where bad
//! descriptors, pointers and flags are refused.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

#[macro_use]
mod table;
pub mod args;
pub mod file;
pub mod identity;
pub mod ipc;
pub mod listing;
pub mod memory;
pub mod process;
pub mod signal;
pub mod socket;
pub mod strace;
pub mod system;
pub mod time;

pub use sentry::syscall::{Support, SysResult, Syscall, SyscallTable};

/// Every family's list.
pub static FAMILIES: &[&[Syscall]] = &[
    file::CALLS,
    identity::CALLS,
    ipc::CALLS,
    memory::CALLS,
    process::CALLS,
    signal::CALLS,
    socket::CALLS,
    system::CALLS,
    time::CALLS,
];

/// The table that the kernel is booted with.
pub fn table() -> SyscallTable {
    SyscallTable::new(FAMILIES)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_number_is_declared_once() {
        let mut seen = std::collections::HashMap::new();
        for call in super::FAMILIES.iter().flat_map(|f| f.iter()) {
            assert!(
                seen.insert(call.nr, call.name).is_none(),
                "{} is declared twice",
                call.name
            );
        }
    }
}
