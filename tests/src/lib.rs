//! Runs real programs on the host and in real sandboxes, and compares.
//!
//! The oracle is Linux: a program runs first in a chroot of the test root filesystem, in fresh mount, pid, ipc, uts
//! and network namespaces ([`host`]), then in a sandbox of each platform ([`sandbox`]), each time on a fresh writable
//! overlay of the same tree ([`rootfs`]). Same output, same exit code, or the test fails with the difference ([`diff`]).
//!
//! What is known to fail is data, with a reason: `tests/expectations.toml` ([`expect`]). A test that cannot run here
//! (no root, no root filesystem, no binary) says `SKIPPED: why` and counts as ignored ([`suite`]).
//!
//! ```text
//! RUNSC_RS=bin/fast/runsc-rs cargo test -p tests --test guest -- ptrace::futex
//! ```
//!
//! | variable | meaning |
//! |---|---|
//! | `RUNSC_RS` | the binary under test (default `bin/runsc-rs`) |
//! | `RUNSC_RS_PLATFORMS` | comma-separated, default `systrap,ptrace` |
//! | `RUNSC_RS_CACHE` | where `scripts/rootfs.sh` keeps the root filesystem |
//! | `RUNSC_RS_KEEP` | keep each test's directory, and a strace log beside it |
#![forbid(unsafe_code)]

pub mod bundle;
pub mod containerd;
pub mod diff;
pub mod docker;
pub mod engine;
pub mod env;
pub mod expect;
pub mod guest;
pub mod host;
pub mod live;
pub mod process;
pub mod rootfs;
pub mod sandbox;
pub mod suite;
pub mod terminal;
