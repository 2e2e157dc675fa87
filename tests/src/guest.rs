//! Guest programs: small C files, compiled once per content, laid over the root filesystem at `/guest`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};

/// A compiled program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file name without `.c`.
    pub name: String,
    /// Where it is inside: `/guest/NAME`.
    pub path: String,
    /// The first lines of the source that start with `//:`, as words after the colon (`//: dynamic`, `//: args x y`).
    pub notes: Vec<String>,
}

impl Program {
    /// What follows `//: KEY` in the source.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes
            .iter()
            .find_map(|n| n.strip_prefix(key))
            .map(str::trim)
    }
}

/// The programs of one directory, and the layer that holds them.
pub struct Programs {
    /// To be put into [`crate::bundle::Spec::layers`].
    pub layer: PathBuf,
    /// All of them, by name.
    pub list: Vec<Program>,
}

/// Compiles every `*.c` of `tests/DIR` with the host's gcc.
pub fn compile(dir: &str) -> Result<Programs> {
    let source = crate::env::top().join("tests").join(dir);
    let layer = crate::env::build_dir().join(dir);
    let bin = layer.join("guest");
    fs::create_dir_all(&bin)?;
    let header = fs::read(crate::env::top().join("tests/guest/t.h")).unwrap_or_default();
    let mut files: Vec<PathBuf> = fs::read_dir(&source)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "c"))
        .collect();
    files.sort();
    let (queue, done, failed) = (
        Mutex::new(files),
        Mutex::new(Vec::new()),
        Mutex::new(Vec::new()),
    );
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(file) = queue.lock().expect("no thread panics").pop() else {
                        return;
                    };
                    match compile_one(&file, &header, &bin) {
                        Ok(program) => done.lock().expect("no thread panics").push(program),
                        Err(e) => failed
                            .lock()
                            .expect("no thread panics")
                            .push(format!("{e:#}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    let mut list = done.into_inner().expect("no thread panics");
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Programs { layer, list })
}

fn compile_one(file: &Path, header: &[u8], bin: &Path) -> Result<Program> {
    let text = fs::read_to_string(file)?;
    let name = file
        .file_stem()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    let notes: Vec<String> = text
        .lines()
        .filter_map(|l| l.strip_prefix("//: "))
        .map(|l| l.trim().to_string())
        .collect();
    let program = Program {
        path: format!("/guest/{name}"),
        name,
        notes,
    };
    let out = bin.join(&program.name);
    let mut hasher = DefaultHasher::new();
    (&text, header, FLAGS).hash(&mut hasher);
    let stamp =
        bin.parent()
            .unwrap_or(bin)
            .join(format!(".{}-{:x}", program.name, hasher.finish()));
    if stamp.exists() && out.exists() {
        return Ok(program);
    }
    let link: Vec<&str> = program
        .note("link")
        .map_or_else(|| vec!["-static"], |l| l.split_whitespace().collect());
    let new = bin.join(format!(".{}.{}", program.name, std::process::id()));
    let result = Command::new("gcc")
        .args(FLAGS)
        .arg("-o")
        .arg(&new)
        .arg(file)
        .args(link)
        .output()?;
    if !result.status.success() {
        bail!(
            "{}:\n{}",
            file.display(),
            String::from_utf8_lossy(&result.stderr)
        );
    }
    fs::rename(&new, &out)?;
    fs::write(stamp, "")?;
    Ok(program)
}

const FLAGS: [&str; 6] = [
    "-O1",
    "-pthread",
    "-Wall",
    "-Wno-unused-result",
    "-Wno-nonnull",
    "-Wno-misleading-indentation",
];
