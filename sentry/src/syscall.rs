//! The seam between the kernel and its system calls: a table handed over at boot, and a tracer for debugging.

use crate::kernel::Cx;
use abi::Errno;

/// What a call returns: the value, or an error (restart codes included).
pub type SysResult = Result<u64, Errno>;

/// How much of a call there is; `docs/compatibility.md` is made of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux.
    Full,
    /// Part of it; the note says what is missing.
    Partial(&'static str),
    /// Always this error; the note says why.
    Refused(Errno, &'static str),
}

/// One argument, for listings and traces.
pub struct Arg {
    /// Its name in the man page.
    pub name: &'static str,
    /// The call fills in what it points to: a trace shows it once the call has returned.
    pub out: bool,
    /// Writes it as strace(1) would. `done` holds the result once the call has returned: out-parameters are read then.
    pub show: fn(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String),
}

/// One system call.
pub struct Syscall {
    /// Number on x86-64.
    pub nr: u32,
    /// Name.
    pub name: &'static str,
    /// The handler with its arguments still raw.
    pub call: fn(&mut Cx, &[u64; 6]) -> SysResult,
    /// The arguments.
    pub args: &'static [Arg],
    /// How much of it there is.
    pub support: Support,
}

/// The calls by number; holes answer `ENOSYS`.
#[derive(Default)]
pub struct SyscallTable {
    calls: Vec<Option<&'static Syscall>>,
}

impl SyscallTable {
    /// From the families' lists. A number declared twice keeps its first declaration; a test of the table's crate forbids it.
    pub fn new(families: &[&'static [Syscall]]) -> Self {
        let mut calls: Vec<Option<&'static Syscall>> = Vec::new();
        for call in families.iter().flat_map(|f| f.iter()) {
            let at = call.nr as usize;
            if calls.len() <= at {
                calls.resize(at.saturating_add(1), None);
            }
            if let Some(slot @ None) = calls.get_mut(at) {
                *slot = Some(call);
            }
        }
        Self { calls }
    }
    /// All calls, in order of number.
    pub fn iter(&self) -> impl Iterator<Item = &'static Syscall> {
        self.calls.iter().copied().flatten()
    }
    /// The call of a number.
    pub fn get(&self, nr: u64) -> Option<&'static Syscall> {
        self.calls.get(usize::try_from(nr).ok()?).copied().flatten()
    }
}

/// Watches system calls (`--strace`). Called by the task's own thread.
pub trait Tracer: Send + Sync {
    /// Before a call.
    fn enter(&self, cx: &Cx, call: Option<&Syscall>, nr: u64, args: &[u64; 6]);
    /// After it; `ns` is what it took.
    fn exit(
        &self,
        cx: &Cx,
        call: Option<&Syscall>,
        nr: u64,
        args: &[u64; 6],
        result: SysResult,
        ns: u64,
    );
    /// A signal is about to be delivered, or killed the group.
    fn signal(&self, cx: &Cx, info: &abi::signal::SigInfo);
    /// The task ends.
    fn task_exit(&self, cx: &Cx, status: crate::kernel::ExitStatus);
}
