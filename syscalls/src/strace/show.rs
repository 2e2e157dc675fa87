//! Arguments that a trace shows otherwise than their type says: names of numbers, flags, what pointers point to. A line of the table asks
//! for one with `as`: `whence: i32 as Whence`.

use super::structs::Text;
use crate::args::{FlagBits, arg, show_flags, show_named, show_pointer, show_string};
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::fmt::Write;
use std::marker::PhantomData;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The most elements of an array that are shown.
const ELEMENTS: u64 = 32;
/// The longest piece of an element that is shown.
const PIECE: usize = 32;

/// How an argument is shown; the parameters are those of [`sentry::syscall::Arg::show`].
pub trait Show {
    /// It is known only after the call.
    const OUT: bool = false;
    /// Writes it.
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String);
}

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident { $($text:ident $number:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Show for $name {
            fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
                const NAMES: &[(i64, &str)] = &[$(($number, stringify!($text))),*];
                show_named(i64::from(arg(args, index) as i32), NAMES, out);
            }
        }
    )*};
}

named! {
    /// lseek(2)
    Whence { SEEK_SET 0, SEEK_CUR 1, SEEK_END 2, SEEK_DATA 3, SEEK_HOLE 4 }
    /// clock_gettime(2)
    ClockName {
        CLOCK_REALTIME 0, CLOCK_MONOTONIC 1, CLOCK_PROCESS_CPUTIME_ID 2, CLOCK_THREAD_CPUTIME_ID 3, CLOCK_MONOTONIC_RAW 4,
        CLOCK_REALTIME_COARSE 5, CLOCK_MONOTONIC_COARSE 6, CLOCK_BOOTTIME 7, CLOCK_REALTIME_ALARM 8, CLOCK_BOOTTIME_ALARM 9, CLOCK_TAI 11,
    }
    /// setitimer(2)
    ItimerName { ITIMER_REAL 0, ITIMER_VIRTUAL 1, ITIMER_PROF 2 }
    /// sigprocmask(2)
    SigHow { SIG_BLOCK 0, SIG_UNBLOCK 1, SIG_SETMASK 2 }
    /// epoll_ctl(2)
    EpollOp { EPOLL_CTL_ADD 1, EPOLL_CTL_DEL 2, EPOLL_CTL_MOD 3 }
    /// getrlimit(2)
    ResourceName {
        RLIMIT_CPU 0, RLIMIT_FSIZE 1, RLIMIT_DATA 2, RLIMIT_STACK 3, RLIMIT_CORE 4, RLIMIT_RSS 5, RLIMIT_NPROC 6, RLIMIT_NOFILE 7,
        RLIMIT_MEMLOCK 8, RLIMIT_AS 9, RLIMIT_LOCKS 10, RLIMIT_SIGPENDING 11, RLIMIT_MSGQUEUE 12, RLIMIT_NICE 13, RLIMIT_RTPRIO 14, RLIMIT_RTTIME 15,
    }
    /// posix_fadvise(2)
    FileAdvice {
        POSIX_FADV_NORMAL 0, POSIX_FADV_RANDOM 1, POSIX_FADV_SEQUENTIAL 2, POSIX_FADV_WILLNEED 3, POSIX_FADV_DONTNEED 4, POSIX_FADV_NOREUSE 5,
    }
    /// getrusage(2)
    UsageOf { RUSAGE_SELF 0, RUSAGE_CHILDREN -1, RUSAGE_THREAD 1 }
    /// waitid(2)
    IdType { P_ALL 0, P_PID 1, P_PGID 2, P_PIDFD 3 }
    /// shutdown(2)
    ShutdownHow { SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2 }
    /// arch_prctl(2)
    ArchCode { ARCH_SET_GS 0x1001, ARCH_SET_FS 0x1002, ARCH_GET_FS 0x1003, ARCH_GET_GS 0x1004, ARCH_CET_STATUS 0x3001 }
    /// fcntl(2)
    FcntlOp {
        F_DUPFD 0, F_GETFD 1, F_SETFD 2, F_GETFL 3, F_SETFL 4, F_GETLK 5, F_SETLK 6, F_SETLKW 7, F_SETOWN 8, F_GETOWN 9, F_SETSIG 10, F_GETSIG 11,
        F_SETOWN_EX 15, F_GETOWN_EX 16, F_OFD_GETLK 36, F_OFD_SETLK 37, F_OFD_SETLKW 38, F_SETLEASE 1024, F_GETLEASE 1025, F_NOTIFY 1026,
        F_DUPFD_QUERY 1027, F_DUPFD_CLOEXEC 1030, F_SETPIPE_SZ 1031, F_GETPIPE_SZ 1032, F_ADD_SEALS 1033, F_GET_SEALS 1034,
    }
    /// prctl(2)
    PrctlOp {
        PR_SET_PDEATHSIG 1, PR_GET_PDEATHSIG 2, PR_GET_DUMPABLE 3, PR_SET_DUMPABLE 4, PR_GET_KEEPCAPS 7, PR_SET_KEEPCAPS 8, PR_SET_NAME 15,
        PR_GET_NAME 16, PR_GET_SECCOMP 21, PR_SET_SECCOMP 22, PR_CAPBSET_READ 23, PR_CAPBSET_DROP 24, PR_GET_SECUREBITS 27, PR_SET_SECUREBITS 28,
        PR_SET_TIMERSLACK 29, PR_GET_TIMERSLACK 30, PR_SET_MM 35, PR_SET_CHILD_SUBREAPER 36, PR_GET_CHILD_SUBREAPER 37, PR_SET_NO_NEW_PRIVS 38,
        PR_GET_NO_NEW_PRIVS 39, PR_CAP_AMBIENT 47, PR_SET_VMA 0x53564d41, PR_SET_PTRACER 0x59616d61,
    }
    /// ioctl(2)
    IoctlOp {
        TCGETS 0x5401, TCSETS 0x5402, TCSETSW 0x5403, TCSETSF 0x5404, TCSBRK 0x5409, TCXONC 0x540a, TCFLSH 0x540b, TIOCSCTTY 0x540e,
        TIOCGPGRP 0x540f, TIOCSPGRP 0x5410, TIOCOUTQ 0x5411, TIOCGWINSZ 0x5413, TIOCSWINSZ 0x5414, FIONREAD 0x541b, FIONBIO 0x5421,
        TIOCNOTTY 0x5422, TIOCGSID 0x5429, FIONCLEX 0x5450, FIOCLEX 0x5451, FIOASYNC 0x5452, TIOCGPTPEER 0x5441, SIOCGIFCONF 0x8912,
        SIOCGIFFLAGS 0x8913, SIOCGIFADDR 0x8915, SIOCGIFNETMASK 0x891b, SIOCGIFMTU 0x8921, SIOCGIFHWADDR 0x8927, SIOCGIFINDEX 0x8933,
        TIOCGPTN -2147199952, TIOCSPTLCK 0x40045431, FICLONE 0x40049409,
    }
    /// seccomp(2)
    SeccompOp { SECCOMP_SET_MODE_STRICT 0, SECCOMP_SET_MODE_FILTER 1, SECCOMP_GET_ACTION_AVAIL 2, SECCOMP_GET_NOTIF_SIZES 3 }
    /// A signal's number.
    SigNumber {
        SIGHUP 1, SIGINT 2, SIGQUIT 3, SIGILL 4, SIGTRAP 5, SIGABRT 6, SIGBUS 7, SIGFPE 8, SIGKILL 9, SIGUSR1 10, SIGSEGV 11, SIGUSR2 12,
        SIGPIPE 13, SIGALRM 14, SIGTERM 15, SIGSTKFLT 16, SIGCHLD 17, SIGCONT 18, SIGSTOP 19, SIGTSTP 20, SIGTTIN 21, SIGTTOU 22, SIGURG 23,
        SIGXCPU 24, SIGXFSZ 25, SIGVTALRM 26, SIGPROF 27, SIGWINCH 28, SIGIO 29, SIGPWR 30, SIGSYS 31, SIGRTMIN 32,
    }
}

