//! tmpfs: files in the sandbox's memory. `/tmp`, `/dev/shm`, an overlay's upper layer, memfds, shared anonymous memory.
//!
//! ```text
//!   TmpFs ── Usage (limits)            Data ── extents ──► PageStore (the memory file)
//!     └ root: TmpInode ── Dir | Data | Link | nothing (devices, FIFOs, sockets)
//! ```
//!
//! Inodes know their filesystem and it knows its root; the knot is cut when the last mount goes ([`FileSystem::unmounted`]).

mod data;
mod dir;
mod file;
mod inode;
mod memfd;
mod ranges;
pub mod store;
#[cfg(test)]
mod tests;
mod usage;

pub use memfd::{add_seals, get_seals, internal_mount, memfd, unnamed};
pub use store::PageStore;
pub use usage::{INODES_OF_SANDBOX, NAMES_OF_SANDBOX};

use crate::inode::{FileSystem, Inode};
use crate::meta::{next_dev, now_ns};
use crate::vfs::perm::Owner;
use abi::Errno;
use abi::fs::Statfs;
use inode::TmpInode;
use std::any::Any;
use std::sync::{Arc, Weak};
use sync::Mutex;
use usage::Usage;

/// Inodes of a tmpfs mounted without `nr_inodes`.
const DEFAULT_INODES: u64 = 1 << 19;

/// Mount options (`tmpfs(5)`). Limits of 0 are none.
#[derive(Clone, Debug)]
pub struct Options {
    /// `size=` in bytes; the default is half of the machine's memory.
    pub size: u64,
    /// `nr_inodes=`
    pub inodes: u64,
    /// `mode=` of the root.
    pub mode: u32,
    /// `uid=` of the root.
    pub uid: u32,
    /// `gid=` of the root.
    pub gid: u32,
    /// Whether size and inodes were given, and so are shown.
    shown: (bool, bool, bool),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size: memory_size() / 2,
            inodes: DEFAULT_INODES,
            mode: 0o1777,
            uid: 0,
            gid: 0,
            shown: (false, false, false),
        }
    }
}

/// The machine's memory in bytes, asked for once: the first filesystem is made before the sentry gives up its system calls.
fn memory_size() -> u64 {
    static SIZE: sync::OnceLock<u64> = sync::OnceLock::new();
    *SIZE.get_or_init(|| {
        let info = rustix::system::sysinfo();
        info.totalram.saturating_mul(u64::from(info.mem_unit))
    })
}

/// `12`, `64k`, `1g`, `50%` (of memory).
fn parse_size(text: &str, percent_of: u64) -> Option<u64> {
    if let Some(percent) = text.strip_suffix('%') {
        return Some((percent_of / 100).saturating_mul(percent.parse().ok()?));
    }
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (text.get(..text.len().saturating_sub(1))?, 10),
        b'm' => (text.get(..text.len().saturating_sub(1))?, 20),
        b'g' => (text.get(..text.len().saturating_sub(1))?, 30),
        b't' => (text.get(..text.len().saturating_sub(1))?, 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Options {
    /// Parses `mount(2)`'s data: `size=64m,mode=1777,…`. Unknown options are `EINVAL`; those that mean nothing here (`huge=`, `mpol=`, SELinux contexts) are not.
    pub fn parse(data: &[u8]) -> Result<Self, Errno> {
        let mut options = Self::default();
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').map(str::trim).filter(|o| !o.is_empty()) {
            options.parse_one(option).ok_or(Errno::EINVAL)?;
        }
        Ok(options)
    }

    fn parse_one(&mut self, option: &str) -> Option<()> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "size" => (self.size, self.shown.0) = (parse_size(value, memory_size())?, true),
            "nr_blocks" => {
                (self.size, self.shown.0) =
                    (parse_size(value, memory_size())?.checked_mul(4096)?, true)
            }
            "nr_inodes" => (self.inodes, self.shown.1) = (parse_size(value, 0)?, true),
            "mode" => {
                (self.mode, self.shown.2) = (u32::from_str_radix(value, 8).ok()? & 0o7777, true)
            }
            "uid" => self.uid = value.parse().ok()?,
            "gid" => self.gid = value.parse().ok()?,
            "huge" | "mpol" | "context" | "fscontext" | "defcontext" | "rootcontext"
            | "inode32" | "inode64" | "noswap" | "rw" | "ro" => {}
            _ => return None,
        }
        Some(())
    }
}

