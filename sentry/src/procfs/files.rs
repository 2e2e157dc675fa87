//! The texts of a process's directory.

use super::Proc;
use super::stat;
use super::status;
use super::task::{Look, Spec};
use crate::kernel::{Task, UserNamespace};
use crate::mm::MemoryManager;
use abi::Errno;
use fs::Caller;
use fs::vfs::MountInfo;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Text = Result<Vec<u8>, Errno>;
type Opener<'a> = Option<&'a Arc<Task>>;

/// The most of arguments and environment that is shown.
const STRINGS_MAX: u64 = 8 << 20;

const fn plain(name: &'static str, mode: u32, read: fn(&Proc, &Look, Opener<'_>) -> Text) -> Spec {
    Spec {
        name,
        mode,
        guarded: false,
        read,
        write: None,
    }
}
const fn guarded(
    name: &'static str,
    mode: u32,
    read: fn(&Proc, &Look, Opener<'_>) -> Text,
) -> Spec {
    Spec {
        name,
        mode,
        guarded: true,
        read,
        write: None,
    }
}
/// Bits that mean nothing are dropped.
fn set_coredump_filter(look: &Look, _: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    // Decimal, 0x or 0 for octal, as `kstrtouint` with base 0 reads it.
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    let value = u32::from_str_radix(digits, radix).map_err(|_| Errno::EINVAL)? & 0x1ff;
    look.group.coredump_filter.store(value, Ordering::Relaxed);
    Ok(())
}

const fn settable(
    name: &'static str,
    mode: u32,
    read: fn(&Proc, &Look, Opener<'_>) -> Text,
    write: fn(&Look, &dyn Caller, &[u8]) -> Result<(), Errno>,
) -> Spec {
    Spec {
        name,
        mode,
        guarded: false,
        read,
        write: Some(write),
    }
}

/// All of them.
pub static SPECS: &[Spec] = &[
    guarded("auxv", 0o400, |_, l, _| {
        Ok(l.mm().map_or_else(Vec::new, |mm| mm.auxv().to_vec()))
    }),
    plain("cgroup", 0o444, |_, _, _| Ok(b"0::/\n".to_vec())),
    plain("cmdline", 0o444, cmdline),
    settable(
        "comm",
        0o644,
        |_, l, _| Ok([l.task.comm().as_slice(), b"\n"].concat()),
        set_comm,
    ),
    settable(
        "coredump_filter",
        0o644,
        |_, l, _| {
            Ok(format!("{:08x}\n", l.group.coredump_filter.load(Ordering::Relaxed)).into_bytes())
        },
        set_coredump_filter,
    ),
    plain("cpuset", 0o444, |_, _, _| Ok(b"/\n".to_vec())),
    guarded("environ", 0o400, environ),
    plain("gid_map", 0o444, |_, l, _| {
        Ok(id_map(&l.task.cred().user_ns, UserNamespace::gid_map))
    }),
    guarded("io", 0o400, |_, l, _| {
        let io = if l.thread {
            l.task.io.usage()
        } else {
            l.group.io_usage()
        };
        // Which of it reached a disk only the host knows.
        let text = format!(
            "rchar: {}\nwchar: {}\nsyscr: {}\nsyscw: {}\nread_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n",
            io.rchar, io.wchar, io.syscr, io.syscw
        );
        Ok(text.into_bytes())
    }),
    plain("limits", 0o444, limits),
    settable(
        "loginuid",
        0o644,
        |_, _, _| Ok(b"4294967295".to_vec()),
        |_, _, _| Err(Errno::EPERM),
    ),
    guarded("maps", 0o444, |_, l, o| {
        Ok(with_root(l, o, |mm, root| mm.maps(root)))
    }),
    plain("mountinfo", 0o444, |_, l, _| {
        mounts(l, MountInfo::mountinfo_line)
    }),
    plain("mounts", 0o444, |_, l, _| mounts(l, MountInfo::mounts_line)),
    guarded("mountstats", 0o400, |_, l, _| {
        mounts(l, MountInfo::mountstats_line)
    }),
    settable(
        "oom_adj",
        0o644,
        |_, l, _| Ok(line(oom_adj(l))),
        set_oom_adj,
    ),
    plain("oom_score", 0o444, |_, l, _| Ok(line(oom_score(l)))),
    settable(
        "oom_score_adj",
        0o644,
        |_, l, _| Ok(line(l.group.oom_score_adj.load(Ordering::Relaxed))),
        set_oom_score_adj,
    ),
    guarded("personality", 0o400, |_, l, _| {
        Ok(format!("{:08x}\n", l.task.personality.load(Ordering::Relaxed)).into_bytes())
    }),
    plain("sched", 0o444, sched),
    plain("schedstat", 0o444, |_, l, _| {
        let used = stat::usage(l);
        Ok(format!(
            "{} 0 {}\n",
            used.utime.saturating_add(used.stime),
            used.switches.0
        )
        .into_bytes())
    }),
    plain("sessionid", 0o444, |_, _, _| Ok(b"4294967295".to_vec())),
    plain("setgroups", 0o444, |_, _, _| Ok(b"allow\n".to_vec())),
    guarded("smaps", 0o444, |_, l, o| {
        Ok(with_root(l, o, |mm, root| mm.smaps(root)))
    }),
    guarded("smaps_rollup", 0o444, |_, l, _| {
        Ok(l.mm().map_or_else(Vec::new, |mm| mm.smaps_rollup()))
    }),
    plain("stat", 0o444, stat::line),
    plain("statm", 0o444, statm),
    plain("status", 0o444, status::text),
    guarded("syscall", 0o400, syscall),
    plain("timens_offsets", 0o444, |_, _, _| {
        Ok(b"monotonic           0         0\nboottime            0         0\n".to_vec())
    }),
    settable(
        "timerslack_ns",
        0o666,
        |_, l, _| Ok(line(l.task.timer_slack.load(Ordering::Relaxed))),
        set_timer_slack,
    ),
    plain("uid_map", 0o444, |_, l, _| {
        Ok(id_map(&l.task.cred().user_ns, UserNamespace::uid_map))
    }),
    plain("wchan", 0o444, |_, _, _| Ok(b"0".to_vec())),
];

fn line(value: impl std::fmt::Display) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// Runs `f` on the memory, with the root that names are shown from: the reader's.
fn with_root(
    look: &Look,
    opener: Opener<'_>,
    f: impl Fn(&crate::mm::MemoryManager, &fs::vfs::Path) -> Vec<u8>,
) -> Vec<u8> {
    let fs = opener
        .and_then(|o| o.fs_opt())
        .or_else(|| look.task.fs_opt());
    match (look.mm(), fs) {
        (Some(mm), Some(fs)) => f(&mm, &fs.root()),
        _ => Vec::new(),
    }
}

/// Guest memory from `start` to `end`, as much as there is.
fn strings(mm: &MemoryManager, start: u64, end: u64) -> Vec<u8> {
    let len = usize::try_from(end.saturating_sub(start).min(STRINGS_MAX)).unwrap_or(0);
    let mut out = vec![0; len];
    let n = mm.read_some(start, &mut out).unwrap_or(0);
    out.truncate(n);
    out
}

/// What `/proc/PID/cmdline` holds.
pub fn command_line(mm: &MemoryManager) -> Vec<u8> {
    let layout = mm.layout();
    let args = strings(mm, layout.arg_start, layout.arg_end);
    if args.last().is_none_or(|b| *b == 0) {
        return args;
    }
    // A program that overwrote the NUL after its arguments shows one string, which may reach into its environment (setproctitle).
    let mut title = strings(mm, layout.arg_start, layout.env_end.max(layout.arg_end));
    if let Some(end) = title.iter().position(|b| *b == 0) {
        title.truncate(end);
    }
    title
}

fn cmdline(_: &Proc, look: &Look, _: Opener<'_>) -> Text {
    Ok(look.mm().map_or_else(Vec::new, |mm| command_line(&mm)))
}

fn environ(_: &Proc, look: &Look, _: Opener<'_>) -> Text {
    let Some(mm) = look.mm() else {
        return Ok(Vec::new());
    };
    let layout = mm.layout();
    Ok(strings(&mm, layout.env_start, layout.env_end))
}

fn set_comm(look: &Look, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    let same = caller
        .as_any()
        .downcast_ref::<Task>()
        .is_none_or(|t| Arc::ptr_eq(t.group(), &look.group));
    if !same {
        return Err(Errno::EINVAL);
    }
    // The newline of `echo` counts, as it does for Linux, when it is within the 15 bytes.
    look.task.set_comm(data);
    Ok(())
}

fn statm(_: &Proc, look: &Look, _: Opener<'_>) -> Text {
    let s = look.mm().map(|mm| mm.statm()).unwrap_or_default();
    let shared = s.file.saturating_add(s.shmem);
    Ok(format!(
        "{} {} {shared} {} 0 {} 0\n",
        s.size,
        s.resident,
        s.text,
        s.data.saturating_add(s.stack)
    )
    .into_bytes())
}

fn limits(_: &Proc, look: &Look, _: Opener<'_>) -> Text {
    const ROWS: [(usize, &str, &str); 16] = [
        (0, "Max cpu time", "seconds"),
        (1, "Max file size", "bytes"),
        (2, "Max data size", "bytes"),
        (3, "Max stack size", "bytes"),
        (4, "Max core file size", "bytes"),
        (5, "Max resident set", "bytes"),
        (6, "Max processes", "processes"),
        (7, "Max open files", "files"),
        (8, "Max locked memory", "bytes"),
        (9, "Max address space", "bytes"),
        (10, "Max file locks", "locks"),
        (11, "Max pending signals", "signals"),
        (12, "Max msgqueue size", "bytes"),
        (13, "Max nice priority", ""),
        (14, "Max realtime priority", ""),
        (15, "Max realtime timeout", "us"),
    ];
    let show = |v: u64| {
        if v == u64::MAX {
            "unlimited".to_owned()
        } else {
            v.to_string()
        }
    };
    let mut out = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for (number, name, unit) in ROWS {
        let limit = look.group.limits.get_raw(number)?;
        let _ = writeln!(
            out,
            "{name:<25} {:<20} {:<20} {unit:<10}",
            show(limit.soft),
            show(limit.hard)
        );
    }
    Ok(out.into_bytes())
}

fn mounts(look: &Look, show: fn(&MountInfo) -> Vec<u8>) -> Text {
    let Some(fs) = look.task.fs_opt() else {
        return Err(Errno::EINVAL);
    };
    Ok(look
        .task
        .ns()
        .mnt
        .list(&fs.root())
        .iter()
        .flat_map(show)
        .collect())
}

fn id_map(
    ns: &Arc<UserNamespace>,
    map: fn(&UserNamespace) -> Vec<crate::kernel::cred::IdRange>,
) -> Vec<u8> {
    map(ns)
        .iter()
        .map(|r| format!("{:>10} {:>10} {:>10}\n", r.inside, r.outside, r.count))
        .collect::<String>()
        .into_bytes()
}

/// Thousandths of memory in use, moved by the adjustment, as `oom_badness` scales it for display.
fn oom_score(look: &Look) -> i64 {
    let total = i64::try_from(crate::host::memory().total / abi::PAGE_SIZE)
        .unwrap_or(i64::MAX)
        .max(1);
    let used = look
        .mm()
        .map_or(0, |mm| i64::try_from(mm.statm().resident).unwrap_or(0));
    let adj = i64::from(look.group.oom_score_adj.load(Ordering::Relaxed));
    if adj == -1000 {
        return 0;
    }
    let points = used.saturating_add(total.saturating_mul(adj) / 1000);
    points
        .saturating_mul(1000)
        .checked_div(total)
        .unwrap_or(0)
        .saturating_add(1000)
        .saturating_mul(2)
        .max(0)
        / 3
}

fn oom_adj(look: &Look) -> i32 {
    match look.group.oom_score_adj.load(Ordering::Relaxed) {
        1000 => 15,
        adj => adj.saturating_mul(17) / 1000,
    }
}

fn store_oom(look: &Look, caller: &dyn Caller, value: i32) -> Result<(), Errno> {
    let lower = value < look.group.oom_score_adj.load(Ordering::Relaxed);
    if lower && !caller.cred().has_cap(abi::cap::CAP_SYS_RESOURCE) {
        return Err(Errno::EACCES);
    }
    look.group.oom_score_adj.store(value, Ordering::Relaxed);
    Ok(())
}

fn set_oom_score_adj(look: &Look, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    let value: i32 = super::sysctl::number(data)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    store_oom(look, caller, value)
}

fn set_oom_adj(look: &Look, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    let value: i32 = super::sysctl::number(data)?;
    match value {
        15 => store_oom(look, caller, 1000),
        -17..=14 => store_oom(look, caller, value.saturating_mul(1000) / 17),
        _ => Err(Errno::EINVAL),
    }
}

fn set_timer_slack(look: &Look, caller: &dyn Caller, data: &[u8]) -> Result<(), Errno> {
    let own = caller
        .as_any()
        .downcast_ref::<Task>()
        .is_none_or(|t| std::ptr::eq(t, &*look.task));
    if !own && !caller.cred().has_cap(abi::cap::CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let value: u64 = super::sysctl::number(data)?;
    look.task
        .timer_slack
        .store(if value == 0 { 50_000 } else { value }, Ordering::Relaxed);
    Ok(())
}

fn sched(shared: &Proc, look: &Look, _: Opener<'_>) -> Text {
    let task = &look.task;
    let used = stat::usage(look);
    let ns = used.utime.saturating_add(used.stime);
    let (policy, _) = *task.sched.lock();
    let mut out = task.comm();
    let prio = task.nice.load(Ordering::Relaxed).saturating_add(120);
    let text = format!(
        " ({}, #threads: {})\n{:-<67}\nse.sum_exec_runtime                          : {:>13}.{:06}\nnr_switches                                  : {:>20}\nnr_voluntary_switches                        : {:>20}\nnr_involuntary_switches                      : {:>20}\npolicy                                       : {policy:>20}\nprio                                         : {prio:>20}\n",
        task.pid().nr_in(&shared.ns),
        look.group.live_threads().max(1),
        "",
        ns / 1_000_000,
        ns % 1_000_000,
        used.switches.0.saturating_add(used.switches.1),
        used.switches.0,
        used.switches.1,
    );
    out.extend_from_slice(text.as_bytes());
    Ok(out)
}

fn syscall(_: &Proc, look: &Look, _: Opener<'_>) -> Text {
    // Registers are their owner's alone; the number is what others may know.
    Ok(match look.task.in_syscall.load(Ordering::Relaxed) {
        -1 => b"running\n".to_vec(),
        nr => format!("{nr} 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0\n").into_bytes(),
    })
}
