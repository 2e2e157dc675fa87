//! The code of a stub process. It is copied from the binary's read-only data to [`layout::TEXT`] when the zygote starts, and the copy never
//! changes afterwards. The first page is the spawner's and the helper's, and a guest thread's before its filter; the second is what guest threads run on systrap.
//!
//! ```text
//!   zygote ──▶ unmap the sentry's image ──▶ its filter ────▶ loop ◀──────────────┐
//!                                                              │ message           │
//!                                                              ▼                   │
//!                                    entries of the ORDER page, one by one ──▶ answer bytes
//!                                      │ FORK                  │ THREAD
//!                                      ▼                       ▼
//!                          child: own ORDER page       guest filter ──▶ ptrace: parked (in pause) ──▶ the tracer takes over
//!                          and socket, its orders:              └─────▶ systrap: parked (its first call, which the sentry answers)
//!                          a first thread
//! ```
//!
//! On systrap a guest thread comes to `runsc_stub_handler` with every fault and every interrupt, on a signal stack of its own. It tells the
//! sentry by an rt_sigprocmask(2) that unblocks the signals again: let through, but only when the sentry has read the registers in the frame
//! and put there those to go on with. They are loaded without a sigreturn, which would let a guest change the mask.
//!
//! On systrap a second thread, the *helper*, has a listener of its own: it learns that there are orders by the answer to its last call, and its
//! next call has what came of them in its registers. The first thread, the *spawner*, has none, so that the threads and processes it makes can
//! have theirs; it also carries out the orders that come with a descriptor. On ptrace the first thread carries out everything.
//!
//! Rules that keep a guest thread, which may write [`layout::SCRATCH`] and jump anywhere in here with any registers, from misusing it:
//!
//! * Spawner and helper have no stack. What they work with is in their registers, in the ORDER page or here.
//! * The spawner reads nothing back from SCRATCH. The `msghdr` there is written afresh for every receive; whoever changes it in between can make that
//!   receive fail (the stub dies, or an order fails with EBADF) or make the host's kernel write elsewhere in writable memory, which the guest
//!   can do itself.
//! * A fault of either (compare-exchange only) enters `runsc_stub_handler` with nothing believed but the program counter and the stack
//!   pointer: it answers EFAULT and waits for the next order. It never returns through the signal frame.
//! * A guest thread that runs this code makes guest system calls by it: the sentry sees them and the host executes none.

use abi::ucontext::{SigContext, UContext};

use super::layout::*;

/// The flags of the clone that copies a stub. With `CLONE_PARENT` the sentry is the parent of every stub, and their exit signal is the
/// zygote's: none.
pub const FORK_FLAGS: u64 = libc::CLONE_PARENT as u64;
/// The flags of the clone that makes a guest thread.
pub const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM) as u64;

