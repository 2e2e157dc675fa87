//! `create`: from a bundle to a sandbox that waits for `start`. The picture is in [`super`].

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{Hook, Spec};
use rustix::mount::MountPropagationFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::LinkNameSpaceType;

use super::identity;
use super::network::{self, Network};
use super::trees::{self, Trees};
use crate::boot::{self, BootSpec};
use crate::cgroup::Cgroup;
use crate::cli::{self, Global, Overlay, Rootless};
use crate::control::client::{self, Connection};
use crate::control::wire::Reply;
use crate::error::{os, rx};
use crate::state::{Dir, Process, Root, State, Status};
use crate::sys::{self, Cloned};
use crate::{gofer_role, hooks, oci, time};

/// What the caller decides about a container besides its bundle.
pub struct Request<'a> {
    /// Global options.
    pub global: &'a Global,
    /// The container.
    pub id: &'a str,
    /// Its bundle, absolute.
    pub bundle: &'a Path,
    /// Its configuration, checked.
    pub spec: Spec,
    /// Stdio: three descriptors, or one terminal for all three.
    pub stdio: Vec<OwnedFd>,
    /// Descriptors from 3 on.
    pub preserved: Vec<OwnedFd>,
    /// The command ends before the container does.
    pub detached: bool,
}

/// A created container whose leash the caller holds.
pub struct Created {
    /// Its directory, locked.
    pub dir: Dir,
    /// What was saved there.
    pub state: State,
    /// The leash.
    pub leash: Connection,
    /// The sandbox.
    pub pidfd: OwnedFd,
}

/// What must go when making a container fails.
struct Undo {
    dir: Option<Dir>,
    cgroup: Cgroup,
    processes: Vec<(Pid, OwnedFd)>,
    /// What its poststop hooks are told, once there are processes.
    state: Option<State>,
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        for (pid, fd) in &self.processes {
            let _ = rustix::process::pidfd_send_signal(fd, Signal::KILL);
            let _ = rustix::process::waitpid(Some(*pid), rustix::process::WaitOptions::empty());
        }
        if let Err(e) = self.cgroup.delete() {
            log::warn!("{e:#}");
        }
        if let Err(e) = dir.remove() {
            log::warn!("{e:#}");
        }
        if let Some(state) = &self.state {
            hooks::poststop(state);
        }
    }
}

