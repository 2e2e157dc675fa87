//! The trust rules of a stub, each with guest code that tries to break it: no guest thread makes the host execute a call that the sentry did
//! not order, whatever it jumps to and whatever it writes.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::*;
use platform::{AddressSpace, Event, Fault, Order, Platform, Prot};

/// What of it a guest thread can write. On systrap the second piece is that of the signal stacks.
fn writable(maps: &str) -> Vec<std::ops::Range<u64>> {
    let mut found = area(maps, " rw-p ");
    if platform().name() == "systrap" {
        assert_eq!(found.len(), 2, "{maps}");
        found.pop();
    }
    found
}

#[test]
fn the_area_is_what_it_should_be() {
    let space = space(&[0x0f, 0x0b]);
    let maps = maps_of(&*space, 0x6d61_726b_0001);
    assert_eq!(area(&maps, " rwxp ").len(), 0, "{maps}");
    assert_eq!(writable(&maps).len(), 1, "{maps}");
    // Nothing of the sentry is left: of files only the order book, shared and read-only.
    let files: Vec<_> = maps.lines().filter(|line| line.contains('/')).collect();
    assert!(
        matches!(files[..], [line] if line.contains("memfd:runsc-rs-orders") && line.contains(" r--s ")),
        "{maps}"
    );
}

/// The code jumps to an address in rax with all other registers set by the sentry.
#[test]
fn jumping_anywhere_into_the_stubs_code_gains_nothing() {
    let space = space(&[0xff, 0xe0]);
    let maps = maps_of(&*space, 0x6d61_726b_0002);
    let text = area(&maps, " r-xp ")
        .into_iter()
        .find(|r| Some(r.start) != platform().host_vdso().map(|v| v.start))
        .unwrap();
    let before = area(&maps, "p ");
    let ends = Arc::new(Ends::default());
    let cases = (text.end - text.start) * KINDS;
    let mut next = 0;
    while next < cases {
        // A guest that asks the helper's code for what its filter kills dies of it; the others have to go on.
        let space = common::space(&[0xff, 0xe0]);
        forge(&*space);
        let (inner, range, counted) = (space.clone(), text.clone(), ends.clone());
        let expected = before.clone();
        let (send, receive) = std::sync::mpsc::channel();
        enter(&space, move |context, regs| {
            let clean = regs.clone();
            // A jump into the middle of an instruction can be a loop of its own.
            let at = Arc::new(AtomicU64::new(next));
            watch(context.interrupter(), at.clone());
            while next < cases && jump(context, regs, &clean, &range, next, &counted) {
                next += 1;
                at.store(next, SeqCst);
            }
            at.store(u64::MAX, SeqCst);
            if next == cases {
                // And its orders still work.
                inner.apply(&[anonymous(0x1000_0000, 0x1000, RW)]).unwrap();
                assert_eq!(inner.write(0x1000_0000, &[1]), Ok(1));
                let maps = maps_of(&*inner, 0x6d61_726b_0003);
                assert_eq!(area(&maps, "p "), expected);
            }
            send.send(next + 1).unwrap();
        });
        next = receive.recv().unwrap();
    }
    let count = |n: &AtomicU64| n.load(SeqCst);
    assert!(
        count(&ends.calls) > 1000 && count(&ends.faults) > 1000,
        "{ends:?}"
    );
    assert!(
        platform().name() != "ptrace" || count(&ends.deaths) == 0,
        "{ends:?}"
    );
    assert_eq!(area(&maps_of(&*space, 0x6d61_726b_0004), "p "), before);
}

/// Interrupts a guest that has stayed in one case for long.
fn watch(interrupter: platform::Interrupter, at: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let mut before = u64::MAX;
        loop {
            std::thread::sleep(std::time::Duration::from_millis(300));
            match at.load(SeqCst) {
                u64::MAX => return,
                now if now == before => interrupter.interrupt(),
                now => before = now,
            }
        }
    });
}

/// How many ways there are to jump.
const KINDS: u64 = 6;
/// Where a signal frame is that no signal has made.
const FORGED: u64 = DATA + 0x8000;

/// Puts it there: registers that lead back to the jump, an extended state at an address that is none.
fn forge(space: &dyn AddressSpace) {
    let mut frame = [0u64; 64];
    // From the frame's start: the extended state, then what iretq takes.
    frame[232 / 8] = FORGED + 1;
    frame[240 / 8..280 / 8].copy_from_slice(&[CODE, 0x33, 0x202, DATA + 0x4000, 0x2b]);
    let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert_eq!(space.write(FORGED, &bytes), Ok(bytes.len()));
}

