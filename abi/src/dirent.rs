//! Directory entries (getdents64(2)).
#![allow(missing_docs)]

abi_struct! {
    /// The fixed part of `struct linux_dirent64`: the name follows at offset 19, with a zero byte, padded to 8 bytes.
    pub struct Dirent64Header [24] {
        pub d_ino: u64,
        pub d_off: i64,
        pub d_reclen: u16,
        pub d_type: u8,
        pub _name_start: [u8; 5],
    }
}

/// Where the name starts in `struct linux_dirent64`.
pub const DIRENT64_NAME_OFFSET: usize = 19;
/// Where the name starts in the old `struct linux_dirent`, whose type is its last byte.
pub const DIRENT_NAME_OFFSET: usize = 18;

pub const DT_UNKNOWN: u8 = 0;
pub const DT_FIFO: u8 = 1;
pub const DT_CHR: u8 = 2;
pub const DT_DIR: u8 = 4;
pub const DT_BLK: u8 = 6;
pub const DT_REG: u8 = 8;
pub const DT_LNK: u8 = 10;
pub const DT_SOCK: u8 = 12;
pub const DT_WHT: u8 = 14;

/// The entry type of a mode (`S_DT`).
pub const fn from_mode(mode: u32) -> u8 {
    (mode >> 12 & 15) as u8
}

/// The length of a `linux_dirent64` with a name of so many bytes.
pub const fn dirent64_len(name: usize) -> usize {
    (DIRENT64_NAME_OFFSET + 1)
        .saturating_add(name)
        .saturating_add(7)
        & !7
}

/// The length of an old `linux_dirent`: the name, its zero byte and the type byte.
pub const fn dirent_len(name: usize) -> usize {
    (DIRENT_NAME_OFFSET + 2)
        .saturating_add(name)
        .saturating_add(7)
        & !7
}
