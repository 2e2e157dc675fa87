//! `clone(2)`: new tasks, in the group or in a group of their own.

use super::cx::{Cx, OwnState};
use super::ns::{Namespaces, OpaqueNamespace};
use super::run::task_main;
use super::task::{NewTask, Task};
use super::thread_group::{Family, ThreadGroup};
use super::{Pid, PidNamespace, cred};
use crate::mm::MemoryManager;
use abi::Errno;
use abi::sched::CloneFlags;
use abi::signal::{SigInfo, SigSet, Signal};
use abi::ucontext::StackT;
use fs::Pollee;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The arguments of any call of the family, already checked for form.
#[derive(Clone, Debug, Default)]
pub struct CloneArgs {
    /// `CLONE_*` without the exit signal.
    pub flags: CloneFlags,
    /// Sent to the parent at the end; 0 for none.
    pub exit_signal: i32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub stack: u64,
    /// Where the pidfd goes.
    pub pidfd: u64,
    /// Where the parent finds the child's tid.
    pub parent_tid: u64,
    /// Where the child finds it, and what is cleared at its end.
    pub child_tid: u64,
    /// `CLONE_SETTLS`: the new `fs_base`.
    pub tls: u64,
    /// `set_tid` of clone3.
    pub set_tid: Vec<i32>,
}

/// Tells a `vfork` parent that the child has left its memory.
#[derive(Default)]
pub struct VforkDone {
    done: AtomicBool,
    pollee: Pollee,
}

impl VforkDone {
    /// The child has gone its own way.
    pub fn complete(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.pollee.notify(fs::Events::IN);
    }
    fn wait(&self, task: &Task) {
        let key = self.pollee.register(task.waker().clone(), fs::Events::IN);
        while !self.done.load(Ordering::SeqCst) {
            if task.block_killable(None) == Err(super::Woken::Interrupted) {
                break;
            }
        }
        self.pollee.unregister(key);
    }
}

fn check(flags: CloneFlags, cx: &Cx) -> Result<(), Errno> {
    use CloneFlags as F;
    let bad = flags.contains(F::CLONE_THREAD) && !flags.contains(F::CLONE_SIGHAND)
        || flags.contains(F::CLONE_SIGHAND) && !flags.contains(F::CLONE_VM)
        || flags.contains(F::CLONE_FS | F::CLONE_NEWNS)
        || flags.contains(F::CLONE_FS | F::CLONE_NEWUSER)
        || flags.contains(F::CLONE_THREAD) && flags.intersects(F::CLONE_NEWUSER | F::CLONE_NEWPID)
        || flags.contains(F::CLONE_THREAD) && cx.ns().pid_for_children.id() != cx.pid_ns().id()
        || flags.contains(F::CLONE_NEWIPC | F::CLONE_SYSVSEM)
        || flags.contains(F::CLONE_PARENT) && cx.group().is_ns_init()
        || flags.contains(F::CLONE_CLEAR_SIGHAND | F::CLONE_SIGHAND)
        || flags.contains(F::CLONE_PIDFD) && flags.contains(F::CLONE_DETACHED);
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}

/// The namespaces after `flags` of clone or unshare; `fs_context` (the one that goes with them) follows into new mounts. `EPERM` without the capability.
pub fn new_namespaces(
    cx: &Cx,
    flags: CloneFlags,
    fs_context: &super::FsContext,
) -> Result<Arc<Namespaces>, Errno> {
    use CloneFlags as F;
    let old = cx.ns();
    let wanted = flags.intersection(
        F::CLONE_NEWNS | F::CLONE_NEWUTS | F::CLONE_NEWIPC | F::CLONE_NEWNET | F::CLONE_NEWPID,
    );
    // One of each is all there is: `/proc/sys/user/max_user_namespaces` and its like are 0.
    if flags.contains(F::CLONE_NEWUSER) {
        return Err(Errno::ENOSPC);
    }
    let single = flags.intersects(F::CLONE_NEWCGROUP | F::CLONE_NEWTIME);
    if wanted.is_empty() && !single {
        return Ok(old);
    }
    let cred = cx.task().cred();
    cred.require(abi::cap::CAP_SYS_ADMIN)?;
    if single {
        return Err(Errno::ENOSPC);
    }
    let owner = &cred.user_ns;
    let mut ns = (*old).clone();
    if wanted.contains(F::CLONE_NEWUTS) {
        ns.uts = old.uts.fork(owner.clone());
    }
    if wanted.contains(F::CLONE_NEWIPC) {
        ns.ipc = OpaqueNamespace::new(owner.clone());
    }
    if wanted.contains(F::CLONE_NEWNET) {
        ns.net = OpaqueNamespace::new(owner.clone());
    }
    if wanted.contains(F::CLONE_NEWNS) {
        let (mut root, mut cwd) = fs_context.root_and_cwd();
        ns.mnt = old.mnt.copy(&mut [&mut root, &mut cwd]);
        fs_context.set_root(root);
        fs_context.set_cwd(cwd);
    }
    if wanted.contains(F::CLONE_NEWPID) {
        ns.pid_for_children = PidNamespace::new(Some(old.pid_for_children.clone()))?;
    }
    Ok(Arc::new(ns))
}

