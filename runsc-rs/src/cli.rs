//! The command line: runc's commands and flags, and ours.
//!
//! Global options come before the command, as with runc; containerd and Docker pass them there.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An OCI runtime that gives each container a kernel of its own.
#[derive(Parser, Debug)]
// Of an option given twice the last counts, as in runc: engines add theirs to those of their configuration.
#[command(
    name = "runsc-rs",
    disable_version_flag = true,
    max_term_width = 100,
    args_override_self = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that come before the command.
#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Print the version
    #[arg(long, short = 'v')]
    pub version: bool,
    /// Root directory for storage of container state (default: /run/runsc-rs, or $XDG_RUNTIME_DIR/runsc-rs)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Set the log file to write logs to (default: stderr)
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Set the log format
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Enable debug logging
    #[arg(long)]
    pub debug: bool,
    /// Use systemd for cgroups: refused, the cgroupfs driver is the one there is
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Ignore cgroup permission errors
    #[arg(long, value_enum, default_value_t = Rootless::Auto)]
    pub rootless: Rootless,
    /// What guest code runs on
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub platform: String,
    /// On systrap: rewrite call sites that are used often
    #[arg(long, value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub systrap_rewrite: Switch,
    /// On systrap, in rewritten call sites: hand calls over without the host while there is a processor to spare
    #[arg(long, value_enum, default_value_t = Switch::On, value_name = "on|off")]
    pub systrap_spin: Switch,
    /// Log the guest's system calls, as strace(1) would
    #[arg(long)]
    pub strace: bool,
    /// Log only these system calls
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub strace_syscalls: Vec<String>,
    /// Write the system call log here instead of to the log
    #[arg(long, value_name = "FILE")]
    pub strace_log: Option<PathBuf>,
    /// How the system call log is written
    #[arg(long, value_enum, default_value_t = StraceFormat::Text)]
    pub strace_format: StraceFormat,
    /// Where writes to the root filesystem go
    #[arg(long, value_enum, default_value_t = Overlay::None)]
    pub overlay2: Overlay,
    /// With --debug: leave these calls out of the sentry's filter, to see in the host's log who needs them
    #[arg(long, hide = true, value_delimiter = ',', value_name = "NAME,...")]
    pub filter_without: Vec<String>,
    /// The guest's network
    #[arg(long, value_enum, default_value_t = Network::None)]
    pub network: Network,
}

/// `--log-format`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":…,"msg":…,"time":…}`
    Json,
}

/// `--strace-format`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StraceFormat {
    /// Lines as strace(1) prints them.
    Text,
    /// One JSON object a line.
    Json,
    /// No lines, a table of calls, times and errors at the end.
    Summary,
}

/// `--rootless`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rootless {
    /// Always.
    True,
    /// Never.
    False,
    /// When not running as root.
    Auto,
}

/// `--overlay2`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Writes go to the bundle's root filesystem.
    None,
    /// Writes stay in the sandbox's memory.
    #[value(name = "root:memory")]
    RootMemory,
}

/// `--network`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Loopback only.
    None,
    /// Internet sockets are the host's, opened in the container's own network namespace
    HostSockets,
}

/// What `create`, `run` and `exec` share.
#[derive(Args, Debug, Clone, Default)]
pub struct Console {
    /// AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Specify the file to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub preserve_fds: u32,
}

