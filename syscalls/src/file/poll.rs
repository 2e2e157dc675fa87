//! poll(2), ppoll(2), select(2), pselect6(2).

use super::wait::{deadline_of, read_timespec};
use crate::args::{Fd, UserAddr};
use crate::time::nanoseconds;
use abi::Errno;
use abi::poll::Pollfd;
use abi::signal::{SIGSET_SIZE, SigSet, SigSetArg};
use abi::time::{Timespec, Timeval};
use fs::{Events, File};
use sentry::kernel::limits::Resource;
use sentry::kernel::{Cx, Woken};
use sentry::syscall::SysResult;
use std::sync::Arc;
use zerocopy::IntoBytes;

/// A file to wait for, and for what.
struct Watch {
    file: Arc<File>,
    wanted: Events,
    key: Option<usize>,
}

impl Watch {
    fn ready(&self) -> Events {
        self.file.poll() & (self.wanted | Events::ALWAYS)
    }
}

/// Waits until `check` counts something, the deadline passes, or a signal comes: registers with every file first, then looks.
fn wait(
    cx: &Cx,
    watches: &mut [Option<Watch>],
    deadline: Option<u64>,
    mut check: impl FnMut(&[Option<Watch>]) -> u64,
) -> SysResult {
    let found = check(watches);
    if found > 0 || deadline == Some(0) {
        return Ok(found);
    }
    for watch in watches.iter_mut().flatten() {
        watch.key = watch
            .file
            .ops()
            .pollee()
            .map(|p| p.register(cx.waker().clone(), watch.wanted));
    }
    let result = loop {
        let found = check(watches);
        if found > 0 {
            break Ok(found);
        }
        match cx.block(deadline) {
            Ok(()) => {}
            Err(Woken::TimedOut) => break Ok(check(watches)),
            Err(Woken::Interrupted) => break Err(Errno::ERESTARTNOHAND),
        }
    };
    for watch in watches.iter_mut().flatten() {
        if let (Some(key), Some(pollee)) = (watch.key.take(), watch.file.ops().pollee()) {
            pollee.unregister(key);
        }
    }
    result
}

fn poll_fds(cx: &Cx, addr: u64, count: u32, deadline: Option<u64>) -> SysResult {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    if count as u64 > cx.group().limits.soft(Resource::Nofile) {
        return Err(Errno::EINVAL);
    }
    let mm = cx.mm()?;
    let mut fds = vec![Pollfd::default(); count];
    mm.read_bytes(addr, fds.as_mut_slice().as_mut_bytes())?;
    let files = cx.files()?;
    let mut watches: Vec<Option<Watch>> = fds
        .iter()
        .map(|p| {
            let file = Fd::new(p.fd)
                .and_then(|fd| files.get(fd))
                .ok()
                .filter(|f| !f.is_path())?;
            Some(Watch {
                file,
                wanted: Events::from_bits_truncate(u32::from(p.events as u16)),
                key: None,
            })
        })
        .collect();
    let mut ready = vec![0i16; count];
    let result = wait(cx, &mut watches, deadline, |watches| {
        let mut found = 0u64;
        for ((slot, watch), poll) in ready.iter_mut().zip(watches).zip(&fds) {
            *slot = match watch {
                Some(watch) => watch.ready().bits() as i16,
                None if poll.fd < 0 => 0,
                None => Events::NVAL.bits() as i16,
            };
            found = found.saturating_add(u64::from(*slot != 0));
        }
        found
    });
    for (poll, ready) in fds.iter_mut().zip(&ready) {
        poll.revents = *ready;
    }
    let found = result?;
    mm.write_bytes(addr, fds.as_slice().as_bytes())?;
    Ok(found)
}

/// poll(2)
pub fn poll(cx: &mut Cx, fds: u64, count: u32, timeout: i32) -> SysResult {
    let deadline = if timeout == 0 {
        Some(0)
    } else {
        deadline_of(cx, timeout)
    };
    match poll_fds(cx, fds, count, deadline) {
        // restart_syscall goes on with the same deadline.
        Err(Errno::ERESTARTNOHAND) => {
            Err(cx.restart_with(Box::new(move |cx| poll_again(cx, fds, count, deadline))))
        }
        other => other,
    }
}

fn poll_again(cx: &mut Cx, fds: u64, count: u32, deadline: Option<u64>) -> SysResult {
    match poll_fds(cx, fds, count, deadline) {
        Err(Errno::ERESTARTNOHAND) => {
            Err(cx.restart_with(Box::new(move |cx| poll_again(cx, fds, count, deadline))))
        }
        other => other,
    }
}

/// The mask of a `p*` call, put in place for the wait.
pub(super) fn apply_mask(cx: &mut Cx, mask: UserAddr<SigSet>, size: usize) -> Result<(), Errno> {
    if let Some(mask) = mask.some() {
        if size != SIGSET_SIZE {
            return Err(Errno::EINVAL);
        }
        let mask = mask.read(cx)?;
        cx.set_temporary_mask(mask);
    }
    Ok(())
}

/// Ends a `p*` call: unless a signal is to be handled under the temporary mask, the old one comes back now.
pub(super) fn end_mask(cx: &mut Cx, result: SysResult) -> SysResult {
    if result != Err(Errno::ERESTARTNOHAND) && result != Err(Errno::EINTR) {
        cx.restore_mask();
    }
    result
}

/// What is left of a relative time is written back, as Linux does for ppoll, select and pselect6.
fn write_left(cx: &Cx, addr: UserAddr<Timespec>, deadline: Option<u64>) {
    if let (Some(addr), Some(deadline)) = (addr.some(), deadline) {
        let left = deadline.saturating_sub(cx.kernel().clock.monotonic());
        let ts = Timespec {
            tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
        };
        // The wait is over: a read-only timeout is no error.
        let _ = addr.write(cx, &ts);
    }
}

