//! The sentry's kernel: tasks, memory, signals, time, namespaces, sockets as files, procfs, loader. It knows neither its system-call table (handed over at boot)
//! nor its platform (behind `platform`'s traits) nor the host's files (behind `fs`).
//!
//! Read `kernel/run.rs` first: the loop every task runs.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

pub mod filesystems;
pub mod futex;
pub mod host;
pub mod ipc;
pub mod kernel;
pub mod loader;
pub mod mm;
pub mod procfs;
pub mod pseudo;
pub mod socket;
pub mod syscall;
pub mod sysfs;
pub mod time;
pub mod tty;
pub mod vdso;
