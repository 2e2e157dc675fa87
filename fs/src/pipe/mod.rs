//! Pipes and FIFOs (`pipe(7)`, `fifo(7)`; Linux: `fs/pipe.c`).
//!
//! ```text
//!   pair() ─► File(PipeFile, read) ──┐
//!             File(PipeFile, write) ─┴─► Pipe { Buffer, readers, writers } ─► Pollee
//!   FIFO: Vnode.fifo ─► the same Pipe; open_fifo() makes an end, which may have to wait for the other side (open_pending)
//! ```
//!
//! Who is counted: every [`PipeFile`], from its making to its drop, so that a pending open that is given up is uncounted as a closed file is.

mod account;
mod buffer;
mod fifo;
#[cfg(test)]
mod tests;

pub use buffer::PAGE;
pub use fifo::{open_fifo, open_in_slot};

use crate::file::{File, FileOps, Pos, UserMemory};
use crate::pollee::{Events, Pollee};
use crate::{Caller, Cred, anon};
use abi::Errno;
use abi::ioctl::FIONREAD;
use account::Charge;
use buffer::Buffer;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::Mutex;

/// Slots of a new pipe: 64 KiB.
pub const DEFAULT_SLOTS: usize = 16;
/// `/proc/sys/fs/pipe-max-size`: the most an unprivileged `F_SETPIPE_SZ` may ask for.
pub const MAX_SIZE: usize = 1 << 20;
/// What nobody may exceed, privileged or not: pipe data is the sandbox's own memory. Linux has 2 GiB here.
pub const HARD_MAX_SIZE: usize = 16 << 20;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const O_NONBLOCK: u32 = 0o4000;
const O_DIRECT: u32 = 0o40000;

struct State {
    buffer: Buffer,
    readers: usize,
    writers: usize,
    /// Opens for reading and for writing ever: what a pending open waits to see change.
    reader_opens: u64,
    writer_opens: u64,
    charge: Charge,
}

/// What both ends share.
pub struct Pipe {
    state: Mutex<State>,
    pollee: Pollee,
    /// Has no name: an open through `/proc/PID/fd` waits for nobody.
    anonymous: bool,
}

impl Pipe {
    /// An empty pipe without ends, for a FIFO, accounted to the caller's user.
    pub fn new(cred: &Cred) -> Arc<Self> {
        Self::make(cred, false)
    }