/// ppoll(2)
pub fn ppoll(
    cx: &mut Cx,
    fds: u64,
    count: u32,
    timeout: UserAddr<Timespec>,
    mask: UserAddr<SigSet>,
    size: usize,
) -> SysResult {
    let deadline = read_timespec(cx, timeout)?;
    apply_mask(cx, mask, size)?;
    let result = poll_fds(cx, fds, count, deadline);
    write_left(cx, timeout, deadline);
    end_mask(cx, result)
}

const IN_SET: Events = Events::IN
    .union(Events::RDNORM)
    .union(Events::RDBAND)
    .union(Events::HUP)
    .union(Events::ERR);
const OUT_SET: Events = Events::OUT
    .union(Events::WRNORM)
    .union(Events::WRBAND)
    .union(Events::ERR);
const EXCEPT_SET: Events = Events::PRI;

fn select_sets(cx: &Cx, count: i32, sets: [u64; 3], deadline: Option<u64>) -> SysResult {
    let files = cx.files()?;
    let count = usize::try_from(count)
        .map_err(|_| Errno::EINVAL)?
        .min(files.size().next_multiple_of(64));
    let bytes = count.div_ceil(64).saturating_mul(8);
    let mm = cx.mm()?;
    let mut wanted = [vec![0u8; bytes], vec![0u8; bytes], vec![0u8; bytes]];
    for (set, addr) in wanted.iter_mut().zip(sets) {
        if addr != 0 {
            mm.read_bytes(addr, set)?;
        }
    }
    let bit = |set: &[u8], n: usize| set.get(n / 8).is_some_and(|b| b & (1 << (n % 8)) != 0);
    let mut numbers = Vec::new();
    let mut watches = Vec::new();
    for n in 0..count {
        let mut events = Events::empty();
        for (set, mask) in wanted.iter().zip([IN_SET, OUT_SET, EXCEPT_SET]) {
            if bit(set, n) {
                events |= mask;
            }
        }
        if events.is_empty() {
            continue;
        }
        let fd = Fd::new(i32::try_from(n).map_err(|_| Errno::EBADF)?)?;
        let file = files.get(fd)?;
        if file.is_path() {
            return Err(Errno::EBADF);
        }
        numbers.push(n);
        watches.push(Some(Watch {
            file,
            wanted: events,
            key: None,
        }));
    }
    let mut result_sets = [vec![0u8; bytes], vec![0u8; bytes], vec![0u8; bytes]];
    let found = wait(cx, &mut watches, deadline, |watches| {
        let mut found = 0u64;
        for (n, watch) in numbers.iter().zip(watches) {
            let ready = watch.as_ref().map_or(Events::empty(), |w| w.file.poll());
            for ((out, set), mask) in result_sets
                .iter_mut()
                .zip(&wanted)
                .zip([IN_SET, OUT_SET, EXCEPT_SET])
            {
                if bit(set, *n) && ready.intersects(mask) {
                    if let Some(byte) = out.get_mut(n / 8) {
                        *byte |= 1 << (n % 8);
                    }
                    found = found.saturating_add(1);
                }
            }
        }
        found
    })?;
    for (set, addr) in result_sets.iter().zip(sets) {
        if addr != 0 {
            mm.write_bytes(addr, set)?;
        }
    }
    Ok(found)
}

/// select(2)
pub fn select(
    cx: &mut Cx,
    count: i32,
    read: u64,
    write: u64,
    except: u64,
    timeout: UserAddr<Timeval>,
) -> SysResult {
    let deadline = match timeout.some() {
        None => None,
        Some(timeout) => {
            let tv = timeout.read(cx)?;
            // Microseconds over a million are allowed here.
            let usec = u64::try_from(tv.tv_usec).map_err(|_| Errno::EINVAL)?;
            let sec = u64::try_from(tv.tv_sec).map_err(|_| Errno::EINVAL)?;
            let ns = sec
                .saturating_mul(1_000_000_000)
                .saturating_add(usec.saturating_mul(1000));
            Some(cx.kernel().clock.monotonic().saturating_add(ns))
        }
    };
    let result = select_sets(cx, count, [read, write, except], deadline);
    if let (Some(addr), Some(deadline)) = (timeout.some(), deadline) {
        let left = deadline.saturating_sub(cx.kernel().clock.monotonic());
        let tv = Timeval {
            tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
            tv_usec: i64::try_from(left % 1_000_000_000 / 1000).unwrap_or(0),
        };
        let _ = addr.write(cx, &tv);
    }
    result
}

/// pselect6(2)
pub fn pselect6(
    cx: &mut Cx,
    count: i32,
    read: u64,
    write: u64,
    except: u64,
    timeout: UserAddr<Timespec>,
    mask: UserAddr<SigSetArg>,
) -> SysResult {
    let deadline = match timeout.some() {
        None => None,
        Some(t) => Some(
            cx.kernel()
                .clock
                .monotonic()
                .saturating_add(nanoseconds(&t.read(cx)?)?),
        ),
    };
    if let Some(mask) = mask.some() {
        let arg = mask.read(cx)?;
        apply_mask(
            cx,
            UserAddr::new(arg.ss),
            usize::try_from(arg.ss_len).unwrap_or(0),
        )?;
    }
    let result = select_sets(cx, count, [read, write, except], deadline);
    write_left(cx, timeout, deadline);
    end_mask(cx, result)
}
