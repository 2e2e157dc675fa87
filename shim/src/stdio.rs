//! A process's input and output: containerd's FIFOs, given to the sandbox as they are, or a terminal whose bytes go between it and them.
//!
//! An output FIFO has a second end open here while the process lives, so that it survives a client that goes away. Input goes through a pipe, which ends when the clients have closed
//! the FIFO, or when containerd says so (`CloseIO`): the FIFO itself would have ended before the first client has opened it.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use containerd_shim::{Error, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Where containerd wants a process's input and output.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// The process has a terminal.
    pub terminal: bool,
    /// Empty: nothing to read.
    pub stdin: String,
    /// Empty: nobody reads it.
    pub stdout: String,
    /// The same; unused with a terminal.
    pub stderr: String,
}

/// Input and output of a process that lives.
#[derive(Default)]
pub struct Open {
    input: Option<Input>,
    /// The second ends.
    outputs: Vec<File>,
    terminal: Option<File>,
    /// Copies what the terminal shows, to its end.
    shows: Option<JoinHandle<()>>,
}

/// The end of the pipe that is written, or the terminal, until input ends.
type Sink = Arc<Mutex<Option<File>>>;

/// Input under way.
struct Input {
    path: String,
    sink: Sink,
}

impl Input {
    fn new(path: &str, sink: File) -> Input {
        let sink: Sink = Arc::new(Mutex::new(Some(sink)));
        let (from, to) = (path.to_owned(), Arc::clone(&sink));
        thread::spawn(move || {
            // (Waits for a client.)
            if let Ok(fifo) = File::open(from) {
                feed(fifo, &to);
            }
            close(&to);
        });
        Input {
            path: path.to_owned(),
            sink,
        }
    }

    /// Nothing more comes. Not waited for: the process may not have read what came before.
    fn end(self) {
        thread::spawn(move || close(&self.sink));
        // Whoever still waits for a client sees one that has nothing to say.
        drop(both(&self.path));
    }
}

fn close(sink: &Sink) {
    drop(sink.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Until one of both ends.
fn feed(mut from: File, to: &Sink) {
    let mut buffer = [0; 16384];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut sink = to.lock().unwrap_or_else(PoisonError::into_inner);
        let written = sink.as_mut().map(|sink| sink.write_all(&buffer[..n]));
        if !matches!(written, Some(Ok(()))) {
            return;
        }
    }
}

fn io(path: &str) -> impl FnOnce(std::io::Error) -> Error {
    let context = path.to_owned();
    move |err| Error::IoError { context, err }
}

/// How long the rest of what a terminal shows is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Both ends at once, which waits for nobody.
fn both(path: &str) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io(path))
}

/// An output, and its second end.
fn output(path: &str) -> Result<(Option<File>, Option<File>)> {
    let path = match path.split_once("://") {
        _ if path.is_empty() => return Ok((None, None)),
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            let message = format!("{path}: logging by {scheme} is not supported");
            return Err(Error::InvalidArgument(message));
        }
        None => path,
    };
    let fifo = std::fs::metadata(path).is_ok_and(|m| {
        use std::os::unix::fs::FileTypeExt;
        m.file_type().is_fifo()
    });
    let kept = fifo.then(|| both(path)).transpose()?;
    let mut options = File::options();
    if !fifo {
        options.append(true).create(true).mode(0o600);
    }
    let given = options.write(true).open(path).map_err(io(path))?;
    Ok((Some(given), kept))
}

/// A socket on which the runtime hands the terminal over.
pub struct Console {
    dir: PathBuf,
    listener: UnixListener,
}

impl Console {
    fn new() -> Result<Console> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("runsc-rs-console-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        containerd_shim::util::mkdir(&dir, 0o700)?;
        let listener = UnixListener::bind(dir.join("socket")).map_err(io("console socket"))?;
        Ok(Console { dir, listener })
    }

    /// The terminal, which the runtime has sent before it ended.
    fn receive(&self) -> Result<File> {
        self.listener
            .set_nonblocking(true)
            .map_err(io("console socket"))?;
        let (connection, _) = self.listener.accept().map_err(io("console socket"))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut data = [std::io::IoSliceMut::new(&mut name)];
        recvmsg(
            &connection,
            &mut data,
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|e| io("console socket")(e.into()))?;
        let fd: Option<OwnedFd> = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fd.map(File::from)
            .ok_or_else(|| Error::Other("the runtime has sent no terminal".into()))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Until one of both ends.
fn copy(mut from: File, mut to: Option<File>) {
    let mut buffer = [0; 16384];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                // What nobody reads must still be taken from the terminal.
                if let Some(file) = &mut to
                    && file.write_all(&buffer[..n]).is_err()
                {
                    to = None;
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

impl Open {
    /// Opens what `paths` name and gives it to the command that makes the process. A terminal comes afterwards, by [`Open::connect`].
    pub fn new(paths: &Paths, command: &mut Command) -> Result<(Open, Option<Console>)> {
        let mut open = Open::default();
        if paths.terminal {
            let console = Console::new()?;
            command
                .arg("--console-socket")
                .arg(console.dir.join("socket"));
            return Ok((open, Some(console)));
        }
        if !paths.stdin.is_empty() {
            let (given, sink) = std::io::pipe().map_err(io("pipe"))?;
            let sink = File::from(OwnedFd::from(sink));
            open.input = Some(Input::new(&paths.stdin, sink));
            command.stdin(given);
        }
        let mut given = |path: &str| -> Result<Stdio> {
            let (given, kept) = output(path)?;
            open.outputs.extend(kept);
            Ok(given.map_or_else(Stdio::null, Stdio::from))
        };
        command.stdout(given(&paths.stdout)?);
        command.stderr(given(&paths.stderr)?);
        Ok((open, None))
    }

    /// Takes the terminal that the runtime has made, and begins to copy.
    pub fn connect(&mut self, paths: &Paths, console: &Console) -> Result<()> {
        let terminal = console.receive()?;
        let again = || terminal.try_clone().map_err(io("terminal"));
        if !paths.stdin.is_empty() {
            self.input = Some(Input::new(&paths.stdin, again()?));
        }
        let (to, kept) = output(&paths.stdout)?;
        self.outputs.extend(kept);
        let from = again()?;
        self.shows = Some(thread::spawn(move || copy(from, to)));
        self.terminal = Some(terminal);
        Ok(())
    }

    /// There is no more input. (A terminal's ends as typed.)
    pub fn close_input(&mut self) {
        if self.terminal.is_none()
            && let Some(input) = self.input.take()
        {
            input.end();
        }
    }

    /// The terminal's new size.
    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        let Some(terminal) = &self.terminal else {
            return Err(Error::FailedPreconditionError("no terminal".into()));
        };
        let size = rustix::termios::Winsize {
            ws_row: height,
            ws_col: width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal, size).map_err(|e| io("resize")(e.into()))
    }

    /// Whether it is a terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// The process has ended: what it has written is all there is. Waits until what its terminal has shown is copied, but not for ever: others may hold the terminal.
    pub fn end(self) {
        if let Some(input) = self.input {
            input.end();
        }
        drop(self.terminal);
        let end = Instant::now() + PATIENCE;
        while let Some(shows) = &self.shows
            && !shows.is_finished()
            && Instant::now() < end
        {
            thread::sleep(Duration::from_millis(1));
        }
        drop(self.outputs);
    }
}
