//! `open(2)` (`fs/namei.c`: `path_openat`, `may_open`; `fs/open.c`).

use super::acl;
use super::dentry::Dentry;
use super::mount::{MountFlags, Path};
use super::perm::{self, MAY_EXEC, MAY_READ, MAY_WRITE};
use super::vnode::{event, notify, notify_child};
use super::walk::{Last, LastKind, Lookup, LookupFlags, Step, Walker};
use crate::file::{Counted, File, FileOps, O_NOATIME, O_PATH};
use crate::inode::{NodeKind, SetAttr};
use crate::{Caller, Cred};
use abi::Errno;
use abi::fcntl::OpenFlags;
use std::any::Any;
use std::sync::Arc;

const O_CREAT: u32 = OpenFlags::O_CREAT.bits();
const O_EXCL: u32 = OpenFlags::O_EXCL.bits();
const O_TRUNC: u32 = OpenFlags::O_TRUNC.bits();
const O_DIRECTORY: u32 = OpenFlags::O_DIRECTORY.bits();
const O_NOFOLLOW: u32 = OpenFlags::O_NOFOLLOW.bits();
const O_CLOEXEC: u32 = OpenFlags::O_CLOEXEC.bits();
const O_LARGEFILE: u32 = OpenFlags::O_LARGEFILE.bits();
/// `O_TMPFILE` without the `O_DIRECTORY` that comes with it.
const TMPFILE_BIT: u32 = OpenFlags::O_TMPFILE.bits() & !O_DIRECTORY;
/// What does not stay in a description's flags.
const NOT_KEPT: u32 = O_CREAT | O_EXCL | OpenFlags::O_NOCTTY.bits() | O_TRUNC | O_CLOEXEC;

/// What `O_ACCMODE` asks for; 3 asks for both.
fn access_of(flags: u32) -> u32 {
    match flags & 3 {
        0 => MAY_READ,
        1 => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
    }
}