/// Bits by name, joined by `|`.
pub(super) fn show_bits(mut value: u64, names: &[(u64, &str)], zero: &str, out: &mut String) {
    if value == 0 {
        out.push_str(zero);
        return;
    }
    let start = out.len();
    for (bit, name) in names {
        if value & bit == *bit {
            if out.len() > start {
                out.push('|');
            }
            out.push_str(name);
            value &= !bit;
        }
    }
    if value != 0 {
        let bar = if out.len() > start { "|" } else { "" };
        let _ = write!(out, "{bar}{value:#x}");
    }
}

macro_rules! bits {
    ($($(#[$doc:meta])* $name:ident or $zero:literal { $($text:ident $bit:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub struct $name;
        impl Show for $name {
            fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
                show_bits(u64::from(arg(args, index) as u32), &[$(($bit, stringify!($text))),*], $zero, out);
            }
        }
    )*};
}

bits! {
    /// access(2)
    AccessMode or "F_OK" { R_OK 4, W_OK 2, X_OK 1 }
    /// The flags of most calls that end in `at`.
    AtBits or "0" { AT_SYMLINK_NOFOLLOW 0x100, AT_SYMLINK_FOLLOW 0x400, AT_NO_AUTOMOUNT 0x800, AT_EMPTY_PATH 0x1000, AT_STATX_FORCE_SYNC 0x2000, AT_STATX_DONT_SYNC 0x4000 }
    /// faccessat2(2)
    AccessBits or "0" { AT_EACCESS 0x200, AT_SYMLINK_NOFOLLOW 0x100, AT_EMPTY_PATH 0x1000 }
    /// unlinkat(2)
    UnlinkBits or "0" { AT_REMOVEDIR 0x200 }
    /// wait4(2)
    WaitBits or "0" { WNOHANG 1, WSTOPPED 2, WEXITED 4, WCONTINUED 8, WNOWAIT 0x1000000, __WNOTHREAD 0x20000000, __WALL 0x40000000, __WCLONE 0x80000000 }
    /// epoll_create1(2) and others
    CloexecBits or "0" { O_CLOEXEC 0o2000000, O_NONBLOCK 0o4000 }
    /// clock_nanosleep(2)
    TimerBits or "0" { TIMER_ABSTIME 1, TFD_TIMER_CANCEL_ON_SET 2 }
    /// getrandom(2)
    RandomBits or "0" { GRND_NONBLOCK 1, GRND_RANDOM 2, GRND_INSECURE 4 }
    /// renameat2(2)
    RenameBits or "0" { RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4 }
    /// flock(2)
    FlockBits or "0" { LOCK_SH 1, LOCK_EX 2, LOCK_NB 4, LOCK_UN 8 }
    /// memfd_create(2)
    MemfdBits or "0" { MFD_CLOEXEC 1, MFD_ALLOW_SEALING 2, MFD_HUGETLB 4, MFD_NOEXEC_SEAL 8, MFD_EXEC 16 }
    /// mremap(2)
    MremapBits or "0" { MREMAP_MAYMOVE 1, MREMAP_FIXED 2, MREMAP_DONTUNMAP 4 }
    /// close_range(2)
    CloseRangeBits or "0" { CLOSE_RANGE_UNSHARE 2, CLOSE_RANGE_CLOEXEC 4 }
    /// seccomp(2)
    SeccompBits or "0" {
        SECCOMP_FILTER_FLAG_TSYNC 1, SECCOMP_FILTER_FLAG_LOG 2, SECCOMP_FILTER_FLAG_SPEC_ALLOW 4, SECCOMP_FILTER_FLAG_NEW_LISTENER 8,
        SECCOMP_FILTER_FLAG_TSYNC_ESRCH 16,
    }
}

