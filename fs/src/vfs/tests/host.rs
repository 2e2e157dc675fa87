//! The same calls on the host's tmpfs and here: same results, same errors, same tree.

use super::World;
use crate::NodeKind;
use crate::vfs::{LastKind, Lookup, LookupFlags, Path, Resolve};
use abi::Errno;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use std::os::fd::{AsFd, OwnedFd};

/// Directories above the start, so that no `..` of a test leaves the tree.
const ABOVE: &str = "x/x/x/x/x/x/x/x";

#[derive(Clone, Debug)]
enum Step {
    Open(String, u32),
    Open2(String, u32, u64),
    Mkdir(String),
    Mknod(String, bool),
    Symlink(String, String),
    Link(String, String, bool),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, u32),
    Stat(String, bool),
    Truncate(String, u64),
    Readlink(String),
}

struct Host {
    base: std::path::PathBuf,
    start: OwnedFd,
}

impl Host {
    fn new() -> Option<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let base =
            std::path::PathBuf::from(format!("/dev/shm/vfs-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(base.join(ABOVE)).ok()?;
        let start = rustix::fs::open(
            base.join(ABOVE),
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()?;
        Some(Self { base, start })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("a"), 6 => Just("b"), 4 => Just("c"), 1 => Just("."), 2 => Just("..")]
}

fn path() -> impl Strategy<Value = String> {
    (
        proptest::collection::vec(name(), 1..4),
        prop_oneof![6 => Just(""), 1 => Just("/"), 1 => Just("//"), 1 => Just("/.")],
        prop_oneof![9 => Just("/"), 1 => Just("//")],
    )
        .prop_map(|(names, end, sep)| names.join(sep) + end)
}

fn flags() -> impl Strategy<Value = u32> {
    // O_WRONLY|O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_PATH in all mixtures; sometimes O_TMPFILE.
    let bit = |b: u32, weight: u32| prop_oneof![4 => Just(0u32), weight => Just(b)];
    (
        0u32..3,
        bit(0o100, 4),
        bit(0o200, 2),
        bit(0o1000, 2),
        bit(0o200000, 1),
        bit(0o400000, 2),
        bit(0o10000000, 1),
        prop_oneof![20 => Just(0u32), 1 => Just(0o20200000)],
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| a | b | c | d | e | f | g | h)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), flags()).prop_map(|(p, f)| Step::Open(p, f)),
        2 => (path(), prop_oneof![Just(0u32), Just(0o200000), Just(0o101), Just(0o400000)], prop_oneof![Just(0u64), Just(2), Just(4), Just(8), Just(0x10), Just(1)]).prop_map(|(p, f, r)| Step::Open2(p, f, r)),
        3 => path().prop_map(Step::Mkdir),
        1 => (path(), any::<bool>()).prop_map(|(p, f)| Step::Mknod(p, f)),
        3 => (path(), path()).prop_map(|(t, p)| Step::Symlink(t, p)),
        2 => (path(), path(), any::<bool>()).prop_map(|(a, b, f)| Step::Link(a, b, f)),
        2 => path().prop_map(Step::Unlink),
        2 => path().prop_map(Step::Rmdir),
        4 => (path(), path(), prop_oneof![4 => Just(0u32), 1 => Just(1), 1 => Just(2), 1 => Just(3)]).prop_map(|(a, b, f)| Step::Rename(a, b, f)),
        2 => (path(), any::<bool>()).prop_map(|(p, f)| Step::Stat(p, f)),
        1 => (path(), 0u64..10_000).prop_map(|(p, n)| Step::Truncate(p, n)),
        1 => path().prop_map(Step::Readlink),
    ]
}

type Outcome = Result<String, i32>;

fn on_host(h: &Host, step: &Step) -> Outcome {
    let at = h.start.as_fd();
    let mode = Mode::from_raw_mode(0o644);
    let done = |r: rustix::io::Result<()>| r.map(|()| String::new());
    let result = match step {
        Step::Open(p, f) => {
            rustix::fs::openat(at, p.as_str(), OFlags::from_bits_retain(*f | 0o4000), mode)
                .and_then(|fd| rustix::fs::fstat(&fd))
                .map(|s| format!("{:o} {}", s.st_mode, s.st_size))
        }
        Step::Open2(p, f, r) => {
            let mode = if f & 0o100 != 0 { mode } else { Mode::empty() };
            rustix::fs::openat2(
                at,
                p.as_str(),
                OFlags::from_bits_retain(*f | 0o4000),
                mode,
                ResolveFlags::from_bits_retain(*r),
            )
            .and_then(|fd| rustix::fs::fstat(&fd))
            .map(|s| format!("{:o}", s.st_mode))
        }
        Step::Mkdir(p) => done(rustix::fs::mkdirat(
            at,
            p.as_str(),
            Mode::from_raw_mode(0o755),
        )),
        Step::Mknod(p, fifo) => done(rustix::fs::mknodat(
            at,
            p.as_str(),
            if *fifo {
                FileType::Fifo
            } else {
                FileType::RegularFile
            },
            mode,
            0,
        )),
        Step::Symlink(t, p) => done(rustix::fs::symlinkat(t.as_str(), at, p.as_str())),
        Step::Link(a, b, follow) => done(rustix::fs::linkat(
            at,
            a.as_str(),
            at,
            b.as_str(),
            if *follow {
                AtFlags::SYMLINK_FOLLOW
            } else {
                AtFlags::empty()
            },
        )),
        Step::Unlink(p) => done(rustix::fs::unlinkat(at, p.as_str(), AtFlags::empty())),
        Step::Rmdir(p) => done(rustix::fs::unlinkat(at, p.as_str(), AtFlags::REMOVEDIR)),
        Step::Rename(a, b, f) => done(rustix::fs::renameat_with(
            at,
            a.as_str(),
            at,
            b.as_str(),
            RenameFlags::from_bits_retain(*f),
        )),
        Step::Stat(p, nofollow) => rustix::fs::statat(
            at,
            p.as_str(),
            if *nofollow {
                AtFlags::SYMLINK_NOFOLLOW
            } else {
                AtFlags::empty()
            },
        )
        .map(|s| {
            format!(
                "{:o} {} {}",
                s.st_mode,
                s.st_nlink,
                if s.st_mode & 0o170000 == 0o040000 {
                    0
                } else {
                    s.st_size
                }
            )
        }),
        Step::Truncate(p, n) => {
            let full = h.base.join(ABOVE).into_os_string().into_string().unwrap() + "/" + p;
            let _ = CWD;
            std::fs::OpenOptions::new()
                .write(true)
                .custom_flags_nonblock()
                .open(full)
                .map_err(|e| rustix::io::Errno::from_raw_os_error(e.raw_os_error().unwrap_or(0)))
                .and_then(|f| rustix::fs::ftruncate(&f, *n))
                .map(|()| String::new())
        }
        Step::Readlink(p) => {
            rustix::fs::readlinkat(at, p.as_str(), Vec::new()).map(|t| t.into_string().unwrap())
        }
    };
    result.map_err(|e| e.raw_os_error())
}

