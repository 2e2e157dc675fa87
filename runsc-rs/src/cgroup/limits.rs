//! `linux.resources` as control files, v1 and v2.
//!
//! Device rules are not written: a sandbox opens no host device, and the guest's own are the sentry's. The pids limit counts guest
//! tasks, so the guest's kernel keeps it; on the host a task is a thread of the sentry and one of a stub, beside those that the
//! sandbox itself has, and the host's limit leaves room for them.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use oci_spec::runtime::LinuxResources;

use super::{Cgroup, write};

/// A directory whose controller may be missing.
struct Files<'a> {
    dir: Option<&'a Path>,
    controller: &'static str,
    field: &'static str,
}

impl Files<'_> {
    fn set(&self, file: &str, value: &str) -> Result<()> {
        let Some(dir) = self.dir else {
            bail!(
                "linux.resources.{}: this host has no {} controller",
                self.field,
                self.controller
            )
        };
        let path = dir.join(file);
        if !path.exists() {
            bail!(
                "linux.resources.{}: this host's {} controller has no {file}",
                self.field,
                self.controller
            );
        }
        write(&path, value)
    }

    /// The second of two names if only that is there: kernels name weights after who keeps them.
    fn first(&self, names: [&'static str; 2]) -> &'static str {
        let [one, other] = names;
        let has = |name: &str| self.dir.is_some_and(|d| d.join(name).exists());
        if !has(one) && has(other) { other } else { one }
    }

    fn set_some<T: ToString>(&self, file: &str, value: Option<T>) -> Result<()> {
        value.map_or(Ok(()), |v| self.set(file, &v.to_string()))
    }
}

fn files<'a>(c: &'a Cgroup, controller: &'static str, field: &'static str) -> Files<'a> {
    Files {
        dir: c.dir(controller),
        controller,
        field,
    }
}

/// What no cgroup version here can honour.
fn refuse(r: &LinuxResources, v2: bool) -> Result<()> {
    if r.rdma().as_ref().is_some_and(|m| !m.is_empty()) {
        bail!("linux.resources.rdma: a sandbox has no RDMA devices");
    }
    if let Some(n) = r.network()
        && (n.class_id().is_some_and(|c| c != 0)
            || n.priorities().as_ref().is_some_and(|p| !p.is_empty()))
    {
        bail!("linux.resources.network: a sandbox sends nothing on the host's network");
    }
    if let Some(m) = r.memory() {
        if m.swappiness().is_some() && v2 {
            bail!("linux.resources.memory.swappiness: cgroup v2 has no such limit");
        }
        // Deprecated by the kernel (kmem limits were removed in 6.x): runc ignores them as well.
        #[allow(deprecated)]
        if m.kernel().is_some_and(|k| k > 0) || m.kernel_tcp().is_some_and(|k| k > 0) {
            log::warn!(
                "linux.resources.memory.kernel and kernelTCP are ignored: the kernel has dropped these limits"
            );
        }
    }
    Ok(())
}

/// Without a cgroup, as a user's containers may be, there is nothing to limit with; the guest's own limit on tasks holds all the same.
pub(super) fn none(r: &LinuxResources) -> Result<()> {
    let value = serde_json::to_value(r)?;
    let set = |v: &serde_json::Value| match v {
        serde_json::Value::Object(m) => m.values().any(|v| !v.is_null()),
        serde_json::Value::Array(list) => !list.is_empty(),
        v => !v.is_null(),
    };
    let limits = value.as_object().into_iter().flatten();
    for (name, v) in limits.filter(|(name, _)| !["devices", "pids"].contains(&name.as_str())) {
        if set(v) {
            bail!("cannot set {name} limit: container could not join or create cgroup");
        }
    }
    Ok(())
}