std::arch::global_asm!(
    r#"
    .pushsection .rodata.runsc_stub, "a"
    .balign 16
    .globl runsc_stub_start, runsc_stub_parked, runsc_stub_exited, runsc_stub_exit, runsc_stub_reported
    .globl runsc_stub_traced_call, runsc_stub_traced_called, runsc_stub_call, runsc_stub_called
    .globl runsc_stub_handler, runsc_stub_resume, runsc_stub_leave, runsc_stub_left, runsc_stub_end

    // Sends a message that begins with the byte in al and is edx bytes long. Clobbers rax, rcx, rsi, rdi, r8 to r11.
    .macro ANSWER
        movzx esi, al
        movabs rax, {TABLE}
        add rsi, rax
        mov edi, {SOCKET_FD}
        mov r10d, {MSG_NOSIGNAL}
        xor r8d, r8d
        xor r9d, r9d
        mov eax, {SYS_sendto}
        syscall
        test rax, rax
        jle .Lstub_die
    .endm

    // Entered once, by the zygote. Nothing below BASE is needed any more.
runsc_stub_start:
    xor edi, edi
    movabs rsi, {BASE}
    mov eax, {SYS_munmap}
    syscall
    test rax, rax
    jnz .Lstub_die
    mov edi, 1                      // SECCOMP_SET_MODE_FILTER
    xor esi, esi
    movabs rdx, {SPAWNER_PROGRAM}
    mov eax, {SYS_seccomp}
    syscall
    test rax, rax
    jnz .Lstub_die
    // Guest threads get their first extended state from here, by way of the clones: the initial one, not what the sentry computed last.
    // All components but the protection keys' register, whose default the host chose.
    mov eax, 0xfffffdff
    mov edx, 0xffffffff
    movabs rdi, {INITIAL_STATE}
    xrstor64 [rdi]
    xor eax, eax
    mov edx, 1
    ANSWER                          // "ready"

    // ---- the spawner: wait for orders ----
.Lstub_wait:
    movabs rbx, {MESSAGE}
    xor eax, eax
    mov [rbx], rax                  // msg_name
    mov [rbx + 8], rax              // msg_namelen
    movabs rax, {IOVEC}
    mov [rbx + 16], rax             // msg_iov
    mov qword ptr [rbx + 24], 1     // msg_iovlen
    movabs rax, {MESSAGE_CONTROL}
    mov [rbx + 32], rax             // msg_control
    mov qword ptr [rbx + 40], {MESSAGE_CONTROL_LEN}
    mov qword ptr [rbx + 48], 0     // msg_flags
    mov edi, {SOCKET_FD}
    mov rsi, rbx
    xor edx, edx
    mov eax, {SYS_recvmsg}
    syscall
    cmp rax, {EINTR}
    je .Lstub_wait
    cmp rax, 1
    jne .Lstub_die                         // the sentry is gone, or a guest thread spoilt the msghdr

    // ---- carry them out ----
.Lstub_orders:
    // rbx: ORDER page, r12: entry, ebp: entries left, r13: value of the last
    movabs rbx, {ORDERS}
    mov ebp, [rbx + {COUNT}]
    lea r12, [rbx + {ENTRIES}]
.Lstub_next:
    mov rax, [r12]
    mov rdi, [r12 + 8]
    mov rsi, [r12 + 16]
    mov rdx, [r12 + 24]
    cmp eax, {FORK}
    jae .Lstub_special
    mov r10, [r12 + 32]
    mov r8, [r12 + 40]
    mov r9, [r12 + 48]
    syscall
.Lstub_after:                                 // rax: what the entry gave
    cmp rax, -4095
    jae .Lstub_failed
    add r12, {ENTRY_LEN}
    dec ebp
    jnz .Lstub_next

    mov r13, rax
    // All that the page says must be read before the first answer: with it the page is the sentry's again.
    mov ebp, [rbx + {DIGITS}]
    cmp dword ptr [rbx + {DONATED}], 0
    je .Lstub_done
    mov edi, {DONATED_FD}
    mov esi, -1
    xor edx, edx
    mov eax, {SYS_close_range}
    syscall
.Lstub_done: xor eax, eax
    // al: DONE or DIFFERS; r13: a value; ebp: how many of its digits are wanted. The length of a message tells a digit. If the first is all there is
    // it is the only one: each costs its reader a wake-up.
.Lstub_value: mov edx, 1
    test ebp, ebp
    jz .Lstub_digit
    test eax, eax
    jnz .Lstub_digits
    cmp r13, {DIGIT_MASK}
    ja .Lstub_more
    mov ebp, 1
    jmp .Lstub_digits
.Lstub_more: mov eax, {DONE_MORE}
.Lstub_digits:
    mov edx, r13d
    and edx, {DIGIT_MASK}
    inc edx
.Lstub_digit: ANSWER
    shr r13, {DIGIT_BITS}
    xor eax, eax
    dec ebp
    jg .Lstub_digits
    jmp .Lstub_wait

    // ---- an entry failed: its errno, and by the length how many are left, itself included ----
.Lstub_failed: neg eax
    mov r13d, eax
    cmp dword ptr [rbx + {DONATED}], 0
    je .Lstub_failed_closed
    mov edi, {DONATED_FD}
    mov esi, -1
    xor edx, edx
    mov eax, {SYS_close_range}
    syscall
.Lstub_failed_closed: mov eax, r13d
    lea edx, [rbp + 1]
    ANSWER
    jmp .Lstub_wait

    // ---- special entries: rdi, rsi, rdx are the arguments ----
.Lstub_special: cmp eax, {THREAD}
    je .Lstub_thread
    ja .Lstub_cmpxchg

    // FORK
    mov r13, rsi
    xor esi, esi                    // same stack pointer: there is no stack
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {SYS_clone}
    syscall
    test rax, rax
    jnz .Lstub_after
    // The child. Its parent may have died before this: then nobody holds the other end of its socket, and its first receive ends it.
    mov edi, {PR_SET_PDEATHSIG}
    mov esi, {SIGKILL}
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {SYS_prctl}
    syscall
    movabs rdi, {ORDERS}
    mov esi, 4096
    mov edx, {PROT_READ}
    mov r10d, {MAP_SHARED_FIXED}
    mov r8d, {BOOK_FD}
    mov r9, r13
    mov eax, {SYS_mmap}
    syscall
    cmp rax, -4095
    jae .Lstub_die
    mov edi, {DONATED_FD}
    mov esi, {SOCKET_FD}
    mov eax, {SYS_dup2}
    syscall
    test rax, rax
    js .Lstub_die
    mov edi, {DONATED_FD}
    mov esi, -1
    xor edx, edx
    mov eax, {SYS_close_range}
    syscall
    // It stays on this processor, so that its first thread, which it has to wait for, comes to be here and not elsewhere while it spins. The
    // sentry lets that thread go. (The segment tells the processor's number. If there are more than masks, or the host refuses: no harm.)
    mov eax, {CPU_SEGMENT}
    lsl eax, eax
    and eax, 0xfff
    cmp eax, {MASKS}
    jae .Lstub_orders
    movabs rdx, {PROCESSOR}
    lea rdx, [rdx + 8 * rax]
    xor edi, edi
    mov esi, 8
    mov eax, {SYS_sched_setaffinity}
    syscall
    // The sentry has put its first orders there before.
    jmp .Lstub_orders

    // COMPARE_EXCHANGE
.Lstub_cmpxchg: mov eax, esi
    lock cmpxchg [rdi], edx
    jne .Lstub_differs
    xor eax, eax
    jmp .Lstub_after
.Lstub_differs: mov r13d, eax
    mov eax, {DIFFERS}
    mov ebp, {WORD_DIGITS}
    jmp .Lstub_value

    // A fault of the spawner or the helper: delivered on the thread's fault stack, which is left at once.
.Lstub_fault:
    movabs rax, {HELPER_FAULT_STACK}
    xor r12d, r12d
    cmp rsp, rax
    setae r12b
    xor esp, esp
    mov edi, {SIG_SETMASK}
    movabs rsi, {SIGNAL_MASK}
    xor edx, edx
    mov r10d, 8
    mov eax, {SYS_rt_sigprocmask}
    syscall
    test r12d, r12d
    jnz .Lstub_helper_fault
    mov eax, {EFAULT}
    mov edx, 2                          // one left
    ANSWER
    jmp .Lstub_wait

    // THREAD. A new traced thread may be slow and must not read the page.
.Lstub_thread: mov r14, rsi
    mov r15, rdx
    xor esi, esi
    xor edx, edx
    xor r10d, r10d
    xor r8d, r8d
    mov eax, {SYS_clone}
    syscall
    test rax, rax
    jz .Lstub_newborn
    js .Lstub_after
    test r15d, r15d
    jz .Lstub_after
    // A notified thread is there when its listener is, which always has this number, because nothing else is open. The message that brings it
    // is the whole answer; who the thread is, its first call tells.
.Lstub_listener: mov edi, {SOCKET_FD}
    movabs rsi, {LISTENER_MESSAGE}
    mov edx, {MSG_NOSIGNAL}
    mov eax, {SYS_sendmsg}
    syscall
    cmp rax, 1
    je .Lstub_listener_sent
    cmp rax, {EBADF}
    je .Lstub_listener_missing
    cmp rax, {ETOOMANYREFS}             // on its way are others, of other stubs
    jne .Lstub_die
.Lstub_listener_missing: mov eax, {SYS_sched_yield}
    syscall
    jmp .Lstub_listener
.Lstub_listener_sent: mov edi, {DONATED_FD}
    mov esi, -1
    xor edx, edx
    mov eax, {SYS_close_range}
    syscall
    jmp .Lstub_wait

    // ---- the helper: each call tells what came of its orders, and returns with the next ----
.Lstub_helper:
    xor edi, edi
    xor esi, esi
    xor edx, edx
.Lstub_report:                          // edi: DONE, DIFFERS or an errno; rsi: a value; edx: how many entries are left
    mov eax, {SYS_sched_yield}
    syscall
runsc_stub_reported:
    test rax, rax
    jnz .Lstub_die                      // nobody listens any more
    movabs rbx, {ORDERS}
    mov ebp, [rbx + {COUNT}]
    lea r12, [rbx + {ENTRIES}]
.Lstub_order:
    mov rax, [r12]
    mov rdi, [r12 + 8]
    mov rsi, [r12 + 16]
    mov rdx, [r12 + 24]
    cmp eax, {FORK}
    jae .Lstub_exchange
    mov r10, [r12 + 32]
    mov r8, [r12 + 40]
    mov r9, [r12 + 48]
    syscall
    cmp rax, -4095
    jae .Lstub_order_failed
    add r12, {ENTRY_LEN}
    dec ebp
    jnz .Lstub_order
    xor edi, edi
    mov rsi, rax
    xor edx, edx
    jmp .Lstub_report
.Lstub_order_failed:
    neg eax
    mov edi, eax
    xor esi, esi
    mov edx, ebp
    jmp .Lstub_report
.Lstub_exchange:                        // always alone
    mov eax, esi
    lock cmpxchg [rdi], edx
    mov esi, eax
    mov edi, {DIFFERS}
    mov eax, 0
    cmovz edi, eax
    xor edx, edx
    jmp .Lstub_report
.Lstub_helper_fault:
    mov edi, {EFAULT}
    xor esi, esi
    mov edx, 1
    jmp .Lstub_report

    // ---- a guest thread, before its first guest instruction; or the helper ----
.Lstub_newborn: test r15d, r15d
    jz .Lstub_filter
    lea rdi, [r12 + 32]
    xor esi, esi
    mov eax, {SYS_sigaltstack}
    syscall
    test rax, rax
    jnz .Lstub_die
    mov rsp, [r12 + 32]                 // ss_sp
    add rsp, [r12 + 48]                 // ss_size
    sub rsp, {SEAT_FRAME}
.Lstub_filter: mov edi, 1               // SECCOMP_SET_MODE_FILTER
    mov rsi, r15
    mov rdx, r14
    mov eax, {SYS_seccomp}
    syscall
    test rax, rax
    js .Lstub_die
    jnz .Lstub_notified                 // with a listener
.Lstub_park: mov eax, {SYS_pause}
    syscall
runsc_stub_parked:
    jmp .Lstub_park

    // A guest thread whose task is gone.
runsc_stub_exit:
    xor edi, edi
    mov eax, {SYS_exit}
    syscall
runsc_stub_exited:
    ud2

    // A call of the sentry's, made by a traced guest thread.
runsc_stub_traced_call:
    syscall
runsc_stub_traced_called:
    ud2

.Lstub_die: mov edi, 1
    mov eax, {SYS_exit_group}
    syscall
    ud2

    // ==== guest threads on systrap ====
    .org runsc_stub_start + 4096, 0xcc

    // A call of the sentry's, made by a thread that has been in its handler and comes back to it: the result is told as if it were a signal.
runsc_stub_call:
    syscall
runsc_stub_called:
    mov edi, eax
    // A signal: edi is its number, rsp its frame. All signals are blocked. The spawner's and the helper's faults come here, too.
runsc_stub_handler:
    movabs rax, {SEATS}
    cmp rsp, rax
    jb .Lstub_fault
    mov r8d, edi
    // r8: what has happened, 0 for a new thread; rsp: a frame of some kind.
.Lstub_event: lea r9, [rsp + 8]         // its ucontext
    rdfsbase rax
    mov [rsp + {FRAME_FS}], rax
    rdgsbase rax
    mov [rsp + {FRAME_GS}], rax
    mov edi, {SIG_SETMASK}
    movabs rsi, {SIGNAL_MASK}
    xor edx, edx
    mov r10d, 8
    mov eax, {SYS_rt_sigprocmask}
    syscall
    // Let through: the frame holds what to go on with. A signal that comes from here on finds the frame as it is, and the sentry has it begin
    // here again.
runsc_stub_resume:
    mov rdi, [rsp + {FRAME_FPSTATE}]
    mov eax, -1
    mov edx, -1
    test rdi, rdi
    jnz .Lstub_state
    movabs rdi, {INITIAL_STATE}
    mov eax, 0xfffffdff                 // all but the protection keys' register
.Lstub_state: xrstor64 [rdi]
    mov rax, [rsp + {FRAME_FS}]
    wrfsbase rax
    mov rax, [rsp + {FRAME_GS}]
    wrgsbase rax
    push 0x202                          // without the flag NT, which iretq does not like
    popfq
    mov r8, [rsp + 48]
    mov r9, [rsp + 56]
    mov r10, [rsp + 64]
    mov r11, [rsp + 72]
    mov r12, [rsp + 80]
    mov r13, [rsp + 88]
    mov r14, [rsp + 96]
    mov r15, [rsp + 104]
    mov rdi, [rsp + 112]
    mov rsi, [rsp + 120]
    mov rbp, [rsp + 128]
    mov rbx, [rsp + 136]
    mov rdx, [rsp + 144]
    mov rax, [rsp + 152]
    mov rcx, [rsp + 160]
    lea rsp, [rsp + {FRAME_RETURN}]
    iretq

.Lstub_notified: movabs rax, {HELPER_PROGRAM}
    cmp r14, rax
    je .Lstub_helper
    xor r8d, r8d
    jmp .Lstub_event

    // A guest thread whose task is gone.
runsc_stub_leave:
    xor edi, edi
    mov eax, {SYS_exit}
    syscall
runsc_stub_left:
    ud2
runsc_stub_end:
    .purgem ANSWER
    .popsection
    "#,
    BASE = const BASE,
    TABLE = const TABLE,
    INITIAL_STATE = const INITIAL_STATE,
    IOVEC = const IOVEC,
    ORDERS = const ORDERS,
    MESSAGE = const MESSAGE,
    MESSAGE_CONTROL = const MESSAGE_CONTROL,
    MESSAGE_CONTROL_LEN = const MESSAGE_CONTROL_LEN,
    SPAWNER_PROGRAM = const SPAWNER_PROGRAM,
    HELPER_PROGRAM = const HELPER_PROGRAM,
    HELPER_FAULT_STACK = const HELPER_FAULT_STACK,
    LISTENER_MESSAGE = const LISTENER_MESSAGE,
    SIGNAL_MASK = const SIGNAL_MASK,
    SEATS = const SEATS,
    SEAT_FRAME = const SEAT_FRAME,
    FRAME_RETURN = const FRAME_RETURN,
    FRAME_FS = const FRAME_RETURN + 40,
    FRAME_GS = const FRAME_RETURN + 48,
    FRAME_FPSTATE = const 8 + std::mem::offset_of!(UContext, uc_mcontext) + std::mem::offset_of!(SigContext, fpstate),
    SOCKET_FD = const SOCKET_FD,
    BOOK_FD = const BOOK_FD,
    DONATED_FD = const DONATED_FD,
    COUNT = const COUNT,
    DIGITS = const DIGITS,
    DIGIT_BITS = const DIGIT_BITS,
    DIGIT_MASK = const DIGIT_MASK,
    WORD_DIGITS = const WORD_DIGITS,
    CPU_SEGMENT = const 0x7b,
    MASKS = const MASKS,
    PROCESSOR = const PROCESSOR,
    SYS_sched_setaffinity = const libc::SYS_sched_setaffinity,
    DONATED = const DONATED,
    ENTRIES = const ENTRIES,
    ENTRY_LEN = const ENTRY_LEN,
    FORK = const FORK,
    THREAD = const THREAD,
    DIFFERS = const DIFFERS,
    DONE_MORE = const DONE_MORE,
    ETOOMANYREFS = const -libc::ETOOMANYREFS,
    EBADF = const -libc::EBADF,
    SIG_SETMASK = const libc::SIG_SETMASK,
    EINTR = const -libc::EINTR,
    EFAULT = const libc::EFAULT,
    SIGKILL = const libc::SIGKILL,
    PR_SET_PDEATHSIG = const libc::PR_SET_PDEATHSIG,
    PROT_READ = const libc::PROT_READ,
    MAP_SHARED_FIXED = const libc::MAP_SHARED | libc::MAP_FIXED,
    MSG_NOSIGNAL = const libc::MSG_NOSIGNAL,
    SYS_munmap = const libc::SYS_munmap,
    SYS_mmap = const libc::SYS_mmap,
    SYS_seccomp = const libc::SYS_seccomp,
    SYS_sendto = const libc::SYS_sendto,
    SYS_recvmsg = const libc::SYS_recvmsg,
    SYS_close_range = const libc::SYS_close_range,
    SYS_clone = const libc::SYS_clone,
    SYS_prctl = const libc::SYS_prctl,
    SYS_dup2 = const libc::SYS_dup2,
    SYS_pause = const libc::SYS_pause,
    SYS_exit = const libc::SYS_exit,
    SYS_exit_group = const libc::SYS_exit_group,
    SYS_sendmsg = const libc::SYS_sendmsg,
    SYS_sched_yield = const libc::SYS_sched_yield,
    SYS_sigaltstack = const libc::SYS_sigaltstack,
    SYS_rt_sigprocmask = const libc::SYS_rt_sigprocmask,
);