#[derive(Debug, Default)]
struct Ends {
    calls: AtomicU64,
    faults: AtomicU64,
    deaths: AtomicU64,
}

/// One jump, and what it comes to. Is the guest still there?
fn jump(
    context: &mut dyn platform::Context,
    regs: &mut platform::Registers,
    clean: &platform::Registers,
    range: &std::ops::Range<u64>,
    case: u64,
    ends: &Ends,
) -> bool {
    let (offset, kind) = (case / KINDS, case % KINDS);
    *regs = clean.clone();
    let u = &mut regs.user;
    u.rip = range.start + offset;
    // The helper's own registers, its order page forged in guest memory, and nonsense.
    (u.rbx, u.r12, u.rbp, u.r13) = (DATA, DATA + 64, 3, 7);
    (u.rax, u.rdi, u.rsi, u.rdx, u.r10, u.r8, u.r9) = match kind {
        0 => (libc::SYS_munmap as u64, range.start, 0x1000, 0, 0, 0, 0),
        1 => (libc::SYS_mprotect as u64, range.start, 0x1000, 7, 0, 0, 0),
        2 => (offset, platform().user_range().end, !0, !0, !0, !0, !0),
        // A handler's call, for a fault, an interrupt, nothing at all; the frame is forged, or the stub's own code.
        _ => (libc::SYS_rt_sigprocmask as u64, 2, !0, 0, 8, 11, FORGED + 8),
    };
    match kind {
        3 => u.rsp = FORGED,
        4 => (u.rsp, u.r8) = (FORGED, libc::SIGURG as u64),
        5 => (u.r8, u.r9) = (0, range.start + offset),
        _ => {}
    }
    // It must end somewhere: in system calls, which the sentry sees, or in a fault. A few of each are enough.
    for _ in 0..3 {
        match switch(context, regs) {
            Event::Syscall => {
                ends.calls.fetch_add(1, SeqCst);
                regs.set_return(if kind == 2 { 1 } else { 0 });
            }
            Event::Syscall32 => {
                ends.calls.fetch_add(1, SeqCst);
            }
            Event::Fault { .. } | Event::Exception { .. } => {
                ends.faults.fetch_add(1, SeqCst);
                return true;
            }
            Event::Interrupted => return true,
            Event::Died => {
                ends.deaths.fetch_add(1, SeqCst);
                return false;
            }
        }
    }
    true
}

// Fills memory with rdx from rdi to rsi, over and over.
blob!(
    scribble,
    "2: mov rax, rdi\n3: mov [rax], rdx\n add rax, 8\n cmp rax, rsi\n jb 3b\n add rdx, 0x1111\n rol rdx, 7\n jmp 2b"
);

