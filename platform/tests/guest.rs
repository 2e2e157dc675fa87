//! Guest code on real stub processes: system calls, faults, registers, interrupts.
#![allow(missing_docs)]

mod common;

use common::*;
use platform::{Access, Event, Platform};

blob!(
    calls,
    "2: mov eax, 39\n mov edi, 1\n mov esi, 2\n mov edx, 3\n mov r10d, 4\n mov r8d, 5\n mov r9d, 6\n syscall\n mov rbx, rax\n jmp 2b"
);

#[test]
fn system_calls_are_seen_and_answered() {
    guest(calls(), |_, context, regs| {
        for n in 0..1000u64 {
            // Every other time only what a call brings.
            assert_eq!(context.switch(regs), Event::Syscall);
            if n % 2 == 1 {
                context.load(regs).unwrap();
            }
            assert_eq!(
                (regs.syscall_number(), regs.args()),
                (39, [1, 2, 3, 4, 5, 6])
            );
            assert_eq!(regs.user.rax as i64, -38);
            if n % 2 == 1 {
                assert_eq!(regs.user.rbx, n - 1);
            }
            regs.set_return(n);
        }
    });
}

#[test]
fn registers_changed_by_the_sentry_arrive() {
    guest(calls(), |_, context, regs| {
        assert_eq!(switch(context, regs), Event::Syscall);
        let marked = {
            let u = &mut regs.user;
            (u.r15, u.r14, u.r13, u.r12, u.rbp, u.fs_base, u.gs_base) =
                (15, 14, 13, 12, 11, 0x1234_5000, 0x5678_9000);
            *u
        };
        // A result that the kernel uses for itself is one like another to a guest.
        regs.set_return(-512i64 as u64);
        context.interrupter().interrupt();
        assert_eq!(switch(context, regs), Event::Interrupted);
        assert_eq!(switch(context, regs), Event::Syscall);
        let u = regs.user;
        assert_eq!((u.r15, u.r14, u.r13, u.r12, u.rbp), (15, 14, 13, 12, 11));
        assert_eq!(
            (u.fs_base, u.gs_base, u.rbx, u.rip),
            (marked.fs_base, marked.gs_base, -512i64 as u64, marked.rip)
        );
        regs.restart_syscall();
        assert_eq!(switch(context, regs), Event::Syscall);
        assert_eq!(regs.user, u);
    });
}

#[test]
fn bad_registers_are_corrected_or_refused() {
    guest(calls(), |_, context, regs| {
        assert_eq!(switch(context, regs), Event::Syscall);
        let good = regs.clone();
        for (cs, ss, flags) in [
            (0, 0, 0),
            (0x10, 0x18, !0),
            (!0, !0, 0x3000 | 1 << 17),
            (0x33, 0x2b, 1 << 14),
        ] {
            let u = &mut regs.user;
            (u.cs, u.ss, u.eflags) = (cs, ss, flags & !0x100);
            (u.ds, u.es, u.fs, u.gs) = (ss, ss, ss, ss);
            assert_eq!(
                switch(context, regs),
                Event::Syscall,
                "{cs:#x} {ss:#x} {flags:#x}"
            );
        }
        for base in [
            1 << 47,
            1 << 63,
            u64::MAX,
            0xffff_8000_0000_0000,
            0x7fff_ffff_f000,
        ] {
            *regs = good.clone();
            regs.user.fs_base = base;
            assert!(
                matches!(
                    switch(context, regs),
                    Event::Fault {
                        signo: libc::SIGSEGV,
                        ..
                    }
                ),
                "{base:#x}"
            );
            *regs = good.clone();
            regs.user.gs_base = base;
            assert!(
                matches!(
                    switch(context, regs),
                    Event::Fault {
                        signo: libc::SIGSEGV,
                        ..
                    }
                ),
                "{base:#x}"
            );
        }
        for rip in [
            1 << 47,
            1 << 63,
            u64::MAX,
            0xffff_8000_0000_0000,
            0,
            0x7fff_ffff_f000,
        ] {
            *regs = good.clone();
            regs.user.rip = rip;
            let event = switch(context, regs);
            assert!(
                matches!(
                    event,
                    Event::Fault {
                        signo: libc::SIGSEGV,
                        ..
                    }
                ),
                "{rip:#x}: {event:?}"
            );
        }
        // A bad stack pointer is nobody's business until it is used.
        *regs = good.clone();
        regs.user.rsp = 1 << 63;
        assert_eq!(switch(context, regs), Event::Syscall);
        assert_eq!(regs.user.rsp, 1 << 63);
    });
}

