//! Filesystems by name, for mount(2) and the container's own mounts.

use crate::kernel::{Kernel, PidNamespace, Task};
use crate::{procfs, sysfs};
use abi::Errno;
use fs::FileSystem;
use fs::tmpfs::{Options, TmpFs};
use std::sync::Arc;

/// A new instance of filesystem `kind` with the mount's `data`: `ENODEV` for one that is not here.
pub fn make(task: &Task, kind: &[u8], data: &[u8]) -> Result<Arc<dyn FileSystem>, Errno> {
    make_for(task.kernel(), &task.pid_ns(), kind, data)
}

/// The same for the processes of `ns`.
pub fn make_for(
    kernel: &Arc<Kernel>,
    ns: &Arc<PidNamespace>,
    kind: &[u8],
    data: &[u8],
) -> Result<Arc<dyn FileSystem>, Errno> {
    let store = || crate::mm::Store::of(kernel);
    Ok(match kind {
        b"" => return Err(Errno::EINVAL),
        b"proc" => procfs::new(kernel, ns, data)?,
        b"sysfs" => sysfs::new(),
        b"cgroup2" => sysfs::cgroup2(kernel, ns),
        b"tmpfs" => TmpFs::new(store(), Options::parse(data)?),
        // ramfs ignores what it does not know and has no limits.
        b"ramfs" => TmpFs::new(store(), Options::parse(b"size=0,nr_inodes=0,mode=755")?),
        b"mqueue" => crate::ipc::mqueue_fs::new(),
        b"devpts" => crate::tty::DevPts::new(data),
        _ => return Err(Errno::ENODEV),
    })
}
