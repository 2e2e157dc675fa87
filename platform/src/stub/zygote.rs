//! The zygote: a copy of the sentry made before it starts threads, which forgets everything but the stub's own area and then is the first
//! stub. Every other stub is a copy of it or of a copy.
//!
//! It is to be started when the sentry has the namespaces, the root directory and the user that the sandbox will have, because it inherits
//! them; capabilities it gives up by itself. The thread that starts it must live as long as the sandbox: the host kills a stub when the thread
//! that made the zygote ends (PR_SET_PDEATHSIG).

use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use abi::{Errno, Result};

use super::layout::*;
use super::order_book::OrderBook;
use super::process::{GuestKind, Process, socket_pair};
use super::{filter, raw, text};

/// The vDSO of this process and the pages of data that go with it, as /proc/self/maps has them.
#[derive(Clone, Debug, Default)]
pub struct HostVdso {
    /// Pieces in ascending order, each following the one before; the last is the ELF image.
    pieces: Vec<Range<u64>>,
}

impl HostVdso {
    /// Reads /proc/self/maps. Without one (or with a vDSO that is not in one piece with its data) stubs have none.
    pub fn find() -> HostVdso {
        std::fs::read_to_string("/proc/self/maps")
            .map_or_else(|_| HostVdso::default(), |maps| HostVdso::parse(&maps))
    }

    fn parse(maps: &str) -> HostVdso {
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut image = false;
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            let range = words.next().and_then(|range| range.split_once('-'));
            let name = words.nth(4).unwrap_or_default();
            let Some((Ok(start), Ok(end))) =
                range.map(|(s, e)| (u64::from_str_radix(s, 16), u64::from_str_radix(e, 16)))
            else {
                continue;
            };
            if name.starts_with("[vvar") || name == "[vdso]" {
                pieces.push(start..end);
                image = name == "[vdso]";
            }
        }
        let joined = pieces
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.end == b.start));
        let len = pieces.last().map_or(0, |l| l.end) - pieces.first().map_or(0, |f| f.start);
        if image && joined && pieces.len() > 1 && len <= VDSO_ROOM {
            HostVdso { pieces }
        } else {
            HostVdso::default()
        }
    }

    /// Where the image is in every stub.
    pub fn image(&self) -> Option<Range<u64>> {
        let (first, last) = (self.pieces.first()?, self.pieces.last()?);
        Some(VDSO + (last.start - first.start)..VDSO + (last.end - first.start))
    }
}

/// Prepares what the zygote needs, forks it, and waits until it is ready.
pub fn start(kind: GuestKind, vdso: &HostVdso) -> Result<Process> {
    let book = Arc::new(OrderBook::new()?);
    let page = book.clone().page()?;
    let (ours, theirs) = socket_pair()?;
    let data = data_page();
    // SAFETY: getpid and getppid have no arguments.
    let parent = unsafe { libc::getpid() };
    // Not on the calling stack, which may be where the stub's area will be.
    let plan = Box::new(Plan {
        kind,
        parent,
        socket: theirs.as_raw_fd(),
        book: book.fd().as_raw_fd(),
        page: page.offset(),
        data: &data,
        vdso: &vdso.pieces,
        rseq: registered_rseq(),
    });
    // A stack of its own, which is surely not where the stub's area will be.
    let stack = Stack::new()?;
    // SAFETY: a plain copy of this process without a stack of its own, as fork makes it, but without an exit signal, so that no wait() for any
    // child reaps it or its copies by accident. The child calls nothing of the C library and never returns.
    let pid = unsafe { raw::call(libc::SYS_clone, [0; 6]) }?;
    if pid == 0 {
        // SAFETY: this is the child; `plan` and what it points to are its own copies; the stack is mapped and unused.
        unsafe { on_stack(stack.top(), &plan) }
    }
    drop(theirs);
    let pid = i32::try_from(pid).map_err(|_| Errno::EAGAIN)?;
    Process::zygote(kind, pid, ours, page)
}

