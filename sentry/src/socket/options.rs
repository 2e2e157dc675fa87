//! The options of `SOL_SOCKET` that all families share (`socket(7)`).

use super::{Control, Socket, SocketCaller};
use crate::kernel::seccomp::bpf::Program;
use abi::Errno;
use abi::seccomp::SockFilter;
use abi::socket::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use sync::Mutex;

/// `/proc/sys/net/core/{w,r}mem_default` and `_max`.
pub const BUF_DEFAULT: i32 = 212_992;
const MIN_SNDBUF: i32 = 4608;
const MIN_RCVBUF: i32 = 2304;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Options that are only a number kept for whoever asks.
const PLAIN: &[i32] = &[
    SO_DEBUG,
    SO_REUSEADDR,
    SO_DONTROUTE,
    SO_BROADCAST,
    SO_KEEPALIVE,
    SO_NO_CHECK,
    SO_PRIORITY,
    SO_REUSEPORT,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_RCVLOWAT,
    SO_MARK,
    SO_RXQ_OVFL,
    SO_BUSY_POLL,
    SO_ZEROCOPY,
    SO_SELECT_ERR_QUEUE,
    SO_PREFER_BUSY_POLL,
    SO_INCOMING_CPU,
];

/// State of the shared options.
pub struct Common {
    sndbuf: AtomicI32,
    rcvbuf: AtomicI32,
    passcred: AtomicBool,
    oob_inline: AtomicBool,
    /// `SO_ATTACH_FILTER`; whether it may not be changed any more.
    filter: Mutex<Option<Arc<Program>>>,
    has_filter: AtomicBool,
    filter_locked: AtomicBool,
    /// Nanoseconds, 0 for none.
    rcvtimeo: AtomicU64,
    sndtimeo: AtomicU64,
    /// `SO_PEEK_OFF`: off below 0.
    peek_off: AtomicI32,
    /// The option that asks for times of arrival, 0 for none.
    stamp: AtomicI32,
    /// When what was received last had arrived (`SIOCGSTAMP`), 0 for nothing.
    last: AtomicU64,
    inode: AtomicU64,
    rest: Mutex<Rest>,
}

#[derive(Default)]
struct Rest {
    plain: Vec<(i32, i32)>,
    linger: (i32, i32),
    device: Vec<u8>,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            sndbuf: AtomicI32::new(BUF_DEFAULT),
            rcvbuf: AtomicI32::new(BUF_DEFAULT),
            passcred: AtomicBool::new(false),
            oob_inline: AtomicBool::new(false),
            filter: Mutex::new(None),
            has_filter: AtomicBool::new(false),
            filter_locked: AtomicBool::new(false),
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
            peek_off: AtomicI32::new(-1),
            stamp: AtomicI32::new(0),
            last: AtomicU64::new(0),
            inode: AtomicU64::new(0),
            rest: Mutex::new(Rest::default()),
        }
    }
}

