//! A sentry that has no descriptor left refuses new threads and processes; nobody dies of it. One test to a process, because it takes them all.
#![allow(missing_docs)]

mod common;

use std::os::fd::OwnedFd;

use abi::Errno;
use common::*;
use platform::{Event, Order, Platform};

#[test]
fn without_descriptors_nothing_dies() {
    if platform().name() == "ptrace" {
        // A thread there needs none.
        return;
    }
    let space = space(&[0x0f, 0x05, 0xeb, 0xfc]);
    let inner = space.clone();
    enter(&space, move |context, regs| {
        assert_eq!(switch(context, regs), Event::Syscall);
        let mut hoard: Vec<OwnedFd> = Vec::new();
        let file = std::fs::File::open("/dev/null").unwrap();
        rustix::process::setrlimit(
            rustix::process::Resource::Nofile,
            rustix::process::Rlimit {
                current: Some(256),
                maximum: Some(256),
            },
        )
        .unwrap();
        while let Ok(copy) = file.try_clone() {
            hoard.push(copy.into());
        }
        // Threads are made until what is kept for their listeners is used up.
        let (send, receive) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let mut made = 0;
        let refusal = loop {
            let (send, wait) = (send.clone(), wait.clone());
            let body = move |mut context: Box<dyn platform::Context>| {
                let event = context.switch(&mut start());
                send.send(event).unwrap();
                let _ = wait.lock().unwrap().recv();
                None
            };
            match inner.clone().spawn("thread", Box::new(body)) {
                Ok(()) => made += 1,
                Err(error) => break error,
            }
            assert!(made < 64, "a thread needs a descriptor");
        };
        assert_eq!(refusal, Errno::EAGAIN);
        assert_eq!(inner.fork().err(), Some(Errno::EAGAIN));
        (0..made).for_each(|_| assert_eq!(receive.recv().unwrap(), Event::Syscall));
        // Those that are there go on, and so do orders.
        assert_eq!(switch(context, regs), Event::Syscall);
        inner.apply(&[anonymous(0x1000_0000, 0x1000, RW)]).unwrap();
        inner
            .apply(&[Order::Unmap {
                start: 0x1000_0000,
                len: 0x1000,
            }])
            .unwrap();
        (0..made).for_each(|_| go.send(()).unwrap());
        drop(hoard);
        let child = inner.fork().unwrap();
        assert_eq!(child.read(CODE, &mut [0]), Ok(1));
        assert_eq!(switch(context, regs), Event::Syscall);
    });
}
