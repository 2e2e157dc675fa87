//! A dockerd of our own, with each platform as a runtime, and a tiny image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal};

use crate::engine::{Outcome, PATIENCE, Ran, Service, eventually, ran};
use crate::process::{End, run};
use crate::terminal::Terminal;

/// The image's name.
pub const IMAGE: &str = "tiny";
/// Another one's, with everything that the test root filesystem has.
const DEBIAN: &str = "debian";
/// What busybox is called by in it.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "sleep", "id", "stty", "kill", "ps", "true", "false", "hostname", "mkdir",
    "grep", "seq", "pwd", "ls", "mount", "mv", "rm",
];
/// Why there is no Docker to test with, if so.
pub fn missing() -> Option<String> {
    for program in ["dockerd", "docker", "containerd", "runc"] {
        if find(program).is_none() {
            return Some(format!(
                "no {program} on this machine (Debian: apt-get install docker.io)"
            ));
        }
    }
    if find("setpriv").is_none() || !busybox().exists() {
        return Some("no setpriv, or no busybox in the test root filesystem".into());
    }
    None
}

/// Why the daemon can have no networks here, if so. In a network namespace of this process's own: its loopback interface is brought up.
pub fn no_bridge() -> Option<String> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    let runs = |words: &[&str]| {
        let (program, args) = words.split_first().expect("a program");
        let out = Command::new(program).args(args).output();
        out.is_ok_and(|o| o.status.success())
    };
    let needed: [&[&str]; 4] = [
        &["ip", "link", "set", "lo", "up"],
        &["ip", "link", "add", "probe", "type", "bridge"],
        &["ip", "link", "del", "probe"],
        &["iptables", "-t", "nat", "-S"],
    ];
    let probe = || {
        let failed = needed.iter().find(|words| !runs(words))?;
        Some(format!("this machine cannot do `{}`", failed.join(" ")))
    };
    WHY.get_or_init(probe).clone()
}

fn find(program: &str) -> Option<PathBuf> {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .map(|dir| Path::new(dir).join(program))
    .find(|p| p.exists())
}

fn busybox() -> PathBuf {
    crate::env::rootfs().join("bin/busybox")
}

/// The daemon.
pub struct Daemon {
    dir: PathBuf,
}

/// The one daemon of this process; its child, once it was started.
static DAEMON: OnceLock<Result<Daemon, String>> = OnceLock::new();
static SERVICE: Service = Service::new("dockerd");

impl Daemon {
    /// The daemon, started when the first test asks for it.
    pub fn get() -> Result<&'static Daemon, String> {
        DAEMON
            .get_or_init(Self::start)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn start() -> Result<Daemon, String> {
        let dir = crate::env::scratch().join(format!("docker-{}", crate::env::unique()));
        let io = |what: &str, e: std::io::Error| format!("{what}: {e}");
        fs::create_dir_all(&dir).map_err(|e| io("scratch", e))?;
        let binary = crate::env::binary()?;
        // Each platform, and each with sockets of the host's.
        let runtimes: serde_json::Map<_, _> = crate::env::platforms()
            .into_iter()
            .flat_map(|p| {
                let runtime = |more: &[&str]| {
                    let platform = format!("--platform={p}");
                    let args = [&[platform.as_str()], more].concat();
                    serde_json::json!({"path": binary, "runtimeArgs": args})
                };
                [
                    (p.clone(), runtime(&[])),
                    (format!("{p}-net"), runtime(&["--network=host-sockets"])),
                ]
            })
            .collect();
        let config = serde_json::json!({"runtimes": runtimes});
        fs::write(dir.join("daemon.json"), config.to_string()).map_err(|e| io("daemon.json", e))?;
        let daemon = Daemon { dir };
        daemon.launch()?;
        daemon.make_image()?;
        Ok(daemon)
    }

    /// Starts the daemon once more, which was killed.
    pub fn again() -> Outcome {
        SERVICE.end(None, Signal::TERM);
        Self::get()?.launch()
    }

