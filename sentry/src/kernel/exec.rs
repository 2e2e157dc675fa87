//! `execve(2)`: a new program in the same process (`fs/exec.c`).

use super::container::StartError;
use super::cred::KernelCaller;
use super::cx::{Cx, Leave};
use super::signal::SigHandlers;
use super::task::{Task, Woken, work};
use super::{Credentials, ExitStatus};
use crate::loader::{LoadArgs, Loaded};
use abi::Errno;
use abi::signal::Signal;
use abi::ucontext::{SS_DISABLE, StackT};
use abi::x86::{EFLAGS_FIXED, EFLAGS_IF, USER_CS, USER_DS};
use fs::vfs::{Lookup, LookupFlags, MountFlags, Path};
use fs::{Caller, File, NodeKind};
use platform::Registers;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The registers of a process that has yet to run.
pub struct FirstImage {
    pub(super) regs: Registers,
}

/// What `execve` and `execveat` were asked for.
pub struct ExecArgs {
    /// The program, opened for execution.
    pub file: Arc<File>,
    /// The name that was asked for: `AT_EXECFN`, a script's own argument.
    pub filename: Vec<u8>,
    /// A script cannot be reached by its name (`execveat` of a close-on-exec descriptor).
    pub script_unreachable: bool,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

fn registers(loaded: &Loaded) -> Registers {
    let mut regs = Registers::default();
    let user = &mut regs.user;
    user.rip = loaded.entry;
    user.rsp = loaded.stack_pointer;
    user.cs = USER_CS;
    user.ss = USER_DS;
    user.eflags = EFLAGS_IF | EFLAGS_FIXED;
    user.orig_rax = u64::MAX;
    regs
}

fn load(task: &Arc<Task>, args: &ExecArgs) -> Result<(Loaded, Credentials), Errno> {
    let kernel = task.kernel();
    let old = task.cred();
    // Setuid bits count on the file that is finally loaded; its owner is known only then, so the credentials are computed in a closure.
    let mut new_cred = None;
    let loaded = crate::loader::load(
        kernel,
        &LoadArgs {
            file: args.file.clone(),
            filename: args.filename.clone(),
            script_unreachable: args.script_unreachable,
            argv: args.argv.clone(),
            envp: args.envp.clone(),
            stack_limit: task.group().limits.soft(super::limits::Resource::Stack),
            limits: &task.group().limits,
            personality: task.personality.load(std::sync::atomic::Ordering::Relaxed),
        },
        &|path: &[u8]| open_exec(task, path),
        &mut |file: &File| {
            let (cred, secure) = super::cred::exec_credentials(&old, file, &|| shares_fs(task))?;
            let ids = (cred.ruid, cred.euid, cred.rgid, cred.egid);
            new_cred = Some(cred);
            Ok((ids, secure))
        },
    )?;
    let cred = new_cred.ok_or(Errno::ENOEXEC)?;
    Ok((loaded, cred))
}

/// Does a task of another process share its root and working directory (`check_unsafe_exec`)?
fn shares_fs(task: &Arc<Task>) -> bool {
    let Ok(own) = task.fs() else {
        return false;
    };
    let shares = |other: &Arc<Task>| {
        !Arc::ptr_eq(other.group(), task.group())
            && other.fs().is_ok_and(|fs| Arc::ptr_eq(&fs, &own))
    };
    let pids = task.kernel().root_pid_ns.pids();
    pids.into_iter()
        .filter_map(|(_, pid)| pid.task())
        .any(|other| shares(&other))
}

/// Opens a program by path with the task's root and cwd, for execution: `EACCES` for what is no executable regular file.
pub fn open_exec(task: &Arc<Task>, path: &[u8]) -> Result<Arc<File>, Errno> {
    let cwd = task.fs()?.cwd();
    open_exec_at(task, &cwd, path, false)
}

/// The same from another directory; `nofollow` refuses a final symbolic link with `ELOOP`.
pub fn open_exec_at(
    task: &Arc<Task>,
    start: &Path,
    path: &[u8],
    nofollow: bool,
) -> Result<Arc<File>, Errno> {
    let root = task.fs()?.root();
    let flags = if nofollow {
        LookupFlags::NOFOLLOW
    } else {
        LookupFlags::empty()
    };
    let found = Lookup::new(&**task, &root, start)
        .with(flags)
        .resolve(path)?;
    open_found(task, found)
}

/// What a descriptor refers to (`execveat` with an empty path), opened anew.
pub fn reopen_exec(task: &Arc<Task>, file: &File) -> Result<Arc<File>, Errno> {
    open_found(task, file.path().clone())
}

fn open_found(task: &Arc<Task>, found: Path) -> Result<Arc<File>, Errno> {
    let inode = found.inode().clone();
    match inode.kind() {
        NodeKind::Regular => {}
        NodeKind::Symlink => return Err(Errno::ELOOP),
        _ => return Err(Errno::EACCES),
    }
    if found.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    let caller: &dyn Caller = &**task;
    fs::vfs::perm::check(&found, caller, &caller.cred(), MAY_EXEC)?;
    if inode.vnode().writers() > 0 {
        return Err(Errno::ETXTBSY);
    }
    // Read by the kernel, whatever the mode says about reading.
    let ops = inode.clone().open(&KernelCaller, O_EXEC_READ)?;
    Ok(File::new(ops, found, inode, O_EXEC_READ))
}

/// `O_RDONLY | O_LARGEFILE`
const O_EXEC_READ: u32 = 0o100000;
/// `MAY_EXEC` of the permission bits.
const MAY_EXEC: u32 = 1;

/// Loads the first program of a process that the runtime starts.
pub(super) fn prepare_first(
    task: &Arc<Task>,
    args: &[Vec<u8>],
    env: &[Vec<u8>],
    cwd: &[u8],
) -> Result<FirstImage, StartError> {
    let other = |e| StartError::Other("start", e);
    let name = args.first().cloned().unwrap_or_default();
    let fs_context = task.fs().map_err(other)?;
    let (root, _) = fs_context.root_and_cwd();
    let cwd_path = if cwd.is_empty() { b"/".as_slice() } else { cwd };
    let dir = Lookup::new(&**task, &root, &root)
        .with(LookupFlags::DIRECTORY)
        .resolve(cwd_path)
        .map_err(|e| StartError::Cwd(cwd_path.to_vec(), e))?;
    fs::vfs::may_search(&**task, &dir).map_err(|e| StartError::Cwd(cwd_path.to_vec(), e))?;
    fs_context.set_cwd(dir);
    let (path, file) = find_program(task, &name, env)?;
    let exec = ExecArgs {
        file,
        filename: path.clone(),
        script_unreachable: false,
        argv: args.to_vec(),
        envp: env.to_vec(),
    };
    let (loaded, cred) = load(task, &exec).map_err(|e| StartError::Exec(path.clone(), e))?;
    task.set_cred(Arc::new(cred));
    task.set_comm(path.rsplit(|b| *b == b'/').next().unwrap_or(&path));
    let regs = registers(&loaded);
    drop(task.set_mm(Some(loaded.mm)));
    Ok(FirstImage { regs })
}

/// The runtime's own `PATH` search, as runc makes it before the process runs.
fn find_program(
    task: &Arc<Task>,
    name: &[u8],
    env: &[Vec<u8>],
) -> Result<(Vec<u8>, Arc<File>), StartError> {
    if name.contains(&b'/') {
        return open_exec(task, name)
            .map(|f| (name.to_vec(), f))
            .map_err(|e| StartError::Exec(name.to_vec(), e));
    }
    let path = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix(b"PATH="))
        .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut denied = None;
    for dir in path.split(|b| *b == b':') {
        let mut candidate = if dir.is_empty() {
            b".".to_vec()
        } else {
            dir.to_vec()
        };
        candidate.push(b'/');
        candidate.extend_from_slice(name);
        match open_exec(task, &candidate) {
            Ok(file) => return Ok((candidate, file)),
            Err(Errno::EACCES) => denied = Some(candidate),
            Err(_) => {}
        }
    }
    match denied {
        Some(path) => Err(StartError::Exec(path, Errno::EACCES)),
        None => Err(StartError::NotFound(name.to_vec())),
    }
}

