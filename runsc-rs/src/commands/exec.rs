//! `exec`: another process in a running container.
//!
//! A detached one leaves a small process behind on the host, whose pid the engine gets: it waits for the guest's, hands signals
//! on to it, and ends with its status. When it is killed, so is the guest's.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime as oci_rt;

use super::life::{attend, connect, forwarded, write_pid_file};
use crate::cli;
use crate::console::{self, Pty, Raw, Relay};
use crate::control::client::Connection;
use crate::control::wire::{Reply, Request};
use crate::error::{Error, os};
use crate::oci::process::{Process, parse_user};
use crate::sandbox::launch;
use crate::state::{Root, State, Status};
use crate::sys::{self, Cloned};
use crate::{logging, oci};

/// The process that the arguments describe.
fn process(args: &cli::Exec, state: &State) -> Result<Process> {
    if let Some(path) = &args.process {
        let text =
            std::fs::read(path).map_err(|e| anyhow!("open {}: {}", path.display(), os(&e)))?;
        let p: oci_rt::Process = oci::parse_as(&text, &path.display().to_string())?;
        oci::validate_process(&p, "process")?;
        return Process::from_oci(&p);
    }
    if args.args.is_empty() {
        bail!("process args cannot be empty");
    }
    let base = state
        .process
        .as_ref()
        .ok_or_else(|| anyhow!("process property must not be empty"))?;
    let mut p = Process::from_oci(base)?;
    p.args = args.args.clone();
    p.env.extend(args.env.iter().cloned());
    if let Some(cwd) = &args.cwd {
        if !cwd.is_absolute() {
            bail!("Cwd must be an absolute path");
        }
        p.cwd = cwd.to_string_lossy().into_owned();
    }
    p.terminal = args.tty;
    p.console_size = None;
    p.no_new_privs |= args.no_new_privs;
    if let Some(user) = &args.user {
        let (uid, gid) = parse_user(user)?;
        p.uid = uid;
        p.gid = gid.unwrap_or(p.gid);
    }
    p.groups.extend(&args.additional_gids);
    let (known, unknown): (Vec<&String>, Vec<_>) = args
        .cap
        .iter()
        .partition(|c| abi::cap::by_name(c).is_some());
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|c| c.as_str()).collect();
        log::warn!(
            "ignoring unknown or unavailable capabilities: [{}]",
            names.join(" ")
        );
    }
    for bit in known
        .into_iter()
        .filter_map(|c| abi::cap::by_name(c))
        .map(|n| 1u64 << n)
    {
        p.caps.bounding |= bit;
        p.caps.effective |= bit;
        p.caps.permitted |= bit;
        // As runc: ambient only where it can be inherited.
        if p.caps.inheritable != 0 {
            p.caps.inheritable |= bit;
            p.caps.ambient |= bit;
        }
    }
    Ok(p)
}