impl Common {
    /// `SO_SNDBUF`
    pub fn sndbuf(&self) -> usize {
        usize::try_from(self.sndbuf.load(Ordering::Relaxed)).unwrap_or(0)
    }
    /// `SO_RCVBUF`
    pub fn rcvbuf(&self) -> usize {
        usize::try_from(self.rcvbuf.load(Ordering::Relaxed)).unwrap_or(0)
    }
    /// `SO_PASSCRED`
    pub fn passcred(&self) -> bool {
        self.passcred.load(Ordering::Relaxed)
    }
    /// `SO_OOBINLINE`
    pub fn oob_inline(&self) -> bool {
        self.oob_inline.load(Ordering::Relaxed)
    }
    /// The filter of what is received, if there is one.
    pub fn filter(&self) -> Option<Arc<Program>> {
        if !self.has_filter.load(Ordering::Acquire) {
            return None;
        }
        self.filter.lock().clone()
    }
    fn set_filter(&self, new: Option<Program>) -> Result<(), Errno> {
        if self.filter_locked.load(Ordering::Relaxed) {
            return Err(Errno::EPERM);
        }
        let new = new.map(Arc::new);
        self.has_filter.store(new.is_some(), Ordering::Release);
        let removing = new.is_none();
        let old = std::mem::replace(&mut *self.filter.lock(), new);
        if removing && old.is_none() {
            return Err(Errno::ENOENT);
        }
        Ok(())
    }
    /// `SO_PEEK_OFF`: from where the next look is taken, if it is on.
    pub fn peek_off(&self) -> Option<usize> {
        usize::try_from(self.peek_off.load(Ordering::Relaxed)).ok()
    }
    /// So many bytes were looked at, or received: `SO_PEEK_OFF` follows. The caller holds the queue's lock.
    pub fn peeked(&self, bytes: usize, peek: bool) {
        let (off, bytes) = (
            self.peek_off.load(Ordering::Relaxed),
            i32::try_from(bytes).unwrap_or(i32::MAX),
        );
        if off >= 0 {
            let new = if peek {
                off.saturating_add(bytes)
            } else {
                off.saturating_sub(bytes).max(0)
            };
            self.peek_off.store(new, Ordering::Relaxed);
        }
    }
    /// Whether messages carry their time of arrival.
    pub fn stamps(&self) -> bool {
        self.stamp.load(Ordering::Relaxed) != 0
    }
    /// What had arrived at this time, of `CLOCK_REALTIME`, is received: the control message that goes with it.
    pub fn received(&self, realtime: u64, control: &mut Vec<Control>) {
        self.last.store(realtime, Ordering::Relaxed);
        let name = self.stamp.load(Ordering::Relaxed);
        if name != 0 {
            let nano = matches!(name, SO_TIMESTAMPNS_OLD | SO_TIMESTAMPNS_NEW);
            control.push(Control::Other(SOL_SOCKET, name, time(realtime, nano)));
        }
    }
    /// `SIOCGSTAMP`, `SIOCGSTAMPNS`
    pub fn last_stamp(&self, nano: bool) -> Result<Vec<u8>, Errno> {
        match self.last.load(Ordering::Relaxed) {
            0 => Err(Errno::ENOENT),
            realtime => Ok(time(realtime, nano)),
        }
    }
    /// `SO_RCVTIMEO` in nanoseconds.
    pub fn recv_timeout(&self) -> Option<u64> {
        Some(self.rcvtimeo.load(Ordering::Relaxed)).filter(|t| *t != 0)
    }
    /// `SO_SNDTIMEO` in nanoseconds.
    pub fn send_timeout(&self) -> Option<u64> {
        Some(self.sndtimeo.load(Ordering::Relaxed)).filter(|t| *t != 0)
    }
    /// The inode number of the socket's file, 0 before there is one.
    pub fn inode(&self) -> u64 {
        self.inode.load(Ordering::Relaxed)
    }
    pub(super) fn set_inode(&self, ino: u64) {
        self.inode.store(ino, Ordering::Relaxed);
    }
    /// One of the plain options; 0 unless set (`SO_RCVLOWAT`: 1).
    pub fn plain(&self, name: i32) -> i32 {
        let default = i32::from(name == SO_RCVLOWAT);
        self.rest
            .lock()
            .plain
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(default, |(_, v)| *v)
    }
    /// `SO_LINGER`: seconds, if on.
    pub fn linger(&self) -> Option<i32> {
        let (on, seconds) = self.rest.lock().linger;
        (on != 0).then_some(seconds)
    }
    /// What an accepted socket inherits from its listener.
    pub fn inherit(&self, from: &Common) {
        self.sndbuf
            .store(from.sndbuf.load(Ordering::Relaxed), Ordering::Relaxed);
        self.rcvbuf
            .store(from.rcvbuf.load(Ordering::Relaxed), Ordering::Relaxed);
        self.rcvtimeo
            .store(from.rcvtimeo.load(Ordering::Relaxed), Ordering::Relaxed);
        self.sndtimeo
            .store(from.sndtimeo.load(Ordering::Relaxed), Ordering::Relaxed);
        self.passcred.store(from.passcred(), Ordering::Relaxed);
        self.oob_inline.store(from.oob_inline(), Ordering::Relaxed);
        let theirs = from.rest.lock();
        let (plain, linger) = (theirs.plain.clone(), theirs.linger);
        drop(theirs);
        let mut ours = self.rest.lock();
        ours.plain = plain;
        ours.linger = linger;
    }
}

/// An option's value as an `int`.
pub fn int(value: &[u8]) -> Result<i32, Errno> {
    value
        .first_chunk::<4>()
        .map(|b| i32::from_ne_bytes(*b))
        .ok_or(Errno::EINVAL)
}

