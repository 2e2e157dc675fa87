//! The files at the top of `/proc`.

use super::{Proc, host_text};
use crate::ipc::IpcNamespace;
use crate::kernel::task::State;
use crate::kernel::{Kernel, PidNamespace, Task, ThreadGroup};
use crate::pseudo::{Node, Tree, link, text};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file whose text is made from the kernel.
fn of_kernel(
    shared: &Arc<Proc>,
    mode: u32,
    read: impl Fn(&Kernel, &PidNamespace) -> String + Send + Sync + 'static,
) -> Node {
    let shared = shared.clone();
    text(mode, move |_| {
        shared
            .kernel()
            .map_or_else(|_| String::new(), |kernel| read(&kernel, &shared.ns))
    })
}

/// Adds them all.
pub fn fill(tree: &mut Tree, shared: &Arc<Proc>) {
    let fixed = |value: &'static str| text(0o444, move |_| value);
    tree.add("cpuinfo", text(0o444, |_| cpuinfo()));
    tree.add("meminfo", of_kernel(shared, 0o444, |_, _| meminfo()));
    tree.add("stat", of_kernel(shared, 0o444, stat));
    tree.add(
        "uptime",
        of_kernel(shared, 0o444, |kernel, _| {
            let up = kernel.clock.boottime() / 10_000_000;
            let idle = idle_ticks(kernel);
            format!(
                "{}.{:02} {}.{:02}\n",
                up / 100,
                up % 100,
                idle / 100,
                idle % 100
            )
        }),
    );
    tree.add("loadavg", of_kernel(shared, 0o444, loadavg));
    tree.add(
        "version",
        text(0o444, |_| {
            format!(
                "Linux version {} (runsc-rs) {}\n",
                crate::host::RELEASE,
                crate::host::VERSION
            )
        }),
    );
    tree.add("filesystems", fixed("nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tsockfs\nnodev\tpipefs\nnodev\tramfs\nnodev\tdevpts\nnodev\toverlay\n"));
    tree.add("cmdline", fixed("\n"));
    tree.add("devices", fixed("Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n136 pts\n\nBlock devices:\n"));
    tree.add(
        "swaps",
        fixed("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    );
    tree.add("partitions", fixed("major minor  #blocks  name\n\n"));
    tree.add("diskstats", fixed(""));
    tree.add(
        "interrupts",
        text(0o444, |_| {
            let head: String = (0..crate::host::cpus())
                .map(|n| format!("CPU{n:<8}"))
                .collect();
            format!("           {head}\n")
        }),
    );
    tree.add(
        "softirqs",
        text(0o444, |_| {
            let head: String = (0..crate::host::cpus())
                .map(|n| format!("CPU{n:<8}"))
                .collect();
            format!("                    {head}\n")
        }),
    );
    tree.add("vmstat", of_kernel(shared, 0o444, |_, _| vmstat()));
    tree.add("cgroups", fixed("#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\nmemory\t0\t1\t1\npids\t0\t1\t1\n"));
    tree.add("locks", fixed(""));
    tree.add("modules", fixed(""));
    tree.add("misc", fixed(""));
    tree.add("crypto", fixed(""));
    tree.add("execdomains", fixed("0-0\tLinux           \t[kernel]\n"));
    tree.add("consoles", fixed(""));
    let ipc = |read: fn(&IpcNamespace) -> String| {
        text(0o444, move |opener: Option<&Arc<Task>>| {
            let ns = opener.and_then(|o| IpcNamespace::of(&o.ns().ipc).ok());
            ns.map_or_else(String::new, |ns| read(&ns))
        })
    };
    tree.add("sysvipc/shm", ipc(IpcNamespace::shm_text));
    tree.add("sysvipc/sem", ipc(IpcNamespace::sem_text));
    tree.add("sysvipc/msg", ipc(IpcNamespace::msg_text));
    tree.add("mounts", link(|_| Ok(b"self/mounts".to_vec())));
    tree.add("net", link(|_| Ok(b"self/net".to_vec())));
    tree.at("driver");
    tree.at("fs");
    tree.at("tty").add("drivers", fixed("/dev/tty             /dev/tty        5       0 system:/dev/tty\n/dev/ptmx            /dev/ptmx       5       2 system\npty_slave            /dev/pts      136 0-1048575 pty:slave\npty_master           /dev/ptm      128 0-1048575 pty:master\n"));
}

/// The host's text, cut to the processors that the sandbox may use.
fn cpuinfo() -> Vec<u8> {
    let host = host_text().cpuinfo;
    let cpus = crate::host::cpus();
    let text = String::from_utf8_lossy(&host);
    let mut out = String::with_capacity(text.len());
    let blocks = text
        .split("\n\n")
        .filter(|b| b.lines().any(|l| l.starts_with("processor")));
    let mut made = 0_u32;
    for block in blocks.take(usize::try_from(cpus).unwrap_or(usize::MAX)) {
        for line in block.lines() {
            match line.split_once(':') {
                Some((key, _)) if key.trim_end() == "processor" => {
                    let _ = writeln!(out, "{key}: {made}");
                }
                _ => {
                    out.push_str(line);
                    out.push('\n');
                }
            }
        }
        out.push('\n');
        made = made.saturating_add(1);
    }
    for n in made..cpus {
        let _ = write!(
            out,
            "processor\t: {n}\nvendor_id\t: unknown\ncpu family\t: 6\nmodel\t\t: 0\nmodel name\t: unknown\nphysical id\t: 0\nsiblings\t: {cpus}\ncore id\t\t: {n}\ncpu cores\t: {cpus}\n\n"
        );
    }
    out.into_bytes()
}

fn meminfo() -> String {
    let memory = crate::host::memory();
    let swap = rustix::system::sysinfo();
    let unit = u64::from(swap.mem_unit).max(1);
    let buffers = swap.bufferram.saturating_mul(unit);
    // What is neither free nor buffers: how much of it is cache only the host knows, so none is promised.
    let kb = |bytes: u64| bytes / 1024;
    let used = memory
        .total
        .saturating_sub(memory.free)
        .saturating_sub(buffers);
    let rows = [
        ("MemTotal", memory.total),
        ("MemFree", memory.free),
        ("MemAvailable", memory.free.saturating_add(buffers)),
        ("Buffers", buffers),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", swap.totalswap.saturating_mul(unit)),
        ("SwapFree", swap.freeswap.saturating_mul(unit)),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", swap.sharedram.saturating_mul(unit)),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("KernelStack", 0),
        ("PageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", memory.total),
        ("Committed_AS", used),
        ("VmallocTotal", 34_359_738_367 * 1024),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("Percpu", 0),
        ("AnonHugePages", 0),
        ("ShmemHugePages", 0),
        ("ShmemPmdMapped", 0),
    ];
    let mut out = String::new();
    for (name, bytes) in rows {
        let _ = writeln!(out, "{:<15} {:>8} kB", format!("{name}:"), kb(bytes));
    }
    out.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    out
}

/// User and system time of all processes that are or were, in ticks.
fn busy_ticks(kernel: &Kernel) -> (u64, u64) {
    let (mut user, mut system) = {
        let ended = kernel.ended.lock();
        (ended.utime, ended.stime)
    };
    for group in live_groups(kernel) {
        let (u, s) = group.cpu_times();
        (user, system) = (user.saturating_add(u), system.saturating_add(s));
    }
    (super::stat::ticks(user), super::stat::ticks(system))
}

fn live_groups(kernel: &Kernel) -> impl Iterator<Item = Arc<ThreadGroup>> {
    let all = kernel.root_pid_ns.pids().into_iter();
    all.filter_map(|(_, pid)| pid.group())
        .filter(|group| !group.is_zombie())
}

/// How often tasks have given their processor up, which the sentry sees, or lost it, which it does not.
fn switches(kernel: &Kernel) -> u64 {
    let ended = kernel.ended.lock().switches.0;
    live_groups(kernel)
        .map(|group| group.sleeps())
        .fold(ended, u64::saturating_add)
}

/// What is left of all processors' time since the sandbox's start.
fn idle_ticks(kernel: &Kernel) -> u64 {
    let (user, system) = busy_ticks(kernel);
    let up = kernel
        .clock
        .monotonic()
        .saturating_sub(kernel.boot_monotonic)
        / 10_000_000;
    up.saturating_mul(u64::from(crate::host::cpus()))
        .saturating_sub(user)
        .saturating_sub(system)
}

/// Tasks that run or want to.
fn running(ns: &PidNamespace) -> u64 {
    let tasks = ns.pids().into_iter().filter_map(|(_, p)| p.task());
    tasks
        .filter(|t| !t.is_dead() && t.state() == State::Running as u8)
        .count() as u64
}

fn stat(kernel: &Kernel, ns: &PidNamespace) -> String {
    let cpus = u64::from(crate::host::cpus()).max(1);
    let (user, system) = busy_ticks(kernel);
    let idle = idle_ticks(kernel);
    let mut out = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for n in 0..cpus {
        let share = |all: u64| all.checked_div(cpus).unwrap_or(0);
        let _ = writeln!(
            out,
            "cpu{n} {} 0 {} {} 0 0 0 0 0 0",
            share(user),
            share(system),
            share(idle)
        );
    }
    let btime = boot_seconds(kernel);
    let forks = kernel.forks.load(Ordering::Relaxed);
    let _ = write!(
        out,
        "intr 0\nctxt {}\nbtime {btime}\nprocesses {forks}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        switches(kernel),
        running(ns).max(1)
    );
    out
}

/// When the boot clock was zero: `stat`'s start times count from there.
fn boot_seconds(kernel: &Kernel) -> i64 {
    let up = i64::try_from(kernel.clock.boottime()).unwrap_or(0);
    kernel.clock.realtime().saturating_sub(up) / 1_000_000_000
}

fn loadavg(kernel: &Kernel, ns: &PidNamespace) -> String {
    let load = rustix::system::sysinfo()
        .loads
        .map(|l| l.saturating_mul(100) / 65536);
    let shown = load
        .map(|l| format!("{}.{:02}", l / 100, l % 100))
        .join(" ");
    format!(
        "{shown} {}/{} {}\n",
        running(ns).max(1),
        kernel.task_count(),
        ns.last_pid()
    )
}

fn vmstat() -> String {
    let memory = crate::host::memory();
    let free = memory.free / abi::PAGE_SIZE;
    let mut out = format!("nr_free_pages {free}\n");
    for name in [
        "nr_zone_inactive_anon",
        "nr_zone_active_anon",
        "nr_inactive_anon",
        "nr_active_anon",
        "nr_inactive_file",
        "nr_active_file",
        "nr_mapped",
        "nr_file_pages",
        "nr_dirty",
        "nr_writeback",
        "nr_shmem",
        "pgpgin",
        "pgpgout",
        "pswpin",
        "pswpout",
        "pgfault",
        "pgmajfault",
        "oom_kill",
    ] {
        let _ = writeln!(out, "{name} 0");
    }
    out
}