impl Cx {
    /// Replaces the program. On success the loop leaves this address space; errors before the point of no return leave everything as it was.
    pub fn exec(&mut self, args: ExecArgs) -> Result<u64, Errno> {
        let task = self.task().clone();
        let (loaded, cred) = load(&task, &args)?;
        self.kill_siblings()?;
        // No way back from here.
        let group = task.group().clone();
        crate::futex::exit_robust_list(self);
        let regs = registers(&loaded);
        let aspace = loaded.mm.address_space().clone();
        let used = task.before_new_memory();
        let old_mm = task.set_mm(Some(loaded.mm));
        task.in_new_memory(used);
        if let Some(vfork) = self.state.vfork_done.take() {
            vfork.complete();
        }
        self.state.clear_child_tid = 0;
        self.task().robust_list.store(0, Ordering::Relaxed);
        self.state.rseq = None;
        self.state.altstack = StackT {
            ss_flags: SS_DISABLE,
            ..StackT::default()
        };
        self.state.restart = None;
        {
            let mut handlers = group.handlers.write();
            let fresh: SigHandlers = handlers.fork();
            fresh.reset_for_exec();
            *handlers = Arc::new(fresh);
        }
        if let Ok(files) = task.files() {
            let own = if Arc::strong_count(&files) > 2 {
                let own = Arc::new(files.fork());
                drop(task.set_files(Some(own.clone())));
                own
            } else {
                files
            };
            for file in own.remove_range(0, u32::MAX, |cloexec| cloexec) {
                let _ = super::fd_table::close_file(file, own.id());
            }
        }
        // Interval timers go on, POSIX timers do not (execve(2)).
        if let Some(timers) = group.timers.get::<crate::time::posix::Timers>() {
            timers.delete_all();
        }
        group
            .did_exec
            .store(true, std::sync::atomic::Ordering::Relaxed);
        group
            .membarrier
            .store(0, std::sync::atomic::Ordering::Relaxed);
        let old_cred = task.cred();
        let changed = cred.euid != old_cred.euid
            || cred.egid != old_cred.egid
            || cred.permitted & !old_cred.permitted != 0;
        if changed {
            task.pdeath_signal
                .store(0, std::sync::atomic::Ordering::Relaxed);
        }
        // Nobody looks into a program that has become more than who started it (`begin_new_exec`, `commit_creds`).
        if (changed || (cred.euid, cred.egid) != (cred.ruid, cred.rgid))
            && let Ok(mm) = task.mm()
        {
            mm.set_dumpable(0);
        }
        group.family.lock().exit_signal = Signal::SIGCHLD.raw();
        task.set_cred(Arc::new(cred));
        task.set_comm(
            args.filename
                .rsplit(|b| *b == b'/')
                .next()
                .unwrap_or(&args.filename),
        );
        self.regs = regs;
        self.state.keep_registers = true;
        self.state.leave = Some(Leave::Exec(aspace));
        // Others (procfs, ptrace-like readers) may hold it a little longer; our context must be gone first, which the loop sees to.
        self.state.old_mm = old_mm;
        Ok(0)
    }

