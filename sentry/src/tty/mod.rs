//! Terminals: pseudo-terminal pairs and the host's terminal behind one line discipline, and job control (`tty_ioctl(4)`, `pty(7)`, `credentials(7)`).
//!
//! ```text
//!   program ◄──► slave (Tty) ── ldisc ──► output ──► master's reader, or the host's terminal
//!                                 ▲
//!                                 └───── input ◄──── master's writer, or the host's terminal
//! ```

mod devpts;
mod host;
mod ioctl;
mod job;
pub mod ldisc;
mod pty;

pub use devpts::{DevPts, register_devices};
pub use host::{host_terminal, of};
pub use job::{before_read, before_write};

use crate::kernel::{ControllingTty, ProcessGroup, Session};
use abi::Errno;
use abi::ioctl::Winsize;
use abi::signal::Signal;
use abi::termios::Termios;
use fs::hostfile::HostFd;
use fs::{Events, Pollee};
use ldisc::LineDiscipline;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use sync::Mutex;

/// Output that waits for the master to read it: past this a writer waits.
const OUTPUT: usize = 64 << 10;

struct State {
    termios: Termios,
    size: Winsize,
    ldisc: LineDiscipline,
    /// For the master.
    output: VecDeque<u8>,
    stopped: bool,
    /// Packet mode, and what is to be reported.
    packet: bool,
    packet_status: u8,
    locked: bool,
    exclusive: bool,
    slaves: usize,
    master_gone: bool,
    /// A slave was open once: the master sees the hang-up when the last is closed.
    had_slave: bool,
    hung_up: bool,
    session: Weak<Session>,
    foreground: Weak<ProcessGroup>,
}

/// A terminal, as programs see it.
pub struct Tty {
    /// Its number in devpts; `None` for the host's.
    index: Option<u32>,
    state: Mutex<State>,
    /// Who waits on the program's side.
    slave_events: Pollee,
    /// Who waits on the master.
    master_events: Pollee,
    host: Option<Arc<HostFd>>,
    me: Weak<Tty>,
}

