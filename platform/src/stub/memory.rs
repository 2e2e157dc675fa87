//! Guest memory from outside: `process_vm_readv` and `process_vm_writev`. They honour the rights of the pages as the guest's own accesses do,
//! and copy page by page up to the first that cannot be reached.

use abi::{IOV_MAX, Iovec};

use super::layout::{TITLE, TITLE_LEN};
use crate::{Fault, Result};

/// Which way.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// The layouts are the same: `abi::Iovec` is the ABI's struct with integers for pointers.
const _: () = assert!(
    size_of::<Iovec>() == size_of::<libc::iovec>()
        && align_of::<Iovec>() == align_of::<libc::iovec>()
);

fn transfer(pid: i32, remote: &[Iovec], local: libc::iovec, way: Way) -> usize {
    let (pid, count) = (pid as libc::pid_t, remote.len() as libc::c_ulong);
    let ranges = remote.as_ptr().cast::<libc::iovec>();
    // SAFETY: `local` is a buffer of the callers below, exclusively borrowed for reading from the guest and shared for writing to it;
    // `ranges` are `count` iovecs whose addresses are another process's, which the host's kernel checks.
    let done = unsafe {
        match way {
            Way::Read => libc::process_vm_readv(pid, &local, 1, ranges, count, 0),
            Way::Write => libc::process_vm_writev(pid, &local, 1, ranges, count, 0),
        }
    };
    usize::try_from(done).unwrap_or(0)
}

/// The address of byte `done` of the ranges.
fn address(remote: &[Iovec], mut done: usize) -> u64 {
    for range in remote {
        let len = usize::try_from(range.iov_len).unwrap_or(usize::MAX);
        if done < len {
            return range.iov_base.wrapping_add(done as u64);
        }
        done -= len;
    }
    0
}

/// Repeats until everything is done or nothing more can be: the host takes at most `IOV_MAX` ranges, and gives up a whole call for an address
/// beyond user space in any of its ranges.
fn all(pid: i32, remote: &[Iovec], local: *mut u8, len: usize, way: Way) -> Result<usize, Fault> {
    let mut done = 0;
    for chunk in remote.chunks(IOV_MAX) {
        let want = chunk
            .iter()
            .fold(0usize, |sum, r| {
                sum.saturating_add(usize::try_from(r.iov_len).unwrap_or(usize::MAX))
            })
            .min(len - done);
        if want == 0 {
            continue;
        }
        // SAFETY: `done + want` is at most `len`, the length of the buffer at `local`.
        let base = unsafe { local.add(done) }.cast();
        let piece = libc::iovec {
            iov_base: base,
            iov_len: want,
        };
        let mut n = transfer(pid, chunk, piece, way);
        if n == 0 && chunk.len() > 1 {
            n = one_by_one(pid, chunk, piece, way);
        }
        done += n;
        if n < want {
            break;
        }
    }
    let available = remote.iter().any(|range| range.iov_len > 0);
    if done == 0 && len > 0 && available {
        Err(Fault {
            addr: address(remote, 0),
        })
    } else {
        Ok(done)
    }
}

fn one_by_one(pid: i32, remote: &[Iovec], local: libc::iovec, way: Way) -> usize {
    let mut done = 0;
    for range in remote {
        let want = usize::try_from(range.iov_len)
            .unwrap_or(usize::MAX)
            .min(local.iov_len - done);
        if want == 0 {
            continue;
        }
        // SAFETY: `done` is below the buffer's length.
        let base = unsafe { local.iov_base.add(done) };
        let piece = libc::iovec {
            iov_base: base,
            iov_len: want,
        };
        let n = transfer(pid, std::slice::from_ref(range), piece, way);
        done += n;
        if n < want {
            break;
        }
    }
    done
}

/// Fills `buf` from the ranges.
pub fn read(pid: i32, remote: &[Iovec], buf: &mut [u8]) -> Result<usize, Fault> {
    all(pid, remote, buf.as_mut_ptr(), buf.len(), Way::Read)
}

/// Spreads `buf` over the ranges.
pub fn write(pid: i32, remote: &[Iovec], buf: &[u8]) -> Result<usize, Fault> {
    all(pid, remote, buf.as_ptr().cast_mut(), buf.len(), Way::Write)
}

/// Writes the command line that the host shows for a stub. False if the stub is gone.
pub fn show_as(pid: i32, command: &str) -> bool {
    let mut title = [0; TITLE_LEN as usize];
    let room = title.len() - 2;
    for (to, from) in title[..room].iter_mut().zip(command.bytes()) {
        *to = from;
    }
    title[room + 1] = 1;
    let to = Iovec {
        iov_base: TITLE,
        iov_len: TITLE_LEN,
    };
    write(pid, &[to], &title) == Ok(title.len())
}

/// Whether a stub still has its memory: a page that all of them have is there.
pub fn alive(pid: i32) -> bool {
    let page = Iovec {
        iov_base: TITLE,
        iov_len: 1,
    };
    read(pid, &[page], &mut [0]).is_ok()
}

/// Processor time of all threads of a process, in nanoseconds.
pub fn cpu_time(pid: i32) -> u64 {
    clock((!pid << 3) | 2)
}

/// Processor time of one of the sentry's own threads, in nanoseconds; 0 once it is gone.
pub fn thread_cpu_time(tid: i32) -> u64 {
    clock((!tid << 3) | 6)
}

/// A clock whose number was made as clock_getcpuclockid(3) makes it.
fn clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return 0;
    }
    (time.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64)
}
