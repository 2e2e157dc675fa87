//! devpts (`pts(4)`): the filesystem of pseudo-terminals, and the devices that open them (`/dev/ptmx`, `/dev/tty`, `/dev/pts/N`).

use super::Tty;
use super::pty::{Master, Slave};
use crate::kernel::Task;
use crate::kernel::limits::Resource;
use abi::Errno;
use abi::ioctl::Winsize;
use fs::meta::{Meta, next_dev, now_ns};
use fs::vfs::perm::Owner;
use fs::vfs::{Device, Path, Vnode, devices};
use fs::{Attr, Caller, Cred, DirEntry, File, FileOps, FileSystem, Inode, NodeKind, SetAttr};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use sync::Mutex;

/// Pseudo-terminals of one instance (`kernel.pty.max`).
const MAX: u32 = 4096;
const PTMX: u64 = 5 << 8 | 2;

/// An instance.
pub struct DevPts {
    dev: u64,
    /// Mode, and group, of new slaves.
    mode: u32,
    gid: Option<u32>,
    ptmx_mode: u32,
    nodes: Mutex<BTreeMap<u32, Arc<Node>>>,
    me: Weak<DevPts>,
    root: sync::OnceLock<Arc<Node>>,
    ptmx: sync::OnceLock<Arc<Node>>,
}

enum What {
    Root,
    Ptmx,
    Slave(Arc<Tty>),
}

/// An inode of devpts.
struct Node {
    meta: Meta,
    vnode: Vnode,
    fs: Weak<DevPts>,
    what: What,
}

impl DevPts {
    /// With the options of mount(8): `mode=`, `gid=`, `ptmxmode=`, others are ignored as newinstance is the rule.
    pub fn new(options: &[u8]) -> Arc<Self> {
        let (mut mode, mut gid, mut ptmx_mode) = (0o600, None, 0o666);
        for option in String::from_utf8_lossy(options).split(',') {
            match option.split_once('=') {
                Some(("mode", v)) => mode = u32::from_str_radix(v, 8).unwrap_or(mode) & 0o777,
                Some(("gid", v)) => gid = v.parse().ok(),
                Some(("ptmxmode", v)) => {
                    ptmx_mode = u32::from_str_radix(v, 8).unwrap_or(ptmx_mode) & 0o777
                }
                _ => {}
            }
        }
        Arc::new_cyclic(|me| Self {
            dev: next_dev(),
            mode,
            gid,
            ptmx_mode,
            nodes: Mutex::new(BTreeMap::new()),
            me: me.clone(),
            root: sync::OnceLock::new(),
            ptmx: sync::OnceLock::new(),
        })
    }

    fn node(
        &self,
        kind: NodeKind,
        mode: u32,
        ino: u64,
        owner: (u32, u32),
        what: What,
    ) -> Arc<Node> {
        let meta = Meta::new(
            kind,
            Owner {
                mode,
                uid: owner.0,
                gid: owner.1,
            },
            now_ns(),
        )
        .with_ino(ino);
        Arc::new(Node {
            meta,
            vnode: Vnode::new(),
            fs: self.me.clone(),
            what,
        })
    }

    fn ptmx(&self) -> Arc<Node> {
        self.ptmx
            .get_or_init(|| {
                self.node(
                    NodeKind::CharDevice(PTMX),
                    self.ptmx_mode,
                    2,
                    (0, 0),
                    What::Ptmx,
                )
            })
            .clone()
    }

    /// `open("/dev/ptmx")`: a new pair's controlling end.
    fn open_master(&self, caller: &dyn Caller) -> Result<Box<dyn FileOps>, Errno> {
        let cred = caller.cred();
        let mut nodes = self.nodes.lock();
        let index = (0..MAX)
            .find(|i| !nodes.contains_key(i))
            .ok_or(Errno::ENOSPC)?;
        let tty = Tty::new(Some(index), None, Winsize::default());
        let owner = (cred.fsuid, self.gid.unwrap_or(cred.fsgid));
        let rdev = crate::kernel::ControllingTty::rdev(&*tty);
        let node = self.node(
            NodeKind::CharDevice(rdev),
            self.mode,
            u64::from(index).saturating_add(3),
            owner,
            What::Slave(tty.clone()),
        );
        nodes.insert(index, node);
        let fs = self.me.clone();
        let on_close = Box::new(move || {
            if let Some(fs) = fs.upgrade() {
                let gone = fs.nodes.lock().remove(&index);
                drop(gone);
            }
        });
        Ok(Box::new(Master { tty, on_close }))
    }
}

