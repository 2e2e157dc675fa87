//! The calls that containerd makes (`containerd.task.v2.Task`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim::api::{
    CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
    DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim::monitor::{Topic, monitor_subscribe};
use containerd_shim::protos::api::{Mount, ProcessInfo};
use containerd_shim::protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskIO, TaskPaused, TaskResumed,
    TaskStart,
};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::util::{convert_to_any, timestamp, write_address};
use containerd_shim::{
    Config, Error, ExitSignal, Flags, Result, StartOpts, Task, TtrpcContext, TtrpcResult, mount,
    spawn,
};
use rustix::mount::{UnmountFlags, unmount};

use crate::container::{Container, Process, State, oom_file};
use crate::events::Events;
use crate::runtime::{Runtime, pid};
use crate::stdio::{Open, Paths};

/// The program's three roles: starting the server, being it, cleaning up after it.
pub struct Shim {
    namespace: String,
    id: String,
    exit: Arc<ExitSignal>,
}

/// The container of whose pod a container is one.
const POD: &str = "io.kubernetes.cri.sandbox-id";

/// What containers share a server: a pod's.
fn group(id: &str) -> String {
    let text = std::fs::read("config.json").unwrap_or_default();
    let spec: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    spec["annotations"][POD].as_str().unwrap_or(id).to_owned()
}

/// Everything that is mounted at a place, in layers.
fn unmount_all(place: &Path) {
    while unmount(place, UnmountFlags::DETACH).is_ok() {}
}

impl containerd_shim::Shim for Shim {
    type T = Service;

    fn new(_runtime: &str, flags: &Flags, _config: &mut Config) -> Shim {
        Shim {
            namespace: flags.namespace.clone(),
            id: flags.id.clone(),
            exit: Arc::new(ExitSignal::default()),
        }
    }

    fn start_shim(&mut self, options: StartOpts) -> Result<String> {
        let group = group(&options.id);
        let (_, address) = spawn(options, &group, Vec::new())?;
        write_address(&address)?;
        Ok(address)
    }

    /// In the bundle of a container whose server is gone.
    fn delete_shim(&mut self) -> Result<DeleteResponse> {
        let bundle = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        if let Ok(runtime) = Runtime::load(&bundle)
            && let Err(e) = runtime.run(runtime.command(&["delete", "--force", &self.id]))
        {
            log::warn!("delete {}: {e}", self.id);
        }
        unmount_all(&bundle.join("rootfs"));
        Ok(DeleteResponse {
            exit_status: 128 + 9,
            exited_at: timestamp().ok().into(),
            ..DeleteResponse::default()
        })
    }

    fn wait(&mut self) {
        self.exit.wait();
    }

    fn create_task_service(&self, publisher: RemotePublisher) -> Service {
        let events = Events::new(publisher, self.namespace.clone());
        let state = Arc::new(State::default());
        match monitor_subscribe(Topic::Pid) {
            Ok(ends) => state.watch(ends, events.clone()),
            Err(e) => log::error!("nobody tells of children's ends: {e}"),
        }
        Service {
            namespace: self.namespace.clone(),
            exit: Arc::clone(&self.exit),
            state,
            events,
        }
    }
}

/// See the module.
pub struct Service {
    namespace: String,
    exit: Arc<ExitSignal>,
    state: Arc<State>,
    events: Events,
}

/// A page holds all of mount(2)'s text; longer lists of layers are for the crate, which shortens them.
const MOUNT_TEXT: usize = 3500;

fn mount_one(m: &Mount, place: &Path) -> Result<()> {
    let plain = |o: &&String| *o != "ro" && *o != "rw" && *o != "rbind" && *o != "bind";
    let text: Vec<&str> = m.options.iter().filter(plain).map(String::as_str).collect();
    let text = text.join(",");
    if m.type_ != "overlay" || text.len() > MOUNT_TEXT {
        return mount::mount_rootfs(Some(&m.type_), Some(&m.source), &m.options, place);
    }
    let mut flags = rustix::mount::MountFlags::empty();
    flags.set(
        rustix::mount::MountFlags::RDONLY,
        m.options.iter().any(|o| o == "ro"),
    );
    let data = std::ffi::CString::new(text).map_err(|e| Error::Other(e.to_string()))?;
    rustix::mount::mount(m.source.as_str(), place, "overlay", flags, data.as_c_str()).map_err(|e| {
        Error::IoError {
            context: format!("mount {:?}", m.options),
            err: e.into(),
        }
    })
}

/// The signal of that number.
fn signal(number: u32) -> Result<rustix::process::Signal> {
    i32::try_from(number)
        .ok()
        .and_then(rustix::process::Signal::from_named_raw)
        .ok_or_else(|| Error::InvalidArgument(format!("signal {number} cannot be sent")))
}