/// What the child is told.
struct Plan<'a> {
    kind: GuestKind,
    parent: i32,
    socket: RawFd,
    book: RawFd,
    page: u64,
    data: &'a [u8; DATA_LEN as usize],
    vdso: &'a [Range<u64>],
    rseq: Option<(u64, u32)>,
}

/// The signals that are not blocked in a stub: what the processor raises, and the interrupt. Nothing else is for its threads.
const OPEN: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGSYS,
    super::INTERRUPT,
];

fn data_page() -> Box<[u8; DATA_LEN as usize]> {
    let mut page = Box::new([0u8; DATA_LEN as usize]);
    for (n, byte) in page.iter_mut().take(256).enumerate() {
        *byte = n as u8;
    }
    let mut put = |at: u64, bytes: &[u8]| {
        let at = (at - DATA) as usize;
        page[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(IOVEC, &MESSAGE_DATA.to_ne_bytes());
    put(IOVEC + 8, &8u64.to_ne_bytes());
    put(
        PROCESSORS,
        zerocopy::IntoBytes::as_bytes(crate::placement::all()),
    );
    let blocked = !OPEN
        .iter()
        .fold(0u64, |set, signal| set | 1 << (signal - 1));
    put(SIGNAL_MASK, &blocked.to_ne_bytes());
    // iovec: one byte that says DONE. cmsghdr: length, SOL_SOCKET, SCM_RIGHTS, and the descriptor. msghdr without a name.
    put(LISTENER_IOVEC, &(TABLE + u64::from(DONE)).to_ne_bytes());
    put(LISTENER_IOVEC + 8, &1u64.to_ne_bytes());
    let right = [
        20,
        0,
        libc::SOL_SOCKET as u32,
        libc::SCM_RIGHTS as u32,
        DONATED_FD as u32,
    ];
    put(LISTENER_CONTROL, zerocopy::IntoBytes::as_bytes(&right));
    let message = [0, 0, LISTENER_IOVEC, 1, LISTENER_CONTROL, 24, 0];
    put(LISTENER_MESSAGE, zerocopy::IntoBytes::as_bytes(&message));
    // FCW and MXCSR as a program starts with them.
    put(INITIAL_STATE, &0x37fu32.to_ne_bytes());
    put(INITIAL_STATE + 24, &0x1f80u32.to_ne_bytes());
    for cpu in 0..MASKS {
        put(PROCESSOR + 8 * cpu, &(1u64 << cpu).to_ne_bytes());
    }
    let mut at = PROGRAMS;
    for (head, spec) in [
        (SPAWNER_PROGRAM, &filter::SPAWNER),
        (HELPER_PROGRAM, &filter::HELPER),
        (GUEST_PROGRAM, &filter::GUEST),
        (NOTIFIED_PROGRAM, &filter::NOTIFIED),
    ] {
        let program = spec.program();
        put(head, &(program.len() as u64).to_ne_bytes());
        put(head + 8, &at.to_ne_bytes());
        put(at, program.as_flattened());
        at += 8 * program.len() as u64;
    }
    page
}

/// A mapping for the zygote's Rust code to run on.
struct Stack(*mut libc::c_void);

impl Stack {
    const LEN: usize = 128 << 10;

    fn new() -> Result<Stack> {
        use rustix::mm::{MapFlags, ProtFlags};
        // SAFETY: a new mapping where the kernel likes it.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                Stack::LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        base.map(Stack)
            .map_err(|e| Errno::from_raw(e.raw_os_error()))
    }

    fn top(&self) -> u64 {
        self.0.addr() as u64 + Stack::LEN as u64
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; only the child used it, and that was its copy.
        let _ = unsafe { rustix::mm::munmap(self.0, Stack::LEN) };
    }
}

/// Leaves the calling stack for good and runs the zygote's preparations on another.
///
/// # Safety
/// Only in the forked child, with `top` the end of mapped, unused memory.
unsafe fn on_stack(top: u64, plan: &Plan<'_>) -> ! {
    // SAFETY: `prepare` never returns, so nothing on the old stack is used again but what `plan` points to, which stays mapped until then.
    unsafe {
        std::arch::asm!(
            "mov rsp, {top}",
            "and rsp, -16",
            "xor ebp, ebp",
            "call {prepare}",
            "ud2",
            top = in(reg) top,
            prepare = sym prepare,
            in("rdi") plan,
            options(noreturn),
        )
    }
}

/// Everything that the stub's own code cannot do for itself, then the jump there. Ends the process on any failure.
extern "C" fn prepare(plan: &Plan<'_>) -> ! {
    let outcome = posture(plan)
        .and_then(|()| descriptors(plan))
        .and_then(|()| area(plan));
    if outcome.is_ok() {
        // SAFETY: TEXT holds the stub's code; it needs no stack and no memory but the area that has been prepared.
        unsafe { std::arch::asm!("jmp {}", in(reg) TEXT, options(noreturn)) }
    }
    // SAFETY: ends this process.
    let _ = unsafe { raw::call(libc::SYS_exit_group, [1, 0, 0, 0, 0, 0]) };
    std::process::abort()
}

/// Makes a system call whose failure ends the zygote.
fn must(nr: i64, args: [u64; 6]) -> Result<u64> {
    // SAFETY: every call made through this is of the forked child on its own attributes, descriptors, or on mappings in the stub's area, where
    // no Rust object lives: on_stack's stack and the image were placed below it by the kernel.
    unsafe { raw::call(nr, args) }
}

const NONE: u64 = u64::MAX;

/// What the process is allowed, and how it dies.
fn posture(plan: &Plan<'_>) -> Result<()> {
    let prctl = |option: i32, value: u64| must(libc::SYS_prctl, [option as u64, value, 0, 0, 0, 0]);
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)?;
    // The sentry may have died before that.
    if must(libc::SYS_getppid, [0; 6])? != plan.parent as u64 {
        return Err(Errno::ESRCH);
    }
    // No capability: the sentry may trace stubs only if it has all that they have, and they need none.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0u32; 6];
    must(
        libc::SYS_capset,
        [
            header.as_ptr().addr() as u64,
            none.as_ptr().addr() as u64,
            0,
            0,
            0,
            0,
        ],
    )?;
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // process_vm_readv and ptrace ask for it.
    prctl(libc::PR_SET_DUMPABLE, 1)?;
    let name = *b"runsc-stub\0\0\0\0\0\0";
    prctl(libc::PR_SET_NAME, name.as_ptr().addr() as u64)?;
    let zero = [0u64; 2];
    must(
        libc::SYS_prlimit64,
        [
            0,
            u64::from(libc::RLIMIT_CORE),
            zero.as_ptr().addr() as u64,
            0,
            0,
            0,
        ],
    )?;
    // Intel AMX: a process must ask before it may use the tile registers. Guests ask the sentry, which cannot ask for them later.
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    let _ = must(libc::SYS_arch_prctl, [ARCH_REQ_XCOMP_PERM, 18, 0, 0, 0, 0]);

    // struct sigaction of the kernel: handler, flags, restorer, mask. A traced guest thread is stopped before any handler; what it needs is
    // that a late interrupt is ignored.
    const SA_RESTORER: u64 = 0x0400_0000;
    let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER;
    for signal in 1..=64u64 {
        let number = signal as i32;
        if matches!(number, libc::SIGKILL | libc::SIGSTOP) {
            continue;
        }
        let handled = match plan.kind {
            GuestKind::Traced => matches!(number, libc::SIGSEGV | libc::SIGBUS),
            GuestKind::Notified => OPEN.contains(&number) && number != libc::SIGSYS,
        };
        let (handler, flags) = if handled {
            (text::handler(), flags)
        } else {
            (0, 0)
        };
        let action = [handler, flags, text::handler(), u64::MAX];
        must(
            libc::SYS_rt_sigaction,
            [signal, action.as_ptr().addr() as u64, 0, 8, 0, 0],
        )?;
    }
    // Guest threads inherit the mask.
    let blocked = &plan.data[(SIGNAL_MASK - DATA) as usize..];
    must(
        libc::SYS_rt_sigprocmask,
        [
            libc::SIG_SETMASK as u64,
            blocked.as_ptr().addr() as u64,
            0,
            8,
            0,
            0,
        ],
    )?;
    if let Some((area, len)) = plan.rseq {
        // The host would go on writing to an area that is about to be unmapped, and kill the process for it.
        const UNREGISTER: u64 = 1;
        must(
            libc::SYS_rseq,
            [area, u64::from(len), UNREGISTER, RSEQ_SIGNATURE, 0, 0],
        )?;
    }
    Ok(())
}

/// The socket and the order book at their numbers, nothing else.
fn descriptors(plan: &Plan<'_>) -> Result<()> {
    let high = |fd: RawFd| {
        must(
            libc::SYS_fcntl,
            [fd as u64, libc::F_DUPFD as u64, 16, 0, 0, 0],
        )
    };
    let (socket, book) = (high(plan.socket)?, high(plan.book)?);
    must(libc::SYS_dup2, [socket, SOCKET_FD, 0, 0, 0, 0])?;
    must(libc::SYS_dup2, [book, BOOK_FD, 0, 0, 0, 0])?;
    must(
        libc::SYS_close_range,
        [DONATED_FD, u64::from(u32::MAX), 0, 0, 0, 0],
    )?;
    Ok(())
}

fn map(at: u64, len: u64, prot: i32, flags: i32, fd: u64, offset: u64) -> Result<u64> {
    must(
        libc::SYS_mmap,
        [
            at,
            len,
            prot as u64,
            (flags | libc::MAP_FIXED) as u64,
            fd,
            offset,
        ],
    )
}

/// The stub's area, and nothing else above the guest's range.
fn area(plan: &Plan<'_>) -> Result<()> {
    const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
    const PRIVATE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // The vDSO first: it may be where something else is to go. By way of a hole, because its new place may overlap its old one.
    if let (Some(first), Some(last)) = (plan.vdso.first(), plan.vdso.last()) {
        let len = last.end - first.start;
        let hole = must(libc::SYS_mmap, [0, len, 0, PRIVATE as u64, NONE, 0])?;
        for to in [hole, VDSO] {
            let from = if to == hole { first.start } else { hole };
            for piece in plan.vdso {
                let (at, size) = (piece.start - first.start, piece.end - piece.start);
                let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
                must(libc::SYS_mremap, [from + at, size, size, flags, to + at, 0])?;
            }
        }
        must(
            libc::SYS_munmap,
            [VDSO + len, TEXT - VDSO - len, 0, 0, 0, 0],
        )?;
    } else {
        must(libc::SYS_munmap, [VDSO, TEXT - VDSO, 0, 0, 0, 0])?;
    }
    must(libc::SYS_munmap, [BASE, VDSO - BASE, 0, 0, 0, 0])?;
    must(libc::SYS_munmap, [TEXT, TASK_END - TEXT, 0, 0, 0, 0])?;

    map(TEXT, DATA - TEXT + DATA_LEN, RW, PRIVATE, NONE, 0)?;
    let (code, data) = (text::code(), &plan.data[..]);
    for (bytes, to) in [(code, TEXT), (data, DATA)] {
        // SAFETY: the pages have just been mapped read-write for this, the code is at most two of them (a test), and neither overlaps what is
        // copied.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                std::ptr::with_exposed_provenance_mut(to as usize),
                bytes.len(),
            )
        };
    }
    must(
        libc::SYS_mprotect,
        [
            TEXT,
            DATA - TEXT,
            (libc::PROT_READ | libc::PROT_EXEC) as u64,
            0,
            0,
            0,
        ],
    )?;
    must(
        libc::SYS_mprotect,
        [DATA, DATA_LEN, libc::PROT_READ as u64, 0, 0, 0],
    )?;
    map(
        ORDERS,
        0x1000,
        libc::PROT_READ,
        libc::MAP_SHARED,
        BOOK_FD,
        plan.page,
    )?;
    map(SCRATCH, SCRATCH_LEN, RW, PRIVATE, NONE, 0)?;
    if plan.kind == GuestKind::Notified {
        map(SEATS, SEATS_LEN, RW, PRIVATE | libc::MAP_NORESERVE, NONE, 0)?;
        // A forked stub has none of these threads; and huge pages here would be a waste.
        for advice in [libc::MADV_WIPEONFORK, libc::MADV_NOHUGEPAGE] {
            let _ = must(
                libc::SYS_madvise,
                [SEATS, SEATS_LEN, advice as u64, 0, 0, 0],
            );
        }
    }
    title();
    // stack_t: ss_sp, ss_flags, ss_size.
    let stack = [FAULT_STACK, 0, FAULT_STACK_LEN];
    must(
        libc::SYS_sigaltstack,
        [stack.as_ptr().addr() as u64, 0, 0, 0, 0, 0],
    )?;
    Ok(())
}

