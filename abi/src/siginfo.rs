//! `siginfo_t` (`asm-generic/siginfo.h`): why a signal was sent. A union in C; here 128 bytes with one constructor per member.
#![allow(missing_docs)]

use crate::signal::Signal;

abi_struct! {
    /// `siginfo_t`.
    pub struct SigInfo [128] {
        pub si_signo: i32,
        pub si_errno: i32,
        pub si_code: i32,
        pub _pad: i32,
        /// The union, from offset 16.
        pub fields: [u64; 14],
    }
}

pub const SI_USER: i32 = 0;
pub const SI_KERNEL: i32 = 0x80;
pub const SI_QUEUE: i32 = -1;
pub const SI_TIMER: i32 = -2;
pub const SI_MESGQ: i32 = -3;
pub const SI_ASYNCIO: i32 = -4;
pub const SI_SIGIO: i32 = -5;
pub const SI_TKILL: i32 = -6;
pub const SI_DETHREAD: i32 = -7;
pub const SI_ASYNCNL: i32 = -60;

pub const ILL_ILLOPC: i32 = 1;
pub const ILL_ILLOPN: i32 = 2;
pub const ILL_ILLADR: i32 = 3;
pub const ILL_ILLTRP: i32 = 4;
pub const ILL_PRVOPC: i32 = 5;
pub const ILL_PRVREG: i32 = 6;
pub const ILL_COPROC: i32 = 7;
pub const ILL_BADSTK: i32 = 8;
pub const FPE_INTDIV: i32 = 1;
pub const FPE_INTOVF: i32 = 2;
pub const FPE_FLTDIV: i32 = 3;
pub const FPE_FLTOVF: i32 = 4;
pub const FPE_FLTUND: i32 = 5;
pub const FPE_FLTRES: i32 = 6;
pub const FPE_FLTINV: i32 = 7;
pub const FPE_FLTSUB: i32 = 8;
pub const FPE_FLTUNK: i32 = 14;
pub const SEGV_MAPERR: i32 = 1;
pub const SEGV_ACCERR: i32 = 2;
pub const SEGV_BNDERR: i32 = 3;
pub const SEGV_PKUERR: i32 = 4;
pub const BUS_ADRALN: i32 = 1;
pub const BUS_ADRERR: i32 = 2;
pub const BUS_OBJERR: i32 = 3;
pub const BUS_MCEERR_AR: i32 = 4;
pub const BUS_MCEERR_AO: i32 = 5;
pub const TRAP_BRKPT: i32 = 1;
pub const TRAP_TRACE: i32 = 2;
pub const TRAP_BRANCH: i32 = 3;
pub const TRAP_HWBKPT: i32 = 4;
pub const TRAP_UNK: i32 = 5;
pub const CLD_EXITED: i32 = 1;
pub const CLD_KILLED: i32 = 2;
pub const CLD_DUMPED: i32 = 3;
pub const CLD_TRAPPED: i32 = 4;
pub const CLD_STOPPED: i32 = 5;
pub const CLD_CONTINUED: i32 = 6;
pub const POLL_IN: i32 = 1;
pub const POLL_OUT: i32 = 2;
pub const POLL_MSG: i32 = 3;
pub const POLL_ERR: i32 = 4;
pub const POLL_PRI: i32 = 5;
pub const POLL_HUP: i32 = 6;
pub const SYS_SECCOMP: i32 = 1;
pub const SYS_USER_DISPATCH: i32 = 2;

/// Two 32-bit members that share one 64-bit word.
const fn pair(low: i32, high: u32) -> u64 {
    (low as u32 as u64) | ((high as u64) << 32)
}

impl SigInfo {
    fn make(signal: Signal, code: i32, words: [u64; 4]) -> SigInfo {
        let [a, b, c, d] = words;
        let mut fields = [0; 14];
        [fields[0], fields[1], fields[2], fields[3]] = [a, b, c, d];
        SigInfo {
            si_signo: signal.raw(),
            si_errno: 0,
            si_code: code,
            _pad: 0,
            fields,
        }
    }

    /// Sent by the kernel itself, without a sender (`SEND_SIG_PRIV`).
    pub fn kernel(signal: Signal) -> SigInfo {
        Self::make(signal, SI_KERNEL, [0; 4])
    }

    /// kill(2): `pid` and `uid` are the sender's, in the receiver's namespaces.
    pub fn kill(signal: Signal, pid: i32, uid: u32) -> SigInfo {
        Self::make(signal, SI_USER, [pair(pid, uid), 0, 0, 0])
    }

    /// tkill(2), tgkill(2).
    pub fn tgkill(signal: Signal, pid: i32, uid: u32) -> SigInfo {
        Self::make(signal, SI_TKILL, [pair(pid, uid), 0, 0, 0])
    }

    /// sigqueue(3) and mq_notify(3): `code` is SI_QUEUE or SI_MESGQ.
    pub fn queue(signal: Signal, code: i32, pid: i32, uid: u32, value: u64) -> SigInfo {
        Self::make(signal, code, [pair(pid, uid), value, 0, 0])
    }

    /// A POSIX timer's expiry.
    pub fn timer(signal: Signal, timer_id: i32, overrun: i32, value: u64) -> SigInfo {
        Self::make(
            signal,
            SI_TIMER,
            [pair(timer_id, overrun as u32), value, 0, 0],
        )
    }

