//! The rest of the engine's surface, in the order of its manual. What a container sees of its options is compared with what it sees
//! under runc on the same daemon.

use std::fs;
use std::path::Path;

use tests::docker::{Daemon, IMAGE};
use tests::engine::{Outcome, eventually};

use crate::{LOOP, Test};

/// The tests of this file.
pub const TESTS: &[(&str, Test)] = &[
    ("attach", attach),
    ("restart", restart),
    ("restart_policy", restart_policy),
    ("healthcheck", healthcheck),
    ("stats", stats),
    ("cp", cp),
    ("cp_of_what_was_missed", cp_of_what_was_missed),
    ("top_names_its_processes", top_names_its_processes),
    ("refused", refused),
    ("diff_commit_export", diff_commit_export),
    ("rename_and_update", rename_and_update),
    ("volumes", volumes),
    ("binds", binds),
    ("options_as_runc", options_as_runc),
    ("memory_limit", memory_limit),
    ("pids_limit", pids_limit),
    ("stop_signal", stop_signal),
    ("events", events),
    ("log_options", log_options),
    ("fifty_at_once", fifty_at_once),
];

fn says(out: &str, text: &str) -> Outcome {
    if out.contains(text) {
        return Ok(());
    }
    Err(format!("it does not say {text:?}:\n{out}"))
}

/// What it says after it was attached to, its status, and that input reaches it.
fn attach(d: &Daemon, p: &str) -> Outcome {
    let script = "read x; echo got $x; echo err >&2; read y; exit 7";
    let mut t = {
        let c = d.container(p, &["-it"], &["sh", "-c", script])?;
        d.terminal(p, (24, 80), &["attach"], &[&c])?
    };
    t.write(b"word\r")?;
    t.expect("got word")?;
    t.expect("err")?;
    t.write(b"\r")?;
    t.ends_with(7)
}

fn restart(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", &format!("echo up; {LOOP}")])?;
    let started = ["inspect", "-f", "{{.State.StartedAt}} {{.State.Pid}}", &c];
    d.wait_for_log(&c, "up")?;
    let first = d.docker(&started)?.stdout;
    d.docker(&["restart", "-t", "0", &c])?.code(0)?;
    d.inspect(&c, "{{.State.Status}}", "running")?;
    if d.docker(&started)?.stdout == first {
        return Err("it was not restarted".into());
    }
    eventually("it says up again", || {
        Ok(d.docker(&["logs", &c])?.stdout == "up\nup\n")
    })?;
    d.remove(&c)
}

fn restart_policy(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &["--restart", "on-failure:2"],
        &["sh", "-c", "echo run; exit 3"],
    )?;
    eventually("it was tried three times", || {
        Ok(d.docker(&["logs", &c])?.stdout == "run\nrun\nrun\n")
    })?;
    let format = "{{.RestartCount}} {{.State.ExitCode}} {{.State.Status}}";
    eventually("it is given up", || {
        Ok(d.docker(&["inspect", "-f", format, &c])?.stdout.trim() == "2 3 exited")
    })?;
    d.remove(&c)
}

fn healthcheck(d: &Daemon, p: &str) -> Outcome {
    let options = [
        "--health-cmd",
        "cat /tmp/ok",
        "--health-interval",
        "500ms",
        "--health-retries",
        "1",
        "--health-timeout",
        "50s",
    ];
    let c = d.container(p, &options, &["sh", "-c", LOOP])?;
    let health = |wanted: &str| {
        eventually(wanted, || {
            Ok(
                d.docker(&["inspect", "-f", "{{.State.Health.Status}}", &c])?
                    .stdout
                    .trim()
                    == wanted,
            )
        })
    };
    health("unhealthy")?;
    d.docker(&["exec", &c, "sh", "-c", "echo > /tmp/ok"])?
        .code(0)?;
    health("healthy")?;
    d.remove(&c)
}

fn stats(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &["--memory", "200m"], &["sh", "-c", LOOP])?;
    let out = d.docker(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.MemUsage}} {{.PIDs}}",
        &c,
    ])?;
    out.code(0)?;
    // "3.2MiB / 200MiB 9"
    says(&out.stdout, " / 200MiB ")?;
    if out.stdout.starts_with("0B") || out.stdout.trim().ends_with(" 0") {
        return Err(format!("stats are empty: {}", out.stdout));
    }
    d.remove(&c)
}

