//! `/sys/class/net`: the links of the network namespace of whoever looks.

use crate::kernel::Task;
use crate::pseudo::{Content, DirNode, Node, Sink, Tree, ino_of, link, text};
use crate::socket::NetNamespace;
use crate::socket::interface::{Link, links};
use abi::Errno;
use fs::Caller;
use std::sync::Arc;

/// `class/net`: links to the devices.
pub fn class() -> Node {
    Node::new(0o755, Content::Dir(Arc::new(Net { class: true })))
}

/// `devices/virtual/net`: the devices.
pub fn devices() -> Node {
    Node::new(0o755, Content::Dir(Arc::new(Net { class: false })))
}

struct Net {
    class: bool,
}

/// Where the directories' numbers begin, which are made up from the names.
const SEED: u64 = 0x6e65;

fn seen_by(caller: &dyn Caller) -> Vec<Link> {
    let task: Option<&Task> = caller.as_any().downcast_ref();
    // The kernel itself looks from nowhere.
    let net = task.and_then(|t| t.ns().net.content(NetNamespace::default));
    let own = Arc::new(NetNamespace::default());
    links(&net.unwrap_or(own)).unwrap_or_default()
}

fn counter(name: &str, at: usize) -> Node {
    let name = name.to_owned();
    text(0o444, move |opener| {
        let net = opener.and_then(|t| t.ns().net.content(NetNamespace::default));
        let all = net.and_then(|n| links(&n).ok()).unwrap_or_default();
        let found = all.iter().find(|l| l.name == name);
        format!(
            "{}\n",
            found.and_then(|l| l.counters.get(at)).copied().unwrap_or(0)
        )
    })
}

fn hex(bytes: &[u8]) -> String {
    let parts: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    parts.join(":")
}

/// A device's directory.
fn device(l: &Link) -> Node {
    const STATES: [&str; 7] = [
        "unknown",
        "notpresent",
        "down",
        "lowerlayerdown",
        "testing",
        "dormant",
        "up",
    ];
    let mut tree = Tree::mode(0o755);
    let state = STATES.get(usize::from(l.state)).unwrap_or(&"unknown");
    let peer = if l.peer == 0 { l.index } else { l.peer };
    // IFF_RUNNING and IFF_LOWER_UP are volatile; the file has what was set.
    let flags = l.flags & !(0x40 | 0x1_0000);
    let carrier = u8::from(l.flags & 0x40 != 0);
    for (name, value) in [
        ("address", hex(&l.address)),
        ("addr_len", l.address.len().to_string()),
        ("broadcast", hex(&l.broadcast)),
        ("carrier", carrier.to_string()),
        ("dev_id", "0x0".into()),
        ("dormant", "0".into()),
        ("flags", format!("{flags:#x}")),
        ("ifindex", l.index.to_string()),
        ("iflink", peer.to_string()),
        ("link_mode", "0".into()),
        ("mtu", l.mtu.to_string()),
        ("operstate", (*state).to_owned()),
        ("tx_queue_len", l.queue.to_string()),
        ("type", l.hardware.to_string()),
        (
            "uevent",
            format!("INTERFACE={}\nIFINDEX={}", l.name, l.index),
        ),
    ] {
        tree.add(name, text(0o444, move |_| format!("{value}\n")));
    }
    for (at, name) in [
        "rx_packets",
        "tx_packets",
        "rx_bytes",
        "tx_bytes",
        "rx_errors",
        "tx_errors",
        "rx_dropped",
        "tx_dropped",
        "multicast",
        "collisions",
    ]
    .into_iter()
    .enumerate()
    {
        tree.add(&format!("statistics/{name}"), counter(&l.name, at));
    }
    tree.add("subsystem", link(|_| Ok(b"../../../../class/net".to_vec())));
    tree.build()
}

impl DirNode for Net {
    fn lookup(&self, caller: &dyn Caller, name: &[u8]) -> Result<Node, Errno> {
        let all = seen_by(caller);
        let found = all.iter().find(|l| l.name.as_bytes() == name);
        let found = found.ok_or(Errno::ENOENT)?;
        let mut node = if self.class {
            let target = format!("../../devices/virtual/net/{}", found.name).into_bytes();
            link(move |_| Ok(target.clone()))
        } else {
            device(found)
        };
        node.ino = ino_of(SEED.wrapping_add(self.class.into()), name);
        Ok(node)
    }
    fn list(&self, caller: &dyn Caller, cookie: u64, sink: &mut Sink<'_>) -> Result<(), Errno> {
        let kind = if self.class {
            fs::NodeKind::Symlink
        } else {
            fs::NodeKind::Directory
        };
        for l in seen_by(caller) {
            let ino = ino_of(SEED.wrapping_add(self.class.into()), l.name.as_bytes());
            let at = u64::from(l.index).saturating_add(2);
            if at > cookie && !sink(l.name.as_bytes(), kind.dirent_type(), ino, at) {
                break;
            }
        }
        Ok(())
    }
    /// Links come and go.
    fn is_static(&self) -> bool {
        false
    }
}
