//! The walk: from a text to a place (`path_resolution(7)`, `openat2(2)`).
//!
//! A cached component costs one search check, one read lock of the directory's map and one reference: no allocation, nothing global. Symbolic links push
//! what is left of the text on a stack; at most 40 are followed.

use super::dentry::Dentry;
use super::moment::Moment;
use super::mount::{MountFlags, Path};
use super::perm::{self, MAY_EXEC};
use crate::inode::{Follow, NodeKind};
use crate::{Caller, Cred};
use abi::{Errno, NAME_MAX, PATH_MAX};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAX_LINKS: u32 = 40;

bitflags::bitflags! {
    /// How the end of a path is treated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LookupFlags: u32 {
        /// Do not follow a final symbolic link (`AT_SYMLINK_NOFOLLOW`, `O_NOFOLLOW`).
        const NOFOLLOW = 1;
        /// The result must be a directory, else `ENOTDIR`.
        const DIRECTORY = 2;
        /// An empty path means the start itself (`AT_EMPTY_PATH`).
        const EMPTY = 4;
    }
}

bitflags::bitflags! {
    /// `openat2(2)`'s `RESOLVE_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Resolve: u64 {
        /// Do not cross mounts.
        const NO_XDEV = 1;
        /// No magic links.
        const NO_MAGICLINKS = 2;
        /// No symbolic links at all.
        const NO_SYMLINKS = 4;
        /// Stay below the start; leaving is `EXDEV`.
        const BENEATH = 8;
        /// The start is the root.
        const IN_ROOT = 0x10;
        /// Only what is cached, else `EAGAIN`.
        const CACHED = 0x20;
    }
}

/// Who walks, from where.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// On whose behalf.
    pub caller: &'a dyn Caller,
    /// The caller's root directory.
    pub root: &'a Path,
    /// Where relative paths start: the current directory or a directory descriptor's path.
    pub start: &'a Path,
    /// The end of the path.
    pub flags: LookupFlags,
    /// Restrictions.
    pub resolve: Resolve,
}

/// The last component of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastKind {
    /// A name.
    Name,
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// Nothing: the path was `/` or only slashes.
    Root,
}

/// A path up to its last component.
pub struct Parent {
    /// The directory (for [`LastKind::Root`] the root itself).
    pub dir: Path,
    /// The last name; empty unless `kind` is a name.
    pub name: Arc<[u8]>,
    /// What kind of last component it is.
    pub kind: LastKind,
    /// Slashes follow it.
    pub trailing_slash: bool,
}

/// Counts changes of the mount tree: scoped walks compare it around `..`.
pub(super) static MOUNT_SEQ: AtomicU64 = AtomicU64::new(0);

impl<'a> Lookup<'a> {
    /// A plain walk that follows links.
    pub fn new(caller: &'a dyn Caller, root: &'a Path, start: &'a Path) -> Self {
        Self {
            caller,
            root,
            start,
            flags: LookupFlags::empty(),
            resolve: Resolve::empty(),
        }
    }

    /// The same with other flags.
    pub fn with(self, flags: LookupFlags) -> Self {
        Self { flags, ..self }
    }

    /// The place `path` leads to.
    pub fn resolve(&self, path: &[u8]) -> Result<Path, Errno> {
        if path.is_empty() {
            return self.empty();
        }
        let mut walker = Walker::new(self, path)?;
        loop {
            let last = walker.walk_to_last()?;
            match walker.enter(&last, self.flags.contains(LookupFlags::NOFOLLOW))? {
                Step::Absent => return Err(Errno::ENOENT),
                Step::Again => {}
                Step::Done => return walker.finish(self.flags.contains(LookupFlags::DIRECTORY)),
            }
        }
    }

    /// The directory that holds the last component of `path`, and that component.
    pub fn parent(&self, path: &[u8]) -> Result<Parent, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut walker = Walker::new(self, path)?;
        let last = walker.walk_to_last()?;
        let name = last
            .name
            .bytes()
            .map_or_else(|| Arc::from(&b""[..]), Arc::from);
        Ok(Parent {
            name,
            kind: last.kind,
            trailing_slash: last.trailing_slash,
            dir: walker.at,
        })
    }

    fn empty(&self) -> Result<Path, Errno> {
        if !self.flags.contains(LookupFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        if self.flags.contains(LookupFlags::DIRECTORY) && !self.start.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.start.clone())
    }
}

