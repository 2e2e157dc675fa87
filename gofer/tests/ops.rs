//! Every operation, against a server in this process: what it does on the host, what it answers, what a mount forbids.

mod common;

use abi::Errno;
use common::{Temp, all_flags, exercise, owner, serve};
use gofer::wire::{Access, MountFlags, RenameFlags, SetAttr, SetTime, SocketKind};

#[test]
fn every_operation() {
    let temp = Temp::new("ops");
    let fixture = serve(&[(&temp.0, MountFlags::empty())]);
    exercise(fixture.root(), fixture.client(), &temp.0).unwrap();
}

#[test]
fn every_operation_where_all_is_permitted() {
    let temp = Temp::new("ops-all");
    let fixture = serve(&[(&temp.0, all_flags())]);
    exercise(fixture.root(), fixture.client(), &temp.0).unwrap();
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let temp = Temp::new("ro");
    temp.write("file", "data");
    std::fs::create_dir(temp.path("dir")).unwrap();
    let fixture = serve(&[(&temp.0, MountFlags::READ_ONLY | all_flags())]);
    let root = fixture.root();
    let (file, before) = root.lookup(b"file").unwrap();
    let refused = |result: abi::Result<()>| assert_eq!(result.unwrap_err(), Errno::EROFS);
    refused(root.create(b"new", Access::Write, owner(0o644)).map(drop));
    refused(root.tmp_file(Access::Write, owner(0o644)).map(drop));
    refused(root.mkdir(b"new", owner(0o755)).map(drop));
    refused(
        root.mknod(b"new", owner(0o644), abi::stat::S_IFIFO, (0, 0))
            .map(drop),
    );
    refused(root.symlink(b"new", b"x", 0, 0).map(drop));
    refused(root.link(b"new", &file).map(drop));
    refused(root.unlink(b"file"));
    refused(root.rmdir(b"dir"));
    refused(root.rename(b"file", root, b"new", RenameFlags::empty()));
    refused(
        root.bind(b"new", SocketKind::Stream, owner(0o644))
            .map(drop),
    );
    refused(
        file.set_attr(&SetAttr::default().with_mode(0o600))
            .map(drop),
    );
    refused(file.truncate(0).map(drop));
    refused(
        file.set_attr(&SetAttr::default().with_mtime(SetTime::Now))
            .map(drop),
    );
    refused(file.set_xattr(b"user.x", b"y", 0));
    refused(file.remove_xattr(b"user.x"));
    refused(file.open(Access::Write).map(drop));
    refused(file.open(Access::ReadWrite).map(drop));
    let walked = root
        .walk(&[b"file"], Some(Access::ReadWrite), false)
        .unwrap();
    assert_eq!(walked.opened.unwrap().unwrap_err(), Errno::EROFS);
    // Reading goes on.
    file.open(Access::Read).unwrap();
    assert_eq!(file.attr().unwrap().mtime, before.mtime);
}

#[test]
fn mounts_do_not_mix() {
    let (a, b) = (Temp::new("a"), Temp::new("b"));
    a.write("file", "a");
    b.write("single", "b");
    let single = b.path("single");
    let fixture = serve(&[
        (&a.0, MountFlags::empty()),
        (&b.0, MountFlags::empty()),
        (&single, MountFlags::SHARED),
    ]);
    let [first, second, third] = &fixture.mounts[..] else {
        panic!("three mounts")
    };
    let (file, _) = first.root.lookup(b"file").unwrap();
    assert_eq!(second.root.link(b"x", &file).unwrap_err(), Errno::EXDEV);
    assert_eq!(
        first
            .root
            .rename(b"file", &second.root, b"x", RenameFlags::empty())
            .unwrap_err(),
        Errno::EXDEV
    );
    // A single file is a mount too.
    assert!(third.attr.is_regular() && third.flags == MountFlags::SHARED);
    assert_eq!(third.root.lookup(b"x").unwrap_err(), Errno::ENOTDIR);
    assert_eq!(third.root.open(Access::ReadWrite).unwrap().1.size, 1);
}

