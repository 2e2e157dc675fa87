//! The gate: what the code of every rewritten site goes through before it makes its call. A thread that has a page ([`super::page`]) leaves the
//! call there, for the sentry thread that looks at it, and waits a while; or finds the answer there already. Whoever has none, or is not
//! served, goes back to the site and makes the call.
//!
//! ```text
//!   site: lea r11, L; jmp gate
//!                      gate: is gs ours? ──no──▶ L: syscall
//!                        │ rsp, flags, rax into the page (not onto the stack: below it is the guest's red zone)
//!                        ├─ a fact of the page ────────────────▶ M
//!                        ├─ nobody looks at the page ──────────▶ L
//!                        ├─ REQUEST … answered ────────────────▶ M: what is behind the call
//!                        └─ not within LIMIT, or REDO ─────────▶ L
//! ```
//!
//! Up to where rsp and flags are saved no instruction changes a flag. A `syscall` changes rcx and r11, so they are free.
//!
//! A signal may come anywhere in here. What [`unwind`] makes of it, by the labels:
//!
//! | from | to | rsp, flags | rax | rdx | it is |
//! |---|---|---|---|---|---|
//! | start | switched | its own | its own | its own | before the call, at L (r11) |
//! | switched | saved | rsp in the page | its own | its own | before the call, at L |
//! | saved | asked | in the page | in the page | its own | before the call, at L; with ZF at `asked`: as the next row |
//! | asked | consumed | in the page | in the page | in the page | behind the call if the sentry has answered, else before it |
//! | consumed | done | in the page | its own | in the page | behind the call, at M |
//! | done | plain_args | in the page | its own | its own | behind the call, at M |
//! | plain_args | plain | in the page | in the page | in the page | before the call, at L |
//! | plain | end | in the page | in the page | its own | before the call, at L |

use abi::x86::UserRegs;

use super::page::*;
use crate::stub::{PAGES, PAGES_LEN, SITES_TEXT};

/// Where the table of numbers is, from the start.
const TABLE: usize = 0x800;
/// How many calls it knows.
const NUMBERS: usize = 512;
/// In the table: the call goes by page.
const BY_PAGE: u8 = 0;
/// In the table: it does not.
const PLAIN: u8 = 0xff;

const PAGES_SHIFT: u32 = PAGES_LEN.trailing_zeros();
const _: () = assert!(PAGES_LEN.is_power_of_two() && PAGES.is_multiple_of(PAGES_LEN));
const ZERO_FLAG: u64 = 64;

std::arch::global_asm!(
    r#"
    .pushsection .rodata.runsc_gate, "a"
    .balign 16
    .globl runsc_gate_start, runsc_gate_switched, runsc_gate_saved, runsc_gate_asked, runsc_gate_consumed, runsc_gate_done
    .globl runsc_gate_plain_args, runsc_gate_plain, runsc_gate_end
runsc_gate_start:
    rdgsbase rcx
    rorx rcx, rcx, {PAGES_SHIFT}
    mov ecx, ecx
    lea rcx, [rcx - {PAGES_NUMBER}]
    jrcxz 2f
    jmp r11
2:  mov gs:[{LINK}], r11
    mov gs:[{RSP}], rsp
    rdgsbase rsp
runsc_gate_switched:
    lea rsp, [rsp + {FLAGS} + 8]
    pushfq
runsc_gate_saved:
    mov gs:[{RAX}], rax
    mov ecx, eax
    cmp ecx, {NUMBERS}
    jae runsc_gate_plain
    lea r11, [rip + runsc_gate_start + {TABLE}]
    movzx ecx, byte ptr [r11 + rcx]
    jrcxz 3f
    cmp ecx, {PLAIN}
    je runsc_gate_plain
    mov r11, gs:[rcx * 8 + {FACTS}]
    test r11, r11
    js 3f
    mov rax, r11
    jmp runsc_gate_done
3:  cmp qword ptr gs:[{STATE}], {LISTENING}
    jne runsc_gate_plain
    mov gs:[{NUMBER}], rax
    mov gs:[{ARGS}], rdi
    mov gs:[{ARGS} + 8], rsi
    mov gs:[{ARGS} + 16], rdx
    mov gs:[{ARGS} + 24], r10
    mov gs:[{ARGS} + 32], r8
    mov gs:[{ARGS} + 40], r9
    mov eax, {LISTENING}
    mov ecx, {REQUEST}
    lock cmpxchg gs:[{STATE}], rcx
runsc_gate_asked:
    jne runsc_gate_plain
    rdtsc
    shl rdx, 32
    lea r11, [rax + rdx]
4:  pause
    mov rcx, gs:[{STATE}]
    cmp rcx, {REQUEST}
    je 5f
    cmp rcx, {TAKEN}
    jne 6f
5:  rdtsc
    shl rdx, 32
    add rax, rdx
    sub rax, r11
    cmp rax, gs:[{LIMIT}]
    jb 4b
    mov edx, {GAVE_UP}
    mov eax, {ASLEEP}
    cmp rcx, {TAKEN}
    cmove edx, eax
    mov rax, rcx
    lock cmpxchg gs:[{STATE}], rdx
    jne 4b
    jmp runsc_gate_plain_args
6:  cmp rcx, {REDO}
    je runsc_gate_plain_args
    mov rax, gs:[{NUMBER}]
runsc_gate_consumed:
    mov rdx, gs:[{ARGS} + 16]
runsc_gate_done:
    mov rcx, gs:[{LINK}]
    add rcx, 2
    mov r11, gs:[{FLAGS}]
    popfq
    mov rsp, gs:[{RSP}]
    jmp rcx
runsc_gate_plain_args:
    mov rdx, gs:[{ARGS} + 16]
runsc_gate_plain:
    mov rax, gs:[{RAX}]
    mov r11, gs:[{LINK}]
    popfq
    mov rsp, gs:[{RSP}]
    jmp r11
runsc_gate_end:
    .popsection
    "#,
    PAGES_SHIFT = const PAGES_SHIFT,
    PAGES_NUMBER = const PAGES >> PAGES_SHIFT,
    TABLE = const TABLE,
    NUMBERS = const NUMBERS,
    PLAIN = const PLAIN,
    LINK = const LINK,
    RSP = const RSP,
    FLAGS = const FLAGS,
    RAX = const RAX,
    FACTS = const FACTS - 8,
    LIMIT = const LIMIT,
    STATE = const STATE,
    NUMBER = const NUMBER,
    ARGS = const ARGS,
    LISTENING = const LISTENING,
    REQUEST = const REQUEST,
    TAKEN = const TAKEN,
    REDO = const REDO,
    ASLEEP = const ASLEEP,
    GAVE_UP = const GAVE_UP,
);

