//! Sockets as files: the seam between the socket calls and the protocol families.
//!
//! ```text
//!   sendmsg(2) ─ syscalls: guest msghdr ─► SendMsg { data, to, control, flags } ─► Socket::send ─┬ unix     (this crate)
//!   write(2) ─► File ─► SocketFile (FileOps) ───────────────────────────────────────────────────┼ inet     (netstack)
//!   poll, epoll ◄─ Pollee ◄─────────────────────────────────────────────────────────────────────┼ netlink  (this crate)
//!                                                                                               └ host     (sockets of the host's)
//! ```
//!
//! A [`Socket`] never blocks: `EAGAIN` means wait on its own [`Socket::pollee`], whatever it waits for. Buffers are the kernel's, addresses are the bytes of a
//! `sockaddr`, control messages are typed. The calling task is a [`SocketCaller`].

pub mod host;
pub mod inet;
pub mod interface;
pub mod netlink;
pub mod netns;
pub mod options;
pub mod settings;
pub mod tables;
mod task;
pub mod unix;

pub use netns::NetNamespace;
pub use options::Common;

use abi::Errno;
use abi::socket::MsgFlags;
use fs::vfs::Path;
use fs::{Events, File, FileOps, Pollee, Pos, UserMemory, anon};
use std::any::Any;
use std::sync::Arc;

/// Who a message or connection comes from (`struct ucred`). The process is kept as an object too, so that readers in another pid namespace see its number there.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Creds {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
    pub groups: Arc<[u32]>,
    /// The sentry's process object.
    pub process: Option<Arc<dyn Any + Send + Sync>>,
}

impl PartialEq for Creds {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.uid, self.gid) == (other.pid, other.uid, other.gid)
    }
}

/// The calling task, as sockets see it.
pub trait SocketCaller: fs::Caller {
    /// Thread group id in its own pid namespace, effective user and group (what `SO_PEERCRED` shows).
    fn creds(&self) -> Creds;
    /// The same with real user and group (what `SCM_CREDENTIALS` carries unless the sender says otherwise).
    fn real_creds(&self) -> Creds {
        self.creds()
    }
    /// The number of a process in the caller's pid namespace.
    fn pid_of(&self, creds: &Creds) -> i32 {
        creds.pid
    }
    /// Whether it may claim to be this process, user and group: its own ids, or `CAP_SYS_ADMIN`, `CAP_SETUID`, `CAP_SETGID`.
    fn may_claim(&self, pid: i32, uid: u32, gid: u32) -> bool;
    /// The process with this number in the caller's pid namespace, for claimed credentials.
    fn process(&self, pid: i32) -> Option<Arc<dyn Any + Send + Sync>>;
    /// Its network namespace.
    fn net(&self) -> Arc<NetNamespace>;
    /// Root and current directory.
    fn root_and_cwd(&self) -> Result<(Path, Path), Errno>;
    /// `RLIMIT_NOFILE`: also the limit of descriptors in flight.
    fn fd_limit(&self) -> u64;
}

/// A control message.
#[derive(Clone)]
pub enum Control {
    /// `SCM_RIGHTS`
    Rights(Vec<Arc<File>>),
    /// `SCM_CREDENTIALS`
    Credentials(Creds),
    /// Anything else: level, type, data.
    Other(i32, i32, Vec<u8>),
}

/// A message to send.
pub struct SendMsg<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// `msg_name`
    pub to: Option<&'a [u8]>,
    /// Control messages. `Credentials` were checked with [`SocketCaller::may_claim`].
    pub control: &'a [Control],
    /// `MSG_*`; waiting and signals are the caller's.
    pub flags: MsgFlags,
}

/// A message received.
#[derive(Default)]
pub struct Received {
    /// Bytes put into the buffer.
    pub len: usize,
    /// The datagram's whole length (equal to `len` for streams).
    pub full_len: usize,
    /// The sender's address; `None` if it has none or the family gives none.
    pub from: Option<Vec<u8>>,
    /// Control messages.
    pub control: Vec<Control>,
    /// `msg_flags`: `MSG_TRUNC`, `MSG_EOR`, ….
    pub flags: MsgFlags,
}

