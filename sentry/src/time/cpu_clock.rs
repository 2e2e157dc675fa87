//! Processor-time clocks (`CLOCK_PROCESS_CPUTIME_ID`, `CLOCK_THREAD_CPUTIME_ID`, `clock_getcpuclockid(3)`).

use crate::kernel::{Task, ThreadGroup};

/// Nanoseconds that a task has used.
pub fn task_cpu(task: &Task) -> u64 {
    let (user, system) = task.cpu_times();
    user.saturating_add(system)
}

/// Nanoseconds that a process has used: what its stub ran, and what its sentry threads served.
pub fn process_cpu(group: &ThreadGroup) -> u64 {
    let (user, system) = group.cpu_times();
    user.saturating_add(system)
}
