//! `tty_ioctl(4)` and `ioctl_tty(2)`.

use super::{Tty, job};
use crate::kernel::{ControllingTty, Task};
use abi::Errno;
use abi::ioctl as op;
use abi::ioctl::Winsize;
use abi::termios::{
    ICANON, IXON, TCIFLUSH, TCIOFLUSH, TCOFLUSH, TCOOFF, TCOON, TIOCPKT_DOSTOP, TIOCPKT_FLUSHREAD,
    TIOCPKT_FLUSHWRITE, TIOCPKT_NOSTOP, Termios, Termios2,
};
use fs::{Caller, Events, UserMemory};
use std::sync::Arc;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

fn put<T: IntoBytes + Immutable>(mem: &dyn UserMemory, addr: u64, value: &T) -> Result<i64, Errno> {
    mem.write(addr, value.as_bytes()).map(|()| 0)
}

fn get<T: FromBytes + IntoBytes + FromZeros>(mem: &dyn UserMemory, addr: u64) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    mem.read(addr, value.as_mut_bytes())?;
    Ok(value)
}

fn task(caller: &dyn Caller) -> Result<&Task, Errno> {
    caller.as_any().downcast_ref().ok_or(Errno::ENOTTY)
}

fn set_termios(tty: &Tty, caller: &dyn Caller, new: Termios, flush: bool) -> Result<i64, Errno> {
    job::before_change(tty, task(caller)?)?;
    let mut state = tty.state.lock();
    let changed = (state.termios.c_lflag ^ new.c_lflag) & ICANON != 0;
    if state.packet && (state.termios.c_iflag ^ new.c_iflag) & IXON != 0 {
        state.packet_status |= if new.c_iflag & IXON != 0 {
            TIOCPKT_DOSTOP
        } else {
            TIOCPKT_NOSTOP
        };
    }
    state.termios = new;
    if flush {
        state.ldisc.flush();
    }
    if changed {
        state.ldisc.mode_changed(new.c_lflag & ICANON != 0);
    }
    drop(state);
    tty.go_on();
    tty.slave_events.notify(Events::READ);
    Ok(0)
}

/// What both ends answer.
fn common(
    tty: &Arc<Tty>,
    caller: &dyn Caller,
    mem: &dyn UserMemory,
    cmd: u32,
    arg: u64,
) -> Result<i64, Errno> {
    match cmd {
        op::TCGETS => {
            let termios = tty.state.lock().termios;
            put(mem, arg, &termios)
        }
        op::TCSETS | op::TCSETSW | op::TCSETSF => {
            set_termios(tty, caller, get(mem, arg)?, cmd == op::TCSETSF)
        }
        op::TCGETS2 => {
            let t = tty.state.lock().termios;
            let full = Termios2 {
                c_iflag: t.c_iflag,
                c_oflag: t.c_oflag,
                c_cflag: t.c_cflag,
                c_lflag: t.c_lflag,
                c_line: t.c_line,
                c_cc: t.c_cc,
                c_ispeed: 38_400,
                c_ospeed: 38_400,
            };
            put(mem, arg, &full)
        }
        op::TCSETS2 | op::TCSETSW2 | op::TCSETSF2 => {
            let t: Termios2 = get(mem, arg)?;
            let new = Termios {
                c_iflag: t.c_iflag,
                c_oflag: t.c_oflag,
                c_cflag: t.c_cflag,
                c_lflag: t.c_lflag,
                c_line: t.c_line,
                c_cc: t.c_cc,
            };
            set_termios(tty, caller, new, cmd == op::TCSETSF2)
        }
        op::TIOCGWINSZ => {
            // The host's window may have been resized by its user meanwhile.
            if let Some(w) = tty
                .host
                .as_ref()
                .and_then(|h| rustix::termios::tcgetwinsize(&**h.fd()).ok())
            {
                tty.set_size(Winsize {
                    ws_row: w.ws_row,
                    ws_col: w.ws_col,
                    ws_xpixel: w.ws_xpixel,
                    ws_ypixel: w.ws_ypixel,
                });
            }
            let size = tty.state.lock().size;
            put(mem, arg, &size)
        }
        op::TIOCSWINSZ => {
            let size: Winsize = get(mem, arg)?;
            tty.set_size(size);
            Ok(0)
        }
        op::TIOCGPGRP => {
            let task = task(caller)?;
            let own = task
                .group()
                .session()
                .tty()
                .is_some_and(|t| std::ptr::addr_eq(Arc::as_ptr(&t), Arc::as_ptr(tty)));
            let foreground = tty.foreground();
            if !own
                && !matches!(cmd, op::TIOCGPGRP if tty.session().is_some_and(|s| !Arc::ptr_eq(&s, &task.group().session())))
            {
                return Err(Errno::ENOTTY);
            }
            let number = foreground.map_or(0, |f| f.id.nr_in(&task.pid_ns()));
            put(mem, arg, &number)
        }
        op::TIOCSPGRP => set_foreground(tty, task(caller)?, get(mem, arg)?),
        op::TIOCGSID => {
            let task = task(caller)?;
            let session = tty.session().ok_or(Errno::ENOTTY)?;
            put(mem, arg, &session.id.nr_in(&task.pid_ns()))
        }
        op::TCFLSH => flush(tty, arg),
        op::TCSBRK | op::TCSBRKP | op::TIOCSBRK | op::TIOCCBRK => Ok(0),
        op::TIOCGETD => put(mem, arg, &0i32),
        op::TIOCSETD => match get::<i32>(mem, arg)? {
            0 => Ok(0),
            _ => Err(Errno::EINVAL),
        },
        _ => Err(Errno::ENOTTY),
    }
}