trait Nonblock {
    fn custom_flags_nonblock(&mut self) -> &mut Self;
}
impl Nonblock for std::fs::OpenOptions {
    fn custom_flags_nonblock(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, 0o4000)
    }
}

fn here(w: &World, start: &Path, step: &Step) -> Outcome {
    let at = Lookup::new(&w.caller, &w.root, start);
    let nofollow = at.with(LookupFlags::NOFOLLOW);
    let unit = |r: Result<(), Errno>| r.map(|()| String::new());
    let result = match step {
        Step::Open(p, f) => at
            .open(p.as_bytes(), *f | 0o4000, 0o644)
            .and_then(|f| f.inode().attr())
            .map(|a| format!("{:o} {}", a.mode, a.size)),
        Step::Open2(p, f, r) => Lookup {
            resolve: Resolve::from_bits_retain(*r),
            ..at
        }
        .open(p.as_bytes(), *f | 0o4000, 0o644)
        .and_then(|f| f.inode().attr())
        .map(|a| format!("{:o}", a.mode)),
        Step::Mkdir(p) => unit(at.mkdir(p.as_bytes(), 0o755).map(drop)),
        Step::Mknod(p, fifo) => unit(
            at.mknod(
                p.as_bytes(),
                if *fifo {
                    NodeKind::Fifo
                } else {
                    NodeKind::Regular
                },
                0o644,
            )
            .map(drop),
        ),
        Step::Symlink(t, p) => unit(at.symlink(t.as_bytes(), p.as_bytes()).map(drop)),
        Step::Link(a, b, follow) => unit(
            (if *follow { at } else { nofollow })
                .resolve(a.as_bytes())
                .and_then(|old| at.link(&old, b.as_bytes()))
                .map(drop),
        ),
        Step::Unlink(p) => unit(at.unlink(p.as_bytes())),
        Step::Rmdir(p) => unit(at.rmdir(p.as_bytes())),
        Step::Rename(a, b, f) => {
            unit(at.rename(a.as_bytes(), || Ok(start.clone()), b.as_bytes(), *f))
        }
        Step::Stat(p, n) => (if *n { nofollow } else { at })
            .stat(p.as_bytes())
            .map(|a| {
                format!(
                    "{:o} {} {}",
                    a.mode,
                    a.nlink,
                    if a.mode & 0o170000 == 0o040000 {
                        0
                    } else {
                        a.size
                    }
                )
            }),
        Step::Truncate(p, n) => unit(
            at.open(p.as_bytes(), 0o4001, 0)
                .and_then(|f| crate::vfs::ftruncate(&w.caller, &f, *n)),
        ),
        Step::Readlink(p) => nofollow
            .resolve(p.as_bytes())
            .and_then(|l| crate::vfs::readlink(&w.caller, &l))
            .map(|t| String::from_utf8(t).unwrap()),
    };
    result.map_err(|e| e.raw())
}

/// `O_TMPFILE` and directories show sizes that differ by filesystem.
fn comparable(step: &Step, outcome: Outcome) -> Outcome {
    match step {
        Step::Open(..) => outcome.map(|text| {
            if text.starts_with("4") {
                "directory".to_owned()
            } else {
                text
            }
        }),
        _ => outcome,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn like_linux(steps in proptest::collection::vec(step(), 1..40)) {
        let Some(host) = Host::new() else { return Ok(()) };
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let w = World::new();
        let mut made = String::new();
        for part in ABOVE.split('/') {
            made = format!("{made}/{part}");
            w.mkdir(&made);
        }
        let start = w.path(ABOVE);
        for (i, step) in steps.iter().enumerate() {
            let (a, b) = (comparable(step, on_host(&host, step)), comparable(step, here(&w, &start, step)));
            prop_assert_eq!(a, b, "step {} {:?}: host left, here right", i, step);
        }
    }
}

#[test]
fn last_components() {
    let w = World::new();
    let kind = |p: &str| w.at().parent(p.as_bytes()).map(|p| p.kind);
    assert_eq!(kind("/"), Ok(LastKind::Root));
    assert_eq!(kind("a"), Ok(LastKind::Name));
    assert_eq!(kind("./."), Ok(LastKind::Dot));
    assert_eq!(kind("../.."), Ok(LastKind::DotDot));
}
