//! Guest threads that spoil what their process has for other guest threads, and for themselves: the sentry gets them all the same.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::*;
use platform::{Context, Event, Interrupter, Platform};

// Fills memory with rdx from rdi to rsi, over and over.
blob!(
    scribble,
    "2: mov rax, rdi\n3: mov [rax], rdx\n add rax, 8\n cmp rax, rsi\n jb 3b\n add rdx, rcx\n rol rdx, 7\n jmp 2b"
);

/// Two guest threads overwrite the memory that signals of both go through. Whatever registers come of it, every interrupt ends a switch.
#[test]
fn scribblers_are_interrupted() {
    const TURNS: u64 = 60;
    for round in 0..8u64 {
        let space = space(scribble());
        let maps = maps_of(&*space, 0x6d61_726b_2000 + round);
        // On systrap the last piece is that of the signal stacks, of which these threads have the first two.
        let target = area(&maps, " rw-p ").pop().unwrap();
        let end = target.end.min(target.start + 0x2_0000);
        let stop = Arc::new(AtomicBool::new(false));
        let (send, receive) = std::sync::mpsc::channel::<(Interrupter, Arc<AtomicU64>)>();
        for n in 0..2u64 {
            let (stop, send, text) = (stop.clone(), send.clone(), platform().user_range().end);
            let body = move |mut context: Box<dyn Context>| {
                let turns = Arc::new(AtomicU64::new(0));
                send.send((context.interrupter(), turns.clone())).unwrap();
                let fresh = || {
                    let mut regs = start();
                    regs.user.rdi = target.start;
                    regs.user.rsi = end;
                    regs.user.rdx = [0, text + 0x4_1000, !0, DATA][((round + n) % 4) as usize];
                    regs.user.rcx = (round / 4) * 0x1111;
                    regs
                };
                let mut regs = fresh();
                while !stop.load(SeqCst) {
                    match switch(&mut *context, &mut regs) {
                        Event::Died => break,
                        Event::Interrupted => {}
                        _ => regs = fresh(),
                    }
                    turns.fetch_add(1, SeqCst);
                }
                turns.store(u64::MAX, SeqCst);
                None
            };
            space.clone().spawn("scribbler", Box::new(body)).unwrap();
        }
        let threads: Vec<_> = (0..2).map(|_| receive.recv().unwrap()).collect();
        for _ in 0..TURNS {
            for (interrupter, turns) in &threads {
                let before = turns.load(SeqCst);
                interrupter.interrupt();
                while turns.load(SeqCst) == before && before != u64::MAX {
                    std::thread::yield_now();
                }
            }
        }
        stop.store(true, SeqCst);
        for (interrupter, turns) in &threads {
            interrupter.interrupt();
            while turns.load(SeqCst) != u64::MAX {
                std::thread::yield_now();
            }
        }
    }
}

/// The numbers of a stub's descriptors.
fn descriptors(pid: i32) -> Vec<String> {
    let mut found: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    found
}

/// Listeners, sockets of children and mapped files do not stay in a stub, where the host would take their numbers.
#[test]
fn a_stub_has_two_descriptors() {
    let space = space(&[0x0f, 0x05, 0xeb, 0xfc]);
    let (send, receive) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let wait = Arc::new(std::sync::Mutex::new(wait));
    for _ in 0..4 {
        let (send, wait) = (send.clone(), wait.clone());
        let body = move |mut context: Box<dyn Context>| {
            assert_eq!(context.switch(&mut start()), Event::Syscall);
            send.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            None
        };
        space.clone().spawn("caller", Box::new(body)).unwrap();
    }
    (0..4).for_each(|_| receive.recv().unwrap());
    let child = space.fork().unwrap();
    child.apply(&[anonymous(0x1000_0000, 0x1000, RW)]).unwrap();
    assert_eq!(descriptors(stub_of(&*space, 0x6d61_726b_3000)), ["0", "1"]);
    assert_eq!(descriptors(stub_of(&*child, 0x6d61_726b_3001)), ["0", "1"]);
    (0..4).for_each(|_| go.send(()).unwrap());
}

/// A host thread that is killed from outside ends the wait for it, wherever that is.
#[test]
fn a_killed_stub_is_reported() {
    for serving in [false, true] {
        let code: &[u8] = if serving {
            &[0x0f, 0x05, 0xeb, 0xfc]
        } else {
            &[0xeb, 0xfe]
        };
        let space = space(code);
        let pid = stub_of(&*space, 0x6d61_726b_4000 + u64::from(serving));
        let (send, receive) = std::sync::mpsc::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let body = move |mut context: Box<dyn Context>| {
            let mut regs = start();
            if serving {
                assert_eq!(context.switch(&mut regs), Event::Syscall);
            }
            ready.send(()).unwrap();
            if serving {
                wait.recv().unwrap();
            }
            let mut event = context.switch(&mut regs);
            if event == Event::Syscall {
                event = context.switch(&mut regs);
            }
            send.send((event, context.switch(&mut regs))).unwrap();
            None
        };
        space.clone().spawn("victim", Box::new(body)).unwrap();
        is_ready.recv().unwrap();
        let status = std::process::Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        assert!(status.unwrap().success());
        if serving {
            go.send(()).unwrap();
        }
        assert_eq!(receive.recv().unwrap(), (Event::Died, Event::Died));
    }
}