pub(super) fn v1(c: &Cgroup, r: &LinuxResources) -> Result<()> {
    refuse(r, false)?;
    if let Some(m) = r.memory() {
        let f = files(c, "memory", "memory");
        memory_v1(
            &f,
            m.limit().filter(|l| *l != 0),
            m.swap().filter(|l| *l != 0),
        )?;
        f.set_some(
            "memory.soft_limit_in_bytes",
            m.reservation().filter(|l| *l != 0),
        )?;
        f.set_some("memory.swappiness", m.swappiness().filter(|s| *s <= 100))?;
        if m.disable_oom_killer() == Some(true) {
            f.set("memory.oom_control", "1")?;
        }
    }
    if let Some(cpu) = r.cpu() {
        let f = files(c, "cpu", "cpu");
        f.set_some("cpu.shares", cpu.shares().filter(|s| *s != 0))?;
        f.set_some("cpu.cfs_period_us", cpu.period().filter(|p| *p != 0))?;
        f.set_some("cpu.cfs_quota_us", cpu.quota().filter(|q| *q != 0))?;
        f.set_some("cpu.cfs_burst_us", cpu.burst())?;
        f.set_some(
            "cpu.rt_period_us",
            cpu.realtime_period().filter(|p| *p != 0),
        )?;
        f.set_some(
            "cpu.rt_runtime_us",
            cpu.realtime_runtime().filter(|p| *p != 0),
        )?;
        f.set_some("cpu.idle", cpu.idle())?;
        let f = files(c, "cpuset", "cpu");
        f.set_some("cpuset.cpus", cpu.cpus().clone().filter(|s| !s.is_empty()))?;
        f.set_some("cpuset.mems", cpu.mems().clone().filter(|s| !s.is_empty()))?;
    }
    if let Some(p) = r.pids() {
        files(c, "pids", "pids").set_some("pids.max", pids_max(p.limit()))?;
    }
    if let Some(b) = r.block_io() {
        let f = files(c, "blkio", "blockIO");
        f.set_some(
            f.first(["blkio.weight", "blkio.bfq.weight"]),
            b.weight().filter(|w| *w != 0),
        )?;
        f.set_some("blkio.leaf_weight", b.leaf_weight().filter(|w| *w != 0))?;
        for d in b.weight_device().iter().flatten() {
            f.set_some(
                f.first(["blkio.weight_device", "blkio.bfq.weight_device"]),
                d.weight()
                    .map(|w| format!("{}:{} {w}", d.major(), d.minor())),
            )?;
        }
        for (file, list) in [
            (
                "blkio.throttle.read_bps_device",
                b.throttle_read_bps_device(),
            ),
            (
                "blkio.throttle.write_bps_device",
                b.throttle_write_bps_device(),
            ),
            (
                "blkio.throttle.read_iops_device",
                b.throttle_read_iops_device(),
            ),
            (
                "blkio.throttle.write_iops_device",
                b.throttle_write_iops_device(),
            ),
        ] {
            for d in list.iter().flatten() {
                f.set(file, &format!("{}:{} {}", d.major(), d.minor(), d.rate()))?;
            }
        }
    }
    for h in r.hugepage_limits().iter().flatten() {
        files(c, "hugetlb", "hugepageLimits").set(
            &format!("hugetlb.{}.limit_in_bytes", h.page_size()),
            &h.limit().to_string(),
        )?;
    }
    if let Some(u) = r.unified().as_ref().filter(|u| !u.is_empty()) {
        let name = u.keys().next().cloned().unwrap_or_default();
        bail!("linux.resources.unified: \"{name}\": this host's controllers are cgroup v1");
    }
    Ok(())
}

/// The swap limit (memory and swap together) may never be below the memory limit, so the order of the two writes matters.
fn memory_v1(f: &Files<'_>, limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    // Unlimited memory without a word about swap: swap too.
    let swap = if limit == Some(-1) && swap.is_none() {
        Some(-1)
    } else {
        swap
    };
    let raise_first = match (limit, swap, f.dir) {
        (Some(limit), Some(_), Some(dir)) => {
            let now = fs::read_to_string(dir.join("memory.memsw.limit_in_bytes"))
                .ok()
                .and_then(|s| s.trim().parse::<u64>().ok());
            limit == -1 || now.is_some_and(|now| u64::try_from(limit).is_ok_and(|l| l > now))
        }
        _ => false,
    };
    // A kernel without swap accounting has no memsw file: memory alone is limited then, as with runc.
    let swap = swap.filter(|_| {
        f.dir
            .is_some_and(|d| d.join("memory.memsw.limit_in_bytes").exists())
    });
    if raise_first {
        f.set_some("memory.memsw.limit_in_bytes", swap)?;
        f.set_some("memory.limit_in_bytes", limit)
    } else {
        f.set_some("memory.limit_in_bytes", limit)?;
        f.set_some("memory.memsw.limit_in_bytes", swap)
    }
}

/// -1 and below mean no limit, 0 nothing.
fn pids_max(limit: i64) -> Option<String> {
    match limit {
        0 => None,
        // Two threads and a stub's helper for each task, the pool of ready stubs, the threads of sentry and gofer.
        1.. => Some(limit.saturating_mul(4).saturating_add(64).to_string()),
        _ => Some("max".into()),
    }
}

fn max_or(v: i64) -> String {
    if v < 0 { "max".into() } else { v.to_string() }
}

/// v1's shares (2..262144) on v2's scale (1..10000), runc's formula.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// v1's blkio weight (10..1000) on v2's scale (1..10000).
fn io_weight(w: u16) -> u64 {
    1 + (u64::from(w).clamp(10, 1000) - 10) * 9999 / 990
}

