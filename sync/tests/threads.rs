//! The locks under many threads.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use sync::thread::{Builder, spawn};
use sync::time::monotonic_ns;
use sync::{Condvar, LazyLock, Mutex, OnceLock, Parker, RwLock, Wakeup, level};

const MS: u64 = 1_000_000;

fn run_all(threads: u32, body: impl Fn(u32) + Send + Sync + 'static) {
    let body = Arc::new(body);
    let handles: Vec<_> = (0..threads)
        .map(|n| {
            let body = body.clone();
            spawn(Builder::new(format!("t{n}")), move || body(n)).unwrap()
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

#[test]
fn mutex_counts_right() {
    let total = Arc::new(Mutex::<u64>::new(0));
    let t = total.clone();
    run_all(8, move |_| (0..20_000).for_each(|_| *t.lock() += 1));
    assert_eq!(*total.lock(), 160_000);
}

#[test]
fn rwlock_writers_are_alone() {
    let pair = Arc::new(RwLock::<(u64, u64)>::new((0, 0)));
    let p = pair.clone();
    run_all(8, move |n| {
        for _ in 0..5_000 {
            if n % 4 == 0 {
                let mut pair = p.write();
                pair.0 += 1;
                pair.1 += 1;
            } else {
                let pair = p.read();
                assert_eq!(pair.0, pair.1);
            }
        }
    });
    assert_eq!(*pair.read(), (10_000, 10_000));
}

#[test]
fn condvar_hands_over_every_item() {
    let queue = Arc::new((
        Mutex::<Vec<u32>>::new(vec![]),
        Condvar::new(),
        AtomicU32::new(0),
    ));
    let q = queue.clone();
    run_all(6, move |n| {
        for _ in 0..2_000 {
            if n % 2 == 0 {
                q.0.lock().push(1);
                q.1.notify_one();
            } else {
                let mut items = q.1.wait_while(q.0.lock(), |items| items.is_empty());
                q.2.fetch_add(items.pop().unwrap(), Ordering::Relaxed);
            }
        }
    });
    assert_eq!(queue.2.load(Ordering::Relaxed), 6_000);
}

#[test]
fn deadlines_pass() {
    let mutex = Mutex::<()>::new(());
    let start = monotonic_ns();
    let (_guard, timed_out) = Condvar::new().wait_until(mutex.lock(), Some(start + 20 * MS));
    assert!(timed_out && monotonic_ns() >= start + 20 * MS);
    let parker = Parker::new();
    assert_eq!(parker.park(Some(monotonic_ns() + 5 * MS)), Wakeup::TimedOut);
    assert_eq!(parker.park(Some(0)), Wakeup::TimedOut);
    parker.unpark();
    parker.unpark();
    assert_eq!(parker.park(Some(0)), Wakeup::Unparked);
    assert_eq!(parker.park(Some(0)), Wakeup::TimedOut);
}

#[test]
fn parkers_play_ping_pong() {
    let pair = Arc::new((Parker::new(), Parker::new()));
    let p = pair.clone();
    run_all(2, move |n| {
        for _ in 0..5_000 {
            let (mine, theirs) = if n == 0 { (&p.0, &p.1) } else { (&p.1, &p.0) };
            if n == 0 {
                theirs.unpark();
            }
            assert_eq!(mine.park(None), Wakeup::Unparked);
            if n == 1 {
                theirs.unpark();
            }
        }
    });
}

#[test]
fn once_runs_once() {
    static LAZY: LazyLock<u32> = LazyLock::new(|| 7);
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let cell = Arc::new(OnceLock::new());
    let c = cell.clone();
    run_all(8, move |n| {
        let value = *c.get_or_init(|| {
            RUNS.fetch_add(1, Ordering::Relaxed);
            sync::thread::yield_now();
            n
        });
        assert!(value < 8 && *LAZY == 7);
    });
    assert_eq!((RUNS.load(Ordering::Relaxed), cell.set(9)), (1, Err(9)));
    let dropped = Arc::new(());
    let full = OnceLock::new();
    assert!(full.set(dropped.clone()).is_ok());
    drop(full);
    assert_eq!(Arc::strong_count(&dropped), 1);
}

#[test]
#[cfg(debug_assertions)]
fn wrong_order_panics_with_both_names() {
    let outer = Mutex::<(), { level::TASKS }>::new(());
    let inner = Mutex::<(), { level::MM }>::new(());
    let leaf = Mutex::<()>::new(());
    {
        // Right order, released out of order.
        let first = outer.lock();
        let _second = inner.lock();
        drop(first);
        let _leaf = leaf.lock();
    }
    sync::level::assert_none_held("the test");
    let text = |body: &(dyn Fn() + Sync)| {
        let caught = std::thread::scope(|s| s.spawn(body).join());
        *caught.unwrap_err().downcast::<String>().unwrap()
    };
    let line = line!() + 2;
    let wrong = text(&|| {
        let _inner = inner.lock();
        let _outer = outer.lock();
    });
    let (tasks, mm) = (level::TASKS, level::MM);
    let place = format!("{}:{line}:", file!());
    assert!(
        wrong.starts_with(&format!(
            "lock order: TASKS ({tasks}) taken while MM ({mm}, taken at {place}"
        )),
        "{wrong}"
    );
    let twice = text(&|| {
        let _one = leaf.lock();
        let other = Mutex::<()>::new(());
        let _two = other.lock();
    });
    assert!(twice.contains("LEAF"), "{twice}");
    // Stated order, and trying, are allowed.
    let other = Mutex::<(), { level::MM }>::new(());
    let _a = inner.lock();
    let _b = other.lock_nested();
    let _c = outer.try_lock().unwrap();
}
