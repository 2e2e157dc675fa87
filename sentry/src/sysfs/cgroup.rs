//! A cgroup2 hierarchy of one group: the container's. What it may use is decided outside; this shows what programs ask for (`cgroups(7)`).

use super::fixed;
use crate::kernel::{Kernel, PidNamespace};
use crate::pseudo::{PseudoFs, Tree, text};
use fs::FileSystem;
use std::sync::{Arc, Weak};

/// `CGROUP2_SUPER_MAGIC`
const MAGIC: u64 = 0x6367_7270;

/// A cgroup2 filesystem for the processes of `ns`.
pub fn cgroup2(kernel: &Arc<Kernel>, ns: &Arc<PidNamespace>) -> Arc<dyn FileSystem> {
    let mut tree = Tree::new();
    let of: Weak<Kernel> = Arc::downgrade(kernel);
    for (name, value) in [
        ("cgroup.controllers", "cpuset cpu memory pids"),
        ("cgroup.subtree_control", ""),
        ("cgroup.type", "domain"),
        ("cgroup.max.depth", "max"),
        ("cgroup.max.descendants", "max"),
        ("cgroup.events", "populated 1\nfrozen 0"),
        ("cgroup.freeze", "0"),
        ("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0"),
        ("cpu.max", "max 100000"),
        ("cpu.weight", "100"),
        ("cpuset.cpus", ""),
        ("cpuset.mems", ""),
        ("cpuset.mems.effective", "0"),
        ("memory.max", "max"),
        ("memory.high", "max"),
        ("memory.low", "0"),
        ("memory.min", "0"),
        ("memory.swap.max", "max"),
        ("memory.swap.current", "0"),
        ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0"),
        ("pids.max", "max"),
        ("pids.events", "max 0"),
    ] {
        tree.add(name, fixed(value));
    }
    tree.add(
        "cpuset.cpus.effective",
        text(0o444, |_| {
            format!("{}\n", crate::procfs::cpu_list(crate::host::processors()))
        }),
    );
    let shown = ns.clone();
    tree.add(
        "cgroup.procs",
        text(0o444, move |_| {
            shown
                .pids()
                .into_iter()
                .filter(|(_, p)| p.group().is_some_and(|g| !g.tasks().is_empty()))
                .map(|(nr, _)| format!("{nr}\n"))
                .collect::<String>()
        }),
    );
    let shown = ns.clone();
    tree.add(
        "cgroup.threads",
        text(0o444, move |_| {
            shown
                .pids()
                .into_iter()
                .filter(|(_, p)| p.task().is_some_and(|t| !t.is_dead()))
                .map(|(nr, _)| format!("{nr}\n"))
                .collect::<String>()
        }),
    );
    let counted = of.clone();
    tree.add(
        "pids.current",
        text(0o444, move |_| {
            format!("{}\n", counted.upgrade().map_or(0, |k| k.task_count()))
        }),
    );
    let shown = ns.clone();
    tree.add(
        "memory.current",
        text(0o444, move |_| {
            let groups = shown.pids().into_iter().filter_map(|(_, p)| p.group());
            let pages = groups
                .filter_map(|g| g.any_live()?.mm_opt())
                .fold(0_u64, |sum, mm| sum.saturating_add(mm.statm().resident));
            format!("{}\n", pages.saturating_mul(abi::PAGE_SIZE))
        }),
    );
    let shown = ns.clone();
    let ended = of.clone();
    tree.add("cpu.stat", text(0o444, move |_| {
        // What has ended had its part in it; it is counted for the sandbox as a whole.
        let ended = ended.upgrade().map_or((0, 0), |k| {
            let ended = k.ended.lock();
            (ended.utime, ended.stime)
        });
        let live = shown.pids().into_iter().filter_map(|(_, p)| p.group()).filter(|g| !g.is_zombie());
        let used = live.map(|g| g.cpu_times()).fold(ended, |s: (u64, u64), u| (s.0.saturating_add(u.0), s.1.saturating_add(u.1)));
        let (user, system) = (used.0 / 1000, used.1 / 1000);
        format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n", user.saturating_add(system))
    }));
    PseudoFs::new("cgroup2", MAGIC, String::new(), tree.build())
}