impl Lookup<'_> {
    /// `openat(2)` and `openat2(2)`: `flags` are `O_*`, `mode` counts where a file is made. Unknown flags are the caller's to refuse.
    ///
    /// A FIFO without a partner is opened at once: ask [`FileOps::open_pending`] before the descriptor is given out.
    pub fn open(&self, path: &[u8], flags: u32, mode: u32) -> Result<Arc<File>, Errno> {
        if flags & O_PATH != 0 {
            return self.open_path(path, flags & (O_DIRECTORY | O_NOFOLLOW | O_PATH));
        }
        let cached = self.resolve.contains(super::Resolve::CACHED);
        if cached && flags & (O_CREAT | O_TRUNC | TMPFILE_BIT) != 0 {
            return Err(Errno::EAGAIN);
        }
        let flags = flags | O_LARGEFILE;
        let mode = mode & 0o7777;
        if flags & TMPFILE_BIT != 0 {
            if flags & O_DIRECTORY == 0 || flags & O_CREAT != 0 || access_of(flags) & MAY_WRITE == 0
            {
                return Err(Errno::EINVAL);
            }
            return self.open_tmpfile(path, flags, mode);
        }
        if flags & O_CREAT != 0 {
            if flags & O_DIRECTORY != 0 {
                return Err(Errno::EINVAL);
            }
            return self.open_create(path, flags, mode);
        }
        let mut how = self.flags;
        how.set(LookupFlags::NOFOLLOW, flags & O_NOFOLLOW != 0);
        how.set(LookupFlags::DIRECTORY, flags & O_DIRECTORY != 0);
        let at = self.with(how).resolve(path)?;
        open_at(self.caller, &self.caller.cred(), at, flags)
    }

    fn open_path(&self, path: &[u8], flags: u32) -> Result<Arc<File>, Errno> {
        let mut how = self.flags;
        how.set(LookupFlags::NOFOLLOW, flags & O_NOFOLLOW != 0);
        how.set(LookupFlags::DIRECTORY, flags & O_DIRECTORY != 0);
        let at = self.with(how).resolve(path)?;
        let inode = at.inode().clone();
        Ok(File::new(Box::new(NameOnly), at, inode, flags))
    }

    fn open_create(&self, path: &[u8], flags: u32, mode: u32) -> Result<Arc<File>, Errno> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let nofollow = flags & (O_NOFOLLOW | O_EXCL) != 0;
        let mut walker = Walker::new(self, path)?;
        loop {
            let last = walker.walk_to_last()?;
            if last.kind != LastKind::Name {
                walker.enter(&last, nofollow)?;
                return Err(if flags & O_EXCL != 0 {
                    Errno::EEXIST
                } else {
                    Errno::EISDIR
                });
            }
            if last.trailing_slash {
                return Err(Errno::EISDIR);
            }
            let name = last.name.bytes().ok_or(Errno::ENOENT)?;
            let dir = walker.at.dentry.clone();
            let child = match dir.child(self.caller, name)? {
                Some(child) => child,
                None => match self.create_in(&walker, &last, &dir, mode)? {
                    Created::New(child) => {
                        let at = Path {
                            mount: walker.at.mount.clone(),
                            dentry: child,
                        };
                        return open_new(self.caller, at, flags);
                    }
                    Created::Other(child) => child,
                },
            };
            if flags & O_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            match walker.enter_child(child, &last, nofollow)? {
                Step::Again => {}
                Step::Absent => return Err(Errno::ENOENT),
                Step::Done => {
                    let cred = walker.cred_arc();
                    let at = walker.finish(false)?;
                    if at.dentry.is_dir() {
                        return Err(Errno::EISDIR);
                    }
                    return open_at(self.caller, &cred, at, flags);
                }
            }
        }
    }

    fn create_in(
        &self,
        walker: &Walker,
        last: &Last,
        dir: &Arc<Dentry>,
        mode: u32,
    ) -> Result<Created, Errno> {
        let name = last.name.bytes().ok_or(Errno::ENOENT)?;
        let order = dir.lock_dir()?;
        if let Some(child) = dir.child_ordered(self.caller, name)? {
            return Ok(Created::Other(child));
        }
        walker.at.mount.want_write()?;
        dir.inode()
            .permission(self.caller, walker.cred(), MAY_WRITE | MAY_EXEC)?;
        let umask = acl::umask(&**dir.inode(), self.caller)?;
        let inode = dir
            .inode()
            .create(self.caller, name, NodeKind::Regular, mode & !umask)?;
        let child = dir.insert(name, inode);
        drop(order);
        notify_child(dir, event::CREATE, 0, name);
        Ok(Created::New(child))
    }

    fn open_tmpfile(&self, path: &[u8], flags: u32, mode: u32) -> Result<Arc<File>, Errno> {
        let mut how = self.flags | LookupFlags::DIRECTORY;
        how.set(LookupFlags::NOFOLLOW, flags & O_NOFOLLOW != 0);
        let dir = self.with(how).resolve(path)?;
        dir.mount.want_write()?;
        dir.inode()
            .permission(self.caller, &self.caller.cred(), MAY_WRITE | MAY_EXEC)?;
        if dir.dentry.deleted() {
            return Err(Errno::ENOENT);
        }
        let umask = acl::umask(&**dir.inode(), self.caller)?;
        let inode = dir.inode().tmpfile(self.caller, mode & !umask)?;
        let dentry = Dentry::nameless(&dir.dentry, inode, flags & O_EXCL == 0)?;
        open_new(
            self.caller,
            Path {
                mount: dir.mount,
                dentry,
            },
            flags,
        )
    }

    /// Opens a program to run it (`do_open_execat`): a regular file with execute permission, not on a `noexec` mount. As long as the description lives nobody
    /// may open the file for writing (`ETXTBSY`).
    pub fn open_exec(&self, path: &[u8]) -> Result<Arc<File>, Errno> {
        let at = self.resolve(path)?;
        match at.dentry.kind() {
            NodeKind::Regular => {}
            NodeKind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::EACCES),
        }
        perm::check(&at, self.caller, &self.caller.cred(), MAY_EXEC)?;
        let inode = at.inode().clone();
        inode.vnode().deny_write()?;
        match inode.clone().open(self.caller, O_LARGEFILE) {
            Ok(ops) => {
                notify(&at.dentry, event::OPEN);
                // The loader reads it at once.
                notify(&at.dentry, event::ACCESS);
                Ok(File::counted(ops, at, inode, O_LARGEFILE, Counted::Denier))
            }
            Err(error) => {
                inode.vnode().allow_write();
                Err(error)
            }
        }
    }
}

