//! The command's side of the control socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, bail};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;

use super::wire::{Decoder, MAX_FDS, Reply, Request, encode};
use crate::error::rx;

/// The socket's name in a container's directory.
const NAME: &str = "control.sock";

/// Its address. A path may be longer than an address: it is named by way of the directory's descriptor.
fn address(dir: &OwnedFd) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}

fn open_dir(dir: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Makes the socket that the sandbox will listen on.
pub fn listen(dir: &Path) -> Result<OwnedFd> {
    let make = || {
        let dir = open_dir(dir)?;
        let socket = socket()?;
        rustix::net::bind(&socket, &address(&dir)?)?;
        rustix::net::listen(&socket, 64)?;
        Ok(socket)
    };
    make().map_err(|e| anyhow::anyhow!("control socket in {}: {}", dir.display(), rx(e)))
}

/// Two ends of a connection: the leash between a command and the sandbox that it makes.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| anyhow::anyhow!("socketpair: {}", rx(e)))
}

/// Receives bytes and descriptors; no bytes: the end.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    Ok((got.bytes, fds))
}

/// Sends all of a frame, descriptors with its first byte.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let frame = encode(message);
    let mut rest = frame.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut first = true;
    while !rest.is_empty() {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if first && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::TOOMANYREFS);
        }
        match rustix::net::sendmsg(
            socket,
            &[IoSlice::new(rest)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(n) => {
                rest = rest.get(n..).unwrap_or_default();
                first = false;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A connection to a sandbox.
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// Connects to the sandbox whose state is in `dir`. `None`: there is none any more.
    pub fn open(dir: &Path) -> Result<Option<Connection>> {
        let connect = || {
            let dir = open_dir(dir)?;
            let socket = socket()?;
            rustix::net::connect(&socket, &address(&dir)?)?;
            Ok(socket)
        };
        match connect() {
            Ok(socket) => Ok(Some(Connection::new(socket))),
            Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
            Err(e) => bail!("connect to {}: {}", dir.join(NAME).display(), rx(e)),
        }
    }

    /// Over a socket that is connected already.
    pub fn new(socket: OwnedFd) -> Connection {
        Connection {
            socket,
            decoder: Decoder::default(),
        }
    }

    /// Sends a request.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<()> {
        send(self.socket.as_fd(), request, fds)
            .map_err(|e| anyhow::anyhow!("the sandbox does not take requests: {}", rx(e)))
    }

    /// A reply that has come already, with an earlier one. Look before a poll: it would wait for what is here.
    pub fn received(&mut self) -> Result<Option<Reply>> {
        Ok(self.decoder.next::<Reply>()?.map(|(reply, _)| reply))
    }

    /// The next reply, waiting for it; `None` once the sandbox is gone.
    pub fn receive(&mut self) -> Result<Option<Reply>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some((reply, _)) = self.decoder.next::<Reply>()? {
                return Ok(Some(reply));
            }
            match receive(self.socket.as_fd(), &mut buffer) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(None),
                Ok((n, _)) => self.decoder.push(buffer.get(..n).unwrap_or_default(), [])?,
                Err(Errno::INTR) => {}
                Err(e) => bail!("control socket: {}", rx(e)),
            }
        }
    }

    /// Asks and waits for the answer; an error that the sandbox reports is an error here.
    pub fn call(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
        self.send(request, fds)?;
        match self.receive()? {
            Some(Reply::Error { message }) => bail!("{message}"),
            Some(reply) => Ok(reply),
            None => bail!("the sandbox ended before it answered"),
        }
    }
}
