//! Docker: a dockerd of its own (Debian's `docker.io`) drives the runtime through the life of containers.
//!
//! The daemon has its own data root, exec root, pid file and socket; it is stopped by its pid file, also when tests fail, and dies with this process. Both live in a network
//! namespace of their own, where its bridges and rules harm nobody.

use std::process::ExitCode;

use tests::docker::{Daemon, IMAGE};
use tests::engine::{Outcome, eventually};
use tests::suite::{self, Suite};

mod network;
mod surface;

type Test = fn(&Daemon, &str) -> Outcome;

fn main() -> ExitCode {
    let code = suite::main_in("docker", &["--net"], |suite| {
        if let Some(why) = tests::docker::missing() {
            suite.skip("all::docker", &why);
            return Ok(());
        }
        let tests: [(&str, Test); 12] = [
            ("run_rm", run_rm),
            ("run_in_a_terminal", run_in_a_terminal),
            ("programs_that_cannot_run", programs_that_cannot_run),
            ("exec", exec),
            ("exec_in_a_terminal", exec_in_a_terminal),
            ("stop_by_term", stop_by_term),
            ("stop_by_kill", stop_by_kill),
            ("kill", kill),
            ("logs", logs),
            ("pause", pause),
            ("top_and_inspect", top_and_inspect),
            ("seccomp", seccomp),
        ];
        for (name, test) in tests.iter().chain(surface::TESTS) {
            add(suite, name, *test);
        }
        match tests::docker::no_bridge() {
            None => {
                for (name, test) in network::TESTS {
                    add(suite, name, *test);
                }
                if std::path::Path::new("/usr/bin/docker-compose").exists() {
                    add(suite, "network_compose", network::compose);
                } else {
                    suite.skip("all::docker_compose", "no docker-compose on this machine");
                }
            }
            Some(why) => suite.skip("all::docker_networks", &why),
        }
        Ok(())
    });
    Daemon::stop();
    code
}

fn add(suite: &mut Suite, name: &str, test: Test) {
    suite.sandbox(
        name,
        std::sync::Arc::new(move |platform| {
            let daemon = Daemon::get()?;
            test(daemon, platform).map_err(|e| format!("{e}\n{}", daemon.log_tail()))
        }),
    );
}

/// Loops for ever; what TERM does is for the caller to say.
const LOOP: &str = "while :; do sleep 0.05; done";

fn run_rm(d: &Daemon, p: &str) -> Outcome {
    let out = d.run_rm(p, &[], &["sh", "-c", "echo out; echo err >&2; exit 7"])?;
    out.is(7, "out\n", "err\n")?;
    let out = d.run_rm(
        p,
        &["-e", "A=b c", "-w", "/tmp", "-h", "box", "-u", "12:34"],
        &["sh", "-c", "echo $A; pwd; hostname; id -u; id -g"],
    )?;
    out.is(0, "b c\n/tmp\nbox\n12\n34\n", "")?;
    let out = d.run_rm_with_input(p, &["-i"], &["cat"], b"through and through")?;
    out.is(0, "through and through", "")?;
    let out = d.run_rm(
        p,
        &["--read-only", "--tmpfs", "/run"],
        &[
            "sh",
            "-c",
            "echo x > /run/x && cat /run/x; echo x > /x; echo $?",
        ],
    )?;
    out.is(0, "x\n1\n", "sh: can't create /x: Read-only file system\n")
}

fn run_in_a_terminal(d: &Daemon, p: &str) -> Outcome {
    // The engine sets the first size when the program runs already. Then it tells each new one, and ends at ^C.
    let script = "until [ \"$(stty size 2>/dev/null)\" ]; do sleep 0.05; done; stty size; trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut t = d.terminal(
        p,
        (33, 101),
        &["run", "--rm", "-it"],
        &[IMAGE, "sh", "-c", script],
    )?;
    t.expect("33 101")?;
    t.expect("ready")?;
    t.resize(50, 120)?;
    t.expect("50 120")?;
    t.write(b"\x03")?;
    t.expect("interrupted")?;
    t.ends_with(5)
}

