//! The options of `SOL_SOCKET` that all families share (`socket(7)`).

use super::{Socket, SocketCaller};
use abi::Errno;
use abi::socket::*;
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
    SO_OOBINLINE,
    SO_NO_CHECK,
    SO_PRIORITY,
    SO_REUSEPORT,
    SO_PASSCRED,
    SO_PASSSEC,
    SO_RCVLOWAT,
    SO_MARK,
    SO_RXQ_OVFL,
    SO_TIMESTAMP_OLD,
    SO_TIMESTAMPNS_OLD,
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
    /// Nanoseconds, 0 for none.
    rcvtimeo: AtomicU64,
    sndtimeo: AtomicU64,
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
            rcvtimeo: AtomicU64::new(0),
            sndtimeo: AtomicU64::new(0),
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

fn timeval(ns: u64) -> Vec<u8> {
    let (sec, usec) = (ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    [sec.to_ne_bytes(), usec.to_ne_bytes()].concat()
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
        SO_PEEK_OFF => -1,
        _ if PLAIN.contains(&name) => common.plain(name),
        _ => return Err(Errno::ENOPROTOOPT),
    };
    Ok(number.to_ne_bytes().to_vec())
}

fn buffer(asked: i32, min: i32, max: i32) -> i32 {
    // Doubled for the kernel's own overhead, which the sizes include.
    asked.min(max).max(0).saturating_mul(2).max(min)
}

/// `setsockopt(SOL_SOCKET)`
pub fn set(
    socket: &dyn Socket,
    caller: &dyn SocketCaller,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let common = socket.common();
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
        SO_ATTACH_FILTER | SO_ATTACH_BPF | SO_DETACH_FILTER | SO_LOCK_FILTER => {
            return Err(Errno::ENOPROTOOPT);
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
