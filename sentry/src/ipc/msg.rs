//! Message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use super::{Common, IpcNamespace, Object, get_again, now};
use crate::kernel::Task;
use abi::Errno;
use abi::ipc::*;
use fs::{Events, Pollee};
use std::collections::VecDeque;
use std::sync::Arc;
use sync::Mutex;

const CAP_SYS_RESOURCE: u32 = 24;

/// A message.
#[derive(Clone)]
pub struct Message {
    /// Its type, positive.
    pub kind: i64,
    /// Its text.
    pub text: Arc<[u8]>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    stime: i64,
    rtime: i64,
    ctime: i64,
    last_sender: i32,
    last_receiver: i32,
}

/// A queue.
pub struct Queue {
    common: Common,
    state: Mutex<State>,
    /// `IN`: a message came; `OUT`: room came.
    changed: Pollee,
}

impl Object for Queue {
    fn common(&self) -> &Common {
        &self.common
    }
}

impl Queue {
    fn ds(&self) -> MsqidDs {
        let perm = self.common.perm().to_abi(self.common.id);
        let s = self.state.lock();
        MsqidDs {
            msg_perm: perm,
            msg_stime: s.stime,
            msg_rtime: s.rtime,
            msg_ctime: s.ctime,
            msg_cbytes: s.bytes,
            msg_qnum: s.messages.len() as u64,
            msg_qbytes: s.max_bytes,
            msg_lspid: s.last_sender,
            msg_lrpid: s.last_receiver,
            ..MsqidDs::default()
        }
    }
}

/// msgget(2)
pub fn get(task: &Task, key: i32, flags: i32) -> Result<i32, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    let make = |common: Common| {
        let state = State {
            max_bytes: MSGMNB.unsigned_abs().into(),
            ctime: now(task),
            ..State::default()
        };
        Ok(Queue {
            common,
            state: Mutex::new(state),
            changed: Pollee::new(),
        })
    };
    get_again(|| {
        ns.msg
            .get(&cred, key, flags, MSGMNI as usize, |_| Ok(()), make)
    })
}

fn interrupted(error: Errno) -> Errno {
    if error == Errno::ERESTARTSYS {
        Errno::ERESTARTNOHAND
    } else {
        error
    }
}

/// msgsnd(2)
pub fn send(task: &Task, id: i32, kind: i64, text: Vec<u8>, flags: i32) -> Result<(), Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    if kind < 1 || id < 0 || text.len() > MSGMAX as usize {
        return Err(Errno::EINVAL);
    }
    let queue = ns.msg.find(id)?;
    let message = Message {
        kind,
        text: Arc::from(text),
    };
    let size = message.text.len() as u64;
    let nowait = flags & IPC_NOWAIT != 0;
    let result = task.wait_on(&queue.changed, Events::OUT, None, || {
        queue.common.perm().check(&task.cred(), 0o222)?;
        queue.common.alive()?;
        let mut state = queue.state.lock();
        let fits = state.bytes.saturating_add(size) <= state.max_bytes
            && (state.messages.len() as u64) < state.max_bytes;
        if !fits {
            return if nowait {
                Ok(Err(Errno::EAGAIN))
            } else {
                Err(Errno::EAGAIN)
            };
        }
        state.messages.push_back(message.clone());
        state.bytes = state.bytes.saturating_add(size);
        state.stime = now(task);
        state.last_sender = task.tgid();
        Ok(Ok(()))
    });
    result.map_err(interrupted)??;
    queue.changed.notify(Events::IN);
    Ok(())
}

/// Which message `wanted` means (`msgtyp` of msgrcv(2)).
fn pick(messages: &VecDeque<Message>, wanted: i64, flags: i32) -> Option<usize> {
    if flags & MSG_COPY != 0 {
        return usize::try_from(wanted).ok().filter(|i| *i < messages.len());
    }
    match wanted {
        0 => (!messages.is_empty()).then_some(0),
        kind if kind > 0 && flags & MSG_EXCEPT != 0 => messages.iter().position(|m| m.kind != kind),
        kind if kind > 0 => messages.iter().position(|m| m.kind == kind),
        most => {
            let most = most.checked_neg().unwrap_or(i64::MAX);
            let lowest = messages
                .iter()
                .map(|m| m.kind)
                .filter(|k| *k <= most)
                .min()?;
            messages.iter().position(|m| m.kind == lowest)
        }
    }
}

