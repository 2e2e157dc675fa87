//! The gofer's side: it holds the host descriptors of a container's trees and does to them what the sentry asks.
//!
//! The sentry is the guest's kernel and checks permissions; the gofer does not. What it guarantees, whatever it is sent:
//! nothing outside the trees is opened, changed or revealed; a read-only mount is not changed; only regular files are
//! opened unless a mount's flags say otherwise; a message that is malformed ends the connection. Files:
//! [`table`] (ids to descriptors), [`host`] (the only code that names files), `walk`, `make`, `change`, `dir`, `xattr`,
//! `socket` (the operations), [`pool`] (threads and connections).

mod change;
mod dir;
pub mod host;
mod make;
pub mod pool;
mod socket;
pub mod table;
mod walk;
mod xattr;

use crate::wire::{
    Encoder, Hello, HelloMount, MountFlags, NodeInfo, ReplyHeader, Request, VERSION,
};
use abi::Errno;
use host::{Result, SelfFds};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use table::{Node, Table};

/// One tree to serve: a directory or a single file.
#[derive(Debug)]
pub struct MountSpec {
    /// Any descriptor of the root; `O_PATH` will do.
    pub fd: OwnedFd,
    /// What it is and what may be done through it.
    pub flags: MountFlags,
}

/// A tree being served.
#[derive(Debug)]
pub struct Mount {
    /// What it is and what may be done through it.
    pub flags: MountFlags,
}