/// Makes a container.
pub fn create(root: &Root, request: Request<'_>) -> Result<Created> {
    let Request {
        global,
        id,
        bundle,
        spec,
        stdio,
        preserved,
        detached,
    } = request;
    if global.systemd_cgroup {
        bail!("--systemd-cgroup: the systemd driver is not supported, cgroupfs is");
    }
    let rootless = match global.rootless {
        Rootless::True => true,
        Rootless::False => false,
        Rootless::Auto => !rustix::process::geteuid().is_root(),
    };
    let maps = identity::gofer_maps(&spec, rootless)?;
    let sysctls = spec.linux().as_ref().and_then(|l| l.sysctl().clone());
    let sysctls = sysctls.unwrap_or_default();
    let network = match global.network {
        cli::Network::None => {
            network::own_sysctls(&sysctls)?;
            None
        }
        cli::Network::HostSockets => Some(Network::of(&spec)?),
    };
    let rootfs = trees::rootfs(bundle, &spec)?;
    let trees = trees::plan(
        bundle,
        &rootfs,
        &spec,
        global.overlay2 == Overlay::RootMemory,
    )?;
    let mut state = new_state(id, bundle, &rootfs, &spec);

    let mut undo = Undo {
        dir: None,
        cgroup: Cgroup::default(),
        processes: Vec::new(),
        state: None,
    };
    let dir_path = root.0.join(id);
    let dir = undo.dir.insert(root.create(id)?);
    trees::make_mount_points(&rootfs, &trees.mounts)?;
    let linux = spec.linux().as_ref();
    undo.cgroup = Cgroup::create(
        linux.and_then(|l| l.cgroups_path().as_deref()),
        id,
        rootless,
        // For whoever deletes what this command did not live to finish.
        |planned| dir.note_cgroups(&planned.paths),
    )?;
    state.cgroups = undo.cgroup.paths.clone();
    if let Some(r) = linux.and_then(|l| l.resources().as_ref()) {
        undo.cgroup.limit(r)?;
    }

    let (leash, boot_leash) = client::pair()?;
    let (gofer_go, gofer_go_child) = client::pair()?;
    let seqpacket = || {
        rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
    };
    let (gofer_client, gofer_server) = seqpacket().map_err(|e| anyhow!("socketpair: {}", rx(e)))?;
    let listener = client::listen(&dir_path)?;
    let exit_file = fs::File::create(dir_path.join("exit")).context("exit file")?;
    let hooks = spec.hooks().clone().unwrap_or_default();
    let oom = spec.process().as_ref().and_then(|p| p.oom_score_adj());
    let Trees {
        gofer: gofer_trees,
        mounts,
    } = trees;
    let boot_spec = BootSpec::new(global, id, spec, mounts, stdio, preserved, detached)?;

    // The sandbox.
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    let cloned = match &network {
        None => sys::clone_process((flags | libc::CLONE_NEWNET) as u64, None),
        Some(network) => network.within(
            || sys::clone_process(flags as u64, None),
            |cloned| matches!(cloned, Ok(Cloned::Child)),
        )?,
    };
    let (boot, boot_fd) = match cloned.map_err(|e| anyhow!("clone the sandbox: {}", os(&e)))? {
        Cloned::Child => {
            let fds = boot::Descriptors {
                leash: boot_leash,
                listener,
                gofer: gofer_client,
                exit_file: exit_file.into(),
            };
            boot::main(boot_spec, fds, !rootless)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    undo.processes.push((boot, boot_fd.try_clone()?));
    undo.state = Some(state.clone());
    drop((boot_leash, listener, gofer_client, exit_file, boot_spec));
    // The gofer.
    let sandbox = match &network {
        None => Some(boot_fd.try_clone()?),
        // Files have no business on a network that leads anywhere.
        Some(_) => None,
    };
    let mut gofer_ns = libc::CLONE_NEWPID;
    if maps.is_some() {
        gofer_ns |= libc::CLONE_NEWUSER;
    }
    // What createContainer hooks mount must be the container's alone. (The jail makes a namespace of its own from this one.)
    if hooks
        .create_container()
        .as_ref()
        .is_some_and(|h| !h.is_empty())
    {
        gofer_ns |= libc::CLONE_NEWNS;
    }
    let gofer = match sys::clone_process(gofer_ns as u64, None)
        .map_err(|e| anyhow!("clone the gofer: {}", os(&e)))?
    {
        Cloned::Child => gofer_role::main(gofer_role::Args {
            trees: gofer_trees,
            channel: gofer_server,
            go: gofer_go_child,
            sandbox,
            maps: maps.clone(),
            detached,
        }),
        Cloned::Parent { pid, pidfd } => {
            undo.processes.push((pid, pidfd));
            pid
        }
    };
    drop((gofer_server, gofer_go_child, sandbox, gofer_trees));

    identity::of_sandbox(boot, rootless)?;
    if let Some(maps) = &maps {
        maps.write(gofer)?;
    }
    limits(boot);
    limits(gofer);
    // Under memory pressure a guest process must go, not the kernel under all of them. Stubs take after the zygote, and it after
    // the sandbox as it is now: they are what the bundle asks for, and the sandbox is spared later on. Who may not spare it
    // (that takes CAP_SYS_RESOURCE) offers the stubs up instead.
    let base = oom.unwrap_or_else(|| read_oom(boot));
    let spared = base.saturating_sub(600).max(-999);
    let (guests, own) = if set_oom(boot, spared) {
        (base, spared)
    } else {
        (base.saturating_add(500).min(1000), base)
    };
    set_oom(boot, guests);
    undo.cgroup.join(boot.as_raw_nonzero().get())?;
    undo.cgroup.join(gofer.as_raw_nonzero().get())?;
    // What else a prestart hook may want to see: who the sandbox is.
    state.sandbox = Process::of(boot.as_raw_nonzero().get());
    state.gofer = Process::of(gofer.as_raw_nonzero().get());
    let mut leash = Connection::new(leash);
    go(leash.as_fd(), "sandbox")?;

    let oci_state =
        |state: &State, status: Status| serde_json::to_vec(&state.hook(status)).unwrap_or_default();
    #[allow(deprecated)]
    let prestart = hooks.prestart().as_deref().unwrap_or_default();
    let during = |r: Result<()>| {
        r.map_err(|e| {
            anyhow!("unable to start container process: error during container init: {e:#}")
        })
    };
    during(hooks::run(prestart, &oci_state(&state, Status::Creating)))?;
    during(hooks::run(
        hooks.create_runtime().as_deref().unwrap_or_default(),
        &oci_state(&state, Status::Creating),
    ))?;
    // By now an engine's hooks have put interfaces where they belong.
    match &network {
        Some(network) => network.sysctls(&sysctls)?,
        None => {
            let unseen = network::unseen(boot.as_raw_nonzero().get());
            if !unseen.is_empty() {
                log::warn!(
                    "the container's network has {}, which its guest does not see: --network=host-sockets",
                    unseen.join(", ")
                );
            }
        }
    }
    let in_container = hooks.create_container().as_deref().unwrap_or_default();
    if !in_container.is_empty() {
        during(in_namespaces_of(
            gofer,
            in_container,
            &state.rootfs,
            &oci_state(&state, Status::Creating),
        ))?;
    }
    go(gofer_go.as_fd(), "gofer")?;

    match leash.receive()? {
        Some(Reply::Ready { platform }) => state.platform = platform,
        Some(Reply::Error { message }) => bail!("unable to start container process: {message}"),
        Some(other) => bail!("the sandbox answered {other:?}"),
        None => bail!(
            "unable to start container process: the sandbox ended before it was ready{}",
            fate(boot)
        ),
    }
    set_oom(boot, own);
    set_oom(gofer, own);
    state.last = Status::Created;
    let Some(dir) = undo.dir.take() else {
        bail!("the container's directory is gone")
    };
    if let Err(e) = dir.save(&state) {
        undo.dir = Some(dir);
        return Err(e);
    }
    Ok(Created {
        dir,
        state,
        leash,
        pidfd: boot_fd,
    })
}

fn new_state(id: &str, bundle: &Path, rootfs: &Path, spec: &Spec) -> State {
    State {
        oci_version: if spec.version().is_empty() {
            oci::VERSION.to_owned()
        } else {
            spec.version().clone()
        },
        id: id.to_owned(),
        bundle: bundle.to_owned(),
        rootfs: rootfs.to_owned(),
        created: time::rfc3339(time::now(), true),
        last: Status::Creating,
        paused: false,
        sandbox: None,
        gofer: None,
        cgroups: Default::default(),
        annotations: spec
            .annotations()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        hooks: spec.hooks().clone(),
        process: spec.process().clone(),
        platform: String::new(),
    }
}

/// Limits that a sandbox with many guests would hit. As far as this user may raise them.
fn limits(pid: Pid) {
    let most = |r: Resource, n: u64| {
        let limit = Rlimit {
            current: Some(n),
            maximum: Some(n),
        };
        if rustix::process::prlimit(Some(pid), r, limit).is_err() {
            let hard = rustix::process::getrlimit(r).maximum;
            let _ = rustix::process::prlimit(
                Some(pid),
                r,
                Rlimit {
                    current: hard,
                    maximum: hard,
                },
            );
        }
    };
    let nr_open = fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(1 << 20);
    most(Resource::Nofile, nr_open);
    let infinite = Rlimit {
        current: None,
        maximum: None,
    };
    for r in [
        Resource::Nproc,
        Resource::Memlock,
        Resource::As,
        Resource::Data,
        Resource::Fsize,
    ] {
        let _ = rustix::process::prlimit(Some(pid), r, infinite);
    }
}

/// Whether it could be set: not everybody may lower it.
fn set_oom(pid: Pid, adj: i32) -> bool {
    fs::write(
        format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()),
        adj.to_string(),
    )
    .is_ok()
}

fn read_oom(pid: Pid) -> i32 {
    let text = fs::read_to_string(format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero()))
        .unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn go(socket: BorrowedFd<'_>, who: &str) -> Result<()> {
    match rustix::io::write(socket, &[1]) {
        Ok(_) => Ok(()),
        Err(e) => bail!("the {who} ended at once: {}", rx(e)),
    }
}

/// How a process that just ended did so, for an error message.
fn fate(pid: Pid) -> String {
    match rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()) {
        Ok(Some((_, s))) => match (s.exit_status(), s.terminating_signal()) {
            (Some(code), _) => format!(" (exit status {code})"),
            (_, Some(31)) => " (killed by its system call filter)".to_owned(),
            (_, Some(sig)) => format!(" (signal {sig})"),
            _ => String::new(),
        },
        _ => String::new(),
    }
}

