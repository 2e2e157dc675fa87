//! What there is: containers, their processes, and how these ended.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use containerd_shim::api::Status;
use containerd_shim::monitor::{ExitEvent, Subject, Subscription};
use containerd_shim::protos::events::task::{TaskExit, TaskOOM};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::util::timestamp;
use containerd_shim::{Error, Result};

use crate::events::Events;
use crate::runtime::Runtime;
use crate::stdio::{Open, Paths};

/// How a process ended.
#[derive(Clone, Debug, Default)]
pub struct Exit {
    /// Its status, 128 and the number for a signal.
    pub status: u32,
    /// When.
    pub at: MessageField<Timestamp>,
}

/// A container's first process, or one that was executed in it.
#[derive(Default)]
pub struct Process {
    /// On the host; 0 as long as there is none.
    pub pid: i32,
    /// Where its input and output are.
    pub paths: Paths,
    /// The same, while it lives.
    pub io: Option<Open>,
    /// Of an executed one, until it starts: what it is to be (JSON of OCI's `process`).
    pub spec: Vec<u8>,
    /// containerd knows that it runs, and wants to know when it ends.
    pub started: bool,
    /// Its end, if it has ended.
    pub exit: Option<Exit>,
}

impl Process {
    /// In containerd's words, the pause excepted.
    pub fn status(&self) -> Status {
        match (&self.exit, self.started) {
            (Some(_), _) => Status::STOPPED,
            (None, true) => Status::RUNNING,
            (None, false) => Status::CREATED,
        }
    }
}

/// One container.
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its bundle.
    pub bundle: String,
    /// Paused by containerd.
    pub paused: bool,
    /// The file in which its cgroup counts the processes that memory's shortage has killed.
    pub ooms: Option<PathBuf>,
    /// Its first process, under the empty name, and executed ones.
    pub processes: HashMap<String, Process>,
}

/// Everything, by the containers' ids.
#[derive(Default)]
pub struct Table {
    /// Containers.
    pub containers: HashMap<String, Container>,
    /// Ends of processes that nobody has known so far: the runtime has not told a pid yet.
    unclaimed: HashMap<i32, Exit>,
}

impl Table {
    /// A container.
    pub fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Error::NotFoundError(format!("container {id}")))
    }

    /// A process of it.
    pub fn process(&mut self, id: &str, exec: &str) -> Result<&mut Process> {
        self.container(id)?
            .processes
            .get_mut(exec)
            .ok_or_else(|| Error::NotFoundError(format!("process {exec} in container {id}")))
    }

    /// The end of a process that may have come before its pid was known.
    pub fn claim(&mut self, pid: i32) -> Option<Exit> {
        self.unclaimed.remove(&pid)
    }
}

/// What the service and the thread that waits share.
#[derive(Default)]
pub struct State {
    table: Mutex<Table>,
    ended: Condvar,
}

/// Numbers of processes long gone need not be kept.
const UNCLAIMED: usize = 1024;

impl State {
    /// The table. Not to be held while anything is run.
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a process to end.
    pub fn wait(&self, id: &str, exec: &str) -> Result<Exit> {
        let mut table = self.lock();
        loop {
            if let Some(exit) = &table.process(id, exec)?.exit {
                return Ok(exit.clone());
            }
            table = self
                .ended
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Starts the thread that is told of all children's ends.
    pub fn watch(self: &Arc<Self>, ends: Subscription, events: Events) {
        let state = Arc::clone(self);
        thread::spawn(move || state.serve(&ends.rx, &events));
    }

    fn serve(self: &Arc<Self>, ends: &Receiver<ExitEvent>, events: &Events) {
        while let Ok(end) = ends.recv() {
            let Subject::Pid(pid) = end.subject else {
                continue;
            };
            let exit = Exit {
                status: end.exit_code as u32,
                at: timestamp().ok().into(),
            };
            let mut table = self.lock();
            let found = table
                .containers
                .iter()
                .flat_map(|(id, c)| c.processes.iter().map(move |(exec, p)| (id, exec, p)))
                .find(|(_, _, p)| p.pid == pid && p.exit.is_none())
                .map(|(id, exec, _)| (id.clone(), exec.clone()));
            match found {
                Some((id, exec)) => self.ended(&mut table, &id, &exec, exit, events),
                None => {
                    if table.unclaimed.len() >= UNCLAIMED {
                        table.unclaimed.clear();
                    }
                    table.unclaimed.insert(pid, exit);
                }
            }
        }
    }

    /// Notes a process's end and tells it, once everything that its terminal has shown is on its way: a client that hears of the end reads no further.
    pub fn ended(
        self: &Arc<Self>,
        table: &mut Table,
        id: &str,
        exec: &str,
        exit: Exit,
        events: &Events,
    ) {
        let io = table.process(id, exec).ok().and_then(|p| p.io.take());
        let Some(io) = io else {
            return self.note(table, id, exec, exit, events);
        };
        if !io.has_terminal() {
            io.end();
            return self.note(table, id, exec, exit, events);
        }
        let state = Arc::clone(self);
        let (id, exec, events) = (id.to_owned(), exec.to_owned(), events.clone());
        thread::spawn(move || {
            io.end();
            state.note(&mut state.lock(), &id, &exec, exit, &events);
        });
    }

    /// The rest of [`State::ended`]: tells it, unless containerd does not know yet that the process runs.
    fn note(&self, table: &mut Table, id: &str, exec: &str, exit: Exit, events: &Events) {
        let ooms = table.container(id).ok().and_then(|c| c.ooms.clone());
        let Ok(process) = table.process(id, exec) else {
            return;
        };
        process.exit = Some(exit.clone());
        if process.started {
            if exec.is_empty() && ooms.is_some_and(|file| killed(&file)) {
                events.send(TaskOOM {
                    container_id: id.to_owned(),
                    ..TaskOOM::default()
                });
            }
            events.send(TaskExit {
                container_id: id.to_owned(),
                id: if exec.is_empty() { id } else { exec }.to_owned(),
                pid: process.pid as u32,
                exit_status: exit.status,
                exited_at: exit.at,
                ..TaskExit::default()
            });
        }
        self.ended.notify_all();
    }
}

/// Whether a memory cgroup has killed anything.
fn killed(file: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim() != "0")
}

/// The file that [`killed`] reads, for the cgroup of a process: version 1's memory controller, or version 2.
pub fn oom_file(pid: i32) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let at = |place: &str, group: &str, file: &str| {
        let path = PathBuf::from(format!("/sys/fs/cgroup{place}{group}/{file}"));
        path.exists().then_some(path)
    };
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        if controllers.is_empty() {
            return at("", group, "memory.events");
        }
        controllers
            .split(',')
            .any(|c| c == "memory")
            .then(|| at("/memory", group, "memory.oom_control"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_memory_cgroup_counts() {
        let file = std::env::temp_dir().join(format!("shim-ooms-{}", std::process::id()));
        for (text, wanted) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", false),
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", true),
            ("low 0\noom 1\noom_kill 1\noom_group_kill 0\n", true),
            ("", false),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(killed(&file), wanted, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(!killed(&file));
    }
}
