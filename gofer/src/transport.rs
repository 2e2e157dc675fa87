//! One datagram out, one datagram in, with at most one descriptor: the two host calls both ends live on.

use crate::wire::{MAX_MESSAGE, Malformed};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// Descriptors a receiver leaves room for. One is the most a message may carry; room for more lets a surplus be counted
/// (and closed) instead of being cut off silently.
const ROOM: usize = 4;

/// Why a message could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The other end is gone.
    #[error("the other end hung up")]
    Closed,
    /// The host refused.
    #[error("socket: {0}")]
    Host(Errno),
    /// The message broke the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl From<Errno> for TransportError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => TransportError::Closed,
            other => TransportError::Host(other),
        }
    }
}

/// A buffer for one message.
pub fn buffer() -> Box<[u8]> {
    vec![0; MAX_MESSAGE].into_boxed_slice()
}

/// Sends one message.
pub fn send(
    socket: impl AsFd,
    message: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), TransportError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: [BorrowedFd<'_>; 1];
    if let Some(fd) = fd {
        fds = [fd];
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(TransportError::Malformed(Malformed(
                "no room for a descriptor",
            )));
        }
    }
    loop {
        match rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(message)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(sent) if sent == message.len() => return Ok(()),
            Ok(_) => return Err(TransportError::Malformed(Malformed("sent in part"))),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message into `buf`, and the descriptors that came with it (close-on-exec, all of them owned: dropping
/// the vector closes what nobody wanted).
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), TransportError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(buf)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(Malformed("message too long").into());
    }
    if got.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Malformed("too many descriptors").into());
    }
    // A zero-length datagram and the end of the stream look alike, and neither is a message.
    if got.bytes == 0 {
        return Err(TransportError::Closed);
    }
    Ok((got.bytes, fds))
}
