//! Rules of the walk and of mounts, one by one.

use super::*;
use crate::Caller;
use abi::Errno;

#[test]
fn links_and_their_limits() {
    let w = World::new();
    w.mkdir("d");
    w.file("d/f");
    w.at().symlink(b"loop", b"loop").unwrap();
    assert_eq!(w.at().stat(b"loop").err(), Some(Errno::ELOOP));
    w.at().symlink(b"d/f", b"l0").unwrap();
    for i in 1..=40 {
        w.at()
            .symlink(format!("l{}", i - 1).as_bytes(), format!("l{i}").as_bytes())
            .unwrap();
    }
    assert!(w.at().stat(b"l39").is_ok());
    assert_eq!(w.at().stat(b"l40").err(), Some(Errno::ELOOP));
    w.at().symlink(b"/d", b"abs").unwrap();
    assert_eq!(w.text(&w.path("abs/f")), "/d/f");
    assert_eq!(w.at().stat(b"abs/f/").err(), Some(Errno::ENOTDIR));
    assert_eq!(w.at().stat(&[b'a'; 256]).err(), Some(Errno::ENAMETOOLONG));
    assert_eq!(w.at().stat(&[b'/'; 4096]).err(), Some(Errno::ENAMETOOLONG));
    assert!(w.at().stat(&[b'/'; 4095]).is_ok());
    assert_eq!(w.at().stat(b"").err(), Some(Errno::ENOENT));
    let open = |p: &str, flags| w.at().open(p.as_bytes(), flags, 0).err();
    assert_eq!(open("abs", 0o400000), Some(Errno::ELOOP));
    assert_eq!(open("abs", 0o600000), Some(Errno::ENOTDIR));
    assert_eq!(open("abs", 0o10400000), None);
}

#[test]
fn permission_is_asked_of_every_directory() {
    let w = World::new();
    w.at().mkdir(b"closed", 0o700).unwrap();
    w.file("closed/f");
    w.at().mkdir(b"sticky", 0o755).unwrap();
    chmod(&w.caller, &w.path("sticky"), 0o1777).unwrap();
    w.file("sticky/roots");
    let user = TestCaller::user(1000);
    let at = Lookup::new(&user, &w.root, &w.root);
    assert_eq!(at.stat(b"closed/f").err(), Some(Errno::EACCES));
    assert_eq!(at.stat(b"closed/../sticky").err(), Some(Errno::EACCES));
    assert_eq!(at.mkdir(b"new", 0o755).err(), Some(Errno::EACCES));
    assert_eq!(at.unlink(b"sticky/roots").err(), Some(Errno::EPERM));
    assert_eq!(
        at.rename(b"sticky/roots", || Ok(w.root.clone()), b"sticky/x", 0)
            .err(),
        Some(Errno::EPERM)
    );
    at.open(b"sticky/mine", 0o102, 0o600).unwrap();
    at.unlink(b"sticky/mine").unwrap();
    assert_eq!(at.open(b"sticky/roots", 1, 0).err(), Some(Errno::EACCES));
    assert_eq!(
        at.open(b"sticky/roots", 0o1000000, 0).err(),
        Some(Errno::EPERM),
        "O_NOATIME"
    );
    assert_eq!(
        at.mknod(b"sticky/dev", crate::NodeKind::CharDevice(0x103), 0o666)
            .err(),
        Some(Errno::EPERM)
    );
    assert_eq!(
        chmod(&user, &w.path("sticky/roots"), 0o777),
        Err(Errno::EPERM)
    );
    assert_eq!(
        chown(&user, &w.path("sticky/roots"), Some(1000), None),
        Err(Errno::EPERM)
    );
    assert_eq!(
        utimens(&user, &w.path("sticky/roots"), TimeSet::Now, TimeSet::Now),
        Err(Errno::EACCES)
    );
    assert_eq!(access(&user, &w.path("sticky/roots"), 4), Ok(()));
    assert_eq!(
        access(&user, &w.path("sticky/roots"), 2),
        Err(Errno::EACCES)
    );
    assert_eq!(
        access(&w.caller, &w.path("sticky/roots"), 1),
        Err(Errno::EACCES),
        "root executes nothing without an x bit"
    );
    // setgid directories hand down their group.
    chown(&w.caller, &w.path("sticky"), None, Some(77)).unwrap();
    chmod(&w.caller, &w.path("sticky"), 0o3777).unwrap();
    at.mkdir(b"sticky/sub", 0o755).unwrap();
    let sub = at.stat(b"sticky/sub").unwrap();
    assert_eq!((sub.gid, sub.mode & 0o7777), (77, 0o2755));
}