/// What `create` and `run` share.
#[derive(Args, Debug, Clone, Default)]
pub struct Create {
    /// Path to the root of the bundle directory, defaults to the current directory
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Console, pid file, descriptors.
    #[command(flatten)]
    pub console: Console,
    /// Accepted for runc's sake: the sandbox's root is never the bundle's
    #[arg(long)]
    pub no_pivot: bool,
    /// Accepted for runc's sake: guests have no keyrings of the host
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Your name for the instance of the container that you are starting
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// A command that takes a container and nothing else.
#[derive(Args, Debug, Clone)]
pub struct Id {
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Create a container
    Create(Create),
    /// Create and run a container
    Run(Run),
    /// Execute the user defined process in a created container
    Start(Id),
    /// Output the state of a container
    State(Id),
    /// Send the specified signal (default: SIGTERM) to the container's init process
    Kill(Kill),
    /// Delete any resources held by the container, often used with detached containers
    Delete(Delete),
    /// List containers started with the given root
    List(List),
    /// Execute new process inside the container
    Exec(Exec),
    /// Display the processes running inside a container
    Ps(Ps),
    /// Wait for the container's init process to exit and print its status
    Wait(Wait),
    /// Suspend all processes inside the container
    Pause(Id),
    /// Resume all processes that have been previously paused
    Resume(Id),
    /// Update container resource constraints
    Update(Update),
    /// Create a new specification file
    Spec(SpecArgs),
    /// Display container statistics: cpu, memory, pids and IO usage, OOM notifications
    Events(Events),
    /// Show the enabled features
    Features,
    /// Run a command in a container on this machine's own root, read-only under an overlay in memory
    Do(Do),
    /// Look into a live sandbox
    Debug(Debug),
    /// Make this program a runtime of Docker and containerd
    Install(Install),
    /// Take that back
    Uninstall(Uninstall),
    /// List the system calls the guest's kernel has
    Syscalls(Syscalls),
    /// List the platforms, what was probed, and which one `auto` chooses
    Platforms,
}

/// `run`.
#[derive(Args, Debug, Clone)]
pub struct Run {
    /// As for `create`.
    #[command(flatten)]
    pub create: Create,
    /// Detach from the container's process
    #[arg(long, short)]
    pub detach: bool,
    /// Do not delete the container after it exits
    #[arg(long)]
    pub keep: bool,
    /// Accepted for runc's sake: orphans of the guest stay the guest's
    #[arg(long)]
    pub no_subreaper: bool,
}

/// `kill`.
#[derive(Args, Debug, Clone)]
pub struct Kill {
    /// Send the specified signal to all processes inside the container
    #[arg(long, short)]
    pub all: bool,
    /// Send the signal to this process of the guest instead of the container's init
    #[arg(long, value_name = "PID")]
    pub pid: Option<i32>,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    pub signal: String,
}

/// `delete`.
#[derive(Args, Debug, Clone)]
pub struct Delete {
    /// Forcibly deletes the container if it is still running (uses SIGKILL)
    #[arg(long, short)]
    pub force: bool,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `list`.
#[derive(Args, Debug, Clone)]
pub struct List {
    /// Select one of: table or json
    #[arg(long, short, default_value = "table")]
    pub format: String,
    /// Display only container IDs
    #[arg(long, short)]
    pub quiet: bool,
}

/// `exec`.
#[derive(Args, Debug, Clone)]
pub struct Exec {
    /// Console, pid file, descriptors.
    #[command(flatten)]
    pub console: Console,
    /// Current working directory in the container
    #[arg(long)]
    pub cwd: Option<PathBuf>,
    /// Set environment variables
    #[arg(long, short)]
    pub env: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(long, short)]
    pub tty: bool,
    /// UID (format: <uid>[:<gid>])
    #[arg(long, short)]
    pub user: Option<String>,
    /// Additional gids
    #[arg(long, short = 'g')]
    pub additional_gids: Vec<u32>,
    /// Path to the process.json
    #[arg(long, short)]
    pub process: Option<PathBuf>,
    /// Detach from the container's process
    #[arg(long, short)]
    pub detach: bool,
    /// Refused: guests have no SELinux
    #[arg(long)]
    pub process_label: Option<String>,
    /// Refused: guests have no AppArmor
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Set the no new privileges value for the process
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability to the bounding set for the process
    #[arg(long, short)]
    pub cap: Vec<String>,
    /// Refused: the processes of a sandbox share its cgroup
    #[arg(long)]
    pub cgroup: Vec<String>,
    /// Allow exec in a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "command"
    )]
    pub args: Vec<String>,
}

/// `ps`.
#[derive(Args, Debug, Clone)]
pub struct Ps {
    /// Select one of: table or json
    #[arg(long, short, default_value = "table")]
    pub format: String,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
    /// Options of ps(1), of which the table has only its `-ef` form
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ps options"
    )]
    pub args: Vec<String>,
}

