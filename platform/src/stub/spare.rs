//! Descriptors that are kept so that a listener, which arrives when its thread is there already, always finds one. Whoever is about to have a
//! thread made asks for them first, and is refused in time.

use std::os::fd::{BorrowedFd, OwnedFd};

use abi::{Errno, Result};

/// As many as threads may be made at the same time, about.
const MANY: usize = 4;

static SPARE: sync::Mutex<Vec<OwnedFd>> = sync::Mutex::new(Vec::new());

/// Sees to it that there are some, copies of `like`. `EAGAIN` if there can be none.
pub fn keep(like: BorrowedFd<'_>) -> Result<()> {
    while SPARE.lock().len() < MANY {
        let copy = rustix::io::fcntl_dupfd_cloexec(like, 0).map_err(|_| Errno::EAGAIN)?;
        SPARE.lock().push(copy);
    }
    Ok(())
}

/// Closes one. Was there any?
pub fn give() -> bool {
    let given = SPARE.lock().pop();
    given.is_some()
}
