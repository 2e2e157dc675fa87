//! The gofer's own walls. In order: [`enter`] (namespaces, trees, empty root, capabilities, no_new_privs), then the server's
//! threads are started, then [`seal`] (the filter, on all of them). [`run`] does the whole of it.
//!
//! What is left to reach for a gofer that a guest has taken over:
//! - **Root**: an empty, read-only tmpfs, the only mount of its namespace. There is no path to anything.
//! - **Trees**: each is a detached clone of the mount it came from, held by one descriptor and attached nowhere. A tree that is
//!   read-only is read-only in that clone too, so that the *host* refuses a write even through a donated descriptor.
//! - **`/proc/self/fd`**: a detached clone whose root is that very directory, and the working directory, for the calls that
//!   take no directory descriptor. `..` at a detached root stays there, so nothing of `/proc` besides is in reach.
//! - **Network**: a namespace of its own with nothing in it, loopback down.
//! - **Calls**: [`filter::ALLOWED`]. No clone, no execve, no socket unless a mount shares sockets with the host.
//! - **Capabilities**: [`caps::KEPT`].
//!
//! Attaching the trees under numbered directories of the new root would do as well, but a path to them is one more thing to
//! lose; a descriptor that nobody asked for a path is the tightest form that `openat2` can work with.
//!
//! A pid namespace needs a fork, so it is the caller's (`clone` flags of the process that becomes the gofer); the filter has no
//! call that names a process. [`enter`] must run before the process has a second thread: capabilities belong to threads.

pub mod caps;
pub mod filter;

use crate::server::host::SelfFds;
use crate::server::{MountSpec, Server, pool::Pool};
use crate::wire::MountFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags as HostFlags, MountPropagationFlags,
    MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the trees come from and how the process is to be confined.
#[derive(Clone, Debug)]
pub struct JailSpec {
    /// The trees; the first is the root file system.
    pub trees: Vec<TreeSpec>,
    /// Make a network namespace. False if the caller has put the process into an empty one already.
    pub new_network: bool,
    /// Die with the process that started this one. Where that one ends early, as the CLI does, the gofer still ends with the
    /// sandbox: when its connections close.
    pub die_with_parent: bool,
}

/// One tree.
#[derive(Clone, Debug)]
pub struct TreeSpec {
    /// Its root on the host: a directory or a file.
    pub path: PathBuf,
    /// Whether mounts below it belong to it (`rbind`).
    pub recursive: bool,
    /// What may be done through it.
    pub flags: MountFlags,
}

/// A jailed process's means.
#[derive(Debug)]
pub struct Jailed {
    /// The trees, in order.
    pub mounts: Vec<MountSpec>,
    /// Its own descriptors.
    pub own: SelfFds,
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// A host call failed.
    #[error("gofer jail: {0}: {1}")]
    Host(String, Errno),
    /// The filter could not be built or installed.
    #[error("gofer jail: seccomp: {0}")]
    Seccomp(String),
    /// There are other threads.
    #[error("gofer jail: the process has {0} threads; it must have one")]
    Threads(usize),
    /// The server could not be set up.
    #[error("gofer: {0}: {1}")]
    Server(&'static str, String),
}

impl JailError {
    fn host(what: impl Into<String>, errno: Errno) -> JailError {
        JailError::Host(what.into(), errno)
    }
}

/// Adds to an error what was being done.
trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, JailError>;
}

impl<T> Context<T> for rustix::io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, JailError> {
        self.map_err(|errno| JailError::host(what, errno))
    }
}

