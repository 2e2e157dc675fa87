//! Nothing outside the trees is opened, whatever the names, the links, or the neighbours do meanwhile. The server runs in this
//! process, unjailed: with the whole host in reach it must refuse by itself.

mod common;

use abi::Errno;
use common::{Temp, all_flags, owner, serve};
use gofer::client::Node;
use gofer::wire::{Access, MountFlags, RenameFlags};
use rustix::fs::{CWD, RenameFlags as HostRename};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A thread that changes the tree until it is dropped.
struct Neighbour(Arc<AtomicBool>, Option<std::thread::JoinHandle<u64>>);

impl Neighbour {
    fn start(mut change: impl FnMut() + Send + 'static) -> Neighbour {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                change();
                rounds += 1;
            }
            rounds
        });
        Neighbour(stop, Some(thread))
    }

    fn stop(mut self) -> u64 {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap()
    }
}

fn read(fd: rustix::fd::OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// A tree and a secret beside it.
fn with_secret(name: &str) -> (Temp, Temp) {
    let (tree, outside) = (Temp::new(name), Temp::new("outside"));
    std::fs::create_dir(outside.path("sub")).unwrap();
    outside.write("sub/file", "SECRET");
    outside.write("file", "SECRET");
    std::fs::create_dir_all(tree.path("dir/sub")).unwrap();
    tree.write("dir/sub/file", "inside");
    tree.write("dir/file", "inside");
    (tree, outside)
}

fn both_ways() -> [Option<Access>; 2] {
    [Some(Access::Read), Some(Access::ReadWrite)]
}

#[test]
fn links_are_never_followed() {
    let (tree, outside) = with_secret("links");
    for (name, target) in [
        ("abs", outside.0.clone()),
        ("abs-file", outside.path("file")),
        ("rel", Path::new("..").join(outside.0.file_name().unwrap())),
        ("up", "../../../../../../../../etc".into()),
        ("magic-root", "/proc/self/root".into()),
        ("magic-cwd", "/proc/self/cwd".into()),
        ("magic-fd", "/proc/self/fd/0".into()),
        ("inside", "dir".into()),
        ("self", "self".into()),
    ] {
        symlink(target, tree.path(name)).unwrap();
        let fixture = serve(&[(&tree.0, all_flags())]);
        let root = fixture.root();
        for access in both_ways() {
            let walked = root.walk(&[name.as_bytes()], access, true).unwrap();
            assert!(walked.opened.is_none() && walked.stop.is_none());
            assert!(walked.nodes[0].1.is_symlink());
            let walked = root
                .walk(&[name.as_bytes(), b"file"], access, true)
                .unwrap();
            assert_eq!((walked.nodes.len(), walked.stop), (1, Some(Errno::ELOOP)));
            assert!(walked.opened.is_none());
        }
        let (link, _) = root.lookup(name.as_bytes()).unwrap();
        // A link is no directory, nothing is made, listed or removed through it.
        assert_eq!(link.open(Access::Read).unwrap_err(), Errno::ELOOP);
        assert_eq!(link.truncate(0).unwrap_err(), Errno::ELOOP);
        assert_eq!(link.read_dir(0, true).unwrap_err(), Errno::ENOTDIR);
        assert_eq!(link.lookup(b"file").unwrap_err(), Errno::ENOTDIR);
        assert_eq!(link.unlink(b"file").unwrap_err(), Errno::ENOTDIR);
        assert_eq!(
            link.mkdir(b"new", owner(0o755)).unwrap_err(),
            Errno::ENOTDIR
        );
        assert_eq!(link.fsync().unwrap_err(), Errno::EINVAL);
        assert_eq!(
            link.set_attr(&gofer::wire::SetAttr::default().with_mode(0o777))
                .unwrap_err(),
            Errno::EOPNOTSUPP
        );
        // Creating under the name of a link does not create its target.
        assert_eq!(
            root.create(name.as_bytes(), Access::Write, owner(0o644))
                .map(drop)
                .unwrap_err(),
            Errno::EEXIST
        );
        // A hard link to a link is a link.
        assert!(root.link(b"hard", &link).unwrap().is_symlink());
        root.unlink(b"hard").unwrap();
        // Attributes of a link are the link's own.
        link.set_attr(&gofer::wire::SetAttr::default().with_uid(77))
            .unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::uid(
                &std::fs::symlink_metadata(tree.path(name)).unwrap()
            ),
            77
        );
    }
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(outside.path("file")).unwrap()),
        0
    );
}

