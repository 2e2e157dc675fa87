//! One turn of a guest thread: it is let go, and its next call comes, by the host or by its page.

use abi::{Errno, Result};

use super::{At, Context};
use crate::systrap::listener::{self, Call};
use crate::systrap::rewrite::Request;
use crate::systrap::spin::Running;
use crate::{Registers, placement};

/// How a call has come, and where from.
pub(super) enum Came {
    Host(Call),
    Page(Request, u64),
}

impl Context {
    /// Gives that answer. A call that has come instead of the way to do so.
    pub(super) fn resume(&mut self, regs: &Registers) -> Result<Option<Call>> {
        match std::mem::replace(&mut self.at, At::Away) {
            At::Call(id) => {
                self.resumed = None;
                let sync = self.by_page.letting_go();
                self.synchronous(sync)?;
                self.answer(id, regs.user.rax)?;
            }
            At::Page => {
                self.resumed = None;
                match self.by_page.answer(regs.user.rax) {
                    Ok(sync) => self.synchronous(sync)?,
                    Err(()) => {
                        let call = self.receive()?;
                        if call.handler().is_some() {
                            return Ok(Some(call));
                        }
                        self.by_page.brought();
                        self.answer(call.id, regs.user.rax)?;
                    }
                }
            }
            At::Handler { id, frame, .. } => {
                self.resumed = Some((frame, regs.user));
                let sync = self.by_page.letting_go();
                self.synchronous(sync)?;
                listener::proceed(&self.seat()?.listener, id)?;
            }
            At::Away => return Err(Errno::ESRCH),
        }
        Ok(None)
    }

    /// From now on an answer hands over on one processor, or the two threads stay on one each.
    pub(super) fn synchronous(&self, sync: Option<bool>) -> Result<()> {
        let Some(sync) = sync else { return Ok(()) };
        if sync {
            placement::free(self.tid);
        } else {
            placement::apart(self.tid);
        }
        listener::set_synchronous(&self.seat()?.listener, sync)
    }

    /// Lets the guest thread go on until its next call.
    pub(super) fn turn(&mut self, regs: &Registers) -> Result<Came> {
        let _running = self.space.text().map(|_| Running::new());
        if let Some(call) = self.resume(regs)? {
            return Ok(Came::Host(call));
        }
        match self.by_page.look(self.space.text()) {
            Some((request, rip)) => Ok(Came::Page(request, rip)),
            None => self.receive().map(Came::Host),
        }
    }
}
