//! Whole paths through the VFS, to a gofer's server in threads of this process, on a real directory.

use super::GoferFs;
use crate::Caller;
use crate::file::{File, Mappable};
use crate::inode::{Inode, NodeKind, SetAttr};
use crate::testing::TestCaller;
use crate::vfs::{
    Lookup, LookupFlags, Mount, MountFlags, MountNamespace, Path, TimeSet, chmod, chown, truncate,
    utimens,
};
use abi::Errno;
use gofer::client::Client;
use gofer::server::host::SelfFds;
use gofer::server::pool::Pool;
use gofer::server::{MountSpec, Server};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_APPEND: u32 = 0o2000;
const O_TMPFILE: u32 = 0o20200000;

/// A directory on the host and a file system on it; both go in the end.
pub(super) struct Fixture {
    pub host: PathBuf,
    client: Client,
    server: Arc<Server>,
    fs: Arc<GoferFs>,
    _ns: Arc<MountNamespace>,
    pub root: Path,
    pub caller: TestCaller,
}

impl Fixture {
    fn new(flags: gofer::wire::MountFlags) -> Fixture {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let host = std::env::temp_dir().join(format!(
            "gofer-fs-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir(&host).unwrap();
        // The servers of other tests have taken this process's umask away.
        std::fs::set_permissions(&host, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let fd = std::fs::File::open(&host).unwrap().into();
        let server =
            Arc::new(Server::new(vec![MountSpec { fd, flags }], SelfFds::open().unwrap()).unwrap());
        let (pool, _) = Pool::start(server.clone(), 4).unwrap();
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        sync::thread::spawn(sync::thread::Builder::new("serve"), move || {
            pool.serve(vec![theirs]);
            pool.finish();
        })
        .unwrap();
        let (client, mounts) = Client::connect(ours, 4).unwrap();
        let fs = GoferFs::new(&client, &mounts[0]).unwrap();
        let ns = MountNamespace::new(Mount::of_fs(fs.clone(), MountFlags::empty(), b"none"));
        let root = ns.root();
        Fixture {
            host,
            client,
            server,
            fs,
            _ns: ns,
            root,
            caller: TestCaller::root(),
        }
    }

    pub fn exclusive() -> Fixture {
        Self::new(gofer::wire::MountFlags::empty())
    }

    pub fn at(&self) -> Lookup<'_> {
        Lookup::new(&self.caller, &self.root, &self.root)
    }

    pub fn open(&self, path: &str, flags: u32) -> Result<Arc<File>, Errno> {
        self.at().open(path.as_bytes(), flags, 0o666)
    }

    pub fn path(&self, path: &str) -> Result<Path, Errno> {
        self.at().resolve(path.as_bytes())
    }

    fn inode(&self, path: &str) -> Arc<dyn Inode> {
        self.at()
            .with(LookupFlags::NOFOLLOW)
            .resolve(path.as_bytes())
            .unwrap()
            .inode()
            .clone()
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.open(path, O_WRONLY | O_CREAT | O_TRUNC).unwrap();
        assert_eq!(file.write(&self.caller, text.as_bytes()), Ok(text.len()));
    }

    pub fn read(&self, path: &str) -> Result<String, Errno> {
        let file = self.open(path, 0)?;
        let mut buf = [0; 100];
        let n = file.read(&mut buf)?;
        Ok(String::from_utf8_lossy(&buf[..n]).into_owned())
    }

    fn list(&self, path: &str) -> Vec<String> {
        names(&self.open(path, 0).unwrap())
    }
}

pub(super) fn names(dir: &File) -> Vec<String> {
    let mut names = Vec::new();
    dir.read_dir(&TestCaller::root(), &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        true
    })
    .unwrap();
    names.sort();
    names
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.client.hung_up();
        std::fs::remove_dir_all(&self.host).ok();
    }
}

