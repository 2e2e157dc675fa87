//! Files that stand for a host descriptor the sandbox was given: its stdio, and what `--preserve-fds` passes on.
//!
//! The descriptor is shared with whoever gave it, so its flags stay as they are (no `O_NONBLOCK`): a read or write that could block is preceded by a
//! look at its readiness, and asks the host not to wait where the host can (`RWF_NOWAIT`). One notifier thread for the whole sandbox sits in `epoll_wait`, edge
//! triggered, and does nothing but tell each file's [`Pollee`]; it is started with the first file that can be waited for, and costs nothing while nothing happens.

use crate::file::{File, FileOps, Mappable, Pos};
use crate::inode::{Attr, FileSystem, Inode, NodeKind, SetAttr};
use crate::meta::next_dev;
use crate::vfs::{Dentry, Mount, MountFlags, Path, Vnode};
use crate::{Caller, Events, Pollee};
use abi::Errno;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{ReadWriteFlags, retry_on_intr};
use std::any::Any;
use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use sync::{Mutex, OnceLock};

fn host(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}

/// A host descriptor that can be read, written and waited for, without blocking. Terminals of the sentry use it as well.
pub struct HostFd {
    fd: Arc<OwnedFd>,
    pollee: Pollee,
    /// Its number with the notifier, if the host can tell when it is ready.
    key: Option<u64>,
}

/// The notifier: an epoll instance, and the files by the number they have there.
struct Notifier {
    epoll: OwnedFd,
    files: Mutex<HashMap<u64, Weak<HostFd>>>,
    next: AtomicU64,
}

static NOTIFIER: OnceLock<Result<Arc<Notifier>, Errno>> = OnceLock::new();

impl Notifier {
    fn get() -> Result<Arc<Notifier>, Errno> {
        NOTIFIER
            .get_or_init(|| {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(host)?;
                let notifier = Arc::new(Notifier {
                    epoll,
                    files: Mutex::new(HashMap::new()),
                    next: AtomicU64::new(1),
                });
                let body = {
                    let notifier = notifier.clone();
                    move || notifier.run()
                };
                sync::thread::spawn(
                    sync::thread::Builder::new("host-notifier").stack_size(64 << 10),
                    body,
                )
                .map_err(|_| Errno::EAGAIN)?;
                Ok(notifier)
            })
            .clone()
    }

    fn run(&self) {
        let mut buffer = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; 32];
        loop {
            let count = match epoll::wait(&self.epoll, &mut buffer[..], None) {
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            };
            for event in buffer.iter().take(count) {
                let (flags, key) = (event.flags, event.data.u64());
                let file = self.files.lock().get(&key).and_then(Weak::upgrade);
                if let Some(file) = file {
                    file.pollee.notify(events_of(flags.bits()));
                }
            }
        }
    }

    /// Of one with a number: from now on its [`Pollee`] is told of changes, until it is dropped.
    fn add(&self, key: u64, file: &Arc<HostFd>) -> Result<(), Errno> {
        self.files.lock().insert(key, Arc::downgrade(file));
        let flags =
            EventFlags::IN | EventFlags::PRI | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &*file.fd, EventData::new_u64(key), flags).map_err(host)
    }
}

fn events_of(bits: u32) -> Events {
    let mut events = Events::from_bits_truncate(bits);
    if events.contains(Events::IN) {
        events |= Events::RDNORM;
    }
    if events.contains(Events::OUT) {
        events |= Events::WRNORM;
    }
    events
}

impl Drop for HostFd {
    /// Closing is not enough: who gave the descriptor has the description still, and epoll knows it under this number until then.
    fn drop(&mut self) {
        if let Some(key) = self.key
            && let Some(Ok(notifier)) = NOTIFIER.get()
        {
            let _ = epoll::delete(&notifier.epoll, &*self.fd);
            notifier.files.lock().remove(&key);
        }
    }
}