    /// Ends the other threads and takes over the leader's identity (`de_thread`).
    fn kill_siblings(&mut self) -> Result<(), Errno> {
        let task = self.task().clone();
        let group = task.group().clone();
        {
            let mut signals = group.signals.lock();
            if signals.exiting.is_some() || signals.exec.is_some() {
                return Err(Errno::EAGAIN);
            }
            if group.live_threads() == 1 && task.is_leader() {
                return Ok(());
            }
            signals.exec = Some(task.clone());
        }
        for other in group.tasks() {
            if !Arc::ptr_eq(&other, &task) {
                other.kick(work::SIGNAL);
            }
        }
        while group.live_threads() > 1 {
            if task.block_killable(None) == Err(Woken::Interrupted) {
                group.signals.lock().exec = None;
                // Half the group is gone: only the end is consistent.
                group.start_exit(ExitStatus::Signaled {
                    signal: Signal::SIGKILL,
                    core: false,
                });
                return Err(Errno::EINTR);
            }
        }
        if !task.is_leader() {
            let _tree = task.kernel().tree.lock();
            let leader_pid = group.pid().clone();
            group.tasks.lock().retain(|t| Arc::ptr_eq(t, &task));
            task.set_pid(leader_pid);
        }
        group.signals.lock().exec = None;
        Ok(())
    }
}
