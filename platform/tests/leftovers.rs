//! Nothing stays behind: processes, threads, descriptors, counted. One test to a process, because it counts all of them.
#![allow(missing_docs)]

mod common;

use std::process::Command;

use common::*;
use platform::{Event, Platform};

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

/// The state letters of our children.
fn children() -> Vec<(i32, char)> {
    let me = std::process::id().to_string();
    let stat = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut rest = stat.rsplit_once(") ")?.1.split(' ');
        let state = rest.next()?.chars().next()?;
        (rest.next()? == me).then_some((pid, state))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| stat(entry.unwrap()))
        .collect()
}

fn settled(what: impl Fn() -> (usize, usize, usize), want: (usize, usize, usize)) {
    for _ in 0..500 {
        if what() == want {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(what(), want, "{:?}", children());
}

blob!(loop_, "2: mov eax, 39\n syscall\n jmp 2b");

/// Processes, descriptors, threads.
fn count() -> (usize, usize, usize) {
    (
        children().len(),
        entries("/proc/self/fd"),
        entries("/proc/self/task"),
    )
}

fn leave_nothing_behind() {
    // The zygote and its pool are there, and stay.
    drop(platform().new_address_space().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = count();
    for round in 0..200 {
        let space = space(loop_());
        let child = space.fork().unwrap();
        let one = space.clone();
        if round % 2 == 0 {
            let entry = |mut context: Box<dyn platform::Context>| {
                let mut regs = start();
                assert_eq!(switch(&mut *context, &mut regs), Event::Syscall);
            };
            one.spawn(
                "guest",
                Box::new(move |context| {
                    entry(context);
                    None
                }),
            )
            .unwrap();
        }
        enter(&child, |context, regs| {
            assert_eq!(switch(context, regs), Event::Syscall)
        });
        enter(&child, |context, regs| {
            assert_eq!(switch(context, regs), Event::Syscall)
        });
    }
    settled(count, before);
    assert!(children().iter().all(|(_, state)| *state != 'Z'));
}

#[derive(Copy, Clone, PartialEq)]
enum Shot {
    ThenSwitched,
    ThenDropped,
    WhileRunning,
}

/// A guest whose host process is shot from outside has died; nothing else happens.
fn a_shot_stub_has_died(when: Shot) {
    let space = space(loop_());
    // The pool fills up again first.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let known: Vec<_> = children();
    let child = space.fork().unwrap();
    let stub = children()
        .into_iter()
        .find(|c| !known.iter().any(|k| k.0 == c.0))
        .unwrap()
        .0;
    let inner = child.clone();
    // Never again, not even in a switch: then the context finds out when it is dropped.
    if when == Shot::ThenDropped {
        enter(&child, move |context, regs| {
            assert_eq!(switch(context, regs), Event::Syscall);
            // SAFETY: a child of ours.
            unsafe { libc::kill(stub, libc::SIGKILL) };
        });
        return;
    }
    if when == Shot::WhileRunning {
        enter(&child, move |context, regs| {
            let killer = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                // SAFETY: a child of ours.
                unsafe { libc::kill(stub, libc::SIGKILL) };
            });
            while switch(context, regs) == Event::Syscall {}
            assert_eq!(switch(context, regs), Event::Died);
            killer.join().unwrap();
        });
        return;
    }
    enter(&child, move |context, regs| {
        assert_eq!(switch(context, regs), Event::Syscall);
        // SAFETY: a child of ours.
        unsafe { libc::kill(stub, libc::SIGKILL) };
        assert_eq!(switch(context, regs), Event::Died);
        assert_eq!(switch(context, regs), Event::Died);
        assert!(context.fp_state().is_err());
        // Its guest thread is gone; the others are killed as well, but each ends in its own time.
        while inner.read(CODE, &mut [0]).is_ok() {
            std::thread::yield_now();
        }
        assert!(inner.apply(&[anonymous(0x10000, 4096, RW)]).is_err());
        assert!(inner.fork().is_err());
        assert!(inner.compare_exchange_u32(DATA, 0, 0).is_err());
        assert!(inner.clone().spawn("none", Box::new(|_| None)).is_err());
    });
    assert_eq!(space.read(CODE, &mut [0]), Ok(1));
}

/// All stubs die with the process that traces them, however it dies.
fn stubs_die_with_the_sentry() {
    let mut sentry = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_sentry_to_be_killed", "--nocapture"])
        .env("LEFTOVERS_SENTRY", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut pids = Vec::new();
    for line in std::io::BufRead::lines(std::io::BufReader::new(sentry.stdout.take().unwrap())) {
        let line = line.unwrap();
        if let Some(pid) = line.strip_prefix("stub ") {
            pids.push(pid.parse::<i32>().unwrap());
        } else if line == "running" {
            break;
        }
    }
    assert!(pids.len() >= 3, "{pids:?}");
    sentry.kill().unwrap();
    sentry.wait().unwrap();
    for _ in 0..500 {
        // SAFETY: signal 0 only asks.
        pids.retain(|pid| unsafe { libc::kill(*pid, 0) } == 0 && !zombie(*pid));
        if pids.is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(pids, [], "still there");
}

fn zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn as_a_sentry_to_be_killed() {
    if std::env::var_os("LEFTOVERS_SENTRY").is_none() {
        return;
    }
    let space = space(loop_());
    let child = space.fork().unwrap();
    child.apply(&[]).unwrap();
    for (pid, _) in children() {
        println!("stub {pid}");
    }
    enter(&child, |context, regs| {
        switch(context, regs);
        println!("running");
        loop {
            switch(context, regs);
        }
    });
}

#[test]
fn in_turn() {
    leave_nothing_behind();
    let before = count();
    for when in [Shot::ThenSwitched, Shot::ThenDropped, Shot::WhileRunning] {
        a_shot_stub_has_died(when);
        settled(count, before);
    }
    stubs_die_with_the_sentry();
}
