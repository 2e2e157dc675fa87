//! What a namespace's only interface shows: `lo`, by `netdevice(7)` ioctls. Netlink has the rest.

use super::NetNamespace;
use abi::Errno;
use fs::UserMemory;

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

fn sockaddr_in(ip: [u8; 4]) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip([2, 0, 0, 0].into_iter().chain(ip)) {
        *to = from;
    }
    out
}

fn ifreq(value: &[u8]) -> [u8; IFREQ] {
    let mut out = [0; IFREQ];
    for (to, from) in out.iter_mut().zip(b"lo") {
        *to = *from;
    }
    for (to, from) in out.iter_mut().skip(IFNAMSIZ).zip(value) {
        *to = *from;
    }
    out
}

/// Interface requests that any internet, Unix or netlink socket answers; `ENOTTY` for other commands.
pub fn ioctl(
    _net: &NetNamespace,
    caller: &dyn fs::Caller,
    mem: &dyn UserMemory,
    cmd: u32,
    arg: u64,
) -> Result<i64, Errno> {
    match cmd {
        SIOCGIFCONF => return interfaces(mem, arg),
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
    let answer = if cmd == SIOCGIFNAME {
        let index = value
            .first_chunk::<4>()
            .map_or(0, |b| i32::from_ne_bytes(*b));
        if index != INDEX {
            return Err(Errno::ENODEV);
        }
        ifreq(&index.to_ne_bytes())
    } else {
        let name = name.split(|b| *b == 0).next().unwrap_or(&[]);
        // `lo:1` would be an alias of it.
        if name.split(|b| *b == b':').next() != Some(b"lo") {
            return Err(Errno::ENODEV);
        }
        match cmd {
            SIOCGIFFLAGS => ifreq(&u16::try_from(FLAGS).unwrap_or(0).to_ne_bytes()),
            SIOCGIFADDR | SIOCGIFDSTADDR => ifreq(&sockaddr_in([127, 0, 0, 1])),
            SIOCGIFBRDADDR => ifreq(&sockaddr_in([0; 4])),
            SIOCGIFNETMASK => ifreq(&sockaddr_in([255, 0, 0, 0])),
            SIOCGIFMTU => ifreq(&MTU.to_ne_bytes()),
            SIOCGIFHWADDR => ifreq(&HARDWARE.to_ne_bytes()),
            SIOCGIFINDEX => ifreq(&INDEX.to_ne_bytes()),
            SIOCGIFTXQLEN => ifreq(&QUEUE_LEN.to_ne_bytes()),
            _ => ifreq(&[]),
        }
    };
    mem.write(arg, &answer)?;
    Ok(0)
}

/// `SIOCGIFCONF`: `struct ifconf { int len; struct ifreq *req; }`.
fn interfaces(mem: &dyn UserMemory, arg: u64) -> Result<i64, Errno> {
    let mut conf = [0; 16];
    mem.read(arg, &mut conf)?;
    let (len, req) = conf.split_at(8);
    let room = len.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
    let addr = req.first_chunk::<8>().map_or(0, |b| u64::from_ne_bytes(*b));
    let size = i32::try_from(IFREQ).unwrap_or(0);
    let used = if addr == 0 || room >= size { size } else { 0 };
    if addr != 0 && used != 0 {
        mem.write(addr, &ifreq(&sockaddr_in([127, 0, 0, 1])))?;
    }
    mem.write(arg, &used.to_ne_bytes())?;
    Ok(0)
}
