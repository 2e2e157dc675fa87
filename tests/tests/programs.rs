//! Whole programs (`tests/programs/*`): each prints the same in every sandbox as under chroot on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use tests::bundle::Spec;
use tests::suite::{self, Suite};

fn main() -> ExitCode {
    suite::main("programs", |suite| {
        let source = tests::env::top().join("tests/programs");
        let layer = tests::env::build_dir().join("programs");
        let inside = layer.join("guest/programs");
        fs::create_dir_all(&inside)?;
        let mut files: Vec<PathBuf> = fs::read_dir(&source)?.flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files {
            add(suite, &file, &layer, &inside).with_context(|| file.display().to_string())?;
        }
        Ok(())
    })
}

fn add(suite: &mut Suite, file: &Path, layer: &Path, inside: &Path) -> Result<()> {
    let file_name = file
        .file_name()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    let (name, kind) = file_name.split_once('.').context("NAME.KIND")?;
    fs::copy(file, inside.join(&file_name))?;
    let guest = format!("/guest/programs/{file_name}");
    let command: Vec<String> = match kind {
        "sh" => vec!["/bin/bash".into(), guest],
        "py" => vec!["/usr/bin/python3".into(), "-u".into(), guest],
        "js" => vec!["/usr/bin/node".into(), guest],
        "pl" => vec!["/usr/bin/perl".into(), guest],
        "java" => vec!["/usr/bin/java".into(), "-Xmx256m".into(), guest],
        "go" => match build_go(file, &inside.join(name)) {
            Ok(()) => vec![format!("/guest/programs/{name}")],
            Err(why) => {
                suite.skip(&format!("all::{name}"), &why);
                return Ok(());
            }
        },
        other => anyhow::bail!("no interpreter for .{other}"),
    };
    let text = fs::read_to_string(file)?;
    // "limit: N" in a comment: seconds that it may take in a sandbox.
    let limit = text
        .lines()
        .take(5)
        .find_map(|l| l.split_once("limit: ")?.1.trim().parse().ok())
        .unwrap_or(60);
    let mut spec = Spec::new(&command);
    spec.layers.push(layer.to_path_buf());
    spec.cwd = "/work".into();
    suite.compared(name, spec, Duration::from_secs(limit), |_| Ok(()));
    Ok(())
}

/// Builds a static Go program with the host's toolchain, outside the sandbox; `Err` says why not.
fn build_go(source: &Path, out: &Path) -> Result<(), String> {
    let newer = |a: &Path, b: &Path| {
        Some(a.metadata().ok()?.modified().ok()? > b.metadata().ok()?.modified().ok()?)
    };
    if newer(out, source) == Some(true) {
        return Ok(());
    }
    let go = ["go", "/usr/local/go/bin/go"]
        .into_iter()
        .find(|g| Command::new(g).arg("version").output().is_ok());
    let go = go.ok_or("no Go toolchain to build it with")?;
    let result = Command::new(go)
        .args(["build", "-o"])
        .arg(out)
        .arg(source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off")
        .output()
        .map_err(|e| e.to_string())?;
    if result.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&result.stderr).into_owned())
    }
}
