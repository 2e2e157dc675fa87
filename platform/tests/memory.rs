//! Address spaces: mappings, fork, access from outside, what is left behind.
#![allow(missing_docs)]

mod common;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use abi::{Errno, Iovec};
use common::*;
use platform::{AddressSpace, Backing, Event, Fault, MapHint, Order, Platform, Prot};

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
    space.apply(&[anonymous(0x10000, 0x2000, RW), anonymous(0x12000, 0x1000, Prot::READ)]).unwrap();
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
    assert_eq!(space.readv(&[range(0x10ffc, 4), range(0x11ffc, 4), range(0x10000, 4)], &mut buf), Ok(12));
    assert_eq!(buf, [7, 7, 7, 7, 8, 8, 8, 8, 0, 0, 0, 0]);
    assert_eq!(space.readv(&[range(0x10ffc, 4), range(1 << 63, 4), range(0x10000, 4)], &mut buf), Ok(4));
    assert_eq!(space.readv(&[range(0x10ffc, 4), range(0x20000, 4)], &mut buf), Ok(4));
    assert_eq!(space.readv(&[range(0x20000, 4), range(0x10ffc, 4)], &mut buf), Err(Fault { addr: 0x20000 }));
    assert_eq!(space.readv(&[], &mut buf), Ok(0));
    assert_eq!(space.writev(&[range(0x10000, 1), range(0x10010, 100)], &[5; 3]), Ok(3));
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
            Order::Protect { start, len, prot: RWX },
            Order::Advise { start, len, advice: libc::MADV_DONTNEED },
            Order::Lock { start, len, on_fault: true },
            Order::Unlock { start, len },
            Order::Relocate { old: start, old_len: len, new: 0x100_0000, new_len: 4096, dont_unmap: false },
            Order::Relocate { old: 0x100_0000, old_len: 4096, new: start, new_len: len, dont_unmap: false },
        ];
        for order in orders {
            assert_eq!(space.apply(std::slice::from_ref(&order)), Err(Errno::EINVAL), "{order:?}");
        }
        assert!(space.mincore(start, len, &mut [0; 16]).is_err());
    }
    for advice in [libc::MADV_HWPOISON, libc::MADV_SOFT_OFFLINE, 1000, -1] {
        assert_eq!(space.apply(&[Order::Advise { start: user.start, len: 4096, advice }]), Err(Errno::EINVAL));
    }
    // All of the range, and the last page of it.
    space.apply(&[anonymous(user.start, 4096, RW), anonymous(user.end - 4096, 4096, RW)]).unwrap();
    assert_eq!(space.write(user.end - 4, &[1; 8]), Ok(4));
    space.apply(&[Order::Unmap { start: user.start, len: user.end - user.start }]).unwrap();
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
        orders.push(Order::Protect { start: at, len: 0x1000, prot: Prot::READ });
        orders.push(map(at + 0x4000, 0x1000, Backing::File { fd: fd.clone(), offset: 4096, shared: false }, RX));
        orders.push(Order::Unmap { start: at + 0x1000, len: 0x1000 });
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
    for bad in [Order::Protect { start: 0x5000_0000, len: 4096, prot: RW }, Order::Unmap { start: 1, len: 1 }] {
        let error = if matches!(bad, Order::Unmap { .. }) { Errno::EINVAL } else { Errno::ENOMEM };
        let orders = [anonymous(0x6000_0000, 4096, RW), bad, anonymous(0x7000_0000, 4096, RW)];
        assert_eq!(space.apply(&orders), Err(error));
        assert_eq!(space.write(0x6000_0000, &[1]), Ok(1));
        assert!(space.write(0x7000_0000, &[1]).is_err());
        space.apply(&[Order::Unmap { start: 0x6000_0000, len: 4096 }]).unwrap();
    }
    space.apply(&[]).unwrap();
    let many: Vec<_> = (0..40).map(|n| file(&[n; 4096], true)).collect();
    let orders: Vec<_> = (0u64..)
        .zip(&many)
        .map(|(n, fd)| map(0x6000_0000 + n * 4096, 4096, Backing::File { fd: fd.clone(), offset: 0, shared: true }, RW))
        .collect();
    space.apply(&orders).unwrap();
    assert_eq!(bytes(&*space, 0x6000_0000 + 39 * 4096, 4), [39; 4]);
}

