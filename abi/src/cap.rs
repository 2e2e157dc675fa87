//! Capabilities (`linux/capability.h`, capabilities(7)).
#![allow(missing_docs)]

macro_rules! capabilities {
    ($($name:ident $number:literal,)*) => {
        $(pub const $name: u32 = $number;)*

        /// All names, by number, as OCI spells them.
        pub const NAMES: [&str; CAP_LAST_CAP as usize + 1] = [$(stringify!($name)),*];
    };
}

capabilities! {
    CAP_CHOWN 0,
    CAP_DAC_OVERRIDE 1,
    CAP_DAC_READ_SEARCH 2,
    CAP_FOWNER 3,
    CAP_FSETID 4,
    CAP_KILL 5,
    CAP_SETGID 6,
    CAP_SETUID 7,
    CAP_SETPCAP 8,
    CAP_LINUX_IMMUTABLE 9,
    CAP_NET_BIND_SERVICE 10,
    CAP_NET_BROADCAST 11,
    CAP_NET_ADMIN 12,
    CAP_NET_RAW 13,
    CAP_IPC_LOCK 14,
    CAP_IPC_OWNER 15,
    CAP_SYS_MODULE 16,
    CAP_SYS_RAWIO 17,
    CAP_SYS_CHROOT 18,
    CAP_SYS_PTRACE 19,
    CAP_SYS_PACCT 20,
    CAP_SYS_ADMIN 21,
    CAP_SYS_BOOT 22,
    CAP_SYS_NICE 23,
    CAP_SYS_RESOURCE 24,
    CAP_SYS_TIME 25,
    CAP_SYS_TTY_CONFIG 26,
    CAP_MKNOD 27,
    CAP_LEASE 28,
    CAP_AUDIT_WRITE 29,
    CAP_AUDIT_CONTROL 30,
    CAP_SETFCAP 31,
    CAP_MAC_OVERRIDE 32,
    CAP_MAC_ADMIN 33,
    CAP_SYSLOG 34,
    CAP_WAKE_ALARM 35,
    CAP_BLOCK_SUSPEND 36,
    CAP_AUDIT_READ 37,
    CAP_PERFMON 38,
    CAP_BPF 39,
    CAP_CHECKPOINT_RESTORE 40,
}

/// The highest capability.
pub const CAP_LAST_CAP: u32 = CAP_CHECKPOINT_RESTORE;
pub const LINUX_CAPABILITY_VERSION_1: u32 = 0x1998_0330;
pub const LINUX_CAPABILITY_VERSION_2: u32 = 0x2007_1026;
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
pub const VFS_CAP_REVISION_MASK: u32 = 0xff00_0000;
pub const VFS_CAP_REVISION_1: u32 = 0x0100_0000;
pub const VFS_CAP_REVISION_2: u32 = 0x0200_0000;
pub const VFS_CAP_REVISION_3: u32 = 0x0300_0000;
pub const VFS_CAP_FLAGS_EFFECTIVE: u32 = 1;

/// A set of capabilities.
#[repr(transparent)]
#[derive(
    Copy,
    Clone,
    Default,
    Eq,
    PartialEq,
    Hash,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct CapSet(pub u64);

impl CapSet {
    pub const EMPTY: CapSet = CapSet(0);
    /// Every capability Linux has.
    pub const FULL: CapSet = CapSet((1 << (CAP_LAST_CAP + 1)) - 1);

    /// The set of some capabilities; numbers out of range are left out.
    pub const fn of(caps: &[u32]) -> CapSet {
        let mut set = CapSet::EMPTY;
        let mut rest = caps;
        while let [first, tail @ ..] = rest {
            set.add(*first);
            rest = tail;
        }
        set
    }

    const fn bit(cap: u32) -> u64 {
        if cap <= CAP_LAST_CAP { 1 << cap } else { 0 }
    }

    pub const fn contains(self, cap: u32) -> bool {
        self.0 & Self::bit(cap) != 0
    }

    pub const fn add(&mut self, cap: u32) {
        self.0 |= Self::bit(cap);
    }

    pub const fn remove(&mut self, cap: u32) {
        self.0 &= !Self::bit(cap);
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn union(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }

    pub const fn intersection(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    /// What is in `self` and not in `other`.
    pub const fn difference(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    pub const fn is_subset_of(self, other: CapSet) -> bool {
        self.0 & !other.0 == 0
    }
}

impl core::fmt::Debug for CapSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CapSet({:#x})", self.0)
    }
}

/// The number of a capability: `CAP_CHOWN`, also without its `CAP_` and in any case.
pub fn by_name(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|n| n.strip_prefix("CAP_") == Some(short))
        .and_then(|n| u32::try_from(n).ok())
}

/// The name of a capability.
pub fn name(cap: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(cap).ok()?).copied()
}

abi_struct! {
    /// `cap_user_header_t`.
    pub struct CapUserHeader [8] {
        pub version: u32,
        pub pid: i32,
    }

    /// `cap_user_data_t`: versions 2 and 3 have two of them.
    pub struct CapUserData [12] {
        pub effective: u32,
        pub permitted: u32,
        pub inheritable: u32,
    }

    /// `struct vfs_ns_cap_data`: the `security.capability` attribute; revision 2 is without `rootid`.
    pub struct VfsNsCapData [24] {
        pub magic_etc: u32,
        pub permitted_low: u32,
        pub inheritable_low: u32,
        pub permitted_high: u32,
        pub inheritable_high: u32,
        pub rootid: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_names() {
        assert_eq!(CapSet::FULL.0, 0x1ff_ffff_ffff);
        assert_eq!(
            (by_name("CAP_SYS_ADMIN"), name(40), name(41)),
            (Some(21), Some("CAP_CHECKPOINT_RESTORE"), None)
        );
        // Names stand where their numbers say.
        assert_eq!(
            (name(CAP_DAC_OVERRIDE), name(CAP_LINUX_IMMUTABLE)),
            (Some("CAP_DAC_OVERRIDE"), Some("CAP_LINUX_IMMUTABLE"))
        );
        assert_eq!(
            (by_name("cap_mknod"), by_name("KILL"), by_name("X")),
            (Some(27), Some(5), None)
        );
        let mut set = CapSet::of(&[CAP_CHOWN, CAP_KILL, 99]);
        assert_eq!((set.0, set.contains(63)), (0x21, false));
        set.remove(CAP_CHOWN);
        assert!(set.is_subset_of(CapSet::FULL) && !set.contains(CAP_CHOWN));
    }
}
