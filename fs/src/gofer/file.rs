//! Open regular files: the host's data, without the gofer.

use super::inode::{GoferInode, host_errno};
use crate::Caller;
use crate::file::{File, FileOps, Mappable, Pos};
use abi::Errno;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{ReadWriteFlags, retry_on_intr};
use std::any::Any;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A description of a regular file.
pub(super) struct GoferFile {
    pub inode: Arc<GoferInode>,
}

impl GoferFile {
    /// For an inode that has counted this user.
    pub fn new(inode: Arc<GoferInode>) -> Self {
        Self { inode }
    }

    fn append(&self, fd: &OwnedFd, buf: &[u8]) -> Result<(usize, u64), Errno> {
        let order = self.inode.order.lock();
        let size = &self.inode.cached.size;
        if self.inode.fs.shared() {
            // Where the end is, the host alone knows.
            let n = retry_on_intr(|| {
                rustix::io::pwritev2(fd, &[IoSlice::new(buf)], 0, ReadWriteFlags::APPEND)
            })
            .map_err(host_errno)?;
            let end = gofer::client::stat_fd(fd)?.size;
            size.store(end, Ordering::Relaxed);
            return Ok((n, end));
        }
        let at = size.load(Ordering::Relaxed);
        let n = retry_on_intr(|| rustix::io::pwrite(fd, buf, at)).map_err(host_errno)?;
        let end = at.saturating_add(n as u64);
        size.store(end, Ordering::Relaxed);
        drop(order);
        Ok((n, end))
    }
}

impl Drop for GoferFile {
    fn drop(&mut self) {
        self.inode.release();
    }
}

impl FileOps for GoferFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(offset) = pos else {
            return Err(Errno::EINVAL);
        };
        let fd = self.inode.fd()?;
        let n = retry_on_intr(|| rustix::io::pread(&*fd, &mut *buf, offset)).map_err(host_errno)?;
        // The host moves the access time.
        self.inode.touched();
        Ok(n)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let fd = self.inode.writable_fd()?;
        let done = match pos {
            Pos::At(offset) => {
                let order = self.inode.order.lock();
                let n =
                    retry_on_intr(|| rustix::io::pwrite(&*fd, buf, offset)).map_err(host_errno)?;
                let end = offset.saturating_add(n as u64);
                self.inode.cached.size.fetch_max(end, Ordering::Relaxed);
                drop(order);
                (n, end)
            }
            Pos::Append => self.append(&fd, buf)?,
            Pos::Stream => return Err(Errno::EINVAL),
        };
        self.inode.touched();
        Ok(done)
    }
    fn seek_end(&self, _file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        const SEEK_END: i32 = 2;
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        if whence == SEEK_END {
            return self
                .inode
                .size()?
                .checked_add_signed(offset)
                .ok_or(Errno::EINVAL);
        }
        // The host's offset is nobody's: data moves by position only.
        let from = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let from = match whence {
            SEEK_DATA => SeekFrom::Data(from),
            SEEK_HOLE => SeekFrom::Hole(from),
            _ => return Err(Errno::EINVAL),
        };
        rustix::fs::seek(&*self.inode.fd()?, from).map_err(host_errno)
    }
    fn mmap(
        &self,
        _file: &File,
        offset: u64,
        _len: u64,
        writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        let fd = if writable_shared {
            self.inode.mapped_writable.store(true, Ordering::Relaxed);
            self.inode.writable_fd()?
        } else {
            self.inode.mapped_read_only.store(true, Ordering::Release);
            self.inode.fd()?
        };
        self.inode.touched();
        Ok(Mappable::Host { fd, offset })
    }
    fn sync(&self, _file: &File, data_only: bool) -> Result<(), Errno> {
        let fd = self.inode.fd()?;
        if data_only {
            rustix::fs::fdatasync(&*fd)
        } else {
            rustix::fs::fsync(&*fd)
        }
        .map_err(host_errno)
    }
    fn allocate(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let fd = self.inode.writable_fd()?;
        let flags = u32::try_from(mode)
            .ok()
            .and_then(FallocateFlags::from_bits)
            .ok_or(Errno::EOPNOTSUPP)?;
        let order = self.inode.order.lock();
        retry_on_intr(|| rustix::fs::fallocate(&*fd, flags, offset, len)).map_err(host_errno)?;
        let host = gofer::client::stat_fd(&*fd)?;
        self.inode.cached.size.store(host.size, Ordering::Relaxed);
        self.inode.cached.set_seen_here(&host);
        drop(order);
        if !flags.difference(FallocateFlags::KEEP_SIZE).is_empty() {
            // Holes and moved ranges: what guests have copied from there is no longer what is there.
            crate::Inode::vnode(&*self.inode).invalidate(offset, u64::MAX.saturating_sub(offset));
        }
        Ok(())
    }
    fn host_fd(&self) -> Option<Arc<OwnedFd>> {
        self.inode.fd().ok()
    }
}
