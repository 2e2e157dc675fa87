//! Many threads and many processes, counted: what sleeps costs nothing, what has ended leaves nothing. One test to a process.
#![allow(missing_docs)]

mod common;

use common::*;
use platform::{Event, Platform};

/// Fields of /proc/PID/stat from the state on, which is number 0.
fn stat(pid: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(") ")?.1;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// This process and its children.
fn family() -> Vec<String> {
    let me = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|pid| *pid == me || stat(pid).is_some_and(|fields| fields[1] == me))
        .collect()
}

/// Processor time that they have used, in ticks.
fn ticks() -> u64 {
    let used = |pid: &String| {
        stat(pid).map_or(0, |f| {
            f[11].parse::<u64>().unwrap() + f[12].parse::<u64>().unwrap()
        })
    };
    family().iter().map(used).sum()
}

/// Processes, threads of this one, its descriptors, its resident pages.
fn count() -> ([usize; 3], u64) {
    let entries = |path: &str| std::fs::read_dir(path).unwrap().count();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident = statm.split(' ').nth(1).unwrap().parse().unwrap();
    let counts = [
        family().len(),
        entries("/proc/self/task"),
        entries("/proc/self/fd"),
    ];
    (counts, resident)
}

const SLEEPERS: usize = 1000;

fn sleepers_cost_nothing() {
    let space = space(&[0x0f, 0x05, 0xeb, 0xfc]);
    let (send, receive) = std::sync::mpsc::channel();
    let mut wakers = Vec::new();
    for _ in 0..SLEEPERS {
        let (wake, sleep) = std::sync::mpsc::channel::<()>();
        let send = send.clone();
        wakers.push(wake);
        let body = move |mut context: Box<dyn platform::Context>| {
            let mut regs = start();
            assert_eq!(context.switch(&mut regs), Event::Syscall);
            send.send(()).unwrap();
            // As a task sleeps that waits for something.
            let _ = sleep.recv();
            assert_eq!(context.switch(&mut regs), Event::Syscall);
            None
        };
        space.clone().spawn("sleeper", Box::new(body)).unwrap();
    }
    (0..SLEEPERS).for_each(|_| receive.recv().unwrap());
    // The pool may still be at work.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (first, started) = (ticks(), count().0);
    std::thread::sleep(std::time::Duration::from_secs(3));
    // Two looks at /proc are in it.
    assert!(ticks() - first <= 3, "{} ticks", ticks() - first);
    assert_eq!(count().0, started);
    drop(wakers);
}

fn processes_leave_nothing() {
    let parent = space(&[0x0f, 0x05, 0xeb, 0xfc]);
    let round = || {
        let child = parent.fork().unwrap();
        enter(&child, |context, regs| {
            assert_eq!(context.switch(regs), Event::Syscall);
        });
    };
    let settled = |want: [usize; 3]| {
        for _ in 0..1000 {
            if count().0 == want {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(count().0, want);
    };
    (0..100).for_each(|_| round());
    std::thread::sleep(std::time::Duration::from_secs(2));
    let before = count();
    (0..2000).for_each(|_| round());
    settled(before.0);
    // A page for every four processes would be seen.
    let grown = count().1.saturating_sub(before.1);
    assert!(grown < 500, "{grown} pages");
    assert_eq!(platform().memory_file().usage(), 0);
}

#[test]
fn in_turn() {
    processes_leave_nothing();
    sleepers_cost_nothing();
}