unsafe extern "C" {
    static runsc_gate_start: [u8; 0];
    static runsc_gate_switched: [u8; 0];
    static runsc_gate_saved: [u8; 0];
    static runsc_gate_asked: [u8; 0];
    static runsc_gate_consumed: [u8; 0];
    static runsc_gate_done: [u8; 0];
    static runsc_gate_plain_args: [u8; 0];
    static runsc_gate_plain: [u8; 0];
    static runsc_gate_end: [u8; 0];
}

fn within(label: *const [u8; 0]) -> u64 {
    (label.addr() - (&raw const runsc_gate_start).addr()) as u64
}

/// Where it is in every stub.
pub const GATE: u64 = SITES_TEXT;

/// Do the processors have what it is written with? (`missing` has seen to FSGSBASE.)
pub fn possible() -> bool {
    std::arch::is_x86_feature_detected!("bmi2")
}

/// How a call goes that is made by a rewritten site.
fn way(nr: usize) -> u8 {
    let fact = FACT_CALLS
        .iter()
        .position(|call| usize::try_from(*call) == Ok(nr));
    match (fact, i64::try_from(nr)) {
        (Some(n), _) => n as u8 + 1,
        (None, Ok(nr)) if !PLAIN_CALLS.contains(&nr) => BY_PAGE,
        _ => PLAIN,
    }
}

/// Those that want more than a result, are let through as they are, or mostly wait.
const PLAIN_CALLS: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_arch_prctl,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_pause,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
];

/// The page that is mapped at [`GATE`].
pub fn page() -> Vec<u8> {
    let (start, len) = (
        &raw const runsc_gate_start,
        within(&raw const runsc_gate_end) as usize,
    );
    // SAFETY: both are labels of one piece of read-only data of this binary, in this order.
    let code = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) };
    let mut page = code.to_vec();
    // int3
    page.resize(TABLE, 0xcc);
    page.extend((0..NUMBERS).map(way));
    page
}

/// How far a thread in the gate has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is about to make the call: rip is L.
    Before,
    /// It waits for an answer: rip is L.
    Asked,
    /// It has one: rip is M.
    After,
}

