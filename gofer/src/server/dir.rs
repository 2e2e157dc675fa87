//! Reading directories: many entries per message, with attributes where asked, so that `ls -l` costs one.
//!
//! A request names the entry to go on after by the host's own cookie. The directory stays open between requests as long
//! as they follow each other; otherwise it is opened again and moved to the cookie.

use super::Server;
use super::host::{self, Result, errno};
use crate::wire::{DirEntry, DirHead, Encoder, Name, ReadDirFlags};
use abi::Errno;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, RawDir, SeekFrom};
use std::mem::MaybeUninit;

/// What is read from the host at once: with attributes every entry grows on its way to the sentry.
const PLAIN: usize = 40 * 1024;
const WITH_ATTRS: usize = 10 * 1024;

impl Server {
    pub(super) fn read_dir(
        &self,
        node: u64,
        cookie: u64,
        flags: ReadDirFlags,
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
        let attrs = flags.contains(ReadDirFlags::ATTRS);
        let mut buf = Vec::with_capacity(if attrs { WITH_ATTRS } else { PLAIN });
        if let Some(next) = read_some(&dir, cookie, attrs, buf.spare_capacity_mut(), out)? {
            *node.stream.lock() = Some((dir, next));
        }
        Ok(())
    }
}

/// Encodes entries until the message is full or the directory ends; where to go on, if it did not end.
fn read_some(
    dir: &OwnedFd,
    from: u64,
    attrs: bool,
    buf: &mut [MaybeUninit<u8>],
    out: &mut Encoder,
) -> Result<Option<u64>> {
    let head_at = out.len();
    let mut head = DirHead::default();
    out.put(&head);
    let mut raw = RawDir::new(dir, buf);
    let mut next = from;
    loop {
        // One read of the host per message, unless it held nothing but `.` and `..`.
        if head.count > 0 && raw.is_buffer_empty() {
            break;
        }
        let Some(entry) = raw.next() else {
            head.end = 1;
            break;
        };
        let entry = entry.map_err(errno)?;
        let (cookie, name) = (entry.next_entry_cookie(), entry.file_name().to_bytes());
        if i64::try_from(cookie).is_err() {
            return Err(Errno::EIO);
        }
        // Besides `.` and `..` this leaves out what no client would take: names no Linux file has.
        let Ok(name) = Name::new(name) else {
            next = cookie;
            continue;
        };
        let mut entry = DirEntry {
            ino: entry.ino(),
            cookie,
            kind: kind_of(entry.file_type()),
            attr: None,
            name: name.as_bytes(),
        };
        if out.room() < DirEntry::wire_len(entry.name.len(), attrs) {
            rustix::fs::seek(dir, SeekFrom::Start(next)).map_err(errno)?;
            break;
        }
        if attrs {
            // Gone meanwhile: then the entry goes without.
            entry.attr = host::stat_entry(dir, name).ok();
        }
        entry.encode(out);
        head.count = head.count.saturating_add(1);
        next = cookie;
    }
    out.patch(head_at, &head);
    Ok((head.end == 0).then_some(next))
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
