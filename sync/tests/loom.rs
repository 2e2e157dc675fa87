//! Every interleaving of the algorithms, on the model of a futex.
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use sync::model::{RawMutex, RawRwLock};
use sync::{Parker, Wakeup};

struct Shared<L> {
    lock: L,
    value: UnsafeCell<u32>,
}

// SAFETY: the value is only reached by `change` and `read`, between which the lock under test has to order the threads. Where it does not, the cell panics.
unsafe impl<L> Sync for Shared<L> {}
// SAFETY: as above.
unsafe impl<L> Send for Shared<L> {}

impl<L> Shared<L> {
    fn change(&self, with: impl FnOnce(&mut u32)) {
        // SAFETY: the cell has checked that nobody else is at the value, and goes on checking until `with` returns.
        self.value.with_mut(|v| with(unsafe { &mut *v }));
    }

    fn read(&self) -> u32 {
        // SAFETY: the cell has checked that nobody changes the value meanwhile.
        self.value.with(|v| unsafe { *v })
    }
}

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
                    s.change(|v| *v += 1);
                    s.lock.unlock();
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(shared.read(), 2);
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
            assert!(s.read() <= 2);
            s.lock.unlock_read();
        });
        let s = shared.clone();
        let writer = thread::spawn(move || {
            s.lock.write();
            s.change(|v| *v += 1);
            s.lock.unlock_write();
        });
        shared.lock.write();
        shared.change(|v| *v += 1);
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
            s.change(|v| *v = 1);
            s.lock.unpark();
        });
        assert_eq!(shared.lock.park(None), Wakeup::Unparked);
        assert_eq!(shared.read(), 1);
        other.join().unwrap();
    });
}
