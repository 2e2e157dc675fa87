//! Hostile guests (`tests/hostile/*.c`): whatever their children do, the sentry lives to let the parent say "survived".
//!
//! `RUNSC_RS_SOAK=MINUTES` makes the storm of random calls go on that long, in one sandbox after the other, each from a seed of its own.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::bundle::Spec;
use tests::process::End;
use tests::{diff, guest, sandbox, suite};

fn main() -> ExitCode {
    suite::main("hostile", |suite| {
        let programs = guest::compile("hostile")?;
        let soak = match std::env::var("RUNSC_RS_SOAK") {
            Ok(minutes) => Some(Duration::from_secs(60 * minutes.parse::<u64>()?)),
            Err(_) => None,
        };
        for program in programs.list {
            let name = program.name.clone();
            let soak = soak.filter(|_| name == "storm");
            let layer = programs.layer.clone();
            let body = move |platform: &str| {
                survives(platform, &layer, &[&program.path])?;
                let (start, mut seed) = (Instant::now(), u64::from(std::process::id()));
                while soak.is_some_and(|soak| start.elapsed() < soak) {
                    seed += 1;
                    survives(platform, &layer, &[&program.path, "20", &seed.to_string()])
                        .map_err(|e| format!("seed {seed}: {e}"))?;
                }
                Ok(())
            };
            suite.sandbox(&name, Arc::new(body));
        }
        Ok(())
    })
}

/// Runs a hostile program in a sandbox: an error unless its first process lives to the end.
fn survives(platform: &str, layer: &Path, args: &[&str]) -> Result<(), String> {
    let mut spec = Spec::new(args);
    spec.layers.push(layer.to_path_buf());
    let output = sandbox::sandboxed(
        &tests::env::binary()?,
        platform,
        &spec,
        Duration::from_secs(180),
    )
    .map_err(|e| format!("{e:#}"))?;
    if output.end == End::Code(0) && output.text().ends_with("survived\n") {
        return Ok(());
    }
    let (text, errors) = (output.text(), output.errors());
    Err(format!(
        "{:?} after {:.1?}\n{}\n{}",
        output.end,
        output.took,
        diff::tail(&text, 10),
        diff::tail(&errors, 30)
    ))
}
