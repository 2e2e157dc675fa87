//! Signal names.

/// Names by number, from 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(n) = text.parse::<i32>() {
        return (0..=64).contains(&n).then_some(n);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(i) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(i + 1).ok();
    }
    let offset = |rest: &str| {
        if rest.is_empty() {
            Some(0)
        } else {
            rest.parse::<i32>().ok()
        }
    };
    let n = match name {
        "CLD" => 17,
        "POLL" => 29,
        "IOT" => 6,
        _ => {
            if let Some(rest) = name.strip_prefix("RTMIN") {
                // 32 and 33 are the C library's.
                offset(rest)?.checked_add(34)?
            } else {
                offset(name.strip_prefix("RTMAX")?)?.checked_add(64)?
            }
        }
    };
    (1..=64).contains(&n).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_and_numbers() {
        for (text, n) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+1", 35),
            ("RTMAX-1", 63),
            ("WINCH", 28),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(n), "{text}");
        }
        for bad in ["BOGUS", "65", "-1", "", "RTMIN+99"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
