//! Sentry threads for guest threads. One whose task has ended waits a little for the next task: processes and threads come and go by the
//! thousand in a shell script, and making a host thread costs more than all else in starting one.

use std::sync::Arc;

use abi::{Errno, Result};

use crate::placement;

/// What a thread does.
pub type Job = Box<dyn FnOnce() + Send>;

/// How many wait at most.
const MAX_IDLE: usize = 8;
/// How long, in nanoseconds. Then they end, so that an idle sandbox has no more than it needs.
const PATIENCE: u64 = 1_000_000_000;

struct Worker {
    job: sync::Mutex<Option<(String, Job)>>,
    parker: sync::Parker,
}

static IDLE: sync::Mutex<Vec<Arc<Worker>>> = sync::Mutex::new(Vec::new());

/// Runs a job on a thread of its own. `EAGAIN` if there can be none; the job is dropped then.
pub fn run(name: &str, job: Job) -> Result<()> {
    let idle = IDLE.lock().pop();
    if let Some(worker) = idle {
        *worker.job.lock() = Some((name.to_owned(), job));
        worker.parker.unpark();
        return Ok(());
    }
    let body = move || {
        job();
        wait_for_more();
    };
    // Not bound to the processor of whoever starts it: that one has work of its own to go on with.
    placement::anywhere(|| sync::thread::spawn(sync::thread::Builder::new(name), body))
        .map(drop)
        .map_err(|_| Errno::EAGAIN)
}

fn wait_for_more() {
    let me = Arc::new(Worker {
        job: sync::Mutex::new(None),
        parker: sync::Parker::new(),
    });
    loop {
        placement::leave();
        let mut idle = IDLE.lock();
        if idle.len() >= MAX_IDLE {
            return;
        }
        idle.push(me.clone());
        drop(idle);
        if me.parker.park(Some(sync::time::monotonic_ns() + PATIENCE)) == sync::Wakeup::TimedOut {
            let mut idle = IDLE.lock();
            if let Some(at) = idle.iter().position(|worker| Arc::ptr_eq(worker, &me)) {
                idle.swap_remove(at);
                return;
            }
            drop(idle);
            // Somebody has chosen this thread at the last moment.
            me.parker.park(None);
        }
        let job = me.job.lock().take();
        if let Some((name, job)) = job {
            let name = std::ffi::CString::new(name).unwrap_or_default();
            let _ = rustix::thread::set_name(&name);
            job();
        }
    }
}
