//! `docs/compatibility.md` is the table of calls in words; this keeps the page the same as the table.
//! After a change: `COMPATIBILITY=write cargo test -p syscalls --test compatibility`.

const START: &str = "<!-- from here on written by syscalls/tests/compatibility.rs -->\n";

#[test]
fn the_page_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let page = std::fs::read_to_string(path).unwrap();
    let prose = page.split(START).next().unwrap();
    let wanted = format!("{prose}{START}\n{}", syscalls::listing::markdown());
    if std::env::var_os("COMPATIBILITY").is_some() {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    assert!(
        page == wanted,
        "docs/compatibility.md is stale: COMPATIBILITY=write cargo test -p syscalls --test compatibility"
    );
}

#[test]
fn notes_are_given() {
    use syscalls::Support;
    for call in syscalls::table().iter() {
        let note = match call.support {
            Support::Full => continue,
            Support::Partial(missing) => missing,
            Support::Refused(_, why) => why,
        };
        assert!(
            note.len() > 3 && !note.ends_with('.'),
            "{}: {note:?}",
            call.name
        );
    }
}
