//! What a configuration must have, and what a sandbox cannot honour: each refusal names the field.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use oci_spec::runtime::{self as oci, LinuxNamespaceType, Spec};

use super::{mounts, process};
use crate::sandbox::network::of_network;

/// Checks a whole configuration.
pub fn validate(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    let Some(p) = spec.process() else {
        bail!("process property must not be empty")
    };
    process_(p, "process")?;
    match spec.root() {
        None => bail!("root must be specified"),
        Some(r) if r.path().as_os_str().is_empty() => bail!("root.path must not be empty"),
        Some(_) => {}
    }
    for (i, m) in spec.mounts().iter().flatten().enumerate() {
        mounts::kind(m, i)?;
        if m.uid_mappings().is_some() || m.gid_mappings().is_some() {
            bail!("mounts[{i}].uidMappings: id-mapped mounts are not supported");
        }
        if m.destination().as_os_str().is_empty() {
            bail!("mounts[{i}].destination must not be empty");
        }
    }
    hooks(spec)?;
    if let Some(l) = spec.linux() {
        linux(l)?;
    }
    for (name, present) in [
        ("windows", spec.windows().is_some()),
        ("solaris", spec.solaris().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ] {
        if present {
            bail!("{name}: a Linux container cannot have it");
        }
    }
    Ok(())
}

/// runc takes any version; a number that is no version at all is a mistake worth naming.
fn version(v: &str) -> Result<()> {
    let numeric =
        |s: Option<&str>| s.is_some_and(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()));
    let core = v.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.');
    let good = numeric(parts.next())
        && numeric(parts.next())
        && numeric(parts.next())
        && parts.next().is_none();
    if !v.is_empty() && !good {
        bail!(
            "ociVersion: \"{v}\" is not a version (expected three numbers, as {})",
            super::VERSION
        );
    }
    Ok(())
}

/// Checks `process`, or what `exec --process` gives.
pub fn process_(p: &oci::Process, at: &str) -> Result<()> {
    if p.cwd().as_os_str().is_empty() {
        bail!("Cwd property must not be empty");
    }
    if !p.cwd().is_absolute() {
        bail!("Cwd must be an absolute path");
    }
    if p.args().as_ref().is_none_or(Vec::is_empty) {
        bail!("args must not be empty");
    }
    for (what, list) in [("args", p.args()), ("env", p.env())] {
        if list.iter().flatten().any(|s| s.contains('\0')) {
            bail!("{at}.{what}: a string holds a null byte");
        }
    }
    process::Process::from_oci(p)?;
    if p.selinux_label().as_ref().is_some_and(|l| !l.is_empty()) {
        bail!("{at}.selinuxLabel: guests have no SELinux");
    }
    // Engines on an AppArmor host pass a profile always; it would confine host processes, and a guest's are none.
    if let Some(a) = p
        .apparmor_profile()
        .as_ref()
        .filter(|a| !a.is_empty() && *a != "unconfined")
    {
        log::debug!(
            "{at}.apparmorProfile: {a} is not applied: guest processes are no host processes"
        );
    }
    if p.scheduler().is_some() {
        bail!("{at}.scheduler: not supported");
    }
    if p.io_priority().is_some() {
        bail!("{at}.ioPriority: not supported");
    }
    if p.exec_cpu_affinity().is_some() {
        bail!("{at}.execCPUAffinity: not supported");
    }
    if p.oom_score_adj()
        .is_some_and(|a| !(-1000..=1000).contains(&a))
    {
        bail!("{at}.oomScoreAdj: expected -1000 to 1000");
    }
    Ok(())
}

fn hooks(spec: &Spec) -> Result<()> {
    let Some(h) = spec.hooks() else { return Ok(()) };
    // The old name still has to work: engines use it.
    #[allow(deprecated)]
    let kinds = [
        ("prestart", h.prestart()),
        ("createRuntime", h.create_runtime()),
        ("createContainer", h.create_container()),
        ("startContainer", h.start_container()),
        ("poststart", h.poststart()),
        ("poststop", h.poststop()),
    ];
    for (kind, list) in kinds {
        for (i, hook) in list.iter().flatten().enumerate() {
            if !hook.path().is_absolute() {
                bail!(
                    "hooks.{kind}[{i}].path: \"{}\" must be an absolute path",
                    hook.path().display()
                );
            }
            if hook.timeout().is_some_and(|t| t <= 0) {
                bail!("hooks.{kind}[{i}].timeout: expected a number of seconds above 0");
            }
        }
    }
    Ok(())
}

