//! The same random calls on a gofer's directory and, by the host's own calls, on another: same results, same errors, same tree in the end.

use super::tests::{Fixture, names};
use crate::vfs::{LookupFlags, chmod};
use abi::Errno;
use std::fmt::Write;
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::{Path, PathBuf};

struct Random(u64);

impl Random {
    fn pick(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    /// A path of one to three components of few names, so that they collide.
    fn path(&mut self) -> String {
        let mut path = String::new();
        for depth in 0..=self.pick(3) {
            let separator = if depth == 0 { "" } else { "/" };
            write!(
                path,
                "{separator}{}",
                ["a", "b", "c", "d"][self.pick(4) as usize]
            )
            .unwrap();
        }
        path
    }
}

/// What a call came to, in words.
fn outcome<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap())),
    }
}

fn ours<T: std::fmt::Debug>(result: Result<T, Errno>) -> String {
    result.map_or_else(|errno| format!("{errno:?}"), |value| format!("{value:?}"))
}

fn host_names(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = vec![".".to_owned(), "..".to_owned()];
    for entry in std::fs::read_dir(dir)? {
        names.push(entry?.file_name().into_string().unwrap());
    }
    names.sort();
    Ok(names)
}

fn host_stat(path: &Path) -> std::io::Result<(u32, u64, u64)> {
    let meta = std::fs::symlink_metadata(path)?;
    let size = if meta.is_dir() { 0 } else { meta.size() };
    // Not every file system counts a directory's subdirectories alike.
    let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
    Ok((meta.mode(), size, nlink))
}

fn our_stat(t: &Fixture, path: &str) -> Result<(u32, u64, u64), Errno> {
    let at = t
        .at()
        .with(LookupFlags::NOFOLLOW)
        .resolve(path.as_bytes())?;
    let attr = at.inode().attr()?;
    let dir = at.dentry.is_dir();
    Ok((
        attr.mode,
        if dir { 0 } else { attr.size },
        if dir { 0 } else { attr.nlink.into() },
    ))
}

const RDWR_CREAT: u32 = 2 | 0o100;

fn step(t: &Fixture, other: &Path, random: &mut Random) -> (String, String, String) {
    let (a, b) = (random.path(), random.path());
    let (host_a, host_b) = (other.join(&a), other.join(&b));
    let kind = random.pick(14);
    let (ours, theirs) = match kind {
        0 | 1 => (
            ours(t.at().mkdir(a.as_bytes(), 0o755).map(drop)),
            outcome(std::fs::DirBuilder::new().mode(0o755).create(host_a)),
        ),
        2 | 3 => {
            let offset = random.pick(20);
            let write = |file: std::sync::Arc<crate::File>| {
                file.write_at(&t.caller, b"data", offset).map(drop)
            };
            let mut how = std::fs::OpenOptions::new();
            let host = how
                .read(true)
                .write(true)
                .create(true)
                .mode(0o644)
                .open(host_a);
            let host = host.and_then(|file| file.write_at(b"data", offset).map(drop));
            (ours(t.open(&a, RDWR_CREAT).and_then(write)), outcome(host))
        }
        4 => (
            ours(t.at().unlink(a.as_bytes())),
            outcome(rustix::fs::unlink(&host_a).map_err(Into::into)),
        ),
        5 => (
            ours(t.at().rmdir(a.as_bytes())),
            outcome(std::fs::remove_dir(host_a)),
        ),
        6 | 7 => {
            let flags = [0, 0, 1, 2][random.pick(4) as usize];
            let host_flags = rustix::fs::RenameFlags::from_bits_retain(flags);
            let host = rustix::fs::renameat_with(
                rustix::fs::CWD,
                host_a,
                rustix::fs::CWD,
                host_b,
                host_flags,
            );
            (
                ours(
                    t.at()
                        .rename(a.as_bytes(), || Ok(t.root.clone()), b.as_bytes(), flags),
                ),
                outcome(host.map_err(Into::into)),
            )
        }
        8 => {
            let old = t.at().with(LookupFlags::NOFOLLOW).resolve(a.as_bytes());
            let made = old
                .and_then(|old| t.at().link(&old, b.as_bytes()))
                .map(drop);
            (ours(made), outcome(std::fs::hard_link(host_a, host_b)))
        }
        9 => (
            ours(t.at().symlink(b.as_bytes(), a.as_bytes()).map(drop)),
            outcome(symlink(&b, host_a)),
        ),
        10 => {
            let list = |dir: std::sync::Arc<crate::File>| {
                if dir.path().dentry.is_dir() {
                    Ok(names(&dir))
                } else {
                    Err(Errno::ENOTDIR)
                }
            };
            let host = std::fs::metadata(&host_a).and_then(|_| host_names(&host_a));
            (ours(t.open(&a, 0).and_then(list)), outcome(host))
        }
        11 => {
            let mode = random.pick(0o1000) as u32 | 0o700;
            let host = std::fs::set_permissions(&host_a, PermissionsExt::from_mode(mode));
            (
                ours(t.path(&a).and_then(|at| chmod(&t.caller, &at, mode))),
                outcome(host),
            )
        }
        12 => (
            ours(t.read(&a)),
            outcome(std::fs::read(host_a).map(|data| String::from_utf8_lossy(&data).into_owned())),
        ),
        _ => (ours(our_stat(t, &a)), outcome(host_stat(&host_a))),
    };
    (format!("{kind} {a} {b}"), ours, theirs)
}

fn tree(at: &Path, into: &mut Vec<(PathBuf, String)>, top: &Path) {
    let mut entries: Vec<_> = std::fs::read_dir(at)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        into.push((
            path.strip_prefix(top).unwrap().to_owned(),
            outcome(host_stat(&path)),
        ));
        if path.symlink_metadata().unwrap().is_dir() {
            tree(&path, into, top);
        }
    }
}

#[test]
fn the_host_does_the_same() {
    for seed in 1..=12_u64 {
        let t = Fixture::exclusive();
        let other = t.host.with_extension("oracle");
        std::fs::create_dir(&other).unwrap();
        std::fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).unwrap();
        let mut random = Random(seed * 0x9e37_79b9);
        let mut worked = 0;
        for n in 0..1500 {
            let (what, ours, theirs) = step(&t, &other, &mut random);
            worked += usize::from(!ours.starts_with('E'));
            assert_eq!(ours, theirs, "seed {seed}, step {n}: {what}");
        }
        let (mut one, mut two) = (Vec::new(), Vec::new());
        tree(&t.host, &mut one, &t.host);
        tree(&other, &mut two, &other);
        std::fs::remove_dir_all(&other).ok();
        assert_eq!(one, two, "seed {seed}");
        assert!(worked > 150, "seed {seed}: only {worked} calls worked");
    }
}