#[test]
fn files_shared_and_private() {
    let space = empty();
    let fd = file(b"contents", true);
    let shared = |shared| Backing::File { fd: fd.clone(), offset: 0, shared };
    space.apply(&[map(0x10000, 4096, shared(true), RW), map(0x20000, 4096, shared(false), Prot::READ)]).unwrap();
    space.write(0x10000, b"C").unwrap();
    assert_eq!(bytes(&*space, 0x20000, 8), b"Contents");
    assert_eq!(space.apply(&[map(0x30000, 4096, shared(false), RW)]), Err(Errno::EINVAL));
    assert_eq!(space.apply(&[map(0x30000, 4096, shared(false), Prot::WRITE)]), Err(Errno::EINVAL));
    // Should the layers above forget to copy, a file that is open for reading only stays as it is.
    let read_only = Backing::File { fd: file(b"x", false), offset: 0, shared: false };
    space.apply(&[map(0x40000, 4096, read_only, Prot::READ)]).unwrap();
    assert_eq!(space.apply(&[Order::Protect { start: 0x40000, len: 4096, prot: RW }]), Err(Errno::EACCES));
    let offset = |offset| map(0x50000, 4096, Backing::File { fd: fd.clone(), offset, shared: true }, RW);
    assert_eq!(space.apply(&[offset(1)]), Err(Errno::EINVAL));
    assert_eq!(space.apply(&[offset(u64::MAX - 4095)]), Err(Errno::EINVAL));
    let twice = Order::Map { start: 0x10000, len: 4096, backing: Backing::Anonymous, prot: RW, hint: MapHint::NOREPLACE };
    assert_eq!(space.apply(&[twice]), Err(Errno::EEXIST));
}

