//! TCP and UDP of one network namespace, over its loopback interface.
//!
//! Sans-IO: nothing here knows files, tasks or guest memory, and no call waits. What would block answers `EAGAIN` (or `EINPROGRESS`); the
//! caller then waits until the endpoint's [`Notify`] reports events and tries again. A [`Stack`] is a namespace; its addresses are
//! 127.0.0.0/8, ::1 and those it was given, everything else is unreachable. Two endpoints of a stack are joined directly: there are no
//! packets, segments or retransmissions underneath, only what a program can see of them. Linux 6.x is the model for that.
//!
//! ```
//! use netstack::{Family, Owner, RecvFlags, Stack};
//! use std::{net::SocketAddr, sync::Arc};
//! struct Nobody;
//! impl netstack::Notify for Nobody {
//!     fn notify(&self, _events: u32) {} // wake who polls the file
//! }
//! struct Zero;
//! impl netstack::Clock for Zero {
//!     fn now_ns(&self) -> u64 {
//!         0
//!     }
//! }
//! let stack = Stack::new(Arc::new(Zero), 1);
//! let owner = Owner { uid: 0, inode: 7 };
//! let listener = stack.tcp(Family::Inet, owner, Arc::new(Nobody));
//! listener.bind("127.0.0.1:80".parse().unwrap())?;
//! listener.listen(128)?;
//! let client = stack.tcp(Family::Inet, owner, Arc::new(Nobody));
//! assert_eq!(client.connect("127.0.0.1:80".parse().unwrap()), Err(abi::Errno::EINPROGRESS)); // as on Linux, even though
//! assert_eq!(client.connect("127.0.0.1:80".parse().unwrap()), Ok(())); // it is done at once
//! let (server, _peer): (_, SocketAddr) = listener.accept(owner, Arc::new(Nobody))?;
//! client.send(b"hello")?;
//! let mut buf = [0; 8];
//! assert_eq!(server.recv(&mut buf, RecvFlags::empty())?, 5);
//! # Ok::<(), abi::Errno>(())
//! ```
//!
//! Lock order: a stack's tables, an endpoint, an end's reader or writer, a connection. [`Notify`] is called with none of them held.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod addr;
mod options;
mod ports;
mod stack;
mod tcp;
mod udp;

pub use addr::Family;
pub use options::Timeouts;
pub use stack::{Settings, SocketEntry, Stack};
pub use tcp::{RecvFlags, Shutdown, TcpCounts, TcpEndpoint};
pub use udp::{Filter, Received, SocketError, UdpCounts, UdpEndpoint};

/// Who wants to know that an endpoint's readiness may have changed.
///
/// Called from whatever thread caused the change, without any lock of this crate held, any number of times. An implementation must not hold
/// an endpoint alive, or neither is ever freed.
pub trait Notify: Send + Sync {
    /// `events` are EPOLL* bits that may now be on; they are a hint, `readiness()` is the truth.
    fn notify(&self, events: u32);
}

/// The time, for TIME_WAIT and its kin.
pub trait Clock: Send + Sync {
    /// Monotonic nanoseconds.
    fn now_ns(&self) -> u64;
}

/// To whom an endpoint belongs: shown in /proc/net, and SO_REUSEPORT asks for one user.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user who made the socket.
    pub uid: u32,
    /// The inode of the socket's file.
    pub inode: u64,
}