/// msgrcv(2): the message, its text cut to `size` if `MSG_NOERROR` allows.
pub fn receive(task: &Task, id: i32, size: u64, wanted: i64, flags: i32) -> Result<Message, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    if id < 0 || i64::try_from(size).is_err() {
        return Err(Errno::EINVAL);
    }
    let copy = flags & MSG_COPY != 0;
    let nowait = flags & IPC_NOWAIT != 0;
    if copy && (flags & MSG_EXCEPT != 0 || !nowait) {
        return Err(Errno::EINVAL);
    }
    let queue = ns.msg.find(id)?;
    let result = task.wait_on(&queue.changed, Events::IN, None, || {
        queue.common.perm().check(&task.cred(), 0o444)?;
        queue.common.alive()?;
        let mut state = queue.state.lock();
        let Some(at) = pick(&state.messages, wanted, flags) else {
            return if nowait {
                Ok(Err(Errno::ENOMSG))
            } else {
                Err(Errno::EAGAIN)
            };
        };
        let found = state.messages.get(at).ok_or(Errno::ENOMSG)?;
        if found.text.len() as u64 > size {
            if flags & MSG_NOERROR == 0 {
                return Ok(Err(Errno::E2BIG));
            }
            if copy {
                // A copy is made whole (`copy_msg`).
                return Ok(Err(Errno::EINVAL));
            }
        }
        if copy {
            return Ok(Ok(found.clone()));
        }
        let message = state.messages.remove(at).ok_or(Errno::ENOMSG)?;
        state.bytes = state.bytes.saturating_sub(message.text.len() as u64);
        state.rtime = now(task);
        state.last_receiver = task.tgid();
        Ok(Ok(message))
    });
    let mut message = result.map_err(interrupted)??;
    if !copy {
        queue.changed.notify(Events::OUT);
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if let Some(cut) = message.text.get(..size) {
        message.text = Arc::from(cut);
    }
    Ok(message)
}

/// What msgctl(2) answers.
pub enum Answer {
    /// A number alone.
    Value(i32),
    /// `struct msqid_ds`, and the number.
    Status(Box<MsqidDs>, i32),
    /// `IPC_INFO`, `MSG_INFO`
    Info(Msginfo, i32),
}

/// msgctl(2); `set` reads the argument of `IPC_SET`.
pub fn control(
    task: &Task,
    id: i32,
    cmd: i32,
    set: impl FnOnce() -> Result<MsqidDs, Errno>,
) -> Result<Answer, Errno> {
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    if id < 0 || cmd < 0 {
        return Err(Errno::EINVAL);
    }
    match cmd {
        IPC_INFO | MSG_INFO => {
            let (all, highest) = ns.msg.list();
            let mut info = Msginfo {
                msgpool: 512_000,
                msgmap: MSGMNB,
                msgmax: MSGMAX,
                msgmnb: MSGMNB,
                msgmni: MSGMNI,
                msgssz: 16,
                msgtql: MSGMNB,
                msgseg: u16::MAX,
                ..Msginfo::default()
            };
            if cmd == MSG_INFO {
                let (mut count, mut bytes) = (0usize, 0u64);
                for queue in &all {
                    let state = queue.state.lock();
                    count = count.saturating_add(state.messages.len());
                    bytes = bytes.saturating_add(state.bytes);
                }
                info.msgpool = i32::try_from(all.len()).unwrap_or(i32::MAX);
                info.msgmap = i32::try_from(count).unwrap_or(i32::MAX);
                info.msgtql = i32::try_from(bytes).unwrap_or(i32::MAX);
            }
            Ok(Answer::Info(info, highest))
        }
        MSG_STAT | MSG_STAT_ANY => {
            let queue = ns.msg.at(id)?;
            if cmd == MSG_STAT {
                queue.common.perm().check(&cred, 0o444)?;
            }
            Ok(Answer::Status(Box::new(queue.ds()), queue.common.id))
        }
        IPC_STAT => {
            let queue = ns.msg.find(id)?;
            queue.common.perm().check(&cred, 0o444)?;
            Ok(Answer::Status(Box::new(queue.ds()), 0))
        }
        IPC_SET => {
            let ds = set()?;
            let queue = ns.msg.find(id)?;
            queue.common.perm().check_owner(&cred)?;
            if ds.msg_qbytes > MSGMNB.unsigned_abs().into() && !cred.has_cap(CAP_SYS_RESOURCE) {
                return Err(Errno::EPERM);
            }
            queue.common.change(&cred, &ds.msg_perm)?;
            {
                let mut state = queue.state.lock();
                state.max_bytes = ds.msg_qbytes;
                state.ctime = now(task);
            }
            queue.changed.notify(Events::OUT);
            Ok(Answer::Value(0))
        }
        IPC_RMID => {
            let queue = ns.msg.find(id)?;
            queue.common.perm().check_owner(&cred)?;
            ns.msg.remove(&queue);
            queue.changed.notify(Events::IN | Events::OUT);
            Ok(Answer::Value(0))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `MSG_STAT_ANY` of `linux/msg.h`.
const MSG_STAT_ANY: i32 = 13;

/// Rows of `/proc/sysvipc/msg`.
pub(super) fn rows(ns: &IpcNamespace) -> Vec<(i32, MsqidDs)> {
    ns.msg
        .list()
        .0
        .iter()
        .map(|q| (q.common.id, q.ds()))
        .collect()
}
