//! Running one guest thread whose calls are notified.

use std::sync::Arc;

use abi::x86::UserRegs;
use abi::{Errno, Result};

use super::by_page::{ByPage, InSite, Watched, in_site};
use super::frame::{Above, Frame};
use super::in_place::Offer;
use super::listener::{self, Call};
use super::rewrite::{Middle, Progress, is_site_code};
use super::xstate;
use crate::interrupt::Interruption;
use crate::placement;
use crate::registers::CODE_64;
use crate::space::AddressSpace;
use crate::stub::{self, GUEST_TEXT, INTERRUPT, SEAT_LEN, SEATS, Seat, TASK_END, Thread};
use crate::{Access, Event, Facts, Interrupter, Registers, RseqArea};

const SI_KERNEL: i32 = 0x80;
const TRAP_PAGE_FAULT: u64 = 14;
/// The processor's error code of a page fault: it was a write, an instruction fetch.
const ERROR_WRITE: u64 = 2;
const ERROR_EXECUTE: u64 = 16;

/// The thread number of a guest thread that is not known yet or could not be made: no thread has it.
const NOBODY: i32 = i32::MAX;
/// How often a thread is told to leave before its process is ended.
const TRIES: usize = 16;

/// Where the guest thread waits for an answer. There is one of these per thread, and it changes with every call: no box.
#[allow(clippy::large_enum_variant)]
enum At {
    /// In a call of the guest's. All that is known is what came with it.
    Call(u64),
    /// In a call that has come by its page.
    Page,
    /// In its handler's call.
    Handler {
        /// What the answer is addressed to.
        id: u64,
        /// What it will go on with.
        frame: Frame,
        /// It was on its way there when a signal came: the ucontext of that signal's frame.
        nested: Option<u64>,
    },
    /// Nowhere: it runs, or it is gone.
    Away,
}

mod call;
mod stop;
mod turn;

use turn::Came;

/// See the module.
pub struct Context {
    space: Arc<AddressSpace>,
    tid: i32,
    seat: Option<Seat>,
    interruption: Arc<Interruption>,
    at: At,
    /// What was read with its last frame.
    above: Above,
    /// The extended state it is to go on with, if it is another than its frame has.
    state: Option<Vec<u8>>,
    /// What it went on with when it last left its handler.
    resumed: Option<(Frame, UserRegs)>,
    dead: bool,
    /// The call it is in has been offered to be an order.
    offered: bool,
    /// How often it is still to be kept from leaving this processor when it is sent to its handler.
    astray: u32,
    /// It may not run everywhere.
    restricted: bool,
    /// Where its calls come from.
    watched: Watched,
    /// What it shares with its sentry thread.
    by_page: ByPage,
    /// What the host keeps for it.
    rseq: Option<RseqArea>,
    /// The arguments of the call it is in, if that is an rseq(2).
    asks: Option<[u64; 4]>,
    /// That call is to be let through.
    through: bool,
}

impl Context {
    /// Takes over a guest thread without a task. If that fails the context is dead, and the first switch says so.
    pub fn new(space: Arc<AddressSpace>, thread: Result<Thread>) -> Context {
        let (tid, seat) = match thread {
            Ok(thread) => (thread.tid.unwrap_or(NOBODY), thread.seat),
            Err(_) => (NOBODY, None),
        };
        let interruption = Interruption::new(space.process().pid(), tid);
        let spin = space.text().is_some_and(|text| text.spins());
        let mut context = Context {
            space,
            tid,
            seat,
            interruption,
            at: At::Away,
            above: Above::default(),
            state: None,
            resumed: None,
            dead: false,
            offered: false,
            astray: 0,
            restricted: false,
            watched: Watched::default(),
            by_page: ByPage::new(spin),
            rseq: None,
            asks: None,
            through: false,
        };
        if let Err(error) = context.take_over() {
            log::warn!(
                "guest thread {tid} of stub {} cannot be taken over: {error}",
                context.space.process().pid()
            );
            context.died();
        }
        context
    }

