//! mount(2), umount2(2), pivot_root(2).

use crate::args::UserPath;
use abi::Errno;
use fs::vfs::{Lookup, LookupFlags, Mount, MountFlags, Path, PropagationType, UmountFlags};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

const MS_REMOUNT: u64 = 0x20;
const MS_BIND: u64 = 0x1000;
const MS_MOVE: u64 = 0x2000;
const MS_REC: u64 = 0x4000;
const MS_PROPAGATION: u64 = 0x20000 | 0x40000 | 0x80000 | 0x100000;
const MGC: u64 = 0xc0ed_0000;

fn place(cx: &Cx, path: &[u8], flags: LookupFlags) -> Result<Path, Errno> {
    let (root, cwd) = cx.fs()?.root_and_cwd();
    Lookup::new(&**cx.task(), &root, &cwd)
        .with(flags)
        .resolve(path)
}

fn text(cx: &Cx, addr: u64) -> Result<Vec<u8>, Errno> {
    if addr == 0 {
        Ok(Vec::new())
    } else {
        cx.mm()?.read_cstring(addr, abi::PAGE_SIZE as usize)
    }
}

fn require_admin(cx: &Cx) -> Result<(), Errno> {
    cx.task().cred().require(abi::cap::CAP_SYS_ADMIN)
}

/// Per-mount flags out of `MS_*`.
fn mount_flags(flags: u64) -> MountFlags {
    let table = [
        (1, MountFlags::RDONLY),
        (2, MountFlags::NOSUID),
        (4, MountFlags::NODEV),
        (8, MountFlags::NOEXEC),
        (0x400, MountFlags::NOATIME),
        (0x800, MountFlags::NODIRATIME),
        (0x100, MountFlags::NOSYMFOLLOW),
        (1 << 21, MountFlags::RELATIME),
        (1 << 24, MountFlags::STRICTATIME),
    ];
    let all = table
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .fold(MountFlags::empty(), |all, (_, flag)| all | *flag);
    if all.contains(MountFlags::STRICTATIME) {
        all.difference(MountFlags::NOATIME | MountFlags::RELATIME)
    } else {
        all
    }
}

/// mount(2)
pub fn mount(
    cx: &mut Cx,
    source: u64,
    target: UserPath,
    fstype: u64,
    flags: u64,
    data: u64,
) -> SysResult {
    let target = target.read(cx)?;
    let source = text(cx, source)?;
    let flags = if flags & 0xffff_0000 == MGC {
        flags & 0xffff
    } else {
        flags
    };
    let at = place(cx, &target, LookupFlags::empty())?;
    require_admin(cx)?;
    let ns = cx.ns().mnt.clone();
    if flags & MS_REMOUNT != 0 {
        let bind = flags & MS_BIND != 0;
        if !bind && at.is_mount_root() {
            at.mount.fs().remount(&text(cx, data)?)?;
        }
        ns.remount(&at, mount_flags(flags), bind)?;
    } else if flags & MS_BIND != 0 {
        let from = place(cx, &source, LookupFlags::empty())?;
        ns.bind(&from, &at, flags & MS_REC != 0)?;
    } else if flags & MS_PROPAGATION != 0 {
        let to = match flags & MS_PROPAGATION {
            0x20000 => PropagationType::Unbindable,
            0x40000 => PropagationType::Private,
            0x80000 => PropagationType::Slave,
            0x100000 => PropagationType::Shared,
            _ => return Err(Errno::EINVAL),
        };
        ns.set_propagation(&at, to, flags & MS_REC != 0)?;
    } else if flags & MS_MOVE != 0 {
        let from = place(cx, &source, LookupFlags::empty())?;
        ns.move_mount(&from, &at)?;
    } else {
        let kind = text(cx, fstype)?;
        let data = text(cx, data)?;
        let fs = sentry::filesystems::make(cx.task(), &kind, &data)?;
        ns.mount(&at, Mount::of_fs(fs, mount_flags(flags), &source))?;
    }
    Ok(0)
}

/// umount2(2)
pub fn umount2(cx: &mut Cx, target: UserPath, flags: u32) -> SysResult {
    const UMOUNT_NOFOLLOW: u32 = 8;
    let how = UmountFlags::from_bits(flags & !UMOUNT_NOFOLLOW).ok_or(Errno::EINVAL)?;
    require_admin(cx)?;
    let target = target.read(cx)?;
    let nofollow = if flags & UMOUNT_NOFOLLOW != 0 {
        LookupFlags::NOFOLLOW
    } else {
        LookupFlags::empty()
    };
    let at = place(cx, &target, nofollow)?;
    cx.ns().mnt.umount(at, how)?;
    Ok(0)
}

/// pivot_root(2)
pub fn pivot_root(cx: &mut Cx, new_root: UserPath, put_old: UserPath) -> SysResult {
    require_admin(cx)?;
    let (new_root, put_old) = (new_root.read(cx)?, put_old.read(cx)?);
    let new_root = place(cx, &new_root, LookupFlags::DIRECTORY)?;
    let put_old = place(cx, &put_old, LookupFlags::DIRECTORY)?;
    let root = cx.fs()?.root();
    cx.ns().mnt.pivot_root(&root, &new_root, &put_old)?;
    // Everybody whose root or directory was the old root follows (pivot_root(2)).
    for (_, pid) in cx.kernel().root_pid_ns.pids() {
        let Some(fs) = pid.task().and_then(|t| t.fs_opt()) else {
            continue;
        };
        if fs.root().same(&root) {
            fs.set_root(new_root.clone());
        }
        if fs.cwd().same(&root) {
            fs.set_cwd(new_root.clone());
        }
    }
    Ok(0)
}
