//! The gofer's system-call filter, as data: what is allowed, why, and what of it only with certain mounts.

use crate::wire::MountFlags;
use abi::nr;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// One allowed call.
#[derive(Copy, Clone, Debug)]
pub struct Allowed {
    /// Its number.
    pub nr: u64,
    /// What the gofer needs it for.
    pub reason: &'static str,
    /// Mount flags of which one must be set for the call to be allowed; empty: always.
    pub when: MountFlags,
    /// What its arguments must be like.
    pub args: Args,
}

/// A condition on arguments.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Args {
    /// None.
    Any,
    /// `PROT_EXEC` is not among the protection bits (third argument).
    NotExecutable,
    /// The first argument is `AF_UNIX`.
    UnixDomain,
    /// The second argument is `F_GETFD`.
    GetFlags,
}

const fn call(nr: u64, reason: &'static str) -> Allowed {
    Allowed {
        nr,
        reason,
        when: MountFlags::empty(),
        args: Args::Any,
    }
}

/// Everything a gofer may ask of the host once it is sealed. What is not here kills it. At most 35, conditional ones included.
pub const ALLOWED: &[Allowed] = &[
    call(nr::RECVMSG, "receive a request"),
    call(nr::SENDMSG, "send a reply, with the donated descriptor"),
    call(
        nr::OPENAT2,
        "walk, create, open a node's data through /proc/self/fd",
    ),
    call(nr::STATX, "attributes"),
    call(nr::CLOSE, "close nodes and donated descriptors"),
    call(nr::READLINKAT, "read a symbolic link"),
    call(nr::GETDENTS64, "read a directory"),
    call(nr::LSEEK, "go on reading a directory at a cookie"),
    call(nr::MKDIRAT, "make a directory"),
    call(nr::MKNODAT, "make a FIFO, socket file or device"),
    call(nr::SYMLINKAT, "make a symbolic link"),
    call(nr::LINKAT, "make a hard link, name a nameless file"),
    call(nr::UNLINKAT, "unlink, rmdir"),
    call(nr::RENAMEAT2, "rename"),
    call(nr::FCHOWNAT, "give a file its owner"),
    call(nr::FCHMODAT, "set permission bits"),
    call(nr::UTIMENSAT, "set times"),
    call(nr::GETXATTR, "read an extended attribute"),
    call(nr::SETXATTR, "set an extended attribute"),
    call(nr::LISTXATTR, "list extended attributes"),
    call(nr::REMOVEXATTR, "remove an extended attribute"),
    call(nr::FSTATFS, "numbers of the file system"),
    call(nr::FSYNC, "write a directory back"),
    call(nr::FUTEX, "locks, and waiting for a connection"),
    Allowed {
        args: Args::NotExecutable,
        ..call(
            nr::MMAP,
            "allocator: large or per-thread memory, never executable",
        )
    },
    call(nr::MUNMAP, "allocator: give memory back"),
    Allowed {
        args: Args::NotExecutable,
        ..call(
            nr::MPROTECT,
            "allocator: a thread's heap grows, never executable",
        )
    },
    call(nr::MADVISE, "allocator: a thread's heap shrinks"),
    call(nr::BRK, "allocator: the main heap"),
    call(nr::WRITE, "log lines"),
    call(
        nr::SIGALTSTACK,
        "the runtime takes the overflow handler's stack away before it exits",
    ),
    call(nr::EXIT_GROUP, "end when the last connection is closed"),
    Allowed {
        when: MountFlags::CONNECT.union(MountFlags::BIND),
        args: Args::UnixDomain,
        ..call(
            nr::SOCKET,
            "a Unix socket of a mount that shares them with the host",
        )
    },
    Allowed {
        when: MountFlags::CONNECT,
        ..call(nr::CONNECT, "connect to the host's socket in such a mount")
    },
    Allowed {
        when: MountFlags::BIND,
        ..call(nr::BIND, "bind a socket of the host's in such a mount")
    },
];

/// What a build with debug assertions calls besides: the standard library looks whether a descriptor is open before it closes it.
pub const ALLOWED_IN_DEBUG: &[Allowed] = &[Allowed {
    args: Args::GetFlags,
    ..call(
        nr::FCNTL,
        "debug builds: check a descriptor before closing it",
    )
}];

/// Compiles the filter for mounts with these flags (their union). `without` leaves one call out: tests show with it that each is
/// needed.
pub fn compile(
    flags: MountFlags,
    without: Option<u64>,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    let debug: &[Allowed] = if cfg!(debug_assertions) {
        ALLOWED_IN_DEBUG
    } else {
        &[]
    };
    for allowed in ALLOWED.iter().chain(debug) {
        let wanted = allowed.when.is_empty() || allowed.when.intersects(flags);
        if wanted && Some(allowed.nr) != without {
            rules.insert(
                i64::try_from(allowed.nr).unwrap_or(-1),
                conditions(allowed.args)?,
            );
        }
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?
    .try_into()
}

/// An empty list of rules allows the call whatever its arguments.
fn conditions(args: Args) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const PROT_EXEC: u64 = 4;
    const AF_UNIX: u64 = 1;
    const F_GETFD: u64 = 1;
    let condition = match args {
        Args::Any => return Ok(Vec::new()),
        Args::NotExecutable => SeccompCondition::new(
            2,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(PROT_EXEC),
            0,
        )?,
        Args::UnixDomain => {
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, AF_UNIX)?
        }
        Args::GetFlags => {
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, F_GETFD)?
        }
    };
    Ok(vec![SeccompRule::new(vec![condition])?])
}
