//! The network namespace of a container whose internet sockets are the host's (`--network=host-sockets`).
//!
//! The sandbox is born in it, and in a user namespace of its own that has no say over it: whatever privilege a guest has there, its sockets have none on the
//! host. That a guest may bind a port below 1024 is for the sentry to decide, so the host must not forbid it
//! (`net.ipv4.ip_unprivileged_port_start`); the same for echo requests (`net.ipv4.ping_group_range`).

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::error::{os, rx};

/// A namespace, and the one this process came from.
pub struct Network {
    home: OwnedFd,
    inside: OwnedFd,
    /// It is the one of whoever runs this program.
    shared: bool,
}

/// The namespace of this process: it has one thread.
fn current() -> Result<OwnedFd> {
    open(Path::new("/proc/self/ns/net"))
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| anyhow!("network namespace {}: {}", path.display(), rx(e)))
}

fn enter(ns: &OwnedFd) -> Result<()> {
    rustix::thread::move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| anyhow!("enter the network namespace: {}", rx(e)))
}

impl Network {
    /// That of a configuration: the one it names, a new one with its loopback interface up, or, where it asks for none, the caller's.
    pub fn of(spec: &Spec) -> Result<Network> {
        if !rustix::process::geteuid().is_root() {
            bail!("--network=host-sockets: needs root, to enter the container's network namespace");
        }
        let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
        let asked = namespaces
            .into_iter()
            .flatten()
            .find(|n| n.typ() == LinuxNamespaceType::Network);
        let home = current()?;
        let named = asked.and_then(|n| n.path().as_deref());
        let inside = match (asked, named.filter(|p| !p.as_os_str().is_empty())) {
            (None, _) => home.try_clone()?,
            (_, Some(path)) => open(path)?,
            (_, None) => {
                crate::sys::unshare_network()
                    .map_err(|e| anyhow!("make a network namespace: {}", rx(e)))?;
                let made = current()?;
                let up = loopback_up();
                enter(&home)?;
                up?;
                made
            }
        };
        Ok(Network {
            home,
            inside,
            shared: asked.is_none(),
        })
    }

    /// What `action` does, it does there. A process that it forks stays there.
    pub fn within<T>(&self, action: impl FnOnce() -> T, stays: impl Fn(&T) -> bool) -> Result<T> {
        enter(&self.inside)?;
        let done = action();
        if !stays(&done) {
            enter(&self.home)?;
        }
        Ok(done)
    }

    /// `linux.sysctl` as far as it is about the network, once all interfaces are there.
    pub fn sysctls(&self, list: &HashMap<String, String>) -> Result<()> {
        if self.shared {
            if let Some(name) = list.keys().find(|name| of_network(name)) {
                bail!("linux.sysctl: \"{name}\" cannot be set in the host's network namespace");
            }
            return Ok(());
        }
        let set = || {
            let opened = [
                ("net.ipv4.ip_unprivileged_port_start", "0"),
                ("net.ipv4.ping_group_range", "0 2147483647"),
            ];
            let asked = list
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()));
            let asked = asked
                .filter(|(name, _)| of_network(name))
                // The sentry has this one.
                .filter(|(name, _)| {
                    sentry::socket::settings::find(name).is_none_or(|s| !s.is_ours())
                });
            // The latter count.
            for (name, value) in opened.into_iter().chain(asked) {
                fs::write(file(name), value).map_err(|e| {
                    anyhow!("linux.sysctl: set \"{name}\" to \"{value}\": {}", os(&e))
                })?;
            }
            Ok(())
        };
        self.within(set, |_| false)?
    }
}

/// `linux.sysctl` for the sandbox's own network: what its kernel does not have is refused.
pub fn own_sysctls(list: &HashMap<String, String>) -> Result<()> {
    for name in list.keys().filter(|name| of_network(name)) {
        // Engines set it for every container. It is about sockets that this network does not have.
        let echo = name.replace('/', ".") == "net.ipv4.ping_group_range";
        if !echo && sentry::socket::settings::find(name).is_none() {
            bail!(
                "linux.sysctl: \"{name}\" cannot be set: the sandbox's network has no such setting"
            );
        }
    }
    Ok(())
}

/// Whether a sysctl is one of a network namespace.
pub fn of_network(name: &str) -> bool {
    name.starts_with("net.") || name.starts_with("net/")
}

/// Its file. As sysctl(8) has it, the first separator decides which of `.` and `/` is which: interfaces may have dots in their names.
fn file(name: &str) -> String {
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    let dots_first = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('.'));
    let path: String = if dots_first {
        name.chars().map(swapped).collect()
    } else {
        name.to_owned()
    };
    format!("/proc/sys/{path}")
}

/// `ip link set lo up`, by rtnetlink(7).
fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let failed = |e| anyhow!("bring up the loopback interface: {}", rx(e));
    let kernel = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    // nlmsghdr: length, type, flags, number, port; ifinfomsg: family, type, index, flags, which of them.
    let header = [
        &32u32.to_ne_bytes()[..],
        &RTM_NEWLINK.to_ne_bytes(),
        &REQUEST_AND_ACK.to_ne_bytes(),
        &[0; 8],
    ];
    let link = [0u32, 1, IFF_UP, IFF_UP].map(u32::to_ne_bytes);
    let request = [header.concat(), link.concat()].concat();
    rustix::net::send(&kernel, &request, SendFlags::empty()).map_err(failed)?;
    let mut answer = [0; 128];
    let (n, _) = rustix::net::recv(&kernel, &mut answer, RecvFlags::empty()).map_err(failed)?;
    match answer.get(16..20).filter(|_| n >= 20) {
        Some([0, 0, 0, 0]) => Ok(()),
        other => bail!("bring up the loopback interface: the kernel answers {other:?}"),
    }
}

/// Interfaces that a guest of a sandbox without host sockets does not see although its container has them.
pub fn unseen(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let name = |line: &str| Some(line.split_once(':')?.0.trim().to_owned());
    text.lines()
        .filter_map(name)
        .filter(|n| n != "lo")
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_of_sysctls() {
        for (name, file) in [
            ("net.core.somaxconn", "net/core/somaxconn"),
            ("net/core/somaxconn", "net/core/somaxconn"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(super::file(name), format!("/proc/sys/{file}"));
        }
    }
}
