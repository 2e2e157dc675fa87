//! A containerd of our own (Debian's), with a copy of the shim for each platform, and a tiny image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;

use crate::engine::{Outcome, PATIENCE, Ran, Service, eventually, ran, text, write_runtime};
use crate::process::{End, run};
use crate::terminal::Terminal;

/// The image's name.
pub const IMAGE: &str = "docker.io/library/tiny:latest";
/// The shim's program.
pub const SHIM: &str = "containerd-shim-runsc-rs-v1";

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
static SERVICE: Service = Service::new("containerd");

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
        for platform in crate::env::platforms() {
            let place = dir.join(&platform);
            fs::create_dir_all(&place).map_err(text)?;
            fs::copy(shim()?, place.join(SHIM)).map_err(text)?;
            write_runtime(&place.join("runsc-rs"), &platform)?;
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
        SERVICE.end(None, Signal::KILL);
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
        SERVICE.start(command)?;
        eventually("containerd answers", || {
            Ok(self.ctr(&["version"])?.code == Some(0))
        })
        .map_err(|e| format!("{e}\n{}", self.log_tail()))
    }

    /// Removes what tests left behind, ends the daemon, and removes what was its own.
    pub fn stop() {
        let Some(Ok(daemon)) = DAEMON.get() else {
            return SERVICE.end(None, Signal::TERM);
        };
        if let Ok(left) = daemon.ctr(&["task", "ls", "-q"]) {
            for id in left.stdout.split_whitespace() {
                let _ = daemon.ctr(&["task", "delete", "--force", id]);
            }
        }
        SERVICE.end(None, Signal::TERM);
        if !crate::env::keep() {
            let _ = fs::remove_dir_all(&daemon.dir);
        }
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
        ran(&mut self.command(args), input)
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
