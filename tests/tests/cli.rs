//! The command line on real sandboxes: bad input gets a clear error and loses nothing, and whoever is killed leaves nothing behind.
//! (What needs no sandbox is in `runsc-rs/tests/cli.rs`.)

use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::bundle::Spec;
use tests::live::{Live, alive, children};
use tests::process::{End, Output, run};
use tests::suite;

type Test = fn(&str) -> Result<()>;

fn main() -> ExitCode {
    suite::main("cli", |suite| {
        let tests: [(&str, Test); 16] = [
            ("programs_that_cannot_run", programs_that_cannot_run),
            ("an_id_in_use", an_id_in_use),
            ("no_root_filesystem", no_root_filesystem),
            (
                "fields_that_cannot_be_honoured",
                fields_that_cannot_be_honoured,
            ),
            ("a_stopped_container", a_stopped_container),
            ("a_running_container", a_running_container),
            ("the_gofer_dies", the_gofer_dies),
            ("the_sandbox_dies", the_sandbox_dies),
            ("the_command_dies", the_command_dies),
            ("a_full_root", a_full_root),
            ("a_full_state_directory", a_full_state_directory),
            ("too_few_descriptors", too_few_descriptors),
            ("options_given_twice", options_given_twice),
            ("limits", limits),
            ("a_memory_bomb", a_memory_bomb),
            ("many_at_once", many_at_once),
        ];
        for (name, test) in tests {
            let body = move |platform: &str| test(platform).map_err(|e| format!("{e:#}"));
            suite.sandbox(name, Arc::new(body));
        }
        Ok(())
    })
}

fn shell(script: &str) -> Spec {
    Spec::new(&["/bin/sh", "-c", script])
}

/// `run`, which must exit with this status.
fn run_to(live: &Live, status: i32) -> Result<Output> {
    let bundle = live.root().dir().display().to_string();
    let out = live.runtime(&["run", "--bundle", &bundle, &live.root().id()])?;
    ensure!(
        out.end == End::Code(status),
        "{:?}, not {status}\n{}\n{}",
        out.end,
        out.errors(),
        live.log()
    );
    Ok(out)
}

/// The log (and what was printed) must say this, and nothing may be left.
fn says(live: &Live, out: &Output, text: &str) -> Result<()> {
    let log = live.log().replace("\\\"", "\"");
    ensure!(
        log.contains(text) || out.errors().contains(text),
        "it does not say {text:?}:\n{log}\n{}",
        out.errors()
    );
    Ok(())
}

/// Nothing of the container is left: no state, no cgroup, and of `pids` no process.
fn nothing_left(live: &Live, pids: &[i32], cgroups: &[String]) -> Result<()> {
    let dir = live.root().dir().join("state").join(live.root().id());
    ensure!(!dir.exists(), "{} is left", dir.display());
    live.eventually("its processes are gone", |_| {
        Ok(!pids.iter().any(|p| alive(*p)))
    })?;
    for path in cgroups {
        ensure!(!fs::exists(path)?, "{path} is left");
    }
    Ok(())
}

/// Every process of a running container, and its cgroups' directories.
fn parts(live: &Live) -> Result<(Vec<i32>, Vec<String>)> {
    let (sandbox, gofer) = (live.pid("sandbox")?, live.pid("gofer")?);
    let mut pids = children(sandbox);
    ensure!(!pids.is_empty(), "a sandbox without stubs");
    pids.extend([sandbox, gofer]);
    let file = live
        .root()
        .dir()
        .join("state")
        .join(live.root().id())
        .join("state.json");
    let state: Value = serde_json::from_slice(&fs::read(file)?)?;
    let mut cgroups = Vec::new();
    collect_paths(&state["cgroups"], &mut cgroups);
    ensure!(
        cgroups.iter().all(|p| fs::exists(p).unwrap_or(false)),
        "{cgroups:?}"
    );
    Ok((pids, cgroups))
}

fn collect_paths(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(s) if s.starts_with('/') => out.push(s.clone()),
        Value::Array(list) => list.iter().for_each(|v| collect_paths(v, out)),
        Value::Object(map) => map.values().for_each(|v| collect_paths(v, out)),
        _ => {}
    }
}

