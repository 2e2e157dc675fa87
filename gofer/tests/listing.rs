//! `docs/gofer.md` lists what a gofer may do. The lists are data in the code; this keeps the page the same as they are.
//! After a change: `GOFER_LISTING=write cargo test -p gofer --test listing`.

use gofer::jail::caps::KEPT;
use gofer::jail::filter::{ALLOWED, Args};
use gofer::wire::MountFlags;
use std::fmt::Write;

const START: &str = "<!-- from here on written by gofer/tests/listing.rs -->\n";

fn when(flags: MountFlags) -> String {
    let names: Vec<_> = flags
        .iter_names()
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    names.join(" or ")
}

fn listing() -> String {
    let mut page = String::from(START);
    page.push_str("\n## Calls\n\nEverything else kills the process.\n\n| call | for | only with a mount that has | arguments |\n|---|---|---|---|\n");
    for call in ALLOWED {
        let args = match call.args {
            Args::Any => "",
            Args::NotExecutable => "never executable",
            Args::UnixDomain => "`AF_UNIX`",
            Args::GetFlags => "`F_GETFD`",
        };
        let name = abi::nr::name(call.nr).unwrap_or("?");
        writeln!(
            page,
            "| `{name}` | {} | {} | {args} |",
            call.reason,
            when(call.when)
        )
        .unwrap();
    }
    page.push_str(
        "\n## Capabilities\n\n| capability | for | only with a mount that has |\n|---|---|---|\n",
    );
    for kept in KEPT {
        writeln!(
            page,
            "| `{}` | {} | {} |",
            kept.name,
            kept.reason,
            when(kept.when)
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_lists_what_the_code_allows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gofer.md");
    let page = std::fs::read_to_string(path).unwrap();
    let prose = page.split(START).next().unwrap();
    let wanted = format!("{prose}{}", listing());
    if std::env::var_os("GOFER_LISTING").is_some() {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    assert_eq!(
        page, wanted,
        "run GOFER_LISTING=write cargo test -p gofer --test listing"
    );
}
