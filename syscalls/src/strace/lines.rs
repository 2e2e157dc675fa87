//! Lines of the log and the calls that are open between two of them.

use super::Sink;
use super::text;
use abi::signal::SigInfo;
use sentry::kernel::ExitStatus;
use sentry::syscall::SysResult;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A call that has not returned.
pub(super) struct Open {
    pid: i32,
    name: Cow<'static, str>,
    /// Names and texts; what the kernel fills in has none yet.
    args: Vec<(&'static str, Option<String>)>,
    /// Which call came first.
    order: u64,
    /// An `<unfinished ...>` line was written, with as many arguments.
    unfinished: Option<usize>,
}

impl Open {
    pub(super) fn new(
        pid: i32,
        name: Cow<'static, str>,
        args: Vec<(&'static str, Option<String>)>,
    ) -> Self {
        Self {
            pid,
            name,
            args,
            order: 0,
            unfinished: None,
        }
    }

    /// The arguments known before the call, and their number. What an out-argument follows is shown after it.
    fn head(&self) -> (String, usize) {
        let mut out = String::new();
        let mut count = 0usize;
        for (_, arg) in &self.args {
            if count > 0 {
                out.push_str(", ");
            }
            let Some(arg) = arg else { break };
            out.push_str(arg);
            count = count.saturating_add(1);
        }
        (out, count)
    }

    /// The arguments from one on, once all are known. The comma before it was in the head.
    fn rest(&self, from: usize) -> String {
        let texts: Vec<&str> = self
            .args
            .iter()
            .skip(from)
            .map(|(_, arg)| arg.as_deref().unwrap_or("?"))
            .collect();
        texts.join(", ")
    }

    /// Fills in what the kernel has written.
    fn complete(&mut self, late: Vec<String>) {
        let missing = self.args.iter_mut().filter(|(_, arg)| arg.is_none());
        for ((_, arg), text) in missing.zip(late) {
            *arg = Some(text);
        }
    }

    fn json(&self, end: &End) -> String {
        let mut out = format!(
            "{{\"pid\":{},\"event\":\"syscall\",\"name\":{},\"args\":[",
            self.pid,
            text::json(&self.name)
        );
        for (index, (name, value)) in self.args.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let value = text::json(value.as_deref().unwrap_or("?"));
            let _ = write!(
                out,
                "{comma}{{\"name\":{},\"value\":{value}}}",
                text::json(name)
            );
        }
        out.push(']');
        match end.result {
            None => {}
            Some(Ok(value)) => {
                let _ = write!(out, ",\"result\":{}", value.cast_signed());
            }
            Some(Err(errno)) if errno.is_restart() => {
                let _ = write!(out, ",\"restart\":\"{}\"", errno.name());
            }
            Some(Err(errno)) => {
                let _ = write!(out, ",\"result\":-1,\"errno\":\"{errno}\"");
            }
        }
        let _ = write!(out, ",\"seconds\":{}}}", text::seconds(end.ns));
        out
    }
}

/// How a call ended.
pub(super) struct End {
    /// `None` when it never returns to the guest.
    pub(super) result: Option<SysResult>,
    /// What it took.
    pub(super) ns: u64,
}

#[derive(Default)]
struct State {
    open: BTreeMap<usize, Open>,
    entered: u64,
}

/// The writer.
pub(super) struct Lines {
    json: bool,
    sink: Sink,
    state: sync::Mutex<State>,
}

impl Lines {
    pub(super) fn new(json: bool, sink: Sink) -> Self {
        Self {
            json,
            sink,
            state: sync::Mutex::new(State::default()),
        }
    }

    /// A line of no task.
    pub(super) fn raw(&self, line: &str) {
        (self.sink)(line);
    }

    /// Others' open calls are broken off before a line of this task.
    fn break_off(&self, state: &mut State, but: Option<usize>) {
        if self.json {
            return;
        }
        let mut others: Vec<&mut Open> = state
            .open
            .iter_mut()
            .filter(|(key, open)| Some(**key) != but && open.unfinished.is_none())
            .map(|(_, open)| open)
            .collect();
        others.sort_by_key(|open| open.order);
        for open in others {
            let (head, count) = open.head();
            open.unfinished = Some(count);
            self.raw(&format!(
                "[{}] {}({head} <unfinished ...>",
                open.pid, open.name
            ));
        }
    }

    pub(super) fn begin(&self, key: usize, mut open: Open) {
        let mut state = self.state.lock();
        state.entered = state.entered.saturating_add(1);
        open.order = state.entered;
        state.open.insert(key, open);
    }

    pub(super) fn end(&self, key: usize, late: Vec<String>, end: &End) {
        let mut state = self.state.lock();
        // It is not there when the log ended meanwhile.
        let Some(mut open) = state.open.remove(&key) else {
            return;
        };
        self.break_off(&mut state, Some(key));
        open.complete(late);
        if self.json {
            return self.raw(&open.json(end));
        }
        let result = text::result(&open.name, end.result);
        let time = if end.result.is_some() {
            format!(" <{}>", text::seconds(end.ns))
        } else {
            String::new()
        };
        let (pid, name) = (open.pid, &open.name);
        match open.unfinished {
            None => self.raw(&format!(
                "[{pid}] {name}({}) = {result}{time}",
                open.rest(0)
            )),
            Some(from) => self.raw(&format!(
                "[{pid}] <... {name} resumed>{}) = {result}{time}",
                open.rest(from)
            )),
        }
    }

