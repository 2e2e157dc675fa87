//! uname(2) (`linux/utsname.h`).
#![allow(missing_docs)]

/// The size of each field, its terminating zero included.
pub const UTS_LEN: usize = 65;

abi_struct! {
    /// `struct new_utsname`.
    pub struct Utsname [390] {
        pub sysname: [u8; 65],
        pub nodename: [u8; 65],
        pub release: [u8; 65],
        pub version: [u8; 65],
        pub machine: [u8; 65],
        pub domainname: [u8; 65],
    }
}

/// A name as a field, cut to fit.
pub fn field(name: &[u8]) -> [u8; UTS_LEN] {
    let mut field = [0; UTS_LEN];
    field
        .iter_mut()
        .take(UTS_LEN - 1)
        .zip(name)
        .for_each(|(to, from)| *to = *from);
    field
}
