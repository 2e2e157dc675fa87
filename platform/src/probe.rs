//! What this host can run: `runsc-rs platforms`, and the choice behind `--platform=auto`.

use std::sync::Arc;

use abi::x86::UserRegs;

use crate::stub::HostVdso;
use crate::{
    Backing, Entry, Event, MapHint, Order, Platform, Prot, Registers, StubPlatform, ptrace, systrap,
};

/// A platform and whether it works here.
#[derive(Debug)]
pub struct Finding {
    /// Its name, as `--platform` takes it.
    pub name: &'static str,
    /// `Err` says what does not work.
    pub usable: Result<(), String>,
}

/// The best platform that passes its self-test, for a sandbox: see [`StubPlatform`] for when to call it.
pub fn choose(vdso: &HostVdso, options: systrap::Options) -> crate::Result<StubPlatform> {
    let found = match systrap::missing() {
        Some(why) => Err(why),
        None => systrap::new(vdso, options)
            .map_err(|error| error.to_string())
            .and_then(|platform| self_test(&platform).map(|()| platform)),
    };
    found.or_else(|why| {
        log::info!("not systrap: {why}");
        ptrace::new(vdso)
    })
}

/// Tries every platform, the best first. To be called by a thread that has not locked anything and, because stubs are made and destroyed,
/// before the sandbox's own platform is.
pub fn probe() -> Vec<Finding> {
    let vdso = HostVdso::find();
    let try_out = |made: crate::Result<StubPlatform>| {
        let platform = made.map_err(|error| format!("no stub process could be made: {error}"))?;
        self_test(&platform)
    };
    vec![
        Finding {
            name: "systrap",
            usable: match systrap::missing() {
                Some(why) => Err(why),
                None => try_out(systrap::new(&vdso, systrap::Options::default())),
            },
        },
        Finding {
            name: "ptrace",
            usable: try_out(ptrace::new(&vdso)),
        },
    ]
}

/// `mov eax, 39; syscall; mov dword ptr [rbx], eax; jmp back`
const PROGRAM: [u8; 11] = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x89, 0x03, 0xeb, 0xf5];
const CODE: u64 = 0x40_0000;
const DATA: u64 = 0x50_0000;
const RESULT: u64 = 0x1234_5678;

/// Runs a few instructions of a guest: a system call, a store, a fault, a copy of its process, an interrupt.
pub fn self_test(platform: &dyn Platform) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Debug| format!("{what}: {error:?}");
    let space = platform
        .new_address_space()
        .map_err(|e| failed("no address space", &e))?;
    let map = |start, prot| Order::Map {
        start,
        len: 0x1000,
        backing: Backing::Anonymous,
        prot,
        hint: MapHint::empty(),
    };
    let seal = Order::Protect {
        start: CODE,
        len: 0x1000,
        prot: Prot::READ | Prot::EXEC,
    };
    let rw = Prot::READ | Prot::WRITE;
    space
        .apply(&[map(CODE, rw), map(DATA, rw)])
        .map_err(|e| failed("no memory could be mapped", &e))?;
    space
        .write(CODE, &PROGRAM)
        .map_err(|e| failed("guest memory cannot be written", &e))?;
    space
        .apply(&[seal])
        .map_err(|e| failed("memory could not be protected", &e))?;
    for (space, whose) in [
        (space.clone(), "process"),
        (
            space.fork().map_err(|e| failed("no fork", &e))?,
            "copy of a process",
        ),
    ] {
        let outcome: Arc<sync::Mutex<Result<(), String>>> = Arc::new(sync::Mutex::new(Err(
            "its guest thread did not run".to_owned(),
        )));
        let told = outcome.clone();
        let entry: Entry = Box::new(move |mut context| {
            *told.lock() = play(&mut *context);
            None
        });
        space
            .clone()
            .enter(entry)
            .map_err(|e| failed("no guest thread", &e))?;
        outcome
            .lock()
            .clone()
            .map_err(|why| format!("in a {whose}: {why}"))?;
        if space.compare_exchange_u32(DATA, RESULT as u32, 7) != Ok(Ok(RESULT as u32)) {
            return Err(format!("in a {whose}: no atomic access to guest memory"));
        }
    }
    Ok(())
}

