//! Futexes (`futex(2)`): wait queues keyed by memory, not by address, so that shared mappings meet.
//!
//! A waiter queues itself under its bucket's lock *before* it looks at the word and takes itself out again when the word has changed, so guest memory is never touched
//! under a lock; a waker that changed the word first finds either the waiter in the queue or the waiter finds the changed word.
//!
//! ```text
//!   wait:  enqueue ─► load word ─► differs? dequeue, EAGAIN
//!                               └► sleep until `woken`, signal, deadline ─► dequeue
//!   wake:  (guest changed the word) ─► take waiters from the queue, mark woken, unpark
//! ```

mod ops;
pub mod pi;
mod robust;
mod waitv;

pub use ops::{cmp_requeue, wait, wake, wake_one_at, wake_op};
pub use robust::exit_robust_list;
pub use waitv::{Word, wait_any};

use crate::kernel::task::Waker;
use crate::mm::FutexKey;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use sync::{Mutex, level};

/// How many queues: enough that unrelated futexes rarely meet in a lock.
const BUCKETS: usize = 256;

/// One sleeper.
struct Waiter {
    waker: Arc<Waker>,
    bitset: u32,
    woken: AtomicBool,
    /// Waits for a lock with priority inheritance: the tid that goes into its word. 0 for everybody else.
    pi: u32,
    /// The lock was handed over with the wake.
    owns: AtomicBool,
    /// Where it is queued now; a requeue moves it. Changed only with both buckets locked.
    key: Mutex<FutexKey>,
}

impl Waiter {
    fn new(waker: &Arc<Waker>, bitset: u32, key: FutexKey, pi: u32) -> Self {
        Self {
            waker: waker.clone(),
            bitset,
            woken: AtomicBool::new(false),
            pi,
            owns: AtomicBool::new(false),
            key: Mutex::new(key),
        }
    }
}

struct Queued {
    key: FutexKey,
    waiter: Arc<Waiter>,
}

type Bucket = Mutex<VecDeque<Queued>, { level::FUTEX }>;

/// All futexes of a sandbox.
pub struct FutexTable {
    buckets: Vec<Bucket>,
    hasher: RandomState,
    /// How many wait for a lock with priority inheritance.
    pi_waiters: AtomicUsize,
}

impl Default for FutexTable {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Mutex::new(VecDeque::new())).collect(),
            hasher: RandomState::new(),
            pi_waiters: AtomicUsize::new(0),
        }
    }
}

impl FutexTable {
    fn index(&self, key: &FutexKey) -> usize {
        (self.hasher.hash_one(key) as usize) % BUCKETS
    }
    fn bucket(&self, index: usize) -> &Bucket {
        #[allow(
            clippy::indexing_slicing,
            reason = "a remainder of BUCKETS, and there are BUCKETS of them"
        )]
        &self.buckets[index % BUCKETS]
    }

    fn enqueue(&self, waiter: &Arc<Waiter>) {
        let key = *waiter.key.lock();
        self.bucket(self.index(&key)).lock().push_back(Queued {
            key,
            waiter: waiter.clone(),
        });
    }

    /// Takes the waiter out, wherever requeues have brought it; false when a wake did already.
    fn dequeue(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            let key = *waiter.key.lock();
            let mut queue = self.bucket(self.index(&key)).lock();
            if let Some(at) = queue.iter().position(|q| Arc::ptr_eq(&q.waiter, waiter)) {
                queue.remove(at);
                return true;
            }
            if waiter.woken.load(Ordering::SeqCst) {
                return false;
            }
            // Moved between our two looks: try where it is now.
        }
    }

    /// Takes out the first waiter for a lock, which is yet to be told.
    fn first(&self, key: &FutexKey) -> Option<Arc<Waiter>> {
        let mut queue = self.bucket(self.index(key)).lock();
        let at = queue
            .iter()
            .position(|q| q.key == *key && q.waiter.pi != 0)?;
        queue.remove(at).map(|q| q.waiter)
    }
    /// Whether somebody waits for this lock.
    fn is_waited_for(&self, key: &FutexKey) -> bool {
        let queue = self.bucket(self.index(key)).lock();
        queue.iter().any(|q| q.key == *key && q.waiter.pi != 0)
    }
    /// Has every waiter for a lock look again.
    fn prod(&self) {
        for bucket in &self.buckets {
            let queue = bucket.lock();
            for queued in queue.iter().filter(|q| q.waiter.pi != 0) {
                queued.waiter.waker.wake();
            }
        }
    }

    /// Wakes at most `count` waiters of `key` whose bitsets meet `bitset`.
    fn wake(&self, key: &FutexKey, count: usize, bitset: u32) -> usize {
        let mut woken = Vec::new();
        {
            let mut queue = self.bucket(self.index(key)).lock();
            take(&mut queue, key, count, bitset, &mut woken);
        }
        for waiter in &woken {
            waiter.waker.wake();
        }
        woken.len()
    }

    /// Wakes `wake` waiters of `from` and moves `requeue` more to `to`; how many of each.
    fn requeue(
        &self,
        from: &FutexKey,
        to: &FutexKey,
        wake: usize,
        requeue: usize,
    ) -> (usize, usize) {
        let (a, b) = (self.index(from), self.index(to));
        let mut woken = Vec::new();
        let mut moved = 0usize;
        {
            // Two buckets in the order of their index.
            let mut first = self.bucket(a.min(b)).lock();
            let mut second = (a != b).then(|| self.bucket(a.max(b)).lock_nested());
            let (source, mut target) = match (&mut second, a < b) {
                (None, _) => (&mut *first, None),
                (Some(second), true) => (&mut *first, Some(&mut **second)),
                (Some(second), false) => (&mut **second, Some(&mut *first)),
            };
            take(source, from, wake, u32::MAX, &mut woken);
            let mut rest = VecDeque::with_capacity(source.len());
            let mut moving = VecDeque::new();
            for mut queued in source.drain(..) {
                if moved < requeue && queued.key == *from {
                    *queued.waiter.key.lock() = *to;
                    queued.key = *to;
                    moved = moved.saturating_add(1);
                    moving.push_back(queued);
                } else {
                    rest.push_back(queued);
                }
            }
            *source = rest;
            match &mut target {
                Some(target) => target.append(&mut moving),
                None => source.append(&mut moving),
            }
        }
        for waiter in &woken {
            waiter.waker.wake();
        }
        (woken.len(), moved)
    }
}

fn take(
    queue: &mut VecDeque<Queued>,
    key: &FutexKey,
    count: usize,
    bitset: u32,
    out: &mut Vec<Arc<Waiter>>,
) {
    let mut at = 0usize;
    let goal = out.len().saturating_add(count);
    while out.len() < goal {
        match queue.get(at) {
            None => break,
            Some(q) if q.key == *key && q.waiter.bitset & bitset != 0 => {
                if let Some(q) = queue.remove(at) {
                    q.waiter.woken.store(true, Ordering::SeqCst);
                    out.push(q.waiter);
                }
            }
            Some(_) => at = at.saturating_add(1),
        }
    }
}
