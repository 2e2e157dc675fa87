//! Mount options: OCI's names (those of mount(8), and runc's `r…` forms) as flags, propagation and filesystem data.

use anyhow::{Result, bail};

bitflags::bitflags! {
    /// What a mount forbids or does differently: `MS_*` of mount(2), the ones a mount keeps.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Flags: u64 {
        /// `MS_RDONLY`
        const RDONLY = 1;
        /// `MS_NOSUID`
        const NOSUID = 2;
        /// `MS_NODEV`
        const NODEV = 4;
        /// `MS_NOEXEC`
        const NOEXEC = 8;
        /// `MS_SYNCHRONOUS`
        const SYNCHRONOUS = 16;
        /// `MS_DIRSYNC`
        const DIRSYNC = 128;
        /// `MS_NOSYMFOLLOW`
        const NOSYMFOLLOW = 256;
        /// `MS_NOATIME`
        const NOATIME = 1024;
        /// `MS_NODIRATIME`
        const NODIRATIME = 2048;
        /// `MS_RELATIME`
        const RELATIME = 1 << 21;
        /// `MS_STRICTATIME`
        const STRICTATIME = 1 << 24;
    }
}

/// How mounts under this one travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// From the host into the container.
    Slave,
    /// Both ways.
    Shared,
    /// Neither way, and it cannot be bound elsewhere.
    Unbindable,
}

/// A mount's options, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Flags that hold.
    pub flags: Flags,
    /// It is a bind mount.
    pub bind: bool,
    /// With the mounts under it.
    pub recursive: bool,
    /// `tmpcopyup`: a tmpfs that begins with what it covers.
    pub copy_up: bool,
    /// How mounts under it travel.
    pub propagation: Option<Propagation>,
    /// What is left: the filesystem's own options.
    pub data: Vec<String>,
}

enum Effect {
    Set(Flags),
    Clear(Flags),
    Propagate(Propagation),
    Bind { recursive: bool },
    CopyUp,
    Nothing,
}

use Effect::{Bind, Clear, CopyUp, Nothing, Propagate, Set};

/// Every option that is not a filesystem's own. The `r` forms hold for the mounts below as well; a guest sees a bound tree as
/// one mount, so they are the same here.
const OPTIONS: &[(&str, Effect)] = &[
    ("async", Clear(Flags::SYNCHRONOUS)),
    ("atime", Clear(Flags::NOATIME)),
    ("bind", Bind { recursive: false }),
    ("defaults", Nothing),
    ("dev", Clear(Flags::NODEV)),
    ("diratime", Clear(Flags::NODIRATIME)),
    ("dirsync", Set(Flags::DIRSYNC)),
    ("exec", Clear(Flags::NOEXEC)),
    ("loud", Nothing),
    ("noatime", Set(Flags::NOATIME)),
    ("nodev", Set(Flags::NODEV)),
    ("nodiratime", Set(Flags::NODIRATIME)),
    ("noexec", Set(Flags::NOEXEC)),
    ("nolazytime", Nothing),
    ("nomand", Nothing),
    ("norelatime", Clear(Flags::RELATIME)),
    ("nostrictatime", Clear(Flags::STRICTATIME)),
    ("nosuid", Set(Flags::NOSUID)),
    ("nosymfollow", Set(Flags::NOSYMFOLLOW)),
    ("private", Propagate(Propagation::Private)),
    ("ratime", Clear(Flags::NOATIME)),
    ("rbind", Bind { recursive: true }),
    ("rdev", Clear(Flags::NODEV)),
    ("rdiratime", Clear(Flags::NODIRATIME)),
    ("relatime", Set(Flags::RELATIME)),
    ("rexec", Clear(Flags::NOEXEC)),
    ("rnoatime", Set(Flags::NOATIME)),
    ("rnodev", Set(Flags::NODEV)),
    ("rnodiratime", Set(Flags::NODIRATIME)),
    ("rnoexec", Set(Flags::NOEXEC)),
    ("rnorelatime", Clear(Flags::RELATIME)),
    ("rnostrictatime", Clear(Flags::STRICTATIME)),
    ("rnosuid", Set(Flags::NOSUID)),
    ("rnosymfollow", Set(Flags::NOSYMFOLLOW)),
    ("ro", Set(Flags::RDONLY)),
    ("rprivate", Propagate(Propagation::Private)),
    ("rrelatime", Set(Flags::RELATIME)),
    ("rro", Set(Flags::RDONLY)),
    ("rrw", Clear(Flags::RDONLY)),
    ("rshared", Propagate(Propagation::Shared)),
    ("rslave", Propagate(Propagation::Slave)),
    ("rstrictatime", Set(Flags::STRICTATIME)),
    ("rsuid", Clear(Flags::NOSUID)),
    ("rsymfollow", Clear(Flags::NOSYMFOLLOW)),
    ("runbindable", Propagate(Propagation::Unbindable)),
    ("rw", Clear(Flags::RDONLY)),
    ("shared", Propagate(Propagation::Shared)),
    ("silent", Nothing),
    ("slave", Propagate(Propagation::Slave)),
    ("strictatime", Set(Flags::STRICTATIME)),
    ("suid", Clear(Flags::NOSUID)),
    ("symfollow", Clear(Flags::NOSYMFOLLOW)),
    ("sync", Set(Flags::SYNCHRONOUS)),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagate(Propagation::Unbindable)),
];