/// A text being walked: the caller's, or a symbolic link's.
#[derive(Clone)]
enum Text<'p> {
    Given(&'p [u8]),
    Link(Arc<[u8]>),
}

impl Text<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Text::Given(bytes) => bytes,
            Text::Link(bytes) => bytes,
        }
    }
}

/// A component, as a range of the text it stands in.
pub(super) struct Name<'p> {
    text: Text<'p>,
    range: Range<usize>,
}

impl Name<'_> {
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.text
            .bytes()
            .get(self.range.clone())
            .filter(|b| !b.is_empty())
    }
}

pub(super) struct Last<'p> {
    pub(super) name: Name<'p>,
    pub(super) kind: LastKind,
    pub(super) trailing_slash: bool,
}

pub(super) enum Step {
    /// `at` is the place.
    Done,
    /// A symbolic link was entered: ask for the last component again.
    Again,
    /// There is no such name in `at`.
    Absent,
}

/// One walk under way.
pub(super) struct Walker<'l, 'p> {
    lookup: &'l Lookup<'l>,
    cred: Arc<Cred>,
    moment: Moment,
    /// Where the walk is; after `walk_to_last` the directory of the last component.
    pub(super) at: Path,
    text: Text<'p>,
    pos: usize,
    /// Texts to go on with after `text`, each with components left.
    rest: Vec<(Text<'p>, usize)>,
    links: u32,
    /// A trailing slash was seen behind a followed link: the end must be a directory.
    must_be_dir: bool,
    /// What must not change while a scoped walk uses `..`.
    seq: (u64, u64),
}

impl<'l, 'p> Walker<'l, 'p> {
    pub(super) fn new(lookup: &'l Lookup<'l>, path: &'p [u8]) -> Result<Self, Errno> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let scoped = lookup
            .resolve
            .intersects(Resolve::BENEATH | Resolve::IN_ROOT);
        let absolute = path.first() == Some(&b'/');
        let at = if !absolute || lookup.resolve.contains(Resolve::IN_ROOT) {
            lookup.start.clone()
        } else if lookup.resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        } else {
            lookup.root.clone()
        };
        let seq = if scoped {
            (
                MOUNT_SEQ.load(Ordering::Acquire),
                at.dentry.superblock().rename_seq.load(Ordering::Acquire),
            )
        } else {
            (0, 0)
        };
        Ok(Self {
            lookup,
            cred: lookup.caller.cred(),
            moment: Moment::of(lookup.caller),
            at,
            text: Text::Given(path),
            pos: 0,
            rest: Vec::new(),
            links: 0,
            must_be_dir: false,
            seq,
        })
    }

    /// Whose walk it is.
    pub(super) fn cred(&self) -> &Cred {
        &self.cred
    }

    /// The same, to keep beyond the walk.
    pub(super) fn cred_arc(&self) -> Arc<Cred> {
        self.cred.clone()
    }