enum Created {
    New(Arc<Dentry>),
    /// Somebody else was faster.
    Other(Arc<Dentry>),
}

/// Opens what a path led to (`may_open`, then the file itself). Also for magic links: `/proc/PID/fd/N` jumps to a place and opens it anew.
pub fn open_at(caller: &dyn Caller, cred: &Cred, at: Path, flags: u32) -> Result<Arc<File>, Errno> {
    let mut flags = flags;
    let mut access = access_of(flags);
    if flags & O_TRUNC != 0 {
        access |= MAY_WRITE;
    }
    match at.dentry.kind() {
        NodeKind::Symlink => return Err(Errno::ELOOP),
        NodeKind::Directory if access & MAY_WRITE != 0 => return Err(Errno::EISDIR),
        NodeKind::Directory if flags & OpenFlags::O_DIRECT.bits() != 0 => {
            return Err(Errno::EINVAL);
        }
        NodeKind::CharDevice(_) | NodeKind::BlockDevice(_)
            if at.mount.flags().contains(MountFlags::NODEV) =>
        {
            return Err(Errno::EACCES);
        }
        NodeKind::Regular | NodeKind::Directory => {}
        _ => flags &= !O_TRUNC,
    }
    perm::check(&at, caller, cred, access)?;
    if flags & O_NOATIME != 0 && !perm::owner_or_capable(at.inode().owner()?, cred) {
        return Err(Errno::EPERM);
    }
    let file = open_new(caller, at, flags)?;
    if flags & O_TRUNC != 0 {
        let inode = file.inode();
        let now = caller.now_ns();
        let mode = perm::without_suid(inode.owner()?, cred);
        inode.set_attr(
            caller,
            &SetAttr {
                size: Some(0),
                mtime: Some(now),
                ctime: now,
                mode,
                ..SetAttr::default()
            },
        )?;
        notify(&file.path().dentry, event::MODIFY);
    }
    Ok(file)
}

/// Opens without asking for permission: the file was just made, or the check is done (`do_dentry_open`).
pub fn open_new(caller: &dyn Caller, at: Path, flags: u32) -> Result<Arc<File>, Errno> {
    let inode = at.inode().clone();
    let kind = at.dentry.kind();
    let writes = flags & 3 != 0 && kind == NodeKind::Regular;
    if writes {
        inode.vnode().get_write()?;
    }
    let opened = match kind {
        // A terminal looks at O_NOCTTY too.
        _ if inode.opens_itself() => inode.clone().open(caller, flags),
        NodeKind::Fifo => crate::pipe::open_in_slot(&inode.vnode().fifo, caller, flags)
            .map(|end| Box::new(end) as Box<dyn FileOps>),
        NodeKind::CharDevice(rdev) => super::devices().open(caller, &at, false, rdev, flags),
        NodeKind::BlockDevice(rdev) => super::devices().open(caller, &at, true, rdev, flags),
        NodeKind::Socket | NodeKind::Anonymous => Err(Errno::ENXIO),
        NodeKind::Regular | NodeKind::Directory | NodeKind::Symlink => {
            inode.clone().open(caller, flags & !NOT_KEPT)
        }
    };
    match opened {
        Ok(ops) => {
            notify(&at.dentry, event::OPEN);
            let counted = if writes { Counted::Writer } else { Counted::No };
            Ok(File::counted(ops, at, inode, flags & !NOT_KEPT, counted))
        }
        Err(error) => {
            if writes {
                inode.vnode().put_write();
            }
            Err(error)
        }
    }
}

/// What `O_PATH` opens: a name. Every operation on it is `EBADF`, which [`File`] and the system calls see by the flag.
struct NameOnly;

impl FileOps for NameOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn mmap(&self, _: &File, _: u64, _: u64, _: bool) -> Result<crate::Mappable, Errno> {
        Err(Errno::EBADF)
    }
}