/// Runs createContainer hooks in the gofer's mount namespace, where the trees are still to be taken; as with runc, in the root.
fn in_namespaces_of(gofer: Pid, list: &[Hook], rootfs: &Path, state: &[u8]) -> Result<()> {
    let ns = rustix::process::pidfd_open(gofer, rustix::process::PidfdFlags::empty())
        .map_err(|e| anyhow!("pidfd: {}", rx(e)))?;
    let (mut ours, theirs) = std::io::pipe()?;
    let (pid, _fd) = match sys::clone_process(0, None)? {
        Cloned::Child => {
            let mut theirs = theirs;
            let result = match rustix::thread::move_into_link_name_space(
                ns.as_fd(),
                Some(LinkNameSpaceType::Mount),
            ) {
                Ok(()) => {
                    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
                    let private = rustix::mount::mount_change("/", slave)
                        .map_err(|e| format!("createContainer hooks: mount: {}", rx(e)));
                    let _ = rustix::process::chdir(rootfs);
                    private.and_then(|()| hooks::run(list, state).map_err(|e| format!("{e:#}")))
                }
                Err(e) => Err(format!(
                    "createContainer hooks: enter the mount namespace: {}",
                    rx(e)
                )),
            };
            if let Err(e) = result {
                let _ = std::io::Write::write_all(&mut theirs, e.as_bytes());
            }
            sys::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(theirs);
    let mut message = String::new();
    std::io::Read::read_to_string(&mut ours, &mut message)?;
    let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    if message.is_empty() {
        Ok(())
    } else {
        bail!("{message}")
    }
}

/// The command's own stdio, for a container without a terminal.
pub fn own_stdio() -> Result<Vec<OwnedFd>> {
    let dup = |fd: BorrowedFd<'_>| match rustix::io::fcntl_dupfd_cloexec(fd, 3) {
        // A closed descriptor is /dev/null to the container.
        Err(rustix::io::Errno::BADF) => rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        ),
        r => r,
    };
    [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ]
    .into_iter()
    .map(|fd| dup(fd).map_err(|e| anyhow!("stdio: {}", rx(e))))
    .collect()
}

/// The descriptors of `--preserve-fds` and $LISTEN_FDS: from 3 on.
pub fn preserved(count: u32) -> Result<Vec<OwnedFd>> {
    let listen = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|n| n.parse::<u32>().ok())
        .unwrap_or(0);
    let total = count.saturating_add(listen);
    let mut fds = Vec::new();
    for n in 0..total {
        let number = i32::try_from(n.saturating_add(3))
            .map_err(|_| anyhow!("preserve-fds: {total} is too many"))?;
        fds.push(sys::adopt_fd(number).map_err(|e| {
            anyhow!(
                "please check that preserved-fd {} (of {total}) is present: {}",
                n,
                os(&e)
            )
        })?);
    }
    Ok(fds)
}
