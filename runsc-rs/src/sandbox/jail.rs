//! The walls of the sentry's process, in the order in which [`enter`] and [`crate::boot`] put them up.
//!
//! 1. New user, mount, pid, ipc, uts, net (and cgroup) namespaces: by the clone that made the process.
//! 2. An identity that owns nothing: root of its user namespace, which the host knows as `nobody`.
//! 3. An empty, read-only tmpfs as its root, the only mount there is; the host's tree is let go of.
//! 4. No capability in any set, none to be gained (bounding set empty, no_new_privs).
//! 5. The platform makes its zygote here, so stubs are behind the same walls.
//! 6. [`super::filter`], on every thread, before the first guest instruction.

use anyhow::{Result, anyhow};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::rx;

fn context(what: &'static str) -> impl Fn(Errno) -> anyhow::Error {
    move |e| anyhow!("sandbox jail: {what}: {}", rx(e))
}

/// Steps 2 and 3. The id maps must have been written. `groups`: whether setgroups(2) is allowed (it is not in a user's own
/// user namespace).
pub fn enter(groups: bool) -> Result<()> {
    if groups {
        rustix::thread::set_thread_groups(&[]).map_err(context("drop groups"))?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .map_err(context("set group id"))?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
        .map_err(context("set user id"))?;
    // A change of identity makes a process undumpable, and then it could not trace its own stubs. Nobody outside gains by it:
    // its user namespace belongs to whoever made the sandbox.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(context("set dumpable"))?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).map_err(context("limit core dumps"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(context("make mounts private"))?;
    empty_root()
}

/// Makes an empty tmpfs the root and lets go of the old one.
fn empty_root() -> Result<()> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(context("open a tmpfs"))?;
    for (key, value) in [("size", "4k"), ("nr_inodes", "2"), ("mode", "0555")] {
        rustix::mount::fsconfig_set_string(&fs, key, value).map_err(context("tmpfs option"))?;
    }
    rustix::mount::fsconfig_create(&fs).map_err(context("make a tmpfs"))?;
    let attrs = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attrs)
        .map_err(context("mount a tmpfs"))?;
    // Any directory will do to attach it to.
    rustix::mount::move_mount(
        &root,
        "",
        CWD,
        "/proc",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(context("attach the new root"))?;
    rustix::process::fchdir(&root).map_err(context("change to the new root"))?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)
            .map_err(context("let go of the old root"))?,
        // The root of an initramfs cannot be pivoted away: move over it.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/").map_err(context("move the new root"))?;
            rustix::process::chroot(".").map_err(context("change root"))?;
        }
        Err(e) => return Err(context("pivot to the new root")(e)),
    }
    rustix::process::chdir("/").map_err(context("change to the new root"))?;
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    rustix::mount::mount_remount("/", flags, "").map_err(context("make the root read-only"))
}

/// Capabilities the sentry keeps: none. Stubs are its own children under its own user id and are dumpable, which is all that
/// ptrace(2) and process_vm_readv(2) ask; everything else it works with are descriptors that it was given.
const KEPT: CapabilitySet = CapabilitySet::empty();

/// Step 4.
pub fn drop_capabilities() -> Result<()> {
    for n in 0..abi::cap::NAMES.len() {
        let cap = CapabilitySet::from_bits_retain(1 << n);
        match rustix::thread::remove_capability_from_bounding_set(cap) {
            // A kernel that does not know the capability.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(context("empty the bounding set")(e)),
        }
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: KEPT,
    };
    rustix::thread::set_capabilities(None, sets).map_err(context("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(context("set no_new_privs"))
}
