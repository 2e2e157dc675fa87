//! `/sys/devices/system`: processors and memory nodes.

use super::fixed;
use crate::host::cpus;
use crate::pseudo::{Tree, link, text};

/// `0` or `0-3`.
fn all() -> String {
    match cpus() {
        1 => "0\n".to_owned(),
        n => format!("0-{}\n", n.saturating_sub(1)),
    }
}

/// Bits of a set of processors as comma-separated 32-bit words.
fn mask(first: u32, count: u32) -> String {
    let words = cpus().div_ceil(32).max(1);
    let word = |w: u32| {
        (0..32)
            .filter(|b| {
                (first..first.saturating_add(count))
                    .contains(&w.saturating_mul(32).saturating_add(*b))
            })
            .fold(0_u32, |m, b| m | 1 << b)
    };
    let width = if words == 1 {
        (cpus().div_ceil(4) as usize).max(1)
    } else {
        8
    };
    let shown: Vec<String> = (0..words)
        .rev()
        .map(|w| format!("{:0width$x}", word(w)))
        .collect();
    format!("{}\n", shown.join(","))
}

/// One value of `/proc/cpuinfo`'s first processor.
fn info(key: &str) -> Option<String> {
    let host = crate::procfs::host_text().cpuinfo;
    let text = String::from_utf8_lossy(&host);

    text.lines().find_map(|l| {
        l.split_once(':')
            .filter(|(k, _)| k.trim_end() == key)
            .map(|(_, v)| v.trim().to_owned())
    })
}

/// Fills `devices/system`.
pub fn fill(system: &mut Tree) {
    let n = cpus();
    let cpu = system.at("cpu");
    for name in ["online", "possible", "present"] {
        cpu.add(name, text(0o444, |_| all()));
    }
    cpu.add("offline", fixed(""));
    cpu.add("isolated", fixed(""));
    cpu.add("kernel_max", fixed("8191"));
    cpu.add("smt/active", fixed("0"));
    cpu.add("smt/control", fixed("notsupported"));
    for weak in [
        "gather_data_sampling",
        "itlb_multihit",
        "l1tf",
        "mds",
        "meltdown",
        "mmio_stale_data",
        "retbleed",
        "spec_rstack_overflow",
        "spec_store_bypass",
        "spectre_v1",
        "spectre_v2",
        "srbds",
        "tsx_async_abort",
    ] {
        cpu.add(&format!("vulnerabilities/{weak}"), fixed("Unknown"));
    }
    for i in 0..n {
        one(cpu.at(&format!("cpu{i}")), i, n);
    }
    let node = system.at("node");
    for name in [
        "online",
        "possible",
        "has_cpu",
        "has_memory",
        "has_normal_memory",
    ] {
        node.add(name, fixed("0"));
    }
    let node0 = node.at("node0");
    node0.add("cpulist", text(0o444, |_| all()));
    node0.add("cpumap", text(0o444, move |_| mask(0, n)));
    node0.add("distance", fixed("10"));
    node0.add("meminfo", text(0o444, |_| {
        let m = crate::host::memory();
        let (total, free) = (m.total / 1024, m.free / 1024);
        format!("Node 0 MemTotal:       {total:>8} kB\nNode 0 MemFree:        {free:>8} kB\nNode 0 MemUsed:        {:>8} kB\n", total.saturating_sub(free))
    }));
    node0.add(
        "numastat",
        fixed(
            "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0",
        ),
    );
    for i in 0..n {
        node0.add(
            &format!("cpu{i}"),
            link(move |_| Ok(format!("../../cpu/cpu{i}").into_bytes())),
        );
    }
    system
        .at("memory")
        .add("block_size_bytes", fixed("8000000"));
}

fn one(cpu: &mut Tree, i: u32, n: u32) {
    if i != 0 {
        cpu.add("online", fixed("1"));
    }
    cpu.add("node0", link(|_| Ok(b"../../node/node0".to_vec())));
    let own = move || text(0o444, move |_| mask(i, 1));
    let own_list = move || text(0o444, move |_| format!("{i}\n"));
    let whole = move || text(0o444, move |_| mask(0, n));
    let whole_list = || text(0o444, |_| all());
    let topology = cpu.at("topology");
    topology.add("core_id", own_list());
    topology.add("physical_package_id", fixed("0"));
    topology.add("die_id", fixed("0"));
    topology.add("cluster_id", fixed("-1"));
    for name in ["thread_siblings", "core_cpus"] {
        topology.add(name, own());
        topology.add(&format!("{name}_list"), own_list());
    }
    for name in ["core_siblings", "package_cpus", "die_cpus"] {
        topology.add(name, whole());
        topology.add(&format!("{name}_list"), whole_list());
    }
    // Sizes that programs tune by; /proc/cpuinfo names only the last level's.
    let last = info("cache size")
        .and_then(|s| s.split(' ').next().and_then(|k| k.parse::<u64>().ok()))
        .unwrap_or(8192);
    let caches = [
        ("1", "Data", 32, 8, false),
        ("1", "Instruction", 32, 8, false),
        ("2", "Unified", 1024, 16, false),
        ("3", "Unified", last.max(1024), 16, true),
    ];
    for (index, (level, kind, size, ways, shared)) in caches.into_iter().enumerate() {
        let cache = cpu.at(&format!("cache/index{index}"));
        cache.add("level", fixed(level));
        cache.add("type", fixed(kind));
        cache.add("size", text(0o444, move |_| format!("{size}K\n")));
        cache.add("coherency_line_size", fixed("64"));
        cache.add("physical_line_partition", fixed("1"));
        cache.add(
            "ways_of_associativity",
            text(0o444, move |_| format!("{ways}\n")),
        );
        let sets = (size.saturating_mul(1024) / 64)
            .checked_div(ways)
            .unwrap_or(1);
        cache.add("number_of_sets", text(0o444, move |_| format!("{sets}\n")));
        cache.add(
            "id",
            text(0o444, move |_| format!("{}\n", if shared { 0 } else { i })),
        );
        cache.add("shared_cpu_map", if shared { whole() } else { own() });
        cache.add(
            "shared_cpu_list",
            if shared { whole_list() } else { own_list() },
        );
    }
}