/// Guest threads overwrite every writable byte of the stub's area all the time while orders are given. Orders are carried out or fail; a stub
/// may die of it; never is an answer wrong.
#[test]
fn scribbling_over_the_scratch_memory() {
    let lies = AtomicU64::new(0);
    for round in 0..20u64 {
        let space = space(scribble());
        let maps = maps_of(&*space, 0x6d61_726b_1000 + round);
        let [scratch] = &writable(&maps)[..] else {
            panic!("{maps}")
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (send, receive) = std::sync::mpsc::channel();
        for n in 0..2u64 {
            let (stop, send, scratch) = (stop.clone(), send.clone(), scratch.clone());
            let entry = move |mut context: Box<dyn platform::Context>| {
                let mut regs = start();
                // One thread the message buffers only, which is where a receive looks; one everything.
                let end = if n == 0 {
                    scratch.start + 0x200
                } else {
                    scratch.end
                };
                // Values that are addresses, counts and flags.
                let value = [0, scratch.start, DATA, !0, 1 << 63, 0x7fff_ffe4_0000]
                    [((round + n) % 6) as usize];
                (regs.user.rdi, regs.user.rsi, regs.user.rdx) = (scratch.start, end, value);
                send.send(context.interrupter()).unwrap();
                while !stop.load(SeqCst) {
                    match switch(&mut *context, &mut regs) {
                        Event::Interrupted => {}
                        Event::Died => break,
                        event => panic!("{event:?}"),
                    }
                }
            };
            space
                .clone()
                .spawn(
                    "scribbler",
                    Box::new(move |context| {
                        entry(context);
                        None
                    }),
                )
                .unwrap();
        }
        let running: Vec<_> = (0..2).map(|_| receive.recv().unwrap()).collect();
        let offset = platform().memory_file().allocate(0x1000).unwrap();
        platform()
            .memory_file()
            .write_at(offset, b"memory")
            .unwrap();
        for n in 0..200u64 {
            let at = 0x1000_0000 + n * 0x10000;
            let shared = platform::Backing::Memory {
                offset,
                shared: true,
            };
            if space
                .apply(&[
                    anonymous(at, 0x2000, RW),
                    map(at + 0x4000, 0x1000, shared, Prot::READ),
                ])
                .is_ok()
            {
                let mut buf = [0; 6];
                let fine = space.write(at, &[1; 0x2000]) == Ok(0x2000)
                    && space.read(at + 0x4000, &mut buf) == Ok(6)
                    && &buf == b"memory";
                lies.fetch_add(
                    u64::from(!fine && space.read(CODE, &mut [0]).is_ok()),
                    SeqCst,
                );
            }
            if let Ok(outcome) = space.compare_exchange_u32(DATA + 0x800, n as u32, n as u32 + 1) {
                lies.fetch_add(u64::from(outcome != Ok(n as u32)), SeqCst);
            }
            if let Ok(child) = space.fork() {
                // Whatever the copy does, it is a process of its own.
                let _ = child.apply(&[anonymous(at, 0x1000, RW)]);
            }
        }
        stop.store(true, SeqCst);
        running.iter().for_each(platform::Interrupter::interrupt);
        drop(space);
        platform().memory_file().free(offset, 0x1000);
    }
    assert_eq!(lies.load(SeqCst), 0);
}

/// Every system call number by every entry: the sentry sees it or the guest faults.
#[test]
fn every_call_number_by_every_entry() {
    for entry in [
        &[0x0f, 0x05, 0x0f, 0x0b][..],
        &[0xcd, 0x80, 0x0f, 0x0b],
        &[0x0f, 0x34, 0x0f, 0x0b],
    ] {
        let code = entry.to_vec();
        guest(&code, |_, context, regs| {
            for nr in (0..600).chain([0x4000_0000, 0x4000_0001, 0xffff_ffff, u64::MAX, 1 << 32]) {
                *regs = start();
                regs.user.rax = nr;
                // What would hurt, if the host executed it: exit, kill, munmap of everything.
                (regs.user.rdi, regs.user.rsi, regs.user.rdx) = (0, 1 << 47, 9);
                match switch(context, regs) {
                    Event::Syscall | Event::Syscall32 => {
                        assert_eq!(regs.user.orig_rax as u32, nr as u32)
                    }
                    Event::Fault { .. } | Event::Exception { .. } => {}
                    event => panic!("{nr:#x}: {event:?}"),
                }
            }
        });
    }
}

/// The vsyscall page, which the host emulates: the sentry sees those calls, or the guest faults.
#[test]
fn the_vsyscall_page() {
    // call rax; ud2
    guest(&[0xff, 0xd0, 0x0f, 0x0b], |_, context, regs| {
        let numbers = [libc::SYS_gettimeofday, libc::SYS_time, libc::SYS_getcpu];
        for (n, nr) in (0..4).zip(numbers.into_iter().chain([-1])) {
            *regs = start();
            regs.user.rax = 0xffff_ffff_ff60_0000 + 0x400 * n;
            // Where the host would write, if it did what is asked.
            (regs.user.rdi, regs.user.rsi) = (DATA, DATA);
            match switch(context, regs) {
                Event::Syscall => assert_eq!(regs.user.orig_rax, nr as u64),
                Event::Fault { .. } => {}
                event => panic!("{n}: {event:?}"),
            }
        }
    });
}

/// A compare-exchange whose page comes and goes.
#[test]
fn compare_exchange_races_with_unmap() {
    let space = space(&[0x0f, 0x0b]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    match space.compare_exchange_u32(0x1000_0000, 0, 0) {
                        Ok(Ok(0)) | Err(Fault { addr: 0x1000_0000 }) => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        for _ in 0..500 {
            space.apply(&[anonymous(0x1000_0000, 0x1000, RW)]).unwrap();
            space
                .apply(&[Order::Unmap {
                    start: 0x1000_0000,
                    len: 0x1000,
                }])
                .unwrap();
        }
        stop.store(true, SeqCst);
    });
}
