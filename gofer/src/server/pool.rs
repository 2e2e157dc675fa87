//! Threads and connections. All threads are started before the filter closes thread creation; each waits for a
//! connection, serves it until the sentry hangs up, and waits for the next. When the last connection is gone, so is the
//! sandbox, and the gofer ends.

use super::host::Result;
use super::{Channels, Server};
use crate::transport::{self, TransportError};
use crate::wire::{Encoder, Malformed, Op, Request};
use abi::Errno;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io;
use std::sync::Arc;
use sync::thread::{Builder, JoinHandle};
use sync::{Condvar, Mutex};

/// Threads work with small messages and shallow calls.
const STACK: usize = 128 * 1024;

#[derive(Debug, Default)]
struct State {
    /// Socket pairs for connections yet to be asked for, made before the filter.
    spare: Vec<(OwnedFd, OwnedFd)>,
    /// Connections no thread has taken up yet.
    waiting: Vec<OwnedFd>,
    /// Connections that are open, waiting or served.
    live: usize,
    /// Threads that wait.
    idle: usize,
    /// The threads are to end.
    done: bool,
}

/// The threads of a gofer.
#[derive(Debug)]
pub struct Pool {
    server: Arc<Server>,
    state: Mutex<State, { sync::level::GOFER_POOL }>,
    changed: Condvar,
}

impl Pool {
    /// Starts the threads and waits until each has come to rest: from here on they make only the calls of the filter.
    pub fn start(
        server: Arc<Server>,
        threads: usize,
    ) -> io::Result<(Arc<Pool>, Vec<JoinHandle<()>>)> {
        let mut spare = Vec::with_capacity(threads);
        for _ in 1..threads {
            spare.push(rustix::net::socketpair(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )?);
        }
        // Room for every connection from the start: the list never has to move.
        let state = State {
            spare,
            waiting: Vec::with_capacity(threads),
            ..State::default()
        };
        sync::thread::settle_allocator()?;
        let pool = Arc::new(Pool {
            server,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut handles = Vec::with_capacity(threads);
        for n in 0..threads {
            let pool = pool.clone();
            handles.push(sync::thread::spawn(
                Builder::new(format!("gofer-{n}")).stack_size(STACK),
                move || pool.work(),
            )?);
        }
        let mut state = pool.state.lock();
        while state.idle < threads {
            state = pool.changed.wait(state);
        }
        drop(state);
        Ok((pool, handles))
    }

    /// Serves these connections (at most one per thread), and those the sentry adds, until all are closed.
    pub fn serve(&self, channels: Vec<OwnedFd>) {
        let mut state = self.state.lock();
        state.live = state.live.saturating_add(channels.len());
        state.waiting.extend(channels);
        self.changed.notify_all();
        while state.live > 0 {
            state = self.changed.wait(state);
        }
    }

    /// Lets the threads end. A jailed gofer does not: it exits as it is, for a thread that ends makes calls of its own.
    pub fn finish(&self) {
        self.state.lock().done = true;
        self.changed.notify_all();
    }

    fn work(&self) {
        // What a thread needs is allocated before it first waits, hence before the filter.
        let (mut buf, mut out) = (transport::buffer(), Encoder::new());
        loop {
            let mut state = self.state.lock();
            state.idle = state.idle.saturating_add(1);
            self.changed.notify_all();
            let channel = loop {
                if let Some(channel) = state.waiting.pop() {
                    break channel;
                }
                if state.done {
                    return;
                }
                state = self.changed.wait(state);
            };
            state.idle = state.idle.saturating_sub(1);
            drop(state);
            match self.serve_one(&channel, &mut buf, &mut out) {
                Ok(()) | Err(TransportError::Closed) => {}
                Err(error) => log::error!("gofer: {error}: hanging up"),
            }
            drop(channel);
            let mut state = self.state.lock();
            state.live = state.live.saturating_sub(1);
            self.changed.notify_all();
        }
    }

    /// One connection, until an error; [`TransportError::Closed`] is the normal one.
    fn serve_one(
        &self,
        channel: impl AsFd,
        buf: &mut [u8],
        out: &mut Encoder,
    ) -> core::result::Result<(), TransportError> {
        loop {
            let (len, fds) = transport::receive(&channel, buf)?;
            if !fds.is_empty() {
                return Err(Malformed("a descriptor in a request").into());
            }
            let (request, closes) = Request::decode(buf.get(..len).unwrap_or(&[]))?;
            self.server.close(closes.iter());
            if request.op() == Op::Close {
                continue;
            }
            let donated = self.server.answer(&request, self, out);
            transport::send(&channel, out.as_bytes(), donated.as_ref().map(AsFd::as_fd))?;
        }
    }
}

impl Channels for Pool {
    fn add(&self) -> Result<OwnedFd> {
        let mut state = self.state.lock();
        let (ours, theirs) = state.spare.pop().ok_or(Errno::EAGAIN)?;
        state.live = state.live.saturating_add(1);
        state.waiting.push(ours);
        self.changed.notify_all();
        Ok(theirs)
    }
}
