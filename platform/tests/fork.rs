//! Address spaces that are shared with running guest threads and copied under them: fork, compare-exchange.
#![allow(missing_docs)]

mod common;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::*;
use platform::{AddressSpace, Backing, Event, Fault, Order, Platform, Prot};

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
fn fork_copies_what_is_private() {
    let parent = empty();
    let memory = platform().memory_file();
    let offset = memory.allocate(0x1000).unwrap();
    parent
        .apply(&[
            anonymous(0x10000, 0x1000, RW),
            map(
                0x20000,
                0x1000,
                Backing::Memory {
                    offset,
                    shared: true,
                },
                RW,
            ),
        ])
        .unwrap();
    parent.write(0x10000, b"parent").unwrap();
    let child = parent.fork().unwrap();
    let grandchild = child.fork().unwrap();
    child.write(0x10000, b"child!").unwrap();
    grandchild.write(0x20000, b"shared").unwrap();
    grandchild
        .apply(&[Order::Unmap {
            start: 0x10000,
            len: 0x1000,
        }])
        .unwrap();
    assert_eq!(
        (bytes(&*parent, 0x10000, 6), bytes(&*child, 0x10000, 6)),
        (b"parent".to_vec(), b"child!".to_vec())
    );
    assert_eq!(
        (bytes(&*parent, 0x20000, 6), bytes(&*child, 0x20000, 6)),
        (b"shared".to_vec(), b"shared".to_vec())
    );
    // A private mapping of the memory file.
    let private = map(
        0x30000,
        0x1000,
        Backing::Memory {
            offset,
            shared: false,
        },
        RW,
    );
    child.apply(&[private]).unwrap();
    child.write(0x30000, b"S").unwrap();
    assert_eq!(bytes(&*parent, 0x20000, 6), b"shared");
    drop((parent, child, grandchild));
    memory.free(offset, 0x1000);
}

blob!(counter, "2: lock inc qword ptr [rdi]\n jmp 2b");
blob!(
    adder,
    "2: mov eax, 1\n lock xadd dword ptr [rdi], eax\n dec rsi\n jnz 2b\n mov eax, 60\n syscall"
);

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
                assert_eq!(switch(&mut *context, &mut regs), Event::Interrupted);
            }
        };
        space
            .clone()
            .spawn(
                "runner",
                Box::new(move |context| {
                    entry(context);
                    None
                }),
            )
            .unwrap();
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
                        event = switch(&mut *context, &mut regs);
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
            assert_eq!(switch(&mut *context, &mut regs), Event::Syscall);
            done.fetch_add(1, SeqCst);
        };
        space
            .clone()
            .spawn(
                "adder",
                Box::new(move |context| {
                    entry(context);
                    None
                }),
            )
            .unwrap();
    }
    let mut added = 0u64;
    let mut failed = 0u64;
    while done.load(SeqCst) < 2 {
        let now = space.load_u32(DATA).unwrap();
        match space
            .compare_exchange_u32(DATA, now, now.wrapping_add(1))
            .unwrap()
        {
            Ok(old) => {
                assert_eq!(old, now);
                added += 1;
            }
            Err(_) => failed += 1,
        }
    }
    space.fetch_update_u32(DATA, &mut |v| v + 1).unwrap();
    assert_eq!(
        u64::from(space.load_u32(DATA).unwrap()),
        2 * EACH + added + 1,
        "{failed} failed"
    );
}

#[test]
fn compare_exchange_survives_bad_addresses() {
    let space = empty();
    space
        .apply(&[
            anonymous(0x10000, 0x1000, RW),
            anonymous(0x11000, 0x1000, Prot::READ),
            anonymous(0x12000, 0x1000, Prot::empty()),
        ])
        .unwrap();
    let fd = file(&[1; 100], true);
    space
        .apply(&[map(
            0x20000,
            0x2000,
            Backing::File {
                fd,
                offset: 0,
                shared: true,
            },
            RW,
        )])
        .unwrap();
    for _ in 0..100 {
        for bad in [
            0,
            0x10001,
            0x11000,
            0x12000,
            0x13000,
            0x21000,
            1 << 47,
            u64::MAX - 3,
            platform().user_range().end,
        ] {
            assert_eq!(
                space.compare_exchange_u32(bad, 0, 0),
                Err(Fault { addr: bad }),
                "{bad:#x}"
            );
        }
        assert_eq!(
            space.compare_exchange_u32(0x20000, 0x01010101, 0x01010101),
            Ok(Ok(0x01010101))
        );
        assert_eq!(space.compare_exchange_u32(0x10000, 7, 8), Ok(Err(0)));
    }
    assert_eq!(
        space.compare_exchange_u32(0x10000, 0, 0xdead_beef),
        Ok(Ok(0))
    );
    assert_eq!(
        space.compare_exchange_u32(0x10000, 0, 1),
        Ok(Err(0xdead_beef))
    );
    // In a copy too, whose helper has inherited all it needs for that.
    let child = space.fork().unwrap();
    assert_eq!(
        child.compare_exchange_u32(0x13000, 0, 0),
        Err(Fault { addr: 0x13000 })
    );
    assert_eq!(
        child.compare_exchange_u32(0x10000, 0xdead_beef, 1),
        Ok(Ok(0xdead_beef))
    );
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
                    assert_eq!(
                        space.compare_exchange_u32(at, n as u32 * 0x0101_0101, 1),
                        Ok(Ok(n as u32 * 0x0101_0101))
                    );
                    space
                        .apply(&[Order::Unmap {
                            start: at,
                            len: 0x1000,
                        }])
                        .unwrap();
                    assert!(space.write(at, &[1]).is_err());
                }
            });
        }
    });
}