/// `exec`
pub fn exec(root: &Root, args: &cli::Exec, preserved: Vec<OwnedFd>) -> Result<ExitCode> {
    let state = root.load(&args.id)?;
    match state.status() {
        Status::Stopped => return Err(Error::ExecStopped.into()),
        Status::Paused if !args.ignore_paused => return Err(Error::ExecPaused.into()),
        _ => {}
    }
    for (flag, given) in [
        ("process-label", args.process_label.is_some()),
        ("cgroup", !args.cgroup.is_empty()),
    ] {
        if given {
            bail!("--{flag}: a sandbox cannot honour it");
        }
    }
    let process = process(args, &state)?;
    let detach = args.detach;
    let socket = args.console.console_socket.as_deref();
    console::check(process.terminal, detach, socket)?;
    let mut master = None;
    let mut slave = None;
    let fds = if process.terminal {
        let pty = Pty::open(process.console_size)?;
        match socket {
            Some(path) => pty.send_master(path)?,
            None => {
                console::copy_size(pty.master.as_fd());
                master = Some(pty.master);
            }
        }
        slave = Some(pty.slave.try_clone()?);
        vec![pty.slave]
    } else {
        launch::own_stdio()?
    };
    let mut sandbox = connect(root, &args.id)?.ok_or(Error::ExecStopped)?;
    let borrowed: Vec<_> = fds.iter().chain(&preserved).map(AsFd::as_fd).collect();
    let request = Request::Exec {
        process: Box::new(process),
    };
    let pid = match sandbox
        .call(&request, &borrowed)
        .map_err(|e| anyhow!("unable to start container process: {e:#}"))?
    {
        Reply::Started { pid } => pid,
        other => bail!("the sandbox answered {other:?}"),
    };
    drop((fds, preserved));
    if !detach {
        drop(slave);
        if let Some(path) = &args.console.pid_file {
            write_pid_file(path, i32::try_from(std::process::id()).unwrap_or(0))?;
        }
        let signals = sys::signal_fd(&forwarded()).context("signalfd")?;
        let raw = master.as_ref().map(|_| Raw::stdin());
        let mut relay = master.map(Relay::new);
        let status = watch(&mut sandbox, signals, relay.as_mut(), pid);
        if let Some(r) = &mut relay {
            r.drain();
        }
        drop(raw);
        return Ok(ExitCode::from(status));
    }
    match sys::clone_process(0, None).map_err(|e| anyhow!("fork: {}", os(&e)))? {
        Cloned::Child => keeper(sandbox, slave, pid),
        Cloned::Parent { pid: keeper, pidfd } => {
            if let Some(path) = &args.console.pid_file
                && let Err(e) = write_pid_file(path, keeper.as_raw_nonzero().get())
            {
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
                return Err(e);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The process left behind by a detached exec.
fn keeper(mut sandbox: Connection, slave: Option<OwnedFd>, pid: i32) -> ! {
    use std::os::fd::AsRawFd;
    let mut keep = vec![sandbox.as_fd().as_raw_fd(), logging::fd().as_raw_fd()];
    keep.extend(slave.iter().map(AsRawFd::as_raw_fd));
    sys::close_all_but(&keep);
    let _ = rustix::thread::set_name(c"runsc-exec");
    let _ = crate::gofer_role::quiet_stdio(true);
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    // The host tells the session leader when the window changes.
    if let Some(slave) = &slave {
        let _ = rustix::process::ioctl_tiocsctty(slave);
    }
    let status = match sys::signal_fd(&forwarded()) {
        Ok(signals) => watch(&mut sandbox, signals, None, pid),
        Err(_) => 1,
    };
    sys::exit_now(i32::from(status))
}

/// Waits for the guest's process, handing on signals and terminal bytes; its status.
fn watch(
    sandbox: &mut Connection,
    signals: OwnedFd,
    mut relay: Option<&mut Relay>,
    pid: i32,
) -> u8 {
    loop {
        let Ok(done) = sandbox.as_fd().try_clone_to_owned() else {
            return 1;
        };
        let forward = |sandbox: &&mut Connection, signal: i32| {
            let request = if signal == libc::SIGWINCH {
                Request::Resized
            } else {
                Request::Signal {
                    signal,
                    all: false,
                    pid: Some(pid),
                }
            };
            let _ = sandbox.send(&request, &[]);
        };
        let reply = match sandbox.received() {
            Ok(None) => match attend(
                &sandbox,
                done.as_fd(),
                signals.as_fd(),
                relay.as_deref_mut(),
                forward,
            ) {
                Ok(()) => sandbox.receive(),
                Err(e) => Err(e),
            },
            r => r,
        };
        match reply {
            Ok(Some(Reply::Exited { status })) => return status,
            // Answers to the signals that were handed on.
            Ok(Some(_)) => {}
            // The sandbox ended, and with it its processes.
            Ok(None) => return 137,
            Err(e) => {
                log::error!("{e:#}");
                return 1;
            }
        }
    }
}
