//! The control server: one thread, one poll. It wakes when somebody speaks, when a signal arrives, when a watched process ends, or
//! when the gofer is gone; and by itself once, when the sandbox has settled.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use sentry::kernel::ThreadGroup;

use super::Descriptors;
use super::guest::{Guest, status_of};
use crate::control::client::{receive, send};
use crate::control::wire::{Decoder, Reply, Request};
use crate::sys;

/// Signals that the sandbox process takes for the container's init: what an engine may send to the pid it was given. SIGWINCH
/// comes from the host's terminal.
pub const FORWARDED: &[i32] = &[
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
];

/// The most connections at once: each is a command that somebody runs.
const MAX_CONNECTIONS: usize = 512;

/// Somebody who speaks to the sandbox.
struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    /// The sandbox ends with it.
    leash: bool,
    /// A process that it started, which ends with it.
    process: Option<Arc<ThreadGroup>>,
    /// Processes whose end it waits for.
    waits: Vec<Arc<ThreadGroup>>,
    /// It waits for the init, which need not have been started yet.
    waits_init: bool,
}

impl Connection {
    fn new(socket: OwnedFd, leash: bool) -> Connection {
        Connection {
            socket,
            decoder: Decoder::default(),
            leash,
            process: None,
            waits: Vec::new(),
            waits_init: false,
        }
    }

    /// Answers; somebody who does not listen is dropped at the next poll.
    fn reply(&self, reply: &Reply) {
        let _ = send(self.socket.as_fd(), reply, &[]);
    }
}

/// What is polled, in the order of the descriptors before the connections'.
const FIXED: usize = 4;

/// The server.
pub struct Server {
    guest: Guest,
    listener: OwnedFd,
    signals: OwnedFd,
    connections: Vec<Connection>,
    /// What the start took has been given back.
    settled: Cell<bool>,
}

/// When a sandbox has settled: what is mapped of the program then is mostly what its start took.
const SETTLED_AFTER: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

impl Server {
    /// A server with the leash as its first connection.
    pub fn new(guest: Guest, fds: &Descriptors, signals: OwnedFd) -> Result<Server> {
        let leash = fds.leash.try_clone().context("leash")?;
        let listener = fds.listener.try_clone().context("control socket")?;
        Ok(Server {
            guest,
            listener,
            signals,
            connections: vec![Connection::new(leash, true)],
            settled: Cell::new(false),
        })
    }

    /// What it serves.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Serves until the init has ended; its status.
    pub fn run(mut self) -> u8 {
        let status = self.serve_all();
        self.guest.end_strace();
        status
    }

    fn serve_all(&mut self) -> u8 {
        loop {
            let ready = match self.poll() {
                Ok(r) => r,
                Err(e) => {
                    log::error!("control server: {e:#}");
                    return 1;
                }
            };
            let is = |i: usize| ready.get(i).is_some_and(|f| !f.is_empty());
            if is(2) {
                let mut count = [0; 8];
                let _ = rustix::io::read(self.guest.kicked(), &mut count);
            }
            if is(1) {
                self.take_signals();
            }
            if is(3) {
                let reason = self
                    .guest
                    .gofer()
                    .death()
                    .unwrap_or_else(|| "it exited".to_owned());
                log::error!("container stopped: the gofer failed: {reason}");
                self.guest.gofer().hung_up();
                return 1;
            }
            // Connections that end are removed, so they are counted first and served from the last.
            for i in (0..self.connections.len()).rev() {
                if is(FIXED.saturating_add(i)) && !self.serve(i) {
                    let gone = self.connections.remove(i);
                    if gone.leash {
                        log::debug!("the command that held the sandbox is gone");
                        return 137;
                    }
                    if let Some(group) = gone.process {
                        self.guest.kill(&group);
                    }
                }
            }
            if is(0) {
                self.accept();
            }
            self.tell_of_ends();
            if let Some(status) = self.guest.ended() {
                return status;
            }
        }
    }