impl Service {
    /// The runtime of a container.
    fn runtime(&self, id: &str) -> Result<Runtime> {
        Ok(self.state.lock().container(id)?.runtime.clone())
    }

    fn make(&self, req: &CreateTaskRequest) -> Result<u32> {
        let runtime = Runtime::new(&self.namespace, &req.bundle, req.options.as_ref())?;
        if !req.checkpoint.is_empty() {
            return Err(Error::Unimplemented("restoring a checkpoint".into()));
        }
        let rootfs = Path::new(&req.bundle).join("rootfs");
        if !req.rootfs.is_empty() {
            containerd_shim::util::mkdir(&rootfs, 0o711)?;
        }
        let made = req
            .rootfs
            .iter()
            .try_for_each(|m| mount_one(m, &rootfs))
            .and_then(|()| self.make_on(req, runtime));
        if made.is_err() && !req.rootfs.is_empty() {
            unmount_all(&rootfs);
        }
        made
    }

    fn make_on(&self, req: &CreateTaskRequest, runtime: Runtime) -> Result<u32> {
        let paths = Paths {
            terminal: req.terminal,
            stdin: req.stdin.clone(),
            stdout: req.stdout.clone(),
            stderr: req.stderr.clone(),
        };
        let mut command = runtime.command(&["create"]);
        command
            .args(["--bundle", &req.bundle, "--pid-file"])
            .arg(runtime.file("init.pid"));
        let mut process = Process {
            paths: paths.clone(),
            ..Process::default()
        };
        self.run(&runtime, command, &req.id, &paths, &mut process)?;
        process.pid = pid(&runtime.file("init.pid"))?;
        let pid = process.pid;
        let mut table = self.state.lock();
        table.containers.insert(
            req.id.clone(),
            Container {
                runtime,
                bundle: req.bundle.clone(),
                paused: false,
                ooms: oom_file(pid),
                processes: HashMap::from([(String::new(), process)]),
            },
        );
        if let Some(exit) = table.claim(pid) {
            self.state
                .ended(&mut table, &req.id, "", exit, &self.events);
        }
        Ok(pid as u32)
    }

    /// Runs what makes a process, with its input and output.
    fn run(
        &self,
        runtime: &Runtime,
        mut command: std::process::Command,
        id: &str,
        paths: &Paths,
        process: &mut Process,
    ) -> Result<()> {
        let (mut io, console) = Open::new(paths, &mut command)?;
        command.arg(id);
        runtime.run(command)?;
        if let Some(console) = console {
            io.connect(paths, &console)?;
        }
        process.io = Some(io);
        Ok(())
    }

    fn start_first(&self, id: &str) -> Result<u32> {
        let runtime = self.runtime(id)?;
        runtime.run(runtime.command(&["start", id]))?;
        let mut table = self.state.lock();
        let process = table.process(id, "")?;
        let pid = process.pid as u32;
        self.events.send(TaskStart {
            container_id: id.to_owned(),
            pid,
            ..TaskStart::default()
        });
        process.started = true;
        // It may have ended meanwhile: then nobody has been told.
        if let Some(exit) = process.exit.clone() {
            self.state.ended(&mut table, id, "", exit, &self.events);
        }
        Ok(pid)
    }

    fn start_further(&self, id: &str, exec: &str) -> Result<u32> {
        let runtime = self.runtime(id)?;
        let (paths, spec) = {
            let mut table = self.state.lock();
            let process = table.process(id, exec)?;
            (process.paths.clone(), process.spec.clone())
        };
        let file = |end: &str| runtime.file(&format!("{exec}.{end}"));
        std::fs::write(file("json"), &spec).map_err(|err| Error::IoError {
            context: "process.json".into(),
            err,
        })?;
        let mut command = runtime.command(&["exec", "--detach"]);
        command.arg("--process").arg(file("json"));
        command.arg("--pid-file").arg(file("pid"));
        let mut made = Process::default();
        let ran = self.run(&runtime, command, id, &paths, &mut made);
        let number = ran.and_then(|()| pid(&file("pid")));
        let _ = std::fs::remove_file(file("json"));
        let _ = std::fs::remove_file(file("pid"));
        let number = number?;
        let mut table = self.state.lock();
        let process = table.process(id, exec)?;
        process.pid = number;
        process.io = made.io;
        process.started = true;
        self.events.send(TaskExecStarted {
            container_id: id.to_owned(),
            exec_id: exec.to_owned(),
            pid: number as u32,
            ..TaskExecStarted::default()
        });
        if let Some(exit) = table.claim(number) {
            self.state.ended(&mut table, id, exec, exit, &self.events);
        }
        Ok(number as u32)
    }