/// `shutdown(2)`: which halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Halves {
    pub read: bool,
    pub write: bool,
}

/// What `SO_DOMAIN`, `SO_TYPE` and `SO_PROTOCOL` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Identity {
    pub domain: i32,
    pub kind: i32,
    pub protocol: i32,
}

/// A socket of some family.
#[allow(unused_variables)]
pub trait Socket: Send + Sync + Any {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// Family, type, protocol.
    fn identity(&self) -> Identity;
    /// The options every family has.
    fn common(&self) -> &Common;
    /// Whom to wait on, for everything that answers `EAGAIN` or `EINPROGRESS`.
    fn pollee(&self) -> &Pollee;
    /// Readiness now.
    fn poll(&self) -> Events;
    /// `bind(2)`
    fn bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `listen(2)`
    fn listen(&self, caller: &dyn SocketCaller, backlog: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `connect(2)`. `EINPROGRESS`: the connection is being made, and the same call once the socket is writable tells the outcome. `EAGAIN`: not begun, for want of
    /// room at the listener (a blocking caller waits and tries again).
    fn connect(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `accept(2)`: the new socket.
    fn accept(&self, caller: &dyn SocketCaller) -> Result<SocketFile, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Sends as much as fits. A stream may take a part: a blocking caller goes on with the rest. `EPIPE` raises SIGPIPE unless `MSG_NOSIGNAL`.
    fn send(&self, caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno>;
    /// Receives into `buf`.
    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno>;
    /// `shutdown(2)`
    fn shutdown(&self, how: Halves) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    /// `getsockname(2)`
    fn local_name(&self) -> Result<Vec<u8>, Errno>;
    /// `getpeername(2)`
    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOTCONN)
    }
    /// The peer of a socket just accepted, whatever has become of it.
    fn accepted_from(&self) -> Result<Vec<u8>, Errno> {
        self.peer_name()
    }
    /// Whether it treats all options of `SOL_SOCKET` itself.
    fn has_all_options(&self) -> bool {
        false
    }
    /// Options of the family, and those of `SOL_SOCKET` it treats itself; `ENOPROTOOPT` passes the question on to [`Common`].
    fn get_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        Err(Errno::ENOPROTOOPT)
    }
    /// See [`Socket::get_option`].
    fn set_option(
        &self,
        caller: &dyn SocketCaller,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        Err(Errno::ENOPROTOOPT)
    }
    /// [`Common::filter`] is another.
    fn filter_changed(&self) {}
    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> Option<Errno> {
        None
    }
    /// `SO_ACCEPTCONN`
    fn is_listening(&self) -> bool {
        false
    }
    /// `ioctl(2)`
    fn ioctl(
        &self,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        Err(Errno::ENOTTY)
    }
    /// The descriptor's last reference is gone.
    fn close(&self);
}

/// A socket's description: closes it with the last reference, also if it never became a file.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    /// The place of its file, where the socket had to know its inode number first.
    path: Option<Path>,
}

impl SocketFile {
    /// Takes over the duty to close.
    pub fn new(socket: Arc<dyn Socket>) -> Self {
        Self { socket, path: None }
    }

