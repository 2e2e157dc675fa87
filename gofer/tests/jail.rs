//! A gofer as it really runs: a process of its own behind its walls. The posture is read from outside.

mod common;

use abi::Errno;
use common::{Jailed, Temp, all_flags, exercise, jailed, owner, spawn_jailed};
use gofer::client::Client;
use gofer::jail::{caps, filter};
use gofer::wire::{Access, MountFlags};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Signal of a call that the filter does not allow.
const SIGSYS: i32 = 31;

#[test]
fn every_operation_in_jail() {
    for flags in [MountFlags::empty(), all_flags()] {
        let temp = Temp::new("jail-ops");
        let gofer = jailed(&[(&temp.0, flags)]);
        exercise(&gofer.mounts[0].root, gofer.client(), &temp.0).unwrap();
        // Memory that is freed in bulk is where an allocator does what it does at no other time.
        allocate(&gofer).unwrap();
        assert_eq!(gofer.client().death(), None);
    }
}

/// Work that makes the allocator take and give back memory.
fn allocate(gofer: &Jailed) -> abi::Result<()> {
    let root = &gofer.mounts[0].root;
    let mut nodes = Vec::new();
    // Sixty levels at once: many nodes for few round trips.
    let (mut dir, mut names) = (root.lookup(b"dir")?.0, Vec::new());
    for _ in 0..60 {
        dir = dir.mkdir(b"d", owner(0o755))?.node;
        names.push(&b"d"[..]);
    }
    let top = root.lookup(b"dir")?.0;
    for _ in 0..130 {
        nodes.extend(top.walk(&names, None, false)?.nodes);
    }
    drop(nodes);
    gofer.client().flush();
    // The next large block that is freed makes the allocator look at what else is.
    root.xattrs().map(drop)
}

/// A filter must not allow what nobody needs: without any one of the calls, the exercise must kill the gofer.
#[test]
fn every_allowed_call_is_needed() {
    assert!(
        filter::ALLOWED.len() <= 35,
        "{} calls",
        filter::ALLOWED.len()
    );
    let mut unneeded = Vec::new();
    for allowed in filter::ALLOWED {
        // What the allocator does depends on which thread served what.
        let tries = if allocates(allowed.nr) { 10 } else { 1 };
        if !(0..tries).any(|_| killed_without(allowed.nr)) {
            unneeded.push(abi::nr::name(allowed.nr).unwrap_or("?"));
        }
    }
    // What this cannot bring about, and when it happens:
    // mmap: a thread's heap exceeds 64 MiB, which takes half a million nodes;
    // brk: there are more threads than the allocator has heaps (8 per core), so one uses the main heap;
    // write: log lines, and the probe has no logger.
    assert_eq!(unneeded, ["mmap", "brk", "write"]);
}

fn allocates(nr: u64) -> bool {
    matches!(nr, abi::nr::MADVISE | abi::nr::MPROTECT)
}

/// Does the exercise kill a gofer whose filter lacks this call?
fn killed_without(nr: u64) -> bool {
    let temp = Temp::new("without");
    let (child, socket) = spawn_jailed(&[(&temp.0, all_flags())], &[format!("--without={nr}")]);
    let Ok((client, mounts)) = Client::connect(socket, 4) else {
        let mut child = child;
        assert_eq!(child.wait().unwrap().signal(), Some(SIGSYS));
        return true;
    };
    let mut gofer = Jailed::new(child, client, mounts);
    let work = || {
        exercise(&gofer.mounts[0].root, gofer.client(), &temp.0)?;
        if allocates(nr) {
            allocate(&gofer)
        } else {
            Ok(())
        }
    };
    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // The end of a sandbox; a gofer that was killed already does not mind.
    gofer.leave();
    let status = wait(&mut gofer);
    if status != Some(SIGSYS) {
        eprintln!("{:?}: {worked:?} {status:?}", abi::nr::name(nr));
    }
    status == Some(SIGSYS)
}

