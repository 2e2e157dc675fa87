//! What is kept of a container between commands: one directory under `--root`, holding `state.json`, `lock` and `control.sock`.
//!
//! `state.json` is replaced, never rewritten, so a reader sees one version of it; commands that change a container hold the lock.
//! Whether the container still runs is not stored: it is asked of the host, by pid and start time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A container's life, OCI's words and runc's `paused`.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made: only hooks see it.
    Creating,
    /// The sandbox is ready, the user's program has not started.
    Created,
    /// It has.
    Running,
    /// All guest processes are stopped by `pause`.
    Paused,
    /// The sandbox is gone.
    Stopped,
}

impl Status {
    /// The word that `state` and `list` print.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A host process, safe against reuse of its number.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot: field 22 of /proc/PID/stat.
    pub start: u64,
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Process> {
        Some(Process {
            pid,
            start: stat(pid)?.1,
        })
    }

    /// The pids, here, of processes that its own pid namespace calls `inside`. Ascending.
    pub fn outside(self, inside: &[i32]) -> Vec<i32> {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(self.pid);
        let mut found: Vec<i32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| own.is_some() && namespace(*pid) == own)
            .filter(|pid| innermost(*pid).is_some_and(|n| inside.contains(&n)))
            .collect();
        found.sort_unstable();
        found
    }

    /// Whether it is still there and not a zombie.
    pub fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start)| start == self.start && state != b'Z' && state != b'X')
    }
}

/// The last number of a process: that of its own pid namespace.
fn innermost(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// State letter and start time of a process.
fn stat(pid: i32) -> Option<(u8, u64)> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // comm may hold anything, spaces and parentheses included: fields begin after the last ')'.
    let close = text.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// `state.json`.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct State {
    /// The bundle's `ociVersion`.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Its bundle, absolute.
    pub bundle: PathBuf,
    /// Its root filesystem, absolute.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The last status a command saw to; [`State::status`] has the truth.
    pub last: Status,
    /// `pause` holds.
    #[serde(default)]
    pub paused: bool,
    /// The sandbox.
    pub sandbox: Option<Process>,
    /// The gofer.
    pub gofer: Option<Process>,
    /// Directory of each cgroup controller, as runc's `cgroup_paths`: "" is the unified hierarchy.
    #[serde(default)]
    pub cgroups: BTreeMap<String, PathBuf>,
    /// From the bundle.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Hooks that run after `create`: poststart, poststop (and startContainer, in the sandbox).
    #[serde(default)]
    pub hooks: Option<oci_spec::runtime::Hooks>,
    /// The user's process: what `exec` takes its environment, user and capabilities from.
    #[serde(default)]
    pub process: Option<oci_spec::runtime::Process>,
    /// What the guest runs on.
    #[serde(default)]
    pub platform: String,
}

impl State {
    /// What the container is now.
    pub fn status(&self) -> Status {
        match (self.last, self.sandbox) {
            (Status::Stopped, _) => Status::Stopped,
            (_, Some(p)) if self.paused && p.is_alive() => Status::Paused,
            (last, Some(p)) if p.is_alive() => last,
            (Status::Creating, None) => Status::Creating,
            _ => Status::Stopped,
        }
    }

    /// The pid to show: 0 once it is stopped.
    pub fn pid(&self, status: Status) -> i32 {
        if status == Status::Stopped {
            0
        } else {
            self.sandbox.map_or(0, |p| p.pid)
        }
    }

    /// What hooks read: OCI's fields alone.
    pub fn hook(&self, status: Status) -> serde_json::Value {
        let mut v = serde_json::json!({
            "ociVersion": self.oci_version, "id": self.id, "status": status.as_str(), "bundle": self.bundle,
        });
        let pid = self.pid(status);
        if pid != 0 {
            v["pid"] = pid.into();
        }
        if !self.annotations.is_empty() {
            v["annotations"] = serde_json::json!(self.annotations);
        }
        v
    }

