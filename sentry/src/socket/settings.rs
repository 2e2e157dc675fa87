//! What `/proc/sys/net` can set in a network namespace.

use super::NetNamespace;
use abi::Errno;
use netstack::Settings;

/// A file of `/proc/sys/net` and what it stands for.
pub struct Setting {
    /// Its path there.
    pub file: &'static str,
    get: fn(&Settings) -> Vec<u32>,
    /// Puts numbers, checked, and says whether they were good.
    set: fn(&mut Settings, &[u32]) -> Option<()>,
}

fn one(parts: &[u32], low: u32) -> Option<u32> {
    match parts {
        [n] if (low..=i32::MAX.unsigned_abs()).contains(n) => Some(*n),
        _ => None,
    }
}

/// All of them.
pub const ALL: &[Setting] = &[
    Setting {
        file: "core/somaxconn",
        get: |s| vec![s.somaxconn],
        set: |s, v| one(v, 0).map(|n| s.somaxconn = n),
    },
    Setting {
        file: "core/rmem_max",
        get: |s| vec![s.rmem_max],
        set: |s, v| one(v, 2304).map(|n| s.rmem_max = n),
    },
    Setting {
        file: "core/wmem_max",
        get: |s| vec![s.wmem_max],
        set: |s, v| one(v, 4608).map(|n| s.wmem_max = n),
    },
    Setting {
        file: "core/rmem_default",
        get: |s| vec![s.rmem_default],
        set: |s, v| one(v, 2304).map(|n| s.rmem_default = n),
    },
    Setting {
        file: "core/wmem_default",
        get: |s| vec![s.wmem_default],
        set: |s, v| one(v, 4608).map(|n| s.wmem_default = n),
    },
    Setting {
        file: "ipv4/tcp_fin_timeout",
        get: |s| vec![s.fin_timeout],
        set: |s, v| one(v, 0).map(|n| s.fin_timeout = n),
    },
    Setting {
        file: PORT_START,
        get: |s| vec![s.unprivileged_port_start.into()],
        set: |s, v| {
            s.unprivileged_port_start = u16::try_from(one(v, 0)?).ok()?;
            Some(())
        },
    },
    Setting {
        file: "ipv4/ip_local_port_range",
        get: |s| vec![s.port_range.0.into(), s.port_range.1.into()],
        set: |s, v| {
            let [low, high] = v else { return None };
            let range = (u16::try_from(*low).ok()?, u16::try_from(*high).ok()?);
            if range.0 == 0 || range.0 > range.1 {
                return None;
            }
            s.port_range = range;
            Some(())
        },
    },
];

const PORT_START: &str = "ipv4/ip_unprivileged_port_start";

/// The setting that sysctl(8) calls `net.…`, in dots or slashes.
pub fn find(name: &str) -> Option<&'static Setting> {
    let path = name.replace('.', "/");
    let file = path.strip_prefix("net/")?;
    ALL.iter().find(|s| s.file == file)
}

impl Setting {
    /// Whether it holds here also where the sockets are the host's: the sentry asks it at `bind(2)`.
    pub fn is_ours(&self) -> bool {
        self.file == PORT_START
    }

    /// The file's text.
    pub fn show(&self, net: &NetNamespace) -> String {
        let shown: Vec<String> = (self.get)(&net.stack().settings())
            .iter()
            .map(u32::to_string)
            .collect();
        format!("{}\n", shown.join("\t"))
    }

    /// Takes what was written.
    pub fn put(&self, net: &NetNamespace, text: &[u8]) -> Result<(), Errno> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let parts: Vec<u32> = text
            .split_ascii_whitespace()
            .map(|p| p.parse().map_err(|_| Errno::EINVAL))
            .collect::<Result<_, _>>()?;
        let mut settings = net.stack().settings();
        (self.set)(&mut settings, &parts).ok_or(Errno::EINVAL)?;
        net.stack().set_settings(settings);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_by_either_spelling() {
        let net = NetNamespace::new();
        for name in [
            "net.ipv4.ip_local_port_range",
            "net/ipv4/ip_local_port_range",
        ] {
            let s = find(name).unwrap();
            assert_eq!(s.put(&net, b"2000 1000\n"), Err(Errno::EINVAL));
            s.put(&net, b"1000 2000\n").unwrap();
            assert_eq!(s.show(&net), "1000\t2000\n");
        }
        assert!(find("net.ipv4.ip_forward").is_none());
        assert!(find("core.somaxconn").is_none());
    }
}
