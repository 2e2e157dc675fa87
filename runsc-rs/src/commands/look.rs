//! `ps`, `events`, `debug`, `platforms`, `syscalls`, `update`: looking into a sandbox, and turning its knobs.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags};
use serde_json::json;

use super::life::connect;
use super::query::print;
use crate::cgroup::{Cgroup, stats};
use crate::cli;
use crate::control::wire::{ProcessRow, Reply, Request};
use crate::error::{Error, os};
use crate::state::{Root, Status};
use crate::{oci, time};

/// `ps`: processes as the container numbers them, in the table; in JSON the host processes that carry them.
pub fn ps(root: &Root, args: &cli::Ps) -> Result<()> {
    let state = root.load(&args.id)?;
    let mut rows: Vec<ProcessRow> = Vec::new();
    if state.status() != Status::Stopped
        && let Some(mut sandbox) = connect(root, &args.id)?
        && let Reply::Processes { list } = sandbox.call(&Request::Ps, &[])?
    {
        rows = list;
    }
    match args.format.as_str() {
        // Engines take these for pids of the host (`docker top` has the host's ps show them): the stubs, which have been given the command lines.
        "json" => {
            let carriers: Vec<i32> = rows.iter().filter_map(|r| r.host).collect();
            let pids = state
                .sandbox
                .map_or_else(Vec::new, |s| s.outside(&carriers));
            print(&format!("{}\n", serde_json::to_string(&pids)?))
        }
        "table" => {
            match args
                .args
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice()
            {
                [] | ["-ef"] | ["aux"] | ["-e" | "-f" | "-A"] => {}
                ["-o", "pid"] | ["-eo", "pid"] | ["-o", "pid="] => {
                    return print(&rows.iter().fold("    PID\n".to_owned(), |s, r| {
                        s + &format!("{:>7}\n", r.pid)
                    }));
                }
                other => bail!(
                    "ps: options {:?} are not supported: the processes are not the host's to show (-ef, -o pid)",
                    other.join(" ")
                ),
            }
            print(&table(&rows))
        }
        _ => bail!("invalid format option"),
    }
}

/// `ps -ef`'s columns.
fn table(rows: &[ProcessRow]) -> String {
    let mut out = "UID          PID    PPID  C STIME TTY          TIME CMD\n".to_owned();
    for r in rows {
        let user = if r.uid == 0 {
            "root".to_owned()
        } else {
            r.uid.to_string()
        };
        let seconds = r.time_ms / 1000;
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let at = time::rfc3339(Duration::from_secs(r.start), false);
        let hm = at.get(11..16).unwrap_or("?");
        out.push_str(&format!(
            "{user:<8} {:>7} {:>7}  0 {hm} {:<8} {h:02}:{m:02}:{s:02} {}\n",
            r.pid, r.ppid, r.tty, r.cmd
        ));
    }
    out
}

/// `5s`, `1m30s`, `500ms`: a Go duration.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        rest = tail;
    }
    (total > Duration::ZERO).then_some(total)
}

