//! Every file of a procfs, a sysfs and a cgroup2 without processes can be listed and read; texts have the shapes that programs parse.

use super::{Options, sysctl};
use crate::kernel::cred::KernelCaller;
use crate::kernel::{HostClock, Kernel};
use crate::syscall::SyscallTable;
use abi::Errno;
use fs::vfs::{Lookup, Mount, MountFlags, MountNamespace, Path};
use fs::{FileSystem, NodeKind};
use platform::mock::MockPlatform;
use std::sync::Arc;

fn kernel() -> Arc<Kernel> {
    Kernel::new(
        Arc::new(MockPlatform::new().expect("platform")),
        SyscallTable::default(),
        Arc::new(HostClock),
    )
    .expect("kernel")
}

fn root_of(fs: Arc<dyn FileSystem>) -> Path {
    MountNamespace::new(Mount::of_fs(fs, MountFlags::empty(), b"none")).root()
}

fn read(root: &Path, path: &str) -> Result<String, Errno> {
    let file = Lookup::new(&KernelCaller, root, root).open(path.as_bytes(), 0, 0)?;
    let (mut out, mut buf) = (Vec::new(), [0; 256]);
    loop {
        match file.read(&mut buf)? {
            0 => return Ok(String::from_utf8(out).expect("text")),
            n => out.extend_from_slice(&buf[..n]),
        }
    }
}

/// Lists and reads everything; how many files there were.
fn read_all(root: &Path, dir: &str) -> usize {
    let file = Lookup::new(&KernelCaller, root, root)
        .open(dir.as_bytes(), 0, 0)
        .expect(dir);
    let mut names = Vec::new();
    // One entry at a time: cookies must carry on where a listing stopped.
    loop {
        let mut got = None;
        file.read_dir(&KernelCaller, &mut |e| {
            let first = got.is_none();
            if first {
                got = Some((String::from_utf8_lossy(e.name).into_owned(), e.kind));
            }
            first
        })
        .expect(dir);
        match got {
            None => break,
            Some(entry) => names.push(entry),
        }
    }
    let mut count = 0;
    for (name, kind) in names.into_iter().filter(|(n, _)| n != "." && n != "..") {
        let path = format!("{dir}/{name}");
        if kind == NodeKind::Directory.dirent_type() {
            count += read_all(root, &path);
        } else if kind == NodeKind::Regular.dirent_type() {
            read(root, &path).unwrap_or_else(|e| panic!("{path}: {e}"));
            count += 1;
        }
    }
    count
}

#[test]
fn everything_can_be_read() {
    let kernel = kernel();
    let ns = kernel.root_pid_ns.clone();
    assert!(read_all(&root_of(super::new(&kernel, &ns, b"").expect("proc")), "/") > 150);
    assert!(read_all(&root_of(crate::sysfs::new()), "/") > 50);
    assert!(read_all(&root_of(crate::sysfs::cgroup2(&kernel, &ns)), "/") > 20);
}

#[test]
fn shapes_of_global_files() {
    let kernel = kernel();
    let root = root_of(super::new(&kernel, &kernel.root_pid_ns, b"").expect("proc"));
    let stat = read(&root, "/stat").expect("stat");
    assert!(stat.starts_with("cpu  ") && stat.contains("\ncpu0 ") && stat.contains("\nbtime "));
    let meminfo = read(&root, "/meminfo").expect("meminfo");
    let total = meminfo.lines().next().expect("a line");
    assert!(
        total.starts_with("MemTotal:")
            && total.ends_with(" kB")
            && total.split_ascii_whitespace().count() == 3
    );
    assert_eq!(
        read(&root, "/uptime")
            .expect("uptime")
            .split_ascii_whitespace()
            .count(),
        2
    );
    assert_eq!(
        read(&root, "/loadavg")
            .expect("loadavg")
            .split_ascii_whitespace()
            .count(),
        5
    );
    let cpus = read(&root, "/cpuinfo")
        .expect("cpuinfo")
        .lines()
        .filter(|l| l.starts_with("processor"))
        .count();
    assert_eq!(u32::try_from(cpus), Ok(crate::host::cpus()));
    let (a, b) = (
        read(&root, "/sys/kernel/random/uuid"),
        read(&root, "/sys/kernel/random/uuid"),
    );
    assert_ne!(a, b);
    assert_eq!(a.map(|u| u.len()), Ok(37));
    assert_eq!(
        read(&root, "/sys/kernel/random/boot_id"),
        read(&root, "/sys/kernel/random/boot_id")
    );
    assert_eq!(read(&root, "/no-such-file"), Err(Errno::ENOENT));
    assert_eq!(read(&root, "/4711/stat"), Err(Errno::ENOENT));
}

#[test]
fn sysctls() {
    let kernel = kernel();
    let root = root_of(super::new(&kernel, &kernel.root_pid_ns, b"").expect("proc"));
    assert_eq!(
        read(&root, "/sys/net/ipv4/tcp_rmem"),
        Ok("4096\t131072\t6291456\n".to_owned())
    );
    // A setting is of the reader's network namespace; this reader has none.
    assert_eq!(
        read(&root, "/sys/net/ipv4/ip_local_port_range"),
        Ok(String::new())
    );
    // A shell's `>` truncates first; what steers nothing cannot be written.
    let path = b"/sys/vm/overcommit_memory";
    let write = Lookup::new(&KernelCaller, &root, &root)
        .open(path, 0o1001, 0)
        .and_then(|f| f.write(&KernelCaller, b"0\n"));
    assert_eq!(write, Err(Errno::EIO));
    assert_eq!(sysctl::number::<i32>(b" -5\n"), Ok(-5));
    assert_eq!(sysctl::number::<i32>(b"5x"), Err(Errno::EINVAL));
}

#[test]
fn mount_options() {
    assert_eq!(
        Options::parse(b"hidepid=2,gid=7").map(Options::shown),
        Ok(",gid=7,hidepid=invisible".to_owned())
    );
    assert_eq!(Options::parse(b"hidepid=9"), Err(Errno::EINVAL));
    assert_eq!(Options::parse(b""), Ok(Options::default()));
}
