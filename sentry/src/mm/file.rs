//! What stands behind shared mappings and mappings of files.

use super::MemoryManager;
use abi::{Errno, PAGE_SIZE};
use fs::vfs::{MappingObserver, MountFlags, Vnode};
use fs::{File, Mappable, NodeKind};
use platform::{Backing, MapHint, MemoryFile, Order, Prot};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sync::OnceLock;

/// Rounds up to whole pages; `None` past the end of the number line.
pub(super) fn page_up(len: u64) -> Option<u64> {
    Some(len.checked_add(PAGE_SIZE - 1)? & !(PAGE_SIZE - 1))
}

/// Rounds down to a page.
pub(super) const fn page_down(addr: u64) -> u64 {
    addr & !(PAGE_SIZE - 1)
}

/// A range of the memory file that is no file: shared anonymous memory, a SysV segment. Freed when the last mapping and the last owner are gone.
pub struct Region {
    id: u64,
    memory: Arc<MemoryFile>,
    /// Where it begins in the memory file.
    pub offset: u64,
    /// Its length, whole pages. Beyond it is SIGBUS.
    pub len: u64,
    /// What `/proc/PID/maps` says.
    pub name: Vec<u8>,
    /// Inode number there.
    pub ino: u64,
}

/// A SysV segment's attachment: one per address space, counted until its last mapping is gone.
pub trait Attachment: Send + Sync {
    /// Another one, for a forked address space.
    fn duplicate(&self) -> Arc<dyn Attachment>;
    /// For the owner.
    fn as_any(&self) -> &dyn Any;
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Region {
    /// New zeroed memory of `len` bytes, rounded up to pages.
    pub fn new(memory: &Arc<MemoryFile>, len: u64) -> Result<Arc<Self>, Errno> {
        let id = next_id();
        Self::named(memory, len, b"/dev/zero (deleted)".to_vec(), id)
    }

    /// The same with a name for `/proc/PID/maps`.
    pub fn named(
        memory: &Arc<MemoryFile>,
        len: u64,
        name: Vec<u8>,
        ino: u64,
    ) -> Result<Arc<Self>, Errno> {
        let len = page_up(len).ok_or(Errno::ENOMEM)?;
        let offset = memory.allocate(len)?;
        Ok(Arc::new(Self {
            id: next_id(),
            memory: memory.clone(),
            offset,
            len,
            name,
            ino,
        }))
    }

    /// Its identity: futexes in it, `ino` of shared anonymous memory.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.memory.free(self.offset, self.len);
    }
}

/// Where a file's pages are.
#[derive(Clone)]
enum Source {
    Host(Arc<OwnedFd>),
    Memory,
}

/// One use of a file by mappings of one address space.
pub struct FileMap {
    /// The file, kept open.
    pub file: Arc<File>,
    /// Device and inode number, for `/proc/PID/maps` and futexes.
    pub dev: u64,
    /// See `dev`.
    pub ino: u64,
    source: Source,
    /// Whether stores may ever reach the file.
    writable: bool,
    _stores: Stores,
    observer: Option<Arc<Observer>>,
}

/// Counted among the file's writable shared mappings, which a seal against writing looks at.
struct Stores {
    file: Arc<File>,
    counted: bool,
}

