//! Errors that come back for a datagram: nobody was at the port (`IP_RECVERR`, `MSG_ERRQUEUE`: ip(7); Linux: `__udp4_lib_err`).

use super::UdpEndpoint;
use crate::addr;
use abi::poll::EPOLLERR;
use abi::socket::{IP_RECVERR, IPV6_RECVERR, SOL_IP, SOL_IPV6};
use abi::{Errno, Result};
use core::net::{IpAddr, SocketAddr};

/// Errors kept for whoever asks; more are lost.
const MOST: usize = 64;

/// An error in the queue, with the datagram that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketError {
    /// `ee_errno`
    pub errno: Errno,
    /// Where the datagram was to go, as the socket's family shows it.
    pub to: SocketAddr,
    /// Who says so.
    pub offender: IpAddr,
    /// The datagram's bytes.
    pub data: Vec<u8>,
}

impl UdpEndpoint {
    /// Nobody is at the port: an ICMP error, which a connected socket (or one with IP_RECVERR) hears.
    pub(super) fn unreachable(&self, to: SocketAddr, data: &[u8]) {
        let mut state = self.state.lock();
        let (level, name) = if to.is_ipv4() {
            (SOL_IP, IP_RECVERR)
        } else {
            (SOL_IPV6, IPV6_RECVERR)
        };
        let queued = state.options.is_on(level, name);
        if queued && state.errors.len() < MOST {
            let to = addr::shown(to, self.family);
            state.errors.push_back(SocketError {
                errno: Errno::ECONNREFUSED,
                offender: to.ip(),
                to,
                data: data.to_vec(),
            });
        }
        if state.peer == Some(to) || queued {
            state.error = Some(Errno::ECONNREFUSED);
            drop(state);
            self.notify.notify(EPOLLERR);
        }
    }

    /// recvmsg(2) with MSG_ERRQUEUE. `EAGAIN`: there is none.
    pub fn recv_error(&self, buf: &mut [u8]) -> Result<(usize, SocketError)> {
        let mut state = self.state.lock();
        let error = state.errors.pop_front().ok_or(Errno::EAGAIN)?;
        state.error = state.errors.front().map(|next| next.errno);
        drop(state);
        let count = error.data.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), error.data.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok((count, error))
    }
}