/// Flags of a `bitflags` type.
pub struct Bits<B>(PhantomData<B>);
impl<B: bitflags::Flags> Show for Bits<B>
where
    B::Bits: FlagBits + std::fmt::LowerHex,
{
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_flags(
            B::from_bits_retain(B::Bits::from_register(arg(args, index))),
            out,
        );
    }
}

/// open(2): the access mode first.
pub struct OpenBits;
impl Show for OpenBits {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        super::structs::open_flags(arg(args, index) as u32, out);
    }
}

/// open(2): the mode counts only for a new file.
pub struct OpenMode;
impl Show for OpenMode {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        use abi::fcntl::OpenFlags;
        let flags = OpenFlags::from_bits_retain(arg(args, index.saturating_sub(1)) as u32);
        if flags.contains(OpenFlags::O_CREAT) || flags.contains(OpenFlags::O_TMPFILE) {
            let _ = write!(out, "0{:02o}", arg(args, index) as u32);
        }
    }
}

/// mmap(2): where in the file.
pub struct Offset;
impl Show for Offset {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        match arg(args, index) {
            0 => out.push('0'),
            offset => show_pointer(offset, out),
        }
    }
}

/// clone(2): the exit signal is in the low byte.
pub struct CloneBits;
impl Show for CloneBits {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        super::structs::clone_flags(arg(args, index), true, out);
    }
}

