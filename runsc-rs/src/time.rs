//! Wall-clock times as RFC 3339 writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, since the epoch.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// `2026-11-21T03:34:17Z`, or with nine digits of a second: `2026-11-21T03:34:17.367810801Z`.
pub fn rfc3339(t: Duration, nanos: bool) -> String {
    let secs = t.as_secs();
    let (days, rem) = (secs / 86_400, secs % 86_400);
    let (y, m, d) = civil(days);
    let (h, mi, s) = (rem / 3600, rem % 3600 / 60, rem % 60);
    if nanos {
        format!(
            "{y:04}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{:09}Z",
            t.subsec_nanos()
        )
    } else {
        format!("{y:04}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(m <= 2), m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        assert_eq!(rfc3339(Duration::new(0, 0), false), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(Duration::new(951_827_696, 5), true),
            "2000-02-29T12:34:56.000000005Z"
        );
        assert_eq!(
            rfc3339(Duration::new(1_795_232_057, 0), false),
            "2026-11-21T03:34:17Z"
        );
    }
}
