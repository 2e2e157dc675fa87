//! Processor-time clocks (`CLOCK_PROCESS_CPUTIME_ID`, `CLOCK_THREAD_CPUTIME_ID`, `clock_getcpuclockid(3)`).

use crate::kernel::{Task, ThreadGroup};

/// Nanoseconds that a task has used.
pub fn task_cpu(task: &Task) -> u64 {
    let usage = task.cpu.usage(None);
    usage.utime.saturating_add(usage.stime)
}

/// Nanoseconds that a process has used: what its stub ran, and what its sentry threads served.
pub fn process_cpu(group: &ThreadGroup) -> u64 {
    let usage = group.total_usage();
    let ran = group
        .any_live()
        .and_then(|t| t.mm_opt())
        .map_or(0, |mm| mm.address_space().cpu_time());
    usage.utime.max(ran).saturating_add(usage.stime)
}
