//! `state`, `list`, `features` and `spec`: what can be answered without a sandbox.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::cli::{List, SpecArgs};
use crate::error;
use crate::oci;
use crate::state::{OciState, Root, State};

/// Writes to stdout; a reader that went away is an error, not a panic.
pub fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("write to stdout")
}

/// JSON indented as Go's encoder does it.
pub fn indented<T: Serialize>(value: &T, indent: &[u8]) -> Result<String> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ))?;
    Ok(String::from_utf8(out)?)
}

/// `state ID`
pub fn state(root: &Root, id: &str) -> Result<()> {
    let s = root.load(id)?;
    print(&indented(&s.oci(s.status()), b"  ")?)
}

/// Who made the container: the owner of its directory.
fn owner(root: &Root, s: &State) -> String {
    let uid = std::fs::metadata(root.0.join(&s.id)).map_or(0, |m| m.uid());
    if uid == 0 {
        return "root".into();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|l| {
        let mut f = l.split(':');
        let name = f.next()?;
        (f.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

/// `list`
pub fn list(root: &Root, args: &List) -> Result<()> {
    let states = root.list()?;
    if args.quiet {
        return print(
            &states
                .iter()
                .map(|s| format!("{}\n", s.id))
                .collect::<String>(),
        );
    }
    let owners: Vec<String> = states.iter().map(|s| owner(root, s)).collect();
    let rows: Vec<OciState<'_>> = states
        .iter()
        .zip(&owners)
        .map(|(s, o)| OciState {
            owner: o,
            ..s.oci(s.status())
        })
        .collect();
    match args.format.as_str() {
        "json" if rows.is_empty() => print("null\n"),
        "json" => print(&format!("{}\n", serde_json::to_string(&rows)?)),
        "table" => {
            let mut table =
                vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            for r in rows {
                let bundle = r.bundle.display().to_string();
                table.push([
                    r.id.into(),
                    r.pid.to_string(),
                    r.status.into(),
                    bundle,
                    r.created.into(),
                    r.owner.into(),
                ]);
            }
            print(&columns(&table, 12, 3))
        }
        _ => bail!("invalid format option"),
    }
}

/// Left-aligned columns as Go's tabwriter lays them out: cells padded to the widest plus `pad`, at least `min`; the last is not.
fn columns<const N: usize>(rows: &[[String; N]], min: usize, pad: usize) -> String {
    let mut widths = [0usize; N];
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(cell.chars().count() + pad).max(min);
        }
    }
    let mut out = String::new();
    for row in rows {
        for (i, (w, cell)) in widths.iter().zip(row).enumerate() {
            out.push_str(cell);
            if i + 1 < N {
                out.extend(std::iter::repeat_n(' ', w - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

/// `features`
pub fn features() -> Result<()> {
    print(&format!(
        "{}\n",
        indented(&oci::features::features(), b"    ")?
    ))
}

/// `spec`
pub fn spec(args: &SpecArgs) -> Result<()> {
    let dir = args.bundle.as_deref().unwrap_or(Path::new("."));
    if !dir.is_dir() {
        bail!("chdir {}: {}", dir.display(), error::errno(libc::ENOENT));
    }
    let path = dir.join("config.json");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path);
    let mut file = match file {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("File config.json exists. Remove it first")
        }
        f => f.with_context(|| format!("create {}", path.display()))?,
    };
    let text = indented(&oci::default::config(args.rootless), b"\t")?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn table_as_runc_prints_it() {
        let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
        assert_eq!(
            columns(std::slice::from_ref(&head), 12, 3),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let row = [
            "x1",
            "6621",
            "created",
            "/tmp/rt/b",
            "2026-11-21T03:34:19.367810801Z",
            "root",
        ]
        .map(str::to_owned);
        assert_eq!(
            columns(&[head, row], 12, 3).lines().nth(1),
            Some(
                "x1          6621        created     /tmp/rt/b   2026-11-21T03:34:19.367810801Z   root"
            )
        );
    }
}
