//! Structures as strace(1) prints them.

use crate::args::{show_flags, show_named, show_pointer, show_string};
use abi::sched::CloneFlags;
use abi::signal::{SaFlags, SigSet, Signal};
use std::fmt::Write;

/// A value in guest memory as text.
pub trait Text {
    /// Writes it.
    fn text(&self, out: &mut String);
}

macro_rules! integers {
    ($($ty:ty)*) => {$(impl Text for $ty {
        fn text(&self, out: &mut String) {
            let _ = write!(out, "[{self}]");
        }
    })*};
}
integers!(i32 u32 u64 i64);

impl Text for [i32; 2] {
    fn text(&self, out: &mut String) {
        let [a, b] = self;
        let _ = write!(out, "[{a}, {b}]");
    }
}

impl Text for abi::time::Timespec {
    fn text(&self, out: &mut String) {
        let _ = write!(out, "{{tv_sec={}, tv_nsec={}}}", self.tv_sec, self.tv_nsec);
    }
}
impl Text for [abi::time::Timespec; 2] {
    fn text(&self, out: &mut String) {
        let [a, b] = self;
        out.push('[');
        a.text(out);
        out.push_str(", ");
        b.text(out);
        out.push(']');
    }
}
impl Text for abi::time::Timeval {
    fn text(&self, out: &mut String) {
        let _ = write!(out, "{{tv_sec={}, tv_usec={}}}", self.tv_sec, self.tv_usec);
    }
}
impl Text for abi::time::Itimerspec {
    fn text(&self, out: &mut String) {
        out.push_str("{it_interval=");
        self.it_interval.text(out);
        out.push_str(", it_value=");
        self.it_value.text(out);
        out.push('}');
    }
}
impl Text for abi::time::Itimerval {
    fn text(&self, out: &mut String) {
        out.push_str("{it_interval=");
        self.it_interval.text(out);
        out.push_str(", it_value=");
        self.it_value.text(out);
        out.push('}');
    }
}

/// A file's type and permissions: `S_IFREG|0644`.
fn mode(mode: u32, out: &mut String) {
    const TYPES: &[(i64, &str)] = &[
        (0o010000, "S_IFIFO"),
        (0o020000, "S_IFCHR"),
        (0o040000, "S_IFDIR"),
        (0o060000, "S_IFBLK"),
        (0o100000, "S_IFREG"),
        (0o120000, "S_IFLNK"),
        (0o140000, "S_IFSOCK"),
    ];
    show_named(i64::from(mode & 0o170000), TYPES, out);
    for (bit, name) in [
        (0o4000, "S_ISUID"),
        (0o2000, "S_ISGID"),
        (0o1000, "S_ISVTX"),
    ] {
        if mode & bit != 0 {
            let _ = write!(out, "|{name}");
        }
    }
    let _ = write!(out, "|0{:03o}", mode & 0o777);
}

impl Text for abi::stat::Stat {
    fn text(&self, out: &mut String) {
        out.push_str("{st_mode=");
        mode(self.st_mode, out);
        match self.st_mode & 0o170000 {
            0o020000 | 0o060000 => {
                let (major, minor) = (
                    abi::stat::major(self.st_rdev),
                    abi::stat::minor(self.st_rdev),
                );
                let _ = write!(out, ", st_rdev=makedev({major:#x}, {minor:#x})");
            }
            _ => {
                let _ = write!(out, ", st_size={}", self.st_size);
            }
        }
        out.push_str(", ...}");
    }
}
impl Text for abi::stat::Statx {
    fn text(&self, out: &mut String) {
        out.push_str("{stx_mask=");
        show_flags(abi::stat::StatxMask::from_bits_retain(self.stx_mask), out);
        out.push_str(", stx_mode=");
        mode(u32::from(self.stx_mode), out);
        let _ = write!(out, ", stx_size={}, ...}}", self.stx_size);
    }
}
impl Text for abi::fs::Statfs {
    fn text(&self, out: &mut String) {
        let _ = write!(
            out,
            "{{f_type={:#x}, f_bsize={}, f_blocks={}, f_bfree={}, f_bavail={}, f_files={}, f_ffree={}, f_namelen={}, ...}}",
            self.f_type,
            self.f_bsize,
            self.f_blocks,
            self.f_bfree,
            self.f_bavail,
            self.f_files,
            self.f_ffree,
            self.f_namelen
        );
    }
}

