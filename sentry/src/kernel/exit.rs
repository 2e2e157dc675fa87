//! The end of tasks and of thread groups: what is let go, who is told, where orphans go (`kernel/exit.c`).

use super::cx::Cx;
use super::ns::OpaqueNamespace;
use super::session::ProcessGroup;
use super::task::{State, Task, work};
use super::thread_group::{ExitStatus, StopState, ThreadGroup};
use crate::mm::MemoryManager;
use abi::siginfo::{CLD_DUMPED, CLD_EXITED, CLD_KILLED, SigInfo};
use abi::signal::{SIG_IGN, SaFlags, Signal};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Cx {
    /// `exit(2)`: this thread alone.
    pub fn exit_thread(&mut self, code: u8) {
        self.state.leave = Some(super::cx::Leave::Exit(ExitStatus::Exited(code)));
        self.state.keep_registers = true;
    }
    /// `exit_group(2)`.
    pub fn exit_group(&mut self, code: u8) {
        self.task().group().start_exit(ExitStatus::Exited(code));
        self.exit_thread(code);
    }
}

/// Runs on the task's own thread, last of all.
pub(super) fn finish(mut cx: Cx, own_status: ExitStatus) {
    let task = cx.task().clone();
    let group = task.group().clone();
    task.set_exiting();
    if let Some(tracer) = task.kernel().tracer() {
        tracer.task_exit(&cx, own_status);
    }
    crate::futex::exit_robust_list(&mut cx);
    let tid_word = std::mem::take(&mut cx.state.clear_child_tid);
    // The context's host thread goes before the memory it runs in.
    let (_, _, mut state) = cx.into_parts();
    let mm = task.set_mm(None);
    if let Some(vfork) = state.vfork_done.take() {
        vfork.complete();
    }
    if let Some(mm) = &mm
        && Arc::strong_count(mm) == 1
    {
        // Whoever waits for this process finds its program writable, its segments detached.
        mm.exit();
    }
    if let Some(files) = task.set_files(None) {
        super::fd_table::close_table(files, &task);
    }
    drop(task.set_fs(None));
    let ipc = task.ns().ipc.clone();
    if group.live_threads() == 1 {
        crate::ipc::exit_group(&ipc, &task);
    }
    // A zombie holds no mounts, and whoever reaps it does not end them under the locks of the tree.
    task.set_ns(group.container.namespaces().clone());
    notify(&task, &group, own_status, mm.as_ref(), &ipc);
    crate::futex::pi::owner_died(task.kernel());
    if let Some(mm) = &mm {
        release_tid_word(&task, mm, tid_word);
    }
    task.kernel().retire_task();
    // After the parent heard: tearing memory down takes long, and nobody waits for it.
    drop(mm);
}

/// `CLONE_CHILD_CLEARTID`: zero the word and wake one waiter, when somebody else may be left to see it. Whoever was waiting (`pthread_join`) finds the thread gone.
fn release_tid_word(task: &Task, mm: &Arc<MemoryManager>, addr: u64) {
    if addr != 0 && Arc::strong_count(mm) > 1 {
        let _ = mm.write_obj(addr, &0u32);
        crate::futex::wake_one_at(task.kernel(), mm, addr);
    }
}

/// Takes a child that never ran out of every list.
pub(super) fn unlink_stillborn(task: &Arc<Task>) {
    let group = task.group().clone();
    let kernel = task.kernel().clone();
    let _tree = kernel.tree.lock();
    task.set_dead();
    group.tasks.lock().retain(|t| !Arc::ptr_eq(t, task));
    group.live.fetch_sub(1, Ordering::SeqCst);
    if task.is_leader() {
        group.process_group().remove(&group);
        if let Some(parent) = group.parent() {
            parent
                .family
                .lock()
                .children
                .retain(|c| !Arc::ptr_eq(c, &group));
        }
    }
}

