//! The overlay against a plain tmpfs with the same content: whatever a program does, it must not see a difference.

use super::*;
use crate::testing::TestCaller;
use crate::tmpfs::{Options, TmpFs, store::HeapStore};
use crate::vfs::{Lookup, LookupFlags, MountNamespace};
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE, RENAME_NOREPLACE};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn tmpfs() -> Arc<TmpFs> {
    TmpFs::new(Arc::new(HeapStore::default()), Options::default())
}

struct World {
    root: Path,
    _ns: Arc<MountNamespace>,
    caller: TestCaller,
}

impl World {
    fn of(fs: Arc<dyn FileSystem>) -> Self {
        let ns = MountNamespace::new(Mount::of_fs(fs, MountFlags::empty(), b"x"));
        Self {
            root: ns.root(),
            _ns: ns,
            caller: TestCaller::root(),
        }
    }
    fn at(&self) -> Lookup<'_> {
        Lookup::new(&self.caller, &self.root, &self.root)
    }
    fn write(&self, path: &str, flags: u32, text: &str) -> Result<(), Errno> {
        let file = self.at().open(path.as_bytes(), 1 | flags, 0o644)?;
        file.write(&self.caller, text.as_bytes())?;
        Ok(())
    }
    fn read(&self, path: &str) -> Result<String, Errno> {
        let file = self.at().open(path.as_bytes(), 0, 0)?;
        let mut buf = [0; 200];
        let n = file.read(&mut buf)?;
        Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
    }
    fn names(&self, path: &str) -> Vec<String> {
        let path = format!("{path}/");
        let dir = self
            .at()
            .open(path.as_bytes(), OpenFlags::O_DIRECTORY.bits(), 0)
            .unwrap();
        let mut names = Vec::new();
        loop {
            let before = names.len();
            let mut n = 0;
            dir.read_dir(&self.caller, &mut |e| {
                n += 1;
                if n > 2 {
                    return false;
                }
                names.push(String::from_utf8_lossy(e.name).into_owned());
                true
            })
            .unwrap();
            if names.len() == before {
                break;
            }
        }
        names.retain(|n| n != "." && n != "..");
        names.sort();
        names
    }
    /// Everything a program can see, as text.
    fn dump(&self, path: &str, out: &mut Vec<String>) {
        for name in self.names(path) {
            let path = format!("{path}/{name}");
            let at = self
                .at()
                .with(LookupFlags::NOFOLLOW)
                .resolve(path.as_bytes())
                .unwrap();
            let attr = at.inode().attr().unwrap();
            match attr.mode & 0o170000 {
                0o040000 => {
                    out.push(format!("{path} {:o} {}", attr.mode, attr.uid));
                    self.dump(&path, out);
                }
                0o120000 => out.push(format!(
                    "{path} -> {}",
                    String::from_utf8_lossy(&crate::vfs::readlink(&self.caller, &at).unwrap())
                )),
                _ => out.push(format!(
                    "{path} {:o} {} {} {}",
                    attr.mode,
                    attr.uid,
                    attr.nlink,
                    self.read(&path).unwrap()
                )),
            }
        }
    }
    fn dumped(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.dump("", &mut out);
        out
    }
    /// The content both start with.
    fn fill(&self) {
        for dir in ["a", "a/a", "a/b", "b"] {
            self.at().mkdir(dir.as_bytes(), 0o755).unwrap();
        }
        for file in ["c", "a/c", "a/a/a", "b/a"] {
            self.write(file, OpenFlags::O_CREAT.bits(), &format!("lower {file}"))
                .unwrap();
        }
        let c = self.at().resolve(b"c").unwrap();
        self.at().link(&c, b"b/c").unwrap();
        self.at().symlink(b"a/c", b"l").unwrap();
    }
}

fn pair() -> (World, World) {
    let plain = World::of(tmpfs());
    plain.fill();
    let lower = tmpfs();
    // Filled through a mount of its own, and left alone then.
    let filler = World::of(lower.clone());
    filler.fill();
    let overlay = OverlayFs::new(lower, tmpfs()).unwrap();
    std::mem::forget(filler);
    (plain, World::of(overlay))
}