/// Flags of open(2), the access mode first.
pub fn open_flags(flags: u32, out: &mut String) {
    out.push_str(match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    });
    // In strace(1)'s order; what has two bits stands before what has one of them.
    const NAMES: &[(u64, &str)] = &[
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o400, "O_NOCTTY"),
        (0o1000, "O_TRUNC"),
        (0o2000, "O_APPEND"),
        (0o4000, "O_NONBLOCK"),
        (0o4010000, "O_SYNC"),
        (0o20000, "O_ASYNC"),
        (0o10000, "O_DSYNC"),
        (0o40000, "O_DIRECT"),
        (0o100000, "O_LARGEFILE"),
        (0o400000, "O_NOFOLLOW"),
        (0o1000000, "O_NOATIME"),
        (0o2000000, "O_CLOEXEC"),
        (0o10000000, "O_PATH"),
        (0o20200000, "O_TMPFILE"),
        (0o200000, "O_DIRECTORY"),
    ];
    if flags & !3 != 0 {
        out.push('|');
        super::show::show_bits(u64::from(flags & !3), NAMES, "", out);
    }
}
impl Text for abi::fs::OpenHow {
    fn text(&self, out: &mut String) {
        out.push_str("{flags=");
        open_flags(u32::try_from(self.flags).unwrap_or(u32::MAX), out);
        let _ = write!(out, ", mode=0{:02o}, resolve=", self.mode);
        show_flags(abi::fs::ResolveFlags::from_bits_retain(self.resolve), out);
        out.push('}');
    }
}

/// Flags of clone(2); `signal`: the low byte is the exit signal.
pub fn clone_flags(flags: u64, signal: bool, out: &mut String) {
    let low = if signal { flags & 0xff } else { 0 };
    let rest = CloneFlags::from_bits_retain(flags & !low);
    if !rest.is_empty() || low == 0 {
        show_flags(rest, out);
    }
    if low != 0 {
        if !rest.is_empty() {
            out.push('|');
        }
        match i32::try_from(low).ok().and_then(Signal::new) {
            Some(s) => {
                let _ = write!(out, "{s}");
            }
            None => {
                let _ = write!(out, "{low}");
            }
        }
    }
}
impl Text for abi::sched::CloneArgs {
    fn text(&self, out: &mut String) {
        out.push_str("{flags=");
        clone_flags(self.flags, false, out);
        let _ = write!(
            out,
            ", child_tid={:#x}, parent_tid={:#x}, exit_signal={}, stack={:#x}, stack_size={:#x}, tls={:#x}}}",
            self.child_tid,
            self.parent_tid,
            self.exit_signal,
            self.stack,
            self.stack_size,
            self.tls
        );
    }
}

impl Text for SigSet {
    /// `[INT CHLD]`, or `~[…]` when more are in it than not.
    fn text(&self, out: &mut String) {
        let all = (1..=64).filter_map(Signal::new);
        let inverted = self.len() > 32;
        out.push_str(if inverted { "~[" } else { "[" });
        let mut first = true;
        for signal in all.filter(|s| self.contains(*s) != inverted) {
            if !std::mem::take(&mut first) {
                out.push(' ');
            }
            let name = signal.to_string();
            out.push_str(name.strip_prefix("SIG").unwrap_or(&name));
        }
        out.push(']');
    }
}
impl Text for abi::signal::SigAction {
    fn text(&self, out: &mut String) {
        out.push_str("{sa_handler=");
        match self.sa_handler {
            abi::signal::SIG_DFL => out.push_str("SIG_DFL"),
            abi::signal::SIG_IGN => out.push_str("SIG_IGN"),
            handler => show_pointer(handler, out),
        }
        out.push_str(", sa_mask=");
        self.sa_mask.text(out);
        out.push_str(", sa_flags=");
        show_flags(SaFlags::from_bits_retain(self.sa_flags), out);
        if self.sa_restorer != 0 {
            let _ = write!(out, ", sa_restorer={:#x}", self.sa_restorer);
        }
        out.push('}');
    }
}
impl Text for abi::ucontext::StackT {
    fn text(&self, out: &mut String) {
        out.push_str("{ss_sp=");
        show_pointer(self.ss_sp, out);
        out.push_str(", ss_flags=");
        show_named(
            i64::from(self.ss_flags),
            &[(0, "0"), (1, "SS_ONSTACK"), (2, "SS_DISABLE")],
            out,
        );
        let _ = write!(out, ", ss_size={}}}", self.ss_size);
    }
}
impl Text for abi::signal::SigInfo {
    fn text(&self, out: &mut String) {
        out.push('{');
        for (i, (name, value)) in super::text::signal_fields(self).into_iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let _ = write!(out, "{comma}{name}={value}");
        }
        out.push('}');
    }
}

