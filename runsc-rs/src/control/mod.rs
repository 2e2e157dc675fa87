//! How commands talk to a sandbox: a Unix socket in the container's state directory.
//!
//! [`wire`] is what they say and how it is framed, [`client`] the command's side. The sandbox's side is in [`crate::boot`].

pub mod client;
pub mod wire;
