//! The walls, seen from outside: what sentry, gofer and stubs of a running sandbox are to the host, and that their filters allow nothing that they
//! do not use. (That each call of the gofer's filter is needed is shown in `gofer/tests/jail.rs`: without any one of them it dies at its work.)

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tests::bundle::Spec;
use tests::live::{Live, children};
use tests::terminal::Terminal;
use tests::{guest, suite};

fn main() -> ExitCode {
    suite::main("jail", |suite| {
        // By default, and with what a mode of the network changes.
        let modes: [(&str, &[&str]); 2] =
            [("", &[]), ("@host_sockets", &["--network=host-sockets"])];
        for (mode, options) in modes {
            suite.sandbox(
                &format!("posture{mode}"),
                Arc::new(|platform| posture(platform, options).map_err(|e| format!("{e:#}"))),
            );
        }
        let layer = guest::compile("jail")?.layer;
        match Command::new("strace").arg("-V").output() {
            Ok(_) => {
                for (mode, options) in modes {
                    let mut spec = Spec::new(&["/guest/work"]);
                    spec.layers.push(layer.clone());
                    spec.args
                        .extend((!options.is_empty()).then(|| "sockets".to_owned()));
                    suite.sandbox(
                        &format!("every_call_is_used{mode}"),
                        Arc::new(move |platform| {
                            every_call_is_used(platform, options, &spec)
                                .map_err(|e| format!("{e:#}"))
                        }),
                    );
                }
            }
            Err(_) => suite.skip("all::every_call_is_used", "no strace on this machine"),
        }
        Ok(())
    })
}

/// A field of /proc/PID/status (of every thread: they must agree).
fn field(pid: i32, name: &str) -> Result<String> {
    let mut values = BTreeSet::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let Ok(text) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        values.insert(
            line.unwrap_or("?")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    ensure!(
        values.len() == 1,
        "{name} of the threads of {pid}: {values:?}"
    );
    values.pop_first().context("a thread")
}

fn expect(who: &str, pid: i32, fields: &[(&str, &str)]) -> Result<()> {
    for (name, wanted) in fields {
        let got = field(pid, name)?;
        ensure!(
            got == *wanted,
            "{who} ({pid}): {name} is {got:?}, not {wanted:?}"
        );
    }
    Ok(())
}

/// Which of its namespaces are the host's (ours).
fn shared_namespaces(pid: i32) -> Result<BTreeSet<String>> {
    let mut shared = BTreeSet::new();
    for ns in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{ns}"));
        if of(&pid.to_string())? == of("self")? {
            shared.insert(ns.to_owned());
        }
    }
    Ok(shared)
}

/// The root must be one empty mount that refuses writes.
fn root_is_empty(who: &str, pid: i32) -> Result<()> {
    let root = format!("/proc/{pid}/root/");
    let names: Vec<_> = fs::read_dir(&root)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(names.is_empty(), "{who}: in its root are {names:?}");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    ensure!(mounts.lines().count() == 1, "{who}: its mounts:\n{mounts}");
    let options = mounts.split(' ').nth(5).unwrap_or_default();
    for wanted in ["ro", "nosuid", "nodev", "noexec"] {
        ensure!(
            options.split(',').any(|o| o == wanted),
            "{who}: its root is {options}"
        );
    }
    match fs::write(format!("{root}x"), "x") {
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::ROFS.raw_os_error()) => Ok(()),
        r => bail!("{who}: writing to its root: {r:?}"),
    }
}

const O_PATH: i64 = 0o10_000_000;

/// The kind of a descriptor, for those a process may have: the rest is shown as it is.
fn kind(pid: i32, fd: &str) -> Result<String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let path = format!("/proc/{pid}/fd/{fd}");
    let target = fs::read_link(&path)?.to_string_lossy().into_owned();
    for prefix in [
        "socket:",
        "pipe:",
        "anon_inode:[eventfd]",
        "anon_inode:[eventpoll]",
        "anon_inode:[signalfd]",
        "/memfd:runsc-rs-",
    ] {
        if target.starts_with(prefix) {
            return Ok(prefix.trim_end_matches([':', '-']).to_owned());
        }
    }
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))?;
    let flags = info
        .lines()
        .find_map(|l| l.strip_prefix("flags:"))
        .unwrap_or_default();
    if i64::from_str_radix(flags.trim(), 8)? & O_PATH != 0 {
        return Ok("node".to_owned());
    }
    let meta = fs::metadata(&path)?;
    let null = fs::metadata("/dev/null")?;
    if meta.file_type().is_char_device() && meta.rdev() == null.rdev() {
        return Ok("null".to_owned());
    }
    Ok(match target {
        // An anonymous inode's type says "file" to nobody.
        t if t.starts_with("anon_inode:") => t,
        _ if meta.is_file() => "file".to_owned(),
        _ if meta.is_dir() => "directory".to_owned(),
        t => t,
    })
}