/// A tmpfs.
pub struct TmpFs {
    store: Arc<dyn PageStore>,
    usage: Usage,
    dev: u64,
    options: Options,
    root: Mutex<Root>,
    this: Weak<TmpFs>,
}

#[derive(Default)]
struct Root {
    /// Until the last mount goes.
    held: Option<Arc<TmpInode>>,
    weak: Weak<TmpInode>,
}

impl TmpFs {
    /// A new, empty tmpfs.
    pub fn new(store: Arc<dyn PageStore>, options: Options) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            store,
            usage: Usage::new(options.size.div_ceil(4096), options.inodes),
            dev: next_dev(),
            options,
            root: Mutex::new(Root::default()),
            this: this.clone(),
        })
    }

    fn root_inode(&self) -> Arc<TmpInode> {
        let Some(this) = self.this.upgrade() else {
            unreachable!("a method runs on a live filesystem")
        };
        let owner = Owner {
            mode: self.options.mode,
            uid: self.options.uid,
            gid: self.options.gid,
        };
        let fresh = TmpInode::root(this, owner, now_ns());
        let mut root = self.root.lock();
        match root.weak.upgrade() {
            Some(first) => first,
            None => {
                *root = Root {
                    weak: Arc::downgrade(&fresh),
                    held: Some(fresh.clone()),
                };
                fresh
            }
        }
    }

    /// Changes size and inode limits (`remount,size=`): `EINVAL` below what is in use.
    pub fn set_limits(&self, size: Option<u64>, inodes: Option<u64>) -> Result<(), Errno> {
        self.usage
            .set_limits(size.map(|s| s.div_ceil(4096)), inodes)
    }

    /// Bytes of data held.
    pub fn used(&self) -> u64 {
        self.usage.pages().1.saturating_mul(4096)
    }
}

impl FileSystem for TmpFs {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn name(&self) -> &'static str {
        "tmpfs"
    }
    fn root(&self) -> Arc<dyn Inode> {
        self.root_inode()
    }
    fn statfs(&self) -> Result<Statfs, Errno> {
        let ((pages, pages_used), (inodes, inodes_used)) =
            (self.usage.pages(), self.usage.inodes());
        let free = |limit: u64, used: u64| {
            if limit == 0 {
                0
            } else {
                limit.saturating_sub(used)
            }
        };
        Ok(Statfs {
            f_type: 0x0102_1994,
            f_bsize: 4096,
            f_blocks: pages,
            f_bfree: free(pages, pages_used),
            f_bavail: free(pages, pages_used),
            f_files: inodes,
            f_ffree: free(inodes, inodes_used),
            f_namelen: 255,
            f_frsize: 4096,
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        let mut text = String::new();
        let (size, inodes, mode) = self.options.shown;
        if size {
            text += &format!(",size={}k", self.usage.pages().0.saturating_mul(4));
        }
        if inodes {
            text += &format!(",nr_inodes={}", self.usage.inodes().0);
        }
        if mode {
            text += &format!(",mode={:o}", self.options.mode);
        }
        text
    }
    fn remount(&self, data: &[u8]) -> Result<(), Errno> {
        let options = Options::parse(data)?;
        let (size, inodes, _) = options.shown;
        self.set_limits(
            size.then_some(options.size),
            inodes.then_some(options.inodes),
        )
    }
    fn unmounted(&self) {
        let held = self.root.lock().held.take();
        drop(held);
    }
}
