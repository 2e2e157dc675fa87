//! From the bundle's root and mounts: which trees of the host the gofer serves, and what the sandbox mounts where.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use gofer::jail::TreeSpec;
use gofer::wire::MountFlags;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{os, rx};
use crate::oci::mounts::{self, Kind, Options};

/// One mount of the sandbox, in the configuration's order.
#[derive(Clone, Debug)]
pub struct GuestMount {
    /// Where, absolute, as the configuration has it.
    pub destination: PathBuf,
    /// What.
    pub kind: Kind,
    /// How.
    pub options: Options,
    /// Which of the gofer's trees, for a bind mount.
    pub tree: Option<usize>,
    /// Whether what is mounted is a directory.
    pub directory: bool,
    /// `source` of the configuration: the device that mount tables show.
    pub source: String,
}

/// All of it. The gofer's first tree is the root.
#[derive(Clone, Debug)]
pub struct Trees {
    /// For the gofer.
    pub gofer: Vec<TreeSpec>,
    /// For the sandbox.
    pub mounts: Vec<GuestMount>,
}

/// The root filesystem's absolute path, which must be a directory.
pub fn rootfs(bundle: &Path, spec: &Spec) -> Result<PathBuf> {
    let Some(root) = spec.root() else {
        bail!("root must be specified")
    };
    let path = bundle.join(root.path());
    match std::fs::metadata(&path) {
        Ok(m) if m.is_dir() => std::fs::canonicalize(&path)
            .map_err(|e| anyhow!("invalid rootfs: {}: {}", path.display(), os(&e))),
        Ok(_) => bail!("invalid rootfs: {} is not a directory", path.display()),
        Err(e) => bail!("invalid rootfs: stat {}: {}", path.display(), os(&e)),
    }
}

/// Works out the trees. `overlay`: writes to the root stay in the sandbox's memory.
pub fn plan(bundle: &Path, rootfs: &Path, spec: &Spec, overlay: bool) -> Result<Trees> {
    let readonly = spec
        .root()
        .as_ref()
        .and_then(|r| r.readonly())
        .unwrap_or(false);
    let flags = if readonly || overlay {
        MountFlags::READ_ONLY
    } else {
        MountFlags::empty()
    };
    let mut trees = Trees {
        gofer: vec![TreeSpec {
            path: rootfs.to_owned(),
            recursive: true,
            flags,
        }],
        mounts: Vec::new(),
    };
    for (i, m) in spec.mounts().iter().flatten().enumerate() {
        let (kind, options) = mounts::kind(m, i)?;
        // As with runc, a destination that is not absolute counts from the root.
        let destination = Path::new("/").join(m.destination());
        let source = m.source().clone().unwrap_or_default();
        let mut mount = GuestMount {
            destination,
            kind,
            options,
            tree: None,
            directory: true,
            source: source.to_string_lossy().into_owned(),
        };
        if kind == Kind::Bind {
            let path = bundle.join(&source);
            let meta = std::fs::metadata(&path).map_err(|e| {
                let dest = mount.destination.display();
                anyhow!(
                    "unable to start container process: error during container init: error mounting \"{}\" to rootfs at \"{dest}\": stat {}: {}",
                    source.display(),
                    source.display(),
                    os(&e)
                )
            })?;
            mount.directory = meta.is_dir();
            mount.tree = Some(trees.gofer.len());
            // Others on the host may change what is bound; the root is the container's alone.
            let mut flags = MountFlags::SHARED;
            flags.set(
                MountFlags::READ_ONLY,
                mount.options.flags.contains(mounts::Flags::RDONLY),
            );
            trees.gofer.push(TreeSpec {
                path,
                recursive: mount.options.recursive,
                flags,
            });
        }
        trees.mounts.push(mount);
    }
    Ok(trees)
}

/// Makes the mount points that the root lacks, as runc does. Those below another mount are the sandbox's to make.
pub fn make_mount_points(rootfs: &Path, mounts: &[GuestMount]) -> Result<()> {
    let root = rustix::fs::open(
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| anyhow!("invalid rootfs: open {}: {}", rootfs.display(), rx(e)))?;
    for (i, m) in mounts.iter().enumerate() {
        let covered = mounts
            .iter()
            .take(i)
            .any(|earlier| m.destination.starts_with(&earlier.destination));
        if covered || m.destination == Path::new("/") {
            continue;
        }
        if let Err(e) = make_one(&root, &m.destination, m.directory) {
            bail!(
                "unable to start container process: error during container init: error mounting \"{}\" to rootfs at \"{}\": {}",
                m.source,
                m.destination.display(),
                rx(e)
            );
        }
    }
    Ok(())
}

/// Makes one, never leaving the root whatever links it holds.
fn make_one(root: &OwnedFd, destination: &Path, directory: bool) -> rustix::io::Result<()> {
    let within = |path: &Path, flags: OFlags, mode: Mode| {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve)
    };
    if within(destination, OFlags::PATH, Mode::empty()).is_ok() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (destination.parent(), destination.file_name()) else {
        return Ok(());
    };
    make_one(root, parent, true)?;
    let parent = within(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let made = if directory {
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
    } else {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        r => r,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tmp(name: &str) -> PathBuf {
        let dir =
            std::env::temp_dir().join(format!("runsc-rs-trees-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("rootfs")).unwrap();
        dir
    }

    #[test]
    fn mount_points_stay_inside() {
        let dir = tmp("points");
        std::os::unix::fs::symlink("/../../escape", dir.join("rootfs/link")).unwrap();
        let mount = |d: &str, directory| GuestMount {
            destination: d.into(),
            kind: Kind::Tmpfs,
            options: Options::default(),
            tree: None,
            directory,
            source: "x".into(),
        };
        fs::create_dir(dir.join("rootfs/escape")).unwrap();
        make_mount_points(
            &dir.join("rootfs"),
            &[
                mount("/a/b", true),
                mount("/a/b/c", true),
                mount("/f/file", false),
                mount("/link/in", true),
            ],
        )
        .unwrap();
        assert!(dir.join("rootfs/a/b").is_dir());
        assert!(!dir.join("rootfs/a/b/c").exists());
        assert!(dir.join("rootfs/f/file").is_file());
        assert!(dir.join("rootfs/escape/in").is_dir());
        assert!(!dir.join("escape").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn bind_mounts_become_trees() {
        let dir = tmp("binds");
        let mut c = crate::oci::default::config(false);
        c["mounts"].as_array_mut().unwrap().push(serde_json::json!({"destination": "/x", "type": "bind", "source": dir, "options": ["rbind", "ro"]}));
        let spec = crate::oci::parse(&serde_json::to_vec(&c).unwrap()).unwrap();
        let root = rootfs(&dir, &spec).unwrap();
        let t = plan(&dir, &root, &spec, false).unwrap();
        assert_eq!(t.gofer.len(), 2);
        assert!(
            t.gofer[1]
                .flags
                .contains(MountFlags::READ_ONLY | MountFlags::SHARED)
        );
        assert_eq!(t.mounts.last().unwrap().tree, Some(1));
        c["mounts"].as_array_mut().unwrap().last_mut().unwrap()["source"] = "/nonexistent".into();
        let spec = crate::oci::parse(&serde_json::to_vec(&c).unwrap()).unwrap();
        let e = plan(&dir, &root, &spec, false).unwrap_err().to_string();
        assert!(e.ends_with("error mounting \"/nonexistent\" to rootfs at \"/x\": stat /nonexistent: no such file or directory"), "{e}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