impl FileSystem for DevPts {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "devpts"
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root
            .get_or_init(|| self.node(NodeKind::Directory, 0o755, 1, (0, 0), What::Root))
            .clone()
    }
    fn statfs(&self) -> Result<abi::fs::Statfs, Errno> {
        Ok(abi::fs::Statfs {
            f_type: 0x1cd1,
            f_bsize: 4096,
            f_namelen: 255,
            f_frsize: 4096,
            ..abi::fs::Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        let gid = self.gid.map_or_else(String::new, |g| format!(",gid={g}"));
        format!(
            "{gid},mode={:03o},ptmxmode={:03o}",
            self.mode, self.ptmx_mode
        )
    }
}

impl Inode for Node {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn kind(&self) -> NodeKind {
        self.meta.kind()
    }
    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = self
            .meta
            .attr(self.fs.upgrade().map_or(0, |fs| fs.dev), 0, 0);
        if let NodeKind::CharDevice(rdev) = self.meta.kind() {
            attr.rdev = rdev;
            attr.blksize = 1024;
        }
        Ok(attr)
    }
    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.meta.owner())
    }
    fn permission(&self, _caller: &dyn Caller, cred: &Cred, mask: u32) -> Result<(), Errno> {
        fs::vfs::perm::generic(
            self.meta.owner(),
            self.kind() == NodeKind::Directory,
            cred,
            mask,
        )
    }
    fn set_attr(&self, _caller: &dyn Caller, set: &SetAttr) -> Result<(), Errno> {
        self.meta.set(set);
        Ok(())
    }
    fn cacheable(&self) -> bool {
        false
    }
    fn revalidate(&self, caller: &dyn Caller, name: &[u8], child: Option<&Arc<dyn Inode>>) -> bool {
        match (self.lookup(caller, name), child) {
            (Ok(now), Some(child)) => std::ptr::addr_eq(Arc::as_ptr(&now), Arc::as_ptr(child)),
            (Err(_), None) => true,
            _ => false,
        }
    }
    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let fs = self.fs.upgrade().ok_or(Errno::ENOENT)?;
        if !matches!(self.what, What::Root) {
            return Err(Errno::ENOTDIR);
        }
        if name == b"ptmx" {
            return Ok(fs.ptmx());
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        if index.to_string() != text {
            return Err(Errno::ENOENT);
        }
        let found: Arc<dyn Inode> = fs.nodes.lock().get(&index).cloned().ok_or(Errno::ENOENT)?;
        Ok(found)
    }
    fn opens_itself(&self) -> bool {
        true
    }
    fn open(self: Arc<Self>, caller: &dyn Caller, flags: u32) -> Result<Box<dyn FileOps>, Errno> {
        let fs = self.fs.upgrade().ok_or(Errno::EIO)?;
        match &self.what {
            What::Root => Ok(Box::new(Dir(fs))),
            What::Ptmx => fs.open_master(caller),
            What::Slave(tty) => {
                let slave = Slave::open(tty)?;
                adopt(tty, caller, flags);
                Ok(Box::new(slave))
            }
        }
    }
    fn filesystem(&self) -> Arc<dyn FileSystem> {
        match self.fs.upgrade() {
            Some(fs) => fs,
            // The mount that led here is gone: an empty instance answers for it.
            None => DevPts::new(b""),
        }
    }
    fn vnode(&self) -> &Vnode {
        &self.vnode
    }
}

/// `TIOCGPTPEER`: the program's end of a pair, from the instance that the controller `master` came from, whatever is mounted where.
pub(super) fn open_peer(
    master: &File,
    caller: &dyn Caller,
    index: u32,
    flags: u64,
) -> Result<i64, Errno> {
    use abi::fcntl::OpenFlags;
    let task = caller
        .as_any()
        .downcast_ref::<Task>()
        .ok_or(Errno::ENOTTY)?;
    let flags = OpenFlags::from_bits_truncate(u32::try_from(flags).map_err(|_| Errno::EINVAL)?);
    let mount = instance(caller, master.path())?.mount;
    let root = Path {
        dentry: mount.root().clone(),
        mount,
    };
    let kept = OpenFlags::O_WRONLY
        | OpenFlags::O_RDWR
        | OpenFlags::O_NOCTTY
        | OpenFlags::O_NONBLOCK
        | OpenFlags::O_CLOEXEC;
    let name = index.to_string();
    let slave = fs::vfs::Lookup::new(caller, &root, &root).open(
        name.as_bytes(),
        (flags & kept).bits(),
        0,
    )?;
    let files = task.files_opt().ok_or(Errno::ESRCH)?;
    let limit = task.group().limits.soft(Resource::Nofile);
    let fd = files.install(slave, flags.contains(OpenFlags::O_CLOEXEC), limit)?;
    Ok(i64::from(fd.raw()))
}

