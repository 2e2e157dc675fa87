//! The directory of a process (`/proc/PID`) or thread (`/proc/PID/task/TID`).

use super::{Proc, fd, files, links, may_access, mem, net, nsfs, root};
use crate::kernel::{Task, ThreadGroup};
use crate::mm::MemoryManager;
use crate::pseudo::{Belongs, Content, DirNode, FileNode, Node, Sink};
use abi::Errno;
use fs::{Caller, NodeKind};
use std::sync::{Arc, Weak};

/// Whom a directory is about. Weak: an open file keeps nobody.
#[derive(Clone)]
pub struct Who {
    group: Weak<ThreadGroup>,
    /// `None` for the process as a whole.
    task: Option<Weak<Task>>,
}

impl Who {
    /// The process as a whole.
    pub fn process(group: &Arc<ThreadGroup>) -> Self {
        Self {
            group: Arc::downgrade(group),
            task: None,
        }
    }
    /// One of its threads.
    fn thread(task: &Arc<Task>) -> Self {
        Self {
            group: Arc::downgrade(task.group()),
            task: Some(Arc::downgrade(task)),
        }
    }
    /// The task; the leader stands for the process. `ESRCH` when it is gone.
    pub fn look(&self) -> Result<Look, Errno> {
        let group = self.group.upgrade().ok_or(Errno::ESRCH)?;
        let task = match &self.task {
            None => group.leader(),
            Some(task) => task
                .upgrade()
                .filter(|t| !t.is_dead() || t.is_leader() && !group.tasks().is_empty()),
        };
        Ok(Look {
            task: task.ok_or(Errno::ESRCH)?,
            group,
            thread: self.task.is_some(),
        })
    }
    /// As [`Self::look`], after asking whether the caller may look into it.
    pub fn look_closely(&self, caller: &dyn Caller) -> Result<Look, Errno> {
        let look = self.look()?;
        if let Some(viewer) = caller.as_any().downcast_ref::<Task>() {
            may_access(viewer, &look.task)?
        }
        Ok(look)
    }
}

/// Somebody being looked at.
pub struct Look {
    /// The thread; the leader for a process.
    pub task: Arc<Task>,
    /// The process.
    pub group: Arc<ThreadGroup>,
    /// Only the thread counts.
    pub thread: bool,
}

impl Look {
    /// Its memory. A leader that has exited before the other threads has none, but they do.
    pub fn mm(&self) -> Option<Arc<MemoryManager>> {
        self.task.mm_opt().or_else(|| {
            if self.thread {
                None
            } else {
                self.group.any_live()?.mm_opt()
            }
        })
    }
}

/// A directory of one task.
pub struct TaskDir {
    pub(super) shared: Arc<Proc>,
    pub(super) who: Who,
}

/// A file of text.
pub struct Spec {
    pub name: &'static str,
    pub mode: u32,
    /// Only for those who may look into the process.
    pub guarded: bool,
    pub read: fn(&Proc, &Look, Option<&Arc<Task>>) -> Result<Vec<u8>, Errno>,
    pub write: Option<fn(&Look, &dyn Caller, &[u8]) -> Result<(), Errno>>,
}

struct TaskFile {
    shared: Arc<Proc>,
    who: Who,
    spec: &'static Spec,
}

impl FileNode for TaskFile {
    fn check(&self, caller: &dyn Caller) -> Result<(), Errno> {
        if self.spec.guarded {
            self.who.look_closely(caller).map(drop)
        } else {
            Ok(())
        }
    }
    fn text(&self, opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        let look = match self.who.look() {
            // It was opened for a memory that is gone now.
            Err(Errno::ESRCH) if self.spec.name == "environ" => return Ok(Vec::new()),
            look => look?,
        };
        (self.spec.read)(&self.shared, &look, opener)
    }
    fn mounts(&self) -> Option<Arc<fs::vfs::MountNamespace>> {
        let watched = matches!(self.spec.name, "mounts" | "mountinfo" | "mountstats");
        let look = self.who.look().ok().filter(|_| watched)?;
        Some(look.task.ns().mnt.clone())
    }
    fn write(&self, caller: &dyn Caller, data: &[u8], _offset: u64) -> Result<(), Errno> {
        match self.spec.write {
            Some(write) => write(&self.who.look()?, caller, data),
            None => Err(Errno::EINVAL),
        }
    }
}

/// Names that are no text, with mode and whether only processes have them.
const OTHERS: &[(&str, u32, NodeKind, bool)] = &[
    ("cwd", 0o777, NodeKind::Symlink, false),
    ("exe", 0o777, NodeKind::Symlink, false),
    ("fd", 0o500, NodeKind::Directory, false),
    ("fdinfo", 0o555, NodeKind::Directory, false),
    ("mem", 0o600, NodeKind::Regular, false),
    ("net", 0o555, NodeKind::Directory, false),
    ("ns", 0o511, NodeKind::Directory, false),
    ("root", 0o777, NodeKind::Symlink, false),
    ("task", 0o555, NodeKind::Directory, true),
];

