//! `events`: a cgroup's figures in runc's shape.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Cgroup;

/// The sandbox's figures: `data` of runc's `stats` event.
pub fn stats(c: &Cgroup) -> Value {
    if c.is_v2() { v2(c) } else { v1(c) }
}

fn number(dir: Option<&Path>, file: &str) -> Option<u64> {
    let text = fs::read_to_string(dir?.join(file)).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        n => n.parse().ok(),
    }
}

/// `name value` lines.
fn table(dir: Option<&Path>, file: &str) -> BTreeMap<String, u64> {
    let text = dir
        .and_then(|d| fs::read_to_string(d.join(file)).ok())
        .unwrap_or_default();
    text.lines()
        .filter_map(|l| l.split_once(' '))
        .filter_map(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)))
        .collect()
}

/// Numbers separated by spaces.
fn row(dir: Option<&Path>, file: &str) -> Vec<u64> {
    let text = dir
        .and_then(|d| fs::read_to_string(d.join(file)).ok())
        .unwrap_or_default();
    text.split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect()
}

/// `0-2,5` as a list.
fn cpu_list(text: &str) -> Vec<u64> {
    let mut out = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (a, b) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(a), Ok(b)) = (a.parse::<u64>(), b.parse::<u64>()) {
            out.extend(a..=b.min(a.saturating_add(8192)));
        }
    }
    out
}

fn memory_entry(dir: Option<&Path>, prefix: &str) -> Value {
    let mut m = Map::new();
    for (key, file) in [
        ("limit", "limit_in_bytes"),
        ("usage", "usage_in_bytes"),
        ("max", "max_usage_in_bytes"),
        ("failcnt", "failcnt"),
    ] {
        if let Some(n) = number(dir, &format!("{prefix}.{file}")) {
            // `failcnt` is printed even when 0; Go leaves the others out then.
            if n != 0 || key == "failcnt" || key == "limit" {
                m.insert(key.into(), n.into());
            }
        }
    }
    m.entry("failcnt").or_insert(0.into());
    m.entry("limit").or_insert(0.into());
    Value::Object(m)
}

fn pids(c: &Cgroup) -> Value {
    let mut m = Map::new();
    if let Some(n) = number(c.dir("pids"), "pids.current") {
        m.insert("current".into(), n.into());
    }
    if let Some(n) = number(c.dir("pids"), "pids.max").filter(|n| *n != u64::MAX) {
        m.insert("limit".into(), n.into());
    }
    Value::Object(m)
}

