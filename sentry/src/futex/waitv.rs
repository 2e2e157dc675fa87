//! `futex_waitv(2)`: waiting for any of several words.

use super::Waiter;
use super::ops::table;
use crate::kernel::{Cx, Woken};
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One of the words.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Where it is.
    pub addr: u64,
    /// Whether other processes may wake it.
    pub shared: bool,
    /// What it has to be.
    pub expected: u32,
}

/// Sleeps while every word is as expected; which one was woken first, in their order. `EAGAIN` when one is not as expected, `ETIMEDOUT` at `deadline` (monotonic).
pub fn wait_any(cx: &Cx, words: &[Word], deadline: Option<u64>) -> Result<usize, Errno> {
    let mm = cx.mm()?;
    let mut waiters = Vec::with_capacity(words.len());
    for word in words {
        let key = mm.futex_key(word.addr, word.shared)?;
        waiters.push(Arc::new(Waiter::new(cx.waker(), u32::MAX, key, 0)));
    }
    let table = table(cx.kernel());
    for waiter in &waiters {
        table.enqueue(waiter);
    }
    let result = sleep(cx, words, &waiters, deadline);
    // A wake that took one of them meanwhile was meant for a sleeper: it counts as one.
    let mut woken = None;
    for (at, waiter) in waiters.iter().enumerate() {
        if !table.dequeue(waiter) && woken.is_none() {
            woken = Some(at);
        }
    }
    match (woken, result) {
        (Some(at), _) => Ok(at),
        (None, Err(e)) => Err(e),
        (None, Ok(())) => Err(Errno::ERESTARTSYS),
    }
}

fn sleep(
    cx: &Cx,
    words: &[Word],
    waiters: &[Arc<Waiter>],
    deadline: Option<u64>,
) -> Result<(), Errno> {
    let mm = cx.mm()?;
    for word in words {
        if mm.load_u32(word.addr)? != word.expected {
            return Err(Errno::EAGAIN);
        }
    }
    while !waiters.iter().any(|w| w.woken.load(Ordering::SeqCst)) {
        match cx.block(deadline) {
            Ok(()) => {}
            Err(Woken::TimedOut) => return Err(Errno::ETIMEDOUT),
            Err(Woken::Interrupted) => return Err(Errno::ERESTARTSYS),
        }
    }
    Ok(())
}