fn programs_that_cannot_run(d: &Daemon, p: &str) -> Outcome {
    let out = d.run_rm(p, &[], &["/no/such/program"])?;
    out.code(127)?;
    out.says("exec: \"/no/such/program\": stat /no/such/program: no such file or directory")?;
    let out = d.run_rm(p, &[], &["nosuchprogram"])?;
    out.code(127)?;
    out.says("exec: \"nosuchprogram\": executable file not found in $PATH")?;
    let out = d.run_rm(p, &[], &["/etc/passwd"])?;
    out.code(126)?;
    out.says("exec: \"/etc/passwd\": permission denied")
}

fn exec(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", LOOP])?;
    d.docker(&["exec", &c, "sh", "-c", "echo out; echo err >&2; exit 3"])?
        .is(3, "out\n", "err\n")?;
    d.docker(&[
        "exec",
        "-u",
        "5:6",
        "-w",
        "/tmp",
        "-e",
        "X=y",
        &c,
        "sh",
        "-c",
        "id -u; id -g; pwd; echo $X",
    ])?
    .is(0, "5\n6\n/tmp\ny\n", "")?;
    d.docker_with_input(&["exec", "-i", &c, "cat"], b"input")?
        .is(0, "input", "")?;
    // The status depends on the versions of client and daemon: it must be what runc's is.
    let other = d.container("runc", &[], &["sh", "-c", LOOP])?;
    for program in ["nosuchprogram", "/no/such", "/etc/passwd"] {
        let wanted = d.docker(&["exec", &other, program])?;
        let got = d.docker(&["exec", &c, program])?;
        got.is(wanted.code.unwrap_or(0), &wanted.stdout, &wanted.stderr)?;
    }
    d.remove(&other)?;
    // One that goes on by itself, seen by another.
    d.docker(&[
        "exec",
        "-d",
        &c,
        "sh",
        "-c",
        "echo here > /tmp/mark; sleep 1000",
    ])?
    .code(0)?;
    eventually("a detached exec leaves its mark", || {
        Ok(d.docker(&["exec", &c, "cat", "/tmp/mark"])?.stdout == "here\n")
    })?;
    d.remove(&c)
}

fn exec_in_a_terminal(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", LOOP])?;
    let mut t = d.terminal(
        p,
        (20, 70),
        &["exec", "-it"],
        &[
            &c,
            "sh",
            "-c",
            "until [ \"$(stty size 2>/dev/null)\" ]; do sleep 0.05; done; stty size; read x; echo got $x; exit 4",
        ],
    )?;
    t.expect("20 70")?;
    t.write(b"word\r")?;
    t.expect("got word")?;
    t.ends_with(4)?;
    d.remove(&c)
}

fn stop_by_term(d: &Daemon, p: &str) -> Outcome {
    let script = format!("trap 'echo term; exit 9' TERM; echo ready; {LOOP}");
    let c = d.container(p, &[], &["sh", "-c", &script])?;
    d.wait_for_log(&c, "ready")?;
    d.docker(&["stop", "-t", "60", &c])?.code(0)?;
    d.inspect(&c, "{{.State.Status}} {{.State.ExitCode}}", "exited 9")?;
    d.docker(&["logs", &c])?.is(0, "ready\nterm\n", "")?;
    // And it starts again, on the same root.
    d.docker(&["start", &c])?.code(0)?;
    d.inspect(&c, "{{.State.Status}}", "running")?;
    d.remove(&c)
}