/// The status word of wait4(2).
pub fn wait_status(status: i32, out: &mut String) {
    let low = status & 0x7f;
    let high = (status >> 8) & 0xff;
    let name = |n: i32| Signal::new(n).map_or_else(|| n.to_string(), |s| s.to_string());
    let _ = match (low, high) {
        _ if status == 0xffff => write!(out, "[{{WIFCONTINUED(s)}}]"),
        (0, code) => write!(out, "[{{WIFEXITED(s) && WEXITSTATUS(s) == {code}}}]"),
        (0x7f, signal) => write!(
            out,
            "[{{WIFSTOPPED(s) && WSTOPSIG(s) == {}}}]",
            name(signal)
        ),
        (signal, _) => {
            let core = if status & 0x80 != 0 {
                " && WCOREDUMP(s)"
            } else {
                ""
            };
            write!(
                out,
                "[{{WIFSIGNALED(s) && WTERMSIG(s) == {}{core}}}]",
                name(signal)
            )
        }
    };
}

/// A limit: multiples of 1024 as strace(1) has them.
fn limit(value: u64, out: &mut String) {
    let _ = match value {
        u64::MAX => write!(out, "RLIM64_INFINITY"),
        n if n > 1024 && n % 1024 == 0 => write!(out, "{}*1024", n / 1024),
        n => write!(out, "{n}"),
    };
}
impl Text for abi::resource::Rlimit {
    fn text(&self, out: &mut String) {
        out.push_str("{rlim_cur=");
        limit(self.rlim_cur, out);
        out.push_str(", rlim_max=");
        limit(self.rlim_max, out);
        out.push('}');
    }
}
impl Text for abi::resource::Rusage {
    fn text(&self, out: &mut String) {
        out.push_str("{ru_utime=");
        self.ru_utime.text(out);
        out.push_str(", ru_stime=");
        self.ru_stime.text(out);
        out.push_str(", ...}");
    }
}
impl Text for abi::sysinfo::Sysinfo {
    fn text(&self, out: &mut String) {
        let _ = write!(
            out,
            "{{uptime={}, loads={:?}, totalram={}, freeram={}, sharedram={}, bufferram={}, totalswap={}, freeswap={}, procs={}, totalhigh={}, freehigh={}, mem_unit={}}}",
            self.uptime,
            self.loads,
            self.totalram,
            self.freeram,
            self.sharedram,
            self.bufferram,
            self.totalswap,
            self.freeswap,
            self.procs,
            self.totalhigh,
            self.freehigh,
            self.mem_unit
        );
    }
}
impl Text for abi::uts::Utsname {
    fn text(&self, out: &mut String) {
        for (start, field) in [
            ("{sysname=", &self.sysname),
            (", nodename=", &self.nodename),
            (", release=", &self.release),
            (", version=", &self.version),
            (", machine=", &self.machine),
            (", domainname=", &self.domainname),
        ] {
            out.push_str(start);
            let text: Vec<u8> = field.iter().copied().take_while(|b| *b != 0).collect();
            show_string(&text, usize::MAX, out);
        }
        out.push('}');
    }
}