#[test]
fn mounts() {
    let w = World::new();
    for dir in ["a", "a/b", "m", "n", "old"] {
        w.mkdir(dir);
    }
    let ro = tmpfs_mount(MountFlags::empty());
    w.ns.mount(&w.path("m"), ro.clone()).unwrap();
    w.file("m/f");
    w.mkdir("m/deep");
    assert_eq!(w.text(&w.path("m/f")), "/m/f");
    assert_eq!(w.text(&w.path("m/deep/../..")), "/");
    assert!(!Arc::ptr_eq(
        w.path("m").dentry.superblock(),
        w.root.dentry.superblock()
    ));
    w.ns.remount(&w.path("m"), MountFlags::RDONLY, true)
        .unwrap();
    assert_eq!(w.at().open(b"m/g", 0o102, 0).err(), Some(Errno::EROFS));
    assert_eq!(w.at().open(b"m/f", 2, 0).err(), Some(Errno::EROFS));
    assert_eq!(w.at().unlink(b"m/f").err(), Some(Errno::EROFS));
    assert_eq!(w.at().mkdir(b"m/deep", 0).err(), Some(Errno::EEXIST));
    assert_eq!(
        w.at().rename(b"m/f", || Ok(w.root.clone()), b"f", 0).err(),
        Some(Errno::EXDEV)
    );
    assert_eq!(w.at().rmdir(b"m").err(), Some(Errno::EBUSY));
    // A bind mount shows the same files; flags are its own.
    w.ns.bind(&w.path("m/deep"), &w.path("n"), false).unwrap();
    w.ns.remount(&w.path("n"), MountFlags::empty(), true)
        .unwrap();
    w.file("n/through");
    assert_eq!(w.text(&w.path("m/deep/through")), "/m/deep/through");
    let no_xdev = Lookup {
        resolve: Resolve::NO_XDEV,
        ..w.at()
    };
    assert_eq!(no_xdev.stat(b"n/through").err(), Some(Errno::EXDEV));
    assert!(no_xdev.stat(b"a/b").is_ok());
    // Busy as long as anybody holds a file in it.
    let open = w.at().open(b"n/through", 0, 0).unwrap();
    assert_eq!(
        w.ns.umount(w.path("n"), UmountFlags::empty()).err(),
        Some(Errno::EBUSY)
    );
    drop(open);
    assert_eq!(
        w.ns.umount(w.path("n"), UmountFlags::EXPIRE).err(),
        Some(Errno::EAGAIN)
    );
    w.ns.umount(w.path("n"), UmountFlags::EXPIRE).unwrap();
    assert!(!w.at().exists(b"n/through"));
    // Recursive bind, stacked mounts, detach.
    w.ns.mount(&w.path("m/deep"), tmpfs_mount(MountFlags::empty()))
        .unwrap();
    w.file("m/deep/inner");
    w.ns.bind(&w.path("m"), &w.path("a/b"), true).unwrap();
    assert!(w.at().exists(b"a/b/deep/inner"));
    let lines: Vec<String> =
        w.ns.list(&w.root)
            .into_iter()
            .map(|m| String::from_utf8(m.mountpoint).unwrap())
            .collect();
    assert_eq!(lines, ["/", "/m", "/m/deep", "/a/b", "/a/b/deep"]);
    assert_eq!(
        w.ns.umount(w.path("m"), UmountFlags::empty()).err(),
        Some(Errno::EBUSY)
    );
    let held = w.path("m/deep/inner");
    w.ns.umount(w.path("m"), UmountFlags::DETACH).unwrap();
    assert_eq!(w.at().stat(b"m/f").err(), Some(Errno::ENOENT));
    assert_eq!(
        path_text(&held, &w.root).into_cwd().unwrap(),
        b"(unreachable)/deep/inner"
    );
    w.ns.move_mount(&w.path("a/b"), &w.path("m")).unwrap();
    assert!(w.at().exists(b"m/deep/inner"));
    assert_eq!(
        w.ns.move_mount(&w.path("m"), &w.path("m/deep")).err(),
        Some(Errno::ELOOP)
    );
}

