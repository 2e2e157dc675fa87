//! Hostile guests (`tests/hostile/*.c`): whatever their children do, the sentry lives to let the parent say "survived".

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tests::bundle::Spec;
use tests::process::End;
use tests::{diff, guest, sandbox, suite};

fn main() -> ExitCode {
    suite::main("hostile", |suite| {
        let programs = guest::compile("hostile")?;
        for program in programs.list {
            let mut spec = Spec::new(&[program.path.as_str()]);
            spec.layers.push(programs.layer.clone());
            let body = move |platform: &str| {
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
            };
            suite.sandbox(&program.name, Arc::new(body));
        }
        Ok(())
    })
}
