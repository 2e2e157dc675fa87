//! Results, signals and JSON strings as text.

use abi::Errno;
use abi::siginfo::*;
use abi::signal::Signal;
use sentry::syscall::SysResult;
use std::fmt::Write;

/// strerror(3) of what guests meet most; the rest is the C library's.
const TEXTS: &[(Errno, &str)] = &[
    (Errno::EPERM, "Operation not permitted"),
    (Errno::ENOENT, "No such file or directory"),
    (Errno::ESRCH, "No such process"),
    (Errno::EINTR, "Interrupted system call"),
    (Errno::EIO, "Input/output error"),
    (Errno::ENXIO, "No such device or address"),
    (Errno::ENOEXEC, "Exec format error"),
    (Errno::EBADF, "Bad file descriptor"),
    (Errno::ECHILD, "No child processes"),
    (Errno::EAGAIN, "Resource temporarily unavailable"),
    (Errno::ENOMEM, "Cannot allocate memory"),
    (Errno::EACCES, "Permission denied"),
    (Errno::EFAULT, "Bad address"),
    (Errno::EBUSY, "Device or resource busy"),
    (Errno::EEXIST, "File exists"),
    (Errno::EXDEV, "Invalid cross-device link"),
    (Errno::ENODEV, "No such device"),
    (Errno::ENOTDIR, "Not a directory"),
    (Errno::EISDIR, "Is a directory"),
    (Errno::EINVAL, "Invalid argument"),
    (Errno::EMFILE, "Too many open files"),
    (Errno::ENOTTY, "Inappropriate ioctl for device"),
    (Errno::EFBIG, "File too large"),
    (Errno::ENOSPC, "No space left on device"),
    (Errno::ESPIPE, "Illegal seek"),
    (Errno::EROFS, "Read-only file system"),
    (Errno::EPIPE, "Broken pipe"),
    (Errno::ERANGE, "Numerical result out of range"),
    (Errno::ENAMETOOLONG, "File name too long"),
    (Errno::ENOSYS, "Function not implemented"),
    (Errno::ENOTEMPTY, "Directory not empty"),
    (Errno::ELOOP, "Too many levels of symbolic links"),
    (Errno::ENODATA, "No data available"),
    (Errno::EOPNOTSUPP, "Operation not supported"),
    (
        Errno::EAFNOSUPPORT,
        "Address family not supported by protocol",
    ),
    (Errno::EADDRINUSE, "Address already in use"),
    (Errno::EADDRNOTAVAIL, "Cannot assign requested address"),
    (Errno::ENETUNREACH, "Network is unreachable"),
    (Errno::ECONNRESET, "Connection reset by peer"),
    (Errno::ENOTCONN, "Transport endpoint is not connected"),
    (Errno::ETIMEDOUT, "Connection timed out"),
    (Errno::ECONNREFUSED, "Connection refused"),
    (Errno::EINPROGRESS, "Operation now in progress"),
    (Errno::ERESTARTSYS, "To be restarted if SA_RESTART is set"),
    (Errno::ERESTARTNOINTR, "To be restarted"),
    (Errno::ERESTARTNOHAND, "To be restarted if no handler"),
    (Errno::ERESTART_RESTARTBLOCK, "Interrupted by signal"),
];

