//! What the mock address space promises.

use super::*;

fn anonymous(start: u64, len: u64, prot: Prot) -> Order {
    Order::Map {
        start,
        len,
        backing: Backing::Anonymous,
        prot,
        hint: MapHint::empty(),
    }
}

#[test]
fn fork_copies_private_and_shares_shared() {
    let platform = MockPlatform::new().unwrap();
    let parent = platform.new_address_space().unwrap();
    let offset = platform.memory_file().allocate(4096).unwrap();
    let shared = Backing::Memory {
        offset,
        shared: true,
    };
    let rw = Prot::READ | Prot::WRITE;
    parent
        .apply(&[
            anonymous(0x10000, 4096, rw),
            Order::Map {
                start: 0x20000,
                len: 4096,
                backing: shared,
                prot: rw,
                hint: MapHint::empty(),
            },
        ])
        .unwrap();
    let child = parent.fork().unwrap();
    child.write(0x10000, b"child").unwrap();
    child.write(0x20000, b"child").unwrap();
    let mut buf = [0; 5];
    parent.read(0x10000, &mut buf).unwrap();
    assert_eq!(&buf, &[0; 5]);
    parent.read(0x20000, &mut buf).unwrap();
    assert_eq!(&buf, b"child");
    assert_eq!(parent.fetch_update_u32(0x10000, &mut |v| v + 1), Ok(0));
    assert_eq!(parent.load_u32(0x10000), Ok(1));
}

#[test]
fn relocate_grows_and_protect_bites() {
    let space = MockPlatform::new().unwrap().address_space();
    space
        .apply(&[anonymous(0x10000, 4096, Prot::READ | Prot::WRITE)])
        .unwrap();
    space.write(0x10000, b"x").unwrap();
    space
        .apply(&[Order::Relocate {
            old: 0x10000,
            old_len: 4096,
            new: 0x40000,
            new_len: 8192,
            dont_unmap: false,
        }])
        .unwrap();
    let mut buf = [9; 4097];
    assert_eq!(space.read(0x40000, &mut buf), Ok(4097));
    assert_eq!((buf[0], buf[4096]), (b'x', 0));
    assert!(space.read(0x10000, &mut buf).is_err());
    space
        .apply(&[Order::Protect {
            start: 0x41000,
            len: 4096,
            prot: Prot::READ,
        }])
        .unwrap();
    assert_eq!(space.write(0x40ffe, b"four"), Ok(2));
}

#[test]
fn a_program_is_a_closure() {
    let platform = MockPlatform::new().unwrap();
    platform.set_program(Arc::new(|_, regs| {
        regs.user.orig_rax += 1;
        Event::Syscall
    }));
    let space = platform.new_address_space().unwrap();
    let events: Arc<sync::Mutex<Vec<Event>>> = Arc::default();
    let seen = events.clone();
    space
        .enter(Box::new(move |mut context| {
            let mut regs = Registers::default();
            context.interrupter().interrupt();
            seen.lock().push(context.switch(&mut regs));
            seen.lock().push(context.switch(&mut regs));
            None
        }))
        .unwrap();
    assert_eq!(*events.lock(), [Event::Interrupted, Event::Syscall]);
}
