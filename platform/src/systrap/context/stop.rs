//! From a call of the guest's into its handler, where all its registers are.

use abi::{Errno, Result};

use super::{At, Context};
use crate::placement;
use crate::stub::raw::current_cpu;
use crate::stub::{self, INTERRUPT};
use crate::systrap::frame::Frame;
use crate::systrap::listener::Call;

/// Once the signal has woken a thread on another processor, it is held on this one so many times.
const ASTRAY: u32 = 64;

impl Context {
    /// From a call of the guest's into its handler. It returns from the call, but executes nothing.
    pub(super) fn stop(&mut self) -> Result<()> {
        let call = match self.at {
            At::Call(id) => Some(id),
            At::Page => None,
            _ => return Ok(()),
        };
        self.by_page.redo();
        // A thread whose calls go by its page is elsewhere for a reason.
        let apart = self.by_page.spin.is_on();
        let found = match self.astray.checked_sub(1).filter(|_| !apart) {
            Some(left) => {
                self.astray = left;
                placement::beside(self.tid, || self.interrupt_call(call))
            }
            None => {
                let cpu = current_cpu();
                let found = self.interrupt_call(call);
                if current_cpu() != cpu && !apart {
                    self.astray = ASTRAY;
                }
                found
            }
        }?;
        match found.handler() {
            Some((INTERRUPT, at)) => {
                self.interruption.arrived();
                self.at = At::Handler {
                    id: found.id,
                    frame: Frame::read(&*self.space, at, &mut self.above)?,
                    nested: None,
                };
                Ok(())
            }
            _ => Err(Errno::EIO),
        }
    }

    /// Sends the signal that brings a thread into its handler, then ends the call it is in, unless that came by its page. The signal alone
    /// already wakes it, for it to find out that only the answer counts.
    fn interrupt_call(&mut self, call: Option<u64>) -> Result<Call> {
        // SAFETY: sends a signal to a thread of ours, which handles it.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                self.space.process().pid(),
                self.tid,
                INTERRUPT,
            )
        };
        if sent != 0 {
            return Err(stub::errno());
        }
        if let Some(id) = call {
            self.answer(id, 0)?;
        }
        let mut found = self.interruption.called(|| self.receive())?;
        if call.is_none() && found.handler().is_none() {
            // It makes the call that came by its page.
            self.answer(found.id, 0)?;
            found = self.interruption.called(|| self.receive())?;
        }
        Ok(found)
    }
}