#[derive(Clone, Debug)]
enum Step {
    Create(String, bool),
    Append(String),
    Mkdir(String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, u32),
    Link(String, String),
    Symlink(String),
    Chmod(String, u32),
    Truncate(String, u64),
    Tmpfile(String),
    Forget,
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("l")],
        1..4,
    )
    .prop_map(|parts| parts.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (path(), any::<bool>()).prop_map(|(p, t)| Step::Create(p, t)),
        1 => path().prop_map(Step::Append),
        1 => path().prop_map(Step::Mkdir),
        3 => path().prop_map(Step::Unlink),
        2 => path().prop_map(Step::Rmdir),
        4 => (path(), path(), prop_oneof![4 => Just(0), 1 => Just(RENAME_NOREPLACE), 2 => Just(RENAME_EXCHANGE)]).prop_map(|(a, b, f)| Step::Rename(a, b, f)),
        2 => (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
        1 => path().prop_map(Step::Symlink),
        1 => (path(), 0u32..0o1000).prop_map(|(p, m)| Step::Chmod(p, m)),
        1 => (path(), 0u64..12).prop_map(|(p, n)| Step::Truncate(p, n)),
        1 => path().prop_map(Step::Tmpfile),
        1 => Just(Step::Forget),
    ]
}

fn run(w: &World, step: &Step, number: usize) -> Result<(), Errno> {
    let at = w.at();
    let nofollow = at.with(LookupFlags::NOFOLLOW);
    match step {
        Step::Create(p, trunc) => w.write(
            p,
            OpenFlags::O_CREAT.bits() | if *trunc { OpenFlags::O_TRUNC.bits() } else { 0 },
            &format!("w{number}"),
        ),
        Step::Append(p) => w.write(p, OpenFlags::O_APPEND.bits(), &format!("+{number}")),
        Step::Mkdir(p) => at.mkdir(p.as_bytes(), 0o755).map(drop),
        Step::Unlink(p) => at.unlink(p.as_bytes()),
        Step::Rmdir(p) => at.rmdir(p.as_bytes()),
        Step::Rename(a, b, flags) => {
            at.rename(a.as_bytes(), || Ok(w.root.clone()), b.as_bytes(), *flags)
        }
        Step::Link(a, b) => at
            .link(&nofollow.resolve(a.as_bytes())?, b.as_bytes())
            .map(drop),
        Step::Symlink(p) => at.symlink(b"a/c", p.as_bytes()).map(drop),
        Step::Chmod(p, mode) => crate::vfs::chmod(&w.caller, &at.resolve(p.as_bytes())?, *mode),
        Step::Truncate(p, n) => crate::vfs::truncate(&w.caller, &at.resolve(p.as_bytes())?, *n),
        Step::Tmpfile(p) => {
            let dir = p.rsplit_once('/').map_or("", |(dir, _)| dir);
            let file = at.open(
                format!("/{dir}").as_bytes(),
                2 | OpenFlags::O_TMPFILE.bits(),
                0o600,
            )?;
            file.write(&w.caller, b"tmp")?;
            at.link(file.path(), p.as_bytes()).map(drop)
        }
        Step::Forget => {
            w.root.dentry.superblock().shrink();
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn like_one_filesystem(steps in proptest::collection::vec(step(), 1..30)) {
        let (plain, overlay) = pair();
        prop_assert_eq!(plain.dumped(), overlay.dumped());
        for (i, step) in steps.iter().enumerate() {
            let (a, b) = (run(&plain, step, i), run(&overlay, step, i));
            prop_assert_eq!(a, b, "step {} {:?}", i, step);
            prop_assert_eq!(plain.dumped(), overlay.dumped(), "step {} {:?}", i, step);
        }
        overlay.root.dentry.superblock().shrink();
        prop_assert_eq!(plain.dumped(), overlay.dumped());
    }
}

#[test]
fn inode_numbers_survive_copy_up() {
    let (_, w) = pair();
    let inos = || -> BTreeMap<&str, u64> {
        ["c", "a", "a/c", "b/c", "l"]
            .into_iter()
            .map(|p| {
                (
                    p,
                    w.at()
                        .with(LookupFlags::NOFOLLOW)
                        .stat(p.as_bytes())
                        .unwrap()
                        .ino,
                )
            })
            .collect()
    };
    let before = inos();
    assert_eq!(before["c"], before["b/c"]);
    w.write("b/c", OpenFlags::O_APPEND.bits(), "!").unwrap();
    crate::vfs::chmod(&w.caller, &w.at().resolve(b"a/c").unwrap(), 0o600).unwrap();
    w.root.dentry.superblock().shrink();
    assert_eq!(before, inos());
    assert_eq!(w.read("c").unwrap(), "lower c!");
    assert_eq!(w.at().stat(b"c").unwrap().nlink, 2);
}

#[test]
fn open_files_follow_the_copy() {
    let (_, w) = pair();
    let early = w.at().open(b"a/c", 0, 0).unwrap();
    w.write("a/c", OpenFlags::O_TRUNC.bits(), "new").unwrap();
    let mut buf = [0; 20];
    assert_eq!(early.read(&mut buf), Ok(3));
    // Removed while open: still there for those who have it, and writable.
    let file = w.at().open(b"b/a", 2, 0).unwrap();
    w.at().unlink(b"b/a").unwrap();
    assert_eq!(file.write(&w.caller, b"x"), Ok(1));
    assert_eq!(file.read_at(&mut buf, 0), Ok(9));
    assert_eq!(
        (&buf[..9], file.inode().attr().unwrap().nlink),
        (&b"xower b/a"[..], 0)
    );
    assert!(!w.at().exists(b"b/a"));
}

#[test]
fn nothing_keeps_it_alive() {
    let (_, w) = pair();
    w.write("a/c", 0, "new").unwrap();
    let fs = w.root.mount.fs().clone();
    let weak = Arc::downgrade(&fs);
    drop((w, fs));
    assert!(weak.upgrade().is_none());
}

/// Threads do whatever they like to one tree: nothing deadlocks, no lock is taken out of order, and what is listed afterwards is there.
fn storm(w: &World, rounds: u32) {
    std::thread::scope(|scope| {
        for seed in 1..=4u64 {
            scope.spawn(move || {
                let mut state = seed;
                let mut pick = |n: usize| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 33) as usize % n
                };
                let names = ["a", "b", "c", "l"];
                for round in 0..rounds {
                    let mut path = || {
                        (0..=pick(3))
                            .map(|_| names[pick(4)])
                            .collect::<Vec<_>>()
                            .join("/")
                    };
                    let (p, q) = (path(), path());
                    let list = q.clone();
                    let step = match pick(12) {
                        0 => Step::Create(p, round % 2 == 0),
                        1 => Step::Append(p),
                        2 => Step::Mkdir(p),
                        3 => Step::Unlink(p),
                        4 => Step::Rmdir(p),
                        5 | 6 => Step::Rename(p, q, 0),
                        7 => Step::Rename(p, q, RENAME_EXCHANGE),
                        8 => Step::Link(p, q),
                        9 => Step::Truncate(p, 5),
                        10 => Step::Tmpfile(p),
                        _ if round % 16 == 0 => Step::Forget,
                        _ => Step::Chmod(p, 0o755),
                    };
                    let _ = run(w, &step, 0);
                    if let Ok(dir) = w
                        .at()
                        .open(list.as_bytes(), OpenFlags::O_DIRECTORY.bits(), 0)
                    {
                        let _ = dir.read_dir(&w.caller, &mut |_| true);
                        let _ = crate::vfs::path_text(dir.path(), &w.root);
                    }
                }
            });
        }
    });
    w.root.dentry.superblock().shrink();
    let before = w.dumped();
    w.root.dentry.superblock().shrink();
    assert_eq!(before, w.dumped());
}

#[test]
fn storms() {
    let (plain, overlay) = pair();
    storm(&plain, 1500);
    storm(&overlay, 1500);
}