impl HostFd {
    /// Takes a descriptor.
    pub fn new(fd: OwnedFd) -> Result<Arc<HostFd>, Errno> {
        let kind =
            rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd).map_err(host)?.st_mode);
        // Regular files are always ready; so is a device whose driver does not say (epoll refuses it).
        let waitable = !kind.is_file() && !kind.is_dir();
        let fd = Arc::new(fd);
        if !waitable {
            return Ok(Self::with_key(fd, None));
        }
        match Self::watched(fd.clone()) {
            Err(Errno::EPERM) => Ok(Self::with_key(fd, None)),
            made => made,
        }
    }

    /// Takes a socket that was made for the sentry, non-blocking.
    pub fn socket(fd: OwnedFd) -> Result<Arc<HostFd>, Errno> {
        Self::watched(Arc::new(fd))
    }

    fn with_key(fd: Arc<OwnedFd>, key: Option<u64>) -> Arc<HostFd> {
        Arc::new(HostFd {
            fd,
            pollee: Pollee::new(),
            key,
        })
    }

    /// One that the notifier looks after; `EPERM` where the host cannot tell when it is ready.
    fn watched(fd: Arc<OwnedFd>) -> Result<Arc<HostFd>, Errno> {
        let notifier = Notifier::get()?;
        let key = notifier.next.fetch_add(1, Ordering::Relaxed);
        let file = Self::with_key(fd, Some(key));
        notifier.add(key, &file)?;
        Ok(file)
    }

    /// The descriptor.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Whose changes to wait for.
    pub fn pollee(&self) -> Option<&Pollee> {
        self.key.is_some().then_some(&self.pollee)
    }

    /// The same for what is known to change.
    pub fn changes(&self) -> &Pollee {
        &self.pollee
    }

    /// What it is ready for.
    pub fn poll(&self) -> Events {
        if self.key.is_none() {
            return Events::READ | Events::WRITE;
        }
        let mut fds = [PollFd::new(
            &*self.fd,
            PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP,
        )];
        let ready = retry_on_intr(|| rustix::event::poll(&mut fds, Some(&Timespec::default())));
        match ready {
            Ok(0) | Err(_) => Events::empty(),
            Ok(_) => fds.first().map_or(Events::empty(), |f| {
                events_of(u32::from(f.revents().bits()))
            }),
        }
    }

    /// Waits until it takes something, so long at most. Only for where nothing of the guest could interrupt it.
    pub fn wait_writable(&self, timeout: Duration) {
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        let mut fds = [PollFd::new(&*self.fd, PollFlags::OUT)];
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
    }

    /// Reads what is there; `EAGAIN` when nothing is.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        if self.key.is_some()
            && !self
                .poll()
                .intersects(Events::IN | Events::HUP | Events::ERR)
        {
            return Err(Errno::EAGAIN);
        }
        // Somebody else may be reading too: ask not to wait, where the host knows how to.
        let now = retry_on_intr(|| {
            rustix::io::preadv2(
                &*self.fd,
                &mut [IoSliceMut::new(buf)],
                u64::MAX,
                ReadWriteFlags::NOWAIT,
            )
        });
        match now {
            Err(
                rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::SPIPE
                | rustix::io::Errno::NOSYS,
            ) => retry_on_intr(|| rustix::io::read(&*self.fd, &mut *buf)).map_err(host),
            r => r.map_err(host),
        }
    }

    /// Writes what there is room for; `EAGAIN` when there is none.
    pub fn write(&self, buf: &[u8]) -> Result<usize, Errno> {
        if self.key.is_some()
            && !self
                .poll()
                .intersects(Events::OUT | Events::HUP | Events::ERR)
        {
            return Err(Errno::EAGAIN);
        }
        let now = retry_on_intr(|| {
            rustix::io::pwritev2(
                &*self.fd,
                &[IoSlice::new(buf)],
                u64::MAX,
                ReadWriteFlags::NOWAIT,
            )
        });
        match now {
            Err(
                rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::SPIPE
                | rustix::io::Errno::NOSYS,
            ) => {
                // A pipe that is writable takes a page without blocking (pipe(7)), and so does the socket's buffer. A terminal that is the sandbox's alone is `O_NONBLOCK`.
                let some = if self.key.is_some() {
                    buf.get(..buf.len().min(4096)).unwrap_or_default()
                } else {
                    buf
                };
                retry_on_intr(|| rustix::io::write(&*self.fd, some)).map_err(host)
            }
            r => r.map_err(host),
        }
    }
}

/// A description of a host descriptor.
struct HostFile {
    host: Arc<HostFd>,
    seekable: bool,
    /// The offset that the last operation left. An operation that goes on from there uses the host's own offset, which is shared with those who hold the
    /// descriptor on the host (and with the guest's other descriptors of it): two programs that write to one redirected stdout do not overwrite each other.
    last: AtomicU64,
}

