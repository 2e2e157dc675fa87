//! What this machine offers: root, the root filesystem, the binary under test, the platforms asked for.

use std::env;
use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_path_buf()
}

/// Where everything lives that is made once and kept.
pub fn cache() -> PathBuf {
    env::var_os("RUNSC_RS_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/runsc-rs"), PathBuf::from)
}

/// Directories of running tests. Below the cache: on a disk, not in memory, since containers write there.
pub fn scratch() -> PathBuf {
    cache().join("work")
}

/// Set in a test process that has moved into namespaces of its own: its pid before.
pub const INSIDE: &str = "RUNSC_RS_TEST_NAMESPACE";

/// A number that no other test process on this machine has.
pub fn unique() -> String {
    env::var(INSIDE).unwrap_or_else(|_| std::process::id().to_string())
}

/// Build products of ours: guest programs. Beside the test binary, so that `cargo clean` removes them.
pub fn build_dir() -> PathBuf {
    let exe = env::current_exe().expect("a running program has a path");
    exe.parent()
        .and_then(Path::parent)
        .expect("target/…/deps/name")
        .join("guest")
}

/// Why no container of any kind can be run here, if so.
pub fn missing_for_host() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root (namespaces, mounts, chroot)".into());
    }
    let root = cache().join("rootfs");
    if !root.join(".complete").exists() {
        return Some(format!(
            "no root filesystem at {} (make rootfs)",
            root.display()
        ));
    }
    None
}

/// The test root filesystem, a directory nobody writes to.
pub fn rootfs() -> PathBuf {
    let link = cache().join("rootfs");
    link.canonicalize().unwrap_or(link)
}

/// The binary under test, or why there is none.
pub fn binary() -> Result<PathBuf, String> {
    let path = env::var_os("RUNSC_RS").map_or_else(|| top().join("bin/runsc-rs"), PathBuf::from);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("no binary at {} (make fast)", path.display()))
    }
}

/// The platforms to test.
pub fn platforms() -> Vec<String> {
    let list = env::var("RUNSC_RS_PLATFORMS").unwrap_or_else(|_| "systrap,ptrace".into());
    list.split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(String::from)
        .collect()
}

/// What else the runtime is told before its command, in words: `RUNSC_RS_ARGS="--systrap-rewrite=on"`.
pub fn arguments() -> Vec<String> {
    let words = env::var("RUNSC_RS_ARGS").unwrap_or_default();
    words.split_whitespace().map(String::from).collect()
}

/// Whether directories and strace logs of tests are to be kept.
pub fn keep() -> bool {
    env::var_os("RUNSC_RS_KEEP").is_some()
}

/// Every limit is multiplied by this; CI machines may be busy.
pub fn time_scale() -> u32 {
    env::var("RUNSC_RS_TIME_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1)
}