#[test]
fn pivot_and_copies() {
    let w = World::new();
    w.mkdir("new");
    w.ns.mount(&w.path("new"), tmpfs_mount(MountFlags::empty()))
        .unwrap();
    w.mkdir("new/old");
    w.mkdir("outside");
    assert_eq!(
        w.ns.pivot_root(&w.root, &w.path("outside"), &w.path("new/old"))
            .err(),
        Some(Errno::EBUSY)
    );
    let (mut root, mut cwd) = (w.root.clone(), w.path("new/old"));
    let copy = w.ns.copy(&mut [&mut root, &mut cwd]);
    let new = w.path("new");
    w.ns.pivot_root(&w.root, &new, &w.path("new/old")).unwrap();
    let at = Lookup::new(&w.caller, &new, &new);
    assert!(at.exists(b"/old/outside") && at.exists(b"old/new"));
    assert!(w.ns.root().same(&new));
    // The copy did not move.
    let other = Lookup::new(&w.caller, &root, &cwd);
    assert!(
        other.exists(b"../../outside") && copy.contains(&cwd.mount) && !copy.contains(&new.mount)
    );
    w.ns.umount(at.resolve(b"old").unwrap(), UmountFlags::DETACH)
        .unwrap();
    assert!(!at.exists(b"old/outside"));
    drop(copy);
    assert_eq!(
        path_text(&cwd, &root).bytes,
        b"/old",
        "a tree that fell apart"
    );
}

/// What is mounted on the old root's new place after the walk to it, and before the lock, is in the way of nobody.
#[test]
fn pivot_goes_on_top_of_what_came_meanwhile() {
    let w = World::new();
    w.mkdir("new");
    w.ns.mount(&w.path("new"), tmpfs_mount(MountFlags::empty()))
        .unwrap();
    w.mkdir("new/old");
    w.mkdir("outside");
    let (new, old) = (w.path("new"), w.path("new/old"));
    w.ns.mount(&old, tmpfs_mount(MountFlags::empty())).unwrap();
    w.ns.pivot_root(&w.root, &new, &old).unwrap();
    let at = Lookup::new(&w.caller, &new, &new);
    assert!(at.exists(b"/old/outside"));
    w.ns.umount(at.resolve(b"old").unwrap(), UmountFlags::DETACH)
        .unwrap();
    assert!(at.resolve(b"old").unwrap().is_mount_root());
}

#[test]
fn beneath_and_in_root() {
    let w = World::new();
    for dir in ["jail", "jail/in", "out"] {
        w.mkdir(dir);
    }
    w.file("out/secret");
    w.file("jail/secret");
    w.at().symlink(b"/secret", b"jail/abs").unwrap();
    w.at().symlink(b"../../secret", b"jail/in/up").unwrap();
    let jail = w.path("jail");
    let with = |resolve| Lookup {
        resolve,
        start: &jail,
        ..w.at()
    };
    let beneath = with(Resolve::BENEATH);
    assert_eq!(beneath.stat(b"..").err(), Some(Errno::EXDEV));
    assert_eq!(beneath.stat(b"/secret").err(), Some(Errno::EXDEV));
    assert_eq!(beneath.stat(b"abs").err(), Some(Errno::EXDEV));
    assert_eq!(beneath.stat(b"in/up").err(), Some(Errno::EXDEV));
    assert!(beneath.stat(b"in/../secret").is_ok());
    let in_root = with(Resolve::IN_ROOT);
    assert_eq!(w.text(&in_root.resolve(b"abs").unwrap()), "/jail/secret");
    assert_eq!(w.text(&in_root.resolve(b"in/up").unwrap()), "/jail/secret");
    assert_eq!(w.text(&in_root.resolve(b"/../../in").unwrap()), "/jail/in");
    assert_eq!(
        with(Resolve::NO_SYMLINKS).stat(b"abs").err(),
        Some(Errno::ELOOP)
    );
    w.root.dentry.superblock().shrink();
    assert_eq!(
        with(Resolve::CACHED).stat(b"secret").err(),
        Some(Errno::EAGAIN)
    );
    assert!(
        with(Resolve::empty()).stat(b"secret").is_ok()
            && with(Resolve::CACHED).stat(b"secret").is_ok()
    );
}

#[test]
fn names_of_places() {
    let w = World::new();
    w.mkdir("d");
    w.mkdir("d/e");
    let file = w.file("d/e/f");
    assert_eq!(w.text(file.path()), "/d/e/f");
    w.at()
        .rename(b"d/e", || Ok(w.root.clone()), b"top", 0)
        .unwrap();
    assert_eq!(w.text(file.path()), "/top/f");
    w.at().unlink(b"top/f").unwrap();
    assert_eq!(w.text(file.path()), "/top/f (deleted)");
    let cwd = w.path("top");
    w.at().rmdir(b"top").unwrap();
    let here = Lookup {
        start: &cwd,
        ..w.at()
    };
    assert_eq!(here.stat(b".").unwrap().nlink, 0);
    assert_eq!(here.stat(b"x").err(), Some(Errno::ENOENT));
    assert_eq!(here.mkdir(b"x", 0).err(), Some(Errno::ENOENT));
    assert!(here.stat(b"..").is_ok());
    assert_eq!(path_text(&cwd, &w.root).into_cwd(), Err(Errno::ENOENT));
}