impl FileOps for HostFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        self.seekable
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(at) = pos else {
            return self.host.read(buf);
        };
        let fd = &*self.host.fd;
        if at != self.last.load(Ordering::Relaxed) {
            rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(at)).map_err(host)?;
        }
        let n = retry_on_intr(|| rustix::io::read(fd, &mut *buf)).map_err(host)?;
        self.last
            .store(at.saturating_add(n as u64), Ordering::Relaxed);
        Ok(n)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        if !self.seekable {
            return self.host.write(buf).map(|n| (n, 0));
        }
        let fd = &*self.host.fd;
        if let Pos::At(at) = pos
            && at != self.last.load(Ordering::Relaxed)
        {
            rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(at)).map_err(host)?;
        }
        let n = retry_on_intr(|| rustix::io::write(fd, buf)).map_err(host)?;
        let end = rustix::fs::seek(fd, rustix::fs::SeekFrom::Current(0)).map_err(host)?;
        self.last.store(end, Ordering::Relaxed);
        Ok((n, end))
    }
    fn writes_all(&self) -> bool {
        !self.seekable
    }
    fn seek_end(&self, _file: &File, whence: i32, offset: i64) -> Result<u64, Errno> {
        let unsigned = || u64::try_from(offset).map_err(|_| Errno::ENXIO);
        let to = match whence {
            2 => {
                let size = rustix::fs::fstat(&*self.host.fd).map_err(host)?.st_size;
                return u64::try_from(size.saturating_add(offset)).map_err(|_| Errno::EINVAL);
            }
            3 => rustix::fs::SeekFrom::Data(unsigned()?),
            4 => rustix::fs::SeekFrom::Hole(unsigned()?),
            _ => return Err(Errno::EINVAL),
        };
        rustix::fs::seek(&*self.host.fd, to).map_err(host)
    }
    fn poll(&self, _file: &File) -> Events {
        self.host.poll()
    }
    fn pollee(&self) -> Option<&Pollee> {
        self.host.pollee()
    }
    fn mmap(
        &self,
        _file: &File,
        offset: u64,
        _len: u64,
        _writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        if self.seekable {
            Ok(Mappable::Host {
                fd: self.host.fd.clone(),
                offset,
            })
        } else {
            Err(Errno::ENODEV)
        }
    }
    fn sync(&self, _file: &File, data_only: bool) -> Result<(), Errno> {
        let fd = &*self.host.fd;
        if data_only {
            rustix::fs::fdatasync(fd)
        } else {
            rustix::fs::fsync(fd)
        }
        .map_err(host)
    }
    fn host_fd(&self) -> Option<Arc<OwnedFd>> {
        self.seekable.then(|| self.host.fd.clone())
    }
}

/// The filesystem that host descriptors pretend to be on.
struct HostFs {
    dev: u64,
}

struct HostInode {
    host: Arc<HostFd>,
    kind: NodeKind,
    vnode: Vnode,
    fs: Arc<dyn FileSystem>,
}