/// Both ways, while it runs and when it has stopped.
fn cp(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &[],
        &[
            "sh",
            "-c",
            &format!("trap 'exit 0' TERM; echo made > /made; echo ready; {LOOP}"),
        ],
    )?;
    d.wait_for_log(&c, "ready")?;
    let from = d.file(&format!("in-{p}"), "from outside\n")?;
    let to = d.file(&format!("out-{p}"), "")?;
    let at = |path: &str| format!("{c}:{path}");
    let copied = |wanted: &str| {
        let got = fs::read_to_string(&to).map_err(|e| e.to_string())?;
        if got == wanted {
            Ok(())
        } else {
            Err(format!("copied {got:?}, not {wanted:?}"))
        }
    };
    d.docker(&["cp", &from, &at("/tmp/in")])?.code(0)?;
    d.docker(&["exec", &c, "cat", "/tmp/in"])?
        .is(0, "from outside\n", "")?;
    d.docker(&["cp", &at("/made"), &to])?.code(0)?;
    copied("made\n")?;
    d.docker(&["stop", &c])?.code(0)?;
    d.docker(&["cp", &at("/tmp/in"), &to])?.code(0)?;
    copied("from outside\n")?;
    d.docker(&["cp", &to, &at("/made")])?.code(0)?;
    d.docker(&["cp", &at("/made"), &to])?.code(0)?;
    copied("from outside\n")?;
    d.remove(&c)
}

/// A name that the container has looked for in vain appears all the same.
fn cp_of_what_was_missed(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", LOOP])?;
    d.docker(&["exec", &c, "cat", "/tmp/in"])?.code(1)?;
    let from = d.file(&format!("missed-{p}"), "from outside\n")?;
    d.docker(&["cp", &from, &format!("{c}:/tmp/in")])?.code(0)?;
    d.docker(&["exec", &c, "cat", "/tmp/in"])?
        .is(0, "from outside\n", "")?;
    // Another file of that name.
    let from = d.file(&format!("missed-{p}"), "again\n")?;
    d.docker(&["cp", &from, &format!("{c}:/tmp/in")])?.code(0)?;
    d.docker(&["exec", &c, "cat", "/tmp/in"])?
        .is(0, "again\n", "")?;
    d.remove(&c)?;
    // A program that waits for it finds it without anybody's asking.
    let wait = "cat /tmp/in; echo waits; until cat /tmp/in 2>/dev/null; do sleep 0.1; done";
    let c = d.container(p, &[], &["sh", "-c", wait])?;
    d.wait_for_log(&c, "waits")?;
    d.docker(&["cp", &from, &format!("{c}:/tmp/in")])?.code(0)?;
    d.wait_for_log(&c, "again")?;
    d.remove(&c)
}

/// The container's own processes, by what they run.
fn top_names_its_processes(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", "sleep 1000 & sleep 1000"])?;
    let out = d.docker(&["top", &c])?;
    out.code(0)?;
    if out.stdout.matches("sleep 1000").count() < 2 {
        return Err(out.stdout);
    }
    d.remove(&c)
}

/// What cannot be honoured is refused, by its name.
fn refused(d: &Daemon, p: &str) -> Outcome {
    let out = d.run_rm(p, &["--sysctl", "kernel.msgmax=1234"], &["true"])?;
    out.code(125)?;
    out.says("linux.sysctl: \\\"kernel.msgmax\\\" cannot be set")
        .or(out.says("linux.sysctl: \"kernel.msgmax\" cannot be set"))?;
    let out = d.run_rm(p, &["--device", "/dev/kmsg"], &["true"])?;
    out.says("is not a device that a sandbox has")
}

