//! Running one guest thread under ptrace.
//!
//! The host's copy of the registers is written only when the sentry changed them, and after a system call that only returned something only
//! that one: each ptrace request costs about a microsecond.

use std::sync::Arc;

use abi::x86::UserRegs;
use abi::{Errno, Result};

use super::sys::{RAX_OFFSET, Stop, Tracee};
use super::xstate;
use crate::interrupt::Interruption;
use crate::placement;
use crate::registers::{CODE_64, sanitised};
use crate::space::AddressSpace;
use crate::stub::{self, INTERRUPT, TASK_END, Thread};
use crate::{Access, Event, Interrupter, Registers, RseqArea};

const SI_KERNEL: i32 = 0x80;
const FPE_INTDIV: i32 = 1;
const FPE_INTOVF: i32 = 2;

/// rseq(2)'s flag of that name.
const UNREGISTER: u64 = 1;
/// How many stops a call of the sentry's may take.
const CALL_TRIES: usize = 1000;
/// The thread number of a guest thread that could not be made: no thread has it.
const NOBODY: i32 = i32::MAX;

/// See the module.
pub struct Context {
    space: Arc<AddressSpace>,
    tracee: Tracee,
    interruption: Arc<Interruption>,
    guest: Arc<placement::Guest>,
    /// What the host has, if `known`.
    host: UserRegs,
    known: bool,
    dead: bool,
    /// What the host keeps for it.
    rseq: Option<RseqArea>,
}

impl Context {
    /// Takes over a parked guest thread. If that fails the context is dead, and the first switch says so.
    pub fn new(space: Arc<AddressSpace>, thread: Result<Thread>) -> Context {
        let (tid, used) = thread.as_ref().map_or((NOBODY, false), |thread| {
            (thread.tid.unwrap_or(NOBODY), thread.used)
        });
        let tracee = Tracee(tid);
        let guest = placement::Guest::new(tid, space.balancer());
        let exists = thread.is_ok();
        let attached = thread.and_then(|_| tracee.attach());
        if let Err(error) = attached {
            log::warn!(
                "guest thread {tid} of stub {} cannot be traced: {error}",
                space.process().pid()
            );
        }
        let interruption = Interruption::new(space.process().pid(), tid);
        let mut context = Context {
            space,
            tracee,
            interruption,
            guest,
            host: UserRegs::default(),
            known: false,
            dead: attached.is_err(),
            rseq: None,
        };
        if context.dead && exists {
            context.died();
        } else if used {
            crate::Context::reset_fp_state(&mut context);
        }
        context
    }

    /// The guest thread does not obey any more: somebody killed its process. To be sure, so is done here; and it is waited for, which nobody else
    /// may do, and without which its process would never be gone.
    fn died(&mut self) -> Event {
        self.space.process().kill();
        while self.tracee.wait() != Stop::Gone {}
        self.dead = true;
        Event::Died
    }

    /// Has the thread make a call of the sentry's.
    fn call(&mut self, nr: i64, args: [u64; 4]) -> Result<()> {
        self.known = false;
        let result = self.interruption.called(|| self.make_call(nr, args))?;
        Errno::from_return(result).map(|_| ())
    }

    fn make_call(&self, nr: i64, args: [u64; 4]) -> Result<i64> {
        let (start, made) = stub::traced_call_pc();
        let want = sanitised(&UserRegs {
            rax: nr as u64,
            orig_rax: u64::MAX,
            rdi: args[0],
            rsi: args[1],
            rdx: args[2],
            r10: args[3],
            rip: start,
            ..UserRegs::default()
        });
        self.tracee.set_registers(&want)?;
        let mut inside = false;
        for _ in 0..CALL_TRIES {
            self.tracee.to_syscall()?;
            let stop = self.tracee.wait();
            if stop == Stop::Gone {
                return Err(Errno::ESRCH);
            }
            let mut now = UserRegs::default();
            self.tracee.registers(&mut now)?;
            match stop {
                Stop::Syscall if now.rip == made && inside => return Ok(now.rax as i64),
                Stop::Syscall if now.rip == made => inside = true,
                // Before it, the thread leaves the call it was in.
                Stop::Syscall if now.rip == start => {}
                _ => {
                    // It was taken out of there (rseq(2) can do that), or may have been.
                    self.interruption.arrived();
                    self.tracee.set_registers(&want)?;
                    inside = false;
                }
            }
        }
        Err(Errno::EIO)
    }