fn kill(pid: i32) -> Result<()> {
    Ok(kill_process(
        Pid::from_raw(pid).context("a pid")?,
        Signal::KILL,
    )?)
}

/// Debian's runc 1.1 says and does the same.
fn programs_that_cannot_run(platform: &str) -> Result<()> {
    let cases = [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        (
            "/no/such",
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
        ("/bin", "exec: \"/bin\": permission denied"),
        ("/work/corrupt", "exec /work/corrupt: exec format error"),
    ];
    for (program, message) in cases {
        let live = Live::new(platform, &Spec::new(&[program]))?;
        let path = live.root().path().join("work/corrupt");
        fs::write(&path, b"\x7fELF\x02\x01\x01 and so on")?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let out = run_to(&live, 1)?;
        says(&live, &out, message)?;
        nothing_left(&live, &[], &[])?;
    }
    Ok(())
}

fn an_id_in_use(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &shell("read x; echo $x"))?;
    live.start(&[])?;
    let out = run_to(&live, 1)?;
    says(&live, &out, "container with given ID already exists")?;
    // The first goes on.
    live.input("still here\n")?;
    ensure!(live.end()? == End::Code(0), "{}", live.log());
    ensure!(live.stdout() == "still here\n", "{:?}", live.stdout());
    nothing_left(&live, &[], &[])
}

fn no_root_filesystem(platform: &str) -> Result<()> {
    let live = Live::new(platform, &shell("true"))?;
    live.edit(|c| c["root"]["path"] = "nowhere".into())?;
    let out = run_to(&live, 1)?;
    says(&live, &out, "invalid rootfs: stat ")?;
    says(&live, &out, "/nowhere: no such file or directory")?;
    live.edit(|c| c["root"]["path"] = "config.json".into())?;
    let out = run_to(&live, 1)?;
    says(&live, &out, "config.json is not a directory")?;
    nothing_left(&live, &[], &[])
}

fn fields_that_cannot_be_honoured(platform: &str) -> Result<()> {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (
            |c| c["process"]["args"] = 5.into(),
            "config.json: process.args: invalid type: integer `5`",
        ),
        (|c| c["root"] = Value::Null, "root must be specified"),
        (
            |c| c["linux"]["mountLabel"] = "x".into(),
            "linux.mountLabel",
        ),
        (
            |c| c["linux"]["seccomp"] = serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY is not supported",
        ),
        (
            |c| {
                c["mounts"] =
                    serde_json::json!([{"destination": "/x", "type": "ext4", "source": "/dev/sda"}])
            },
            "mounts[0] (/x): type \"ext4\" is not one",
        ),
    ];
    for (change, message) in cases {
        let live = Live::new(platform, &shell("true"))?;
        live.edit(change)?;
        let out = run_to(&live, 1)?;
        says(&live, &out, message)?;
        nothing_left(&live, &[], &[])?;
    }
    let live = Live::new(platform, &shell("true"))?;
    fs::write(live.root().dir().join("config.json"), "{\"ociVersion\": ")?;
    let out = run_to(&live, 1)?;
    says(&live, &out, "config.json: ociVersion: EOF while parsing")
}

fn a_stopped_container(platform: &str) -> Result<()> {
    let live = Live::new(platform, &shell("exit 6"))?;
    let bundle = live.root().dir().display().to_string();
    live.must(0, &["create", "--bundle", &bundle], &[])?;
    let (pids, cgroups) = parts(&live)?;
    live.must(0, &["start"], &[])?;
    live.eventually("it has stopped", |l| Ok(l.state()?["status"] == "stopped"))?;
    let wait = live.must(0, &["wait"], &[])?;
    ensure!(wait.text().contains("\"exitStatus\":6"), "{}", wait.text());
    let out = live.must(1, &["kill"], &[])?;
    says(&live, &out, "container not running")?;
    let out = live.must(255, &["exec"], &["true"])?;
    says(
        &live,
        &out,
        "exec failed: cannot exec in a stopped container",
    )?;
    let out = live.must(1, &["start"], &[])?;
    says(&live, &out, "cannot start a container that has stopped")?;
    let out = live.must(1, &["pause"], &[])?;
    says(&live, &out, "container not running")?;
    live.must(0, &["delete"], &[])?;
    nothing_left(&live, &pids, &cgroups)
}

