//! On Debian 12's own kernel (`scripts/vm.sh`): no systrap, which is said and found out by itself, and cgroup v2 alone. The trials run inside the machine, by this
//! same program; outside there is one, which is that machine.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::bundle::Spec;
use tests::live::Live;
use tests::process::{End, run};
use tests::{env, suite};

/// Set inside the machine.
const INSIDE: &str = "RUNSC_RS_INSIDE";

fn main() -> ExitCode {
    suite::main("older_host", |suite| {
        if std::env::var_os(INSIDE).is_none() {
            let prepared = run(&mut vm(), b"", Duration::from_secs(300))?;
            if prepared.end == End::Code(0) {
                suite.host("debian_12", || machine().map_err(|e| format!("{e:#}")));
            } else {
                suite.skip("host::debian_12", prepared.errors().trim());
            }
            return Ok(());
        }
        let tests: [(&str, fn() -> Result<()>); 4] = [
            ("the_choice", the_choice),
            ("a_container", a_container),
            ("limits", limits),
            ("a_fork_bomb_in_its_cgroup", a_fork_bomb_in_its_cgroup),
        ];
        for (name, test) in tests {
            suite.host(name, move || test().map_err(|e| format!("{e:#}")));
        }
        Ok(())
    })
}

fn vm() -> Command {
    let mut command = Command::new(env::top().join("scripts/vm.sh"));
    command.stdin(Stdio::null());
    command
}

/// All the trials inside a machine.
fn machine() -> Result<()> {
    let mut command = vm();
    command
        .arg(std::env::current_exe()?)
        .args(["--test-threads=1", "--color=never"])
        .current_dir(env::top().join("tests"))
        .env(INSIDE, "1")
        .env("RUNSC_RS", env::binary().map_err(anyhow::Error::msg)?)
        // What is emulated takes its time.
        .env("RUNSC_RS_TIME_SCALE", (env::time_scale() * 10).to_string());
    let out = run(&mut command, b"", Duration::from_secs(900))?;
    ensure!(
        out.end == End::Code(0) && out.text().contains("test result: ok. 4 passed"),
        "{:?}\n{}\n{}",
        out.end,
        out.text(),
        out.errors()
    );
    Ok(())
}

fn container(script: &str) -> Result<Live> {
    Live::new("auto", &Spec::new(&["/bin/sh", "-c", script]))
}

/// `platforms` says why; `auto` takes what works; what was asked for by name is not replaced.
fn the_choice() -> Result<()> {
    let live = container("exit 3")?;
    let said = live.runtime(&["platforms"])?.text();
    let line = |name: &str| {
        said.lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(line("systrap").contains("is older than"), "{said}");
    ensure!(line("ptrace").contains("auto chooses it"), "{said}");
    let bundle = live.root().dir().display().to_string();
    let args = ["run", "--bundle", &bundle, &live.root().id()];
    ensure!(live.runtime(&args)?.end == End::Code(3), "{}", live.log());
    let systrap = Live::new("systrap", &Spec::new(&["/bin/true"]))?;
    let bundle = systrap.root().dir().display().to_string();
    let out = systrap.runtime(&["run", "--bundle", &bundle, &systrap.root().id()])?;
    ensure!(out.end == End::Code(1), "{:?}", out.end);
    ensure!(systrap.log().contains("is older than"), "{}", systrap.log());
    Ok(())
}

/// Processes, signals, files, in a container that others come into.
fn a_container() -> Result<()> {
    let mut live = container("trap 'echo bye; exit 4' TERM; echo a | tr a b >/f; read x")?;
    live.start(&[])?;
    live.eventually("the file is written", |live| {
        let out = live.runtime(&["exec", &live.root().id(), "/bin/cat", "/f"])?;
        Ok(out.text() == "b\n")
    })?;
    live.must(0, &["kill"], &["TERM"])?;
    ensure!(live.end()? == End::Code(4), "{}", live.log());
    ensure!(live.stdout() == "bye\n", "{}", live.stdout());
    Ok(())
}

/// The unified hierarchy has the container's limits while it runs, `update` changes them, and nothing of it afterwards.
fn limits() -> Result<()> {
    let mut live = container("read x")?;
    live.edit(|c| {
        c["linux"]["resources"] = serde_json::json!({
            "memory": {"limit": 256 << 20},
            "cpu": {"quota": 50_000, "period": 100_000},
        });
    })?;
    live.start(&[])?;
    let text = fs::read_to_string(format!("/proc/{}/cgroup", live.pid("sandbox")?))?;
    let path = text
        .lines()
        .find_map(|l| l.strip_prefix("0::"))
        .context("a cgroup")?;
    let dir = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let file = |name: &str| -> Result<String> {
        Ok(fs::read_to_string(dir.join(name))
            .with_context(|| name.to_owned())?
            .trim()
            .to_owned())
    };
    ensure!(file("memory.max")? == "268435456");
    ensure!(file("cpu.max")? == "50000 100000");
    live.must(0, &["update", "--memory", "134217728"], &[])?;
    ensure!(file("memory.max")? == "134217728");
    live.must(0, &["kill"], &["KILL"])?;
    live.end()?;
    ensure!(!dir.exists(), "{} is left", dir.display());
    Ok(())
}

/// Whoever forks without end runs into the limit, and the container goes on.
fn a_fork_bomb_in_its_cgroup() -> Result<()> {
    let script = "i=0; while [ $i -lt 60 ]; do sleep 100 & i=$((i + 1)); done; echo all";
    let mut live = container(&format!("sh -c '{script}' || echo failed $?; exit 0"))?;
    live.edit(|c| c["linux"]["resources"] = serde_json::json!({"pids": {"limit": 40}}))?;
    live.start(&[])?;
    ensure!(live.end()? == End::Code(0), "{}", live.log());
    ensure!(
        live.stdout().starts_with("failed "),
        "{}\n{}",
        live.stdout(),
        live.stderr()
    );
    Ok(())
}
