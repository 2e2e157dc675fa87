//! The table of calls as text: what `runsc-rs syscalls` prints and `docs/compatibility.md` holds.

use sentry::syscall::{Support, Syscall};
use std::fmt::Write;

/// `name(argument, …)`.
pub fn prototype(call: &Syscall) -> String {
    let arguments: Vec<_> = call.args.iter().map(|a| a.name).collect();
    format!("{}({})", call.name, arguments.join(", "))
}

/// How much of a call there is, in words.
pub fn support(call: &Syscall) -> String {
    match call.support {
        Support::Full => "full".to_owned(),
        Support::Partial(missing) => format!("partial, missing: {missing}"),
        Support::Refused(errno, why) => format!("{}: {why}", errno.name()),
    }
}

/// The names of Linux's calls that the kernel does not have: each answers `ENOSYS`.
pub fn absent() -> Vec<&'static str> {
    let table = crate::table();
    (0..1024)
        .filter(|nr| table.get(*nr).is_none())
        .filter_map(abi::nr::name)
        .collect()
}

/// All calls as a table in Markdown, then those that are not there.
pub fn markdown() -> String {
    let table = crate::table();
    let (mut full, mut partial, mut refused) = (0u32, 0u32, 0u32);
    let mut rows = String::from("| number | call | support |\n|---|---|---|\n");
    for call in table.iter() {
        let count = match call.support {
            Support::Full => &mut full,
            Support::Partial(_) => &mut partial,
            Support::Refused(..) => &mut refused,
        };
        *count = count.saturating_add(1);
        let _ = writeln!(
            rows,
            "| {} | `{}` | {} |",
            call.nr,
            prototype(call),
            support(call)
        );
    }
    let absent = absent();
    format!(
        "{full} full, {partial} partial, {refused} refused with another error than `ENOSYS` or for a reason, {} absent.\n\n{rows}\n## Absent\n\n\
         These numbers answer `ENOSYS`, as every number does that Linux does not have either:\n\n{}.\n",
        absent.len(),
        absent
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}