fn a_running_container(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &shell("read x; exit 4"))?;
    live.start(&[])?;
    let (pids, cgroups) = parts(&live)?;
    let out = live.must(1, &["delete"], &[])?;
    says(&live, &out, "that is not stopped: running")?;
    let out = live.must(1, &["start"], &[])?;
    says(&live, &out, "cannot start an already running container")?;
    let out = live.must(1, &["kill"], &["BOGUS"])?;
    says(&live, &out, "BOGUS")?;
    let out = live.must(1, &["resume"], &[])?;
    says(&live, &out, "container not paused")?;
    // None of that has hurt it.
    live.input("on\n")?;
    ensure!(live.end()? == End::Code(4), "{}", live.log());
    nothing_left(&live, &pids, &cgroups)
}

fn the_gofer_dies(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &shell("while :; do sleep 0.05; done"))?;
    live.start(&[])?;
    let (pids, cgroups) = parts(&live)?;
    kill(live.pid("gofer")?)?;
    ensure!(live.end()? == End::Code(1), "{}", live.log());
    ensure!(
        live.log().contains("container stopped: the gofer"),
        "{}",
        live.log()
    );
    nothing_left(&live, &pids, &cgroups)
}

fn the_sandbox_dies(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &shell("sleep 1000 & sleep 1000"))?;
    live.start(&[])?;
    let (pids, cgroups) = parts(&live)?;
    kill(live.pid("sandbox")?)?;
    ensure!(live.end()? == End::Code(137), "{}", live.log());
    nothing_left(&live, &pids, &cgroups)?;
    // And one that nobody waits for.
    let live = Live::new(platform, &shell("sleep 1000"))?;
    let bundle = live.root().dir().display().to_string();
    live.must(0, &["run", "--detach", "--bundle", &bundle], &[])?;
    let (pids, cgroups) = parts(&live)?;
    kill(live.pid("sandbox")?)?;
    live.eventually("it has stopped", |l| Ok(l.state()?["status"] == "stopped"))?;
    let wait = live.must(0, &["wait"], &[])?;
    ensure!(
        wait.text().contains("\"exitStatus\":137"),
        "{}",
        wait.text()
    );
    live.must(0, &["delete"], &[])?;
    nothing_left(&live, &pids, &cgroups)
}

fn the_command_dies(platform: &str) -> Result<()> {
    let mut live = Live::new(platform, &shell("sleep 1000 & sleep 1000"))?;
    live.start(&[])?;
    let (pids, cgroups) = parts(&live)?;
    let runner = i32::try_from(live.runner().context("it runs")?)?;
    kill(runner)?;
    ensure!(live.end()? == End::Signal(9), "run was killed");
    live.eventually("its processes are gone", |_| {
        Ok(!pids.iter().any(|p| alive(*p)))
    })?;
    ensure!(live.state()?["status"] == "stopped", "{}", live.state()?);
    live.must(0, &["delete"], &[])?;
    nothing_left(&live, &pids, &cgroups)
}

/// A tmpfs of this size (in the test's mount namespace, which ends with it).
fn small_fs(live: &Live, name: &str, size: &str) -> Result<std::path::PathBuf> {
    let dir = live.root().dir().join(name);
    fs::create_dir_all(&dir)?;
    let options = format!("size={size}");
    let out = run(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&dir),
        b"",
        Duration::from_secs(10),
    )?;
    ensure!(out.end == End::Code(0), "{}", out.errors());
    Ok(dir)
}

fn unmount(dir: &std::path::Path) {
    let _ = rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH);
}

fn a_full_root(platform: &str) -> Result<()> {
    let script = "echo keep > /kept; dd if=/dev/zero of=/big bs=64k 2>/dev/null; echo $?; cat /kept; echo more 2>/dev/null >> /kept2 || echo full; rm /big; echo room > /after; cat /after";
    let live = Live::new(platform, &Spec::new(&["/busybox", "sh", "-c", script]))?;
    let root = small_fs(&live, "tiny", "4m")?;
    fs::copy(
        tests::env::rootfs().join("bin/busybox"),
        root.join("busybox"),
    )?;
    fs::create_dir(root.join("bin"))?;
    for applet in ["dd", "cat", "rm"] {
        std::os::unix::fs::symlink("/busybox", root.join("bin").join(applet))?;
    }
    live.edit(|c| c["root"]["path"] = "tiny".into())?;
    let out = run_to(&live, 0);
    let kept = fs::read_to_string(root.join("kept"));
    unmount(&root);
    ensure!(out?.text() == "1\nkeep\nfull\nroom\n", "another output");
    ensure!(kept? == "keep\n", "the file is damaged");
    Ok(())
}

