//! Rewritten call sites, on systrap: what the sentry and the guest see of them, and a guest that goes everywhere in the code behind them.
#![allow(missing_docs)]

mod common;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use common::{DATA, DATA_LEN, RW, RX, anonymous, map};
use platform::stub::HostVdso;
use platform::systrap::{self, Options};
use platform::{AddressSpace, Backing, Context, Event, Platform, Registers, StubPlatform};

const OPTIONS: Options = Options {
    rewrite: true,
    spin: true,
};
/// Where the file's page is mapped.
const TEXT: u64 = 0x40_0000;
/// In it: a site of each kind, each followed by a jump back to itself.
const NUMBER: u64 = TEXT + 0x10;
const COMPARED: u64 = TEXT + 0x40;

fn code() -> Vec<u8> {
    let mut page = vec![0x90; 4096];
    // mov eax, 39; syscall; jmp
    page[0x10..0x19].copy_from_slice(&[0xb8, 39, 0, 0, 0, 0x0f, 5, 0xeb, 0xf7]);
    // syscall; cmp rax, -4095; jmp
    page[0x40..0x4a].copy_from_slice(&[0x0f, 5, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff, 0xeb, 0xf6]);
    page
}

fn platform() -> Option<&'static StubPlatform> {
    static PLATFORM: OnceLock<Option<StubPlatform>> = OnceLock::new();
    let make = || {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let made = match systrap::missing() {
                None => systrap::new(&HostVdso::find(), OPTIONS).ok(),
                Some(_) => None,
            };
            send.send(made).unwrap();
            loop {
                std::thread::park();
            }
        });
        receive.recv().unwrap()
    };
    PLATFORM.get_or_init(make).as_ref()
}

/// The page as a file that has not changed for a while.
fn file() -> Arc<OwnedFd> {
    static FILE: OnceLock<Arc<OwnedFd>> = OnceLock::new();
    let make = || {
        let path = std::env::temp_dir().join(format!("runsc-rs-sites-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&code()).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        Arc::new(file.into())
    };
    FILE.get_or_init(make).clone()
}

fn text(at: u64) -> platform::Order {
    let backing = Backing::File {
        fd: file(),
        offset: 0,
        shared: false,
    };
    map(at, 4096, backing, RX)
}

fn start(rip: u64) -> Registers {
    let mut regs = Registers::default();
    regs.user.rip = rip;
    regs.user.rax = 39;
    regs.user.rsp = DATA + DATA_LEN;
    regs
}

/// Runs `body` with a context of a guest that has the page and some memory; not at all where there is no systrap.
fn guest(body: impl FnOnce(&dyn AddressSpace, &mut dyn Context) + Send + 'static) {
    let Some(platform) = platform() else { return };
    let space = platform.new_address_space().unwrap();
    space
        .apply(&[text(TEXT), anonymous(DATA, DATA_LEN, RW)])
        .unwrap();
    let inner = space.clone();
    let entry = move |mut context: Box<dyn Context>| {
        body(&*inner, &mut *context);
        None
    };
    space.enter(Box::new(entry)).unwrap();
}

/// Makes the site's call `times` times.
fn call(context: &mut dyn Context, regs: &mut Registers, after: u64, times: usize) {
    for n in 0..times {
        assert_eq!(context.switch(regs), Event::Syscall, "{n}");
        assert_eq!((regs.user.rip, regs.syscall_number()), (after, 39), "{n}");
        regs.set_return(39);
    }
}

#[test]
fn calls_come_from_where_they_are_made() {
    guest(|space, context| {
        for (site, after) in [(NUMBER, NUMBER + 7), (COMPARED, COMPARED + 2)] {
            let mut regs = start(site);
            call(context, &mut regs, after, 40);
            context.load(&mut regs).unwrap();
            assert_eq!((regs.user.rip, regs.user.rcx), (after, after));
            assert_eq!(regs.user.rsp, DATA + DATA_LEN);
            // Made again, as after a signal.
            regs.restart_syscall();
            call(context, &mut regs, after, 3);
        }
        let mut page = vec![0; 4096];
        assert_eq!(space.read(TEXT, &mut page), Ok(4096));
        assert_eq!(page, code());
    });
}

#[test]
fn another_place_keeps_the_original() {
    guest(|space, context| {
        call(context, &mut start(NUMBER), NUMBER + 7, 40);
        let moved = 0x1000_0000;
        space.apply(&[text(TEXT + moved)]).unwrap();
        let (site, after) = (NUMBER + moved, NUMBER + moved + 7);
        call(context, &mut start(site), after, 40);
        // The first goes; the other is where it was all the same.
        let gone = platform::Order::Unmap {
            start: TEXT,
            len: 4096,
        };
        space.apply(&[gone]).unwrap();
        call(context, &mut start(site), after, 40);
        assert!(matches!(
            context.switch(&mut start(NUMBER)),
            Event::Fault { .. }
        ));
        space.apply(&[text(TEXT)]).unwrap();
        call(context, &mut start(NUMBER), NUMBER + 7, 40);
    });
}

#[test]
fn a_guest_that_wants_the_addresses_has_them() {
    guest(|space, context| {
        call(context, &mut start(COMPARED), COMPARED + 2, 40);
        space.apply(&[anonymous(0x6_0000, 0x2_0000, RW)]).unwrap();
        let mut bytes = [1; 64];
        assert_eq!(space.read(0x6_0000, &mut bytes), Ok(64));
        assert_eq!(bytes, [0; 64]);
        call(context, &mut start(COMPARED), COMPARED + 2, 40);
    });
}

/// Every byte of the code, of the slots and entrances, and of the rewritten page, with registers that mean something to it. Whatever comes of it comes
/// to the sentry.
#[test]
fn everywhere() {
    guest(|_, context| {
        call(context, &mut start(NUMBER), NUMBER + 7, 40);
        call(context, &mut start(COMPARED), COMPARED + 2, 40);
        let Some(platform) = platform() else { return };
        let sites = platform.user_range().end + 0x6000_0000;
        // The code of the first site is there, and known for what it is.
        let mut regs = start(sites + 0x1000);
        assert_eq!(context.switch(&mut regs), Event::Syscall);
        assert!([NUMBER + 7, COMPARED + 2].contains(&regs.user.rip));
        let ranges = [
            sites + 0x1000..sites + 0x1100,
            0x6_0000..0x6_0020,
            0x7_0600..0x7_0610,
            TEXT + 0x8..TEXT + 0x50,
        ];
        for rip in ranges.into_iter().flatten() {
            for value in [0, 39, DATA, sites + 0x1000, NUMBER, u64::MAX] {
                let mut regs = start(rip);
                let user = &mut regs.user;
                for register in [&mut user.rcx, &mut user.rdx, &mut user.r11, &mut user.rdi] {
                    *register = value;
                }
                // Three events: a call goes on behind it.
                for _ in 0..3 {
                    let interrupter = context.interrupter();
                    interrupter.interrupt();
                    let _ = context.switch(&mut regs);
                    match context.switch(&mut regs) {
                        Event::Syscall => regs.set_return(value),
                        Event::Died => panic!("it died of going to {rip:#x}"),
                        _ => break,
                    }
                }
            }
        }
        call(context, &mut start(NUMBER), NUMBER + 7, 40);
    });
}
