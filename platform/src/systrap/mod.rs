//! The systrap platform: guest threads are host threads of stub processes under a seccomp filter that notifies the sentry of every call and
//! allows none. Each has a listener of its own, on which its task's sentry thread waits; the host's scheduler is told to hand over on the same
//! processor, so that a call costs two context switches and nothing else.
//!
//! ```text
//!   sentry thread                                    guest thread in the stub
//!   ─────────────                                    ────────────────────────
//!   answer the last call (rax) ─────────────────────▶ guest code … syscall ───▶ number, arguments, rip ─┐
//!                                                          fault, interrupt: signal, frame,              │
//!                                                          handler's rt_sigprocmask ──▶ frame's address ─┤
//!   receive ◀────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A call brings its number and arguments; the other registers stay where they are until somebody needs them ([`crate::Context::load`]): then the
//! thread is sent the interrupt, and what its handler tells is a frame with all of them. The sentry reads it, writes what is to be, and lets
//! the handler's call, which only unblocks signals, proceed; the thread loads the registers from the frame.
//!
//! Nothing in a frame is believed: a guest thread can write all of them, and tell any address. What comes of it are the registers of that
//! guest thread, which it could have had anyway.

mod by_page;
mod context;
mod frame;
mod in_place;
pub(crate) mod listener;
mod rewrite;
mod spin;
mod xstate;

use abi::Errno;

use crate::stub::{GuestKind, HostVdso};
use crate::{Result, StubPlatform};

pub(crate) use context::Context;
pub(crate) use in_place::Offer;
pub(crate) use rewrite::{Family, Pages, Rewriter, TextMap};

/// What a sandbox may do to be quicker.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Call sites are rewritten.
    pub rewrite: bool,
    /// Threads that have a processor to spare hand over without the host, in rewritten sites.
    pub spin: bool,
}

/// The platform; see [`StubPlatform`] for when to make it. `ENOSYS` where [`missing`] knows something.
pub fn new(vdso: &HostVdso, options: Options) -> Result<StubPlatform> {
    match missing() {
        None => StubPlatform::new(GuestKind::Notified, vdso, options),
        Some(_) => Err(Errno::ENOSYS),
    }
}

/// What this host lacks, if anything.
pub fn missing() -> Option<String> {
    const HWCAP2_FSGSBASE: u64 = 2;
    if !std::arch::is_x86_feature_detected!("xsave") {
        return Some("the processor has no XSAVE".to_owned());
    }
    // SAFETY: reads a word that the kernel gave this process.
    if unsafe { libc::getauxval(libc::AT_HWCAP2) } & HWCAP2_FSGSBASE == 0 {
        return Some(
            "programs may not use WRFSBASE (Linux 5.9, and a processor that has it)".to_owned(),
        );
    }
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map(|word| word.parse().unwrap_or(0u32));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // 6.6: synchronous wake-up; 6.11: a receive ends when the last thread under the filter has ended.
    (version < (6, 11)).then(|| format!("Linux {release} is older than 6.11"))
}