fn notify(
    task: &Arc<Task>,
    group: &Arc<ThreadGroup>,
    own_status: ExitStatus,
    mm: Option<&Arc<MemoryManager>>,
    ipc: &OpaqueNamespace,
) {
    let kernel = task.kernel().clone();
    let usage = task.last_usage(mm);
    let leader = task.is_leader();
    if leader {
        *group.final_status.lock() = Some(own_status);
    }
    let mut orphans_to_signal: Vec<(Arc<ThreadGroup>, i32)> = Vec::new();
    let mut hang_up: Vec<Arc<ProcessGroup>> = Vec::new();
    let mut tty = None;
    let last;
    {
        let _tree = kernel.tree.lock();
        task.set_state(State::Zombie);
        task.set_dead();
        task.retire_clock(&usage);
        task.retire_io();
        last = group.live.fetch_sub(1, Ordering::SeqCst) == 1;
        if !leader {
            group.tasks.lock().retain(|t| !Arc::ptr_eq(t, task));
        }
        if last {
            if let Some(mm) = mm {
                group.settle_user_time(mm);
            }
            let status = {
                let mut signals = group.signals.lock();
                signals.stop = StopState::Running;
                signals
                    .exiting
                    .or(*group.final_status.lock())
                    .unwrap_or(own_status)
            };
            let session = group.session();
            if Arc::ptr_eq(&session.id, group.pid()) {
                tty = session.tty();
            }
            let children = group.children();
            reparent_children(&kernel, group, &mut orphans_to_signal);
            collect_orphaned_groups(group, &children, &mut hang_up);
            if group.pid().is_init() {
                end_pid_namespace(group);
            }
            group.set_zombie(status);
        }
    }
    if last {
        // Two last threads at once: neither saw itself alone before.
        crate::ipc::exit_group(ipc, task);
        if let Some(tty) = tty {
            tty.disassociate();
        }
        for pgrp in hang_up {
            pgrp.signal(Signal::SIGHUP);
            pgrp.signal(Signal::SIGCONT);
        }
        for (child, signal) in orphans_to_signal {
            if let Some(signal) = Signal::new(signal) {
                child.send(SigInfo::kernel(signal));
            }
        }
        group.timers.clear();
        let used = group.usage_so_far();
        kernel.ended.lock().add(&used);
        announce_death(group);
    } else {
        // A thread in execve waits for us to be gone, a stop may now be complete without us. Nobody else is told: ten thousand threads end together.
        let (exec, stopping) = {
            let signals = group.signals.lock();
            (signals.exec.clone(), signals.stop != StopState::Running)
        };
        if let Some(exec) = exec {
            exec.kick(work::SIGNAL);
        }
        if stopping {
            for other in group.tasks() {
                other.kick(work::SIGNAL);
            }
        }
    }
}

/// Groups of which this process was the last link to the session: stopped ones are hung up (`kill_orphaned_pgrp`). Its children have new parents already,
/// which may be such a link in turn.
fn collect_orphaned_groups(
    group: &Arc<ThreadGroup>,
    children: &[Arc<ThreadGroup>],
    out: &mut Vec<Arc<ProcessGroup>>,
) {
    let own = group.process_group();
    // Each once: thousands of children may be in one, and the lock of the tree is held.
    let mut seen = HashSet::new();
    let mut check = |pgrp: Arc<ProcessGroup>| {
        if seen.insert(Arc::as_ptr(&pgrp))
            && pgrp.is_orphaned_without(Some(group))
            && pgrp.has_stopped()
        {
            out.push(pgrp);
        }
    };
    let parent_session = group.parent().map(|p| (p.process_group(), p.session()));
    if parent_session.is_some_and(|(pgrp, session)| {
        !Arc::ptr_eq(&pgrp, &own) && Arc::ptr_eq(&session, &own.session)
    }) {
        check(own.clone());
    }
    for child in children {
        let pgrp = child.process_group();
        if !Arc::ptr_eq(&pgrp, &own) && Arc::ptr_eq(&pgrp.session, &own.session) {
            check(pgrp);
        }
    }
}

/// Children go to the nearest subreaper, else to the namespace's init.
fn reparent_children(
    kernel: &Arc<super::Kernel>,
    group: &Arc<ThreadGroup>,
    to_signal: &mut Vec<(Arc<ThreadGroup>, i32)>,
) {
    let children = std::mem::take(&mut group.family.lock().children);
    if children.is_empty() {
        return;
    }
    let reaper = find_reaper(kernel, group);
    for child in children {
        let death_signals: Vec<i32> = child
            .tasks()
            .iter()
            .map(|t| t.pdeath_signal.load(Ordering::Relaxed))
            .filter(|s| *s != 0)
            .collect();
        for signal in death_signals {
            to_signal.push((child.clone(), signal));
        }
        match &reaper {
            Some(reaper) => {
                {
                    let mut family = child.family.lock();
                    family.parent = Some(Arc::downgrade(reaper));
                    family.exit_signal = Signal::SIGCHLD.raw();
                }
                let zombie = child.is_zombie();
                reaper.family.lock().children.push(child.clone());
                if zombie {
                    to_signal.push((reaper.clone(), Signal::SIGCHLD.raw()));
                    reaper.child_events.notify(fs::Events::IN);
                }
            }
            None => {
                child.family.lock().parent = None;
                if child.is_zombie() {
                    child.process_group().remove(&child);
                }
            }
        }
    }
}