/// Tells the host where a stub's command line is: in memory that is still there, and that every copy has a copy of. Only for whoever looks at it with the
/// host's tools: where the host cannot be told (no CONFIG_CHECKPOINT_RESTORE), stubs have none.
fn title() {
    // struct prctl_mm_map: code, data, brk, stack, arguments, environment, auxv and its size, no descriptor of a program. What is not shown anywhere is
    // something in the area, in the order that is asked for.
    let (arguments, end) = (TITLE, TITLE + TITLE_LEN);
    let program = u64::from(u32::MAX) << 32;
    let map = [
        TEXT,
        GUEST_TEXT,
        DATA,
        DATA + DATA_LEN,
        SCRATCH,
        SCRATCH,
        SCRATCH,
        arguments,
        end,
        end,
        end,
        0,
        program,
    ];
    let _ = must(
        libc::SYS_prctl,
        [
            libc::PR_SET_MM as u64,
            libc::PR_SET_MM_MAP as u64,
            map.as_ptr().addr() as u64,
            size_of_val(&map) as u64,
            0,
            0,
        ],
    );
}

const RSEQ_SIGNATURE: u64 = 0x5305_3053;

/// The restartable-sequences area that the C library registered for the calling thread, which a forked child inherits.
fn registered_rseq() -> Option<(u64, u32)> {
    unsafe extern "C" {
        /// glibc ≥ 2.35: where the area is, from the thread pointer.
        static __rseq_offset: isize;
        /// Its size as far as it is used; 0 if registration failed.
        static __rseq_size: u32;
    }
    // SAFETY: both are set before main and never change.
    let (offset, size) = unsafe { (__rseq_offset, __rseq_size) };
    let thread: u64;
    // SAFETY: reads the word at fs:0, which on x86-64 is the thread pointer itself.
    unsafe {
        std::arch::asm!("mov {}, fs:[0]", out(reg) thread, options(nostack, readonly, preserves_flags))
    };
    if size == 0 {
        return None;
    }
    // Registered with 32 bytes whatever the size in use, until there were more features than that.
    Some((
        thread.wrapping_add_signed(offset as i64),
        size.max(32).next_multiple_of(32),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_is_found_in_maps() {
        let maps = "7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n\
                    7ffe000c2000-7ffe000c6000 r--p 00000000 00:00 0                          [vvar]\n\
                    7ffe000c6000-7ffe000c8000 r--p 00000000 00:00 0                          [vvar_vclock]\n\
                    7ffe000c8000-7ffe000ca000 r-xp 00000000 00:00 0                          [vdso]\n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
        let found = HostVdso::parse(maps);
        assert_eq!(found.pieces.len(), 3);
        assert_eq!(found.image(), Some(VDSO + 0x6000..VDSO + 0x8000));
        assert_eq!(HostVdso::parse(&maps.replace("[vdso]", "")).image(), None);
        assert_eq!(HostVdso::parse("").image(), None);
        let apart = maps.replace(
            "7ffe000c6000-7ffe000c8000 r--p",
            "7ffe000c7000-7ffe000c8000 r--p",
        );
        assert_eq!(HostVdso::parse(&apart).image(), None);
    }
}
