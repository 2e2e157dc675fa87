//! `/proc/PID/ns`: links to namespaces, and the files that opening one gives (`namespaces(7)`).

use super::task::{Look, Who};
use crate::kernel::{Namespaces, PidNamespace, Task, UserNamespace};
use crate::pseudo::{Belongs, Content, DirNode, FileNode, LinkNode, Node, PseudoFs, Sink};
use abi::Errno;
use fs::vfs::{Dentry, Mount, MountFlags, Path};
use fs::{Caller, File, FileOps, Follow, NodeKind};
use std::any::Any;
use std::sync::Arc;
use sync::OnceLock;

const NAMES: [&str; 10] = [
    "cgroup",
    "ipc",
    "mnt",
    "net",
    "pid",
    "pid_for_children",
    "time",
    "time_for_children",
    "user",
    "uts",
];

/// `NSFS_MAGIC`
const MAGIC: u64 = 0x6e73_6673;
/// `PROC_CGROUP_INIT_INO`, `PROC_TIME_INIT_INO`: a sandbox has one of each.
const CGROUP: u64 = 0xeffffffb;
const TIME: u64 = 0xeffffffa;

/// A namespace that a file holds.
#[derive(Clone)]
pub enum Held {
    /// ipc, mnt, net or uts: the bundle it was taken from; only the named one counts.
    Of(Arc<Namespaces>),
    /// pid
    Pid(Arc<PidNamespace>),
    /// user
    User(Arc<UserNamespace>),
    /// cgroup, time: the only one.
    Only,
}

fn held(look: &Look, name: &str) -> Option<(u64, Held)> {
    // A task that is gone has left its namespaces, except the pid namespace that numbers it.
    if look.task.is_dead() && !matches!(name, "pid" | "user") {
        return None;
    }
    let ns = look.task.ns();
    Some(match name {
        "cgroup" => (CGROUP, Held::Only),
        "time" | "time_for_children" => (TIME, Held::Only),
        "ipc" => (ns.ipc.id(), Held::Of(ns)),
        "mnt" => (ns.mnt.id(), Held::Of(ns)),
        "net" => (ns.net.id(), Held::Of(ns)),
        "uts" => (ns.uts.id(), Held::Of(ns)),
        "pid" => {
            let ns = look.task.pid_ns();
            (ns.id(), Held::Pid(ns))
        }
        "pid_for_children" => (
            ns.pid_for_children.id(),
            Held::Pid(ns.pid_for_children.clone()),
        ),
        "user" => {
            let ns = look.task.cred().user_ns.clone();
            (ns.id(), Held::User(ns))
        }
        _ => return None,
    })
}

/// The type as a link shows it.
fn kind_of(name: &'static str) -> &'static str {
    match name {
        "pid_for_children" => "pid",
        "time_for_children" => "time",
        other => other,
    }
}

/// The directory.
pub struct NsDir {
    pub(super) who: Who,
}

impl DirNode for NsDir {
    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let name = NAMES
            .into_iter()
            .find(|n| n.as_bytes() == name)
            .ok_or(Errno::ENOENT)?;
        let look = self.who.look().map_err(|_| Errno::ENOENT)?;
        let mut node = Node::new(
            0o777,
            Content::Link(Arc::new(NsLink {
                who: self.who.clone(),
                name,
            })),
        );
        node.belongs = Belongs::Task(Arc::downgrade(&look.task));
        Ok(node)
    }
    fn list(&self, _caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        for (at, name) in (3_u64..).zip(NAMES) {
            if at > cookie && !sink(name.as_bytes(), NodeKind::Symlink.dirent_type(), 0, at) {
                break;
            }
        }
        Ok(())
    }
}

struct NsLink {
    who: Who,
    name: &'static str,
}

