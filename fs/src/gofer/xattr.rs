//! Names of extended attributes, here and on the host.
//!
//! `trusted.` attributes are the host administrator's: the gofer may not set them, and overlays of the host keep their secrets there. A guest's are kept
//! beside its `user.` ones under a prefix of ours, which the guest does not see. Where the host has no `user.` attributes (links, devices), a guest has
//! no `trusted.` ones.

use abi::Errno;
use std::borrow::Cow;

/// Where a guest's `trusted.` attributes are; nothing below `user.runsc-rs.` is the guest's own.
const KEPT: &[u8] = b"user.runsc-rs.trusted.";
const OURS: &[u8] = b"user.runsc-rs.";
const TRUSTED: &[u8] = b"trusted.";

/// The host's name of a guest's attribute: `EOPNOTSUPP` for those that the gofer refuses, `ENODATA` for those that a guest cannot have.
pub fn on_host(name: &[u8]) -> Result<Cow<'_, [u8]>, Errno> {
    if let Some(rest) = name.strip_prefix(TRUSTED) {
        return Ok(Cow::Owned([KEPT, rest].concat()));
    }
    if name.starts_with(OURS) {
        return Err(Errno::ENODATA);
    }
    let served = name.starts_with(b"user.")
        || matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        );
    if served {
        Ok(Cow::Borrowed(name))
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

/// A guest's name of the host's attribute, if it may see it.
pub fn of_host(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    match name.strip_prefix(KEPT) {
        Some(rest) => Some(Cow::Owned([TRUSTED, rest].concat())),
        None => (!name.starts_with(OURS)).then_some(Cow::Borrowed(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_names_and_the_hosts() {
        for (guest, host) in [
            ("user.a", "user.a"),
            ("trusted.a.b", "user.runsc-rs.trusted.a.b"),
            ("security.capability", "security.capability"),
        ] {
            assert_eq!(on_host(guest.as_bytes()).as_deref(), Ok(host.as_bytes()));
            assert_eq!(of_host(host.as_bytes()).as_deref(), Some(guest.as_bytes()));
        }
        assert_eq!(on_host(b"user.runsc-rs.trusted.a"), Err(Errno::ENODATA));
        assert_eq!(on_host(b"security.selinux"), Err(Errno::EOPNOTSUPP));
        assert_eq!(of_host(b"user.runsc-rs.else"), None);
    }
}
