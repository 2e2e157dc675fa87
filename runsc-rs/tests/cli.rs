//! The command line where it needs no sandbox: messages, statuses and shapes, as Debian's runc 1.1 has them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A state directory and a bundle of its own, removed at the end.
struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Scene {
        let dir = std::env::temp_dir().join(format!("runsc-rs-cli-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("bundle")).unwrap();
        Scene(dir)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_runsc-rs"))
            .current_dir(self.0.join("bundle"))
            .arg("--root")
            .arg(self.0.join("state"))
            .args(args)
            .output()
            .unwrap()
    }

    /// Status and the last line's `msg`.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let out = self.run(args);
        let text = String::from_utf8(out.stderr).unwrap();
        let last = text.lines().last().unwrap_or_default();
        let msg = last
            .split_once("msg=\"")
            .map_or(last, |(_, m)| m.trim_end_matches('"'))
            .replace("\\\"", "\"");
        (out.status.code().unwrap(), msg)
    }

    fn config(&self, text: &str) {
        fs::write(self.0.join("bundle/config.json"), text).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn containers_that_are_not_there() {
    let s = Scene::new("none");
    for args in [
        &["state", "x"][..],
        &["start", "x"],
        &["kill", "x"],
        &["delete", "x"],
        &["ps", "x"],
        &["pause", "x"],
        &["events", "x"],
        &["wait", "x"],
    ] {
        assert_eq!(
            s.fails(args),
            (1, "container does not exist".into()),
            "{args:?}"
        );
    }
    assert_eq!(
        s.fails(&["exec", "x", "true"]),
        (255, "exec failed: container does not exist".into())
    );
    assert_eq!(s.run(&["delete", "--force", "x"]).status.code(), Some(0));
    assert_eq!(
        stdout(&s.run(&["list"])),
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    );
    assert_eq!(stdout(&s.run(&["list", "--format", "json"])), "null\n");
    assert_eq!(
        s.fails(&["list", "-f", "xml"]),
        (1, "invalid format option".into())
    );
}

#[test]
fn ids() {
    let s = Scene::new("ids");
    for bad in ["a/b", "..", "a b"] {
        assert_eq!(
            s.fails(&["run", bad]),
            (1, "runsc-rs run failed: invalid container ID format".into()),
            "{bad}"
        );
    }
    assert_eq!(
        s.fails(&["run", ""]),
        (
            1,
            "runsc-rs run failed: container id cannot be empty".into()
        )
    );
}

#[test]
fn usage() {
    let s = Scene::new("usage");
    assert_eq!(
        s.fails(&["state"]),
        (
            1,
            "runsc-rs: \"state\" requires exactly 1 argument(s)".into()
        )
    );
    assert_eq!(
        s.fails(&["state", "a", "b"]),
        (
            1,
            "runsc-rs: \"state\" requires exactly 1 argument(s)".into()
        )
    );
    assert_eq!(
        s.fails(&["run", "--bogus", "x"]),
        (1, "flag provided but not defined: -bogus".into())
    );
    assert_eq!(s.fails(&["bogus"]), (3, "No help topic for 'bogus'".into()));
    assert!(stdout(&s.run(&["--version"])).starts_with("runsc-rs version "));
}

#[test]
fn configurations() {
    let s = Scene::new("config");
    let run = |text: Option<&str>| {
        match text {
            Some(t) => s.config(t),
            None => drop(fs::remove_file(s.0.join("bundle/config.json"))),
        }
        s.fails(&["run", "x"])
    };
    assert_eq!(
        run(None),
        (
            1,
            "runsc-rs run failed: JSON specification file config.json not found".into()
        )
    );
    assert_eq!(
        run(Some("{}")),
        (
            1,
            "runsc-rs run failed: process property must not be empty".into()
        )
    );
    assert!(
        run(Some("{"))
            .1
            .starts_with("runsc-rs run failed: config.json: EOF")
    );
    assert!(run(Some(r#"{"ociVersion": 5}"#)).1.starts_with(
        "runsc-rs run failed: config.json: ociVersion: invalid type: integer `5`, expected a string"
    ));
    // A good one whose root is not there; nothing may be left of the attempt.
    fs::remove_file(s.0.join("bundle/config.json")).unwrap();
    assert!(s.run(&["spec"]).status.success());
    let text = fs::read_to_string(s.0.join("bundle/config.json"))
        .unwrap()
        .replace("\"terminal\": true", "\"terminal\": false");
    let (code, msg) = run(Some(&text));
    assert_eq!(code, 1);
    assert!(
        msg.contains("invalid rootfs: stat ")
            && msg.ends_with("/bundle/rootfs: no such file or directory"),
        "{msg}"
    );
    assert_eq!(
        s.fails(&["spec"]),
        (1, "File config.json exists. Remove it first".into())
    );
    assert_eq!(
        s.fails(&["run", "-d", "-b", "/nonexistent", "x"]),
        (
            1,
            "runsc-rs run failed: chdir /nonexistent: no such file or directory".into()
        )
    );
    assert_eq!(stdout(&s.run(&["list", "-q"])), "");
    // With a terminal and nobody to give it to.
    s.config(&text.replace("\"terminal\": false", "\"terminal\": true"));
    assert!(
        s.fails(&["create", "x"]).1.ends_with(
            "cannot allocate tty if runsc-rs will detach without setting console socket"
        )
    );
}

#[test]
fn the_log_file_is_for_engines() {
    let s = Scene::new("log");
    let log = s.0.join("log.json");
    let out = s.run(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "state",
        "x",
    ]);
    assert_eq!(
        String::from_utf8(out.stderr).unwrap(),
        "container does not exist\n"
    );
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str()),
        (Some("error"), Some("container does not exist"))
    );
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn features_and_listings() {
    let s = Scene::new("features");
    let features: serde_json::Value = serde_json::from_slice(&s.run(&["features"]).stdout).unwrap();
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    let calls: serde_json::Value =
        serde_json::from_slice(&s.run(&["syscalls", "-f", "json"]).stdout).unwrap();
    assert!(
        calls
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["name"] == "read" && c["support"] == "full")
    );
}

