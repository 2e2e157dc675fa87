//! Where things are in every stub process: one fixed area at the top of user space, everything below it is the guest's.
//!
//! | offset from [`BASE`] | what | rights | written by |
//! |---|---|---|---|
//! | `0x1_0000` | the host's vvar pages and vDSO | as the host maps them | the host |
//! | `0x4_0000` | [`TEXT`]: the spawner's and the helper's code in [`super::text`] | r-x | nobody, after the zygote's start |
//! | `0x4_1000` | [`GUEST_TEXT`]: what guest threads run there on systrap | r-x | nobody, after the zygote's start |
//! | `0x4_2000` | [`DATA`]: the result bytes, filter programs, constant arguments | r-- | nobody, after the zygote's start |
//! | `0x5_0000` | [`ORDERS`]: this stub's page of the order book | r-- | the sentry, through its own mapping |
//! | `0x6_0000` | [`SCRATCH`]: buffers the host writes to; nothing in it is believed | rw- | anybody |
//! | `0x1000_0000` | [`SEATS`]: on systrap, a signal stack for every guest thread; nothing in it is believed | rw- | anybody |
//! | `0x6000_0000` | [`SITES_TEXT`]: on systrap, the code of rewritten call sites, shared by all stubs | r-x | the sentry, before a site is used |
//! | `0x6100_0000` | [`BASES`]: where the rewritten pages are in this address space | r-- | the sentry |
//! | `0x6200_0000` | [`PAGES`]: on systrap, what guest threads share with their sentry threads; nothing in it is believed | rw- | anybody |
//!
//! The filters of the spawner and the helper, the only threads that may change mappings, refuse addresses from [`BASE`] up, so the area stays as it
//! is; the last rows can be mapped, each as it is here and not otherwise. Rewritten sites need two more ranges that 32 bits can name ([`SLOTS`]), in
//! the guest's range: a guest that maps something there has it, and its sites are as they were.

use std::ops::Range;

/// The end of the guest's range and the start of the stub's own.
pub const BASE: u64 = 0x7fff_8000_0000;
/// The first address a guest may map: below it the host may refuse (vm.mmap_min_addr).
pub const USER_START: u64 = 0x1_0000;
/// What a guest may map.
pub const USER: Range<u64> = USER_START..BASE;
/// The end of user space (`TASK_SIZE_MAX` with four levels of page tables).
pub const TASK_END: u64 = 0x7fff_ffff_f000;

/// The vvar pages, then the vDSO.
pub const VDSO: u64 = BASE + 0x1_0000;
/// Room for them.
pub const VDSO_ROOM: u64 = 0x3_0000;
/// Read-execute: the spawner's and the helper's code, one page. Host calls are made nowhere else.
pub const TEXT: u64 = BASE + 0x4_0000;
/// Read-execute: the code that guest threads run on systrap, one page.
pub const GUEST_TEXT: u64 = TEXT + 0x1000;
/// Read-only: what the code, the host's kernel and the processor read.
pub const DATA: u64 = GUEST_TEXT + 0x1000;
/// Its size.
pub const DATA_LEN: u64 = 0x6000;
/// Read-only: the orders.
pub const ORDERS: u64 = BASE + 0x5_0000;
/// Read-write.
pub const SCRATCH: u64 = BASE + 0x6_0000;
/// All of it.
pub const SCRATCH_LEN: u64 = 0x3_0000;

