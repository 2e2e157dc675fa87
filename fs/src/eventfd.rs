//! `eventfd(2)`: a counter to wait on.

use crate::file::{File, FileOps, Pos};
use crate::pollee::{Events, Pollee};
use crate::{Caller, anon};
use abi::Errno;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::Mutex;

/// `EFD_SEMAPHORE`
const EFD_SEMAPHORE: u32 = 1;
const O_NONBLOCK: u32 = 0o4000;
const O_CLOEXEC: u32 = 0o2000000;

/// The counter.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    id: u64,
    pollee: Pollee,
}

impl EventFd {
    /// Adds to the counter from inside the kernel, up to its greatest value.
    pub fn signal(&self, n: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(n);
        drop(count);
        self.pollee.notify(Events::IN);
    }
}

/// `eventfd2(2)`: `flags` are `EFD_SEMAPHORE`, `EFD_NONBLOCK`, `EFD_CLOEXEC` (the last is the caller's to act on).
pub fn eventfd(initial: u32, flags: u32) -> Result<Arc<File>, Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if flags & !(EFD_SEMAPHORE | O_NONBLOCK | O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let ops = EventFd {
        count: Mutex::new(u64::from(initial)),
        semaphore: flags & EFD_SEMAPHORE != 0,
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        pollee: Pollee::new(),
    };
    Ok(anon::file(
        "[eventfd]",
        Box::new(ops),
        2 | (flags & O_NONBLOCK),
    ))
}

impl FileOps for EventFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        let out = buf.get_mut(..8).ok_or(Errno::EINVAL)?;
        let mut count = self.count.lock();
        let value = match *count {
            0 => return Err(Errno::EAGAIN),
            _ if self.semaphore => 1,
            all => all,
        };
        *count = count.saturating_sub(value);
        drop(count);
        out.copy_from_slice(&value.to_ne_bytes());
        self.pollee.notify(Events::OUT);
        Ok(8)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        _pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        // No more and no less.
        let value = u64::from_ne_bytes(buf.try_into().map_err(|_| Errno::EINVAL)?);
        if value == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        // The greatest value is kept for overflows of the kernel's own making.
        *count = count
            .checked_add(value)
            .filter(|sum| *sum != u64::MAX)
            .ok_or(Errno::EAGAIN)?;
        drop(count);
        self.pollee.notify(Events::IN);
        Ok((8, 0))
    }
    fn poll(&self, _file: &File) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        events.set(Events::IN, count > 0);
        events.set(Events::ERR, count == u64::MAX);
        events.set(Events::OUT, count < u64::MAX.saturating_sub(1));
        events
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.pollee)
    }
    fn fdinfo(&self, _file: &File) -> String {
        format!(
            "eventfd-count: {:16x}\neventfd-id: {}\neventfd-semaphore: {}\n",
            *self.count.lock(),
            self.id,
            u8::from(self.semaphore)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestCaller;

    fn read(file: &File) -> Result<u64, Errno> {
        let mut buf = [0; 8];
        file.read(&mut buf)?;
        Ok(u64::from_ne_bytes(buf))
    }

    #[test]
    fn counts() {
        let c = TestCaller::root();
        let f = eventfd(3, 0).unwrap();
        assert_eq!(read(&f), Ok(3));
        assert_eq!(read(&f), Err(Errno::EAGAIN));
        assert_eq!(f.poll(), Events::OUT);
        assert_eq!(f.write(&c, &u64::MAX.to_ne_bytes()), Err(Errno::EINVAL));
        assert_eq!(f.write(&c, &(u64::MAX - 1).to_ne_bytes()), Ok(8));
        assert_eq!(f.poll(), Events::IN);
        assert_eq!(f.write(&c, &1u64.to_ne_bytes()), Err(Errno::EAGAIN));
        assert_eq!(f.write(&c, &[0; 7]), Err(Errno::EINVAL));
        assert_eq!(f.read(&mut [0; 7]), Err(Errno::EINVAL));
        f.downcast::<EventFd>().unwrap().signal(5);
        assert_eq!(f.poll(), Events::IN | Events::ERR);
        assert_eq!(read(&f), Ok(u64::MAX));
    }

    #[test]
    fn semaphore() {
        let f = eventfd(2, EFD_SEMAPHORE).unwrap();
        assert_eq!(
            (read(&f), read(&f), read(&f)),
            (Ok(1), Ok(1), Err(Errno::EAGAIN))
        );
        assert_eq!(eventfd(0, 2).err(), Some(Errno::EINVAL));
    }
}
