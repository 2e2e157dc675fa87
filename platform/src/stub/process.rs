//! One stub process as the sentry holds it: its pid, the sentry's end of its socket, its page of orders.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::{Errno, Result};

use super::helper::Helper;
use super::layout::*;
use super::order_book::{Entry, OrderPage};
use super::{filter, spare, text};
use crate::placement;
use crate::systrap::{Family, Pages};
use crate::{HostUsage, LastUsage};

/// How many guest threads without a task a stub keeps for the next spawn.
const MAX_PARKED: usize = 16;

/// After how many orders a forked stub gets a helper: most end, or become other programs, before they have given so many.
const BEFORE_HELPER: u32 = 2;

/// How often a descriptor for a listener is looked for, when others take those that are given up for it.
const TRIES: usize = 1000;

/// How the sentry runs the guest threads of a stub.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum GuestKind {
    /// ptrace
    Traced,
    /// systrap
    Notified,
}

/// See the module. Dropping it kills the process and waits until it is gone; no guest thread of it may be traced any more.
pub struct Process {
    kind: GuestKind,
    pid: i32,
    socket: OwnedFd,
    page: OrderPage,
    killed: AtomicBool,
    last_usage: Arc<LastUsage>,
    /// What its guest threads share with their sentry threads (systrap). Freed when the process is gone.
    pages: sync::OnceLock<Arc<Pages>>,
    /// Where rewritten pages are in it (systrap). The same.
    family: sync::OnceLock<Arc<Family>>,
    channel: sync::Mutex<Channel, { sync::level::PLATFORM }>,
}

/// Who holds this may give orders.
struct Channel {
    /// The announcement of the first guest thread is still in the socket.
    newborn: bool,
    /// Guest threads that wait to be traced.
    parked: Vec<Thread>,
    /// Signal stacks that no thread has: those used before, and the first of those that were not.
    seats: Vec<u64>,
    next_seat: u64,
    /// Those of threads that go no further.
    kept: Vec<Seat>,
    /// Where the spawner runs.
    spawner: placement::Spawner,
    /// Who carries out orders without a descriptor (systrap).
    helper: Option<Helper>,
    /// How many orders there have been without one.
    without_helper: u32,
}

/// A guest thread without a task.
#[derive(Debug)]
pub struct Thread {
    /// Unknown before the first call of a notified one, which tells.
    pub tid: Option<i32>,
    /// It has run guest code: its extended state is not the initial one.
    pub used: bool,
    /// What a notified one has.
    pub seat: Option<Seat>,
}

/// The place of a notified guest thread.
#[derive(Debug)]
pub struct Seat {
    /// The number of its signal stack.
    pub number: u64,
    /// Where its calls come out.
    pub listener: OwnedFd,
    /// The call that waits for an answer, if it has been received.
    pub call: Option<u64>,
    /// If that is the handler's: the frame it tells of.
    pub frame: Option<u64>,
}

/// What came back for a batch of orders that did not fail.
enum Answer {
    Done(u64),
    /// A compare-exchange found this instead.
    Differs(u32),
}

/// The spawner, and what it makes, may run on any processor of the sandbox.
const ANYWHERE: Entry = [
    libc::SYS_sched_setaffinity as u64,
    0,
    size_of::<placement::Mask>() as u64,
    PROCESSORS,
    0,
    0,
    0,
];

/// What is left to say when the process is gone.
const GONE: Errno = Errno::ESRCH;

/// A connected pair of sockets: the sentry's end and the stub's.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| Errno::from_raw(e.raw_os_error()))
}

impl Process {
    /// The zygote, once it says that it is ready.
    pub fn zygote(kind: GuestKind, pid: i32, socket: OwnedFd, page: OrderPage) -> Result<Process> {
        let process = Process::new(kind, pid, socket, page, false);
        match process.message() {
            Ok((DONE, _)) => Ok(process),
            _ => Err(Errno::EIO),
        }
    }