/// Read-execute, on systrap: the code of rewritten call sites.
pub const SITES_TEXT: u64 = BASE + 0x6000_0000;
/// Its size: a page of common code, and [`MAX_SITES`] pieces.
pub const SITES_TEXT_LEN: u64 = 0x1000 + MAX_SITES * SITE_LEN;
/// How many call sites a sandbox can have rewritten.
pub const MAX_SITES: u64 = 0x2000;
/// The room of one in [`SITES_TEXT`].
pub const SITE_LEN: u64 = 64;
/// Read-only, on systrap: a word for each rewritten page, its address.
pub const BASES: u64 = BASE + 0x6100_0000;
/// Its size.
pub const BASES_LEN: u64 = 0x4000;
/// Read-write, on systrap: a page for each of the first guest threads.
pub const PAGES: u64 = BASE + 0x6200_0000;
/// All of them.
pub const PAGES_LEN: u64 = 0x4_0000;
/// Read-execute, on systrap: a word for each rewritten site, the address of its code. The third byte of every address in it is 6, which is no
/// instruction: a site that begins with a `mov` has it where its `syscall` was.
pub const SLOTS: u64 = 0x6_0000;
/// Read-execute, behind it: jumps through the slots, for sites that begin with their `syscall`.
pub const ENTRANCES: u64 = 0x7_0000;
/// The size of both.
pub const SLOTS_LEN: u64 = 0x2_0000;

/// In [`DATA`]: byte *n* is *n*. A result leaves the stub as the address of its byte.
pub const TABLE: u64 = DATA;
/// In [`DATA`]: the `iovec` of every receive.
pub const IOVEC: u64 = DATA + 0x100;
/// In [`DATA`]: `sock_fprog` of the spawner's filter.
pub const SPAWNER_PROGRAM: u64 = DATA + 0x110;
/// In [`DATA`]: `sock_fprog` of the guest threads' filter.
pub const GUEST_PROGRAM: u64 = DATA + 0x120;
/// In [`DATA`]: the processors that the sandbox may use.
pub const PROCESSORS: u64 = DATA + 0x130;
/// In [`DATA`]: `sock_fprog` of the filter that notifies.
pub const NOTIFIED_PROGRAM: u64 = DATA + 0x1b0;
/// In [`DATA`]: the signal mask of every thread of a stub, for rt_sigprocmask(2).
pub const SIGNAL_MASK: u64 = DATA + 0x1c0;
/// In [`DATA`]: the `iovec`, the control message and the `msghdr` with which a listener is sent to the sentry.
pub const LISTENER_IOVEC: u64 = DATA + 0x1c8;
/// See [`LISTENER_IOVEC`].
pub const LISTENER_CONTROL: u64 = DATA + 0x1d8;
/// See [`LISTENER_IOVEC`].
pub const LISTENER_MESSAGE: u64 = DATA + 0x1f0;
/// In [`DATA`]: `sock_fprog` of the helper's filter.
pub const HELPER_PROGRAM: u64 = DATA + 0x230;
/// In [`DATA`]: the filters' instructions, up to [`INITIAL_STATE`].
pub const PROGRAMS: u64 = DATA + 0x240;
/// In [`DATA`]: an XSAVE image of the initial state, all zeroes but the two control words. The processor may look at all of it (AMX: 11 KiB).
pub const INITIAL_STATE: u64 = DATA + 0x2000;
/// In [`DATA`]: for each of the first processors, the mask that holds only it.
pub const PROCESSOR: u64 = DATA + 0x5800;
/// How many.
pub const MASKS: u64 = 64;

/// In [`SCRATCH`]: the `msghdr` of every receive, its control buffer and its data.
pub const MESSAGE: u64 = SCRATCH;
/// Where a received byte goes.
pub const MESSAGE_DATA: u64 = SCRATCH + 0xf00;
/// Where a received descriptor's number goes.
pub const MESSAGE_CONTROL: u64 = SCRATCH + 0x100;
/// Room for it: 62 descriptors.
pub const MESSAGE_CONTROL_LEN: u64 = 0x110;
/// In [`SCRATCH`]: the command line that the host's /proc shows for the stub. Not read by anything of ours.
pub const TITLE: u64 = SCRATCH + 0x400;
/// Its size. The last byte is not 0, which tells the host that all of it is one string (setproctitle).
pub const TITLE_LEN: u64 = 0x400;
/// In [`SCRATCH`]: the stack on which the spawner's own faults (an ordered compare-exchange at a bad address) are delivered. As large as any
/// processor's state wants it (AMX: 11 KiB). The frame is never read.
pub const FAULT_STACK: u64 = SCRATCH + 0x1000;
/// Its size.
pub const FAULT_STACK_LEN: u64 = 0xf000;
/// In [`SCRATCH`]: where mincore(2) puts its answer.
pub const VECTOR: u64 = SCRATCH + 0x1_0000;
/// Its size: one byte per page.
pub const VECTOR_LEN: u64 = 0x1_0000;

