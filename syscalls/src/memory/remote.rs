//! process_vm_readv(2), process_vm_writev(2), and who may look at another process's memory.

use super::Addr;
use abi::{Errno, Iovec};
use sentry::kernel::{Cx, Task};
use sentry::mm::MemoryManager;
use sentry::syscall::SysResult;
use std::sync::Arc;

/// `CAP_SYS_PTRACE`
const CAP_SYS_PTRACE: u32 = 19;
/// Bytes copied at once.
const STEP: usize = 256 << 10;

/// `ptrace_may_access`: the same user in every respect and a process that lets itself be looked at, or the capability.
pub fn access(cx: &Cx, target: &Task) -> Result<Arc<MemoryManager>, Errno> {
    let mm = target.mm_opt().ok_or(Errno::ESRCH)?;
    if Arc::ptr_eq(target.group(), cx.group()) {
        return Ok(mm);
    }
    let (own, other) = (cx.cred(), target.cred());
    let same = [other.ruid, other.euid, other.suid]
        .iter()
        .all(|uid| *uid == own.ruid)
        && [other.rgid, other.egid, other.sgid]
            .iter()
            .all(|gid| *gid == own.rgid);
    let capable = own.has_cap_in(&other.user_ns, CAP_SYS_PTRACE);
    let dumpable = mm.dumpable() == 1;
    if capable || same && dumpable && other.permitted & !own.permitted == 0 {
        Ok(mm)
    } else {
        Err(Errno::EPERM)
    }
}

/// A place in a list of ranges.
struct Cursor {
    iovecs: std::vec::IntoIter<Iovec>,
    now: Iovec,
}

impl Cursor {
    fn new(iovecs: Vec<Iovec>) -> Self {
        Self {
            iovecs: iovecs.into_iter(),
            now: Iovec::default(),
        }
    }

    /// The next piece, at most `most` bytes long.
    fn next(&mut self, most: usize) -> Option<(u64, usize)> {
        while self.now.iov_len == 0 {
            self.now = self.iovecs.next()?;
        }
        let len = usize::try_from(self.now.iov_len)
            .unwrap_or(usize::MAX)
            .min(most);
        Some((self.now.iov_base, len))
    }

    fn advance(&mut self, by: usize) {
        self.now.iov_base = self.now.iov_base.wrapping_add(by as u64);
        self.now.iov_len = self.now.iov_len.saturating_sub(by as u64);
    }
}

fn transfer(
    cx: &Cx,
    pid: i32,
    local: (Addr, u64),
    remote: (Addr, u64),
    flags: u64,
    write: bool,
) -> SysResult {
    if flags != 0 {
        return Err(Errno::EINVAL);
    }
    let own = cx.mm()?;
    let local = own.read_iovecs(local.0.0, local.1)?;
    let count = usize::try_from(remote.1)
        .ok()
        .filter(|n| *n <= abi::IOV_MAX)
        .ok_or(Errno::EINVAL)?;
    let remote: Vec<Iovec> = own.read_vec(remote.0.0, count)?;
    if remote.iter().any(|v| i64::try_from(v.iov_len).is_err()) {
        return Err(Errno::EINVAL);
    }
    let target = cx.pid_ns().task(pid).ok_or(Errno::ESRCH)?;
    let other = access(cx, &target)?;
    let (mut near, mut far) = (Cursor::new(local), Cursor::new(remote));
    let mut done = 0u64;
    let mut buf = vec![0; STEP];
    while let (Some((from_near, near_len)), Some((from_far, far_len))) =
        (near.next(STEP), far.next(STEP))
    {
        let len = near_len.min(far_len);
        let piece = buf.get_mut(..len).ok_or(Errno::EFAULT)?;
        let (source, to, from_addr, to_addr) = if write {
            (&own, &other, from_near, from_far)
        } else {
            (&other, &own, from_far, from_near)
        };
        let copied = source
            .read_some(from_addr, piece)
            .and_then(|n| to.write_some(to_addr, piece.get(..n).unwrap_or_default()));
        match copied {
            Ok(n) => {
                done = done.saturating_add(n as u64);
                near.advance(n);
                far.advance(n);
                if n < len {
                    break;
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// process_vm_readv(2)
pub fn process_vm_readv(
    cx: &mut Cx,
    pid: i32,
    local: Addr,
    liovcnt: u64,
    remote: Addr,
    riovcnt: u64,
    flags: u64,
) -> SysResult {
    transfer(cx, pid, (local, liovcnt), (remote, riovcnt), flags, false)
}

/// process_vm_writev(2)
pub fn process_vm_writev(
    cx: &mut Cx,
    pid: i32,
    local: Addr,
    liovcnt: u64,
    remote: Addr,
    riovcnt: u64,
    flags: u64,
) -> SysResult {
    transfer(cx, pid, (local, liovcnt), (remote, riovcnt), flags, true)
}
