//! `create`, `run`, `start`, `kill`, `delete`, `pause`, `resume`, `wait`: a container's life.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::cgroup::Cgroup;
use crate::cli::{self, Global};
use crate::console::{self, Pty, Raw, Relay};
use crate::control::client::Connection;
use crate::control::wire::{Reply, Request};
use crate::error::{Error, os, rx};
use crate::sandbox::launch::{self, Created};
use crate::state::{Process, Root, State, Status};
use crate::{hooks, oci, sys};

/// The bundle's absolute path.
pub fn bundle(given: Option<&Path>) -> Result<PathBuf> {
    let dir = given.unwrap_or(Path::new("."));
    match std::fs::canonicalize(dir) {
        Ok(p) if p.is_dir() => Ok(p),
        Ok(_) => bail!(
            "chdir {}: {}",
            dir.display(),
            crate::error::errno(libc::ENOTDIR)
        ),
        Err(e) => bail!("chdir {}: {}", dir.display(), os(&e)),
    }
}

/// Writes a pid file, whole or not at all.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| anyhow!("pid file {}: not a file name", path.display()))?;
    let tmp = path.with_file_name(format!(".{}", name.to_string_lossy()));
    std::fs::write(&tmp, pid.to_string())
        .map_err(|e| anyhow!("open {}: {}", tmp.display(), os(&e)))?;
    std::fs::rename(&tmp, path).map_err(|e| anyhow!("rename {}: {}", path.display(), os(&e)))
}

/// A created container and, if it has a terminal that the command shows, that terminal's master.
struct Made {
    created: Created,
    master: Option<OwnedFd>,
}

fn make(
    root: &Root,
    global: &Global,
    args: &cli::Create,
    preserved: Vec<OwnedFd>,
    detached: bool,
) -> Result<Made> {
    crate::state::check_id(&args.id)?;
    let bundle = bundle(args.bundle.as_deref())?;
    let spec = oci::load(&bundle)?;
    make_from(root, global, args, &bundle, spec, preserved, detached)
}

fn make_from(
    root: &Root,
    global: &Global,
    args: &cli::Create,
    bundle: &Path,
    spec: oci_spec::runtime::Spec,
    preserved: Vec<OwnedFd>,
    detached: bool,
) -> Result<Made> {
    let process = spec.process().as_ref();
    let terminal = process.is_some_and(|p| p.terminal().unwrap_or(false));
    let socket = args.console.console_socket.as_deref();
    console::check(terminal, detached, socket)?;
    let mut master = None;
    let stdio = if terminal {
        let size = process
            .and_then(oci_spec::runtime::Process::console_size)
            .map(|b| {
                let n = |v: u64| u16::try_from(v).unwrap_or(u16::MAX);
                (n(b.height()), n(b.width()))
            });
        let pty = Pty::open(size)?;
        match socket {
            Some(path) => pty.send_master(path)?,
            None => {
                console::copy_size(pty.master.as_fd());
                master = Some(pty.master);
            }
        }
        vec![pty.slave]
    } else {
        launch::own_stdio()?
    };
    let request = launch::Request {
        global,
        id: &args.id,
        bundle,
        spec,
        stdio,
        preserved,
        detached,
    };
    let created = launch::create(root, request)?;
    if let Some(path) = &args.console.pid_file
        && let Err(e) = write_pid_file(path, created.state.pid(Status::Created))
    {
        // Nobody could find what was made.
        destroy(&created.state)?;
        created.dir.remove()?;
        hooks::poststop(&created.state);
        return Err(e);
    }
    Ok(Made { created, master })
}

/// `create`
pub fn create(
    root: &Root,
    global: &Global,
    args: &cli::Create,
    preserved: Vec<OwnedFd>,
) -> Result<()> {
    let mut made = make(root, global, args, preserved, true)?;
    made.created.leash.call(&Request::Detach, &[])?;
    Ok(())
}

/// Lets the created container's program run.
fn start_created(created: &mut Created) -> Result<()> {
    let states = hook_states(&created.state)?;
    let fds: Vec<_> = states.iter().map(AsFd::as_fd).collect();
    created
        .leash
        .call(&Request::Start, &fds)
        .map_err(|e| anyhow!("unable to start container process: {e:#}"))?;
    created.state.last = Status::Running;
    created.dir.save(&created.state)?;
    poststart(&created.state)
}