impl LinkNode for NsLink {
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        let look = self.who.look_closely(caller)?;
        let (id, held) = held(&look, self.name).ok_or(Errno::ENOENT)?;
        place(kind_of(self.name), id, held).map(Follow::Jump)
    }
    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        let look = self.who.look_closely(caller)?;
        let (id, _) = held(&look, self.name).ok_or(Errno::ENOENT)?;
        Ok(format!("{}:[{id}]", kind_of(self.name)).into_bytes())
    }
}

/// Where a namespace is when it is opened.
fn place(kind: &'static str, id: u64, held: Held) -> Result<Path, Errno> {
    static MOUNT: OnceLock<Arc<Mount>> = OnceLock::new();
    struct Names;
    impl DirNode for Names {
        fn lookup(&self, caller: &dyn Caller, _name: &[u8]) -> Result<Node, Errno> {
            let want = caller
                .as_any()
                .downcast_ref::<Wanted>()
                .ok_or(Errno::ENOENT)?;
            let mut node = Node::new(0o444, Content::File(Arc::new(want.node.clone())));
            node.ino = want.id;
            Ok(node)
        }
        fn list(&self, _: &dyn Caller, _: u64, _: &mut Sink<'_>) -> Result<(), Errno> {
            Ok(())
        }
    }
    let mount = MOUNT.get_or_init(|| {
        let fs = PseudoFs::new(
            "nsfs",
            MAGIC,
            String::new(),
            Node::new(0o555, Content::Dir(Arc::new(Names))),
        );
        Mount::of_fs(fs, MountFlags::empty(), b"nsfs")
    });
    let want = Wanted {
        node: NsNode { kind, held },
        id,
    };
    let inode = mount.root().inode().lookup(&want, b"")?;
    let name = format!("{kind}:[{id}]");
    Ok(Path {
        mount: mount.clone(),
        dentry: Dentry::detached(mount.superblock(), inode, name.as_bytes(), true),
    })
}

/// The namespace to make an inode for, handed through the lookup.
struct Wanted {
    node: NsNode,
    id: u64,
}

impl Caller for Wanted {
    fn cred(&self) -> Arc<fs::Cred> {
        Arc::new(fs::Cred::kernel())
    }
    fn umask(&self) -> u32 {
        0
    }
    fn now_ns(&self) -> i64 {
        0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Clone)]
struct NsNode {
    kind: &'static str,
    held: Held,
}

impl FileNode for NsNode {
    fn text(&self, _opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }
    fn open(&self, _caller: &dyn Caller) -> Option<Result<Box<dyn FileOps>, Errno>> {
        Some(Ok(Box::new(NsFile {
            kind: self.kind,
            held: self.held.clone(),
        })))
    }
}

/// An open namespace: `setns(2)` takes it.
pub struct NsFile {
    kind: &'static str,
    held: Held,
}

impl NsFile {
    /// `ipc`, `mnt`, `net`, `uts`, `pid`, `user`, `cgroup` or `time`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }
    /// Its `CLONE_NEW*`.
    pub fn clone_flag(&self) -> u64 {
        match self.kind {
            "mnt" => 0x0002_0000,
            "cgroup" => 0x0200_0000,
            "uts" => 0x0400_0000,
            "ipc" => 0x0800_0000,
            "user" => 0x1000_0000,
            "pid" => 0x2000_0000,
            "net" => 0x4000_0000,
            _ => 0x80,
        }
    }
    /// What it holds.
    pub fn held(&self) -> &Held {
        &self.held
    }
}

impl FileOps for NsFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn spliceable(&self) -> bool {
        false
    }
    fn ioctl(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        _mem: &dyn fs::UserMemory,
        cmd: u32,
        _arg: u64,
    ) -> Result<i64, Errno> {
        // NS_GET_NSTYPE
        const GET_NSTYPE: u32 = 0xb703;
        if cmd != GET_NSTYPE {
            return Err(Errno::ENOTTY);
        }
        i64::try_from(self.clone_flag()).map_err(|_| Errno::EINVAL)
    }
}
