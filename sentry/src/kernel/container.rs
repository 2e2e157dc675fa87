//! Containers of a sandbox, as the runtime starts, signals, pauses and waits for them.

use super::cred::Credentials;
use super::cx::OwnState;
use super::limits::{Limit, Limits};
use super::ns::{FsContext, Namespaces, OpaqueNamespace, UtsNamespace};
use super::run::task_main;
use super::signal::SigHandlers;
use super::task::{NewTask, Task, comm_from, work};
use super::thread_group::{ExitStatus, Family, ThreadGroup};
use super::{FdTable, Kernel, Pid, PidNamespace, ProcessGroup, Session};
use abi::Errno;
use abi::signal::{SigInfo, SigSet, Signal};
use fs::{Events, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// A process to start, as the OCI config or `exec` describes it.
pub struct ProcessSpec {
    /// Arguments; the first is the program, looked up in `PATH` when it has no slash.
    pub args: Vec<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
    /// Current directory, absolute.
    pub cwd: Vec<u8>,
    /// Credentials, complete (user, groups, capabilities, no_new_privs).
    pub cred: Credentials,
    /// `umask`.
    pub umask: u32,
    /// Resource limits by number, over the defaults.
    pub limits: Vec<(usize, Limit)>,
    /// Open descriptors by number.
    pub fds: Vec<(i32, Arc<File>)>,
    /// The terminal that becomes the controlling one.
    pub tty: Option<Arc<File>>,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
    /// The configuration's filter of calls.
    pub seccomp: Option<Arc<super::seccomp::Filter>>,
}

/// Why a process could not be started, with the part that failed; the runtime turns it into runc's messages.
#[derive(Debug)]
pub enum StartError {
    /// The program was not found in any directory of `PATH`.
    NotFound(Vec<u8>),
    /// The program (a path) could not be executed.
    Exec(Vec<u8>, Errno),
    /// The current directory could not be entered.
    Cwd(Vec<u8>, Errno),
    /// Something else.
    Other(&'static str, Errno),
}

/// A container: a process tree with its own root, namespaces and name.
pub struct Container {
    /// The runtime's id.
    pub id: String,
    kernel: Weak<Kernel>,
    paused: AtomicBool,
    init: Mutex<Option<Arc<ThreadGroup>>>,
    /// The namespaces its processes start with.
    namespaces: Arc<Namespaces>,
    root: fs::vfs::Path,
}

impl Kernel {
    /// Makes a container without processes. `root` is its root directory in `mnt`.
    pub fn create_container(
        self: &Arc<Self>,
        id: &str,
        mnt: Arc<fs::vfs::MountNamespace>,
        root: fs::vfs::Path,
        hostname: &[u8],
        domainname: &[u8],
    ) -> Result<Arc<Container>, Errno> {
        let owner = self.root_user_ns.clone();
        let first = self.containers.lock().is_empty();
        let pid_ns = if first {
            self.root_pid_ns.clone()
        } else {
            PidNamespace::new(Some(self.root_pid_ns.clone()))?
        };
        let namespaces = Arc::new(Namespaces {
            uts: UtsNamespace::new(owner.clone(), hostname, domainname),
            ipc: OpaqueNamespace::new(owner.clone()),
            net: OpaqueNamespace::new(owner),
            mnt,
            pid_for_children: pid_ns,
        });
        let container = Arc::new(Container {
            id: id.to_owned(),
            kernel: Arc::downgrade(self),
            paused: AtomicBool::new(false),
            init: Mutex::new(None),
            namespaces,
            root,
        });
        self.containers.lock().push(container.clone());
        Ok(container)
    }
    /// The containers, in order of creation.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.containers.lock().clone()
    }
    /// The container of an id.
    pub fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.containers.lock().iter().find(|c| c.id == id).cloned()
    }
}