fn flush_what(what: u64) -> Result<u32, Errno> {
    u32::try_from(what)
        .ok()
        .filter(|w| matches!(*w, TCIFLUSH | TCOFLUSH | TCIOFLUSH))
        .ok_or(Errno::EINVAL)
}

/// `TCFLSH` of the controller: its input is what the programs wrote.
fn flush_master(tty: &Tty, what: u64) -> Result<i64, Errno> {
    let what = flush_what(what)?;
    let mut state = tty.state.lock();
    if what != TCOFLUSH {
        state.output.clear();
    }
    if what != TCIFLUSH {
        state.ldisc.drop_waiting();
    }
    drop(state);
    tty.slave_events.notify(Events::WRITE);
    tty.master_events.notify(Events::WRITE);
    Ok(0)
}

fn flush(tty: &Tty, what: u64) -> Result<i64, Errno> {
    let what = flush_what(what)?;
    let mut state = tty.state.lock();
    if what != TCOFLUSH {
        state.ldisc.flush();
        state.packet_status |= TIOCPKT_FLUSHREAD;
    }
    if what != TCIFLUSH {
        state.output.clear();
        state.packet_status |= TIOCPKT_FLUSHWRITE;
    }
    drop(state);
    tty.go_on();
    tty.slave_events.notify(Events::WRITE);
    tty.master_events.notify(Events::WRITE);
    Ok(0)
}

fn set_foreground(tty: &Arc<Tty>, task: &Task, number: i32) -> Result<i64, Errno> {
    let session = task.group().session();
    let own = session
        .tty()
        .is_some_and(|t| std::ptr::addr_eq(Arc::as_ptr(&t), Arc::as_ptr(tty)));
    if !own {
        return Err(Errno::ENOTTY);
    }
    job::before_change(tty, task)?;
    if number < 0 {
        return Err(Errno::EINVAL);
    }
    let pgrp = task
        .pid_ns()
        .lookup(number)
        .and_then(|p| p.process_group())
        .ok_or(Errno::ESRCH)?;
    if !Arc::ptr_eq(&pgrp.session, &session) {
        return Err(Errno::EPERM);
    }
    tty.state.lock().foreground = Arc::downgrade(&pgrp);
    Ok(0)
}