    fn remove(&self, id: &str, exec: &str) -> Result<DeleteResponse> {
        let (runtime, bundle, exit, pid, last) = {
            let mut table = self.state.lock();
            let process = table.process(id, exec)?;
            let (exit, pid) = (process.exit.clone(), process.pid);
            if exit.is_none() && (process.started || exec.is_empty()) {
                let message = format!("process {exec} of {id} has not stopped");
                return Err(Error::FailedPreconditionError(message));
            }
            let container = table.container(id)?;
            let bundle = PathBuf::from(&container.bundle);
            let last = exec.is_empty();
            (container.runtime.clone(), bundle, exit, pid, last)
        };
        if last {
            runtime.run(runtime.command(&["delete", id]))?;
            unmount_all(&bundle.join("rootfs"));
        }
        let mut table = self.state.lock();
        if last {
            table.containers.remove(id);
        } else {
            table.container(id)?.processes.remove(exec);
        }
        drop(table);
        let exit = exit.unwrap_or_default();
        if last {
            self.events.send(TaskDelete {
                container_id: id.to_owned(),
                pid: pid as u32,
                exit_status: exit.status,
                exited_at: exit.at.clone(),
                ..TaskDelete::default()
            });
        }
        Ok(DeleteResponse {
            pid: pid as u32,
            exit_status: exit.status,
            exited_at: exit.at,
            ..DeleteResponse::default()
        })
    }

    fn send_signal(&self, req: &KillRequest) -> Result<()> {
        let (number, exited) = {
            let mut table = self.state.lock();
            let process = table.process(&req.id, &req.exec_id)?;
            (process.pid, process.exit.is_some())
        };
        if exited || number == 0 {
            return Err(Error::NotFoundError("process already finished".into()));
        }
        if req.exec_id.is_empty() {
            let runtime = self.runtime(&req.id)?;
            let mut command = runtime.command(&["kill"]);
            if req.all {
                command.arg("--all");
            }
            command.arg(&req.id).arg(req.signal.to_string());
            return runtime.run(command);
        }
        // Whoever stands for the process on the host hands the signal on.
        let target = rustix::process::Pid::from_raw(number)
            .ok_or_else(|| Error::NotFoundError("process already finished".into()))?;
        rustix::process::kill_process(target, signal(req.signal)?)
            .map_err(|e| Error::NotFoundError(format!("process {number}: {e}")))
    }

    fn pause_or_resume(&self, id: &str, pause: bool) -> Result<()> {
        let runtime = self.runtime(id)?;
        let word = if pause { "pause" } else { "resume" };
        runtime.run(runtime.command(&[word, id]))?;
        self.state.lock().container(id)?.paused = pause;
        Ok(())
    }
}

impl Task for Service {
    fn state(&self, _: &TtrpcContext, req: StateRequest) -> TtrpcResult<StateResponse> {
        let mut table = self.state.lock();
        let container = table.container(&req.id)?;
        let (bundle, paused) = (container.bundle.clone(), container.paused);
        let process = table.process(&req.id, &req.exec_id)?;
        let status = match process.status() {
            Status::RUNNING if paused => Status::PAUSED,
            status => status,
        };
        let exit = process.exit.clone().unwrap_or_default();
        let paths = process.paths.clone();
        Ok(StateResponse {
            id: req.id.clone(),
            exec_id: req.exec_id.clone(),
            bundle,
            pid: process.pid as u32,
            status: status.into(),
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            terminal: paths.terminal,
            exit_status: exit.status,
            exited_at: exit.at,
            ..StateResponse::default()
        })
    }

    fn create(&self, _: &TtrpcContext, req: CreateTaskRequest) -> TtrpcResult<CreateTaskResponse> {
        let pid = self.make(&req)?;
        self.events.send(TaskCreate {
            container_id: req.id,
            bundle: req.bundle,
            rootfs: req.rootfs,
            io: MessageField::some(TaskIO {
                stdin: req.stdin,
                stdout: req.stdout,
                stderr: req.stderr,
                terminal: req.terminal,
                ..TaskIO::default()
            }),
            pid,
            ..TaskCreate::default()
        });
        Ok(CreateTaskResponse {
            pid,
            ..CreateTaskResponse::default()
        })
    }

    fn start(&self, _: &TtrpcContext, req: StartRequest) -> TtrpcResult<StartResponse> {
        let pid = match req.exec_id.as_str() {
            "" => self.start_first(&req.id)?,
            exec => self.start_further(&req.id, exec)?,
        };
        Ok(StartResponse {
            pid,
            ..StartResponse::default()
        })
    }