    pub(super) fn signal(&self, key: usize, pid: i32, info: &SigInfo) {
        let fields = text::signal_fields(info);
        let name = fields
            .first()
            .map(|(_, value)| value.clone())
            .unwrap_or_default();
        let mut state = self.state.lock();
        self.break_off(&mut state, Some(key));
        if self.json {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", text::json(name), text::json(value)))
                .collect();
            self.raw(&format!(
                "{{\"pid\":{pid},\"event\":\"signal\",{}}}",
                fields.join(",")
            ));
        } else {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            self.raw(&format!("[{pid}] --- {name} {{{}}} ---", fields.join(", ")));
        }
    }

    pub(super) fn task_exit(&self, key: usize, pid: i32, status: ExitStatus) {
        let mut state = self.state.lock();
        state.open.remove(&key);
        self.break_off(&mut state, None);
        let line = match (status, self.json) {
            (ExitStatus::Exited(code), false) => format!("[{pid}] +++ exited with {code} +++"),
            (ExitStatus::Signaled { signal, core }, false) => {
                format!(
                    "[{pid}] +++ killed by {signal}{} +++",
                    if core { " (core dumped)" } else { "" }
                )
            }
            (ExitStatus::Exited(code), true) => {
                format!("{{\"pid\":{pid},\"event\":\"exit\",\"code\":{code}}}")
            }
            (ExitStatus::Signaled { signal, core }, true) => {
                format!(
                    "{{\"pid\":{pid},\"event\":\"killed\",\"signal\":\"{signal}\",\"core\":{core}}}"
                )
            }
        };
        self.raw(&line);
    }

    /// Shows the calls that have not returned, and forgets them.
    pub(super) fn finish(&self) {
        let mut state = self.state.lock();
        self.break_off(&mut state, None);
        state.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Errno;
    use abi::signal::Signal;
    use std::sync::mpsc::{Receiver, channel};

    fn lines(json: bool) -> (Lines, Receiver<String>) {
        let (tx, rx) = channel();
        let sink = move |line: &str| {
            let _ = tx.send(line.to_owned());
        };
        (Lines::new(json, Box::new(sink)), rx)
    }

    fn read(pid: i32) -> Open {
        let known = |s: &str| Some(s.to_owned());
        Open::new(
            pid,
            "read".into(),
            vec![("fd", known("3")), ("buf", None), ("count", known("10"))],
        )
    }

    const DONE: End = End {
        result: Some(Ok(2)),
        ns: 12_345,
    };

    #[test]
    fn a_call_is_one_line() {
        let (log, rx) = lines(false);
        log.begin(1, read(7));
        log.end(1, vec!["\"ab\"".into()], &DONE);
        log.begin(
            1,
            Open::new(7, "exit_group".into(), vec![("status", Some("0".into()))]),
        );
        log.end(
            1,
            vec![],
            &End {
                result: None,
                ns: 5,
            },
        );
        log.task_exit(1, 7, ExitStatus::Exited(0));
        let seen: Vec<String> = rx.try_iter().collect();
        assert_eq!(
            seen,
            [
                "[7] read(3, \"ab\", 10) = 2 <0.000012>",
                "[7] exit_group(0) = ?",
                "[7] +++ exited with 0 +++"
            ]
        );
    }

    #[test]
    fn a_call_is_broken_off_and_resumed() {
        let (log, rx) = lines(false);
        log.begin(1, read(7));
        log.begin(2, Open::new(8, "pause".into(), vec![]));
        log.end(
            2,
            vec![],
            &End {
                result: Some(Err(Errno::ERESTARTNOHAND)),
                ns: 0,
            },
        );
        log.signal(2, 8, &SigInfo::kill(Signal::SIGUSR1, 7, 0));
        log.end(1, vec!["\"ab\"".into()], &DONE);
        let seen: Vec<String> = rx.try_iter().collect();
        assert_eq!(
            seen,
            [
                "[7] read(3,  <unfinished ...>",
                "[8] pause() = ? ERESTARTNOHAND (To be restarted if no handler) <0.000000>",
                "[8] --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=7, si_uid=0} ---",
                "[7] <... read resumed>\"ab\", 10) = 2 <0.000012>",
            ]
        );
    }

    #[test]
    fn calls_that_are_open_at_the_end_are_shown() {
        let (log, rx) = lines(false);
        log.begin(1, read(7));
        log.finish();
        log.end(1, vec![], &DONE);
        assert_eq!(
            rx.try_iter().collect::<Vec<_>>(),
            ["[7] read(3,  <unfinished ...>"]
        );
    }

    #[test]
    fn json_lines() {
        let (log, rx) = lines(true);
        log.begin(1, read(7));
        log.begin(2, Open::new(8, "sync".into(), vec![]));
        log.end(
            2,
            vec![],
            &End {
                result: Some(Err(Errno::ENOSYS)),
                ns: 1_000_000_000,
            },
        );
        log.end(1, vec!["\"a\\n\"".into()], &DONE);
        log.task_exit(
            1,
            7,
            ExitStatus::Signaled {
                signal: Signal::SIGKILL,
                core: false,
            },
        );
        assert_eq!(
            rx.try_iter().collect::<Vec<_>>(),
            [
                r#"{"pid":8,"event":"syscall","name":"sync","args":[],"result":-1,"errno":"ENOSYS","seconds":1.000000}"#,
                r#"{"pid":7,"event":"syscall","name":"read","args":[{"name":"fd","value":"3"},{"name":"buf","value":"\"a\\n\""},{"name":"count","value":"10"}],"result":2,"seconds":0.000012}"#,
                r#"{"pid":7,"event":"killed","signal":"SIGKILL","core":false}"#,
            ]
        );
    }
}
