//! From a place back to a text: `getcwd(2)`, `/proc/PID/fd/*`, `/proc/PID/maps`, `mountinfo`.

use super::dentry::Dentry;
use super::mount::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The name of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathText {
    /// The path, without decoration.
    pub bytes: Vec<u8>,
    /// The name is gone (`/proc` adds ` (deleted)`, `getcwd` answers `ENOENT`).
    pub deleted: bool,
    /// The place lies below the given root; else `bytes` counts from the root of its own tree (`getcwd` puts `(unreachable)` before it).
    pub reachable: bool,
}

impl PathText {
    /// As `/proc` shows it.
    pub fn into_proc(mut self) -> Vec<u8> {
        if self.deleted {
            self.bytes.extend_from_slice(b" (deleted)");
        }
        self.bytes
    }

    /// As `getcwd(2)` returns it (without the NUL): `ENOENT` when the directory was removed.
    pub fn into_cwd(self) -> Result<Vec<u8>, abi::Errno> {
        if self.deleted {
            return Err(abi::Errno::ENOENT);
        }
        if self.reachable {
            return Ok(self.bytes);
        }
        let mut text = b"(unreachable)".to_vec();
        text.extend_from_slice(&self.bytes);
        Ok(text)
    }
}

/// The path of `at` as seen from `root` (`d_path`).
pub fn path_text(at: &Path, root: &Path) -> PathText {
    if at.dentry.pseudo() {
        return PathText {
            bytes: at.dentry.name().to_vec(),
            deleted: false,
            reachable: true,
        };
    }
    let superblock = at.dentry.superblock();
    // Renames meanwhile could mix an old name with a new parent: try again a few times, then take what there is.
    for _ in 0..8 {
        let before = superblock.rename_seq.load(Ordering::Acquire);
        let text = walk_up(at, root);
        if before & 1 == 0 && superblock.rename_seq.load(Ordering::Acquire) == before {
            return text;
        }
    }
    walk_up(at, root)
}

fn walk_up(at: &Path, root: &Path) -> PathText {
    let deleted = at.dentry.deleted();
    let mut names: Vec<Arc<[u8]>> = Vec::new();
    let mut place = at.clone();
    let reachable = loop {
        if place.same(root) {
            break true;
        }
        if Arc::ptr_eq(&place.dentry, place.mount.root()) {
            match place.mount.mountpoint() {
                Some(outside) => place = outside,
                None => break false,
            }
            continue;
        }
        let (parent, name) = place.dentry.link();
        names.push(name);
        match parent {
            Some(parent) => place.dentry = parent,
            // A file without a place in the tree (`O_TMPFILE`).
            None => break true,
        }
    };
    PathText {
        bytes: join(&names),
        deleted,
        reachable,
    }
}

/// The path of a dentry in its own filesystem (fourth column of `mountinfo`).
pub fn in_filesystem(dentry: &Arc<Dentry>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = dentry.clone();
    loop {
        let (parent, name) = at.link();
        let Some(parent) = parent else { break };
        names.push(name);
        at = parent;
    }
    join(&names)
}

fn join(names: &[Arc<[u8]>]) -> Vec<u8> {
    if names.is_empty() {
        return b"/".to_vec();
    }
    let mut bytes = Vec::with_capacity(names.iter().map(|n| n.len().saturating_add(1)).sum());
    for name in names.iter().rev() {
        bytes.push(b'/');
        bytes.extend_from_slice(name);
    }
    bytes
}
