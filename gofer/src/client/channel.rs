//! Connections: taken for one call, given back after it, added when callers had to wait.

use super::{Inner, io_error};
use crate::transport::{self, TransportError};
use crate::wire::{Cursor, Encoder, Malformed, ReplyHeader, Request};
use abi::{Errno, Result};
use rustix::fd::{AsFd, OwnedFd};

/// One connection and its buffers.
pub(super) struct Channel {
    socket: OwnedFd,
    buf: Box<[u8]>,
    out: Encoder,
}

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Channel {
        Channel {
            socket,
            buf: transport::buffer(),
            out: Encoder::new(),
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

/// The free connections, and how many there are.
pub(super) struct Channels {
    free: Vec<Channel>,
    open: usize,
    max: usize,
    closed: bool,
}

impl Channels {
    pub(super) fn new(first: Channel, max: usize) -> Channels {
        Channels {
            free: vec![first],
            open: 1,
            max,
            closed: false,
        }
    }

    /// No more calls; the connections are the caller's to drop, once nothing is locked.
    pub(super) fn close(&mut self) -> Vec<Channel> {
        self.closed = true;
        core::mem::take(&mut self.free)
    }
}

impl Inner {
    /// A connection for one call; waits for one if need be.
    pub(super) fn acquire(&self) -> Result<Channel> {
        let mut waited = false;
        let mut channels = self.channels.lock();
        let mut channel = loop {
            if channels.closed {
                return Err(Errno::EIO);
            }
            if let Some(channel) = channels.free.pop() {
                break channel;
            }
            waited = true;
            channels = self.freed.wait(channels);
        };
        let grow = waited && channels.open < channels.max;
        drop(channels);
        if grow {
            self.grow(&mut channel)?;
        }
        Ok(channel)
    }

    /// Gives a connection back.
    pub(super) fn release(&self, channel: Channel) {
        let mut channels = self.channels.lock();
        if channels.closed {
            drop(channels);
            return;
        }
        channels.free.push(channel);
        drop(channels);
        self.freed.notify_one();
    }

    /// Asks for one more connection, since there were too few.
    fn grow(&self, channel: &mut Channel) -> Result<()> {
        let added = self.call_on(channel, &Request::AddChannel, |_, fds| one(fds));
        let mut channels = self.channels.lock();
        match added {
            Ok(socket) => {
                channels.free.push(Channel::new(socket));
                channels.open = channels.open.saturating_add(1);
                drop(channels);
                self.freed.notify_one();
                Ok(())
            }
            Err(_) if self.is_dead() => Err(Errno::EIO),
            // No thread to spare: what there is will do.
            Err(_) => {
                channels.max = channels.open;
                Ok(())
            }
        }
    }

    /// One call: sends the request with pending closes, checks the answer, decodes its body with `decode`.
    pub(super) fn call<T>(
        &self,
        request: &Request<'_>,
        decode: impl FnOnce(&mut Cursor<'_>, &mut Vec<OwnedFd>) -> core::result::Result<T, Malformed>,
    ) -> Result<T> {
        let mut channel = self.acquire()?;
        let result = self.call_on(&mut channel, request, decode);
        if self.is_dead() {
            return Err(Errno::EIO);
        }
        self.release(channel);
        result
    }

    fn call_on<T>(
        &self,
        channel: &mut Channel,
        request: &Request<'_>,
        decode: impl FnOnce(&mut Cursor<'_>, &mut Vec<OwnedFd>) -> core::result::Result<T, Malformed>,
    ) -> Result<T> {
        let closes = self.take_closes();
        if request.encode(&mut channel.out, &closes).is_err() {
            // With a long value there is no room for the closes: they wait. Without them a request that is too long is the
            // caller's mistake.
            self.closes.lock().extend(closes);
            request
                .encode(&mut channel.out, &[])
                .map_err(|_| Errno::E2BIG)?;
        }
        // The server hangs up on what does not decode. No argument of a guest's may bring that about, so what was overlooked
        // on the way here stops here, for much less than the round trip costs.
        if Request::decode(channel.out.as_bytes()).is_err() {
            return Err(Errno::EINVAL);
        }
        match exchange(channel, request, decode) {
            Ok(result) => result,
            Err(error) => {
                self.die(&error.to_string());
                Err(Errno::EIO)
            }
        }
    }
}

fn exchange<T>(
    channel: &mut Channel,
    request: &Request<'_>,
    decode: impl FnOnce(&mut Cursor<'_>, &mut Vec<OwnedFd>) -> core::result::Result<T, Malformed>,
) -> core::result::Result<Result<T>, TransportError> {
    transport::send(channel.socket.as_fd(), channel.out.as_bytes(), None)?;
    let (len, mut fds) = transport::receive(&channel.socket, &mut channel.buf)?;
    let message = channel.buf.get(..len).unwrap_or(&[]);
    let (status, mut cursor) = ReplyHeader::decode(message, request.op(), fds.len())?;
    if let Err(errno) = status {
        return Ok(Err(Errno::from_raw(errno)));
    }
    let value = decode(&mut cursor, &mut fds)?;
    cursor.end()?;
    if !fds.is_empty() {
        return Err(Malformed("a descriptor nobody asked for").into());
    }
    Ok(Ok(value))
}

/// The one descriptor of an answer that must have one.
pub(super) fn one(fds: &mut Vec<OwnedFd>) -> core::result::Result<OwnedFd, Malformed> {
    fds.pop().ok_or(Malformed("no descriptor"))
}

/// Refuses a donated descriptor that is not of the type it should be: nothing but a regular file may be read and mapped as one.
pub(super) fn check_type(fd: &OwnedFd, file_type: u32) -> core::result::Result<(), Malformed> {
    let attr = super::stat_fd(fd)
        .map_err(io_error)
        .map_err(|_| Malformed("a descriptor that cannot be looked at"))?;
    if attr.file_type() == file_type {
        Ok(())
    } else {
        Err(Malformed("a descriptor of the wrong type"))
    }
}