    fn take_over(&mut self) -> Result<()> {
        let seat = self.seat.as_mut().ok_or(Errno::ESRCH)?;
        if let Some(id) = seat.call.take() {
            if let Some(at) = seat.frame.take() {
                self.at = At::Handler {
                    id,
                    frame: Frame::blank(at),
                    nested: None,
                };
                return Ok(());
            }
            self.at = At::Call(id);
            self.stop()?;
            return Self::in_handler(&mut self.at).map(|frame| frame.context.fpstate = 0);
        }
        listener::hand_over(&seat.listener)?;
        let call = listener::receive_first(&seat.listener)?;
        self.tid = call.tid;
        placement::free(self.tid);
        self.interruption = Interruption::new(self.space.process().pid(), self.tid);
        let (signal, frame) = call.handler().ok_or(Errno::EIO)?;
        if signal != 0 {
            return Err(Errno::EIO);
        }
        self.at = At::Handler {
            id: call.id,
            frame: Frame::blank(frame),
            nested: None,
        };
        Ok(())
    }

    /// The guest thread does not obey any more: somebody killed its process. To be sure, so is done here.
    fn died(&mut self) -> Event {
        self.space.process().kill();
        self.at = At::Away;
        self.dead = true;
        Event::Died
    }

    fn seat(&self) -> Result<&Seat> {
        self.seat.as_ref().ok_or(Errno::ESRCH)
    }

    fn receive(&self) -> Result<Call> {
        listener::receive(&self.seat()?.listener, self.space.process().pid(), self.tid)
    }

