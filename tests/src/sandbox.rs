//! A command in a real sandbox: a bundle, `runsc-rs run`, and nothing left afterwards.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::bundle::Spec;
use crate::process::{Output, run};
use crate::rootfs::Rootfs;

/// Runs `spec` on a fresh root in a sandbox of `platform`.
///
/// The runtime runs in a pid namespace of its own: when the command is over, or out of time, the namespace's end kills
/// whatever it may have left, by construction and without looking for it. (That nothing *is* left is for the
/// lifecycle tests to show; they run without this.)
pub fn sandboxed(binary: &Path, platform: &str, spec: &Spec, limit: Duration) -> Result<Output> {
    let root = Rootfs::new(&spec.layers)?;
    spec.write(root.dir())?;
    let mut args: Vec<OsString> = vec![
        binary.into(),
        "--root".into(),
        root.dir().join("state").into(),
        format!("--platform={platform}").into(),
        "--log".into(),
        root.dir().join("log").into(),
    ];
    args.extend(crate::env::arguments().into_iter().map(OsString::from));
    args.extend(spec.options.iter().map(OsString::from));
    if crate::env::keep() {
        let mut log = OsString::from("--strace-log=");
        log.push(root.dir().join("strace"));
        args.extend(["--strace".into(), log]);
    }
    args.extend([
        "run".into(),
        "--bundle".into(),
        root.dir().into(),
        root.id().into(),
    ]);
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
        ])
        // A shell as init: it reaps, and the runtime is not the one process that signals do not reach.
        .args(["/bin/sh", "-c", "\"$@\"; exit $?", "sh"])
        .args(args);
    let mut output = run(&mut command, &spec.input, limit)?;
    if let Ok(log) = std::fs::read(root.dir().join("log"))
        && !log.is_empty()
        && output.end != crate::process::End::Code(0)
    {
        output.stderr.extend_from_slice(b"\n-- runtime's log --\n");
        output
            .stderr
            .extend_from_slice(log.get(log.len().saturating_sub(4000)..).unwrap_or(&log));
    }
    Ok(output)
}