fn v1(c: &Cgroup) -> Value {
    let (acct, memory, cpu) = (c.dir("cpuacct"), c.dir("memory"), c.dir("cpu"));
    let ticks = table(acct, "cpuacct.stat");
    // USER_HZ is 100 on every Linux there is.
    let tick = |name: &str| {
        ticks
            .get(name)
            .copied()
            .unwrap_or(0)
            .saturating_mul(10_000_000)
    };
    let all = acct
        .and_then(|d| fs::read_to_string(d.join("cpuacct.usage_all")).ok())
        .unwrap_or_default();
    let column = |n: usize| -> Vec<u64> {
        all.lines()
            .skip(1)
            .filter_map(|l| l.split(' ').nth(n)?.parse().ok())
            .collect()
    };
    let throttled = table(cpu, "cpu.stat");
    let mut throttling = Map::new();
    for (key, name) in [
        ("periods", "nr_periods"),
        ("throttledPeriods", "nr_throttled"),
        ("throttledTime", "throttled_time"),
    ] {
        if let Some(n) = throttled.get(name).filter(|n| **n != 0) {
            throttling.insert(key.into(), (*n).into());
        }
    }
    let raw = table(memory, "memory.stat");
    let mut mem = Map::new();
    if let Some(n) = raw.get("cache").filter(|n| **n != 0) {
        mem.insert("cache".into(), (*n).into());
    }
    for (key, prefix) in [
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ] {
        mem.insert(key.into(), memory_entry(memory, prefix));
    }
    mem.insert("raw".into(), json!(raw));
    let set = c.dir("cpuset");
    let list = |f: &str| {
        cpu_list(
            &set.and_then(|d| fs::read_to_string(d.join(f)).ok())
                .unwrap_or_default(),
        )
    };
    let flag = |f: &str| {
        set.and_then(|d| fs::read_to_string(d.join(f)).ok())
            .and_then(|s| s.trim().parse::<i64>().ok())
            .unwrap_or(0)
    };
    json!({
        "cpu": {
            "usage": {
                "total": number(acct, "cpuacct.usage").unwrap_or(0),
                "percpu": row(acct, "cpuacct.usage_percpu"),
                "percpu_kernel": column(2),
                "percpu_user": column(1),
                "kernel": tick("system"),
                "user": tick("user"),
            },
            "throttling": throttling,
        },
        "cpuset": {
            "cpus": list("cpuset.cpus"),
            "cpu_exclusive": flag("cpuset.cpu_exclusive"),
            "mems": list("cpuset.mems"),
            "mem_hardwall": flag("cpuset.mem_hardwall"),
            "mem_exclusive": flag("cpuset.mem_exclusive"),
            "memory_migrate": flag("cpuset.memory_migrate"),
            "memory_spread_page": flag("cpuset.memory_spread_page"),
            "memory_spread_slab": flag("cpuset.memory_spread_slab"),
            "memory_pressure": flag("cpuset.memory_pressure"),
            "sched_load_balance": flag("cpuset.sched_load_balance"),
            "sched_relax_domain_level": flag("cpuset.sched_relax_domain_level"),
        },
        "memory": mem,
        "pids": pids(c),
        "blkio": blkio(c),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// `8:0 Read 4096` lines of v1's blkio controller.
fn blkio(c: &Cgroup) -> Value {
    let mut out = Map::new();
    for (key, file) in [
        (
            "ioServiceBytesRecursive",
            "blkio.throttle.io_service_bytes_recursive",
        ),
        (
            "ioServicedRecursive",
            "blkio.throttle.io_serviced_recursive",
        ),
    ] {
        let text = c
            .dir("blkio")
            .and_then(|d| fs::read_to_string(d.join(file)).ok())
            .unwrap_or_default();
        let rows: Vec<Value> = text
            .lines()
            .filter_map(|l| {
                let mut f = l.split_whitespace();
                let (major, minor) = f.next()?.split_once(':')?;
                let (op, value) = (f.next()?, f.next()?.parse::<u64>().ok()?);
                Some(json!({"major": major.parse::<u64>().ok()?, "minor": minor.parse::<u64>().ok()?, "op": op, "value": value}))
            })
            .collect();
        if !rows.is_empty() {
            out.insert(key.into(), rows.into());
        }
    }
    Value::Object(out)
}

fn v2(c: &Cgroup) -> Value {
    let dir = c.dir("");
    let cpu = table(dir, "cpu.stat");
    let micro = |name: &str| cpu.get(name).copied().unwrap_or(0).saturating_mul(1000);
    let raw = table(dir, "memory.stat");
    let usage = |prefix: &str| {
        json!({
            "limit": number(dir, &format!("{prefix}.max")).unwrap_or(0),
            "usage": number(dir, &format!("{prefix}.current")).unwrap_or(0),
            "max": number(dir, &format!("{prefix}.peak")).unwrap_or(0),
            "failcnt": table(dir, &format!("{prefix}.events")).get("max").copied().unwrap_or(0),
        })
    };
    json!({
        "cpu": {
            "usage": {"total": micro("usage_usec"), "kernel": micro("system_usec"), "user": micro("user_usec")},
            "throttling": {
                "periods": cpu.get("nr_periods").copied().unwrap_or(0),
                "throttledPeriods": cpu.get("nr_throttled").copied().unwrap_or(0),
                "throttledTime": micro("throttled_usec"),
            },
        },
        "cpuset": {},
        "memory": {"cache": raw.get("file").copied().unwrap_or(0), "usage": usage("memory"), "swap": usage("memory.swap"), "raw": raw},
        "pids": pids(c),
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// How often the kernel's OOM killer had to act in this cgroup.
pub fn oom_kills(c: &Cgroup) -> u64 {
    let file = if c.is_v2() {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    table(c.dir("memory"), file)
        .get("oom_kill")
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lists() {
        assert_eq!(super::cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert!(super::cpu_list("\n").is_empty());
    }
}
