//! To come.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::suite::main("hostile", |_| Ok(()))
}
