//! A fresh writable root for one container: an overlay of the test root filesystem, gone when it is dropped.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A test's own directory with a root filesystem mounted in it.
///
/// The mount is in the mount namespace of the test process (see [`crate::suite::main`]): nothing of it outlives that.
pub struct Rootfs {
    dir: PathBuf,
    merged: PathBuf,
}

impl Rootfs {
    /// A new root on top of the shared one, with `layers` (directories, topmost first) between.
    pub fn new(layers: &[PathBuf]) -> Result<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = crate::env::scratch().join(format!("{}-{n}", crate::env::unique()));
        let merged = dir.join("rootfs");
        for sub in ["upper", "work", "rootfs", "state"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("creating {}", dir.display()))?;
        }
        let mut lower: Vec<String> = layers.iter().map(|l| l.display().to_string()).collect();
        lower.push(crate::env::rootfs().display().to_string());
        let data = format!(
            "lowerdir={},upperdir={1}/upper,workdir={1}/work,index=off,metacopy=off",
            lower.join(":"),
            dir.display()
        );
        mount(
            "overlay",
            &merged,
            "overlay",
            MountFlags::empty(),
            Some(CString::new(data)?.as_c_str()),
        )
        .context("mounting the overlay of a test")?;
        Ok(Self { dir, merged })
    }

    /// The root itself.
    pub fn path(&self) -> &Path {
        &self.merged
    }

    /// A container id that no other test on this machine uses (engines name cgroups after it).
    pub fn id(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        format!("test-{}", name.to_string_lossy())
    }

    /// The directory around it: bundle, state and logs go here.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        let _ = unmount(&self.merged, UnmountFlags::DETACH);
        if !crate::env::keep() {
            // Not by std's recursion: a hostile guest leaves trees that are deeper than a stack.
            let mut rm = std::process::Command::new("rm");
            let _ = rm
                .args(["-rf", "--one-file-system"])
                .arg(&self.dir)
                .status();
        }
    }
}