    /// The same for a socket that has its place already.
    fn with_path(socket: Arc<dyn Socket>, path: Path) -> Self {
        Self {
            socket,
            path: Some(path),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }

    /// A description for it. `flags`: `O_NONBLOCK`.
    pub fn into_file(mut self, caller: &dyn SocketCaller, flags: u32) -> Arc<File> {
        let path = self.path.take().unwrap_or_else(|| anon::socket(caller));
        let inode = path.inode().clone();
        if let Ok(attr) = inode.attr() {
            self.socket.common().set_inode(attr.ino);
        }
        File::new(
            Box::new(self),
            path,
            inode,
            2 | (flags & fs::file::O_NONBLOCK),
        )
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.close();
    }
}

/// The socket behind a description; `ENOTSOCK` if it is none.
pub fn of(file: &File) -> Result<&Arc<dyn Socket>, Errno> {
    file.downcast::<SocketFile>()
        .map(SocketFile::socket)
        .ok_or(Errno::ENOTSOCK)
}

/// `socket(2)`: `kind` without `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
pub fn create(
    caller: &dyn SocketCaller,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<SocketFile, Errno> {
    if !(0..i32::from(abi::socket::AF_MAX)).contains(&domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if !(0..abi::socket::SOCK_MAX).contains(&kind) {
        return Err(Errno::EINVAL);
    }
    let family = u16::try_from(domain).map_err(|_| Errno::EAFNOSUPPORT)?;
    match family {
        abi::socket::AF_INET | abi::socket::AF_INET6 => {
            inet::create(caller, domain, kind, protocol)
        }
        abi::socket::AF_NETLINK => netlink::create(caller, kind, protocol),
        // Raw frames would need an interface that is a wire.
        abi::socket::AF_PACKET if !caller.cred().has_cap(abi::cap::CAP_NET_RAW) => {
            Err(Errno::EPERM)
        }
        abi::socket::AF_UNIX => unix::create(caller, kind, protocol).map(SocketFile::new),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// `socketpair(2)`
pub fn create_pair(
    caller: &dyn SocketCaller,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<(SocketFile, SocketFile), Errno> {
    if domain == i32::from(abi::socket::AF_UNIX) {
        return unix::create_pair(caller, kind, protocol);
    }
    drop(create(caller, domain, kind, protocol)?);
    Err(Errno::EOPNOTSUPP)
}

/// Whether [`Common`] may know an option that the socket does not.
fn asks_common(socket: &dyn Socket, level: i32) -> bool {
    level == abi::socket::SOL_SOCKET && !socket.has_all_options()
}

/// `getsockopt(2)`
pub fn get_option(
    socket: &dyn Socket,
    caller: &dyn SocketCaller,
    level: i32,
    name: i32,
) -> Result<Vec<u8>, Errno> {
    match socket.get_option(caller, level, name) {
        Err(Errno::ENOPROTOOPT) if asks_common(socket, level) => options::get(socket, name),
        other => other,
    }
}

/// `setsockopt(2)`
pub fn set_option(
    socket: &dyn Socket,
    caller: &dyn SocketCaller,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    match socket.set_option(caller, level, name, value) {
        Err(Errno::ENOPROTOOPT) if asks_common(socket, level) => {
            options::set(socket, caller, name, value)
        }
        other => other,
    }
}

/// The task behind a file operation's caller.
fn socket_caller(caller: &dyn fs::Caller) -> Result<&dyn SocketCaller, Errno> {
    #[cfg(test)]
    if let Some(test) = caller.as_any().downcast_ref::<testing::TestCaller>() {
        return Ok(test);
    }
    let task = caller.as_any().downcast_ref::<crate::kernel::Task>();
    task.map(|task| -> &dyn SocketCaller { task })
        .ok_or(Errno::EOPNOTSUPP)
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, buf: &mut [u8], _pos: Pos) -> Result<usize, Errno> {
        // Descriptors that came along have nowhere to go and are closed, as Linux does for `read(2)`.
        if buf.is_empty() {
            return Ok(0);
        }
        let mut flags = MsgFlags::empty();
        flags.set(MsgFlags::MSG_DONTWAIT, file.nonblocking());
        Ok(self.socket.recv(buf, flags)?.len)
    }
    fn write(
        &self,
        _file: &File,
        caller: &dyn fs::Caller,
        buf: &[u8],
        _pos: Pos,
    ) -> Result<(usize, u64), Errno> {
        let msg = SendMsg {
            data: buf,
            to: None,
            control: &[],
            flags: MsgFlags::empty(),
        };
        Ok((self.socket.send(socket_caller(caller)?, &msg)?, 0))
    }
    fn writes_all(&self) -> bool {
        self.socket.identity().kind == abi::socket::SOCK_STREAM
    }
    fn timeouts(&self) -> (Option<u64>, Option<u64>) {
        let common = self.socket.common();
        (common.recv_timeout(), common.send_timeout())
    }
    fn poll(&self, _file: &File) -> Events {
        self.socket.poll()
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(self.socket.pollee())
    }
    fn ioctl(
        &self,
        _file: &File,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        self.socket.ioctl(caller, mem, cmd, arg)
    }
}

#[cfg(test)]
pub(crate) mod testing;
