//! Semaphores: semget(2), semop(2), semtimedop(2), semctl(2), and what `SEM_UNDO` puts right when a process ends.

use super::{Common, IpcNamespace, Object, get_again, now};
use crate::kernel::Task;
use abi::Errno;
use abi::ipc::*;
use fs::{Events, Pollee};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use sync::Mutex;

/// One semaphore.
#[derive(Clone, Copy, Default)]
struct Sem {
    value: u16,
    /// Who changed it last.
    pid: i32,
    /// Who waits for it to grow, and to be zero.
    growth_waiters: u32,
    zero_waiters: u32,
}

struct State {
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    /// Adjustments by process (its id's serial number).
    undo: HashMap<u64, Vec<i32>>,
}

/// A set of semaphores.
pub struct SemSet {
    common: Common,
    state: Mutex<State>,
    changed: Pollee,
}

impl Object for SemSet {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// How many undo lists there are in a namespace.
#[derive(Default)]
pub struct UndoIndex(AtomicUsize);

/// What a try of some operations came to.
enum Tried {
    Done,
    /// Must wait for semaphore `at`, to be zero or to grow.
    Wait {
        at: usize,
        zero: bool,
        nowait: bool,
    },
}

fn nowait(op: &Sembuf) -> bool {
    i32::from(op.sem_flg) & IPC_NOWAIT != 0
}
fn undoes(op: &Sembuf) -> bool {
    i32::from(op.sem_flg) & SEM_UNDO != 0
}

impl State {
    /// `perform_atomic_semop`: all operations, or none.
    fn attempt(&mut self, ops: &[Sembuf], process: u64, pid: i32) -> Result<Tried, Errno> {
        let mut values: Vec<u16> = self.sems.iter().map(|s| s.value).collect();
        let count = values.len();
        let mut adjust = self.undo.get(&process).cloned();
        for op in ops {
            let at = usize::from(op.sem_num);
            let value = values.get_mut(at).ok_or(Errno::EFBIG)?;
            if op.sem_op == 0 {
                if *value != 0 {
                    return Ok(Tried::Wait {
                        at,
                        zero: true,
                        nowait: nowait(op),
                    });
                }
                continue;
            }
            let sum = i32::from(*value).saturating_add(op.sem_op.into());
            if sum < 0 {
                return Ok(Tried::Wait {
                    at,
                    zero: false,
                    nowait: nowait(op),
                });
            }
            if sum > SEMVMX {
                return Err(Errno::ERANGE);
            }
            *value = u16::try_from(sum).map_err(|_| Errno::ERANGE)?;
            if undoes(op) {
                let slot = adjust
                    .get_or_insert_with(|| vec![0; count])
                    .get_mut(at)
                    .ok_or(Errno::EFBIG)?;
                *slot = slot.saturating_sub(op.sem_op.into());
                if slot.saturating_abs() > SEMVMX {
                    return Err(Errno::ERANGE);
                }
            }
        }
        for (sem, value) in self.sems.iter_mut().zip(values) {
            sem.value = value;
        }
        for op in ops {
            if let Some(sem) = self.sems.get_mut(usize::from(op.sem_num)) {
                sem.pid = pid;
            }
        }
        if let Some(adjust) = adjust {
            self.undo.insert(process, adjust);
        }
        Ok(Tried::Done)
    }

    fn count_waiter(&mut self, at: usize, zero: bool, more: bool) {
        if let Some(sem) = self.sems.get_mut(at) {
            let count = if zero {
                &mut sem.zero_waiters
            } else {
                &mut sem.growth_waiters
            };
            *count = if more {
                count.saturating_add(1)
            } else {
                count.saturating_sub(1)
            };
        }
    }
}

/// semget(2)
pub fn get(task: &Task, key: i32, count: i32, flags: i32) -> Result<i32, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    let count = usize::try_from(count)
        .ok()
        .filter(|n| *n <= SEMMSL as usize)
        .ok_or(Errno::EINVAL)?;
    let fits = |set: &SemSet| {
        if count > set.state.lock().sems.len() {
            Err(Errno::EINVAL)
        } else {
            Ok(())
        }
    };
    let make = |common: Common| {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        let state = State {
            sems: vec![Sem::default(); count],
            otime: 0,
            ctime: now(task),
            undo: HashMap::new(),
        };
        Ok(SemSet {
            common,
            state: Mutex::new(state),
            changed: Pollee::new(),
        })
    };
    get_again(|| ns.sem.get(&cred, key, flags, SEMMNI as usize, fits, make))
}