#[test]
fn running_programs_are_not_written() {
    let w = World::new();
    let f = w.file("prog");
    assert_eq!(w.at().open_exec(b"prog").err(), Some(Errno::EACCES));
    chmod(&w.caller, f.path(), 0o755).unwrap();
    assert_eq!(w.at().open_exec(b"prog").err(), Some(Errno::ETXTBSY));
    drop(f);
    let running = w.at().open_exec(b"prog").unwrap();
    assert_eq!(w.at().open(b"prog", 1, 0).err(), Some(Errno::ETXTBSY));
    assert_eq!(truncate(&w.caller, &w.path("prog"), 0), Err(Errno::ETXTBSY));
    drop(running);
    assert!(w.at().open(b"prog", 1, 0).is_ok());
}

#[test]
fn file_size_limit() {
    struct Limited(TestCaller);
    impl Caller for Limited {
        fn cred(&self) -> Arc<crate::Cred> {
            self.0.cred()
        }
        fn umask(&self) -> u32 {
            0
        }
        fn now_ns(&self) -> i64 {
            0
        }
        fn file_size_limit(&self) -> u64 {
            100
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }
    let w = World::new();
    let f = w.file("f");
    let limited = Limited(TestCaller::root());
    assert_eq!(f.write(&limited, &[1; 90]), Ok(90));
    assert_eq!(f.write(&limited, &[1; 90]), Ok(10));
    assert_eq!(f.write(&limited, &[1; 90]), Err(Errno::EFBIG));
    assert_eq!(ftruncate(&limited, &f, 101), Err(Errno::EFBIG));
    assert_eq!(
        f.write_at(&w.caller, &[1], i64::MAX as u64),
        Err(Errno::EFBIG)
    );
}

#[test]
fn the_cache_is_bounded() {
    let w = World::new();
    w.mkdir("d");
    let dir = w.path("d");
    let at = Lookup {
        start: &dir,
        ..w.at()
    };
    for i in 0..20_000 {
        assert!(!at.exists(format!("absent{i}").as_bytes()));
        at.mknod(format!("f{i}").as_bytes(), crate::NodeKind::Regular, 0o644)
            .unwrap();
    }
    let (present, absent) = dir.dentry.cached_counts();
    assert!(present <= 16384 && absent <= 8192, "{present} {absent}");
    assert!(at.exists(b"f0") && at.exists(b"f19999") && !at.exists(b"absent0"));
}

#[test]
fn threads_rename_and_look() {
    let w = Arc::new(World::new());
    for dir in ["a", "b", "a/x", "a/x/y"] {
        w.mkdir(dir);
    }
    w.file("a/x/y/f");
    let jail = w.path("a/x/y");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mover = {
        let (w, stop) = (w.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                w.at()
                    .rename(b"a/x", || Ok(w.root.clone()), b"b/x", 0)
                    .unwrap();
                w.at()
                    .rename(b"b/x", || Ok(w.root.clone()), b"a/x", 0)
                    .unwrap();
            }
        })
    };
    for _ in 0..3000 {
        let found = [&b"a/x/y/f"[..], b"b/x/y/f"].map(|p| w.at().stat(p).map(drop));
        assert!(
            found
                .iter()
                .all(|r| matches!(r, Ok(()) | Err(Errno::ENOENT))),
            "{found:?}"
        );
        let text = w.text(&jail);
        assert!(text == "/a/x/y" || text == "/b/x/y", "{text}");
        let up = Lookup {
            start: &jail,
            resolve: Resolve::BENEATH,
            ..w.at()
        }
        .stat(b"../../../a");
        assert_eq!(up.err(), Some(Errno::EXDEV));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    mover.join().unwrap();
}

