//! What goes wrong with a container, in runc's words: engines match on some of these messages.

use std::io;

/// An error whose text is what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// container does not exist
    #[error("container does not exist")]
    NotFound,
    /// container with given ID already exists
    #[error("container with given ID already exists")]
    Exists,
    /// container id cannot be empty
    #[error("container id cannot be empty")]
    EmptyId,
    /// invalid container ID format
    #[error("invalid container ID format")]
    InvalidId,
    /// container not running
    #[error("container not running")]
    NotRunning,
    /// container not paused
    #[error("container not paused")]
    NotPaused,
    /// cannot start an already running container
    #[error("cannot start an already running container")]
    AlreadyRunning,
    /// cannot start a container that has stopped
    #[error("cannot start a container that has stopped")]
    StartStopped,
    /// cannot exec in a stopped container
    #[error("cannot exec in a stopped container")]
    ExecStopped,
    /// cannot exec in a paused container (use --ignore-paused to override)
    #[error("cannot exec in a paused container (use --ignore-paused to override)")]
    ExecPaused,
    /// cannot delete container ID that is not stopped: STATUS
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped {
        /// The container.
        id: String,
        /// What it is instead.
        status: &'static str,
    },
}

/// An error and its causes, OS errors in C's words.
pub fn chain(e: &anyhow::Error) -> String {
    let words = e.chain().map(|cause| match cause.downcast_ref() {
        Some(io) => os(io),
        None => cause.to_string(),
    });
    words.collect::<Vec<_>>().join(": ")
}

/// An OS error in C's words, without Rust's "(os error 2)".
pub fn os(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(n) => errno(n),
        None => e.to_string(),
    }
}

/// The same for a rustix error.
pub fn rx(e: rustix::io::Errno) -> String {
    errno(e.raw_os_error())
}

/// strerror(3), in Go's lower case, as runc's messages have it.
pub fn errno(n: i32) -> String {
    let text = io::Error::from_raw_os_error(n).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        // Only a capital that begins an ordinary word: "I/O error" is Go's "input/output error".
        Some(first) if chars.as_str().starts_with(|c: char| c.is_lowercase()) => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lower_case() {
        assert_eq!(super::errno(2), "no such file or directory");
        assert_eq!(super::errno(13), "permission denied");
        let e = anyhow::Error::from(std::io::Error::from_raw_os_error(28)).context("write x");
        assert_eq!(super::chain(&e), "write x: no space left on device");
    }
}