fn linux(l: &oci::Linux) -> Result<()> {
    let mut seen = BTreeSet::new();
    for n in l.namespaces().iter().flatten() {
        let name = n.typ().to_string();
        if !seen.insert(name.clone()) {
            let path = n
                .path()
                .as_ref()
                .map(|p| p.display().to_string())
                .unwrap_or_default();
            bail!("malformed spec file: duplicated ns {{\"{name}\" \"{path}\"}}");
        }
        match (n.typ(), n.path()) {
            (LinuxNamespaceType::Time, _) => {
                bail!("linux.namespaces: time namespaces are not supported")
            }
            // With sockets of the host's the sandbox lives in it; without, what is in it is not looked at.
            (LinuxNamespaceType::Network, _) => {}
            (_, Some(p)) if !p.as_os_str().is_empty() => {
                bail!(
                    "linux.namespaces: cannot join the {name} namespace {}: a sandbox has namespaces of its own",
                    p.display()
                )
            }
            _ => {}
        }
    }
    for name in l.sysctl().iter().flatten().map(|(k, _)| k) {
        sysctl(name)?;
    }
    if let Some(profile) = l.seccomp() {
        super::seccomp::compile(profile)?;
    }
    if l.mount_label().as_ref().is_some_and(|m| !m.is_empty()) {
        bail!("linux.mountLabel: guests have no SELinux");
    }
    if l.intel_rdt().is_some() {
        bail!("linux.intelRdt: not supported");
    }
    if l.memory_policy().is_some() {
        bail!("linux.memoryPolicy: not supported");
    }
    if l.net_devices().as_ref().is_some_and(|d| !d.is_empty()) {
        bail!("linux.netDevices: a sandbox has only loopback");
    }
    if l.personality().is_some() {
        bail!("linux.personality: not supported");
    }
    if l.time_offsets().as_ref().is_some_and(|t| !t.is_empty()) {
        bail!("linux.timeOffsets: time namespaces are not supported");
    }
    if let Some(p) = l.rootfs_propagation()
        && ![
            "",
            "private",
            "rprivate",
            "slave",
            "rslave",
            "unbindable",
            "runbindable",
        ]
        .contains(&p.as_str())
    {
        bail!(
            "linux.rootfsPropagation: \"{p}\" cannot be honoured: mounts made in a sandbox do not reach the host"
        );
    }
    for (i, d) in l.devices().iter().flatten().enumerate() {
        if !d.path().is_absolute() {
            bail!(
                "linux.devices[{i}].path: \"{}\" must be an absolute path",
                d.path().display()
            );
        }
        if !device_ok(d) {
            bail!(
                "linux.devices[{i}]: {} ({}:{}) is not a device that a sandbox has (null, zero, full, random, urandom, tty, ptmx)",
                d.path().display(),
                d.major(),
                d.minor()
            );
        }
    }
    Ok(())
}

/// Sysctls that Linux has per namespace. Of those of IPC this kernel has one value each, so they are refused rather than forgotten.
fn sysctl(name: &str) -> Result<()> {
    let dotted = name.replace('/', ".");
    let fixed = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    if fixed.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        bail!("linux.sysctl: \"{name}\" cannot be set: the sandbox's kernel has one value for it");
    }
    if of_network(name) {
        // Which there are depends on `--network`: see there.
    } else if dotted != "kernel.domainname" {
        bail!("sysctl \"{name}\" is not in a separate kernel namespace");
    }
    Ok(())
}

/// The character devices that the guest's kernel has itself.
fn device_ok(d: &oci::LinuxDevice) -> bool {
    matches!(d.typ(), oci::LinuxDeviceType::C | oci::LinuxDeviceType::U)
        && matches!((d.major(), d.minor()), (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn check(edit: impl FnOnce(&mut Value)) -> String {
        let mut c = crate::oci::default::config(false);
        edit(&mut c);
        match crate::oci::parse(&serde_json::to_vec(&c).unwrap()).and_then(|s| super::validate(&s))
        {
            Ok(()) => "ok".into(),
            Err(e) => format!("{e:#}"),
        }
    }

    #[test]
    fn refusals_name_the_field() {
        assert_eq!(check(|_| ()), "ok");
        assert_eq!(
            check(|c| c["process"] = Value::Null),
            "process property must not be empty"
        );
        assert_eq!(check(|c| c["root"] = Value::Null), "root must be specified");
        assert_eq!(
            check(|c| c["process"]["cwd"] = json!("rel")),
            "Cwd must be an absolute path"
        );
        assert_eq!(
            check(|c| c["process"]["args"] = json!([])),
            "args must not be empty"
        );
        assert_eq!(
            check(|c| c["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "pid"}))),
            "malformed spec file: duplicated ns {\"pid\" \"\"}"
        );
        assert_eq!(
            check(|c| c["linux"]["sysctl"] = json!({"kernel.foo": "1"})),
            "sysctl \"kernel.foo\" is not in a separate kernel namespace"
        );
        assert!(
            check(|c| c["linux"]["sysctl"] = json!({"kernel/msgmax": "1"}))
                .starts_with("linux.sysctl: \"kernel/msgmax\" cannot be set")
        );
        assert!(
            check(|c| c["linux"]["namespaces"][0]["type"] = json!("foo"))
                .starts_with("config.json: linux.namespaces[0].type: unknown variant `foo`")
        );
        assert!(
            check(|c| c["process"]["rlimits"][0]["type"] = json!("RLIMIT_X"))
                .starts_with("config.json: process.rlimits[0].type: unknown variant")
        );
        assert!(
            check(|c| c["mounts"][1]["options"] = json!(["foo"]))
                .starts_with("mounts[1] (/dev): unknown option \"foo\"")
        );
        assert!(
            check(|c| c["mounts"][1]["type"] = json!("ext4"))
                .starts_with("mounts[1] (/dev): type \"ext4\" is not one")
        );
        assert!(
            check(|c| c["hooks"] = json!({"prestart": [{"path": "rel"}]}))
                .starts_with("hooks.prestart[0].path")
        );
        assert!(
            check(|c| c["ociVersion"] = json!("x"))
                .starts_with("ociVersion: \"x\" is not a version")
        );
        assert!(
            check(|c| c["linux"]["devices"] =
                json!([{"path": "/dev/kvm", "type": "c", "major": 10, "minor": 232}]))
            .starts_with("linux.devices[0]")
        );
    }
}