/// `wait`.
#[derive(Args, Debug, Clone)]
pub struct Wait {
    /// Wait for this process of the guest instead of the container's init
    #[arg(long, value_name = "PID")]
    pub pid: Option<i32>,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `update`: every flag of runc's that a sandbox's cgroup can honour.
#[derive(Args, Debug, Clone, Default)]
pub struct Update {
    /// Path to the file containing the resources to update or '-' to read from the standard input
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Per cgroup weight, range is from 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// CPU CFS period to be used for hardcapping (in usecs)
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// CPU CFS hardcap limit (in usecs)
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// CPU shares (relative weight vs. other containers)
    #[arg(long)]
    pub cpu_share: Option<u64>,
    /// CPU realtime period (in usecs)
    #[arg(long)]
    pub cpu_rt_period: Option<u64>,
    /// CPU realtime limit (in usecs)
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPU(s) to use
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory node(s) to use
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Memory limit (in bytes)
    #[arg(long, allow_hyphen_values = true)]
    pub memory: Option<String>,
    /// Memory reservation or soft limit (in bytes)
    #[arg(long, allow_hyphen_values = true)]
    pub memory_reservation: Option<String>,
    /// Total memory usage (memory + swap); set '-1' to enable unlimited swap
    #[arg(long, allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Maximum number of pids allowed in the container
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `spec`.
#[derive(Args, Debug, Clone)]
pub struct SpecArgs {
    /// Path to the root of the bundle directory
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Generate a configuration for a rootless container
    #[arg(long)]
    pub rootless: bool,
}

/// `events`.
#[derive(Args, Debug, Clone)]
pub struct Events {
    /// Set the stats collection interval
    #[arg(long, default_value = "5s")]
    pub interval: String,
    /// Display the container's stats then exit
    #[arg(long)]
    pub stats: bool,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `do`.
#[derive(Args, Debug, Clone)]
pub struct Do {
    /// The directory to use as the root
    #[arg(long, default_value = "/", value_name = "DIR")]
    pub root: PathBuf,
    /// Current working directory (default: this one)
    #[arg(long)]
    pub cwd: Option<PathBuf>,
    /// Set environment variables
    #[arg(long, short)]
    pub env: Vec<String>,
    /// UID (format: <uid>[:<gid>])
    #[arg(long, short)]
    pub user: Option<String>,
    /// Print what ran, on which platform, and how long the start took
    #[arg(long)]
    pub report: bool,
    /// Command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "command"
    )]
    pub args: Vec<OsString>,
}

/// `debug`.
#[derive(Args, Debug, Clone)]
pub struct Debug {
    /// Switch the system call log on or off
    #[arg(long, value_enum)]
    pub strace: Option<Switch>,
    /// Print what every task of the sandbox is doing
    #[arg(long)]
    pub stacks: bool,
    /// The name for the instance of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// The configurations that `install` and `uninstall` change.
#[derive(Args, Debug, Clone)]
pub struct Engines {
    /// Docker's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
    pub docker_config: PathBuf,
    /// containerd's configuration
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/containerd/config.toml"
    )]
    pub containerd_config: PathBuf,
}

/// `install`.
#[derive(Args, Debug, Clone)]
pub struct Install {
    /// The runtime's name
    #[arg(long, default_value = "runsc-rs")]
    pub runtime: String,
    /// The program that engines are to run (default: this one)
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    #[command(flatten)]
    pub engines: Engines,
    /// Global options that Docker is to give it, after --
    #[arg(last = true, value_name = "option")]
    pub args: Vec<String>,
}

/// `uninstall`.
#[derive(Args, Debug, Clone)]
pub struct Uninstall {
    /// The runtime's name
    #[arg(long, default_value = "runsc-rs")]
    pub runtime: String,
    #[command(flatten)]
    pub engines: Engines,
}

/// on or off.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// on
    On,
    /// off
    Off,
}

/// `syscalls`.
#[derive(Args, Debug, Clone)]
pub struct Syscalls {
    /// Select one of: table, json or markdown
    #[arg(long, short, default_value = "table")]
    pub format: String,
}
