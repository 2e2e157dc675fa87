//! What to run, and the OCI bundle that says so.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

/// One command in one container.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// Host directories to see inside: `(host path, guest path, read-only)`.
    pub binds: Vec<(PathBuf, String, bool)>,
    /// What the command reads from its standard input.
    pub input: Vec<u8>,
    /// Uid and gid.
    pub user: (u32, u32),
    /// Directories laid over the shared root filesystem, topmost first.
    pub layers: Vec<PathBuf>,
    /// What the runtime is told before its command.
    pub options: Vec<String>,
}

impl Spec {
    /// A command, as root, in `/`.
    pub fn new<S: AsRef<str>>(args: &[S]) -> Self {
        Self {
            args: args.iter().map(|a| a.as_ref().to_string()).collect(),
            env: vec![
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
                "HOME=/root".into(),
                "LC_ALL=C.UTF-8".into(),
                "TERM=xterm".into(),
            ],
            cwd: "/".into(),
            binds: Vec::new(),
            input: Vec::new(),
            user: (0, 0),
            layers: Vec::new(),
            options: Vec::new(),
        }
    }

    /// The `config.json` of this command.
    pub fn config(&self) -> Value {
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                   "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
            json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                   "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                   "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]}),
            json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                   "options": ["nosuid", "noexec", "nodev", "ro"]}),
            json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}),
        ];
        for (host, guest, read_only) in &self.binds {
            mounts.push(json!({"destination": guest, "type": "bind", "source": host,
                               "options": ["rbind", if *read_only { "ro" } else { "rw" }]}));
        }
        let (uid, gid) = self.user;
        let caps = if uid == 0 {
            own_capabilities()
        } else {
            Vec::new()
        };
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": {"uid": uid, "gid": gid},
                "args": self.args,
                "env": self.env,
                "cwd": self.cwd,
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps, "inheritable": []},
                "noNewPrivileges": false
            },
            "root": {"path": "rootfs", "readonly": false},
            "hostname": "guest",
            "mounts": mounts,
            "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                                     {"type": "network"}]}
        })
    }

    /// Writes the bundle's `config.json` into `dir`, beside its `rootfs`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::write(
            dir.join("config.json"),
            serde_json::to_vec_pretty(&self.config())?,
        )?;
        Ok(())
    }
}

/// The capabilities that this process may have: what root has in the chroot that we compare with.
fn own_capabilities() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:"))
        .map_or(u64::MAX, |hex| {
            u64::from_str_radix(hex.trim(), 16).unwrap_or(u64::MAX)
        });
    abi::cap::NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bounding >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect()
}
