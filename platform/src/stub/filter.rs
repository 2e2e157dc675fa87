//! The seccomp filters of a stub's threads, as data: what is allowed, under which conditions, and why. From it come the programs that the
//! stub installs, the tests, and the listing in the documentation.

use super::{layout::*, text};

/// A filter.
#[derive(Debug)]
pub struct FilterSpec {
    /// The kind of thread.
    pub thread: &'static str,
    /// What happens to calls that are not made by the helper's code ([`TEXT`]). `None`: the rules are for all calls.
    pub elsewhere: Option<Action>,
    /// What happens to every other call.
    pub default: Action,
    /// The calls that are not treated so. A call with several entries is allowed if one of them fits.
    pub rules: &'static [Rule],
}

/// What a filter does with a call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The host executes it.
    Allow,
    /// SIGSYS, which the tracer sees; without one the process dies.
    Trap,
    /// The call waits for the sentry's answer; the host executes it only if that says so. `ENOSYS` if the sentry does not listen any more.
    Notify,
    /// `ENOSYS`, if no other filter of the thread has something stricter to say.
    Refuse,
    /// The process dies.
    Kill,
}

/// One line of a filter.
#[derive(Debug)]
pub struct Rule {
    /// The call.
    pub name: &'static str,
    /// Its number.
    pub nr: i64,
    /// What must hold of its arguments.
    pub when: &'static [When],
    /// What then happens.
    pub action: Action,
    /// Why it is there.
    pub reason: &'static str,
}

/// A condition on a call.
#[derive(Copy, Clone, Debug)]
pub enum When {
    /// The argument (from 0) is this.
    Is(u8, u64),
    /// The argument is below this.
    Below(u8, u64),
    /// The `syscall` instruction is the one of the parked guest thread.
    AtParked,
    /// The `syscall` instruction is the one that ends a guest thread.
    AtExit,
    /// The `syscall` instruction is the one with which the helper reports.
    AtReport,
    /// The `syscall` instruction is the one with which a traced guest thread makes calls of the sentry's.
    AtCall,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Is(arg, value) => write!(f, "argument {arg} is {value:#x}"),
            Below(arg, value) => write!(f, "argument {arg} below {value:#x}"),
            AtParked => f.write_str("made by the park's own instruction"),
            AtExit => f.write_str("made by the exit's own instruction"),
            AtReport => f.write_str("made by the report's own instruction"),
            AtCall => f.write_str("made where the sentry sends the thread for it"),
        }
    }
}

use When::{AtCall, AtExit, AtParked, AtReport, Below, Is};

macro_rules! rules {
    ($($action:ident $name:ident($($when:expr),*): $reason:literal,)*) => {
        &[$(Rule { name: stringify!($name), nr: rules!(@nr $name), when: &[$($when),*], action: Action::$action, reason: $reason }),*]
    };
    (@nr $name:ident) => { paste_nr::$name };
}

/// The numbers under the calls' own names.
#[allow(non_upper_case_globals)]
mod paste_nr {
    macro_rules! numbers { ($($name:ident = $from:ident,)*) => { $(pub const $name: i64 = libc::$from;)* } }
    numbers! {
        sendto = SYS_sendto, recvmsg = SYS_recvmsg, mmap = SYS_mmap, munmap = SYS_munmap, mprotect = SYS_mprotect, mremap = SYS_mremap,
        madvise = SYS_madvise, mlock2 = SYS_mlock2, munlock = SYS_munlock, mincore = SYS_mincore, getrusage = SYS_getrusage, clone = SYS_clone,
        close_range = SYS_close_range, sendmsg = SYS_sendmsg, sched_yield = SYS_sched_yield, sigaltstack = SYS_sigaltstack, rt_sigprocmask = SYS_rt_sigprocmask, sched_setaffinity = SYS_sched_setaffinity, dup2 = SYS_dup2, prctl = SYS_prctl, seccomp = SYS_seccomp, pause = SYS_pause, exit = SYS_exit, rseq = SYS_rseq,
        exit_group = SYS_exit_group,
    }
}

const SHARED_FIXED: u64 = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const READ_EXECUTE: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;

/// How a guest thread's filter is installed on systrap: with a listener; and once the sentry has a call, only death ends the wait for its
/// answer.
pub const NOTIFIED_FLAGS: u64 =
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

