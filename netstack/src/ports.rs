//! Who has which port: the rules of bind(2).

use crate::addr::Family;
use core::net::IpAddr;
use std::collections::BTreeMap;

/// What local addresses a socket stands for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BindAddr {
    /// One address, or all.
    pub ip: Option<IpAddr>,
    v4: bool,
    v6: bool,
}

impl BindAddr {
    /// `ip` is canonical: the IPv4 address where a mapped one was given.
    pub fn new(ip: IpAddr, family: Family, v6only: bool) -> BindAddr {
        let both = family == Family::Inet6 && !v6only;
        match ip {
            IpAddr::V6(any) if any.is_unspecified() => BindAddr {
                ip: None,
                v4: both,
                v6: true,
            },
            IpAddr::V4(any) if any.is_unspecified() => BindAddr {
                ip: None,
                v4: true,
                v6: false,
            },
            IpAddr::V4(_) => BindAddr {
                ip: Some(ip),
                v4: true,
                v6: false,
            },
            IpAddr::V6(_) => BindAddr {
                ip: Some(ip),
                v4: false,
                v6: true,
            },
        }
    }

    /// Is there an address that both stand for?
    pub fn overlaps(&self, other: &BindAddr) -> bool {
        let family = (self.v4 && other.v4) || (self.v6 && other.v6);
        family && (self.ip.is_none() || other.ip.is_none() || self.ip == other.ip)
    }

    /// How well it fits a destination: exact address, then the wildcard of its family, then the dual one.
    pub fn score(&self, to: IpAddr) -> Option<u32> {
        if !(if to.is_ipv4() { self.v4 } else { self.v6 }) {
            return None;
        }
        match self.ip {
            Some(ip) if ip == to => Some(4),
            Some(_) => None,
            None => Some(if self.v4 && self.v6 && to.is_ipv4() {
                1
            } else {
                2
            }),
        }
    }
}

/// One holder of a port.
#[derive(Clone, Debug)]
pub struct Bind {
    pub addr: BindAddr,
    pub reuse_addr: bool,
    pub reuse_port: bool,
    pub uid: u32,
    pub listening: bool,
    /// Chosen by connect, which may share it among destinations.
    pub auto: bool,
    /// Named by the program: kept until close, whatever becomes of the connection.
    pub explicit: bool,
    /// Its endpoint holds it.
    pub open: bool,
    /// A connection in TIME_WAIT or FIN_WAIT2 without an endpoint holds it.
    pub lingering: bool,
}

/// The ports of one protocol.
#[derive(Debug, Default)]
pub struct Ports {
    holders: BTreeMap<u16, BTreeMap<u64, Bind>>,
    random: u64,
}

impl Ports {
    pub fn new(seed: u64) -> Ports {
        Ports {
            holders: BTreeMap::new(),
            random: seed | 1,
        }
    }

    pub fn insert(&mut self, port: u16, id: u64, bind: Bind) {
        self.holders.entry(port).or_default().insert(id, bind);
    }

    pub fn get(&self, port: u16, id: u64) -> Option<&Bind> {
        self.holders.get(&port)?.get(&id)
    }

    pub fn get_mut(&mut self, port: u16, id: u64) -> Option<&mut Bind> {
        self.holders.get_mut(&port)?.get_mut(&id)
    }

    /// Applies `change`, then forgets the holder if neither an endpoint nor a lingering connection is left.
    pub fn update(&mut self, port: u16, id: u64, change: impl FnOnce(&mut Bind)) {
        let Some(holders) = self.holders.get_mut(&port) else {
            return;
        };
        let Some(bind) = holders.get_mut(&id) else {
            return;
        };
        change(bind);
        if !bind.open && !bind.lingering {
            holders.remove(&id);
            if holders.is_empty() {
                self.holders.remove(&port);
            }
        }
    }

    pub fn is_free(&self, port: u16) -> bool {
        !self.holders.contains_key(&port)
    }

    /// Is everybody on this port there because connect chose it?
    pub fn is_shareable(&self, port: u16) -> bool {
        self.holders
            .get(&port)
            .is_none_or(|holders| holders.values().all(|b| b.auto))
    }