fn a_full_state_directory(platform: &str) -> Result<()> {
    let live = Live::new(platform, &shell("true"))?;
    let state = small_fs(&live, "small", "64k")?;
    fs::write(state.join("fill"), vec![b'x'; 60 << 10])?;
    let _ = fs::write(state.join("fill2"), vec![b'x'; 60 << 10]);
    let bundle = live.root().dir().display().to_string();
    let id = live.root().id();
    let out = live.runtime(&[
        "--root",
        &state.display().to_string(),
        "run",
        "--bundle",
        &bundle,
        &id,
    ])?;
    let left: Vec<_> = fs::read_dir(&state)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    unmount(&state);
    ensure!(out.end == End::Code(1), "{:?}\n{}", out.end, live.log());
    says(&live, &out, "no space left on device")?;
    ensure!(left.len() == 2, "left: {left:?}");
    Ok(())
}

fn too_few_descriptors(platform: &str) -> Result<()> {
    // From far too few to enough: a clear error or a container that runs, and never something left.
    let mut ran = false;
    for limit in [5, 8, 12, 16, 24, 64] {
        let live = Live::new(platform, &shell("echo ran"))?;
        let runtime = live.command();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"])
            .arg(runtime.get_program())
            .args(runtime.get_args())
            .arg("run")
            .arg("--bundle")
            .arg(live.root().dir())
            .arg(live.root().id());
        let out = run(&mut command, b"", Duration::from_secs(60))?;
        match out.end {
            End::Code(0) if out.text() == "ran\n" => ran = true,
            End::Code(1) => {
                let said = format!("{}{}", live.log(), out.errors()).to_lowercase();
                ensure!(said.contains("too many open files"), "with {limit}: {said}");
            }
            end => anyhow::bail!("with {limit}: {end:?}\n{}\n{}", out.errors(), live.log()),
        }
        nothing_left(&live, &[], &[])?;
    }
    ensure!(ran, "not even 64 descriptors are enough");
    Ok(())
}

/// The last counts: engines add their own to those of their configuration.
fn options_given_twice(platform: &str) -> Result<()> {
    let live = Live::new(platform, &shell("true"))?;
    let bundle = live.root().dir().display().to_string();
    let id = live.root().id();
    let args = [
        "--log",
        "/nonexistent/x",
        "--log",
        "/dev/null",
        "--debug",
        "--debug",
    ];
    let words = [
        &args[..],
        &["run", "--bundle", "/nowhere", "--bundle", &bundle, &id],
    ]
    .concat();
    let out = live.runtime(&words)?;
    ensure!(out.end == End::Code(0), "{:?}: {}", out.end, out.errors());
    Ok(())
}

