//! `/proc/PID/stat`: one line of 52 fields (`proc_pid_stat(5)`).

use super::Proc;
use super::task::Look;
use crate::kernel::limits::Resource;
use crate::kernel::task::State;
use crate::kernel::thread_group::Usage;
use crate::kernel::{PidNamespace, Task};
use abi::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Clock ticks (1/100 s) of nanoseconds.
pub fn ticks(ns: u64) -> u64 {
    ns / 10_000_000
}

/// The state letter.
pub fn state(look: &Look) -> char {
    if look.task.is_dead() {
        return char::from(State::Zombie as u8);
    }
    if look.group.is_stopped() {
        return char::from(State::Stopped as u8);
    }
    char::from(look.task.state())
}

/// What counts for the line: the whole process, or one thread.
pub fn usage(look: &Look) -> Usage {
    if look.thread {
        look.task.usage()
    } else {
        look.group.total_usage()
    }
}

/// The parent's number in `ns`.
pub fn parent(look: &Look, ns: &PidNamespace) -> i32 {
    look.group.parent().map_or(0, |p| p.pid().nr_in(ns))
}

/// Priority and nice value as `stat` has them, with policy and real-time priority.
fn priority(task: &Task) -> (i64, i64, i32, i32) {
    let nice = i64::from(task.nice.load(Ordering::Relaxed));
    let (policy, rt) = *task.sched.lock();
    let priority = if matches!(policy, 1 | 2) {
        i64::from(rt).saturating_neg().saturating_sub(1)
    } else {
        nice.saturating_add(20)
    };
    (priority, nice, rt, policy)
}

/// The line.
pub fn line(shared: &Proc, look: &Look, opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
    let (task, group, ns) = (&look.task, &look.group, &shared.ns);
    let kernel = shared.kernel()?;
    let may = opener.is_none_or(|o| super::may_access(o, task).is_ok());
    let pid = if look.thread {
        task.pid().nr_in(ns)
    } else {
        group.pid().nr_in(ns)
    };
    let session = group.session();
    let (tty, tpgid) = match session.tty() {
        Some(tty) => (tty.rdev(), tty.foreground().map_or(-1, |g| g.id.nr_in(ns))),
        None => (0, -1),
    };
    let used = usage(look);
    let children = if look.thread {
        Usage::default()
    } else {
        group.children_usage()
    };
    let (prio, nice, rt, policy) = priority(task);
    let mm = look.mm();
    let statm = mm.as_ref().map(|mm| mm.statm()).unwrap_or_default();
    let layout = mm
        .as_ref()
        .filter(|_| may)
        .map(|mm| mm.layout())
        .unwrap_or_default();
    let born = if look.thread {
        task.start_ns
    } else {
        group.start_ns
    };
    let since_boot = kernel
        .clock
        .boottime()
        .saturating_sub(kernel.clock.monotonic())
        .saturating_add(born);
    let blocked = task.signals.lock().blocked.0;
    let pending = task.signals.lock().pending.set().0;
    let (ignored, caught) = group.handlers().ignored_and_caught();
    let exit_signal = if look.thread && !task.is_leader() {
        -1
    } else {
        group.exit_signal()
    };
    let exit_code = if may && task.is_dead() {
        group.final_status().map_or(0, |s| s.wait_status())
    } else {
        0
    };
    let rss_limit = group.limits.soft(Resource::Rss);
    let mut out = format!("{pid} (").into_bytes();
    out.extend_from_slice(&escaped(&task.comm()));
    let head = format!(
        ") {} {} {} {} {tty} {tpgid} {} {} {} {} {} {} {} {} {} {prio} {nice} {} 0 {} {} {} {rss_limit}",
        state(look),
        parent(look, ns),
        group.process_group().id.nr_in(ns),
        session.id.nr_in(ns),
        // PF_FORKNOEXEC until the first execve, PF_RANDOMIZE.
        if group.did_exec.load(Ordering::Relaxed) {
            0x0040_0000
        } else {
            0x0040_0040
        },
        used.minflt,
        children.minflt,
        used.majflt,
        children.majflt,
        ticks(used.utime),
        ticks(used.stime),
        ticks(children.utime),
        ticks(children.stime),
        group.live_threads().max(1),
        ticks(since_boot),
        statm.size.saturating_mul(abi::PAGE_SIZE),
        statm.resident,
    );
    out.extend_from_slice(head.as_bytes());
    let small = |set: u64| set & 0x7fff_ffff;
    let tail = format!(
        " {} {} {} 0 0 {} {} {} {} {} 0 0 {exit_signal} {} {rt} {policy} 0 0 0 {} {} {} {} {} {} {} {exit_code}\n",
        layout.start_code,
        layout.end_code,
        layout.start_stack,
        small(pending),
        small(blocked),
        small(ignored.0),
        small(caught.0),
        // Asleep somewhere: Linux says 1 since it keeps the place to itself.
        u8::from(may && task.state() == State::Sleeping as u8),
        crate::host::current_cpu(),
        layout.start_data,
        layout.end_data,
        layout.start_brk,
        layout.arg_start,
        layout.arg_end,
        layout.env_start,
        layout.env_end,
    );
    out.extend_from_slice(tail.as_bytes());
    Ok(out)
}

/// `comm` with newline and backslash escaped.
pub fn escaped(comm: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(comm.len());
    for byte in comm {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            other => out.push(*other),
        }
    }
    out
}
