//! Loading programs: the seam that `execve` uses; the loader behind it lands next.

use crate::kernel::Kernel;
use crate::kernel::limits::Limits;
use crate::mm::MemoryManager;
use abi::Errno;
use fs::File;
use std::sync::Arc;

/// What to load.
pub struct LoadArgs<'a> {
    /// The program, opened for execution.
    pub file: Arc<File>,
    /// The name it was asked by: `AT_EXECFN`, a script's argument.
    pub filename: Vec<u8>,
    /// `filename` names a close-on-exec descriptor: a script's interpreter could not open it (`ENOENT`).
    pub script_unreachable: bool,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// `RLIMIT_STACK`.
    pub stack_limit: u64,
    /// All limits.
    pub limits: &'a Limits,
}

/// A program in memory, not yet running.
pub struct Loaded {
    /// Its memory.
    pub mm: Arc<MemoryManager>,
    /// First instruction (the interpreter's, for dynamic programs).
    pub entry: u64,
    /// `argc` is here.
    pub stack_pointer: u64,
}

/// (ruid, euid, rgid, egid) of the new program, and whether it runs with more than its caller had (`AT_SECURE`).
pub type Identity = ((u32, u32, u32, u32), bool);

/// Loads `args.file`: ELF, or a script whose interpreter `open` finds. `identify` is told the file finally executed and says who the program will be.
pub fn load(
    _kernel: &Arc<Kernel>,
    _args: &LoadArgs<'_>,
    _open: &dyn Fn(&[u8]) -> Result<Arc<File>, Errno>,
    _identify: &mut dyn FnMut(&File) -> Result<Identity, Errno>,
) -> Result<Loaded, Errno> {
    Err(Errno::ENOEXEC)
}
