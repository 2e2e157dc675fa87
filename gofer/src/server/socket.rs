//! Host Unix sockets in a tree, for mounts that are configured to share them with the host. Otherwise a socket file is
//! only a type: the sentry's own Unix sockets live behind it.

use super::Server;
use super::host::{Result, errno};
use crate::wire::{MountFlags, Name, NodeInfo, Owner, SocketKind};
use abi::Errno;
use abi::stat::S_IFSOCK;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

fn socket(kind: SocketKind) -> Result<OwnedFd> {
    let kind = match kind {
        SocketKind::Stream => SocketType::STREAM,
        SocketKind::Datagram => SocketType::DGRAM,
        SocketKind::SeqPacket => SocketType::SEQPACKET,
    };
    // Non-blocking: a listener with a full backlog must not hold this thread.
    rustix::net::socket_with(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(errno)
}

impl Server {
    pub(super) fn connect(&self, node: u64, kind: SocketKind) -> Result<OwnedFd> {
        let node = self.nodes.get(node)?;
        if node.file_type != S_IFSOCK {
            return Err(Errno::ECONNREFUSED);
        }
        if !node.mount.flags.contains(MountFlags::CONNECT) {
            return Err(Errno::ECONNREFUSED);
        }
        let address = SocketAddrUnix::new(self.own.path(&node.fd)).map_err(errno)?;
        let socket = socket(kind)?;
        rustix::net::connect(&socket, &address).map_err(errno)?;
        Ok(socket)
    }

    pub(super) fn bind(
        &self,
        dir: u64,
        kind: SocketKind,
        owner: Owner,
        name: Name<'_>,
    ) -> Result<(NodeInfo, OwnedFd)> {
        let dir = self.writable_dir(dir)?;
        dir.mount.allows(MountFlags::BIND)?;
        // Through the directory's own magic link: an address has room for 108 bytes, so not every name fits.
        let mut path = self.own.path(&dir.fd).into_bytes();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        let address = SocketAddrUnix::new(path).map_err(errno)?;
        let socket = socket(kind)?;
        rustix::net::bind(&socket, &address).map_err(|e| {
            if e == rustix::io::Errno::ADDRINUSE {
                Errno::EEXIST
            } else {
                errno(e)
            }
        })?;
        let info = self.adopt(&dir, name, S_IFSOCK, owner)?;
        Ok((info, socket))
    }
}