    /// What `state` prints.
    pub fn oci(&self, status: Status) -> OciState<'_> {
        OciState {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: self.pid(status),
            status: status.as_str(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner: "",
        }
    }
}

/// `state`'s output. As runc, it adds `rootfs`, `created` and `owner` to OCI's fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct OciState<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub pid: i32,
    pub status: &'static str,
    pub bundle: &'a Path,
    pub rootfs: &'a Path,
    pub created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    pub owner: &'a str,
}

/// The directory that holds containers: `--root`.
pub struct Root(pub PathBuf);

impl Root {
    /// `--root`, or $XDG_RUNTIME_DIR for users, or /run.
    pub fn new(given: Option<&Path>) -> Root {
        let dir = match given {
            Some(p) => std::path::absolute(p).unwrap_or_else(|_| p.to_owned()),
            None => match std::env::var_os("XDG_RUNTIME_DIR") {
                Some(d) if !rustix::process::geteuid().is_root() => Path::new(&d).join("runsc-rs"),
                _ => PathBuf::from("/run/runsc-rs"),
            },
        };
        Root(dir)
    }

    /// Takes `id` for a new container.
    pub fn create(&self, id: &str) -> Result<Dir> {
        check_id(id)?;
        let builder = |p: &Path, mode| fs::DirBuilder::new().recursive(true).mode(mode).create(p);
        builder(&self.0, 0o700).with_context(|| format!("mkdir {}", self.0.display()))?;
        let path = self.0.join(id);
        match fs::DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists.into()),
            Err(e) => return Err(e).with_context(|| format!("mkdir {}", path.display())),
        }
        let dir = Dir::open(path.clone());
        if dir.is_err() {
            // Nobody has seen it; this takes no descriptor, should they be what is missing.
            let _ = fs::remove_dir(&path);
        }
        dir
    }

    /// The directory of an existing container, locked.
    pub fn open(&self, id: &str) -> Result<Dir> {
        check_id(id)?;
        let path = self.0.join(id);
        if !path.is_dir() {
            return Err(Error::NotFound.into());
        }
        Dir::open(path)
    }

    /// State of an existing container, without its lock.
    pub fn load(&self, id: &str) -> Result<State> {
        check_id(id)?;
        load(&self.0.join(id))
    }

    /// Every container, by id.
    pub fn list(&self) -> Result<Vec<State>> {
        let mut out = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(e) => e,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(out),
            Err(e) => return Err(e).with_context(|| format!("read {}", self.0.display())),
        };
        for entry in entries {
            let entry = entry?;
            match load(&entry.path()) {
                Ok(s) => out.push(s),
                // Being made or being deleted.
                Err(e) if e.downcast_ref::<Error>().is_some() => {}
                Err(e) => log::error!(
                    "load container {}: {e:#}",
                    entry.file_name().to_string_lossy()
                ),
            }
        }
        out.sort_by(|a: &State, b| a.id.cmp(&b.id));
        Ok(out)
    }
}

fn load(dir: &Path) -> Result<State> {
    let path = dir.join("state.json");
    let text = match fs::read(&path) {
        Ok(t) => t,
        Err(e)
            if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::NotADirectory =>
        {
            return Err(Error::NotFound.into());
        }
        Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
    };
    serde_json::from_slice(&text)
        .with_context(|| format!("{}: not a state of this runtime", path.display()))
}

/// One container's directory, locked until dropped.
pub struct Dir {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Dir {
    fn open(path: PathBuf) -> Result<Dir> {
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"));
        let lock: OwnedFd = match lock {
            Ok(f) => f.into(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NotFound.into()),
            Err(e) => {
                return Err(e).with_context(|| format!("open {}", path.join("lock").display()));
            }
        };
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).context("flock")?;
        // Its holder may have deleted the container while we waited.
        if !path.join("lock").exists() {
            return Err(Error::NotFound.into());
        }
        Ok(Dir { path, _lock: lock })
    }

