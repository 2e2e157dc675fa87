//! A container that goes on while a test looks at it, and the commands that act on it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bundle::Spec;
use crate::process::{End, Output, run};
use crate::rootfs::Rootfs;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bundle with a state directory of its own, and the runtime's commands on it.
pub struct Live {
    root: Rootfs,
    binary: PathBuf,
    platform: String,
    /// `run`, in the foreground of nobody.
    child: Option<Child>,
}

impl Live {
    /// A bundle for `spec`; nothing runs yet.
    pub fn new(platform: &str, spec: &Spec) -> Result<Self> {
        let root = Rootfs::new(&spec.layers)?;
        spec.write(root.dir())?;
        let binary = crate::env::binary().map_err(anyhow::Error::msg)?;
        Ok(Self {
            root,
            binary,
            platform: platform.to_owned(),
            child: None,
        })
    }

    /// The root filesystem, the bundle around it, the id.
    pub fn root(&self) -> &Rootfs {
        &self.root
    }

    /// What was logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.dir().join("log")).unwrap_or_default()
    }

    /// Changes the bundle's config.json.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let file = self.root.dir().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
        change(&mut config);
        Ok(fs::write(file, serde_json::to_vec(&config)?)?)
    }

    /// The runtime with the options that every command gets.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--root")
            .arg(self.root.dir().join("state"))
            .arg("--log")
            .arg(self.root.dir().join("log"))
            .arg(format!("--platform={}", self.platform))
            .args(crate::env::arguments());
        command
    }

    /// Runs a command of the runtime to its end.
    pub fn runtime(&self, args: &[&str]) -> Result<Output> {
        Ok(run(self.command().args(args), b"", PATIENCE)?)
    }

    /// `COMMAND ID ARGS…`, which must exit with this status.
    pub fn must(&self, status: i32, command: &[&str], args: &[&str]) -> Result<Output> {
        let id = self.root.id();
        let words: Vec<&str> = [command, &[id.as_str()], args].concat();
        let out = self.runtime(&words)?;
        if out.end != End::Code(status) {
            bail!(
                "{}: {:?}, not {status}\n{}\n{}\n{}",
                words.join(" "),
                out.end,
                out.text(),
                out.errors(),
                self.log()
            );
        }
        Ok(out)
    }

    /// Starts `run` (with `options`), whose stdio are pipes and files in the bundle; returns when the container runs.
    pub fn start(&mut self, options: &[&str]) -> Result<()> {
        let dir = self.root.dir();
        let child = self
            .command()
            .args(options)
            .arg("run")
            .arg("--bundle")
            .arg(dir)
            .arg(self.root.id())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(dir.join("stdout"))?)
            .stderr(fs::File::create(dir.join("stderr"))?)
            .spawn()?;
        self.child = Some(child);
        self.eventually("the container runs", |live| {
            Ok(live.state().is_ok_and(|s| s["status"] == "running"))
        })
    }

    /// Its state, as `state` tells it.
    pub fn state(&self) -> Result<Value> {
        let out = self.runtime(&["state", &self.root.id()])?;
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    /// A process of its state file: `sandbox` or `gofer`.
    pub fn pid(&self, which: &str) -> Result<i32> {
        let file = self
            .root
            .dir()
            .join("state")
            .join(self.root.id())
            .join("state.json");
        let state: Value = serde_json::from_slice(&fs::read(&file).context("state.json")?)?;
        let pid = state[which]["pid"].as_i64().context("a pid")?;
        Ok(i32::try_from(pid)?)
    }

    /// The pid of the `run` that [`Live::start`] started.
    pub fn runner(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Types to the container's standard input.
    pub fn input(&mut self, text: &str) -> Result<()> {
        let pipe = self.child.as_mut().and_then(|c| c.stdin.as_mut());
        Ok(pipe.context("it runs")?.write_all(text.as_bytes())?)
    }

    /// What the container has written so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.root.dir().join("stdout")).unwrap_or_default()
    }

    /// The same for its standard error (and what `run` said).
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.root.dir().join("stderr")).unwrap_or_default()
    }

    /// Waits until something holds.
    pub fn eventually(&self, what: &str, holds: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE * crate::env::time_scale();
        while Instant::now() < end {
            if holds(self)? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("never: {what}\n{}\n{}", self.stderr(), self.log())
    }

    /// The end of the `run` that was started.
    pub fn end(&mut self) -> Result<End> {
        use std::os::unix::process::ExitStatusExt;
        let mut child = self.child.take().context("it was started")?;
        drop(child.stdin.take());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = child.try_wait()? {
                return Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => End::Code(code),
                    (None, signal) => End::Signal(signal.unwrap_or(0)),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        bail!("run does not end\n{}\n{}", self.stderr(), self.log())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.runtime(&["delete", "--force", &self.root.id()]);
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a process is there and no zombie.
pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|s| s.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The children of a process, from all its threads.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|t| fs::read_to_string(t.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|p| p.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