/// Names of the options, sorted: for `features`.
pub fn option_names() -> Vec<&'static str> {
    OPTIONS.iter().map(|(n, _)| *n).collect()
}

/// Sorts out a mount's options; `where_` names the mount in errors.
pub fn parse_options(options: &[String], where_: &str) -> Result<Options> {
    let mut out = Options::default();
    for o in options {
        match OPTIONS
            .binary_search_by(|(n, _)| n.cmp(&o.as_str()))
            .ok()
            .and_then(|i| OPTIONS.get(i))
        {
            Some((_, Set(f))) => out.flags |= *f,
            Some((_, Clear(f))) => out.flags &= !*f,
            // A guest's own mounts stay in the sandbox, whatever it does: the host cannot see them.
            Some((_, Propagate(Propagation::Shared))) => {
                bail!(
                    "{where_}: option \"{o}\" cannot be honoured: mounts made in a sandbox do not reach the host"
                )
            }
            Some((_, Propagate(p))) => out.propagation = Some(*p),
            Some((_, Bind { recursive })) => {
                out.bind = true;
                out.recursive |= recursive;
            }
            Some((_, CopyUp)) => out.copy_up = true,
            Some((_, Nothing)) => {}
            None => match o.as_str() {
                "remount" | "acl" | "noacl" | "iversion" | "noiversion" | "mand" | "lazytime"
                | "idmap" | "ridmap" => {
                    bail!("{where_}: option \"{o}\" cannot be honoured by a sandbox's filesystems")
                }
                _ => out.data.push(o.clone()),
            },
        }
    }
    Ok(out)
}

/// What a mount of a configuration is, in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A tree of the host, through the gofer.
    Bind,
    /// Files in the sandbox's memory.
    Tmpfs,
    /// The sandbox's procfs.
    Proc,
    /// The sandbox's sysfs.
    Sysfs,
    /// The sandbox's terminals.
    Devpts,
    /// POSIX message queues.
    Mqueue,
    /// The sandbox's own view of its cgroups.
    Cgroup,
}

