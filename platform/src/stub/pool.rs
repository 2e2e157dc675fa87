//! Ready stubs, and the thread that makes them and buries the dead ones, so that neither is waited for by a guest's fork, execve or exit.

use std::sync::Arc;

use abi::{Errno, Result};

use super::process::{GuestKind, Process};
use super::zygote::{self, HostVdso};

/// How many stubs are kept ready: an execve takes one, a shell's pipeline starts a few at a time.
const READY: usize = 3;

/// See the module. Dropping it ends its thread and every stub it holds.
pub struct Pool {
    shared: Arc<Shared>,
    keeper: Option<sync::thread::JoinHandle<()>>,
}

struct Shared {
    zygote: Process,
    state: sync::Mutex<State>,
    work: sync::Condvar,
}

#[derive(Default)]
struct State {
    ready: Vec<Process>,
    dead: Vec<Process>,
    /// Making a stub failed: not to be tried again before somebody asks for one.
    failed: bool,
    stop: bool,
}

impl Pool {
    /// Forks the zygote. The keeper thread starts with [`Pool::start`].
    pub fn new(kind: GuestKind, vdso: &HostVdso) -> Result<Pool> {
        let zygote = zygote::start(kind, vdso)?;
        Ok(Pool {
            shared: Arc::new(Shared {
                zygote,
                state: sync::Mutex::default(),
                work: sync::Condvar::new(),
            }),
            keeper: None,
        })
    }

    /// Starts the keeper, and with it the filling of the pool.
    pub fn start(&mut self) -> Result<()> {
        if self.keeper.is_none() {
            let shared = self.shared.clone();
            let keeper = sync::thread::spawn(
                sync::thread::Builder::new("stub-keeper").stack_size(64 << 10),
                move || shared.keep(),
            );
            self.keeper = Some(keeper.map_err(|_| Errno::EAGAIN)?);
        }
        Ok(())
    }

    /// An empty stub.
    pub fn take(&self) -> Result<Process> {
        let mut state = self.shared.state.lock();
        let ready = state.ready.pop();
        state.failed = false;
        drop(state);
        self.shared.work.notify_one();
        ready.map_or_else(|| self.shared.zygote.fork(), Ok)
    }

    /// Kills a stub now; it is waited for elsewhere.
    pub fn bury(&self, process: Process) {
        process.kill();
        if self.keeper.is_some() {
            self.shared.state.lock().dead.push(process);
            self.shared.work.notify_one();
        }
    }
}

impl Shared {
    fn keep(&self) {
        let mut state = self.state.lock();
        loop {
            // The dead first: they hold memory and their numbers.
            if let Some(process) = state.dead.pop() {
                drop(state);
                drop(process);
                state = self.state.lock();
            } else if state.stop {
                return;
            } else if state.ready.len() < READY && !state.failed {
                drop(state);
                let made = self
                    .zygote
                    .fork()
                    .and_then(|process| process.prepare().map(|()| process));
                state = self.state.lock();
                match made {
                    Ok(process) => state.ready.push(process),
                    Err(error) => {
                        log::warn!("no stub process could be made ready: {error}");
                        state.failed = true;
                    }
                }
            } else {
                state = self.work.wait(state);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.work.notify_one();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}