fn stop_by_kill(d: &Daemon, p: &str) -> Outcome {
    let script = format!("trap '' TERM; echo ready; {LOOP}");
    let c = d.container(p, &[], &["sh", "-c", &script])?;
    d.wait_for_log(&c, "ready")?;
    let out = d.docker(&["stop", "-t", "1", &c])?;
    out.code(0)?;
    if out.took.as_millis() < 1000 {
        return Err(format!("killed after {:?}, a second was to pass", out.took));
    }
    d.inspect(&c, "{{.State.Status}} {{.State.ExitCode}}", "exited 137")?;
    d.remove(&c)
}

fn kill(d: &Daemon, p: &str) -> Outcome {
    let script = format!("trap 'echo one' USR1; echo ready; {LOOP}");
    let c = d.container(p, &[], &["sh", "-c", &script])?;
    d.wait_for_log(&c, "ready")?;
    d.docker(&["kill", "-s", "USR1", &c])?.code(0)?;
    d.wait_for_log(&c, "one")?;
    d.inspect(&c, "{{.State.Status}}", "running")?;
    d.docker(&["kill", &c])?.code(0)?;
    d.docker(&["wait", &c])?.is(0, "137\n", "")?;
    d.remove(&c)
}

fn logs(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &[],
        &[
            "sh",
            "-c",
            "for i in $(seq 200); do echo line $i; done; echo bad >&2",
        ],
    )?;
    d.docker(&["wait", &c])?.is(0, "0\n", "")?;
    let all: String = (1..=200).map(|i| format!("line {i}\n")).collect();
    d.docker(&["logs", &c])?.is(0, &all, "bad\n")?;
    d.docker(&["logs", "-f", "--tail", "2", &c])?.code(0)?;
    d.remove(&c)
}

fn pause(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(
        p,
        &[],
        &["sh", "-c", "while :; do echo tick; sleep 0.02; done"],
    )?;
    d.wait_for_log(&c, "tick")?;
    d.docker(&["pause", &c])?.code(0)?;
    d.inspect(&c, "{{.State.Status}}", "paused")?;
    let ticks = || Ok::<_, String>(d.docker(&["logs", &c])?.stdout.len());
    // What was on its way has arrived after the first look.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = ticks()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    if ticks()? != before {
        return Err("it goes on while paused".into());
    }
    let out = d.docker(&["exec", &c, "true"])?;
    if out.code == Some(0) {
        return Err("exec in a paused container".into());
    }
    d.docker(&["unpause", &c])?.code(0)?;
    d.inspect(&c, "{{.State.Status}}", "running")?;
    eventually("it goes on", || Ok(ticks()? > before))?;
    d.remove(&c)
}

fn top_and_inspect(d: &Daemon, p: &str) -> Outcome {
    let c = d.container(p, &[], &["sh", "-c", LOOP])?;
    let top = d.docker(&["top", &c])?;
    top.code(0)?;
    if top.stdout.lines().count() < 2 {
        return Err(format!("docker top shows nothing:\n{}", top.stdout));
    }
    let pid = d.docker(&["inspect", "-f", "{{.State.Pid}}", &c])?;
    let pid = pid.stdout.trim().to_owned();
    if !std::path::Path::new("/proc").join(&pid).exists() {
        return Err(format!("no process {pid}"));
    }
    d.remove(&c)?;
    eventually("its process is gone", || {
        Ok(!std::path::Path::new("/proc").join(&pid).exists())
    })
}

fn seccomp(d: &Daemon, p: &str) -> Outcome {
    let mode = ["sh", "-c", "grep ^Seccomp: /proc/self/status"];
    d.run_rm(p, &[], &mode)?.is(0, "Seccomp:\t2\n", "")?;
    d.run_rm(p, &["--security-opt", "seccomp=unconfined"], &mode)?
        .is(0, "Seccomp:\t0\n", "")?;
    let profile = d.file(
        "profile.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#,
    )?;
    let option = format!("seccomp={profile}");
    let out = d.run_rm(p, &["--security-opt", &option], &["mkdir", "/tmp/x"])?;
    out.is(
        1,
        "",
        "mkdir: can't create directory '/tmp/x': No space left on device\n",
    )
}
