//! The common shape of a test binary: trials per platform, skips that are loud, expectations applied.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::bundle::Spec;
use crate::expect::Expectations;
use crate::process::{End, Output};
use crate::{diff, host, sandbox};

/// What the trials of one run share.
pub struct Suite {
    name: &'static str,
    expectations: Arc<Expectations>,
    trials: Vec<Trial>,
}

/// A test's body: gets the platform, returns what went wrong.
pub type Body = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

impl Suite {
    /// Adds a trial that runs on the host only, called `host::NAME`.
    pub fn host(&mut self, name: &str, body: impl Fn() -> Result<(), String> + Send + 'static) {
        let skip = crate::env::missing_for_host();
        self.push(format!("host::{name}"), skip, body);
    }

    /// Adds a trial for each platform, called `PLATFORM::NAME`, judged by the expectations.
    pub fn sandbox(&mut self, name: &str, body: Body) {
        let skip = crate::env::missing_for_host().or_else(|| crate::env::binary().err());
        for platform in crate::env::platforms() {
            let (body, expectations, full) = (
                Arc::clone(&body),
                Arc::clone(&self.expectations),
                format!("{}::{name}", self.name),
            );
            self.push(format!("{platform}::{name}"), skip.clone(), move || {
                expectations.judge(&full, &platform, body(&platform))
            });
        }
    }

    /// Adds `host::NAME` (the command must exit with 0 there, and `accept` its output) and `PLATFORM::NAME` (same
    /// output and exit as on the host).
    pub fn compared(
        &mut self,
        name: &str,
        spec: Spec,
        limit: Duration,
        accept: impl Fn(&Output) -> Result<(), String> + Send + Sync + 'static,
    ) {
        let reference = {
            // The host runs it once, whichever trial comes first.
            let (spec, cell) = (spec.clone(), OnceLock::<Result<Output, String>>::new());
            Arc::new(move || {
                cell.get_or_init(|| reference(&spec, limit, &accept))
                    .clone()
            })
        };
        let on_host = Arc::clone(&reference);
        self.host(name, move || on_host().map(drop));
        self.sandbox(
            name,
            Arc::new(move |platform| {
                let expected =
                    reference().map_err(|e| format!("fails on the host already: {e}"))?;
                let binary = crate::env::binary()?;
                let got = sandbox::sandboxed(&binary, platform, &spec, limit)
                    .map_err(|e| format!("{e:#}"))?;
                diff::outputs(&expected, &got).map_or(Ok(()), Err)
            }),
        );
    }

    /// Says that something cannot run here, and counts it.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.push(name.to_string(), Some(why.to_string()), || Ok(()));
    }

    fn push(
        &mut self,
        name: String,
        skip: Option<String>,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) {
        if let Some(why) = &skip {
            eprintln!("SKIPPED: {}::{name}: {why}", self.name);
        }
        self.trials.push(
            Trial::test(name, move || body().map_err(Failed::from))
                .with_ignored_flag(skip.is_some()),
        );
    }
}

fn reference(
    spec: &Spec,
    limit: Duration,
    accept: &dyn Fn(&Output) -> Result<(), String>,
) -> Result<Output, String> {
    let output = host::chroot(spec, limit).map_err(|e| format!("{e:#}"))?;
    if output.end != End::Code(0) {
        return Err(format!(
            "on the host it ended with {:?} after {:.1?}\n{}\n{}",
            output.end,
            output.took,
            diff::tail(&output.text(), 20),
            diff::tail(&output.errors(), 20)
        ));
    }
    accept(&output)?;
    Ok(output)
}

/// The `main` of a test binary: `fill` adds the trials of suite `name`.
///
/// As root it first moves into a mount namespace of its own, where every mount of its tests ends with it.
pub fn main(name: &'static str, fill: impl FnOnce(&mut Suite) -> anyhow::Result<()>) -> ExitCode {
    main_in(name, &[], fill)
}

/// For [`main_in`]: what the suite finds running, and what networks it makes, is its own.
pub const OWN_PROCESSES: [&str; 5] = [
    "--net",
    "--pid",
    "--fork",
    "--kill-child=KILL",
    "--mount-proc",
];

/// The same in further namespaces (options of unshare(1)). With a pid namespace of its own the tests run one at a time, so that what they find in it is theirs.
pub fn main_in(
    name: &'static str,
    namespaces: &[&str],
    fill: impl FnOnce(&mut Suite) -> anyhow::Result<()>,
) -> ExitCode {
    let mut args = Arguments::from_args();
    if namespaces.contains(&"--pid") {
        args.test_threads = Some(1);
    }
    if crate::env::missing_for_host().is_none()
        && env::var_os(crate::env::INSIDE).is_none()
        && !args.list
    {
        // A pid namespace gets a shell as its init: it reaps.
        let init: &[&str] = if namespaces.contains(&"--pid") {
            &["/bin/sh", "-c", "\"$@\"; exit $?", "sh"]
        } else {
            &[]
        };
        let error = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(namespaces)
            .args(init)
            .arg(env::current_exe().expect("a running program has a path"))
            .args(env::args_os().skip(1))
            .env(crate::env::INSIDE, std::process::id().to_string())
            .exec();
        eprintln!("unshare: {error}; mounts will be made in this mount namespace");
    }
    let expectations = match Expectations::load() {
        Ok(e) => Arc::new(e),
        Err(e) => {
            eprintln!("{e:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut suite = Suite {
        name,
        expectations,
        trials: Vec::new(),
    };
    if let Err(e) = fill(&mut suite) {
        eprintln!("{name}: {e:#}");
        return ExitCode::FAILURE;
    }
    libtest_mimic::run(&args, suite.trials).exit_code()
}
