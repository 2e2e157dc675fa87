//! What the tests share: temporary trees, a server in threads of this process, a jailed one in a process of its own, and the
//! exercise that uses every operation.
#![allow(dead_code, reason = "each test binary uses its part")]

use abi::Errno;
use gofer::client::{Client, Mount, Node};
use gofer::server::host::SelfFds;
use gofer::server::pool::Pool;
use gofer::server::{MountSpec, Server};
use gofer::wire::{Access, MountFlags, Owner, RenameFlags, SetAttr, SetTime, SocketKind, Time};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is removed in the end.
pub struct Temp(pub PathBuf);

impl Temp {
    pub fn new(name: &str) -> Temp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!(
            "gofer-{name}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir(&path).unwrap();
        Temp(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, data: &str) {
        std::fs::write(self.path(name), data).unwrap();
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

pub fn pair() -> (OwnedFd, OwnedFd) {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

pub fn open_root(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// A server in threads of this process.
pub struct InProcess {
    pub client: Option<Client>,
    pub mounts: Vec<Mount>,
    pub server: Arc<Server>,
    serving: Option<std::thread::JoinHandle<()>>,
}

/// Starts a server without a jail: what it refuses, it refuses by itself.
pub fn serve_raw(
    trees: &[(&Path, MountFlags)],
    threads: usize,
) -> (OwnedFd, Arc<Server>, std::thread::JoinHandle<()>) {
    let specs = trees
        .iter()
        .map(|(path, flags)| MountSpec {
            fd: open_root(path),
            flags: *flags,
        })
        .collect();
    let server = Arc::new(Server::new(specs, SelfFds::open().unwrap()).unwrap());
    let (pool, threads) = Pool::start(server.clone(), threads).unwrap();
    let (ours, theirs) = pair();
    let serving = std::thread::spawn(move || {
        pool.serve(vec![theirs]);
        pool.finish();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    (ours, server, serving)
}

pub fn serve(trees: &[(&Path, MountFlags)]) -> InProcess {
    let (socket, server, serving) = serve_raw(trees, 4);
    let (client, mounts) = Client::connect(socket, 4).unwrap();
    InProcess {
        client: Some(client),
        mounts,
        server,
        serving: Some(serving),
    }
}

impl InProcess {
    pub fn root(&self) -> &Node {
        &self.mounts[0].root
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.client.as_ref().unwrap().hung_up();
        self.mounts.clear();
        self.client = None;
        let result = self.serving.take().unwrap().join();
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

/// A jailed gofer process.
pub struct Jailed {
    pub child: Child,
    client: Option<Client>,
    pub mounts: Vec<Mount>,
}

impl Jailed {
    pub fn new(child: Child, client: Client, mounts: Vec<Mount>) -> Jailed {
        Jailed {
            child,
            client: Some(client),
            mounts,
        }
    }

    pub fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// As when the sandbox ends: every connection is closed.
    pub fn leave(&mut self) {
        self.mounts.clear();
        self.client = None;
    }
}

pub fn spawn_jailed(trees: &[(&Path, MountFlags)], args: &[String]) -> (Child, OwnedFd) {
    let (ours, theirs) = pair();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gofer-probe"));
    command.args(args).args(
        trees
            .iter()
            .map(|(path, flags)| format!("{}:{}", flags.bits(), path.display())),
    );
    let child = command.stdin(Stdio::from(theirs)).spawn().unwrap();
    (child, ours)
}

pub fn jailed(trees: &[(&Path, MountFlags)]) -> Jailed {
    let (child, socket) = spawn_jailed(trees, &[]);
    let (client, mounts) = Client::connect(socket, 4).unwrap();
    Jailed::new(child, client, mounts)
}

impl Drop for Jailed {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn owner(mode: u32) -> Owner {
    Owner {
        mode,
        uid: 1234,
        gid: 2345,
    }
}

/// Every right a mount can give.
pub fn all_flags() -> MountFlags {
    MountFlags::all() - MountFlags::READ_ONLY
}

/// Uses every operation once or more; `host` is the same directory as the root of `root` sees it, and is empty.
pub fn exercise(root: &Node, client: &Client, host: &Path) -> abi::Result<()> {
    // Create, data through the descriptor, ownership, mode.
    let (made, fd) = root.create(b"file", Access::ReadWrite, owner(0o4755))?;
    let data = std::fs::File::from(fd);
    data.write_at(b"hello", 0).unwrap();
    assert_eq!(std::fs::read(host.join("file")).unwrap(), b"hello");
    let meta = std::fs::metadata(host.join("file")).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1234, 2345, 0o4755)
    );
    assert_eq!(
        (made.attr.uid, made.attr.gid, made.attr.mode),
        (1234, 2345, 0o104_755)
    );
    assert_eq!((made.attr.ino, made.attr.nlink), (meta.ino(), 1));
    assert_eq!(
        root.create(b"file", Access::Write, owner(0o600))
            .unwrap_err(),
        Errno::EEXIST
    );
    assert_eq!(made.node.attr()?.size, 5);
    drop(data);
    // A file of the gofer's own ids needs no change of owner.
    let (own, _) = root.create(
        b"own",
        Access::Write,
        Owner {
            mode: 0o644,
            uid: 0,
            gid: 0,
        },
    )?;
    assert_eq!((own.attr.uid, own.attr.mode), (0, 0o100_644));
    root.unlink(b"own")?;

    // Directories and walking, several components at once, with open and link target.
    let dir = root.mkdir(b"dir", owner(0o2750))?;
    assert_eq!((dir.attr.mode, dir.attr.uid), (0o042_750, 1234));
    let sub = dir.node.mkdir(b"sub", owner(0o755))?;
    let (inner, fd) = sub.node.create(b"inner", Access::Write, owner(0o644))?;
    std::fs::File::from(fd).write_at(b"deep", 0).unwrap();
    let walked = root.walk(&[b"dir", b"sub", b"inner"], Some(Access::Read), true)?;
    assert_eq!((walked.nodes.len(), walked.stop), (3, None));
    assert_eq!(walked.nodes[2].1.ino, inner.attr.ino);
    let mut text = [0; 4];
    std::fs::File::from(walked.opened.unwrap()?)
        .read_at(&mut text, 0)
        .unwrap();
    assert_eq!(&text, b"deep");
    let walked = root.walk(&[b"dir", b"none", b"inner"], Some(Access::Read), true)?;
    assert_eq!((walked.nodes.len(), walked.stop), (1, Some(Errno::ENOENT)));
    assert!(walked.opened.is_none());
    let walked = root.walk(&[b"file", b"x"], None, false)?;
    assert_eq!((walked.nodes.len(), walked.stop), (1, Some(Errno::ENOTDIR)));

    // Symbolic links: made, read, never followed.
    let link = root.symlink(b"link", b"dir/sub", 1, 2)?;
    assert_eq!((link.attr.uid, link.attr.gid), (1, 2));
    assert_eq!(
        std::fs::read_link(host.join("link")).unwrap(),
        Path::new("dir/sub")
    );
    let walked = root.walk(&[b"link", b"inner"], None, true)?;
    assert_eq!((walked.nodes.len(), walked.stop), (1, Some(Errno::ELOOP)));
    assert_eq!(walked.target.as_deref(), Some(&b"dir/sub"[..]));
    assert_eq!(link.node.read_link()?, b"dir/sub");
    assert_eq!(link.node.open(Access::Read).unwrap_err(), Errno::ELOOP);

    // Special files.
    for (name, kind) in [
        (&b"fifo"[..], abi::stat::S_IFIFO),
        (b"sock", abi::stat::S_IFSOCK),
    ] {
        let made = root.mknod(name, owner(0o640), kind, (0, 0))?;
        assert_eq!(made.attr.mode, kind | 0o640);
    }
    if root.mount_flags().contains(MountFlags::MAKE_DEVICES) {
        assert_eq!(
            root.mknod(b"dev", owner(0o600), abi::stat::S_IFCHR, (1, 3))?
                .attr
                .rdev_minor,
            3
        );
    } else {
        assert_eq!(
            root.mknod(b"dev", owner(0o600), abi::stat::S_IFCHR, (1, 3))
                .unwrap_err(),
            Errno::EPERM
        );
    }

    // Attributes.
    let attr = made
        .node
        .set_attr(&SetAttr::default().with_mode(0o640).with_uid(5).with_gid(6))?;
    assert_eq!((attr.mode, attr.uid, attr.gid), (0o100_640, 5, 6));
    let time = Time::new(1_000_000_000, 123_456_789);
    assert_eq!(made.node.truncate(3)?.size, 3);
    let attr = made.node.set_attr(
        &SetAttr::default()
            .with_atime(SetTime::To(time))
            .with_mtime(SetTime::To(time)),
    )?;
    assert_eq!((attr.size, attr.atime, attr.mtime), (3, time, time));
    let attr = made
        .node
        .set_attr(&SetAttr::default().with_mtime(SetTime::Now))?;
    assert!(attr.mtime.sec > 1_600_000_000 && attr.atime == time);
    let attr = link
        .node
        .set_attr(&SetAttr::default().with_mtime(SetTime::To(time)).with_uid(9))?;
    assert_eq!((attr.mtime, attr.uid), (time, 9));
    assert_eq!(
        link.node
            .set_attr(&SetAttr::default().with_mode(0o600))
            .unwrap_err(),
        Errno::EOPNOTSUPP
    );
    assert_eq!(dir.node.truncate(0).unwrap_err(), Errno::EISDIR);

    // Names.
    assert_eq!(root.link(b"hard", &made.node)?.nlink, 2);
    assert_eq!(root.lookup(b"hard")?.1.ino, made.attr.ino);
    assert_eq!(root.link(b"dirlink", &dir.node).unwrap_err(), Errno::EPERM);
    root.rename(b"hard", &dir.node, b"moved", RenameFlags::empty())?;
    assert_eq!(root.lookup(b"hard").unwrap_err(), Errno::ENOENT);
    assert_eq!(
        dir.node
            .rename(b"moved", root, b"file", RenameFlags::NOREPLACE)
            .unwrap_err(),
        Errno::EEXIST
    );
    root.rename(b"link", root, b"fifo", RenameFlags::EXCHANGE)?;
    assert_eq!(root.lookup(b"link")?.0.file_type(), abi::stat::S_IFIFO);
    assert_eq!(root.rmdir(b"dir").unwrap_err(), Errno::ENOTEMPTY);
    assert_eq!(root.unlink(b"dir").unwrap_err(), Errno::EISDIR);
    dir.node.unlink(b"moved")?;
    assert_eq!(made.node.attr()?.nlink, 1);

    // A nameless file gets a name.
    let (tmp, fd) = match root.tmp_file(Access::ReadWrite, owner(0o600)) {
        Ok(made) => made,
        // Overlay file systems before Linux 6.3 have none.
        Err(Errno::EOPNOTSUPP) => root.create(b"tmp", Access::ReadWrite, owner(0o600))?,
        Err(errno) => return Err(errno),
    };
    std::fs::File::from(fd).write_at(b"tmp", 0).unwrap();
    root.link(b"named", &tmp.node)?;
    assert_eq!(std::fs::read(host.join("named")).unwrap(), b"tmp");

    // Reading directories, also in pieces.
    for n in 0..450 {
        root.mknod(
            format!("many-{n:04}").as_bytes(),
            Owner::default(),
            abi::stat::S_IFIFO,
            (0, 0),
        )?;
    }
    for attrs in [false, true] {
        let (mut names, mut cookie, mut pages) = (Vec::new(), 0, 0);
        loop {
            let page = root.read_dir(cookie, attrs)?;
            pages += 1;
            assert!(page.entries.iter().all(|e| e.attr.is_some() == attrs));
            cookie = page.entries.last().map_or(0, |e| e.cookie);
            names.extend(page.entries.into_iter().map(|e| e.name));
            if page.end {
                break;
            }
        }
        names.sort();
        let mut expected: Vec<Vec<u8>> = std::fs::read_dir(host)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_encoded_bytes())
            .collect();
        expected.sort();
        assert_eq!(names, expected);
        assert!(pages > 1 || !attrs);
    }
    // Going back to a cookie.
    let first = root.read_dir(0, true)?;
    let at = first.entries[10].cookie;
    assert_eq!(root.read_dir(at, true)?.entries[0], first.entries[11]);
    for n in 0..450 {
        root.unlink(format!("many-{n:04}").as_bytes())?;
    }

    // Extended attributes, where the file system of the temporary directory has them.
    match made.node.set_xattr(b"user.test", b"value", 0) {
        Err(Errno::EOPNOTSUPP) => {
            made.node.xattr(b"user.test").unwrap_err();
            made.node.xattrs()?;
            made.node.remove_xattr(b"user.test").unwrap_err();
        }
        other => {
            other?;
            assert_eq!(made.node.xattr(b"user.test")?, b"value");
            assert_eq!(
                made.node.set_xattr(b"user.test", b"", 1).unwrap_err(),
                Errno::EEXIST
            );
            assert_eq!(made.node.xattrs()?, [b"user.test".to_vec()]);
            made.node.remove_xattr(b"user.test")?;
            assert_eq!(made.node.xattr(b"user.test").unwrap_err(), Errno::ENODATA);
        }
    }
    assert_eq!(
        made.node.xattr(b"trusted.overlay.opaque").unwrap_err(),
        Errno::EOPNOTSUPP
    );
    assert_eq!(
        made.node
            .set_xattr(b"security.selinux", b"x", 0)
            .unwrap_err(),
        Errno::EOPNOTSUPP
    );

    // Numbers, syncing.
    assert!(root.stat_fs()?.bsize > 0);
    root.fsync()?;
    inner.node.fsync()?;

    // What is deleted stays usable through its node.
    root.unlink(b"file")?;
    assert_eq!(made.node.attr()?.nlink, 0);
    let (fd, attr) = made.node.open(Access::ReadWrite)?;
    assert_eq!(attr.size, 3);
    std::fs::File::from(fd).write_at(b"x", 9).unwrap();
    assert_eq!(made.node.attr()?.size, 10);

    // Host sockets and FIFOs, by the mount's flags.
    let (fifo, _) = root.lookup(b"link")?;
    let (sock, _) = root.lookup(b"sock")?;
    if root.mount_flags().contains(MountFlags::BIND) {
        let (made, listener) = root.bind(b"bound", SocketKind::Stream, owner(0o666))?;
        assert_eq!((made.attr.mode, made.attr.uid), (0o140_666, 1234));
        rustix::net::listen(&listener, 1).unwrap();
        let connection = made.node.connect(SocketKind::Stream)?;
        rustix::io::write(&connection, b"hi").unwrap();
        drop(std::os::unix::net::UnixStream::connect(host.join("bound")).unwrap());
        assert_eq!(
            sock.connect(SocketKind::Stream).unwrap_err(),
            Errno::ECONNREFUSED
        );
        fifo.open(Access::ReadWrite)?;
    } else {
        assert_eq!(
            root.bind(b"bound", SocketKind::Stream, owner(0o666))
                .unwrap_err(),
            Errno::EPERM
        );
        assert_eq!(
            sock.connect(SocketKind::Stream).unwrap_err(),
            Errno::ECONNREFUSED
        );
        assert_eq!(fifo.open(Access::Read).unwrap_err(), Errno::EACCES);
    }
    assert_eq!(dir.node.open(Access::Read).unwrap_err(), Errno::EISDIR);

    // Two callers at once get a connection each; the second asks for it.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let node = root.lookup(b"dir").unwrap().0;
            std::thread::spawn(move || (0..50).try_for_each(|_| node.attr().map(drop)))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap()?;
    }
    client.flush();
    std::fs::set_permissions(host.join("dir"), std::fs::Permissions::from_mode(0o755)).unwrap();
    Ok(())
}
