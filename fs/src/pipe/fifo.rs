//! Opening a FIFO (`fifo(7)`): the two sides wait for each other. Nothing in this crate blocks, so the open gives a description that is still pending
//! ([`FileOps::open_pending`](crate::FileOps::open_pending)); the caller waits on it, and drops it if a signal comes.

use super::{O_NONBLOCK, Pipe, PipeFile};
use crate::pollee::Events;
use crate::vfs::Slot;
use crate::{Caller, Cred};
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Opens one end of `pipe` as `flags` (`O_ACCMODE`, `O_NONBLOCK`) say. `ENXIO` for a writer that would not wait and has no reader.
///
/// The end counts from here on, so that the other side's open finds it.
pub fn open_fifo(pipe: &Arc<Pipe>, flags: u32) -> Result<PipeFile, Errno> {
    let nonblock = flags & O_NONBLOCK != 0;
    let (read, write) = match flags & 3 {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => return Err(Errno::EINVAL),
    };
    if write && !read && nonblock && !pipe.anonymous && pipe.state.lock().readers == 0 {
        return Err(Errno::ENXIO);
    }
    let end = PipeFile::new(pipe, read, write);
    let state = pipe.state.lock();
    let (alone, seen) = match (read, write) {
        (true, false) => (state.writers == 0, state.writer_opens),
        (false, true) => (state.readers == 0, state.reader_opens),
        _ => (false, 0),
    };
    drop(state);
    // Those who wait for this side to come.
    pipe.pollee.notify(Events::READ | Events::WRITE);
    if alone && !pipe.anonymous {
        let field = if nonblock {
            &end.no_hup_at
        } else {
            &end.waits_past
        };
        field.store(seen, Ordering::Relaxed);
    }
    Ok(end)
}

/// Opens the FIFO whose pipe lies in an inode's slot, making the pipe at the first open.
pub fn open_in_slot(slot: &Slot, caller: &dyn Caller, flags: u32) -> Result<PipeFile, Errno> {
    open_fifo(&in_slot(slot, &caller.cred())?, flags)
}

fn in_slot(slot: &Slot, cred: &Cred) -> Result<Arc<Pipe>, Errno> {
    let any = slot.get_or_init(|| Pipe::new(cred)).clone();
    any.downcast().map_err(|_| Errno::ENXIO)
}
