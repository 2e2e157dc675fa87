//! The sandbox's control groups, by the cgroupfs driver: v1, v2 and hybrid (v1 controllers with an empty unified hierarchy).
//!
//! Paths are runc's: an absolute `cgroupsPath` lies under each hierarchy's root, a relative one (or none: the container's id)
//! under the cgroup of the caller. The sandbox and its gofer are in them, so a limit holds for the whole sandbox: the guest's
//! memory is the sandbox's memory.

mod limits;
pub mod stats;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags};

use crate::error;

/// The cgroups of one container: controller (v1), `name=systemd` (named), or "" (unified) to directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// As kept in `state.json`.
    pub paths: BTreeMap<String, PathBuf>,
}

/// One hierarchy as the host mounts it.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Its controllers; `[""]` for the unified one.
    controllers: Vec<String>,
    mount: PathBuf,
    /// The part of the hierarchy that is mounted there.
    root: PathBuf,
}

/// Hierarchies in /proc/self/mountinfo.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut out: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let mut left = left.split(' ');
        let (Some(root), Some(mount)) = (left.nth(3), left.next()) else {
            continue;
        };
        let mut right = right.split(' ');
        let (Some(fstype), Some(options)) = (right.next(), right.nth(1)) else {
            continue;
        };
        let controllers: Vec<String> = match fstype {
            "cgroup2" => vec![String::new()],
            "cgroup" => options
                .split(',')
                .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children" | "noprefix"))
                .map(str::to_owned)
                .collect(),
            _ => continue,
        };
        let controllers: Vec<String> = controllers
            .into_iter()
            .filter(|c| !c.starts_with("release_agent="))
            .collect();
        // A hierarchy that is mounted twice counts once.
        if !out.iter().any(|h| h.controllers == controllers) {
            out.push(Hierarchy {
                controllers,
                mount: mount.into(),
                root: root.into(),
            });
        }
    }
    out
}

/// The caller's cgroup in each hierarchy, from /proc/self/cgroup.
fn own(text: &str) -> BTreeMap<String, PathBuf> {
    let mut out = BTreeMap::new();
    for line in text.lines() {
        let mut f = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (f.next(), f.next(), f.next()) else {
            continue;
        };
        for c in controllers.split(',') {
            out.insert(c.to_owned(), PathBuf::from(path));
        }
    }
    out
}