    /// Walks all components but the last.
    pub(super) fn walk_to_last(&mut self) -> Result<Last<'p>, Errno> {
        loop {
            let (range, after, tail_is_empty) = self.next_component();
            if range.is_empty() {
                // Only slashes: `/`, or a link to `/`. (Texts in `rest` have components left.)
                match self.rest.pop() {
                    Some((text, pos)) => {
                        (self.text, self.pos) = (text, pos);
                        continue;
                    }
                    None => {
                        return Ok(Last {
                            name: Name {
                                text: self.text.clone(),
                                range,
                            },
                            kind: LastKind::Root,
                            trailing_slash: false,
                        });
                    }
                }
            }
            if !self.at.dentry.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            // `may_lookup`: search permission comes before anything else about the component.
            self.at
                .inode()
                .permission(self.lookup.caller, &self.cred, MAY_EXEC)?;
            if range.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let name = Name {
                text: self.text.clone(),
                range,
            };
            self.pos = after;
            let kind = match name.bytes() {
                Some(b".") => LastKind::Dot,
                Some(b"..") => LastKind::DotDot,
                _ => LastKind::Name,
            };
            if tail_is_empty && self.rest.is_empty() {
                let trailing_slash = after < self.text.bytes().len() || self.must_be_dir;
                return Ok(Last {
                    name,
                    kind,
                    trailing_slash,
                });
            }
            if tail_is_empty && let Some((text, pos)) = self.rest.pop() {
                (self.text, self.pos) = (text, pos);
            }
            match kind {
                LastKind::Dot | LastKind::Root => {}
                LastKind::DotDot => self.go_up()?,
                LastKind::Name => {
                    let Some(child) = self.child(&name)? else {
                        return Err(Errno::ENOENT);
                    };
                    if child.kind() == NodeKind::Symlink {
                        self.follow(child)?;
                    } else {
                        self.go_down(child)?;
                    }
                }
            }
        }
    }

    /// The range of the next component, where the text goes on after it, and whether nothing but slashes follows.
    #[inline]
    fn next_component(&self) -> (Range<usize>, usize, bool) {
        let bytes = self.text.bytes();
        let mut start = self.pos;
        while bytes.get(start) == Some(&b'/') {
            start = start.saturating_add(1);
        }
        let mut end = start;
        while bytes.get(end).is_some_and(|b| *b != b'/') {
            end = end.saturating_add(1);
        }
        let mut tail = end;
        while bytes.get(tail) == Some(&b'/') {
            tail = tail.saturating_add(1);
        }
        (start..end, end, tail >= bytes.len())
    }

    /// Goes into the last component.
    pub(super) fn enter(&mut self, last: &Last<'p>, nofollow: bool) -> Result<Step, Errno> {
        match last.kind {
            LastKind::Root | LastKind::Dot => Ok(Step::Done),
            LastKind::DotDot => self.go_up().map(|()| Step::Done),
            LastKind::Name => {
                let Some(child) = self.child(&last.name)? else {
                    return Ok(Step::Absent);
                };
                self.enter_child(child, last, nofollow)
            }
        }
    }

    /// As [`Walker::enter`] when the child is known.
    pub(super) fn enter_child(
        &mut self,
        child: Arc<Dentry>,
        last: &Last<'p>,
        nofollow: bool,
    ) -> Result<Step, Errno> {
        if last.trailing_slash {
            self.must_be_dir = true;
        }
        if child.kind() != NodeKind::Symlink || (nofollow && !last.trailing_slash) {
            self.go_down(child)?;
            return Ok(Step::Done);
        }
        // What is left of this text is slashes at most, and they have been noted.
        let jumped = self.follow_last(child)?;
        Ok(if jumped { Step::Done } else { Step::Again })
    }

    /// The walk is over: checks what the end must be.
    pub(super) fn finish(self, directory: bool) -> Result<Path, Errno> {
        if (directory || self.must_be_dir) && !self.at.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.at)
    }

    fn child(&self, name: &Name<'p>) -> Result<Option<Arc<Dentry>>, Errno> {
        let name = name.bytes().ok_or(Errno::ENOENT)?;
        if let Some(known) = self.at.dentry.cached(self.moment, name) {
            return Ok(known);
        }
        if self.lookup.resolve.contains(Resolve::CACHED) {
            return Err(Errno::EAGAIN);
        }
        self.at.dentry.child(self.lookup.caller, name)
    }

    fn go_down(&mut self, child: Arc<Dentry>) -> Result<(), Errno> {
        self.at.dentry = child;
        if self.at.dentry.is_mountpoint()
            && self.at.enter_mounts()
            && self.lookup.resolve.contains(Resolve::NO_XDEV)
        {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    fn go_up(&mut self) -> Result<(), Errno> {
        let resolve = self.lookup.resolve;
        let scoped = resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT);
        let top = if scoped {
            self.lookup.start
        } else {
            self.lookup.root
        };
        if self.at.same(top) {
            return if resolve.contains(Resolve::BENEATH) {
                Err(Errno::EXDEV)
            } else {
                Ok(())
            };
        }
        let mount = self.at.mount.clone();
        // A mount's root may itself be the caller's root on the way out.
        while Arc::ptr_eq(&self.at.dentry, self.at.mount.root()) {
            match self.at.mount.mountpoint() {
                Some(outside) => self.at = outside,
                None => return Ok(()),
            }
            if self.at.same(top) {
                return if resolve.contains(Resolve::BENEATH) {
                    Err(Errno::EXDEV)
                } else {
                    Ok(())
                };
            }
        }
        if let Some(parent) = self.at.dentry.parent() {
            self.at.dentry = parent;
        }
        self.at.enter_mounts();
        if resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        if scoped {
            // A rename or mount meanwhile may have moved us out from below the start: the caller tries again.
            let now = (
                MOUNT_SEQ.load(Ordering::Acquire),
                self.lookup
                    .start
                    .dentry
                    .superblock()
                    .rename_seq
                    .load(Ordering::Acquire),
            );
            if now != self.seq || now.1 & 1 != 0 {
                return Err(Errno::EAGAIN);
            }
        }
        Ok(())
    }

    /// Enters a link in the middle of a path: the rest of the text waits on the stack.
    fn follow(&mut self, link: Arc<Dentry>) -> Result<(), Errno> {
        if let Follow::Text(text) = self.read_link(&link)? {
            let text = std::mem::replace(&mut self.text, Text::Link(text));
            let pos = std::mem::replace(&mut self.pos, 0);
            self.rest.push((text, pos));
            self.start_text()?;
        }
        Ok(())
    }

    /// Enters a link at the end of a path. True when it was a magic link and the place is reached.
    fn follow_last(&mut self, link: Arc<Dentry>) -> Result<bool, Errno> {
        let (dir, owner) = (self.at.inode().owner()?, link.inode().owner()?);
        if perm::link_forbidden(dir, owner, &self.lookup.caller.cred()) {
            return Err(Errno::EACCES);
        }
        match self.read_link(&link)? {
            Follow::Text(text) => {
                (self.text, self.pos) = (Text::Link(text), 0);
                self.start_text()?;
                Ok(false)
            }
            Follow::Jump(_) => Ok(true),
        }
    }

    /// An absolute link goes back to the root.
    fn start_text(&mut self) -> Result<(), Errno> {
        match self.text.bytes().first() {
            None => return Err(Errno::ENOENT),
            Some(b'/') => {}
            Some(_) => return Ok(()),
        }
        let resolve = self.lookup.resolve;
        if resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = if resolve.contains(Resolve::IN_ROOT) {
            self.lookup.start
        } else {
            self.lookup.root
        };
        if resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&root.mount, &self.at.mount) {
            return Err(Errno::EXDEV);
        }
        self.at = root.clone();
        Ok(())
    }

    /// Reads a link, and goes where a magic link leads.
    fn read_link(&mut self, link: &Arc<Dentry>) -> Result<Follow, Errno> {
        self.links = self.links.saturating_add(1);
        if self.links > MAX_LINKS || self.at.mount.flags().contains(MountFlags::NOSYMFOLLOW) {
            return Err(Errno::ELOOP);
        }
        let resolve = self.lookup.resolve;
        if resolve.contains(Resolve::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        let follow = link.inode().follow(self.lookup.caller)?;
        if let Follow::Jump(to) = &follow {
            if resolve.contains(Resolve::NO_MAGICLINKS) {
                return Err(Errno::ELOOP);
            }
            if resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT)
                || (resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.at.mount))
            {
                return Err(Errno::EXDEV);
            }
            self.at = to.clone();
        }
        Ok(follow)
    }
}

/// Checks that the caller may search `dir` (`chdir`, `chroot`, `fchdir`).
pub fn may_search(caller: &dyn Caller, dir: &Path) -> Result<(), Errno> {
    perm::check(dir, caller, &caller.cred(), MAY_EXEC)
}
