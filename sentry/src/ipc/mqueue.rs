//! POSIX message queues (`mq_overview(7)`, `ipc/mqueue.c`): named queues of an ipc namespace, whose messages come out by priority.

use super::IpcNamespace;
use crate::kernel::limits::Resource;
use crate::kernel::{Task, ThreadGroup};
use abi::Errno;
use abi::cap::CAP_SYS_RESOURCE;
use abi::ipc::MqAttr;
use abi::siginfo::SI_MESGQ;
use abi::signal::{SigInfo, Signal};
use fs::vfs::perm::{self, Owner};
use fs::{Caller, Events, File, FileOps, Pollee, Pos};
use std::any::Any;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use sync::Mutex;

/// `NAME_MAX`
const NAME_MAX: usize = 255;
/// `fs.mqueue.queues_max`
const QUEUES_MAX: usize = 256;
/// `fs.mqueue.msg_max`, `fs.mqueue.msgsize_max`, and what a privileged program may ask for (`HARD_MSGMAX`, `HARD_MSGSIZEMAX`).
const LIMITS: (i64, i64) = (10, 8192);
const HARD_LIMITS: (i64, i64) = (65_536, 16 << 20);
/// What a queue of no message takes of `RLIMIT_MSGQUEUE`, and each place for one (`mqueue_get_inode`).
const OVERHEAD: u64 = 80;
/// `MQ_PRIO_MAX`
pub const PRIO_MAX: u32 = 32_768;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const MAY_READ: u32 = 4;
const MAY_WRITE: u32 = 2;

/// The queues of one ipc namespace.
#[derive(Default)]
pub struct Queues(Mutex<Names>);

#[derive(Default)]
struct Names {
    by_name: BTreeMap<Vec<u8>, Arc<Queue>>,
}

/// Bytes that a user's queues may take, by namespace-wide user id; given back when the last reference to a queue goes.
#[derive(Default)]
struct Accounts(Mutex<HashMap<u32, u64>>);

struct Charge {
    accounts: Arc<Accounts>,
    uid: u32,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut accounts = self.accounts.0.lock();
        if let Some(used) = accounts.get_mut(&self.uid) {
            *used = used.saturating_sub(self.bytes);
            if *used == 0 {
                accounts.remove(&self.uid);
            }
        }
    }
}

/// Who wants to hear of the next message that comes to an empty queue.
struct Notify {
    group: Weak<ThreadGroup>,
    /// `None` for `SIGEV_NONE`.
    signal: Option<(Signal, u64)>,
}

#[derive(Default)]
struct State {
    /// By priority; each in order of arrival. No list is empty.
    messages: BTreeMap<u32, VecDeque<Box<[u8]>>>,
    count: u64,
    bytes: u64,
    /// Receivers that sleep.
    waiting: usize,
    notify: Option<Notify>,
}

/// A queue.
pub struct Queue {
    owner: Owner,
    max_messages: u64,
    /// The longest message.
    pub max_size: usize,
    state: Mutex<State>,
    /// `IN`: a message came; `OUT`: room came.
    changed: Pollee,
    _charge: Charge,
}

impl Queue {
    fn pop(&self) -> Result<(Box<[u8]>, u32), Errno> {
        let mut state = self.state.lock();
        let mut last = state.messages.last_entry().ok_or(Errno::EAGAIN)?;
        let priority = *last.key();
        let message = last.get_mut().pop_front().ok_or(Errno::EAGAIN)?;
        if last.get().is_empty() {
            last.remove();
        }
        state.count = state.count.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(message.len() as u64);
        drop(state);
        self.changed.notify(Events::WRITE);
        Ok((message, priority))
    }

    /// What is to be told when the message was the first and nobody waits for it.
    fn push(&self, message: &[u8], priority: u32) -> Result<Option<Notify>, Errno> {
        let mut state = self.state.lock();
        if state.count >= self.max_messages {
            return Err(Errno::EAGAIN);
        }
        let first = state.count == 0 && state.waiting == 0;
        let list = state.messages.entry(priority).or_default();
        list.push_back(message.into());
        state.count = state.count.saturating_add(1);
        state.bytes = state.bytes.saturating_add(message.len() as u64);
        let tell = if first { state.notify.take() } else { None };
        drop(state);
        self.changed.notify(Events::READ);
        Ok(tell)
    }

    /// `mq_getattr(3)`, but for the flags, which are the description's.
    pub fn attr(&self) -> MqAttr {
        MqAttr {
            mq_maxmsg: i64::try_from(self.max_messages).unwrap_or(i64::MAX),
            mq_msgsize: i64::try_from(self.max_size).unwrap_or(i64::MAX),
            mq_curmsgs: i64::try_from(self.state.lock().count).unwrap_or(i64::MAX),
            ..MqAttr::default()
        }
    }

