//! The order of locks. A thread may take a lock only if its level is above every level it holds; debug builds check each time.
//!
//! This file is the whole order: outer locks first, inner ones later, [`LEAF`] last. A crate that needs a level adds it here, at the place
//! that the nesting asks for; the gaps are for that. Two locks of one level never nest, unless both are taken in an order stated in the code
//! (by address, parent before child) and the second by `lock_nested`.

macro_rules! levels {
    ($($(#[doc = $doc:literal])* $name:ident = $value:literal,)*) => {
        $($(#[doc = $doc])* pub const $name: u16 = $value;)*

        /// The name of a level, for reports.
        pub const fn name(level: u16) -> &'static str {
            match level {
                $($value => stringify!($name),)*
                LEAF => "LEAF",
                _ => "unnamed level",
            }
        }
    };
}

levels! {
    /// The sandbox's table of containers and everything the control socket orders.
    CONTAINERS = 1000,
    /// A file description's offset: held while a read or write of a file with positions runs, whatever it reads (Linux: f_pos_lock).
    FILE_OFFSET = 1100,
    /// The shape of all trees of mounts (Linux: namespace_sem).
    MOUNT_TOPOLOGY = 1190,
    /// The root of a namespace's mounts, and their number.
    MOUNTS = 1200,
    /// Renames that change the shape of one filesystem's tree (Linux: s_vfs_rename_mutex).
    SUPERBLOCK_RENAME = 1300,
    /// Changes of one directory, and lookups in it that miss the cache (Linux: i_rwsem of a directory); ancestors before descendants.
    DIRECTORY = 1400,
    /// An overlay's copy-up and its view of one directory.
    OVERLAY = 1500,
    /// Task tables, parents and children, process groups and sessions of all PID namespaces (Linux: tasklist_lock).
    TASKS = 2000,
    /// One process group's members.
    PROCESS_GROUP = 2050,
    /// A process's place in the tree: parent, children, process group.
    FAMILY = 2100,
    /// A session's terminal.
    SESSION = 2150,
    /// The threads of a thread group.
    GROUP_TASKS = 2200,
    /// A thread group's pending signals, stop and exit (Linux: siglock).
    GROUP_SIGNALS = 2400,
    /// One task's pending signals and mask.
    TASK_SIGNALS = 2450,
    /// Which dispositions a thread group has.
    HANDLERS = 2500,
    /// The dispositions.
    SIGHAND = 2550,
    /// One task's pointers to what it shares: memory, descriptors, credentials, namespaces.
    TASK_FIELD = 2600,
    /// Who bears a pid.
    PID_LINKS = 2750,
    /// Resource limits of a process.
    LIMITS = 2800,
    /// Counters per user.
    USER_COUNTS = 2850,
    /// A file descriptor table.
    FD_TABLE = 3000,
    /// Working directory, root, umask.
    FS_CONTEXT = 3200,
    /// The VMAs of an address space (Linux: mmap_lock). Files are asked for their memory, and dropped, under it.
    MM = 3600,
    /// What is mounted on what: a mount's children and its place.
    MOUNT_LINKS = 4000,
    /// The bounded list of unused dentries of one filesystem.
    DENTRY_LIST = 4200,
    /// A dentry's children.
    DENTRY_CHILDREN = 4400,
    /// A dentry's parent and name.
    DENTRY_LINK = 4500,
    /// An inode's attributes or data.
    INODE = 4600,
    /// A queue of futex waiters.
    FUTEX = 5400,
    /// Tables of a network stack: bound ports, listeners.
    NET_TABLES = 6000,
    /// Descriptions in flight between Unix sockets.
    UNIX_SCM = 6040,
    /// One Unix socket.
    UNIX_SOCKET = 6060,
    /// One endpoint of a network stack.
    NET_ENDPOINT = 6200,
    /// Who reads from, or writes to, one end of a connection: held while bytes are copied.
    NET_IO = 6300,
    /// A connection's two ends; a listener's queues.
    NET_CONNECTION = 6400,
    /// The advisory locks of one inode.
    FILE_LOCKS = 6800,
    /// The shape of epoll instances that watch each other.
    EPOLL_TREE = 6900,
    /// The interest list of an epoll instance.
    EPOLL = 7000,
    /// Who waits on one file.
    POLLEE = 7400,
    /// One timer: held while it is armed, so that it goes off with that known.
    TIMER = 7500,
    /// Timers of a clock.
    TIMERS = 7600,
    /// Which text of an address space is rewritten (systrap).
    TEXT = 7900,
    /// The rewritten pages of a sandbox (systrap).
    TEXT_CACHE = 7950,
    /// A platform's own tables.
    PLATFORM = 8000,
    /// A gofer client's free connections.
    GOFER_CHANNELS = 8200,
    /// In the gofer: a directory being read.
    GOFER_STREAM = 8400,
    /// In the gofer: the table of nodes.
    GOFER_TABLE = 8600,
    /// In the gofer: connections that wait for a thread.
    GOFER_POOL = 8800,
    /// The numbers in use in a pid namespace. Last, and nothing is locked under it: the last reference to an identity, which gives its numbers back, may
    /// lie in a message, a socket or a terminal's session and go under any of their locks.
    PID_NS = 9000,
}

/// Nothing is locked while a leaf is held: two leaves do not nest.
pub const LEAF: u16 = u16::MAX;

#[cfg(debug_assertions)]
mod held {
    use core::cell::Cell;
    use core::panic::Location;

    const DEPTH: usize = 32;

    /// A lock that this thread holds: its level, and where it was taken.
    #[derive(Clone, Copy)]
    struct Lock(u16, Option<&'static Location<'static>>);

    struct Held {
        locks: [Cell<Lock>; DEPTH],
        len: Cell<usize>,
    }

    // Constant and without a destructor: a plain block of thread memory, valid until the thread's last instruction.
    thread_local! {
        static HELD: Held = const { Held { locks: [const { Cell::new(Lock(0, None)) }; DEPTH], len: Cell::new(0) } };
    }

    fn highest(held: &Held) -> Option<Lock> {
        let held = held.locks.iter().take(held.len.get());
        held.map(Cell::get).max_by_key(|lock| lock.0)
    }

    fn text(lock: Lock) -> String {
        let place = lock.1.map_or("?".into(), |at| at.to_string());
        format!("{} ({}, taken at {place})", super::name(lock.0), lock.0)
    }

    #[track_caller]
    pub fn check(level: u16, nested: bool) {
        if let Some(highest) = HELD.with(highest)
            && (level < highest.0 || (level == highest.0 && !nested))
        {
            panic!(
                "lock order: {} ({level}) taken while {} is held",
                super::name(level),
                text(highest)
            );
        }
    }

    #[track_caller]
    pub fn push(level: u16) {
        let lock = Lock(level, Some(Location::caller()));
        HELD.with(|held| {
            let len = held.len.get();
            assert!(len < DEPTH, "lock order: more than {DEPTH} locks held");
            held.locks[len].set(lock);
            held.len.set(len + 1);
        });
    }

    pub fn pop(level: u16) {
        HELD.with(|held| {
            let last = held.len.get().saturating_sub(1);
            // Locks may be released in any order: the last entry takes the place of the one that goes.
            if let Some(at) = (0..=last).rev().find(|at| held.locks[*at].get().0 == level) {
                held.locks[at].set(held.locks[last].get());
                held.len.set(last);
            }
        });
    }

    #[track_caller]
    pub fn assert_none(why: &str) {
        if let Some(lock) = HELD.with(highest) {
            panic!("lock order: {} is held: {why}", text(lock));
        }
    }
}

#[cfg(not(debug_assertions))]
mod held {
    #[inline(always)]
    pub fn check(_: u16, _: bool) {}
    #[inline(always)]
    pub fn push(_: u16) {}
    #[inline(always)]
    pub fn pop(_: u16) {}
    #[inline(always)]
    pub fn assert_none(_: &str) {}
}

pub(crate) use held::{check, pop, push};

/// In debug builds, panics if the calling thread holds any lock; `why` says what must not happen under one.
#[inline]
#[cfg_attr(debug_assertions, track_caller)]
pub fn assert_none_held(why: &str) {
    held::assert_none(why);
}