    /// Starts it, and once more whenever it ends before it answers, as a service manager would: dockerd gives a containerd that recovers from being killed 15 seconds, busy machine or
    /// not.
    fn launch(&self) -> Outcome {
        self.launch_once()?;
        eventually("dockerd answers", || {
            if SERVICE.has_ended()? {
                self.launch_once()?;
            }
            Ok(self.docker(&["version"])?.code == Some(0))
        })
        .map_err(|e| format!("{e}\n{}", self.log_tail()))
    }

    fn launch_once(&self) -> Outcome {
        let dir = &self.dir;
        let io = |what: &str, e: std::io::Error| format!("{what}: {e}");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .map_err(|e| io("log", e))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "dockerd", "--config-file"])
            .arg(dir.join("daemon.json"))
            .arg("--data-root")
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"))
            .arg("--pidfile")
            .arg(dir.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", dir.join("sock").display()))
            .args(if no_bridge().is_some() {
                &["--bridge=none", "--iptables=false", "--ip6tables=false"][..]
            } else {
                &[]
            })
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(|e| io("log", e))?)
            .stdout(log);
        SERVICE.start(command)
    }

    /// Ends the daemon, by its pid file, and removes what was its own.
    pub fn stop() {
        let Some(Ok(daemon)) = DAEMON.get() else {
            return SERVICE.end(None, Signal::TERM);
        };
        let pid = fs::read_to_string(daemon.dir.join("pid"))
            .ok()
            .and_then(|t| t.trim().parse().ok())
            .and_then(Pid::from_raw);
        // Containers first: what tests left behind.
        if let Ok(left) = daemon.docker(&["ps", "-aq"]) {
            for id in left.stdout.split_whitespace() {
                let _ = daemon.docker(&["rm", "-f", id]);
            }
        }
        SERVICE.end(pid, Signal::TERM);
        // A daemon that was killed leaves its data root mounted on itself. (Not where something is still mounted below.)
        let data = daemon.dir.join("data");
        while rustix::mount::unmount(&data, rustix::mount::UnmountFlags::empty()).is_ok() {}
        if !crate::env::keep() {
            let _ = fs::remove_dir_all(&daemon.dir);
        }
    }

    /// busybox, and a file that is not a program.
    fn make_image(&self) -> Outcome {
        let root = self.dir.join("image");
        let make = || -> std::io::Result<()> {
            for sub in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
                fs::create_dir_all(root.join(sub))?;
            }
            fs::copy(busybox(), root.join("bin/busybox"))?;
            for applet in APPLETS {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
            }
            fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n")?;
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
        };
        make().map_err(|e| format!("image: {e}"))?;
        let tar = self.dir.join("image.tar");
        let status = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .status()
            .map_err(|e| format!("tar: {e}"))?;
        if !status.success() {
            return Err(format!("tar: {status}"));
        }
        self.docker(&["import", &tar.display().to_string(), IMAGE])?
            .code(0)
    }

    /// The test root filesystem's /etc, and links into its /usr, which containers get as a read-only mount.
    fn make_debian(&self) -> Outcome {
        let root = self.dir.join("debian");
        let make = || -> std::io::Result<()> {
            for sub in ["usr", "tmp", "var", "run", "root", "proc", "dev", "sys"] {
                fs::create_dir_all(root.join(sub))?;
            }
            for sub in ["bin", "sbin", "lib", "lib64"] {
                std::os::unix::fs::symlink(format!("usr/{sub}"), root.join(sub))?;
            }
            Ok(())
        };
        make().map_err(|e| format!("image: {e}"))?;
        let import = format!(
            "(cd {root} && cp -a {rootfs}/etc . && tar -c .) | docker import - {DEBIAN}",
            root = root.display(),
            rootfs = crate::env::rootfs().display()
        );
        let out = run(self.command("sh").args(["-c", &import]), b"", PATIENCE)
            .map_err(|e| format!("image: {e}"))?;
        match out.end {
            End::Code(0) => Ok(()),
            end => Err(format!("image: {end:?} {}", out.errors())),
        }
    }

    /// The image `debian`, whose containers need the test root filesystem's /usr as a mount.
    pub fn debian_image(&self) -> Outcome {
        static MADE: OnceLock<Outcome> = OnceLock::new();
        MADE.get_or_init(|| self.make_debian()).clone()
    }

    /// `docker-compose ARGS`
    pub fn compose(&self, args: &[&str]) -> Result<Ran, String> {
        ran(self.command("docker-compose").args(args), b"")
    }

    /// `docker run HEAD… OPTIONS… sh -c SCRIPT` on the test root filesystem, on the engine's networks.
    pub fn debian(&self, head: &[&str], options: &[&str], script: &str) -> Result<Ran, String> {
        self.debian_image()?;
        let usr = format!("{}/usr:/usr:ro", crate::env::rootfs().display());
        let mut args = vec!["run", "-v", &usr];
        args.extend(head);
        args.extend(options);
        args.extend([DEBIAN, "sh", "-c", script]);
        self.docker(&args)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env(
                "DOCKER_HOST",
                format!("unix://{}", self.dir.join("sock").display()),
            )
            .env("DOCKER_CONFIG", &self.dir)
            .env("DOCKER_CLI_HINTS", "false");
        command
    }

    /// `docker ARGS`
    pub fn docker(&self, args: &[&str]) -> Result<Ran, String> {
        self.docker_with_input(args, b"")
    }

    /// The same with something to read.
    pub fn docker_with_input(&self, args: &[&str], input: &[u8]) -> Result<Ran, String> {
        ran(self.command("docker").args(args), input)
    }

    fn run_args<'a>(platform: &'a str, options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["--runtime", platform, "--network=none"];
        args.extend(options);
        args.push(IMAGE);
        args.extend(command);
        args
    }

    /// `docker run --rm`
    pub fn run_rm(
        &self,
        platform: &str,
        options: &[&str],
        command: &[&str],
    ) -> Result<Ran, String> {
        self.run_rm_with_input(platform, options, command, b"")
    }

    /// The same with something to read.
    pub fn run_rm_with_input(
        &self,
        platform: &str,
        options: &[&str],
        command: &[&str],
        input: &[u8],
    ) -> Result<Ran, String> {
        let mut args = vec!["run", "--rm"];
        args.extend(Self::run_args(platform, options, command));
        self.docker_with_input(&args, input)
    }

    /// `docker run -d`: its id.
    pub fn container(
        &self,
        platform: &str,
        options: &[&str],
        command: &[&str],
    ) -> Result<String, String> {
        let mut args = vec!["run", "-d"];
        args.extend(Self::run_args(platform, options, command));
        let out = self.docker(&args)?;
        out.code(0)?;
        Ok(out.stdout.trim().to_owned())
    }

    /// `docker rm -f`, after which there is no such container.
    pub fn remove(&self, id: &str) -> Outcome {
        self.docker(&["rm", "-f", id])?.code(0)?;
        self.docker(&["inspect", id])?.code(1)
    }

    /// `docker inspect -f FORMAT` must say this.
    pub fn inspect(&self, id: &str, format: &str, wanted: &str) -> Outcome {
        let got = self.docker(&["inspect", "-f", format, id])?.stdout;
        if got.trim() == wanted {
            Ok(())
        } else {
            Err(format!("{format} is {:?}, not {wanted:?}", got.trim()))
        }
    }

    /// Waits until a container has written this.
    pub fn wait_for_log(&self, id: &str, text: &str) -> Outcome {
        eventually(&format!("the log says {text:?}"), || {
            Ok(self.docker(&["logs", id])?.stdout.contains(text))
        })
    }

    /// A file for a test.
    pub fn file(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.dir.join(name);
        fs::write(&path, text).map_err(|e| e.to_string())?;
        Ok(path.display().to_string())
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        format!("-- dockerd's log --\n{}", crate::diff::tail(&text, 12))
    }

    /// `docker WORDS… REST…` (`run` gets runtime and network) on a terminal of this many rows and columns.
    pub fn terminal(
        &self,
        platform: &str,
        size: (u16, u16),
        words: &[&str],
        rest: &[&str],
    ) -> Result<Terminal, String> {
        let mut command = self.command("docker");
        command.args(words);
        if words.first() == Some(&"run") {
            command.args(["--runtime", platform, "--network=none"]);
        }
        command.args(rest);
        Terminal::spawn(command, size)
    }
}
