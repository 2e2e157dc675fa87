//! What every test of a real platform needs: one platform per test process, and guests made of machine code.
#![allow(dead_code, missing_docs)]

use std::sync::{Arc, OnceLock};

use platform::stub::HostVdso;
use platform::{
    AddressSpace, Backing, Context, Event, MapHint, Order, Platform, Prot, Registers, StubPlatform,
    ptrace, systrap,
};

pub const RW: Prot = Prot::READ.union(Prot::WRITE);
pub const RX: Prot = Prot::READ.union(Prot::EXEC);
pub const RWX: Prot = RW.union(Prot::EXEC);

/// Where [`guest`] puts the code.
pub const CODE: u64 = 0x40_0000;
/// The start of 64 KiB of stack and data.
pub const DATA: u64 = 0x80_0000;
pub const DATA_LEN: u64 = 0x1_0000;

/// The one that `PLATFORM` names, else ptrace.
fn make() -> StubPlatform {
    let vdso = HostVdso::find();
    match std::env::var("PLATFORM").as_deref() {
        Ok("systrap") => systrap::new(&vdso, Default::default()).unwrap(),
        _ => ptrace::new(&vdso).unwrap(),
    }
}

/// The platform. Its zygote is made by a thread that lives as long as the process, as [`StubPlatform`] asks.
pub fn platform() -> &'static StubPlatform {
    static PLATFORM: OnceLock<StubPlatform> = OnceLock::new();
    PLATFORM.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            send.send(make()).unwrap();
            loop {
                std::thread::park();
            }
        });
        receive.recv().unwrap()
    })
}

pub fn map(start: u64, len: u64, backing: Backing, prot: Prot) -> Order {
    Order::Map {
        start,
        len,
        backing,
        prot,
        hint: MapHint::empty(),
    }
}

pub fn anonymous(start: u64, len: u64, prot: Prot) -> Order {
    map(start, len, Backing::Anonymous, prot)
}

/// An address space with `code` at [`CODE`] and a stack.
pub fn space(code: &[u8]) -> Arc<dyn AddressSpace> {
    let space = platform().new_address_space().unwrap();
    let len = (code.len() as u64).next_multiple_of(4096);
    space
        .apply(&[anonymous(CODE, len, RW), anonymous(DATA, DATA_LEN, RW)])
        .unwrap();
    assert_eq!(space.write(CODE, code), Ok(code.len()));
    space
        .apply(&[Order::Protect {
            start: CODE,
            len,
            prot: RX,
        }])
        .unwrap();
    space
}

pub fn start() -> Registers {
    let mut regs = Registers::default();
    regs.user.rip = CODE;
    regs.user.rsp = DATA + DATA_LEN;
    regs
}

/// Lets the guest run, and looks at all its registers then.
pub fn switch(context: &mut dyn Context, regs: &mut Registers) -> Event {
    let event = context.switch(regs);
    if event != Event::Died {
        // Should it die now, the next switch says so.
        let _ = context.load(regs);
    }
    event
}

/// Runs `body` with a context for a guest thread of `space`, on this thread.
pub fn enter(
    space: &Arc<dyn AddressSpace>,
    body: impl FnOnce(&mut dyn Context, &mut Registers) + Send + 'static,
) {
    space
        .clone()
        .enter(Box::new(move |mut context| {
            body(&mut *context, &mut start());
            None
        }))
        .unwrap();
}

/// Runs `body` with a context of a new guest with this code.
pub fn guest(
    code: &[u8],
    body: impl FnOnce(&dyn AddressSpace, &mut dyn Context, &mut Registers) + Send + 'static,
) {
    let space = space(code);
    let inner = space.clone();
    enter(&space, move |context, regs| body(&*inner, context, regs));
}

/// The events of a guest up to and including the first that is not a system call.
pub fn fate(code: &[u8]) -> (Event, Registers) {
    let (send, receive) = std::sync::mpsc::channel();
    guest(code, move |_, context, regs| {
        let event = switch(context, regs);
        send.send((event, regs.clone())).unwrap();
    });
    receive.recv().unwrap()
}

/// The stub that carries `space`: its pid is what no interface tells, so by a marker in its memory.
pub fn stub_of(space: &dyn AddressSpace, marker: u64) -> i32 {
    space.write(DATA, &marker.to_ne_bytes()).unwrap();
    let me = std::process::id();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str()?.parse::<i32>().ok());
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if !stat.contains("(runsc-stub)") || !stat.contains(&format!(" {me} ")) {
            continue;
        }
        let Ok(mem) = std::fs::File::open(format!("/proc/{pid}/mem")) else {
            continue;
        };
        let mut word = [0; 8];
        if std::os::unix::fs::FileExt::read_at(&mem, &mut word, DATA).is_ok_and(|n| n == 8)
            && u64::from_ne_bytes(word) == marker
        {
            return pid;
        }
    }
    panic!("no stub has the marker");
}

/// Its mappings.
pub fn maps_of(space: &dyn AddressSpace, marker: u64) -> String {
    std::fs::read_to_string(format!("/proc/{}/maps", stub_of(space, marker))).unwrap()
}

/// The parts of the stub's own area, as the host has them.
pub fn area(maps: &str, rights: &str) -> Vec<std::ops::Range<u64>> {
    let end = platform().user_range().end;
    maps.lines()
        .filter(|line| line.contains(rights))
        .filter_map(|line| line.split_whitespace().next()?.split_once('-'))
        .map(|(a, b)| u64::from_str_radix(a, 16).unwrap()..u64::from_str_radix(b, 16).unwrap())
        .filter(|range| range.start >= end && range.start < 1 << 63)
        .collect()
}

/// The bytes between two labels of a `global_asm!` of the test.
#[macro_export]
macro_rules! blob {
    ($name:ident, $code:literal $(, $($operand:tt)*)?) => {
        std::arch::global_asm!(
            concat!(".pushsection .rodata\n.globl blob_", stringify!($name), "_start\nblob_", stringify!($name), "_start:\n"),
            $code,
            concat!("\n.globl blob_", stringify!($name), "_end\nblob_", stringify!($name), "_end:\n.popsection\n")
            $(, $($operand)*)?
        );
        fn $name() -> &'static [u8] {
            unsafe extern "C" {
                #[link_name = concat!("blob_", stringify!($name), "_start")]
                static START: [u8; 0];
                #[link_name = concat!("blob_", stringify!($name), "_end")]
                static END: [u8; 0];
            }
            let (start, end) = ((&raw const START).cast::<u8>(), (&raw const END).cast::<u8>());
            // SAFETY: the labels enclose read-only data of this binary.
            unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
        }
    };
}
