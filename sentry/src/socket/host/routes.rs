//! What the host's kernel says of the namespace: links, addresses, routes, neighbours, by `rtnetlink(7)` over one socket that was made at boot. Requests are
//! built here; of a guest's own only a family, a link's number or name, and a destination are taken over.

use crate::socket::interface::{Address, Link};
use crate::socket::netlink::message::{
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attributes, requests, u32_at,
};
use abi::Errno;
use platform::hostsocket;
use std::os::fd::{AsFd, OwnedFd};
use sync::Mutex;

const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const AF_UNSPEC: u8 = 0;
/// The kernel makes no piece of a dump larger.
const PIECE: usize = 64 << 10;

/// A message of the host's: type, flags, body.
pub struct Message {
    /// `RTM_NEW…`
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

struct Channel {
    netlink: OwnedFd,
    seq: u32,
}

/// The socket, one question at a time. The host answers within the call that asks, so nobody waits for it.
pub struct Routes(Mutex<Channel>);

/// The length of the fixed part of a request of this type.
fn fixed_len(kind: u16) -> usize {
    match kind {
        RTM_GETLINK => 16,
        RTM_GETADDR => 8,
        // rtmsg, ndmsg; tcmsg is longer.
        38 => 20,
        _ => 12,
    }
}

impl Routes {
    pub(super) fn new(netlink: OwnedFd) -> Self {
        Self(Mutex::new(Channel { netlink, seq: 0 }))
    }

    /// Everything of a kind: `RTM_GET…`.
    pub fn dump(&self, kind: u16, family: u8) -> Result<Vec<Message>, Errno> {
        let mut body = vec![0; fixed_len(kind)];
        if let Some(first) = body.first_mut() {
            *first = family;
        }
        self.ask(kind, NLM_F_REQUEST | NLM_F_DUMP, &body)
    }

    /// The route to an address (`ip route get`).
    pub fn route_to(&self, family: u8, to: &[u8]) -> Result<Vec<Message>, Errno> {
        const RTA_DST: u16 = 1;
        let (len, bits) = match (family, to.len()) {
            (2, 4) => (8u16, 32),
            (10, 16) => (20, 128),
            _ => return Err(Errno::EINVAL),
        };
        let mut body = vec![family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&len.to_ne_bytes());
        body.extend_from_slice(&RTA_DST.to_ne_bytes());
        body.extend_from_slice(to);
        self.ask(RTM_GETROUTE, NLM_F_REQUEST, &body)
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Message>, Errno> {
        let mut channel = self.0.lock();
        channel.seq = channel.seq.wrapping_add(1);
        let seq = channel.seq;
        let len = u32::try_from(body.len().saturating_add(16)).map_err(|_| Errno::EINVAL)?;
        let header = [
            &len.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &seq.to_ne_bytes(),
            &[0; 4],
        ];
        let request = [&header.concat(), body].concat();
        hostsocket::send(channel.netlink.as_fd(), &request, None, &[], 0)?;
        let mut found = Vec::new();
        let mut buf = vec![0; PIECE];
        loop {
            let got = hostsocket::recv(channel.netlink.as_fd(), &mut buf, &mut [], 0)?;
            let piece = buf.get(..got.len).unwrap_or_default();
            // Answers have the shape of requests. What an earlier question left behind has another number.
            for m in requests(piece).into_iter().filter(|m| m.seq == seq) {
                match m.kind {
                    NLMSG_DONE => return Ok(found),
                    NLMSG_ERROR => {
                        let code = u32_at(m.body, 0).map_or(0, u32::cast_signed);
                        return match code {
                            0 => Ok(found),
                            n => Err(Errno::from_raw(n.saturating_neg())),
                        };
                    }
                    kind => found.push(Message {
                        kind,
                        flags: m.flags,
                        body: m.body.to_vec(),
                    }),
                }
            }
            if flags & NLM_F_DUMP == 0 && !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The namespace's links with their addresses.
    pub fn links(&self) -> Result<Vec<Link>, Errno> {
        let mut links: Vec<Link> = self
            .dump(RTM_GETLINK, AF_UNSPEC)?
            .iter()
            .filter_map(|m| link(&m.body))
            .collect();
        for m in self.dump(RTM_GETADDR, AF_UNSPEC)? {
            if let Some((index, address)) = address(&m.body)
                && let Some(link) = links.iter_mut().find(|l| l.index == index)
            {
                link.addresses.push(address);
            }
        }
        Ok(links)
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}

/// An `RTM_NEWLINK`.
fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_at(body, 4)?,
        hardware: u16::from_ne_bytes(*body.get(2..)?.first_chunk()?),
        flags: u32_at(body, 8)?,
        ..Link::default()
    };
    for (kind, value) in attributes(body, 16) {
        match kind {
            1 => link.address = value.to_vec(),
            2 => link.broadcast = value.to_vec(),
            3 => link.name = text(value),
            4 => link.mtu = u32_at(value, 0)?,
            5 => link.peer = u32_at(value, 0)?,
            13 => link.queue = u32_at(value, 0)?,
            16 => link.state = value.first().copied().unwrap_or(0),
            23 => {
                for (to, from) in link.counters.iter_mut().zip(value.as_chunks::<8>().0) {
                    *to = u64::from_ne_bytes(*from);
                }
            }
            _ => {}
        }
    }
    Some(link)
}

/// An `RTM_NEWADDR`: of which link, and what.
fn address(body: &[u8]) -> Option<(u32, Address)> {
    let (family, prefix, flags, scope) = match body.first_chunk::<4>()? {
        [family, prefix, flags, scope] => (*family, *prefix, *flags, *scope),
    };
    let mut out = Address {
        family,
        prefix,
        flags,
        scope,
        ..Address::default()
    };
    for (kind, value) in attributes(body, 8) {
        match kind {
            // IFA_ADDRESS is the peer's where the two differ.
            1 if out.ip.is_empty() => out.ip = value.to_vec(),
            2 => out.ip = value.to_vec(),
            3 => out.label = text(value),
            4 => out.broadcast = value.to_vec(),
            _ => {}
        }
    }
    Some((u32_at(body, 4)?, out))
}