/// A `struct timespec` (`nano`) or `timeval`.
fn time(ns: u64, nano: bool) -> Vec<u8> {
    let (sec, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let rest = if nano { rest } else { rest / 1000 };
    [sec.to_ne_bytes(), rest.to_ne_bytes()].concat()
}

fn timeval(ns: u64) -> Vec<u8> {
    time(ns, false)
}

fn from_timeval(value: &[u8]) -> Result<u64, Errno> {
    let (sec, rest) = value.split_first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let usec = rest.first_chunk::<8>().ok_or(Errno::EINVAL)?;
    let (sec, usec) = (i64::from_ne_bytes(*sec), i64::from_ne_bytes(*usec));
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    // A negative time means "at once"; no time at all means for ever.
    let Ok(sec) = u64::try_from(sec) else {
        return Ok(1);
    };
    Ok(sec
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(usec).unwrap_or(0).saturating_mul(1000)))
}

/// `getsockopt(SOL_SOCKET)`
pub fn get(socket: &dyn Socket, name: i32) -> Result<Vec<u8>, Errno> {
    let common = socket.common();
    let identity = socket.identity();
    let number = match name {
        SO_TYPE => identity.kind,
        SO_DOMAIN => identity.domain,
        SO_PROTOCOL => identity.protocol,
        SO_ERROR => socket.take_error().map_or(0, Errno::raw),
        SO_ACCEPTCONN => i32::from(socket.is_listening()),
        SO_SNDBUF => common.sndbuf.load(Ordering::Relaxed),
        SO_RCVBUF => common.rcvbuf.load(Ordering::Relaxed),
        SO_PASSCRED => i32::from(common.passcred()),
        SO_OOBINLINE => i32::from(common.oob_inline()),
        SO_LOCK_FILTER => i32::from(common.filter_locked.load(Ordering::Relaxed)),
        SO_SNDLOWAT => 1,
        SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => {
            return Ok(timeval(common.rcvtimeo.load(Ordering::Relaxed)));
        }
        SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => {
            return Ok(timeval(common.sndtimeo.load(Ordering::Relaxed)));
        }
        SO_LINGER => {
            let (on, seconds) = common.rest.lock().linger;
            return Ok([on.to_ne_bytes(), seconds.to_ne_bytes()].concat());
        }
        SO_BINDTODEVICE => return Ok(common.rest.lock().device.clone()),
        SO_COOKIE => return Ok(common.inode().to_ne_bytes().to_vec()),
        SO_BUF_LOCK | SO_TXREHASH => 0,
        SO_TIMESTAMP_OLD | SO_TIMESTAMPNS_OLD | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            i32::from(common.stamp.load(Ordering::Relaxed) == name)
        }
        SO_PEEK_OFF if identity.domain != i32::from(AF_UNIX) => return Err(Errno::EOPNOTSUPP),
        SO_PEEK_OFF => common.peek_off.load(Ordering::Relaxed),
        _ if PLAIN.contains(&name) => common.plain(name),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(number.to_ne_bytes().to_vec())
}

fn buffer(asked: i32, min: i32, max: i32) -> i32 {
    // Doubled for the kernel's own overhead, which the sizes include.
    asked.min(max).max(0).saturating_mul(2).max(min)
}

/// The filter options; `value` of `SO_ATTACH_FILTER` is the program's instructions.
fn filter(socket: &dyn Socket, name: i32, value: &[u8]) -> Result<(), Errno> {
    let common = socket.common();
    if name == SO_LOCK_FILTER {
        let on = int(value)? != 0;
        if !on && common.filter_locked.load(Ordering::Relaxed) {
            return Err(Errno::EPERM);
        }
        common.filter_locked.store(on, Ordering::Relaxed);
        return Ok(());
    }
    let program = match name {
        SO_ATTACH_FILTER => {
            let (code, _) = value.as_chunks::<{ size_of::<SockFilter>() }>();
            let code: Vec<SockFilter> = code
                .iter()
                .map(|insn| zerocopy::transmute!(*insn))
                .collect();
            Some(Program::for_packets(&code)?)
        }
        _ => None,
    };
    common.set_filter(program)?;
    socket.filter_changed();
    Ok(())
}

