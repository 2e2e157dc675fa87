//! The gofer's process, from its birth as a fork of `create` to its end with the sandbox.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use gofer::jail::{JailSpec, TreeSpec};
use rustix::thread::LinkNameSpaceType;

use crate::logging;
use crate::sandbox::identity::Maps;
use crate::sys;

/// What a gofer starts with.
pub struct Args {
    /// What it serves.
    pub trees: Vec<TreeSpec>,
    /// Its first connection.
    pub channel: OwnedFd,
    /// One byte on it: go. Its end: the command is gone.
    pub go: OwnedFd,
    /// The sandbox, if it has an empty network namespace to share.
    pub sandbox: Option<OwnedFd>,
    /// Its user namespace, if it has one.
    pub maps: Option<Maps>,
    /// The command ends before the container does.
    pub detached: bool,
}

/// Threads that serve; the sentry opens as many connections as it has use for, up to this.
const THREADS: usize = 4;

/// The whole life of the process.
pub fn main(args: Args) -> ! {
    let mut keep = vec![
        args.channel.as_raw_fd(),
        args.go.as_raw_fd(),
        logging::fd().as_raw_fd(),
    ];
    keep.extend(args.sandbox.iter().map(AsRawFd::as_raw_fd));
    sys::close_all_but(&keep);
    sys::reset_signals();
    // Its threads allocate little, and each arena costs pages.
    sys::bound_allocator(1);
    let _ = rustix::thread::set_name(c"runsc-gofer");
    let status = match serve(args) {
        Ok(()) => 0,
        Err(e) => {
            log::error!("{e}");
            1
        }
    };
    sys::exit_now(status)
}

fn serve(args: Args) -> Result<(), String> {
    let mut go = [0; 1];
    if !matches!(rustix::io::read(&args.go, &mut go), Ok(1)) {
        // The command says why, if anybody asked.
        return Ok(());
    }
    drop(args.go);
    if let Some(maps) = &args.maps {
        maps.assume()?;
    }
    // An empty network namespace costs milliseconds to make, and the sandbox has one.
    let shared = args.sandbox.as_ref().is_some_and(|sandbox| {
        let network = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(sandbox.as_fd(), network).is_ok()
    });
    drop(args.sandbox);
    quiet_stdio(args.detached).map_err(|e| format!("gofer: stdio: {e}"))?;
    let spec = JailSpec {
        trees: args.trees,
        new_network: !shared,
        die_with_parent: false,
    };
    gofer::jail::run(&spec, vec![args.channel], THREADS, sys::forget_program)
        .map_err(|e| e.to_string())
}

/// /dev/null for stdin and stdout: neither process has business with the container's stdio under those numbers. Stderr is the log;
/// where that is the command's own stderr, whoever reads it may wait for its end, so a container that outlives the command lets go
/// of it.
pub fn quiet_stdio(detached: bool) -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let log = logging::fd();
    if log.as_raw_fd() != 2 {
        rustix::stdio::dup2_stderr(log)?;
    } else if detached {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(())
}