/// For each startContainer hook a pipe that holds the container's state.
fn hook_states(state: &State) -> Result<Vec<OwnedFd>> {
    let count = state
        .hooks
        .as_ref()
        .and_then(|h| h.start_container().as_ref())
        .map_or(0, Vec::len);
    let text = serde_json::to_vec(&state.hook(Status::Created))?;
    let mut fds = Vec::new();
    for _ in 0..count {
        let (reader, mut writer) = std::io::pipe()?;
        // Annotations may make it longer than a pipe holds; then it could only be written while somebody reads.
        if text.len() > 60_000 {
            bail!(
                "startContainer hooks: the state is {} bytes long, more than a hook can be handed",
                text.len()
            );
        }
        std::io::Write::write_all(&mut writer, &text)?;
        fds.push(reader.into());
    }
    Ok(fds)
}

/// One that fails ends the container.
fn poststart(state: &State) -> Result<()> {
    let list = state.hooks.as_ref().and_then(|h| h.poststart().as_deref());
    let text = serde_json::to_vec(&state.hook(Status::Running))?;
    hooks::run(list.unwrap_or_default(), &text)
}

/// `run`
pub fn run(
    root: &Root,
    global: &Global,
    args: &cli::Run,
    preserved: Vec<OwnedFd>,
) -> Result<ExitCode> {
    let made = make(root, global, &args.create, preserved, args.detach)?;
    finish_run(made, args.detach, args.keep, root)
}

/// `run` of a configuration that is in no file (`do`).
pub fn run_spec(
    root: &Root,
    global: &Global,
    id: &str,
    bundle: &Path,
    spec: oci_spec::runtime::Spec,
    on_start: impl FnOnce(&State),
) -> Result<ExitCode> {
    let args = cli::Create {
        id: id.to_owned(),
        ..cli::Create::default()
    };
    let made = make_from(root, global, &args, bundle, spec, Vec::new(), false)?;
    on_start(&made.created.state);
    finish_run(made, false, false, root)
}

fn finish_run(made: Made, detach: bool, keep: bool, root: &Root) -> Result<ExitCode> {
    let Made {
        mut created,
        master,
    } = made;
    // Signals are the container's from here on; none is lost between its start and the wait.
    let signals = if detach {
        None
    } else {
        Some(sys::signal_fd(&forwarded()).context("signalfd")?)
    };
    if let Err(e) = start_created(&mut created) {
        destroy(&created.state)?;
        created.dir.remove()?;
        hooks::poststop(&created.state);
        return Err(e);
    }
    let Some(signals) = signals else {
        created.leash.call(&Request::Detach, &[])?;
        return Ok(ExitCode::SUCCESS);
    };
    let Created {
        dir,
        state,
        leash,
        pidfd,
    } = created;
    // Other commands may want it while this one waits.
    drop(dir);
    let raw = master.as_ref().map(|_| Raw::stdin());
    let mut relay = master.map(Relay::new);
    let terminal = relay.is_some();
    attend(
        &leash,
        pidfd.as_fd(),
        signals.as_fd(),
        relay.as_mut(),
        |leash, signal| {
            // Of its terminal's size the sandbox hears by itself.
            if terminal && signal == libc::SIGWINCH {
                return;
            }
            let _ = leash.send(
                &Request::Signal {
                    signal,
                    all: false,
                    pid: None,
                },
                &[],
            );
        },
    )?;
    let pid = state.sandbox.and_then(|p| Pid::from_raw(p.pid));
    let status = match rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()) {
        Ok(Some((_, s))) => s
            .exit_status()
            .or(s.terminating_signal().map(|n| n.saturating_add(128)))
            .unwrap_or(1),
        _ => 1,
    };
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    drop(raw);
    if !keep
        // Unless `delete --force` was faster.
        && let Ok(dir) = root.open(&state.id)
    {
        destroy(&state)?;
        dir.remove()?;
        hooks::poststop(&state);
    }
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// Signals that a waiting command hands on: all that can be caught, but for those that tell of itself.
pub fn forwarded() -> Vec<i32> {
    let own = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGCHLD,
        libc::SIGPIPE,
        libc::SIGURG,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSYS,
        32,
        33,
    ];
    (1..=64).filter(|s| !own.contains(s)).collect()
}