    /// Does anybody but `id` keep `new` from this port?
    pub fn conflicts(
        &self,
        port: u16,
        id: u64,
        new: &Bind,
        rule: fn(&Bind, &Bind) -> bool,
    ) -> bool {
        self.holders.get(&port).is_some_and(|holders| {
            holders
                .iter()
                .any(|(other, old)| *other != id && old.addr.overlaps(&new.addr) && rule(new, old))
        })
    }

    /// A port of the range that `suits`, looked for from a random one on.
    pub fn pick(&mut self, range: (u16, u16), suits: impl Fn(&Ports, u16) -> bool) -> Option<u16> {
        let (low, high) = (u64::from(range.0), u64::from(range.1));
        let count = high.saturating_sub(low).saturating_add(1);
        let start = self.next_random().checked_rem(count)?;
        (0..count).find_map(|step| {
            let offset = start.wrapping_add(step).checked_rem(count)?;
            let port = u16::try_from(low.saturating_add(offset)).ok()?;
            suits(self, port).then_some(port)
        })
    }

    /// xorshift64: spreads ports, protects nothing.
    pub fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// `inet_bind_conflict` for a port that was named: SO_REUSEADDR on both shares with all but listeners, SO_REUSEPORT with the same user.
pub fn tcp_rule(new: &Bind, old: &Bind) -> bool {
    let by_addr = new.reuse_addr && old.reuse_addr && !old.listening;
    let by_port = new.reuse_port && old.reuse_port && (!old.open || new.uid == old.uid);
    !(by_addr || by_port)
}

/// `udp_lib_lport_inuse`.
pub fn udp_rule(new: &Bind, old: &Bind) -> bool {
    let by_addr = new.reuse_addr && old.reuse_addr;
    let by_port = new.reuse_port && old.reuse_port && new.uid == old.uid;
    !(by_addr || by_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> BindAddr {
        let (text, v6only) = text
            .strip_suffix(" v6only")
            .map_or((text, false), |t| (t, true));
        let ip: IpAddr = text.parse().unwrap();
        BindAddr::new(
            ip.to_canonical(),
            if ip.is_ipv4() {
                Family::Inet
            } else {
                Family::Inet6
            },
            v6only,
        )
    }

    #[test]
    fn overlaps() {
        let table = [
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "::", true),
            ("0.0.0.0", ":: v6only", false),
            ("::", "::1", true),
            ("::", "127.0.0.1", true),
            (":: v6only", "127.0.0.1", false),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "::1", false),
            ("0.0.0.0", "::1", false),
        ];
        for (a, b, expected) in table {
            assert_eq!(addr(a).overlaps(&addr(b)), expected, "{a} {b}");
            assert_eq!(addr(b).overlaps(&addr(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn scores_prefer_the_exact_address() {
        let to = "127.0.0.1".parse().unwrap();
        let scores = [
            "127.0.0.1",
            "0.0.0.0",
            "::",
            ":: v6only",
            "::1",
            "127.0.0.2",
        ]
        .map(|a| addr(a).score(to));
        assert_eq!(scores, [Some(4), Some(2), Some(1), None, None, None]);
    }

    #[test]
    fn ports_are_picked_from_the_whole_range() {
        let mut ports = Ports::new(5);
        let bind = Bind {
            addr: addr("0.0.0.0"),
            reuse_addr: false,
            reuse_port: false,
            uid: 0,
            listening: false,
            auto: false,
            explicit: true,
            open: true,
            lingering: false,
        };
        for id in 0..11 {
            let port = ports.pick((100, 110), Ports::is_free).unwrap();
            assert!((100..=110).contains(&port));
            ports.insert(port, id, bind.clone());
        }
        assert_eq!(ports.pick((100, 110), Ports::is_free), None);
        ports.update(
            105,
            (0..11)
                .find(|id| ports.holders[&105].contains_key(id))
                .unwrap(),
            |b| b.open = false,
        );
        assert_eq!(ports.pick((100, 110), Ports::is_free), Some(105));
    }
}