impl Inode for HostInode {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.kind
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let s = rustix::fs::fstat(&*self.host.fd).map_err(host)?;
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let time = |sec: i64, nsec: u64| {
            sec.saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(nsec).unwrap_or(0))
        };
        Ok(Attr {
            ino: s.st_ino,
            mode: s.st_mode,
            nlink: u32::try_from(s.st_nlink).unwrap_or(1),
            uid: s.st_uid,
            gid: s.st_gid,
            size: unsigned(s.st_size),
            blocks: unsigned(s.st_blocks),
            blksize: u32::try_from(s.st_blksize).unwrap_or(4096),
            dev: self.fs.dev(),
            rdev: s.st_rdev,
            atime: time(s.st_atime, s.st_atime_nsec),
            mtime: time(s.st_mtime, s.st_mtime_nsec),
            ctime: time(s.st_ctime, s.st_ctime_nsec),
            btime: None,
        })
    }
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        match set.size {
            Some(size) => rustix::fs::ftruncate(&*self.host.fd, size).map_err(host),
            None => Err(Errno::EPERM),
        }
    }
    fn open(self: Arc<Self>, _caller: &dyn Caller, _flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        // `/dev/stdout`: another description of the same thing.
        Ok(Box::new(HostFile {
            seekable: self.kind == NodeKind::Regular,
            host: self.host.clone(),
            last: AtomicU64::new(u64::MAX),
        }))
    }
    fn opens_itself(&self) -> bool {
        true
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

impl FileSystem for HostFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "hostfs"
    }
    fn root(&self) -> Arc<dyn Inode> {
        // Never mounted where anybody could walk; the root is a directory like any other anonymous one.
        crate::anon::place("[host]").inode().clone()
    }
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno> {
        Ok(abi::fs::Statfs {
            f_bsize: 4096,
            f_namelen: 255,
            f_frsize: 4096,
            ..Default::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn dentry_limit(&self) -> usize {
        0
    }
}

static MOUNT: OnceLock<Arc<Mount>> = OnceLock::new();

/// A file for a host descriptor.
pub fn file(fd: OwnedFd) -> Result<Arc<File>, Errno> {
    let stat = rustix::fs::fstat(&fd).map_err(host)?;
    let flags = rustix::fs::fcntl_getfl(&fd).map_err(host)?;
    let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::RegularFile => NodeKind::Regular,
        rustix::fs::FileType::Fifo => NodeKind::Fifo,
        rustix::fs::FileType::Socket => NodeKind::Socket,
        rustix::fs::FileType::CharacterDevice => NodeKind::CharDevice(stat.st_rdev),
        // What a guest could do with a host directory or disk is not this module's to decide.
        _ => return Err(Errno::EINVAL),
    };
    let seekable = kind == NodeKind::Regular;
    let offset = if seekable {
        rustix::fs::seek(&fd, rustix::fs::SeekFrom::Current(0)).unwrap_or(0)
    } else {
        0
    };
    let host_fd = HostFd::new(fd)?;
    let mount = MOUNT.get_or_init(|| {
        Mount::of_fs(
            Arc::new(HostFs { dev: next_dev() }),
            MountFlags::NOATIME,
            b"host",
        )
    });
    let word = match kind {
        NodeKind::Fifo => "pipe",
        NodeKind::Socket => "socket",
        _ => "host",
    };
    let name = format!("{word}:[{}]", stat.st_ino);
    let inode = Arc::new(HostInode {
        host: host_fd.clone(),
        kind,
        vnode: Vnode::new(),
        fs: mount.fs().clone(),
    });
    let path = Path {
        mount: mount.clone(),
        dentry: Dentry::detached(mount.superblock(), inode.clone(), name.as_bytes(), true),
    };
    let keep = rustix::fs::OFlags::ACCMODE | rustix::fs::OFlags::APPEND;
    let file = File::new(
        Box::new(HostFile {
            host: host_fd,
            seekable,
            last: AtomicU64::new(offset),
        }),
        path,
        inode,
        (flags & keep).bits(),
    );
    file.with_offset(|o| *o = offset);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let caller = crate::testing::TestCaller::root();
        let (r, w) = (file(reader).unwrap(), file(writer).unwrap());
        let mut buf = [0; 8];
        assert_eq!(r.read(&mut buf), Err(Errno::EAGAIN));
        assert_eq!(w.write(&caller, b"hello"), Ok(5));
        assert!(r.poll().contains(Events::IN));
        assert_eq!(r.read(&mut buf), Ok(5));
        let big = vec![0; 1 << 20];
        let mut total = 0;
        while let Ok(n) = w.write(&caller, &big) {
            total += n;
        }
        assert!(total >= 4096);
        drop(w);
        while r.read(&mut [0; 65536]).unwrap() > 0 {}
    }

    #[test]
    fn a_regular_file_keeps_the_shared_offset() {
        let path = std::env::temp_dir().join(format!("hostfile-{}", std::process::id()));
        let host_file = std::fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::io::Write::write_all(&mut &host_file, b"one ").unwrap();
        let caller = crate::testing::TestCaller::root();
        let f = file(host_file.try_clone().unwrap().into()).unwrap();
        f.write(&caller, b"two ").unwrap();
        std::io::Write::write_all(&mut &host_file, b"three").unwrap();
        f.write(&caller, b" four").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "one two three four"
        );
        std::fs::remove_file(&path).unwrap();
    }
}