#[test]
fn a_directory_moved_out_shows_what_was_in_the_tree_only() {
    let (tree, outside) = with_secret("moved");
    let fixture = serve(&[(&tree.0, all_flags())]);
    let (dir, _) = fixture.root().lookup(b"dir").unwrap();
    std::fs::rename(tree.path("dir"), outside.path("dir")).unwrap();
    // The node is still that directory, as an open directory would be; there is no way up from it.
    assert_eq!(
        read(dir.lookup(b"file").unwrap().0.open(Access::Read).unwrap().0),
        "inside"
    );
    assert_eq!(dir.lookup(b"..").unwrap_err(), Errno::EINVAL);
    assert_eq!(fixture.root().lookup(b"dir").unwrap_err(), Errno::ENOENT);
}

/// Everything a guest could do with a path, while somebody swaps what the path leads through.
fn try_everything(root: &Node, secret: &Path) {
    for access in both_ways() {
        let walked = root.walk(&[b"dir", b"sub", b"file"], access, true).unwrap();
        if let Some(Ok(fd)) = walked.opened {
            assert_ne!(read(fd), "SECRET");
        }
        for (node, attr) in &walked.nodes {
            assert_eq!(node.file_type(), attr.file_type());
            match node.open(Access::Read) {
                Ok((fd, opened)) => {
                    assert_eq!(opened.identity(), attr.identity());
                    assert_ne!(read(fd), "SECRET");
                }
                Err(errno) => assert!(matches!(errno, Errno::EISDIR | Errno::ELOOP), "{errno}"),
            }
        }
        // One component at a time, as a sentry with a cache does.
        let Ok((dir, _)) = root.lookup(b"dir") else {
            continue;
        };
        if dir.file_type() != abi::stat::S_IFDIR {
            continue;
        }
        if let Ok((file, _)) = dir.lookup(b"file")
            && let Ok((fd, _)) = file.open(Access::Read)
        {
            assert_ne!(read(fd), "SECRET");
        }
        if let Ok((_, fd)) = dir.create(b"made", Access::ReadWrite, owner(0o644)) {
            drop(fd);
            dir.unlink(b"made").ok();
        }
        if dir.mkdir(b"made-dir", owner(0o755)).is_ok() {
            dir.rename(b"made-dir", &dir, b"made-dir2", RenameFlags::empty())
                .ok();
            dir.rmdir(b"made-dir2").ok();
        }
        dir.read_dir(0, true).ok();
    }
    assert_eq!(
        std::fs::read_dir(secret).unwrap().count(),
        2,
        "something was made outside"
    );
}

/// Swaps `dir` with a symbolic link to the outside, back and forth, for some seconds.
fn race(swap: impl Fn(&Path, &Path) + Send + 'static, name: &str) {
    let (tree, outside) = with_secret(name);
    symlink(&outside.0, tree.path("evil")).unwrap();
    let (a, b) = (tree.path("dir"), tree.path("evil"));
    let fixture = serve(&[(&tree.0, all_flags())]);
    let neighbour = Neighbour::start(move || swap(&a, &b));
    let (start, mut rounds) = (Instant::now(), 0);
    while rounds < 3000 || start.elapsed() < Duration::from_secs(1) {
        try_everything(fixture.root(), &outside.0);
        rounds += 1;
    }
    let swaps = neighbour.stop();
    assert!(swaps > 1000, "{swaps} swaps");
    assert_eq!(
        std::fs::read_to_string(outside.path("sub/file")).unwrap(),
        "SECRET"
    );
    assert_eq!(
        std::fs::read_to_string(outside.path("file")).unwrap(),
        "SECRET"
    );
}