    /// SIGCHLD: `status` is the exit code or the signal number, times are in clock ticks.
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> SigInfo {
        Self::make(
            Signal::SIGCHLD,
            code,
            [pair(pid, uid), pair(status, 0), utime as u64, stime as u64],
        )
    }

    /// A processor exception at, or about, `addr`.
    pub fn fault(signal: Signal, code: i32, addr: u64) -> SigInfo {
        Self::make(signal, code, [addr, 0, 0, 0])
    }

    /// SIGIO and F_SETSIG: `code` is POLL_IN and so on, `band` has POLL* bits.
    pub fn poll(signal: Signal, code: i32, band: i64, fd: i32) -> SigInfo {
        Self::make(signal, code, [band as u64, pair(fd, 0), 0, 0])
    }

    /// SIGSYS from seccomp; `errno` is the filter's SECCOMP_RET_DATA.
    pub fn sys(call_addr: u64, syscall: i32, arch: u32, errno: i32) -> SigInfo {
        let mut info = Self::make(
            Signal::SIGSYS,
            SYS_SECCOMP,
            [call_addr, pair(syscall, arch), 0, 0],
        );
        info.si_errno = errno;
        info
    }

    /// The signal, if the number is one.
    pub fn signal(&self) -> Option<Signal> {
        Signal::new(self.si_signo)
    }

    /// `si_pid`: members kill, rt, sigchld.
    pub fn pid(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// `si_uid`: members kill, rt, sigchld.
    pub fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// `si_value`: members rt, timer.
    pub fn value(&self) -> u64 {
        self.fields[1]
    }

    /// `si_tid`: member timer.
    pub fn timer_id(&self) -> i32 {
        self.pid()
    }

    /// `si_overrun`: member timer.
    pub fn overrun(&self) -> i32 {
        self.uid() as i32
    }

    /// Sets `si_overrun`, known only when the signal is taken.
    pub fn set_overrun(&mut self, overrun: i32) {
        self.fields[0] = pair(self.timer_id(), overrun as u32);
    }

    /// `si_status`: member sigchld.
    pub fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }

    /// `si_utime`: member sigchld.
    pub fn utime(&self) -> i64 {
        self.fields[2] as i64
    }

    /// `si_stime`: member sigchld.
    pub fn stime(&self) -> i64 {
        self.fields[3] as i64
    }

    /// `si_addr`: member sigfault; also `si_call_addr`.
    pub fn addr(&self) -> u64 {
        self.fields[0]
    }

    /// `si_band`: member sigpoll.
    pub fn band(&self) -> i64 {
        self.fields[0] as i64
    }

    /// `si_fd`: member sigpoll.
    pub fn fd(&self) -> i32 {
        self.status()
    }

    /// `si_syscall`: member sigsys.
    pub fn syscall(&self) -> i32 {
        self.status()
    }

    /// `si_arch`: member sigsys.
    pub fn arch(&self) -> u32 {
        (self.fields[1] >> 32) as u32
    }

    /// Was it sent by a call of a process, which alone may be blocked by a user namespace's rules? (`SI_FROMUSER`)
    pub fn is_from_user(&self) -> bool {
        self.si_code <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn at(info: &SigInfo, offset: usize, len: usize) -> u64 {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&info.as_bytes()[offset..offset + len]);
        u64::from_le_bytes(word)
    }

    #[test]
    fn members_sit_where_c_has_them() {
        let kill = SigInfo::kill(Signal::SIGTERM, 7, 1000);
        assert_eq!(
            (
                at(&kill, 0, 4),
                at(&kill, 8, 4),
                at(&kill, 16, 4),
                at(&kill, 20, 4)
            ),
            (15, 0, 7, 1000)
        );
        let queue = SigInfo::queue(Signal::SIGUSR1, SI_QUEUE, 7, 8, 0x1122_3344_5566_7788);
        assert_eq!(
            (at(&queue, 8, 4), at(&queue, 24, 8)),
            (u64::from(SI_QUEUE as u32), 0x1122_3344_5566_7788)
        );
        let child = SigInfo::child(CLD_EXITED, 5, 6, 77, 8, 9);
        assert_eq!(
            (at(&child, 24, 4), at(&child, 32, 8), at(&child, 40, 8)),
            (77, 8, 9)
        );
        let timer = SigInfo::timer(Signal::SIGALRM, 3, 4, 5);
        assert_eq!(
            (at(&timer, 16, 4), at(&timer, 20, 4), at(&timer, 24, 8)),
            (3, 4, 5)
        );
        let sys = SigInfo::sys(0x1000, 39, 0xc000_003e, 2);
        assert_eq!(
            (
                at(&sys, 4, 4),
                at(&sys, 16, 8),
                at(&sys, 24, 4),
                at(&sys, 28, 4)
            ),
            (2, 0x1000, 39, 0xc000_003e)
        );
        let poll = SigInfo::poll(Signal::SIGIO, POLL_IN, 0x41, 9);
        assert_eq!((at(&poll, 16, 8), at(&poll, 24, 4)), (0x41, 9));
        assert_eq!(
            (
                child.status(),
                child.utime(),
                child.stime(),
                child.pid(),
                child.uid()
            ),
            (77, 8, 9, 5, 6)
        );
    }
}
