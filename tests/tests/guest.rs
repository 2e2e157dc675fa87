//! Guest programs (`tests/guest/*.c`): each passes on the host first, then prints the same in every sandbox.

use std::process::ExitCode;
use std::time::Duration;

use tests::bundle::Spec;
use tests::guest::compile;
use tests::process::Output;
use tests::suite;

fn main() -> ExitCode {
    suite::main("guest", |suite| {
        let programs = compile("guest")?;
        for program in programs.list {
            if program.note("driver").is_some() {
                continue; // run by another suite
            }
            // Programs about files run on each kind of filesystem: /tmp is a tmpfs, /work is the container's root.
            for dir in program.note("dirs").unwrap_or("/tmp").split_whitespace() {
                let mut spec = Spec::new(&[program.path.as_str()]);
                spec.layers.push(programs.layer.clone());
                spec.cwd = dir.to_string();
                let name = if dir == "/tmp" {
                    program.name.clone()
                } else {
                    format!("{}@{}", program.name, &dir[1..])
                };
                // Those about the network also run with sockets of the host's.
                if program.note("network").is_some() {
                    let mut spec = spec.clone();
                    spec.options.push("--network=host-sockets".into());
                    let name = format!("{name}@host_sockets");
                    suite.compared(&name, spec, Duration::from_secs(40), every_line_is_ok);
                }
                suite.compared(&name, spec, Duration::from_secs(40), every_line_is_ok);
            }
        }
        Ok(())
    })
}

fn every_line_is_ok(output: &Output) -> Result<(), String> {
    let text = output.text();
    match text.lines().find(|l| !l.starts_with("ok ")) {
        Some(line) => Err(format!("on the host it says: {line}")),
        None if text.is_empty() => Err("on the host it says nothing".into()),
        None => Ok(()),
    }
}
