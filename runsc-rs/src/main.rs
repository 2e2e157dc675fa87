//! runsc-rs: an OCI runtime that gives each container a kernel of its own.
//!
//! One static program plays every role: the command line (this file and [`commands`]), the sandbox ([`boot`]) and the gofer
//! ([`gofer_role`]). The latter two are forks of the command that creates a container, not new executions of the program: nothing
//! has to be loaded, relocated or parsed again, and what they need is in memory already ([`sandbox`] makes them).

#![deny(unsafe_code)]

mod boot;
mod cgroup;
mod cli;
mod commands;
mod console;
mod control;
mod error;
mod gofer_role;
mod hooks;
#[cfg(test)]
mod hostile;
mod logging;
mod oci;
mod sandbox;
mod state;
mod sys;
mod time;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(c) => c,
        Err(e) => return usage(&e),
    };
    // Before anything is opened: the numbers from 3 on are the caller's.
    let preserved = match preserved(&cli.command) {
        Ok(fds) => fds,
        Err(e) => {
            eprintln!("{e:#}");
            return ExitCode::FAILURE;
        }
    };
    let g = &cli.global;
    if let Err(e) = logging::init(g.log.as_deref(), g.log_format, g.debug) {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    commands::run(&cli, preserved)
}

fn preserved(command: &cli::Command) -> anyhow::Result<Vec<std::os::fd::OwnedFd>> {
    let count = match command {
        cli::Command::Create(a) => a.console.preserve_fds,
        cli::Command::Run(a) => a.create.console.preserve_fds,
        cli::Command::Exec(a) => a.console.preserve_fds,
        _ => return Ok(Vec::new()),
    };
    sandbox::launch::preserved(count)
}

/// What is wrong with the command line, in runc's words and with runc's statuses.
fn usage(e: &clap::Error) -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match e.kind() {
        ErrorKind::DisplayHelp => {
            let _ = e.print();
            return ExitCode::SUCCESS;
        }
        // `--version` needs no command.
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            if args.iter().skip(1).any(|a| a == "--version" || a == "-v") {
                println!(
                    "runsc-rs version {}\nspec: {}",
                    env!("CARGO_PKG_VERSION"),
                    oci::VERSION
                );
                return ExitCode::SUCCESS;
            }
            let _ = e.print();
            // Without a command runc prints its help and is content.
            return if args.len() == 1 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
        }
        _ => {}
    }
    // The log options stand before the command, so they were right; find them by hand, since the rest did not parse.
    let value = |name: &str| {
        args.iter()
            .enumerate()
            .find_map(|(i, a)| match a.strip_prefix(name) {
                Some("") => args.get(i + 1).cloned(),
                Some(v) => v.strip_prefix('=').map(str::to_owned),
                None => None,
            })
    };
    let format = if value("--log-format").as_deref() == Some("json") {
        cli::LogFormat::Json
    } else {
        cli::LogFormat::Text
    };
    let _ = logging::init(
        value("--log").map(std::path::PathBuf::from).as_deref(),
        format,
        false,
    );
    if e.kind() == ErrorKind::InvalidSubcommand {
        let name = e
            .get(clap::error::ContextKind::InvalidSubcommand)
            .map(ToString::to_string)
            .unwrap_or_default();
        logging::fatal(&format!("No help topic for '{name}'"));
        return ExitCode::from(3);
    }
    let text = e.render().to_string();
    eprintln!(
        "Incorrect Usage.\n\n{}",
        text.lines()
            .skip(1)
            .collect::<Vec<_>>()
            .join("\n")
            .trim_start()
    );
    logging::fatal(&usage_message(e, &args));
    ExitCode::FAILURE
}

/// What runc would say of the same mistake.
fn usage_message(e: &clap::Error, args: &[String]) -> String {
    let invalid = match e.get(clap::error::ContextKind::InvalidArg) {
        Some(clap::error::ContextValue::String(s)) => s.clone(),
        Some(clap::error::ContextValue::Strings(l)) => l.join(" "),
        _ => String::new(),
    };
    let command = args
        .iter()
        .skip(1)
        .find(|a| COMMANDS.contains(&a.as_str()) || NO_ARGUMENTS.contains(&a.as_str()));
    match (e.kind(), command) {
        (ErrorKind::UnknownArgument, _) if invalid.starts_with('-') => {
            format!(
                "flag provided but not defined: -{}",
                invalid.trim_start_matches('-')
            )
        }
        (ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument, Some(c))
            if ["exec", "ps", "kill", "do"].contains(&c.as_str()) =>
        {
            format!("runsc-rs: \"{c}\" requires a minimum of 1 argument(s)")
        }
        (ErrorKind::UnknownArgument, Some(c)) if NO_ARGUMENTS.contains(&c.as_str()) => {
            format!("runsc-rs: \"{c}\" requires exactly 0 argument(s)")
        }
        (ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument, Some(c)) => {
            format!("runsc-rs: \"{c}\" requires exactly 1 argument(s)")
        }
        _ => {
            let text = e.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    }
}

/// Commands that take arguments, to name the one that got the wrong number of them.
const COMMANDS: [&str; 15] = [
    "create", "run", "start", "state", "kill", "delete", "exec", "ps", "wait", "pause", "resume",
    "update", "events", "do", "debug",
];

/// Commands that take none.
const NO_ARGUMENTS: [&str; 5] = ["list", "spec", "features", "syscalls", "platforms"];