blob!(int80, "mov eax, 20\n int 0x80\n ud2");
blob!(
    sysenter,
    "mov eax, 20\n lea rbp, [rsp - 16]\n sysenter\n ud2"
);

#[test]
fn other_entries_are_not_taken_for_64_bit_calls() {
    let (event, _) = fate(int80());
    assert!(
        matches!(event, Event::Syscall32 | Event::Fault { .. }),
        "{event:?}"
    );
    let (event, _) = fate(sysenter());
    assert!(
        matches!(
            event,
            Event::Syscall32 | Event::Fault { .. } | Event::Exception { .. }
        ),
        "{event:?}"
    );
}

blob!(
    vsyscall,
    "xor edi, edi\n mov rax, 0xffffffffff600400\n call rax\n ud2"
);

#[test]
fn the_vsyscall_page_is_a_system_call() {
    if !std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .contains("[vsyscall]")
    {
        return;
    }
    guest(vsyscall(), |_, context, regs| {
        assert_eq!(switch(context, regs), Event::Syscall);
        assert_eq!(regs.syscall_number(), libc::SYS_time as u64);
        regs.set_return(77);
        assert!(matches!(
            switch(context, regs),
            Event::Exception {
                signo: libc::SIGILL,
                ..
            }
        ));
        assert_eq!(regs.user.rax, 77);
    });
}

blob!(read_null, "mov eax, [0x10]\n");
blob!(write_code, "lea rax, [rip + 64]\n mov [rax], eax\n");
blob!(run_data, "jmp rsp\n");
blob!(
    not_canonical,
    "mov rax, 0x8000000000000000\n mov eax, [rax]\n"
);
blob!(illegal, "ud2\n");
blob!(breakpoint, "int3\n");
blob!(
    divide,
    "xor ecx, ecx\n xor edx, edx\n mov eax, 1\n div ecx\n"
);
blob!(
    stepping,
    "pushf\n or dword ptr [rsp], 0x100\n popf\n nop\n nop\n nop\n"
);
blob!(privileged, "hlt\n");

#[test]
fn faults_and_exceptions() {
    let segv = |code, addr, access| Event::Fault {
        signo: libc::SIGSEGV,
        code,
        addr,
        access,
    };
    let reads = [Access::Unknown, Access::Read].map(|access| segv(1, 0x10, access));
    assert!(reads.contains(&fate(read_null()).0));
    assert_eq!(fate(write_code()).0, segv(2, CODE + 71, Access::Write));
    assert_eq!(
        fate(&[0xff, 0xe4]).0,
        segv(1, DATA + DATA_LEN, Access::Execute)
    );
    assert_eq!(fate(not_canonical()).0, segv(0x80, 0, Access::Unknown));
    assert_eq!(fate(privileged()).0, segv(0x80, 0, Access::Unknown));
    let exception = |signo, code, addr, trapno| Event::Exception {
        signo,
        code,
        addr,
        trapno,
    };
    assert_eq!(fate(illegal()).0, exception(libc::SIGILL, 2, CODE, 6));
    assert_eq!(fate(divide()).0, exception(libc::SIGFPE, 1, CODE + 9, 0));
    let (event, regs) = fate(breakpoint());
    assert!(
        matches!(
            event,
            Event::Exception {
                signo: libc::SIGTRAP,
                code: 0x80,
                trapno: 3,
                ..
            }
        ),
        "{event:?}"
    );
    assert_eq!(regs.user.rip, CODE + 1);
    let (event, regs) = fate(stepping());
    assert!(
        matches!(
            event,
            Event::Exception {
                signo: libc::SIGTRAP,
                code: 2,
                trapno: 1,
                ..
            }
        ),
        "{event:?}"
    );
    assert_eq!(regs.user.eflags & 0x100, 0x100);
    let _ = run_data();
}

#[test]
fn a_fault_can_be_repaired() {
    guest(read_null(), |space, context, regs| {
        regs.user.rip = 0x100_0000;
        for n in 0..100 {
            let at = 0x100_0000 + n * 4096;
            let event = switch(context, regs);
            assert_eq!(
                event,
                Event::Fault {
                    signo: libc::SIGSEGV,
                    code: 1,
                    addr: at,
                    access: Access::Execute
                }
            );
            space.apply(&[anonymous(at, 4096, RW)]).unwrap();
            space.write(at, &[0x90; 4096]).unwrap();
            space
                .apply(&[platform::Order::Protect {
                    start: at,
                    len: 4096,
                    prot: RX,
                }])
                .unwrap();
        }
    });
}

