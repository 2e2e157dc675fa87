//! The log: runc's text and JSON lines, to `--log` or stderr.
//!
//! An error that ends a command goes to the log, because containerd reads its reason there, and to stderr for people.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use log::{Level, LevelFilter, Metadata, Record};

use crate::cli::LogFormat;
use crate::time;

struct Logger {
    /// `None`: stderr.
    file: Option<OwnedFd>,
    format: LogFormat,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Opens the log. Called once, before anything is logged.
pub fn init(path: Option<&Path>, format: LogFormat, debug: bool) -> std::io::Result<()> {
    let file = match path {
        None => None,
        Some(p) => Some(
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(p)
                .map_err(|e| {
                    std::io::Error::new(
                        e.kind(),
                        format!("open {}: {}", p.display(), crate::error::os(&e)),
                    )
                })?
                .into(),
        ),
    };
    let logger = LOGGER.get_or_init(|| Logger { file, format });
    // A second call (tests) keeps the first logger.
    let _ = log::set_logger(logger);
    log::set_max_level(if debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    });
    Ok(())
}

/// The descriptor that log lines go to, for the sandbox to keep.
pub fn fd() -> BorrowedFd<'static> {
    match LOGGER.get().and_then(|l| l.file.as_ref()) {
        Some(fd) => fd.as_fd(),
        None => rustix::stdio::stderr(),
    }
}

/// Logs the error that ends a command; where the log is a file, people get it on stderr as well.
pub fn fatal(message: &str) {
    log::error!("{message}");
    match LOGGER.get() {
        Some(l) if l.file.is_some() => eprintln!("{message}"),
        Some(_) => {}
        None => eprintln!("{message}"),
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        let line = line(
            self.format,
            level,
            &record.args().to_string(),
            &time::rfc3339(time::now(), false),
        );
        // One write, so that lines of several processes do not mix. A log that cannot be written must not stop the command.
        let _ = rustix::io::write(fd(), line.as_bytes());
    }

    fn flush(&self) {
        let _ = std::io::stderr().flush();
    }
}

fn line(format: LogFormat, level: &str, msg: &str, time: &str) -> String {
    match format {
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={}\n", quote(msg)),
        LogFormat::Json => format!(
            "{}\n",
            serde_json::json!({"level": level, "msg": msg, "time": time})
        ),
    }
}

/// Quoted as logrus quotes: Go's %q.
fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_runc_writes_them() {
        let t = "2026-11-21T03:34:17Z";
        assert_eq!(
            line(LogFormat::Text, "error", "exec: \"foo\": bad", t),
            "time=\"2026-11-21T03:34:17Z\" level=error msg=\"exec: \\\"foo\\\": bad\"\n"
        );
        assert_eq!(
            line(LogFormat::Json, "error", "container does not exist", t),
            "{\"level\":\"error\",\"msg\":\"container does not exist\",\"time\":\"2026-11-21T03:34:17Z\"}\n"
        );
    }
}
