//! The system call log: lines as strace(1) prints them for the same program on the host, its other forms, and switching it on a live container.

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::bundle::Spec;
use tests::live::Live;
use tests::process::End;
use tests::{diff, host, suite};

type Test = fn(&str) -> Result<()>;

fn main() -> ExitCode {
    suite::main("strace", |suite| {
        let tests: [(&str, Test); 5] = [
            ("as_strace_prints_it", as_strace_prints_it),
            ("only_some_calls", only_some_calls),
            ("json", json),
            ("summary", summary),
            ("on_a_live_container", on_a_live_container),
        ];
        for (name, test) in tests {
            let body = move |platform: &str| test(platform).map_err(|e| format!("{e:#}"));
            suite.sandbox(name, Arc::new(body));
        }
        Ok(())
    })
}

/// Runs a command under the log with these options; its lines.
fn logged(platform: &str, command: &[&str], options: &[&str], status: i32) -> Result<Vec<String>> {
    let live = Live::new(platform, &Spec::new(command))?;
    let log = live.root().dir().join("calls");
    let to = format!("--strace-log={}", log.display());
    let bundle = live.root().dir().display().to_string();
    let id = live.root().id();
    let words = [
        &["--strace", &to][..],
        options,
        &["run", "--bundle", &bundle, &id],
    ]
    .concat();
    let out = live.runtime(&words)?;
    ensure!(
        out.end == End::Code(status),
        "{:?}\n{}\n{}",
        out.end,
        out.errors(),
        live.log()
    );
    let text = fs::read_to_string(log).context("the log")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Calls whose arguments and results are the same wherever a program is loaded. (What /proc/filesystems lists is not: it has "nodev" in it.)
const COMPARED: &[&str] = &[
    "openat(",
    "read(",
    "write(",
    "close(",
    "newfstatat(",
    "access(",
    "fadvise64(",
    "lseek(",
    "exit_group(",
    "+++ ",
];

fn comparable<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    lines
        .map(|l| {
            l.split_once("] ")
                .map_or(l, |(pid, rest)| if pid.starts_with('[') { rest } else { l })
        })
        // strace(1) pads before the result; the time is ours.
        .map(|l| {
            l.rsplit_once(" <")
                .filter(|(_, t)| t.ends_with('>'))
                .map_or(l, |(head, _)| head)
        })
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|l| {
            COMPARED.iter().any(|c| l.starts_with(c)) && !l.contains("0x") && !l.contains("nodev")
        })
        .collect()
}

