//! Stub processes: the host processes that are guest address spaces. What is here serves every platform that has them; only how guest threads
//! run in them differs.
//!
//! A stub's memory is the guest's, but for a small area at the top of user space ([`layout`]) with code ([`text`]) that executes the sentry's
//! orders. Its first thread, the *helper*, does nothing else; it alone may change mappings, its filter allows that and little more
//! ([`filter`]), and nothing it works with can be written by guest threads. Orders lie in a page that only the sentry can write
//! ([`order_book`]), a message on the stub's socket wakes the helper and brings the descriptors they need, and the answers come back over the
//! same socket ([`process`]). Guest threads share the process but can make no system call, so they can neither give an order nor forge an
//! answer.
//!
//! All stubs descend from the [`zygote`], and all are children of the sentry. The [`pool`] keeps some ready.

mod filter;
mod helper;
mod layout;
mod memory;
mod order_book;
mod orders;
mod pool;
mod process;
pub(crate) mod raw;
mod spare;
mod text;
mod zygote;

pub use filter::{Action, FilterSpec, GUEST, HELPER, NOTIFIED, Rule, SPAWNER, When};
pub use zygote::HostVdso;

pub(crate) use layout::{
    BASES, BASES_LEN, DONATED_FD, ENTRANCES, FRAME_RETURN, GUEST_TEXT, MAX_SITES, PAGES, PAGES_LEN,
    SEAT_LEN, SEATS, SIGNAL_MASK, SITE_LEN, SITES_TEXT, SITES_TEXT_LEN, SLOTS, SLOTS_LEN, TASK_END,
    USER,
};
pub use memory::thread_cpu_time;
pub(crate) use memory::{alive, cpu_time, read, show_as, write};
pub(crate) use order_book::Entry;
pub(crate) use orders::{apply, mincore, plain_call, resident, usage};
pub(crate) use pool::Pool;
pub(crate) use process::{GuestKind, Process, Seat, Thread, errno};
pub(crate) use text::{
    call as call_pc, exit as exit_pc, leave as leave_pc, left as left_pc, parked as parked_pc,
    resume as resume_pc, traced_call as traced_call_pc,
};

/// The signal that ends a guest thread's run. By default it is ignored, so it can harm nobody who is not traced.
pub(crate) const INTERRUPT: i32 = libc::SIGURG;