unsafe extern "C" {
    static runsc_stub_start: [u8; 0];
    static runsc_stub_parked: [u8; 0];
    static runsc_stub_exited: [u8; 0];
    static runsc_stub_exit: [u8; 0];
    static runsc_stub_reported: [u8; 0];
    static runsc_stub_traced_call: [u8; 0];
    static runsc_stub_traced_called: [u8; 0];
    static runsc_stub_call: [u8; 0];
    static runsc_stub_called: [u8; 0];
    static runsc_stub_handler: [u8; 0];
    static runsc_stub_resume: [u8; 0];
    static runsc_stub_leave: [u8; 0];
    static runsc_stub_left: [u8; 0];
    static runsc_stub_end: [u8; 0];
}

fn at(label: *const [u8; 0]) -> u64 {
    TEXT + (label.addr() - (&raw const runsc_stub_start).addr()) as u64
}

/// The bytes to copy to [`TEXT`].
pub fn code() -> &'static [u8] {
    let (start, end) = (
        (&raw const runsc_stub_start).cast::<u8>(),
        (&raw const runsc_stub_end).cast::<u8>(),
    );
    // SAFETY: both are labels of one piece of read-only data of this binary, in this order.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// The program counter of a parked guest thread, and of its `pause` as its filter sees it.
