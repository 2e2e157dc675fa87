//! Every interleaving of the algorithms, on the model of a futex.
#![cfg(loom)]
// Each access is made under the lock that is being tested; the cell reports it if that were not so.
#![allow(clippy::undocumented_unsafe_blocks)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use sync::model::{RawMutex, RawRwLock};
use sync::{Parker, Wakeup};

struct Shared<L> {
    lock: L,
    value: UnsafeCell<u32>,
}

unsafe impl<L> Sync for Shared<L> {}
unsafe impl<L> Send for Shared<L> {}

#[test]
fn mutex_excludes_and_wakes() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            lock: RawMutex::new(),
            value: UnsafeCell::new(0),
        });
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let s = shared.clone();
                thread::spawn(move || {
                    s.lock.lock();
                    s.value.with_mut(|v| unsafe { *v += 1 });
                    s.lock.unlock();
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        shared.value.with(|v| assert_eq!(unsafe { *v }, 2));
    });
}

#[test]
fn rwlock_excludes_and_wakes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new(Shared {
            lock: RawRwLock::new(),
            value: UnsafeCell::new(0),
        });
        let s = shared.clone();
        let reader = thread::spawn(move || {
            s.lock.read();
            s.value.with(|v| assert!(unsafe { *v } <= 2));
            s.lock.unlock_read();
        });
        let s = shared.clone();
        let writer = thread::spawn(move || {
            s.lock.write();
            s.value.with_mut(|v| unsafe { *v += 1 });
            s.lock.unlock_write();
        });
        shared.lock.write();
        shared.value.with_mut(|v| unsafe { *v += 1 });
        shared.lock.unlock_write();
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn an_unpark_is_never_lost() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            lock: Parker::new(),
            value: UnsafeCell::new(0),
        });
        let s = shared.clone();
        let other = thread::spawn(move || {
            s.value.with_mut(|v| unsafe { *v = 1 });
            s.lock.unpark();
        });
        assert_eq!(shared.lock.park(None), Wakeup::Unparked);
        shared.value.with(|v| assert_eq!(unsafe { *v }, 1));
        other.join().unwrap();
    });
}