/// What an error means.
fn meaning(errno: Errno) -> String {
    if let Some((_, text)) = TEXTS.iter().find(|(e, _)| *e == errno) {
        return (*text).to_owned();
    }
    let text = std::io::Error::from_raw_os_error(errno.raw()).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A result; addresses in hexadecimal.
pub(super) fn result(name: &str, result: Option<SysResult>) -> String {
    match result {
        None => "?".to_owned(),
        Some(Ok(value)) if matches!(name, "mmap" | "mremap" | "brk" | "shmat") => {
            format!("{value:#x}")
        }
        Some(Ok(value)) => value.cast_signed().to_string(),
        Some(Err(errno)) if errno.is_restart() => format!("? {errno} ({})", meaning(errno)),
        Some(Err(errno)) => format!("-1 {errno} ({})", meaning(errno)),
    }
}

/// Seconds with six digits.
pub(super) fn seconds(ns: u64) -> String {
    format!("{}.{:06}", ns / 1_000_000_000, ns / 1000 % 1_000_000)
}

/// A JSON string.
pub(super) fn json(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn signal_name(number: i32) -> String {
    Signal::new(number).map_or_else(|| number.to_string(), |s| s.to_string())
}

fn code_name(signal: Option<Signal>, code: i32) -> String {
    let any: &[(i32, &str)] = &[
        (SI_USER, "SI_USER"),
        (SI_KERNEL, "SI_KERNEL"),
        (SI_QUEUE, "SI_QUEUE"),
        (SI_TIMER, "SI_TIMER"),
        (SI_MESGQ, "SI_MESGQ"),
        (SI_ASYNCIO, "SI_ASYNCIO"),
        (SI_SIGIO, "SI_SIGIO"),
        (SI_TKILL, "SI_TKILL"),
    ];
    let own: &[(i32, &str)] = match signal {
        Some(Signal::SIGCHLD) => &[
            (CLD_EXITED, "CLD_EXITED"),
            (CLD_KILLED, "CLD_KILLED"),
            (CLD_DUMPED, "CLD_DUMPED"),
            (CLD_TRAPPED, "CLD_TRAPPED"),
            (CLD_STOPPED, "CLD_STOPPED"),
            (CLD_CONTINUED, "CLD_CONTINUED"),
        ],
        Some(Signal::SIGSEGV) => &[
            (SEGV_MAPERR, "SEGV_MAPERR"),
            (SEGV_ACCERR, "SEGV_ACCERR"),
            (SEGV_PKUERR, "SEGV_PKUERR"),
        ],
        Some(Signal::SIGBUS) => &[
            (BUS_ADRALN, "BUS_ADRALN"),
            (BUS_ADRERR, "BUS_ADRERR"),
            (BUS_OBJERR, "BUS_OBJERR"),
        ],
        Some(Signal::SIGILL) => &[
            (ILL_ILLOPC, "ILL_ILLOPC"),
            (ILL_ILLOPN, "ILL_ILLOPN"),
            (ILL_PRVOPC, "ILL_PRVOPC"),
        ],
        Some(Signal::SIGFPE) => &[
            (FPE_INTDIV, "FPE_INTDIV"),
            (FPE_INTOVF, "FPE_INTOVF"),
            (FPE_FLTDIV, "FPE_FLTDIV"),
            (FPE_FLTINV, "FPE_FLTINV"),
        ],
        Some(Signal::SIGTRAP) => &[
            (TRAP_BRKPT, "TRAP_BRKPT"),
            (TRAP_TRACE, "TRAP_TRACE"),
            (TRAP_HWBKPT, "TRAP_HWBKPT"),
        ],
        Some(Signal::SIGSYS) => &[(SYS_SECCOMP, "SYS_SECCOMP")],
        _ => &[],
    };
    own.iter()
        .chain(any)
        .find(|(c, _)| *c == code)
        .map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

/// The members of `siginfo_t` that this signal has (sigaction(2)), by name; the signal is the first.
pub(super) fn signal_fields(info: &SigInfo) -> Vec<(&'static str, String)> {
    let signal = info.signal();
    let code = info.si_code;
    let mut out = vec![
        ("si_signo", signal_name(info.si_signo)),
        ("si_code", code_name(signal, code)),
    ];
    let faults = matches!(
        signal,
        Some(Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE | Signal::SIGTRAP)
    );
    match code {
        SI_TIMER => out.extend([
            ("si_timerid", format!("{:#x}", info.timer_id())),
            ("si_overrun", info.overrun().to_string()),
            ("si_value", format!("{:#x}", info.value())),
        ]),
        SI_QUEUE | SI_MESGQ => out.extend([
            ("si_pid", info.pid().to_string()),
            ("si_uid", info.uid().to_string()),
            ("si_value", format!("{:#x}", info.value())),
        ]),
        _ if code <= 0 => out.extend([
            ("si_pid", info.pid().to_string()),
            ("si_uid", info.uid().to_string()),
        ]),
        _ if faults => out.push((
            "si_addr",
            if info.addr() == 0 {
                "NULL".to_owned()
            } else {
                format!("{:#x}", info.addr())
            },
        )),
        SI_KERNEL => {}
        _ if signal == Some(Signal::SIGCHLD) => out.extend([
            ("si_pid", info.pid().to_string()),
            ("si_uid", info.uid().to_string()),
            (
                "si_status",
                if code == CLD_EXITED {
                    info.status().to_string()
                } else {
                    signal_name(info.status())
                },
            ),
            ("si_utime", info.utime().to_string()),
            ("si_stime", info.stime().to_string()),
        ]),
        _ if signal == Some(Signal::SIGSYS) => {
            out.extend([
                ("si_call_addr", format!("{:#x}", info.addr())),
                ("si_syscall", info.syscall().to_string()),
            ]);
        }
        _ => out.extend([
            ("si_band", info.band().to_string()),
            ("si_fd", info.fd().to_string()),
        ]),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        assert_eq!(result("openat", Some(Ok(3))), "3");
        assert_eq!(result("mmap", Some(Ok(0x7000))), "0x7000");
        assert_eq!(
            result("openat", Some(Err(Errno::ENOENT))),
            "-1 ENOENT (No such file or directory)"
        );
        assert_eq!(
            result("read", Some(Err(Errno::ERESTARTSYS))),
            "? ERESTARTSYS (To be restarted if SA_RESTART is set)"
        );
        assert_eq!(result("exit", None), "?");
        assert_eq!(
            result("mount", Some(Err(Errno::ENOTBLK))),
            "-1 ENOTBLK (Block device required)"
        );
    }

    fn shown(info: SigInfo) -> String {
        signal_fields(&info)
            .into_iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn signals() {
        assert_eq!(
            shown(SigInfo::child(CLD_KILLED, 5, 1, 9, 2, 3)),
            "si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=1, si_status=SIGKILL, si_utime=2, si_stime=3"
        );
        assert_eq!(
            shown(SigInfo::fault(Signal::SIGSEGV, SEGV_MAPERR, 0)),
            "si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL"
        );
        assert_eq!(
            shown(SigInfo::kernel(Signal::SIGINT)),
            "si_signo=SIGINT, si_code=SI_KERNEL"
        );
    }

    #[test]
    fn json_strings() {
        assert_eq!(json("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
