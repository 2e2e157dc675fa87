//! What unit tests of this crate share.

use crate::file::UserMemory;
use crate::pollee::{Events, Observer};
use crate::{Caller, Cred};
use abi::Errno;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sync::Mutex;

/// A caller with these credentials and a fixed clock.
pub struct TestCaller(pub Cred);

impl TestCaller {
    /// Root.
    pub fn root() -> Self {
        Self(Cred::kernel())
    }
    /// A user without capabilities.
    pub fn user(uid: u32) -> Self {
        Self(Cred {
            fsuid: uid,
            fsgid: uid,
            groups: Vec::new(),
            caps: 0,
        })
    }
}

impl Caller for TestCaller {
    fn cred(&self) -> Arc<Cred> {
        Arc::new(self.0.clone())
    }
    fn umask(&self) -> u32 {
        0o022
    }
    fn now_ns(&self) -> i64 {
        1_000_000_000
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Counts what it hears.
#[derive(Default)]
pub struct Counter(pub AtomicUsize);

impl Observer for Counter {
    fn on_events(&self, _events: Events) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    /// How often it was called since the last time.
    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// Guest memory: a few kilobytes from address 0 on.
pub struct TestMemory(pub Mutex<Vec<u8>>);

impl TestMemory {
    /// `len` zero bytes.
    pub fn new(len: usize) -> Self {
        Self(Mutex::new(vec![0; len]))
    }
    /// The `i32` at `addr`.
    pub fn i32_at(&self, addr: u64) -> i32 {
        let mut b = [0; 4];
        self.read(addr, &mut b).unwrap();
        i32::from_ne_bytes(b)
    }
}

impl UserMemory for TestMemory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let memory = self.0.lock();
        let at = usize::try_from(addr).map_err(|_| Errno::EFAULT)?;
        let from = at
            .checked_add(buf.len())
            .and_then(|end| memory.get(at..end))
            .ok_or(Errno::EFAULT)?;
        buf.copy_from_slice(from);
        Ok(())
    }
    fn write(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        let mut memory = self.0.lock();
        let at = usize::try_from(addr).map_err(|_| Errno::EFAULT)?;
        let to = at
            .checked_add(buf.len())
            .and_then(|end| memory.get_mut(at..end))
            .ok_or(Errno::EFAULT)?;
        to.copy_from_slice(buf);
        Ok(())
    }
}
