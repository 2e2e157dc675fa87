//! Waiting for children (`linux/wait.h`): wait4(2), waitid(2), and the encoding of an exit status.
#![allow(missing_docs)]

use crate::signal::Signal;

bitflags::bitflags! {
    /// wait4(2), waitid(2) options.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct WaitOptions: u32 {
        const WNOHANG = 1;
        /// To waitid: WSTOPPED.
        const WUNTRACED = 2;
        const WEXITED = 4;
        const WCONTINUED = 8;
        const WNOWAIT = 0x0100_0000;
        const __WNOTHREAD = 0x2000_0000;
        const __WALL = 0x4000_0000;
        const __WCLONE = 0x8000_0000;
    }
}

impl WaitOptions {
    pub const WSTOPPED: WaitOptions = WaitOptions::WUNTRACED;
}

pub const P_ALL: i32 = 0;
pub const P_PID: i32 = 1;
pub const P_PGID: i32 = 2;
pub const P_PIDFD: i32 = 3;

/// How a process or a thread ended: the status word of wait4(2).
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum ExitStatus {
    /// By exit with a code, of which the low eight bits count.
    Exited(u8),
    /// By a signal, perhaps with a core dump.
    Signaled(Signal, bool),
}

impl ExitStatus {
    /// The status word.
    pub const fn encode(self) -> i32 {
        match self {
            ExitStatus::Exited(code) => (code as i32) << 8,
            ExitStatus::Signaled(signal, core) => signal.raw() | if core { 0x80 } else { 0 },
        }
    }

    /// From a status word that says exited or signaled.
    pub const fn decode(status: i32) -> Option<ExitStatus> {
        match status & 0x7f {
            0 => Some(ExitStatus::Exited((status >> 8 & 0xff) as u8)),
            0x7f => None,
            number => match Signal::new(number) {
                Some(signal) => Some(ExitStatus::Signaled(signal, status & 0x80 != 0)),
                None => None,
            },
        }
    }
}

/// The status word of a stop; a ptrace event sits in the bits above.
pub const fn encode_stopped(signal: Signal, event: u8) -> i32 {
    (event as i32) << 16 | signal.raw() << 8 | 0x7f
}

/// The status word of SIGCONT's effect.
pub const CONTINUED: i32 = 0xffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words() {
        let table = [
            (ExitStatus::Exited(3), 0x300),
            (ExitStatus::Signaled(Signal::SIGKILL, false), 9),
            (ExitStatus::Signaled(Signal::SIGSEGV, true), 0x8b),
        ];
        for (status, word) in table {
            assert_eq!(
                (status.encode(), ExitStatus::decode(word)),
                (word, Some(status))
            );
        }
        assert_eq!(
            (
                encode_stopped(Signal::SIGSTOP, 0),
                ExitStatus::decode(0x137f),
                ExitStatus::decode(CONTINUED)
            ),
            (0x137f, None, None)
        );
    }
}