/// Waits for `done` to become readable, handing on signals and terminal bytes meanwhile.
pub fn attend<T>(
    on: &T,
    done: std::os::fd::BorrowedFd<'_>,
    signals: std::os::fd::BorrowedFd<'_>,
    mut relay: Option<&mut Relay>,
    forward: impl Fn(&T, i32),
) -> Result<()> {
    loop {
        let ready: Vec<PollFlags> = {
            let mut fds = vec![
                PollFd::from_borrowed_fd(done, PollFlags::IN),
                PollFd::from_borrowed_fd(signals, PollFlags::IN),
            ];
            if let Some(r) = relay.as_deref() {
                fds.extend(r.poll_fds());
            }
            match rustix::event::poll(&mut fds, None) {
                Ok(_) => fds.iter().map(PollFd::revents).collect(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => bail!("poll: {}", rx(e)),
            }
        };
        if ready.get(1).is_some_and(|r| !r.is_empty()) {
            while let Some(signal) = sys::read_signal(signals) {
                if let Some(r) = relay.as_deref()
                    && signal == libc::SIGWINCH
                {
                    console::copy_size(r.master());
                }
                forward(on, signal);
            }
        }
        if let Some(r) = relay.as_deref_mut() {
            r.pump(ready.get(2..).unwrap_or_default());
        }
        if ready.first().is_some_and(|r| !r.is_empty()) {
            return Ok(());
        }
    }
}

/// `start`
pub fn start(root: &Root, id: &str) -> Result<()> {
    let dir = root.open(id)?;
    let mut state = dir.load()?;
    match state.status() {
        Status::Created => {}
        Status::Stopped => return Err(Error::StartStopped.into()),
        _ => return Err(Error::AlreadyRunning.into()),
    }
    let mut sandbox = connect(root, id)?.ok_or(Error::StartStopped)?;
    let states = hook_states(&state)?;
    let fds: Vec<_> = states.iter().map(AsFd::as_fd).collect();
    sandbox.call(&Request::Start, &fds)?;
    state.last = Status::Running;
    dir.save(&state)?;
    poststart(&state).inspect_err(|_| {
        if let Some(p) = state.sandbox {
            note_exit(root, id, 137);
            let _ = kill_process(p);
        }
    })
}

/// A connection to a container's sandbox; `None` when it is gone.
pub fn connect(root: &Root, id: &str) -> Result<Option<Connection>> {
    Connection::open(&root.0.join(id))
}

/// `kill`
pub fn kill(root: &Root, args: &cli::Kill) -> Result<()> {
    let state = root.load(&args.id)?;
    let signal = super::signals::parse(&args.signal).ok_or_else(|| {
        // A number, but of no signal.
        if args.signal.parse::<i32>().is_ok() {
            anyhow!("unable to signal init: invalid argument")
        } else {
            anyhow!("unknown signal {:?}", args.signal)
        }
    })?;
    let status = state.status();
    if status == Status::Stopped {
        // runc's `kill --all` is content with a container that has stopped.
        return if args.all {
            Ok(())
        } else {
            Err(Error::NotRunning.into())
        };
    }
    // SIGKILL for the whole container needs no cooperation of its kernel, which may be paused or stuck.
    if signal == libc::SIGKILL
        && args.pid.is_none()
        && !args.all
        && let Some(p) = state.sandbox
    {
        note_exit(root, &args.id, 137);
        return kill_process(p);
    }
    let mut sandbox = connect(root, &args.id)?.ok_or(Error::NotRunning)?;
    sandbox.call(
        &Request::Signal {
            signal,
            all: args.all,
            pid: args.pid,
        },
        &[],
    )?;
    Ok(())
}

/// Notes the status of a sandbox that is about to be killed and cannot do so itself.
fn note_exit(root: &Root, id: &str, status: u8) {
    let _ = std::fs::write(root.0.join(id).join("exit"), format!("{status}\n"));
}

/// Kills a sandbox. The kernel takes everything in its pid namespace with it.
fn kill_process(p: Process) -> Result<()> {
    let Some(fd) = pidfd(p)? else { return Ok(()) };
    match rustix::process::pidfd_send_signal(&fd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => bail!("kill {}: {}", p.pid, rx(e)),
    }
}

/// A descriptor of a process that is still the one that was noted.
fn pidfd(p: Process) -> Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(p.pid) else {
        return Ok(None);
    };
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        // It was open before it was asked, so what it names cannot have changed in between.
        Ok(fd) if p.is_alive() => Ok(Some(fd)),
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => bail!("pidfd of {}: {}", p.pid, rx(e)),
    }
}