impl Mount {
    fn writable(&self) -> Result<()> {
        if self.flags.contains(MountFlags::READ_ONLY) {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    fn allows(&self, flag: MountFlags) -> Result<()> {
        if self.flags.contains(flag) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}

/// The server: mounts, nodes, and how to reach its own descriptors.
#[derive(Debug)]
pub struct Server {
    mounts: Vec<(NodeInfo, MountFlags)>,
    nodes: Table,
    own: SelfFds,
    /// Owner of what this process makes, before it is given away.
    uid: u32,
}

/// The most nodes one sandbox may hold, if the descriptor limit is not lower.
const MAX_NODES: usize = 1 << 20;

impl Server {
    /// A server for these trees; the first is the root file system.
    pub fn new(specs: Vec<MountSpec>, own: SelfFds) -> Result<Server> {
        // The sentry decides permission bits, umask included.
        rustix::process::umask(rustix::fs::Mode::empty());
        let nodes = Table::new(MAX_NODES);
        let mut mounts = Vec::with_capacity(specs.len());
        for MountSpec { fd, flags } in specs {
            let fd = host::path_of(&own, &fd)?;
            let attr = host::stat(&fd)?;
            let (id, _) = nodes.insert(Node::new(fd, Arc::new(Mount { flags }), &attr))?;
            mounts.push((NodeInfo { id, attr }, flags));
        }
        if mounts.len() > crate::wire::MAX_MOUNTS {
            return Err(Errno::E2BIG);
        }
        Ok(Server {
            mounts,
            nodes,
            own,
            uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// Nodes that are open, roots included.
    pub fn open_nodes(&self) -> usize {
        self.nodes.live()
    }

    /// Serves one decoded request: the reply is built in `out`, a descriptor to donate is returned.
    pub fn answer(
        &self,
        request: &Request<'_>,
        channels: &dyn Channels,
        out: &mut Encoder,
    ) -> Option<OwnedFd> {
        out.clear();
        out.put(&ReplyHeader::default());
        let mut header = ReplyHeader {
            op: request.op().raw(),
            ..ReplyHeader::default()
        };
        let mut donated = match self.serve(request, channels, out) {
            Ok(fd) => fd,
            Err(errno) => {
                out.truncate(size_of::<ReplyHeader>());
                header.errno = u32::try_from(errno.raw()).unwrap_or(5);
                None
            }
        };
        match out.finish() {
            Ok(len) => header.len = len,
            Err(_) => {
                // No operation builds a reply that does not fit; if one did, the sentry must not wait for ever.
                out.truncate(size_of::<ReplyHeader>());
                (header.len, header.errno, donated) = (16, 5, None);
            }
        }
        header.fds = u16::from(donated.is_some());
        out.patch(0, &header);
        donated
    }

    /// Forgets nodes.
    pub fn close(&self, ids: impl Iterator<Item = u64>) {
        for id in ids {
            // The roots stay: the sentry learns them once, in the first message.
            if !self.mounts.iter().any(|(root, _)| root.id == id) {
                self.nodes.remove(id);
            }
        }
    }

    fn serve(
        &self,
        request: &Request<'_>,
        channels: &dyn Channels,
        out: &mut Encoder,
    ) -> Result<Option<OwnedFd>> {
        match *request {
            Request::Hello { version } => self.hello(version, out).map(|()| None),
            Request::AddChannel => channels.add().map(Some),
            Request::Close => Ok(None),
            Request::Walk {
                dir,
                flags,
                access,
                names,
            } => self.walk(dir, flags, access, &names, out),
            Request::GetAttr { node } => {
                let node = self.nodes.get(node)?;
                out.put(&host::stat(&node.fd)?);
                Ok(None)
            }
            Request::Open { node, access } => {
                let node = self.nodes.get(node)?;
                let (fd, attr) = self.open_data(&node, access)?;
                out.put(&attr);
                Ok(Some(fd))
            }
            Request::ReadLink { node } => {
                let target = self.read_link(&*self.nodes.get(node)?)?;
                out.put_bytes(&target);
                Ok(None)
            }
            Request::Create {
                dir,
                access,
                owner,
                name,
            } => {
                let (info, fd) = self.create(dir, access, owner, name)?;
                out.put(&info);
                Ok(Some(fd))
            }
            Request::TmpFile { dir, access, owner } => {
                let (info, fd) = self.tmp_file(dir, access, owner)?;
                out.put(&info);
                Ok(Some(fd))
            }
            Request::MkDir { dir, owner, name } => put(out, &self.mkdir(dir, owner, name)?),
            Request::MkNod {
                dir,
                owner,
                file_type,
                major,
                minor,
                name,
            } => put(
                out,
                &self.mknod(dir, owner, file_type, (major, minor), name)?,
            ),
            Request::Symlink {
                dir,
                uid,
                gid,
                name,
                target,
            } => put(out, &self.symlink(dir, uid, gid, name, target)?),
            Request::SetAttr { node, set } => put(out, &self.set_attr(node, &set)?),
            Request::Link { node, dir, name } => put(out, &self.link(node, dir, name)?),
            Request::Unlink { dir, rmdir, name } => self.unlink(dir, rmdir, name).map(|()| None),
            Request::Rename {
                old_dir,
                old_name,
                new_dir,
                new_name,
                flags,
            } => self
                .rename(old_dir, old_name, new_dir, new_name, flags)
                .map(|()| None),
            Request::ReadDir {
                node,
                cookie,
                flags,
                max,
            } => self.read_dir(node, cookie, flags, max, out).map(|()| None),
            Request::GetXattr { node, name } => self.get_xattr(node, name, out).map(|()| None),
            Request::SetXattr {
                node,
                flags,
                name,
                value,
            } => self.set_xattr(node, flags, name, value).map(|()| None),
            Request::ListXattr { node } => self.list_xattr(node, out).map(|()| None),
            Request::RemoveXattr { node, name } => self.remove_xattr(node, name).map(|()| None),
            Request::StatFs { node } => put(out, &self.stat_fs(node)?),
            Request::Fsync { node } => self.fsync(node).map(|()| None),
            Request::Connect { node, kind } => self.connect(node, kind).map(Some),
            Request::Bind {
                dir,
                kind,
                owner,
                name,
            } => {
                let (info, fd) = self.bind(dir, kind, owner, name)?;
                out.put(&info);
                Ok(Some(fd))
            }
        }
    }

    fn hello(&self, version: u32, out: &mut Encoder) -> Result<()> {
        if version != VERSION {
            return Err(Errno::EPROTO);
        }
        let mounts = u32::try_from(self.mounts.len()).map_err(|_| Errno::E2BIG)?;
        out.put(&Hello {
            version: VERSION,
            mounts,
        });
        for (root, flags) in &self.mounts {
            out.put(&HelloMount {
                root: *root,
                flags: flags.bits(),
                zero: 0,
            });
        }
        Ok(())
    }

    /// A directory that is about to be changed.
    fn writable_dir(&self, id: u64) -> Result<Arc<Node>> {
        let dir = self.dir(id)?;
        dir.mount.writable()?;
        Ok(dir)
    }

    fn dir(&self, id: u64) -> Result<Arc<Node>> {
        let dir = self.nodes.get(id)?;
        if dir.file_type == abi::stat::S_IFDIR {
            Ok(dir)
        } else {
            Err(Errno::ENOTDIR)
        }
    }
}

fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(
    out: &mut Encoder,
    value: &T,
) -> Result<Option<OwnedFd>> {
    out.put(value);
    Ok(None)
}

/// Where further connections come from.
pub trait Channels {
    /// Gives one end of a connection to a thread, returns the other. `EAGAIN` if there is no thread to spare.
    fn add(&self) -> Result<OwnedFd>;
}
