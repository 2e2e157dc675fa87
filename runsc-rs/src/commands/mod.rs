//! The commands, one file each or a few that belong together, and how an error becomes a status.

mod do_;
mod exec;
mod install;
mod life;
mod look;
mod query;
mod signals;

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::logging;
use crate::state::Root;

/// Runs a command.
pub fn run(cli: &Cli, preserved: Vec<OwnedFd>) -> ExitCode {
    match dispatch(cli, preserved) {
        Ok(code) => code,
        Err(e) => {
            let e = crate::error::chain(&e);
            // runc's prefixes and statuses: engines look for both.
            match cli.command {
                Command::Run(_) => logging::fatal(&format!("runsc-rs run failed: {e}")),
                Command::Create(_) => logging::fatal(&format!("runsc-rs create failed: {e}")),
                Command::Exec(_) => {
                    logging::fatal(&format!("exec failed: {e}"));
                    return ExitCode::from(255);
                }
                _ => logging::fatal(&e),
            }
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: &Cli, preserved: Vec<OwnedFd>) -> Result<ExitCode> {
    let global = &cli.global;
    let root = Root::new(global.root.as_deref());
    match &cli.command {
        Command::Create(a) => life::create(&root, global, a, preserved)?,
        Command::Run(a) => return life::run(&root, global, a, preserved),
        Command::Start(a) => life::start(&root, &a.id)?,
        Command::State(a) => query::state(&root, &a.id)?,
        Command::Kill(a) => life::kill(&root, a)?,
        Command::Delete(a) => life::delete(&root, a)?,
        Command::List(a) => query::list(&root, a)?,
        Command::Exec(a) => return exec::exec(&root, a, preserved),
        Command::Ps(a) => look::ps(&root, a)?,
        Command::Wait(a) => life::wait(&root, a)?,
        Command::Pause(a) => life::pause(&root, &a.id, true)?,
        Command::Resume(a) => life::pause(&root, &a.id, false)?,
        Command::Update(a) => look::update(&root, a)?,
        Command::Spec(a) => query::spec(a)?,
        Command::Events(a) => look::events(&root, a)?,
        Command::Features => query::features()?,
        Command::Do(a) => return do_::do_(&root, global, a),
        Command::Install(a) => install::install(a)?,
        Command::Uninstall(a) => install::uninstall(a)?,
        Command::Debug(a) => look::debug(&root, a)?,
        Command::Syscalls(a) => look::syscalls(a)?,
        Command::Platforms => look::platforms()?,
    }
    Ok(ExitCode::SUCCESS)
}
