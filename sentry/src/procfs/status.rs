//! `/proc/PID/status` (`proc_pid_status(5)`).

use super::Proc;
use super::stat::{escaped, parent, state};
use super::task::Look;
use crate::host::CpuSet;
use crate::kernel::limits::Resource;
use crate::kernel::{Pid, PidNamespace, Task};
use abi::Errno;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A set of processors as hex words, the highest first, and as a list (`0-3,5`).
pub fn cpu_lists(cpus: &CpuSet) -> (String, String) {
    let has = |cpu: usize| {
        let word = cpus.get(cpu / 64).copied().unwrap_or(0);
        (word >> (cpu % 64)) & 1 == 1
    };
    let top = crate::host::processors()
        .iter()
        .rposition(|word| *word != 0)
        .unwrap_or(0);
    let mut words: Vec<u64> = cpus
        .iter()
        .take(top.saturating_add(1))
        .flat_map(|word| [word & 0xffff_ffff, word >> 32])
        .collect();
    while words.len() > 1 && words.last() == Some(&0) {
        words.pop();
    }
    let mut hex = String::new();
    for (at, word) in words.iter().rev().enumerate() {
        let _ = if at == 0 {
            write!(hex, "{word:x}")
        } else {
            write!(hex, ",{word:08x}")
        };
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for cpu in (0..cpus.len().saturating_mul(64)).filter(|cpu| has(*cpu)) {
        match runs.last_mut() {
            Some((_, last)) if last.saturating_add(1) == cpu => *last = cpu,
            _ => runs.push((cpu, cpu)),
        }
    }
    let list: Vec<String> = runs
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    (hex, list.join(","))
}

/// The numbers of an identity from the reader's namespace down to its own.
fn numbers(pid: &Pid, ns: &PidNamespace) -> String {
    let all = pid.numbers();
    let seen = all
        .iter()
        .position(|(n, _)| n.id() == ns.id())
        .map_or(0, |at| at.saturating_add(1));
    all.iter()
        .take(seen)
        .rev()
        .map(|(_, nr)| format!("\t{nr}"))
        .collect()
}

/// The text.
pub fn text(shared: &Proc, look: &Look, opener: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
    let _ = opener;
    let (task, group, ns) = (&look.task, &look.group, &shared.ns);
    let cred = task.cred();
    let letter = state(look);
    let word = match letter {
        'R' => "running",
        'S' => "sleeping",
        'T' => "stopped",
        'Z' => "zombie",
        _ => "dead",
    };
    let mut out = b"Name:\t".to_vec();
    out.extend_from_slice(&escaped(&task.comm()));
    let mut s = String::from("\n");
    if let Some(fs) = task.fs_opt() {
        let _ = writeln!(s, "Umask:\t{:04o}", fs.umask());
    }
    let pid = task.pid();
    let _ = writeln!(
        s,
        "State:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0",
        group.pid().nr_in(ns),
        pid.nr_in(ns),
        parent(look, ns)
    );
    let _ = writeln!(
        s,
        "Uid:\t{}\t{}\t{}\t{}",
        cred.ruid, cred.euid, cred.suid, cred.fsuid
    );
    let _ = writeln!(
        s,
        "Gid:\t{}\t{}\t{}\t{}",
        cred.rgid, cred.egid, cred.sgid, cred.fsgid
    );
    let fds = task
        .files_opt()
        .map_or(0, |f| f.size().max(64).next_power_of_two());
    let groups: String = cred.groups.iter().map(|g| format!("{g} ")).collect();
    let _ = writeln!(s, "FDSize:\t{fds}\nGroups:\t{groups}");
    let _ = writeln!(
        s,
        "NStgid:{}\nNSpid:{}",
        numbers(group.pid(), ns),
        numbers(&pid, ns)
    );
    let pgrp = group.process_group();
    let _ = writeln!(
        s,
        "NSpgid:{}\nNSsid:{}\nKthread:\t0",
        numbers(&pgrp.id, ns),
        numbers(&pgrp.session.id, ns)
    );
    if let Some(mm) = look.mm() {
        s.push_str(&mm.status());
        s.push_str("HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\nuntag_mask:\t0xffffffffffffffff\n");
    }
    signals(&mut s, look);
    for (name, set) in [
        ("Inh", cred.inheritable),
        ("Prm", cred.permitted),
        ("Eff", cred.effective),
        ("Bnd", cred.bounding),
        ("Amb", cred.ambient),
    ] {
        let _ = writeln!(s, "Cap{name}:\t{set:016x}");
    }
    let (hex, list) = cpu_lists(&task.affinity());
    let seccomp = task.seccomp.mode();
    let _ = writeln!(
        s,
        "NoNewPrivs:\t{}\nSeccomp:\t{}\nSeccomp_filters:\t{}",
        u8::from(cred.no_new_privs || task.seccomp.no_new_privs()),
        seccomp.number(),
        seccomp.filter().map_or(0, |f| f.depth)
    );
    s.push_str(
        "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\talways enabled\n",
    );
    let _ = writeln!(
        s,
        "Cpus_allowed:\t{hex}\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\nMems_allowed_list:\t0"
    );
    let _ = writeln!(
        s,
        "voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t0",
        task.cpu.sleeps()
    );
    out.extend_from_slice(s.as_bytes());
    Ok(out)
}

fn signals(s: &mut String, look: &Look) {
    let (task, group) = (&look.task, &look.group);
    let shared = group.signals.lock().pending.set().0;
    let (own, blocked) = {
        let signals = task.signals.lock();
        (signals.pending.set().0, signals.blocked.0)
    };
    let (ignored, caught) = group.handlers().ignored_and_caught();
    let queued = task.cred().counts.sigpending.load(Ordering::Relaxed);
    let limit = group.limits.soft(Resource::Sigpending);
    let _ = writeln!(
        s,
        "Threads:\t{}\nSigQ:\t{queued}/{limit}",
        group.live_threads().max(1)
    );
    for (name, set) in [
        ("SigPnd", own),
        ("ShdPnd", shared),
        ("SigBlk", blocked),
        ("SigIgn", ignored.0),
        ("SigCgt", caught.0),
    ] {
        let _ = writeln!(s, "{name}:\t{set:016x}");
    }
}