/// `path` without `.` and `..`, as if `/` were above it: a cgroup path cannot leave its hierarchy.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for c in path.components() {
        match c {
            Component::Normal(n) => out.push(n),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Where a container's cgroups are.
fn locate(
    hierarchies: &[Hierarchy],
    own: &BTreeMap<String, PathBuf>,
    cgroups_path: Option<&Path>,
    id: &str,
) -> BTreeMap<String, PathBuf> {
    let asked = cgroups_path.filter(|p| !p.as_os_str().is_empty());
    let absolute = asked.is_some_and(Path::is_absolute);
    let inner = clean(asked.unwrap_or(Path::new(id)));
    let only_unified = hierarchies.iter().all(|h| h.controllers == [""]);
    let mut out = BTreeMap::new();
    for h in hierarchies {
        let Some(first) = h.controllers.first() else {
            continue;
        };
        let base = if absolute {
            PathBuf::new()
        } else {
            let own = own.get(first).cloned().unwrap_or_default();
            let below = own
                .strip_prefix(&h.root)
                .map(Path::to_owned)
                .unwrap_or_default();
            // On a pure v2 host the caller's own group holds processes, so it cannot have groups with controllers below it.
            if only_unified {
                clean(&below)
                    .parent()
                    .map(Path::to_owned)
                    .unwrap_or_default()
            } else {
                clean(&below)
            }
        };
        let dir = h.mount.join(base).join(&inner);
        for c in &h.controllers {
            out.insert(c.clone(), dir.clone());
        }
    }
    out
}

impl Cgroup {
    /// Makes a container's cgroups; `note` is told of them before. `lenient`: without permission (rootless) there are none, and that is fine.
    pub fn create(
        cgroups_path: Option<&Path>,
        id: &str,
        lenient: bool,
        note: impl FnOnce(&Cgroup) -> Result<()>,
    ) -> Result<Cgroup> {
        let mountinfo =
            fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let own = own(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
        let hierarchies = hierarchies(&mountinfo);
        let mut cgroup = Cgroup {
            paths: locate(&hierarchies, &own, cgroups_path, id),
        };
        note(&cgroup)?;
        let mounts: BTreeMap<&str, &Path> = hierarchies
            .iter()
            .flat_map(|h| {
                h.controllers
                    .iter()
                    .map(|c| (c.as_str(), h.mount.as_path()))
            })
            .collect();
        let only_unified = cgroup.paths.keys().all(String::is_empty);
        let mut made: Vec<PathBuf> = Vec::new();
        let mut failed = None;
        for (controller, dir) in &cgroup.paths {
            if made.contains(dir) {
                continue;
            }
            let mount = mounts
                .get(controller.as_str())
                .copied()
                .unwrap_or(Path::new("/sys/fs/cgroup"));
            if let Err(e) = make(dir, mount, controller, only_unified) {
                failed = Some((dir.clone(), e));
                break;
            }
            made.push(dir.clone());
        }
        if let Some((dir, e)) = failed {
            for dir in made.iter().rev() {
                let _ = fs::remove_dir(dir);
            }
            let permission = matches!(
                e.raw_os_error(),
                Some(libc::EACCES | libc::EPERM | libc::EROFS)
            );
            if !(lenient && permission) {
                bail!("mkdir {}: {}", dir.display(), error::os(&e));
            }
            log::debug!("no cgroup: mkdir {}: {}", dir.display(), error::os(&e));
            cgroup.paths.clear();
        }
        Ok(cgroup)
    }

    /// Whether the host has the unified hierarchy alone.
    pub fn is_v2(&self) -> bool {
        self.paths.len() == 1 && self.paths.contains_key("")
    }

    /// The directory of a controller.
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        self.paths
            .get(if self.is_v2() { "" } else { controller })
            .map(PathBuf::as_path)
    }

    /// Each directory once.
    fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> = self.paths.values().map(PathBuf::as_path).collect();
        dirs.sort_unstable();
        dirs.dedup();
        dirs
    }

    /// Sets limits.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        if self.paths.is_empty() {
            limits::none(resources)
        } else if self.is_v2() {
            limits::v2(self, resources)
        } else {
            limits::v1(self, resources)
        }
    }

    /// Puts a process (all its threads) into every one of them.
    pub fn join(&self, pid: i32) -> Result<()> {
        for dir in self.dirs() {
            write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Removes the groups, waiting for what was killed to be gone.
    pub fn delete(&self) -> Result<()> {
        let deadline = Instant::now() + EMPTY_WITHIN;
        // A group is emptied a moment after its last process was reaped. The unified hierarchy tells of it, and the same processes
        // are in all of them; v1 alone tells nobody.
        if let Some(dir) = self.paths.get("") {
            wait_empty(dir, deadline);
        }
        for dir in self.dirs().into_iter().rev() {
            let mut nap = Duration::from_micros(500);
            loop {
                match remove(dir) {
                    Ok(()) => break,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                    Err(e)
                        if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
                    {
                        std::thread::sleep(nap);
                        nap = (nap * 2).min(Duration::from_millis(50));
                    }
                    Err(e) => bail!("rmdir {}: {}", dir.display(), error::os(&e)),
                }
            }
        }
        Ok(())
    }
}

/// How long killed processes may take to leave their groups. A loaded host takes seconds.
const EMPTY_WITHIN: Duration = Duration::from_secs(30);

/// Waits until `populated` of a v2 group is 0, or for as long as is allowed: what is wrong then shows when the group is removed.
fn wait_empty(dir: &Path, deadline: Instant) {
    let Ok(file) = fs::File::open(dir.join("cgroup.events")) else {
        return;
    };
    let mut text = [0; 256];
    // Each read arms the next notification.
    while let Ok(n) = rustix::io::pread(&file, &mut text, 0) {
        let now = String::from_utf8_lossy(text.get(..n).unwrap_or_default());
        if !now.lines().any(|l| l == "populated 1") {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = rustix::event::Timespec::try_from(left) else {
            return;
        };
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// rmdir, with the groups below (which a delegated manager may have made).
fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            for entry in fs::read_dir(dir)?
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            {
                remove(&entry.path())?;
            }
            fs::remove_dir(dir)
        }
        r => r,
    }
}

/// Makes a group and what it needs above it.
fn make(dir: &Path, mount: &Path, controller: &str, only_unified: bool) -> io::Result<()> {
    let Ok(below) = dir.strip_prefix(mount) else {
        return fs::create_dir_all(dir);
    };
    let mut at = mount.to_owned();
    for part in below.components() {
        if only_unified {
            enable_controllers(&at);
        }
        at.push(part);
        match fs::create_dir(&at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
        if controller == "cpuset" {
            inherit_cpuset(&at)?;
        }
    }
    Ok(())
}

/// A v1 cpuset starts empty, and an empty one takes no process.
fn inherit_cpuset(dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = dir.join(file);
        if fs::read_to_string(&path)?.trim().is_empty()
            && let Some(parent) = dir.parent()
        {
            fs::write(&path, fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Lets groups below a v2 group have its controllers. Those that cannot be enabled show when a limit is written.
fn enable_controllers(dir: &Path) {
    let Ok(have) = fs::read_to_string(dir.join("cgroup.controllers")) else {
        return;
    };
    let on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    for c in have
        .split_whitespace()
        .filter(|c| !on.split_whitespace().any(|o| o == *c))
    {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{c}"));
    }
}

/// Writes a control file; the error names it.
fn write(path: &Path, value: &str) -> Result<()> {
    match fs::write(path, value) {
        Ok(()) => Ok(()),
        Err(e) => bail!(
            "failed to write \"{value}\": write {}: {}",
            path.display(),
            error::os(&e)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 30 0:28 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory
";

    #[test]
    fn hybrid_paths() {
        let h = hierarchies(HYBRID);
        assert_eq!(
            h.iter()
                .map(|h| h.controllers.join("+"))
                .collect::<Vec<_>>(),
            ["cpu+cpuacct", "memory", "name=systemd", ""]
        );
        let own = own("4:memory:/a/b\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/\n");
        let at = |path: Option<&str>, c: &str| {
            locate(&h, &own, path.map(Path::new), "x")
                .remove(c)
                .unwrap()
        };
        assert_eq!(at(None, "memory"), Path::new("/sys/fs/cgroup/memory/a/b/x"));
        assert_eq!(
            at(Some("/p/q"), "memory"),
            Path::new("/sys/fs/cgroup/memory/p/q")
        );
        assert_eq!(
            at(Some("/p/q"), "cpuacct"),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/p/q")
        );
        assert_eq!(
            at(Some("../../../x"), "memory"),
            Path::new("/sys/fs/cgroup/memory/a/b/x")
        );
        assert_eq!(at(Some("/p"), ""), Path::new("/sys/fs/cgroup/unified/p"));
    }

    #[test]
    fn v2_paths() {
        let h = hierarchies("30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        let own = own("0::/user.slice/session.scope\n");
        let c = Cgroup {
            paths: locate(&h, &own, None, "x"),
        };
        assert!(c.is_v2());
        assert_eq!(
            c.dir("memory").unwrap(),
            Path::new("/sys/fs/cgroup/user.slice/x")
        );
    }
}