/// `TIOCSCTTY`: only the leader of a session without a terminal, or root who steals one.
fn set_controlling(tty: &Arc<Tty>, task: &Task, steal: u64) -> Result<i64, Errno> {
    let session = task.group().session();
    let leader = Arc::ptr_eq(&session.id, task.group().pid());
    let theirs = tty.session();
    if leader && theirs.as_ref().is_some_and(|s| Arc::ptr_eq(s, &session)) {
        return Ok(0);
    }
    if !leader || session.tty().is_some() {
        return Err(Errno::EPERM);
    }
    if let Some(theirs) = theirs {
        if steal != 1 || !Task::cred(task).has_cap(abi::cap::CAP_SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        theirs.set_tty(None);
    }
    tty.become_controlling(&session, &task.group().process_group());
    Ok(0)
}

/// A program's end.
pub(super) fn slave(
    tty: &Arc<Tty>,
    caller: &dyn Caller,
    mem: &dyn UserMemory,
    cmd: u32,
    arg: u64,
) -> Result<i64, Errno> {
    match cmd {
        op::FIONREAD => {
            let state = tty.state.lock();
            let n = i32::try_from(state.ldisc.available(&state.termios)).unwrap_or(i32::MAX);
            drop(state);
            put(mem, arg, &n)
        }
        op::TIOCOUTQ => put(mem, arg, &0i32),
        op::TIOCSCTTY => set_controlling(tty, task(caller)?, arg),
        op::TIOCNOTTY => {
            let task = task(caller)?;
            let session = task.group().session();
            if !session
                .tty()
                .is_some_and(|t| std::ptr::addr_eq(Arc::as_ptr(&t), Arc::as_ptr(tty)))
            {
                return Err(Errno::ENOTTY);
            }
            if Arc::ptr_eq(&session.id, task.group().pid()) {
                tty.disassociate();
            }
            Ok(0)
        }
        op::TIOCEXCL | op::TIOCNXCL => {
            tty.state.lock().exclusive = cmd == op::TIOCEXCL;
            Ok(0)
        }
        op::TIOCGEXCL => {
            let on = i32::from(tty.state.lock().exclusive);
            put(mem, arg, &on)
        }
        op::TCXONC => {
            match u32::try_from(arg).map_err(|_| Errno::EINVAL)? {
                TCOOFF => tty.state.lock().stopped = true,
                TCOON => tty.state.lock().stopped = false,
                2 | 3 => {}
                _ => return Err(Errno::EINVAL),
            }
            tty.slave_events.notify(Events::WRITE);
            Ok(0)
        }
        op::TIOCVHANGUP => {
            if !Task::cred(task(caller)?).has_cap(abi::cap::CAP_SYS_ADMIN) {
                return Err(Errno::EPERM);
            }
            tty.hang_up();
            Ok(0)
        }
        _ => common(tty, caller, mem, cmd, arg),
    }
}

/// The controller's end.
pub(super) fn master(
    tty: &Arc<Tty>,
    caller: &dyn Caller,
    mem: &dyn UserMemory,
    cmd: u32,
    arg: u64,
) -> Result<i64, Errno> {
    match cmd {
        op::TIOCGPTN => put(mem, arg, &tty.index.unwrap_or(0)),
        op::TIOCSPTLCK => {
            let lock: i32 = get(mem, arg)?;
            tty.state.lock().locked = lock != 0;
            Ok(0)
        }
        op::TIOCGPTLCK => {
            let locked = i32::from(tty.state.lock().locked);
            put(mem, arg, &locked)
        }
        op::TIOCPKT => {
            let on: i32 = get(mem, arg)?;
            let mut state = tty.state.lock();
            state.packet = on != 0;
            state.packet_status = 0;
            Ok(0)
        }
        op::TIOCGPKT => {
            let on = i32::from(tty.state.lock().packet);
            put(mem, arg, &on)
        }
        op::TIOCSIG => {
            let signal = i32::try_from(arg)
                .ok()
                .and_then(abi::signal::Signal::new)
                .ok_or(Errno::EINVAL)?;
            if let Some(foreground) = tty.foreground() {
                foreground.signal(signal);
            }
            Ok(0)
        }
        op::FIONREAD => {
            let n = i32::try_from(tty.state.lock().output.len()).unwrap_or(i32::MAX);
            put(mem, arg, &n)
        }
        op::TIOCOUTQ => put(mem, arg, &0i32),
        op::TIOCSCTTY => set_controlling(tty, task(caller)?, arg),
        op::TCFLSH => flush_master(tty, arg),
        op::TIOCGPGRP => {
            let number = tty
                .foreground()
                .map_or(0, |f| task(caller).map_or(0, |t| f.id.nr_in(&t.pid_ns())));
            put(mem, arg, &number)
        }
        _ => common(tty, caller, mem, cmd, arg),
    }
}
