//! The kernel as the control server sees it: one container, its processes, and how they are started, told and watched.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::signal::Signal;
use anyhow::{Result, anyhow, bail};
use fs::{Events, File, Observer};
use gofer::client::Client;
use platform::stub::HostVdso;
use platform::{Platform, systrap};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use sentry::kernel::container::{Prepared, StartError};
use sentry::kernel::limits::Limit;
use sentry::kernel::{
    Container, Credentials, ExitStatus, HostClock, Kernel, ProcessSpec, THREADS_MAX, ThreadGroup,
};
use sentry::socket::host::HostNet;
use sentry::socket::{NetNamespace, settings};

use super::mounts;
use super::{BootSpec, Strace};
use crate::cli::StraceFormat;
use crate::control::wire::ProcessRow;
use crate::error;
use crate::oci::process::Process;

/// What the guest's /proc and /sys tell of the machine, read while the host's can still be seen.
pub struct HostInfo {
    /// /proc/cpuinfo
    pub cpuinfo: Vec<u8>,
    /// Where the host's vDSO is, which /proc/self/maps tells: guests read the clock through it.
    pub vdso: HostVdso,
    /// The network namespace, where sockets are the host's.
    pub network: Option<NetNamespace>,
}

impl HostInfo {
    /// Reads it.
    pub fn read(host_sockets: bool) -> Result<HostInfo> {
        Ok(HostInfo {
            cpuinfo: std::fs::read("/proc/cpuinfo").unwrap_or_default(),
            vdso: HostVdso::find(),
            network: host_sockets.then(host_network).transpose()?,
        })
    }
}

/// The namespace this process is in, with what the host's /proc/sys/net says of it.
fn host_network() -> Result<NetNamespace> {
    let netlink = HostNet::socket().map_err(|e| errno("rtnetlink", e))?;
    let net = NetNamespace::of_host(HostNet::new(netlink));
    for setting in settings::ALL.iter().filter(|s| !s.is_ours()) {
        // Not every kernel has every one of them in every namespace.
        if let Ok(text) = std::fs::read(format!("/proc/sys/net/{}", setting.file)) {
            let _ = setting.put(&net, &text);
        }
    }
    Ok(net)
}

/// `linux.sysctl`, of the network, as far as this kernel has it; [`crate::oci::validate`] refused the others.
fn sysctls(net: &NetNamespace, spec: &oci_spec::runtime::Spec) -> Result<()> {
    let list = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    for (name, value) in list.into_iter().flatten() {
        if let Some(setting) = settings::find(name) {
            setting
                .put(net, value.as_bytes())
                .map_err(|e| errno(&format!("linux.sysctl: set \"{name}\" to \"{value}\""), e))?;
        }
    }
    Ok(())
}

/// Makes the platform of a name. The process has one thread, and the walls stand.
pub fn platform(
    name: &str,
    options: systrap::Options,
    vdso: &HostVdso,
) -> Result<Arc<dyn Platform>> {
    let made = match name {
        "auto" => platform::choose(vdso, options),
        "ptrace" => platform::ptrace::new(vdso),
        "systrap" => match systrap::missing() {
            Some(why) => bail!("platform systrap: {why}"),
            None => systrap::new(vdso, options),
        },
        other => bail!("platform \"{other}\": there is no such platform (auto, systrap, ptrace)"),
    };
    match made {
        Ok(p) => Ok(Arc::new(p)),
        Err(e) => bail!("platform {name}: {}", error::errno(e.raw())),
    }
}

/// Wakes the control server.
struct Kick(OwnedFd);

