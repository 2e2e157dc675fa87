//! Says how two outputs differ, in a few lines.

use std::fmt::Write;

use crate::process::{End, Output};

/// `None` when exit and standard output are the same.
pub fn outputs(host: &Output, guest: &Output) -> Option<String> {
    if host.end == guest.end && host.stdout == guest.stdout {
        return None;
    }
    let mut report = String::new();
    if host.end != guest.end {
        let _ = writeln!(
            report,
            "ended: host {:?}, sandbox {:?} after {:.1?}",
            host.end, guest.end, guest.took
        );
    }
    let differ = lines(&host.text(), &guest.text());
    if differ.is_empty() && host.stdout != guest.stdout {
        // In what makes a line's end, or in bytes that are no text.
        let at = host
            .stdout
            .iter()
            .zip(&guest.stdout)
            .take_while(|(a, b)| a == b)
            .count();
        let around = |all: &[u8]| {
            let (start, end) = (at.saturating_sub(40), (at + 20).min(all.len()));
            all.get(start..end)
                .unwrap_or_default()
                .escape_ascii()
                .to_string()
        };
        let (left, right) = (around(&host.stdout), around(&guest.stdout));
        let _ = writeln!(report, "- byte {at}: {left}\n+ byte {at}: {right}");
    }
    report.push_str(&differ);
    if !guest.stderr.is_empty() {
        let _ = writeln!(report, "sandbox's stderr:\n{}", tail(&guest.errors(), 30));
    }
    if host.end == End::TimedOut {
        let _ = writeln!(report, "(the host's run timed out)");
    }
    Some(report)
}

/// The first lines that differ, with one line of context.
pub fn lines(host: &str, guest: &str) -> String {
    let (left, right): (Vec<_>, Vec<_>) = (host.lines().collect(), guest.lines().collect());
    let mut report = String::new();
    let mut shown = 0;
    for i in 0..left.len().max(right.len()) {
        let (l, r) = (left.get(i), right.get(i));
        if l == r {
            continue;
        }
        if shown == 0 && i > 0 {
            let _ = writeln!(report, "  line {i}: {}", left.get(i - 1).unwrap_or(&""));
        }
        let _ = writeln!(report, "- line {}: {}", i + 1, l.unwrap_or(&"(end)"));
        let _ = writeln!(report, "+ line {}: {}", i + 1, r.unwrap_or(&"(end)"));
        shown += 1;
        if shown == 8 || l.is_none() || r.is_none() {
            break;
        }
    }
    report
}

/// The last `n` lines.
pub fn tail(text: &str, n: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(n)..)
        .unwrap_or_default()
        .join("\n")
}