/// `events`
pub fn events(root: &Root, args: &cli::Events) -> Result<()> {
    let Some(interval) = duration(&args.interval) else {
        bail!("duration interval must be greater than 0")
    };
    let state = root.load(&args.id)?;
    if state.status() == Status::Stopped {
        bail!("container with id {} is not running", args.id);
    }
    let cgroup = Cgroup {
        paths: state.cgroups.clone(),
    };
    let line = |kind: &str, data: serde_json::Value| {
        let mut event = json!({"type": kind, "id": args.id});
        if !data.is_null() {
            event["data"] = data;
        }
        print(&format!("{event}\n"))
    };
    if args.stats {
        return line("stats", stats::stats(&cgroup));
    }
    let Some(sandbox) = connect(root, &args.id)? else {
        bail!("container with id {} is not running", args.id)
    };
    let mut ooms = stats::oom_kills(&cgroup);
    let limit =
        rustix::event::Timespec::try_from(interval).map_err(|_| anyhow!("interval is too long"))?;
    loop {
        line("stats", stats::stats(&cgroup))?;
        // The end of the connection is the end of the sandbox; nothing else comes over it.
        let mut fds = [PollFd::new(&sandbox, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            _ => return Ok(()),
        }
        let now = stats::oom_kills(&cgroup);
        if now > ooms {
            line("oom", serde_json::Value::Null)?;
            ooms = now;
        }
    }
}

/// `debug`
pub fn debug(root: &Root, args: &cli::Debug) -> Result<()> {
    let state = root.load(&args.id)?;
    if state.status() == Status::Stopped {
        return Err(Error::NotRunning.into());
    }
    let mut sandbox = connect(root, &args.id)?.ok_or(Error::NotRunning)?;
    if args.strace.is_none() && !args.stacks {
        bail!("nothing to do: --strace=on|off, --stacks");
    }
    if let Some(switch) = args.strace {
        sandbox.call(
            &Request::Strace {
                on: switch == cli::Switch::On,
            },
            &[],
        )?;
    }
    if args.stacks
        && let Reply::Text { text } = sandbox.call(&Request::Stacks, &[])?
    {
        print(&text)?;
    }
    Ok(())
}

/// `platforms`
pub fn platforms() -> Result<()> {
    let found = platform::probe();
    let chosen = found.iter().find(|f| f.usable.is_ok()).map(|f| f.name);
    let mut out = String::new();
    for f in &found {
        let note = match &f.usable {
            Ok(()) if chosen == Some(f.name) => {
                "works (self-test passed); auto chooses it".to_owned()
            }
            Ok(()) => "works (self-test passed)".to_owned(),
            Err(why) => format!("does not work here: {why}"),
        };
        out.push_str(&format!("{:<10} {note}\n", f.name));
    }
    print(&out)?;
    if chosen.is_none() {
        bail!("no platform works on this host");
    }
    Ok(())
}

/// `syscalls`
pub fn syscalls(args: &cli::Syscalls) -> Result<()> {
    use ::syscalls::listing::{markdown, prototype, support};
    let table = ::syscalls::table();
    match args.format.as_str() {
        "table" => {
            let mut out = String::new();
            for call in table.iter() {
                out.push_str(&format!(
                    "{:>4}  {:<58}  {}\n",
                    call.nr,
                    prototype(call),
                    support(call)
                ));
            }
            print(&out)
        }
        "json" => {
            let row = |call: &::syscalls::Syscall| {
                let arguments: Vec<_> = call.args.iter().map(|a| a.name).collect();
                json!({"nr": call.nr, "name": call.name, "args": arguments, "support": support(call)})
            };
            let list: Vec<_> = table.iter().map(row).collect();
            print(&format!("{}\n", serde_json::to_string(&list)?))
        }
        "markdown" => print(&markdown()),
        _ => bail!("invalid format option"),
    }
}

/// `update`
pub fn update(root: &Root, args: &cli::Update) -> Result<()> {
    let state = root.load(&args.id)?;
    if state.status() == Status::Stopped {
        return Err(Error::NotRunning.into());
    }
    let text = match &args.resources {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin(), &mut text)?;
            text
        }
        Some(path) => {
            std::fs::read(path).map_err(|e| anyhow!("open {}: {}", path.display(), os(&e)))?
        }
        None => serde_json::to_vec(&from_flags(args)?)?,
    };
    let resources: oci_spec::runtime::LinuxResources = oci::parse_as(&text, "resources")?;
    if state.cgroups.is_empty() {
        bail!("the container has no cgroup");
    }
    Cgroup {
        paths: state.cgroups,
    }
    .limit(&resources)?;
    // The guest's kernel keeps this one itself.
    if let Some(pids) = resources.pids() {
        let mut sandbox = connect(root, &args.id)?.ok_or(Error::NotRunning)?;
        let limit = pids.limit();
        sandbox.call(&Request::Tasks { limit }, &[])?;
    }
    Ok(())
}

/// `linux.resources` as the flags have it.
fn from_flags(a: &cli::Update) -> Result<serde_json::Value> {
    let size = |name: &str, text: &Option<String>| -> Result<Option<i64>> {
        let Some(t) = text else { return Ok(None) };
        if t == "-1" {
            return Ok(Some(-1));
        }
        let lower = t.to_ascii_lowercase();
        let bytes = oci::mounts::size(lower.strip_suffix('b').unwrap_or(&lower))
            .and_then(|n| i64::try_from(n).ok());
        bytes
            .map(Some)
            .ok_or_else(|| anyhow!("invalid value for {name}: invalid size: '{t}'"))
    };
    let mut out = json!({});
    let mut put = |group: &str, key: &str, value: serde_json::Value| {
        if !value.is_null() {
            out[group][key] = value;
        }
    };
    put("memory", "limit", json!(size("memory", &a.memory)?));
    put(
        "memory",
        "reservation",
        json!(size("memory-reservation", &a.memory_reservation)?),
    );
    put(
        "memory",
        "swap",
        json!(size("memory-swap", &a.memory_swap)?),
    );
    put("cpu", "period", json!(a.cpu_period));
    put("cpu", "quota", json!(a.cpu_quota));
    put("cpu", "shares", json!(a.cpu_share));
    put("cpu", "realtimePeriod", json!(a.cpu_rt_period));
    put("cpu", "realtimeRuntime", json!(a.cpu_rt_runtime));
    put("cpu", "cpus", json!(a.cpuset_cpus));
    put("cpu", "mems", json!(a.cpuset_mems));
    put("blockIO", "weight", json!(a.blkio_weight));
    put("pids", "limit", json!(a.pids_limit));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for bad in ["", "5", "0s", "x", "5y"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn flags_become_resources() {
        let a = cli::Update {
            memory: Some("64m".into()),
            memory_swap: Some("-1".into()),
            pids_limit: Some(7),
            id: "x".into(),
            ..Default::default()
        };
        assert_eq!(
            from_flags(&a).unwrap(),
            json!({"memory": {"limit": 64 << 20, "swap": -1}, "pids": {"limit": 7}})
        );
    }
}
