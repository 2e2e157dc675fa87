//! The commands, one file each or a few that belong together, and how an error becomes a status.

mod query;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::logging;
use crate::state::Root;

/// Runs a command.
pub fn run(cli: &Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) => {
            if let Some(Error::Exit(code)) = e.downcast_ref::<Error>() {
                return ExitCode::from(*code);
            }
            // runc's prefixes and statuses: engines look for both.
            match cli.command {
                Command::Run(_) => logging::fatal(&format!("runsc-rs run failed: {e:#}")),
                Command::Create(_) => logging::fatal(&format!("runsc-rs create failed: {e:#}")),
                Command::Exec(_) => {
                    logging::fatal(&format!("exec failed: {e:#}"));
                    return ExitCode::from(255);
                }
                _ => logging::fatal(&format!("{e:#}")),
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli) -> Result<ExitCode> {
    let root = Root::new(cli.global.root.as_deref());
    match &cli.command {
        Command::State(a) => query::state(&root, &a.id)?,
        Command::List(a) => query::list(&root, a)?,
        Command::Features => query::features()?,
        Command::Spec(a) => query::spec(a)?,
        _ => anyhow::bail!("not implemented yet"),
    }
    Ok(ExitCode::SUCCESS)
}