/// The devpts that a `ptmx` at this place opens pairs in: its own, or the one mounted on `pts` beside it.
fn instance(caller: &dyn Caller, ptmx: &Path) -> Result<Path, Errno> {
    if ptmx.mount.fs().as_any().is::<DevPts>() {
        return Ok(ptmx.clone());
    }
    let start = Path {
        mount: ptmx.mount.clone(),
        dentry: ptmx.dentry.parent().ok_or(Errno::ENODEV)?,
    };
    let pts = fs::vfs::Lookup::new(caller, &start, &start).resolve(b"pts")?;
    if pts.mount.fs().as_any().is::<DevPts>() {
        Ok(pts)
    } else {
        Err(Errno::ENODEV)
    }
}

/// A session leader without a terminal gets the first one it opens, unless it said `O_NOCTTY`.
fn adopt(tty: &Arc<Tty>, caller: &dyn Caller, flags: u32) {
    const O_NOCTTY: u32 = 0o400;
    let Some(task) = caller.as_any().downcast_ref::<Task>() else {
        return;
    };
    let session = task.group().session();
    let leader = Arc::ptr_eq(&session.id, task.group().pid());
    if flags & O_NOCTTY == 0 && leader && session.tty().is_none() && tty.session().is_none() {
        tty.become_controlling(&session, &task.group().process_group());
    }
}

struct Dir(Arc<DevPts>);

impl FileOps for Dir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read_dir(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        cookie: u64,
        sink: &mut dyn FnMut(&DirEntry) -> bool,
    ) -> Result<(), Errno> {
        // Cookie 2 stands before ptmx, 3 before the first terminal, n + 3 before terminal n.
        let kind = NodeKind::CharDevice(0).dirent_type();
        if cookie <= 2
            && !sink(&DirEntry {
                name: b"ptmx",
                ino: 2,
                kind,
                cookie: 3,
            })
        {
            return Ok(());
        }
        let first = u32::try_from(cookie.saturating_sub(3)).unwrap_or(u32::MAX);
        let indexes: Vec<u32> = self
            .0
            .nodes
            .lock()
            .range(first..)
            .map(|(i, _)| *i)
            .collect();
        for index in indexes {
            let name = index.to_string();
            let next = u64::from(index).saturating_add(4);
            if !sink(&DirEntry {
                name: name.as_bytes(),
                ino: next.saturating_sub(1),
                kind,
                cookie: next,
            }) {
                break;
            }
        }
        Ok(())
    }
}

/// `/dev/ptmx` as a device node: the instance mounted on `pts` beside it.
struct PtmxDevice;

impl Device for PtmxDevice {
    fn open(
        &self,
        caller: &dyn Caller,
        path: &Path,
        _rdev: u64,
        _flags: u32,
    ) -> Result<Box<dyn FileOps>, Errno> {
        let fs = instance(caller, path)?.mount.fs().clone();
        let devpts = fs.as_any().downcast_ref::<DevPts>().ok_or(Errno::ENODEV)?;
        devpts.open_master(caller)
    }
}

/// `/dev/tty`: the caller's own terminal.
struct TtyDevice;

impl Device for TtyDevice {
    fn open(
        &self,
        caller: &dyn Caller,
        _path: &Path,
        _rdev: u64,
        _flags: u32,
    ) -> Result<Box<dyn FileOps>, Errno> {
        let task = caller.as_any().downcast_ref::<Task>().ok_or(Errno::ENXIO)?;
        let tty = task.group().session().tty().ok_or(Errno::ENXIO)?;
        let tty = tty
            .as_any()
            .downcast_ref::<Tty>()
            .and_then(|t| t.me.upgrade())
            .ok_or(Errno::ENXIO)?;
        let mut state = tty.state.lock();
        state.slaves = state.slaves.saturating_add(1);
        drop(state);
        Ok(Box::new(Slave(tty)))
    }
}

/// Makes the terminal devices known; once per sandbox.
pub fn register_devices() {
    devices().register_char(5, Some(0), Arc::new(TtyDevice));
    devices().register_char(5, Some(2), Arc::new(PtmxDevice));
}