fn kinds(pid: i32) -> Result<BTreeSet<String>> {
    let mut kinds = BTreeSet::new();
    for fd in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        // One that was closed meanwhile.
        if let Ok(kind) = kind(pid, &fd.file_name().to_string_lossy()) {
            kinds.insert(kind);
        }
    }
    Ok(kinds)
}

fn only(who: &str, got: &BTreeSet<String>, allowed: &[&str]) -> Result<()> {
    let unexpected: Vec<_> = got
        .iter()
        .filter(|k| !allowed.contains(&k.as_str()))
        .collect();
    ensure!(
        unexpected.is_empty(),
        "{who} has {unexpected:?}; allowed are {allowed:?}"
    );
    Ok(())
}

const NONE: &str = "0000000000000000";

fn posture(platform: &str, options: &[&str]) -> Result<()> {
    let mut live = Live::new(
        platform,
        &Spec::new(&["/bin/sh", "-c", "sleep 1000 & cat; wait"]),
    )?;
    live.start(options)?;
    let sandbox = live.pid("sandbox")?;
    let gofer = live.pid("gofer")?;
    live.eventually("three programs run", |_| Ok(children(sandbox).len() >= 4))?;

    let walls = [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("CapInh", NONE),
        ("CapBnd", NONE),
        ("CapAmb", NONE),
        ("Groups", ""),
    ];
    let nobody = "65534 65534 65534 65534";
    let powerless = [
        ("CapPrm", NONE),
        ("CapEff", NONE),
        ("Uid", nobody),
        ("Gid", nobody),
    ];
    let own = BTreeSet::from(["cgroup".to_owned(), "time".to_owned()]);

    let sentry = "the sentry";
    expect(sentry, sandbox, &walls)?;
    expect(sentry, sandbox, &powerless)?;
    ensure!(
        shared_namespaces(sandbox)? == own,
        "{sentry} shares {:?}",
        shared_namespaces(sandbox)?
    );
    root_is_empty(sentry, sandbox)?;
    let sentry_kinds = [
        "null",
        "pipe",
        "file",
        "socket",
        "/memfd:runsc-rs",
        "anon_inode:[eventfd]",
        "anon_inode:[eventpoll]",
        "anon_inode:[signalfd]",
        // Where guest threads' calls come in (systrap).
        "anon_inode:seccomp notify",
    ];
    only(sentry, &kinds(sandbox)?, &sentry_kinds)?;
    files_are_known(&live, sandbox)?;

    // The zygote and the stubs: every child.
    for stub in children(sandbox) {
        let who = format!("stub {stub}");
        expect(&who, stub, &walls)?;
        expect(&who, stub, &powerless)?;
        ensure!(
            shared_namespaces(stub)? == own,
            "{who} shares {:?}",
            shared_namespaces(stub)?
        );
        root_is_empty(&who, stub)?;
        only(&who, &kinds(stub)?, &["socket", "/memfd:runsc-rs"])?;
    }

    let who = "the gofer";
    expect(who, gofer, &walls)?;
    // CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP (docs/gofer.md), as far as we have them.
    let kept = 0x8000_001b
        & u64::from_str_radix(&field(i32::try_from(std::process::id())?, "CapBnd")?, 16)?;
    let kept = format!("{kept:016x}");
    expect(who, gofer, &[("CapPrm", &kept), ("CapEff", &kept)])?;
    let mut shared = own.clone();
    shared.insert("user".to_owned());
    ensure!(
        shared_namespaces(gofer)? == shared,
        "{who} shares {:?}",
        shared_namespaces(gofer)?
    );
    root_is_empty(who, gofer)?;
    // Its trees, and nodes in them: `gofer/tests/jail.rs` shows that none leads out of them.
    only(
        who,
        &kinds(gofer)?,
        &["null", "node", "file", "directory", "socket"],
    )?;
    let net = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net"));
    // It shares an empty one, and none that leads anywhere.
    ensure!(
        (net(gofer)? == net(sandbox)?) == options.is_empty(),
        "{who} has the network namespace {:?}, {sentry} {:?}",
        net(gofer)?,
        net(sandbox)?
    );
    for pid in [sandbox, gofer] {
        let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits
            .lines()
            .find(|l| l.starts_with("Max core file size"))
            .unwrap_or_default();
        ensure!(
            pid == gofer || core.split_whitespace().nth(4) == Some("0"),
            "core dumps: {core}"
        );
    }
    live.input("end\n")
}