impl Observer for Kick {
    fn on_events(&self, _events: Events) {
        // A full counter has woken it already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// The init before its first instruction. There is one per container.
#[allow(clippy::large_enum_variant)]
enum First {
    /// It can run.
    Ready(Prepared),
    /// The program is there and executable, but nothing the kernel can run. Linux says so only at execve(2), so as with runc the
    /// container is made, and when it is started it says this on its stderr and ends with status 1.
    Broken(String, Option<OwnedFd>),
}

/// The container and its kernel.
pub struct Guest {
    kernel: Arc<Kernel>,
    container: Arc<Container>,
    /// The init, until it runs.
    prepared: Option<First>,
    init: Option<Arc<ThreadGroup>>,
    /// A [`First::Broken`] was started, or a startContainer hook failed.
    broken: bool,
    kick: Arc<Kick>,
    /// Hooks that run in the container, and what they read.
    start_hooks: Vec<oci_spec::runtime::Hook>,
    /// The init's identity, which the hooks share.
    like: Option<Process>,
    /// `linux.seccomp`, for every process that the runtime starts.
    seccomp: Option<Arc<sentry::kernel::seccomp::Filter>>,
    gofer: Client,
    debug: bool,
    /// How calls are logged when they are.
    strace: Strace,
    tracer: Option<Arc<syscalls::strace::Strace>>,
}

/// An error number in the sandbox's words.
pub fn errno(what: &str, e: Errno) -> anyhow::Error {
    anyhow!("{what}: {}", error::errno(e.raw()))
}

impl Guest {
    /// Boots the kernel and makes the container, up to its program being loaded.
    pub fn new(
        spec: BootSpec,
        platform: Arc<dyn Platform>,
        host: HostInfo,
        gofer: OwnedFd,
    ) -> Result<Guest> {
        sentry::tty::register_devices();
        let kernel = Kernel::new(platform, syscalls::table(), Arc::new(HostClock))
            .map_err(|e| errno("kernel", e))?;
        let pids = spec
            .spec
            .linux()
            .as_ref()
            .and_then(|l| l.resources().as_ref())
            .and_then(|r| r.pids().as_ref())
            .map(|p| p.limit());
        limit_tasks(&kernel, pids.unwrap_or(0));
        let (client, trees) =
            Client::connect(gofer, 4).map_err(|e| errno("the gofer does not answer", e))?;
        sentry::procfs::set_host_text(sentry::procfs::HostText {
            cpuinfo: host.cpuinfo.into(),
        });
        let (namespace, root) = mounts::build(&kernel, &client, &trees, &spec)?;
        let hostname = spec.spec.hostname().clone().unwrap_or_default();
        // Engines give it as the one or the other.
        let sysctl = spec.spec.linux().as_ref().and_then(|l| {
            let list = l.sysctl().as_ref()?;
            list.get("kernel.domainname")
                .or(list.get("kernel/domainname"))
                .cloned()
        });
        let domainname = spec
            .spec
            .domainname()
            .clone()
            .or(sysctl)
            .unwrap_or_default();
        let container = kernel
            .create_container(
                &spec.id,
                namespace,
                root,
                hostname.as_bytes(),
                domainname.as_bytes(),
            )
            .map_err(|e| errno("container", e))?;
        let network = host.network.unwrap_or_default();
        sysctls(&network, &spec.spec)?;
        // Nobody has used it yet, so it is this one.
        container.namespaces().net.content(|| network);
        let kick = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let seccomp = spec
            .spec
            .linux()
            .as_ref()
            .and_then(|l| l.seccomp().as_ref())
            .map(|profile| {
                let compiled = crate::oci::seccomp::compile(profile)?;
                sentry::kernel::seccomp::Filter::new(&compiled.code, None, compiled.log)
                    .map_err(|e| errno("linux.seccomp", e))
            })
            .transpose()?;
        let mut guest = Guest {
            kernel,
            container,
            prepared: None,
            init: None,
            broken: false,
            kick: Arc::new(Kick(kick)),
            start_hooks: spec
                .spec
                .hooks()
                .as_ref()
                .and_then(|h| h.start_container().clone())
                .unwrap_or_default(),
            like: None,
            seccomp,
            gofer: client,
            debug: spec.debug,
            strace: spec.strace,
            tracer: None,
        };
        if !guest.start_hooks.is_empty() {
            guest.like = Some(spec.process.clone());
        }
        let stderr = spec.stdio.last().and_then(|fd| fd.try_clone().ok());
        let fds = spec.stdio.into_iter().chain(spec.preserved).collect();
        guest.prepared = Some(match guest.prepare(&spec.process, fds) {
            Ok(p) => First::Ready(p),
            Err(Failed::Start(StartError::Exec(path, Errno::ENOEXEC))) => First::Broken(
                format!(
                    "exec {}: exec format error\n",
                    String::from_utf8_lossy(&path)
                ),
                stderr,
            ),
            Err(e) => return Err(e.into()),
        });
        let tracer = guest.new_tracer()?;
        if guest.strace.on {
            guest.set_tracer(Some(tracer));
        }
        Ok(guest)
    }

    /// `--debug`
    pub fn debug(&self) -> bool {
        self.debug
    }

    /// Becomes readable when a watched process has ended.
    pub fn kicked(&self) -> impl AsFd + '_ {
        &self.kick.0
    }

    /// Becomes readable (hung up) when the gofer is gone.
    pub fn gofer(&self) -> &Client {
        &self.gofer
    }

    /// Loads a program with its stdio; one descriptor serves as all three when it is a terminal.
    fn prepare(&self, p: &Process, fds: Vec<OwnedFd>) -> Result<Prepared, Failed> {
        let mut files: Vec<(i32, Arc<File>)> = Vec::new();
        let mut tty = None;
        let mut fds = fds.into_iter();
        if p.terminal {
            let fd = fds
                .next()
                .ok_or_else(|| anyhow!("a terminal was asked for and none was given"))?;
            let file = mounts::host_tty(&self.container, fd)?;
            files.extend((0..3).map(|n| (n, file.clone())));
            tty = Some(file);
        }
        for fd in fds {
            let number = i32::try_from(files.len()).unwrap_or(i32::MAX);
            files.push((number, mounts::host_file(&self.kernel, fd)?));
        }
        let ns = self.kernel.root_user_ns.clone();
        let mut cred = Credentials::root(ns);
        cred.set_ruid(p.uid);
        (cred.euid, cred.suid, cred.fsuid) = (p.uid, p.uid, p.uid);
        (cred.rgid, cred.egid, cred.sgid, cred.fsgid) = (p.gid, p.gid, p.gid, p.gid);
        let mut groups = p.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        cred.groups = groups.into();
        (cred.permitted, cred.effective, cred.inheritable) =
            (p.caps.permitted, p.caps.effective, p.caps.inheritable);
        (cred.bounding, cred.ambient) = (p.caps.bounding, p.caps.ambient);
        cred.no_new_privs = p.no_new_privs;
        mounts::make_cwd(&self.container, &p.cwd);
        let bytes = |list: &[String]| list.iter().map(|s| s.clone().into_bytes()).collect();
        let mut env: Vec<Vec<u8>> = bytes(&p.env);
        if !p.env.iter().any(|e| e.starts_with("HOME=")) {
            env.push([b"HOME=".as_slice(), &mounts::home(&self.container, p.uid)].concat());
        }
        let spec = ProcessSpec {
            args: bytes(&p.args),
            env,
            cwd: p.cwd.clone().into_bytes(),
            cred,
            umask: p.umask.unwrap_or(0o022),
            limits: p
                .rlimits
                .iter()
                .filter_map(|l| {
                    Some((
                        usize::try_from(l.resource).ok()?,
                        Limit::new(l.soft, l.hard),
                    ))
                })
                .collect(),
            fds: files,
            tty,
            oom_score_adj: p.oom_score_adj.unwrap_or(0),
            seccomp: self.seccomp.clone(),
        };
        self.container.prepare(spec).map_err(Failed::Start)
    }

    fn launch(&self, prepared: Prepared) -> Result<Arc<ThreadGroup>> {
        let group = prepared.task().group().clone();
        group
            .exit_events
            .register(self.kick.clone(), Events::IN | Events::HUP);
        prepared.start().map_err(|e| errno("start", e))
    }

    /// Lets the init run.
    ///
    /// `states` are descriptors from which the startContainer hooks read the container's state, one each.
    pub fn start(&mut self, states: Vec<OwnedFd>) -> Result<()> {
        if self.prepared.is_some()
            && let Err(e) = self.run_start_hooks(states)
        {
            // The container ends with it.
            self.prepared = None;
            self.broken = true;
            return Err(e);
        }
        let Some(first) = self.prepared.take() else {
            bail!("cannot start an already running container")
        };
        match first {
            First::Ready(prepared) => self.init = Some(self.launch(prepared)?),
            First::Broken(message, stderr) => {
                if let Some(fd) = stderr {
                    let _ = rustix::io::write(fd, message.as_bytes());
                }
                self.broken = true;
            }
        }
        Ok(())
    }

    /// startContainer hooks are guest processes: their paths are the container's, and so is all they can touch.
    fn run_start_hooks(&self, states: Vec<OwnedFd>) -> Result<()> {
        let mut states = states.into_iter();
        for (i, hook) in self.start_hooks.iter().enumerate() {
            let (Some(stdin), Some(like)) = (states.next(), &self.like) else {
                bail!("startContainer hooks: no state was given")
            };
            // Descriptor 1 is /dev/null here.
            let null = || rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3);
            let path = hook.path().to_string_lossy().into_owned();
            let mut args = hook.args().clone().unwrap_or_else(|| vec![path.clone()]);
            if let Some(first) = args.first_mut() {
                *first = path;
            }
            let process = Process {
                args,
                env: hook.env().clone().unwrap_or_default(),
                cwd: "/".into(),
                terminal: false,
                ..like.clone()
            };
            let group = self
                .exec(&process, vec![stdin, null()?, null()?])
                .map_err(|e| anyhow!("error running hook #{i}: {e:#}"))?;
            let timeout = hook
                .timeout()
                .and_then(|t| u64::try_from(t).ok())
                .map(std::time::Duration::from_secs);
            match self.wait_for(&group, timeout)? {
                Some(0) => {}
                Some(status) => {
                    bail!("error running hook #{i}: error running hook: exit status {status}")
                }
                None => {
                    self.kill(&group);
                    bail!(
                        "error running hook #{i}: hook ran past specified timeout of {:.1}s",
                        timeout.unwrap_or_default().as_secs_f64()
                    )
                }
            }
        }
        Ok(())
    }

