//! TCP_INFO: what a connection without packets can truthfully say, and for the rest what an idle Linux connection over `lo` shows.

use super::{Phase, TcpEndpoint};
use abi::socket::{TCP_LISTEN, TcpInfo};

/// Timestamps, SACK, window scaling.
const OPTIONS: u8 = 7;
/// MSS over `lo`.
const MSS: u32 = super::MSS as u32;

impl TcpEndpoint {
    /// The TCP_INFO structure.
    pub fn info(&self) -> TcpInfo {
        let mut info = TcpInfo {
            tcpi_state: self.tcp_state(),
            tcpi_rto: 1_000_000,
            tcpi_snd_mss: 536,
            tcpi_rcv_mss: 88,
            tcpi_snd_cwnd: 10,
            tcpi_snd_ssthresh: i32::MAX as u32,
            tcpi_reordering: 3,
            tcpi_max_pacing_rate: u64::MAX,
            tcpi_pacing_rate: u64::MAX,
            ..TcpInfo::default()
        };
        match self.phase() {
            Phase::Listening(listener) => {
                let queue = listener.queue.lock();
                // Of a listener: connections to be accepted, and the most there may be.
                info.tcpi_state = TCP_LISTEN;
                info.tcpi_unacked = u32::try_from(queue.ready.len()).unwrap_or(u32::MAX);
                info.tcpi_sacked = u32::try_from(queue.limit).unwrap_or(u32::MAX);
            }
            Phase::Connected { conn, side, .. } => {
                let state = conn.state.lock();
                let (me, peer) = (state.ends.of(side), state.ends.of(side.peer()));
                info.tcpi_options = OPTIONS;
                info.tcpi_wscale = 0x77;
                info.tcpi_rto = 200_000;
                info.tcpi_snd_mss = MSS;
                info.tcpi_rcv_mss = 536;
                info.tcpi_pmtu = 65_535;
                info.tcpi_advmss = 65_483;
                info.tcpi_rtt = 20;
                info.tcpi_rttvar = 10;
                info.tcpi_min_rtt = 10;
                info.tcpi_rcv_ssthresh = u32::try_from(me.caps.receive).unwrap_or(u32::MAX);
                info.tcpi_rcv_space = info.tcpi_rcv_ssthresh;
                info.tcpi_snd_wnd = u32::try_from(peer.caps.receive).unwrap_or(u32::MAX);
                info.tcpi_rcv_wnd = info.tcpi_rcv_ssthresh;
                info.tcpi_notsent_bytes = u32::try_from(state.unsent(side)).unwrap_or(u32::MAX);
                info.tcpi_bytes_sent = me.bytes_sent;
                info.tcpi_bytes_acked = me.bytes_sent.saturating_add(1);
                info.tcpi_bytes_received = peer.bytes_sent;
                info.tcpi_data_segs_out = me.sends;
                info.tcpi_data_segs_in = peer.sends;
                info.tcpi_segs_out = me.sends.wrapping_add(peer.sends).wrapping_add(2);
                info.tcpi_segs_in = me.sends.wrapping_add(peer.sends).wrapping_add(1);
                info.tcpi_delivered = me.sends.wrapping_add(1);
            }
            Phase::Idle | Phase::Closed => {}
        }
        info
    }
}