/// Puts a thread that is in the gate back to the site it came from. `word` reads its page. All it may get from there are registers.
pub fn unwind(user: &mut UserRegs, word: impl Fn(usize) -> u64) -> Option<Stage> {
    let at = user.rip.checked_sub(GATE)?;
    let below = |label: *const [u8; 0]| at < within(label);
    if !below(&raw const runsc_gate_end) {
        return None;
    }
    if below(&raw const runsc_gate_switched) {
        user.rip = user.r11;
        // From the `mov` on, it may be only in the page; but r11 still has it.
        return Some(Stage::Before);
    }
    user.rip = word(LINK);
    user.rsp = word(RSP);
    if below(&raw const runsc_gate_saved) {
        return Some(Stage::Before);
    }
    let zero = user.eflags & ZERO_FLAG != 0;
    user.eflags = word(FLAGS);
    let asked = at == within(&raw const runsc_gate_asked);
    if below(&raw const runsc_gate_asked) || asked && !zero {
        user.rax = word(RAX);
        return Some(Stage::Before);
    }
    if asked {
        user.rax = word(RAX);
        return Some(Stage::Asked);
    }
    let after = !below(&raw const runsc_gate_consumed) && below(&raw const runsc_gate_plain_args);
    if below(&raw const runsc_gate_done)
        || !below(&raw const runsc_gate_plain_args) && below(&raw const runsc_gate_plain)
    {
        user.rdx = word(ARGS + 16);
    }
    if after {
        user.rip = user.rip.wrapping_add(2);
        return Some(Stage::After);
    }
    user.rax = word(RAX);
    if below(&raw const runsc_gate_consumed) && word(STATE) != GAVE_UP {
        Some(Stage::Asked)
    } else {
        Some(Stage::Before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: u64 = SITES_TEXT + 0x1040;

    /// Where instructions begin.
    fn places() -> Vec<u64> {
        let page = page();
        let len = within(&raw const runsc_gate_end);
        let code = &page[..len as usize];
        let mut decoder =
            iced_x86::Decoder::with_ip(64, code, GATE, iced_x86::DecoderOptions::NONE);
        let mut found = Vec::new();
        while decoder.can_decode() {
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid());
            found.push(instruction.ip() - GATE);
        }
        found
    }

    /// What becomes of a thread that has 1 to 4 in its registers, with 11 to 14 in the page.
    fn seen(at: u64, eflags: u64, state: u64) -> (Stage, [u64; 4]) {
        let mut user = UserRegs {
            rip: GATE + at,
            r11: SITE,
            rsp: 1,
            eflags,
            rax: 3,
            rdx: 4,
            ..UserRegs::default()
        };
        let word = |at| match at {
            STATE => state,
            LINK => SITE,
            RSP => 11,
            FLAGS => 12,
            RAX => 13,
            _ if at == ARGS + 16 => 14,
            _ => 99,
        };
        let stage = unwind(&mut user, word).unwrap();
        let behind = if stage == Stage::After { 2 } else { 0 };
        assert_eq!(user.rip, SITE + behind, "{at:#x}");
        (stage, [user.rsp, user.eflags, user.rax, user.rdx])
    }

    #[test]
    fn every_place_is_in_the_table() {
        let label = |label| within(label);
        let asked = label(&raw const runsc_gate_asked);
        let rows = [
            (0, Stage::Before, [1, 2, 3, 4]),
            (
                label(&raw const runsc_gate_switched),
                Stage::Before,
                [11, 2, 3, 4],
            ),
            (
                label(&raw const runsc_gate_saved),
                Stage::Before,
                [11, 12, 13, 4],
            ),
            (asked, Stage::Asked, [11, 12, 13, 14]),
            (
                label(&raw const runsc_gate_consumed),
                Stage::After,
                [11, 12, 3, 14],
            ),
            (
                label(&raw const runsc_gate_done),
                Stage::After,
                [11, 12, 3, 4],
            ),
            (
                label(&raw const runsc_gate_plain_args),
                Stage::Before,
                [11, 12, 13, 14],
            ),
            (
                label(&raw const runsc_gate_plain),
                Stage::Before,
                [11, 12, 13, 4],
            ),
        ];
        let places = places();
        assert!(rows.iter().all(|row| places.contains(&row.0)));
        for at in places {
            let (_, stage, registers) = rows.iter().rfind(|row| row.0 <= at).unwrap();
            if at == asked {
                // The exchange has just been tried.
                assert_eq!(seen(at, 2, REQUEST), (Stage::Before, [11, 12, 13, 4]));
                assert_eq!(seen(at, 2 | ZERO_FLAG, TAKEN).0, Stage::Asked);
                continue;
            }
            assert_eq!(seen(at, 2, TAKEN), (*stage, *registers), "{at:#x}");
            if *stage == Stage::Asked {
                assert_eq!(seen(at, 2, GAVE_UP).0, Stage::Before);
            }
        }
        assert_eq!(unwind(&mut UserRegs::default(), |_| 0), None);
    }

    #[test]
    fn what_goes_by_page() {
        let page = page();
        assert!(page.len() <= 0x1000 && within(&raw const runsc_gate_end) as usize <= TABLE);
        let way = |nr: i64| page[TABLE + nr as usize];
        assert_eq!(way(libc::SYS_getpid), 1);
        assert_eq!(way(libc::SYS_getegid), FACT_CALLS.len() as u8);
        assert_eq!(way(libc::SYS_read), BY_PAGE);
        assert_eq!(way(libc::SYS_clone), PLAIN);
        assert_eq!(way(libc::SYS_munmap), PLAIN);
    }
}
