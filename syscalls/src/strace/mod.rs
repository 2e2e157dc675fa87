//! The system call log: what strace(1) would print about the guest, without the guest being able to see it.
//!
//! ```text
//!  dispatch ─► enter ─► in-arguments as text ─┐
//!     │                                       ├─► lines: one table of open calls, one leaf lock ─► sink, a line per call
//!     └──────► exit ──► out-arguments, result ┘   (`<unfinished ...>` when another task prints meanwhile)
//! ```
//!
//! Guest memory is read before the lock is taken; the sink runs under it, which keeps lines in order, and must take no lock itself.

mod lines;
pub(crate) mod show;
mod structs;
mod summary;
mod text;

use lines::{End, Lines, Open};
use sentry::kernel::{Cx, ExitStatus};
use sentry::syscall::{SysResult, Syscall, Tracer};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use summary::Totals;

/// Where lines go, each without its line feed.
pub type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines as strace(1) prints them.
    Text,
    /// One JSON object a line.
    Json,
    /// No lines; a table at the end, as of `strace -c`.
    Summary,
}

/// The tracer behind `--strace`.
pub struct Strace {
    format: Format,
    /// Names; empty: all.
    only: BTreeSet<String>,
    lines: Lines,
    totals: sync::Mutex<Totals>,
    /// Calls that are still open when it ends must not write afterwards.
    ended: AtomicBool,
}

impl Strace {
    /// A log of the calls in `only`, or of all. The name that no call has, if there is one, is the error.
    pub fn new(format: Format, only: &[String], sink: Sink) -> Result<Self, String> {
        let known = |name: &String| {
            crate::FAMILIES
                .iter()
                .flat_map(|f| f.iter())
                .any(|c| c.name == name)
        };
        if let Some(name) = only.iter().find(|n| !known(n)) {
            return Err(name.clone());
        }
        Ok(Self {
            format,
            only: only.iter().cloned().collect(),
            lines: Lines::new(format == Format::Json, sink),
            totals: sync::Mutex::new(Totals::default()),
            ended: AtomicBool::new(false),
        })
    }

    /// Writes what is left: calls that have not returned, or the table. Nothing is written after it.
    pub fn finish(&self) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.format == Format::Summary {
            let table = self.totals.lock().table();
            table.iter().for_each(|line| self.lines.raw(line));
        } else {
            self.lines.finish();
        }
    }

    fn wants(&self, name: &str) -> bool {
        !self.ended.load(Ordering::Relaxed) && (self.only.is_empty() || self.only.contains(name))
    }

    fn prints(&self) -> bool {
        self.format != Format::Summary && !self.ended.load(Ordering::Relaxed)
    }
}

/// A task, whatever its number is in whichever namespace: an `execve` changes numbers.
fn key(cx: &Cx) -> usize {
    Arc::as_ptr(cx.task()).addr()
}

fn name_of(call: Option<&Syscall>, nr: u64) -> Cow<'static, str> {
    match call {
        Some(call) => Cow::Borrowed(call.name),
        None => Cow::Owned(format!("syscall_{nr:#x}")),
    }
}

impl Tracer for Strace {
    fn enter(&self, cx: &Cx, call: Option<&Syscall>, nr: u64, args: &[u64; 6]) {
        let name = name_of(call, nr);
        if !self.prints() || !self.wants(&name) {
            return;
        }
        let mut args: Vec<(&'static str, Option<String>)> = match call {
            Some(call) => call
                .args
                .iter()
                .enumerate()
                .map(|(index, arg)| {
                    let mut out = String::new();
                    if !arg.out {
                        (arg.show)(cx, args, index, None, &mut out);
                    }
                    (arg.name, (!arg.out).then_some(out))
                })
                .collect(),
            None => args
                .iter()
                .map(|value| ("", Some(format!("{value:#x}"))))
                .collect(),
        };
        // What the call does not look at has no text.
        while args
            .pop_if(|(_, text)| text.as_deref() == Some(""))
            .is_some()
        {}
        self.lines.begin(key(cx), Open::new(cx.tid(), name, args));
    }

    fn exit(
        &self,
        cx: &Cx,
        call: Option<&Syscall>,
        nr: u64,
        args: &[u64; 6],
        result: SysResult,
        ns: u64,
    ) {
        let name = name_of(call, nr);
        if !self.wants(&name) {
            return;
        }
        if self.format == Format::Summary {
            self.totals
                .lock()
                .add(name, ns, matches!(result, Err(e) if !e.is_restart()));
            return;
        }
        let late = call
            .into_iter()
            .flat_map(|call| call.args.iter().enumerate())
            .filter(|(_, arg)| arg.out)
            .map(|(index, arg)| {
                let mut out = String::new();
                (arg.show)(cx, args, index, Some(result), &mut out);
                out
            })
            .collect();
        // These do not return.
        let result = (!matches!(&*name, "exit" | "exit_group")).then_some(result);
        self.lines.end(key(cx), late, &End { result, ns });
    }

    fn signal(&self, cx: &Cx, info: &abi::signal::SigInfo) {
        if self.prints() {
            self.lines.signal(key(cx), cx.tid(), info);
        }
    }

    fn task_exit(&self, cx: &Cx, status: ExitStatus) {
        if self.prints() {
            self.lines.task_exit(key(cx), cx.tid(), status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let make = |name: &str| {
            Strace::new(Format::Text, &[name.to_owned()], Box::new(|_| {})).map(|_| ())
        };
        assert_eq!(make("openat"), Ok(()));
        assert_eq!(make("opneat"), Err("opneat".to_owned()));
    }

    #[test]
    fn unknown_calls_have_a_name() {
        assert_eq!(name_of(None, 999), "syscall_0x3e7");
    }
}
