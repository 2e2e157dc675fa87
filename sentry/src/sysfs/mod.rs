//! sysfs (`sysfs(5)`) as far as programs look, and a read-only cgroup2.

mod cgroup;
mod cpu;
mod net;

pub use cgroup::cgroup2;

use crate::pseudo::{Node, PseudoFs, Tree, text};
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
    tree.add("class/net", net::class());
    tree.add("devices/virtual/net", net::devices());
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
