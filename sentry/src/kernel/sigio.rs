//! Signal-driven I/O (`fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`).
//!
//! Who is told is kept here, by description; an `O_ASYNC` file has one more observer on its readiness, which sends the signal.

use super::{Cx, Kernel, Pid, ProcessGroup, Task};
use crate::syscall::SysResult;
use abi::Errno;
use abi::fcntl::{
    F_GETOWN, F_GETOWN_EX, F_GETSIG, F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, F_SETOWN, F_SETOWN_EX,
    F_SETSIG, FOwnerEx,
};
use abi::siginfo::POLL_IN;
use abi::signal::{SigInfo, Signal};
use fs::{Events, File, Observer};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use sync::Mutex;

const O_ASYNC: u32 = 0o20000;

#[derive(Clone, Default)]
enum Owner {
    #[default]
    Nobody,
    Thread(Arc<Pid>),
    Process(Arc<Pid>),
    Group(Arc<ProcessGroup>),
}

#[derive(Default)]
struct State {
    owner: Owner,
    signal: i32,
    fd: i32,
    /// Registered on the file's readiness.
    key: Option<usize>,
}

/// One description's owner, as an observer of it.
struct Async {
    file: Weak<File>,
    state: Mutex<State>,
}

impl Observer for Async {
    fn on_events(&self, events: Events) {
        let Some(file) = self.file.upgrade() else {
            return;
        };
        let ready = file.poll() & (events | Events::ALWAYS);
        let (owner, number, fd) = {
            let state = self.state.lock();
            (state.owner.clone(), state.signal, state.fd)
        };
        if ready.is_empty() || file.flags() & O_ASYNC == 0 {
            return;
        }
        let info = match Signal::new(number) {
            None => SigInfo::kernel(Signal::SIGIO),
            Some(signal) => SigInfo::poll(signal, POLL_IN, i64::from(ready.bits()), fd),
        };
        match owner {
            Owner::Nobody => {}
            Owner::Thread(pid) => {
                if let Some(task) = pid.task() {
                    task.group().send_task(&task, info);
                }
            }
            Owner::Process(pid) => {
                if let Some(group) = pid.group() {
                    group.send(info);
                }
            }
            Owner::Group(pgrp) => {
                for group in pgrp.members() {
                    group.send(info);
                }
            }
        }
    }
}

#[derive(Default)]
struct Table(Mutex<HashMap<u64, Arc<Async>>>);

fn entry(kernel: &Kernel, file: &Arc<File>) -> Arc<Async> {
    let table = kernel.extension(Table::default);
    let mut all = table.0.lock();
    if !all.contains_key(&file.id()) && all.len().is_power_of_two() {
        // Now and then, what belonged to closed files goes.
        all.retain(|_, a| a.file.strong_count() > 0);
    }
    all.entry(file.id())
        .or_insert_with(|| {
            Arc::new(Async {
                file: Arc::downgrade(file),
                state: Mutex::new(State::default()),
            })
        })
        .clone()
}

/// Called after `O_ASYNC` may have changed.
pub fn update(task: &Task, file: &Arc<File>) {
    let on = file.flags() & O_ASYNC != 0;
    let Some(pollee) = file.ops().pollee() else {
        return;
    };
    let entry = entry(task.kernel(), file);
    let old = entry.state.lock().key.take();
    if let Some(key) = old {
        pollee.unregister(key);
    }
    if on {
        let key = pollee.register(entry.clone(), Events::READ | Events::WRITE | Events::PRI);
        entry.state.lock().key = Some(key);
    }
}

/// The owner and signal commands of `fcntl(2)`.
pub fn fcntl(cx: &Cx, file: &Arc<File>, cmd: i32, arg: u64) -> SysResult {
    let entry = entry(cx.kernel(), file);
    let ns = cx.pid_ns();
    let find = |kind: i32, id: i32| -> Result<Owner, Errno> {
        if id == 0 {
            return Ok(Owner::Nobody);
        }
        let pid = ns.lookup(id).ok_or(Errno::ESRCH)?;
        match kind {
            F_OWNER_TID => Ok(Owner::Thread(pid)),
            F_OWNER_PID => Ok(Owner::Process(pid)),
            F_OWNER_PGRP => pid.process_group().map(Owner::Group).ok_or(Errno::ESRCH),
            _ => Err(Errno::EINVAL),
        }
    };
    let number = |owner: &Owner| match owner {
        Owner::Nobody => (F_OWNER_PID, 0),
        Owner::Thread(pid) => (F_OWNER_TID, pid.nr_in(&ns)),
        Owner::Process(pid) => (F_OWNER_PID, pid.nr_in(&ns)),
        Owner::Group(pgrp) => (F_OWNER_PGRP, pgrp.id.nr_in(&ns)),
    };
    match cmd {
        F_SETOWN => {
            let id = arg as i32;
            let owner = if id < 0 {
                find(F_OWNER_PGRP, id.checked_neg().ok_or(Errno::EINVAL)?)?
            } else {
                find(F_OWNER_PID, id)?
            };
            entry.state.lock().owner = owner;
            Ok(0)
        }
        F_GETOWN => {
            let (kind, id) = number(&entry.state.lock().owner);
            Ok(if kind == F_OWNER_PGRP {
                i64::from(id).wrapping_neg() as u64
            } else {
                u64::try_from(id).unwrap_or(0)
            })
        }
        F_SETOWN_EX => {
            let wanted: FOwnerEx = cx.mm()?.read_obj(arg)?;
            let owner = find(wanted.r#type, wanted.pid)?;
            entry.state.lock().owner = owner;
            Ok(0)
        }
        F_GETOWN_EX => {
            let (kind, pid) = number(&entry.state.lock().owner);
            cx.mm()?.write_obj(arg, &FOwnerEx { r#type: kind, pid })?;
            Ok(0)
        }
        F_SETSIG => {
            let signal = i32::try_from(arg)
                .ok()
                .filter(|s| (0..=64).contains(s))
                .ok_or(Errno::EINVAL)?;
            let mut state = entry.state.lock();
            state.signal = signal;
            state.fd = cx.regs.user.rdi as i32;
            Ok(0)
        }
        F_GETSIG => Ok(u64::try_from(entry.state.lock().signal).unwrap_or(0)),
        _ => Err(Errno::EINVAL),
    }
}
