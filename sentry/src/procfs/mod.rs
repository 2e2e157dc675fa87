//! procfs (`proc(5)`), as seen from one pid namespace.
//!
//! | file | shows |
//! |---|---|
//! | `root.rs` | the names at the top: processes, `self`, and what `global.rs`, `sysctl.rs` give |
//! | `task.rs` | the directory of a process or thread; `text.rs`, `status.rs`, `stat.rs`, `files.rs` fill it |
//! | `fd.rs`, `links.rs`, `nsfs.rs`, `mem.rs` | magic links and files that are no text |
//! | `access.rs` | who may look at whom |
//! | `net.rs` | the network namespace of a process |

mod access;
mod counts;
mod fd;
mod files;
mod global;
mod links;
mod mem;
mod net;
pub mod nsfs;
mod root;
mod stat;
mod status;
mod sysctl;
mod task;
#[cfg(test)]
mod tests;

pub use access::{may_access, owner_of};
pub use files::command_line;

use crate::kernel::{Kernel, PidNamespace, Task};
use crate::pseudo::PseudoFs;
use abi::Errno;
use fs::FileSystem;
use std::sync::{Arc, Weak};
use sync::OnceLock;

/// What is told of the machine that only the host's own files say, read before the walls stood.
#[derive(Clone, Default)]
pub struct HostText {
    /// `/proc/cpuinfo`
    pub cpuinfo: Arc<[u8]>,
}

static HOST: OnceLock<HostText> = OnceLock::new();

/// Hands over what the host's files said; the first call wins.
pub fn set_host_text(text: HostText) {
    let _ = HOST.set(text);
}

/// What the host's files said.
pub fn host_text() -> HostText {
    HOST.get().cloned().unwrap_or_default()
}

/// Mount options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `hidepid=`: 1 closes the directories of processes that may not be looked at, 2 and 4 hide them.
    hidepid: u8,
    /// `gid=`: this group sees all.
    gid: Option<u32>,
}

impl Options {
    /// Parses `mount(2)`'s data.
    pub fn parse(data: &[u8]) -> Result<Self, Errno> {
        let mut options = Self::default();
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|o| !o.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("hidepid", value) => {
                    options.hidepid = match value {
                        "0" | "off" => 0,
                        "1" | "noaccess" => 1,
                        "2" | "invisible" => 2,
                        "4" | "ptraceable" => 4,
                        _ => return Err(Errno::EINVAL),
                    }
                }
                ("gid", value) => options.gid = Some(value.parse().map_err(|_| Errno::EINVAL)?),
                ("rw" | "ro" | "nosuid" | "nodev" | "noexec" | "relatime", "") => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    fn shown(self) -> String {
        let name = match self.hidepid {
            0 => None,
            1 => Some("noaccess"),
            2 => Some("invisible"),
            _ => Some("ptraceable"),
        };
        let gid = self.gid.map_or(String::new(), |gid| format!(",gid={gid}"));
        gid + &name.map_or(String::new(), |name| format!(",hidepid={name}"))
    }
}

/// What the nodes of one procfs share. The kernel is held weakly: it holds the mounts.
pub(crate) struct Proc {
    kernel: Weak<Kernel>,
    ns: Arc<PidNamespace>,
    options: Options,
}

impl Proc {
    fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ESRCH)
    }

    /// Whether `hidepid` lets the caller see that `task` exists (`below` 2) or enter its directory.
    fn visible(&self, caller: Option<&Task>, task: &Task, below: u8) -> bool {
        let Some(caller) = caller else { return true };
        if self.options.hidepid < below {
            return true;
        }
        let in_group = self.options.hidepid != 4
            && self
                .options
                .gid
                .is_some_and(|gid| caller.cred().in_group(gid));
        in_group || may_access(caller, task).is_ok()
    }
}

/// A procfs that shows the processes of `ns`.
pub fn new(
    kernel: &Arc<Kernel>,
    ns: &Arc<PidNamespace>,
    data: &[u8],
) -> Result<Arc<dyn FileSystem>, Errno> {
    let options = Options::parse(data)?;
    let shared = Arc::new(Proc {
        kernel: Arc::downgrade(kernel),
        ns: ns.clone(),
        options,
    });
    Ok(PseudoFs::new(
        "proc",
        abi::fs::PROC_SUPER_MAGIC,
        options.shown(),
        root::node(&shared),
    ))
}

/// A set of processors as a list (`0-3,5`), of those the sandbox may use.
pub fn cpu_list(cpus: &crate::host::CpuSet) -> String {
    status::cpu_lists(cpus).1
}