impl Container {
    /// Its first process.
    pub fn init(&self) -> Option<Arc<ThreadGroup>> {
        self.init.lock().clone()
    }
    /// Whether `group` is its first process.
    pub fn is_init(&self, group: &ThreadGroup) -> bool {
        self.init
            .lock()
            .as_ref()
            .is_some_and(|i| std::ptr::eq(&**i, group))
    }
    /// Its root directory.
    pub fn root(&self) -> &fs::vfs::Path {
        &self.root
    }
    /// The namespaces it was made with.
    pub fn namespaces(&self) -> &Arc<Namespaces> {
        &self.namespaces
    }
    /// Processes of this container, zombies included, in order of pid.
    pub fn processes(&self) -> Vec<Arc<ThreadGroup>> {
        let all = self.namespaces.pid_for_children.pids();
        all.into_iter()
            .filter_map(|(_, pid)| pid.group())
            .filter(|g| g.container.id == self.id)
            .collect()
    }
    /// Whether `pause` holds.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }
    /// Stops all its tasks at their next step, or lets them go on.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        for task in self.processes().iter().flat_map(|g| g.tasks()) {
            task.kick(work::PAUSE);
        }
    }
    /// Sends a signal from outside, to the init or to everything.
    pub fn signal(&self, signal: Signal, all: bool) -> Result<(), Errno> {
        // pid 0: the sender is in no namespace of the container, so that SIGKILL and SIGSTOP reach an init.
        let info = SigInfo::kill(signal, 0, 0);
        if all {
            for group in self.processes() {
                group.send(info);
            }
            return Ok(());
        }
        let init = self.init().filter(|i| !i.is_zombie()).ok_or(Errno::ESRCH)?;
        init.send(info);
        Ok(())
    }
    /// The init's status once it has ended.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.init()?
            .final_status()
            .filter(|_| self.init().is_some_and(|i| i.is_zombie()))
    }
    pub(super) fn note_exit(&self, group: &Arc<ThreadGroup>) {
        if group.parent().is_none()
            && let Some(kernel) = self.kernel.upgrade()
        {
            kernel.container_events.notify(Events::IN);
        }
    }

    /// Prepares a process: everything is checked and loaded, nothing runs until [`Prepared::start`]. The first one becomes the init.
    pub fn prepare(self: &Arc<Self>, spec: ProcessSpec) -> Result<Prepared, StartError> {
        let kernel = self
            .kernel
            .upgrade()
            .ok_or(StartError::Other("kernel", Errno::ESRCH))?;
        let other = |what| move |e| StartError::Other(what, e);
        let init = self.init();
        let pid = Pid::new(&self.namespaces.pid_for_children, &[]).map_err(other("pid"))?;
        let session = Session::new(pid.clone());
        let pgrp = ProcessGroup::new(pid.clone(), session.clone());
        let limits = Limits::default();
        for (number, limit) in &spec.limits {
            limits.set_raw(*number, *limit).map_err(other("rlimit"))?;
        }
        let family = Family {
            parent: None,
            children: Vec::new(),
            pgrp: pgrp.clone(),
            exit_signal: Signal::SIGCHLD.raw(),
        };
        let group = ThreadGroup::new(
            &kernel,
            pid.clone(),
            family,
            Arc::new(SigHandlers::default()),
            limits,
            self.clone(),
        );
        group
            .oom_score_adj
            .store(spec.oom_score_adj, Ordering::Relaxed);

        let cred = Arc::new(spec.cred);
        let fs_context = Arc::new(FsContext::new(
            self.root.clone(),
            self.root.clone(),
            spec.umask,
        ));
        let files = Arc::new(FdTable::new());
        for (number, file) in spec.fds {
            let fd = super::Fd::new(number).map_err(other("fd"))?;
            files
                .install_at(fd, file, false, super::fd_table::NR_OPEN)
                .map_err(other("fd"))?;
        }
        let aspace = kernel
            .platform
            .new_address_space()
            .map_err(other("address space"))?;
        let mm = crate::mm::MemoryManager::new(&kernel, aspace).map_err(other("memory"))?;
        let new = NewTask {
            pid,
            group: group.clone(),
            mm,
            files,
            fs: fs_context.clone(),
            cred,
            ns: self.namespaces.clone(),
            blocked: SigSet::EMPTY,
            comm: comm_from(b"init"),
        };
        kernel.admit_task().map_err(other("task"))?;
        let task = Task::new(&kernel, new, None);
        if let Some(filter) = spec.seccomp {
            task.seccomp.set(super::seccomp::Mode::Filter(filter));
        }
        let prepared = super::exec::prepare_first(&task, &spec.args, &spec.env, &spec.cwd);
        let loaded = match prepared {
            Ok(loaded) => loaded,
            Err(e) => {
                kernel.retire_task();
                return Err(e);
            }
        };
        {
            let _tree = kernel.tree.lock();
            group.process_group().add(&group);
            group.tasks.lock().push(task.clone());
            group.live.fetch_add(1, Ordering::SeqCst);
        }
        if init.is_none() {
            *self.init.lock() = Some(group.clone());
        }
        if let Some(tty) = spec.tty.as_ref().and_then(|t| crate::tty::of(t)) {
            tty.become_controlling(&session, &pgrp);
        }
        Ok(Prepared { task, loaded })
    }
}

/// A process that has yet to run its first instruction.
pub struct Prepared {
    task: Arc<Task>,
    loaded: super::exec::FirstImage,
}

impl Prepared {
    /// Its task.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }
    /// Lets it run. The group tells how it ends: [`ThreadGroup::exit_events`], [`ThreadGroup::final_status`].
    pub fn start(self) -> Result<Arc<ThreadGroup>, Errno> {
        let task = self.task;
        let group = task.group().clone();
        let aspace = task.mm()?.address_space().clone();
        let regs = self.loaded.regs;
        let name = format!("task-{}", task.tid());
        let child = task.clone();
        aspace.spawn(
            &name,
            Box::new(move |mut context| {
                context.reset_fp_state();
                task_main(child, context, regs, OwnState::default())
            }),
        )?;
        crate::time::watch_cpu_limit(&group);
        Ok(group)
    }
}