/// The spawner, and with it every thread of a stub: the helper's and a guest thread's own filter come on top. A guest thread that jumps into the
/// spawner's code is under both: what is allowed here its own filter stops, and of what is killed here it dies.
pub const SPAWNER: FilterSpec = FilterSpec {
    thread: "stub spawner",
    elsewhere: Some(Action::Refuse),
    default: Action::Kill,
    rules: rules! {
        Allow recvmsg(Is(0, SOCKET_FD)): "waits for orders; receives the file of a mapping",
        Allow sendto(Is(0, SOCKET_FD)): "answers them",
        Allow mmap(Below(0, BASE), Below(1, BASE)): "ordered: guest memory",
        Allow munmap(Below(0, BASE), Below(1, BASE + 1)): "ordered: guest memory; once, the image that the zygote was forked from",
        Allow mprotect(Below(0, BASE), Below(1, BASE)): "ordered: guest memory",
        Allow madvise(Below(0, BASE), Below(1, BASE)): "ordered: guest memory",
        Allow mremap(Below(0, BASE), Below(1, BASE), Below(2, BASE), Below(4, BASE)): "ordered: guest memory",
        Allow clone(Is(0, text::FORK_FLAGS)): "ordered: a guest process forks, or a new one is needed",
        Allow clone(Is(0, text::THREAD_FLAGS)): "ordered: a guest thread",
        Allow sched_setaffinity(Is(0, 0), Is(2, PROCESSORS)): "before a fork: the copy may run on any processor of the sandbox",
        Allow sched_setaffinity(Is(0, 0), Is(1, 8)): "after a fork: the copy stays on its processor until it has a guest thread, by a mask in read-only memory",
        Allow close_range(Is(0, DONATED_FD)): "the file of a mapping is closed as soon as it is mapped, a listener as soon as it is sent",
        Allow prctl(Is(0, libc::PR_SET_PDEATHSIG as u64), Is(1, libc::SIGKILL as u64)): "a forked stub dies with the sentry",
        Allow mmap(Is(0, ORDERS), Is(1, 4096), Is(2, libc::PROT_READ as u64), Is(3, SHARED_FIXED), Is(4, BOOK_FD)): "a forked stub's own orders, read-only",
        Allow mmap(Is(0, SITES_TEXT), Is(1, SITES_TEXT_LEN), Is(2, READ_EXECUTE), Is(3, SHARED_FIXED), Is(4, DONATED_FD)): "ordered: the code of rewritten call sites",
        Allow mmap(Is(0, BASES), Is(1, BASES_LEN), Is(2, libc::PROT_READ as u64), Is(3, SHARED_FIXED), Is(4, DONATED_FD)): "ordered: where the rewritten pages of this address space are",
        Allow mmap(Is(0, PAGES), Is(1, PAGES_LEN), Is(2, READ_WRITE), Is(3, SHARED_FIXED), Is(4, DONATED_FD)): "ordered: the pages that guest threads share with their sentry threads",
        Allow madvise(Is(0, PAGES), Is(1, PAGES_LEN), Is(2, libc::MADV_DONTFORK as u64)): "ordered: which are of this address space only",
        Allow dup2(Is(0, DONATED_FD), Is(1, SOCKET_FD)): "a forked stub's own socket",
        Allow seccomp(Is(0, 1), Is(1, 0), Is(2, GUEST_PROGRAM)): "a traced guest thread's filter, from read-only memory",
        Allow seccomp(Is(0, 1), Is(1, NOTIFIED_FLAGS), Is(2, NOTIFIED_PROGRAM)): "a notified guest thread's filter, from read-only memory",
        Allow seccomp(Is(0, 1), Is(1, NOTIFIED_FLAGS), Is(2, HELPER_PROGRAM)): "the helper's filter, from read-only memory",
        Allow sigaltstack(Below(0, ORDERS + 4096), Is(1, 0)): "ordered: the signal stack of a notified guest thread or of the helper, from read-only memory",
        Allow sendmsg(Is(0, SOCKET_FD), Is(1, LISTENER_MESSAGE)): "the listener of a new thread goes to the sentry; the message is in read-only memory",
        Allow sched_yield(): "until there is that listener; as the helper's report, which its own filter notifies",
        Allow rt_sigprocmask(Is(0, libc::SIG_SETMASK as u64), Is(1, SIGNAL_MASK), Is(2, 0)): "after a fault in an order, from read-only memory",
        Allow mincore(Below(0, BASE), Below(2, VECTOR + VECTOR_LEN)): "ordered: mincore, resident sizes",
        Allow getrusage(Is(0, 0), Is(1, VECTOR)): "ordered: the peak of resident memory",
        Allow mlock2(Below(0, BASE), Below(1, BASE)): "ordered: guest memory",
        Allow munlock(Below(0, BASE), Below(1, BASE)): "ordered: guest memory",
        Allow pause(): "a guest thread that waits to be traced",
        Allow exit(): "a guest thread whose task is gone",
        Allow rseq(Below(0, BASE)): "ordered: a guest thread's area, in guest memory",
        Allow exit_group(): "the sentry is gone",
    },
};

