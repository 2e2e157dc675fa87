//! tmpfs against a model, and its rules one by one.

use super::store::HeapStore;
use super::*;
use crate::file::{File, Mappable};
use crate::testing::TestCaller;
use crate::vfs::{Lookup, Mount, MountFlags, MountNamespace, Path};
use abi::fcntl::{OpenFlags, RENAME_EXCHANGE, RENAME_NOREPLACE, SEEK_DATA, SEEK_END, SEEK_HOLE};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

const RDWR: u32 = OpenFlags::O_RDWR.bits();
const CREAT: u32 = OpenFlags::O_CREAT.bits();
const TRUNC: u32 = OpenFlags::O_TRUNC.bits();

struct World {
    store: Arc<HeapStore>,
    fs: Arc<TmpFs>,
    root: Path,
    _ns: Arc<MountNamespace>,
    caller: TestCaller,
}

impl World {
    fn new(options: &str) -> Self {
        let store = Arc::new(HeapStore::default());
        let fs = TmpFs::new(store.clone(), Options::parse(options.as_bytes()).unwrap());
        let ns = MountNamespace::new(Mount::of_fs(fs.clone(), MountFlags::empty(), b"tmpfs"));
        Self {
            store,
            fs,
            root: ns.root(),
            _ns: ns,
            caller: TestCaller::root(),
        }
    }
    fn at(&self) -> Lookup<'_> {
        Lookup::new(&self.caller, &self.root, &self.root)
    }
    fn open(&self, path: &str, flags: u32) -> Arc<File> {
        self.at().open(path.as_bytes(), flags, 0o644).unwrap()
    }
    fn names(&self, path: &str) -> Vec<String> {
        let dir = self.open(path, OpenFlags::O_DIRECTORY.bits());
        let mut names = Vec::new();
        dir.read_dir(&self.caller, &mut |e| {
            names.push(String::from_utf8(e.name.to_vec()).unwrap());
            true
        })
        .unwrap();
        names
    }
    fn exists(&self, path: &str) -> bool {
        self.at().exists(path.as_bytes())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize),
    Truncate(u64),
    Punch(u64, u64),
    Allocate(u64, u64, bool),
    Map(u64, u64),
    Read(u64, usize),
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..20_000,
        60_000u64..70_000,
        120_000u64..140_000,
        250_000u64..270_000
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (offset(), 1usize..9000).prop_map(|(o, n)| Step::Write(o, n)),
        offset().prop_map(Step::Truncate),
        (offset(), 1u64..20_000).prop_map(|(o, n)| Step::Punch(o, n)),
        (offset(), 1u64..20_000, any::<bool>()).prop_map(|(o, n, k)| Step::Allocate(o, n, k)),
        (0u64..64, 1u64..8).prop_map(|(o, n)| Step::Map(o * 4096, n * 4096)),
        (offset(), 1usize..9000).prop_map(|(o, n)| Step::Read(o, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_like_a_vector(steps in proptest::collection::vec(step(), 1..40)) {
        let w = World::new("size=1g");
        let file = w.open("f", RDWR | CREAT);
        let mut model: Vec<u8> = Vec::new();
        // Pages that may hold data: blocks and holes follow them.
        let mut data: BTreeSet<u64> = BTreeSet::new();
        let pages = |o: u64, n: u64| o / 4096..(o + n).div_ceil(4096);
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(o, n) => {
                    let bytes = vec![i as u8 + 1; n];
                    prop_assert_eq!(file.write_at(&w.caller, &bytes, o).unwrap(), n);
                    model.resize(model.len().max(o as usize + n), 0);
                    model[o as usize..o as usize + n].copy_from_slice(&bytes);
                    data.extend(pages(o, n as u64));
                }
                Step::Truncate(o) => {
                    if o <= model.len() as u64 { data.retain(|p| *p < o.div_ceil(4096)); }
                    crate::vfs::ftruncate(&w.caller, &file, o).unwrap();
                    model.resize(o as usize, 0);
                }
                Step::Punch(o, n) => {
                    file.ops().allocate(&file, &w.caller, 3, o, n).unwrap();
                    for b in model.iter_mut().skip(o as usize).take(n as usize) { *b = 0; }
                    data.retain(|p| *p < o.div_ceil(4096) || *p >= (o + n) / 4096);
                }
                Step::Allocate(o, n, keep) => {
                    file.ops().allocate(&file, &w.caller, i32::from(keep), o, n).unwrap();
                    if !keep { model.resize(model.len().max((o + n) as usize), 0); }
                    data.extend(pages(o, n));
                }
                Step::Map(o, n) => {
                    let Mappable::Memory(pieces) = file.ops().mmap(&file, o, n, true).unwrap() else { panic!("memory") };
                    prop_assert_eq!(pieces.iter().map(|p| p.1).sum::<u64>(), n);
                    data.extend(pages(o, n));
                    // What the mapping shows is what the file holds.
                    let mut shown = Vec::new();
                    for (at, len) in pieces { let mut b = vec![0; len as usize]; w.store.read_at(at, &mut b).unwrap(); shown.extend(b); }
                    for (k, b) in shown.iter().enumerate() { prop_assert_eq!(*b, model.get(o as usize + k).copied().unwrap_or(0)); }
                }
                Step::Read(o, n) => {
                    let mut buf = vec![0xee; n];
                    let got = file.read_at(&mut buf, o).unwrap();
                    prop_assert_eq!(&buf[..got], model.get(o as usize..(o as usize + n).min(model.len())).unwrap_or_default());
                }
            }
            let attr = file.inode().attr().unwrap();
            prop_assert_eq!(attr.size, model.len() as u64);
            prop_assert_eq!(attr.blocks, data.len() as u64 * 8);
            prop_assert_eq!(w.fs.used(), data.len() as u64 * 4096);
            for o in [0u64, 5000, 65_536, 130_000] {
                if o < attr.size {
                    let want = if data.contains(&(o / 4096)) { Some(o) } else { data.range(o / 4096..).next().map(|p| p * 4096) }.filter(|p| *p < attr.size);
                    prop_assert_eq!(file.seek(SEEK_DATA, o as i64).ok(), want);
                    let hole = if data.contains(&(o / 4096)) { (o / 4096..).find(|p| !data.contains(p)).unwrap() * 4096 } else { o };
                    prop_assert_eq!(file.seek(SEEK_HOLE, o as i64).unwrap(), hole.min(attr.size));
                }
            }
        }
        let mut all = vec![0; model.len()];
        prop_assert_eq!(file.read_at(&mut all, 0).unwrap(), model.len());
        prop_assert_eq!(all, model);
        drop(file);
        w.at().unlink(b"f").unwrap();
        prop_assert_eq!(w.fs.used(), 0);
        prop_assert_eq!(w.store.live.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn space_runs_out_and_comes_back() {
    let w = World::new("size=16k,nr_inodes=5");
    let f = w.open("f", RDWR | CREAT);
    assert_eq!(f.write(&w.caller, &[1; 20_000]), Ok(16_384));
    assert_eq!(f.write(&w.caller, &[1]), Err(Errno::ENOSPC));
    assert_eq!(f.write_at(&w.caller, &[2; 10], 0), Ok(10));
    assert_eq!(
        f.ops().allocate(&f, &w.caller, 0, 0, 20_000),
        Err(Errno::ENOSPC)
    );
    crate::vfs::ftruncate(&w.caller, &f, 4096).unwrap();
    assert_eq!(f.ops().allocate(&f, &w.caller, 1, 4096, 12_288), Ok(()));
    assert_eq!(f.inode().attr().unwrap().size, 4096);
    // The root counts as well.
    for name in ["a", "b", "c"] {
        w.open(name, RDWR | CREAT);
    }
    assert_eq!(w.at().mkdir(b"d", 0o755).err(), Some(Errno::ENOSPC));
    w.at().unlink(b"a").unwrap();
    w.at().mkdir(b"d", 0o755).unwrap();
    let statfs = crate::vfs::statfs(&w.root).unwrap();
    assert_eq!(
        (
            statfs.f_blocks,
            statfs.f_bfree,
            statfs.f_files,
            statfs.f_ffree
        ),
        (4, 0, 5, 0)
    );
}

#[test]
fn deleted_files_free_their_memory() {
    let w = World::new("");
    let f = w.open("f", RDWR | CREAT);
    f.write(&w.caller, &[1; 100_000]).unwrap();
    w.at().unlink(b"f").unwrap();
    assert_ne!(w.fs.used(), 0);
    assert_eq!(f.inode().attr().unwrap().nlink, 0);
    drop(f);
    assert_eq!((w.fs.used(), w.store.live.load(Ordering::SeqCst)), (0, 0));
    // Replaced by a rename: the same.
    w.open("a", RDWR | CREAT)
        .write(&w.caller, &[1; 5000])
        .unwrap();
    w.open("b", RDWR | CREAT);
    w.at().rename(b"b", || Ok(w.root.clone()), b"a", 0).unwrap();
    assert_eq!(w.fs.used(), 0);
}

#[test]
fn directories_keep_their_cookies() {
    let w = World::new("");
    for i in 0..300 {
        w.open(&format!("f{i}"), RDWR | CREAT);
    }
    let dir = w.open("/", OpenFlags::O_DIRECTORY.bits());
    let mut seen = Vec::new();
    let mut round = 0;
    loop {
        let before = seen.len();
        let mut n = 0;
        dir.read_dir(&w.caller, &mut |e| {
            n += 1;
            if n > 7 {
                return false;
            }
            seen.push(e.name.to_vec());
            true
        })
        .unwrap();
        if seen.len() == before {
            break;
        }
        // What was seen goes, as `rm -r` does.
        for name in seen.iter().skip(before).filter(|n| n.starts_with(b"f")) {
            w.at().unlink(name).unwrap();
        }
        round += 1;
        assert!(round < 100);
    }
    assert_eq!(seen.len(), 302);
    assert_eq!(w.names("/"), [".", ".."]);
}

#[test]
fn renames() {
    let w = World::new("");
    w.at().mkdir(b"a", 0o755).unwrap();
    w.at().mkdir(b"a/b", 0o755).unwrap();
    w.at().mkdir(b"c", 0o755).unwrap();
    w.open("a/f", RDWR | CREAT);
    let rename = |old: &str, new: &str, flags| {
        w.at()
            .rename(old.as_bytes(), || Ok(w.root.clone()), new.as_bytes(), flags)
    };
    assert_eq!(rename("a", "a/b/x", 0), Err(Errno::EINVAL));
    assert_eq!(rename("a/b", "a", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("a/f", "c", 0), Err(Errno::EISDIR));
    assert_eq!(rename("c", "a/f", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename("c", "a", RENAME_NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename("c", "a", 0), Err(Errno::ENOTEMPTY));
    assert_eq!(rename("c", "a/b", 0), Ok(()));
    assert_eq!(rename("a/f", "a/b", RENAME_EXCHANGE), Ok(()));
    assert_eq!(w.at().stat(b"a/f").unwrap().mode & 0o170000, 0o040000);
    assert_eq!(rename("a/f", "top", 0), Ok(()));
    assert_eq!(
        (
            w.at().stat(b"a").unwrap().nlink,
            w.at().stat(b"/").unwrap().nlink
        ),
        (2, 4)
    );
    assert_eq!(rename("a/b/", "x", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename("a/b", "x/", 0), Err(Errno::ENOTDIR));
    assert_eq!(rename("top/", "top2/", 0), Ok(()));
    assert_eq!(rename("a/.", "x", 0), Err(Errno::EBUSY));
    assert!(!w.exists("top") && w.exists("top2") && w.exists("a/b"));
}

#[test]
fn tmpfile_gets_a_name() {
    let w = World::new("");
    let tmp = OpenFlags::O_TMPFILE.bits();
    let f = w.open("/", RDWR | tmp);
    f.write(&w.caller, b"hello").unwrap();
    assert_eq!(f.inode().attr().unwrap().nlink, 0);
    w.at().link(f.path(), b"named").unwrap();
    assert_eq!(w.at().stat(b"named").unwrap().nlink, 1);
    let closed = w.open("/", RDWR | tmp | OpenFlags::O_EXCL.bits());
    assert_eq!(
        w.at().link(closed.path(), b"never").err(),
        Some(Errno::ENOENT)
    );
    assert_eq!(w.at().open(b"/", tmp, 0o600).err(), Some(Errno::EINVAL));
}

#[test]
fn seals() {
    let mount = internal_mount(Arc::new(HeapStore::default()));
    let caller = TestCaller::root();
    let f = memfd(&mount, &caller, b"x", 2).unwrap();
    assert_eq!(get_seals(&f), Ok(0));
    f.write(&caller, &[1; 100]).unwrap();
    add_seals(&f, 4).unwrap();
    assert_eq!(f.write(&caller, &[1]), Err(Errno::EPERM));
    assert_eq!(f.write_at(&caller, &[2], 99), Ok(1));
    assert_eq!(crate::vfs::ftruncate(&caller, &f, 200), Err(Errno::EPERM));
    add_seals(&f, 2).unwrap();
    assert_eq!(crate::vfs::ftruncate(&caller, &f, 50), Err(Errno::EPERM));
    add_seals(&f, 8 | 1).unwrap();
    assert_eq!(f.write_at(&caller, &[2], 0), Err(Errno::EPERM));
    assert!(f.ops().mmap(&f, 0, 4096, true).is_err() && f.ops().mmap(&f, 0, 4096, false).is_ok());
    assert_eq!(add_seals(&f, 2), Err(Errno::EPERM));
    let text = crate::vfs::path_text(f.path(), &mount.root_path()).into_proc();
    assert_eq!(text, b"/memfd:x (deleted)");
    let closed = memfd(&mount, &caller, b"y", 0).unwrap();
    assert_eq!(
        (get_seals(&closed), add_seals(&closed, 2)),
        (Ok(1), Err(Errno::EPERM))
    );
    let noexec = memfd(&mount, &caller, b"z", 8).unwrap();
    assert_eq!(
        crate::vfs::chmod(&caller, noexec.path(), 0o777),
        Err(Errno::EPERM)
    );
}

#[test]
fn a_deep_tree_ends_without_recursion() {
    let w = World::new("");
    let mut at = w.root.clone();
    for _ in 0..100_000 {
        let here = Lookup::new(&w.caller, &w.root, &at);
        at = here.mkdir(b"d", 0o755).unwrap();
    }
    let World {
        fs,
        root,
        _ns,
        store,
        ..
    } = w;
    drop((at, root, _ns));
    let weak = Arc::downgrade(&fs);
    drop((fs, store));
    assert!(weak.upgrade().is_none(), "nothing keeps an unmounted tmpfs");
}

#[test]
fn guests_lose_pages_past_the_end() {
    struct Seen(Mutex<Vec<(u64, u64)>>);
    impl crate::vfs::MappingObserver for Seen {
        fn invalidate(&self, _of: &crate::vfs::Vnode, offset: u64, len: u64) {
            self.0.lock().push((offset, len));
        }
    }
    let w = World::new("");
    let f = w.open("f", RDWR | CREAT);
    f.write(&w.caller, &[1; 100_000]).unwrap();
    let seen = Arc::new(Seen(Mutex::new(Vec::new())));
    let observer: Arc<dyn crate::vfs::MappingObserver> = seen.clone();
    f.inode().vnode().observe_mappings(&observer);
    crate::vfs::ftruncate(&w.caller, &f, 5000).unwrap();
    w.open("f", RDWR | TRUNC);
    assert_eq!(
        seen.0.lock().iter().map(|s| s.0).collect::<Vec<_>>(),
        [8192, 0]
    );
}

/// A store with room for 100 MiB.
#[derive(Default)]
struct Small(HeapStore);
impl PageStore for Small {
    fn allocate(&self, len: u64) -> Result<u64, Errno> {
        if self.0.live.load(Ordering::SeqCst) + len > 100 << 20 {
            return Err(Errno::ENOMEM);
        }
        self.0.allocate(len)
    }
    fn free(&self, offset: u64, len: u64) {
        self.0.free(offset, len);
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), Errno> {
        self.0.write_at(offset, buf)
    }
    fn zero(&self, offset: u64, len: u64) -> Result<(), Errno> {
        self.0.zero(offset, len)
    }
}

#[test]
fn a_mapping_that_fails_takes_nothing() {
    let (store, usage) = (Small::default(), super::usage::Usage::new(0, 0));
    let mut data = super::data::Data::default();
    data.write(&store, &usage, b"here", 1 << 20).unwrap();
    let live = || store.0.live.load(Ordering::SeqCst);
    let before = live();
    let all = data.map(&store, &usage, 0, 1 << 40, false);
    assert_eq!((all.err(), live()), (Some(Errno::ENOMEM), before));
    assert!(data.map(&store, &usage, 0, 32 << 20, false).is_ok());
    let mut back = [0; 4];
    data.read(&store, &mut back, 1 << 20).unwrap();
    assert_eq!(&back, b"here");
}

#[test]
fn attributes_and_xattrs() {
    let w = World::new("mode=755");
    let f = w.open("f", RDWR | CREAT);
    use crate::vfs::{get_xattr, list_xattr, remove_xattr, set_xattr};
    set_xattr(&w.caller, f.path(), b"user.a", b"1", 0).unwrap();
    assert_eq!(
        set_xattr(&w.caller, f.path(), b"user.a", b"1", 1),
        Err(Errno::EEXIST)
    );
    assert_eq!(
        set_xattr(&w.caller, f.path(), b"user.b", b"1", 2),
        Err(Errno::ENODATA)
    );
    set_xattr(&w.caller, f.path(), b"trusted.t", b"2", 0).unwrap();
    assert_eq!(get_xattr(&w.caller, f.path(), b"user.a"), Ok(b"1".to_vec()));
    let user = TestCaller::user(1000);
    assert_eq!(
        get_xattr(&user, f.path(), b"trusted.t"),
        Err(Errno::ENODATA)
    );
    assert_eq!(list_xattr(&user, f.path()), Ok(b"user.a\0".to_vec()));
    assert_eq!(
        set_xattr(&user, f.path(), b"user.a", b"3", 0),
        Err(Errno::EACCES)
    );
    assert_eq!(
        set_xattr(&w.caller, f.path(), b"bogus.a", b"3", 0),
        Err(Errno::EOPNOTSUPP)
    );
    remove_xattr(&w.caller, f.path(), b"user.a").unwrap();
    assert_eq!(
        remove_xattr(&w.caller, f.path(), b"user.a"),
        Err(Errno::ENODATA)
    );
    // A stranger's write takes setuid away, root's does not; chown always does.
    crate::vfs::chmod(&w.caller, f.path(), 0o6777).unwrap();
    f.write(&w.caller, b"x").unwrap();
    assert_eq!(f.inode().attr().unwrap().mode & 0o7777, 0o6777);
    f.write(&user, b"x").unwrap();
    assert_eq!(f.inode().attr().unwrap().mode & 0o7777, 0o777);
    crate::vfs::chmod(&w.caller, f.path(), 0o4755).unwrap();
    crate::vfs::chown(&w.caller, f.path(), None, None).unwrap();
    assert_eq!(f.inode().attr().unwrap().mode & 0o7777, 0o755);
    assert_eq!(f.seek(SEEK_END, 0), Ok(2));
}

#[test]
fn remount_changes_the_limits() {
    let w = World::new("size=16k");
    let f = w.open("f", RDWR | CREAT);
    f.write(&w.caller, &[1; 16_384]).unwrap();
    assert_eq!(w.fs.remount(b"size=8k"), Err(Errno::EINVAL));
    w.fs.remount(b"size=20k,nr_inodes=10").unwrap();
    assert_eq!(f.write(&w.caller, &[1; 16_384]), Ok(4096));
    assert_eq!(w.fs.remount(b"bogus"), Err(Errno::EINVAL));
    assert_eq!(w.fs.options(), ",size=20k");
}