fn diff_commit_export(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &[],
        &[
            "sh",
            "-c",
            "mkdir /new; echo x > /new/file; rm /bin/pwd; exit 4",
        ],
    )?;
    d.docker(&["wait", &c])?.is(0, "4\n", "")?;
    let diff = d.docker(&["diff", &c])?;
    let mut lines: Vec<&str> = diff.stdout.lines().collect();
    lines.sort_unstable();
    if lines != ["A /new", "A /new/file", "C /bin", "D /bin/pwd"] {
        return Err(format!("diff: {lines:?}"));
    }
    let image = format!("committed-{p}");
    d.docker(&["commit", &c, &image])?.code(0)?;
    d.docker(&[
        "run",
        "--rm",
        "--runtime",
        p,
        "--network=none",
        &image,
        "cat",
        "/new/file",
    ])?
    .is(0, "x\n", "")?;
    let tar = d.file(&format!("export-{p}.tar"), "")?;
    d.docker(&["export", "-o", &tar, &c])?.code(0)?;
    let text = fs::read(&tar).map_err(|e| e.to_string())?;
    says(&String::from_utf8_lossy(&text), "new/file")?;
    d.docker(&["rmi", "-f", &image])?.code(0)?;
    d.remove(&c)
}

fn rename_and_update(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &["--memory", "100m", "--name", &format!("old-{p}")],
        &["sh", "-c", LOOP],
    )?;
    let new = format!("new-{p}");
    d.docker(&["rename", &format!("old-{p}"), &new])?.code(0)?;
    d.inspect(&new, "{{.Id}}", &c)?;
    d.docker(&[
        "update",
        "--memory",
        "150m",
        "--memory-swap",
        "150m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "33",
        &new,
    ])?
    .code(0)?;
    d.inspect(
        &new,
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}",
        &format!("{} 500000000", 150 << 20),
    )?;
    let limit = d.docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &new])?;
    says(&limit.stdout, " / 150MiB")?;
    d.remove(&new)
}

/// A named volume outlives its container, and two see each other's writes.
fn volumes(d: &Daemon, p: &str) -> Outcome {
    let volume = format!("vol-{p}");
    let at = format!("{volume}:/data");
    d.docker(&["volume", "create", &volume])?.code(0)?;
    let script = "until [ -e /data/question ]; do sleep 0.05; done; cat /data/question; echo answer > /data/answer";
    let c = d.container(p, &["-v", &at], &["sh", "-c", script])?;
    d.run_rm(
        p,
        &["-v", &at],
        &[
            "sh",
            "-c",
            "echo question > /data/.q; mv /data/.q /data/question",
        ],
    )?
    .code(0)?;
    d.docker(&["wait", &c])?.is(0, "0\n", "")?;
    d.docker(&["logs", &c])?.is(0, "question\n", "")?;
    d.remove(&c)?;
    let read_only = format!("{at}:ro");
    d.run_rm(
        p,
        &["-v", &read_only],
        &[
            "sh",
            "-c",
            "cat /data/answer; (echo > /data/no) 2>/dev/null; echo $?",
        ],
    )?
    .is(0, "answer\n1\n", "")?;
    d.docker(&["volume", "rm", &volume])?.code(0)
}

fn binds(d: &Daemon, p: &str) -> Outcome {
    let file = d.file(&format!("bound-{p}"), "host\n")?;
    let rw = format!("{file}:/file");
    let ro = format!("{file}:/file:ro");
    let c = d.container(p, &["-v", &rw], &["sh", "-c", LOOP])?;
    d.docker(&["exec", &c, "sh", "-c", "cat /file; echo guest > /file"])?
        .is(0, "host\n", "")?;
    if fs::read_to_string(&file).map_err(|e| e.to_string())? != "guest\n" {
        return Err("the host does not see the write".into());
    }
    d.file(&format!("bound-{p}"), "host again\n")?;
    d.docker(&["exec", &c, "cat", "/file"])?
        .is(0, "host again\n", "")?;
    d.remove(&c)?;
    d.run_rm(
        p,
        &["-v", &ro],
        &["sh", "-c", "cat /file; echo > /file; echo $?"],
    )?
    .is(
        0,
        "host again\n1\n",
        "sh: can't create /file: Read-only file system\n",
    )
}