impl Stores {
    fn new(file: &Arc<File>, counted: bool) -> Self {
        if counted {
            file.inode()
                .vnode()
                .shared_writers
                .fetch_add(1, Ordering::AcqRel);
        }
        Self {
            file: file.clone(),
            counted,
        }
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        if self.counted {
            self.file
                .inode()
                .vnode()
                .shared_writers
                .fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl FileMap {
    /// Prepares to map `file`; `None` for `/dev/zero`, whose memory is anonymous. `writable`: `shared`, and the
    /// description may write.
    pub fn new(
        file: &Arc<File>,
        mm: &Weak<MemoryManager>,
        shared: bool,
        writable: bool,
    ) -> Result<Option<Arc<Self>>, Errno> {
        let stores = Stores::new(file, writable);
        // The kind of memory is asked for with no length: nothing is allocated by that.
        let source = match file.ops().mmap(file, 0, 0, writable)? {
            Mappable::Host { fd, .. } => Source::Host(fd),
            Mappable::Memory(_) => Source::Memory,
            Mappable::Zero => return Ok(None),
        };
        let (dev, ino) = file.inode().attr().map_or((0, 0), |a| (a.dev, a.ino));
        // Pages of the memory file may be taken back, and what a shared mapping of a host file shows may move to another descriptor. Private
        // mappings of host files, the many, need not be told.
        let observed = shared || matches!(source, Source::Memory);
        let observer = observed.then_some(mm);
        Ok(Some(Self::build(file, dev, ino, source, observer, stores)))
    }

    fn build(
        file: &Arc<File>,
        dev: u64,
        ino: u64,
        source: Source,
        observer: Option<&Weak<MemoryManager>>,
        stores: Stores,
    ) -> Arc<Self> {
        let observer = observer.map(|mm| {
            let observer = Arc::new(Observer {
                mm: OnceLock::new(),
                generation: AtomicU64::new(0),
            });
            if mm.strong_count() != 0 {
                let _ = observer.mm.set(mm.clone());
            }
            let dynamic: Arc<dyn MappingObserver> = observer.clone();
            file.inode().vnode().observe_mappings(&dynamic);
            observer
        });
        Arc::new(Self {
            file: file.clone(),
            dev,
            ino,
            source,
            writable: stores.counted,
            _stores: stores,
            observer,
        })
    }

    /// The same for a forked address space, which [`FileMap::adopt`] names later. `None` when this one serves both.
    pub(super) fn fork(&self) -> Option<Arc<Self>> {
        self.observer.as_ref()?;
        Some(Self::build(
            &self.file,
            self.dev,
            self.ino,
            self.source.clone(),
            Some(&Weak::new()),
            Stores::new(&self.file, self.writable),
        ))
    }

    /// Names the address space of a map made by [`FileMap::fork`]. False: pages have gone meanwhile, drop the mappings.
    pub(super) fn adopt(&self, mm: &Weak<MemoryManager>) -> bool {
        let Some(observer) = &self.observer else {
            return true;
        };
        let _ = observer.mm.set(mm.clone());
        observer.generation.load(Ordering::SeqCst) == 0
    }

    /// Whether both map one description in one way.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file) && self.writable == other.writable
    }

    /// Whether it is told of pages of this inode that go: private mappings of host files are not, and keep what guests have stored there.
    pub(super) fn observes(&self, inode: &Vnode) -> bool {
        self.observer.is_some() && std::ptr::eq(self.file.inode().vnode(), inode)
    }

    /// Whether the pages are a host file's.
    pub fn is_host(&self) -> bool {
        matches!(self.source, Source::Host(_))
    }

    /// Counts what was taken away; compare before and after asking for pages.
    pub(super) fn generation(&self) -> u64 {
        self.observer
            .as_ref()
            .map_or(0, |o| o.generation.load(Ordering::SeqCst))
    }

    /// How many bytes of `[offset, offset + len)` lie before the page-rounded end of file; all of them for what is no regular file.
    pub(super) fn within_eof(&self, offset: u64, len: u64) -> Result<u64, Errno> {
        if self.file.inode().kind() != NodeKind::Regular {
            return Ok(len);
        }
        let end = page_up(self.file.inode().attr()?.size).unwrap_or(u64::MAX);
        Ok(end.saturating_sub(offset).min(len))
    }

    /// The orders that map `[offset, offset + len)` at `start`, all of it before the end of file.
    pub(super) fn map_orders(
        &self,
        start: u64,
        offset: u64,
        len: u64,
        shared: bool,
        prot: Prot,
        hint: MapHint,
    ) -> Result<Vec<Order>, Errno> {
        match &self.source {
            Source::Host(fd) => {
                let mut fd = fd.clone();
                if self.generation() != 0
                    && let Mappable::Host { fd: now, .. } =
                        self.file.ops().mmap(&self.file, 0, 0, self.writable)?
                {
                    fd = now;
                }
                let shared = shared && self.writable;
                Ok(vec![Order::Map {
                    start,
                    len,
                    backing: Backing::File { fd, offset, shared },
                    prot,
                    hint,
                }])
            }
            Source::Memory => {
                let Mappable::Memory(pieces) =
                    self.file
                        .ops()
                        .mmap(&self.file, offset, len, self.writable)?
                else {
                    return Err(Errno::ENODEV);
                };
                let mut orders = Vec::with_capacity(pieces.len());
                let (mut at, mut left) = (start, len);
                let mut open: Option<(u64, u64)> = None;
                for (offset, piece) in pieces {
                    let piece = piece.min(left);
                    left = left.saturating_sub(piece);
                    open = Some(match open {
                        Some((begin, have)) if begin.checked_add(have) == Some(offset) => {
                            (begin, have.saturating_add(piece))
                        }
                        Some((begin, have)) => {
                            orders.push(Order::Map {
                                start: at,
                                len: have,
                                backing: Backing::Memory {
                                    offset: begin,
                                    shared,
                                },
                                prot,
                                hint,
                            });
                            at = at.saturating_add(have);
                            (offset, piece)
                        }
                        None => (offset, piece),
                    });
                    if left == 0 {
                        break;
                    }
                }
                if let Some((offset, len)) = open.filter(|(_, len)| *len != 0) {
                    orders.push(Order::Map {
                        start: at,
                        len,
                        backing: Backing::Memory { offset, shared },
                        prot,
                        hint,
                    });
                }
                if left != 0 {
                    return Err(Errno::EIO);
                }
                Ok(orders)
            }
        }
    }

    /// Reads the file's bytes at `offset`; what lies past its end stays as it is in `buf`.
    pub(super) fn read(&self, mut offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
            let n = match &self.source {
                Source::Host(fd) => match rustix::io::pread(fd, rest, offset) {
                    Err(rustix::io::Errno::INTR) => continue,
                    other => other.map_err(|e| Errno::from_raw(e.raw_os_error()))?,
                },
                Source::Memory => self
                    .file
                    .ops()
                    .read(&self.file, rest, fs::Pos::At(offset))?,
            };
            if n == 0 {
                break;
            }
            done = done.saturating_add(n);
            offset = offset.saturating_add(n as u64);
        }
        Ok(())
    }

    /// The mount forbids programs.
    pub fn noexec(file: &File) -> bool {
        file.path().mount.flags().contains(MountFlags::NOEXEC)
    }
}

/// Hears of a file's pages that are gone.
struct Observer {
    mm: OnceLock<Weak<MemoryManager>>,
    generation: AtomicU64,
}

impl MappingObserver for Observer {
    fn note(&self) {
        // First the count, then the lock: whoever asked for pages before and maps them after sees one or is seen by the other.
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
    fn invalidate(&self, of: &Vnode, offset: u64, len: u64) {
        if let Some(mm) = self.mm.get().and_then(Weak::upgrade) {
            mm.drop_pages(of, offset, len);
        }
    }
    fn space(&self) -> Option<usize> {
        self.mm.get().map(|mm| mm.as_ptr().addr())
    }
}

/// A running program's file: nobody may write it meanwhile (`ETXTBSY`).
pub struct ExeFile {
    file: Arc<File>,
}

impl ExeFile {
    /// `ETXTBSY` if it is open for writing.
    pub fn new(file: Arc<File>) -> Result<Arc<Self>, Errno> {
        file.inode().vnode().deny_write()?;
        Ok(Arc::new(Self { file }))
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl Drop for ExeFile {
    fn drop(&mut self) {
        self.file.inode().vnode().allow_write();
    }
}
