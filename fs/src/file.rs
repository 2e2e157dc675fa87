//! The open file description ([`File`]) and what stands behind it ([`FileOps`]).

use crate::inode::Inode;
use crate::pollee::{Events, Pollee};
use crate::vfs::perm::{self, Owner};
use crate::vfs::{event, notify};
use crate::{Caller, DirEntry, NodeKind, SetAttr};
use abi::Errno;
use abi::fcntl::OpenFlags;
use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// Where a read or write happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pos {
    /// At this byte (`pread`, or the description's offset).
    At(u64),
    /// At the end, found and written under the inode's own order (`O_APPEND`).
    Append,
    /// The file has no positions (pipes, sockets, ttys).
    Stream,
}

/// Guest memory as `ioctl` sees it. Never call it with a lock held.
pub trait UserMemory {
    /// Copies in exactly `buf.len()` bytes, or `EFAULT`.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno>;
    /// Copies out all of `buf`, or `EFAULT`.
    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno>;
}

/// What memory a mapping of a file shows.
pub enum Mappable {
    /// A host descriptor, from this byte offset on; the platform maps it itself.
    Host {
        /// The descriptor, opened with at least the access that the mapping asks for.
        fd: Arc<OwnedFd>,
        /// Byte offset in it, page aligned.
        offset: u64,
    },
    /// Pieces of the sandbox's memory file, in order, page aligned, covering the whole asked length; pages past the end of file are the caller's to refuse.
    Memory(Vec<(u64, u64)>),
    /// Fresh zero memory (`/dev/zero`).
    Zero,
}

/// What an open file does. Every method has the default of a file that cannot do it; none of them blocks (`EAGAIN` instead).
///
/// `file` is the description through which the call came: its flags matter (`O_APPEND`, `O_NONBLOCK` is the caller's business).
#[allow(unused_variables)]
pub trait FileOps: Send + Sync + Any {
    /// For the kernel's own downcasts (sockets, epoll, ttys, pidfds …).
    fn as_any(&self) -> &dyn Any;

    /// Whether `open(2)` must still wait for this description (a FIFO without a partner): the caller waits on [`FileOps::pollee`] until it is false, and drops the
    /// description if it is interrupted. Never true after an open with `O_NONBLOCK`.
    fn open_pending(&self, file: &File) -> bool {
        false
    }

    /// Whether the file has positions. Streams answer `ESPIPE` to `lseek` and `pread`.
    fn seekable(&self) -> bool {
        false
    }
    /// Reads up to `buf.len()` bytes; 0 is the end of file.
    fn read(&self, file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }
    /// Writes up to `buf.len()` bytes. Returns the count and the offset after it (for [`Pos::Append`]; any value for streams).
    fn write(
        &self,
        file: &File,
        caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        Err(Errno::EINVAL)
    }
    /// A blocking `write(2)` goes on until all is written (pipes, stream sockets): after a short count the caller waits and continues with the rest.
    fn writes_all(&self) -> bool {
        false
    }
    /// How long a blocking read and a blocking write wait, in nanoseconds (`SO_RCVTIMEO`, `SO_SNDTIMEO`); `None` for ever.
    fn timeouts(&self) -> (Option<u64>, Option<u64>) {
        (None, None)
    }
    /// Whether `splice(2)` may read from or write to it by way of `read` and `write`. Files whose reads are not bytes (eventfd, epoll, inotify…) say no.
    fn spliceable(&self) -> bool {
        true
    }
    /// `lseek(2)` with the description's offset; seekable files get the offset moved by the default in [`File::seek`] which asks this for `SEEK_END/DATA/HOLE`.
    fn seek_end(&self, file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
    /// Where any `lseek(2)` leaves a file that takes seeks and has no positions (`/dev/null`), given where it is; `None` for all others.
    fn seek_nowhere(&self, offset: u64) -> Option<u64> {
        None
    }
    /// The readiness bits now.
    fn poll(&self, file: &File) -> Events {
        Events::READ | Events::WRITE
    }
    /// Whether what is written goes nowhere, so that nobody needs to look at it.
    fn discards(&self) -> bool {
        false
    }
    /// Whose changes to wait for; `None` for files that are always ready (`epoll_ctl` answers `EPERM` for those).
    fn pollee(&self) -> Option<&Pollee> {
        None
    }
    /// `ioctl(2)`; `ENOTTY` for unknown commands. Returns the call's result.
    fn ioctl(
        &self,
        file: &File,
        caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        Err(Errno::ENOTTY)
    }
    /// The memory that `mmap(2)` of `len` bytes at `offset` shows (both page aligned). `writable_shared` when stores reach the file.
    fn mmap(
        &self,
        file: &File,
        offset: u64,
        len: u64,
        writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        Err(Errno::ENODEV)
    }
    /// Directory entries after the one with `cookie`, or from the start if `cookie` is 2 or less. Neither `.` nor `..`: [`File::read_dir`] gives those, with the
    /// cookies 1 and 2; every cookie given here is above 2. `sink` returns false when it is full, and has not taken the entry then.
    fn read_dir(
        &self,
        file: &File,
        caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&crate::inode::DirEntry) -> bool,
    ) -> Result<(), Errno> {
        Err(Errno::ENOTDIR)
    }
    /// `fsync(2)`, or `fdatasync(2)` when `data_only`; reaches the host.
    fn sync(&self, file: &File, data_only: bool) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    /// `fallocate(2)`.
    fn allocate(
        &self,
        file: &File,
        caller: &dyn Caller,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Called at every `close(2)` of a descriptor of this description (`flush` in Linux).
    fn flush(&self, file: &File) -> Result<(), Errno> {
        Ok(())
    }
    /// Called once, when the last reference to the description goes.
    fn release(&self, file: &File) {}
    /// Called when status flags change (`O_ASYNC`, `O_NONBLOCK`).
    fn set_flags(&self, file: &File, flags: u32) -> Result<(), Errno> {
        Ok(())
    }
    /// The host descriptor that stands directly behind the data, for splice-like fast paths.
    fn host_fd(&self) -> Option<Arc<OwnedFd>> {
        None
    }
    /// Text for `/proc/PID/fdinfo/N` after the standard lines.
    fn fdinfo(&self, file: &File) -> String {
        String::new()
    }
}

/// What a description does to its inode's count of writers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    No,
    /// Open for writing.
    Writer,
    /// Runs as a program: nobody may write.
    Denier,
}