/// Options and what shows of them inside.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--group-add", "5", "--group-add", "7", "-u", "3:4"],
        "id -u; id -g; busybox id -G",
    ),
    (
        &["--cap-add", "SYS_ADMIN", "--cap-drop", "CHOWN"],
        "grep Cap /proc/self/status",
    ),
    (
        &["--cap-drop", "ALL"],
        "grep Cap /proc/self/status; busybox chown 5 /tmp 2>/dev/null; echo $?",
    ),
    (
        &["-u", "9", "--cap-add", "NET_RAW"],
        "grep Cap /proc/self/status",
    ),
    (
        &["--security-opt", "no-new-privileges"],
        "grep NoNewPrivs /proc/self/status",
    ),
    (
        &["--ulimit", "nofile=100:200", "--ulimit", "core=0:5"],
        "ulimit -n; ulimit -Hn; ulimit -c",
    ),
    (&["--entrypoint", "/bin/echo"], "x"),
    (
        &["--device", "/dev/null:/dev/other"],
        "echo x > /dev/other; cat /dev/other; busybox stat -c '%F %t %T %a' /dev/other",
    ),
    (
        &["--cpuset-cpus", "0"],
        "busybox nproc; grep Cpus_allowed_list /proc/self/status",
    ),
    (
        &["--tmpfs", "/t:size=1m,mode=1711"],
        "busybox stat -c %a /t; busybox dd if=/dev/zero of=/t/x bs=64k 2>/dev/null; echo $?; busybox stat -c %s /t/x",
    ),
    (
        &["--shm-size", "2m"],
        "busybox df -k /dev/shm | busybox awk 'END {print $2}'",
    ),
    (
        &["--read-only"],
        "echo > /x; echo $?; echo > /dev/shm/x; echo $?",
    ),
    (&["-w", "/not/yet/there"], "pwd"),
    (
        &["-h", "box", "--domainname", "example.org"],
        "hostname; busybox hostname -f 2>&1; cat /proc/sys/kernel/domainname",
    ),
    (
        &["-e", "A=b c", "-e", "EMPTY="],
        "echo \"$A|${EMPTY-unset}|$HOME\"",
    ),
    (&["--oom-score-adj", "123"], "cat /proc/self/oom_score_adj"),
    (&["--add-host", "there:10.1.2.3"], "grep there /etc/hosts"),
    (&["--memory", "64m", "--cpus", "0.5"], "echo ran"),
    (&["--init"], "busybox ps -o pid,comm | busybox head -2"),
];

