//! The runtime: `runsc-rs`, run once for each thing that is to be done.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use containerd_shim::api::Options;
use containerd_shim::monitor::{Topic, monitor_subscribe, wait_pid};
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::protobuf::{CodedInputStream, Message};
use containerd_shim::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a container's runtime is called, and what it is told each time. Kept in the bundle for whoever cleans up after a shim that was killed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Runtime {
    binary: PathBuf,
    /// Where it keeps its containers.
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
    /// Further global options.
    flags: Vec<String>,
}

/// The file that `ConfigPath` of the runtime's options names: containerd's `[…runtimes.runsc-rs.options]`, Docker's `"options"`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The runtime's program.
    binary: Option<PathBuf>,
    /// Its state directory.
    root: Option<PathBuf>,
    /// Its global options (`--network=host-sockets`).
    #[serde(default)]
    flags: Vec<String>,
}

const FILE: &str = "runsc-rs.json";
const LOG: &str = "log.json";

fn other(what: impl std::fmt::Display) -> Error {
    Error::Other(what.to_string())
}

fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |err| Error::IoError {
        context: what.to_string(),
        err,
    }
}

/// Beside the shim, or wherever PATH says.
fn default_binary() -> PathBuf {
    let name = Path::new("runsc-rs");
    std::env::current_exe()
        .map(|shim| shim.with_file_name(name))
        .ok()
        .filter(|beside| beside.exists())
        .unwrap_or_else(|| name.to_owned())
}

/// `runtimeoptions.v1.Options`: the path of a file (field 2) or its text (field 3).
fn read_config(options: &[u8]) -> Result<Config> {
    let mut input = CodedInputStream::from_bytes(options);
    let (mut path, mut text) = (String::new(), String::new());
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        // (All three fields are bytes with a length.)
        let value = String::from_utf8(input.read_bytes()?).map_err(other)?;
        match tag >> 3 {
            2 => path = value,
            3 => text = value,
            _ => {}
        }
    }
    if text.is_empty() && !path.is_empty() {
        text = fs::read_to_string(&path).map_err(io(&path))?;
    }
    toml::from_str(&text).map_err(|e| Error::InvalidArgument(format!("{path}: {e}")))
}

impl Runtime {
    /// As a task's options say.
    pub fn new(namespace: &str, bundle: &str, options: Option<&Any>) -> Result<Runtime> {
        let mut runtime = Runtime {
            binary: default_binary(),
            root: PathBuf::from("/run/containerd/runsc-rs"),
            bundle: PathBuf::from(bundle),
            systemd_cgroup: false,
            flags: Vec::new(),
        };
        if let Some(options) = options {
            match options.type_url.rsplit('/').next().unwrap_or_default() {
                "" => {}
                "containerd.runc.v1.Options" => {
                    let given = Options::parse_from_bytes(&options.value)?;
                    runtime.systemd_cgroup = given.systemd_cgroup;
                    if !given.binary_name.is_empty() {
                        runtime.binary = PathBuf::from(given.binary_name);
                    }
                    if !given.root.is_empty() {
                        runtime.root = PathBuf::from(given.root);
                    }
                }
                "runtimeoptions.v1.Options" => {
                    let given = read_config(&options.value)?;
                    runtime.flags = given.flags;
                    runtime.binary = given.binary.unwrap_or(runtime.binary);
                    runtime.root = given.root.unwrap_or(runtime.root);
                }
                other => {
                    let message = format!("options of type {other} are not known");
                    return Err(Error::InvalidArgument(message));
                }
            }
        }
        runtime.root.push(namespace);
        let text = serde_json::to_vec(&runtime)?;
        fs::write(runtime.bundle.join(FILE), text).map_err(io(FILE))?;
        Ok(runtime)
    }

    /// That of a bundle whose container was made before.
    pub fn load(bundle: &Path) -> Result<Runtime> {
        let text = fs::read(bundle.join(FILE)).map_err(io(FILE))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// A file in the bundle.
    pub fn file(&self, name: &str) -> PathBuf {
        self.bundle.join(name)
    }

    /// `runsc-rs OPTIONS… WORDS…`, to be given more.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(self.file(LOG))
            .args(["--log-format", "json"]);
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command
            .args(&self.flags)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs it to its end. What it complains of is the error.
    pub fn run(&self, mut command: Command) -> Result<()> {
        let logged = fs::metadata(self.file(LOG)).map_or(0, |m| m.len());
        // Whoever reaps the shim's children tells of this one too.
        let ends = monitor_subscribe(Topic::Pid)?;
        let child = command.spawn().map_err(io(self.binary.display()))?;
        match wait_pid(child.id() as i32, ends) {
            0 => Ok(()),
            status => Err(other(self.complaint(logged).unwrap_or_else(|| {
                format!("{} ended with status {status}", self.binary.display())
            }))),
        }
    }

    /// Runs it, with something to read.
    pub fn tell(&self, mut command: Command, input: &[u8]) -> Result<()> {
        // Small enough for a pipe, which is there before the reader is.
        let (read, mut write) = std::io::pipe().map_err(io("pipe"))?;
        write.write_all(input).map_err(io("pipe"))?;
        drop(write);
        command.stdin(read);
        self.run(command)
    }

    /// Runs it for what it says.
    pub fn ask(&self, mut command: Command) -> Result<String> {
        let (mut read, write) = std::io::pipe().map_err(io("pipe"))?;
        command.stdout(write);
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            read.read_to_string(&mut text).map(|_| text)
        });
        self.run(command)?;
        let text = reader.join().map_err(|_| other("reader"))?;
        text.map_err(io("pipe"))
    }

    /// The last error in its log behind `from`.
    fn complaint(&self, from: u64) -> Option<String> {
        #[derive(Deserialize)]
        struct Line {
            level: String,
            msg: String,
        }
        let mut log = File::open(self.file(LOG)).ok()?;
        log.seek(SeekFrom::Start(from)).ok()?;
        let mut text = String::new();
        log.read_to_string(&mut text).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
            .rfind(|line| line.level == "error")
            .map(|line| line.msg)
    }
}

/// The pid in a file that the runtime was told to write.
pub fn pid(file: &Path) -> Result<i32> {
    let text = fs::read_to_string(file).map_err(io(file.display()))?;
    Ok(text.trim().parse()?)
}
