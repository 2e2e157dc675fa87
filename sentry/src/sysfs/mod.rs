//! sysfs (`sysfs(5)`) as far as programs look, and a read-only cgroup2.

mod cgroup;
mod cpu;

pub use cgroup::cgroup2;

use crate::pseudo::{Node, PseudoFs, Tree, link, text};
use fs::FileSystem;
use std::sync::Arc;

fn fixed(value: &'static str) -> Node {
    text(0o444, move |_| format!("{value}\n"))
}

/// A sysfs.
pub fn new() -> Arc<dyn FileSystem> {
    let mut tree = Tree::mode(0o755);
    cpu::fill(tree.at("devices/system"));
    for dir in [
        "block",
        "bus",
        "class/block",
        "class/tty",
        "class/mem",
        "class/misc",
        "class/bdi",
        "class/dmi",
        "dev/block",
        "dev/char",
        "firmware",
        "fs/cgroup",
        "hypervisor",
        "module",
        "power",
        "devices/virtual/tty",
    ] {
        tree.at(dir);
    }
    tree.add(
        "class/net/lo",
        link(|_| Ok(b"../../devices/virtual/net/lo".to_vec())),
    );
    let lo = tree.at("devices/virtual/net/lo");
    for (name, value) in [
        ("address", "00:00:00:00:00:00"),
        ("addr_len", "6"),
        ("broadcast", "00:00:00:00:00:00"),
        ("carrier", "1"),
        ("dev_id", "0x0"),
        ("dormant", "0"),
        ("flags", "0x9"),
        ("ifindex", "1"),
        ("iflink", "1"),
        ("link_mode", "0"),
        ("mtu", "65536"),
        ("operstate", "unknown"),
        ("tx_queue_len", "1000"),
        ("type", "772"),
        ("uevent", "INTERFACE=lo\nIFINDEX=1"),
    ] {
        lo.add(name, fixed(value));
    }
    for counter in [
        "rx_bytes",
        "rx_packets",
        "rx_errors",
        "rx_dropped",
        "tx_bytes",
        "tx_packets",
        "tx_errors",
        "tx_dropped",
        "collisions",
        "multicast",
    ] {
        lo.add(&format!("statistics/{counter}"), fixed("0"));
    }
    lo.add("subsystem", link(|_| Ok(b"../../../../class/net".to_vec())));
    let huge = tree.at("kernel/mm/transparent_hugepage");
    for (name, value) in [
        ("enabled", "always [madvise] never"),
        ("defrag", "always defer defer+madvise [madvise] never"),
        (
            "shmem_enabled",
            "always within_size advise [never] deny force",
        ),
        ("use_zero_page", "1"),
        ("hpage_pmd_size", "2097152"),
    ] {
        huge.add(name, fixed(value));
    }
    for (name, value) in [
        ("nr_hugepages", "0"),
        ("free_hugepages", "0"),
        ("resv_hugepages", "0"),
        ("surplus_hugepages", "0"),
        ("nr_overcommit_hugepages", "0"),
    ] {
        tree.add(
            &format!("kernel/mm/hugepages/hugepages-2048kB/{name}"),
            fixed(value),
        );
    }
    for dir in [
        "kernel/debug",
        "kernel/security",
        "kernel/tracing",
        "kernel/mm/ksm",
    ] {
        tree.at(dir);
    }
    tree.add("kernel/notes", text(0o444, |_| ""));
    PseudoFs::new("sysfs", abi::fs::SYSFS_MAGIC, String::new(), tree.build())
}