    /// mq_timedsend(2); `deadline` is monotonic.
    pub fn send(
        &self,
        task: &Task,
        message: &[u8],
        priority: u32,
        nonblock: bool,
        deadline: Option<u64>,
    ) -> Result<(), Errno> {
        let tell = if nonblock {
            self.push(message, priority)?
        } else {
            let sent = task.wait_on(&self.changed, Events::WRITE, deadline, || {
                self.push(message, priority)
            });
            sent.map_err(timed_out)?
        };
        if let Some(Notify {
            group,
            signal: Some((signal, value)),
        }) = tell
            && let Some(group) = group.upgrade()
        {
            let pid = group.pid().ns();
            let pid = pid.map_or(0, |ns| task.group().pid().nr_in(ns));
            let uid = task.cred().ruid;
            group.send(SigInfo::queue(signal, SI_MESGQ, pid, uid, value));
        }
        Ok(())
    }

    /// mq_timedreceive(2): the oldest message of the highest priority.
    pub fn receive(
        &self,
        task: &Task,
        nonblock: bool,
        deadline: Option<u64>,
    ) -> Result<(Box<[u8]>, u32), Errno> {
        match self.pop() {
            Err(Errno::EAGAIN) if !nonblock => {}
            done => return done,
        }
        let count = |n: fn(usize, usize) -> usize| {
            let mut state = self.state.lock();
            state.waiting = n(state.waiting, 1);
        };
        count(usize::saturating_add);
        let got = task.wait_on(&self.changed, Events::READ, deadline, || self.pop());
        count(usize::saturating_sub);
        got.map_err(timed_out)
    }

    /// mq_notify(2): `Some(None)` registers for nothing but being registered; `None` ends the caller's registration. `EBUSY` if somebody is registered.
    pub fn notify(&self, task: &Task, wish: Option<Option<(Signal, u64)>>) -> Result<(), Errno> {
        let own = Arc::downgrade(task.group());
        let mut state = self.state.lock();
        let holder = state.notify.as_ref().map(|n| &n.group);
        match wish {
            None => {
                if holder.is_some_and(|group| group.ptr_eq(&own)) {
                    state.notify = None;
                }
            }
            // Whoever ends closes its descriptors, which ends its registration.
            Some(_) if holder.is_some() => return Err(Errno::EBUSY),
            Some(signal) => {
                state.notify = Some(Notify { group: own, signal });
            }
        }
        Ok(())
    }

    /// The text of its file (`mqueue_read_file`).
    fn text(&self) -> String {
        let (bytes, notify) = {
            let state = self.state.lock();
            let notify = state.notify.as_ref();
            (state.bytes, notify.map(|n| (n.group.clone(), n.signal)))
        };
        let (kind, signo, pid) = notify.map_or((0, 0, 0), |(group, signal)| {
            (
                i32::from(signal.is_none()),
                signal.map_or(0, |(signal, _)| signal.raw()),
                group.upgrade().map_or(0, |group| group.pid().nr()),
            )
        });
        format!("QSIZE:{bytes:<10} NOTIFY:{kind:<5} SIGNO:{signo:<5} NOTIFY_PID:{pid:<6}\n")
    }
}

fn timed_out(error: Errno) -> Errno {
    match error {
        Errno::EAGAIN => Errno::ETIMEDOUT,
        other => other,
    }
}

/// A description of a queue.
pub struct MqFile {
    queue: Arc<Queue>,
    kernel: Arc<crate::kernel::Kernel>,
}

