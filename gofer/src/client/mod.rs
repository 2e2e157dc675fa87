//! The sentry's side: nodes as handles, calls as methods, answers believed only as far as they were checked.
//!
//! Calls block the calling thread for one round trip, as a disk would; each uses a connection of its own while it lasts, so
//! threads do not wait for each other. The client starts with one connection and asks the gofer for another when a caller
//! found none free. Dropped [`Node`]s are closed in batches that ride along with whatever is asked next.
//!
//! If the gofer dies, or answers something impossible, every call from then on fails with `EIO`, and whoever registered with
//! [`Client::on_death`] learns the reason once. [`Client::watch`] gives a descriptor that shows the hang-up to a poller, for
//! a sandbox in which nobody happens to touch a file.
//!
//! Locks: `GOFER_CHANNELS` for the free connections, a leaf for the closes; none is held while a call is under way.

mod channel;
mod node;

use crate::transport;
use crate::wire::{Attr, Encoder, Hello, MountFlags, Request, VERSION};
use abi::{Errno, Result};
use channel::{Channel, Channels};
use rustix::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sync::{Condvar, Mutex};

/// Attributes of a donated descriptor, as this process sees them: in a user namespace without the guest's users the owner is `nobody`.
pub use crate::server::host::{attr_of, stat as stat_fd};
pub use node::{DirEntry, DirPage, Made, Node, Walked};

type Callback = Box<dyn FnOnce(&str) + Send>;

#[derive(Default)]
struct Death {
    reason: Option<String>,
    callbacks: Vec<Callback>,
}

pub(crate) struct Inner {
    channels: Mutex<Channels, { sync::level::GOFER_CHANNELS }>,
    freed: Condvar,
    /// Ids of dropped nodes.
    closes: Mutex<Vec<u64>>,
    dead: AtomicBool,
    death: Mutex<Death>,
    watch: Option<OwnedFd>,
}

/// A connection to a gofer; clones share it.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// A tree the gofer serves.
#[derive(Debug)]
pub struct Mount {
    /// Its root.
    pub root: Node,
    /// Attributes of the root.
    pub attr: Attr,
    /// What it is and what may be done through it.
    pub flags: MountFlags,
}

impl core::fmt::Debug for Client {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Client {{ dead: {:?} }}",
            self.0.dead.load(Ordering::Relaxed)
        )
    }
}

impl Client {
    /// Says hello on the first connection and learns the mounts. `max_channels` bounds how many calls can be under way.
    pub fn connect(socket: OwnedFd, max_channels: usize) -> Result<(Client, Vec<Mount>)> {
        let watch = rustix::io::fcntl_dupfd_cloexec(&socket, 0).ok();
        let client = Client(Arc::new(Inner {
            channels: Mutex::new(Channels::new(Channel::new(socket), max_channels.max(1))),
            freed: Condvar::new(),
            closes: Mutex::new(Vec::new()),
            dead: AtomicBool::new(false),
            death: Mutex::new(Death::default()),
            watch,
        }));
        let mounts = client
            .0
            .call(&Request::Hello { version: VERSION }, |cursor, _| {
                Hello::decode(cursor)
            })?;
        let mounts = mounts.into_iter().map(|(root, flags)| Mount {
            root: Node::root(&client.0, &root, flags),
            attr: root.attr,
            flags,
        });
        Ok((client.clone(), mounts.collect()))
    }

    /// Runs `callback` with the reason when the gofer is gone; at once, if it is already.
    pub fn on_death(&self, callback: impl FnOnce(&str) + Send + 'static) {
        let mut death = self.0.death.lock();
        let Some(reason) = death.reason.clone() else {
            death.callbacks.push(Box::new(callback));
            return;
        };
        drop(death);
        callback(&reason);
    }

    /// Why the gofer is gone, if it is.
    pub fn death(&self) -> Option<String> {
        self.0.death.lock().reason.clone()
    }

    /// A descriptor on which `poll` reports `POLLHUP` once the gofer is gone. Nothing is to be read from it. The poller then
    /// calls [`Client::hung_up`].
    pub fn watch(&self) -> Option<impl AsFd + '_> {
        self.0.watch.as_ref().map(AsFd::as_fd)
    }

    /// Declares the gofer dead, as a failing call would.
    pub fn hung_up(&self) {
        self.0.die("the gofer exited");
    }

    /// Closes the nodes dropped so far now, instead of with the next call. Worth it after the last reference to a
    /// deleted file went: its blocks are freed when the gofer lets go of it.
    pub fn flush(&self) {
        self.0.flush();
    }
}

impl Inner {
    /// The gofer is not to be spoken to again.
    fn die(&self, reason: &str) {
        let mut death = self.death.lock();
        if death.reason.is_some() {
            return;
        }
        death.reason = Some(reason.to_owned());
        let callbacks = core::mem::take(&mut death.callbacks);
        drop(death);
        self.dead.store(true, Ordering::Release);
        // With these, and the one watched when the sandbox ends, a gofer that misbehaved, yet lives, sees its end.
        let free = self.channels.lock().close();
        self.freed.notify_all();
        drop(free);
        log::error!("gofer: {reason}");
        callbacks.into_iter().for_each(|callback| callback(reason));
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    fn close_later(&self, id: u64) {
        let full = {
            let mut closes = self.closes.lock();
            closes.push(id);
            closes.len() >= crate::wire::MAX_CLOSES
        };
        if full {
            self.flush();
        }
    }

    fn flush(&self) {
        if self.is_dead() {
            self.closes.lock().clear();
            return;
        }
        let Ok(channel) = self.acquire() else {
            return;
        };
        let mut out = Encoder::new();
        let mut failed = None;
        loop {
            let closes = self.take_closes();
            if closes.is_empty() {
                break;
            }
            if Request::Close.encode(&mut out, &closes).is_ok()
                && let Err(error) = transport::send(channel.socket(), out.as_bytes(), None)
            {
                failed = Some(error);
                break;
            }
        }
        match failed {
            None => self.release(channel),
            Some(error) => {
                drop(channel);
                self.die(&error.to_string());
            }
        }
    }

    fn take_closes(&self) -> Vec<u64> {
        let mut closes = self.closes.lock();
        if closes.is_empty() {
            return Vec::new();
        }
        let rest = closes.len().saturating_sub(crate::wire::MAX_CLOSES);
        closes.split_off(rest)
    }
}

/// What is wrong with an answer is not the caller's to handle: the file system failed.
fn io_error<E>(_: E) -> Errno {
    Errno::EIO
}
