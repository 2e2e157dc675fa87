//! Signals, sets of them, and what a process wants done with each (`asm/signal.h`, signal(7)).
#![allow(missing_docs)]

use core::fmt;

pub use crate::siginfo::SigInfo;
pub use crate::ucontext::{RtSigFrame, SigContext, StackT, UContext};

/// A signal number, 1 to 64.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Signal(u8);

/// What an unhandled signal does to its process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum DefaultAction {
    Terminate,
    Core,
    Stop,
    Continue,
    Ignore,
}

macro_rules! signals {
    ($($name:ident = $value:literal,)*) => {
        impl Signal {
            $(pub const $name: Signal = Signal($value);)*

            /// The name of a standard signal, `None` for a real-time one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

signals! {
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8,
    SIGKILL = 9, SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGSTKFLT = 16,
    SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGXCPU = 24,
    SIGXFSZ = 25, SIGVTALRM = 26, SIGPROF = 27, SIGWINCH = 28, SIGIO = 29, SIGPWR = 30, SIGSYS = 31,
}

impl Signal {
    /// How many signals there are; also the largest number.
    pub const COUNT: i32 = 64;
    /// The first real-time signal as the kernel counts (glibc keeps the first two for itself).
    pub const SIGRTMIN: Signal = Signal(32);
    /// The last real-time signal.
    pub const SIGRTMAX: Signal = Signal(64);

    /// The signal of a number, if it is one: 0, which only probes, is none.
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= Self::COUNT {
            Some(Signal(number as u8))
        } else {
            None
        }
    }

    /// The number.
    pub const fn raw(self) -> i32 {
        self.0 as i32
    }

    /// The number less one, 0 to 63: an index into tables, the bit in a set.
    pub const fn index(self) -> usize {
        (self.0 as usize).saturating_sub(1) & 63
    }

    /// Does every sending queue an entry of its own?
    pub const fn is_realtime(self) -> bool {
        self.0 >= 32
    }

    /// SIGKILL and SIGSTOP, which can be neither caught, blocked nor ignored.
    pub const fn is_unstoppable(self) -> bool {
        matches!(self, Signal::SIGKILL | Signal::SIGSTOP)
    }

    /// signal(7), column "Action".
    pub const fn default_action(self) -> DefaultAction {
        match self {
            Signal::SIGQUIT
            | Signal::SIGILL
            | Signal::SIGTRAP
            | Signal::SIGABRT
            | Signal::SIGBUS
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGXCPU
            | Signal::SIGXFSZ
            | Signal::SIGSYS => DefaultAction::Core,
            Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {
                DefaultAction::Stop
            }
            Signal::SIGCONT => DefaultAction::Continue,
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH => DefaultAction::Ignore,
            _ => DefaultAction::Terminate,
        }
    }

    /// All signals, in order.
    pub fn all() -> impl Iterator<Item = Signal> {
        (1..=64).map(Signal)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "SIGRT_{}", self.0.saturating_sub(32)),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `sigset_t` of the kernel: 64 bits, bit 0 for signal 1.
#[repr(transparent)]
#[derive(
    Copy,
    Clone,
    Default,
    Eq,
    PartialEq,
    Hash,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
pub struct SigSet(pub u64);

impl SigSet {
    pub const EMPTY: SigSet = SigSet(0);
    pub const FULL: SigSet = SigSet(u64::MAX);
    /// SIGKILL and SIGSTOP.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// What a processor exception raises; dequeued before others (`SYNCHRONOUS_MASK`).
    pub const SYNCHRONOUS: SigSet = SigSet::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);
    /// The signals that stop a process by default.
    pub const STOP: SigSet = SigSet::of(&[
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ]);

    /// The set of some signals.
    pub const fn of(signals: &[Signal]) -> SigSet {
        let mut bits = 0;
        let mut rest = signals;
        while let [first, tail @ ..] = rest {
            bits |= 1 << first.index();
            rest = tail;
        }
        SigSet(bits)
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> signal.index() & 1 != 0
    }

    pub const fn add(&mut self, signal: Signal) {
        self.0 |= 1 << signal.index();
    }

    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << signal.index());
    }

    /// The signal with the lowest number, which Linux takes first.
    pub const fn lowest(self) -> Option<Signal> {
        if self.0 == 0 {
            None
        } else {
            Signal::new(self.0.trailing_zeros() as i32 + 1)
        }
    }

    pub const fn union(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    pub const fn intersection(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// What is in `self` and not in `other`.
    pub const fn difference(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    pub const fn complement(self) -> SigSet {
        SigSet(!self.0)
    }

    /// Without SIGKILL and SIGSTOP: what every mask a guest sets is reduced to.
    pub const fn blockable(self) -> SigSet {
        self.difference(Self::UNBLOCKABLE)
    }

    /// The members, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let signal = rest.lowest()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl fmt::Debug for SigSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SigSet {
        let mut set = SigSet::EMPTY;
        signals.into_iter().for_each(|s| set.add(s));
        set
    }
}

abi_struct! {
    /// The kernel's `struct sigaction` (rt_sigaction(2)).
    pub struct SigAction [32] {
        /// Address of the handler, [`SIG_DFL`] or [`SIG_IGN`].
        pub sa_handler: u64,
        /// [`SaFlags`].
        pub sa_flags: u64,
        /// Where the handler returns to.
        pub sa_restorer: u64,
        /// Blocked while the handler runs.
        pub sa_mask: SigSet,
    }

    /// `struct sigevent` (sigevent(7)).
    pub struct SigEvent [64] {
        pub sigev_value: u64,
        pub sigev_signo: i32,
        pub sigev_notify: i32,
        /// Thread id for SIGEV_THREAD_ID.
        pub sigev_tid: i32,
        pub _pad: [i32; 11],
    }

    /// What signalfd(2) yields per signal.
    pub struct SignalfdSiginfo [128] {
        pub ssi_signo: u32,
        pub ssi_errno: i32,
        pub ssi_code: i32,
        pub ssi_pid: u32,
        pub ssi_uid: u32,
        pub ssi_fd: i32,
        pub ssi_tid: u32,
        pub ssi_band: u32,
        pub ssi_overrun: u32,
        pub ssi_trapno: u32,
        pub ssi_status: i32,
        pub ssi_int: i32,
        pub ssi_ptr: u64,
        pub ssi_utime: u64,
        pub ssi_stime: u64,
        pub ssi_addr: u64,
        pub ssi_addr_lsb: u16,
        pub _pad2: u16,
        pub ssi_syscall: i32,
        pub ssi_call_addr: u64,
        pub ssi_arch: u32,
        pub _pad: [u8; 28],
    }

    /// The sixth argument of pselect6(2), also io_pgetevents(2)'s: a mask and its size.
    pub struct SigSetArg [16] {
        pub ss: u64,
        pub ss_len: u64,
    }
}

pub const SIG_DFL: u64 = 0;
pub const SIG_IGN: u64 = 1;
/// The only size of a signal set that calls take.
pub const SIGSET_SIZE: usize = 8;

pub const SIG_BLOCK: i32 = 0;
pub const SIG_UNBLOCK: i32 = 1;
pub const SIG_SETMASK: i32 = 2;

pub const SIGEV_SIGNAL: i32 = 0;
pub const SIGEV_NONE: i32 = 1;
pub const SIGEV_THREAD: i32 = 2;
pub const SIGEV_THREAD_ID: i32 = 4;

pub const SFD_CLOEXEC: i32 = 0o2000000;
pub const SFD_NONBLOCK: i32 = 0o4000;

bitflags::bitflags! {
    /// `sa_flags`.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct SaFlags: u64 {
        const SA_NOCLDSTOP = 0x1;
        const SA_NOCLDWAIT = 0x2;
        const SA_SIGINFO = 0x4;
        const SA_UNSUPPORTED = 0x400;
        const SA_EXPOSE_TAGBITS = 0x800;
        const SA_RESTORER = 0x0400_0000;
        const SA_ONSTACK = 0x0800_0000;
        const SA_RESTART = 0x1000_0000;
        const SA_NODEFER = 0x4000_0000;
        const SA_RESETHAND = 0x8000_0000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_1_to_64_are_no_signals() {
        assert!(
            [i32::MIN, -1, 0, 65, i32::MAX]
                .iter()
                .all(|n| Signal::new(*n).is_none())
        );
        assert!(Signal::all().all(|s| Signal::new(s.raw()) == Some(s)));
        assert_eq!(
            format!("{} {}", Signal::SIGSYS, Signal::SIGRTMAX),
            "SIGSYS SIGRT_32"
        );
    }

    #[test]
    fn sets() {
        let mut set: SigSet = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGRTMAX]
            .into_iter()
            .collect();
        assert_eq!(set.0, 1 << 14 | 1 | 1 << 63);
        assert_eq!((set.lowest(), set.len()), (Some(Signal::SIGHUP), 3));
        set.remove(Signal::SIGHUP);
        assert!(set.iter().eq([Signal::SIGTERM, Signal::SIGRTMAX]));
        assert_eq!(SigSet::FULL.blockable().complement(), SigSet::UNBLOCKABLE);
        assert_eq!(SigSet::EMPTY.lowest(), None);
    }
}
