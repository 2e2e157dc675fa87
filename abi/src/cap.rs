//! Capabilities (`linux/capability.h`, capabilities(7)).
#![allow(missing_docs)]

pub const CAP_CHOWN: u32 = 0;
pub const CAP_LINUX_IMMUTABLE: u32 = 9;
pub const CAP_DAC_OVERRIDE: u32 = 1;
pub const CAP_DAC_READ_SEARCH: u32 = 2;
pub const CAP_FSETID: u32 = 4;
pub const CAP_FOWNER: u32 = 3;
pub const CAP_KILL: u32 = 5;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
pub const CAP_SETPCAP: u32 = 8;
pub const CAP_NET_BIND_SERVICE: u32 = 10;
pub const CAP_NET_BROADCAST: u32 = 11;
pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
pub const CAP_IPC_LOCK: u32 = 14;
pub const CAP_IPC_OWNER: u32 = 15;
pub const CAP_SYS_MODULE: u32 = 16;
pub const CAP_SYS_RAWIO: u32 = 17;
pub const CAP_SYS_CHROOT: u32 = 18;
pub const CAP_SYS_PTRACE: u32 = 19;
pub const CAP_SYS_PACCT: u32 = 20;
pub const CAP_SYS_ADMIN: u32 = 21;
pub const CAP_SYS_BOOT: u32 = 22;
pub const CAP_SYS_NICE: u32 = 23;
pub const CAP_SYS_RESOURCE: u32 = 24;
pub const CAP_SYS_TIME: u32 = 25;
pub const CAP_SYS_TTY_CONFIG: u32 = 26;
pub const CAP_MKNOD: u32 = 27;
pub const CAP_LEASE: u32 = 28;
pub const CAP_AUDIT_WRITE: u32 = 29;
pub const CAP_AUDIT_CONTROL: u32 = 30;
pub const CAP_SETFCAP: u32 = 31;
pub const CAP_MAC_OVERRIDE: u32 = 32;
pub const CAP_MAC_ADMIN: u32 = 33;
pub const CAP_SYSLOG: u32 = 34;
pub const CAP_WAKE_ALARM: u32 = 35;
pub const CAP_BLOCK_SUSPEND: u32 = 36;
pub const CAP_AUDIT_READ: u32 = 37;
pub const CAP_PERFMON: u32 = 38;
pub const CAP_BPF: u32 = 39;
pub const CAP_CHECKPOINT_RESTORE: u32 = 40;
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

/// The number of a capability as OCI spells it (`CAP_CHOWN`).
pub fn by_name(name: &str) -> Option<u32> {
    NAMES
        .iter()
        .position(|n| *n == name)
        .and_then(|n| u32::try_from(n).ok())
}

/// The name of a capability.
pub fn name(cap: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(cap).ok()?).copied()
}

/// All names, by number.
pub const NAMES: [&str; CAP_LAST_CAP as usize + 1] = [
    "CAP_CHOWN",
    "CAP_LINUX_IMMUTABLE",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

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
        let mut set = CapSet::of(&[CAP_CHOWN, CAP_KILL, 99]);
        assert_eq!((set.0, set.contains(63)), (0x21, false));
        set.remove(CAP_CHOWN);
        assert!(set.is_subset_of(CapSet::FULL) && !set.contains(CAP_CHOWN));
    }
}