#[test]
fn data_goes_to_the_host_and_back() {
    let t = Fixture::exclusive();
    t.write("file", "hello");
    assert_eq!(
        std::fs::read_to_string(t.host.join("file")).unwrap(),
        "hello"
    );
    assert_eq!(
        std::fs::metadata(t.host.join("file")).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(t.read("file").unwrap(), "hello");
    // Size, times and blocks follow what is written.
    let file = t.open("file", O_RDWR).unwrap();
    let before = file.inode().attr().unwrap();
    assert_eq!(file.write_at(&t.caller, b"world", 8190), Ok(5));
    let after = file.inode().attr().unwrap();
    assert_eq!((before.size, after.size), (5, 8195));
    assert!(after.blocks > before.blocks || after.blocks >= 16);
    assert!(after.mtime >= before.mtime);
    assert_eq!(
        after.mtime,
        std::fs::metadata(t.host.join("file")).unwrap().mtime_nsec()
            + std::fs::metadata(t.host.join("file")).unwrap().mtime() * 1_000_000_000
    );
    let mut buf = [1; 10];
    assert_eq!(file.read_at(&mut buf, 8188), Ok(7));
    assert_eq!(&buf[..7], b"\0\0world");
    assert_eq!(file.read_at(&mut buf, 9000), Ok(0));
    assert_eq!(file.seek(2, -5), Ok(8190));
    // Appending, two descriptions at once.
    let (a, b) = (
        t.open("file", O_WRONLY | O_APPEND).unwrap(),
        t.open("file", O_WRONLY | O_APPEND).unwrap(),
    );
    a.write(&t.caller, b"A").unwrap();
    b.write(&t.caller, b"B").unwrap();
    a.write(&t.caller, b"C").unwrap();
    assert_eq!(file.read_at(&mut buf, 8190), Ok(8));
    assert_eq!(&buf[..8], b"worldABC");
    // Truncation.
    truncate(&t.caller, &t.path("file").unwrap(), 3).unwrap();
    assert_eq!(file.inode().attr().unwrap().size, 3);
    drop(t.open("file", O_WRONLY | O_TRUNC).unwrap());
    assert_eq!(std::fs::metadata(t.host.join("file")).unwrap().len(), 0);
    file.ops().sync(&file, false).unwrap();
    file.ops().allocate(&file, &t.caller, 0, 0, 10_000).unwrap();
    assert_eq!(file.inode().attr().unwrap().size, 10_000);
    t.fs.client().flush();
    crate::FileSystem::sync(&*t.fs).unwrap();
}

#[test]
fn a_description_for_reading_sees_what_another_writes() {
    let t = Fixture::exclusive();
    std::fs::write(t.host.join("file"), "old").unwrap();
    let reader = t.open("file", 0).unwrap();
    let mut buf = [0; 8];
    assert_eq!(reader.read_at(&mut buf, 0), Ok(3));
    t.write("file", "newer");
    assert_eq!(reader.read_at(&mut buf, 0), Ok(5));
    assert_eq!(&buf[..5], b"newer");
    assert!(matches!(
        reader.ops().mmap(&reader, 0, 4096, false),
        Ok(Mappable::Host { offset: 0, .. })
    ));
    assert_eq!(reader.write(&t.caller, b"x"), Err(Errno::EBADF));
}

#[test]
fn names_come_and_go() {
    let t = Fixture::exclusive();
    t.at().mkdir(b"dir", 0o755).unwrap();
    t.write("dir/a", "1");
    t.at().symlink(b"dir/a", b"link").unwrap();
    assert_eq!(t.read("link").unwrap(), "1");
    assert_eq!(
        std::fs::read_link(t.host.join("link")).unwrap(),
        PathBuf::from("dir/a")
    );
    assert_eq!(
        t.open("dir/a", O_CREAT | O_EXCL | O_WRONLY).map(drop),
        Err(Errno::EEXIST)
    );
    assert_eq!(t.read("dir/none").unwrap_err(), Errno::ENOENT);
    // A hard link is the same inode, also when found anew.
    t.at().link(&t.path("dir/a").unwrap(), b"hard").unwrap();
    assert!(Arc::ptr_eq(&t.inode("hard"), &t.inode("dir/a")));
    assert_eq!(t.inode("hard").attr().unwrap().nlink, 2);
    std::fs::hard_link(t.host.join("dir/a"), t.host.join("third")).unwrap();
    assert!(Arc::ptr_eq(&t.inode("third"), &t.inode("dir/a")));
    // Renames, within and between directories, over something, exchanging.
    t.at()
        .rename(b"hard", || Ok(t.root.clone()), b"dir/b", 0)
        .unwrap();
    assert_eq!(t.read("dir/b").unwrap(), "1");
    assert_eq!(t.read("hard").unwrap_err(), Errno::ENOENT);
    t.write("c", "c");
    t.write("d", "d");
    t.at().rename(b"c", || Ok(t.root.clone()), b"d", 0).unwrap();
    assert_eq!(t.read("d").unwrap(), "c");
    t.write("c", "again");
    t.at().rename(b"c", || Ok(t.root.clone()), b"d", 2).unwrap();
    assert_eq!(
        (t.read("c").unwrap(), t.read("d").unwrap()),
        ("c".into(), "again".into())
    );
    // Listings follow.
    assert_eq!(t.list("dir"), [".", "..", "a", "b"]);
    let open = t.open("dir", 0).unwrap();
    assert_eq!(names(&open), [".", "..", "a", "b"]);
    t.at().unlink(b"dir/b").unwrap();
    t.write("dir/e", "e");
    assert_eq!(t.list("dir"), [".", "..", "a", "e"]);
    open.seek(0, 0).unwrap();
    assert_eq!(names(&open), [".", "..", "a", "e"]);
    assert_eq!(t.at().rmdir(b"dir"), Err(Errno::ENOTEMPTY));
    t.at().unlink(b"dir/a").unwrap();
    t.at().unlink(b"dir/e").unwrap();
    t.at().rmdir(b"dir").unwrap();
    assert!(!t.host.join("dir").exists());
    assert_eq!(t.inode("third").attr().unwrap().nlink, 1);
    // FIFOs and sockets are names on the host.
    t.at().mknod(b"fifo", NodeKind::Fifo, 0o600).unwrap();
    t.at().mknod(b"sock", NodeKind::Socket, 0o600).unwrap();
    assert_eq!(t.inode("fifo").kind(), NodeKind::Fifo);
    assert_eq!(
        std::fs::metadata(t.host.join("sock")).unwrap().mode(),
        0o140_600
    );
    let fifo = t.open("fifo", O_RDWR).unwrap();
    assert_eq!(fifo.write(&t.caller, b"through the sentry"), Ok(18));
    let mut buf = [0; 7];
    assert_eq!(fifo.read(&mut buf), Ok(7));
}

#[test]
fn open_files_outlive_their_names() {
    let t = Fixture::exclusive();
    t.write("file", "data");
    let file = t.open("file", O_RDWR).unwrap();
    t.at().unlink(b"file").unwrap();
    let mut buf = [0; 4];
    assert_eq!(file.read_at(&mut buf, 0), Ok(4));
    assert_eq!(file.inode().attr().unwrap().nlink, 0);
    t.write("file", "other");
    assert_eq!(file.read_at(&mut buf, 0), Ok(4));
    assert_eq!(&buf, b"data");
    // With the last reference the gofer lets go too, and the host frees the blocks.
    let before = t.server.open_nodes();
    drop(file);
    t.root.inode().attr().unwrap();
    t.fs.client().flush();
    crate::FileSystem::statfs(&*t.fs).unwrap();
    assert!(
        t.server.open_nodes() < before,
        "{} of {before}",
        t.server.open_nodes()
    );
    // A file that never had a name gets one.
    let tmp = t.open(".", O_RDWR | O_TMPFILE).unwrap();
    tmp.write(&t.caller, b"tmp").unwrap();
    t.at().link(tmp.path(), b"named").unwrap();
    assert_eq!(t.read("named").unwrap(), "tmp");
}

#[test]
fn attributes() {
    let t = Fixture::exclusive();
    t.write("file", "x");
    let at = t.path("file").unwrap();
    chmod(&t.caller, &at, 0o600).unwrap();
    chown(&t.caller, &at, Some(7), Some(8)).unwrap();
    utimens(&t.caller, &at, TimeSet::At(5_000_000_001), TimeSet::At(-1)).unwrap();
    let attr = at.inode().attr().unwrap();
    assert_eq!(
        (attr.mode, attr.uid, attr.gid, attr.atime, attr.mtime),
        (0o100_600, 7, 8, 5_000_000_001, -1)
    );
    let meta = std::fs::metadata(t.host.join("file")).unwrap();
    assert_eq!(
        (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.atime_nsec(),
            meta.mtime()
        ),
        (0o100_600, 7, 8, 1, -1)
    );
    at.inode()
        .set_attr(
            &t.caller,
            &SetAttr {
                size: Some(9),
                mtime: Some(77),
                ctime: 1,
                ..SetAttr::default()
            },
        )
        .unwrap();
    let attr = at.inode().attr().unwrap();
    assert_eq!((attr.size, attr.mtime), (9, 77));
    // A user's files are the user's, in a setgid directory the directory's group's.
    t.at().mkdir(b"shared", 0o777).unwrap();
    chown(&t.caller, &t.path("shared").unwrap(), None, Some(99)).unwrap();
    chmod(&t.caller, &t.path("shared").unwrap(), 0o2777).unwrap();
    let user = TestCaller::user(1000);
    let lookup = Lookup::new(&user, &t.root, &t.root);
    drop(
        lookup
            .open(b"shared/mine", O_CREAT | O_WRONLY, 0o666)
            .unwrap(),
    );
    lookup.mkdir(b"shared/sub", 0o755).unwrap();
    let meta = std::fs::metadata(t.host.join("shared/mine")).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1000, 99, 0o644)
    );
    assert_eq!(
        std::fs::metadata(t.host.join("shared/sub")).unwrap().mode() & 0o7777,
        0o2755
    );
    assert_eq!(lookup.open(b"file", 0, 0).map(drop), Err(Errno::EACCES));
    assert_eq!(lookup.unlink(b"file"), Err(Errno::EACCES));
    // Extended attributes.
    let inode = at.inode();
    assert_eq!(inode.get_xattr(&t.caller, b"user.x"), Err(Errno::ENODATA));
    assert_eq!(
        inode.get_xattr(&t.caller, b"security.selinux"),
        Err(Errno::EOPNOTSUPP)
    );
    if inode.set_xattr(&t.caller, b"user.x", b"1", 0).is_ok() {
        assert_eq!(inode.get_xattr(&t.caller, b"user.x").unwrap(), b"1");
        assert_eq!(inode.list_xattr(&t.caller).unwrap(), b"user.x\0");
        inode.remove_xattr(&t.caller, b"user.x").unwrap();
        assert_eq!(inode.list_xattr(&t.caller).unwrap(), b"");
    }
}

