//! The text of mounts: `/proc/PID/mounts`, `mountinfo`, `mountstats` (`proc_pid_mountinfo(5)`; `fs/proc_namespace.c`).

use super::mount::{Mount, MountFlags};
use super::namespace::MountInfo;

/// Writes `text` with space, tab, newline, backslash and `#` as octal escapes.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                out.extend_from_slice(format!("\\{byte:03o}").as_bytes())
            }
            _ => out.push(*byte),
        }
    }
}

/// `rw` or `ro`, then the mount's own flags, as Linux orders them.
fn mount_options(mount: &Mount, readonly: bool) -> String {
    let flags = mount.flags();
    let mut text = String::from(if readonly { "ro" } else { "rw" });
    let relatime = !flags.intersects(MountFlags::NOATIME | MountFlags::STRICTATIME);
    for (shown, name) in [
        (flags.contains(MountFlags::NOSUID), ",nosuid"),
        (flags.contains(MountFlags::NODEV), ",nodev"),
        (flags.contains(MountFlags::NOEXEC), ",noexec"),
        (flags.contains(MountFlags::NOATIME), ",noatime"),
        (flags.contains(MountFlags::NODIRATIME), ",nodiratime"),
        (relatime, ",relatime"),
        (flags.contains(MountFlags::NOSYMFOLLOW), ",nosymfollow"),
    ] {
        if shown {
            text += name;
        }
    }
    text
}

impl MountInfo {
    /// The line of `/proc/PID/mounts`.
    pub fn mounts_line(&self) -> Vec<u8> {
        let fs = self.mount.fs();
        let mut out = Vec::new();
        escape(&mut out, self.mount.source());
        out.push(b' ');
        escape(&mut out, &self.mountpoint);
        let options = mount_options(&self.mount, self.mount.want_write().is_err());
        out.extend_from_slice(format!(" {} {options}{} 0 0\n", fs.name(), fs.options()).as_bytes());
        out
    }

    /// The line of `/proc/PID/mountinfo`.
    pub fn mountinfo_line(&self) -> Vec<u8> {
        let (mount, fs) = (&self.mount, self.mount.fs());
        let (major, minor) = (abi::stat::major(fs.dev()), abi::stat::minor(fs.dev()));
        let mut out = format!("{} {} {major}:{minor} ", mount.id(), self.parent_id).into_bytes();
        escape(&mut out, &self.root);
        out.push(b' ');
        escape(&mut out, &self.mountpoint);
        let options = mount_options(mount, mount.flags().contains(MountFlags::RDONLY));
        out.extend_from_slice(format!(" {options}").as_bytes());
        let propagation = mount.propagation();
        if let Some(group) = propagation.shared {
            out.extend_from_slice(format!(" shared:{group}").as_bytes());
        }
        if let Some(group) = propagation.master {
            out.extend_from_slice(format!(" master:{group}").as_bytes());
        }
        if propagation.unbindable {
            out.extend_from_slice(b" unbindable");
        }
        out.extend_from_slice(format!(" - {} ", fs.name()).as_bytes());
        escape(&mut out, mount.source());
        let state = if mount.superblock().readonly() {
            "ro"
        } else {
            "rw"
        };
        out.extend_from_slice(format!(" {state}{}\n", fs.options()).as_bytes());
        out
    }

    /// The line of `/proc/PID/mountstats`.
    pub fn mountstats_line(&self) -> Vec<u8> {
        let mut out = b"device ".to_vec();
        escape(&mut out, self.mount.source());
        out.extend_from_slice(b" mounted on ");
        escape(&mut out, &self.mountpoint);
        out.extend_from_slice(format!(" with fstype {}\n", self.mount.fs().name()).as_bytes());
        out
    }
}