impl TaskDir {
    fn other(&self, name: &[u8]) -> Option<Content> {
        let (shared, who) = (self.shared.clone(), self.who.clone());
        Some(match name {
            b"fd" => Content::Dir(Arc::new(fd::FdDir {
                shared,
                who,
                info: false,
            })),
            b"fdinfo" => Content::Dir(Arc::new(fd::FdDir {
                shared,
                who,
                info: true,
            })),
            b"cwd" => Content::Link(Arc::new(links::PlaceLink {
                who,
                what: links::What::Cwd,
            })),
            b"root" => Content::Link(Arc::new(links::PlaceLink {
                who,
                what: links::What::Root,
            })),
            b"exe" => Content::Link(Arc::new(links::PlaceLink {
                who,
                what: links::What::Exe,
            })),
            b"mem" => Content::File(Arc::new(mem::MemNode { who })),
            b"ns" => Content::Dir(Arc::new(nsfs::NsDir { who })),
            b"net" => net::dir(who),
            b"task" if self.is_process() => Content::Dir(Arc::new(Threads { shared, who })),
            _ => return None,
        })
    }
    fn is_process(&self) -> bool {
        self.who.task.is_none()
    }
}

impl DirNode for TaskDir {
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        // Somebody has kept the directory of a process that is gone.
        let look = self.who.look()?;
        let own = look.task.clone();
        let mut node = if let Some(spec) = files::SPECS.iter().find(|s| s.name.as_bytes() == name) {
            let file = TaskFile {
                shared: self.shared.clone(),
                who: self.who.clone(),
                spec,
            };
            Node::new(spec.mode, Content::File(Arc::new(file)))
        } else {
            let content = self.other(name).ok_or(Errno::ENOENT)?;
            let mode = OTHERS
                .iter()
                .find(|o| o.0.as_bytes() == name)
                .map_or(0o555, |o| o.1);
            Node::new(mode, content)
        };
        let _ = caller;
        node.belongs = Belongs::Task(Arc::downgrade(&own));
        Ok(node)
    }
    fn list(&self, _caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        self.who.look().map_err(|_| Errno::ENOENT)?;
        let others = OTHERS
            .iter()
            .filter(|o| self.is_process() || !o.3)
            .map(|o| (o.0, o.2));
        let all = others.chain(files::SPECS.iter().map(|s| (s.name, NodeKind::Regular)));
        for (at, (name, kind)) in (3_u64..).zip(all) {
            if at > cookie && !sink(name.as_bytes(), kind.dirent_type(), 0, at) {
                break;
            }
        }
        Ok(())
    }
    fn is_static(&self) -> bool {
        false
    }
    fn still(&self, _name: &[u8], _ident: u64) -> bool {
        self.who.look().is_ok()
    }
    fn permission(&self, caller: &dyn Caller, _mask: u32) -> Option<Result<(), Errno>> {
        // `hidepid=noaccess`: one may see that it exists.
        let viewer = caller.as_any().downcast_ref::<Task>();
        let look = self.who.look().ok()?;
        if self.shared.visible(viewer, &look.task, 1) {
            None
        } else {
            Some(Err(Errno::EPERM))
        }
    }
    fn subdirs(&self) -> u32 {
        if self.is_process() { 5 } else { 4 }
    }
}

/// `/proc/PID/task`
struct Threads {
    shared: Arc<Proc>,
    who: Who,
}

impl Threads {
    fn tasks(&self) -> Result<Vec<(i32, Arc<Task>)>, Errno> {
        let group = self.who.look().map_err(|_| Errno::ENOENT)?.group;
        let mut all: Vec<_> = group
            .tasks()
            .into_iter()
            .map(|t| (t.pid().nr_in(&self.shared.ns), t))
            .filter(|(nr, _)| *nr != 0)
            .collect();
        all.sort_by_key(|(nr, _)| *nr);
        Ok(all)
    }
    fn find(&self, name: &[u8]) -> Option<Arc<Task>> {
        let nr = root::number(name)?;
        self.tasks()
            .ok()?
            .into_iter()
            .find(|(n, _)| *n == nr)
            .map(|(_, t)| t)
    }
}

impl DirNode for Threads {
    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let task = self.find(name).ok_or(Errno::ENOENT)?;
        let dir = TaskDir {
            shared: self.shared.clone(),
            who: Who::thread(&task),
        };
        let mut node = Node::new(0o555, Content::Dir(Arc::new(dir)));
        node.belongs = Belongs::Task(Arc::downgrade(&task));
        node.ident = task.pid().serial();
        Ok(node)
    }
    fn list(&self, _caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        for (nr, _) in self.tasks()? {
            let at = u64::try_from(nr).unwrap_or(0).saturating_add(2);
            if at > cookie
                && !sink(
                    nr.to_string().as_bytes(),
                    NodeKind::Directory.dirent_type(),
                    0,
                    at,
                )
            {
                break;
            }
        }
        Ok(())
    }
    fn is_static(&self) -> bool {
        false
    }
    fn still(&self, name: &[u8], ident: u64) -> bool {
        self.find(name).is_some_and(|t| t.pid().serial() == ident)
    }
    fn subdirs(&self) -> u32 {
        u32::try_from(self.tasks().map_or(0, |t| t.len())).unwrap_or(u32::MAX)
    }
}