    fn delete(&self, _: &TtrpcContext, req: DeleteRequest) -> TtrpcResult<DeleteResponse> {
        Ok(self.remove(&req.id, &req.exec_id)?)
    }

    fn pids(&self, _: &TtrpcContext, req: PidsRequest) -> TtrpcResult<PidsResponse> {
        let runtime = self.runtime(&req.id)?;
        let text = runtime.ask(runtime.command(&["ps", "--format", "json", &req.id]))?;
        let pids: Vec<u32> = serde_json::from_str(&text).map_err(Error::from)?;
        let info = |pid| ProcessInfo {
            pid,
            ..ProcessInfo::default()
        };
        Ok(PidsResponse {
            processes: pids.into_iter().map(info).collect(),
            ..PidsResponse::default()
        })
    }

    fn pause(&self, _: &TtrpcContext, req: PauseRequest) -> TtrpcResult<Empty> {
        self.pause_or_resume(&req.id, true)?;
        self.events.send(TaskPaused {
            container_id: req.id,
            ..TaskPaused::default()
        });
        Ok(Empty::default())
    }

    fn resume(&self, _: &TtrpcContext, req: ResumeRequest) -> TtrpcResult<Empty> {
        self.pause_or_resume(&req.id, false)?;
        self.events.send(TaskResumed {
            container_id: req.id,
            ..TaskResumed::default()
        });
        Ok(Empty::default())
    }

    fn kill(&self, _: &TtrpcContext, req: KillRequest) -> TtrpcResult<Empty> {
        self.send_signal(&req)?;
        Ok(Empty::default())
    }

    fn exec(&self, _: &TtrpcContext, req: ExecProcessRequest) -> TtrpcResult<Empty> {
        let process = Process {
            paths: Paths {
                terminal: req.terminal,
                stdin: req.stdin,
                stdout: req.stdout,
                stderr: req.stderr,
            },
            spec: req.spec.value.clone(),
            ..Process::default()
        };
        let mut table = self.state.lock();
        let processes = &mut table.container(&req.id)?.processes;
        if req.exec_id.is_empty() || processes.contains_key(&req.exec_id) {
            let message = format!("there is a process {:?} already", req.exec_id);
            return Err(Error::InvalidArgument(message).into());
        }
        processes.insert(req.exec_id.clone(), process);
        self.events.send(TaskExecAdded {
            container_id: req.id,
            exec_id: req.exec_id,
            ..TaskExecAdded::default()
        });
        Ok(Empty::default())
    }

    fn resize_pty(&self, _: &TtrpcContext, req: ResizePtyRequest) -> TtrpcResult<Empty> {
        let small = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let mut table = self.state.lock();
        // (What has ended has no size.)
        if let Some(io) = &table.process(&req.id, &req.exec_id)?.io {
            io.resize(small(req.width), small(req.height))?;
        }
        Ok(Empty::default())
    }

    fn close_io(&self, _: &TtrpcContext, req: CloseIORequest) -> TtrpcResult<Empty> {
        let mut table = self.state.lock();
        if let Some(io) = &mut table.process(&req.id, &req.exec_id)?.io
            && req.stdin
        {
            io.close_input();
        }
        Ok(Empty::default())
    }

    fn update(&self, _: &TtrpcContext, req: UpdateTaskRequest) -> TtrpcResult<Empty> {
        let runtime = self.runtime(&req.id)?;
        let command = runtime.command(&["update", "--resources", "-", &req.id]);
        runtime.tell(command, &req.resources.value)?;
        Ok(Empty::default())
    }

    fn wait(&self, _: &TtrpcContext, req: WaitRequest) -> TtrpcResult<WaitResponse> {
        let exit = self.state.wait(&req.id, &req.exec_id)?;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: exit.at,
            ..WaitResponse::default()
        })
    }

    fn stats(&self, _: &TtrpcContext, req: StatsRequest) -> TtrpcResult<StatsResponse> {
        let pid = self.state.lock().process(&req.id, "")?.pid as u32;
        let cgroup = containerd_shim::cgroup::get_cgroup(pid)?;
        let metrics = containerd_shim::cgroup::collect_metrics(&cgroup)?;
        Ok(StatsResponse {
            stats: MessageField::some(convert_to_any(Box::new(metrics))?),
            ..StatsResponse::default()
        })
    }

    fn connect(&self, _: &TtrpcContext, req: ConnectRequest) -> TtrpcResult<ConnectResponse> {
        let mut table = self.state.lock();
        let task_pid = table.process(&req.id, "").map_or(0, |p| p.pid as u32);
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            ..ConnectResponse::default()
        })
    }

    fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> TtrpcResult<Empty> {
        if self.state.lock().containers.is_empty() {
            self.exit.signal();
        }
        Ok(Empty::default())
    }
}
