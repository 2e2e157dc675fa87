//! What a guest runs on: its memory, its threads' registers, and the way its system calls and faults reach the sentry.
//!
//! This file is the seam. Above it nothing knows which platform is in use; below it [`stub`] holds the host processes that carry
//! guest memory, [`ptrace`] and [`systrap`] run guest threads in them, and [`memory_file`] holds the memory that more than one guest
//! process sees.
//! [`mock`] is an address space without a host process, for the unit tests of everything above.
//!
//! ```text
//!  sentry thread            Context::switch                 host thread in the stub process
//!  ─────────────            ───────────────                 ────────────────────────────────
//!  serve the event  ──regs──▶ run guest code ──────────────▶ … `syscall`, fault, interrupt
//!        ▲                                                         │
//!        └────────────── Event ◀───────────────────────────────────┘
//! ```
//!
//! The home of `unsafe`: every crate above forbids it.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::{Errno, Iovec};

/// What anything that fails with an error number (or, for guest memory, a [`Fault`]) returns.
pub type Result<T, E = Errno> = core::result::Result<T, E>;

mod edges;
pub mod hostsocket;
mod interrupt;
mod last_usage;
pub mod memory_file;
pub mod mock;
mod placement;
mod probe;
pub mod ptrace;
mod registers;
mod space;
pub mod stub;
pub mod systrap;
mod watch;
mod workers;

pub use last_usage::LastUsage;
pub use memory_file::MemoryFile;
pub use placement::{Mask as CpuSet, all as processors};
pub use probe::{Finding, HostCall, SENTRY_CALLS, choose, probe, self_test, sentry_calls};
pub use registers::Registers;
pub use space::StubPlatform;
pub use stub::raw::{current_cpu, host_rseq, rdtsc};
pub use stub::thread_cpu_time;

bitflags::bitflags! {
    /// What guest code may do with a page (mprotect(2)).
    #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Prot: u32 {
        /// `PROT_READ`
        const READ = 1;
        /// `PROT_WRITE`
        const WRITE = 2;
        /// `PROT_EXEC`
        const EXEC = 4;
    }
}

bitflags::bitflags! {
    /// Wishes that go with a new mapping (mmap(2)'s flags of the same names).
    #[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MapHint: u32 {
        /// `MAP_NORESERVE`: not counted against the host's overcommit limit.
        const NORESERVE = 1;
        /// `MAP_POPULATE`: faulted in before the order completes.
        const POPULATE = 2;
        /// Refuse with `EEXIST` where something is mapped already, instead of replacing it.
        const NOREPLACE = 4;
    }
}

/// What guest code tried when it faulted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
    /// This platform cannot tell; the mapping usually can (a fault where reading is allowed was a write).
    Unknown,
}

/// Guest memory that could not be reached: nothing is mapped there, or not with the rights asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first address that could not be reached.
    pub addr: u64,
}

impl From<Fault> for Errno {
    fn from(_: Fault) -> Errno {
        Errno::EFAULT
    }
}

/// Why [`Context::switch`] came back.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A 64-bit `syscall` instruction: the number is `orig_rax`, the arguments rdi, rsi, rdx, r10, r8, r9, the return address `rip`.
    Syscall,
    /// A 32-bit entry (`int 0x80`, `sysenter`, `syscall` in compatibility mode): no such calls are served.
    Syscall32,
    /// A fault on memory: SIGSEGV or SIGBUS, with the host's `si_code` (which knows the host's mappings, not the guest's VMAs).
    Fault {
        /// `SIGSEGV` or `SIGBUS`.
        signo: i32,
        /// The host's `si_code`; `SI_KERNEL` (0x80) for a general protection fault, whose address is unknown (0).
        code: i32,
        /// `si_addr`
        addr: u64,
        /// What was tried.
        access: Access,
    },
    /// Any other exception of the processor: SIGILL, SIGFPE, SIGTRAP, and SIGBUS for alignment.
    Exception {
        /// The signal that Linux gives for it.
        signo: i32,
        /// `si_code`
        code: i32,
        /// `si_addr`
        addr: u64,
        /// The processor's exception number as a signal frame shows it (`REG_TRAPNO`).
        trapno: u64,
    },
    /// [`Interrupter::interrupt`] was called since the last switch that returned this.
    Interrupted,
    /// The host thread is gone (the host's OOM killer, a kill from outside): the task must die as if by SIGKILL.
    Died,
}

