//! Control messages: a length (four bytes, little endian), then JSON; descriptors travel with a frame's first byte.
//!
//! What a frame means is decided by [`Decoder`] alone, which takes bytes in any portions: it is what the fuzzer drives.

use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::oci::process::Process;

/// The most bytes of a frame. An `exec` with a large environment is the largest there is.
pub const MAX_FRAME: usize = 4 << 20;

/// The most descriptors of a frame: stdio and what `--preserve-fds` adds.
pub const MAX_FDS: usize = 250;

/// What a command asks of a sandbox.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Let the created container's process run. The frame carries a descriptor to read the state from for each startContainer hook.
    Start,
    /// The command that holds the leash ends; the sandbox goes on without it.
    Detach,
    /// Send a signal.
    Signal {
        /// Its number.
        signal: i32,
        /// To every process of the container.
        all: bool,
        /// To this process, as the guest numbers it, and not to the init.
        pid: Option<i32>,
    },
    /// Start another process. Answered by `started`, and by `exited` when it has ended. The connection is its leash.
    Exec {
        /// The process. The frame carries its stdio, or one terminal, and the preserved descriptors.
        process: Box<Process>,
    },
    /// Answered by `exited` when the init, or this process, has ended.
    Wait {
        /// As the guest numbers it.
        pid: Option<i32>,
    },
    /// List processes.
    Ps,
    /// Stop all guest processes.
    Pause,
    /// Let them go on.
    Resume,
    /// Switch the system call log.
    Strace {
        /// On or off.
        on: bool,
    },
    /// What every task is doing.
    Stacks,
    /// The terminal of the process that this connection started changed its size.
    Resized,
    /// How many tasks the container may have from now on.
    Tasks {
        /// 0 and below: as many as the kernel has.
        limit: i64,
    },
}

/// What the sandbox says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Reply {
    /// Done.
    Ok,
    /// Not done: the text is for the user.
    Error {
        /// In runc's words.
        message: String,
    },
    /// The container is made and waits for `start`.
    Ready {
        /// The platform that was chosen.
        platform: String,
    },
    /// A process runs.
    Started {
        /// As the guest numbers it.
        pid: i32,
    },
    /// It ended: a shell's `$?`.
    Exited {
        /// 128 and the signal, for one that a signal ended.
        status: u8,
    },
    /// Processes.
    Processes {
        /// In order of pid.
        list: Vec<ProcessRow>,
    },
    /// For the user to read.
    Text {
        /// Lines.
        text: String,
    },
}

/// One process of `ps`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProcessRow {
    pub uid: u32,
    pub pid: i32,
    pub ppid: i32,
    /// When it started, seconds since the epoch.
    pub start: u64,
    pub tty: String,
    /// CPU time used, milliseconds.
    pub time_ms: u64,
    pub cmd: String,
    /// The host process that carries its memory, as the sandbox's pid namespace numbers it.
    pub host: Option<i32>,
}

/// A message that breaks the protocol. The connection is of no use after it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Bad {
    /// a frame of N bytes is too long
    #[error("a frame of {0} bytes is too long")]
    Long(usize),
    /// malformed message
    #[error("malformed message: {0}")]
    Json(String),
    /// too many descriptors
    #[error("too many descriptors")]
    Fds,
}

/// A message as it is sent.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = vec![0; 4];
    // Messages are plain data with string keys: there is nothing that could not be written.
    if serde_json::to_writer(&mut out, message).is_err() {
        out.truncate(4);
    }
    let len = u32::try_from(out.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(..4) {
        head.copy_from_slice(&len.to_le_bytes());
    }
    out
}

/// Puts frames together.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Decoder {
    /// Takes what was received.
    pub fn push(
        &mut self,
        bytes: &[u8],
        fds: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<(), Bad> {
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
        if self.fds.len() > MAX_FDS {
            return Err(Bad::Fds);
        }
        match self.length() {
            Some(len) if len > MAX_FRAME => Err(Bad::Long(len)),
            _ => Ok(()),
        }
    }

    fn length(&self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(*self.bytes.first_chunk()?)).ok()
    }

    /// The next whole message and the descriptors that came so far.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, Bad> {
        let Some(len) = self.length() else {
            return Ok(None);
        };
        if len > MAX_FRAME {
            return Err(Bad::Long(len));
        }
        let Some(body) = self.bytes.get(4..4 + len) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(|e| Bad::Json(e.to_string()))?;
        self.bytes.drain(..4 + len);
        Ok(Some((message, std::mem::take(&mut self.fds))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_in_any_portions() {
        let mut stream = encode(&Request::Signal {
            signal: 9,
            all: false,
            pid: None,
        });
        stream.extend(encode(&Request::Ps));
        for portion in [1, 3, 7, stream.len()] {
            let mut d = Decoder::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(portion) {
                d.push(chunk, []).unwrap();
                while let Some((r, _)) = d.next::<Request>().unwrap() {
                    seen.push(format!("{r:?}"));
                }
            }
            assert_eq!(seen, ["Signal { signal: 9, all: false, pid: None }", "Ps"]);
        }
    }

    #[test]
    fn bad_frames() {
        let mut d = Decoder::default();
        assert_eq!(
            d.push(&u32::MAX.to_le_bytes(), []),
            Err(Bad::Long(u32::MAX as usize))
        );
        let mut d = Decoder::default();
        d.push(b"\x02\0\0\0{}", []).unwrap();
        assert!(matches!(d.next::<Request>(), Err(Bad::Json(_))));
        let mut d = Decoder::default();
        d.push(b"\0\0\0\0", []).unwrap();
        assert!(matches!(d.next::<Request>(), Err(Bad::Json(_))));
        let mut d = Decoder::default();
        assert!(d.next::<Request>().unwrap().is_none());
    }
}