#[test]
fn dropped_nodes_are_closed() {
    let temp = Temp::new("close");
    temp.write("file", "x");
    let fixture = serve(&[(&temp.0, MountFlags::empty())]);
    let root = fixture.root();
    for _ in 0..3000 {
        root.lookup(b"file").unwrap();
    }
    // They ride along with the next request: no more than a batch is ever left.
    assert!(
        fixture.server.open_nodes() <= 3,
        "{}",
        fixture.server.open_nodes()
    );
    let nodes: Vec<_> = (0..2000).map(|_| root.lookup(b"file").unwrap()).collect();
    assert!(fixture.server.open_nodes() >= 2000);
    drop(nodes);
    fixture.client().flush();
    root.attr().unwrap();
    assert_eq!(fixture.server.open_nodes(), 1);
    // The root cannot be closed, and an id is not valid again when its slot is.
    fixture.server.close([1 << 32, 0, u64::MAX].into_iter());
    root.attr().unwrap();
}

#[test]
fn a_large_directory_comes_in_pieces() {
    let temp = Temp::new("large");
    for n in 0..5000 {
        temp.write(&format!("a-rather-long-name-of-a-file-{n:05}"), "");
    }
    let fixture = serve(&[(&temp.0, MountFlags::empty())]);
    for attrs in [false, true] {
        let (mut names, mut cookie, mut removed) = (std::collections::BTreeSet::new(), 0, 0);
        loop {
            let page = fixture.root().read_dir(cookie, attrs).unwrap();
            for entry in &page.entries {
                assert!(names.insert(entry.name.clone()), "twice");
            }
            cookie = page.entries.last().map_or(0, |entry| entry.cookie);
            // As `rm -r` does: what was read goes while the rest is still to come. A second reader disturbs nothing.
            if attrs && removed < 1000 {
                for entry in &page.entries {
                    fixture.root().unlink(&entry.name).unwrap();
                    removed += 1;
                }
            }
            fixture.root().read_dir(0, false).unwrap();
            if page.end {
                break;
            }
        }
        assert_eq!(names.len(), 5000);
    }
}

#[test]
fn a_listing_brings_nodes() {
    let temp = Temp::new("nodes");
    for n in 0..100 {
        temp.write(&format!("file-{n}"), &n.to_string());
    }
    let fixture = serve(&[(&temp.0, MountFlags::empty())]);
    let first = fixture.root().read_dir(0, false).unwrap();
    let cookie = first.entries[9].cookie;
    let page = fixture.root().read_dir_nodes(cookie, 20).unwrap();
    assert_eq!(page.len(), 20);
    for ((name, node, attr), entry) in page.iter().zip(&first.entries[10..]) {
        assert_eq!((name, attr.ino), (&entry.name, entry.ino));
        assert_eq!(node.attr().unwrap().ino, entry.ino);
        node.open(Access::Read).unwrap();
    }
    // Going on from there.
    assert_eq!(
        fixture
            .root()
            .read_dir_nodes(first.entries[29].cookie, 5)
            .unwrap()[0]
            .0,
        first.entries[30].name
    );
    assert_eq!(fixture.server.open_nodes(), 1 + 20 + 5);
    drop(page);
    fixture.root().attr().unwrap();
    assert_eq!(fixture.server.open_nodes(), 1);
    assert_eq!(fixture.root().read_dir_nodes(0, 0).unwrap().len(), 100);
}

#[test]
fn names_are_single_components() {
    let temp = Temp::new("names");
    let fixture = serve(&[(&temp.0, MountFlags::empty())]);
    let root = fixture.root();
    for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
        assert_eq!(root.lookup(bad).unwrap_err(), Errno::EINVAL, "{bad:?}");
        assert_eq!(
            root.mkdir(bad, owner(0o755)).map(drop).unwrap_err(),
            Errno::EINVAL
        );
    }
    assert_eq!(root.lookup(&[b'x'; 256]).unwrap_err(), Errno::ENAMETOOLONG);
    root.mkdir(&[b'x'; 255], owner(0o755)).unwrap();
    // What a guest may say does not bring the gofer down.
    assert_eq!(
        root.mkdir(
            b"x",
            gofer::wire::Owner {
                mode: 0o10000,
                uid: 0,
                gid: 0
            }
        )
        .map(drop)
        .unwrap_err(),
        Errno::EINVAL
    );
    assert_eq!(
        root.mkdir(
            b"x",
            gofer::wire::Owner {
                mode: 0,
                uid: u32::MAX,
                gid: 0
            }
        )
        .map(drop)
        .unwrap_err(),
        Errno::EINVAL
    );
    root.attr().unwrap();
}
