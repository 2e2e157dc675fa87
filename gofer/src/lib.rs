//! The file broker: a process of its own that holds the host descriptors of one container's files.
//!
//! The sentry reaches files only through it, and the guest only through the sentry. [`server`] runs in the gofer process,
//! inside [`jail`]; [`client`] is what the sentry's file system calls; [`wire`] is what they say to each other. Data does not
//! pass through here: opening a file donates its descriptor, and reading, writing and mapping happen on that.
//!
//! ```text
//!   sentry                                    gofer (chroot to nothing, no network, seccomp)
//!   client::Node ── wire::Request ──────────▶ server::Server ── openat2(BENEATH) ─▶ host files
//!        ▲                                        │ Table: id → O_PATH descriptor
//!        └──── wire reply, at most one fd ◀───────┘
//! ```
#![forbid(unsafe_code)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

pub mod client;
pub mod jail;
pub mod server;
pub mod transport;
pub mod wire;