/// A regular file of the sentry is its log, its exit file, the container's output, or of the container's root.
fn files_are_known(live: &Live, sandbox: i32) -> Result<()> {
    for fd in fs::read_dir(format!("/proc/{sandbox}/fd"))?.flatten() {
        let Ok(target) = fs::read_link(fd.path()) else {
            continue;
        };
        if !fs::metadata(fd.path()).is_ok_and(|m| m.is_file())
            || target.to_string_lossy().starts_with("/memfd:")
        {
            continue;
        }
        // The gofer's trees are mounted nowhere: the path of a file in them is that from their root.
        let inside = live
            .root()
            .path()
            .join(target.strip_prefix("/").unwrap_or(&target));
        ensure!(
            target.starts_with(live.root().dir()) || inside.exists(),
            "the sentry holds {}",
            target.display()
        );
    }
    Ok(())
}

/// strace(1) on a process and all its threads.
struct Watch(Child, std::path::PathBuf);

impl Watch {
    fn on(live: &Live, pid: i32) -> Result<Self> {
        let path = live.root().dir().join("calls");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-e", "signal=none", "-o"])
            .arg(&path)
            .args(["-p", &pid.to_string()])
            .stderr(Stdio::null())
            .spawn()?;
        let watch = Watch(child, path);
        live.eventually("strace is attached", |_| {
            Ok(field(pid, "TracerPid").is_ok_and(|t| t != "0"))
        })?;
        Ok(watch)
    }

    /// The names of the calls so far: at the line's start after the thread's number, or resumed.
    fn calls(&self) -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(&self.1)?;
        let name = |line: &str| {
            let (_, rest) = line.split_once(' ')?;
            let rest = rest.trim_start();
            let (name, _) = rest.split_once('(')?;
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                .then(|| name.to_owned())
        };
        Ok(text.lines().filter_map(name).collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The sentry's filter as `docs/security.md` lists it; a unit test keeps that page what the code says.
fn allowed(platform: &str, sockets: bool) -> Result<BTreeSet<String>> {
    let page = fs::read_to_string(tests::env::top().join("docs/security.md"))?;
    let (_, list) = page
        .split_once("<!-- sentry -->")
        .context("the page's list")?;
    let (always, with_sockets) = list
        .split_once("<!-- host sockets -->")
        .context("the page's second list")?;
    let with_sockets = if sockets { with_sockets } else { "" };
    let names: BTreeSet<String> = [always, with_sockets]
        .concat()
        .lines()
        .filter(|l| !l.contains("; only on ") || l.contains(&format!("; only on {platform} |")))
        .filter_map(|l| Some(l.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    ensure!(names.len() > 20, "the filter: {names:?}");
    Ok(names)
}

fn every_call_is_used(platform: &str, options: &[&str], spec: &Spec) -> Result<()> {
    let mut live = Live::new(platform, spec)?;
    let sockets = !options.is_empty();
    let allowed = allowed(platform, sockets)?;
    ensure!(
        allowed.len() <= if sockets { 64 } else { 55 },
        "the sentry's filter allows {} calls",
        allowed.len()
    );
    live.start(options)?;
    let sandbox = live.pid("sandbox")?;
    let watch = Watch::on(&live, sandbox)?;
    live.input("go\n")?;
    live.eventually("the work is done", |l| Ok(l.stdout().contains("done")))?;
    // A sleep that a stop interrupted.
    let pid = Pid::from_raw(sandbox).context("a pid")?;
    kill_process(pid, Signal::STOP)?;
    kill_process(pid, Signal::CONT)?;
    // Others come in, one of them with a terminal of another size.
    live.must(0, &["exec"], &["/bin/true"])?;
    live.must(0, &["ps"], &[])?;
    let mut command = live.command();
    command.args(["exec", "--tty"]).arg(live.root().id());
    command.args([
        "/bin/sh",
        "-c",
        "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut terminal = Terminal::spawn(command, (20, 70)).map_err(anyhow::Error::msg)?;
    let watched = (|| {
        terminal.expect("ready")?;
        terminal.resize(30, 90)?;
        terminal.expect("30 90")?;
        terminal.ends_with(3)
    })();
    watched.map_err(anyhow::Error::msg)?;
    live.input("q\n")?;
    live.end()?;
    let used = watch.calls()?;
    let unused: Vec<_> = allowed.difference(&used).collect();
    ensure!(
        unused.is_empty(),
        "the sentry's filter allows what it never used: {unused:?}\nused: {used:?}"
    );
    // (A call that is not allowed would have been the sandbox's end.)
    Ok(())
}