    /// Makes the host's registers those wanted.
    fn push(&mut self, want: &UserRegs) -> Result<()> {
        if self.known {
            // The kernel would undo a call that seems to have been interrupted, if it is given such a result beside a call's number.
            let restart = matches!(want.rax as i64, -516..=-512);
            let only_rax = UserRegs {
                rax: self.host.rax,
                orig_rax: self.host.orig_rax,
                ..*want
            } == self.host;
            if only_rax && (self.host.orig_rax == u64::MAX || !restart) {
                if want.rax != self.host.rax {
                    self.tracee.set_register(RAX_OFFSET, want.rax)?;
                    self.host.rax = want.rax;
                }
                return Ok(());
            }
        }
        self.tracee.set_registers(want)?;
        self.host = *want;
        self.known = true;
        Ok(())
    }

    fn fetch(&mut self, regs: &mut Registers) -> Result<()> {
        self.tracee.registers(&mut self.host)?;
        self.known = true;
        regs.user = self.host;
        Ok(())
    }

    /// What a signal that the processor caused means; `None` for one that somebody sent.
    fn signal(&mut self, signo: i32, regs: &mut Registers) -> Result<Option<Event>> {
        let (code, addr, nr) = self.tracee.siginfo()?;
        if code <= 0 {
            return Ok(None);
        }
        self.fetch(regs)?;
        let trapno = match (signo, code) {
            (libc::SIGILL, _) => 6,
            (libc::SIGFPE, FPE_INTDIV) => 0,
            (libc::SIGFPE, FPE_INTOVF) => 4,
            (libc::SIGFPE, _) => 19,
            (libc::SIGTRAP, SI_KERNEL) => 3,
            (libc::SIGTRAP, _) => 1,
            (libc::SIGBUS, libc::BUS_ADRALN) => 17,
            (libc::SIGSEGV | libc::SIGBUS, _) => {
                let access = if code == SI_KERNEL {
                    Access::Unknown
                } else {
                    self.access(code, addr)
                };
                return Ok(Some(Event::Fault {
                    signo,
                    code,
                    addr,
                    access,
                }));
            }
            (libc::SIGSYS, _) => {
                // A call through the vsyscall page, which the host would have emulated, but for the filter. It looks as if it had returned to
                // the caller with the number as its result.
                regs.user.orig_rax = nr as u64;
                regs.user.rax = Errno::ENOSYS.to_return() as u64;
                return Ok(Some(Event::Syscall));
            }
            _ => return Ok(None),
        };
        Ok(Some(Event::Exception {
            signo,
            code,
            addr,
            trapno,
        }))
    }

    /// ptrace does not give the processor's error code. What it said follows from the mapping where that can be read: then reading was not
    /// what failed.
    fn access(&self, code: i32, addr: u64) -> Access {
        const SEGV_ACCERR: i32 = 2;
        if addr == self.host.rip {
            Access::Execute
        } else if code == SEGV_ACCERR
            && crate::AddressSpace::read(&*self.space, addr, &mut [0]).is_ok()
        {
            Access::Write
        } else {
            Access::Unknown
        }
    }

    /// The way in was `syscall` in 64-bit mode: then the processor has put the return address into rcx and the flags into r11. A guest that
    /// prepares its registers so and uses another entry is served as if it had not; that is all it gains. (Processors with FRED leave the two
    /// alone, and the host is asked.)
    fn is_64bit_call(&self) -> bool {
        let r = &self.host;
        r.cs == CODE_64 && ((r.rcx == r.rip && r.r11 == r.eflags) || self.tracee.is_64bit_call())
    }

