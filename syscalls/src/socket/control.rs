//! Control messages between guest memory and typed form (`cmsg(3)`).

use crate::args::Fd;
use abi::Errno;
use abi::socket::{MsgFlags, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use fs::File;
use sentry::kernel::Cx;
use sentry::kernel::limits::Resource;
use sentry::socket::{Control, Creds, SocketCaller};
use std::sync::Arc;

/// `struct cmsghdr`
const HEADER: usize = 16;
/// The most bytes of control data one message sends (`/proc/sys/net/core/optmem_max`).
const MAX: u64 = 131_072;

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|b| i32::from_ne_bytes(*b))
}

/// Reads and checks what `sendmsg` got.
pub fn read(cx: &Cx, addr: u64, len: u64) -> Result<Vec<Control>, Errno> {
    if addr == 0 || len == 0 {
        return Ok(Vec::new());
    }
    if len > MAX {
        return Err(Errno::ENOBUFS);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| Errno::ENOBUFS)?];
    cx.mm()?.read_bytes(addr, &mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut out = Vec::new();
    while let Some(header) = rest.get(..HEADER) {
        let len = header
            .first_chunk::<8>()
            .map_or(0, |b| u64::from_ne_bytes(*b));
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        if len < HEADER {
            return Err(Errno::EINVAL);
        }
        let data = rest.get(HEADER..len).ok_or(Errno::EINVAL)?;
        let level = i32_at(header, 8).unwrap_or(0);
        let kind = i32_at(header, 12).unwrap_or(0);
        out.push(match (level, kind) {
            (SOL_SOCKET, SCM_RIGHTS) => Control::Rights(files(cx, data)?),
            (SOL_SOCKET, SCM_CREDENTIALS) => Control::Credentials(creds(cx, data)?),
            _ => Control::Other(level, kind, data.to_vec()),
        });
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    Ok(out)
}

fn files(cx: &Cx, data: &[u8]) -> Result<Vec<Arc<File>>, Errno> {
    let (numbers, _) = data.as_chunks::<4>();
    if numbers.len() > abi::socket::SCM_MAX_FD {
        return Err(Errno::EINVAL);
    }
    let table = cx.files()?;
    numbers
        .iter()
        .map(|n| table.get(Fd::new(i32::from_ne_bytes(*n))?))
        .collect()
}

fn creds(cx: &Cx, data: &[u8]) -> Result<Creds, Errno> {
    if data.len() != 12 {
        return Err(Errno::EINVAL);
    }
    let field = |at| i32_at(data, at).ok_or(Errno::EINVAL);
    let (pid, uid, gid) = (field(0)?, field(4)? as u32, field(8)? as u32);
    let task: &dyn SocketCaller = super::caller(cx);
    if !task.may_claim(pid, uid, gid) {
        return Err(Errno::EPERM);
    }
    let process = task.process(pid).ok_or(Errno::ESRCH)?;
    Ok(Creds {
        pid,
        uid,
        gid,
        process: Some(process),
        ..Creds::default()
    })
}

/// Control data on its way out.
pub struct Writer {
    bytes: Vec<u8>,
    room: usize,
    /// `MSG_CTRUNC` if something did not fit.
    pub flags: MsgFlags,
}

impl Writer {
    /// For a guest buffer of `room` bytes.
    pub fn new(room: u64) -> Self {
        Self {
            bytes: Vec::new(),
            room: usize::try_from(room).unwrap_or(usize::MAX),
            flags: MsgFlags::empty(),
        }
    }

    /// Lays out all messages, credentials first as Linux does; descriptors get their numbers here.
    pub fn put_all(&mut self, cx: &Cx, control: Vec<Control>, cloexec: bool) -> Result<(), Errno> {
        let (creds, others): (Vec<_>, Vec<_>) = control
            .into_iter()
            .partition(|c| matches!(c, Control::Credentials(_)));
        for message in creds.into_iter().chain(others) {
            match message {
                Control::Credentials(creds) => {
                    let pid = super::caller(cx).pid_of(&creds);
                    let data = [
                        pid.to_ne_bytes(),
                        creds.uid.to_ne_bytes(),
                        creds.gid.to_ne_bytes(),
                    ]
                    .concat();
                    self.put(SOL_SOCKET, SCM_CREDENTIALS, &data);
                }
                Control::Other(level, kind, data) => self.put(level, kind, &data),
                Control::Rights(files) => self.put_files(cx, files, cloexec)?,
            }
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.room.saturating_sub(self.bytes.len())
    }

    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let left = self.left();
        if left < HEADER {
            self.flags |= MsgFlags::MSG_CTRUNC;
            return;
        }
        let mut len = HEADER.saturating_add(data.len());
        if len > left {
            self.flags |= MsgFlags::MSG_CTRUNC;
            len = left;
        }
        self.bytes.extend_from_slice(&(len as u64).to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(data.get(..len.saturating_sub(HEADER)).unwrap_or(data));
        let padding = len.next_multiple_of(8).saturating_sub(len).min(self.left());
        self.bytes
            .resize(self.bytes.len().saturating_add(padding), 0);
    }

    /// As many descriptors as there is room for; the others are closed.
    fn put_files(&mut self, cx: &Cx, files: Vec<Arc<File>>, cloexec: bool) -> Result<(), Errno> {
        let fits = self.left().saturating_sub(HEADER) / 4;
        if fits < files.len() {
            self.flags |= MsgFlags::MSG_CTRUNC;
        }
        let table = cx.files()?;
        let limit = cx.group().limits.soft(Resource::Nofile);
        let mut data = Vec::new();
        for file in files.into_iter().take(fits) {
            match table.install(file, cloexec, limit) {
                Ok(fd) => data.extend_from_slice(&fd.raw().to_ne_bytes()),
                Err(_) => {
                    self.flags |= MsgFlags::MSG_CTRUNC;
                    break;
                }
            }
        }
        if !data.is_empty() {
            self.put(SOL_SOCKET, SCM_RIGHTS, &data);
        }
        Ok(())
    }

    /// Copies it out; returns `msg_controllen`.
    pub fn finish(&self, cx: &Cx, addr: u64) -> Result<u64, Errno> {
        if !self.bytes.is_empty() {
            cx.mm()?.write_bytes(addr, &self.bytes)?;
        }
        Ok(self.bytes.len() as u64)
    }
}