/// The helper on systrap, on top of the spawner's filter: it makes no thread, no process, and uses no descriptor.
pub const HELPER: FilterSpec = FilterSpec {
    thread: "stub helper (systrap)",
    elsewhere: None,
    default: Action::Kill,
    rules: rules! {
        Notify sched_yield(AtReport): "reports, and waits for orders",
        Allow mmap(Is(4, u64::MAX)): "ordered: guest memory without a descriptor",
        Allow munmap(): "ordered: guest memory",
        Allow mprotect(): "ordered: guest memory",
        Allow madvise(): "ordered: guest memory",
        Allow mremap(): "ordered: guest memory",
        Allow mlock2(): "ordered: guest memory",
        Allow munlock(): "ordered: guest memory",
        Allow mincore(): "ordered: mincore, resident sizes",
        Allow getrusage(): "ordered: the peak of resident memory",
        Allow rt_sigprocmask(): "after a fault in an order",
        Allow exit_group(): "the sentry is gone",
    },
};

/// A guest thread on ptrace. While it is traced its calls never get as far as a filter; this one is for the moments before and after.
pub const GUEST: FilterSpec = FilterSpec {
    thread: "stub guest thread (ptrace)",
    elsewhere: None,
    default: Action::Trap,
    rules: rules! {
        Allow pause(AtParked): "waits to be traced, before its first guest instruction and after its last",
        Allow exit(AtExit): "ends, when its task has",
        Allow rseq(AtCall, Below(0, BASE)): "ordered: an area in guest memory (calls that a guest makes do not get as far as this filter)",
    },
};

/// A guest thread on systrap: the sentry decides on every call, whatever it is and wherever it is made.
pub const NOTIFIED: FilterSpec = FilterSpec {
    thread: "stub guest thread (systrap)",
    elsewhere: None,
    default: Action::Notify,
    rules: &[],
};

/// One instruction of a filter program (`struct sock_filter`).
pub type Instruction = [u8; 8];

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> Instruction {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&(code as u16).to_ne_bytes());
    bytes[2] = jt;
    bytes[3] = jf;
    bytes[4..].copy_from_slice(&k.to_ne_bytes());
    bytes
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const POINTER: u32 = 8;
const ARGS: u32 = 16;

/// "Jump to the rule's end", filled in when its length is known.
const NEXT: u8 = 0xff;

fn ret(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
        // Only tracers that ask for it are asked.
        Action::Refuse => libc::SECCOMP_RET_TRACE,
        Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    instruction(RETURN, 0, 0, value)
}

fn is(offset: u32, value: u64, rule: &mut Vec<Instruction>) {
    rule.push(instruction(LOAD, 0, 0, offset));
    rule.push(instruction(EQUAL, 0, NEXT, value as u32));
    rule.push(instruction(LOAD, 0, 0, offset + 4));
    rule.push(instruction(EQUAL, 0, NEXT, (value >> 32) as u32));
}

fn below(offset: u32, value: u64, rule: &mut Vec<Instruction>) {
    let (high, low) = ((value >> 32) as u32, value as u32);
    rule.push(instruction(LOAD, 0, 0, offset + 4));
    rule.push(instruction(GREATER, NEXT, 0, high));
    rule.push(instruction(EQUAL, 0, 2, high));
    rule.push(instruction(LOAD, 0, 0, offset));
    rule.push(instruction(AT_LEAST, NEXT, 0, low));
}