/// semtimedop(2): `deadline` on the monotonic clock.
pub fn operate(task: &Task, id: i32, ops: &[Sembuf], deadline: Option<u64>) -> Result<(), Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let set = ns.sem.find(id)?;
    let alters = ops.iter().any(|op| op.sem_op != 0);
    let len = set.state.lock().sems.len();
    if ops.iter().any(|op| usize::from(op.sem_num) >= len) {
        return Err(Errno::EFBIG);
    }
    set.common
        .perm()
        .check(&task.cred(), if alters { 0o222 } else { 0o444 })?;
    let process = task.group().pid().serial();
    let pid = task.tgid();
    let mut waiting: Option<(usize, bool)> = None;
    let result = task.wait_on(&set.changed, Events::IN, deadline, || {
        set.common.alive()?;
        let mut state = set.state.lock();
        if let Some((at, zero)) = waiting.take() {
            state.count_waiter(at, zero, false);
        }
        let undos = state.undo.len();
        match state.attempt(ops, process, pid)? {
            Tried::Done => {
                state.otime = now(task);
                if state.undo.len() != undos {
                    ns.undo.0.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Ok(()))
            }
            Tried::Wait { nowait: true, .. } => Ok(Err(Errno::EAGAIN)),
            Tried::Wait { at, zero, .. } => {
                state.count_waiter(at, zero, true);
                waiting = Some((at, zero));
                Err(Errno::EAGAIN)
            }
        }
    });
    if let Some((at, zero)) = waiting {
        set.state.lock().count_waiter(at, zero, false);
    }
    match result {
        Ok(Ok(())) => {
            if alters {
                set.changed.notify(Events::IN);
            }
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        // Never restarted, whatever SA_RESTART says.
        Err(Errno::ERESTARTSYS) => Err(Errno::EINTR),
        Err(error) => Err(error),
    }
}

/// What semctl(2) answers.
pub enum Answer {
    /// A number alone.
    Value(i32),
    /// `struct semid_ds`, and the number.
    Status(Box<SemidDs>, i32),
    /// `GETALL`
    Values(Vec<u16>),
    /// `IPC_INFO`, `SEM_INFO`
    Info(Seminfo, i32),
}

/// The argument of semctl(2), read when the command needs it.
pub trait Argument {
    /// `SETVAL`: the value itself.
    fn value(&self) -> i32;
    /// `SETALL`
    fn values(&self, count: usize) -> Result<Vec<u16>, Errno>;
    /// `IPC_SET`
    fn status(&self) -> Result<SemidDs, Errno>;
}

impl SemSet {
    fn ds(&self) -> SemidDs {
        let perm = self.common.perm().to_abi(self.common.id);
        let state = self.state.lock();
        SemidDs {
            sem_perm: perm,
            sem_otime: state.otime,
            sem_ctime: state.ctime,
            sem_nsems: state.sems.len() as u64,
            ..SemidDs::default()
        }
    }
}