impl Text for abi::poll::EpollEvent {
    fn text(&self, out: &mut String) {
        out.push_str("{events=");
        show_flags(abi::poll::EpollEvents::from_bits_retain(self.events), out);
        let _ = write!(out, ", data={:#x}}}", { self.data });
    }
}
impl Text for abi::poll::Pollfd {
    fn text(&self, out: &mut String) {
        let _ = write!(out, "{{fd={}, events=", self.fd);
        let events = u32::from(self.events.cast_unsigned());
        show_flags(abi::poll::PollEvents::from_bits_retain(events), out);
        out.push('}');
    }
}

impl Text for abi::fcntl::Flock {
    fn text(&self, out: &mut String) {
        out.push_str("{l_type=");
        show_named(
            i64::from(self.l_type),
            &[(0, "F_RDLCK"), (1, "F_WRLCK"), (2, "F_UNLCK")],
            out,
        );
        out.push_str(", l_whence=");
        show_named(
            i64::from(self.l_whence),
            &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END")],
            out,
        );
        let _ = write!(out, ", l_start={}, l_len={}}}", self.l_start, self.l_len);
    }
}
impl Text for abi::ioctl::Winsize {
    fn text(&self, out: &mut String) {
        let _ = write!(
            out,
            "{{ws_row={}, ws_col={}, ws_xpixel={}, ws_ypixel={}}}",
            self.ws_row, self.ws_col, self.ws_xpixel, self.ws_ypixel
        );
    }
}
impl Text for abi::termios::Termios {
    fn text(&self, out: &mut String) {
        let _ = write!(
            out,
            "{{c_iflag={:#x}, c_oflag={:#x}, c_cflag={:#x}, c_lflag={:#x}, ...}}",
            self.c_iflag, self.c_oflag, self.c_cflag, self.c_lflag
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &impl Text) -> String {
        let mut out = String::new();
        value.text(&mut out);
        out
    }

    /// As strace 6.1 prints the same values.
    #[test]
    fn as_strace_prints_them() {
        let stat = abi::stat::Stat {
            st_mode: 0o104755,
            st_size: 9,
            ..Default::default()
        };
        assert_eq!(
            text(&stat),
            "{st_mode=S_IFREG|S_ISUID|0755, st_size=9, ...}"
        );
        let null = abi::stat::Stat {
            st_mode: 0o020666,
            st_rdev: abi::stat::makedev(1, 3),
            ..Default::default()
        };
        assert_eq!(
            text(&null),
            "{st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}"
        );
        let rlimit = abi::resource::Rlimit {
            rlim_cur: 8 << 20,
            rlim_max: u64::MAX,
        };
        assert_eq!(
            text(&rlimit),
            "{rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}"
        );
        let set = SigSet::of(&[Signal::SIGINT, Signal::SIGCHLD]);
        assert_eq!(text(&set), "[INT CHLD]");
        assert_eq!(text(&SigSet(!0)), "~[]");
        assert_eq!(text(&SigSet(0)), "[]");
        let mut out = String::new();
        clone_flags(0x0120_0011, true, &mut out);
        assert_eq!(out, "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD");
        out.clear();
        clone_flags(17, true, &mut out);
        assert_eq!(out, "SIGCHLD");
        out.clear();
        open_flags(0o2000000, &mut out);
        assert_eq!(out, "O_RDONLY|O_CLOEXEC");
        out.clear();
        open_flags(0o2204001, &mut out);
        assert_eq!(out, "O_WRONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY");
        for (status, wanted) in [
            (0x300, "[{WIFEXITED(s) && WEXITSTATUS(s) == 3}]"),
            (9, "[{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}]"),
            (
                0x8b,
                "[{WIFSIGNALED(s) && WTERMSIG(s) == SIGSEGV && WCOREDUMP(s)}]",
            ),
            (0x137f, "[{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}]"),
            (0xffff, "[{WIFCONTINUED(s)}]"),
        ] {
            let mut out = String::new();
            wait_status(status, &mut out);
            assert_eq!(out, wanted);
        }
    }
}
