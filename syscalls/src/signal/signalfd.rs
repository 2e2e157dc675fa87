//! signalfd(2).

use crate::args::UserAddr;
use abi::Errno;
use abi::signal::{SIGSET_SIZE, SigInfo, SigSet, SignalfdSiginfo};
use fs::{Events, File, FileOps, Pollee, Pos};
use sentry::kernel::{Cx, Kernel, Task};
use sentry::syscall::SysResult;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::IntoBytes;

const CLOEXEC: i32 = 0o2000000;
const NONBLOCK: i32 = 0o4000;

/// What a signalfd waits for. Whose signals it gives is decided by whoever reads (`signalfd(2)`), so `read(2)` goes through [`SignalFd::take`].
pub struct SignalFd {
    mask: AtomicU64,
    kernel: Arc<Kernel>,
}

impl SignalFd {
    /// Fills `buf` with the signals pending for `reader`.
    pub fn take(&self, reader: &Task, buf: &mut [u8]) -> Result<usize, Errno> {
        const SIZE: usize = size_of::<SignalfdSiginfo>();
        if buf.len() < SIZE {
            return Err(Errno::EINVAL);
        }
        let mut done = 0usize;
        for slot in buf.chunks_exact_mut(SIZE) {
            let Some(info) = reader.dequeue_signal(self.mask()) else {
                break;
            };
            slot.copy_from_slice(record(&info).as_bytes());
            done = done.saturating_add(SIZE);
        }
        if done == 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(done)
        }
    }

    fn mask(&self) -> SigSet {
        SigSet(self.mask.load(Ordering::Relaxed)).blockable()
    }
}

fn record(info: &SigInfo) -> SignalfdSiginfo {
    SignalfdSiginfo {
        ssi_signo: info.si_signo.unsigned_abs(),
        ssi_errno: info.si_errno,
        ssi_code: info.si_code,
        ssi_pid: info.pid().unsigned_abs(),
        ssi_uid: info.uid(),
        ssi_fd: info.fd(),
        ssi_tid: if info.si_code == abi::siginfo::SI_TIMER {
            info.timer_id().unsigned_abs()
        } else {
            0
        },
        ssi_band: info.band() as u32,
        ssi_overrun: if info.si_code == abi::siginfo::SI_TIMER {
            info.overrun().unsigned_abs()
        } else {
            0
        },
        ssi_status: info.status(),
        ssi_int: info.value() as i32,
        ssi_ptr: info.value(),
        ssi_addr: info.addr(),
        ..SignalfdSiginfo::default()
    }
}

impl FileOps for SignalFd {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        let reader = self.kernel.current_task().ok_or(Errno::EAGAIN)?;
        self.take(&reader, buf)
    }
    fn poll(&self, _file: &File) -> Events {
        let asks = self.kernel.current_task();
        let pending = asks.map_or(SigSet::EMPTY, |task| task.pending_signals());
        if pending.intersection(self.mask()).is_empty() {
            Events::empty()
        } else {
            Events::READ
        }
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.kernel.signal_events)
    }
    fn fdinfo(&self, _file: &File) -> String {
        format!("sigmask:\t{:016x}\n", self.mask().0)
    }
}

/// signalfd4(2)
pub fn signalfd4(
    cx: &mut Cx,
    fd: i32,
    mask: UserAddr<SigSet>,
    size: usize,
    flags: i32,
) -> SysResult {
    if size != SIGSET_SIZE || flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mask = mask.read(cx)?.0;
    if fd != -1 {
        let file = cx.files()?.get(crate::args::Fd::new(fd)?)?;
        let signals = file.downcast::<SignalFd>().ok_or(Errno::EINVAL)?;
        signals.mask.store(mask, Ordering::Relaxed);
        signals.kernel.signal_events.notify(Events::READ);
        return Ok(u64::try_from(fd).unwrap_or(0));
    }
    let ops = SignalFd {
        mask: AtomicU64::new(mask),
        kernel: cx.kernel().clone(),
    };
    let file = fs::anon::file(
        "[signalfd]",
        Box::new(ops),
        2 | (flags & NONBLOCK).unsigned_abs(),
    );
    crate::file::install(cx, file, flags & CLOEXEC != 0)
}

/// signalfd(2) of old
pub fn signalfd(cx: &mut Cx, fd: i32, mask: UserAddr<SigSet>, size: usize) -> SysResult {
    signalfd4(cx, fd, mask, size, 0)
}
