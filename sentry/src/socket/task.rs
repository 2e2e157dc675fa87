//! A task as the caller of socket operations.

use super::{Creds, NetNamespace, SocketCaller};
use crate::kernel::{Pid, Task, limits};
use abi::Errno;
use abi::cap::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use fs::vfs::Path;
use std::any::Any;
use std::sync::Arc;

impl SocketCaller for Task {
    fn creds(&self) -> Creds {
        let cred = self.cred();
        Creds {
            pid: self.tgid(),
            uid: cred.euid,
            gid: cred.egid,
            groups: cred.groups.clone(),
            process: self.process(self.tgid()),
        }
    }
    fn real_creds(&self) -> Creds {
        let cred = self.cred();
        Creds {
            uid: cred.ruid,
            gid: cred.rgid,
            ..self.creds()
        }
    }
    fn pid_of(&self, creds: &Creds) -> i32 {
        match creds.process.as_ref().and_then(|p| p.downcast_ref::<Pid>()) {
            Some(pid) => pid.nr_in(&self.pid_ns()),
            None => creds.pid,
        }
    }
    fn may_claim(&self, pid: i32, uid: u32, gid: u32) -> bool {
        let cred = self.cred();
        (pid == self.tgid() || cred.has_cap(CAP_SYS_ADMIN))
            && ([cred.ruid, cred.euid, cred.suid].contains(&uid) || cred.has_cap(CAP_SETUID))
            && ([cred.rgid, cred.egid, cred.sgid].contains(&gid) || cred.has_cap(CAP_SETGID))
    }
    fn process(&self, pid: i32) -> Option<Arc<dyn Any + Send + Sync>> {
        let pid = self.pid_ns().lookup(pid)?;
        Some(pid)
    }
    fn net(&self) -> Arc<NetNamespace> {
        // The slot of a net namespace holds nothing else.
        self.ns()
            .net
            .content(NetNamespace::default)
            .unwrap_or_default()
    }
    fn root_and_cwd(&self) -> Result<(Path, Path), Errno> {
        Ok(self.fs()?.root_and_cwd())
    }
    fn fd_limit(&self) -> u64 {
        self.group().limits.soft(limits::Resource::Nofile)
    }
}
