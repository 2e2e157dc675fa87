//! Whoever takes part in a container's life is killed at random moments: the command, the sandbox, the gofer, and under an engine the shim, containerd and dockerd. After
//! `delete --force` (`docker rm -f`) nothing is left: processes, namespaces, mounts, cgroups, sockets, state. What the container wrote is whole.
//!
//! The suite has a pid and a network namespace of its own, so that what is in them is its own. `RUNSC_RS_ROUNDS` (20) says how often; a failure tells its round's seed, which
//! `RUNSC_RS_SEED` repeats.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tests::bundle::Spec;
use tests::docker::Daemon;
use tests::engine::{eventually, kill, named};
use tests::live::Live;
use tests::suite;

fn main() -> ExitCode {
    let code = suite::main_in("kills", &suite::OWN_PROCESSES, |suite| {
        suite.sandbox("of_the_runtime", Arc::new(|p| repeated(p, of_the_runtime)));
        match tests::docker::missing() {
            Some(why) => suite.skip("all::under_an_engine", &why),
            None => suite.sandbox("under_an_engine", Arc::new(under_an_engine)),
        }
        Ok(())
    });
    Daemon::stop();
    // With the daemon everything of its containers must have gone.
    match unchanged(&BTreeSet::new()) {
        Ok(()) => code,
        Err(e) => {
            eprintln!("after the last test: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let n = u64::try_from(list.len()).ok().filter(|n| *n > 0)?;
        list.get(usize::try_from(self.below(n)).ok()?)
    }
    fn pause(&mut self, most: Duration) {
        std::thread::sleep(most.mul_f64(self.below(1000) as f64 / 1000.0));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn rounds() -> u64 {
    number("RUNSC_RS_ROUNDS").unwrap_or(20)
}

fn seed(round: u64) -> u64 {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64)
    };
    (number("RUNSC_RS_SEED").unwrap_or_else(now) + round) | 1
}

fn repeated(platform: &str, round: fn(&str, &mut Random) -> Result<()>) -> Result<(), String> {
    let before = world().map_err(|e| format!("{e:#}"))?;
    for n in 0..rounds() {
        let seed = seed(n);
        let run = || -> Result<()> {
            round(platform, &mut Random(seed))?;
            unchanged(&before)
        };
        run().map_err(|e| format!("round {n}, RUNSC_RS_SEED={seed} RUNSC_RS_ROUNDS=1: {e:#}"))?;
    }
    Ok(())
}

/// Everything that could leak, in words.
fn world() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let own = [1, std::process::id()];
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        if own.contains(&pid) {
            continue;
        }
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        all.insert(format!("process {pid} {}", comm.trim()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // (Where, not in which order they were made.)
    let scratch = tests::env::scratch();
    let places = mounts.lines().filter_map(|l| l.split(' ').nth(4));
    all.extend(
        places
            .filter(|at| Path::new(at).starts_with(&scratch) || at.starts_with("/run"))
            .map(|at| format!("mount {at}")),
    );
    let groups = Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-type",
            "d",
            "-name",
            &format!("test-{}-*", tests::env::unique()),
        ])
        .output()?;
    all.extend(
        String::from_utf8_lossy(&groups.stdout)
            .lines()
            .map(|l| format!("cgroup {l}")),
    );
    let sockets = fs::read_to_string("/proc/net/unix")?;
    let named = sockets.lines().filter_map(|l| l.split_whitespace().nth(7));
    all.extend(
        named
            .filter(|n| Path::new(n).starts_with(&scratch))
            .map(|n| format!("socket {n}")),
    );
    Ok(all)
}

fn unchanged(before: &BTreeSet<String>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let now = world()?;
        let left: Vec<_> = now.difference(before).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "left: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SANDBOX: &str = "runsc-sandbox";
const GOFER: &str = "runsc-gofer";
/// Lines that grow by one, so that what is lost or torn is seen.
const WRITER: &str = "i=0; while :; do i=$((i+1)); echo $i >> /work/log; done";

/// The file holds the numbers from 1 on, whole.
fn whole(log: &Path) -> Result<u64> {
    let text = fs::read_to_string(log).unwrap_or_default();
    for (n, line) in text.split_inclusive('\n').enumerate() {
        ensure!(line == format!("{}\n", n + 1), "line {}: {line:?}", n + 1);
    }
    Ok(text.lines().count() as u64)
}

fn ends(child: &mut Child, what: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{what} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn of_the_runtime(platform: &str, random: &mut Random) -> Result<()> {
    let live = Live::new(platform, &Spec::new(&["/bin/sh", "-c", WRITER]))?;
    let id = live.root().id();
    let spawn = |words: &[&str]| {
        live.command()
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let bundle = live.root().dir().display().to_string();
    let mut run = spawn(&["run", "--bundle", &bundle, &id])?;
    // While it is being made, just after, or in the midst of its life.
    let most = *random.pick(&[40, 150, 400]).context("a time")?;
    random.pause(Duration::from_millis(most));
    // Another command may be under way.
    let other = match random.below(4) {
        0 => Some(spawn(&["exec", &id, "/bin/true"])?),
        1 => Some(spawn(&["delete", "--force", &id])?),
        2 => Some(spawn(&["kill", &id, "KILL"])?),
        _ => None,
    };
    if other.is_some() {
        random.pause(Duration::from_millis(30));
    }
    let victims = [
        vec![i32::try_from(run.id())?],
        named(&[SANDBOX]),
        named(&[GOFER]),
        other
            .iter()
            .filter_map(|c| i32::try_from(c.id()).ok())
            .collect(),
    ];
    let victims = random.pick(&victims).map_or(&[][..], Vec::as_slice);
    for pid in victims {
        kill(*pid);
    }
    if let Some(mut other) = other {
        ends(&mut other, "the other command")?;
    }
    // Whoever is left is told to go; a `run` that has not begun to make the container by then, once it has.
    let end = Instant::now() + Duration::from_secs(60);
    while run.try_wait()?.is_none() {
        live.must(0, &["delete", "--force"], &[])?;
        ensure!(Instant::now() < end, "run does not end\n{}", live.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    live.must(0, &["delete", "--force"], &[])?;
    let state = live.root().dir().join("state").join(&id);
    ensure!(!state.exists(), "{} is left", state.display());
    whole(&live.root().path().join("work/log")).map(drop)
}

/// A daemon's containers, whoever of them all is killed, can be removed, and new ones run.
fn under_an_engine(platform: &str) -> Result<(), String> {
    for n in 0..rounds().div_ceil(2) {
        let seed = seed(n);
        let run = || -> Result<(), String> {
            let d = Daemon::get()?;
            let random = &mut Random(seed);
            let script = WRITER.replace("/work", "/tmp");
            let c = d.container(platform, &[], &["sh", "-c", &script])?;
            random.pause(Duration::from_millis(300));
            let who = *random
                .pick(&[SANDBOX, GOFER, "containerd-shim", "containerd", "dockerd"])
                .ok_or("nobody")?;
            for pid in named(&[who]) {
                kill(pid);
            }
            if who == "dockerd" {
                Daemon::again()?;
            }
            eventually("the engine answers", || {
                Ok(d.docker(&["ps"])?.code == Some(0))
            })?;
            eventually(
                &format!("the container can be removed ({who} was killed)"),
                || Ok(d.docker(&["rm", "-f", &c])?.code == Some(0)),
            )?;
            eventually("another one runs", || {
                Ok(d.run_rm(platform, &[], &["echo", "fine"])?.stdout == "fine\n")
            })?;
            eventually("no sandbox and no gofer are left", || {
                Ok(named(&[SANDBOX, GOFER]).is_empty())
            })
        };
        run().map_err(|e| {
            let tail = Daemon::get().map(Daemon::log_tail).unwrap_or_default();
            format!("round {n}, RUNSC_RS_SEED={seed} RUNSC_RS_ROUNDS=1: {e}\n{tail}")
        })?;
    }
    Ok(())
}
