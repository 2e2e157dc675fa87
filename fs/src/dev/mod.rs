//! Devices that need no kernel: `null`, `zero`, `full`, `random`, `urandom` (`mem(4)`, `null(4)`, `random(4)`), and what stands in a fresh `/dev`.
//!
//! [`register`] makes the drivers answer; [`populate`] makes nodes and links in a directory (a tmpfs on `/dev`). Terminals are the sentry's.

use crate::Caller;
use crate::file::{File, FileOps, Mappable, Pos, UserMemory};
use crate::inode::NodeKind;
use crate::pollee::Pollee;
use crate::vfs::{Device, KernelCaller, Lookup, LookupFlags, Path, devices};
use abi::Errno;
use abi::stat::makedev;
use std::any::Any;
use std::sync::Arc;

/// The major number of memory devices.
const MEM: u32 = 1;
/// Bits of entropy that `RNDGETENTCNT` tells: the pool is always full.
const ENTROPY: i32 = 256;
const RNDGETENTCNT: u32 = 0x8004_5200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mem {
    Null,
    Zero,
    Full,
    Random,
}

impl Device for Mem {
    fn open(
        &self,
        _caller: &dyn Caller,
        _path: &Path,
        _rdev: u64,
        _flags: u32,
    ) -> Result<Box<dyn FileOps>, Errno> {
        Ok(Box::new(*self))
    }
}

/// Always ready, so nobody is ever told; it lets `epoll` take `/dev/random` as Linux does.
static RANDOM_POLLEE: Pollee = Pollee::new();

impl FileOps for Mem {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        match self {
            Mem::Null => return Ok(0),
            Mem::Zero | Mem::Full => buf.fill(0),
            Mem::Random => fill_random(buf)?,
        }
        Ok(buf.len())
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let at = match pos {
            Pos::At(at) => at,
            _ => 0,
        };
        if *self == Mem::Full && !buf.is_empty() {
            return Err(Errno::ENOSPC);
        }
        Ok((buf.len(), at.saturating_add(buf.len() as u64)))
    }
    fn discards(&self) -> bool {
        matches!(self, Mem::Null | Mem::Zero)
    }
    fn seek_nowhere(&self, offset: u64) -> Option<u64> {
        // `null_lseek` and `noop_llseek`.
        Some(if *self == Mem::Random { offset } else { 0 })
    }
    fn pollee(&self) -> Option<&Pollee> {
        (*self == Mem::Random).then_some(&RANDOM_POLLEE)
    }
    fn ioctl(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        if *self == Mem::Random && cmd == RNDGETENTCNT {
            mem.write(arg, &ENTROPY.to_ne_bytes())?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }
    fn mmap(
        &self,
        _file: &File,
        _offset: u64,
        _len: u64,
        _writable_shared: bool,
    ) -> Result<Mappable, Errno> {
        if *self == Mem::Zero {
            Ok(Mappable::Zero)
        } else {
            Err(Errno::ENODEV)
        }
    }
}

/// Fills `buf` from the host's generator (`getrandom(2)` in the sentry uses it too).
pub fn fill_random(buf: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done = done.saturating_add(n),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Errno::from_raw(error.raw_os_error())),
        }
    }
    Ok(())
}

const NODES: [(&str, u32, Mem); 5] = [
    ("null", 3, Mem::Null),
    ("zero", 5, Mem::Zero),
    ("full", 7, Mem::Full),
    ("random", 8, Mem::Random),
    ("urandom", 9, Mem::Random),
];

/// Registers the drivers of this module. Once per sandbox.
pub fn register() {
    for (_, minor, device) in NODES {
        devices().register_char(MEM, Some(minor), Arc::new(device));
    }
}

/// Makes in `dev` what every container has: the nodes of this module, `tty`, the links of `/proc/self/fd`, `ptmx`, and the directories `pts`, `shm`, `mqueue`.
/// What is there already stays.
pub fn populate(dev: &Path) -> Result<(), Errno> {
    let caller = KernelCaller;
    let at = Lookup::new(&caller, dev, dev).with(LookupFlags::NOFOLLOW);
    let made = |result: Result<Path, Errno>| match result {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error),
    };
    for (name, minor, _) in NODES {
        made(at.mknod(
            name.as_bytes(),
            NodeKind::CharDevice(makedev(MEM, minor)),
            0o666,
        ))?;
    }
    made(at.mknod(b"tty", NodeKind::CharDevice(makedev(5, 0)), 0o666))?;
    for (target, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
        ("pts/ptmx", "ptmx"),
    ] {
        made(at.symlink(target.as_bytes(), name.as_bytes()))?;
    }
    made(at.mkdir(b"pts", 0o755))?;
    made(at.mkdir(b"mqueue", 0o1777))?;
    made(at.mkdir(b"shm", 0o1777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmpfs::{Options, TmpFs, store::HeapStore};
    use crate::vfs::{Mount, MountFlags};

    #[test]
    fn a_fresh_dev() {
        register();
        let mount = Mount::of_fs(
            TmpFs::new(Arc::new(HeapStore::default()), Options::default()),
            MountFlags::empty(),
            b"tmpfs",
        );
        let dev = mount.root_path();
        populate(&dev).unwrap();
        populate(&dev).unwrap();
        let caller = KernelCaller;
        let at = Lookup::new(&caller, &dev, &dev);
        let open = |name: &str| at.open(name.as_bytes(), 2, 0).unwrap();
        let mut buf = [7; 8];
        assert_eq!(open("null").read(&mut buf), Ok(0));
        assert_eq!(open("null").write(&caller, b"x"), Ok(1));
        assert_eq!((open("zero").read(&mut buf), buf), (Ok(8), [0; 8]));
        assert_eq!(open("full").write(&caller, b"x"), Err(Errno::ENOSPC));
        assert_eq!(open("urandom").read(&mut buf), Ok(8));
        assert_ne!(buf, [0; 8]);
        assert_eq!(
            at.open(b"tty", 2, 0).err(),
            Some(Errno::ENXIO),
            "nobody registered it here"
        );
        let attr = at.stat(b"null").unwrap();
        assert_eq!((attr.mode, attr.rdev), (0o020666, 0x103));
        mount.set_flags(MountFlags::NODEV);
        assert_eq!(at.open(b"null", 2, 0).err(), Some(Errno::EACCES));
    }
}