#[test]
fn exclusive_mounts_ask_once() {
    let t = Fixture::exclusive();
    std::fs::create_dir(t.host.join("dir")).unwrap();
    std::fs::write(t.host.join("dir/file"), "x").unwrap();
    t.read("dir/file").unwrap();
    assert_eq!(t.read("dir/none").unwrap_err(), Errno::ENOENT);
    t.list("dir");
    t.inode("dir").attr().unwrap();
    // From here on without the gofer.
    t.client.hung_up();
    assert_eq!(t.read("dir/file").unwrap(), "x");
    assert_eq!(t.read("dir/none").unwrap_err(), Errno::ENOENT);
    assert_eq!(t.list("dir"), [".", "..", "file"]);
    assert_eq!(t.inode("dir/file").attr().unwrap().size, 1);
    assert_eq!(t.read("dir/other").unwrap_err(), Errno::EIO);
}

#[test]
fn shared_mounts_see_what_others_do() {
    let t = Fixture::new(gofer::wire::MountFlags::SHARED);
    assert_eq!(t.read("file").unwrap_err(), Errno::ENOENT);
    std::fs::write(t.host.join("file"), "one").unwrap();
    assert_eq!(t.read("file").unwrap(), "one");
    std::fs::write(t.host.join("file"), "longer").unwrap();
    assert_eq!(t.inode("file").attr().unwrap().size, 6);
    assert_eq!(t.read("file").unwrap(), "longer");
    std::fs::write(t.host.join("new"), "two").unwrap();
    std::fs::rename(t.host.join("new"), t.host.join("file")).unwrap();
    assert_eq!(t.read("file").unwrap(), "two");
    assert_eq!(t.list("."), [".", "..", "file"]);
    std::fs::remove_file(t.host.join("file")).unwrap();
    assert_eq!(t.read("file").unwrap_err(), Errno::ENOENT);
    assert_eq!(t.list("."), [".", ".."]);
    symlink("elsewhere", t.host.join("file")).unwrap();
    std::fs::write(t.host.join("elsewhere"), "three").unwrap();
    assert_eq!(t.read("file").unwrap(), "three");
    // Appending finds the end that others have moved.
    let file = t.open("elsewhere", O_WRONLY | O_APPEND).unwrap();
    file.write(&t.caller, b"-a").unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(t.host.join("elsewhere"))
        .map(|mut f| std::io::Write::write_all(&mut f, b"-b").unwrap())
        .unwrap();
    file.write(&t.caller, b"-c").unwrap();
    assert_eq!(
        std::fs::read_to_string(t.host.join("elsewhere")).unwrap(),
        "three-a-b-c"
    );
}

