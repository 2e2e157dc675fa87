//! Job control: who may read, write and command a terminal (`setpgid(2)`, `tcsetpgrp(3)`; Linux's `tty_check_change`).

use super::Tty;
use super::pty::Slave;
use crate::kernel::{ControllingTty, Cx, Task};
use abi::Errno;
use abi::signal::{SIG_IGN, SigInfo, Signal};
use abi::termios::{ICANON, TOSTOP, VMIN, VTIME};
use fs::File;
use std::sync::Arc;

/// The terminal is the caller's controlling one and the caller is in its background.
fn in_background(tty: &Tty, task: &Task) -> bool {
    let pgrp = task.group().process_group();
    let own = tty
        .session()
        .is_some_and(|s| Arc::ptr_eq(&s, &pgrp.session));
    own && tty.foreground().is_some_and(|f| !Arc::ptr_eq(&f, &pgrp))
}

/// Stops a background group with `signal`, or says what a call answers instead.
fn background(task: &Task, signal: Signal, orphaned: Errno) -> Result<(), Errno> {
    let ignored = task.group().handlers().get(signal).sa_handler == SIG_IGN
        || task.signals.lock().blocked.contains(signal);
    if ignored {
        return if signal == Signal::SIGTTIN {
            Err(Errno::EIO)
        } else {
            Ok(())
        };
    }
    let pgrp = task.group().process_group();
    if pgrp.is_orphaned() {
        return Err(orphaned);
    }
    for member in pgrp.members() {
        member.send(SigInfo::kernel(signal));
    }
    Err(Errno::ERESTARTSYS)
}

/// Before a read: `SIGTTIN` for the background. Returns the time limit that `VTIME` sets, a monotonic deadline.
pub fn before_read(cx: &Cx, file: &File) -> Result<Option<u64>, Errno> {
    let Some(Slave(tty)) = file.downcast::<Slave>() else {
        return Ok(None);
    };
    if in_background(tty, cx.task()) {
        background(cx.task(), Signal::SIGTTIN, Errno::EIO)?;
    }
    let termios = tty.state.lock().termios;
    let cc = |index: usize| termios.c_cc.get(index).copied().unwrap_or(0);
    if termios.c_lflag & ICANON != 0 || cc(VMIN) != 0 || cc(VTIME) == 0 {
        return Ok(None);
    }
    Ok(Some(cx.kernel().clock.monotonic().saturating_add(
        u64::from(cc(VTIME)).saturating_mul(100_000_000),
    )))
}

/// Before a write: `SIGTTOU` for the background when the terminal asks for it.
pub fn before_write(cx: &Cx, file: &File) -> Result<(), Errno> {
    let Some(Slave(tty)) = file.downcast::<Slave>() else {
        return Ok(());
    };
    if tty.state.lock().termios.c_lflag & TOSTOP != 0 && in_background(tty, cx.task()) {
        background(cx.task(), Signal::SIGTTOU, Errno::EIO)?;
    }
    Ok(())
}

/// Before a change of the terminal's state.
pub(super) fn before_change(tty: &Tty, task: &Task) -> Result<(), Errno> {
    if in_background(tty, task) {
        background(task, Signal::SIGTTOU, Errno::EIO)
    } else {
        Ok(())
    }
}