fn as_strace_prints_it(platform: &str) -> Result<()> {
    let commands: [(&[&str], i32); 3] = [
        (&["/bin/cat", "/etc/passwd", "/no/such"], 1),
        (&["/bin/ls", "/etc/apt"], 0),
        (&["/bin/sh", "-c", "test -r /etc/hosts; echo $?; exit 3"], 3),
    ];
    for (command, status) in commands {
        let dir = tests::env::scratch().join(format!("strace-{platform}-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let traced = [&["/usr/bin/strace", "-o", "/trace/calls"][..], command].concat();
        let mut spec = Spec::new(&traced);
        spec.binds.push((dir.clone(), "/trace".into(), false));
        let out = host::chroot(&spec, Duration::from_secs(20))?;
        let text = fs::read_to_string(dir.join("calls"));
        fs::remove_dir_all(&dir)?;
        ensure!(
            out.end == End::Code(status),
            "on the host: {:?} {}",
            out.end,
            out.errors()
        );
        let wanted = comparable(text?.lines()).join("\n");
        ensure!(wanted.lines().count() > 8, "strace(1) says {wanted}");
        let got = logged(platform, command, &[], status)?;
        let got = comparable(got.iter().map(String::as_str)).join("\n");
        ensure!(
            wanted == got,
            "{}\n{}",
            command.join(" "),
            diff::lines(&wanted, &got)
        );
    }
    Ok(())
}

fn only_some_calls(platform: &str) -> Result<()> {
    let lines = logged(
        platform,
        &["/bin/cat", "/etc/passwd"],
        &["--strace-syscalls=openat,close"],
        0,
    )?;
    ensure!(
        lines
            .iter()
            .any(|l| l.contains("openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY) = 3")),
        "{lines:?}"
    );
    let other = lines.iter().find(|l| {
        !["openat(", "close(", "+++ exited"]
            .iter()
            .any(|c| l.contains(c))
    });
    ensure!(other.is_none(), "{other:?}");
    let live = Live::new(platform, &Spec::new(&["/bin/true"]))?;
    let bundle = live.root().dir().display().to_string();
    let out = live.runtime(&[
        "--strace",
        "--strace-syscalls=opneat",
        "run",
        "--bundle",
        &bundle,
        "x",
    ])?;
    ensure!(out.end == End::Code(1), "{:?}", out.end);
    ensure!(
        out.errors().contains("there is no system call"),
        "{}",
        out.errors()
    );
    Ok(())
}

fn json(platform: &str) -> Result<()> {
    let lines = logged(
        platform,
        &["/bin/cat", "/etc/passwd", "/no/such"],
        &["--strace-format=json"],
        1,
    )?;
    let mut failed = false;
    let mut exited = false;
    for line in &lines {
        let v: serde_json::Value = serde_json::from_str(line).with_context(|| line.clone())?;
        ensure!(v["pid"].is_i64(), "{line}");
        failed |= v["name"] == "openat"
            && v["errno"] == "ENOENT"
            && v["args"][1]["value"] == "\"/no/such\"";
        exited |= v["event"] == "exit" && v["code"] == 1;
    }
    ensure!(failed && exited, "{lines:?}");
    Ok(())
}

fn summary(platform: &str) -> Result<()> {
    let lines = logged(
        platform,
        &["/bin/cat", "/etc/passwd", "/no/such"],
        &["--strace-format=summary"],
        1,
    )?;
    let row = |name: &str| {
        let line = lines
            .iter()
            .find(|l| l.split_whitespace().last() == Some(name));
        line.with_context(|| format!("no {name} in {lines:?}"))
    };
    // % time, seconds, usecs/call, calls, errors, syscall
    let openat: Vec<_> = row("openat")?.split_whitespace().collect();
    ensure!(
        openat.len() == 6
            && openat
                .get(4)
                .is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0)),
        "{openat:?}"
    );
    row("total")?;
    Ok(())
}

fn on_a_live_container(platform: &str) -> Result<()> {
    let mut live = Live::new(
        platform,
        &Spec::new(&[
            "/bin/sh",
            "-c",
            "while read x; do cat /etc/hostname >/dev/null; echo $x; done",
        ]),
    )?;
    let log = live.root().dir().join("calls");
    live.start(&[&format!("--strace-log={}", log.display())])?;
    let length = |_: &Live| fs::metadata(&log).map_or(0, |m| m.len());
    live.input("one\n")?;
    live.eventually("one", |l| Ok(l.stdout() == "one\n"))?;
    ensure!(length(&live) == 0, "a log that nobody asked for");
    live.must(0, &["debug", "--strace=on"], &[])?;
    live.input("two\n")?;
    live.eventually("two", |l| Ok(l.stdout() == "one\ntwo\n"))?;
    live.must(0, &["debug", "--strace=off"], &[])?;
    let text = fs::read_to_string(&log)?;
    ensure!(
        text.contains("openat(AT_FDCWD, \"/etc/hostname\", O_RDONLY) = 3"),
        "{text}"
    );
    // What was open when it ended is shown as such, and nothing comes after it.
    ensure!(
        text.lines()
            .last()
            .is_some_and(|l| l.contains("<unfinished ...>")),
        "{text}"
    );
    let before = length(&live);
    live.input("three\n")?;
    live.eventually("three", |l| Ok(l.stdout().ends_with("three\n")))?;
    ensure!(
        length(&live) == before,
        "it goes on after it was switched off"
    );
    ensure!(live.end()? == End::Code(0), "{}", live.log());
    Ok(())
}
