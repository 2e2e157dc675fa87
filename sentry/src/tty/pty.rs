//! The two ends of a pseudo-terminal as files.

use super::{OUTPUT, Tty, ioctl};
use abi::Errno;
use fs::{Caller, Events, File, FileOps, Pollee, Pos, UserMemory};
use std::any::Any;
use std::sync::Arc;

/// A program's end.
pub struct Slave(pub(super) Arc<Tty>);

/// The controller's end; closing it hangs the terminal up.
pub struct Master {
    pub(super) tty: Arc<Tty>,
    pub(super) on_close: Box<dyn Fn() + Send + Sync>,
}

impl Slave {
    /// One more open end.
    pub(super) fn open(tty: &Arc<Tty>) -> Result<Self, Errno> {
        let mut state = tty.state.lock();
        if state.master_gone || state.locked || state.hung_up {
            return Err(Errno::EIO);
        }
        if state.exclusive {
            return Err(Errno::EBUSY);
        }
        state.slaves = state.slaves.saturating_add(1);
        state.had_slave = true;
        drop(state);
        Ok(Self(tty.clone()))
    }
}

impl FileOps for Slave {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        self.0.slave_read(buf)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        _pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        self.0.slave_write(buf).map(|n| (n, 0))
    }
    fn poll(&self, _file: &File) -> Events {
        self.0.slave_poll()
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.0.slave_events)
    }
    fn ioctl(
        &self,
        _file: &File,
        caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        ioctl::slave(&self.0, caller, mem, cmd, arg)
    }
    fn release(&self, _file: &File) {
        let mut state = self.0.state.lock();
        state.slaves = state.slaves.saturating_sub(1);
        let last = state.slaves == 0;
        if last {
            state.exclusive = false;
        }
        drop(state);
        if last {
            self.0.drain_host();
            self.0.master_events.notify(Events::HUP | Events::READ);
        }
    }
}

impl FileOps for Master {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        let mut state = self.tty.state.lock();
        if state.packet {
            let Some((first, rest)) = buf.split_first_mut() else {
                return Ok(0);
            };
            if state.packet_status != 0 {
                *first = std::mem::take(&mut state.packet_status);
                return Ok(1);
            }
            if !state.output.is_empty() {
                *first = 0;
                let n = take(&mut state.output, rest);
                drop(state);
                self.tty.slave_events.notify(Events::WRITE);
                return Ok(n.saturating_add(1));
            }
        }
        if state.output.is_empty() {
            return if state.had_slave && state.slaves == 0 {
                Err(Errno::EIO)
            } else {
                Err(Errno::EAGAIN)
            };
        }
        let n = take(&mut state.output, buf);
        drop(state);
        self.tty.slave_events.notify(Events::WRITE);
        Ok(n)
    }
    fn write(
        &self,
        _file: &File,
        _caller: &dyn Caller,
        buf: &[u8],
        _pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let part = buf.get(..1024).unwrap_or(buf);
        if !self.tty.state.lock().ldisc.has_room() {
            return Err(Errno::EAGAIN);
        }
        self.tty.input(part);
        Ok((part.len(), 0))
    }
    fn poll(&self, _file: &File) -> Events {
        let state = self.tty.state.lock();
        let mut events = Events::empty();
        if !state.output.is_empty() || (state.packet && state.packet_status != 0) {
            events |= Events::READ;
        }
        if state.packet && state.packet_status != 0 {
            events |= Events::PRI;
        }
        if state.ldisc.has_room() {
            events |= Events::WRITE;
        }
        if state.had_slave && state.slaves == 0 {
            events |= Events::HUP;
        }
        events
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.tty.master_events)
    }
    fn ioctl(
        &self,
        file: &File,
        caller: &dyn Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        if cmd == abi::ioctl::TIOCGPTPEER {
            let index = self.tty.index.ok_or(Errno::ENOTTY)?;
            return super::devpts::open_peer(file, caller, index, arg);
        }
        ioctl::master(&self.tty, caller, mem, cmd, arg)
    }
    fn release(&self, _file: &File) {
        self.tty.state.lock().master_gone = true;
        self.tty.hang_up();
        (self.on_close)();
    }
}

fn take(from: &mut std::collections::VecDeque<u8>, buf: &mut [u8]) -> usize {
    let n = from.len().min(buf.len()).min(OUTPUT);
    for (to, byte) in buf.iter_mut().zip(from.drain(..n)) {
        *to = byte;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::ioctl::Winsize;

    /// Whoever types without end, to nobody who reads, fills the terminal and not the sandbox's memory.
    #[test]
    fn nobody_reads() {
        let tty = Tty::new(Some(0), None, Winsize::default());
        for _ in 0..100_000 {
            tty.input(b"a\x7f");
        }
        assert!(tty.state.lock().output.len() <= 2 * OUTPUT);
        let mut ends = 0;
        while tty.state.lock().ldisc.has_room() && ends < 100_000 {
            tty.input(b"\x04");
            ends += 1;
        }
        assert!((1..100_000).contains(&ends));
        assert_eq!(tty.slave_read(&mut [0; 8]), Ok(0));
        assert!(tty.state.lock().ldisc.has_room());
    }
}
