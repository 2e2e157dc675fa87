//! Urgent data (`MSG_OOB`): a mark in the stream and the byte at it (tcp(7); Linux: `tcp_check_urg`, `tcp_recv_urg`).

use super::connection::{Side, State};
use abi::socket::{TCP_CLOSE, TCP_SYN_SENT};
use abi::{Errno, Result};

/// The last byte that one end has sent as urgent.
#[derive(Copy, Clone, Debug)]
pub struct Urgent {
    /// Its place in the stream.
    at: u64,
    byte: u8,
    /// Received by itself; the mark stays until the reader is past it.
    taken: bool,
}

impl State {
    /// The byte that `side` has put into its queue last is urgent. An earlier one becomes ordinary, unless the reader stands right before it.
    pub fn mark_urgent(&mut self, side: Side, byte: u8) {
        let (me, peer) = self.ends.both_mut(side);
        let read = me.out.position();
        if me.urgent.is_some_and(|old| old.at == read) && !peer.caps.oob_inline {
            me.out.skip(1);
        }
        me.urgent = Some(Urgent {
            at: me.out.end().saturating_sub(1),
            byte,
            taken: false,
        });
    }

    /// How many bytes the reader `side` has before the mark, if there is one and it was not passed.
    pub fn ahead_of_mark(&self, side: Side) -> Option<usize> {
        let out = &self.ends.of(side.peer());
        let ahead = out.urgent?.at.checked_sub(out.out.position())?;
        Some(usize::try_from(ahead).unwrap_or(usize::MAX))
    }

    /// Whether the reader's next byte is an urgent one that ordinary reads leave out.
    pub fn skips_urgent(&self, side: Side) -> bool {
        !self.ends.of(side).caps.oob_inline && self.ahead_of_mark(side) == Some(0)
    }

    /// Is there an urgent byte to be received by itself?
    pub fn has_urgent(&self, side: Side) -> bool {
        self.ahead_of_mark(side).is_some()
            && self.ends.of(side.peer()).urgent.is_some_and(|u| !u.taken)
    }

    /// What SIOCINQ counts: up to the mark.
    pub fn input_queue(&self, side: Side) -> usize {
        let all = self.readable(side);
        match self.ahead_of_mark(side) {
            Some(ahead) if !self.ends.of(side).caps.oob_inline => ahead.min(all),
            _ => all,
        }
    }

    /// recv(2) with MSG_OOB. `None`: no more will come.
    pub fn take_urgent(&mut self, side: Side, peek: bool) -> Result<Option<u8>> {
        if self.ends.of(side).caps.oob_inline || !self.has_urgent(side) {
            return Err(Errno::EINVAL);
        }
        let (state, over) = (self.tcp_state(side), self.is_over());
        let (_, peer) = self.ends.both_mut(side);
        if state == TCP_SYN_SENT || (state == TCP_CLOSE && over && !peer.fin) {
            return Err(Errno::ENOTCONN);
        }
        Ok(peer.urgent.as_mut().map(|urgent| {
            urgent.taken = !peek;
            urgent.byte
        }))
    }
}
