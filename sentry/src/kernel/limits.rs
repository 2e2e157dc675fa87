//! Resource limits (`getrlimit(2)`).

use abi::Errno;
use sync::{Mutex, level};

/// Resource numbers (`asm-generic/resource.h`).
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Resource {
    Cpu = 0,
    Fsize = 1,
    Data = 2,
    Stack = 3,
    Core = 4,
    Rss = 5,
    Nproc = 6,
    Nofile = 7,
    Memlock = 8,
    As = 9,
    Locks = 10,
    Sigpending = 11,
    Msgqueue = 12,
    Nice = 13,
    Rtprio = 14,
    Rttime = 15,
}

/// How many resources there are.
pub const COUNT: usize = 16;
/// No limit.
pub const INFINITY: u64 = u64::MAX;

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What bites.
    pub soft: u64,
    /// How far the soft one may be raised.
    pub hard: u64,
}

impl Limit {
    /// Soft and hard.
    pub const fn new(soft: u64, hard: u64) -> Self {
        Self { soft, hard }
    }
}

/// The limits of a process.
pub struct Limits(Mutex<[Limit; COUNT], { level::LIMITS }>);

impl Default for Limits {
    fn default() -> Self {
        let inf = Limit::new(INFINITY, INFINITY);
        let mut all = [inf; COUNT];
        let defaults = [
            (Resource::Stack, Limit::new(8 << 20, INFINITY)),
            (Resource::Core, Limit::new(0, INFINITY)),
            (Resource::Nofile, Limit::new(1024, 4096)),
            (Resource::Memlock, Limit::new(8 << 20, 8 << 20)),
            (Resource::Sigpending, Limit::new(65_536, 65_536)),
            (Resource::Msgqueue, Limit::new(819_200, 819_200)),
            (Resource::Nice, Limit::new(0, 0)),
            (Resource::Rtprio, Limit::new(0, 0)),
        ];
        for (resource, limit) in defaults {
            if let Some(slot) = all.get_mut(resource as usize) {
                *slot = limit;
            }
        }
        Self(Mutex::new(all))
    }
}

impl Limits {
    /// A copy for `fork`.
    pub fn fork(&self) -> Self {
        Self(Mutex::new(*self.0.lock()))
    }
    /// By number; `EINVAL` for one Linux does not have.
    pub fn get_raw(&self, resource: usize) -> Result<Limit, Errno> {
        self.0.lock().get(resource).copied().ok_or(Errno::EINVAL)
    }
    /// Replaces one by number; the rules are the caller's.
    pub fn set_raw(&self, resource: usize, limit: Limit) -> Result<Limit, Errno> {
        let mut all = self.0.lock();
        let slot = all.get_mut(resource).ok_or(Errno::EINVAL)?;
        Ok(std::mem::replace(slot, limit))
    }
    /// Both values.
    pub fn get(&self, resource: Resource) -> Limit {
        self.get_raw(resource as usize)
            .unwrap_or(Limit::new(INFINITY, INFINITY))
    }
    /// What bites.
    pub fn soft(&self, resource: Resource) -> u64 {
        self.get(resource).soft
    }
}
