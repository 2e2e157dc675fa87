//! The ptrace platform: guest threads are host threads of stub processes, each traced by its task's own sentry thread with `PTRACE_SYSEMU`,
//! which stops them at every system call without the host executing it. It works on every Linux that lets a process trace its children, and is
//! what the other platforms are checked against.

mod context;
mod sys;
mod xstate;

use crate::stub::{GuestKind, HostVdso};
use crate::{Result, StubPlatform};

pub(crate) use context::Context;

/// The platform; see [`StubPlatform::new`] for when to make it.
pub fn new(vdso: &HostVdso) -> Result<StubPlatform> {
    StubPlatform::new(GuestKind::Traced, vdso, Default::default())
}