/// Not a test of time (see the benchmarks), but run by hand with `--ignored --nocapture` it prints what a cached walk costs.
#[test]
#[ignore = "prints timings"]
fn cost_of_a_walk() {
    let w = World::new();
    for dir in ["usr", "usr/lib"] {
        w.mkdir(dir);
    }
    w.file("usr/lib/libc.so");
    let caller = KernelCaller;
    let at = Lookup::new(&caller, &w.root, &w.root);
    let n = 100_000u32;
    let best = |name: &str, f: &mut dyn FnMut()| {
        let round = |f: &mut dyn FnMut()| {
            let start = std::time::Instant::now();
            (0..n).for_each(|_| f());
            start.elapsed() / n
        };
        println!("{name}: {:?}", (0..20).map(|_| round(f)).min().unwrap());
    };
    best("stat of three components", &mut || {
        let _ = std::hint::black_box(at.stat(b"/usr/lib/libc.so"));
    });
    best("stat of one component", &mut || {
        let _ = std::hint::black_box(at.stat(b"/usr"));
    });
    best("open and close", &mut || {
        drop(std::hint::black_box(at.open(b"/usr/lib/libc.so", 0, 0)))
    });
    let f = w.file("usr/f");
    f.write(&caller, &[1; 4096]).unwrap();
    let mut buf = [0; 16];
    best("read of 16 bytes (store on the heap)", &mut || {
        let _ = std::hint::black_box(f.read_at(&mut buf, 0));
    });
}

#[test]
fn lines_of_mounts() {
    let w = World::new();
    w.mkdir("with space");
    w.ns.mount(
        &w.path("with space"),
        tmpfs_mount(MountFlags::NOSUID | MountFlags::NODEV),
    )
    .unwrap();
    w.ns.set_propagation(&w.path("with space"), PropagationType::Shared, false)
        .unwrap();
    let info = w.ns.list(&w.root).pop().unwrap();
    let text = |line: Vec<u8>| String::from_utf8(line).unwrap();
    assert_eq!(
        text(info.mounts_line()),
        "tmpfs /with\\040space tmpfs rw,nosuid,nodev,relatime,mode=755 0 0\n"
    );
    let line = text(info.mountinfo_line());
    let fields: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        fields[3..6],
        ["/", "/with\\040space", "rw,nosuid,nodev,relatime"]
    );
    assert!(fields[6].starts_with("shared:"));
    assert_eq!(fields[7..], ["-", "tmpfs", "tmpfs", "rw,mode=755"]);
}

#[test]
fn threads_mount_and_walk() {
    let w = World::new();
    for dir in ["a", "b", "c", "a/a", "b/b", "c/c"] {
        w.mkdir(dir);
    }
    std::thread::scope(|scope| {
        for seed in 1..=3u64 {
            let w = &w;
            scope.spawn(move || {
                let mut state = seed;
                let mut pick = |n: usize| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 33) as usize % n
                };
                let places = ["a", "b", "c", "a/a", "b/b", "c/c", "a/a/b", "."];
                for _ in 0..1000 {
                    let (from, to) = (places[pick(8)], places[pick(8)]);
                    let _ = w.at().mkdir(format!("{to}/b").as_bytes(), 0o755);
                    let (Ok(from), Ok(to)) = (
                        w.at().resolve(from.as_bytes()),
                        w.at().resolve(to.as_bytes()),
                    ) else {
                        continue;
                    };
                    match pick(9) {
                        0 => {
                            let _ = w.ns.mount(&to, tmpfs_mount(MountFlags::empty()));
                        }
                        1 if w.ns.list(&w.root).len() < 40 => {
                            let _ = w.ns.bind(&from, &to, pick(2) == 0);
                        }
                        2 => {
                            let _ = w.ns.move_mount(&from, &to);
                        }
                        3 | 4 => {
                            let _ = w.ns.umount(to, UmountFlags::DETACH);
                        }
                        5 => {
                            let _ = w.ns.umount(to, UmountFlags::empty());
                        }
                        6 => {
                            let (mut root, mut cwd) = (w.root.clone(), to);
                            let copy = w.ns.copy(&mut [&mut root, &mut cwd]);
                            assert_eq!(path_text(&root, &copy.root()).bytes, b"/");
                        }
                        7 => {
                            let _ = w.at().rmdir(b"a/a/b");
                        }
                        _ => drop(
                            w.ns.list(&w.root)
                                .iter()
                                .map(|m| m.mountinfo_line())
                                .collect::<Vec<_>>(),
                        ),
                    }
                }
            });
        }
    });
    // Everything can be taken down again, and then nothing is a mount point.
    for _ in 0..1000 {
        let Some(info) = w.ns.list(&w.root).into_iter().skip(1).last() else {
            break;
        };
        let path = info.mount.root_path();
        drop(info);
        w.ns.umount(path, UmountFlags::DETACH).unwrap();
    }
    for dir in ["a/a", "b/b", "c/c", "a", "b", "c"] {
        assert!(!w.path(dir).dentry.is_mountpoint(), "{dir}");
    }
}
