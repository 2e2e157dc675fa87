//! Expectations are data: what is not in `tests/expectations.toml` must pass; what is there must fail, for its reason.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One known failure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// Why it fails: what is missing.
    pub reason: String,
    /// On which platforms; all when absent.
    #[serde(default)]
    pub platforms: Vec<String>,
    /// True for a test that sometimes passes: then either end is accepted.
    #[serde(default)]
    pub flaky: bool,
}

/// The table of known failures, by `suite::test`.
#[derive(Debug, Default)]
pub struct Expectations(BTreeMap<String, KnownFailure>);

impl Expectations {
    /// Reads the file in the source tree.
    pub fn load() -> Result<Self> {
        let path = crate::env::top().join("tests/expectations.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text)
    }

    /// Parses; a name without a reason is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let table: BTreeMap<String, KnownFailure> =
            toml::from_str(text).context("expectations.toml")?;
        for (name, known) in &table {
            if known.reason.trim().is_empty() {
                bail!("expectations.toml: {name} gives no reason");
            }
        }
        Ok(Self(table))
    }

    /// Looks up `suite::test` for `platform`.
    pub fn get(&self, name: &str, platform: &str) -> Option<&KnownFailure> {
        self.0
            .get(name)
            .filter(|k| k.platforms.is_empty() || k.platforms.iter().any(|p| p == platform))
    }

    /// Turns a result into the one that the expectation makes of it.
    pub fn judge(
        &self,
        name: &str,
        platform: &str,
        result: Result<(), String>,
    ) -> Result<(), String> {
        match (self.get(name, platform), result) {
            (None, result) => result,
            (Some(known), Err(_)) => {
                eprintln!("KNOWN FAILURE: {platform}::{name}: {}", known.reason);
                Ok(())
            }
            (Some(known), Ok(())) if known.flaky => Ok(()),
            (Some(known), Ok(())) => Err(format!(
                "passes now: remove it from tests/expectations.toml, where it says: {}",
                known.reason
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        ["guest::a"]
        reason = "no such thing yet"
        ["guest::b"]
        reason = "only there"
        platforms = ["kvm"]
    "#;

    #[test]
    fn a_known_failure_passes_and_a_surprising_pass_fails() {
        let e = Expectations::parse(TEXT).unwrap();
        assert!(e.judge("guest::a", "ptrace", Err("x".into())).is_ok());
        assert!(e.judge("guest::a", "ptrace", Ok(())).is_err());
        assert!(e.judge("guest::b", "ptrace", Err("x".into())).is_err());
        assert!(e.judge("guest::b", "kvm", Err("x".into())).is_ok());
        assert!(e.judge("guest::c", "ptrace", Ok(())).is_ok());
    }

    #[test]
    fn a_reason_is_owed() {
        assert!(Expectations::parse("[\"guest::a\"]\nreason = \" \"").is_err());
    }
}
