//! `AF_NETLINK` (`netlink(7)`): requests to the kernel, of protocol `NETLINK_ROUTE`. A request is answered when it is sent; the answers wait in the socket.

pub(super) mod message;
mod route;
#[cfg(test)]
mod tests;

use super::host::HostNet;
use super::options::int;
use super::{
    Common, Control, Creds, Identity, NetNamespace, Received, SendMsg, Socket, SocketCaller,
    SocketFile,
};
use abi::Errno;
use abi::socket::*;
use fs::{Events, Pollee, UserMemory};
use message::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_MIN_TYPE, Reply, Request, requests};
use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use sync::Mutex;

const NETLINK_ROUTE: i32 = 0;
const MAX_LINKS: i32 = 32;
const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_GET_STRICT_CHK: i32 = 12;
/// Options that are switches.
const SWITCHES: &[i32] = &[3, 4, 5, 8, NETLINK_CAP_ACK, 11, NETLINK_GET_STRICT_CHK];

/// Port ids in use in a namespace.
#[derive(Default)]
pub struct Ports(Mutex<BTreeSet<u32>>);

impl Ports {
    fn take(&self, port: u32) -> Result<(), Errno> {
        if self.0.lock().insert(port) {
            Ok(())
        } else {
            Err(Errno::EADDRINUSE)
        }
    }

    /// The caller's process id if it is free, else a number that no process has.
    fn any(&self, pid: i32) -> u32 {
        let mut ports = self.0.lock();
        let mut port = pid.unsigned_abs();
        if !ports.insert(port) {
            port = 4096u32.wrapping_neg();
            while !ports.insert(port) {
                port = port.wrapping_sub(1);
            }
        }
        port
    }
}

#[derive(Default)]
struct State {
    port: Option<u32>,
    groups: u32,
    memberships: BTreeSet<u32>,
    switches: BTreeSet<i32>,
    answers: VecDeque<Vec<u8>>,
    bytes: usize,
    overflow: bool,
}

/// A netlink socket.
pub struct NetlinkSocket {
    kind: i32,
    net: Arc<NetNamespace>,
    common: Common,
    state: Mutex<State>,
    pollee: Pollee,
}

