//! The sandbox's process: from its birth as a fork of `create` to the end of the container's init.
//!
//! The main thread puts up the walls, makes the platform (whose zygote must be forked while there is one thread), the kernel and
//! the container, says `ready`, and then serves the control socket until the init has ended. Every other thread is a task's.

mod guest;
mod mounts;
mod server;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

use crate::cli::{Global, Network, Overlay, StraceFormat, Switch};
use crate::control::client;
use crate::control::wire::Reply;
use crate::oci::process::Process;
use crate::sandbox::trees::GuestMount;
use crate::sandbox::{filter, jail};
use crate::{gofer_role, logging, sys};

/// How system calls are logged.
pub struct Strace {
    /// From the start.
    pub on: bool,
    /// Only these; empty: all.
    pub only: Vec<String>,
    /// `--strace-log`, opened by the command.
    pub file: Option<OwnedFd>,
    /// `--strace-format`
    pub format: StraceFormat,
}

/// What a sandbox is to be.
pub struct BootSpec {
    /// The container.
    pub id: String,
    /// Its configuration.
    pub spec: Spec,
    /// `process` of it, in the kernel's terms.
    pub process: Process,
    /// What is mounted over the root.
    pub mounts: Vec<GuestMount>,
    /// Writes to the root stay in memory.
    pub overlay: bool,
    /// `--platform`
    pub platform: String,
    /// `--systrap-…`
    pub systrap: platform::systrap::Options,
    /// `--strace…`
    pub strace: Strace,
    /// Three descriptors, or one terminal.
    pub stdio: Vec<OwnedFd>,
    /// From 3 on.
    pub preserved: Vec<OwnedFd>,
    /// The command ends before the container does.
    pub detached: bool,
    /// `--debug`
    pub debug: bool,
    /// `--filter-without`
    pub filter_without: Vec<String>,
    /// Internet sockets are the host's, in the network namespace that the sandbox is born in.
    pub host_sockets: bool,
}

/// What connects a sandbox to the world.
pub struct Descriptors {
    /// To the command that makes it.
    pub leash: OwnedFd,
    /// Where later commands connect.
    pub listener: OwnedFd,
    /// To the gofer.
    pub gofer: OwnedFd,
    /// Where the exit status is noted, for those who ask once the sandbox is gone.
    pub exit_file: OwnedFd,
}

impl BootSpec {
    /// Gathers it, in the command.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        global: &Global,
        id: &str,
        spec: Spec,
        mounts: Vec<GuestMount>,
        stdio: Vec<OwnedFd>,
        preserved: Vec<OwnedFd>,
        detached: bool,
    ) -> Result<BootSpec> {
        let Some(p) = spec.process() else {
            bail!("process property must not be empty")
        };
        let process = Process::from_oci(p)?;
        let file = match &global.strace_log {
            None => None,
            Some(path) => Some(
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("open {}", path.display()))?
                    .into(),
            ),
        };
        Ok(BootSpec {
            id: id.to_owned(),
            process,
            spec,
            mounts,
            overlay: global.overlay2 == Overlay::RootMemory,
            platform: global.platform.clone(),
            systrap: platform::systrap::Options {
                rewrite: global.systrap_rewrite == Switch::On,
                spin: global.systrap_spin == Switch::On,
            },
            strace: Strace {
                on: global.strace,
                only: global.strace_syscalls.clone(),
                file,
                format: global.strace_format,
            },
            stdio,
            preserved,
            detached,
            debug: global.debug,
            filter_without: global.filter_without.clone(),
            host_sockets: global.network == Network::HostSockets,
        })
    }
}

/// The whole life of the process.
pub fn main(spec: BootSpec, fds: Descriptors, groups: bool) -> ! {
    let status = match boot(spec, &fds, groups) {
        Ok(status) => status,
        Err(e) => {
            // The command may be gone; then there is nobody to tell.
            let _ = client::send(
                fds.leash.as_fd(),
                &Reply::Error {
                    message: format!("{e:#}"),
                },
                &[],
            );
            log::debug!("sandbox: {e:#}");
            1
        }
    };
    let _ = rustix::io::pwrite(&fds.exit_file, format!("{status}\n").as_bytes(), 0);
    // No destructors: other threads may still be in the kernel's code, and the host frees everything faster. Being pid 1 of its
    // pid namespace, the sandbox takes every stub with it.
    sys::exit_now(i32::from(status))
}

fn boot(spec: BootSpec, fds: &Descriptors, groups: bool) -> Result<u8> {
    let mut keep: Vec<RawFd> = vec![
        fds.leash.as_raw_fd(),
        fds.listener.as_raw_fd(),
        fds.gofer.as_raw_fd(),
        fds.exit_file.as_raw_fd(),
    ];
    keep.push(logging::fd().as_raw_fd());
    keep.extend(
        spec.stdio
            .iter()
            .chain(&spec.preserved)
            .chain(&spec.strace.file)
            .map(AsRawFd::as_raw_fd),
    );
    sys::close_all_but(&keep);
    sys::reset_signals();
    // A reader of stdout that has gone is the guest's business, not the sandbox's end.
    sys::ignore_signal(libc::SIGPIPE);
    sys::bound_allocator(4);
    sync::thread::settle_allocator().context("settle the allocator")?;
    let _ = rustix::thread::set_name(c"runsc-sandbox");
    std::panic::set_hook(Box::new(on_panic));

    let mut go = [0; 1];
    if !matches!(rustix::io::read(&fds.leash, &mut go), Ok(1)) {
        bail!("the command that made the sandbox is gone");
    }
    gofer_role::quiet_stdio(spec.detached).context("stdio")?;
    rustix::process::setsid().context("setsid")?;
    if spec.process.terminal
        && let Some(tty) = spec.stdio.first()
    {
        // So that the host tells this process when the window changes. See `console`.
        rustix::process::ioctl_tiocsctty(tty)
            .context("make the console the controlling terminal")?;
    }
    let host = guest::HostInfo::read(spec.host_sockets)?;
    sentry::loader::ask_host();
    jail::enter(groups)?;
    jail::drop_capabilities()?;
    let signals = sys::signal_fd(server::FORWARDED).context("signalfd")?;

    let platform = guest::platform(&spec.platform, spec.systrap, &host.vdso)?;
    let name = platform.name().to_owned();
    let without = spec.filter_without.clone();
    let host_sockets = spec.host_sockets;
    let guest = guest::Guest::new(
        spec,
        platform,
        host,
        fds.gofer.try_clone().context("gofer")?,
    )?;
    let server = server::Server::new(guest, fds, signals)?;
    filter::install(&name, host_sockets, server.guest().debug(), &without)?;
    client::send(fds.leash.as_fd(), &Reply::Ready { platform: name }, &[]).context("leash")?;
    Ok(server.run())
}

/// A panic anywhere ends the sandbox: a kernel that has lost its footing must not go on serving guests.
fn on_panic(info: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let what = info.payload_as_str().unwrap_or("(no message)");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    log::error!(
        "sandbox panic in thread {}: {what} at {place}",
        thread.name().unwrap_or("main")
    );
    // 128 + SIGABRT, which a pid namespace's init cannot send to itself.
    sys::exit_now(134)
}