    fn new(kind: GuestKind, pid: i32, socket: OwnedFd, page: OrderPage, newborn: bool) -> Process {
        // Others would mean "every process" to kill(2).
        assert!(pid > 1, "{pid} is not the number of a stub");
        Process {
            kind,
            pid,
            socket,
            page,
            killed: AtomicBool::new(false),
            last_usage: LastUsage::new(),
            pages: sync::OnceLock::new(),
            family: sync::OnceLock::new(),
            channel: sync::Mutex::new(Channel {
                newborn,
                parked: Vec::new(),
                seats: Vec::new(),
                // A new process has its first thread in the first seat.
                next_seat: u64::from(newborn),
                kept: Vec::new(),
                spawner: placement::Spawner::default(),
                helper: None,
                without_helper: 0,
            }),
        }
    }

    /// The process, in the sentry's pid namespace. Not used again before this is dropped.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What it has used, as the host tells who buries it.
    pub fn last_usage(&self) -> &Arc<LastUsage> {
        &self.last_usage
    }

    /// The pages that [`Process::keep`] was given.
    pub fn pages(&self) -> Option<&Arc<Pages>> {
        self.pages.get()
    }

    /// Keeps what it will have mapped until it is gone. Once.
    pub fn keep(&self, pages: Arc<Pages>) {
        let _ = self.pages.set(pages);
    }

    /// The same for the words that it has mapped, which are the same as long as it lives.
    pub fn keep_family(&self, family: &Arc<Family>) {
        self.family.get_or_init(|| family.clone());
    }

