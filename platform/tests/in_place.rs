//! Orders that are what the guest's own call asks for, which systrap lets through: they come before whatever follows them.
#![allow(missing_docs)]

mod common;

use common::*;
use platform::{Event, Order, Prot};

const AT: u64 = 0x1000_0000;
const LEN: u64 = 0x4000;

blob!(twice, "syscall\n mov rbx, rax\n mov eax, 39\n syscall\n");

/// What the guest finds as its call's result, and what is then at [`AT`], when the sentry gives `orders` while it serves `call`.
fn outcome(call: [u64; 4], orders: &'static [Order], result: u64) -> (u64, bool) {
    let (send, receive) = std::sync::mpsc::channel();
    guest(twice(), move |space, context, regs| {
        space.apply(&[anonymous(AT, LEN, RW)]).unwrap();
        space.write(AT, &[7; 8]).unwrap();
        let u = &mut regs.user;
        [u.rax, u.rdi, u.rsi, u.rdx] = call;
        assert_eq!(context.switch(regs), Event::Syscall);
        for order in orders {
            space.apply(std::slice::from_ref(order)).unwrap();
        }
        regs.set_return(result);
        assert_eq!(switch(context, regs), Event::Syscall);
        let there = space.write(AT, &[8]).is_ok();
        send.send((regs.user.rbx, there)).unwrap();
    });
    receive.recv().unwrap()
}

const UNMAP: Order = Order::Unmap {
    start: AT,
    len: LEN,
};
const SEAL: Order = Order::Protect {
    start: AT,
    len: LEN,
    prot: Prot::READ,
};
const OPEN: Order = Order::Protect {
    start: AT,
    len: LEN,
    prot: RW,
};

#[test]
fn what_is_ordered_is_done() {
    let munmap = libc::SYS_munmap as u64;
    let mprotect = libc::SYS_mprotect as u64;
    // A length is rounded up, as the host does.
    assert_eq!(outcome([munmap, AT, LEN - 5, 0], &[UNMAP], 0), (0, false));
    assert_eq!(outcome([mprotect, AT, LEN, 1], &[SEAL], 0), (0, false));
    // Nothing was ordered: nothing is done, whatever the guest is told.
    assert_eq!(outcome([munmap, AT, LEN, 0], &[], 0), (0, true));
    assert_eq!(outcome([munmap, AT, LEN, 0], &[OPEN], 0), (0, true));
    // It is not what was asked for, but it is what was ordered.
    assert_eq!(outcome([munmap, AT, LEN, 0], &[SEAL], 0), (0, false));
    assert_eq!(outcome([mprotect, AT, LEN, 3], &[SEAL], 0), (0, false));
}

#[test]
fn later_orders_come_later() {
    let mprotect = libc::SYS_mprotect as u64;
    assert_eq!(outcome([mprotect, AT, LEN, 1], &[SEAL, OPEN], 0), (0, true));
    assert_eq!(outcome([mprotect, AT, LEN, 3], &[SEAL, OPEN], 0), (0, true));
    let close = [OPEN, SEAL];
    assert_eq!(
        outcome([mprotect, AT, LEN, 3], Box::leak(Box::new(close)), 0),
        (0, false)
    );
}

#[test]
fn the_result_is_the_sentrys() {
    let munmap = libc::SYS_munmap as u64;
    assert_eq!(outcome([munmap, AT, LEN, 0], &[UNMAP], 9), (9, false));
    let again = -512i64 as u64;
    assert_eq!(
        outcome([munmap, AT, LEN, 0], &[UNMAP], again),
        (again, false)
    );
}

/// The host refuses to split a mapping when there are very many. The guest and the sentry must hear of it both.
#[test]
fn what_the_host_may_refuse_is_not_let_through() {
    const PAGE: u64 = 0x1000;
    const PAGES: u64 = 0x1_0000;
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = refused.clone();
    guest(twice(), move |space, context, regs| {
        space.apply(&[anonymous(AT, PAGES * PAGE, RW)]).unwrap();
        for page in (0..PAGES).step_by(2) {
            let order = Order::Protect {
                start: AT + page * PAGE,
                len: PAGE,
                prot: Prot::READ,
            };
            let u = &mut regs.user;
            [u.rax, u.rdi, u.rsi, u.rdx] = [libc::SYS_mprotect as u64, AT + page * PAGE, PAGE, 1];
            // The last ones by calls of the guest's own.
            if page < PAGES - 1024 {
                if space.apply(&[order]).is_err() {
                    seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
                continue;
            }
            regs.user.rip = CODE;
            assert_eq!(switch(context, regs), Event::Syscall);
            let told = space.apply(&[order]).is_ok();
            regs.set_return(0);
            assert_eq!(switch(context, regs), Event::Syscall);
            let writable = space.write(AT + page * PAGE, &[1]).is_ok();
            assert_eq!(told, !writable, "page {page}");
            if !told {
                seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let refused = refused.load(std::sync::atomic::Ordering::SeqCst);
    assert!(refused > 0, "so many mappings fit");
}
