//! Address spaces: mappings, access from outside.
#![allow(missing_docs)]

mod common;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::{Errno, Iovec};
use common::*;
use platform::{AddressSpace, Backing, Fault, MapHint, Order, Platform, Prot};

fn empty() -> Arc<dyn AddressSpace> {
    platform().new_address_space().unwrap()
}

fn file(bytes: &[u8], writable: bool) -> Arc<OwnedFd> {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&fd, bytes, 0).unwrap();
    if writable {
        return Arc::new(fd);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    Arc::new(rustix::fs::open(path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap())
}

fn bytes(space: &dyn AddressSpace, addr: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    let n = space.read(addr, &mut buf).unwrap_or(0);
    buf.truncate(n);
    buf
}

#[test]
fn reads_and_writes_stop_at_the_first_fault() {
    let space = empty();
    space
        .apply(&[
            anonymous(0x10000, 0x2000, RW),
            anonymous(0x12000, 0x1000, Prot::READ),
        ])
        .unwrap();
    assert_eq!(space.write(0x10ffc, &[7; 16]), Ok(16));
    assert_eq!(space.write(0x11ffc, &[8; 16]), Ok(4));
    assert_eq!(space.write(0x12000, &[8; 16]), Err(Fault { addr: 0x12000 }));
    assert_eq!(space.read(0x12ffc, &mut [0; 16]), Ok(4));
    for bad in [0, 0x13000, 1 << 47, u64::MAX - 4, 0xffff_8000_0000_0000] {
        assert_eq!(space.read(bad, &mut [0; 16]), Err(Fault { addr: bad }));
        assert_eq!(space.write(bad, &[0; 16]), Err(Fault { addr: bad }));
        assert_eq!(space.read(bad, &mut []), Ok(0));
    }
    let range = |iov_base, iov_len| Iovec { iov_base, iov_len };
    let mut buf = [0; 12];
    assert_eq!(
        space.readv(
            &[range(0x10ffc, 4), range(0x11ffc, 4), range(0x10000, 4)],
            &mut buf
        ),
        Ok(12)
    );
    assert_eq!(buf, [7, 7, 7, 7, 8, 8, 8, 8, 0, 0, 0, 0]);
    assert_eq!(
        space.readv(
            &[range(0x10ffc, 4), range(1 << 63, 4), range(0x10000, 4)],
            &mut buf
        ),
        Ok(4)
    );
    assert_eq!(
        space.readv(&[range(0x10ffc, 4), range(0x20000, 4)], &mut buf),
        Ok(4)
    );
    assert_eq!(
        space.readv(&[range(0x20000, 4), range(0x10ffc, 4)], &mut buf),
        Err(Fault { addr: 0x20000 })
    );
    assert_eq!(space.readv(&[], &mut buf), Ok(0));
    assert_eq!(
        space.writev(&[range(0x10000, 1), range(0x10010, 100)], &[5; 3]),
        Ok(3)
    );
    assert_eq!(bytes(&*space, 0x10010, 3), [5, 5, 0]);
    let many: Vec<_> = (0..2000).map(|n| range(0x10000 + n, 1)).collect();
    assert_eq!(space.writev(&many, &[9; 2000]), Ok(2000));
    assert_eq!(bytes(&*space, 0x10000, 2000), [9; 2000]);
}

#[test]
fn only_the_guests_range_can_be_changed() {
    let space = empty();
    let user = platform().user_range();
    for (start, len) in [
        (0, 4096),
        (user.start - 4096, 4096),
        (user.start - 4096, 8192),
        (user.end, 4096),
        (user.end - 4096, 8192),
        (user.start, user.end),
        (user.start, 0),
        (user.start + 1, 4096),
        (user.start, 4095),
        (u64::MAX - 4095, 4096),
        (u64::MAX - 4095, 8192),
        (1 << 63, 4096),
    ] {
        let orders = [
            anonymous(start, len, RW),
            Order::Unmap { start, len },
            Order::Protect {
                start,
                len,
                prot: RWX,
            },
            Order::Advise {
                start,
                len,
                advice: libc::MADV_DONTNEED,
            },
            Order::Lock {
                start,
                len,
                on_fault: true,
            },
            Order::Unlock { start, len },
            Order::Relocate {
                old: start,
                old_len: len,
                new: 0x100_0000,
                new_len: 4096,
                dont_unmap: false,
            },
            Order::Relocate {
                old: 0x100_0000,
                old_len: 4096,
                new: start,
                new_len: len,
                dont_unmap: false,
            },
        ];
        for order in orders {
            assert_eq!(
                space.apply(std::slice::from_ref(&order)),
                Err(Errno::EINVAL),
                "{order:?}"
            );
        }
        assert!(space.mincore(start, len, &mut [0; 16]).is_err());
    }
    for advice in [libc::MADV_HWPOISON, libc::MADV_SOFT_OFFLINE, 1000, -1] {
        assert_eq!(
            space.apply(&[Order::Advise {
                start: user.start,
                len: 4096,
                advice
            }]),
            Err(Errno::EINVAL)
        );
    }
    // All of the range, and the last page of it.
    space
        .apply(&[
            anonymous(user.start, 4096, RW),
            anonymous(user.end - 4096, 4096, RW),
        ])
        .unwrap();
    assert_eq!(space.write(user.end - 4, &[1; 8]), Ok(4));
    space
        .apply(&[Order::Unmap {
            start: user.start,
            len: user.end - user.start,
        }])
        .unwrap();
    assert!(space.read(user.start, &mut [0]).is_err());
    space.apply(&[anonymous(user.start, 4096, RW)]).unwrap();
}

#[test]
fn orders_in_batches() {
    let space = empty();
    // More than fit one page of orders, with files among them.
    let fd = file(&[3; 8192], false);
    let mut orders = Vec::new();
    for n in 0..200u64 {
        let at = 0x10_0000 + n * 0x10000;
        orders.push(anonymous(at, 0x4000, RW));
        orders.push(Order::Protect {
            start: at,
            len: 0x1000,
            prot: Prot::READ,
        });
        orders.push(map(
            at + 0x4000,
            0x1000,
            Backing::File {
                fd: fd.clone(),
                offset: 4096,
                shared: false,
            },
            RX,
        ));
        orders.push(Order::Unmap {
            start: at + 0x1000,
            len: 0x1000,
        });
    }
    space.apply(&orders).unwrap();
    for n in 0..200u64 {
        let at = 0x10_0000 + n * 0x10000;
        assert!(space.write(at, &[1]).is_err());
        assert!(space.read(at + 0x1000, &mut [1]).is_err());
        assert_eq!(space.write(at + 0x2000, &[1]), Ok(1));
        assert_eq!(bytes(&*space, at + 0x4ffe, 5), [3, 3]);
    }
    // Those before a failure are done, those after it are not; whether the host or the platform refuses.
    for bad in [
        Order::Protect {
            start: 0x5000_0000,
            len: 4096,
            prot: RW,
        },
        Order::Unmap { start: 1, len: 1 },
    ] {
        let error = if matches!(bad, Order::Unmap { .. }) {
            Errno::EINVAL
        } else {
            Errno::ENOMEM
        };
        let orders = [
            anonymous(0x6000_0000, 4096, RW),
            bad,
            anonymous(0x7000_0000, 4096, RW),
        ];
        assert_eq!(space.apply(&orders), Err(error));
        assert_eq!(space.write(0x6000_0000, &[1]), Ok(1));
        assert!(space.write(0x7000_0000, &[1]).is_err());
        space
            .apply(&[Order::Unmap {
                start: 0x6000_0000,
                len: 4096,
            }])
            .unwrap();
    }
    space.apply(&[]).unwrap();
    let many: Vec<_> = (0..40).map(|n| file(&[n; 4096], true)).collect();
    let orders: Vec<_> = (0u64..)
        .zip(&many)
        .map(|(n, fd)| {
            map(
                0x6000_0000 + n * 4096,
                4096,
                Backing::File {
                    fd: fd.clone(),
                    offset: 0,
                    shared: true,
                },
                RW,
            )
        })
        .collect();
    space.apply(&orders).unwrap();
    assert_eq!(bytes(&*space, 0x6000_0000 + 39 * 4096, 4), [39; 4]);
}

#[test]
fn files_shared_and_private() {
    let space = empty();
    let fd = file(b"contents", true);
    let shared = |shared| Backing::File {
        fd: fd.clone(),
        offset: 0,
        shared,
    };
    space
        .apply(&[
            map(0x10000, 4096, shared(true), RW),
            map(0x20000, 4096, shared(false), Prot::READ),
        ])
        .unwrap();
    space.write(0x10000, b"C").unwrap();
    assert_eq!(bytes(&*space, 0x20000, 8), b"Contents");
    assert_eq!(
        space.apply(&[map(0x30000, 4096, shared(false), RW)]),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        space.apply(&[map(0x30000, 4096, shared(false), Prot::WRITE)]),
        Err(Errno::EINVAL)
    );
    // Should the layers above forget to copy, a file that is open for reading only stays as it is.
    let read_only = Backing::File {
        fd: file(b"x", false),
        offset: 0,
        shared: false,
    };
    space
        .apply(&[map(0x40000, 4096, read_only, Prot::READ)])
        .unwrap();
    assert_eq!(
        space.apply(&[Order::Protect {
            start: 0x40000,
            len: 4096,
            prot: RW
        }]),
        Err(Errno::EACCES)
    );
    let offset = |offset| {
        map(
            0x50000,
            4096,
            Backing::File {
                fd: fd.clone(),
                offset,
                shared: true,
            },
            RW,
        )
    };
    assert_eq!(space.apply(&[offset(1)]), Err(Errno::EINVAL));
    assert_eq!(space.apply(&[offset(u64::MAX - 4095)]), Err(Errno::EINVAL));
    let twice = Order::Map {
        start: 0x10000,
        len: 4096,
        backing: Backing::Anonymous,
        prot: RW,
        hint: MapHint::NOREPLACE,
    };
    assert_eq!(space.apply(&[twice]), Err(Errno::EEXIST));
}

#[test]
fn relocation() {
    let space = empty();
    let memory = platform().memory_file();
    let offset = memory.allocate(0x4000).unwrap();
    memory.write_at(offset + 0x3000, b"third").unwrap();
    let shared = Backing::Memory {
        offset,
        shared: true,
    };
    space
        .apply(&[
            anonymous(0x10000, 0x2000, RW),
            map(0x20000, 0x2000, shared, RW),
        ])
        .unwrap();
    space.write(0x10000, b"moves").unwrap();
    let relocate = |old, old_len, new, new_len, dont_unmap| Order::Relocate {
        old,
        old_len,
        new,
        new_len,
        dont_unmap,
    };
    space
        .apply(&[relocate(0x10000, 0x2000, 0x100000, 0x8000, false)])
        .unwrap();
    assert_eq!(bytes(&*space, 0x100000, 5), b"moves");
    assert_eq!(space.write(0x107fff, b"x"), Ok(1));
    assert!(space.read(0x10000, &mut [0]).is_err());
    // In place, both ways; the file's next pages follow.
    space
        .apply(&[relocate(0x20000, 0x2000, 0x20000, 0x4000, false)])
        .unwrap();
    assert_eq!(bytes(&*space, 0x23000, 5), b"third");
    space
        .apply(&[relocate(0x100000, 0x8000, 0x100000, 0x1000, false)])
        .unwrap();
    assert!(space.read(0x101000, &mut [0]).is_err());
    space
        .apply(&[relocate(0x100000, 0x1000, 0x200000, 0x1000, true)])
        .unwrap();
    assert_eq!(
        (bytes(&*space, 0x200000, 5), bytes(&*space, 0x100000, 5)),
        (b"moves".to_vec(), vec![0; 5])
    );
    for bad in [
        relocate(0x20000, 0x4000, 0x22000, 0x4000, false),
        relocate(0x20000, 0x4000, 0x30000, 0x8000, true),
        relocate(0x20000, 0x4000, 0x20000, 0x4000, true),
    ] {
        assert_eq!(space.apply(&[bad]), Err(Errno::EINVAL));
    }
    assert_eq!(
        space.apply(&[relocate(0x900000, 0x1000, 0xa00000, 0x1000, false)]),
        Err(Errno::EFAULT)
    );
    drop(space);
    memory.free(offset, 0x4000);
}

#[test]
fn residence_and_advice() {
    let space = empty();
    space.apply(&[anonymous(0x10000, 0x10000, RW)]).unwrap();
    space.write(0x12000, &[1; 0x2000]).unwrap();
    let mut resident = [0; 16];
    space.mincore(0x10000, 0x10000, &mut resident).unwrap();
    assert_eq!(
        resident.map(|b| b & 1),
        [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(space.rss(std::slice::from_ref(&(0x10000..0x20000))), 2);
    // The host counts in batches per processor.
    let much = 0x20_0000_0000;
    space.apply(&[anonymous(much, 0x40_0000, RW)]).unwrap();
    assert_eq!(space.write(much, &vec![1; 0x40_0000]), Ok(0x40_0000));
    space
        .apply(&[Order::Unmap {
            start: much,
            len: 0x40_0000,
        }])
        .unwrap();
    let peak = space.usage().peak_rss;
    assert!((512..2048).contains(&peak), "{peak}");
    // More ranges than fit one page of orders, and more pages than fit the vector.
    let apart: Vec<_> = (0..100u64)
        .map(|n| 0x10_0000 + n * 0x4000..0x10_0000 + n * 0x4000 + 0x1000)
        .collect();
    let orders: Vec<_> = apart
        .iter()
        .map(|range| anonymous(range.start, 0x1000, RW))
        .collect();
    space.apply(&orders).unwrap();
    apart
        .iter()
        .step_by(2)
        .for_each(|range| assert_eq!(space.write(range.start, &[1]), Ok(1)));
    assert_eq!(space.rss(&apart), 50);
    let huge = 0x10_0000_0000..0x10_0000_0000 + (200_000 << 12);
    space
        .apply(&[anonymous(huge.start, huge.end - huge.start, RW)])
        .unwrap();
    space.write(huge.end - 1, &[1]).unwrap();
    assert_eq!(
        space.rss(&[0x12000..0x13000, huge.clone(), apart[0].clone()]),
        3
    );
    assert_eq!(
        space.rss(&[0x12000..0x13000, 0x900_0000_0000..0x900_0000_1000]),
        1
    );
    assert_eq!(
        space.mincore(0x10000, 0x20000, &mut [0; 32]),
        Err(Errno::ENOMEM)
    );
    space
        .apply(&[Order::Advise {
            start: 0x12000,
            len: 0x1000,
            advice: libc::MADV_DONTNEED,
        }])
        .unwrap();
    assert_eq!(space.rss(std::slice::from_ref(&(0x10000..0x20000))), 1);
    assert_eq!(bytes(&*space, 0x12fff, 2), [0, 1]);
}