#[test]
fn install_and_uninstall() {
    let s = Scene::new("install");
    let (docker, containerd) = (s.0.join("daemon.json"), s.0.join("config.toml"));
    fs::write(&docker, "{\"debug\": true}").unwrap();
    let paths = [
        "--docker-config",
        docker.to_str().unwrap(),
        "--containerd-config",
        containerd.to_str().unwrap(),
    ];
    let run = |command: &str, rest: &[&str]| s.run(&[&[command][..], &paths, rest].concat());
    // No configuration of containerd: it is left so.
    let out = run("install", &["--runtime", "mine", "--", "--platform=ptrace"]);
    assert_eq!(out.status.code(), Some(0));
    assert!(stdout(&out).contains("not there, left alone"));
    assert!(!containerd.exists());
    let text = fs::read_to_string(&docker).unwrap();
    assert!(
        text.contains("\"debug\": true")
            && text.contains("--platform=ptrace")
            && text.contains("\"mine\""),
        "{text}"
    );
    fs::write(&containerd, "version = 2\n").unwrap();
    assert_eq!(run("install", &[]).status.code(), Some(0));
    assert!(
        fs::read_to_string(&containerd)
            .unwrap()
            .contains("BinaryName")
    );
    for name in ["mine", "runsc-rs"] {
        assert_eq!(
            run("uninstall", &["--runtime", name]).status.code(),
            Some(0)
        );
    }
    assert_eq!(fs::read_to_string(&containerd).unwrap(), "version = 2\n");
    assert_eq!(
        fs::read_to_string(&docker).unwrap(),
        "{\n    \"debug\": true\n}\n"
    );
    // What cannot be read is not replaced.
    fs::write(&docker, "{oops").unwrap();
    assert_eq!(run("install", &[]).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&docker).unwrap(), "{oops");
    assert_eq!(
        run("install", &["--runtime", "runc"]).status.code(),
        Some(1)
    );
}
