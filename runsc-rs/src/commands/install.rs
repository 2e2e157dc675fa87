//! `install` and `uninstall`: this program as a runtime of Docker and containerd.
//!
//! What an administrator wrote stays as it is: Docker's daemon.json is changed in one place and written back whole or not at all,
//! containerd's config.toml gets a block of its own between two comments. A file that is malformed is refused, never replaced.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};

use super::query::{indented, print};
use crate::cli;
use crate::error::os;

/// `install`
pub fn install(args: &cli::Install) -> Result<()> {
    check_name(&args.runtime)?;
    let binary = match &args.binary {
        Some(p) => p.clone(),
        None => std::env::current_exe().context("where this program is")?,
    };
    if !binary.is_absolute() {
        bail!(
            "--binary: \"{}\" must be an absolute path",
            binary.display()
        );
    }
    let docker = edit(&args.engines.docker_config, |text| {
        docker_with(text, &args.runtime, &binary, &args.args)
    })?;
    say(
        &args.engines.docker_config,
        docker,
        &format!("runtime \"{}\": {}", args.runtime, binary.display()),
    )?;
    // containerd runs without a configuration too; then there is nothing of it to extend.
    if !args.engines.containerd_config.exists() {
        return print(&format!(
            "{}: not there, left alone\n",
            args.engines.containerd_config.display()
        ));
    }
    let containerd = edit(&args.engines.containerd_config, |text| {
        containerd_with(text, &args.runtime, &binary)
    })?;
    say(
        &args.engines.containerd_config,
        containerd,
        &format!("CRI runtime \"{}\"", args.runtime),
    )?;
    if docker || containerd {
        print("restart dockerd and containerd for them to see it\n")?;
    }
    Ok(())
}

/// `uninstall`
pub fn uninstall(args: &cli::Uninstall) -> Result<()> {
    check_name(&args.runtime)?;
    for (path, without) in [
        (
            &args.engines.docker_config,
            docker_without as fn(&str, &str) -> Result<String>,
        ),
        (&args.engines.containerd_config, containerd_without),
    ] {
        let changed = path.exists() && edit(path, |text| without(text, &args.runtime))?;
        say(
            path,
            changed,
            &format!("runtime \"{}\" removed", args.runtime),
        )?;
    }
    Ok(())
}

fn say(path: &Path, changed: bool, what: &str) -> Result<()> {
    let what = if changed { what } else { "nothing to change" };
    print(&format!("{}: {what}\n", path.display()))
}

/// It becomes a key of JSON and of TOML, and a word of Docker's command line.
fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name == "runc" || !name.chars().all(good) {
        bail!(
            "--runtime: \"{name}\" cannot be a runtime's name (letters, digits, `_-.`; not runc)"
        );
    }
    Ok(())
}

/// Changes a file; whether it did. No file is an empty one.
fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<bool> {
    let old = match fs::read_to_string(path) {
        Ok(t) => t,
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        Err(e) => bail!("read {}: {}", path.display(), os(&e)),
    };
    let new = change(&old).with_context(|| path.display().to_string())?;
    if new == old {
        return Ok(false);
    }
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // Through a link, so that it goes on being one.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let tmp: PathBuf = real.with_extension(format!("new-{}", std::process::id()));
        let write = fs::write(&tmp, &new).and_then(|()| {
            if let Ok(meta) = fs::metadata(&real) {
                fs::set_permissions(&tmp, meta.permissions())?;
            }
            fs::rename(&tmp, &real)
        });
        write.inspect_err(|_| drop(fs::remove_file(&tmp)))
    };
    write().map_err(|e| anyhow!("write {}: {}", path.display(), os(&e)))?;
    Ok(true)
}

/// daemon.json as an object; an empty file is an empty one.
fn docker_parse(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(o)) if o.get("runtimes").is_none_or(Value::is_object) => Ok(o),
        Ok(Value::Object(_)) => bail!("runtimes: expected an object; the file is left as it is"),
        Ok(_) => bail!("expected an object; the file is left as it is"),
        Err(e) => bail!("not JSON: {e}; the file is left as it is"),
    }
}

fn docker_text(config: &Map<String, Value>) -> Result<String> {
    Ok(format!("{}\n", indented(config, b"    ")?))
}

fn docker_with(text: &str, name: &str, binary: &Path, args: &[String]) -> Result<String> {
    let mut config = docker_parse(text)?;
    let mut runtime = json!({"path": binary});
    if !args.is_empty() {
        runtime["runtimeArgs"] = json!(args);
    }
    let runtimes = config.entry("runtimes").or_insert_with(|| json!({}));
    if runtimes.get(name) == Some(&runtime) {
        return Ok(text.to_owned());
    }
    runtimes[name] = runtime;
    docker_text(&config)
}

fn docker_without(text: &str, name: &str) -> Result<String> {
    let mut config = docker_parse(text)?;
    let Some(runtimes) = config.get_mut("runtimes").and_then(Value::as_object_mut) else {
        return Ok(text.to_owned());
    };
    if runtimes.remove(name).is_none() {
        return Ok(text.to_owned());
    }
    if runtimes.is_empty() {
        config.remove("runtimes");
    }
    // A daemon does not start with a default that it does not have.
    if config.get("default-runtime").is_some_and(|d| d == name) {
        config.remove("default-runtime");
    }
    docker_text(&config)
}

