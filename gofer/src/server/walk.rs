//! Walking down, opening data, reading links: what looking a file up costs one message.

use super::Server;
use super::host::{self, Result};
use super::table::Node;
use crate::wire::{Access, Encoder, MAX_TARGET, MountFlags, Names, NodeInfo, WalkFlags, WalkHead};
use abi::Errno;
use abi::stat::{S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use std::sync::Arc;

impl Server {
    /// Walks down from `dir` and tells of each component what it is. Stops where there is nothing, at a symbolic link
    /// (resolving it is the sentry's work), and at what is no directory. Links are never followed here.
    pub(super) fn walk(
        &self,
        dir: u64,
        flags: WalkFlags,
        access: Access,
        names: &Names<'_>,
        out: &mut Encoder,
    ) -> Result<Option<OwnedFd>> {
        let mut current = self.dir(dir)?;
        let mut head = WalkHead::default();
        let head_at = out.len();
        out.put(&head);
        let mut names = names.iter().peekable();
        while let Some(name) = names.next() {
            match self.step(&current, name, out) {
                Ok(node) => current = node,
                Err(errno) => {
                    head.stop = u32::try_from(errno.raw()).unwrap_or(5);
                    break;
                }
            }
            head.count = head.count.saturating_add(1);
            if names.peek().is_some() && current.file_type != S_IFDIR {
                let errno = if current.file_type == S_IFLNK {
                    Errno::ELOOP
                } else {
                    Errno::ENOTDIR
                };
                head.stop = u32::try_from(errno.raw()).unwrap_or(5);
                break;
            }
        }
        let mut donated = None;
        if head.count > 0 && flags.contains(WalkFlags::TARGET) && current.file_type == S_IFLNK {
            // A link that cannot be read now is read, and fails, when somebody follows it.
            if let Ok(target) = self.read_link(&current) {
                out.put_bytes(&target);
                head.target_len = u32::try_from(target.len()).unwrap_or(0);
            }
        }
        if head.count > 0
            && head.stop == 0
            && flags.contains(WalkFlags::OPEN)
            && current.file_type == S_IFREG
        {
            match self.open_data(&current, access) {
                Ok((fd, _)) => donated = Some(fd),
                Err(errno) => head.open_errno = u32::try_from(errno.raw()).unwrap_or(5),
            }
        }
        out.patch(head_at, &head);
        Ok(donated)
    }

    fn step(
        &self,
        dir: &Node,
        name: crate::wire::Name<'_>,
        out: &mut Encoder,
    ) -> Result<Arc<Node>> {
        let fd = host::open_child(&dir.fd, name)?;
        let attr = host::stat(&fd)?;
        let (id, node) = self.nodes.insert(Node::new(fd, dir.mount.clone(), &attr))?;
        out.put(&NodeInfo { id, attr });
        Ok(node)
    }

    /// Opens a node's data, if it is of a kind that may be.
    pub(super) fn open_data(
        &self,
        node: &Node,
        access: Access,
    ) -> Result<(OwnedFd, crate::wire::Attr)> {
        let mut flags = host::access_flags(access);
        match node.file_type {
            S_IFREG => {
                if access.writes() {
                    node.mount.writable()?;
                }
            }
            // As on Linux, a read-only mount does not keep anybody from writing to a FIFO or a device. Without
            // O_NONBLOCK one open could hold this thread for ever.
            S_IFIFO if node.mount.flags.contains(MountFlags::OPEN_FIFOS) => {
                flags |= OFlags::NONBLOCK
            }
            S_IFCHR if node.mount.flags.contains(MountFlags::OPEN_DEVICES) => {
                flags |= OFlags::NONBLOCK
            }
            S_IFDIR => return Err(Errno::EISDIR),
            S_IFLNK => return Err(Errno::ELOOP),
            _ => return Err(Errno::EACCES),
        }
        host::reopen(&self.own, node, flags)
    }

    pub(super) fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        if node.file_type != S_IFLNK {
            return Err(Errno::EINVAL);
        }
        let target = rustix::fs::readlinkat(&node.fd, "", Vec::with_capacity(256))
            .map_err(host::errno)?
            .into_bytes();
        if target.len() > MAX_TARGET {
            Err(Errno::ENAMETOOLONG)
        } else {
            Ok(target)
        }
    }
}
