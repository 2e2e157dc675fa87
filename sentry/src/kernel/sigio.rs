//! Signal-driven I/O (`fcntl(2)`: `F_SETOWN`, `F_SETSIG`, `O_ASYNC`).
//!
//! Who is told is kept here, by description; an `O_ASYNC` file has one more observer on its readiness, which sends the signal. So has a socket with an owner, whom
//! `SIGURG` tells of urgent data, `O_ASYNC` or not.

use super::{Cx, Pid, ProcessGroup, Task};
use crate::syscall::SysResult;
use abi::Errno;
use abi::fcntl::{
    F_GETOWN, F_GETOWN_EX, F_GETSIG, F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, F_SETOWN, F_SETOWN_EX,
    F_SETSIG, FOwnerEx,
};
use abi::siginfo::POLL_IN;
use abi::signal::{SigInfo, Signal};
use fs::{Events, File, NodeKind, Observer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use sync::{Mutex, Parker};

const O_ASYNC: u32 = 0o20000;

#[derive(Clone, Default)]
enum Owner {
    #[default]
    Nobody,
    Thread(Arc<Pid>),
    Process(Arc<Pid>),
    Group(Arc<ProcessGroup>),
}

impl Owner {
    fn send(&self, info: SigInfo) {
        match self {
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
struct State {
    owner: Owner,
    signal: i32,
    fd: i32,
    /// Registered on the file's readiness.
    key: Option<usize>,
}

/// One description's owner, as an observer of it.
struct Async {
    this: Weak<Async>,
    file: Weak<File>,
    service: Weak<Sigio>,
    state: Mutex<State>,
    /// What happened since the owner was last told; 0 when nothing is due.
    events: AtomicU32,
}

impl Observer for Async {
    // Files notify with locks of theirs held, and sending a signal takes locks of lower levels: it is done later, without any.
    fn on_events(&self, events: Events) {
        if self.events.fetch_or(events.bits(), Ordering::AcqRel) == 0
            && let Some(service) = self.service.upgrade()
        {
            service.due.lock().push(self.this.clone());
            service.some_due.store(true, Ordering::Release);
            service.courier.unpark();
        }
    }
}

impl Async {
    fn tell(&self) {
        let events = Events::from_bits_truncate(self.events.swap(0, Ordering::AcqRel));
        let Some(file) = self.file.upgrade() else {
            return;
        };
        let ready = file.poll() & (events | Events::ALWAYS);
        let (owner, number, fd) = {
            let state = self.state.lock();
            (state.owner.clone(), state.signal, state.fd)
        };
        if events.contains(Events::PRI) && crate::socket::of(&file).is_ok() {
            owner.send(SigInfo::kernel(Signal::SIGURG));
        }
        if ready.is_empty() || file.flags() & O_ASYNC == 0 {
            return;
        }
        owner.send(match Signal::new(number) {
            None => SigInfo::kernel(Signal::SIGIO),
            Some(signal) => SigInfo::poll(signal, POLL_IN, i64::from(ready.bits()), fd),
        });
    }

    fn owner(&self) -> Owner {
        self.state.lock().owner.clone()
    }

    fn set_owner(self: &Arc<Self>, file: &File, owner: Owner) -> Result<(), Errno> {
        // Urgent data of a socket is told without O_ASYNC too.
        if !matches!(owner, Owner::Nobody)
            && let Ok(socket) = crate::socket::of(file)
            && self.state.lock().key.is_none()
        {
            if let Some(service) = self.service.upgrade() {
                service.start_courier()?;
            }
            let key = socket.pollee().register(self.clone(), Events::PRI);
            let old = self.state.lock().key.replace(key);
            if let Some(key) = old {
                socket.pollee().unregister(key);
            }
        }
        // The last owner may be the last to know its pid, whose end takes locks.
        let old = std::mem::replace(&mut self.state.lock().owner, owner);
        drop(old);
        Ok(())
    }
}

/// All descriptions with an owner, and whose owners are to be told.
#[derive(Default)]
pub(super) struct Sigio {
    files: Mutex<HashMap<u64, Arc<Async>>>,
    due: Mutex<Vec<Weak<Async>>>,
    some_due: AtomicBool,
    /// Tells what no task's own call is there to tell: it runs from the first `O_ASYNC` on.
    courier: Parker,
    running: AtomicBool,
}

impl Sigio {
    /// Sends what is due. Called at the end of every system call, so that its own effects are signalled before it returns; no lock is held.
    #[inline]
    pub(super) fn send_due(&self) {
        if self.some_due.load(Ordering::Acquire) {
            self.send();
        }
    }

    #[cold]
    fn send(&self) {
        self.some_due.store(false, Ordering::Release);
        let due = std::mem::take(&mut *self.due.lock());
        for entry in due {
            if let Some(entry) = entry.upgrade() {
                entry.tell();
            }
        }
    }

    fn start_courier(self: &Arc<Self>) -> Result<(), Errno> {
        if self.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let service = self.clone();
        let body = move || {
            loop {
                service.courier.park(None);
                service.send_due();
            }
        };
        match sync::thread::spawn(sync::thread::Builder::new("sigio"), body) {
            Ok(_) => Ok(()),
            Err(_) => {
                self.running.store(false, Ordering::Release);
                Err(Errno::ENOMEM)
            }
        }
    }

    fn entry(self: &Arc<Self>, file: &Arc<File>) -> Arc<Async> {
        let mut gone = Vec::new();
        let mut all = self.files.lock();
        if !all.contains_key(&file.id()) && all.len().is_power_of_two() {
            // Now and then, what belonged to closed files goes.
            gone.extend(all.extract_if(|_, a| a.file.strong_count() == 0));
        }
        let entry = all.entry(file.id()).or_insert_with(|| {
            Arc::new_cyclic(|this| Async {
                this: this.clone(),
                file: Arc::downgrade(file),
                service: Arc::downgrade(self),
                state: Mutex::new(State::default()),
                events: AtomicU32::new(0),
            })
        });
        let entry = entry.clone();
        drop(all);
        drop(gone);
        entry
    }
}

/// Called after `O_ASYNC` has changed through descriptor `fd`, which the signal will name. `ENOMEM`: the host has no thread for it.
pub fn update(task: &Task, file: &Arc<File>, fd: i32) -> Result<(), Errno> {
    let on = file.flags() & O_ASYNC != 0;
    // As on Linux the flag has no effect on what lies on anon_inodes, inotify apart: a signalfd must not signal its own signals.
    if file.inode().kind() == NodeKind::Anonymous && !fs::inotify::is_instance(file) {
        return Ok(());
    }
    let Some(pollee) = file.ops().pollee() else {
        return Ok(());
    };
    let service = &task.kernel().sigio;
    let entry = service.entry(file);
    let old = entry.state.lock().key.take();
    if let Some(key) = old {
        pollee.unregister(key);
    }
    let owned = !matches!(entry.owner(), Owner::Nobody) && crate::socket::of(file).is_ok();
    if on || owned {
        service.start_courier()?;
        let mask = if on {
            Events::READ | Events::WRITE | Events::PRI
        } else {
            Events::PRI
        };
        let key = pollee.register(entry.clone(), mask);
        let mut state = entry.state.lock();
        (state.key, state.fd) = (Some(key), fd);
    }
    Ok(())
}

/// The owner and signal commands of `fcntl(2)`.
pub fn fcntl(cx: &Cx, file: &Arc<File>, cmd: i32, arg: u64) -> SysResult {
    let entry = cx.kernel().sigio.entry(file);
    let ns = cx.pid_ns();
    let find = |kind: i32, id: i32| -> Result<Owner, Errno> {
        if !matches!(kind, F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP) {
            return Err(Errno::EINVAL);
        }
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
            entry.set_owner(file, owner)?;
            Ok(0)
        }
        F_GETOWN => {
            let (kind, id) = number(&entry.owner());
            Ok(if kind == F_OWNER_PGRP {
                i64::from(id).wrapping_neg() as u64
            } else {
                u64::try_from(id).unwrap_or(0)
            })
        }
        F_SETOWN_EX => {
            let wanted: FOwnerEx = cx.mm()?.read_obj(arg)?;
            let owner = find(wanted.r#type, wanted.pid)?;
            entry.set_owner(file, owner)?;
            Ok(0)
        }
        F_GETOWN_EX => {
            let (kind, pid) = number(&entry.owner());
            cx.mm()?.write_obj(arg, &FOwnerEx { r#type: kind, pid })?;
            Ok(0)
        }
        F_SETSIG => {
            let signal = i32::try_from(arg)
                .ok()
                .filter(|s| (0..=64).contains(s))
                .ok_or(Errno::EINVAL)?;
            entry.state.lock().signal = signal;
            Ok(0)
        }
        F_GETSIG => Ok(u64::try_from(entry.state.lock().signal).unwrap_or(0)),
        _ => Err(Errno::EINVAL),
    }
}