/// In [`SCRATCH`]: the same for the helper's faults, above the spawner's. As large.
pub const HELPER_FAULT_STACK: u64 = SCRATCH + 0x2_0000;

/// The stub's descriptors: its end of the socket.
pub const SOCKET_FD: u64 = 0;
/// The order book, sealed against writing by anybody but the sentry's mapping.
pub const BOOK_FD: u64 = 1;
/// The first of those that come with an order, and go with it.
pub const DONATED_FD: u64 = 2;

/// In [`ORDERS`]: how many entries.
pub const COUNT: usize = 0;
/// In [`ORDERS`]: how many digits of the last entry's value are wanted, least significant first.
pub const DIGITS: usize = 4;
/// In [`ORDERS`]: not zero if descriptors came with the orders.
pub const DONATED: usize = 8;
/// In [`ORDERS`]: the entries, each eight words: system call number (or one of the specials below), six arguments, not used.
pub const ENTRIES: usize = 64;
/// The size of an entry.
pub const ENTRY_LEN: usize = 64;
/// How many entries fit.
pub const MAX_ENTRIES: usize = (4096 - ENTRIES) / ENTRY_LEN;

/// Special entry: copy this process. Arguments: clone flags, offset of the child's page in the order book. Descriptor: the child's socket.
pub const FORK: u64 = 0x1_0000;
/// Special entry: a guest thread. Arguments: clone flags, address of its filter's `sock_fprog`, flags of its filter; if these are not 0, then
/// the thread is one that notifies, and a `stack_t` follows.
pub const THREAD: u64 = 0x1_0001;
/// Special entry: compare and exchange a word. Arguments: address, old, new.
pub const COMPARE_EXCHANGE: u64 = 0x1_0002;

/// The signal stack, and more, of one guest thread.
pub const SEAT_LEN: u64 = 0x1_0000;
/// How many guest threads one stub can have.
pub const MAX_SEATS: u64 = 0x4000;
/// Read-write, for guest threads on systrap.
pub const SEATS: u64 = BASE + 0x1000_0000;
/// All of it.
pub const SEATS_LEN: u64 = SEAT_LEN * MAX_SEATS;
/// At the start of each seat: room for an extended state that the sentry sets.
pub const SEAT_STATE_LEN: u64 = 0x4000;
/// From the end of a seat: where the first frame of its thread is, which no signal made.
pub const SEAT_FRAME: u64 = 0x200;

/// In a signal frame's `reserved1`, from the frame's start: rip, cs, flags, rsp, ss as `iretq` takes them, then fs_base and gs_base.
pub const FRAME_RETURN: u64 = 240;

/// A digit of a value: it leaves the stub as the length of a message, less one. The messages are what follows [`TABLE`].
pub const DIGIT_BITS: u32 = 14;
/// The largest digit.
pub const DIGIT_MASK: u32 = (1 << DIGIT_BITS) - 1;
const _: () = assert!(256 + (DIGIT_MASK as u64) < DATA_LEN);
/// So many are a word.
pub const WORD_DIGITS: u32 = 3;
/// So many are a thread's number.
pub const TID_DIGITS: u32 = 2;

/// The answer to orders that were all carried out.
pub const DONE: u8 = 0;
/// The same, with more digits than one.
pub const DONE_MORE: u8 = 254;
/// The answer to a compare-exchange that found another value; its digits follow.
pub const DIFFERS: u8 = 255;