pub(super) fn v2(c: &Cgroup, r: &LinuxResources) -> Result<()> {
    refuse(r, true)?;
    if let Some(m) = r.memory() {
        let f = files(c, "memory", "memory");
        let limit = m.limit().filter(|l| *l != 0);
        // OCI's swap includes memory, v2's does not.
        let swap = match (m.swap().filter(|s| *s != 0), limit) {
            (Some(-1), _) => Some("max".to_owned()),
            (Some(s), Some(l)) if l > 0 && s >= l => Some((s - l).to_string()),
            (Some(_), Some(l)) if l > 0 => {
                bail!("linux.resources.memory.swap: memory+swap limit should be >= memory limit")
            }
            (Some(_), _) => {
                bail!("linux.resources.memory.swap: unable to set swap limit without memory limit")
            }
            (None, Some(-1)) => Some("max".to_owned()),
            (None, _) => None,
        };
        if let Some(dir) = f.dir
            && dir.join("memory.swap.max").exists()
        {
            f.set_some("memory.swap.max", swap)?;
        }
        f.set_some("memory.max", limit.map(max_or))?;
        f.set_some(
            "memory.low",
            m.reservation().filter(|l| *l != 0).map(max_or),
        )?;
    }
    if let Some(cpu) = r.cpu() {
        let f = files(c, "cpu", "cpu");
        f.set_some("cpu.weight", cpu.shares().filter(|s| *s != 0).map(weight))?;
        let (quota, period) = (
            cpu.quota().filter(|q| *q != 0),
            cpu.period().filter(|p| *p != 0),
        );
        if quota.is_some() || period.is_some() {
            let quota = quota
                .filter(|q| *q > 0)
                .map_or("max".to_owned(), |q| q.to_string());
            f.set("cpu.max", &format!("{quota} {}", period.unwrap_or(100_000)))?;
        }
        f.set_some("cpu.max.burst", cpu.burst())?;
        f.set_some("cpu.idle", cpu.idle())?;
        if cpu.realtime_runtime().is_some_and(|v| v != 0)
            || cpu.realtime_period().is_some_and(|v| v != 0)
        {
            bail!("linux.resources.cpu.realtimeRuntime: cgroup v2 has no realtime limits");
        }
        let f = files(c, "cpuset", "cpu");
        f.set_some("cpuset.cpus", cpu.cpus().clone().filter(|s| !s.is_empty()))?;
        f.set_some("cpuset.mems", cpu.mems().clone().filter(|s| !s.is_empty()))?;
    }
    if let Some(p) = r.pids() {
        files(c, "pids", "pids").set_some("pids.max", pids_max(p.limit()))?;
    }
    if let Some(b) = r.block_io() {
        let f = files(c, "io", "blockIO");
        let w = b.weight().filter(|w| *w != 0);
        // BFQ's weight has the scale that the configuration has.
        match f.first(["io.weight", "io.bfq.weight"]) {
            file @ "io.bfq.weight" => f.set_some(file, w)?,
            file => f.set_some(file, w.map(io_weight))?,
        }
        for d in b.weight_device().iter().flatten() {
            let device = |w| format!("{}:{} {w}", d.major(), d.minor());
            f.set_some("io.bfq.weight", d.weight().map(device))?;
        }
        for (key, list) in [
            ("rbps", b.throttle_read_bps_device()),
            ("wbps", b.throttle_write_bps_device()),
            ("riops", b.throttle_read_iops_device()),
            ("wiops", b.throttle_write_iops_device()),
        ] {
            for d in list.iter().flatten() {
                f.set(
                    "io.max",
                    &format!("{}:{} {key}={}", d.major(), d.minor(), d.rate()),
                )?;
            }
        }
    }
    for h in r.hugepage_limits().iter().flatten() {
        files(c, "hugetlb", "hugepageLimits").set(
            &format!("hugetlb.{}.max", h.page_size()),
            &h.limit().to_string(),
        )?;
    }
    for (name, value) in r.unified().iter().flatten() {
        if name.contains('/') || !name.contains('.') {
            bail!("linux.resources.unified: \"{name}\" is not a cgroup v2 file");
        }
        files(c, "unified", "unified").set(name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales() {
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
        assert_eq!(
            (pids_max(0), pids_max(-1), pids_max(5)),
            (None, Some("max".into()), Some("84".into()))
        );
    }

    /// A v2 group is a directory of files: any directory will do to see what is written.
    #[test]
    fn v2_files() {
        let dir = std::env::temp_dir().join(format!("runsc-rs-cg-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for f in [
            "memory.max",
            "memory.swap.max",
            "memory.low",
            "cpu.weight",
            "cpu.max",
            "pids.max",
            "cpuset.cpus",
            "memory.high",
        ] {
            fs::write(dir.join(f), "").unwrap();
        }
        let c = Cgroup {
            paths: [(String::new(), dir.clone())].into(),
        };
        let r: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1000,"swap":1500},"cpu":{"shares":1024,"quota":50000,"cpus":"0-1"},"pids":{"limit":7},"unified":{"memory.high":"5"}}"#,
        )
        .unwrap();
        v2(&c, &r).unwrap();
        let read = |f: &str| fs::read_to_string(dir.join(f)).unwrap();
        assert_eq!(
            (
                read("memory.max"),
                read("memory.swap.max"),
                read("memory.high")
            ),
            ("1000".into(), "500".into(), "5".into())
        );
        assert_eq!(
            (
                read("cpu.weight"),
                read("cpu.max"),
                read("pids.max"),
                read("cpuset.cpus")
            ),
            (
                "39".into(),
                "50000 100000".into(),
                "92".into(),
                "0-1".into()
            )
        );
        let bad: LinuxResources = serde_json::from_str(r#"{"unified":{"../x.y":"1"}}"#).unwrap();
        assert!(v2(&c, &bad).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