/// `setsockopt(SOL_SOCKET)`
pub fn set(
    socket: &dyn Socket,
    caller: &dyn SocketCaller,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let common = socket.common();
    let identity = socket.identity();
    match name {
        SO_BINDTODEVICE => {
            let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
            let device = value.get(..end.min(15)).unwrap_or(&[]);
            if !device.is_empty() && device != b"lo" {
                return Err(Errno::ENODEV);
            }
            common.rest.lock().device = device.to_vec();
            return Ok(());
        }
        SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => {
            common
                .rcvtimeo
                .store(from_timeval(value)?, Ordering::Relaxed);
            return Ok(());
        }
        SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => {
            common
                .sndtimeo
                .store(from_timeval(value)?, Ordering::Relaxed);
            return Ok(());
        }
        SO_ATTACH_BPF => return Err(Errno::ENOPROTOOPT),
        SO_ATTACH_FILTER | SO_DETACH_FILTER | SO_LOCK_FILTER => {
            // A stream here has no packets to be filtered.
            let datagrams = matches!(identity.kind, SOCK_DGRAM | SOCK_SEQPACKET);
            if !datagrams || identity.domain == i32::from(AF_NETLINK) {
                return Err(Errno::ENOPROTOOPT);
            }
            return filter(socket, name, value);
        }
        _ => {}
    }
    let number = int(value)?;
    let capable = |cap| caller.cred().has_cap(cap);
    match name {
        SO_TYPE | SO_DOMAIN | SO_PROTOCOL | SO_ERROR | SO_ACCEPTCONN | SO_PEERCRED
        | SO_SNDLOWAT => return Err(Errno::ENOPROTOOPT),
        SO_SNDBUF => common
            .sndbuf
            .store(buffer(number, MIN_SNDBUF, BUF_DEFAULT), Ordering::Relaxed),
        SO_RCVBUF => common
            .rcvbuf
            .store(buffer(number, MIN_RCVBUF, BUF_DEFAULT), Ordering::Relaxed),
        SO_SNDBUFFORCE | SO_RCVBUFFORCE => {
            if !capable(CAP_NET_ADMIN) {
                return Err(Errno::EPERM);
            }
            // The data lies in the sandbox's own memory: force has a limit here.
            let (field, min) = if name == SO_SNDBUFFORCE {
                (&common.sndbuf, MIN_SNDBUF)
            } else {
                (&common.rcvbuf, MIN_RCVBUF)
            };
            field.store(buffer(number, min, 8 << 20), Ordering::Relaxed);
        }
        SO_TIMESTAMP_OLD | SO_TIMESTAMPNS_OLD | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            let stamp = if number == 0 { 0 } else { name };
            common.stamp.store(stamp, Ordering::Relaxed);
        }
        SO_PEEK_OFF if identity.domain != i32::from(AF_UNIX) => {
            return Err(Errno::EOPNOTSUPP);
        }
        SO_PEEK_OFF => common.peek_off.store(number, Ordering::Relaxed),
        SO_OOBINLINE => common.oob_inline.store(number != 0, Ordering::Relaxed),
        SO_PASSCRED => common.passcred.store(number != 0, Ordering::Relaxed),
        SO_LINGER => {
            let seconds = value.get(4..).map_or(Err(Errno::EINVAL), int)?;
            common.rest.lock().linger = (i32::from(number != 0), seconds);
        }
        SO_PRIORITY if !(0..=6).contains(&number) && !capable(CAP_NET_ADMIN) => {
            return Err(Errno::EPERM);
        }
        SO_MARK if !capable(CAP_NET_ADMIN) && !capable(CAP_NET_RAW) => return Err(Errno::EPERM),
        SO_DEBUG if number != 0 && !capable(CAP_NET_ADMIN) => return Err(Errno::EACCES),
        _ if PLAIN.contains(&name) => {
            let kept = match name {
                SO_PRIORITY | SO_MARK | SO_BUSY_POLL | SO_INCOMING_CPU => number,
                SO_RCVLOWAT => match number {
                    0 => 1,
                    negative if negative < 0 => i32::MAX,
                    n => n,
                },
                _ => i32::from(number != 0),
            };
            let mut rest = common.rest.lock();
            rest.plain.retain(|(n, _)| *n != name);
            rest.plain.push((name, kept));
        }
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}
