//! A command on a terminal of its own, seen from the master's side.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome = Result<(), String>;

fn pty() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
    Ok((master, slave))
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) -> Outcome {
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(master, size).map_err(|e| format!("window size: {e}"))
}

/// The command and its terminal.
pub struct Terminal {
    master: OwnedFd,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts a command on a terminal of this many rows and columns.
    pub fn spawn(command: Command, (rows, columns): (u16, u16)) -> Result<Self, String> {
        let (master, slave) = pty().map_err(|e| format!("pty: {e}"))?;
        resize(&master, rows, columns)?;
        let end = || {
            slave
                .try_clone()
                .map(Stdio::from)
                .map_err(|e| e.to_string())
        };
        // A session of its own, with this as its terminal: it hears of ^C and of new sizes.
        let mut inside = Command::new("setsid");
        inside
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        let child = inside
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()
            .map_err(|e| format!("setsid: {e}"))?;
        Ok(Self {
            master,
            child,
            seen: String::new(),
        })
    }

    /// Changes the window's size.
    pub fn resize(&self, rows: u16, columns: u16) -> Outcome {
        resize(&self.master, rows, columns)
    }

    /// Types.
    pub fn write(&self, bytes: &[u8]) -> Outcome {
        rustix::io::write(&self.master, bytes)
            .map_or_else(|e| Err(format!("type: {e}")), |_| Ok(()))
    }

    /// Reads until this appears; what came before it is forgotten.
    pub fn expect(&mut self, text: &str) -> Outcome {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return Ok(());
            }
            if Instant::now() > end || !self.read_some() {
                return Err(format!("never saw {text:?}, but {:?}", self.seen));
            }
        }
    }

    /// Reads what there is, waiting a moment; false at the end.
    fn read_some(&mut self) -> bool {
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        let master = self.master.as_fd();
        if matches!(
            poll(&mut [PollFd::new(&master, PollFlags::IN)], Some(&moment)),
            Ok(0)
        ) {
            return true;
        }
        let mut buf = [0; 4096];
        match rustix::io::read(&self.master, &mut buf) {
            Ok(n) if n > 0 => {
                let bytes = buf.get(..n).unwrap_or_default();
                self.seen.push_str(&String::from_utf8_lossy(bytes));
                true
            }
            _ => false,
        }
    }

    /// The command must end with this status.
    pub fn ends_with(mut self, code: i32) -> Outcome {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return if status.code() == Some(code) {
                    Ok(())
                } else {
                    Err(format!(
                        "{status}, not {code}; on the terminal: {:?}",
                        self.seen
                    ))
                };
            }
            if Instant::now() > end {
                return Err(format!("it does not end; on the terminal: {:?}", self.seen));
            }
            self.read_some();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