fn wait(gofer: &mut Jailed) -> Option<i32> {
    for _ in 0..500 {
        if let Some(status) = gofer.child.try_wait().unwrap() {
            return status.signal();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the gofer did not end");
}

fn proc(gofer: &Jailed, name: &str) -> std::path::PathBuf {
    Path::new("/proc")
        .join(gofer.child.id().to_string())
        .join(name)
}

#[test]
fn posture() {
    let temp = Temp::new("posture");
    temp.write("file", "x");
    let gofer = jailed(&[
        (&temp.0, MountFlags::empty()),
        (Path::new("/usr"), MountFlags::READ_ONLY),
    ]);
    gofer.mounts[0].root.lookup(b"file").unwrap();

    let needed = caps::needed(MountFlags::empty()).bits();
    for thread in std::fs::read_dir(proc(&gofer, "task")).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .trim()
                .to_owned()
        };
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!(field("Seccomp_filters:"), "1");
        assert_eq!(field("NoNewPrivs:"), "1");
        for (set, expected) in [
            ("CapInh:", 0),
            ("CapAmb:", 0),
            ("CapBnd:", 0),
            ("CapPrm:", needed),
            ("CapEff:", needed),
        ] {
            assert_eq!(
                u64::from_str_radix(&field(set), 16).unwrap(),
                expected,
                "{set}"
            );
        }
    }
    for namespace in ["net", "mnt", "ipc", "uts"] {
        let theirs = std::fs::read_link(proc(&gofer, "ns").join(namespace)).unwrap();
        assert_ne!(
            theirs,
            std::fs::read_link(Path::new("/proc/self/ns").join(namespace)).unwrap(),
            "{namespace}"
        );
    }
    // The root is the only mount, empty and read-only; the trees are attached nowhere.
    let mounts = std::fs::read_to_string(proc(&gofer, "mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(
        mounts.contains(" / / ro,nosuid,nodev,noexec") && mounts.contains("tmpfs"),
        "{mounts}"
    );
    assert_eq!(std::fs::read_dir(proc(&gofer, "root/")).unwrap().count(), 0);
    // Nothing on the network, not even loopback's link.
    let links = std::fs::read_to_string(proc(&gofer, "net/dev")).unwrap();
    assert_eq!(links.lines().count(), 3, "{links}");
    // Every descriptor: connection, spare pairs, our standard ones, O_PATH nodes and /proc/self/fd. None is a directory that can be read.
    for fd in std::fs::read_dir(proc(&gofer, "fd")).unwrap() {
        let fd = fd.unwrap();
        let target = std::fs::read_link(fd.path()).unwrap();
        let number = fd.file_name().into_string().unwrap();
        // What this test was itself started with, the probe inherits.
        let inherited = std::fs::read_link(Path::new("/proc/self/fd").join(&number))
            .is_ok_and(|ours| ours == target);
        if target.to_string_lossy().starts_with("socket:")
            || number.parse::<u32>().unwrap() < 3
            || inherited
        {
            continue;
        }
        let info = std::fs::read_to_string(proc(&gofer, "fdinfo").join(&number)).unwrap();
        let flags = info
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert_ne!(
            flags & 0o10_000_000,
            0,
            "{number} -> {target:?} is not O_PATH"
        );
    }
    let limits = std::fs::read_to_string(proc(&gofer, "limits")).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert!(
        files
            .split_whitespace()
            .nth(3)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 20_000,
        "{files}"
    );
}

#[test]
fn the_host_itself_refuses_writes_through_a_read_only_tree() {
    let temp = Temp::new("ro-host");
    temp.write("file", "x");
    let gofer = jailed(&[(&temp.0, MountFlags::READ_ONLY)]);
    let (file, _) = gofer.mounts[0].root.lookup(b"file").unwrap();
    let (fd, _) = file.open(Access::Read).unwrap();
    // A sentry that a guest has taken over holds the descriptor, and here even all capabilities.
    assert_eq!(
        rustix::fs::fchmod(&fd, rustix::fs::Mode::RWXU).unwrap_err(),
        rustix::io::Errno::ROFS
    );
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    assert_eq!(
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap_err()
            .raw_os_error(),
        Some(30)
    );
}

#[test]
fn mounts_below_a_recursive_tree_are_part_of_it() {
    let temp = Temp::new("rbind");
    std::fs::create_dir(temp.path("below")).unwrap();
    rustix::mount::mount(
        "tmpfs",
        temp.path("below"),
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .unwrap();
    temp.write("below/file", "on the tmpfs");
    let gofer = jailed(&[(&temp.0, MountFlags::empty())]);
    let walked = gofer.mounts[0]
        .root
        .walk(&[b"below", b"file"], Some(Access::Read), false);
    rustix::mount::unmount(temp.path("below"), rustix::mount::UnmountFlags::DETACH).unwrap();
    let walked = walked.unwrap();
    assert_eq!(walked.stop, None);
    assert_ne!(
        walked.nodes[0].1.identity().1,
        gofer.mounts[0].attr.identity().1,
        "another device"
    );
    walked.opened.unwrap().unwrap();
}

#[test]
fn links_lead_nowhere_in_jail() {
    let temp = Temp::new("jail-links");
    symlink("/etc/passwd", temp.path("absolute")).unwrap();
    symlink("../../../../../../etc/passwd", temp.path("up")).unwrap();
    symlink("/proc/self/root", temp.path("magic")).unwrap();
    let gofer = jailed(&[
        (&temp.0, all_flags()),
        (Path::new("/proc"), MountFlags::READ_ONLY),
    ]);
    for name in [&b"absolute"[..], b"up", b"magic"] {
        let walked = gofer.mounts[0]
            .root
            .walk(&[name, b"etc", b"passwd"], Some(Access::Read), true)
            .unwrap();
        assert_eq!((walked.nodes.len(), walked.stop), (1, Some(Errno::ELOOP)));
        assert!(walked.opened.is_none());
        assert_eq!(
            walked.nodes[0].0.open(Access::Read).unwrap_err(),
            Errno::ELOOP
        );
    }
    // Real magic links, in a tree that holds a proc file system: seen, and not followed.
    for names in [[&b"1"[..], b"root"], [b"1", b"cwd"]] {
        let walked = gofer.mounts[1].root.walk(&names, None, false).unwrap();
        assert_eq!(
            walked.nodes.last().unwrap().0.file_type(),
            abi::stat::S_IFLNK
        );
        assert_eq!(
            walked
                .nodes
                .last()
                .unwrap()
                .0
                .open(Access::Read)
                .unwrap_err(),
            Errno::ELOOP
        );
        let deeper = gofer.mounts[1]
            .root
            .walk(&[names[0], names[1], b"etc"], None, false)
            .unwrap();
        assert_eq!((deeper.nodes.len(), deeper.stop), (2, Some(Errno::ELOOP)));
    }
}

#[test]
fn death_is_noticed() {
    let temp = Temp::new("death");
    let mut gofer = jailed(&[(&temp.0, MountFlags::empty())]);
    let (send, receive) = mpsc::channel();
    gofer
        .client()
        .on_death(move |reason| send.send(reason.to_owned()).unwrap());
    gofer.child.kill().unwrap();
    gofer.child.wait().unwrap();
    // Somebody who polls sees it without asking anything.
    let client = gofer.client();
    let watch = client.watch().unwrap();
    let mut poll = [rustix::event::PollFd::new(
        &watch,
        rustix::event::PollFlags::empty(),
    )];
    assert_eq!(
        rustix::event::poll(
            &mut poll,
            Some(&rustix::event::Timespec {
                tv_sec: 5,
                tv_nsec: 0
            })
        )
        .unwrap(),
        1
    );
    assert!(poll[0].revents().contains(rustix::event::PollFlags::HUP));
    assert_eq!(gofer.mounts[0].root.attr().unwrap_err(), Errno::EIO);
    assert_eq!(
        receive.recv_timeout(Duration::from_secs(5)).unwrap(),
        "the other end hung up"
    );
    assert_eq!(gofer.mounts[0].root.attr().unwrap_err(), Errno::EIO);
    let told = Arc::new(AtomicBool::new(false));
    let flag = told.clone();
    gofer
        .client()
        .on_death(move |_| flag.store(true, Ordering::Relaxed));
    assert!(told.load(Ordering::Relaxed));
}

#[test]
fn it_ends_with_the_sandbox() {
    let temp = Temp::new("end");
    let mut gofer = jailed(&[(&temp.0, MountFlags::empty())]);
    gofer.leave();
    for _ in 0..500 {
        if let Some(status) = gofer.child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the gofer outlived its sandbox");
}

#[test]
fn a_missing_tree_is_named() {
    let (ours, theirs) = common::pair();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_gofer-probe"))
        .arg("0:/does/not/exist")
        .stdin(std::process::Stdio::from(theirs))
        .output()
        .unwrap();
    drop(ours);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("open /does/not/exist"),
        "{output:?}"
    );
}