    /// Waits for a process that [`Guest::exec`] started.
    fn wait_for(
        &self,
        group: &ThreadGroup,
        timeout: Option<std::time::Duration>,
    ) -> Result<Option<u8>> {
        let deadline = timeout.map(|t| std::time::Instant::now() + t);
        loop {
            if let Some(status) = status_of(group) {
                return Ok(Some(status));
            }
            let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|l| l.is_zero()) {
                return Ok(None);
            }
            let left = left.and_then(|l| rustix::event::Timespec::try_from(l).ok());
            let mut fds = [PollFd::new(&self.kick.0, PollFlags::IN)];
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    let _ = rustix::io::read(&self.kick.0, &mut [0; 8]);
                }
                Err(e) => bail!("poll: {}", error::rx(e)),
            }
        }
    }

    /// The init's status, once it has ended.
    pub fn ended(&self) -> Option<u8> {
        if self.broken {
            Some(1)
        } else {
            self.init.as_ref().and_then(|g| status_of(g))
        }
    }

    /// Starts another process.
    pub fn exec(&self, p: &Process, fds: Vec<OwnedFd>) -> Result<Arc<ThreadGroup>> {
        let prepared = self.prepare(p, fds)?;
        self.launch(prepared)
    }

    /// A process of the container by its number.
    pub fn find(&self, pid: i32) -> Option<Arc<ThreadGroup>> {
        self.container
            .processes()
            .into_iter()
            .find(|g| self.number(g) == pid)
    }

    /// The number by which the container knows a process.
    pub fn number(&self, group: &ThreadGroup) -> i32 {
        group
            .pid()
            .nr_in(&self.container.namespaces().pid_for_children)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32, all: bool, pid: Option<i32>) -> Result<()> {
        if signal == 0 {
            return Ok(());
        }
        let signal = Signal::new(signal).ok_or_else(|| anyhow!("unknown signal \"{signal}\""))?;
        match pid {
            None => {
                if self.init.is_none() {
                    // Created and not started: there is no program yet that could handle it, so its default action is taken.
                    return self.signal_created(signal);
                }
                self.container
                    .signal(signal, all)
                    .map_err(|e| errno("kill", e))
            }
            Some(pid) => match self.find(pid) {
                Some(group) => {
                    group.send(abi::signal::SigInfo::kill(signal, 0, 0));
                    Ok(())
                }
                None => bail!("no such process: {pid}"),
            },
        }
    }

    fn signal_created(&self, signal: Signal) -> Result<()> {
        // runc's `init` has no handlers either: what ends a process ends the container.
        let ignored = [
            Signal::SIGCHLD,
            Signal::SIGURG,
            Signal::SIGWINCH,
            Signal::SIGCONT,
        ];
        if !ignored.contains(&signal) {
            crate::sys::exit_now(128_i32.saturating_add(signal.raw()));
        }
        Ok(())
    }

    /// Kills one process, if it still runs.
    pub fn kill(&self, group: &ThreadGroup) {
        if !group.is_zombie() {
            group.send(abi::signal::SigInfo::kill(Signal::SIGKILL, 0, 0));
        }
    }

    /// Stops everything, or lets it go on.
    pub fn set_paused(&self, paused: bool) {
        self.container.set_paused(paused);
    }

    /// For `ps`.
    pub fn processes(&self) -> Vec<ProcessRow> {
        let mut rows = Vec::new();
        let boot_real = u64::try_from(
            self.kernel
                .boot_realtime
                .load(std::sync::atomic::Ordering::Relaxed),
        )
        .unwrap_or(0);
        for group in self.container.processes() {
            if group.is_zombie() {
                continue;
            }
            let Some(leader) = group.leader() else {
                continue;
            };
            let since_boot = group.start_ns.saturating_sub(self.kernel.boot_monotonic);
            let mm = leader.mm().ok();
            let cmd = mm.as_ref().map_or_else(String::new, |mm| {
                let text = sentry::procfs::command_line(mm);
                let text = String::from_utf8_lossy(&text).replace('\0', " ");
                text.trim_end().to_owned()
            });
            let cmd = match cmd.is_empty() {
                true => format!("[{}]", String::from_utf8_lossy(&leader.comm())),
                false => cmd,
            };
            let host = mm.and_then(|mm| mm.address_space().show_as(&cmd));
            rows.push(ProcessRow {
                uid: leader.cred().ruid,
                pid: self.number(&group),
                ppid: group.parent().map_or(0, |p| self.number(&p)),
                start: boot_real.saturating_add(since_boot) / 1_000_000_000,
                tty: "?".into(),
                time_ms: 0,
                cmd,
                host,
            });
        }
        rows
    }

    /// How many tasks there may be from now on.
    pub fn limit_tasks(&self, limit: i64) {
        limit_tasks(&self.kernel, limit);
    }

    /// Every task and what it does.
    pub fn stacks(&self) -> String {
        let mut out = String::new();
        for group in self.container.processes() {
            for task in group.tasks() {
                let comm = String::from_utf8_lossy(&task.comm()).into_owned();
                out.push_str(&format!(
                    "{:>7} {:>7} {} {}\n",
                    task.tgid(),
                    task.tid(),
                    char::from(task.state()),
                    comm
                ));
            }
        }
        out
    }

    /// Switches the system call log.
    pub fn strace(&mut self, on: bool) -> Result<()> {
        if on != self.tracer.is_some() {
            let tracer = if on { Some(self.new_tracer()?) } else { None };
            self.set_tracer(tracer);
        }
        Ok(())
    }

    /// Ends the system call log: calls that have not returned are shown, or the summary.
    pub fn end_strace(&mut self) {
        self.set_tracer(None);
    }

    fn set_tracer(&mut self, tracer: Option<Arc<syscalls::strace::Strace>>) {
        self.kernel.set_tracer(
            tracer
                .clone()
                .map(|t| t as Arc<dyn sentry::syscall::Tracer>),
        );
        if let Some(old) = std::mem::replace(&mut self.tracer, tracer) {
            old.finish();
        }
    }

    fn new_tracer(&self) -> Result<Arc<syscalls::strace::Strace>> {
        use syscalls::strace::{Format, Sink};
        let format = match self.strace.format {
            StraceFormat::Text => Format::Text,
            StraceFormat::Json => Format::Json,
            StraceFormat::Summary => Format::Summary,
        };
        let sink: Sink = match &self.strace.file {
            // One write a line. A log that cannot be written must not stop the guest.
            Some(file) => {
                let file = file.try_clone()?;
                Box::new(move |line| {
                    let _ = rustix::io::write(&file, format!("{line}\n").as_bytes());
                })
            }
            None => Box::new(|line| log::info!("{line}")),
        };
        match syscalls::strace::Strace::new(format, &self.strace.only, sink) {
            Ok(tracer) => Ok(Arc::new(tracer)),
            Err(name) => bail!("--strace-syscalls: there is no system call \"{name}\""),
        }
    }

    /// The window of the terminal of a process (of the init) changed.
    pub fn resized(&self, group: Option<&ThreadGroup>) {
        let Some(group) = group.or(self.init.as_deref()) else {
            return;
        };
        let Some(tty) = group.session().tty() else {
            return;
        };
        if let Some(tty) = tty.as_any().downcast_ref::<sentry::tty::Tty>() {
            tty.host_resized();
        }
    }
}