impl Tty {
    fn new(index: Option<u32>, host: Option<Arc<HostFd>>, size: Winsize) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            index,
            state: Mutex::new(State {
                // A pair has no line to hang up.
                termios: Termios {
                    c_cflag: Termios::STD.c_cflag & !abi::termios::HUPCL,
                    ..Termios::STD
                },
                size,
                ldisc: LineDiscipline::default(),
                output: VecDeque::new(),
                stopped: false,
                packet: false,
                packet_status: 0,
                locked: index.is_some(),
                exclusive: false,
                slaves: 0,
                master_gone: false,
                had_slave: false,
                hung_up: false,
                session: Weak::new(),
                foreground: Weak::new(),
            }),
            slave_events: Pollee::new(),
            master_events: Pollee::new(),
            host,
            me: me.clone(),
        })
    }

    /// The session it controls. The last reference to one must not be dropped under the lock.
    fn session(&self) -> Option<Arc<Session>> {
        let state = self.state.lock();
        state.session.upgrade()
    }

    /// What waited for room in the line discipline goes on.
    fn go_on(&self) {
        if self.state.lock().ldisc.has_waiting() {
            self.input(&[]);
        }
    }

    /// Input from the user's side. Echo goes out, signals go to the foreground group.
    fn input(&self, bytes: &[u8]) {
        let (signals, foreground) = {
            let mut state = self.state.lock();
            let termios = state.termios;
            let effects = state.ldisc.input(bytes, &termios);
            match effects.flow {
                Some(start) => state.stopped = !start,
                // Any key starts again, with IXANY.
                None if termios.c_iflag & abi::termios::IXANY != 0 => state.stopped = false,
                None => {}
            }
            // What nobody reads is not echoed without end, as on a real line.
            let room = (2 * OUTPUT).saturating_sub(state.output.len());
            state.output.extend(effects.echo.iter().take(room));
            (effects.signals, state.foreground.upgrade())
        };
        self.push_host();
        self.slave_events.notify(Events::READ | Events::WRITE);
        self.master_events.notify(Events::READ);
        if let Some(foreground) = foreground {
            for signal in signals {
                foreground.signal(signal);
            }
        }
    }

    /// A program reads.
    fn slave_read(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        self.pump_host();
        let mut state = self.state.lock();
        if state.hung_up {
            return Ok(0);
        }
        let termios = state.termios;
        match state.ldisc.read(buf, &termios) {
            Some(n) => {
                drop(state);
                self.go_on();
                self.master_events.notify(Events::WRITE);
                Ok(n)
            }
            None if state.master_gone => Err(Errno::EIO),
            None => Err(Errno::EAGAIN),
        }
    }

    /// A program writes: how many of its bytes were taken.
    fn slave_write(&self, buf: &[u8]) -> Result<usize, Errno> {
        self.push_host();
        let mut state = self.state.lock();
        if state.hung_up || state.master_gone {
            return Err(Errno::EIO);
        }
        if state.stopped || (self.host.is_some() && !state.output.is_empty()) {
            return Err(Errno::EAGAIN);
        }
        let room = OUTPUT.saturating_sub(state.output.len());
        // Processing at most doubles a byte, tabs aside.
        let part = buf.get(..room.checked_div(2).unwrap_or(0)).unwrap_or(buf);
        if part.is_empty() && !buf.is_empty() {
            return Err(Errno::EAGAIN);
        }
        let part = part.get(..4096).unwrap_or(part);
        let termios = state.termios;
        let out = state.ldisc.output(part, &termios);
        state.output.extend(out);
        drop(state);
        self.push_host();
        self.master_events.notify(Events::READ);
        Ok(part.len())
    }

    fn slave_poll(&self) -> Events {
        self.pump_host();
        self.push_host();
        let state = self.state.lock();
        if state.hung_up || state.master_gone {
            return Events::READ | Events::WRITE | Events::HUP | Events::ERR;
        }
        let mut events = Events::empty();
        if state.ldisc.readable(&state.termios) {
            events |= Events::READ;
        }
        let room = if self.host.is_some() { 1 } else { OUTPUT / 2 };
        if state.output.len() < room && !state.stopped {
            events |= Events::WRITE;
        }
        events
    }

    /// The terminal is gone: readers see the end, the session's leader hears `SIGHUP`.
    fn hang_up(&self) {
        let (session, foreground) = {
            let mut state = self.state.lock();
            state.hung_up = true;
            (state.session.upgrade(), state.foreground.upgrade())
        };
        if let Some(session) = session {
            session.set_tty(None);
            if let Some(leader) = session.id.group() {
                leader.send(abi::signal::SigInfo::kernel(Signal::SIGHUP));
                leader.send(abi::signal::SigInfo::kernel(Signal::SIGCONT));
            }
        }
        if let Some(foreground) = foreground {
            foreground.signal(Signal::SIGHUP);
            foreground.signal(Signal::SIGCONT);
        }
        self.slave_events.notify(Events::all());
        self.master_events.notify(Events::all());
    }

    fn set_size(&self, size: Winsize) {
        let foreground = {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
            state.foreground.upgrade()
        };
        if let Some(foreground) = foreground {
            foreground.signal(Signal::SIGWINCH);
        }
    }

    /// Makes it the controlling terminal of a session that has none.
    pub fn become_controlling(&self, session: &Arc<Session>, foreground: &Arc<ProcessGroup>) {
        let Some(me) = self.me.upgrade() else { return };
        {
            let mut state = self.state.lock();
            state.session = Arc::downgrade(session);
            state.foreground = Arc::downgrade(foreground);
        }
        session.set_tty(Some(me));
    }
}

impl ControllingTty for Tty {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn rdev(&self) -> u64 {
        match self.index {
            // Major 136: pts.
            Some(index) => 136 << 8 | u64::from(index & 0xff) | u64::from(index & !0xff) << 12,
            None => 5 << 8 | 1,
        }
    }
    fn foreground(&self) -> Option<Arc<ProcessGroup>> {
        self.state.lock().foreground.upgrade()
    }
    fn disassociate(&self) {
        let (session, foreground) = {
            let mut state = self.state.lock();
            (
                std::mem::take(&mut state.session).upgrade(),
                std::mem::take(&mut state.foreground).upgrade(),
            )
        };
        if let Some(foreground) = foreground {
            foreground.signal(Signal::SIGHUP);
            foreground.signal(Signal::SIGCONT);
        }
        if let Some(session) = session {
            session.set_tty(None);
        }
    }
}