/// futex(2)
pub struct FutexOp;
impl Show for FutexOp {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        const NAMES: &[(i64, &str)] = &[
            (0, "FUTEX_WAIT"),
            (1, "FUTEX_WAKE"),
            (3, "FUTEX_REQUEUE"),
            (4, "FUTEX_CMP_REQUEUE"),
            (5, "FUTEX_WAKE_OP"),
            (6, "FUTEX_LOCK_PI"),
            (7, "FUTEX_UNLOCK_PI"),
            (8, "FUTEX_TRYLOCK_PI"),
            (9, "FUTEX_WAIT_BITSET"),
            (10, "FUTEX_WAKE_BITSET"),
            (13, "FUTEX_LOCK_PI2"),
        ];
        let op = arg(args, index) as i32;
        show_named(i64::from(op & abi::futex::FUTEX_CMD_MASK), NAMES, out);
        if op & abi::futex::FUTEX_PRIVATE_FLAG != 0 {
            out.push_str("_PRIVATE");
        }
        if op & abi::futex::FUTEX_CLOCK_REALTIME != 0 {
            out.push_str("|FUTEX_CLOCK_REALTIME");
        }
    }
}

/// futex(2): a time for what waits, a number for what requeues.
pub struct FutexTimeout;
impl Show for FutexTimeout {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        match arg(args, 1) as i32 & abi::futex::FUTEX_CMD_MASK {
            0 | 6 | 9 | 13 => At::<abi::time::Timespec>::show(cx, args, index, done, out),
            3..=5 => {
                let _ = write!(out, "{}", arg(args, index));
            }
            _ => show_pointer(arg(args, index), out),
        }
    }
}

/// An address or another number that reads best in hexadecimal.
pub struct Hex;
impl Show for Hex {
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_pointer(arg(args, index), out);
    }
}

/// What a pointer points to before the call.
pub struct At<T>(PhantomData<T>);
impl<T: Text + FromZeros + FromBytes + IntoBytes> Show for At<T> {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_at::<T>(cx, arg(args, index), out);
    }
}

/// What a call that succeeds puts where a pointer points.
pub struct OutAt<T>(PhantomData<T>);
impl<T: Text + FromZeros + FromBytes + IntoBytes> Show for OutAt<T> {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        match done {
            Some(Ok(_)) => show_at::<T>(cx, arg(args, index), out),
            _ => show_pointer(arg(args, index), out),
        }
    }
}

/// Shows a `T` in guest memory.
pub fn show_at<T: Text + FromZeros + FromBytes + IntoBytes>(cx: &Cx, addr: u64, out: &mut String) {
    match cx.mm().and_then(|mm| mm.read_obj::<T>(addr)) {
        Ok(value) if addr != 0 => value.text(out),
        _ => show_pointer(addr, out),
    }
}

/// `count` elements (the first [`ELEMENTS`] of them) from `addr` on.
fn show_array<T: Text + FromZeros + FromBytes + IntoBytes + Immutable>(
    cx: &Cx,
    addr: u64,
    count: u64,
    out: &mut String,
) {
    let shown = usize::try_from(count.min(ELEMENTS)).unwrap_or(0);
    let Ok(list) = cx.mm().and_then(|mm| mm.read_vec::<T>(addr, shown)) else {
        return show_pointer(addr, out);
    };
    out.push('[');
    for (i, element) in list.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        element.text(out);
    }
    out.push_str(if count > ELEMENTS { ", ...]" } else { "]" });
}

