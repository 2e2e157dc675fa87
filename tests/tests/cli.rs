//! To come.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::suite::main("cli", |_| Ok(()))
}