fn play(context: &mut dyn crate::Context) -> Result<(), String> {
    let mut regs = Registers {
        user: UserRegs {
            rip: CODE,
            rbx: DATA,
            ..UserRegs::default()
        },
        partial: false,
    };
    let mut expect = |regs: &mut Registers, want: fn(&Event) -> bool, what: &str| {
        let event = context.switch(regs);
        if want(&event) {
            context
                .load(regs)
                .map_err(|error| format!("its registers cannot be read: {error}"))
        } else {
            Err(format!("{event:?} instead of {what}"))
        }
    };
    expect(&mut regs, |e| *e == Event::Syscall, "a system call")?;
    if regs.user.rbx != DATA || regs.user.orig_rax != 39 {
        return Err("its registers are not what they were".to_owned());
    }
    regs.set_return(RESULT);
    expect(&mut regs, |e| *e == Event::Syscall, "a second system call")?;
    regs.user.rip = 0x10;
    expect(
        &mut regs,
        |e| {
            matches!(
                e,
                Event::Fault {
                    signo: libc::SIGSEGV,
                    addr: 0x10,
                    ..
                }
            )
        },
        "a fault",
    )?;
    context.interrupter().interrupt();
    match context.switch(&mut regs) {
        Event::Interrupted => Ok(()),
        event => Err(format!("{event:?} instead of an interrupt")),
    }
}

/// A call that this crate makes from the sentry's threads, for the sentry's own filter.
#[derive(Debug)]
pub struct HostCall {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub nr: i64,
    /// What for.
    pub reason: &'static str,
    /// The platforms that need it; empty for all.
    pub only_on: &'static [&'static str],
}

/// What a platform needs of the sentry's filter.
pub fn sentry_calls(platform: &str) -> impl Iterator<Item = &'static HostCall> {
    SENTRY_CALLS
        .iter()
        .filter(move |call| call.only_on.is_empty() || call.only_on.contains(&platform))
}

macro_rules! calls {
    ($($name:ident $nr:ident $(on $platform:literal)?: $reason:literal,)*) => {
        &[$(HostCall { name: stringify!($name), nr: libc::$nr, reason: $reason, only_on: &[$($platform)?] }),*]
    };
}

/// What the platforms need of the sentry's filter once it has been made. (Making it needs more: see [`crate::stub`].)
pub const SENTRY_CALLS: &[HostCall] = calls! {
    ioctl SYS_ioctl: "receives and answers the calls of guest threads, orders helpers (systrap)",
    recvmsg SYS_recvmsg: "a new thread's listener (systrap)",
    ptrace SYS_ptrace on "ptrace": "runs guest threads (stub threads only: others are not the sentry's to trace)",
    wait4 SYS_wait4: "waits for guest threads to stop; reaps stubs",
    process_vm_readv SYS_process_vm_readv: "reads guest memory",
    process_vm_writev SYS_process_vm_writev: "writes guest memory",
    tgkill SYS_tgkill: "interrupts a guest thread",
    kill SYS_kill: "ends a stub with its address space",
    sendmsg SYS_sendmsg: "wakes a stub's spawner, with the file of a mapping",
    recvfrom SYS_recvfrom: "the spawner's answer",
    socketpair SYS_socketpair: "a forked stub's socket (AF_UNIX)",
    close SYS_close: "a stub's socket, when it is gone",
    sched_setaffinity SYS_sched_setaffinity: "keeps a guest thread on its sentry thread's processor",
    prctl SYS_prctl: "a sentry thread takes the name of its task (PR_SET_NAME)",
    clock_gettime SYS_clock_gettime: "processor time of a stub",
    fcntl SYS_fcntl: "is the file of a private mapping open for writing? (F_GETFL); descriptors kept for listeners (F_DUPFD_CLOEXEC)",
    ftruncate SYS_ftruncate: "the memory file grows",
    fallocate SYS_fallocate: "freed ranges of the memory file are punched out",
    pread64 SYS_pread64: "reads the memory file",
    pwrite64 SYS_pwrite64: "writes the memory file",
    fstat SYS_fstat: "how much of the memory file is resident",
    mmap SYS_mmap: "the sentry's window on the memory file",
    munmap SYS_munmap: "the same",
};

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_not_listed_twice() {
        let mut names: Vec<_> = super::SENTRY_CALLS.iter().map(|call| call.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), super::SENTRY_CALLS.len());
    }
}
