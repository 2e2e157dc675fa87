//! Guest memory: the seam that tasks use; the manager behind it lands next.

use abi::Errno;
use platform::{Access, AddressSpace};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What became of a fault.
pub enum FaultOutcome {
    /// Go on.
    Resolved,
    /// The task gets this signal.
    Signal {
        /// `SIGSEGV` or `SIGBUS`
        signo: i32,
        /// `si_code`
        code: i32,
    },
}

/// What a futex word is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FutexKey {
    /// Memory of one manager only: its id, the address.
    Private(u64, u64),
    /// Memory that others may map: the identity of what backs it, the offset in it.
    Shared(u64, u64),
}

/// The memory of a process.
pub struct MemoryManager {
    kernel: Arc<crate::kernel::Kernel>,
    aspace: Arc<dyn AddressSpace>,
}

#[allow(missing_docs, unused_variables)]
impl MemoryManager {
    pub fn new(kernel: &Arc<crate::kernel::Kernel>, aspace: Arc<dyn AddressSpace>) -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self { kernel: kernel.clone(), aspace }))
    }
    pub fn kernel(&self) -> &Arc<crate::kernel::Kernel> {
        &self.kernel
    }
    pub fn address_space(&self) -> &Arc<dyn AddressSpace> {
        &self.aspace
    }
    pub fn fork(&self) -> Result<Arc<Self>, Errno> {
        Err(Errno::ENOSYS)
    }
    pub fn handle_fault(&self, addr: u64, access: Access, signo: i32, code: i32) -> FaultOutcome {
        FaultOutcome::Signal { signo, code }
    }
    pub fn read_bytes(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    pub fn write_bytes(&self, addr: u64, buf: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    pub fn read_obj<T: FromBytes + IntoBytes>(&self, addr: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(addr, value.as_mut_bytes())?;
        Ok(value)
    }
    pub fn write_obj<T: IntoBytes + Immutable + ?Sized>(&self, addr: u64, value: &T) -> Result<(), Errno> {
        self.write_bytes(addr, value.as_bytes())
    }
    /// Without the zero; `ENAMETOOLONG` when there is none within `max` bytes.
    pub fn read_cstring(&self, addr: u64, max: usize) -> Result<Vec<u8>, Errno> {
        Err(Errno::EFAULT)
    }
    pub fn load_u32(&self, addr: u64) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }
    pub fn compare_exchange_u32(&self, addr: u64, old: u32, new: u32) -> Result<Result<u32, u32>, Errno> {
        Err(Errno::EFAULT)
    }
    pub fn fetch_update_u32(&self, addr: u64, update: &mut dyn FnMut(u32) -> u32) -> Result<u32, Errno> {
        Err(Errno::EFAULT)
    }
    pub fn futex_key(&self, addr: u64, shared: bool) -> Result<FutexKey, Errno> {
        Err(Errno::EFAULT)
    }
    pub fn max_rss_kib(&self) -> u64 {
        0
    }
}
