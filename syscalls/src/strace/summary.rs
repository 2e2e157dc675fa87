//! The table of `strace -c`: calls, errors and time by name.

use std::borrow::Cow;
use std::collections::BTreeMap;

#[derive(Default, Clone, Copy)]
struct Count {
    calls: u64,
    errors: u64,
    ns: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.ns = self.ns.saturating_add(other.ns);
    }
}

/// What was counted.
#[derive(Default)]
pub(super) struct Totals(BTreeMap<Cow<'static, str>, Count>);

impl Totals {
    /// Counts a call. The name of an unknown one is the guest's choice, so all of them are one.
    pub(super) fn add(&mut self, name: Cow<'static, str>, ns: u64, error: bool) {
        let name = if matches!(name, Cow::Owned(_)) {
            Cow::Borrowed("unknown")
        } else {
            name
        };
        self.0.entry(name).or_default().add(Count {
            calls: 1,
            errors: u64::from(error),
            ns,
        });
    }

    /// The lines, the longest time first.
    pub(super) fn table(&self) -> Vec<String> {
        const RULE: &str = "------ ----------- ----------- --------- --------- ----------------";
        let mut rows: Vec<_> = self
            .0
            .iter()
            .map(|(name, count)| (&**name, *count))
            .collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.ns));
        let mut all = Count::default();
        rows.iter().for_each(|(_, count)| all.add(*count));
        let mut out = vec![
            format!(
                "{:>6} {:>11} {:>11} {:>9} {:>9} {}",
                "% time", "seconds", "usecs/call", "calls", "errors", "syscall"
            ),
            RULE.to_owned(),
        ];
        out.extend(rows.iter().map(|(name, count)| row(name, *count, all.ns)));
        out.push(RULE.to_owned());
        out.push(row("total", all, all.ns));
        out
    }
}

fn row(name: &str, count: Count, all: u64) -> String {
    let share = if all == 0 {
        0.0
    } else {
        count.ns as f64 * 100.0 / all as f64
    };
    let each = (count.ns / 1000).checked_div(count.calls).unwrap_or(0);
    let errors = if count.errors == 0 {
        String::new()
    } else {
        count.errors.to_string()
    };
    format!(
        "{share:>6.2} {:>11} {each:>11} {:>9} {errors:>9} {name}",
        super::text::seconds(count.ns),
        count.calls
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table() {
        let mut totals = Totals::default();
        totals.add("read".into(), 1_000_000, false);
        totals.add("read".into(), 2_000_000, true);
        totals.add("write".into(), 9_000_000, false);
        assert_eq!(
            totals.table(),
            [
                "% time     seconds  usecs/call     calls    errors syscall",
                "------ ----------- ----------- --------- --------- ----------------",
                " 75.00    0.009000        9000         1           write",
                " 25.00    0.003000        1500         2         1 read",
                "------ ----------- ----------- --------- --------- ----------------",
                "100.00    0.012000        4000         3         1 total",
            ]
        );
    }

    #[test]
    fn nothing_counted_divides_nothing() {
        assert_eq!(Totals::default().table().len(), 4);
    }
}
