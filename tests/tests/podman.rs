//! podman (Debian's) drives the runtime through conmon, with a store of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use tests::engine::{
    ON_A_TERMINAL, Outcome, PATIENCE, Ran, eventually, has_size_and_keys, ran, text, write_runtime,
};
use tests::process::{End, run as run_command};
use tests::suite;
use tests::terminal::Terminal;

type Test = fn(&Podman, &str) -> Outcome;

fn main() -> ExitCode {
    let code = suite::main_in("podman", &["--net"], |suite| {
        if let Some(program) = ["/usr/bin/podman", "/usr/bin/conmon"]
            .iter()
            .find(|p| !Path::new(p).exists())
        {
            let why = format!("no {program} on this machine (Debian: apt-get install podman)");
            suite.skip("all::podman", &why);
            return Ok(());
        }
        let tests: [(&str, Test); 5] = [
            ("run", run),
            ("exec_logs_pause_stop", exec_logs_pause_stop),
            ("copies_and_volumes", copies_and_volumes),
            ("terminals", terminals),
            ("limits", limits),
        ];
        for (name, test) in tests {
            let body = move |platform: &str| test(Podman::get()?, platform);
            suite.sandbox(name, Arc::new(body));
        }
        Ok(())
    });
    Podman::end();
    code
}

const LOOP: &str = "while :; do sleep 0.05; done";

struct Podman {
    dir: PathBuf,
}

static STORE: OnceLock<Result<Podman, String>> = OnceLock::new();

impl Podman {
    fn get() -> Result<&'static Podman, String> {
        STORE.get_or_init(Self::new).as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Podman, String> {
        let dir = tests::env::scratch().join(format!("podman-{}", tests::env::unique()));
        fs::create_dir_all(&dir).map_err(text)?;
        for platform in tests::env::platforms() {
            write_runtime(&dir.join(&platform), &platform)?;
        }
        let script = format!(
            "set -e; mkdir -p image/bin image/tmp image/etc image/proc image/dev image/sys; cp {} image/bin/busybox
            for a in sh cat echo sleep ls stty id; do ln -s busybox image/bin/$a; done
            echo root:x:0:0::/:/bin/sh > image/etc/passwd; tar -C image -cf image.tar .",
            tests::env::rootfs().join("bin/busybox").display()
        );
        let mut sh = Command::new("sh");
        let out = run_command(sh.args(["-c", &script]).current_dir(&dir), b"", PATIENCE);
        let out = out.map_err(text)?;
        if out.end != End::Code(0) {
            return Err(out.errors());
        }
        let tar = dir.join("image.tar").display().to_string();
        let podman = Podman { dir };
        let platform = tests::env::platforms().first().cloned().unwrap_or_default();
        podman
            .podman(&platform, &["import", &tar, "tiny"])?
            .code(0)?;
        Ok(podman)
    }

    fn end() {
        let Some(Ok(podman)) = STORE.get() else {
            return;
        };
        let platform = tests::env::platforms().first().cloned().unwrap_or_default();
        let _ = podman.podman(&platform, &["rm", "-fa", "-t", "0"]);
        let _ = podman.podman(&platform, &["volume", "prune", "-f"]);
        for mounted in ["root/overlay", "root"] {
            let _ = rustix::mount::unmount(
                podman.dir.join(mounted),
                rustix::mount::UnmountFlags::DETACH,
            );
        }
        if !tests::env::keep() {
            let _ = fs::remove_dir_all(&podman.dir);
        }
    }

    fn command(&self, platform: &str, args: &[&str]) -> Command {
        let at = |name: &str| self.dir.join(name);
        let mut command = Command::new("podman");
        // (conmon leaves a file where it is when memory is short.)
        command
            .current_dir(&self.dir)
            .arg("--runtime")
            .arg(at(platform))
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--tmpdir")
            .arg(at("tmp"))
            .arg("--volumepath")
            .arg(at("volumes"))
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(args);
        command
    }

    fn podman(&self, platform: &str, args: &[&str]) -> Result<Ran, String> {
        self.with_input(platform, args, b"")
    }

    fn with_input(&self, platform: &str, args: &[&str], input: &[u8]) -> Result<Ran, String> {
        ran(&mut self.command(platform, args), input)
    }

    /// `podman run --rm --network=none OPTIONS… tiny COMMAND…`
    fn once(&self, p: &str, options: &[&str], command: &[&str]) -> Result<Ran, String> {
        let head = ["run", "--rm", "--network=none"];
        self.podman(p, &[&head, options, &["tiny"], command].concat())
    }