fn marks(name: &str) -> [String; 2] {
    [
        format!("# begin: runtime {name}, by runsc-rs install\n"),
        format!("# end: runtime {name}\n"),
    ]
}

fn containerd_parse(text: &str) -> Result<toml::Table> {
    toml::from_str(text)
        .map_err(|e| anyhow!("not TOML: {}; the file is left as it is", e.message()))
}

fn containerd_with(text: &str, name: &str, binary: &Path) -> Result<String> {
    let version = containerd_parse(text)?
        .get("version")
        .and_then(toml::Value::as_integer);
    // The section's name belongs to the version; without one it is 1.
    let section = match version {
        Some(2) => "io.containerd.grpc.v1.cri",
        Some(3) => "io.containerd.cri.v1.runtime",
        _ => bail!(
            "version is {}, not 2 or 3; the file is left as it is",
            version.unwrap_or(1)
        ),
    };
    let binary = binary
        .to_str()
        .ok_or_else(|| anyhow!("--binary: not a text"))?;
    let table = format!("plugins.\"{section}\".containerd.runtimes.\"{name}\"");
    let [begin, end] = marks(name);
    // runc's shim drives any runtime with runc's command line.
    let block = format!(
        "{begin}[{table}]\n  runtime_type = \"io.containerd.runc.v2\"\n  [{table}.options]\n    BinaryName = {}\n{end}",
        // A string of JSON is one of TOML.
        serde_json::to_string(binary)?
    );
    let mut new = containerd_without(text, name)?;
    if !new.is_empty() && !new.ends_with('\n') {
        new.push('\n');
    }
    new += &block;
    containerd_parse(&new)
        .map_err(|e| anyhow!("runtime \"{name}\" is there already, and not by install: {e}"))?;
    Ok(new)
}

fn containerd_without(text: &str, name: &str) -> Result<String> {
    let [begin, end] = marks(name);
    let Some((before, rest)) = text.split_once(&begin) else {
        return Ok(text.to_owned());
    };
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("\"{}\" has no end; the file is left as it is", begin.trim());
    };
    Ok(format!("{before}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_keeps_what_is_there() {
        let bin = Path::new("/usr/local/bin/runsc-rs");
        let old = "{\"debug\": true, \"runtimes\": {\"other\": {\"path\": \"/o\"}}}";
        let new = docker_with(old, "runsc-rs", bin, &["--platform=ptrace".into()]).unwrap();
        let v: Value = serde_json::from_str(&new).unwrap();
        assert_eq!(
            v,
            json!({"debug": true, "runtimes": {"other": {"path": "/o"}, "runsc-rs": {"path": bin, "runtimeArgs": ["--platform=ptrace"]}}})
        );
        // Again, it changes nothing; without it, it is as before.
        assert_eq!(
            docker_with(&new, "runsc-rs", bin, &["--platform=ptrace".into()]).unwrap(),
            new
        );
        let v: Value = serde_json::from_str(&docker_without(&new, "runsc-rs").unwrap()).unwrap();
        assert_eq!(v, serde_json::from_str::<Value>(old).unwrap());
        assert_eq!(
            docker_without(&docker_with("", "x", bin, &[]).unwrap(), "x").unwrap(),
            "{}\n"
        );
        assert_eq!(docker_without(old, "runsc-rs").unwrap(), old);
        let default = docker_with("{\"default-runtime\": \"x\"}", "x", bin, &[]).unwrap();
        assert_eq!(docker_without(&default, "x").unwrap(), "{}\n");
        for bad in ["{", "[]", "{\"runtimes\": 5}", "{\"a\": 1,}"] {
            assert!(
                docker_with(bad, "x", bin, &[])
                    .unwrap_err()
                    .to_string()
                    .contains("left as it is"),
                "{bad}"
            );
        }
    }

    #[test]
    fn containerd_gets_a_block() {
        let bin = Path::new("/usr/local/bin/runsc-rs");
        let old = "version = 2\n# a comment\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    a = 1";
        let new = containerd_with(old, "runsc-rs", bin).unwrap();
        assert!(new.starts_with(old), "{new}");
        let runtime = &containerd_parse(&new).unwrap()["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
            ["runtimes"]["runsc-rs"];
        assert_eq!(
            runtime["options"]["BinaryName"].as_str(),
            Some("/usr/local/bin/runsc-rs")
        );
        assert_eq!(containerd_with(&new, "runsc-rs", bin).unwrap(), new);
        assert_eq!(
            containerd_without(&new, "runsc-rs").unwrap(),
            format!("{old}\n")
        );
        let two = containerd_with(&new, "second", bin).unwrap();
        assert_eq!(containerd_without(&two, "second").unwrap(), new);
        for bad in ["version = ", "", "version = 1\n"] {
            assert!(
                containerd_with(bad, "x", bin)
                    .unwrap_err()
                    .to_string()
                    .contains("left as it is"),
                "{bad}"
            );
        }
        let theirs = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.x]\n";
        assert!(containerd_with(theirs, "x", bin).is_err());
    }
}
