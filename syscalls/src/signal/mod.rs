//! Signals: sending, dispositions, masks, waiting.

mod action;
mod kill;
mod signalfd;
mod wait;

pub(crate) use signalfd::SignalFd;

use crate::args::{SigArg, UserAddr};
use abi::signal::{SigAction, SigInfo, SigSet};
use abi::time::Timespec;
use abi::ucontext::StackT;
use sentry::syscall::Syscall;

/// The family's calls.
pub static CALLS: &[Syscall] = calls! {
    KILL kill(pid: i32, sig: SigArg) => kill::kill, Full;
    TKILL tkill(tid: i32, sig: SigArg) => kill::tkill, Full;
    TGKILL tgkill(tgid: i32, tid: i32, sig: SigArg) => kill::tgkill, Full;
    RT_SIGQUEUEINFO rt_sigqueueinfo(pid: i32, sig: SigArg, info: UserAddr<SigInfo>) => kill::rt_sigqueueinfo, Full;
    RT_TGSIGQUEUEINFO rt_tgsigqueueinfo(tgid: i32, tid: i32, sig: SigArg, info: UserAddr<SigInfo>) => kill::rt_tgsigqueueinfo, Full;
    RT_SIGACTION rt_sigaction(sig: i32 as SigNumber, act: UserAddr<SigAction> as At<SigAction>, oldact: UserAddr<SigAction> as OutAt<SigAction>, size: usize) => action::rt_sigaction, Full;
    RT_SIGPROCMASK rt_sigprocmask(how: i32 as SigHow, set: UserAddr<SigSet> as At<SigSet>, oldset: UserAddr<SigSet> as OutAt<SigSet>, size: usize) => action::rt_sigprocmask, Full;
    RT_SIGPENDING rt_sigpending(set: UserAddr<SigSet> as OutAt<SigSet>, size: usize) => action::rt_sigpending, Full;
    RT_SIGRETURN rt_sigreturn() => action::rt_sigreturn, Full;
    SIGALTSTACK sigaltstack(ss: UserAddr<StackT> as At<StackT>, old: UserAddr<StackT> as OutAt<StackT>) => action::sigaltstack, Full;
    RT_SIGSUSPEND rt_sigsuspend(set: UserAddr<SigSet> as At<SigSet>, size: usize) => wait::rt_sigsuspend, Full;
    RT_SIGTIMEDWAIT rt_sigtimedwait(set: UserAddr<SigSet> as At<SigSet>, info: UserAddr<SigInfo> as OutAt<SigInfo>, timeout: UserAddr<Timespec> as At<Timespec>, size: usize) => wait::rt_sigtimedwait, Full;
    PAUSE pause() => wait::pause, Full;
    SIGNALFD signalfd(fd: i32, mask: UserAddr<SigSet> as At<SigSet>, size: usize) => signalfd::signalfd, Full;
    SIGNALFD4 signalfd4(fd: i32, mask: UserAddr<SigSet> as At<SigSet>, size: usize, flags: i32 as CloexecBits) => signalfd::signalfd4, Full;
    RESTART_SYSCALL restart_syscall() => wait::restart_syscall, Full;
};
