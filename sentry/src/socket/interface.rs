//! The interfaces of a namespace, by `netdevice(7)` ioctls; netlink has the rest. A namespace of ours has `lo` alone, one of the host's what the host says.

use super::NetNamespace;
use abi::Errno;
use fs::UserMemory;
use std::borrow::Cow;

/// Index of `lo`.
pub const INDEX: i32 = 1;
/// Its MTU.
pub const MTU: u32 = 65536;
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`
pub const FLAGS: u32 = 0x1 | 0x8 | 0x40;
/// `ARPHRD_LOOPBACK`
pub const HARDWARE: u16 = 772;
/// Its transmission queue.
pub const QUEUE_LEN: u32 = 1000;

/// An address of a link.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Address {
    pub family: u8,
    pub prefix: u8,
    pub flags: u8,
    pub scope: u8,
    pub ip: Vec<u8>,
    pub broadcast: Vec<u8>,
    /// Of IPv4: the link's name, or an alias.
    pub label: String,
}

/// A link.
#[derive(Clone, Default)]
#[allow(missing_docs)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub flags: u32,
    pub mtu: u32,
    pub hardware: u16,
    pub address: Vec<u8>,
    pub broadcast: Vec<u8>,
    pub queue: u32,
    /// `operstate`
    pub state: u8,
    /// The index of what it is joined to; 0: itself.
    pub peer: u32,
    /// The first of `rtnl_link_stats64`: packets, bytes, errors, dropped (received, sent in turn), multicast, collisions.
    pub counters: [u64; 10],
    pub addresses: Vec<Address>,
}

impl Link {
    fn lo() -> Self {
        let local = Address {
            family: 2,
            prefix: 8,
            flags: 0x80,
            scope: 254,
            ip: vec![127, 0, 0, 1],
            broadcast: Vec::new(),
            label: "lo".into(),
        };
        let local6 = Address {
            family: 10,
            prefix: 128,
            ip: std::net::Ipv6Addr::LOCALHOST.octets().to_vec(),
            label: String::new(),
            ..local.clone()
        };
        Self {
            index: INDEX.unsigned_abs(),
            name: "lo".into(),
            flags: FLAGS,
            mtu: MTU,
            hardware: HARDWARE,
            address: vec![0; 6],
            broadcast: vec![0; 6],
            queue: QUEUE_LEN,
            addresses: vec![local, local6],
            ..Self::default()
        }
    }
}

/// The namespace's links.
pub fn links(net: &NetNamespace) -> Result<Vec<Link>, Errno> {
    match net.host() {
        Some(host) => host.routes().links(),
        None => Ok(vec![Link::lo()]),
    }
}

const CAP_NET_ADMIN: u32 = 12;
const IFNAMSIZ: usize = 16;
/// `struct ifreq`
const IFREQ: usize = 40;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCGIFMAP: u32 = 0x8970;
const SIOCETHTOOL: u32 = 0x8946;
/// `SIOCSIF*`, by which an administrator would change it.
const SETTERS: &[u32] = &[
    0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8922, 0x8923, 0x8924, 0x8943,
];

/// A `sockaddr_in` without a port.
fn sockaddr_in(ip: &[u8]) -> Vec<u8> {
    let mut out = [&[2, 0, 0, 0], ip].concat();
    out.resize(16, 0);
    out
}

fn ifreq(name: &str, value: &[u8]) -> [u8; IFREQ] {
    let mut out = [0; IFREQ];
    for (to, from) in out.iter_mut().zip(name.bytes().take(IFNAMSIZ - 1)) {
        *to = from;
    }
    for (to, from) in out.iter_mut().skip(IFNAMSIZ).zip(value) {
        *to = *from;
    }
    out
}

/// Interface requests that any internet, Unix or netlink socket answers; `ENOTTY` for other commands.
pub fn ioctl(
    net: &NetNamespace,
    caller: &dyn fs::Caller,
    mem: &dyn UserMemory,
    cmd: u32,
    arg: u64,
) -> Result<i64, Errno> {
    match cmd {
        SIOCGIFCONF => return interfaces(net, mem, arg),
        SIOCGIFNAME | SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR
        | SIOCGIFNETMASK | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX
        | SIOCGIFTXQLEN | SIOCGIFMAP => {}
        SIOCETHTOOL => return Err(Errno::EOPNOTSUPP),
        // Refused, not ignored: nothing can be changed.
        _ if SETTERS.contains(&cmd) => {
            return Err(if caller.cred().has_cap(CAP_NET_ADMIN) {
                Errno::EOPNOTSUPP
            } else {
                Errno::EPERM
            });
        }
        _ => return Err(Errno::ENOTTY),
    }
    let mut request = [0; IFREQ];
    mem.read(arg, &mut request)?;
    let (name, value) = request.split_at(IFNAMSIZ);
    let all = links(net)?;
    if cmd == SIOCGIFNAME {
        let index = value.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b));
        let link = all.iter().find(|l| Some(l.index) == index);
        let link = link.ok_or(Errno::ENODEV)?;
        mem.write(arg, &ifreq(&link.name, &link.index.to_ne_bytes()))?;
        return Ok(0);
    }
    let asked = name.split(|b| *b == 0).next().unwrap_or(&[]);
    let asked = String::from_utf8_lossy(asked);
    // `lo:1` would be an alias of it.
    let base = asked.split(':').next().unwrap_or_default();
    let link = all.iter().find(|l| l.name == base).ok_or(Errno::ENODEV)?;
    let v4 = |pick: fn(&Address) -> Cow<'_, [u8]>| {
        let mut of_link = link.addresses.iter().filter(|a| a.family == 2);
        let exact = of_link.clone().find(|a| a.label == asked);
        let found = exact.or(of_link.next()).ok_or(Errno::EADDRNOTAVAIL)?;
        Ok::<_, Errno>(sockaddr_in(&pick(found)))
    };
    let value = match cmd {
        SIOCGIFFLAGS => {
            u16::try_from(link.flags & 0xffff).map_or(Vec::new(), |f| f.to_ne_bytes().to_vec())
        }
        SIOCGIFADDR | SIOCGIFDSTADDR => v4(|a| Cow::Borrowed(&a.ip))?,
        SIOCGIFBRDADDR => v4(|a| Cow::Borrowed(&a.broadcast))?,
        SIOCGIFNETMASK => v4(|a| {
            let mask = u32::MAX
                .checked_shl(32u32.saturating_sub(a.prefix.into()))
                .unwrap_or(0);
            Cow::Owned(mask.to_be_bytes().to_vec())
        })?,
        SIOCGIFMTU => link.mtu.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => [&link.hardware.to_ne_bytes()[..], &link.address].concat(),
        SIOCGIFINDEX => link.index.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => link.queue.to_ne_bytes().to_vec(),
        _ => Vec::new(),
    };
    mem.write(arg, &ifreq(&asked, &value))?;
    Ok(0)
}

/// `SIOCGIFCONF`: `struct ifconf { int len; struct ifreq *req; }`, one entry for each IPv4 address.
fn interfaces(net: &NetNamespace, mem: &dyn UserMemory, arg: u64) -> Result<i64, Errno> {
    let mut conf = [0; 16];
    mem.read(arg, &mut conf)?;
    let (len, req) = conf.split_at(8);
    let room = len.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
    let addr = req.first_chunk::<8>().map_or(0, |b| u64::from_ne_bytes(*b));
    let all = links(net)?;
    let addresses = all.iter().flat_map(|l| &l.addresses);
    let mut out = Vec::new();
    for a in addresses.filter(|a| a.family == 2) {
        out.extend_from_slice(&ifreq(&a.label, &sockaddr_in(&a.ip)));
    }
    if addr != 0 {
        let room = usize::try_from(room).unwrap_or(0);
        out.truncate(room.saturating_sub(room % IFREQ));
        mem.write(addr, &out)?;
    }
    mem.write(arg, &i32::try_from(out.len()).unwrap_or(0).to_ne_bytes())?;
    Ok(0)
}