impl MqFile {
    /// What it describes.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl FileOps for MqFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        true
    }
    fn read(&self, _file: &File, buf: &mut [u8], pos: Pos) -> Result<usize, Errno> {
        let Pos::At(offset) = pos else {
            return Err(Errno::EINVAL);
        };
        let text = self.queue.text();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
    fn poll(&self, _file: &File) -> Events {
        let count = self.queue.state.lock().count;
        let mut events = Events::empty();
        events.set(Events::READ, count > 0);
        events.set(Events::WRITE, count < self.queue.max_messages);
        events
    }
    fn pollee(&self) -> Option<&Pollee> {
        Some(&self.queue.changed)
    }
    fn flush(&self, _file: &File) -> Result<(), Errno> {
        // Closing any descriptor of the queue ends the process's registration.
        match self.kernel.current_task() {
            Some(task) => self.queue.notify(&task, None),
            None => Ok(()),
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" => Err(Errno::ENOENT),
        b"." | b".." => Err(Errno::EACCES),
        name if name.contains(&b'/') => Err(Errno::EACCES),
        name if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}

/// A queue that has no name yet.
fn prepare(task: &Task, mode: u32, attr: Option<MqAttr>) -> Result<Arc<Queue>, Errno> {
    let cred = task.cred();
    let (messages, size) = attr.map_or(LIMITS, |attr| (attr.mq_maxmsg, attr.mq_msgsize));
    let most = if cred.has_cap(CAP_SYS_RESOURCE) {
        HARD_LIMITS
    } else {
        LIMITS
    };
    if !(1..=most.0).contains(&messages) || !(1..=most.1).contains(&size) {
        return Err(Errno::EINVAL);
    }
    let max_messages = messages.unsigned_abs();
    let bytes = max_messages.saturating_mul(size.unsigned_abs().saturating_add(OVERHEAD));
    let limit = task.group().limits.soft(Resource::Msgqueue);
    let accounts = task.kernel().extension(Accounts::default);
    {
        let mut all = accounts.0.lock();
        let used = all.get(&cred.ruid).copied().unwrap_or(0);
        let new = used.saturating_add(bytes);
        if new > limit {
            return Err(Errno::EMFILE);
        }
        all.insert(cred.ruid, new);
    }
    Ok(Arc::new(Queue {
        owner: Owner {
            mode: mode & 0o777 & !task.umask(),
            uid: cred.fsuid,
            gid: cred.fsgid,
        },
        max_messages,
        max_size: usize::try_from(size).map_err(|_| Errno::EINVAL)?,
        state: Mutex::default(),
        changed: Pollee::new(),
        _charge: Charge {
            accounts,
            uid: cred.ruid,
            bytes,
        },
    }))
}

impl Queues {
    /// Their names.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.0.lock().by_name.keys().cloned().collect()
    }
    /// Owner with mode, and text of one, for its file.
    pub fn look(&self, name: &[u8]) -> Option<(Owner, String)> {
        let queue = self.0.lock().by_name.get(name)?.clone();
        Some((queue.owner, queue.text()))
    }
}

/// mq_open(2): a new description; `flags` are open(2)'s.
pub fn open(
    task: &Task,
    name: &[u8],
    flags: u32,
    mode: u32,
    attr: Option<MqAttr>,
) -> Result<Arc<File>, Errno> {
    check_name(name)?;
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let cred = task.cred();
    let (caller, privileged) = (cred.fs_cred(), cred.has_cap(CAP_SYS_RESOURCE));
    // Made before the names are looked at, in case it is needed: nothing else is locked under them.
    let new = (flags & O_CREAT != 0).then(|| prepare(task, mode, attr));
    let queue = {
        let mut names = ns.mqueue.0.lock();
        match names.by_name.get(name) {
            Some(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(Errno::EEXIST),
            Some(queue) => {
                let wanted = match flags & 3 {
                    0 => MAY_READ,
                    1 => MAY_WRITE,
                    2 => MAY_READ | MAY_WRITE,
                    _ => return Err(Errno::EINVAL),
                };
                perm::generic(queue.owner, false, &caller, wanted)?;
                queue.clone()
            }
            None => {
                let queue = new.clone().unwrap_or(Err(Errno::ENOENT))?;
                if names.by_name.len() >= QUEUES_MAX && !privileged {
                    return Err(Errno::ENOSPC);
                }
                names.by_name.insert(name.to_vec(), queue.clone());
                queue
            }
        }
    };
    drop(new);
    let ops = Box::new(MqFile {
        queue,
        kernel: task.kernel().clone(),
    });
    let kept = flags & (3 | fs::file::O_NONBLOCK);
    Ok(fs::anon::file("[mqueue]", ops, kept))
}

/// mq_unlink(2): the name goes, the queue with its last description.
pub fn unlink(task: &Task, name: &[u8]) -> Result<(), Errno> {
    check_name(name)?;
    let ns = IpcNamespace::of(&task.ns().ipc)?;
    let caller = task.cred().fs_cred();
    let mut names = ns.mqueue.0.lock();
    let queue = names.by_name.get(name).ok_or(Errno::ENOENT)?;
    // The directory is root's, and sticky.
    if caller.fsuid != 0 && !perm::owner_or_capable(queue.owner, &caller) {
        return Err(Errno::EPERM);
    }
    let gone = names.by_name.remove(name);
    drop(names);
    drop(gone);
    Ok(())
}