blob!(spin, "2: inc rax\n jmp 2b");
blob!(count, "2: inc rbx\n mov eax, 39\n syscall\n jmp 2b");

#[test]
fn an_interrupt_before_the_switch_is_not_lost() {
    guest(spin(), |_, context, regs| {
        for _ in 0..100 {
            context.interrupter().interrupt();
            context.interrupter().interrupt();
            assert_eq!(switch(context, regs), Event::Interrupted);
        }
    });
}

#[test]
fn a_running_guest_is_interrupted() {
    guest(spin(), |_, context, regs| {
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let interrupter = context.interrupter();
        let thread = std::thread::spawn(move || {
            while asked.recv().is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(1));
                interrupter.interrupt();
            }
        });
        let mut ran = 0;
        for _ in 0..50 {
            ask.send(()).unwrap();
            let before = regs.user.rax;
            assert_eq!(switch(context, regs), Event::Interrupted);
            // On a busy machine the interrupt may come before the guest's first instruction.
            ran += u32::from(regs.user.rax > before);
        }
        assert!(ran > 0);
        drop(ask);
        thread.join().unwrap();
    });
}

/// Four threads interrupt a guest that makes system calls all the time: every interrupt is followed by at least one `Interrupted`, there are
/// no more of those than interrupts, and no call of the guest is lost or repeated.
#[test]
fn a_storm_of_interrupts() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    guest(count(), |_, context, regs| {
        const EACH: u64 = 5000;
        let sent = Arc::new(AtomicU64::new(0));
        let seen = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (interrupter, sent, seen) = (context.interrupter(), sent.clone(), seen.clone());
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        let before = seen.load(SeqCst);
                        sent.fetch_add(1, SeqCst);
                        interrupter.interrupt();
                        if n % 64 == 0 {
                            while seen.load(SeqCst) == before {
                                std::thread::yield_now();
                            }
                        }
                    }
                })
            })
            .collect();
        let mut calls = 0u64;
        while threads.iter().any(|thread| !thread.is_finished()) || calls < 1000 {
            match context.switch(regs) {
                Event::Interrupted => {
                    seen.fetch_add(1, SeqCst);
                }
                Event::Syscall => {
                    calls += 1;
                    if calls.is_multiple_of(3) {
                        context.load(regs).unwrap();
                    }
                    let rbx = if regs.partial { calls } else { regs.user.rbx };
                    assert_eq!((regs.syscall_number(), rbx), (39, calls));
                    regs.set_return(if calls.is_multiple_of(2) {
                        -512i64 as u64
                    } else {
                        7
                    });
                }
                event => panic!("{event:?}"),
            }
        }
        assert!(seen.load(SeqCst) <= sent.load(SeqCst));
        // Whatever is still on its way is not an event of its own.
        let mut rest = 0;
        for _ in 0..100 {
            rest += u64::from(switch(context, regs) == Event::Interrupted);
        }
        assert!(rest <= 1, "{rest}");
    });
}

#[test]
fn interrupting_what_is_gone_does_nothing() {
    let (send, receive) = std::sync::mpsc::channel();
    guest(spin(), move |_, context, _| {
        send.send(context.interrupter()).unwrap()
    });
    receive.recv().unwrap().interrupt();
}

blob!(
    vectors,
    "movups xmm0, [rdi]\n movups xmm15, [rdi + 16]\n mov eax, 1\n syscall\n movups [rdi + 32], xmm0\n movups [rdi + 48], xmm15\n mov eax, 2\n syscall\n"
);