#[test]
fn a_directory_swapped_with_a_link_out() {
    race(
        |a, b| rustix::fs::renameat_with(CWD, a, CWD, b, HostRename::EXCHANGE).unwrap(),
        "race",
    );
}

#[test]
fn a_component_below_swapped_with_a_link_out() {
    let (tree, outside) = with_secret("race-below");
    symlink(outside.path("sub"), tree.path("dir/evil")).unwrap();
    let (a, b) = (tree.path("dir/sub"), tree.path("dir/evil"));
    let fixture = serve(&[(&tree.0, all_flags())]);
    let neighbour = Neighbour::start(move || {
        rustix::fs::renameat_with(CWD, &a, CWD, &b, HostRename::EXCHANGE).unwrap()
    });
    for _ in 0..3000 {
        try_everything(fixture.root(), &outside.0);
    }
    assert!(neighbour.stop() > 1000);
}

#[test]
fn a_file_swapped_with_a_device_a_fifo_and_a_link() {
    let (tree, outside) = with_secret("race-file");
    symlink(outside.path("file"), tree.path("link")).unwrap();
    rustix::fs::mknodat(
        CWD,
        tree.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    rustix::fs::mknodat(
        CWD,
        tree.path("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::RWXU,
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    let names = [tree.path("link"), tree.path("fifo"), tree.path("null")];
    let file = tree.path("dir/file");
    let fixture = serve(&[(&tree.0, MountFlags::empty())]);
    let mut turn = 0;
    let neighbour = Neighbour::start(move || {
        rustix::fs::renameat_with(CWD, &names[turn % 3], CWD, &file, HostRename::EXCHANGE).unwrap();
        turn += 1;
    });
    let (mut opened, mut refused) = (0, 0);
    for n in 0.. {
        if n >= 5000 && (opened > 0 && refused > 0) || n > 50_000 {
            break;
        }
        // Were a FIFO opened for reading, this would hang; were it a device, the type would show.
        let walked = fixture
            .root()
            .walk(&[b"dir", b"file"], Some(Access::Read), false)
            .unwrap();
        let (node, attr) = walked.nodes.last().unwrap();
        match walked.opened {
            Some(Ok(fd)) => {
                assert!(attr.is_regular());
                assert_eq!(read(fd), "inside");
                opened += 1;
            }
            other => {
                assert!(!attr.is_regular() && other.is_none());
                let errno = node.open(Access::Read).unwrap_err();
                assert!(
                    matches!(errno, Errno::EACCES | Errno::ELOOP),
                    "{errno} {:o} {:?}",
                    attr.mode,
                    walked.stop
                );
                refused += 1;
            }
        }
    }
    neighbour.stop();
    assert!(
        opened > 0 && refused > 0,
        "{opened} opened, {refused} refused"
    );
}

/// Two sandboxes on one tree: the other's gofer does the renaming.
#[test]
fn a_second_container_on_the_same_tree() {
    let (tree, outside) = with_secret("second");
    symlink(&outside.0, tree.path("evil")).unwrap();
    let fixture = serve(&[(&tree.0, MountFlags::SHARED)]);
    let other = common::jailed(&[(&tree.0, MountFlags::SHARED)]);
    let root = other.mounts[0]
        .root
        .lookup(b"dir")
        .map(|_| ())
        .map(|()| other)
        .unwrap();
    let neighbour = Neighbour::start(move || {
        let root = &root.mounts[0].root;
        root.rename(b"dir", root, b"evil", RenameFlags::EXCHANGE)
            .unwrap();
    });
    for _ in 0..2000 {
        try_everything(fixture.root(), &outside.0);
    }
    assert!(neighbour.stop() > 100);
}
