//! containerd: a daemon of its own (Debian's) drives the runtime through `containerd-shim-runsc-rs-v1`.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;

use tests::containerd::{Containerd, SHIM};
use tests::engine::{ON_A_TERMINAL, Outcome, eventually, has_size_and_keys, kill, named};
use tests::suite;

type Test = fn(&Containerd, &str) -> Outcome;

fn main() -> ExitCode {
    let code = suite::main_in("containerd", &suite::OWN_PROCESSES, |suite| {
        if let Some(why) = tests::containerd::missing() {
            suite.skip("all::containerd", &why);
            return Ok(());
        }
        let tests: [(&str, Test); 6] = [
            ("run", run),
            ("life", life),
            ("terminals", terminals),
            ("a_pod_has_one_shim", a_pod_has_one_shim),
            ("shim_killed", shim_killed),
            ("containerd_killed", containerd_killed),
        ];
        for (name, test) in tests {
            suite.sandbox(
                name,
                Arc::new(move |platform| {
                    let daemon = Containerd::get()?;
                    test(daemon, platform)
                        .and_then(|()| nothing_is_left())
                        .map_err(|e| format!("{e}\n{}", daemon.log_tail()))
                }),
            );
        }
        Ok(())
    });
    Containerd::stop();
    code
}

const LOOP: &str = "while :; do sleep 0.05; done";

/// As the kernel shortens it.
fn shims() -> Vec<i32> {
    named(&[&SHIM[..15]])
}

fn nothing_is_left() -> Outcome {
    eventually("no shim, no sandbox and no gofer are left", || {
        let sandboxes = named(&["runsc-sandbox", "runsc-gofer"]);
        Ok(shims().is_empty() && sandboxes.is_empty())
    })
}

fn status(d: &Containerd, id: &str) -> Result<String, String> {
    let list = d.ctr(&["task", "ls"])?.stdout;
    let line = list
        .lines()
        .find(|l| l.split_whitespace().next() == Some(id));
    let word = line.and_then(|l| l.split_whitespace().nth(2));
    Ok(word.unwrap_or_default().to_owned())
}

fn is(d: &Containerd, id: &str, wanted: &str) -> Outcome {
    let got = status(d, id)?;
    if got == wanted {
        return Ok(());
    }
    Err(format!("{id} is {got:?}, not {wanted:?}"))
}

/// Ends a task and removes what there is of it.
fn remove(d: &Containerd, id: &str) -> Outcome {
    d.ctr(&["task", "kill", "--signal", "KILL", id])?.code(0)?;
    eventually(&format!("{id} stops"), || Ok(status(d, id)? == "STOPPED"))?;
    d.ctr(&["task", "delete", id])?.says("exit code 137")?;
    d.ctr(&["container", "delete", id])?.code(0)
}

fn run(d: &Containerd, p: &str) -> Outcome {
    let script = "echo out; echo err >&2; echo kept > /tmp/x; cat /tmp/x; exit 7";
    d.run(p, &["--rm"], "run", &["sh", "-c", script])?
        .is(7, "out\nkept\n", "err\n")?;
    let words = d.words(p, &["--rm"], "input", &["cat"]);
    d.ctr_with_input(&words.each_ref_str(), b"through and through")?
        .is(0, "through and through", "")?;
    // What the runtime complains of reaches the client.
    let out = d.run(p, &["--rm"], "none", &["/no/such/program"])?;
    out.code(1)?;
    out.says("no such file or directory")?;
    let out = d.run(
        p,
        &["--rm", "--memory-limit", "67108864"],
        "greedy",
        &["sh", "-c", "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"],
    )?;
    out.code(137)
}

fn life(d: &Containerd, p: &str) -> Outcome {
    let c = "life";
    d.run(p, &["-d"], c, &["sh", "-c", LOOP])?.code(0)?;
    is(d, c, "RUNNING")?;
    let exec =
        |id: &str, script: &str| d.ctr(&["task", "exec", "--exec-id", id, c, "sh", "-c", script]);
    exec("one", "echo out; echo err >&2; exit 3")?.is(3, "out\n", "err\n")?;
    exec("one", "exit 4")?.code(4)?;
    let out = d.ctr_with_input(&["task", "exec", "--exec-id", "in", c, "cat"], b"input")?;
    out.is(0, "input", "")?;
    d.ctr(&["task", "exec", "--exec-id", "none", c, "/no/such"])?
        .says("no such file or directory")?;
    // The host's pids of the guest's processes, which show their command lines.
    let pids = d.ctr(&["task", "ps", c])?;
    pids.code(0)?;
    let lines: Vec<String> = pids
        .stdout
        .lines()
        .filter_map(|l| l.split_whitespace().next()?.parse::<i32>().ok())
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default())
        .collect();
    if !lines.iter().any(|l| l.contains(LOOP)) {
        return Err(format!("{}\n{lines:?}", pids.stdout));
    }
    d.ctr(&["task", "pause", c])?.code(0)?;
    is(d, c, "PAUSED")?;
    d.ctr(&["task", "resume", c])?.code(0)?;
    is(d, c, "RUNNING")?;
    d.ctr(&["task", "metrics", c])?.code(0)?;
    remove(d, c)
}

fn terminals(d: &Containerd, p: &str) -> Outcome {
    let command = ["sh", "-c", ON_A_TERMINAL];
    let words = d.words(p, &["--rm", "--tty"], "terminal", &command);
    has_size_and_keys(d.terminal((33, 101), &words)?)
}

fn a_pod_has_one_shim(d: &Containerd, p: &str) -> Outcome {
    let pod = ["-d", "--annotation", "io.kubernetes.cri.sandbox-id=pod"];
    d.run(p, &pod, "pod", &["sh", "-c", LOOP])?.code(0)?;
    d.run(p, &pod, "member", &["sh", "-c", LOOP])?.code(0)?;
    if shims().len() != 1 {
        return Err(format!("shims: {:?}", shims()));
    }
    remove(d, "member")?;
    is(d, "pod", "RUNNING")?;
    remove(d, "pod")
}

fn shim_killed(d: &Containerd, p: &str) -> Outcome {
    let c = "orphan";
    d.run(p, &["-d"], c, &["sh", "-c", LOOP])?.code(0)?;
    shims().into_iter().for_each(kill);
    eventually("the task is gone", || Ok(status(d, c)?.is_empty()))?;
    nothing_is_left()?;
    d.ctr(&["container", "delete", c])?.code(0)?;
    d.run(p, &["--rm"], "next", &["echo", "fine"])?
        .is(0, "fine\n", "")
}

fn containerd_killed(d: &Containerd, p: &str) -> Outcome {
    let c = "survivor";
    d.run(p, &["-d"], c, &["sh", "-c", LOOP])?.code(0)?;
    d.again()?;
    is(d, c, "RUNNING")?;
    d.ctr(&["task", "exec", "--exec-id", "one", c, "echo", "here"])?
        .is(0, "here\n", "")?;
    remove(d, c)
}
