//! What only a task's own thread touches: registers, execution context, masks to restore. System-call handlers get it as `&mut Cx`, and see the shared part
//! ([`Task`]) through it.

use super::Task;
use abi::Errno;
use abi::signal::SigSet;
use abi::ucontext::StackT;
use platform::{Context, Registers};
use std::ops::Deref;
use std::sync::Arc;

/// A call that ended in an ERESTART code and waits for signal delivery to decide.
#[derive(Clone, Copy, Debug)]
pub struct InterruptedCall {
    /// The code.
    pub code: Errno,
    /// The call's number, to put back.
    pub nr: u64,
}

/// What `restart_syscall` goes on with: a closure over what is left to do.
pub type Restart = Box<dyn FnOnce(&mut Cx) -> crate::syscall::SysResult + Send>;

/// Why the loop leaves guest code for good.
pub enum Leave {
    /// `exit`, with this thread's own status.
    Exit(super::ExitStatus),
    /// `execve` succeeded: go on in this address space.
    Exec(Arc<dyn platform::AddressSpace>),
}

/// Owner-only state that survives `execve`.
#[derive(Default)]
pub struct OwnState {
    /// The mask that `sigsuspend` and its like put back after the handler.
    pub saved_mask: Option<SigSet>,
    /// `sigaltstack(2)`.
    pub altstack: StackT,
    /// The call whose restart is open.
    pub interrupted_call: Option<InterruptedCall>,
    /// For `restart_syscall`.
    pub restart: Option<Restart>,
    /// `set_tid_address`, `CLONE_CHILD_CLEARTID`.
    pub clear_child_tid: u64,
    /// `rseq(2)`
    pub rseq: Option<platform::RseqArea>,
    /// Told when this task lets go of the memory it borrowed (`vfork`).
    pub vfork_done: Option<Arc<super::clone::VforkDone>>,
    /// Its seccomp mode as it last saw it.
    pub seccomp: super::seccomp::Seen,
    /// Of the last fault, for signal frames: page-fault error bits, trap number, address.
    pub fault_err: u64,
    /// See `fault_err`.
    pub fault_trapno: u64,
    /// See `fault_err`.
    pub fault_addr: u64,
    /// A buffer that calls reuse (reads, writes, paths).
    pub scratch: Vec<u8>,
    /// Set by a call that set the registers itself (sigreturn, execve).
    pub keep_registers: bool,
    /// The memory before `execve`, dropped once no context runs in it.
    pub old_mm: Option<Arc<crate::mm::MemoryManager>>,
    /// Set by a call that ends the loop.
    pub leave: Option<Leave>,
}

/// The owner's view of its task.
pub struct Cx {
    task: Arc<Task>,
    pub(super) context: Box<dyn Context>,
    /// The guest's registers.
    pub regs: Registers,
    /// Everything else that is the owner's.
    pub state: OwnState,
}

impl Deref for Cx {
    type Target = Task;
    fn deref(&self) -> &Task {
        &self.task
    }
}

impl Cx {
    pub(super) fn new(
        task: Arc<Task>,
        context: Box<dyn Context>,
        regs: Registers,
        state: OwnState,
    ) -> Self {
        Self {
            task,
            context,
            regs,
            state,
        }
    }
    pub(super) fn into_parts(self) -> (Arc<Task>, Registers, OwnState) {
        // The context goes here: its host thread must be gone before its address space is.
        (self.task, self.regs, self.state)
    }

    /// The shared part.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Completes `regs`, of which a system call brings only its number and arguments ([`Registers::partial`]): before others are read or changed.
    pub fn load_registers(&mut self) -> Result<(), Errno> {
        if !self.regs.partial {
            return Ok(());
        }
        self.context.load(&mut self.regs)
    }

    /// The extended state, as XSAVE lays it out.
    pub fn fp_state(&mut self) -> Result<Vec<u8>, Errno> {
        self.load_registers()?;
        let image = self.context.fp_state()?;
        self.task.kernel().note_xsave(&image);
        Ok(image)
    }
    /// Replaces it.
    pub fn set_fp_state(&mut self, image: &[u8]) -> Result<(), Errno> {
        self.load_registers()?;
        self.context.set_fp_state(image)
    }
    /// The state programs start with.
    pub fn reset_fp_state(&mut self) -> Result<(), Errno> {
        self.load_registers()?;
        self.context.reset_fp_state();
        Ok(())
    }

    /// Sleeps at most until `deadline` with `mask` blocked instead of the task's own; a signal's handler sees the old mask restored afterwards (`ppoll`, `sigsuspend`).
    /// Call before the wait; the loop restores it when no handler runs.
    pub fn set_temporary_mask(&mut self, mask: SigSet) {
        let old = self.task.set_blocked(mask);
        self.state.saved_mask = Some(old);
    }
    /// Puts the mask back when the wait ended without a signal.
    pub fn restore_mask(&mut self) {
        if let Some(mask) = self.state.saved_mask.take() {
            self.task.set_blocked(mask);
        }
    }

    /// Ends a call so that it goes on with `rest` when no handler interrupts it (`restart_syscall(2)`).
    pub fn restart_with(&mut self, rest: Restart) -> Errno {
        self.state.restart = Some(rest);
        Errno::ERESTART_RESTARTBLOCK
    }
}