/// Somebody to tell when a description is closed for good: an epoll instance that watches it.
pub trait CloseHook: Send + Sync {
    /// The last reference to `file` is gone; its operations are still whole. Called with no lock held.
    fn on_close(&self, file: &File);
}

/// An open file description: shared by `dup` and `fork`, carries offset and status flags.
pub struct File {
    ops: Box<dyn FileOps>,
    /// What was opened: mount and dentry (anonymous files have a path on an internal mount).
    path: crate::vfs::Path,
    /// The inode, fixed at open.
    inode: Arc<dyn Inode>,
    /// `O_ACCMODE` and the creation flags that stick (`O_PATH`, `O_DIRECTORY`, `O_TMPFILE`…) with the changeable ones (`O_APPEND`, `O_NONBLOCK`, `O_ASYNC`, `O_DIRECT`, `O_NOATIME`).
    flags: AtomicU32,
    /// The offset; held while a positioned read or write runs, as Linux's `f_pos_lock` is. No guest memory is touched under it.
    offset: Mutex<u64, { sync::level::FILE_OFFSET }>,
    /// What it stands for in the inode's count of writers.
    counted: Counted,
    /// Unique in the sandbox, never reused.
    id: u64,
    /// Told at the drop, by address. Weak: an entry may outlive whoever made it.
    hooks: Mutex<BTreeMap<usize, Weak<dyn CloseHook>>>,
}

/// `O_APPEND`
pub const O_APPEND: u32 = OpenFlags::O_APPEND.bits();
/// `O_NONBLOCK`
pub const O_NONBLOCK: u32 = OpenFlags::O_NONBLOCK.bits();
/// `O_NOATIME`
pub const O_NOATIME: u32 = OpenFlags::O_NOATIME.bits();
/// `O_PATH`
pub const O_PATH: u32 = OpenFlags::O_PATH.bits();

/// Status flags that `fcntl(F_SETFL)` may change.
pub const SETFL_MASK: u32 = OpenFlags::SETFL.bits();

impl File {
    /// A new description. `flags` are open(2)'s, without `O_CREAT|O_EXCL|O_NOCTTY|O_TRUNC|O_CLOEXEC`.
    pub fn new(
        ops: Box<dyn FileOps>,
        path: crate::vfs::Path,
        inode: Arc<dyn Inode>,
        flags: u32,
    ) -> Arc<Self> {
        Self::counted(ops, path, inode, flags, Counted::No)
    }

