//! Terminals.
//!
//! The host's pseudoterminal is a pipe with a size: the command makes the pair, puts the slave into raw mode, and gives it to
//! the sandbox; the master goes to `--console-socket`, or the command relays between it and its own terminal. Line discipline,
//! job control and `stty` are the guest's: the sentry's tty has its own over this raw one, so what a guest does to its terminal
//! never becomes an ioctl on the host's, and /dev/pts/N in the container is one that can be opened again. Only the window size
//! crosses: the sandbox process is the session leader of the slave, so the host's SIGWINCH reaches it, and it reads TIOCGWINSZ.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::error::rx;

/// A pair of terminals.
pub struct Pty {
    /// For whoever shows it.
    pub master: OwnedFd,
    /// For the sandbox.
    pub slave: OwnedFd,
}

impl Pty {
    /// A new pair, its slave raw.
    pub fn open(size: Option<(u16, u16)>) -> Result<Pty> {
        let make = || {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = rustix::pty::openpt(flags)?;
            rustix::pty::unlockpt(&master)?;
            let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
            let mut t = rustix::termios::tcgetattr(&slave)?;
            t.make_raw();
            rustix::termios::tcsetattr(&slave, OptionalActions::Now, &t)?;
            // This description is the sentry's alone, and whoever shows the terminal must not make it wait.
            rustix::fs::fcntl_setfl(&slave, rustix::fs::OFlags::NONBLOCK)?;
            if let Some((rows, columns)) = size {
                rustix::termios::tcsetwinsize(
                    &master,
                    Winsize {
                        ws_row: rows,
                        ws_col: columns,
                        ws_xpixel: 0,
                        ws_ypixel: 0,
                    },
                )?;
            }
            Ok(Pty { master, slave })
        };
        make().map_err(|e| anyhow!("console: {}", rx(e)))
    }

    /// Sends the master over the socket at `path`, its name as the message, as runc does.
    pub fn send_master(&self, path: &Path) -> Result<()> {
        let socket = connect(path)?;
        let name = b"/dev/ptmx";
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [self.master.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        rustix::net::sendmsg(
            &socket,
            &[std::io::IoSlice::new(name)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .map(drop)
        .map_err(|e| anyhow!("send the console to {}: {}", path.display(), rx(e)))
    }
}

fn connect(path: &Path) -> Result<OwnedFd> {
    let make = || {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Engines put the socket in directories whose path may be longer than an address.
        let address = match SocketAddrUnix::new(path) {
            Err(Errno::NAMETOOLONG) => {
                let file = rustix::fs::open(
                    path,
                    rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
                    rustix::fs::Mode::empty(),
                )?;
                let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                rustix::net::connect(&socket, &address)?;
                return Ok(socket);
            }
            a => a?,
        };
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    };
    make().map_err(|e| anyhow!("dial unix {}: connect: {}", path.display(), rx(e)))
}

/// runc's rules of `terminal`, `--detach` and `--console-socket`.
pub fn check(terminal: bool, detach: bool, socket: Option<&Path>) -> Result<()> {
    match (terminal, detach, socket) {
        (true, true, None) => {
            bail!("cannot allocate tty if runsc-rs will detach without setting console socket")
        }
        (false, _, Some(_)) | (_, false, Some(_)) => {
            bail!("cannot use console socket if runsc-rs will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}

/// The command's own terminal, raw while a container is shown on it.
pub struct Raw {
    saved: Option<Termios>,
}

impl Raw {
    /// Puts stdin into raw mode, if it is a terminal.
    pub fn stdin() -> Raw {
        let stdin = rustix::stdio::stdin();
        let saved = rustix::termios::tcgetattr(stdin).ok();
        if let Some(t) = &saved {
            let mut raw = t.clone();
            raw.make_raw();
            let _ = rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw);
        }
        Raw { saved }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(t) = &self.saved {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, t);
        }
    }
}

/// Gives a pty the size of the command's terminal.
pub fn copy_size(master: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// Relays between the command's stdio and a pty's master.
pub struct Relay {
    master: OwnedFd,
    /// Stdin has not ended.
    input: bool,
    /// The master has not hung up.
    pub output: bool,
}

impl Relay {
    /// Starts with both directions open.
    pub fn new(master: OwnedFd) -> Relay {
        Relay {
            master,
            input: true,
            output: true,
        }
    }

    /// The master.
    pub fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// What to poll.
    pub fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let mut fds = Vec::new();
        if self.output {
            fds.push(PollFd::new(&self.master, PollFlags::IN));
        }
        if self.input {
            fds.push(PollFd::from_borrowed_fd(
                rustix::stdio::stdin(),
                PollFlags::IN,
            ));
        }
        fds
    }

    /// Moves what is there; `ready` is of [`Relay::poll_fds`], in order.
    pub fn pump(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        let mut buffer = [0; 16 << 10];
        if self.output && ready.next().is_some_and(|r| !r.is_empty()) {
            self.output = copy(self.master.as_fd(), rustix::stdio::stdout(), &mut buffer);
        }
        if self.input && ready.next().is_some_and(|r| !r.is_empty()) {
            self.input = copy(rustix::stdio::stdin(), self.master.as_fd(), &mut buffer);
        }
    }

    /// The last of the output, once the container is gone.
    pub fn drain(&mut self) {
        let mut buffer = [0; 16 << 10];
        while self.output {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())) {
                Ok(n) if n > 0 => {
                    self.output = copy(self.master.as_fd(), rustix::stdio::stdout(), &mut buffer)
                }
                _ => break,
            }
        }
    }
}

/// One read, all of it written; whether there may be more.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    match rustix::io::read(from, &mut *buffer) {
        Ok(0) => false,
        Ok(n) => {
            let mut rest = buffer.get(..n).unwrap_or_default();
            while !rest.is_empty() {
                match rustix::io::write(to, rest) {
                    Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                    Err(Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
            true
        }
        Err(Errno::INTR | Errno::AGAIN) => true,
        // EIO: the last slave was closed.
        Err(_) => false,
    }
}