/// An array whose length is the next argument.
pub struct Array<T>(PhantomData<T>);
impl<T: Text + FromZeros + FromBytes + IntoBytes + Immutable> Show for Array<T> {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_array::<T>(
            cx,
            arg(args, index),
            arg(args, index.saturating_add(1)),
            out,
        );
    }
}

/// An array that the call fills; its length is the result.
pub struct OutArray<T>(PhantomData<T>);
impl<T: Text + FromZeros + FromBytes + IntoBytes + Immutable> Show for OutArray<T> {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        match done {
            Some(Ok(count)) => show_array::<T>(cx, arg(args, index), count, out),
            _ => show_pointer(arg(args, index), out),
        }
    }
}

/// An iovec with its bytes: all of them, or as many as the call returned.
fn show_iovec(cx: &Cx, addr: u64, count: u64, mut left: u64, out: &mut String) {
    let shown = usize::try_from(count.min(ELEMENTS)).unwrap_or(0);
    let Ok(list) = cx.mm().and_then(|mm| mm.read_vec::<[u64; 2]>(addr, shown)) else {
        return show_pointer(addr, out);
    };
    out.push('[');
    for (i, [base, len]) in list.into_iter().enumerate() {
        out.push_str(if i > 0 { ", {iov_base=" } else { "{iov_base=" });
        let here = len.min(left);
        left = left.saturating_sub(here);
        let wanted = usize::try_from(here)
            .unwrap_or(usize::MAX)
            .min(PIECE.saturating_add(1));
        let mut bytes = vec![0; wanted];
        match cx.mm().and_then(|mm| mm.read_bytes(base, &mut bytes)) {
            Ok(()) => show_string(&bytes, PIECE, out),
            Err(_) => show_pointer(base, out),
        }
        let _ = write!(out, ", iov_len={len}}}");
    }
    out.push_str(if count > ELEMENTS { ", ...]" } else { "]" });
}

/// writev(2)
pub struct InIovec;
impl Show for InIovec {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_iovec(
            cx,
            arg(args, index),
            arg(args, index.saturating_add(1)),
            u64::MAX,
            out,
        );
    }
}

/// readv(2)
pub struct OutIovec;
impl Show for OutIovec {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        match done {
            Some(Ok(len)) => {
                show_iovec(
                    cx,
                    arg(args, index),
                    arg(args, index.saturating_add(1)),
                    len,
                    out,
                );
            }
            _ => show_pointer(arg(args, index), out),
        }
    }
}

/// execve(2): the strings of a null-terminated list.
pub struct Argv;
impl Show for Argv {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let addr = arg(args, index);
        let Some(list) = pointers(cx, addr, ELEMENTS) else {
            return show_pointer(addr, out);
        };
        out.push('[');
        for (i, pointer) in list.iter().enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            match cx
                .mm()
                .and_then(|mm| mm.read_cstring(*pointer, abi::PATH_MAX))
            {
                Ok(text) => show_string(&text, usize::MAX, out),
                Err(_) => show_pointer(*pointer, out),
            }
        }
        let more = u64::try_from(list.len()).unwrap_or(0) == ELEMENTS;
        out.push_str(if more { ", ...]" } else { "]" });
    }
}

/// execve(2): how many variables.
pub struct Envp;
impl Show for Envp {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let addr = arg(args, index);
        show_pointer(addr, out);
        if let Some(list) = pointers(cx, addr, 4096) {
            let s = if list.len() == 1 { "" } else { "s" };
            let _ = write!(out, " /* {} var{s} */", list.len());
        }
    }
}

fn pointers(cx: &Cx, addr: u64, most: u64) -> Option<Vec<u64>> {
    let mm = cx.mm().ok()?;
    let mut list = Vec::new();
    for i in 0..most {
        match mm
            .read_obj::<u64>(addr.checked_add(i.saturating_mul(8))?)
            .ok()?
        {
            0 => break,
            pointer => list.push(pointer),
        }
    }
    (addr != 0).then_some(list)
}

