//! The container's tree of mounts, made before its first process: the root, the configuration's mounts in order, devices, then
//! what is masked or made read-only.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use anyhow::{Result, anyhow};
use fs::gofer::GoferFs;
use fs::tmpfs::{Options as TmpOptions, TmpFs};
use fs::vfs::{Lookup, LookupFlags, Mount, MountFlags, MountNamespace, Path};
use fs::{File, FileSystem};
use gofer::client::{Client, Mount as Tree};
use sentry::kernel::cred::KernelCaller;
use sentry::kernel::{Container, Kernel};
use sentry::mm::Store;

use super::BootSpec;
use super::guest::errno;
use crate::oci::mounts::{Flags, Kind};
use crate::sandbox::trees::GuestMount;

/// A walk with the kernel's own rights.
fn at<'a>(root: &'a Path, start: &'a Path) -> Lookup<'a> {
    static CALLER: KernelCaller = KernelCaller;
    Lookup::new(&CALLER, root, start)
}

fn flags(f: Flags) -> MountFlags {
    MountFlags::from_bits_truncate(u32::try_from(f.bits()).unwrap_or(0))
}

fn tmpfs(kernel: &Kernel, data: &str) -> Result<Arc<TmpFs>, Errno> {
    let options = TmpOptions::parse(data.as_bytes())?;
    Ok(TmpFs::new(
        Arc::new(Store(kernel.platform.memory_file().clone())),
        options,
    ))
}

/// Builds the tree; the namespace and its root.
pub fn build(
    kernel: &Arc<Kernel>,
    client: &Client,
    trees: &[Tree],
    spec: &BootSpec,
) -> Result<(Arc<MountNamespace>, Path)> {
    let tree = |i: usize| {
        trees
            .get(i)
            .ok_or_else(|| anyhow!("the gofer serves no tree {i}"))
    };
    let gofer_root = GoferFs::new(client, tree(0)?).map_err(|e| errno("root", e))?;
    let readonly = spec
        .spec
        .root()
        .as_ref()
        .and_then(|r| r.readonly())
        .unwrap_or(false);
    let root_flags = if readonly && !spec.overlay {
        MountFlags::RDONLY
    } else {
        MountFlags::empty()
    };
    let root_fs: Arc<dyn FileSystem> = if spec.overlay {
        overlay(kernel, gofer_root)?
    } else {
        gofer_root
    };
    let namespace = MountNamespace::new(Mount::of_fs(root_fs, root_flags, b"none"));
    let root = namespace.root();
    let mut readonly_mounts = Vec::new();
    for m in &spec.mounts {
        let what = || {
            format!(
                "error mounting \"{}\" to rootfs at \"{}\"",
                m.source,
                m.destination.display()
            )
        };
        let place = mount_point(&root, m).map_err(|e| errno(&what(), e))?;
        let fs: Arc<dyn FileSystem> = match m.kind {
            Kind::Bind => GoferFs::new(client, tree(m.tree.unwrap_or(usize::MAX))?)
                .map_err(|e| errno(&what(), e))?,
            _ => filesystem(kernel, m).map_err(|e| errno(&what(), e))?,
        };
        // Mount points of later mounts may have to be made in this one: it becomes read-only at the end.
        let wanted = flags(m.options.flags);
        let mount = Mount::of_fs(fs, wanted - MountFlags::RDONLY, m.source.as_bytes());
        if wanted.contains(MountFlags::RDONLY) {
            readonly_mounts.push(mount.clone());
        }
        namespace
            .mount(&place, mount.clone())
            .map_err(|e| errno(&what(), e))?;
        if m.destination == std::path::Path::new("/dev") && m.kind == Kind::Tmpfs {
            devices(&mount.root_path(), spec)
                .map_err(|e| errno("error creating device nodes", e))?;
        }
    }
    for mount in readonly_mounts {
        mount.set_flags(mount.flags() | MountFlags::RDONLY);
    }
    let linux = spec.spec.linux().as_ref();
    for path in linux
        .and_then(|l| l.readonly_paths().as_ref())
        .into_iter()
        .flatten()
    {
        readonly_path(&namespace, &root, path)
            .map_err(|e| errno(&format!("readonly path {path}"), e))?;
    }
    for path in linux
        .and_then(|l| l.masked_paths().as_ref())
        .into_iter()
        .flatten()
    {
        mask(kernel, &namespace, &root, path)
            .map_err(|e| errno(&format!("can't mask path \"{path}\""), e))?;
    }
    if readonly && spec.overlay {
        let root = namespace.root();
        namespace
            .remount(&root, MountFlags::RDONLY, true)
            .map_err(|e| errno("read-only root", e))?;
    }
    Ok((namespace, root))
}

/// A root whose writes stay in memory.
fn overlay(kernel: &Kernel, lower: Arc<GoferFs>) -> Result<Arc<dyn FileSystem>> {
    let upper = tmpfs(kernel, "mode=755,size=100%").map_err(|e| errno("overlay", e))?;
    Ok(fs::overlay::OverlayFs::new(lower, upper).map_err(|e| errno("overlay", e))?)
}

/// The filesystems that are the sandbox's own.
fn filesystem(kernel: &Arc<Kernel>, m: &GuestMount) -> Result<Arc<dyn FileSystem>, Errno> {
    let data = m.options.data.join(",");
    let name: &[u8] = match m.kind {
        Kind::Tmpfs => b"tmpfs",
        Kind::Devpts => b"devpts",
        Kind::Proc => b"proc",
        Kind::Sysfs => b"sysfs",
        Kind::Cgroup => b"cgroup2",
        Kind::Mqueue => b"mqueue",
        Kind::Bind => return Ok(tmpfs(kernel, "mode=1777")?),
    };
    // What Docker puts on a cgroup mount (`nsdelegate`…) says nothing to the other filesystems.
    sentry::filesystems::make_for(kernel, &kernel.root_pid_ns, name, data.as_bytes())
}

