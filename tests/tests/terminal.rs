//! Terminals of `exec --tty` whose user reads late or not at all: nothing is lost, and nobody else waits for that user.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Error, Result, ensure};
use tests::bundle::Spec;
use tests::live::Live;
use tests::process::End;
use tests::suite;
use tests::terminal::Terminal;

type Test = fn(&str) -> Result<()>;

fn main() -> ExitCode {
    suite::main("terminal", |suite| {
        let tests: [(&str, Test); 2] = [
            ("a_late_reader", a_late_reader),
            ("a_reader_that_never_comes", a_reader_that_never_comes),
        ];
        for (name, test) in tests {
            let body = move |platform: &str| test(platform).map_err(|e| format!("{e:#}"));
            suite.sandbox(name, Arc::new(body));
        }
        Ok(())
    })
}

/// A container that runs until its standard input ends.
fn container(platform: &str) -> Result<Live> {
    let mut live = Live::new(platform, &Spec::new(&["/bin/cat"]))?;
    live.start(&[])?;
    Ok(live)
}

/// A shell of the container on a terminal, which has said `begin`; its pid is in /tmp/pid.
fn shell(live: &Live, script: &str) -> Result<Terminal> {
    let mut command = live.command();
    command.args(["exec", "--tty", &live.root().id(), "/bin/sh", "-c"]);
    command.arg(format!("echo $$ >/tmp/pid; echo begin; {script}"));
    let mut terminal = Terminal::spawn(command, (24, 80)).map_err(Error::msg)?;
    terminal.expect("begin\r\n").map_err(Error::msg)?;
    Ok(terminal)
}

/// Does this hold in the container?
fn holds(live: &Live, script: &str) -> Result<bool> {
    let out = live.runtime(&["exec", &live.root().id(), "/bin/sh", "-c", script])?;
    Ok(out.end == End::Code(0))
}

/// More than all buffers on the way hold is written while nobody reads. It is all there when somebody does, in order.
fn a_late_reader(platform: &str) -> Result<()> {
    const LAST: u32 = 60_000;
    let live = container(platform)?;
    let mut terminal = shell(&live, &format!("seq {LAST}; exit 3"))?;
    for _ in 0..5 {
        ensure!(holds(&live, "true")?, "{}", live.log());
    }
    let all: String = (1..=LAST).map(|n| format!("{n}\r\n")).collect();
    terminal
        .expect(&all)
        .and_then(|()| terminal.ends_with(3))
        .map_err(Error::msg)
}

/// Who writes there can be killed.
fn a_reader_that_never_comes(platform: &str) -> Result<()> {
    let live = container(platform)?;
    let _terminal = shell(&live, "exec yes")?;
    live.eventually("nothing is taken any more", |live| {
        let asleep = r#"read -r line </proc/$(cat /tmp/pid)/stat; case "$line" in *") S "*) ;; *) exit 1; esac"#;
        holds(live, asleep)
    })?;
    ensure!(
        holds(&live, "kill -KILL $(cat /tmp/pid)")?,
        "{}",
        live.log()
    );
    live.eventually("the writer is gone", |live| {
        holds(live, "! kill -0 $(cat /tmp/pid)")
    })
}