pub fn parked() -> u64 {
    at(&raw const runsc_stub_parked)
}

/// Where a guest thread is sent to exit.
pub fn exit() -> u64 {
    at(&raw const runsc_stub_exit)
}

/// The program counter of that `exit` as the filter sees it.
pub fn exited() -> u64 {
    at(&raw const runsc_stub_exited)
}

/// The program counter of the helper's call, by which it tells what came of its orders and waits for others.
pub fn reported() -> u64 {
    at(&raw const runsc_stub_reported)
}

/// Where a traced guest thread is sent to make a call of the sentry's, and the program counter of that call.
pub fn traced_call() -> (u64, u64) {
    (
        at(&raw const runsc_stub_traced_call),
        at(&raw const runsc_stub_traced_called),
    )
}

/// The same of a notified one.
pub fn call() -> (u64, u64) {
    (
        at(&raw const runsc_stub_call),
        at(&raw const runsc_stub_called),
    )
}

/// The handler of all signals.
pub fn handler() -> u64 {
    at(&raw const runsc_stub_handler)
}

/// Where a guest thread goes on from a frame, and the program counter of the call before it as the sentry is told.
pub fn resume() -> u64 {
    at(&raw const runsc_stub_resume)
}

/// Where a notified guest thread is sent to exit.
pub fn leave() -> u64 {
    at(&raw const runsc_stub_leave)
}

/// The program counter of that exit as the sentry is told.
pub fn left() -> u64 {
    at(&raw const runsc_stub_left)
}
