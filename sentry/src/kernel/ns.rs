//! Namespaces other than pid and user (`namespaces(7)`): uts, ipc, net, mount, and the bundle of them that a task holds.

use super::cred::UserNamespace;
use super::pid::PidNamespace;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sync::{Mutex, OnceLock, RwLock};

/// A fresh namespace identity: an inode number as `/proc/PID/ns` shows them.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0xf000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Host and domain name (`uname(2)`): at most 64 bytes each.
pub struct UtsNamespace {
    id: u64,
    /// The user namespace that owns it.
    pub owner: Arc<UserNamespace>,
    names: RwLock<(Vec<u8>, Vec<u8>)>,
}

impl UtsNamespace {
    /// With these names; longer ones are cut.
    pub fn new(owner: Arc<UserNamespace>, host: &[u8], domain: &[u8]) -> Arc<Self> {
        let cut = |s: &[u8]| s.get(..64).unwrap_or(s).to_vec();
        Arc::new(Self {
            id: next_id(),
            owner,
            names: RwLock::new((cut(host), cut(domain))),
        })
    }
    /// A copy for `CLONE_NEWUTS`.
    pub fn fork(&self, owner: Arc<UserNamespace>) -> Arc<Self> {
        Self::new(owner, &self.host_name(), &self.domain_name())
    }
    /// Its inode number.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// `nodename`.
    pub fn host_name(&self) -> Vec<u8> {
        self.names.read().0.clone()
    }
    /// `domainname`.
    pub fn domain_name(&self) -> Vec<u8> {
        self.names.read().1.clone()
    }
    /// `sethostname(2)`; the caller checked length and capability.
    pub fn set_host_name(&self, name: &[u8]) {
        self.names.write().0 = name.to_vec();
    }
    /// `setdomainname(2)`.
    pub fn set_domain_name(&self, name: &[u8]) {
        self.names.write().1 = name.to_vec();
    }
}

/// A namespace whose content another module keeps: System V objects for ipc, sockets and interfaces for net.
pub struct OpaqueNamespace {
    id: u64,
    /// The user namespace that owns it.
    pub owner: Arc<UserNamespace>,
    content: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl OpaqueNamespace {
    /// An empty one.
    pub fn new(owner: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self {
            id: next_id(),
            owner,
            content: OnceLock::new(),
        })
    }
    /// Its inode number.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// Its content, made on first use.
    pub fn content<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        self.content
            .get_or_init(|| Arc::new(make()))
            .clone()
            .downcast::<T>()
            .ok()
    }
}

/// The namespaces of a task, replaced as a whole by `unshare` and `setns`.
#[derive(Clone)]
pub struct Namespaces {
    /// Host name.
    pub uts: Arc<UtsNamespace>,
    /// System V IPC and POSIX message queues.
    pub ipc: Arc<OpaqueNamespace>,
    /// Network.
    pub net: Arc<OpaqueNamespace>,
    /// Mounts.
    pub mnt: Arc<fs::vfs::MountNamespace>,
    /// Where children are born; the task's own is in its [`super::Pid`].
    pub pid_for_children: Arc<PidNamespace>,
}

/// What `CLONE_FS` shares: root, current directory, umask.
pub struct FsContext {
    inner: Mutex<FsState, { sync::level::FS_CONTEXT }>,
}

#[derive(Clone)]
struct FsState {
    root: fs::vfs::Path,
    cwd: fs::vfs::Path,
    umask: u32,
}

impl FsContext {
    /// A fresh one.
    pub fn new(root: fs::vfs::Path, cwd: fs::vfs::Path, umask: u32) -> Self {
        Self {
            inner: Mutex::new(FsState {
                root,
                cwd,
                umask: umask & 0o777,
            }),
        }
    }
    /// A copy for `fork`.
    pub fn fork(&self) -> Self {
        Self {
            inner: Mutex::new(self.inner.lock().clone()),
        }
    }
    /// The root directory.
    pub fn root(&self) -> fs::vfs::Path {
        self.inner.lock().root.clone()
    }
    /// The current directory.
    pub fn cwd(&self) -> fs::vfs::Path {
        self.inner.lock().cwd.clone()
    }
    /// Both at once.
    pub fn root_and_cwd(&self) -> (fs::vfs::Path, fs::vfs::Path) {
        let inner = self.inner.lock();
        (inner.root.clone(), inner.cwd.clone())
    }
    /// `chroot(2)`.
    pub fn set_root(&self, root: fs::vfs::Path) {
        let old = std::mem::replace(&mut self.inner.lock().root, root);
        drop(old);
    }
    /// `chdir(2)`.
    pub fn set_cwd(&self, cwd: fs::vfs::Path) {
        let old = std::mem::replace(&mut self.inner.lock().cwd, cwd);
        drop(old);
    }
    /// `umask(2)`.
    pub fn umask(&self) -> u32 {
        self.inner.lock().umask
    }
    /// `umask(2)`; returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.inner.lock().umask, umask & 0o777)
    }
}
