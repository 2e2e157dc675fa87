//! What an idle sandbox costs: memory and processor time of all its processes (DESIGN's budget; `make bench` has the release's figures).

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::bundle::Spec;
use tests::live::{Live, children};
use tests::suite;

/// KiB, guest program and binary included: nothing else runs this binary's copy.
const BUDGET: u64 = 5 << 10;

fn main() -> ExitCode {
    suite::main("idle", |suite| {
        suite.sandbox(
            "costs_little",
            Arc::new(|p| costs_little(p).map_err(|e| format!("{e:#}"))),
        );
        Ok(())
    })
}

/// The sandbox, its gofer, and whatever descends from them.
fn processes(live: &Live) -> Result<Vec<i32>> {
    let mut all = vec![live.pid("sandbox")?, live.pid("gofer")?];
    let mut next = 0;
    while let Some(&pid) = all.get(next) {
        all.extend(children(pid));
        next += 1;
    }
    Ok(all)
}

/// Proportional set size, KiB.
fn pss(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Pss:"));
    let kib = line
        .and_then(|l| l.trim().strip_suffix(" kB"))
        .context("Pss")?;
    Ok(kib.trim().parse()?)
}

/// Clock ticks used, in user and system mode.
fn ticks(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit(')').next().context("stat")?;
    let numbers = fields.split_whitespace().skip(11).take(2);
    numbers.map(|n| Ok(n.parse::<u64>()?)).sum()
}

fn costs_little(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &Spec::new(&["sleep", "1000"]))?;
    live.start(&[])?;
    let all = processes(&live)?;
    ensure!(all.len() >= 3, "a sandbox without stubs: {all:?}");
    let memory = || all.iter().map(|p| pss(*p)).sum::<Result<u64>>();
    live.eventually("it has given back what its start took", |_| {
        Ok(memory()? <= BUDGET)
    })
    .map_err(|e| e.context(format!("{:?} KiB", memory())))?;
    // Whatever else the machine does, these do nothing.
    let used = || all.iter().map(|p| ticks(*p)).sum::<Result<u64>>();
    std::thread::sleep(Duration::from_secs(2));
    let before = used()?;
    std::thread::sleep(Duration::from_secs(10));
    let after = used()?;
    ensure!(before == after, "{} ticks in 10 s", after - before);
    Ok(())
}
