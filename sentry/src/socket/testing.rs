//! What the unit tests of sockets share.

use super::{Creds, NetNamespace, SocketCaller};
use abi::Errno;
use fs::vfs::Path;
use std::any::Any;
use std::sync::Arc;

/// A task without a kernel.
pub struct TestCaller {
    pub pid: i32,
    pub uid: u32,
    pub caps: u64,
    pub net: Arc<NetNamespace>,
    pub root: Option<Path>,
    pub fd_limit: u64,
    /// The process behind `pid`.
    pub process: Option<Arc<dyn Any + Send + Sync>>,
}

impl TestCaller {
    pub fn new(pid: i32) -> Self {
        Self {
            pid,
            uid: 1000,
            caps: 0,
            net: NetNamespace::new(),
            root: None,
            fd_limit: 1024,
            process: None,
        }
    }
    /// Another process in the same namespaces.
    pub fn sibling(&self, pid: i32) -> Self {
        Self {
            pid,
            uid: self.uid,
            caps: self.caps,
            net: self.net.clone(),
            root: self.root.clone(),
            fd_limit: self.fd_limit,
            process: None,
        }
    }
}

impl fs::Caller for TestCaller {
    fn cred(&self) -> Arc<fs::Cred> {
        Arc::new(fs::Cred {
            fsuid: self.uid,
            fsgid: self.uid,
            groups: Vec::new(),
            caps: self.caps,
        })
    }
    fn umask(&self) -> u32 {
        0o022
    }
    fn now_ns(&self) -> i64 {
        0
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SocketCaller for TestCaller {
    fn creds(&self) -> Creds {
        Creds {
            pid: self.pid,
            uid: self.uid,
            gid: self.uid,
            process: self.process.clone(),
            ..Creds::default()
        }
    }
    fn may_claim(&self, pid: i32, uid: u32, gid: u32) -> bool {
        (pid, uid, gid) == (self.pid, self.uid, self.uid)
    }
    fn process(&self, _pid: i32) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
    fn net(&self) -> Arc<NetNamespace> {
        self.net.clone()
    }
    fn root_and_cwd(&self) -> Result<(Path, Path), Errno> {
        let root = self.root.clone().ok_or(Errno::ENOENT)?;
        Ok((root.clone(), root))
    }
    fn fd_limit(&self) -> u64 {
        self.fd_limit
    }
}