/// Which filesystem a mount asks for, and its options.
pub fn kind(m: &oci_spec::runtime::Mount, index: usize) -> Result<(Kind, Options)> {
    let where_ = format!("mounts[{index}] ({})", m.destination().display());
    let empty = Vec::new();
    let options = parse_options(m.options().as_ref().unwrap_or(&empty), &where_)?;
    let typ = m.typ().as_deref().unwrap_or("none");
    let kind = match typ {
        _ if options.bind => Kind::Bind,
        "bind" => Kind::Bind,
        "tmpfs" => Kind::Tmpfs,
        "proc" => Kind::Proc,
        "sysfs" => Kind::Sysfs,
        "devpts" => Kind::Devpts,
        "mqueue" => Kind::Mqueue,
        "cgroup" | "cgroup2" => Kind::Cgroup,
        t => bail!(
            "{where_}: type \"{t}\" is not one that a sandbox has (bind, tmpfs, proc, sysfs, devpts, mqueue, cgroup)"
        ),
    };
    if kind == Kind::Bind && m.source().is_none() {
        bail!("{where_}: source must be specified for a bind mount");
    }
    if let Some(bad) = options.data.iter().find(|d| !data_ok(kind, d)) {
        bail!("{where_}: unknown option \"{bad}\" for {typ}");
    }
    Ok((kind, options))
}

/// Whether a filesystem knows an option of its own.
fn data_ok(kind: Kind, option: &str) -> bool {
    let (name, value) = option
        .split_once('=')
        .map_or((option, None), |(n, v)| (n, Some(v)));
    match kind {
        // Engines pass what they pass to any bind mount; there is no filesystem that could mind.
        Kind::Bind => false,
        Kind::Tmpfs => match name {
            "size" | "nr_blocks" | "nr_inodes" => value.is_some_and(|v| size(v).is_some()),
            "mode" => value.is_some_and(|v| u32::from_str_radix(v, 8).is_ok()),
            "uid" | "gid" => value.is_some_and(|v| v.parse::<u32>().is_ok()),
            "huge" | "inode32" | "inode64" | "noswap" => true,
            _ => false,
        },
        Kind::Devpts => match name {
            "newinstance" => true,
            "ptmxmode" | "mode" => value.is_some_and(|v| u32::from_str_radix(v, 8).is_ok()),
            "gid" | "uid" | "max" => value.is_some_and(|v| v.parse::<u32>().is_ok()),
            _ => false,
        },
        Kind::Proc => matches!(
            (name, value),
            ("hidepid", Some("0" | "off")) | ("subset", Some("all"))
        ),
        Kind::Sysfs | Kind::Mqueue => false,
        Kind::Cgroup => true,
    }
}

/// A size as tmpfs reads it: digits and k, m, g; `%` of memory is the kernel's to work out.
pub fn size(v: &str) -> Option<u64> {
    let (digits, scale) = match v.as_bytes().last()? {
        b'k' | b'K' => (v.get(..v.len() - 1)?, 10),
        b'm' | b'M' => (v.get(..v.len() - 1)?, 20),
        b'g' | b'G' => (v.get(..v.len() - 1)?, 30),
        b'%' => {
            let percent = v.get(..v.len() - 1)?.parse::<u64>().ok()?;
            let total = rustix::system::sysinfo();
            return (total.totalram as u64)
                .checked_mul(u64::from(total.mem_unit))?
                .checked_mul(percent)?
                .checked_div(100);
        }
        _ => (v, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opts(list: &[&str]) -> Result<Options> {
        parse_options(
            &list.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
            "mounts[0] (/x)",
        )
    }

    #[test]
    fn table_is_sorted() {
        assert!(OPTIONS.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn options() {
        let o = opts(&["rbind", "ro", "rprivate", "nosuid", "suid"]).unwrap();
        assert!(o.bind && o.recursive);
        assert_eq!(o.flags, Flags::RDONLY);
        assert_eq!(o.propagation, Some(Propagation::Private));
        let o = opts(&["size=64k", "mode=755", "noexec"]).unwrap();
        assert_eq!(o.data, ["size=64k", "mode=755"]);
        assert!(
            opts(&["rshared"])
                .unwrap_err()
                .to_string()
                .starts_with("mounts[0] (/x): option \"rshared\"")
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(size("65536k"), Some(64 << 20));
        assert_eq!(size("1g"), Some(1 << 30));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("x"), None);
        assert_eq!(size(""), None);
    }
}
