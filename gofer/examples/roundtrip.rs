//! What a call through the gofer costs: `cargo run -p gofer --profile fast --example roundtrip [DIRECTORY]`. Starts `gofer-probe` (the
//! jailed gofer, which must be built: `cargo build -p gofer --profile fast`) on a temporary directory.
#![forbid(unsafe_code)]

use gofer::client::{Client, Node};
use gofer::wire::{Access, Owner};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::process::{Command, Stdio};
use std::time::Instant;

fn measure(name: &str, rounds: u32, mut call: impl FnMut(u32)) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..rounds).for_each(&mut call);
            start.elapsed() / rounds
        })
        .min()
        .unwrap_or_default();
    println!("{name:40} {:8.2} µs", best.as_secs_f64() * 1e6);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let dir = base.join(format!("gofer-roundtrip-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let probe = std::env::current_exe()?
        .parent()
        .and_then(|examples| examples.parent())
        .ok_or("no directory")?
        .join("gofer-probe");
    let mut child = Command::new(probe)
        .arg("--threads=4")
        .arg(format!("0:{}", dir.display()))
        .stdin(Stdio::from(theirs))
        .spawn()?;
    let (client, mounts) = Client::connect(ours, 4)?;
    let result = run(&mounts[0].root, &dir);
    println!("gofer PSS {} KiB", pss(child.id()).unwrap_or(0));
    drop((client, mounts));
    child.wait()?;
    std::fs::remove_dir_all(&dir)?;
    result
}

fn pss(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .ok()
}

fn run(root: &Node, dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let owner = Owner {
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let mut at = root.mkdir(b"a", owner)?.node;
    for name in [&b"b"[..], b"c"] {
        at = at.mkdir(name, owner)?.node;
    }
    std::fs::write(dir.join("a/b/c/file"), "x")?;
    let (file, _) = at.lookup(b"file")?;
    println!("one call, one thread:");
    measure("getattr", 5000, |_| {
        root.attr().ok();
    });
    measure("lookup of one name", 5000, |_| {
        at.lookup(b"file").ok();
    });
    measure("lookup of a name that is not there", 5000, |_| {
        at.lookup(b"none").ok();
    });
    measure("open of a known node", 5000, |_| {
        file.open(Access::Read).ok();
    });
    measure("cold open of a/b/c/file, one round trip", 5000, |_| {
        root.walk(&[b"a", b"b", b"c", b"file"], Some(Access::Read), true)
            .ok();
    });
    let mut n = 0_u64;
    measure("create and open", 2000, |_| {
        n += 1;
        at.create(format!("new-{n}").as_bytes(), Access::ReadWrite, owner)
            .ok();
    });
    measure("readdir with attributes, per page", 100, |_| {
        at.read_dir(0, true).ok();
    });
    measure("unlink", 2000, |_| {
        at.unlink(format!("new-{n}").as_bytes()).ok();
        n -= 1;
    });
    println!("for comparison, on the host itself:");
    let path = dir.join("a/b/c/file");
    measure("open+close", 5000, |_| {
        std::fs::File::open(&path).ok();
    });
    measure("statx", 5000, |_| {
        std::fs::symlink_metadata(&path).ok();
    });
    Ok(())
}