/// Where the contents of a mapping come from.
#[derive(Clone, Debug)]
pub enum Backing {
    /// Private anonymous memory of the address space itself.
    Anonymous,
    /// A host file. `shared: false` must never be writable (`EINVAL`): the caller copies instead, so that the host's copy-on-write never
    /// meets an image layer.
    File {
        /// The file, opened with the rights that the mapping will ever need.
        fd: Arc<OwnedFd>,
        /// Offset in the file, a multiple of the page size.
        offset: u64,
        /// Whether stores reach the file.
        shared: bool,
    },
    /// The sandbox's memory file.
    Memory {
        /// Offset in the memory file, a multiple of the page size.
        offset: u64,
        /// `false`: copy-on-write.
        shared: bool,
    },
}

/// One change to an address space. Ranges are whole pages inside [`Platform::user_range`]; the platform refuses others with `EINVAL`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Order {
    /// Map, replacing what is there.
    Map {
        start: u64,
        len: u64,
        backing: Backing,
        prot: Prot,
        hint: MapHint,
    },
    /// munmap(2)
    Unmap { start: u64, len: u64 },
    /// mprotect(2): everything in the range is mapped.
    Protect { start: u64, len: u64, prot: Prot },
    /// mremap(2): `old` and `new` are equal (grow or shrink in place) or do not overlap. What was mapped at `new` is replaced.
    Relocate {
        old: u64,
        old_len: u64,
        new: u64,
        new_len: u64,
        dont_unmap: bool,
    },
    /// madvise(2) with one of the advices that cannot hurt the host (no `MADV_HWPOISON`, no `MADV_SOFT_OFFLINE`).
    Advise { start: u64, len: u64, advice: i32 },
    /// mlock2(2)
    Lock {
        start: u64,
        len: u64,
        on_fault: bool,
    },
    /// munlock(2)
    Unlock { start: u64, len: u64 },
}

/// The seccomp filters of stub threads.
pub fn filters() -> &'static [&'static stub::FilterSpec] {
    &[&stub::SPAWNER, &stub::HELPER, &stub::GUEST, &stub::NOTIFIED]
}

/// What the host counted of an address space since it was made, as getrusage(2) has it; the platform's own share is in it.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HostUsage {
    /// The most pages that were ever resident at once, about: the host counts in batches.
    pub peak_rss: u64,
    /// Page faults that needed no input.
    pub minor_faults: u64,
    /// Page faults that did.
    pub major_faults: u64,
    /// How often a thread lost its processor to another.
    pub preemptions: u64,
}

/// What a sandbox runs on.
pub trait Platform: Send + Sync {
    /// `"ptrace"`, `"systrap"`, `"kvm"`.
    fn name(&self) -> &'static str;
    /// The memory that more than one address space, or the sentry itself, sees.
    fn memory_file(&self) -> &Arc<MemoryFile>;
    /// A new, empty address space.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>>;
    /// The addresses a guest may map.
    fn user_range(&self) -> Range<u64>;
    /// Where the host's vDSO (its data pages before it) is mapped in every address space, outside [`Platform::user_range`]. The start of the
    /// returned range is the ELF image, its end the end of it.
    fn host_vdso(&self) -> Option<Range<u64>>;
}

/// The body of a guest thread's task thread. It returns where the guest thread goes on (execve), or `None` at its end. The platform drops the
/// context it handed in before it makes the next; whether the next body runs on the same sentry thread is the platform's choice.
pub type Entry = Box<dyn FnOnce(Box<dyn Context>) -> Option<Handoff> + Send>;