/// `socket(AF_NETLINK, …)`
pub fn create(caller: &dyn SocketCaller, kind: i32, protocol: i32) -> Result<SocketFile, Errno> {
    if kind != SOCK_RAW && kind != SOCK_DGRAM {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if !(0..MAX_LINKS).contains(&protocol) || protocol != NETLINK_ROUTE {
        return Err(Errno::EPROTONOSUPPORT);
    }
    let socket = NetlinkSocket {
        kind,
        net: caller.net(),
        common: Common::default(),
        state: Mutex::default(),
        pollee: Pollee::new(),
    };
    Ok(SocketFile::new(Arc::new(socket)))
}

fn address(port: u32, groups: u32) -> Vec<u8> {
    [
        &AF_NETLINK.to_ne_bytes()[..],
        &[0, 0],
        &port.to_ne_bytes(),
        &groups.to_ne_bytes(),
    ]
    .concat()
}

/// Port and groups of a `sockaddr_nl`.
fn parse(addr: &[u8]) -> Result<(u32, u32), Errno> {
    let field = |at| message::u32_at(addr, at).ok_or(Errno::EINVAL);
    let family = addr
        .first_chunk::<2>()
        .map(|b| u16::from_ne_bytes(*b))
        .ok_or(Errno::EINVAL)?;
    let (port, groups) = (field(4)?, field(8)?);
    if family != AF_NETLINK {
        return Err(Errno::EINVAL);
    }
    Ok((port, groups))
}

impl NetlinkSocket {
    fn autobind(&self, caller: &dyn SocketCaller) -> u32 {
        if let Some(port) = self.state.lock().port {
            return port;
        }
        let port = self.net.netlink_ports.any(caller.creds().pid);
        let mut state = self.state.lock();
        match state.port {
            Some(other) => {
                drop(state);
                self.net.netlink_ports.0.lock().remove(&port);
                other
            }
            None => {
                state.port = Some(port);
                port
            }
        }
    }

    fn serve(&self, caller: &dyn SocketCaller, request: &Request<'_>, port: u32) {
        if request.flags & NLM_F_REQUEST == 0 {
            return;
        }
        let (strict, capped) = {
            let state = self.state.lock();
            (
                state.switches.contains(&NETLINK_GET_STRICT_CHK),
                state.switches.contains(&NETLINK_CAP_ACK),
            )
        };
        let mut reply = Reply::new(request.seq, port);
        let cred = caller.cred();
        let result = if request.kind < NLMSG_MIN_TYPE {
            Ok(())
        } else {
            route::answer(
                request,
                route::Context {
                    strict,
                    cred: &cred,
                    host: self.net.host().map(HostNet::routes),
                },
                &mut reply,
            )
        };
        match result {
            Err(errno) => {
                reply = Reply::new(request.seq, port);
                reply.error(errno.raw(), request, capped);
            }
            Ok(())
                if request.flags & NLM_F_ACK != 0 && request.flags & message::NLM_F_DUMP == 0 =>
            {
                reply.error(0, request, capped)
            }
            Ok(()) => {}
        }
        let mut state = self.state.lock();
        for bytes in reply.into_datagrams() {
            if state.bytes.saturating_add(bytes.len()) > self.common.rcvbuf() {
                state.overflow = true;
                break;
            }
            state.bytes = state.bytes.saturating_add(bytes.len());
            state.answers.push_back(bytes);
        }
    }
}

impl Socket for NetlinkSocket {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn identity(&self) -> Identity {
        Identity {
            domain: i32::from(AF_NETLINK),
            kind: self.kind,
            protocol: NETLINK_ROUTE,
        }
    }
    fn common(&self) -> &Common {
        &self.common
    }
    fn pollee(&self) -> &Pollee {
        &self.pollee
    }
    fn poll(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::WRITE | Events::WRBAND;
        events.set(Events::READ, !state.answers.is_empty());
        events.set(Events::ERR, state.overflow);
        events
    }

    fn bind(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let (port, groups) = parse(addr)?;
        let bound = self.state.lock().port;
        match bound {
            Some(now) if port != 0 && port != now => return Err(Errno::EINVAL),
            Some(_) => {}
            None if port == 0 => {
                self.autobind(caller);
            }
            None => {
                self.net.netlink_ports.take(port)?;
                self.state.lock().port = Some(port);
            }
        }
        self.state.lock().groups = groups;
        Ok(())
    }

    fn connect(&self, caller: &dyn SocketCaller, addr: &[u8]) -> Result<(), Errno> {
        let family = addr
            .first_chunk::<2>()
            .map(|b| u16::from_ne_bytes(*b))
            .ok_or(Errno::EINVAL)?;
        if family == AF_UNSPEC {
            return Ok(());
        }
        // Only the kernel is there to talk to.
        match parse(addr)? {
            (0, 0) => {
                self.autobind(caller);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    fn send(&self, caller: &dyn SocketCaller, msg: &SendMsg<'_>) -> Result<usize, Errno> {
        if msg.flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(to) = msg.to {
            match parse(to)? {
                (0, 0) => {}
                (0, _) => return Err(Errno::EPERM),
                _ => return Err(Errno::ECONNREFUSED),
            }
        }
        if msg.data.is_empty() {
            return Err(Errno::ENODATA);
        }
        if msg.data.len() > self.common.sndbuf().saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        let port = self.autobind(caller);
        for request in requests(msg.data) {
            self.serve(caller, &request, port);
        }
        self.pollee.notify(Events::READ | Events::ERR);
        Ok(msg.data.len())
    }

    fn recv(&self, buf: &mut [u8], flags: MsgFlags) -> Result<Received, Errno> {
        if flags.contains(MsgFlags::MSG_OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.overflow {
            state.overflow = false;
            return Err(Errno::ENOBUFS);
        }
        let answer = state.answers.front().ok_or(Errno::EAGAIN)?;
        let full_len = answer.len();
        let len = full_len.min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), answer.get(..len)) {
            to.copy_from_slice(from);
        }
        if !flags.contains(MsgFlags::MSG_PEEK) {
            state.answers.pop_front();
            state.bytes = state.bytes.saturating_sub(full_len);
        }
        drop(state);
        let mut out = MsgFlags::empty();
        out.set(MsgFlags::MSG_TRUNC, len < full_len);
        let control = if self.common.passcred() {
            vec![Control::Credentials(Creds::default())]
        } else {
            Vec::new()
        };
        Ok(Received {
            len,
            full_len,
            from: Some(address(0, 0)),
            control,
            flags: out,
        })
    }

    fn local_name(&self) -> Result<Vec<u8>, Errno> {
        let state = self.state.lock();
        Ok(address(state.port.unwrap_or(0), state.groups))
    }
    fn peer_name(&self) -> Result<Vec<u8>, Errno> {
        Ok(address(0, 0))
    }

    fn get_option(
        &self,
        _caller: &dyn SocketCaller,
        level: i32,
        name: i32,
    ) -> Result<Vec<u8>, Errno> {
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let state = self.state.lock();
        if name == NETLINK_LIST_MEMBERSHIPS {
            let mut words = vec![0u8; 8];
            for group in &state.memberships {
                let bit = group.saturating_sub(1);
                if let Some(byte) = words.get_mut(usize::try_from(bit / 8).unwrap_or(usize::MAX)) {
                    *byte |= 1 << (bit % 8);
                }
            }
            return Ok(words);
        }
        if !SWITCHES.contains(&name) {
            return Err(Errno::ENOPROTOOPT);
        }
        Ok(i32::from(state.switches.contains(&name))
            .to_ne_bytes()
            .to_vec())
    }
    fn set_option(
        &self,
        _caller: &dyn SocketCaller,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        const NETLINK_ADD_MEMBERSHIP: i32 = 1;
        const NETLINK_DROP_MEMBERSHIP: i32 = 2;
        if level != SOL_NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let number = int(value)?;
        let mut state = self.state.lock();
        match name {
            NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP => {
                let group = u32::try_from(number)
                    .ok()
                    .filter(|g| (1..=64).contains(g))
                    .ok_or(Errno::EINVAL)?;
                if name == NETLINK_ADD_MEMBERSHIP {
                    state.memberships.insert(group);
                } else {
                    state.memberships.remove(&group);
                }
            }
            _ if !SWITCHES.contains(&name) => return Err(Errno::ENOPROTOOPT),
            _ if number != 0 => {
                state.switches.insert(name);
            }
            _ => {
                state.switches.remove(&name);
            }
        }
        Ok(())
    }
    fn ioctl(
        &self,
        caller: &dyn fs::Caller,
        mem: &dyn UserMemory,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Errno> {
        super::interface::ioctl(&self.net, caller, mem, cmd, arg)
    }
    fn close(&self) {
        let port = self.state.lock().port.take();
        if let Some(port) = port {
            self.net.netlink_ports.0.lock().remove(&port);
        }
        self.pollee.notify(Events::all());
    }
}
