//! The tables of docs/platform.md say what the code says. `RENEW=1 cargo test -p platform --test docs` writes them anew.
#![allow(missing_docs)]

use std::fmt::Write;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/platform.md");

fn filters() -> String {
    let mut out = String::new();
    for spec in platform::filters() {
        let _ = writeln!(
            out,
            "**{}**: everything else is `{:?}`.\n",
            spec.thread, spec.default
        );
        out.push_str("| call | when | then | why |\n|---|---|---|---|\n");
        for rule in spec.rules {
            let when: Vec<_> = rule.when.iter().map(ToString::to_string).collect();
            let when = if when.is_empty() {
                "always".to_owned()
            } else {
                when.join(", ")
            };
            let _ = writeln!(
                out,
                "| {} | {when} | {:?} | {} |",
                rule.name, rule.action, rule.reason
            );
        }
        out.push('\n');
    }
    out
}

fn sentry_calls() -> String {
    let mut out = "| call | why |\n|---|---|\n".to_owned();
    for call in platform::SENTRY_CALLS {
        let _ = writeln!(out, "| {} | {} |", call.name, call.reason);
    }
    out
}

#[test]
fn the_tables_are_up_to_date() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let mut new = page.clone();
    for (name, text) in [("filters", filters()), ("sentry-calls", sentry_calls())] {
        let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let (before, rest) = new.split_once(&start).unwrap();
        let (_, after) = rest.split_once(&end).unwrap();
        new = format!("{before}{start}{text}{end}{after}");
    }
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(PAGE, &new).unwrap();
    }
    assert!(
        page == new || std::env::var_os("RENEW").is_some(),
        "docs/platform.md is out of date: RENEW=1 cargo test -p platform --test docs"
    );
}
