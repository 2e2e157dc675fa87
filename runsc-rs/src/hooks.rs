//! OCI hooks: programs of the host that run at points of a container's life, with its state on their stdin.
//!
//! | kind | when | where | path is looked up in | a failure |
//! |---|---|---|---|---|
//! | prestart, createRuntime | sandbox made, its trees not yet taken | the runtime's namespaces | the host | ends the container |
//! | createContainer | after those | the gofer's mount namespace, before the trees are taken from it | the host | ends the container |
//! | startContainer | at start, before the program | inside the sandbox: a guest process | the container | ends the container |
//! | poststart | after the program started | the runtime's namespaces | the host | ends the container |
//! | poststop | after the container was deleted, or could not be made or started | the runtime's namespaces | the host | is logged |

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use crate::error::os;
use crate::state::{State, Status};

/// The most of a hook's output that an error message shows.
const MAX_OUTPUT: u64 = 64 << 10;

/// Runs hooks in order; the first that fails ends it, with runc's message.
pub fn run(hooks: &[Hook], state: &[u8]) -> Result<()> {
    for (i, hook) in hooks.iter().enumerate() {
        if let Err(e) = run_one(hook, state) {
            bail!("error running hook #{i}: {e:#}");
        }
    }
    Ok(())
}

/// Runs a container's poststop hooks. Nothing is left that a failure could end, so it is only worth a line in the log.
pub fn poststop(state: &State) {
    let list = state.hooks.as_ref().and_then(|h| h.poststop().as_deref());
    let text = serde_json::to_vec(&state.hook(Status::Stopped)).unwrap_or_default();
    for (i, hook) in list.unwrap_or_default().iter().enumerate() {
        if let Err(e) = run_one(hook, &text) {
            log::warn!("error running poststop hook #{i}: {e:#}");
        }
    }
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    let mut command = Command::new(hook.path());
    // `args` includes argv[0].
    match hook.args().as_deref() {
        Some([arg0, rest @ ..]) => command.arg0(arg0).args(rest),
        _ => &mut command,
    };
    // No environment but the hook's own; what has no `=` is a name without a value.
    command.env_clear();
    for e in hook.env().iter().flatten() {
        let (k, v) = e.split_once('=').unwrap_or((e, ""));
        if !k.is_empty() {
            command.env(k, v);
        }
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(c) => c,
        Err(e) => bail!("fork/exec {}: {}", hook.path().display(), os(&e)),
    };
    // A hook need not read its state.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(state);
    }
    let timeout = hook
        .timeout()
        .and_then(|t| u64::try_from(t).ok())
        .map(Duration::from_secs);
    let (status, out, err) = finish(&mut child, timeout)?;
    match status {
        None => bail!(
            "hook ran past specified timeout of {:.1}s",
            timeout.unwrap_or_default().as_secs_f64()
        ),
        Some(s) if s.success() => Ok(()),
        Some(s) => {
            let how = match (s.code(), s.signal()) {
                (Some(c), _) => format!("exit status {c}"),
                (_, Some(n)) => format!("signal: {n}"),
                _ => "unknown status".to_owned(),
            };
            bail!("error running hook: {how}, stdout: {out}, stderr: {err}")
        }
    }
}

/// Reads a hook's output and waits for its end, or kills it at the time limit (`None`).
fn finish(
    child: &mut Child,
    timeout: Option<Duration>,
) -> Result<(Option<ExitStatus>, String, String)> {
    let deadline = timeout.map(|t| Instant::now() + t);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let Some(Ok(pidfd)) = pid.map(|p| rustix::process::pidfd_open(p, PidfdFlags::empty())) else {
        bail!("hook: no descriptor of its process");
    };
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN)];
        let out_at = stdout
            .as_ref()
            .map(|s| (fds.len(), fds.push(PollFd::new(s, PollFlags::IN))).0);
        let err_at = stderr
            .as_ref()
            .map(|s| (fds.len(), fds.push(PollFd::new(s, PollFlags::IN))).0);
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let left = left.and_then(|d| Timespec::try_from(d).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok((None, String::new(), String::new()));
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => bail!("poll: {}", crate::error::rx(e)),
        }
        let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
        drop(fds);
        let is = |at: Option<usize>| at.and_then(|i| ready.get(i).copied()).unwrap_or(false);
        if is(out_at) {
            take(&mut stdout, &mut out);
        }
        if is(err_at) {
            take(&mut stderr, &mut err);
        }
        // Its own end counts: a process that it left behind may hold the pipes for ever.
        if is(Some(0)) && !is(out_at) && !is(err_at) {
            let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
            return Ok((Some(child.wait()?), text(out), text(err)));
        }
    }
}

/// Takes what is there; closes the pipe at its end.
fn take<R: Read>(pipe: &mut Option<R>, into: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    let n = pipe
        .as_mut()
        .and_then(|p| p.read(&mut buffer).ok())
        .unwrap_or(0);
    if n == 0 {
        *pipe = None;
    } else if (into.len() as u64) < MAX_OUTPUT {
        into.extend_from_slice(buffer.get(..n).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: serde_json::Value) -> Hook {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn state_arguments_and_environment() {
        let dir = std::env::temp_dir().join(format!("runsc-rs-hook-{}", std::process::id()));
        let script = format!("cat > {0}; echo \"$0 $A\" >> {0}", dir.display());
        let h = hook(
            serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", script, "zero"], "env": ["A=b", "PATH=/usr/bin:/bin"]}),
        );
        run(&[h], b"{\"id\":\"x\"}").unwrap();
        assert_eq!(
            std::fs::read_to_string(&dir).unwrap(),
            "{\"id\":\"x\"}zero b\n"
        );
        std::fs::remove_file(&dir).unwrap();
    }

    #[test]
    fn failures() {
        let fail = |json| run(&[hook(json)], b"{}").unwrap_err().to_string();
        assert_eq!(
            fail(
                serde_json::json!({"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2; exit 3"]})
            ),
            "error running hook #0: error running hook: exit status 3, stdout: out\n, stderr: err\n"
        );
        assert_eq!(
            fail(serde_json::json!({"path": "/nonexistent"})),
            "error running hook #0: fork/exec /nonexistent: no such file or directory"
        );
        assert_eq!(
            fail(serde_json::json!({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1})),
            "error running hook #0: hook ran past specified timeout of 1.0s"
        );
    }
}