#[test]
fn extended_state_goes_round() {
    guest(vectors(), |space, context, regs| {
        space.write(DATA, &[1; 16]).unwrap();
        space.write(DATA + 16, &[2; 16]).unwrap();
        regs.user.rdi = DATA;
        let fresh = context.fp_state().unwrap();
        assert_eq!(
            (&fresh[..2], &fresh[24..28]),
            (&[0x7f, 3][..], &[0x80, 0x1f, 0, 0][..])
        );
        assert_eq!(switch(context, regs), Event::Syscall);
        let mut image = context.fp_state().unwrap();
        assert!(image.len() >= 576);
        assert_eq!(
            (&image[160..176], &image[400..416]),
            (&[1; 16][..], &[2; 16][..])
        );
        image[160..176].fill(3);
        let mut bad = image.clone();
        bad[512 + 8] = 1; // xcomp_bv
        assert!(context.set_fp_state(&bad).is_err());
        bad = image.clone();
        bad[27] = 0xff; // MXCSR
        assert!(context.set_fp_state(&bad).is_err());
        assert!(context.set_fp_state(&image[..100]).is_err());
        context.set_fp_state(&image).unwrap();
        assert_eq!(switch(context, regs), Event::Syscall);
        let mut out = [0; 32];
        space.read(DATA + 32, &mut out).unwrap();
        assert_eq!(out, [[3; 16], [2; 16]].concat()[..]);
        // The legacy part alone.
        let mut legacy = context.fp_state().unwrap()[..512].to_vec();
        legacy[400..416].fill(9);
        context.set_fp_state(&legacy).unwrap();
        regs.user.rip = CODE + vectors().iter().position(|b| *b == 0x05).unwrap() as u64 + 1;
        assert_eq!(switch(context, regs), Event::Syscall);
        space.read(DATA + 32, &mut out).unwrap();
        assert_eq!(out, [[3; 16], [9; 16]].concat()[..]);
        context.reset_fp_state();
        // Which components count as in use is the processor's affair, as long as they hold what they hold initially.
        let mut reset = context.fp_state().unwrap();
        reset[512] = fresh[512];
        assert!(reset == fresh);
    });
}

/// The host's vDSO works where it has been moved to.
#[test]
fn the_host_vdso_can_be_called() {
    let Some(vdso) = platform().host_vdso() else {
        return;
    };
    assert!(!platform().user_range().contains(&vdso.start));
    let (send, receive) = std::sync::mpsc::channel();
    guest(calls(), move |space, context, regs| {
        let mut image = vec![0; (vdso.end - vdso.start) as usize];
        assert_eq!(space.read(vdso.start, &mut image), Ok(image.len()));
        assert_eq!(&image[..4], b"\x7fELF");
        let clock_gettime = vdso.start + symbol(&image, b"__vdso_clock_gettime\0");
        regs.user.rip = clock_gettime;
        regs.user.rdi = libc::CLOCK_MONOTONIC as u64;
        regs.user.rsi = DATA;
        regs.user.rsp = DATA + 0x8008 - 16;
        space.write(regs.user.rsp, &CODE.to_ne_bytes()).unwrap();
        let event = switch(context, regs);
        let mut seconds = [0; 8];
        space.read(DATA, &mut seconds).unwrap();
        send.send((event, regs.clone(), i64::from_ne_bytes(seconds)))
            .unwrap();
    });
    let (event, regs, seconds) = receive.recv().unwrap();
    assert_eq!(event, Event::Syscall);
    if regs.syscall_number() == 39 {
        let now = (sync::time::monotonic_ns() / 1_000_000_000) as i64;
        assert!((now - 5..=now).contains(&seconds), "{seconds} {now}");
    } else {
        // A host without a usable clock source: the function makes a system call, which is the guest's.
        assert_eq!(regs.syscall_number(), libc::SYS_clock_gettime as u64);
    }
}

/// The value of a dynamic symbol of a small ELF image that is all in one segment at 0.
fn symbol(image: &[u8], name: &[u8]) -> u64 {
    let u16_at = |at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let (phoff, phnum) = (u64_at(32), u16_at(56));
    let dynamic = (0..phnum)
        .map(|n| phoff + 56 * n)
        .find(|at| image[*at] == 2)
        .map(|at| u64_at(at + 16))
        .unwrap();
    let entry = |tag| {
        (0..)
            .map(|n| dynamic + 16 * n)
            .find(|at| u64_at(*at) == tag)
            .map(|at| u64_at(at + 8))
            .unwrap()
    };
    let (strings, symbols) = (entry(5), entry(6));
    for at in (symbols..).step_by(24) {
        let start = strings + u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
        if image[start..].starts_with(name) {
            return u64_at(at + 8) as u64;
        }
    }
    unreachable!()
}

#[test]
fn the_self_test_passes() {
    assert_eq!(platform::self_test(platform()), Ok(()));
}
