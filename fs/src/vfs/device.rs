//! Devices: who answers when a device node is opened.

use super::mount::Path;
use crate::Caller;
use crate::file::FileOps;
use abi::Errno;
use std::collections::BTreeMap;
use std::sync::Arc;
use sync::RwLock;

/// A driver: opens nodes of one device number, or of a whole major.
pub trait Device: Send + Sync {
    /// The operations of a new description of the device `rdev` through the node at `path`.
    fn open(
        &self,
        caller: &dyn Caller,
        path: &Path,
        rdev: u64,
        flags: u32,
    ) -> Result<Box<dyn FileOps>, Errno>;
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    block: bool,
    major: u32,
    /// `None` for every minor.
    minor: Option<u32>,
}

/// Drivers by device number. There is one per sandbox: [`devices`].
pub struct DeviceRegistry {
    drivers: RwLock<BTreeMap<Key, Arc<dyn Device>>>,
}

impl DeviceRegistry {
    const fn new() -> Self {
        Self {
            drivers: RwLock::new(BTreeMap::new()),
        }
    }

    /// Makes `device` answer for the character device `major`, for one minor or all that have no driver of their own.
    pub fn register_char(&self, major: u32, minor: Option<u32>, device: Arc<dyn Device>) {
        let old = self.drivers.write().insert(
            Key {
                block: false,
                major,
                minor,
            },
            device,
        );
        drop(old);
    }

    /// Opens a device; `ENXIO` when nobody answers for it.
    pub fn open(
        &self,
        caller: &dyn Caller,
        path: &Path,
        block: bool,
        rdev: u64,
        flags: u32,
    ) -> Result<Box<dyn FileOps>, Errno> {
        let (major, minor) = (abi::stat::major(rdev), abi::stat::minor(rdev));
        let device = {
            let drivers = self.drivers.read();
            drivers
                .get(&Key {
                    block,
                    major,
                    minor: Some(minor),
                })
                .or_else(|| {
                    drivers.get(&Key {
                        block,
                        major,
                        minor: None,
                    })
                })
                .cloned()
        };
        device.ok_or(Errno::ENXIO)?.open(caller, path, rdev, flags)
    }
}

static DEVICES: DeviceRegistry = DeviceRegistry::new();

/// The sandbox's drivers.
pub fn devices() -> &'static DeviceRegistry {
    &DEVICES
}
