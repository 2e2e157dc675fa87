//! `config.json`: reading it, refusing what is wrong or cannot be honoured, and what the sandbox makes of it.

pub mod default;
pub mod features;
pub mod mounts;
pub mod process;
pub mod seccomp;
mod validate;

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::Spec;

pub use validate::{process_ as validate_process, validate};

/// The version of the specification that this runtime implements.
pub const VERSION: &str = "1.2.1";

/// The most a configuration may be long.
const MAX_CONFIG: u64 = 16 << 20;

/// Reads and checks `config.json` of a bundle.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    let len = match fs::metadata(&path) {
        Ok(m) => m.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            bail!("JSON specification file config.json not found")
        }
        Err(e) => return Err(e).context("config.json"),
    };
    if len > MAX_CONFIG {
        bail!("config.json: {len} bytes, expected at most {MAX_CONFIG}");
    }
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let spec = parse(&text)?;
    validate(&spec)?;
    Ok(spec)
}

/// Parses a configuration; an error names the field and what was expected there.
pub fn parse(text: &[u8]) -> Result<Spec> {
    parse_as(text, "config.json")
}

/// Parses any of OCI's JSON objects.
pub fn parse_as<T: serde::de::DeserializeOwned>(text: &[u8], what: &str) -> Result<T> {
    let mut de = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut de).map_err(|e| {
        let path = e.path().to_string();
        // Where the text itself ends early or is no JSON, there is no field to name.
        if path == "." || path.contains('?') {
            anyhow::anyhow!("{what}: {}", e.into_inner())
        } else {
            anyhow::anyhow!("{what}: {path}: {}", e.into_inner())
        }
    })?;
    de.end().map_err(|e| anyhow::anyhow!("{what}: {e}"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        for (text, want) in [
            (
                "{",
                "config.json: EOF while parsing an object at line 1 column 1",
            ),
            (
                r#"{"ociVersion": 5}"#,
                "config.json: ociVersion: invalid type: integer `5`, expected a string at line 1 column 16",
            ),
            (
                r#"{"ociVersion":"1.2.0","process":{"user":{"uid":"x","gid":0},"cwd":"/"}}"#,
                "config.json: process.user.uid: invalid type: string \"x\", expected u32 at line 1 column 50",
            ),
            (
                r#"{"ociVersion":"1.2.0","process":{"user":{"uid":0,"gid":0},"cwd":"/","args":"a"}}"#,
                "config.json: process.args: invalid type: string \"a\", expected a sequence at line 1 column 78",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), want);
        }
        assert!(parse(br#"{"ociVersion":"1.2.0"} x"#).is_err());
    }
}