fn find_reaper(kernel: &Arc<super::Kernel>, group: &Arc<ThreadGroup>) -> Option<Arc<ThreadGroup>> {
    let ns = group
        .pid()
        .ns()
        .cloned()
        .unwrap_or_else(|| kernel.root_pid_ns.clone());
    let mut at = group.parent();
    while let Some(ancestor) = at {
        let same_ns = ancestor.pid().ns().is_some_and(|n| n.id() == ns.id());
        if !same_ns {
            break;
        }
        if ancestor.subreaper.load(Ordering::Relaxed)
            && !ancestor.is_zombie()
            && ancestor.live_threads() > 0
        {
            return Some(ancestor);
        }
        at = ancestor.parent();
    }
    // The container's own init first: several containers may share a namespace.
    let init = group
        .container
        .init()
        .filter(|i| !i.is_zombie() && !Arc::ptr_eq(i, group));
    ns.group(1)
        .filter(|i| !i.is_zombie() && !Arc::ptr_eq(i, group))
        .or(init)
}

/// The init of a pid namespace takes everybody in it along.
fn end_pid_namespace(init: &Arc<ThreadGroup>) {
    let Some(ns) = init.pid().ns() else { return };
    ns.kill();
    for (_, pid) in ns.pids() {
        if let Some(group) = pid.group()
            && !Arc::ptr_eq(&group, init)
        {
            group.start_exit(ExitStatus::Signaled {
                signal: Signal::SIGKILL,
                core: false,
            });
        }
    }
}

/// Tells the parent, pidfds and the sandbox. A parent that ignores `SIGCHLD` gets no zombie.
fn announce_death(group: &Arc<ThreadGroup>) {
    group.container.note_exit(group);
    let parent = group.parent();
    let exit_signal = group.exit_signal();
    let mut auto_reap = parent.is_none() && !group.container.is_init(group);
    if let Some(parent) = &parent {
        if exit_signal == Signal::SIGCHLD.raw() {
            let action = parent.handlers().get(Signal::SIGCHLD);
            let no_wait =
                SaFlags::from_bits_retain(action.sa_flags).contains(SaFlags::SA_NOCLDWAIT);
            auto_reap |= action.sa_handler == SIG_IGN || no_wait;
        }
        if let Some(signal) = Signal::new(exit_signal) {
            parent.send(child_info(group, parent, signal));
        }
    }
    group.exit_events.notify(fs::Events::IN | fs::Events::HUP);
    if auto_reap {
        reap(group);
    }
    if let Some(parent) = parent {
        parent.child_events.notify(fs::Events::IN);
    }
}

/// The siginfo of a death.
pub(super) fn child_info(group: &ThreadGroup, parent: &ThreadGroup, signal: Signal) -> SigInfo {
    let (code, status) = match group.final_status() {
        Some(ExitStatus::Exited(code)) => (CLD_EXITED, i32::from(code)),
        Some(ExitStatus::Signaled { signal, core: true }) => (CLD_DUMPED, signal.raw()),
        Some(ExitStatus::Signaled {
            signal,
            core: false,
        }) => (CLD_KILLED, signal.raw()),
        None => (CLD_EXITED, 0),
    };
    let (user, system) = group.cpu_times();
    let pid = parent.pid().ns().map_or(0, |ns| group.pid().nr_in(ns));
    let mut info = SigInfo::child(code, pid, group.uid(), status, ticks(user), ticks(system));
    info.si_signo = signal.raw();
    info
}

/// Clock ticks (`USER_HZ`, 100 per second) of nanoseconds.
pub fn ticks(ns: u64) -> i64 {
    i64::try_from(ns / 10_000_000).unwrap_or(i64::MAX)
}

/// Takes a zombie out of the tree: its number is free once nobody else holds its identity.
pub(super) fn reap(group: &Arc<ThreadGroup>) {
    let kernel = group.kernel().clone();
    let tree = kernel.tree.lock();
    let parent = group.parent();
    if let Some(parent) = &parent {
        parent
            .family
            .lock()
            .children
            .retain(|c| !Arc::ptr_eq(c, group));
    }
    group.process_group().remove(group);
    let tasks = std::mem::take(&mut *group.tasks.lock());
    group.family.lock().parent = None;
    drop(tree);
    drop(tasks);
}

impl ThreadGroup {
    /// The real user id of the leader.
    pub fn uid(&self) -> u32 {
        self.leader().map_or(0, |l| l.cred().ruid)
    }

    /// `SIGCHLD` for a stop or a continue, unless the parent asked not to hear (`SA_NOCLDSTOP`); waiters hear always.
    pub(super) fn notify_parent_of_stop(&self, code: i32, signal: Signal) {
        let Some(parent) = self.parent() else { return };
        let action = parent.handlers().get(Signal::SIGCHLD);
        if !SaFlags::from_bits_retain(action.sa_flags).contains(SaFlags::SA_NOCLDSTOP) {
            let (user, system) = self.cpu_times();
            let pid = parent.pid().ns().map_or(0, |ns| self.pid().nr_in(ns));
            parent.send(SigInfo::child(
                code,
                pid,
                self.uid(),
                signal.raw(),
                ticks(user),
                ticks(system),
            ));
        }
        parent.child_events.notify(fs::Events::IN);
    }
}
