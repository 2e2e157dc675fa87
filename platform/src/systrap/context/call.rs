//! Calls of the sentry's that a guest thread is sent to make: those that only the thread itself can make.

use abi::x86::UserRegs;
use abi::{Errno, Result};

use super::{At, Context, TRIES};
use crate::stub::{self, INTERRUPT};
use crate::systrap::frame::{Above, Frame};
use crate::systrap::listener;
use crate::{Registers, RseqArea};

/// rseq(2)'s flag of that name.
const UNREGISTER: u64 = 1;

impl Context {
    /// Has the thread, which is in its handler, make a call of the sentry's; then it is there again.
    fn call(&mut self, nr: i64, args: [u64; 4]) -> Result<()> {
        let At::Handler { id, frame, nested } = std::mem::replace(&mut self.at, At::Away) else {
            return Err(Errno::EINVAL);
        };
        let from = match nested {
            Some(at) => Frame::read(&*self.space, at, &mut Above::default())?,
            None => frame.clone(),
        };
        let (id, result) = self.make_call(id, &frame, from, nr, args)?;
        self.at = At::Handler {
            id,
            frame,
            nested: None,
        };
        Errno::from_return(result).map(|_| ())
    }

    /// `from` is the frame with which the thread is in its handler, `home` the one with which it is to come back.
    fn make_call(
        &self,
        mut id: u64,
        home: &Frame,
        mut from: Frame,
        nr: i64,
        args: [u64; 4],
    ) -> Result<(u64, i64)> {
        let listener = &self.seat()?.listener;
        let (start, made) = stub::call_pc();
        let now = home.registers();
        let regs = UserRegs {
            rax: nr as u64,
            rdi: args[0],
            rsi: args[1],
            rdx: args[2],
            r10: args[3],
            rip: start,
            rsp: home.stack(),
            fs_base: now.fs_base,
            gs_base: now.gs_base,
            ..UserRegs::default()
        };
        for _ in 0..TRIES {
            from.write(&*self.space, &regs, None)?;
            listener::proceed(listener, id)?;
            let mut call = self.interruption.called(|| self.receive())?;
            let [a, b, c, d, ..] = call.args;
            if (call.rip, i64::from(call.nr), [a, b, c, d]) == (made, nr, args) {
                listener::proceed(listener, call.id)?;
                call = self.interruption.called(|| self.receive())?;
            }
            let (signal, at) = call.handler().ok_or(Errno::EIO)?;
            id = call.id;
            if signal == INTERRUPT {
                // It came on the way there, or on the way back: the same once more.
                self.interruption.arrived();
                from = Frame::read(&*self.space, at, &mut Above::default())?;
            } else if signal <= 0 && at == home.at() {
                return Ok((id, i64::from(signal)));
            } else {
                return Err(Errno::EIO);
            }
        }
        Err(Errno::EIO)
    }

    pub(super) fn keep_rseq(&mut self, regs: &mut Registers, area: Option<RseqArea>) -> Result<()> {
        let args = match (area, self.rseq) {
            (Some(area), _) => area.call(0),
            (None, Some(area)) => area.call(UNREGISTER),
            (None, None) => return Ok(()),
        };
        self.interruption.watch()?;
        // The host, too, looks at the low halves of the last three only.
        let same = |asked: [u64; 4]| {
            asked[0] == args[0] && (1..4).all(|n| asked[n] as u32 == args[n] as u32)
        };
        if matches!(self.at, At::Call(_)) && regs.partial && self.asks.is_some_and(same) {
            self.through = true;
        } else {
            crate::Context::load(self, regs)?;
            self.call(libc::SYS_rseq, args)?;
        }
        self.rseq = area;
        Ok(())
    }

    /// Undoes that before the thread's memory is anybody else's: the host would go on writing there.
    pub(super) fn drop_rseq(&mut self) -> Result<()> {
        if let Some(area) = self.rseq {
            self.stop()?;
            self.call(libc::SYS_rseq, area.call(UNREGISTER))?;
            self.rseq = None;
        }
        Ok(())
    }
}