/// Confines the process. Afterwards it sees its trees and nothing else; the filter is still to come.
pub fn enter(spec: &JailSpec) -> Result<Jailed, JailError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(JailError::Threads(threads));
    }
    if spec.die_with_parent {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("set the parent-death signal")?;
    }
    raise_descriptor_limit();
    new_namespaces(spec.new_network)?;
    let changed = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", changed).context("make mounts private")?;

    let mut trees = Vec::with_capacity(spec.trees.len());
    for tree in &spec.trees {
        let flags = clone_flags(tree.recursive);
        trees.push(
            rustix::mount::open_tree(CWD, &tree.path, flags)
                .context(format!("open {}", tree.path.display()))?,
        );
    }
    let own = rustix::mount::open_tree(CWD, "/proc/self/fd", clone_flags(false))
        .context("open /proc/self/fd")?;
    empty_root()?;
    let mut mounts = Vec::with_capacity(trees.len());
    for (tree, spec) in trees.into_iter().zip(&spec.trees) {
        let fd = restrict(tree, spec).map_err(|error| match error {
            JailError::Host(what, errno) => {
                JailError::Host(format!("{}: {what}", spec.path.display()), errno)
            }
            other => other,
        })?;
        mounts.push(MountSpec {
            fd,
            flags: spec.flags,
        });
    }
    let root = HostFlags::BIND
        | HostFlags::RDONLY
        | HostFlags::NOSUID
        | HostFlags::NODEV
        | HostFlags::NOEXEC;
    rustix::mount::mount_remount("/", root, "").context("make the root read-only")?;
    rustix::process::fchdir(&own).context("change to /proc/self/fd")?;

    let flags = union(spec.trees.iter().map(|tree| tree.flags));
    caps::drop_all_but(caps::needed(flags))?;
    rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("become undumpable")?;
    Ok(Jailed {
        mounts,
        own: SelfFds::from_jail(own),
    })
}

/// Installs the filter on every thread of the process. `flags` is the union of the mounts' flags.
pub fn seal(flags: MountFlags, without: Option<u64>) -> Result<(), JailError> {
    let program = filter::compile(flags, without).map_err(|e| JailError::Seccomp(e.to_string()))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|e| JailError::Seccomp(e.to_string()))
}

/// The life of a gofer process: jail, threads, filter, serve until the sandbox is gone. `channels` are the first connections;
/// `threads` bounds how many there can be. The caller exits the process when this returns, with no more than `exit_group`.
/// `ready` is called when nothing but requests is to come.
pub fn run(
    spec: &JailSpec,
    channels: Vec<OwnedFd>,
    threads: usize,
    ready: impl FnOnce(),
) -> Result<(), JailError> {
    run_without(spec, channels, threads, None, ready)
}

/// [`run`] with one call left out of the filter, for the test that shows that each is needed.
#[doc(hidden)]
pub fn run_without(
    spec: &JailSpec,
    channels: Vec<OwnedFd>,
    threads: usize,
    without: Option<u64>,
    ready: impl FnOnce(),
) -> Result<(), JailError> {
    let flags = union(spec.trees.iter().map(|tree| tree.flags));
    let jailed = enter(spec)?;
    let server = Server::new(jailed.mounts, jailed.own)
        .map_err(|e| JailError::Server("open the trees", e.to_string()))?;
    let (pool, _threads) = Pool::start(Arc::new(server), threads.max(channels.len()))
        .map_err(|e| JailError::Server("start threads", e.to_string()))?;
    seal(flags, without)?;
    ready();
    pool.serve(channels);
    Ok(())
}

fn union(flags: impl Iterator<Item = MountFlags>) -> MountFlags {
    flags.fold(MountFlags::empty(), |all, flags| all | flags)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Every file the guest has looked up is a descriptor here.
fn raise_descriptor_limit() {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1 << 20);
    let limit = |n| Rlimit {
        current: Some(n),
        maximum: Some(n),
    };
    // Without CAP_SYS_RESOURCE the hard limit stays; fewer descriptors mean a smaller cache in the sentry, no more.
    if rustix::process::setrlimit(Resource::Nofile, limit(most)).is_err()
        && let Some(hard) = rustix::process::getrlimit(Resource::Nofile).maximum
    {
        rustix::process::setrlimit(Resource::Nofile, limit(hard)).ok();
    }
}