/// A pids limit of the configuration; 0 and below are none.
fn limit_tasks(kernel: &Kernel, limit: i64) {
    let most = u64::try_from(limit)
        .ok()
        .filter(|l| *l > 0)
        .map_or(THREADS_MAX, |l| l.min(THREADS_MAX));
    kernel
        .tasks_max
        .store(most, std::sync::atomic::Ordering::Relaxed);
}

/// Why a process could not be made ready.
enum Failed {
    Start(StartError),
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failed {
    fn from(e: anyhow::Error) -> Failed {
        Failed::Other(e)
    }
}

impl From<Failed> for anyhow::Error {
    fn from(f: Failed) -> anyhow::Error {
        match f {
            Failed::Start(e) => start_error(&e),
            Failed::Other(e) => e,
        }
    }
}

/// A process's status once it has ended.
pub fn status_of(group: &ThreadGroup) -> Option<u8> {
    if !group.is_zombie() {
        return None;
    }
    let status = group.final_status().unwrap_or(ExitStatus::Exited(0));
    Some(u8::try_from(status.shell_code()).unwrap_or(u8::MAX))
}

/// runc's words for a program that cannot be started.
fn start_error(e: &StartError) -> anyhow::Error {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    match e {
        StartError::NotFound(name) => {
            anyhow!("exec: {:?}: executable file not found in $PATH", text(name))
        }
        StartError::Exec(path, Errno::ENOENT) => anyhow!(
            "exec: {0:?}: stat {0}: no such file or directory",
            text(path)
        ),
        StartError::Exec(path, Errno::EACCES) => {
            anyhow!("exec: {:?}: permission denied", text(path))
        }
        StartError::Exec(path, e) => anyhow!("exec {}: {}", text(path), error::errno(e.raw())),
        StartError::Cwd(path, e) => anyhow!(
            "chdir to cwd ({:?}) set in config.json failed: {}",
            text(path),
            error::errno(e.raw())
        ),
        StartError::Other(what, e) => anyhow!("{what}: {}", error::errno(e.raw())),
    }
}
