//! Files of tmpfs without a name: `memfd_create(2)` with its seals, shared anonymous memory, SysV segments.

use super::inode::TmpInode;
use super::{Options, PageStore, TmpFs, memory_size};
use crate::Caller;
use crate::file::File;
use crate::inode::{Inode, NodeKind};
use crate::vfs::perm::Owner;
use crate::vfs::{Dentry, Mount, MountFlags, Path};
use abi::Errno;
use abi::fcntl::{MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, OpenFlags, Seals};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The kernel's own tmpfs, mounted nowhere: made once per sandbox.
pub fn internal_mount(store: Arc<dyn PageStore>) -> Arc<Mount> {
    let options = Options {
        size: memory_size(),
        inodes: 0,
        ..Options::default()
    };
    Mount::of_fs(TmpFs::new(store, options), MountFlags::NOATIME, b"tmpfs")
}

/// `memfd_create(2)`: `name` as given (at most 249 bytes were checked by the call), `flags` are `MFD_*`.
pub fn memfd(
    mount: &Arc<Mount>,
    caller: &dyn Caller,
    name: &[u8],
    flags: u32,
) -> Result<Arc<File>, Errno> {
    let noexec = flags & MFD_NOEXEC_SEAL != 0;
    let path = nameless(
        mount,
        caller,
        &[b"memfd:", name].concat(),
        if noexec { 0o666 } else { 0o777 },
    )?;
    if let Some(body) = path
        .inode()
        .as_any()
        .downcast_ref::<TmpInode>()
        .and_then(TmpInode::body)
    {
        let exec = if noexec {
            Seals::F_SEAL_EXEC
        } else {
            Seals::empty()
        };
        let sealing = noexec || flags & MFD_ALLOW_SEALING != 0;
        body.set_seals(if sealing {
            exec
        } else {
            exec | Seals::F_SEAL_SEAL
        });
    }
    open_uncounted(
        caller,
        path,
        (OpenFlags::O_RDWR | OpenFlags::O_LARGEFILE).bits(),
    )
}

/// Its maker does not count as a writer (`alloc_file_pseudo`): the program that it wrote can be run while it holds the descriptor.
fn open_uncounted(caller: &dyn Caller, path: Path, flags: u32) -> Result<Arc<File>, Errno> {
    let inode = path.inode().clone();
    let ops = inode.clone().open(caller, flags)?;
    Ok(File::new(ops, path, inode, flags))
}

/// A file of `size` bytes for memory that processes share: `dev/zero` for `MAP_SHARED|MAP_ANONYMOUS`, `SYSV00000000` for shmget(2).
pub fn unnamed(
    mount: &Arc<Mount>,
    caller: &dyn Caller,
    name: &[u8],
    mode: u32,
    size: u64,
) -> Result<Arc<File>, Errno> {
    let path = nameless(mount, caller, name, mode)?;
    let set = crate::SetAttr {
        size: Some(size),
        ctime: caller.now_ns(),
        ..crate::SetAttr::default()
    };
    path.inode().set_attr(caller, &set)?;
    open_uncounted(
        caller,
        path,
        (OpenFlags::O_RDWR | OpenFlags::O_LARGEFILE).bits(),
    )
}

fn nameless(
    mount: &Arc<Mount>,
    caller: &dyn Caller,
    name: &[u8],
    mode: u32,
) -> Result<Path, Errno> {
    let root = mount
        .root()
        .inode()
        .as_any()
        .downcast_ref::<TmpInode>()
        .ok_or(Errno::EINVAL)?;
    let cred = caller.cred();
    let inode = TmpInode::new(
        &root.fs,
        NodeKind::Regular,
        Owner {
            mode,
            uid: cred.fsuid,
            gid: cred.fsgid,
        },
        caller.now_ns(),
        b"",
    )?;
    inode.meta.set_nlink(0);
    Ok(Path {
        mount: mount.clone(),
        dentry: Dentry::detached(mount.superblock(), inode, name, false),
    })
}

fn sealable(file: &File) -> Result<&TmpInode, Errno> {
    file.inode()
        .as_any()
        .downcast_ref::<TmpInode>()
        .filter(|i| i.body().is_some())
        .ok_or(Errno::EINVAL)
}

/// `F_GET_SEALS`: `EINVAL` for what is not on tmpfs.
pub fn get_seals(file: &File) -> Result<u32, Errno> {
    Ok(sealable(file)?.body().map_or(0, |b| b.seals().bits()))
}

/// `F_ADD_SEALS`.
pub fn add_seals(file: &File, seals: u32) -> Result<(), Errno> {
    let seals = Seals::from_bits(seals).ok_or(Errno::EINVAL)?;
    if !file.writable() {
        return Err(Errno::EPERM);
    }
    let inode = sealable(file)?;
    let body = inode.body().ok_or(Errno::EINVAL)?;
    let data = body.data.write();
    let old = body.seals();
    if old.contains(Seals::F_SEAL_SEAL) {
        return Err(Errno::EPERM);
    }
    if seals.contains(Seals::F_SEAL_WRITE)
        && !old.contains(Seals::F_SEAL_WRITE)
        && inode.vnode().shared_writers.load(Ordering::Acquire) != 0
    {
        return Err(Errno::EBUSY);
    }
    let mut new = old | seals;
    // What may be executed and no longer made inexecutable must not change either.
    if seals.contains(Seals::F_SEAL_EXEC) && inode.meta.mode() & 0o111 != 0 {
        new |= Seals::F_SEAL_SHRINK
            | Seals::F_SEAL_GROW
            | Seals::F_SEAL_WRITE
            | Seals::F_SEAL_FUTURE_WRITE;
    }
    body.set_seals(new);
    drop(data);
    Ok(())
}
