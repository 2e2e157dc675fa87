//! Random call sequences (`tests/guest/fuzzcalls.c`): the same seed gives the same results on the host and in a sandbox.
//!
//! `RUNSC_RS_SEEDS=FROM-TO` chooses the seeds; the default is a few, so that every run of the tests is the same.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tests::bundle::Spec;
use tests::{guest, suite};

fn main() -> ExitCode {
    suite::main("differential", |suite| {
        let range = std::env::var("RUNSC_RS_SEEDS").unwrap_or_else(|_| "1-12".into());
        let (from, to) = range.split_once('-').context("RUNSC_RS_SEEDS=FROM-TO")?;
        let (from, to): (u32, u32) = (from.trim().parse()?, to.trim().parse()?);
        let programs = guest::compile("guest")?;
        for seed in from..=to {
            for dir in ["/tmp", "/work"] {
                let mut spec = Spec::new(&["/guest/fuzzcalls", &seed.to_string(), "600"]);
                spec.layers.push(programs.layer.clone());
                spec.cwd = dir.into();
                suite.compared(
                    &format!("seed_{seed}@{}", &dir[1..]),
                    spec,
                    Duration::from_secs(60),
                    |_| Ok(()),
                );
            }
        }
        Ok(())
    })
}