/// A guest thread's move into another address space.
pub struct Handoff {
    /// Where to.
    pub address_space: Arc<dyn AddressSpace>,
    /// What runs there.
    pub entry: Entry,
}

/// The memory of one guest process. Dropping the last reference frees it, whatever it holds.
pub trait AddressSpace: Send + Sync {
    /// Carries out the orders in turn and stops at the first that fails; those before it stay done.
    fn apply(&self, orders: &[Order]) -> Result<()>;
    /// A copy as fork(2) makes it: private memory is copy-on-write, shared memory is shared. It has no guest threads.
    fn fork(&self) -> Result<Arc<dyn AddressSpace>>;

    /// Copies guest memory at `addr` into `buf`; how many bytes came before a fault. `Err` only if none did and `buf` is not empty.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Fault>;
    /// Copies `buf` to guest memory, as a store of the guest would: a read-only page is a fault.
    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Fault>;
    /// [`AddressSpace::read`] of several ranges, one after the other, into one buffer.
    fn readv(&self, remote: &[Iovec], buf: &mut [u8]) -> Result<usize, Fault>;
    /// [`AddressSpace::write`] of one buffer to several ranges, one after the other.
    fn writev(&self, remote: &[Iovec], buf: &[u8]) -> Result<usize, Fault>;

    /// Atomic against guest code. `addr` is a multiple of 4. `Ok(Ok(old))` if `old` was there and `new` now is, else `Ok(Err(found))`.
    fn compare_exchange_u32(
        &self,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, Fault>;
    /// A load of an aligned word.
    fn load_u32(&self, addr: u64) -> Result<u32, Fault>;
    /// Replaces a word by what `update` makes of it, atomically against guest code (FUTEX_WAKE_OP). The value before.
    fn fetch_update_u32(
        &self,
        addr: u64,
        update: &mut dyn FnMut(u32) -> u32,
    ) -> Result<u32, Fault> {
        let mut now = self.load_u32(addr)?;
        loop {
            match self.compare_exchange_u32(addr, now, update(now))? {
                Ok(old) => return Ok(old),
                Err(found) => now = found,
            }
        }
    }

    /// mincore(2): one byte per page, bit 0 set where it is resident. `ENOMEM` where something in the range is not mapped.
    fn mincore(&self, start: u64, len: u64, resident: &mut [u8]) -> Result<()>;
    /// How many pages of the given mapped ranges are resident.
    fn rss(&self, mapped: &[Range<u64>]) -> u64;
    /// Whether its host process is still there. If not, no memory of it will ever be reached again.
    fn alive(&self) -> bool;
    /// What the host has counted of it. One question, however much is mapped.
    fn usage(&self) -> HostUsage;
    /// The same, told when it is gone: without a question, so that its end is not waited for. `None` where that is not known then.
    fn last_usage(&self) -> Option<Arc<LastUsage>> {
        None
    }
    /// Processor time that guest code in this address space has used, in nanoseconds.
    fn cpu_time(&self) -> u64;
    /// Lets the host's ps(1) show this as the command of the process that carries this address space, if there is one: its pid as the sentry sees it.
    fn show_as(&self, command: &str) -> Option<i32> {
        let _ = command;
        None
    }

    /// Makes a host thread for a new guest thread and a sentry thread that runs `entry` with it.
    fn spawn(self: Arc<Self>, name: &str, entry: Entry) -> Result<()>;
    /// Runs `entry` to its end with a host thread of this address space, for the calling sentry thread, whose former [`Context`] is dropped. Platforms
    /// that can go on in the same sentry thread do so here; see [`run_to_end`].
    fn enter(self: Arc<Self>, entry: Entry) -> Result<Option<Handoff>>;
}

/// The body of a sentry thread that [`AddressSpace::spawn`] made: `entry`, and what it hands off to, in turn.
pub fn run_to_end(space: Arc<dyn AddressSpace>, entry: Entry) {
    let mut next = Some(Handoff {
        address_space: space,
        entry,
    });
    while let Some(Handoff {
        address_space,
        entry,
    }) = next
    {
        next = match address_space.enter(entry) {
            Ok(next) => next,
            Err(errno) => {
                log::error!("a guest thread could not enter its address space: {errno}");
                None
            }
        };
    }
}

/// What calls return that only ask who one is: what can change by calls of the guest thread itself only.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// getpid(2)
    pub pid: u32,
    /// gettid(2)
    pub tid: u32,
    /// getuid(2)
    pub uid: u32,
    /// geteuid(2)
    pub euid: u32,
    /// getgid(2)
    pub gid: u32,
    /// getegid(2)
    pub egid: u32,
}