/// semctl(2)
pub fn control(
    task: &Task,
    id: i32,
    number: i32,
    cmd: i32,
    argument: &dyn Argument,
) -> Result<Answer, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        IPC_INFO | SEM_INFO => {
            let (all, highest) = ns.sem.list();
            let mut info = Seminfo {
                semmap: SEMMNS,
                semmni: SEMMNI,
                semmns: SEMMNS,
                semmnu: SEMMNS,
                semmsl: SEMMSL,
                semopm: SEMOPM,
                semume: SEMOPM,
                semusz: 20,
                semvmx: SEMVMX,
                semaem: SEMVMX,
            };
            if cmd == SEM_INFO {
                let total: usize = all.iter().map(|s| s.state.lock().sems.len()).sum();
                info.semusz = i32::try_from(all.len()).unwrap_or(i32::MAX);
                info.semaem = i32::try_from(total).unwrap_or(i32::MAX);
            }
            return Ok(Answer::Info(info, highest));
        }
        SEM_STAT | SEM_STAT_ANY => {
            let set = ns.sem.at(id)?;
            if cmd == SEM_STAT {
                set.common.perm().check(&cred, 0o444)?;
            }
            return Ok(Answer::Status(Box::new(set.ds()), set.common.id));
        }
        _ => {}
    }
    let set = ns.sem.find(id)?;
    let index = || usize::try_from(number).map_err(|_| Errno::EINVAL);
    match cmd {
        IPC_STAT => {
            set.common.perm().check(&cred, 0o444)?;
            Ok(Answer::Status(Box::new(set.ds()), 0))
        }
        IPC_SET => {
            let ds = argument.status()?;
            set.common.change(&cred, &ds.sem_perm)?;
            set.state.lock().ctime = now(task);
            Ok(Answer::Value(0))
        }
        IPC_RMID => {
            set.common.perm().check_owner(&cred)?;
            ns.sem.remove(&set);
            let undos = std::mem::take(&mut set.state.lock().undo).len();
            ns.undo.0.fetch_sub(undos, Ordering::SeqCst);
            set.changed.notify(Events::IN);
            Ok(Answer::Value(0))
        }
        GETALL => {
            set.common.perm().check(&cred, 0o444)?;
            Ok(Answer::Values(
                set.state.lock().sems.iter().map(|s| s.value).collect(),
            ))
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => {
            set.common.perm().check(&cred, 0o444)?;
            let state = set.state.lock();
            let sem = state.sems.get(index()?).ok_or(Errno::EINVAL)?;
            Ok(Answer::Value(match cmd {
                GETVAL => sem.value.into(),
                GETPID => sem.pid,
                GETNCNT => i32::try_from(sem.growth_waiters).unwrap_or(i32::MAX),
                _ => i32::try_from(sem.zero_waiters).unwrap_or(i32::MAX),
            }))
        }
        SETVAL | SETALL => {
            let count = set.state.lock().sems.len();
            let first = if cmd == SETVAL { index()? } else { 0 };
            if first >= count {
                return Err(Errno::EINVAL);
            }
            let values = if cmd == SETVAL {
                vec![u16::try_from(argument.value()).map_err(|_| Errno::ERANGE)?]
            } else {
                argument.values(count)?
            };
            if values.iter().any(|v| i32::from(*v) > SEMVMX) {
                return Err(Errno::ERANGE);
            }
            set.common.perm().check(&cred, 0o222)?;
            set.common.alive()?;
            {
                let mut state = set.state.lock();
                for (sem, value) in state.sems.iter_mut().skip(first).zip(&values) {
                    sem.value = *value;
                    sem.pid = task.tgid();
                }
                for adjust in state.undo.values_mut() {
                    adjust
                        .iter_mut()
                        .skip(first)
                        .take(values.len())
                        .for_each(|a| *a = 0);
                }
                state.ctime = now(task);
            }
            set.changed.notify(Events::IN);
            Ok(Answer::Value(0))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `exit_sem`: what the process has left undone.
pub(super) fn exit_group(ns: &Arc<IpcNamespace>, task: &Task) {
    if ns.undo.0.load(Ordering::SeqCst) == 0 {
        return;
    }
    let process = task.group().pid().serial();
    for set in ns.sem.list().0 {
        let touched = {
            let mut state = set.state.lock();
            let Some(adjust) = state.undo.remove(&process) else {
                continue;
            };
            for (sem, by) in state.sems.iter_mut().zip(&adjust) {
                // As Linux: what would leave the range stops at its end.
                let value = i32::from(sem.value).saturating_add(*by).clamp(0, SEMVMX);
                sem.value = u16::try_from(value).unwrap_or(0);
                if *by != 0 {
                    sem.pid = task.tgid();
                }
            }
            state.otime = now(task);
            adjust.iter().any(|by| *by != 0)
        };
        ns.undo.0.fetch_sub(1, Ordering::SeqCst);
        if touched {
            set.changed.notify(Events::IN);
        }
    }
}

/// Rows of `/proc/sysvipc/sem`.
pub(super) fn rows(ns: &IpcNamespace) -> Vec<(i32, SemidDs)> {
    ns.sem
        .list()
        .0
        .iter()
        .map(|s| (s.common.id, s.ds()))
        .collect()
}
