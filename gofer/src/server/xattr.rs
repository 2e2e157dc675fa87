//! Extended attributes. The calls take paths only (before Linux 6.13), so they go through the node's own magic link.

use super::Server;
use super::host::{Result, errno};
use crate::wire::{Encoder, MAX_MESSAGE, MAX_XATTR};
use abi::Errno;

/// Attributes a guest may see and set: its own, file capabilities, ACLs. Not `trusted.` (overlay file systems of the host
/// keep their secrets there) nor the host's security labels.
fn permitted(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        )
}

fn check(name: &[u8]) -> Result<()> {
    if permitted(name) {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

impl Server {
    pub(super) fn get_xattr(&self, node: u64, name: &[u8], out: &mut Encoder) -> Result<()> {
        check(name)?;
        let node = self.nodes.get(node)?;
        let mut value = vec![0; MAX_MESSAGE];
        let len = match rustix::fs::getxattr(self.own.path(&node.fd), name, value.as_mut_slice()) {
            Err(rustix::io::Errno::RANGE) => return Err(Errno::E2BIG),
            other => other.map_err(errno)?,
        };
        if len > MAX_XATTR {
            return Err(Errno::E2BIG);
        }
        out.put_bytes(value.get(..len).ok_or(Errno::EIO)?);
        Ok(())
    }

    pub(super) fn set_xattr(&self, node: u64, flags: u32, name: &[u8], value: &[u8]) -> Result<()> {
        check(name)?;
        let node = self.nodes.get(node)?;
        node.mount.writable()?;
        let flags = rustix::fs::XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        rustix::fs::setxattr(self.own.path(&node.fd), name, value, flags).map_err(errno)
    }

    pub(super) fn list_xattr(&self, node: u64, out: &mut Encoder) -> Result<()> {
        let node = self.nodes.get(node)?;
        let mut list = vec![0; MAX_MESSAGE];
        let len = match rustix::fs::listxattr(self.own.path(&node.fd), list.as_mut_slice()) {
            Err(rustix::io::Errno::RANGE) => return Err(Errno::E2BIG),
            other => other.map_err(errno)?,
        };
        for name in list
            .get(..len)
            .ok_or(Errno::EIO)?
            .split(|&b| b == 0)
            .filter(|name| permitted(name))
        {
            out.put_bytes(name);
            out.put_bytes(&[0]);
        }
        Ok(())
    }

    pub(super) fn remove_xattr(&self, node: u64, name: &[u8]) -> Result<()> {
        check(name)?;
        let node = self.nodes.get(node)?;
        node.mount.writable()?;
        rustix::fs::removexattr(self.own.path(&node.fd), name).map_err(errno)
    }
}