/// Kills what is left of a container, waits for it, and removes its cgroups.
fn destroy(state: &State) -> Result<()> {
    // The sandbox first: its gofer ends by itself then.
    for p in [state.sandbox, state.gofer].into_iter().flatten() {
        let Some(fd) = pidfd(p)? else { continue };
        let _ = rustix::process::pidfd_send_signal(&fd, Signal::KILL);
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let limit = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        if matches!(rustix::event::poll(&mut fds, Some(&limit)), Ok(0)) {
            bail!("process {} does not end", p.pid);
        }
        // Ours to reap if this command made it.
        if let Some(pid) = Pid::from_raw(p.pid) {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
        }
    }
    Cgroup {
        paths: state.cgroups.clone(),
    }
    .delete()
}

/// `delete`
pub fn delete(root: &Root, args: &cli::Delete) -> Result<()> {
    let dir = match root.open(&args.id) {
        Ok(d) => d,
        // As with runc, there is nothing to force.
        Err(e) if args.force && matches!(e.downcast_ref(), Some(Error::NotFound)) => return Ok(()),
        Err(e) => return Err(e),
    };
    let state = match dir.load() {
        Ok(s) => s,
        // Its maker died before it had anything worth saving, and with it the processes: their leash has ended.
        Err(e) if args.force || matches!(e.downcast_ref(), Some(Error::NotFound)) => {
            let paths = dir.noted_cgroups();
            Cgroup { paths }.delete()?;
            return dir.remove();
        }
        Err(e) => return Err(e),
    };
    let status = state.status();
    // What was created and never started may go, as with runc.
    if !args.force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(Error::NotStopped {
            id: state.id,
            status: status.as_str(),
        }
        .into());
    }
    destroy(&state)?;
    dir.remove()?;
    hooks::poststop(&state);
    Ok(())
}

/// `pause` and `resume`
pub fn pause(root: &Root, id: &str, pause: bool) -> Result<()> {
    let dir = root.open(id)?;
    let mut state = dir.load()?;
    match (pause, state.status()) {
        (true, Status::Running | Status::Created) | (false, Status::Paused) => {}
        (true, _) => return Err(Error::NotRunning.into()),
        (false, _) => return Err(Error::NotPaused.into()),
    }
    let mut sandbox = connect(root, id)?.ok_or(Error::NotRunning)?;
    sandbox.call(
        if pause {
            &Request::Pause
        } else {
            &Request::Resume
        },
        &[],
    )?;
    state.paused = pause;
    dir.save(&state)
}

/// `wait`: prints what `$?` would be.
pub fn wait(root: &Root, args: &cli::Wait) -> Result<()> {
    let status = |code: u8| {
        super::query::print(&format!(
            "{}\n",
            serde_json::json!({"id": args.id, "exitStatus": code})
        ))
    };
    root.load(&args.id)?;
    if let Some(mut sandbox) = connect(root, &args.id)? {
        sandbox.send(&Request::Wait { pid: args.pid }, &[])?;
        match sandbox.receive()? {
            Some(Reply::Exited { status: code }) => return status(code),
            Some(Reply::Error { message }) => bail!("{message}"),
            _ => {}
        }
    }
    // It is gone: what it noted last. Killed from outside, it noted nothing.
    let noted = std::fs::read_to_string(root.0.join(&args.id).join("exit")).unwrap_or_default();
    status(noted.trim().parse().unwrap_or(137))
}