    fn make(cred: &Cred, anonymous: bool) -> Arc<Self> {
        let (charge, slots) = Charge::new(cred, DEFAULT_SLOTS);
        let state = State {
            buffer: Buffer::new(slots),
            readers: 0,
            writers: 0,
            reader_opens: 0,
            writer_opens: 0,
            charge,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            pollee: Pollee::new(),
            anonymous,
        })
    }

    /// Whom to wait on.
    pub fn pollee(&self) -> &Pollee {
        &self.pollee
    }

    /// Bytes to read.
    pub fn len(&self) -> usize {
        self.state.lock().buffer.len()
    }

    /// Nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `F_GETPIPE_SZ`.
    pub fn size(&self) -> usize {
        self.state.lock().buffer.slots().saturating_mul(PAGE)
    }

    /// `F_SETPIPE_SZ`: returns the size it became.
    pub fn set_size(&self, cred: &Cred, size: u64) -> Result<usize, Errno> {
        // The argument is an `unsigned int`; a size that has no power of two above it within 31 bits is refused.
        let size = usize::try_from(size & 0xffff_ffff).unwrap_or(usize::MAX);
        if size > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let size = size
            .max(PAGE)
            .checked_next_power_of_two()
            .ok_or(Errno::EINVAL)?;
        let slots = size / PAGE;
        let mut state = self.state.lock();
        let growing = slots > state.buffer.slots();
        if growing && (size > HARD_MAX_SIZE || (size > MAX_SIZE && !cred.has_cap(CAP_SYS_RESOURCE)))
        {
            return Err(Errno::EPERM);
        }
        if slots < state.buffer.used() {
            return Err(Errno::EBUSY);
        }
        state.charge.resize(cred, slots, growing)?;
        state.buffer.resize(slots);
        drop(state);
        self.pollee.notify(Events::WRITE);
        Ok(size)
    }

    fn read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        if buf.is_empty() {
            return Ok(0);
        }
        if state.buffer.is_empty() {
            return if state.writers == 0 {
                Ok(0)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let was_full = state.buffer.is_full();
        let n = state.buffer.read(buf);
        let freed = was_full && !state.buffer.is_full();
        drop(state);
        if freed {
            self.pollee.notify(Events::WRITE);
        }
        Ok(n)
    }

    fn write(&self, data: &[u8], packet: bool) -> Result<usize, Errno> {
        if data.is_empty() {
            return Ok(0);
        }
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let n = state.buffer.write(data, packet);
        drop(state);
        if n == 0 {
            return Err(Errno::EAGAIN);
        }
        self.pollee.notify(Events::READ);
        Ok(n)
    }

    /// Takes up to `max` bytes out whole: `Ok(None)` is the end of file, `EAGAIN` nothing now.
    pub(crate) fn take(&self, max: usize) -> Result<Option<(Vec<u8>, bool)>, Errno> {
        let mut state = self.state.lock();
        let was_full = state.buffer.is_full();
        let Some(taken) = state.buffer.take(max) else {
            return if state.writers == 0 {
                Ok(None)
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let freed = was_full && !state.buffer.is_full();
        drop(state);
        if freed {
            self.pollee.notify(Events::WRITE);
        }
        Ok(Some(taken))
    }

    /// Gives back, to the front, what [`Pipe::take`] took and nobody wanted.
    pub(crate) fn put_back(&self, data: Vec<u8>, packet: bool) {
        if data.is_empty() {
            return;
        }
        self.state.lock().buffer.put_back(data, packet);
        self.pollee.notify(Events::READ);
    }

    /// Bytes that fit for sure. `EPIPE` without readers, `EAGAIN` when full.
    pub(crate) fn room(&self) -> Result<usize, Errno> {
        let state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        match state.buffer.room() {
            0 => Err(Errno::EAGAIN),
            n => Ok(n),
        }
    }

    /// Appends `data` and gives back what does not fit.
    pub(crate) fn append(&self, data: Vec<u8>, packet: bool) -> Result<Vec<u8>, Errno> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let rest = state.buffer.append(data, packet);
        drop(state);
        self.pollee.notify(Events::READ);
        Ok(rest)
    }

    /// Appends bytes that have no way back to where they came from, beyond the room if it must.
    pub(crate) fn force(&self, data: Vec<u8>) {
        self.state.lock().buffer.force(data);
        self.pollee.notify(Events::READ);
    }

    /// Copies of up to `max` bytes, left where they are: `None` is the end of file.
    pub(crate) fn peek(&self, max: usize) -> Result<Option<Vec<(Vec<u8>, bool)>>, Errno> {
        let state = self.state.lock();
        if state.buffer.is_empty() {
            return if state.writers == 0 {
                Ok(None)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        Ok(Some(state.buffer.copies(max)))
    }

    fn add_end(&self, read: bool, write: bool) {
        let mut state = self.state.lock();
        if read {
            state.readers = state.readers.saturating_add(1);
            state.reader_opens = state.reader_opens.wrapping_add(1);
        }
        if write {
            state.writers = state.writers.saturating_add(1);
            state.writer_opens = state.writer_opens.wrapping_add(1);
        }
    }

    fn remove_end(&self, read: bool, write: bool) {
        let mut state = self.state.lock();
        if read {
            state.readers = state.readers.saturating_sub(1);
        }
        if write {
            state.writers = state.writers.saturating_sub(1);
        }
        if state.readers == 0 && state.writers == 0 {
            // A FIFO forgets its data and its size with its last opener.
            let slots = state.charge.reset(DEFAULT_SLOTS);
            state.buffer = Buffer::new(slots);
        }
        let one_sided = (state.readers == 0) != (state.writers == 0);
        drop(state);
        if one_sided {
            self.pollee
                .notify(Events::READ | Events::WRITE | Events::ERR | Events::HUP);
        }
    }
}

/// One end of a pipe, or both (a FIFO opened `O_RDWR`).
pub struct PipeFile {
    pipe: Arc<Pipe>,
    read: bool,
    write: bool,
    /// A reader that has opened without a writer sees no hang-up until one came: the number of writer opens it started from.
    no_hup_at: AtomicU64,
    /// An open that waits for the other side: the number of the other side's opens that it started from. One that came and went again counts as met.
    waits_past: AtomicU64,
}

/// No count of opens is this.
const NEVER: u64 = u64::MAX;

impl PipeFile {
    fn new(pipe: &Arc<Pipe>, read: bool, write: bool) -> Self {
        pipe.add_end(read, write);
        Self {
            pipe: pipe.clone(),
            read,
            write,
            no_hup_at: AtomicU64::new(NEVER),
            waits_past: AtomicU64::new(NEVER),
        }
    }

    /// The pipe behind it.
    pub fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }
}

impl Drop for PipeFile {
    fn drop(&mut self) {
        self.pipe.remove_end(self.read, self.write);
    }
}

impl FileOps for PipeFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn open_pending(&self, _file: &File) -> bool {
        let seen = self.waits_past.load(Ordering::Relaxed);
        if seen == NEVER {
            return false;
        }
        let state = self.pipe.state.lock();
        let opens = if self.read {
            state.writer_opens
        } else {
            state.reader_opens
        };
        drop(state);
        if opens != seen {
            self.waits_past.store(NEVER, Ordering::Relaxed);
        }
        opens == seen
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        self.pipe.read(buf)
    }
    fn write(
        &self,
        file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        _pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        Ok((self.pipe.write(buf, file.flags() & O_DIRECT != 0)?, 0))
    }
    fn writes_all(&self) -> bool {
        true
    }
    fn poll(&self, _file: &File) -> Events {
        let state = self.pipe.state.lock();
        let mut events = Events::empty();
        if self.read {
            if !state.buffer.is_empty() {
                events |= Events::READ;
            }
            if state.writers == 0 && self.no_hup_at.load(Ordering::Relaxed) != state.writer_opens {
                events |= Events::HUP;
            }
        }
        if self.write {
            if !state.buffer.is_full() {
                events |= Events::WRITE;
            }
            if state.readers == 0 {
                events |= Events::ERR;
            }
        }
        events
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pipe.pollee)
    }
    fn ioctl(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        if cmd != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let n = i32::try_from(self.pipe.len()).unwrap_or(i32::MAX);
        mem.write(arg, &n.to_ne_bytes())?;
        Ok(0)
    }
    fn allocate(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        _mode: i32,
        _offset: u64,
        _len: u64,
    ) -> Result<(), Errno> {
        Err(Errno::ESPIPE)
    }
}

/// `pipe2(2)`: the reading and the writing end. `flags`: `O_NONBLOCK`, `O_DIRECT`.
pub fn pair(caller: &dyn Caller, flags: u32) -> Result<(Arc<File>, Arc<File>), Errno> {
    let pipe = Pipe::make(&caller.cred(), true);
    let path = anon::pipe(caller);
    let inode = path.inode().clone();
    // Whoever opens the inode again, through /proc, meets this pipe.
    let _ = inode.vnode().fifo.set(pipe.clone());
    let (read_end, write_end) = (
        PipeFile::new(&pipe, true, false),
        PipeFile::new(&pipe, false, true),
    );
    let reader = File::new(
        Box::new(read_end),
        path.clone(),
        inode.clone(),
        flags & O_NONBLOCK,
    );
    let writer = File::new(
        Box::new(write_end),
        path,
        inode,
        1 | (flags & (O_NONBLOCK | O_DIRECT)),
    );
    Ok((reader, writer))
}

/// The pipe behind a file, if it is one: `fcntl(F_SETPIPE_SZ)` and splices ask.
pub fn of(file: &File) -> Option<&Arc<Pipe>> {
    file.downcast::<PipeFile>().map(PipeFile::pipe)
}
