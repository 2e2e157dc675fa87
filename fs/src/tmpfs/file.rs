//! Open files of tmpfs.

use super::inode::TmpInode;
use crate::Caller;
use crate::file::{File, FileOps, Mappable, Pos};
use crate::inode::{DirEntry, Inode};
use abi::Errno;
use abi::fcntl::{FallocFlags, SEEK_DATA, SEEK_END, SEEK_HOLE, Seals};
use std::any::Any;
use std::sync::Arc;

/// Entries taken from a directory per lock.
const BATCH: usize = 64;
/// The largest file (`MAX_LFS_FILESIZE`).
const MAX_SIZE: u64 = i64::MAX as u64;

/// A regular file, open.
pub struct RegularFile {
    pub(super) inode: Arc<TmpInode>,
}

impl RegularFile {
    fn body(&self) -> Result<&super::inode::Body, Errno> {
        self.inode.body().ok_or(Errno::EINVAL)
    }
}

impl FileOps for RegularFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(offset) = pos else {
            return Err(Errno::EINVAL);
        };
        let n = self
            .body()?
            .data
            .read()
            .read(&*self.inode.fs.store, buf, offset)?;
        self.inode.meta.accessed(file.path(), file.flags());
        Ok(n)
    }
    fn write(
        &self,
        _file: &File,
        caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let body = self.body()?;
        let fs = &self.inode.fs;
        let mut data = body.data.write();
        let offset = match pos {
            Pos::At(offset) => offset,
            Pos::Append => data.size(),
            Pos::Stream => return Err(Errno::EINVAL),
        };
        if buf.is_empty() {
            return Ok((0, offset));
        }
        let room = MAX_SIZE
            .checked_sub(offset)
            .filter(|room| *room != 0)
            .ok_or(Errno::EFBIG)?;
        let buf = buf
            .get(..usize::try_from(room).unwrap_or(usize::MAX))
            .unwrap_or(buf);
        let seals = body.seals();
        if seals.intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE | Seals::F_SEAL_GROW) {
            let grows = offset.saturating_add(buf.len() as u64) > data.size();
            if !seals.contains(Seals::F_SEAL_GROW)
                || seals.intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE)
                || grows
            {
                return Err(Errno::EPERM);
            }
        }
        let n = data.write(&*fs.store, &fs.usage, buf, offset)?;
        body.publish(&data);
        drop(data);
        self.inode.meta.modified(caller.now_ns());
        Ok((n, offset.saturating_add(n as u64)))
    }
    fn seek_end(&self, _file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        let body = self.body()?;
        match whence {
            SEEK_END => body.size().checked_add_signed(offset).ok_or(Errno::EINVAL),
            SEEK_DATA => body
                .data
                .read()
                .seek_data(u64::try_from(offset).map_err(|_| Errno::ENXIO)?),
            SEEK_HOLE => body
                .data
                .read()
                .seek_hole(u64::try_from(offset).map_err(|_| Errno::ENXIO)?),
            _ => Err(Errno::EINVAL),
        }
    }
    fn mmap(
        &self,
        file: &File,
        offset: u64,
        len: u64,
        writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        let body = self.body()?;
        let end = offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        if writable_shared
            && body
                .seals()
                .intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE)
        {
            return Err(Errno::EPERM);
        }
        let fs = &self.inode.fs;
        let mut data = body.data.write();
        let pieces = data.map(&*fs.store, &fs.usage, offset, end, writable_shared)?;
        body.publish(&data);
        drop(data);
        self.inode.meta.accessed(file.path(), file.flags());
        Ok(Mappable::Memory(pieces))
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }
    fn allocate(
        &self,
        _file: &File,
        caller: &dyn Caller,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let mode = FallocFlags::from_bits_retain(u32::from_ne_bytes(mode.to_ne_bytes()));
        let (keep, punch) = (
            FallocFlags::FALLOC_FL_KEEP_SIZE,
            FallocFlags::FALLOC_FL_PUNCH_HOLE,
        );
        if !(keep | punch).contains(mode) || mode == punch {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= MAX_SIZE)
            .ok_or(Errno::EFBIG)?;
        let body = self.body()?;
        let fs = &self.inode.fs;
        // The caller is asked before anything is locked: its limits have a lock of their own.
        let limit = caller.file_size_limit();
        let mut data = body.data.write();
        let seals = body.seals();
        if mode.contains(punch) {
            if seals.intersects(Seals::F_SEAL_WRITE | Seals::F_SEAL_FUTURE_WRITE) {
                return Err(Errno::EPERM);
            }
            data.punch(&*fs.store, &fs.usage, offset, end)?;
        } else {
            let grows = !mode.contains(keep) && end > data.size();
            if end > data.size() && seals.contains(Seals::F_SEAL_GROW) {
                return Err(Errno::EPERM);
            }
            if grows && end > limit {
                return Err(Errno::EFBIG);
            }
            data.reserve(&*fs.store, &fs.usage, offset, end)?;
            if grows {
                // Growing frees nothing.
                super::data::Data::release(&*fs.store, data.set_size(&*fs.store, &fs.usage, end)?);
            }
        }
        body.publish(&data);
        drop(data);
        self.inode.meta.modified(caller.now_ns());
        Ok(())
    }
}

/// A directory, open.
pub struct DirFile {
    pub(super) inode: Arc<TmpInode>,
}

impl FileOps for DirFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, _buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }
    fn seek_end(&self, _file: &File, _whence: i32, _offset: i64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
    fn read_dir(
        &self,
        file: &File,
        _caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        let mut cookie = cookie.max(2);
        loop {
            let batch = self.inode.dir()?.lock().after(cookie, BATCH);
            if batch.is_empty() {
                break;
            }
            for (at, name, inode) in &batch {
                let entry = DirEntry {
                    name,
                    ino: inode.meta.ino(),
                    kind: inode.kind().dirent_type(),
                    cookie: *at,
                };
                if !sink(&entry) {
                    self.inode.meta.accessed(file.path(), file.flags());
                    return Ok(());
                }
                cookie = *at;
            }
        }
        self.inode.meta.accessed(file.path(), file.flags());
        Ok(())
    }
    fn sync(&self, _file: &File, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }
}