/// A thread's area for restartable sequences (rseq(2)), in guest memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RseqArea {
    /// Where it is.
    pub addr: u64,
    /// How long.
    pub len: u32,
    /// What must be in front of every place where a sequence that is broken off goes on.
    pub sig: u32,
}

impl RseqArea {
    /// The arguments of the call that registers it, or, with the flag `RSEQ_FLAG_UNREGISTER`, undoes that.
    fn call(&self, flags: u64) -> [u64; 4] {
        [self.addr, u64::from(self.len), flags, u64::from(self.sig)]
    }
}

/// Runs one guest thread. Owned and used by that task's own sentry thread only.
pub trait Context: Send {
    /// Runs guest code from `regs` until something happens; `regs` is then as the guest left it, after a system call perhaps only in part
    /// ([`Registers::partial`]). Registers that no program may have
    /// (selectors, reserved flags) are corrected, a `fs_base` or `gs_base` outside user space is a `SIGSEGV` fault.
    fn switch(&mut self, regs: &mut Registers) -> Event;
    /// Completes registers of which [`Context::switch`] gave only what came with a system call; `rax` and `orig_rax` stay as they are. Does
    /// nothing to complete ones. Fails if the thread is gone, which the next switch reports.
    fn load(&mut self, regs: &mut Registers) -> Result<()>;
    /// The thread's extended state, as XSAVE (standard format) lays it out on this host. Registers must be complete, as for the next two.
    fn fp_state(&mut self) -> Result<Vec<u8>>;
    /// Replaces it. Shorter images are completed with initial state; `EINVAL` for a header the processor would refuse.
    fn set_fp_state(&mut self, image: &[u8]) -> Result<()>;
    /// The state a program starts with.
    fn reset_fp_state(&mut self);
    /// The processors that the guest thread may run on, and its sentry thread with it; `EINVAL` if the host lets it on none of them. A new context's
    /// thread may run on all [`processors`].
    fn set_affinity(&mut self, cpus: &CpuSet) -> Result<()>;
    /// Can [`Context::publish`] spare the guest calls?
    fn publishes(&self) -> bool {
        false
    }
    /// The next switches may answer these calls without coming back; `None`: all are to be told.
    fn publish(&mut self, _facts: Option<Facts>) {}
    /// Registers the thread's area with the host, which alone knows when the thread is moved or preempted; `None` undoes it, as the end of the
    /// context does. Registers are completed where the thread has to be stopped for it. `ENOSYS` where [`host_rseq`] finds nothing.
    fn set_rseq(&mut self, regs: &mut Registers, area: Option<RseqArea>) -> Result<()> {
        let _ = (regs, area);
        Err(Errno::ENOSYS)
    }
    /// A handle with which any thread can end this context's current or next switch.
    fn interrupter(&self) -> Interrupter;
}

/// What an [`Interrupter`] pulls. Implemented by each platform.
pub trait Interrupt: Send + Sync {
    /// See [`Interrupter::interrupt`].
    fn interrupt(&self);
}

/// Ends a [`Context`]'s current or next switch, from any thread.
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Interrupt>);

impl Interrupter {
    /// For platforms and tests.
    pub fn new(target: Arc<dyn Interrupt>) -> Interrupter {
        Interrupter(target)
    }

    /// Makes the current switch, or if none is under way the next, return [`Event::Interrupted`] promptly. Several calls before that may
    /// be answered by one such event; none is lost. Does nothing once the context is gone.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupter")
    }
}