#[test]
fn relocation() {
    let space = empty();
    let memory = platform().memory_file();
    let offset = memory.allocate(0x4000).unwrap();
    memory.write_at(offset + 0x3000, b"third").unwrap();
    let shared = Backing::Memory { offset, shared: true };
    space.apply(&[anonymous(0x10000, 0x2000, RW), map(0x20000, 0x2000, shared, RW)]).unwrap();
    space.write(0x10000, b"moves").unwrap();
    let relocate = |old, old_len, new, new_len, dont_unmap| Order::Relocate { old, old_len, new, new_len, dont_unmap };
    space.apply(&[relocate(0x10000, 0x2000, 0x100000, 0x8000, false)]).unwrap();
    assert_eq!(bytes(&*space, 0x100000, 5), b"moves");
    assert_eq!(space.write(0x107fff, b"x"), Ok(1));
    assert!(space.read(0x10000, &mut [0]).is_err());
    // In place, both ways; the file's next pages follow.
    space.apply(&[relocate(0x20000, 0x2000, 0x20000, 0x4000, false)]).unwrap();
    assert_eq!(bytes(&*space, 0x23000, 5), b"third");
    space.apply(&[relocate(0x100000, 0x8000, 0x100000, 0x1000, false)]).unwrap();
    assert!(space.read(0x101000, &mut [0]).is_err());
    space.apply(&[relocate(0x100000, 0x1000, 0x200000, 0x1000, true)]).unwrap();
    assert_eq!((bytes(&*space, 0x200000, 5), bytes(&*space, 0x100000, 5)), (b"moves".to_vec(), vec![0; 5]));
    for bad in [
        relocate(0x20000, 0x4000, 0x22000, 0x4000, false),
        relocate(0x20000, 0x4000, 0x30000, 0x8000, true),
        relocate(0x20000, 0x4000, 0x20000, 0x4000, true),
    ] {
        assert_eq!(space.apply(&[bad]), Err(Errno::EINVAL));
    }
    assert_eq!(space.apply(&[relocate(0x900000, 0x1000, 0xa00000, 0x1000, false)]), Err(Errno::EFAULT));
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
    assert_eq!(resident.map(|b| b & 1), [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(space.rss(&[0x10000..0x20000]), 2);
    assert_eq!(space.mincore(0x10000, 0x20000, &mut [0; 32]), Err(Errno::ENOMEM));
    space.apply(&[Order::Advise { start: 0x12000, len: 0x1000, advice: libc::MADV_DONTNEED }]).unwrap();
    assert_eq!(space.rss(&[0x10000..0x20000]), 1);
    assert_eq!(bytes(&*space, 0x12fff, 2), [0, 1]);
}

#[test]
fn fork_copies_what_is_private() {
    let parent = empty();
    let memory = platform().memory_file();
    let offset = memory.allocate(0x1000).unwrap();
    parent.apply(&[anonymous(0x10000, 0x1000, RW), map(0x20000, 0x1000, Backing::Memory { offset, shared: true }, RW)]).unwrap();
    parent.write(0x10000, b"parent").unwrap();
    let child = parent.fork().unwrap();
    let grandchild = child.fork().unwrap();
    child.write(0x10000, b"child!").unwrap();
    grandchild.write(0x20000, b"shared").unwrap();
    grandchild.apply(&[Order::Unmap { start: 0x10000, len: 0x1000 }]).unwrap();
    assert_eq!((bytes(&*parent, 0x10000, 6), bytes(&*child, 0x10000, 6)), (b"parent".to_vec(), b"child!".to_vec()));
    assert_eq!((bytes(&*parent, 0x20000, 6), bytes(&*child, 0x20000, 6)), (b"shared".to_vec(), b"shared".to_vec()));
    // A private mapping of the memory file.
    let private = map(0x30000, 0x1000, Backing::Memory { offset, shared: false }, RW);
    child.apply(&[private]).unwrap();
    child.write(0x30000, b"S").unwrap();
    assert_eq!(bytes(&*parent, 0x20000, 6), b"shared");
    drop((parent, child, grandchild));
    memory.free(offset, 0x1000);
}

blob!(counter, "2: lock inc qword ptr [rdi]\n jmp 2b");
blob!(adder, "2: mov eax, 1\n lock xadd dword ptr [rdi], eax\n dec rsi\n jnz 2b\n mov eax, 60\n syscall");

/// Forks a process whose eight threads are all running, many times; each copy runs on its own.
#[test]
fn fork_under_running_threads() {
    let space = space(counter());
    let stop = Arc::new(AtomicBool::new(false));
    let (send, receive) = std::sync::mpsc::channel();
    for n in 0..8u64 {
        let (send, stop) = (send.clone(), stop.clone());
        let entry = move |mut context: Box<dyn platform::Context>| {
            let mut regs = start();
            regs.user.rdi = DATA + n * 8;
            send.send(context.interrupter()).unwrap();
            while !stop.load(SeqCst) {
                assert_eq!(context.switch(&mut regs), Event::Interrupted);
            }
        };
        space.clone().spawn("runner", Box::new(move |context| {
                entry(context);
                None
            })).unwrap();
    }
    let running: Vec<_> = (0..8).map(|_| receive.recv().unwrap()).collect();
    fn value(space: &dyn AddressSpace) -> u64 {
        u64::from_ne_bytes(bytes(space, DATA, 8).try_into().unwrap())
    }
    for _ in 0..50 {
        let child = space.fork().unwrap();
        let at_fork = value(&*child);
        std::thread::yield_now();
        assert_eq!(value(&*child), at_fork, "nothing runs in the copy");
        let (send, receive) = std::sync::mpsc::channel();
        let inner = child.clone();
        child
            .spawn(
                "child",
                Box::new(move |mut context| {
                    let mut regs = start();
                    regs.user.rdi = DATA;
                    let mut event = Event::Died;
                    // The first interrupt may come before the guest's first instruction.
                    while value(&*inner) == at_fork {
                        let interrupter = context.interrupter();
                        std::thread::spawn(move || {
                            std::thread::sleep(std::time::Duration::from_millis(1));
                            interrupter.interrupt();
                        });
                        event = context.switch(&mut regs);
                    }
                    drop(context);
                    send.send((event, inner)).unwrap();
                    None
                }),
            )
            .unwrap();
        let (event, child) = receive.recv().unwrap();
        assert_eq!(event, Event::Interrupted);
        assert!(value(&*child) > at_fork);
    }
    stop.store(true, SeqCst);
    running.iter().for_each(platform::Interrupter::interrupt);
}

#[test]
fn compare_exchange_is_atomic_against_guest_code() {
    let space = space(adder());
    let done = Arc::new(AtomicU64::new(0));
    const EACH: u64 = 2_000_000;
    for _ in 0..2 {
        let done = done.clone();
        let entry = move |mut context: Box<dyn platform::Context>| {
            let mut regs = start();
            (regs.user.rdi, regs.user.rsi) = (DATA, EACH);
            assert_eq!(context.switch(&mut regs), Event::Syscall);
            done.fetch_add(1, SeqCst);
        };
        space.clone().spawn("adder", Box::new(move |context| {
                entry(context);
                None
            })).unwrap();
    }
    let mut added = 0u64;
    let mut failed = 0u64;
    while done.load(SeqCst) < 2 {
        let now = space.load_u32(DATA).unwrap();
        match space.compare_exchange_u32(DATA, now, now.wrapping_add(1)).unwrap() {
            Ok(old) => {
                assert_eq!(old, now);
                added += 1;
            }
            Err(_) => failed += 1,
        }
    }
    space.fetch_update_u32(DATA, &mut |v| v + 1).unwrap();
    assert_eq!(u64::from(space.load_u32(DATA).unwrap()), 2 * EACH + added + 1, "{failed} failed");
}

#[test]
fn compare_exchange_survives_bad_addresses() {
    let space = empty();
    space.apply(&[anonymous(0x10000, 0x1000, RW), anonymous(0x11000, 0x1000, Prot::READ), anonymous(0x12000, 0x1000, Prot::empty())]).unwrap();
    let fd = file(&[1; 100], true);
    space.apply(&[map(0x20000, 0x2000, Backing::File { fd, offset: 0, shared: true }, RW)]).unwrap();
    for _ in 0..100 {
        for bad in [0, 0x10001, 0x11000, 0x12000, 0x13000, 0x21000, 1 << 47, u64::MAX - 3, platform().user_range().end] {
            assert_eq!(space.compare_exchange_u32(bad, 0, 0), Err(Fault { addr: bad }), "{bad:#x}");
        }
        assert_eq!(space.compare_exchange_u32(0x20000, 0x01010101, 0x01010101), Ok(Ok(0x01010101)));
        assert_eq!(space.compare_exchange_u32(0x10000, 7, 8), Ok(Err(0)));
    }
    assert_eq!(space.compare_exchange_u32(0x10000, 0, 0xdead_beef), Ok(Ok(0)));
    assert_eq!(space.compare_exchange_u32(0x10000, 0, 1), Ok(Err(0xdead_beef)));
    // In a copy too, whose helper has inherited all it needs for that.
    let child = space.fork().unwrap();
    assert_eq!(child.compare_exchange_u32(0x13000, 0, 0), Err(Fault { addr: 0x13000 }));
    assert_eq!(child.compare_exchange_u32(0x10000, 0xdead_beef, 1), Ok(Ok(0xdead_beef)));
    assert_eq!(space.load_u32(0x10000), Ok(0xdead_beef));
}

#[test]
fn memory_is_used_by_several_threads_at_once() {
    let space = empty();
    std::thread::scope(|scope| {
        for n in 1..5u64 {
            let space = &space;
            scope.spawn(move || {
                for round in 0..100u64 {
                    let at = n << 32 | round << 16;
                    space.apply(&[anonymous(at, 0x1000, RW)]).unwrap();
                    assert_eq!(space.write(at, &[n as u8; 0x1000]), Ok(0x1000));
                    assert_eq!(space.compare_exchange_u32(at, n as u32 * 0x0101_0101, 1), Ok(Ok(n as u32 * 0x0101_0101)));
                    space.apply(&[Order::Unmap { start: at, len: 0x1000 }]).unwrap();
                    assert!(space.write(at, &[1]).is_err());
                }
            });
        }
    });
}
