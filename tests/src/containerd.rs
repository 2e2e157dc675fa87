//! A containerd of our own (Debian's), with a copy of the shim for each platform, and a tiny image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::docker::{Outcome, Ran};
use crate::process::{End, run};
use crate::terminal::Terminal;

/// The image's name.
pub const IMAGE: &str = "docker.io/library/tiny:latest";
/// The shim's program.
pub const SHIM: &str = "containerd-shim-runsc-rs-v1";
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no containerd to test with, if so.
pub fn missing() -> Option<String> {
    if !["/usr/bin/containerd", "/usr/bin/ctr"]
        .iter()
        .all(|p| Path::new(p).exists())
    {
        return Some("no containerd on this machine (Debian: apt-get install containerd)".into());
    }
    match shim() {
        Ok(path) if path.exists() => None,
        Ok(path) => Some(format!("no shim at {} (make fast)", path.display())),
        Err(e) => Some(e),
    }
}

fn shim() -> Result<PathBuf, String> {
    Ok(crate::env::binary()?.with_file_name(SHIM))
}

/// The daemon.
pub struct Containerd {
    dir: PathBuf,
}

static DAEMON: OnceLock<Result<Containerd, String>> = OnceLock::new();
static CHILD: Mutex<Option<Child>> = Mutex::new(None);

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl Containerd {
    /// The daemon, started when the first test asks for it.
    pub fn get() -> Result<&'static Containerd, String> {
        DAEMON
            .get_or_init(Self::start)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn start() -> Result<Containerd, String> {
        let dir = crate::env::scratch().join(format!("containerd-{}", crate::env::unique()));
        fs::create_dir_all(&dir).map_err(text)?;
        // Shims have their sockets and containers there, whatever containerd's configuration says. In this mount namespace it is ours.
        fs::create_dir_all("/run/containerd").map_err(text)?;
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", "/run/containerd", "tmpfs", flags, None).map_err(text)?;
        let binary = crate::env::binary()?;
        for platform in crate::env::platforms() {
            let place = dir.join(&platform);
            fs::create_dir_all(&place).map_err(text)?;
            fs::copy(shim()?, place.join(SHIM)).map_err(text)?;
            let script = format!(
                "#!/bin/sh\nexec {} --platform={platform} \"$@\"\n",
                binary.display()
            );
            fs::write(place.join("runsc-rs"), script).map_err(text)?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(place.join("runsc-rs"), mode).map_err(text)?;
        }
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("sock")
        );
        fs::write(dir.join("config.toml"), config).map_err(text)?;
        let daemon = Containerd { dir };
        daemon.launch()?;
        daemon.make_image()?;
        Ok(daemon)
    }

    /// Kills the daemon and starts it once more.
    pub fn again(&self) -> Outcome {
        Self::end_child(Signal::KILL);
        self.launch()
    }

    fn launch(&self) -> Outcome {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .map_err(text)?;
        // Shims are found by PATH: the first platform's.
        let first = crate::env::platforms().first().cloned().unwrap_or_default();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.dir.join(first).display());
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "containerd", "--config"])
            .arg(self.dir.join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(text)?)
            .stdout(log);
        // A parent-death signal follows the thread that started the child: one that lives as long as the process.
        let (send, receive) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let _ = send.send(command.spawn());
            loop {
                thread::park();
            }
        });
        let child = receive.recv().map_err(text)?.map_err(text)?;
        *CHILD.lock().map_err(text)? = Some(child);
        self.eventually("containerd answers", || {
            Ok(self.ctr(&["version"])?.code == Some(0))
        })
    }

    /// Removes what tests left behind, ends the daemon, and removes what was its own.
    pub fn stop() {
        let Some(Ok(daemon)) = DAEMON.get() else {
            return Self::end_child(Signal::TERM);
        };
        if let Ok(left) = daemon.ctr(&["task", "ls", "-q"]) {
            for id in left.stdout.split_whitespace() {
                let _ = daemon.ctr(&["task", "delete", "--force", id]);
            }
        }
        Self::end_child(Signal::TERM);
        if !crate::env::keep() {
            let _ = fs::remove_dir_all(&daemon.dir);
        }
    }

    fn end_child(signal: Signal) {
        let Ok(Some(mut child)) = CHILD.lock().map(|mut c| c.take()) else {
            return;
        };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("containerd does not end: killed");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// busybox, as `docker save` would write it.
    fn make_image(&self) -> Outcome {
        let script = format!(
            r#"set -e
            mkdir -p image/bin image/tmp image/etc image/proc image/dev image/sys image/run archive
            cp {busybox} image/bin/busybox
            for a in sh cat echo sleep stty ps true ls kill; do ln -s busybox image/bin/$a; done
            echo root:x:0:0::/:/bin/sh > image/etc/passwd
            tar -C image -cf archive/layer.tar .
            sum=$(sha256sum archive/layer.tar | cut -d' ' -f1)
            echo '{{"architecture":"amd64","os":"linux","config":{{"Env":["PATH=/bin"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:'$sum'"]}}}}' > archive/config.json
            echo '[{{"Config":"config.json","RepoTags":["tiny:latest"],"Layers":["layer.tar"]}}]' > archive/manifest.json
            tar -C archive -cf image.tar manifest.json config.json layer.tar"#,
            busybox = crate::env::rootfs().join("bin/busybox").display()
        );
        let mut sh = Command::new("sh");
        sh.args(["-c", &script]).current_dir(&self.dir);
        let out = run(&mut sh, b"", PATIENCE).map_err(text)?;
        if out.end != End::Code(0) {
            return Err(format!("image: {}", out.errors()));
        }
        let tar = self.dir.join("image.tar").display().to_string();
        self.ctr(&["image", "import", &tar])?.code(0)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .args(["--connect-timeout", "2s", "--address"])
            .arg(self.dir.join("sock"))
            .args(args);
        command
    }

    /// `ctr ARGS`
    pub fn ctr(&self, args: &[&str]) -> Result<Ran, String> {
        self.ctr_with_input(args, b"")
    }

    /// The same with something to read.
    pub fn ctr_with_input(&self, args: &[&str], input: &[u8]) -> Result<Ran, String> {
        let out = run(&mut self.command(args), input, PATIENCE).map_err(text)?;
        Ok(Ran {
            code: match out.end {
                End::Code(c) => Some(c),
                End::Signal(_) => None,
                End::TimedOut => {
                    return Err(format!(
                        "ctr {} hangs\n{}{}",
                        args.join(" "),
                        out.text(),
                        out.errors()
                    ));
                }
            },
            stdout: out.text(),
            stderr: out.errors(),
            took: out.took,
        })
    }

    /// What a platform's runtime is called: by its name where PATH leads to it, else by where its shim is.
    pub fn runtime(&self, platform: &str) -> String {
        if crate::env::platforms()
            .first()
            .is_some_and(|p| p == platform)
        {
            return "io.containerd.runsc-rs.v1".into();
        }
        self.dir.join(platform).join(SHIM).display().to_string()
    }

    /// `ctr run --runtime … OPTIONS… IMAGE ID COMMAND…`
    pub fn run(
        &self,
        platform: &str,
        options: &[&str],
        id: &str,
        command: &[&str],
    ) -> Result<Ran, String> {
        self.ctr(&self.words(platform, options, id, command).each_ref_str())
    }

    /// The words of [`Containerd::run`].
    pub fn words(&self, platform: &str, options: &[&str], id: &str, command: &[&str]) -> Words {
        let runtime = self.runtime(platform);
        let mut words = vec!["run".to_owned(), "--runtime".into(), runtime];
        words.extend(options.iter().map(|s| s.to_string()));
        words.extend([IMAGE.to_owned(), id.to_owned()]);
        words.extend(command.iter().map(|s| s.to_string()));
        Words(words)
    }

    /// `ctr WORDS…` on a terminal of this many rows and columns.
    pub fn terminal(&self, size: (u16, u16), words: &Words) -> Result<Terminal, String> {
        Terminal::spawn(self.command(&words.each_ref_str()), size)
    }

    /// Waits until something holds.
    pub fn eventually(&self, what: &str, holds: impl Fn() -> Result<bool, String>) -> Outcome {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if holds()? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(30));
        }
        Err(format!("never: {what}\n{}", self.log_tail()))
    }

    /// The last lines of the daemon's log, where shims write too.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        format!("-- containerd's log --\n{}", crate::diff::tail(&text, 12))
    }
}

/// Words of a command line.
pub struct Words(Vec<String>);

impl Words {
    /// As commands take them.
    pub fn each_ref_str(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}