/// The place to mount at, made if it is missing (the root's own were made on the host).
fn mount_point(root: &Path, m: &GuestMount) -> Result<Path, Errno> {
    let bytes = m.destination.as_os_str().as_encoded_bytes();
    match at(root, root).resolve(bytes) {
        Err(Errno::ENOENT) => {}
        r => return r,
    }
    let mut made = Vec::new();
    let parts: Vec<&[u8]> = bytes
        .split(|&b| b == b'/')
        .filter(|p| !p.is_empty())
        .collect();
    for (i, part) in parts.iter().enumerate() {
        made.push(b'/');
        made.extend_from_slice(part);
        let last = i + 1 == parts.len();
        let result = if last && !m.directory {
            at(root, root).mknod(&made, fs::NodeKind::Regular, 0o644)
        } else {
            at(root, root).mkdir(&made, 0o755)
        };
        match result {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    at(root, root).resolve(bytes)
}

/// What OCI wants in /dev, and what the configuration adds.
fn devices(dev: &Path, spec: &BootSpec) -> Result<(), Errno> {
    fs::dev::register();
    fs::dev::populate(dev)?;
    for d in spec
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.devices().as_ref())
        .into_iter()
        .flatten()
    {
        // Each was checked to be one of the sandbox's own devices; what stands there already is the same.
        let Ok(below) = d.path().strip_prefix("/dev") else {
            continue;
        };
        let number = |n: i64| u32::try_from(n).map_err(|_| Errno::EINVAL);
        let rdev = abi::stat::makedev(number(d.major())?, number(d.minor())?);
        let mode = d.file_mode().unwrap_or(0o666) & 0o7777;
        match at(dev, dev).with(LookupFlags::NOFOLLOW).mknod(
            below.as_os_str().as_encoded_bytes(),
            fs::NodeKind::CharDevice(rdev),
            mode,
        ) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Hides a path: a directory behind an empty one, a file behind /dev/null. What is not there needs no hiding.
fn mask(kernel: &Kernel, namespace: &MountNamespace, root: &Path, path: &str) -> Result<(), Errno> {
    let place = match at(root, root).resolve(path.as_bytes()) {
        Ok(p) => p,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    if place.inode().kind() == fs::NodeKind::Directory {
        let mount = Mount::of_fs(
            tmpfs(kernel, "size=0,mode=755")?,
            MountFlags::RDONLY,
            b"tmpfs",
        );
        return namespace.mount(&place, mount);
    }
    let null = at(root, root).resolve(b"/dev/null")?;
    namespace.bind(&null, &place, false)
}

/// Makes what is below a path read-only.
fn readonly_path(namespace: &MountNamespace, root: &Path, path: &str) -> Result<(), Errno> {
    let place = match at(root, root).resolve(path.as_bytes()) {
        Ok(p) => p,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        Err(e) => return Err(e),
    };
    namespace.bind(&place, &place, true)?;
    let place = at(root, root).resolve(path.as_bytes())?;
    let flags = place.mount.flags() | MountFlags::RDONLY;
    namespace.remount(&place, flags, true)
}

/// A file for a descriptor of the host.
pub fn host_file(_kernel: &Arc<Kernel>, fd: OwnedFd) -> Result<Arc<File>> {
    fs::hostfile::file(fd).map_err(|e| errno("stdio", e))
}

/// A terminal of the guest's over a raw one of the host's.
pub fn host_tty(container: &Arc<Container>, fd: OwnedFd) -> Result<Arc<File>> {
    let size = rustix::termios::tcgetwinsize(&fd)
        .map(|w| abi::ioctl::Winsize {
            ws_row: w.ws_row,
            ws_col: w.ws_col,
            ws_xpixel: w.ws_xpixel,
            ws_ypixel: w.ws_ypixel,
        })
        .unwrap_or_default();
    let root = container.root();
    let path = at(root, root)
        .resolve(b"/dev/console")
        .or_else(|_| at(root, root).resolve(b"/dev/tty"))
        .unwrap_or_else(|_| fs::anon::place("[console]"));
    sentry::tty::host_terminal(fd, size, path).map_err(|e| errno("terminal", e))
}

/// Makes the current directory of a process, as runc does.
pub fn make_cwd(container: &Arc<Container>, cwd: &str) {
    let root = container.root();
    if at(root, root).resolve(cwd.as_bytes()).is_ok() {
        return;
    }
    let mut path = String::new();
    for part in cwd.split('/').filter(|p| !p.is_empty()) {
        path.push('/');
        path.push_str(part);
        // What cannot be made shows when the process enters it.
        let _ = at(root, root).mkdir(path.as_bytes(), 0o755);
    }
}

/// The home directory of a user, from the container's own /etc/passwd; `/` for one who is not in it, as runc.
pub fn home(container: &Arc<Container>, uid: u32) -> Vec<u8> {
    let root = container.root();
    let text = read_small(root, b"/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let line = text
        .split(|&b| b == b'\n')
        .find(|l| l.split(|&b| b == b':').nth(2) == Some(uid.as_bytes()));
    line.and_then(|l| l.split(|&b| b == b':').nth(5))
        .filter(|h| !h.is_empty())
        .map_or_else(|| b"/".to_vec(), <[u8]>::to_vec)
}

/// A small file of the container, read with the kernel's rights.
fn read_small(root: &Path, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let file = at(root, root).open(path, 0, 0)?;
    let mut out = vec![0; 256 << 10];
    let mut len = 0;
    while let Some(rest) = out.get_mut(len..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            n => len = len.saturating_add(n),
        }
    }
    out.truncate(len);
    Ok(out)
}
