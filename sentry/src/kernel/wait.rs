//! Waiting for children (`wait4(2)`, `waitid(2)`), and pidfds.

use super::cpu::with_memory;
use super::cx::Cx;
use super::exit::{child_info, reap};
use super::task::Woken;
use super::thread_group::{ExitStatus, StopState, ThreadGroup, Usage};
use super::{ProcessGroup, Task};
use abi::Errno;
use abi::siginfo::{CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED};
use abi::signal::{SigInfo, Signal};
use fs::{Events, File, FileOps, Pollee};
use platform::LastUsage;
use std::any::Any;
use std::sync::Arc;

/// Whose change of state.
pub enum Who {
    /// Any child.
    Any,
    /// The child of this number.
    Pid(i32),
    /// Any child in this process group.
    Group(Option<Arc<ProcessGroup>>),
    /// The process of a pidfd.
    Process(Arc<ThreadGroup>),
}

/// Which changes, and how.
#[derive(Clone, Copy, Debug)]
pub struct WaitOptions {
    /// Ended.
    pub exited: bool,
    /// Stopped.
    pub stopped: bool,
    /// Continued.
    pub continued: bool,
    /// `WNOHANG`.
    pub no_hang: bool,
    /// `WNOWAIT`: leave it waitable.
    pub no_wait: bool,
    /// Children with an exit signal other than `SIGCHLD` (`__WCLONE`), or both (`__WALL`).
    pub clone: bool,
    /// See `clone`.
    pub all: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Waited {
    /// The child's number in the caller's namespace.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// The status word.
    pub status: i32,
    /// `CLD_*`.
    pub code: i32,
    /// `si_status`.
    pub si_status: i32,
    usage: Usage,
    /// What the host has not told yet of that.
    untold: Vec<Arc<LastUsage>>,
}

impl Waited {
    /// What it and its children used. It may have to be waited for.
    pub fn usage(&self) -> Usage {
        with_memory(self.usage, &self.untold)
    }
}

impl Cx {
    /// Waits for a child's change of state. `Ok(None)` with `WNOHANG` and nothing to report; `ECHILD` when no child could ever match.
    pub fn wait_child(&mut self, who: &Who, options: WaitOptions) -> Result<Option<Waited>, Errno> {
        let task = self.task().clone();
        let group = task.group().clone();
        let key = (!options.no_hang).then(|| {
            group
                .child_events
                .register(task.waker().clone(), Events::IN)
        });
        let result = loop {
            match scan(&task, who, options) {
                Ok(None) if !options.no_hang => {}
                done => break done,
            }
            if task.block(None) == Err(Woken::Interrupted) {
                break Err(Errno::ERESTARTSYS);
            }
        };
        if let Some(key) = key {
            group.child_events.unregister(key);
        }
        result
    }
}

fn matches(task: &Task, child: &ThreadGroup, who: &Who, options: WaitOptions) -> bool {
    let right = match who {
        Who::Any => true,
        Who::Pid(nr) => child.pid().nr_in(&task.pid_ns()) == *nr,
        Who::Group(pgrp) => pgrp
            .as_ref()
            .is_some_and(|p| Arc::ptr_eq(p, &child.process_group())),
        Who::Process(group) => std::ptr::eq(&**group, child),
    };
    let clone_child = child.exit_signal() != Signal::SIGCHLD.raw();
    right && (options.all || clone_child == options.clone)
}

fn scan(task: &Task, who: &Who, options: WaitOptions) -> Result<Option<Waited>, Errno> {
    let children = task.group().children();
    let mut any = false;
    for child in children.iter().filter(|c| matches(task, c, who, options)) {
        if child.is_zombie() {
            // To those who do not wait for ends it is a child no more.
            any |= options.exited;
            if options.exited
                && let Some(found) = take_zombie(task, child, options)
            {
                return Ok(Some(found));
            }
            continue;
        }
        any = true;
        if let Some(found) = take_stop(task, child, options) {
            return Ok(Some(found));
        }
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

fn take_zombie(task: &Task, child: &Arc<ThreadGroup>, options: WaitOptions) -> Option<Waited> {
    let status = child.final_status()?;
    let mut usage = child.usage_so_far();
    let untold = child.untold();
    usage.add(&child.child_usage.lock().sum);
    let info = child_info(child, task.group(), Signal::SIGCHLD);
    let found = Waited {
        pid: child.pid().nr_in(&task.pid_ns()),
        uid: info.uid(),
        status: status.wait_status(),
        code: match status {
            ExitStatus::Exited(_) => CLD_EXITED,
            ExitStatus::Signaled { core: true, .. } => CLD_DUMPED,
            ExitStatus::Signaled { core: false, .. } => CLD_KILLED,
        },
        si_status: info.status(),
        usage,
        untold,
    };
    if !options.no_wait {
        // Two threads may find the same zombie: one of them takes it.
        {
            let _tree = task.kernel().tree.lock();
            let mut family = task.group().family.lock();
            let at = family.children.iter().position(|c| Arc::ptr_eq(c, child))?;
            family.children.remove(at);
        }
        task.group().add_child(&found.usage, &found.untold);
        task.group().inherit_io(child);
        reap(child);
    }
    Some(found)
}

fn take_stop(task: &Task, child: &Arc<ThreadGroup>, options: WaitOptions) -> Option<Waited> {
    let (status, code, si_status) = {
        let mut signals = child.signals.lock();
        if let StopState::Stopped(signal) = signals.stop
            && options.stopped
            && signals.stop_unreported
        {
            signals.stop_unreported = options.no_wait;
            ((signal.raw() << 8) | 0x7f, CLD_STOPPED, signal.raw())
        } else if options.continued && signals.continue_unreported {
            signals.continue_unreported = options.no_wait;
            (0xffff, CLD_CONTINUED, Signal::SIGCONT.raw())
        } else {
            return None;
        }
    };
    Some(Waited {
        pid: child.pid().nr_in(&task.pid_ns()),
        uid: child.uid(),
        status,
        code,
        si_status,
        usage: child.usage_so_far(),
        untold: child.untold(),
    })
}

/// A pidfd: readable once the process has ended (`pidfd_open(2)`).
pub struct PidFd {
    group: Arc<ThreadGroup>,
}

impl PidFd {
    /// The process it names, as long as somebody holds the descriptor.
    pub fn group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }
}

impl FileOps for PidFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn poll(&self, _file: &File) -> Events {
        if !self.group.is_zombie() {
            Events::empty()
        } else if self.group.tasks.lock().is_empty() {
            Events::READ | Events::HUP
        } else {
            Events::READ
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.group.exit_events)
    }
    fn fdinfo(&self, _file: &File) -> String {
        format!(
            "Pid:\t{0}\nNSpid:\t{0}\n",
            if self.group.is_zombie() && self.group.tasks.lock().is_empty() {
                -1
            } else {
                self.group.pid().nr()
            }
        )
    }
}

/// A description for a pidfd of `group`.
pub fn pidfd_file(group: &Arc<ThreadGroup>, _opener: &Task) -> Result<Arc<File>, Errno> {
    let ops = Box::new(PidFd {
        group: group.clone(),
    });
    Ok(fs::anon::file("[pidfd]", ops, 0o2))
}

impl Task {
    /// A signal for a pidfd or a child, as if by `kill` from this task: number and user as the target's namespace sees them.
    pub fn kill_info(&self, target: &ThreadGroup, signal: Signal) -> SigInfo {
        let pid = target
            .pid()
            .ns()
            .map_or(0, |ns| self.group().pid().nr_in(ns));
        SigInfo::kill(signal, pid, self.cred().ruid)
    }
}
