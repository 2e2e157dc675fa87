//! The capabilities a gofer keeps, each with its reason.

use super::JailError;
use crate::wire::MountFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// One kept capability.
#[derive(Copy, Clone, Debug)]
pub struct Kept {
    /// Which.
    pub cap: CapabilitySet,
    /// Its name.
    pub name: &'static str,
    /// What for.
    pub reason: &'static str,
    /// Mount flags without which it is dropped too; empty: always kept.
    pub when: MountFlags,
}

const fn kept(cap: CapabilitySet, name: &'static str, reason: &'static str) -> Kept {
    Kept {
        cap,
        name,
        reason,
        when: MountFlags::empty(),
    }
}

/// Everything a gofer keeps. Not among them: `CAP_SETUID` (files are made, then given away), `CAP_DAC_READ_SEARCH` (it would only
/// add `open_by_handle_at`, which leaves any tree), `CAP_SYS_ADMIN`, `CAP_LINUX_IMMUTABLE`.
pub const KEPT: &[Kept] = &[
    kept(
        CapabilitySet::CHOWN,
        "CAP_CHOWN",
        "new files belong to the guest's users; chown(2) in the guest",
    ),
    kept(
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        "the sentry has checked permissions; the host must not check them again against root",
    ),
    kept(
        CapabilitySet::FOWNER,
        "CAP_FOWNER",
        "chmod, utimes, link and sticky directories of files that belong to the guest's users",
    ),
    kept(
        CapabilitySet::FSETID,
        "CAP_FSETID",
        "set-group-ID bits on files of groups the gofer is not in",
    ),
    kept(
        CapabilitySet::SETFCAP,
        "CAP_SETFCAP",
        "setcap in the guest (security.capability): package managers use it",
    ),
    Kept {
        when: MountFlags::MAKE_DEVICES,
        ..kept(
            CapabilitySet::MKNOD,
            "CAP_MKNOD",
            "device nodes in a mount that permits them",
        )
    },
];

/// The set for mounts with these flags (their union).
pub fn needed(flags: MountFlags) -> CapabilitySet {
    let wanted = KEPT
        .iter()
        .filter(|kept| kept.when.is_empty() || kept.when.intersects(flags));
    wanted.fold(CapabilitySet::empty(), |set, kept| set | kept.cap)
}

/// The highest capability that could exist.
const LAST: u32 = 63;

/// Keeps what is needed of what there is, in the effective and permitted sets of the calling thread, and nothing in any other.
pub fn drop_all_but(needed: CapabilitySet) -> Result<(), JailError> {
    let have =
        rustix::thread::capabilities(None).map_err(|e| JailError::host("read capabilities", e))?;
    for number in 0..=LAST {
        let cap = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(cap) {
            Ok(()) => {}
            // The kernel has no such capability: there are none after it either.
            Err(rustix::io::Errno::INVAL) => break,
            // Without CAP_SETPCAP the bounding set stays; with no_new_privs and without execve it means nothing.
            Err(rustix::io::Errno::PERM) => break,
            Err(e) => return Err(JailError::host("drop from the bounding set", e)),
        }
    }
    rustix::thread::clear_ambient_capability_set()
        .map_err(|e| JailError::host("clear ambient capabilities", e))?;
    let keep = have.permitted & needed;
    let sets = CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
        .map_err(|e| JailError::host("drop capabilities", e))
}