    fn poll(&self) -> Result<Vec<PollFlags>> {
        let kicked = self.guest.kicked();
        let watch = self.guest.gofer().watch();
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&kicked, PollFlags::IN),
        ];
        // Only its hang-up: what the gofer says is for the threads that ask.
        match &watch {
            Some(w) => fds.push(PollFd::new(w, PollFlags::RDHUP)),
            None => return Err(anyhow!("the gofer's connection cannot be watched")),
        }
        fds.extend(
            self.connections
                .iter()
                .map(|c| PollFd::new(&c.socket, PollFlags::IN)),
        );
        loop {
            let limit = (!self.settled.get()).then_some(&SETTLED_AFTER);
            match rustix::event::poll(&mut fds, limit) {
                Ok(n) => {
                    if n == 0 {
                        self.settled.set(true);
                        sys::forget_program();
                    }
                    return Ok(fds.iter().map(PollFd::revents).collect());
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(anyhow!("poll: {}", crate::error::rx(e))),
            }
        }
    }

    fn take_signals(&self) {
        while let Some(signal) = sys::read_signal(self.signals.as_fd()) {
            if signal == libc::SIGWINCH {
                self.guest.resized(None);
            } else if let Err(e) = self.guest.signal(signal, false, None) {
                log::debug!("signal {signal}: {e:#}");
            }
        }
    }

    fn accept(&mut self) {
        let Ok(socket) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) else {
            return;
        };
        if self.connections.len() < MAX_CONNECTIONS {
            self.connections.push(Connection::new(socket, false));
        }
    }

    /// Takes what a connection says; whether it goes on.
    fn serve(&mut self, index: usize) -> bool {
        let Some(c) = self.connections.get_mut(index) else {
            return false;
        };
        let mut buffer = [0; 16 << 10];
        let (n, fds) = match receive(c.socket.as_fd(), &mut buffer) {
            Ok((0, _)) => return false,
            Ok(r) => r,
            Err(Errno::INTR | Errno::AGAIN) => return true,
            Err(_) => return false,
        };
        if let Err(e) = c.decoder.push(buffer.get(..n).unwrap_or_default(), fds) {
            log::warn!("control socket: {e}");
            return false;
        }
        loop {
            let Some(c) = self.connections.get_mut(index) else {
                return false;
            };
            match c.decoder.next::<Request>() {
                Ok(Some((request, fds))) => {
                    let reply = self.answer(index, request, fds).unwrap_or_else(|e| {
                        Some(Reply::Error {
                            message: format!("{e:#}"),
                        })
                    });
                    if let (Some(reply), Some(c)) = (reply, self.connections.get(index)) {
                        c.reply(&reply);
                    }
                }
                Ok(None) => return true,
                Err(e) => {
                    log::warn!("control socket: {e}");
                    return false;
                }
            }
        }
    }

    /// Does what is asked. `None`: the answer comes later.
    fn answer(
        &mut self,
        index: usize,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<Option<Reply>> {
        let connection = self
            .connections
            .get_mut(index)
            .ok_or_else(|| anyhow!("no connection"))?;
        // Whoever asks may have put something into the root just before.
        fs::vfs::look_again();
        Ok(Some(match request {
            Request::Start => {
                self.guest.start(fds)?;
                Reply::Ok
            }
            Request::Detach => {
                connection.leash = false;
                Reply::Ok
            }
            Request::Signal { signal, all, pid } => {
                self.guest.signal(signal, all, pid)?;
                Reply::Ok
            }
            Request::Exec { process } => {
                let group = self.guest.exec(&process, fds)?;
                connection.process = Some(group.clone());
                connection.waits.push(group.clone());
                Reply::Started {
                    pid: self.guest.number(&group),
                }
            }
            Request::Wait { pid: None } => {
                connection.waits_init = true;
                return Ok(None);
            }
            Request::Wait { pid: Some(pid) } => {
                let group = self
                    .guest
                    .find(pid)
                    .ok_or_else(|| anyhow!("no such process: {pid}"))?;
                connection.waits.push(group);
                return Ok(None);
            }
            Request::Ps => Reply::Processes {
                list: self.guest.processes(),
            },
            Request::Pause => {
                self.guest.set_paused(true);
                Reply::Ok
            }
            Request::Resume => {
                self.guest.set_paused(false);
                Reply::Ok
            }
            Request::Strace { on } => {
                self.guest.strace(on)?;
                Reply::Ok
            }
            Request::Stacks => Reply::Text {
                text: self.guest.stacks(),
            },
            Request::Tasks { limit } => {
                self.guest.limit_tasks(limit);
                Reply::Ok
            }
            Request::Resized => {
                self.guest.resized(connection.process.as_deref());
                Reply::Ok
            }
        }))
    }

    /// Answers those whose processes have ended.
    fn tell_of_ends(&mut self) {
        let init = self.guest.ended();
        for c in &mut self.connections {
            let mut told = Vec::new();
            c.waits.retain(|group| match status_of(group) {
                Some(status) => {
                    told.push(status);
                    false
                }
                None => true,
            });
            if c.waits_init
                && let Some(status) = init
            {
                told.push(status);
                c.waits_init = false;
            }
            if init.is_some() {
                // The init takes every process with it (pid_namespaces(7)).
                told.extend(c.waits.drain(..).map(|_| 137));
            }
            for status in told {
                c.reply(&Reply::Exited { status });
            }
        }
    }
}
