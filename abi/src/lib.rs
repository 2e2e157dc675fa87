//! The Linux ABI as x86-64 programs see it: numbers, structures, flags, error codes. No code of ours is below this crate.
//!
//! One module per header. Names are the kernel's, prefixes included (`OpenFlags::O_CREAT`, `Errno::ENOENT`), so that a search for a man page's
//! word finds every use. Structures are `#[repr(C)]` with explicit padding, readable from and writable to bytes by `zerocopy`, all-zero by
//! default, and their sizes are checked when this crate is compiled. Numbers inside structures are plain integers: nothing that a guest wrote
//! is a typed flag before somebody checked it with `from_bits`.
#![forbid(unsafe_code)]

/// A structure of the ABI: C layout, conversion from and to bytes, all zeroes by default, size checked at compile time.
macro_rules! abi_struct {
    ($($(#[$meta:meta])* pub struct $name:ident [$size:literal] { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Copy, Clone, Debug, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        const _: () = assert!(size_of::<$name>() == $size);
    )*};
}

pub mod cap;
pub mod dirent;
pub mod elf;
pub mod errno;
pub mod fcntl;
pub mod fs;
pub mod futex;
pub mod ioctl;
pub mod ipc;
pub mod mman;
pub mod netlink;
pub mod nr;
pub mod poll;
pub mod prctl;
pub mod ptrace;
pub mod resource;
pub mod sched;
pub mod seccomp;
pub mod siginfo;
pub mod signal;
pub mod socket;
pub mod stat;
pub mod sysinfo;
pub mod termios;
pub mod time;
pub mod ucontext;
pub mod uts;
pub mod wait;
pub mod x86;

pub use errno::{Errno, Result};

/// The size of a page of guest memory.
pub const PAGE_SIZE: u64 = 4096;
/// The longest path a call takes, its terminating zero included.
pub const PATH_MAX: usize = 4096;
/// The longest name of a directory entry.
pub const NAME_MAX: usize = 255;
/// The most elements of an iovec array.
pub const IOV_MAX: usize = 1024;
/// The most bytes one read or write moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

abi_struct! {
    /// `struct iovec` (readv(2)).
    pub struct Iovec [16] {
        /// Start address.
        pub iov_base: u64,
        /// Length in bytes.
        pub iov_len: u64,
    }
}
