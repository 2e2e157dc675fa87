//! Static directories, and nodes from closures.

use super::{Content, DirNode, FileNode, LinkNode, Node, Sink};
use crate::kernel::Task;
use abi::Errno;
use fs::{Caller, Follow};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory whose entries never change. Built with [`Tree::with`] and [`Tree::at`].
#[derive(Default)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Directory bits; 0o555 unless told otherwise.
    mode: Option<u32>,
}

enum Entry {
    Node(Node),
    Tree(Tree),
}

impl Tree {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
    /// Directories of it have these permission bits (sysfs: 0755).
    pub fn mode(mode: u32) -> Self {
        Self {
            entries: BTreeMap::new(),
            mode: Some(mode),
        }
    }
    /// Adds a node at `path`, with the directories that lead to it.
    pub fn with(mut self, path: &str, node: Node) -> Self {
        self.add(path, node);
        self
    }
    /// As [`Self::with`], in place.
    pub fn add(&mut self, path: &str, node: Node) {
        match path.split_once('/') {
            None => {
                self.entries
                    .insert(path.as_bytes().to_vec(), Entry::Node(node));
            }
            Some((dir, rest)) => self.at(dir).add(rest, node),
        }
    }
    /// The directory at `path`, made where it is missing.
    pub fn at(&mut self, path: &str) -> &mut Tree {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let mode = self.mode;
        let entry = self
            .entries
            .entry(first.as_bytes().to_vec())
            .or_insert_with(|| {
                Entry::Tree(Tree {
                    entries: BTreeMap::new(),
                    mode,
                })
            });
        if let Entry::Node(_) = entry {
            *entry = Entry::Tree(Tree {
                entries: BTreeMap::new(),
                mode,
            });
        }
        match entry {
            Entry::Tree(tree) => {
                if rest.is_empty() {
                    tree
                } else {
                    tree.at(rest)
                }
            }
            Entry::Node(_) => unreachable!("replaced above"),
        }
    }
    /// The directory.
    pub fn build(self) -> Node {
        let entries: Vec<(Vec<u8>, Node)> = self
            .entries
            .into_iter()
            .map(|(name, entry)| match entry {
                Entry::Node(node) => (name, node),
                Entry::Tree(tree) => (name, tree.build()),
            })
            .collect();
        Node::new(
            self.mode.unwrap_or(0o555),
            Content::Dir(Arc::new(Static { entries })),
        )
    }
}

struct Static {
    /// By name.
    entries: Vec<(Vec<u8>, Node)>,
}

impl DirNode for Static {
    fn lookup(&self, _caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let at = self
            .entries
            .binary_search_by(|(n, _)| n.as_slice().cmp(name))
            .map_err(|_| Errno::ENOENT)?;
        self.entries
            .get(at)
            .map(|(_, node)| node.clone())
            .ok_or(Errno::ENOENT)
    }
    fn list(&self, _caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        let from = cookie.saturating_sub(2);
        for (at, (name, node)) in (3_u64..)
            .zip(&self.entries)
            .skip(usize::try_from(from).unwrap_or(usize::MAX))
        {
            if !sink(name, node.content.kind().dirent_type(), node.ino, at) {
                break;
            }
        }
        Ok(())
    }
    fn subdirs(&self) -> u32 {
        let dirs = self
            .entries
            .iter()
            .filter(|(_, n)| matches!(n.content, Content::Dir(_)))
            .count();
        u32::try_from(dirs).unwrap_or(u32::MAX)
    }
}

type Read = dyn Fn(Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> + Send + Sync;
type Write = dyn Fn(&dyn Caller, &[u8]) -> Result<(), Errno> + Send + Sync;

struct Closure {
    read: Box<Read>,
    write: Option<Box<Write>>,
}

impl FileNode for Closure {
    fn text(&self, opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        (self.read)(opener)
    }
    fn write(&self, caller: &dyn Caller, data: &[u8], offset: u64) -> Result<(), Errno> {
        match &self.write {
            // A sysctl is written as a whole.
            Some(_) if offset != 0 => Err(Errno::EINVAL),
            Some(write) => write(caller, data),
            None => Err(Errno::EIO),
        }
    }
}

/// A file with a made-up text.
pub fn text<T: Into<Vec<u8>>>(
    mode: u32,
    read: impl Fn(Option<&Arc<Task>>) -> T + Send + Sync + 'static,
) -> Node {
    let read = Box::new(move |opener: Option<&Arc<Task>>| Ok(read(opener).into()));
    Node::new(mode, Content::File(Arc::new(Closure { read, write: None })))
}

/// One that can be written.
pub fn writable<T: Into<Vec<u8>>>(
    mode: u32,
    read: impl Fn(Option<&Arc<Task>>) -> T + Send + Sync + 'static,
    write: impl Fn(&dyn Caller, &[u8]) -> Result<(), Errno> + Send + Sync + 'static,
) -> Node {
    let read = Box::new(move |opener: Option<&Arc<Task>>| Ok(read(opener).into()));
    Node::new(
        mode,
        Content::File(Arc::new(Closure {
            read,
            write: Some(Box::new(write)),
        })),
    )
}

struct TextLink(Box<dyn Fn(&dyn Caller) -> Result<Vec<u8>, Errno> + Send + Sync>);

impl LinkNode for TextLink {
    fn follow(&self, caller: &dyn Caller) -> Result<Follow, Errno> {
        Ok(Follow::Text((self.0)(caller)?.into()))
    }
}

/// A symbolic link whose text may depend on the caller.
pub fn link(
    target: impl Fn(&dyn Caller) -> Result<Vec<u8>, Errno> + Send + Sync + 'static,
) -> Node {
    Node::new(0o777, Content::Link(Arc::new(TextLink(Box::new(target)))))
}
