//! What daemons of engines and their commands have in common: how a command ended, the daemon as a child, waiting, whose processes are left.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{End, run};
use crate::terminal::Terminal;

/// What a test ends with.
pub type Outcome = Result<(), String>;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An error as its text.
pub fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// What a command of an engine's left behind.
pub struct Ran {
    /// Its status, if it exited.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// Where it complained.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Status, output and errors must be these.
    pub fn is(&self, code: i32, stdout: &str, stderr: &str) -> Outcome {
        if (self.code, self.stdout.as_str(), self.stderr.as_str()) == (Some(code), stdout, stderr) {
            return Ok(());
        }
        Err(format!(
            "status {:?}, not {code}\nstdout: {:?}\n   not: {stdout:?}\nstderr: {:?}\n   not: {stderr:?}",
            self.code, self.stdout, self.stderr
        ))
    }
    /// The status must be this.
    pub fn code(&self, code: i32) -> Outcome {
        if self.code == Some(code) {
            return Ok(());
        }
        Err(format!(
            "status {:?}, not {code}\n{}\n{}",
            self.code, self.stdout, self.stderr
        ))
    }
    /// Its errors must contain this.
    pub fn says(&self, text: &str) -> Outcome {
        if self.stderr.contains(text) {
            return Ok(());
        }
        Err(format!("it does not say {text:?}:\n{}", self.stderr))
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command, input: &[u8]) -> Result<Ran, String> {
    let out = run(command, input, PATIENCE).map_err(|e| format!("{command:?}: {e}"))?;
    Ok(Ran {
        code: match out.end {
            End::Code(c) => Some(c),
            End::Signal(_) => None,
            End::TimedOut => {
                return Err(format!("{command:?} hangs\n{}{}", out.text(), out.errors()));
            }
        },
        stdout: out.text(),
        stderr: out.errors(),
        took: out.took,
    })
}

/// Waits until something holds.
pub fn eventually(what: &str, holds: impl Fn() -> Result<bool, String>) -> Outcome {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if holds()? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(30));
    }
    Err(format!("never: {what}"))
}

/// A program at `path` that is the runtime on this platform.
pub fn write_runtime(path: &Path, platform: &str) -> Outcome {
    let binary = crate::env::binary()?;
    let script = format!(
        "#!/bin/sh\nexec {} --platform={platform} \"$@\"\n",
        binary.display()
    );
    fs::write(path, script).map_err(text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(text)
}

/// The daemon of this process, once it was started.
pub struct Service {
    name: &'static str,
    child: Mutex<Option<Child>>,
}

impl Service {
    /// None yet.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            child: Mutex::new(None),
        }
    }

    /// Starts it.
    pub fn start(&self, mut command: Command) -> Outcome {
        // A parent-death signal follows the thread that started the child: one that lives as long as the process.
        let (send, receive) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let _ = send.send(command.spawn());
            loop {
                thread::park();
            }
        });
        let child = receive.recv().map_err(text)?;
        let child = child.map_err(|e| format!("{}: {e}", self.name))?;
        *self.child.lock().map_err(text)? = Some(child);
        Ok(())
    }

    /// Whether it has ended, or was never started.
    pub fn has_ended(&self) -> Result<bool, String> {
        match self.child.lock().map_err(text)?.as_mut() {
            Some(child) => Ok(child.try_wait().map_err(text)?.is_some()),
            None => Ok(true),
        }
    }

    /// Ends it by a signal to this process, or to the child itself.
    pub fn end(&self, pid: Option<Pid>, signal: Signal) {
        let Ok(Some(mut child)) = self.child.lock().map(|mut c| c.take()) else {
            return;
        };
        let own = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.or(own) {
            let _ = kill_process(pid, signal);
        }
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} does not end: killed", self.name);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The processes of these names, as the kernel shortens them.
pub fn named(names: &[&str]) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if names.contains(&comm.trim())
            && let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok())
        {
            found.push(pid);
        }
    }
    found
}

/// Kills one, which may have ended meanwhile.
pub fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// For a shell on a terminal that is to be of 33 rows and 101 columns: see [`has_size_and_keys`].
pub const ON_A_TERMINAL: &str = "until [ \"$(stty size 2>/dev/null)\" = '33 101' ]; do sleep 0.05; done; trap 'stty size' WINCH; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done";

/// A new size reaches [`ON_A_TERMINAL`], and so does ^C.
pub fn has_size_and_keys(mut terminal: Terminal) -> Outcome {
    terminal.expect("ready")?;
    terminal.resize(50, 120)?;
    terminal.expect("50 120")?;
    terminal.write(b"\x03")?;
    terminal.expect("interrupted")?;
    terminal.ends_with(5)
}