fn options_as_runc(d: &Daemon, p: &str) -> Outcome {
    let mut wrong = Vec::new();
    let init = ["/usr/bin/docker-init", "/usr/libexec/docker/docker-init"]
        .iter()
        .any(|f| Path::new(f).exists());
    for (options, script) in OPTIONS {
        if options.contains(&"--init") && !init {
            continue;
        }
        let entry = options.contains(&"--entrypoint");
        let command: &[&str] = if entry {
            &["a", "b"]
        } else {
            &["sh", "-c", script]
        };
        let wanted = d.run_rm("runc", options, command)?;
        let got = d.run_rm(p, options, command)?;
        if let Err(e) = got.is(wanted.code.unwrap_or(-1), &wanted.stdout, &wanted.stderr) {
            wrong.push(format!("{options:?}: {e}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// Who takes too much dies inside; the rest lives, and the engine hears of it.
fn memory_limit(d: &Daemon, p: &str) -> Outcome {
    let bomb = "busybox head -c 200m /dev/zero | busybox tail -c 199m > /dev/null";
    let script = format!("{bomb}; echo $?; {LOOP}");
    let c = d.container(
        p,
        &["--memory", "80m", "--memory-swap", "80m"],
        &["sh", "-c", &script],
    )?;
    d.wait_for_log(&c, "137")?;
    d.inspect(&c, "{{.State.Status}}", "running")?;
    d.docker(&["kill", &c])?.code(0)?;
    d.docker(&["wait", &c])?.is(0, "137\n", "")?;
    d.inspect(&c, "{{.State.OOMKilled}}", "true")?;
    d.remove(&c)
}

fn pids_limit(d: &Daemon, p: &str) -> Outcome {
    let script = "i=0; while [ $i -lt 12 ]; do sleep 20 & i=$((i + 1)); done; echo all";
    let out = d.run_rm(p, &["--pids-limit", "8"], &["sh", "-c", script])?;
    if out.code == Some(0) || out.stdout.contains("all") {
        return Err(format!("more processes than allowed: {:?}", out.stdout));
    }
    d.run_rm(p, &["--pids-limit", "40"], &["sh", "-c", script])?
        .is(0, "all\n", "")
}

fn stop_signal(d: &Daemon, p: &str) -> Outcome {
    let script = format!("trap 'echo quit; exit 6' QUIT; echo ready; {LOOP}");
    let c = d.container(p, &["--stop-signal", "SIGQUIT"], &["sh", "-c", &script])?;
    d.wait_for_log(&c, "ready")?;
    d.docker(&["stop", "-t", "60", &c])?.code(0)?;
    d.inspect(&c, "{{.State.ExitCode}}", "6")?;
    d.docker(&["logs", &c])?.is(0, "ready\nquit\n", "")?;
    d.remove(&c)
}

fn events(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", "exit 5"])?;
    d.docker(&["wait", &c])?.is(0, "5\n", "")?;
    d.remove(&c)?;
    let filter = format!("container={c}");
    let format = "{{.Action}} {{.Actor.Attributes.exitCode}}";
    let query = [
        "events", "--since", "10m", "--until", "0s", "--filter", &filter, "--format", format,
    ];
    // The daemon tells of the end when it has done with it.
    eventually("create, start, die 5, destroy", || {
        let out = d.docker(&query)?;
        let all: Vec<&str> = out
            .stdout
            .lines()
            .map(|l| l.trim_end_matches(" <no value>"))
            .collect();
        Ok(["create", "start", "die 5", "destroy"]
            .iter()
            .all(|w| all.contains(w)))
    })
}

fn log_options(d: &Daemon, p: &str) -> Outcome {
    let options = [
        "--log-opt",
        "max-size=1k",
        "--log-opt",
        "max-file=2",
        "--log-opt",
        "tag=x",
    ];
    let c = d.container(
        p,
        &options,
        &["sh", "-c", "for i in $(seq 100); do echo line $i; done"],
    )?;
    d.docker(&["wait", &c])?.is(0, "0\n", "")?;
    let out = d.docker(&["logs", "--tail", "3", &c])?;
    out.is(0, "line 98\nline 99\nline 100\n", "")?;
    d.remove(&c)
}

/// What the host has of containers: processes of theirs, cgroups, mounts, files of the state directories.
fn traces(ids: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups = Path::new("/sys/fs/cgroup");
    let mut dirs = vec![groups.to_owned()];
    for controller in fs::read_dir(groups).into_iter().flatten().flatten() {
        dirs.push(controller.path());
        dirs.push(controller.path().join("docker"));
    }
    for id in ids {
        if mounts.contains(id.as_str()) {
            found.push(format!("a mount of {id}"));
        }
        found.extend(
            dirs.iter()
                .map(|d| d.join(id))
                .filter(|d| d.exists())
                .map(|d| d.display().to_string()),
        );
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let group = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        if let Some(id) = ids.iter().find(|id| group.contains(id.as_str())) {
            found.push(format!(
                "process {} of {id}",
                process.file_name().to_string_lossy()
            ));
        }
    }
    found
}

fn fifty_at_once(d: &Daemon, p: &str) -> Outcome {
    let script = format!("echo up; {}", LOOP.replace("0.05", "1"));
    let ids = std::thread::scope(|s| {
        let start = || -> Result<Vec<String>, String> {
            (0..10)
                .map(|_| d.container(p, &[], &["sh", "-c", &script]))
                .collect()
        };
        let threads: Vec<_> = (0..5).map(|_| s.spawn(start)).collect();
        threads
            .into_iter()
            .map(|t| t.join().map_err(|_| "a thread panicked".to_owned())?)
            .collect::<Result<Vec<_>, _>>()
    })?;
    let ids: Vec<String> = ids.into_iter().flatten().collect();
    let while_up = traces(&ids);
    for id in &ids {
        if !while_up
            .iter()
            .any(|t| t.starts_with("process") && t.ends_with(id))
        {
            return Err(format!("{id} does not run"));
        }
    }
    d.wait_for_log(&ids[49], "up")?;
    let mut args = vec!["rm", "-f"];
    args.extend(ids.iter().map(String::as_str));
    d.docker(&args)?.code(0)?;
    eventually("nothing of them is left", || Ok(traces(&ids).is_empty()))
        .map_err(|e| format!("{e}: {:?}", traces(&ids)))?;
    let left = d
        .docker(&[
            "ps",
            "-aq",
            "--filter",
            &format!("ancestor={IMAGE}"),
            "--no-trunc",
        ])?
        .stdout;
    if ids.iter().any(|id| left.contains(id)) {
        Err("the engine still has some".into())
    } else {
        Ok(())
    }
}
