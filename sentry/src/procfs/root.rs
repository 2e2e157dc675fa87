//! The names at the top of a procfs.

use super::Proc;
use super::task::{TaskDir, Who};
use super::{global, sysctl};
use crate::kernel::{Pid, Task, ThreadGroup};
use crate::pseudo::{Belongs, Content, DirNode, Node, Sink, Tree, caller_task, link};
use abi::Errno;
use fs::{Caller, NodeKind};
use std::sync::Arc;

/// Cookies of processes: this plus the pid. Static names are below.
const PIDS: u64 = 256;

struct Root {
    shared: Arc<Proc>,
    fixed: Arc<dyn DirNode>,
}

/// The root directory.
pub fn node(shared: &Arc<Proc>) -> Node {
    let mut tree = Tree::new();
    global::fill(&mut tree, shared);
    sysctl::fill(tree.at("sys"), shared);
    let of_self = shared.clone();
    let of_thread = shared.clone();
    let tree = tree
        .with(
            "self",
            link(move |caller| {
                let task = caller_task(caller).ok_or(Errno::ENOENT)?;
                match task.group().pid().nr_in(&of_self.ns) {
                    0 => Err(Errno::ENOENT),
                    nr => Ok(nr.to_string().into_bytes()),
                }
            }),
        )
        .with(
            "thread-self",
            link(move |caller| {
                let task = caller_task(caller).ok_or(Errno::ENOENT)?;
                match (
                    task.group().pid().nr_in(&of_thread.ns),
                    task.pid().nr_in(&of_thread.ns),
                ) {
                    (0, _) | (_, 0) => Err(Errno::ENOENT),
                    (tgid, tid) => Ok(format!("{tgid}/task/{tid}").into_bytes()),
                }
            }),
        );
    let Content::Dir(fixed) = tree.build().content else {
        unreachable!("a tree is a directory")
    };
    Node::new(
        0o555,
        Content::Dir(Arc::new(Root {
            shared: shared.clone(),
            fixed,
        })),
    )
}

/// A pid as a name: digits, no leading zero.
pub fn number(name: &[u8]) -> Option<i32> {
    if name.first() == Some(&b'0') && name.len() > 1 || !name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// Whether the group is still in the tree of processes (running or a zombie).
fn listed(group: &ThreadGroup) -> bool {
    !group.tasks().is_empty()
}

impl Root {
    /// The thread group that has this number: named by its leader, or, for a lookup only, by any of its threads.
    fn group(&self, nr: i32) -> Option<(Arc<Pid>, Arc<ThreadGroup>)> {
        let pid = self.shared.ns.lookup(nr)?;
        let group = match pid.group() {
            Some(group) => group,
            None => pid.task().map(|t| t.group().clone())?,
        };
        listed(&group).then_some((pid, group))
    }
}

impl DirNode for Root {
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let Some(nr) = number(name) else {
            return self.fixed.lookup(caller, name);
        };
        let (pid, group) = self.group(nr).ok_or(Errno::ENOENT)?;
        let leader = group.leader().ok_or(Errno::ENOENT)?;
        let viewer = caller.as_any().downcast_ref::<Task>();
        if !self.shared.visible(viewer, &leader, 2) {
            return Err(Errno::ENOENT);
        }
        let who = Who::process(&group);
        let dir = TaskDir {
            shared: self.shared.clone(),
            who,
        };
        let mut node = Node::new(0o555, Content::Dir(Arc::new(dir)));
        node.belongs = Belongs::Task(Arc::downgrade(&leader));
        node.ident = pid.serial();
        Ok(node)
    }
    fn list(&self, caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        let mut full = false;
        if cookie < PIDS {
            self.fixed
                .list(caller, cookie, &mut |name, kind, ino, cookie| {
                    full = full || !sink(name, kind, ino, cookie);
                    !full
                })?;
        }
        let viewer = caller.as_any().downcast_ref::<Task>();
        for (nr, pid) in self.shared.ns.pids() {
            let at = PIDS.saturating_add(u64::try_from(nr).unwrap_or(0));
            if full || at <= cookie {
                continue;
            }
            let Some(group) = pid.group().filter(|g| listed(g)) else {
                continue;
            };
            if !group
                .leader()
                .is_some_and(|l| self.shared.visible(viewer, &l, 2))
            {
                continue;
            }
            full = !sink(
                nr.to_string().as_bytes(),
                NodeKind::Directory.dirent_type(),
                0,
                at,
            );
        }
        Ok(())
    }
    fn is_static(&self) -> bool {
        false
    }
    fn still(&self, name: &[u8], ident: u64) -> bool {
        match number(name) {
            Some(nr) => self.group(nr).is_some_and(|(pid, _)| pid.serial() == ident),
            None => true,
        }
    }
    fn subdirs(&self) -> u32 {
        let groups = self
            .shared
            .ns
            .pids()
            .iter()
            .filter(|(_, p)| p.group().is_some())
            .count();
        u32::try_from(groups)
            .unwrap_or(u32::MAX)
            .saturating_add(self.fixed.subdirs())
    }
}