    /// Reads the state.
    pub fn load(&self) -> Result<State> {
        load(&self.path)
    }

    /// Replaces the state.
    pub fn save(&self, state: &State) -> Result<()> {
        let tmp = self.path.join(".state.json");
        let text = serde_json::to_vec(state)?;
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&tmp)?;
        io::Write::write_all(&mut file, &text)
            .with_context(|| format!("write {}", tmp.display()))?;
        fs::rename(&tmp, self.path.join("state.json")).context("rename state.json")
    }

    /// Writes down which cgroups are about to be made, long before there is a state to save.
    pub fn note_cgroups(&self, paths: &BTreeMap<String, PathBuf>) -> Result<()> {
        let file = self.path.join("cgroups");
        fs::write(&file, serde_json::to_vec(paths)?)
            .with_context(|| format!("write {}", file.display()))
    }

    /// What was written down.
    pub fn noted_cgroups(&self) -> BTreeMap<String, PathBuf> {
        let text = fs::read(self.path.join("cgroups")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Deletes the directory: the id is free again.
    pub fn remove(self) -> Result<()> {
        // By name first: when descriptors are what is missing, the directory cannot be read.
        for name in [
            "state.json",
            ".state.json",
            "control.sock",
            "exit",
            "cgroups",
            "lock",
        ] {
            let _ = fs::remove_file(self.path.join(name));
        }
        if fs::remove_dir(&self.path).is_ok() {
            return Ok(());
        }
        match fs::remove_dir_all(&self.path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).with_context(|| format!("remove {}", self.path.display())),
        }
    }
}

/// runc's rule: letters, digits, `_ + - .`, not `.` or `..`.
pub fn check_id(id: &str) -> Result<(), Error> {
    if id.is_empty() {
        return Err(Error::EmptyId);
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    // 255 is NAME_MAX of the directory it becomes.
    if id == "." || id == ".." || id.len() > 255 || !id.chars().all(good) {
        return Err(Error::InvalidId);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> Root {
        let dir =
            std::env::temp_dir().join(format!("runsc-rs-state-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Root(dir)
    }

    fn state(id: &str) -> State {
        State {
            oci_version: "1.2.0".into(),
            id: id.into(),
            bundle: "/b".into(),
            rootfs: "/b/rootfs".into(),
            created: "2026-11-21T03:34:17Z".into(),
            last: Status::Created,
            paused: false,
            sandbox: Process::of(std::process::id() as i32),
            gofer: None,
            cgroups: BTreeMap::new(),
            annotations: BTreeMap::new(),
            hooks: None,
            process: None,
            platform: "ptrace".into(),
        }
    }

    #[test]
    fn ids() {
        for good in ["a", "A-b_c.d+1", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "é", "a\n"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn life_of_a_directory() {
        let root = root("life");
        assert!(root.list().unwrap().is_empty());
        let dir = root.create("x").unwrap();
        assert_eq!(
            root.create("x").err().unwrap().to_string(),
            "container with given ID already exists"
        );
        // Not yet saved: it does not show.
        assert!(root.list().unwrap().is_empty());
        dir.save(&state("x")).unwrap();
        assert_eq!(root.list().unwrap().len(), 1);
        let s = root.load("x").unwrap();
        assert_eq!(s.status(), Status::Created);
        let dead = State {
            sandbox: s.sandbox.map(|p| Process {
                start: p.start + 1,
                ..p
            }),
            ..s
        };
        assert_eq!(dead.status(), Status::Stopped);
        assert_eq!(dead.pid(Status::Stopped), 0);
        dir.remove().unwrap();
        assert_eq!(
            root.load("x").err().unwrap().to_string(),
            "container does not exist"
        );
        assert_eq!(
            root.open("x").err().unwrap().to_string(),
            "container does not exist"
        );
        fs::remove_dir_all(&root.0).unwrap();
    }
}