#[test]
fn read_only_mounts() {
    let t = Fixture::new(gofer::wire::MountFlags::READ_ONLY);
    std::fs::write(t.host.join("file"), "x").unwrap();
    assert_eq!(t.read("file").unwrap(), "x");
    assert_eq!(t.open("file", O_WRONLY).map(drop), Err(Errno::EROFS));
    assert_eq!(
        t.open("new", O_WRONLY | O_CREAT).map(drop),
        Err(Errno::EROFS)
    );
    assert_eq!(t.at().mkdir(b"new", 0o755).map(drop), Err(Errno::EROFS));
    assert_eq!(t.at().unlink(b"file"), Err(Errno::EROFS));
}

#[test]
fn idle_descriptors_are_bounded() {
    let t = Fixture::exclusive();
    for n in 0..3000 {
        t.write(&format!("file-{n}"), "x");
    }
    let held = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(Result::ok);
    let held = held
        .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target.starts_with(&t.host)))
        .count();
    // Those of the server in this process are among them: one for each inode.
    assert!(held < 3000 + 1024 + 200, "{held}");
    for n in (0..3000).step_by(7) {
        assert_eq!(t.read(&format!("file-{n}")).unwrap(), "x");
    }
}

#[test]
fn many_threads() {
    let t = Fixture::exclusive();
    let t = Arc::new(t);
    let threads: Vec<_> = (0..6_u32)
        .map(|id| {
            let t = t.clone();
            let work = move || {
                for n in 0..100 {
                    let name = format!("f-{}", (n + id) % 7);
                    if let Ok(file) = t.open(&name, O_RDWR | O_CREAT) {
                        file.write(&t.caller, b"data").unwrap();
                        file.inode().attr().unwrap();
                    }
                    t.at()
                        .rename(
                            name.as_bytes(),
                            || Ok(t.root.clone()),
                            format!("g-{}", n % 5).as_bytes(),
                            0,
                        )
                        .ok();
                    t.at().unlink(format!("g-{}", (n + id) % 5).as_bytes()).ok();
                    t.list(".");
                }
            };
            sync::thread::spawn(sync::thread::Builder::new("worker"), work).unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(t.caller.umask() == 0o022 && t.client.death().is_none());
    let mut on_host: Vec<String> = std::fs::read_dir(&t.host)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    on_host.extend([".".into(), "..".into()]);
    on_host.sort();
    assert_eq!(t.list("."), on_host);
}

#[test]
fn listed_directories_are_looked_up_in_advance() {
    let t = Fixture::exclusive();
    for n in 0..200 {
        std::fs::write(t.host.join(format!("file-{n}")), n.to_string()).unwrap();
    }
    let names = t.list(".");
    // As `ls -l` does: every entry, in some order. Most are there before they are asked for.
    let (mut seen, mut first_nodes) = (0, 0);
    for (n, name) in names
        .iter()
        .filter(|name| name.starts_with("file"))
        .enumerate()
    {
        let attr = t.inode(name).attr().unwrap();
        assert_eq!(
            attr.ino,
            std::fs::metadata(t.host.join(name)).unwrap().ino()
        );
        seen += 1;
        if n == 1 {
            first_nodes = t.server.open_nodes();
        }
    }
    assert_eq!(seen, 200);
    assert!(first_nodes > 10, "{first_nodes}");
    // And as `rm -r` does; nothing that is gone is found.
    t.list(".");
    for name in names.iter().filter(|name| name.starts_with("file")) {
        if name.ends_with('7') {
            t.at()
                .rename(name.as_bytes(), || Ok(t.root.clone()), b"renamed", 0)
                .unwrap();
            t.write(name, "new");
            assert_eq!(t.read(name).unwrap(), "new");
        }
        t.at().unlink(name.as_bytes()).unwrap();
        assert_eq!(t.read(name).unwrap_err(), Errno::ENOENT);
    }
    assert_eq!(t.list("."), [".", "..", "renamed"]);
    t.at().unlink(b"renamed").unwrap();
    assert_eq!(std::fs::read_dir(&t.host).unwrap().count(), 0);
}

#[test]
fn directories_made_here_know_their_names() {
    let t = Fixture::exclusive();
    t.at().mkdir(b"new", 0o755).unwrap();
    t.write("new/a", "a");
    t.at().symlink(b"a", b"new/b").unwrap();
    t.at().link(&t.path("new/a").unwrap(), b"new/c").unwrap();
    t.at()
        .rename(b"new/a", || Ok(t.root.clone()), b"new/d", 0)
        .unwrap();
    t.write("outside", "o");
    t.at()
        .rename(b"outside", || Ok(t.root.clone()), b"new/e", 0)
        .unwrap();
    t.at()
        .rename(b"new/e", || Ok(t.root.clone()), b"new/c", 2)
        .unwrap();
    t.at().mkdir(b"new/sub", 0o755).unwrap();
    t.at().rmdir(b"new/sub").unwrap();
    t.at()
        .rename(b"new/b", || Ok(t.root.clone()), b"b", 0)
        .unwrap();
    assert_eq!(t.list("new"), [".", "..", "c", "d", "e"]);
    // What is not there is not there, without asking; what is there is found.
    t.client.hung_up();
    assert_eq!(t.read("new/never").unwrap_err(), Errno::ENOENT);
    for gone in ["new/a", "new/b", "new/sub"] {
        assert_eq!(t.read(gone).unwrap_err(), Errno::ENOENT, "{gone}");
    }
    assert_eq!(
        (
            t.read("new/c").unwrap(),
            t.read("new/d").unwrap(),
            t.read("new/e").unwrap()
        ),
        ("o".into(), "a".into(), "a".into())
    );
}