/// wait4(2): the status word.
pub struct WaitStatus;
impl Show for WaitStatus {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        let addr = arg(args, index);
        match (done, cx.mm().and_then(|mm| mm.read_obj::<i32>(addr))) {
            (Some(Ok(pid)), Ok(status)) if addr != 0 && pid != 0 => {
                super::structs::wait_status(status, out);
            }
            _ => show_pointer(addr, out),
        }
    }
}

/// fcntl(2): what the third argument is depends on the second.
pub struct FcntlArg;
impl Show for FcntlArg {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        use abi::fcntl as op;
        let value = arg(args, index);
        match arg(args, 1) as i32 {
            op::F_GETFD
            | op::F_GETFL
            | op::F_GETOWN
            | op::F_GETSIG
            | op::F_GETPIPE_SZ
            | op::F_GET_SEALS => {}
            op::F_SETFD => show_bits(value, &[(1, "FD_CLOEXEC")], "0", out),
            op::F_SETFL => super::structs::open_flags(value as u32, out),
            op::F_GETLK
            | op::F_SETLK
            | op::F_SETLKW
            | op::F_OFD_GETLK
            | op::F_OFD_SETLK
            | op::F_OFD_SETLKW => {
                show_at::<op::Flock>(cx, value, out);
            }
            op::F_ADD_SEALS => show_flags(op::Seals::from_bits_retain(value as u32), out),
            _ => {
                let _ = write!(out, "{}", value.cast_signed());
            }
        }
    }
}

/// ioctl(2): what the third argument is depends on the second.
pub struct IoctlArg;
impl Show for IoctlArg {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        use abi::ioctl as op;
        let value = arg(args, index);
        let filled = matches!(done, Some(Ok(_)));
        match arg(args, 1) as u32 {
            op::TCSETS | op::TCSETSW | op::TCSETSF => {
                show_at::<abi::termios::Termios>(cx, value, out)
            }
            op::TCGETS if filled => show_at::<abi::termios::Termios>(cx, value, out),
            op::TIOCSWINSZ => show_at::<op::Winsize>(cx, value, out),
            op::TIOCGWINSZ if filled => show_at::<op::Winsize>(cx, value, out),
            op::TIOCSPGRP | op::FIONBIO | op::FIOASYNC | op::TIOCSPTLCK => {
                show_at::<i32>(cx, value, out)
            }
            op::TIOCGPGRP | op::TIOCGSID | op::FIONREAD | op::TIOCOUTQ | op::TIOCGPTN if filled => {
                show_at::<i32>(cx, value, out);
            }
            _ => show_pointer(value, out),
        }
    }
}

/// prctl(2): its second argument.
pub struct PrctlArg;
impl Show for PrctlArg {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let value = arg(args, index);
        match (
            arg(args, 0) as i32,
            cx.mm().and_then(|mm| mm.read_cstring(value, 16)),
        ) {
            (abi::prctl::PR_SET_NAME, Ok(name)) => show_string(&name, 16, out),
            _ if value < 4096 => {
                let _ = write!(out, "{value}");
            }
            _ => show_pointer(value, out),
        }
    }
}

/// setsockopt(2): most values are an int.
pub struct OptionIn;
impl Show for OptionIn {
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        match arg(args, index.saturating_add(1)) {
            4 => show_at::<i32>(cx, arg(args, index), out),
            _ => show_pointer(arg(args, index), out),
        }
    }
}

/// getsockopt(2): the same; the length is behind a pointer.
pub struct OptionOut;
impl Show for OptionOut {
    const OUT: bool = true;
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        let len = arg(args, index.saturating_add(1));
        let len = cx.mm().and_then(|mm| mm.read_obj::<i32>(len));
        match (done, len) {
            (Some(Ok(_)), Ok(4)) => show_at::<i32>(cx, arg(args, index), out),
            _ => show_pointer(arg(args, index), out),
        }
    }
}
