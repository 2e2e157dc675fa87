//! `do`: a command in a container on a directory of the host, read-only under an overlay in memory.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use super::life;
use crate::cli::{self, Global, Overlay};
use crate::oci;
use crate::oci::process::parse_user;
use crate::state::Root;

/// `do`
pub fn do_(root: &Root, global: &Global, args: &cli::Do) -> Result<ExitCode> {
    let began = Instant::now();
    let words: Vec<String> = args
        .args
        .iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let dir = std::fs::canonicalize(&args.root)?;
    let cwd = match &args.cwd {
        Some(c) => c.clone(),
        // The directory it was called in, if that is in the container too.
        None => std::env::current_dir()
            .ok()
            .filter(|_| dir == Path::new("/"))
            .unwrap_or_else(|| "/".into()),
    };
    let (uid, gid) = match &args.user {
        Some(u) => parse_user(u)?,
        None => (0, None),
    };
    let mut env: Vec<String> = ["PATH", "TERM", "HOME", "LANG", "USER"]
        .into_iter()
        .filter_map(|k| Some(format!("{k}={}", std::env::var(k).ok()?)))
        .collect();
    env.extend(args.env.iter().cloned());
    let caps: Vec<&str> = abi::cap::NAMES.to_vec();
    let mut config = oci::default::config(false);
    config["process"] = json!({
        "terminal": false,
        "user": {"uid": uid, "gid": gid.unwrap_or(0)},
        "args": words,
        "env": env,
        "cwd": cwd,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps, "inheritable": []},
    });
    config["root"] = json!({"path": dir, "readonly": false});
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}));
    }
    let spec = oci::parse(&serde_json::to_vec(&config)?)?;
    oci::validate(&spec)?;
    if words.is_empty() {
        bail!("args must not be empty");
    }
    let global = Global {
        overlay2: Overlay::RootMemory,
        ..global.clone()
    };
    let id = format!("do-{}", std::process::id());
    let status = life::run_spec(root, &global, &id, Path::new("/"), spec, |state| {
        if args.report {
            let ms = began.elapsed().as_secs_f64() * 1e3;
            eprintln!(
                "runsc-rs: {} on platform {}, root {} (read-only, overlay in memory), started in {ms:.1} ms",
                words.join(" "),
                state.platform,
                dir.display()
            );
        }
    })?;
    Ok(status)
}