    /// One message: its first byte, and what its length tells.
    fn message(&self) -> Result<(u8, u32)> {
        let mut first = [0u8];
        loop {
            // SAFETY: receives into a byte of ours; MSG_TRUNC has the length of all of the message told.
            let len = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    first.as_mut_ptr().cast(),
                    first.len(),
                    libc::MSG_TRUNC,
                )
            };
            match u32::try_from(len) {
                Ok(len @ 1..) => return Ok((first[0], len - 1)),
                Err(_) if errno() == Errno::EINTR => {}
                _ => return Err(GONE),
            }
        }
    }

    /// The value that a first message begins and others go on with.
    fn value(&self, first: u32, digits: u32) -> Result<u64> {
        (1..digits).try_fold(u64::from(first), |value, n| {
            Ok(value | u64::from(self.message()?.1) << (DIGIT_BITS * n))
        })
    }

    /// The first message of an answer that brings a listener, if it was not refused. It is looked at first, because what it brings would be lost
    /// if there is no descriptor left.
    fn message_and_listener(&self) -> Result<((u8, u32), Option<OwnedFd>)> {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        for _ in 0..TRIES {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0u8];
            let mut into = [std::io::IoSliceMut::new(&mut byte)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::PEEK;
            match recvmsg(&self.socket, &mut into, &mut control, flags) {
                Ok(message) if message.bytes == 1 => {}
                Err(rustix::io::Errno::INTR) => continue,
                _ => return Err(GONE),
            }
            let listener = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            if byte[0] != DONE || listener.is_some() {
                return Ok((self.message()?, listener));
            }
            if !spare::give() {
                sync::thread::yield_now();
            }
        }
        Ok((self.message()?, None))
    }

    /// Wakes the spawner, with the descriptors that the orders need.
    fn wake(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let wake = [0u8; 1];
        let mut iovec = libc::iovec {
            iov_base: wake.as_ptr().cast_mut().cast(),
            iov_len: 1,
        };
        let mut control = [0u64; MESSAGE_CONTROL_LEN as usize / 8];
        // SAFETY: all-zero bytes are an empty msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &mut iovec;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let len = size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic; the header is at the start of `control`, which has room for 62 descriptors, and
            // there are at most MAX_DONATED.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(len) as usize;
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(len) as usize;
                for (n, fd) in fds.iter().enumerate() {
                    libc::CMSG_DATA(header)
                        .cast::<i32>()
                        .add(n)
                        .write_unaligned(fd.as_raw_fd());
                }
            }
        }
        loop {
            // SAFETY: `message` and all it points to live until the call returns; the kernel only reads them.
            match unsafe { libc::sendmsg(self.socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) } {
                1 => return Ok(()),
                -1 => match errno() {
                    Errno::EINTR => {}
                    Errno::EPIPE | Errno::ECONNRESET => return Err(GONE),
                    // Too many descriptors in flight or open: a refusal, nothing has been sent.
                    error => return Err(error),
                },
                _ => return Err(GONE),
            }
        }
    }

    /// Has entries carried out, by the helper if that can do it and there is one or should be one.
    fn order(
        &self,
        channel: &mut Channel,
        entries: &[Entry],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer> {
        if self.kind == GuestKind::Traced || !fds.is_empty() || entries.len() > MAX_ENTRIES {
            return self.spawner(channel, entries, fds, 0);
        }
        if channel.helper.is_none() {
            channel.without_helper += 1;
            if channel.without_helper > BEFORE_HELPER {
                self.make_helper(channel)?;
            }
        }
        let Some(helper) = &mut channel.helper else {
            return self.spawner(channel, entries, fds, 0);
        };
        self.page.write(entries, false, 0);
        match helper.order(self.pid) {
            Ok(report) => match report.outcome {
                DONE => Ok(Answer::Done(report.value)),
                DIFFERS => Ok(Answer::Differs(report.value as u32)),
                errno => Err(self.failed(errno, entries, report.left)),
            },
            Err(_) => {
                // It does not listen any more, or not to this: nobody can say what its memory is.
                self.kill();
                Err(GONE)
            }
        }
    }

    /// Gives the process a helper. Without one for want of something, the spawner goes on doing its work.
    fn make_helper(&self, channel: &mut Channel) -> Result<()> {
        channel.without_helper = 0;
        match self.notified_thread(channel, HELPER_PROGRAM, HELPER_FAULT_STACK, FAULT_STACK_LEN) {
            Ok(listener) => channel.helper = Some(Helper::new(listener)?),
            Err(GONE) => return Err(GONE),
            Err(error) => log::debug!("stub {} has no helper: {error}", self.pid),
        }
        Ok(())
    }

    /// Has entries carried out by the spawner; the value of the last, as far as it was asked for, or why one failed.
    fn spawner(
        &self,
        channel: &mut Channel,
        entries: &[Entry],
        fds: &[BorrowedFd<'_>],
        digits: u32,
    ) -> Result<Answer> {
        if entries.is_empty() || entries.len() > MAX_ENTRIES || fds.len() > MAX_DONATED {
            return Err(Errno::EINVAL);
        }
        self.page.write(entries, !fds.is_empty(), digits);
        channel
            .spawner
            .come(self.pid, self.kind == GuestKind::Notified);
        self.wake(fds)?;
        let first = self.message()?;
        self.answer(first, entries, digits)
    }

    /// The rest of an answer.
    fn answer(&self, first: (u8, u32), entries: &[Entry], digits: u32) -> Result<Answer> {
        let (outcome, number) = first;
        match outcome {
            DONE => Ok(Answer::Done(u64::from(number))),
            DONE_MORE => Ok(Answer::Done(self.value(number, digits)?)),
            DIFFERS => Ok(Answer::Differs(self.value(number, WORD_DIGITS)? as u32)),
            errno => Err(self.failed(errno, entries, number as usize)),
        }
    }

    fn failed(&self, errno: u8, entries: &[Entry], left: usize) -> Errno {
        let failed = entries.len().saturating_sub(left);
        let errno = Errno::from_raw(i32::from(errno));
        log::debug!(
            "stub {}: order {failed} of {}: {errno}: {:x?}",
            self.pid,
            entries.len(),
            entries.get(failed)
        );
        errno
    }

    /// Waits for the first guest thread of a new process, which every other answer comes after.
    fn awaited(&self, channel: &mut Channel) -> Result<()> {
        if std::mem::take(&mut channel.newborn) {
            // If there is none, the next spawn asks again, and reports why not.
            match self.new_thread(0) {
                Ok(thread) => channel.parked.push(thread),
                Err(GONE) => return Err(GONE),
                Err(_) => channel.seats.push(0),
            }
        }
        Ok(())
    }

    /// The entry that makes a guest thread.
    fn thread_entry(&self, seat: u64) -> Entry {
        match self.kind {
            GuestKind::Traced => [THREAD, text::THREAD_FLAGS, GUEST_PROGRAM, 0, 0, 0, 0],
            GuestKind::Notified => {
                let stack = SEATS + seat * SEAT_LEN + SEAT_STATE_LEN;
                notified_entry(NOTIFIED_PROGRAM, stack, SEAT_LEN - SEAT_STATE_LEN)
            }
        }
    }

    /// The answer to that entry.
    fn new_thread(&self, number: u64) -> Result<Thread> {
        let entry = [self.thread_entry(number)];
        if self.kind == GuestKind::Notified {
            return Ok(Thread {
                tid: None,
                used: false,
                seat: Some(Seat {
                    number,
                    listener: self.new_listener(&entry)?,
                    call: None,
                    frame: None,
                }),
            });
        }
        let first = self.message()?;
        match self.answer(first, &entry, TID_DIGITS)? {
            Answer::Done(tid) => Ok(Thread {
                tid: Some(tid as i32),
                used: false,
                seat: None,
            }),
            Answer::Differs(_) => Err(Errno::EIO),
        }
    }

    /// The answer to the making of a notified thread.
    fn new_listener(&self, entries: &[Entry]) -> Result<OwnedFd> {
        match self.message_and_listener()? {
            ((DONE, _), Some(listener)) => Ok(listener),
            ((DONE, _), None) => {
                // Others have taken every descriptor there was for it. Nobody would ever answer that thread.
                self.kill();
                Err(GONE)
            }
            (refused, _) => {
                self.answer(refused, entries, 0)?;
                Err(Errno::EIO)
            }
        }
    }

    /// Makes a thread with a filter that notifies, and a signal stack.
    fn notified_thread(
        &self,
        channel: &mut Channel,
        program: u64,
        stack: u64,
        size: u64,
    ) -> Result<OwnedFd> {
        spare::keep(self.page.book().fd())?;
        let entry = [notified_entry(program, stack, size)];
        self.page.write(&entry, false, 0);
        // The thread begins where the spawner is, which has to wait for it.
        channel.spawner.come(self.pid, true);
        self.wake(&[])?;
        self.new_listener(&entry)
    }

    /// Makes ready what a new process will soon need, for the time when somebody waits for it.
    pub fn prepare(&self) -> Result<()> {
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        if self.kind == GuestKind::Notified {
            self.make_helper(&mut channel)?;
        }
        Ok(())
    }

    /// Has up to [`MAX_ENTRIES`] system calls made in turn, until one fails. `fds` are numbers [`DONATED_FD`] and up there.
    pub fn run(&self, entries: &[Entry], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        self.order(&mut channel, entries, fds).map(drop)
    }

    /// The same, for entries that leave something in the stub's vector: it is read before anybody else's orders are carried out. A guest thread
    /// may have overwritten it: then it deceives nobody but its own process.
    pub fn run_for(&self, entries: &[Entry], answer: &mut [u8]) -> Result<()> {
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        self.order(&mut channel, entries, &[])?;
        let vector = abi::Iovec {
            iov_base: VECTOR,
            iov_len: answer.len() as u64,
        };
        let read = super::memory::read(self.pid, &[vector], answer).map_err(|_| GONE)?;
        if read == answer.len() {
            Ok(())
        } else {
            Err(GONE)
        }
    }

    /// Compares and exchanges a word of guest memory. `EFAULT` if it is not there or not writable.
    pub fn compare_exchange(
        &self,
        addr: u64,
        old: u32,
        new: u32,
    ) -> Result<core::result::Result<u32, u32>> {
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        let entry = [
            COMPARE_EXCHANGE,
            addr,
            u64::from(old),
            u64::from(new),
            0,
            0,
            0,
        ];
        match self.order(&mut channel, &[entry], &[])? {
            Answer::Done(_) => Ok(Ok(old)),
            Answer::Differs(found) => Ok(Err(found)),
        }
    }

    /// A copy of the process as it is, without its guest threads but with one of its own.
    pub fn fork(&self) -> Result<Process> {
        if self.kind == GuestKind::Notified {
            // For the listener of its first thread.
            spare::keep(self.page.book().fd())?;
        }
        let page = self.page.book().clone().page()?;
        let (ours, theirs) = socket_pair().map_err(as_fork)?;
        // The copy inherits where the spawner may run, and should begin on a processor that has nothing else to do. Letting the spawner go while
        // it runs does not move it, so the answer still comes from here.
        let copy = [FORK, text::FORK_FLAGS, page.offset(), 0, 0, 0, 0];
        // What the copy does first.
        page.write(&[self.thread_entry(0)], false, TID_DIGITS);
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        let fds = [theirs.as_fd()];
        let mut outcome = self.spawner(&mut channel, &[ANYWHERE, copy], &fds, TID_DIGITS);
        if outcome.as_ref().is_err_and(|error| *error == Errno::EINVAL) {
            // Somebody has since given the sandbox other processors than those.
            outcome = self.spawner(&mut channel, &[copy], &fds, TID_DIGITS);
        }
        channel.spawner.gone();
        match outcome.map_err(as_fork)? {
            Answer::Done(pid) => Ok(Process::new(self.kind, pid as i32, ours, page, true)),
            Answer::Differs(_) => Err(Errno::EIO),
        }
    }

    /// Is its first guest thread still on its way? Then [`Process::take_thread`] waits for it, and hardly ever fails.
    pub fn newborn(&self) -> bool {
        self.channel.lock().newborn
    }

    /// A guest thread, parked or soon to be, for the caller to trace.
    pub fn take_thread(&self) -> Result<Thread> {
        let mut channel = self.channel.lock();
        self.awaited(&mut channel)?;
        if let Some(thread) = channel.parked.pop() {
            return Ok(thread);
        }
        let seat = match channel.seats.pop() {
            Some(seat) => seat,
            None if channel.next_seat < MAX_SEATS => {
                channel.next_seat += 1;
                channel.next_seat - 1
            }
            None => return Err(Errno::EAGAIN),
        };
        self.make_thread(&mut channel, seat)
            .inspect_err(|_| channel.seats.push(seat))
    }

    fn make_thread(&self, channel: &mut Channel, number: u64) -> Result<Thread> {
        if self.kind == GuestKind::Traced {
            self.page
                .write(&[self.thread_entry(number)], false, TID_DIGITS);
            self.wake(&[])?;
            return self.new_thread(number);
        }
        let stack = SEATS + number * SEAT_LEN + SEAT_STATE_LEN;
        let listener =
            self.notified_thread(channel, NOTIFIED_PROGRAM, stack, SEAT_LEN - SEAT_STATE_LEN)?;
        Ok(Thread {
            tid: None,
            used: false,
            seat: Some(Seat {
                number,
                listener,
                call: None,
                frame: None,
            }),
        })
    }

    /// A notified guest thread is gone: its seat is free.
    pub fn left(&self, seat: Seat) {
        self.channel.lock().seats.push(seat.number);
    }

    /// Is another parked guest thread wanted? If not, it should exit.
    pub fn has_room(&self) -> bool {
        self.channel.lock().parked.len() < MAX_PARKED
    }

    /// Gives back a guest thread that is parked, or on its way there, and not traced.
    pub fn return_thread(&self, thread: Thread) {
        self.channel.lock().parked.push(thread);
    }

    /// The seat of a thread that goes no further, but is there: nobody would answer it, were its listener closed.
    pub fn keep_seat(&self, seat: Seat) {
        self.channel.lock().kept.push(seat);
    }

    /// Kills every thread of it, now.
    pub fn kill(&self) {
        if !self.killed.swap(true, Ordering::Relaxed) {
            // SAFETY: the pid is that of our child, which nobody else reaps.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        // SAFETY: all-zero bytes are an rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: as for kill; the status is not wanted, `usage` is ours. Once this returns, nothing maps the page of orders any more.
        while unsafe { libc::wait4(self.pid, std::ptr::null_mut(), libc::__WALL, &mut usage) } == -1
            && errno() == Errno::EINTR
        {}
        let counted = [
            usage.ru_maxrss,
            usage.ru_minflt,
            usage.ru_majflt,
            usage.ru_nivcsw,
        ];
        self.last_usage
            .tell(HostUsage::of(counted.map(|n| n as u64)));
    }
}

/// The entry that makes a thread with a filter that notifies. It is the last of its page, and its listener the whole answer.
fn notified_entry(program: u64, stack: u64, size: u64) -> Entry {
    [
        THREAD,
        text::THREAD_FLAGS,
        program,
        filter::NOTIFIED_FLAGS,
        stack,
        0,
        size,
    ]
}

/// What fork(2) says when the sentry has run out of something that guests do not know of.
fn as_fork(error: Errno) -> Errno {
    match error {
        Errno::ENOMEM => error,
        _ => Errno::EAGAIN,
    }
}

/// How many descriptors can come with one batch of orders.
pub const MAX_DONATED: usize = 16;

/// Why the last call of the C library failed.
pub fn errno() -> Errno {
    Errno::from_raw(
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EIO),
    )
}