    /// As [`File::new`]; `counted` says what was called on the [`crate::vfs::Vnode`] for it, to be undone at its end.
    pub(crate) fn counted(
        ops: Box<dyn FileOps>,
        path: crate::vfs::Path,
        inode: Arc<dyn Inode>,
        flags: u32,
        counted: Counted,
    ) -> Arc<Self> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            ops,
            path,
            inode,
            flags: AtomicU32::new(flags),
            offset: Mutex::new(0),
            counted,
            id,
            hooks: Mutex::new(BTreeMap::new()),
        })
    }

    /// What the file does.
    pub fn ops(&self) -> &dyn FileOps {
        &*self.ops
    }
    /// The operations as a concrete type.
    pub fn downcast<T: FileOps>(&self) -> Option<&T> {
        self.ops.as_any().downcast_ref()
    }
    /// Mount and dentry of the opened file.
    pub fn path(&self) -> &crate::vfs::Path {
        &self.path
    }
    /// The inode.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }
    /// The status flags now.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    /// A number unique among all descriptions of the sandbox.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// Opened for reading.
    pub fn readable(&self) -> bool {
        matches!(self.flags() & 0o10000003, 0 | 2)
    }
    /// Opened for writing.
    pub fn writable(&self) -> bool {
        matches!(self.flags() & 0o10000003, 1 | 2)
    }
    /// `O_NONBLOCK` is set.
    pub fn nonblocking(&self) -> bool {
        self.flags() & O_NONBLOCK != 0
    }
    /// `O_PATH`: nothing but the name is open.
    pub fn is_path(&self) -> bool {
        self.flags() & O_PATH != 0
    }
    /// `F_SETFL`: replaces the changeable flags.
    pub fn set_status_flags(&self, flags: u32) -> Result<(), Errno> {
        self.ops.set_flags(self, flags & SETFL_MASK)?;
        let old = self.flags() & !SETFL_MASK;
        self.flags
            .store(old | (flags & SETFL_MASK), Ordering::Relaxed);
        Ok(())
    }

    /// `read(2)`: at the offset and past it, or from the stream.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        let n = if self.ops.seekable() {
            let mut offset = self.offset.lock();
            let n = self.ops.read(self, buf, Pos::At(*offset))?;
            *offset = offset.saturating_add(n as u64);
            n
        } else {
            self.ops.read(self, buf, Pos::Stream)?
        };
        if n != 0 {
            notify(&self.path.dentry, event::ACCESS);
        }
        Ok(n)
    }

    /// `pread(2)`: `ESPIPE` on a stream.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        let n = self.ops.read(self, buf, Pos::At(offset))?;
        if n != 0 {
            notify(&self.path.dentry, event::ACCESS);
        }
        Ok(n)
    }

    /// `write(2)`: at the offset, at the end with `O_APPEND`, or to the stream. `EFBIG` past `RLIMIT_FSIZE` (the caller adds SIGXFSZ).
    pub fn write(&self, caller: &dyn Caller, buf: &[u8]) -> Result<usize, Errno> {
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        if !self.ops.seekable() {
            let n = self.ops.write(self, caller, buf, Pos::Stream)?.0;
            self.modified(n);
            return Ok(n);
        }
        let mut offset = self.offset.lock();
        let pos = if self.flags() & O_APPEND != 0 {
            Pos::Append
        } else {
            Pos::At(*offset)
        };
        let (n, end) = self.write_checked(caller, buf, pos)?;
        *offset = end;
        drop(offset);
        self.modified(n);
        Ok(n)
    }

    /// `pwrite(2)`; with `O_APPEND` Linux appends all the same.
    pub fn write_at(&self, caller: &dyn Caller, buf: &[u8], offset: u64) -> Result<usize, Errno> {
        let pos = if self.flags() & O_APPEND != 0 {
            Pos::Append
        } else {
            Pos::At(offset)
        };
        self.write_pos(caller, buf, pos)
    }

    /// `pwritev2(2)` with `RWF_APPEND` or `RWF_NOAPPEND` decided by the caller: [`Pos::Append`] or [`Pos::At`].
    pub fn write_pos(&self, caller: &dyn Caller, buf: &[u8], pos: Pos) -> Result<usize, Errno> {
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        if !self.writable() {
            return Err(Errno::EBADF);
        }
        let n = self.write_checked(caller, buf, pos)?.0;
        self.modified(n);
        Ok(n)
    }

    /// Tells watchers that `n` bytes were written, if any were.
    fn modified(&self, n: usize) {
        if n != 0 {
            notify(&self.path.dentry, event::MODIFY);
        }
    }

    /// `fallocate(2)`.
    pub fn allocate(
        &self,
        caller: &dyn Caller,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno> {
        self.ops.allocate(self, caller, mode, offset, len)?;
        notify(&self.path.dentry, event::MODIFY);
        Ok(())
    }

    /// What holds for every write to a regular file: size limits, and the setuid bit that a stranger's write clears.
    fn write_checked(
        &self,
        caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        if self.inode.kind() != NodeKind::Regular || buf.is_empty() {
            return self.ops.write(self, caller, buf, pos);
        }
        let limit = caller.file_size_limit().min(i64::MAX as u64);
        let mut buf = buf;
        let start = match pos {
            Pos::At(start) => start,
            _ if limit == i64::MAX as u64 => 0,
            _ => self.inode.attr()?.size,
        };
        if start >= limit {
            return Err(Errno::EFBIG);
        }
        if let Some(short) =
            buf.get(..usize::try_from(limit.saturating_sub(start)).unwrap_or(usize::MAX))
        {
            buf = short;
        }
        let owner = self.inode.owner()?;
        if owner.mode & 0o6000 != 0 {
            self.clear_suid(caller, owner)?;
        }
        self.ops.write(self, caller, buf, pos)
    }

    #[cold]
    fn clear_suid(&self, caller: &dyn Caller, owner: Owner) -> Result<(), Errno> {
        match perm::without_suid(owner, &caller.cred()) {
            Some(mode) => self.inode.set_attr(
                caller,
                &SetAttr {
                    mode: Some(mode),
                    ctime: caller.now_ns(),
                    ..SetAttr::default()
                },
            ),
            None => Ok(()),
        }
    }

    /// `getdents64(2)`: `.` and `..`, then what the filesystem gives, from the offset on. `sink` returns false when it is full.
    pub fn read_dir(
        &self,
        caller: &dyn Caller,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        if !self.readable() {
            return Err(Errno::EBADF);
        }
        if self.inode.kind() != NodeKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if self.path.dentry.deleted() {
            return Err(Errno::ENOENT);
        }
        let mut offset = self.offset.lock();
        let kind = NodeKind::Directory.dirent_type();
        if *offset == 0 {
            if !sink(&DirEntry {
                name: b".",
                ino: self.inode.attr()?.ino,
                kind,
                cookie: 1,
            }) {
                return Ok(());
            }
            *offset = 1;
        }
        if *offset == 1 {
            let parent = self.path.dentry.parent();
            let ino = parent
                .as_ref()
                .map_or(&self.inode, |p| p.inode())
                .attr()?
                .ino;
            if !sink(&DirEntry {
                name: b"..",
                ino,
                kind,
                cookie: 2,
            }) {
                return Ok(());
            }
            *offset = 2;
        }
        let mut last = *offset;
        let result = self.ops.read_dir(self, caller, *offset, &mut |entry| {
            let taken = sink(entry);
            if taken {
                last = entry.cookie;
            }
            taken
        });
        *offset = last;
        drop(offset);
        notify(&self.path.dentry, event::ACCESS);
        result
    }

    /// `lseek(2)`.
    pub fn seek(&self, whence: i32, delta: i64) -> Result<u64, Errno> {
        if !self.ops.seekable() {
            return Err(Errno::ESPIPE);
        }
        let mut offset = self.offset.lock();
        if let Some(fixed) = self.ops.seek_nowhere(*offset) {
            *offset = fixed;
            return Ok(fixed);
        }
        let new = match whence {
            0 => u64::try_from(delta).map_err(|_| Errno::EINVAL)?,
            1 => offset.checked_add_signed(delta).ok_or(Errno::EINVAL)?,
            _ => self.ops.seek_end(self, whence, delta)?,
        };
        if i64::try_from(new).is_err() {
            return Err(Errno::EINVAL);
        }
        *offset = new;
        Ok(new)
    }

    /// The offset now.
    pub fn offset(&self) -> u64 {
        *self.offset.lock()
    }

    /// Runs `f` with the offset locked and stores what it leaves there (`getdents64`, `sendfile`).
    pub fn with_offset<R>(&self, f: impl FnOnce(&mut u64) -> R) -> R {
        f(&mut self.offset.lock())
    }

    /// The readiness bits now.
    pub fn poll(&self) -> Events {
        self.ops.poll(self)
    }
}

impl File {
    /// Has `hook` told when the description is closed for good.
    pub fn add_hook(&self, hook: Weak<dyn CloseHook>) {
        self.hooks.lock().insert(hook.as_ptr().addr(), hook);
    }

    /// Undoes [`File::add_hook`].
    pub fn remove_hook(&self, hook: &Weak<dyn CloseHook>) {
        self.hooks.lock().remove(&hook.as_ptr().addr());
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for hook in std::mem::take(self.hooks.get_mut()).into_values() {
            if let Some(hook) = hook.upgrade() {
                hook.on_close(self);
            }
        }
        crate::locks::release_file(self);
        self.ops.release(self);
        match self.counted {
            Counted::No => {}
            Counted::Writer => self.inode.vnode().put_write(),
            Counted::Denier => self.inode.vnode().allow_write(),
        }
        if !self.is_path() {
            notify(
                &self.path.dentry,
                if self.writable() {
                    event::CLOSE_WRITE
                } else {
                    event::CLOSE_NOWRITE
                },
            );
        }
    }
}
