//! Who the sandbox and its gofer are to the host: the id maps of their user namespaces.
//!
//! The sentry is nobody, or for a user the user: the ids of guests are its own affair. The gofer makes files on the host, so
//! where the bundle asks for a user namespace, the gofer lives in one with the bundle's maps, and what guest root owns the host's
//! first mapped id owns.

use std::fs;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::process::{DumpableBehavior, Gid, Pid, Uid};

use crate::error::{os, rx};

/// One range of ids: as the container numbers them, as the host does, how many.
type Range = (u32, u32, u32);

/// The maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    uids: Vec<Range>,
    gids: Vec<Range>,
    /// Written by the user for himself alone: then setgroups(2) must be denied.
    own: bool,
}

/// The gofer's maps; `None`: it lives in the caller's user namespace.
pub fn gofer_maps(spec: &Spec, rootless: bool) -> Result<Option<Maps>> {
    let linux = spec.linux().as_ref();
    let asked = linux
        .and_then(|l| l.namespaces().as_ref())
        .is_some_and(|list| list.iter().any(|n| n.typ() == LinuxNamespaceType::User));
    let ranges = |list: Option<&Vec<LinuxIdMapping>>| -> Vec<Range> {
        let range = |m: &LinuxIdMapping| (m.container_id(), m.host_id(), m.size());
        list.into_iter().flatten().map(range).collect()
    };
    let uids = ranges(linux.and_then(|l| l.uid_mappings().as_ref()));
    let gids = ranges(linux.and_then(|l| l.gid_mappings().as_ref()));
    if !asked && !rootless {
        return Ok(None);
    }
    if asked && !rootless {
        for (what, list) in [("uid", &uids), ("gid", &gids)] {
            if list.is_empty() {
                bail!("User namespaces enabled, but no {what} mappings found.");
            }
        }
        return Ok(Some(Maps {
            uids,
            gids,
            own: false,
        }));
    }
    let alone = own();
    if uids.is_empty() && gids.is_empty() {
        return Ok(Some(alone));
    }
    let own = matches!((uids.as_slice(), gids.as_slice()), ([u], [g]) if (u.1, u.2) == (euid(), 1) && (g.1, g.2) == (egid(), 1));
    Ok(Some(Maps { uids, gids, own }))
}

fn euid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn egid() -> u32 {
    rustix::process::getegid().as_raw()
}

/// The user alone, as root.
fn own() -> Maps {
    Maps {
        uids: vec![(0, euid(), 1)],
        gids: vec![(0, egid(), 1)],
        own: true,
    }
}

/// The sandbox: nobody, or for a user the user.
pub fn of_sandbox(pid: Pid, rootless: bool) -> Result<()> {
    if rootless {
        return own().write(pid);
    }
    // nobody, as Debian, Red Hat and the kernel's overflowuid number it.
    write_map(pid, "uid_map", "0 65534 1")?;
    write_map(pid, "gid_map", "0 65534 1")
}

impl Maps {
    /// Writes them for a process in a new user namespace.
    pub fn write(&self, pid: Pid) -> Result<()> {
        let lines = |list: &[Range]| -> String {
            list.iter()
                .map(|(c, h, n)| format!("{c} {h} {n}\n"))
                .collect()
        };
        if self.own {
            write_map(pid, "setgroups", "deny")?;
        } else if euid() != 0 {
            // More than oneself takes the helpers that /etc/subuid and /etc/subgid speak to.
            helper("newuidmap", pid, &self.uids)?;
            return helper("newgidmap", pid, &self.gids);
        }
        write_map(pid, "uid_map", &lines(&self.uids))?;
        write_map(pid, "gid_map", &lines(&self.gids))
    }

    /// In the process, once they are written: become root of its user namespace, or its first id where that has no root.
    pub fn assume(&self) -> Result<(), String> {
        let first = |list: &[Range]| {
            let zero = list.iter().any(|r| r.0 == 0 && r.2 > 0);
            if zero {
                0
            } else {
                list.first().map_or(0, |r| r.0)
            }
        };
        let (uid, gid) = (
            Uid::from_raw(first(&self.uids)),
            Gid::from_raw(first(&self.gids)),
        );
        let change = || {
            if !self.own {
                rustix::thread::set_thread_groups(&[])?;
            }
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            // A change of identity took this away, and with it /proc/self, which the jail has yet to look at.
            rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        };
        change().map_err(|e| {
            format!(
                "gofer: take on user {} of its user namespace: {}",
                uid.as_raw(),
                rx(e)
            )
        })
    }
}

fn write_map(pid: Pid, file: &str, value: &str) -> Result<()> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    fs::write(&path, value).map_err(|e| anyhow!("write {path}: {}", os(&e)))
}

fn helper(program: &str, pid: Pid, ranges: &[Range]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string());
    for (c, h, n) in ranges {
        command.args([c.to_string(), h.to_string(), n.to_string()]);
    }
    match command.output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => bail!(
            "rootless: {program}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ),
        Err(e) => bail!(
            "rootless: more ids than one's own need {program} (Debian: package uidmap): {}",
            os(&e)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn maps(rootless: bool, linux: serde_json::Value) -> Result<Option<Maps>> {
        let mut c = crate::oci::default::config(false);
        c["linux"] = linux;
        gofer_maps(
            &crate::oci::parse(&serde_json::to_vec(&c).unwrap()).unwrap(),
            rootless,
        )
    }

    #[test]
    fn what_the_bundle_asks_for() {
        let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let user = json!([{"type": "user"}]);
        // Without the namespace the maps mean nothing, as with runc.
        assert_eq!(
            maps(false, json!({"uidMappings": ids, "gidMappings": ids})).unwrap(),
            None
        );
        let m = maps(
            false,
            json!({"namespaces": user, "uidMappings": ids, "gidMappings": ids}),
        )
        .unwrap()
        .unwrap();
        assert_eq!((m.uids, m.own), (vec![(0, 100_000, 65536)], false));
        let e = maps(false, json!({"namespaces": user, "uidMappings": ids}))
            .unwrap_err()
            .to_string();
        assert_eq!(e, "User namespaces enabled, but no gid mappings found.");
        assert_eq!(maps(true, json!({})).unwrap(), Some(own()));
    }
}
