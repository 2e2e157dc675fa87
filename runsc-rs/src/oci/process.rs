//! `process` of a configuration, in the kernel's terms.

use abi::cap;
use anyhow::{Result, bail};
use oci_spec::runtime::{self as oci, PosixRlimitType};

/// The five sets of a process, as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Caps {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

impl Caps {
    /// From a configuration; without `capabilities` a process has none.
    pub fn from_oci(caps: Option<&oci::LinuxCapabilities>) -> Caps {
        let Some(c) = caps else {
            return Caps::default();
        };
        let set = |s: &Option<oci::Capabilities>| {
            s.iter()
                .flatten()
                .filter_map(|c| cap::by_name(&c.to_string()))
                .fold(0u64, |m, n| m | 1 << n)
        };
        let mut caps = Caps {
            bounding: set(c.bounding()),
            effective: set(c.effective()),
            inheritable: set(c.inheritable()),
            permitted: set(c.permitted()),
            ambient: set(c.ambient()),
        };
        // Linux's own rules (capset(2), prctl(2)): nothing is effective that is not permitted, nothing ambient that is not both.
        caps.effective &= caps.permitted;
        caps.ambient &= caps.permitted & caps.inheritable;
        caps
    }
}

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// The guest process that `create` or `exec` asks for: all of it in the kernel's terms.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Process {
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub umask: Option<u32>,
    pub caps: Caps,
    pub rlimits: Vec<Rlimit>,
    pub no_new_privs: bool,
    pub oom_score_adj: Option<i32>,
    pub terminal: bool,
    /// Rows and columns.
    pub console_size: Option<(u16, u16)>,
}

impl Process {
    /// From `process` of a configuration or `exec --process`, both validated.
    pub fn from_oci(p: &oci::Process) -> Result<Process> {
        let mut rlimits = Vec::new();
        for r in p.rlimits().iter().flatten() {
            let l = Rlimit {
                resource: rlimit_number(r.typ()),
                soft: r.soft(),
                hard: r.hard(),
            };
            if l.soft > l.hard {
                bail!(
                    "process.rlimits: {}: soft limit {} is above the hard limit {}",
                    r.typ(),
                    l.soft,
                    l.hard
                );
            }
            // As with runc, the last of two wins.
            rlimits.retain(|o: &Rlimit| o.resource != l.resource);
            rlimits.push(l);
        }
        let size = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        Ok(Process {
            args: p.args().clone().unwrap_or_default(),
            env: p.env().clone().unwrap_or_default(),
            cwd: p.cwd().to_string_lossy().into_owned(),
            uid: p.user().uid(),
            gid: p.user().gid(),
            groups: p.user().additional_gids().clone().unwrap_or_default(),
            umask: p.user().umask(),
            caps: Caps::from_oci(p.capabilities().as_ref()),
            rlimits,
            no_new_privs: p.no_new_privileges().unwrap_or(false),
            oom_score_adj: p.oom_score_adj(),
            terminal: p.terminal().unwrap_or(false),
            console_size: p
                .console_size()
                .map(|b| (size(b.height()), size(b.width()))),
        })
    }
}

/// `RLIMIT_*` of asm-generic/resource.h.
fn rlimit_number(t: PosixRlimitType) -> u32 {
    match t {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

/// `UID[:GID]` of `exec --user`.
pub fn parse_user(s: &str) -> Result<(u32, Option<u32>)> {
    let (u, g) = s.split_once(':').map_or((s, None), |(u, g)| (u, Some(g)));
    let id = |what: &str, v: &str| {
        v.parse::<u32>()
            .map_err(|_| anyhow::anyhow!("parsing {v} as int for {what} failed: expected a number"))
    };
    Ok((id("uid", u)?, g.map(|g| id("gid", g)).transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(parse_user("1000").unwrap(), (1000, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        assert!(parse_user("root").is_err());
    }

    #[test]
    fn ambient_needs_inheritable() {
        let c: oci::LinuxCapabilities =
            serde_json::from_str(r#"{"permitted":["CAP_KILL"],"effective":["CAP_KILL","CAP_CHOWN"],"ambient":["CAP_KILL"]}"#).unwrap();
        let caps = Caps::from_oci(Some(&c));
        assert_eq!((caps.permitted, caps.effective, caps.ambient), (32, 32, 0));
    }
}
