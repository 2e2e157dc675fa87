//! POSIX access control lists (`acl(5)`; `fs/posix_acl.c`): the lists that `system.posix_acl_access` and `system.posix_acl_default` hold, what they
//! permit, and how they and the mode follow each other.

use super::perm::{self, Owner, cap};
use crate::{Caller, Cred, Inode};
use abi::Errno;

/// The list that permission checks look at.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list of a directory that new files in it get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
/// The id of entries that name nobody.
const NO_ID: u32 = u32::MAX;

/// What an entry is about, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    UserObj = 1,
    User = 2,
    GroupObj = 4,
    Group = 8,
    Mask = 16,
    Other = 32,
}

impl Tag {
    fn new(raw: u16) -> Option<Tag> {
        use Tag::{Group, GroupObj, Mask, Other, User, UserObj};
        [UserObj, User, GroupObj, Group, Mask, Other]
            .into_iter()
            .find(|tag| *tag as u16 == raw)
    }
    fn is_named(self) -> bool {
        matches!(self, Tag::User | Tag::Group)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    perm: u32,
    id: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

/// Is it one of the two attributes?
pub fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

impl Acl {
    /// The value of the attribute; `None` for a list without entries.
    pub fn parse(value: &[u8]) -> Result<Option<Acl>, Errno> {
        let (version, rest) = value.split_first_chunk().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, []) = rest.as_chunks::<8>() else {
            return Err(Errno::EINVAL);
        };
        let entry = |&[t0, t1, p0, p1, id @ ..]: &[u8; 8]| {
            let tag = Tag::new(u16::from_le_bytes([t0, t1])).ok_or(Errno::EINVAL)?;
            let id = u32::from_le_bytes(id);
            let perm = u32::from(u16::from_le_bytes([p0, p1]));
            if perm > 7 || (tag.is_named() && id == NO_ID) {
                return Err(Errno::EINVAL);
            }
            let id = if tag.is_named() { id } else { NO_ID };
            Ok(Entry { tag, perm, id })
        };
        let entries: Vec<Entry> = entries.iter().map(entry).collect::<Result<_, _>>()?;
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Acl(entries);
        if acl.is_valid() {
            Ok(Some(acl))
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// In order, the three classes of the mode once each, and a mask where somebody is named.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|e| e.tag == tag).count();
        let masks = count(Tag::Mask);
        self.0.is_sorted_by_key(|e| e.tag)
            && [Tag::UserObj, Tag::GroupObj, Tag::Other]
                .into_iter()
                .all(|tag| count(tag) == 1)
            && (masks == 1 || masks == 0 && !self.0.iter().any(|e| e.tag.is_named()))
    }

    /// The value of the attribute.
    pub fn value(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for e in &self.0 {
            out.extend_from_slice(&(e.tag as u16).to_le_bytes());
            out.extend_from_slice(&(e.perm as u16).to_le_bytes());
            out.extend_from_slice(&e.id.to_le_bytes());
        }
        out
    }

    fn entry(&mut self, tag: Tag) -> Option<&mut Entry> {
        self.0.iter_mut().find(|e| e.tag == tag)
    }

    /// Does the mode say all of it?
    pub fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The permission bits that go with it: those of the group are the mask.
    pub fn mode(&self) -> u32 {
        let mut mode = 0;
        for e in &self.0 {
            match e.tag {
                Tag::UserObj => mode |= e.perm << 6,
                Tag::GroupObj => mode |= e.perm << 3,
                Tag::Mask => mode = mode & !0o070 | e.perm << 3,
                Tag::Other => mode |= e.perm,
                Tag::User | Tag::Group => {}
            }
        }
        mode
    }

    /// Follows a new mode (chmod(2)).
    pub fn set_mode(&mut self, mode: u32) {
        let group = if self.0.iter().any(|e| e.tag == Tag::Mask) {
            Tag::Mask
        } else {
            Tag::GroupObj
        };
        for (tag, perm) in [
            (Tag::UserObj, mode >> 6),
            (group, mode >> 3),
            (Tag::Other, mode),
        ] {
            if let Some(e) = self.entry(tag) {
                e.perm = perm & 7;
            }
        }
    }

    /// A directory's default list becomes that of a new file made with `mode`: both are less what the other lacks.
    pub fn inherit(&self, mode: u32) -> (Acl, u32) {
        let mut acl = self.clone();
        acl.set_mode(self.mode() & mode);
        // Without a mask the group's own entry was the mode's; with one it stays as it is.
        let mode = mode & !0o777 | self.mode() & mode & 0o777;
        (acl, mode)
    }

    /// Does it let somebody who does not own the file do that?
    fn allows(&self, owner: Owner, cred: &Cred, mask: u32) -> bool {
        let want = mask & 7;
        let fits = |perm: u32| perm & want == want;
        let limit = self
            .0
            .iter()
            .find(|e| e.tag == Tag::Mask)
            .map_or(7, |e| e.perm);
        let mut in_group = false;
        for e in &self.0 {
            match e.tag {
                Tag::User if e.id == cred.fsuid => return fits(e.perm & limit),
                Tag::GroupObj | Tag::Group => {
                    let gid = if e.tag == Tag::Group { e.id } else { owner.gid };
                    if cred.in_group(gid) {
                        in_group = true;
                        if fits(e.perm) {
                            return fits(e.perm & limit);
                        }
                    }
                }
                Tag::Other => return !in_group && fits(e.perm),
                Tag::UserObj | Tag::User | Tag::Mask => {}
            }
        }
        false
    }
}

/// The check of an inode that may have a list (`acl_permission_check`): it counts for whoever does not own the file, if it lets a group do
/// anything at all.
pub fn permission(inode: &dyn Inode, cred: &Cred, mask: u32) -> Result<(), Errno> {
    let owner = inode.owner()?;
    let directory = inode.kind() == crate::NodeKind::Directory;
    // Whoever may do it anyway need not ask.
    if owner.uid != cred.fsuid
        && owner.mode & 0o070 != 0
        && perm::capable(owner, directory, cred, mask).is_err()
        && let Some(acl) = inode.acl(ACCESS)?
    {
        return if acl.allows(owner, cred, mask) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        };
    }
    perm::generic(owner, directory, cred, mask)
}

/// What of the mode a new file in a directory does not get: nothing is masked where there is a default list.
pub fn umask(dir: &dyn Inode, caller: &dyn Caller) -> Result<u32, Errno> {
    Ok(match dir.acl(DEFAULT)? {
        Some(_) => 0,
        None => caller.umask(),
    })
}

/// The mode after a list was set by `cred`: a setgid bit goes as with chmod(2).
pub fn new_mode(acl: &Acl, owner: Owner, cred: &Cred) -> u32 {
    let mode = owner.mode & 0o7000 | acl.mode();
    if cred.in_group(owner.gid) || cred.has_cap(cap::FSETID) {
        mode
    } else {
        mode & !0o2000
    }
}
