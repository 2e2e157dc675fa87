//! The oracle: the same command in a chroot of the same tree, on the host's own kernel.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bundle::Spec;
use crate::process::{Output, run};
use crate::rootfs::Rootfs;

/// What runc would set up around the command, in new namespaces; `$0` is the root, the rest what follows `chroot ROOT`.
const SET_UP: &str = r#"
set -e
root=$0
mount -t proc proc "$root/proc"
mount -t tmpfs -o nosuid,strictatime,mode=755,size=65536k tmpfs "$root/dev"
for d in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- $d "$@"
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
    shift 3
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o nosuid,noexec,nodev,mode=1777,size=65536k shm "$root/dev/shm"
mount -t sysfs -o nosuid,noexec,nodev,ro sysfs "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
while [ "$1" = --bind ]; do
    mkdir -p "$root$3"
    mount --rbind "$2" "$root$3"
    [ "$4" = rw ] || mount -o remount,bind,ro "$root$3"
    shift 4
done
ip link set lo up
hostname guest
exec setsid "$@"
"#;

/// Runs `spec` on a fresh root on the host.
pub fn chroot(spec: &Spec, limit: Duration) -> Result<Output> {
    let root = Rootfs::new(&spec.layers)?;
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--net",
            "--fork",
            "--kill-child=KILL",
            "--propagation",
            "private",
        ])
        .args(["/bin/sh", "-c", SET_UP])
        .arg(root.path());
    for (host, guest, read_only) in &spec.binds {
        command
            .arg("--bind")
            .arg(host)
            .arg(guest)
            .arg(if *read_only { "ro" } else { "rw" });
    }
    let (uid, gid) = spec.user;
    command
        .arg("chroot")
        .arg(format!("--userspec={uid}:{gid}"))
        .arg("--groups=")
        .arg(root.path())
        .args(["/usr/bin/env", "-i"])
        .arg(format!("--chdir={}", spec.cwd))
        .args(&spec.env)
        .args(&spec.args);
    Ok(run(&mut command, &spec.input, limit)?)
}
