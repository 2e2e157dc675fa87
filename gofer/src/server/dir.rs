//! Reading directories: many entries per message, with attributes where asked, so that `ls -l` costs one.
//!
//! A request names the entry to go on after by the host's own cookie. The directory stays open between requests as long
//! as they follow each other; otherwise it is opened again and moved to the cookie.

use super::Server;
use super::host::{self, Result, errno};
use super::table::Node;
use crate::wire::{Attr, DirEntry, DirHead, Encoder, Name, ReadDirFlags};
use abi::Errno;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir, SeekFrom};

/// What is read from the host at once: with attributes every entry grows on its way to the sentry.
const PLAIN: usize = 40 * 1024;
const WITH_ATTRS: usize = 10 * 1024;

impl Server {
    pub(super) fn read_dir(
        &self,
        node: u64,
        cookie: u64,
        flags: ReadDirFlags,
        max: u32,
        out: &mut Encoder,
    ) -> Result<()> {
        let node = self.dir(node)?;
        let kept = node.stream.lock().take();
        let dir = match kept {
            Some((dir, at)) if at == cookie && cookie != 0 => dir,
            _ => {
                let dir = host::open_dir(&node.fd)?;
                if cookie != 0 {
                    rustix::fs::seek(&dir, SeekFrom::Start(cookie)).map_err(errno)?;
                }
                dir
            }
        };
        let size = if flags.is_empty() { PLAIN } else { WITH_ATTRS };
        let mut buf = Vec::with_capacity(size);
        let mut raw = RawDir::new(&dir, buf.spare_capacity_mut());
        let head_at = out.len();
        let mut head = DirHead::default();
        out.put(&head);
        let mut next = cookie;
        loop {
            // One read of the host per message, unless it held nothing but `.` and `..`.
            if head.count > 0 && raw.is_buffer_empty() {
                break;
            }
            let entry = match raw.next() {
                None => {
                    head.end = 1;
                    break;
                }
                Some(Ok(entry)) => entry,
                // What was read is sent (the sentry then owns its nodes); the error comes back with the next request.
                Some(Err(_)) if head.count > 0 => break,
                Some(Err(error)) => return Err(errno(error)),
            };
            let cookie = entry.next_entry_cookie();
            if i64::try_from(cookie).is_err() {
                return Err(Errno::EIO);
            }
            // Besides `.` and `..` this leaves out what no client would take: names no Linux file has.
            let Ok(name) = Name::new(entry.file_name().to_bytes()) else {
                next = cookie;
                continue;
            };
            let full = max != 0 && head.count >= max;
            if full || out.room() < DirEntry::wire_len(name.as_bytes().len(), !flags.is_empty()) {
                rustix::fs::seek(&dir, SeekFrom::Start(next)).map_err(errno)?;
                break;
            }
            let (attr, id) = self.look(&node, &dir, name, flags);
            let entry = DirEntry {
                ino: entry.ino(),
                cookie,
                kind: kind_of(entry.file_type()),
                attr,
                node: id,
                name: name.as_bytes(),
            };
            entry.encode(out);
            head.count = head.count.saturating_add(1);
            next = cookie;
        }
        out.patch(head_at, &head);
        if head.end == 0 {
            *node.stream.lock() = Some((dir, next));
        }
        Ok(())
    }

    /// What is asked for about an entry besides its name. If it is gone meanwhile the entry goes without.
    fn look(
        &self,
        node: &Node,
        dir: &OwnedFd,
        name: Name<'_>,
        flags: ReadDirFlags,
    ) -> (Option<Attr>, Option<u64>) {
        if flags.contains(ReadDirFlags::NODES) {
            let found = host::open_child(dir, name).and_then(|fd| {
                let attr = host::stat(&fd)?;
                let (id, _) = self
                    .nodes
                    .insert(Node::new(fd, node.mount.clone(), &attr))?;
                Ok((attr, id))
            });
            return found.map_or((None, None), |(attr, id)| (Some(attr), Some(id)));
        }
        let attrs = flags.contains(ReadDirFlags::ATTRS);
        (
            attrs.then(|| host::stat_entry(dir, name).ok()).flatten(),
            None,
        )
    }
}

/// `DT_*`
fn kind_of(kind: FileType) -> u8 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}