impl FilterSpec {
    /// The filter as the kernel takes it.
    pub fn program(&self) -> Vec<Instruction> {
        let other = self.elsewhere.unwrap_or(self.default);
        if self.rules.is_empty() && other == self.default {
            // It is installed by every new thread: as short as can be.
            return vec![ret(other)];
        }
        let mut program = vec![
            instruction(LOAD, 0, 0, ARCH),
            instruction(EQUAL, 1, 0, AUDIT_ARCH_X86_64),
            ret(other),
        ];
        if self.elsewhere.is_some() {
            // What a filter is told is the address behind the instruction.
            program.extend([
                instruction(LOAD, 0, 0, POINTER + 4),
                instruction(EQUAL, 0, 3, (TEXT >> 32) as u32),
                instruction(LOAD, 0, 0, POINTER),
                instruction(AT_LEAST, 0, 1, TEXT as u32),
                instruction(AT_LEAST, 0, 1, GUEST_TEXT as u32),
                ret(other),
            ]);
        }
        for rule in self.rules {
            let mut code = vec![
                instruction(LOAD, 0, 0, NR),
                instruction(EQUAL, 0, NEXT, rule.nr as u32),
            ];
            for when in rule.when {
                match *when {
                    Is(arg, value) => is(ARGS + 8 * u32::from(arg), value, &mut code),
                    Below(arg, value) => below(ARGS + 8 * u32::from(arg), value, &mut code),
                    AtParked => is(POINTER, text::parked(), &mut code),
                    AtExit => is(POINTER, text::exited(), &mut code),
                    AtReport => is(POINTER, text::reported(), &mut code),
                    AtCall => is(POINTER, text::traced_call().1, &mut code),
                }
            }
            code.push(ret(rule.action));
            let len = code.len();
            for (at, instruction) in code.iter_mut().enumerate() {
                for jump in &mut instruction[2..4] {
                    if *jump == NEXT {
                        *jump = (len - at - 1) as u8;
                    }
                }
            }
            program.append(&mut code);
        }
        program.push(ret(self.default));
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel does.
    fn run(program: &[Instruction], data: &[u8; 64]) -> u32 {
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = program[pc];
            let k = u32::from_ne_bytes(i[4..].try_into().unwrap());
            let jump = |taken| usize::from(if taken { i[2] } else { i[3] });
            pc += 1;
            match u32::from(u16::from_ne_bytes([i[0], i[1]])) {
                LOAD => {
                    a = u32::from_ne_bytes(data[k as usize..k as usize + 4].try_into().unwrap())
                }
                EQUAL => pc += jump(a == k),
                GREATER => pc += jump(a > k),
                AT_LEAST => pc += jump(a >= k),
                RETURN => return k,
                code => panic!("{code}"),
            }
        }
    }