fn new_namespaces(network: bool) -> Result<(), JailError> {
    use rustix::thread::UnshareFlags;
    let mut flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::FS;
    if network {
        flags |= UnshareFlags::NEWNET;
    }
    // Deprecated for what it does to descriptors with UnshareFlags::FILES, which is not among the flags; there is one thread.
    #[allow(deprecated)]
    rustix::thread::unshare(flags).context("make namespaces")
}

/// Makes an empty tmpfs the root and lets go of the old one.
fn empty_root() -> Result<(), JailError> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("open a tmpfs")?;
    for (key, value) in [("size", "64k"), ("nr_inodes", "16"), ("mode", "0755")] {
        rustix::mount::fsconfig_set_string(&fs, key, value)
            .context(format!("tmpfs option {key}"))?;
    }
    rustix::mount::fsconfig_create(&fs).context("make a tmpfs")?;
    let attrs = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
        .context("mount a tmpfs")?;
    // Any directory will do to attach it to; /proc is there, since /proc/self/fd was.
    attach(&root, "/proc").context("attach the new root")?;
    rustix::process::fchdir(&root).context("change to the new root")?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => {
            rustix::mount::unmount(".", UnmountFlags::DETACH).context("let go of the old root")?
        }
        // The root of an initramfs cannot be pivoted away: move over it instead. Nothing leads back to it, since this
        // namespace has no other process and no descriptor of it is kept.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/").context("move the new root")?;
            rustix::process::chroot(".").context("change root")?;
        }
        Err(errno) => return Err(JailError::host("pivot to the new root", errno)),
    }
    rustix::process::chdir("/").context("change to the new root")
}

fn attach(tree: impl AsFd, path: &str) -> rustix::io::Result<()> {
    rustix::mount::move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Gives a detached tree its mount options: `nosuid` and `nodev` always (the gofer executes nothing, and opens devices only by
/// flag), read-only where it is. Options belong to a mount that is attached, so it is for a moment.
fn restrict(tree: OwnedFd, spec: &TreeSpec) -> Result<OwnedFd, JailError> {
    const PLACE: &str = "/tree";
    let attr = crate::server::host::stat(&tree)
        .map_err(|e| JailError::Server("look at the tree", e.to_string()))?;
    let is_dir = attr.is_dir();
    if is_dir {
        rustix::fs::mkdir(PLACE, Mode::RWXU).context("make a mount point")?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(PLACE, flags, Mode::RWXU).context("make a mount point")?;
    }
    attach(&tree, PLACE).context("attach")?;
    let have = rustix::fs::fstatvfs(&tree)
        .context("read mount options")?
        .f_flag;
    let mut flags = HostFlags::BIND | HostFlags::NOSUID;
    for (theirs, ours) in [
        (rustix::fs::StatVfsMountFlags::RDONLY, HostFlags::RDONLY),
        (rustix::fs::StatVfsMountFlags::NODEV, HostFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, HostFlags::NOEXEC),
        (rustix::fs::StatVfsMountFlags::NOATIME, HostFlags::NOATIME),
        (
            rustix::fs::StatVfsMountFlags::NODIRATIME,
            HostFlags::NODIRATIME,
        ),
        (rustix::fs::StatVfsMountFlags::RELATIME, HostFlags::RELATIME),
    ] {
        flags.set(ours, have.contains(theirs));
    }
    if !spec.flags.contains(MountFlags::OPEN_DEVICES) {
        flags |= HostFlags::NODEV;
    }
    if spec.flags.contains(MountFlags::READ_ONLY) {
        flags |= HostFlags::RDONLY;
    }
    rustix::mount::mount_remount(PLACE, flags, "").context("set mount options")?;
    let restricted = rustix::mount::open_tree(CWD, PLACE, clone_flags(true)).context("detach")?;
    drop(tree);
    rustix::mount::unmount(PLACE, UnmountFlags::DETACH).context("unmount")?;
    let flags = if is_dir {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    rustix::fs::unlinkat(CWD, PLACE, flags).context("remove the mount point")?;
    Ok(restricted)
}
