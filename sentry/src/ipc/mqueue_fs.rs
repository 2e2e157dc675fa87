//! The `mqueue` filesystem: the queues of the ipc namespace of whoever looks, as files that tell how full they are (`mq_overview(7)`).

use super::IpcNamespace;
use crate::kernel::Task;
use crate::pseudo::{Content, DirNode, FileNode, Node, PseudoFs, Sink, caller_task};
use abi::Errno;
use fs::{Caller, FileSystem, NodeKind};
use std::sync::Arc;

/// `MQUEUE_MAGIC`
const MAGIC: u64 = 0x1980_0202;

/// A new instance.
pub fn new() -> Arc<dyn FileSystem> {
    let root = Node::new(0o1777, Content::Dir(Arc::new(Root)));
    PseudoFs::new("mqueue", MAGIC, String::new(), root)
}

struct Root;

fn namespace(caller: &dyn Caller) -> Result<Arc<IpcNamespace>, Errno> {
    let task = caller_task(caller).ok_or(Errno::ENOENT)?;
    IpcNamespace::of(&task.ns().ipc)
}

impl DirNode for Root {
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let ns = namespace(caller)?;
        let (owner, _) = ns.mqueue.look(name).ok_or(Errno::ENOENT)?;
        let file = QueueFile {
            ns,
            name: name.to_vec(),
        };
        let mut node = Node::new(owner.mode, Content::File(Arc::new(file)));
        node.belongs = crate::pseudo::Belongs::User(owner.uid, owner.gid);
        Ok(node)
    }
    fn list(&self, caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        let names = namespace(caller)?.mqueue.names();
        for (at, name) in (3_u64..).zip(names) {
            if at > cookie && !sink(&name, NodeKind::Regular.dirent_type(), 0, at) {
                break;
            }
        }
        Ok(())
    }
    fn is_static(&self) -> bool {
        false
    }
}

struct QueueFile {
    ns: Arc<IpcNamespace>,
    name: Vec<u8>,
}

impl FileNode for QueueFile {
    fn text(&self, _opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        let (_, text) = self.ns.mqueue.look(&self.name).ok_or(Errno::ENOENT)?;
        Ok(text.into_bytes())
    }
}