    fn call(nr: i64, args: [u64; 6], ip: u64, arch: u32) -> [u8; 64] {
        let mut data = [0; 64];
        data[..4].copy_from_slice(&(nr as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        data[8..16].copy_from_slice(&ip.to_ne_bytes());
        for (i, arg) in args.iter().enumerate() {
            data[16 + 8 * i..24 + 8 * i].copy_from_slice(&arg.to_ne_bytes());
        }
        data
    }

    #[test]
    fn the_spawner_reaches_guest_memory_only() {
        let program = SPAWNER.program();
        let verdict = |nr, args| run(&program, &call(nr, args, TEXT + 2, AUDIT_ARCH_X86_64));
        let (allow, kill) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(
            verdict(libc::SYS_mmap, [0x10000, 4096, 3, 0x32, !0, 0]),
            allow
        );
        assert_eq!(
            verdict(libc::SYS_mmap, [BASE - 4096, 4096, 3, 0x32, !0, 0]),
            allow
        );
        assert_eq!(
            verdict(libc::SYS_mmap, [0x7ffe_ffff_f000, 4096, 3, 0x32, !0, 0]),
            allow
        );
        assert_eq!(verdict(libc::SYS_mmap, [BASE, 4096, 3, 0x32, !0, 0]), kill);
        assert_eq!(
            verdict(libc::SYS_mmap, [1 << 63, 4096, 3, 0x32, !0, 0]),
            kill
        );
        assert_eq!(
            verdict(
                libc::SYS_mmap,
                [ORDERS, 4096, 1, SHARED_FIXED, BOOK_FD, 4096]
            ),
            allow
        );
        assert_eq!(
            verdict(
                libc::SYS_mmap,
                [ORDERS, 4096, 3, SHARED_FIXED, BOOK_FD, 4096]
            ),
            kill
        );
        assert_eq!(verdict(libc::SYS_munmap, [TEXT, 4096, 0, 0, 0, 0]), kill);
        assert_eq!(
            verdict(libc::SYS_mremap, [0x10000, 4096, 4096, 3, TEXT, 0]),
            kill
        );
        assert_eq!(
            verdict(libc::SYS_clone, [text::FORK_FLAGS, 0, 0, 0, 0, 0]),
            allow
        );
        assert_eq!(
            verdict(
                libc::SYS_clone,
                [text::FORK_FLAGS | 0x1000_0000, 0, 0, 0, 0, 0]
            ),
            kill
        );
        assert_eq!(verdict(libc::SYS_execve, [0; 6]), kill);
        assert_eq!(verdict(libc::SYS_sendto, [3, 0, 0, 0, 0, 0]), kill);
        for ip in [
            0x40_0000,
            TEXT - 1,
            GUEST_TEXT,
            GUEST_TEXT + 9,
            TEXT + (1 << 32),
        ] {
            for nr in [libc::SYS_time, libc::SYS_munmap, libc::SYS_exit_group] {
                assert_eq!(
                    run(&program, &call(nr, [0; 6], ip, AUDIT_ARCH_X86_64)),
                    libc::SECCOMP_RET_TRACE
                );
            }
        }
        assert_eq!(
            run(
                &program,
                &call(
                    libc::SYS_mmap,
                    [0x10000, 4096, 3, 0x32, !0, 0],
                    TEXT + 2,
                    0x4000_0003
                )
            ),
            libc::SECCOMP_RET_TRACE
        );
    }

    #[test]
    fn the_helper_makes_nothing() {
        let program = HELPER.program();
        let verdict = |nr, args, ip| run(&program, &call(nr, args, ip, AUDIT_ARCH_X86_64));
        let (allow, kill) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
        let notify = libc::SECCOMP_RET_USER_NOTIF;
        let report = verdict(libc::SYS_sched_yield, [1, 2, 3, 0, 0, 0], text::reported());
        assert_eq!(report, notify);
        let elsewhere = verdict(libc::SYS_sched_yield, [0; 6], text::reported() + 1);
        assert_eq!(elsewhere, kill);
        for nr in 0..512 {
            let expected = match nr {
                libc::SYS_mmap
                | libc::SYS_munmap
                | libc::SYS_mprotect
                | libc::SYS_madvise
                | libc::SYS_mremap
                | libc::SYS_mlock2
                | libc::SYS_munlock
                | libc::SYS_mincore
                | libc::SYS_getrusage
                | libc::SYS_rt_sigprocmask
                | libc::SYS_exit_group => allow,
                _ => kill,
            };
            assert_eq!(verdict(nr, [!0; 6], TEXT + 2), expected, "{nr}");
        }
        let donated = [0x10000, 4096, 1, 0x11, DONATED_FD, 0];
        assert_eq!(verdict(libc::SYS_mmap, donated, TEXT + 2), kill);
    }

    #[test]
    fn a_guest_thread_gets_nothing() {
        let program = GUEST.program();
        for nr in 0..512 {
            for ip in [0, text::parked(), text::exited(), text::traced_call().1] {
                let allowed = (nr, ip) == (libc::SYS_pause, text::parked())
                    || (nr, ip) == (libc::SYS_exit, text::exited())
                    || (nr, ip) == (libc::SYS_rseq, text::traced_call().1);
                let want = if allowed {
                    libc::SECCOMP_RET_ALLOW
                } else {
                    libc::SECCOMP_RET_TRAP
                };
                assert_eq!(
                    run(&program, &call(nr, [0; 6], ip, AUDIT_ARCH_X86_64)),
                    want,
                    "{nr} at {ip:#x}"
                );
            }
        }
    }

    #[test]
    fn everything_fits_its_place() {
        let programs: usize = crate::filters()
            .iter()
            .map(|spec| spec.program().len())
            .sum();
        assert!(
            PROGRAMS + 8 * programs as u64 <= INITIAL_STATE,
            "{programs} instructions"
        );
        assert!(text::code().len() <= 8192, "{} bytes", text::code().len());
        // Never two where only one is, and the guest threads' code where it is said to be.
        assert!((GUEST_TEXT..DATA).contains(&text::handler()));
        assert!((TEXT..GUEST_TEXT).contains(&text::parked()));
    }
}
