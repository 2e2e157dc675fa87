//! getdents64(2), getdents(2).

use super::lookup::open_file;
use crate::args::Fd;
use abi::Errno;
use fs::DirEntry;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;

/// The largest buffer filled in one call.
const MOST: usize = 128 << 10;

fn list(
    cx: &Cx,
    fd: Fd,
    addr: u64,
    count: u32,
    encode: fn(&DirEntry<'_>, &mut Vec<u8>),
) -> SysResult {
    let file = open_file(cx, fd)?;
    // Linux counts the room in an int.
    let size = i32::try_from(count).map_or(0, |n| n.unsigned_abs());
    let size = usize::try_from(size).unwrap_or(MOST).min(MOST);
    let mm = cx.mm()?;
    // Entries go where they fit: those before memory that is not there are still given.
    let reachable = mm.writable_len(addr, size as u64);
    let room = usize::try_from(reachable).unwrap_or(0);
    let mut out = Vec::with_capacity(size.min(4096));
    let mut refused = None;
    file.read_dir(&**cx.task(), &mut |entry| {
        let before = out.len();
        encode(entry, &mut out);
        if out.len() > room {
            // Too small comes before out of reach.
            refused = Some(if out.len() > size {
                Errno::EINVAL
            } else {
                Errno::EFAULT
            });
            out.truncate(before);
            return false;
        }
        true
    })?;
    if let (true, Some(error)) = (out.is_empty(), refused) {
        return Err(error);
    }
    mm.write_bytes(addr, &out)?;
    Ok(out.len() as u64)
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len().saturating_add(len), 0);
}

/// `struct linux_dirent64`: ino, off, reclen, type, name, padded to 8.
fn encode64(entry: &DirEntry<'_>, out: &mut Vec<u8>) {
    let bare = entry.name.len().saturating_add(20);
    let len = bare.next_multiple_of(8);
    out.extend_from_slice(&entry.ino.to_le_bytes());
    out.extend_from_slice(&entry.cookie.to_le_bytes());
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    out.push(entry.kind);
    out.extend_from_slice(entry.name);
    pad(out, len.saturating_sub(bare).saturating_add(1));
}

/// `struct linux_dirent`: ino, off, reclen, name, padding, and the type in the last byte.
fn encode32(entry: &DirEntry<'_>, out: &mut Vec<u8>) {
    let bare = entry.name.len().saturating_add(20);
    let len = bare.next_multiple_of(8);
    out.extend_from_slice(&entry.ino.to_le_bytes());
    out.extend_from_slice(&entry.cookie.to_le_bytes());
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(entry.name);
    pad(out, len.saturating_sub(bare).saturating_add(1));
    out.push(entry.kind);
}

/// getdents64(2)
pub fn getdents64(cx: &mut Cx, fd: Fd, addr: u64, count: u32) -> SysResult {
    list(cx, fd, addr, count, encode64)
}

/// getdents(2)
pub fn getdents(cx: &mut Cx, fd: Fd, addr: u64, count: u32) -> SysResult {
    list(cx, fd, addr, count, encode32)
}