impl Cx {
    /// Makes the child and starts it; returns its tid in the caller's pid namespace. With `CLONE_VFORK` returns when the child has let go of the memory.
    pub fn clone_task(&mut self, args: CloneArgs) -> Result<u64, Errno> {
        let flags = args.flags;
        check(flags, self)?;
        let kernel = self.kernel().clone();
        if cred_limit_hit(self) {
            return Err(Errno::EAGAIN);
        }
        kernel.admit_task()?;
        let result = self.clone_admitted(args);
        if result.is_err() {
            kernel.retire_task();
        }
        result
    }

    fn clone_admitted(&mut self, args: CloneArgs) -> Result<u64, Errno> {
        use CloneFlags as F;
        let flags = args.flags;
        let kernel = self.kernel().clone();
        if flags.contains(F::CLONE_SETTLS) && args.tls >= kernel.platform.user_range().end {
            return Err(Errno::EPERM);
        }
        let parent = self.task().clone();
        let group = parent.group().clone();
        let thread = flags.contains(F::CLONE_THREAD);

        let fs = if flags.contains(F::CLONE_FS) {
            parent.fs()?
        } else {
            Arc::new(parent.fs()?.fork())
        };
        let ns = new_namespaces(self, flags, &fs)?;
        // Memory first: it is what most likely fails.
        let mm: Arc<MemoryManager> = if flags.contains(F::CLONE_VM) {
            parent.mm()?
        } else {
            parent.mm()?.fork()?
        };
        let files = if flags.contains(F::CLONE_FILES) {
            parent.files()?
        } else {
            Arc::new(parent.files()?.fork())
        };
        let pid_ns = if thread {
            parent.pid_ns()
        } else {
            ns.pid_for_children.clone()
        };
        let pid = Pid::new(&pid_ns, &args.set_tid)?;

        let fp = self.fp_state()?;
        let mut regs = self.regs.clone();
        regs.set_return(0);
        regs.user.orig_rax = u64::MAX;
        if args.stack != 0 {
            regs.user.rsp = args.stack;
        }
        if flags.contains(F::CLONE_SETTLS) {
            regs.user.fs_base = args.tls;
        }
        let mut state = OwnState::default();
        // A new thread in the same memory must not run on the parent's alternate stack; a vfork child may.
        if !flags.contains(F::CLONE_VM) || flags.contains(F::CLONE_VFORK) {
            state.altstack = self.state.altstack;
        } else {
            state.altstack = StackT {
                ss_flags: abi::ucontext::SS_DISABLE,
                ..StackT::default()
            };
        }
        if !flags.contains(F::CLONE_VM) {
            state.rseq = self.state.rseq;
        }
        if flags.contains(F::CLONE_CHILD_CLEARTID) {
            state.clear_child_tid = args.child_tid;
        }
        let vfork = flags
            .contains(F::CLONE_VFORK)
            .then(|| Arc::new(VforkDone::default()));
        state.vfork_done = vfork.clone();

        let child_group = if thread {
            group.clone()
        } else {
            let handlers = if flags.contains(F::CLONE_SIGHAND) {
                group.handlers()
            } else {
                let handlers = group.handlers().fork();
                if flags.contains(F::CLONE_CLEAR_SIGHAND) {
                    handlers.clear();
                }
                Arc::new(handlers)
            };
            let (parent_group, exit_signal) = if flags.contains(F::CLONE_PARENT) {
                let parent = group.family.lock().parent.clone();
                (parent, group.exit_signal())
            } else {
                (Some(Arc::downgrade(&group)), args.exit_signal)
            };
            let pgrp = group.process_group();
            let family = Family {
                parent: parent_group,
                children: Vec::new(),
                pgrp,
                exit_signal,
            };
            let child = ThreadGroup::new(
                &kernel,
                pid.clone(),
                family,
                handlers,
                group.limits.fork(),
                group.container.clone(),
            );
            if flags.contains(F::CLONE_VM) {
                child.cpu.borrow_memory();
            }
            child.oom_score_adj.store(
                group.oom_score_adj.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            child.coredump_filter.store(
                group.coredump_filter.load(Ordering::Relaxed),
                Ordering::Relaxed,
            );
            child
        };
        let blocked: SigSet = parent.signals.lock().blocked;
        let new = NewTask {
            pid: pid.clone(),
            group: child_group.clone(),
            mm: mm.clone(),
            files,
            fs,
            cred: parent.cred(),
            ns,
            blocked,
            comm: parent.comm_raw(),
        };
        let child = Task::new(&kernel, new, Some(&parent));

        let tid_seen = pid.nr_in(&parent.pid_ns());
        if flags.contains(F::CLONE_PIDFD) {
            let file = crate::kernel::wait::pidfd_file(&child_group, &parent)?;
            let fd = parent.files()?.install(
                file,
                true,
                group.limits.soft(super::limits::Resource::Nofile),
            )?;
            if let Err(e) = parent.mm()?.write_obj(args.pidfd, &fd.raw()) {
                let _ = parent.files()?.remove(fd);
                return Err(e);
            }
        }
        if flags.contains(F::CLONE_PARENT_SETTID) {
            // As Linux: a bad address is not an error of clone.
            let _ = parent.mm()?.write_obj(args.parent_tid, &tid_seen);
        }
        if flags.contains(F::CLONE_CHILD_SETTID) {
            let _ = mm.write_obj(args.child_tid, &pid.nr());
        }

        link(&child, &child_group, &parent, thread)?;
        let spawned = mm.address_space().clone().spawn(
            &format!("task-{}", pid.nr()),
            Box::new({
                let child = child.clone();
                move |mut context| {
                    if let Err(e) = context.set_fp_state(&fp) {
                        log::error!("[{}] cannot take over the extended state: {e}", child.tid());
                        child.group().start_exit(super::ExitStatus::Signaled {
                            signal: Signal::SIGKILL,
                            core: false,
                        });
                    }
                    if let Some(area) = state.rseq
                        && context.set_rseq(&mut regs, Some(area)).is_err()
                    {
                        // As where the host cannot write to it (MADV_DONTFORK).
                        let fault = SigInfo::kernel(Signal::SIGSEGV);
                        child.group().force(&child, fault);
                    }
                    task_main(child, context, regs, state)
                }
            }),
        );
        if let Err(e) = spawned {
            super::exit::unlink_stillborn(&child);
            return Err(e);
        }
        if !thread {
            crate::time::watch_cpu_limit(&child_group);
        }
        kernel.forks.fetch_add(1, Ordering::Relaxed);
        if let Some(vfork) = vfork {
            vfork.wait(&parent);
        }
        Ok(u64::try_from(tid_seen).unwrap_or(0))
    }
}

fn cred_limit_hit(cx: &Cx) -> bool {
    let cred: Arc<cred::Credentials> = cx.task().cred();
    let limit = cx.group().limits.soft(super::limits::Resource::Nproc);
    cred.counts.tasks.load(Ordering::Relaxed) >= limit
        && cred.ruid != 0
        && !cred.has_cap(abi::cap::CAP_SYS_RESOURCE)
        && !cred.has_cap(abi::cap::CAP_SYS_ADMIN)
}

/// Puts the child where others find it. `ERESTARTNOINTR` when the parent is being killed: the child must not escape.
fn link(
    child: &Arc<Task>,
    child_group: &Arc<ThreadGroup>,
    parent: &Arc<Task>,
    thread: bool,
) -> Result<(), Errno> {
    let kernel = child.kernel().clone();
    let parent_group = parent.group();
    let _tree = kernel.tree.lock();
    // Here, since another thread may set the parent's filter up to now (and finds the child from now on).
    child.seccomp.inherit(&parent.seccomp);
    {
        let signals = parent_group.signals.lock();
        if signals.exiting.is_some() || (thread && signals.exec.is_some()) {
            return Err(Errno::ERESTARTNOINTR);
        }
    }
    if !thread {
        let real_parent = child_group
            .family
            .lock()
            .parent
            .as_ref()
            .and_then(|p| p.upgrade());
        if let Some(parent) = real_parent {
            parent.family.lock().children.push(child_group.clone());
        }
        child_group.process_group().add(child_group);
    }
    child_group.tasks.lock().push(child.clone());
    child_group.live.fetch_add(1, Ordering::SeqCst);
    if thread {
        // A stop under way includes the newcomer.
        let signals = child_group.signals.lock();
        if signals.exiting.is_some() || signals.stop != super::thread_group::StopState::Running {
            child.kick(super::task::work::SIGNAL);
        }
    }
    if child_group.container.is_paused() {
        child.kick(super::task::work::PAUSE);
    }
    Ok(())
}