    fn in_handler(at: &mut At) -> Result<&mut Frame> {
        match at {
            At::Handler { frame, .. } => Ok(frame),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Ends a call of the guest's: with a value, or with what the host makes of it if it was an order.
    fn answer(&mut self, id: u64, value: u64) -> Result<()> {
        let ordered = std::mem::take(&mut self.offered) && self.space.accepted();
        let proceed = ordered || std::mem::take(&mut self.through);
        let listener = &self.seat()?.listener;
        if proceed {
            listener::proceed(listener, id)
        } else {
            listener::answer(listener, id, value)
        }
    }

    /// Sees to it that one answer is all that is missing for the guest to go on with the registers.
    fn prepare(&mut self, regs: &mut Registers) -> Result<()> {
        // The host's kernel may take such a result for its own and make the call again.
        let restart = matches!(regs.user.rax as i64, -516..=-512);
        // And what became an order returns what the host says.
        let ordered = self.offered && regs.user.rax != 0;
        if regs.partial && (restart || ordered) {
            crate::Context::load(self, regs)?;
        } else if !regs.partial {
            self.stop()?;
        }
        if let At::Handler { frame, nested, .. } = &mut self.at {
            let mut user = self.by_page.hidden(regs.user);
            let middle = self.space.text().and_then(|text| text.middle(&mut user));
            if let Some(Middle::Call(own)) = middle {
                user.rip = own;
            }
            let state = match self.state.take() {
                Some(state) => {
                    let seat = self.seat.as_ref().ok_or(Errno::ESRCH)?;
                    Some((SEATS + seat.number * SEAT_LEN, state))
                }
                None => None,
            };
            frame.write(&*self.space, &user, state)?;
            if let Some(nested) = *nested {
                frame.write_way_back(&*self.space, nested)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, regs: &mut Registers) -> Result<Event> {
        if self.by_page.wanted() {
            self.give_page(regs)?;
        }
        loop {
            self.prepare(regs)?;
            if !self.interruption.begin() {
                return Ok(Event::Interrupted);
            }
            let came = self.turn(regs);
            self.interruption.end();
            match came? {
                Came::Page(request, rip) => {
                    self.at = At::Page;
                    set_call(regs, request.nr as i32, &request.args, rip);
                    return Ok(Event::Syscall);
                }
                Came::Host(call) => {
                    if let Some(event) = self.event(call, regs)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// The thread gets its page with its registers.
    fn give_page(&mut self, regs: &mut Registers) -> Result<()> {
        let seat = self.seat()?.number;
        let text = self.space.text();
        let page = text.and_then(|text| text.page(self.space.process(), seat));
        if page.is_some() {
            crate::Context::load(self, regs)?;
        }
        self.by_page.give(page);
        Ok(())
    }

    /// What a call means; `None` if nothing has happened.
    fn event(&mut self, call: Call, regs: &mut Registers) -> Result<Option<Event>> {
        let Some((signal, at)) = call.handler() else {
            self.at = At::Call(call.id);
            if let Some(offer) = Offer::from(&call) {
                self.offered = self.space.offer(offer);
            }
            let [a, b, c, d, ..] = call.args;
            self.asks =
                (call.native && i64::from(call.nr) == libc::SYS_rseq).then_some([a, b, c, d]);
            let rip = self.caller(&call).unwrap_or(call.rip);
            set_call(regs, call.nr, &call.args, rip);
            return Ok(Some(if call.native {
                Event::Syscall
            } else {
                Event::Syscall32
            }));
        };
        let mut frame = Frame::read(&*self.space, at, &mut self.above)?;
        let (code, addr, context) = (frame.code, frame.addr, frame.context);
        // A signal before it has loaded its registers: they are what they were. (Or it has jumped there, which then is its loss.)
        let early = (GUEST_TEXT..GUEST_TEXT + 0x1000).contains(&context.ip);
        let mut nested = None;
        match self.resumed.take() {
            Some((before, user)) if early && before.is_above(at) => {
                (frame, nested) = (before, Some(at));
                regs.user = user;
                regs.user.orig_rax = u64::MAX;
            }
            _ => regs.user = frame.registers(),
        }
        regs.partial = false;
        let text = self.space.text();
        let site =
            text.and_then(|text| in_site(&mut self.by_page, text, signal, code, &mut regs.user));
        if early && signal != INTERRUPT && nested.is_some() {
            // The processor has refused to load them. Of an extended state nothing may be left that it refuses again.
            frame.context.fpstate = 0;
        }
        self.at = At::Handler {
            id: call.id,
            frame,
            nested,
        };
        match site {
            Some(InSite::Call) => {
                regs.user.orig_rax = regs.user.rax & 0xffff_ffff;
                regs.user.rax = Errno::ENOSYS.to_return() as u64;
                return Ok(Some(Event::Syscall));
            }
            Some(InSite::Nothing) => return Ok(None),
            None => {}
        }
        Ok(match signal {
            INTERRUPT => self.interruption.received().then_some(Event::Interrupted),
            libc::SIGSEGV | libc::SIGBUS if early => Some(Event::Fault {
                signo: libc::SIGSEGV,
                code: SI_KERNEL,
                addr: 0,
                access: Access::Unknown,
            }),
            // Somebody has sent it.
            _ if code <= 0 => None,
            libc::SIGSEGV | libc::SIGBUS if code != libc::BUS_ADRALN || signal != libc::SIGBUS => {
                Some(Event::Fault {
                    signo: signal,
                    code,
                    addr,
                    access: match (context.trapno, context.err) {
                        (TRAP_PAGE_FAULT, error) if error & ERROR_EXECUTE != 0 => Access::Execute,
                        (TRAP_PAGE_FAULT, error) if error & ERROR_WRITE != 0 => Access::Write,
                        (TRAP_PAGE_FAULT, _) => Access::Read,
                        _ => Access::Unknown,
                    },
                })
            }
            libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGBUS => Some(Event::Exception {
                signo: signal,
                code,
                addr,
                trapno: context.trapno,
            }),
            _ => None,
        })
    }

    /// Where the guest's call came from, if its site is rewritten. If not, it may be from now on.
    fn caller(&mut self, call: &Call) -> Option<u64> {
        let text = self.space.text()?;
        let by_site = is_site_code(call.rip);
        self.by_page.missed(by_site);
        if by_site {
            return text.caller(call.rip);
        }
        if call.native && self.watched.often(call.rip) {
            text.rewrite(self.space.process(), call.rip, call.nr as u32);
        }
        None
    }

    /// Has the guest thread end.
    fn leave(&mut self) -> Result<()> {
        let mut regs = Registers::default();
        self.by_page.spin.forbid();
        for _ in 0..TRIES {
            regs.user = UserRegs {
                rip: stub::leave_pc(),
                ..UserRegs::default()
            };
            regs.partial = false;
            self.prepare(&mut regs)?;
            let call = match self.resume(&regs)? {
                Some(call) => call,
                None => self.receive()?,
            };
            if call.rip == stub::left_pc() && i64::from(call.nr) == libc::SYS_exit {
                return listener::proceed(&self.seat()?.listener, call.id);
            }
            self.event(call, &mut regs)?;
        }
        Err(Errno::EIO)
    }
}

/// What a call brings.
fn set_call(regs: &mut Registers, nr: i32, args: &[u64; 6], rip: u64) {
    let user = &mut regs.user;
    [user.rdi, user.rsi, user.rdx, user.r10, user.r8, user.r9] = *args;
    user.orig_rax = u64::from(nr as u32);
    user.rax = Errno::ENOSYS.to_return() as u64;
    (user.rip, user.cs) = (rip, CODE_64);
    regs.partial = true;
}

impl crate::Context for Context {
    fn switch(&mut self, regs: &mut Registers) -> Event {
        if self.dead {
            return Event::Died;
        }
        if !regs.partial && (regs.user.fs_base >= TASK_END || regs.user.gs_base >= TASK_END) {
            return Event::Fault {
                signo: libc::SIGSEGV,
                code: SI_KERNEL,
                addr: 0,
                access: Access::Unknown,
            };
        }
        self.run(regs).unwrap_or_else(|_| self.died())
    }

    fn load(&mut self, regs: &mut Registers) -> Result<()> {
        if !regs.partial {
            return Ok(());
        }
        let by_page = matches!(self.at, At::Page);
        let stopped = self.stop().and_then(|()| Self::in_handler(&mut self.at));
        match stopped {
            Ok(frame) => {
                let mut user = frame.registers();
                let progress = self.by_page.show(self.space.text(), &mut user);
                if by_page && progress == Some(Progress::Before) {
                    // It is in the call all the same.
                    user.rip = user.rip.wrapping_add(2);
                    (user.rcx, user.r11) = (user.rip, user.eflags);
                }
                regs.user = UserRegs {
                    rax: regs.user.rax,
                    orig_rax: regs.user.orig_rax,
                    ..user
                };
                regs.partial = false;
                Ok(())
            }
            Err(error) => {
                self.died();
                Err(error)
            }
        }
    }

    fn fp_state(&mut self) -> Result<Vec<u8>> {
        let at = Self::in_handler(&mut self.at)?.context.fpstate;
        match &self.state {
            Some(state) => Ok(state.clone()),
            None => xstate::get(&*self.space, &self.above, at),
        }
    }

    fn set_fp_state(&mut self, image: &[u8]) -> Result<()> {
        let image = xstate::complete(image)?;
        Self::in_handler(&mut self.at)?;
        self.state = Some(image);
        Ok(())
    }

    fn reset_fp_state(&mut self) {
        if let Ok(frame) = Self::in_handler(&mut self.at) {
            frame.context.fpstate = 0;
            self.state = None;
        }
    }

    fn set_affinity(&mut self, cpus: &crate::CpuSet) -> Result<()> {
        if self.dead || placement::restrict(self.tid, cpus) {
            if cpus != placement::all() {
                self.restricted = true;
                self.by_page.spin.forbid();
                listener::hand_over(&self.seat()?.listener)?;
            }
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn publishes(&self) -> bool {
        self.by_page.is_there()
    }

    fn publish(&mut self, facts: Option<Facts>) {
        self.by_page.publish(facts);
    }

    fn set_rseq(&mut self, regs: &mut Registers, area: Option<RseqArea>) -> Result<()> {
        self.keep_rseq(regs, area)
    }

    fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.interruption.clone())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.interruption.gone();
        let last = self.space.left();
        if Arc::strong_count(&self.space) == 1 {
            // The address space goes with its last thread, and before the listener does: without it the thread would run on.
            self.space.process().kill();
            return;
        }
        if self.dead {
            return;
        }
        if last && self.rseq.is_some() && !matches!(self.at, At::Away) {
            // Where the host would write is nobody else's, and it does not while the thread waits for an answer.
            if let Some(seat) = self.seat.take() {
                self.space.process().keep_seat(seat);
            }
            return;
        }
        if self.drop_rseq().is_err() {
            self.died();
            return;
        }
        if self.by_page.spin.is_on() {
            let _ = self.synchronous(Some(true));
        }
        let process = self.space.process();
        // Who takes it next wants one that may run anywhere.
        let park = !self.restricted && !self.offered && process.has_room();
        match (&self.at, &mut self.seat) {
            (At::Call(id), Some(seat)) if park => {
                seat.call = Some(*id);
            }
            (
                At::Handler {
                    id,
                    frame,
                    nested: None,
                },
                Some(seat),
            ) if park => {
                seat.call = Some(*id);
                seat.frame = Some(frame.at());
            }
            _ => {
                if self.leave().is_err() {
                    self.died();
                } else if let Some(seat) = self.seat.take() {
                    self.space.process().left(seat);
                }
                return;
            }
        }
        process.return_thread(Thread {
            tid: Some(self.tid),
            used: true,
            seat: self.seat.take(),
        });
    }
}