/// `linux.resources` reach whatever cgroups the host has, v1, v2 or both; `update` changes them; `delete` takes them away.
fn limits(platform: &str) -> Result<()> {
    // As many processes at once as it is told.
    let script = "while read n; do (i=0; while [ $i -lt $n ]; do sleep 20 & i=$((i + 1)); done; echo ok $n) 2>/dev/null || echo no $n; done";
    let mut live = Live::new(platform, &shell(script))?;
    let path = format!("/runsc-rs-test/{}", live.root().id());
    live.edit(|c| {
        c["linux"]["cgroupsPath"] = path.clone().into();
        c["linux"]["resources"] = serde_json::json!({"memory": {"limit": 200 << 20}, "pids": {"limit": 77}, "cpu": {"shares": 512}});
    })?;
    live.start(&[])?;
    let (pids, cgroups) = parts(&live)?;
    ensure!(cgroups.iter().all(|p| p.ends_with(&path)), "{cgroups:?}");
    // The sandbox, its gofer and its stubs are in them.
    for pid in &pids {
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        ensure!(own.contains(&path), "{pid}: {own}");
    }
    let value = |files: [&str; 2]| -> Option<String> {
        let candidates = cgroups
            .iter()
            .flat_map(|c| files.map(|f| format!("{c}/{f}")));
        let text = candidates
            .filter_map(|p| fs::read_to_string(p).ok())
            .next()?;
        Some(text.trim().to_owned())
    };
    let memory = || value(["memory.limit_in_bytes", "memory.max"]);
    let wanted = Some((200u64 << 20).to_string());
    ensure!(memory() == wanted, "memory: {:?} in {cgroups:?}", memory());
    // The guest's kernel keeps the limit on its tasks; the host's leaves room for the threads behind each.
    let most = || value(["pids.max", "pids.max"]).and_then(|v| v.parse::<u32>().ok());
    let first = most().context("pids.max")?;
    ensure!(first >= 2 * 77, "pids: {first}");
    live.must(
        0,
        &["update", "--memory", "300m", "--pids-limit", "88"],
        &[],
    )?;
    ensure!(
        memory() == Some((300u64 << 20).to_string()),
        "memory after update: {:?}",
        memory()
    );
    ensure!(most() > Some(first), "pids after update: {:?}", most());
    let stats = live.must(0, &["events", "--stats"], &[])?;
    let stats: Value = serde_json::from_str(&stats.text())?;
    ensure!(
        stats["data"]["memory"]["usage"]["limit"] == 300 << 20,
        "{stats}"
    );
    // The guest hears of it too.
    for (limit, said) in [("10", "no 20\n"), ("88", "no 20\nok 20\n")] {
        live.must(0, &["update", "--pids-limit", limit], &[])?;
        live.input("20\n")?;
        live.eventually(said, |l| Ok(l.stdout() == said))?;
    }
    ensure!(live.end()? == End::Code(0), "{}", live.log());
    nothing_left(&live, &pids, &cgroups)
}

/// Beyond the memory limit a guest process is killed, time and again; the sandbox and its other processes live, the one that hears of the death at that moment too.
fn a_memory_bomb(platform: &str) -> Result<()> {
    let bomb = "head -c 200m /dev/zero | tail -c 199m >/dev/null";
    let script = format!(
        "sleep 1000 & for i in 1 2 3 4 5; do sh -c '{bomb}'; echo bomb $?; done; kill -0 $! && echo alive; kill $!"
    );
    let mut live = Live::new(platform, &shell(&script))?;
    live.edit(|c| {
        c["linux"]["resources"] =
            serde_json::json!({"memory": {"limit": 80 << 20, "swap": 80 << 20}})
    })?;
    live.start(&[])?;
    ensure!(
        live.end()? == End::Code(0),
        "{}\n{}",
        live.stderr(),
        live.log()
    );
    let said = live.stdout();
    ensure!(
        said == "bomb 137\n".repeat(5) + "alive\n",
        "{said}\n{}",
        live.log()
    );
    Ok(())
}

/// Short sandboxes that leave processes behind, more at once than there are processors: each cgroup is empty a while after its processes
/// were killed, and is waited for.
fn many_at_once(platform: &str) -> Result<()> {
    let live = Live::new(platform, &shell("true"))?;
    let running: Vec<_> = (0..16)
        .map(|_| {
            let mut command = live.command();
            command.args(["do", "sh", "-c", "sleep 100 & sleep 100 & exit 3"]);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()
        })
        .collect::<Result<_, _>>()?;
    let mut ids = Vec::new();
    for mut child in running {
        ids.push(format!("do-{}", child.id()));
        let status = child.wait()?;
        ensure!(status.code() == Some(3), "{status}\n{}", live.log());
    }
    let state = live.root().dir().join("state");
    ensure!(fs::read_dir(state)?.count() == 0, "{}", live.log());
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mounts = text.lines().filter(|l| l.contains(" - cgroup"));
    for mount in mounts.filter_map(|l| l.split(' ').nth(4)) {
        for id in &ids {
            ensure!(
                !std::path::Path::new(mount).join(id).exists(),
                "{mount}/{id} is left"
            );
        }
    }
    Ok(())
}
