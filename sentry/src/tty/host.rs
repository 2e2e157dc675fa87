//! The host's terminal as the container's: the host's end is in raw mode, the discipline is ours.

use super::pty::Slave;
use super::{OUTPUT, Tty};
use abi::Errno;
use abi::ioctl::Winsize;
use fs::hostfile::HostFd;
use fs::{Events, File, Observer};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Reads what the user typed as soon as it is there, so that ^C works while nobody reads.
struct Pump(Weak<Tty>);

impl Observer for Pump {
    fn on_events(&self, _events: Events) {
        if let Some(tty) = self.0.upgrade() {
            tty.pump_host();
            tty.push_host();
            tty.slave_events.notify(Events::READ | Events::WRITE);
        }
    }
}

impl Tty {
    /// Takes in what the host has.
    pub(super) fn pump_host(&self) {
        let Some(host) = &self.host else { return };
        let mut buf = [0; 1024];
        while self.state.lock().ldisc.has_room() {
            match host.read(&mut buf) {
                Ok(0) => {
                    if !self.state.lock().hung_up {
                        self.hang_up();
                    }
                    return;
                }
                Ok(n) => self.input(buf.get(..n).unwrap_or_default()),
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    if !self.state.lock().hung_up {
                        self.hang_up();
                    }
                    return;
                }
            }
        }
    }
}

impl Tty {
    /// Hands over what waits to be shown, as far as the host takes it now. That never blocks (see [`host_terminal`]), so the lock keeps the order.
    pub(super) fn push_host(&self) {
        let Some(host) = &self.host else { return };
        let mut state = self.state.lock();
        while !state.output.is_empty() {
            match host.write(state.output.as_slices().0) {
                Ok(n) => drop(state.output.drain(..n.min(OUTPUT))),
                Err(Errno::EAGAIN) => return,
                // The user is gone, which `pump_host` hears as well.
                Err(_) => state.output.clear(),
            }
        }
    }

    /// Nobody writes any more: what waits is given a moment to be shown, as at the close of a line (`tty_wait_until_sent`).
    pub(super) fn drain_host(&self) {
        let Some(host) = &self.host else { return };
        self.push_host();
        for _ in 0..DRAIN_TRIES {
            if self.state.lock().output.is_empty() {
                return;
            }
            host.wait_writable(DRAIN_WAIT);
            self.push_host();
        }
    }

    /// The host's window changed its size (its SIGWINCH reached the sandbox): the guest's does so too.
    pub fn host_resized(&self) {
        if let Some(w) = self
            .host
            .as_ref()
            .and_then(|h| rustix::termios::tcgetwinsize(&**h.fd()).ok())
        {
            self.set_size(Winsize {
                ws_row: w.ws_row,
                ws_col: w.ws_col,
                ws_xpixel: w.ws_xpixel,
                ws_ypixel: w.ws_ypixel,
            });
        }
    }
}

/// How often, and each time how long, what nobody reads is waited for at the end.
const DRAIN_TRIES: u32 = 10;
const DRAIN_WAIT: Duration = Duration::from_millis(100);

/// A description of the host's terminal `fd`, which nobody else has and which is `O_NONBLOCK`; `size` is what it starts with. Opened at `path` (`/dev/console` or the like).
pub fn host_terminal(fd: OwnedFd, size: Winsize, path: fs::vfs::Path) -> Result<Arc<File>, Errno> {
    let host = HostFd::new(fd)?;
    let tty = Tty::new(None, Some(host.clone()), size);
    tty.state.lock().slaves = 1;
    if let Some(pollee) = host.pollee() {
        pollee.register(
            Arc::new(Pump(Arc::downgrade(&tty))),
            Events::READ | Events::WRITE,
        );
    }
    let inode = path.inode().clone();
    Ok(File::new(Box::new(Slave(tty)), path, inode, 2))
}

/// The terminal of a description, for making it the controlling one and for resizing.
pub fn of(file: &File) -> Option<&Arc<Tty>> {
    file.downcast::<Slave>().map(|s| &s.0)
}
