//! What the platform's operations cost on this machine: `cargo run --profile fast -p platform --example costs`.
//!
//! Microseconds, the best of several rounds and their median.

use std::sync::Arc;
use std::time::Instant;

use platform::stub::HostVdso;
use platform::{
    AddressSpace, Backing, Context, Event, MapHint, Order, Platform, Prot, Registers, StubPlatform,
    ptrace, systrap,
};

const RW: Prot = Prot::READ.union(Prot::WRITE);
const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x80_0000;
/// `2: mov eax, 110; syscall; jmp 2b`
const CALLS: [u8; 9] = [0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

fn anonymous(start: u64, len: u64, prot: Prot) -> Order {
    Order::Map {
        start,
        len,
        backing: Backing::Anonymous,
        prot,
        hint: MapHint::empty(),
    }
}

fn row(name: &str, rounds: usize, each: usize, mut body: impl FnMut()) {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..each {
                body();
            }
            begin.elapsed().as_secs_f64() * 1e6 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:44} {:9.2} {:9.2}", times[0], times[rounds / 2]);
}

/// The one that `PLATFORM` names, else ptrace.
fn make() -> StubPlatform {
    let vdso = HostVdso::find();
    match std::env::var("PLATFORM").as_deref() {
        Ok("systrap") => systrap::new(&vdso, Default::default()).unwrap(),
        _ => ptrace::new(&vdso).unwrap(),
    }
}

fn start() -> Registers {
    let mut regs = Registers::default();
    regs.user.rip = CODE;
    regs.user.rsp = DATA + 0x10000;
    regs
}

fn rows(platform: &'static StubPlatform, space: &Arc<dyn AddressSpace>, context: &mut dyn Context) {
    let mut regs = start();
    row("system call", 20, 2000, || {
        assert_eq!(context.switch(&mut regs), Event::Syscall);
        regs.set_return(1);
    });
    row("system call, all registers changed", 20, 2000, || {
        assert_eq!(context.switch(&mut regs), Event::Syscall);
        regs.user.rbx += 1;
        regs.set_return(1);
    });
    let mut unmapped = start();
    unmapped.user.rip = 0x1000_0000;
    row("fault", 20, 1000, || {
        assert!(matches!(context.switch(&mut unmapped), Event::Fault { .. }))
    });
    let at = 0x1_0000_0000;
    row("map + unmap 64 KiB, two orders", 20, 500, || {
        space.apply(&[anonymous(at, 0x10000, RW)]).unwrap();
        space
            .apply(&[Order::Unmap {
                start: at,
                len: 0x10000,
            }])
            .unwrap();
    });
    row("map + unmap 64 KiB, one batch", 20, 500, || {
        space
            .apply(&[
                anonymous(at, 0x10000, RW),
                Order::Unmap {
                    start: at,
                    len: 0x10000,
                },
            ])
            .unwrap();
    });
    let offset = platform.memory_file().allocate(0x10000).unwrap();
    row("map memory file + unmap, one batch", 20, 500, || {
        let backing = Backing::Memory {
            offset,
            shared: true,
        };
        let map = Order::Map {
            start: at,
            len: 0x10000,
            backing,
            prot: RW,
            hint: MapHint::empty(),
        };
        space
            .apply(&[
                map,
                Order::Unmap {
                    start: at,
                    len: 0x10000,
                },
            ])
            .unwrap();
    });
    space.apply(&[anonymous(at, 0x10_0000, RW)]).unwrap();
    let mut buf = vec![1; 1 << 20];
    space.write(at, &buf).unwrap();
    row("read 8 bytes", 20, 5000, || {
        assert_eq!(space.read(at, &mut buf[..8]), Ok(8))
    });
    row("read 4 KiB", 20, 5000, || {
        assert_eq!(space.read(at, &mut buf[..4096]), Ok(4096))
    });
    row("read 1 MiB", 20, 50, || {
        assert_eq!(space.read(at, &mut buf), Ok(1 << 20))
    });
    row("compare-exchange", 20, 1000, || {
        assert_eq!(space.compare_exchange_u32(DATA, 0, 0), Ok(Ok(0)))
    });
    row("fork + drop", 20, 50, || drop(space.fork().unwrap()));
    row("fork, one call of the child, drop", 20, 50, || {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let child = space.fork().unwrap();
        let entry = move |mut context: Box<dyn Context>| {
            send.send(context.switch(&mut start())).unwrap();
        };
        child
            .spawn(
                "child",
                Box::new(move |context| {
                    entry(context);
                    None
                }),
            )
            .unwrap();
        assert_eq!(receive.recv().unwrap(), Event::Syscall);
    });
    row("new address space, one call, drop", 20, 50, || {
        let space = guest(platform);
        space
            .enter(Box::new(|mut context| {
                assert_eq!(context.switch(&mut start()), Event::Syscall);
                None
            }))
            .unwrap();
    });
    row("thread, one call, end", 20, 50, || {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let entry = move |mut context: Box<dyn Context>| {
            send.send(context.switch(&mut start())).unwrap();
        };
        space
            .clone()
            .spawn(
                "thread",
                Box::new(move |context| {
                    entry(context);
                    None
                }),
            )
            .unwrap();
        assert_eq!(receive.recv().unwrap(), Event::Syscall);
    });
}

fn guest(platform: &StubPlatform) -> Arc<dyn AddressSpace> {
    let space = platform.new_address_space().unwrap();
    space
        .apply(&[
            anonymous(CODE, 0x1000, RW | Prot::EXEC),
            anonymous(DATA, 0x10000, RW),
        ])
        .unwrap();
    space.write(CODE, &CALLS).unwrap();
    space
}

fn main() {
    let platform: &'static StubPlatform = Box::leak(Box::new(make()));
    println!("{:44} {:>9} {:>9}", "µs", "best", "median");
    row("native getppid", 20, 10_000, || {
        // SAFETY: no arguments.
        let parent = unsafe { libc::syscall(libc::SYS_getppid) };
        assert!(parent >= 0);
    });
    row("native fork + exit + wait", 20, 50, || {
        // SAFETY: the child only exits; the parent waits for it.
        unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(0);
            }
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    });
    row("native thread create + join", 20, 50, || {
        std::thread::spawn(|| ()).join().unwrap()
    });
    let space = guest(platform);
    let inner = space.clone();
    space
        .enter(Box::new(move |mut context| {
            rows(platform, &inner, &mut *context);
            None
        }))
        .unwrap();
}