    fn run(&mut self, regs: &mut Registers) -> Result<Event> {
        loop {
            if !self.interruption.begin() {
                if !self.known {
                    self.fetch(regs)?;
                }
                return Ok(Event::Interrupted);
            }
            self.guest.begin(self.space.balancer());
            let stop = self.tracee.emulate().map(|()| self.tracee.wait());
            self.guest.end();
            self.interruption.end();
            let stop = stop?;
            self.known = false;
            match stop {
                Stop::Syscall => {
                    self.fetch(regs)?;
                    return Ok(if self.is_64bit_call() {
                        Event::Syscall
                    } else {
                        Event::Syscall32
                    });
                }
                Stop::Signal(INTERRUPT) => {
                    if self.interruption.received() {
                        self.fetch(regs)?;
                        return Ok(Event::Interrupted);
                    }
                }
                Stop::Signal(signo) => {
                    if let Some(event) = self.signal(signo, regs)? {
                        return Ok(event);
                    }
                }
                Stop::Event => {}
                Stop::Gone => return Err(Errno::ESRCH),
            }
        }
    }
}

impl crate::Context for Context {
    fn switch(&mut self, regs: &mut Registers) -> Event {
        if self.dead {
            return Event::Died;
        }
        if regs.user.fs_base >= TASK_END || regs.user.gs_base >= TASK_END {
            return Event::Fault {
                signo: libc::SIGSEGV,
                code: SI_KERNEL,
                addr: 0,
                access: Access::Unknown,
            };
        }
        let outcome = self
            .push(&sanitised(&regs.user))
            .and_then(|()| self.run(regs));
        outcome.unwrap_or_else(|_| self.died())
    }

    fn load(&mut self, _regs: &mut Registers) -> Result<()> {
        // The host has given all of them.
        Ok(())
    }

    fn fp_state(&mut self) -> Result<Vec<u8>> {
        xstate::get(self.tracee)
    }

    fn set_fp_state(&mut self, image: &[u8]) -> Result<()> {
        xstate::set(self.tracee, image)
    }

    fn reset_fp_state(&mut self) {
        // Fails only for a thread that is gone, which the next switch reports.
        let _ = xstate::reset(self.tracee);
    }

    fn set_affinity(&mut self, cpus: &crate::CpuSet) -> Result<()> {
        if self.dead || self.guest.restrict(cpus) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn set_rseq(&mut self, _regs: &mut Registers, area: Option<RseqArea>) -> Result<()> {
        let args = match (area, self.rseq) {
            (Some(area), _) => area.call(0),
            (None, Some(area)) => area.call(UNREGISTER),
            (None, None) => return Ok(()),
        };
        self.interruption.watch()?;
        self.call(libc::SYS_rseq, args)?;
        self.rseq = area;
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.interruption.clone())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.interruption.gone();
        self.guest.gone();
        let last = self.space.left();
        if self.dead {
            return;
        }
        if Arc::strong_count(&self.space) == 1 {
            // The address space goes with its last thread: one call for both.
            if self.tracee.detach(libc::SIGKILL).is_err() {
                self.died();
            }
            return;
        }
        // What the host writes to is about to be somebody else's.
        if let Some(area) = self.rseq.filter(|_| !last) {
            if self.call(libc::SYS_rseq, area.call(UNREGISTER)).is_err() {
                self.died();
                return;
            }
            self.rseq = None;
        }
        let process = self.space.process();
        // One that still has an area is nobody else's.
        let park = self.rseq.is_none() && process.has_room();
        let rip = if park || self.rseq.is_some() {
            stub::parked_pc()
        } else {
            stub::exit_pc()
        };
        let regs = UserRegs {
            rip,
            ..sanitised(&UserRegs::default())
        };
        if self
            .tracee
            .set_registers(&regs)
            .and_then(|()| self.tracee.detach(0))
            .is_err()
        {
            self.died();
        } else if park {
            process.return_thread(Thread {
                tid: Some(self.tracee.0),
                used: true,
                seat: None,
            });
        }
    }
}