    /// The same in the background: its id.
    fn container(&self, p: &str, options: &[&str], script: &str) -> Result<String, String> {
        let head = ["run", "-d", "--network=none"];
        let tail = ["tiny", "sh", "-c", script];
        let out = self.podman(p, &[&head, options, &tail].concat())?;
        out.code(0)?;
        Ok(out.stdout.trim().to_owned())
    }
}

fn run(d: &Podman, p: &str) -> Outcome {
    let script = "echo out; echo err >&2; exit 7";
    d.once(p, &[], &["sh", "-c", script])?
        .is(7, "out\n", "err\n")?;
    let options = ["-e", "A=b c", "-w", "/tmp", "-h", "box", "-u", "12:34"];
    let script = "echo $A; pwd; cat /proc/sys/kernel/hostname; id -u; id -g";
    d.once(p, &options, &["sh", "-c", script])?
        .is(0, "b c\n/tmp\nbox\n12\n34\n", "")?;
    let input = ["run", "--rm", "-i", "--network=none", "tiny", "cat"];
    d.with_input(p, &input, b"through and through")?
        .is(0, "through and through", "")?;
    d.once(p, &[], &["/no/such/program"])?.code(127)?;
    d.once(p, &[], &["/etc/passwd"])?.code(126)
}

fn exec_logs_pause_stop(d: &Podman, p: &str) -> Outcome {
    let script = format!("trap 'echo term; exit 9' TERM; echo ready; {LOOP}");
    let c = d.container(p, &[], &script)?;
    let says = |text: &str| {
        eventually(&format!("the log says {text}"), || {
            Ok(d.podman(p, &["logs", &c])?.stdout.contains(text))
        })
    };
    says("ready")?;
    d.podman(
        p,
        &["exec", &c, "sh", "-c", "echo out; echo err >&2; exit 3"],
    )?
    .is(3, "out\n", "err\n")?;
    let state = |wanted: &str| {
        let format = "{{.State.Status}} {{.State.ExitCode}}";
        let got = d.podman(p, &["inspect", "-f", format, &c])?.stdout;
        match got.trim() == wanted {
            true => Ok(()),
            false => Err(format!("it is {got:?}, not {wanted}")),
        }
    };
    d.podman(p, &["pause", &c])?.code(0)?;
    state("paused 0")?;
    d.podman(p, &["unpause", &c])?.code(0)?;
    state("running 0")?;
    d.podman(p, &["stop", "-t", "60", &c])?.code(0)?;
    state("exited 9")?;
    says("term")?;
    d.podman(p, &["start", &c])?.code(0)?;
    state("running 0")?;
    d.podman(p, &["kill", &c])?.code(0)?;
    d.podman(p, &["wait", &c])?.is(0, "137\n", "")?;
    d.podman(p, &["rm", &c])?.code(0)
}

fn copies_and_volumes(d: &Podman, p: &str) -> Outcome {
    let volume = format!("kept-{p}");
    d.podman(p, &["volume", "create", &volume])?.code(0)?;
    let mount = format!("{volume}:/kept");
    d.once(p, &["-v", &mount], &["sh", "-c", "echo one > /kept/file"])?
        .code(0)?;
    d.once(p, &["-v", &mount], &["cat", "/kept/file"])?
        .is(0, "one\n", "")?;
    // While it does not run: podman enters the mount namespace of one that does, where a sandbox has nothing.
    let create = ["create", "--network=none", "tiny", "cat", "/tmp/in"];
    let out = d.podman(p, &create)?;
    out.code(0)?;
    let c = out.stdout.trim();
    let from = d.dir.join(format!("in-{p}"));
    fs::write(&from, "from outside\n").map_err(text)?;
    let from = from.display().to_string();
    d.podman(p, &["cp", &from, &format!("{c}:/tmp/in")])?
        .code(0)?;
    d.podman(p, &["start", "--attach", c])?
        .is(0, "from outside\n", "")?;
    d.podman(p, &["rm", "-f", "-t", "0", c])?.code(0)
}

fn terminals(d: &Podman, p: &str) -> Outcome {
    let words = [
        "run",
        "--rm",
        "-it",
        "--network=none",
        "tiny",
        "sh",
        "-c",
        ON_A_TERMINAL,
    ];
    has_size_and_keys(Terminal::spawn(d.command(p, &words), (33, 101))?)
}

fn limits(d: &Podman, p: &str) -> Outcome {
    let greedy = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done";
    d.once(p, &["--memory", "64m"], &["sh", "-c", greedy])?
        .code(137)?;
    d.once(p, &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"], &[
        "sh",
        "-c",
        "while read a b; do [ $a = CapEff: -o $a = NoNewPrivs: ] && echo $a $b; done < /proc/self/status; true",
    ])?
    .is(0, "CapEff: 0000000000000000\nNoNewPrivs: 1\n", "")
}
