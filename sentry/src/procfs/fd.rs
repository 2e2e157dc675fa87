//! `/proc/PID/fd` and `/proc/PID/fdinfo`.

use super::Proc;
use super::root::number;
use super::task::Who;
use crate::kernel::{Fd, FdTable, Task};
use crate::pseudo::{Belongs, Content, DirNode, FileNode, LinkNode, Node, Sink, fixed};
use abi::Errno;
use abi::fcntl::OpenFlags;
use fs::{Caller, File, FileOps, Follow, NodeKind};
use std::sync::Arc;

/// The descriptors of a task.
pub struct FdDir {
    pub(super) shared: Arc<Proc>,
    pub(super) who: Who,
    /// `fdinfo` rather than `fd`.
    pub(super) info: bool,
}

fn table(who: &Who) -> Result<Arc<FdTable>, Errno> {
    who.look()?.task.files_opt().ok_or(Errno::ENOENT)
}

fn open_file(who: &Who, fd: Fd) -> Result<(Arc<File>, bool), Errno> {
    table(who)?.get_with_flags(fd).map_err(|_| Errno::ENOENT)
}

impl DirNode for FdDir {
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let fd = number(name)
            .and_then(|n| Fd::new(n).ok())
            .ok_or(Errno::ENOENT)?;
        let look = self
            .who
            .look_closely(caller)
            .map_err(|e| if e == Errno::ESRCH { Errno::ENOENT } else { e })?;
        let access = look
            .task
            .files_opt()
            .and_then(|t| t.access(fd))
            .ok_or(Errno::ENOENT)?;
        let who = self.who.clone();
        let mut node = if self.info {
            Node::new(0o444, Content::File(Arc::new(FdInfo { who, fd })))
        } else {
            // The link's bits say how the description is open.
            let bits = if access.0 { 0o500 } else { 0 } | if access.1 { 0o300 } else { 0 };
            Node::new(bits, Content::Link(Arc::new(FdLink { who, fd })))
        };
        node.belongs = Belongs::Task(Arc::downgrade(&look.task));
        node.ident = node.mode.into();
        Ok(node)
    }
    fn list(&self, caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        if self.info {
            self.who.look_closely(caller)?;
        }
        let _ = &self.shared;
        let Ok(table) = table(&self.who) else {
            return Ok(());
        };
        let kind = if self.info {
            NodeKind::Regular
        } else {
            NodeKind::Symlink
        };
        for fd in table.numbers() {
            let at = u64::from(fd).saturating_add(3);
            if at > cookie && !sink(fd.to_string().as_bytes(), kind.dirent_type(), 0, at) {
                break;
            }
        }
        Ok(())
    }
    fn is_static(&self) -> bool {
        false
    }
    fn still(&self, name: &[u8], ident: u64) -> bool {
        let Some(fd) = number(name).and_then(|n| Fd::new(n).ok()) else {
            return false;
        };
        let access = table(&self.who).ok().and_then(|t| t.access(fd));
        access.is_some_and(|(r, w)| {
            self.info || ident == if r { 0o500 } else { 0 } | if w { 0o300 } else { 0 }
        })
    }
    fn permission(&self, caller: &dyn Caller, _mask: u32) -> Option<Result<(), Errno>> {
        // A process may see its own descriptors whatever it has become.
        let viewer = caller.as_any().downcast_ref::<Task>()?;
        let look = self.who.look().ok()?;
        Arc::ptr_eq(viewer.group(), &look.group).then_some(Ok(()))
    }
    fn size(&self) -> u64 {
        if self.info {
            0
        } else {
            table(&self.who).map_or(0, |t| t.count() as u64)
        }
    }
}

struct FdLink {
    who: Who,
    fd: Fd,
}

impl LinkNode for FdLink {
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        self.who.look_closely(caller)?;
        Ok(Follow::Jump(
            open_file(&self.who, self.fd)?.0.path().clone(),
        ))
    }
    fn read(&self, caller: &dyn Caller) -> Result<Vec<u8>, Errno> {
        self.who.look_closely(caller)?;
        let file = open_file(&self.who, self.fd)?.0;
        Ok(super::links::shown(file.path(), caller))
    }
}

struct FdInfo {
    who: Who,
    fd: Fd,
}

impl FileNode for FdInfo {
    fn check(&self, caller: &dyn Caller) -> Result<(), Errno> {
        self.who.look_closely(caller).map(drop)
    }
    fn text(&self, _opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Err(Errno::EINVAL)
    }
    /// Made when it is opened: a read holds the offset of the file that is read, and may not ask for another's.
    fn open(&self, _caller: &dyn Caller) -> Option<Result<Box<dyn FileOps>, Errno>> {
        Some(self.info().map(fixed))
    }
    fn write(&self, _caller: &dyn Caller, _data: &[u8], _offset: u64) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

impl FdInfo {
    fn info(&self) -> Result<Vec<u8>, Errno> {
        let (file, cloexec) = open_file(&self.who, self.fd)?;
        let flags = file.flags()
            | if cloexec {
                OpenFlags::O_CLOEXEC.bits()
            } else {
                0
            };
        let ino = file.inode().attr().map_or(0, |a| a.ino);
        let pos = if file.ops().seekable() {
            file.offset()
        } else {
            0
        };
        let text = format!(
            "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n{}",
            file.path().mount.id(),
            file.ops().fdinfo(&file)
        );
        Ok(text.into_bytes())
    }
}
