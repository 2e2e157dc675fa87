//! The sentry's system call filter: what its threads may ask of the host once guest code runs, each with its reason.
//!
//! The platform's own needs are listed where they arise ([`platform::sentry_calls`]); this adds the rest.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use sentry::socket::host::options;

macro_rules! calls {
    ($($name:ident $nr:ident: $reason:literal,)*) => { &[$((stringify!($name), libc::$nr, $reason)),*] };
}

/// Name, number, reason.
pub const CALLS: &[(&str, i64, &str)] = calls! {
    read SYS_read: "stdio, pipes and files that were donated; eventfd of the control server",
    write SYS_write: "the same; the log; wakes the control server",
    lseek SYS_lseek: "SEEK_DATA and SEEK_HOLE of donated files; offset of a stdio file",
    ppoll SYS_ppoll: "the control server; is a host descriptor ready",
    ioctl SYS_ioctl: "window size of the console",
    fsync SYS_fsync: "fsync reaches the host",
    fdatasync SYS_fdatasync: "the same",
    preadv2 SYS_preadv2: "reads of donated files with flags",
    pwritev2 SYS_pwritev2: "writes of donated files with flags",
    statx SYS_statx: "attributes of a donated file (by descriptor: there are no paths)",
    recvmsg SYS_recvmsg: "the gofer's answers with their descriptors; control messages",
    accept4 SYS_accept4: "control connections",
    futex SYS_futex: "locks, condition variables, parking",
    clone3 SYS_clone3: "a thread for a new guest thread (its flags are in memory, where no filter looks; a new process would be behind the same walls)",
    set_robust_list SYS_set_robust_list: "a new thread's start",
    rseq SYS_rseq: "a new thread's start",
    rt_sigprocmask SYS_rt_sigprocmask: "a thread's start and end",
    sigaltstack SYS_sigaltstack: "a thread's stack for its overflow handler",
    madvise SYS_madvise: "memory of ended threads, freed memory",
    mprotect SYS_mprotect: "guard page of a thread's stack; the allocator",
    brk SYS_brk: "the allocator",
    mremap SYS_mremap: "the allocator, when a large vector grows",
    gettid SYS_gettid: "a thread's number",
    sched_getaffinity SYS_sched_getaffinity: "how many processors there are",
    sched_yield SYS_sched_yield: "spin locks",
    sysinfo SYS_sysinfo: "memory of the machine, for sysinfo(2) and meminfo",
    getrandom SYS_getrandom: "the guest's randomness",
    restart_syscall SYS_restart_syscall: "a sleep that a stop interrupted",
    prctl SYS_prctl: "a thread's name",
    exit SYS_exit: "a thread ends",
    exit_group SYS_exit_group: "the sandbox ends",
    epoll_ctl SYS_epoll_ctl: "the notifier's set of host descriptors",
    epoll_pwait SYS_epoll_pwait: "the notifier",
};

/// What is allowed besides where the guest's internet sockets are the host's (`--network=host-sockets`).
pub const HOST_SOCKETS: &[(&str, i64, &str)] = calls! {
    socket SYS_socket: "a socket of the guest's: AF_INET and AF_INET6, nothing else",
    bind SYS_bind: "bind(2) of the guest's",
    connect SYS_connect: "connect(2) of the guest's",
    listen SYS_listen: "listen(2) of the guest's",
    shutdown SYS_shutdown: "shutdown(2) of the guest's",
    getsockname SYS_getsockname: "the address that the host gave a socket",
    getpeername SYS_getpeername: "the peer of a socket",
    getsockopt SYS_getsockopt: "the options of the list in `sentry/src/socket/host/options.rs`, and no others",
    setsockopt SYS_setsockopt: "the same",
};

/// A rule: these arguments (by position) have these values.
fn rule(values: &[(u8, i32)]) -> Result<SeccompRule> {
    let condition = |(at, value): &(u8, i32)| {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(*at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let conditions = values.iter().map(condition).collect::<Result<_, _>>();
    conditions
        .and_then(SeccompRule::new)
        .map_err(|e| anyhow!("filter: {e}"))
}

/// Which arguments a call may have; none: any.
fn rules(nr: i64) -> Result<Vec<SeccompRule>> {
    let options = |may: fn(&options::Known) -> bool| {
        let listed = options::LIST.iter().filter(|o| may(o));
        listed.map(|o| rule(&[(1, o.level), (2, o.name)])).collect()
    };
    match nr {
        libc::SYS_socket => [libc::AF_INET, libc::AF_INET6]
            .into_iter()
            .map(|family| rule(&[(0, family)]))
            .collect(),
        libc::SYS_getsockopt => options(|o| o.get),
        libc::SYS_setsockopt => options(|o| o.set),
        _ => Ok(Vec::new()),
    }
}

/// Everything that is allowed on a platform, once each, with every reason for it.
pub fn allowed(platform: &str) -> BTreeMap<i64, (&'static str, Vec<&'static str>)> {
    let own = CALLS
        .iter()
        .map(|(name, nr, reason)| (*nr, (*name, *reason)));
    let platforms = platform::sentry_calls(platform).map(|c| (c.nr, (c.name, c.reason)));
    let mut all = BTreeMap::new();
    for (nr, (name, reason)) in own.chain(platforms) {
        all.entry(nr)
            .or_insert_with(|| (name, Vec::new()))
            .1
            .push(reason);
    }
    all
}

fn program(
    platform: &str,
    host_sockets: bool,
    debug: bool,
    without: &[String],
) -> Result<BpfProgram> {
    // With --debug a forbidden call is an entry in the host's audit log and an error in the sentry, so that one run shows them all.
    let default = if debug {
        SeccompAction::Log
    } else {
        SeccompAction::KillProcess
    };
    let sockets = if host_sockets { HOST_SOCKETS } else { &[] };
    let rules = allowed(platform)
        .into_iter()
        .map(|(nr, (name, _))| (nr, name))
        .chain(sockets.iter().map(|(name, nr, _)| (*nr, *name)))
        // Only where the default is to log: a hole in a filter that kills would be no more than a way to die.
        .filter(|(_, name)| !(debug && without.iter().any(|w| w == name)))
        .map(|(nr, _)| Ok((nr, rules(nr)?)))
        .collect::<Result<_>>()?;
    let filter = SeccompFilter::new(rules, default, SeccompAction::Allow, TargetArch::x86_64)
        .map_err(|e| anyhow!("filter: {e}"))?;
    filter.try_into().map_err(|e| anyhow!("filter: {e}"))
}

/// Puts it on every thread there is and will be.
pub fn install(platform: &str, host_sockets: bool, debug: bool, without: &[String]) -> Result<()> {
    seccompiler::apply_filter_all_threads(&program(platform, host_sockets, debug, without)?)
        .map_err(|e| anyhow!("filter: {e}"))
}

#[cfg(test)]
mod tests {
    const START: &str = "<!-- sentry -->\n";
    const SOCKETS: &str = "<!-- host sockets -->\n";
    const PLATFORMS: [&str; 2] = ["ptrace", "systrap"];

    /// After a change: `SECURITY=write cargo test -p runsc-rs filter`.
    #[test]
    fn the_page_lists_what_the_code_allows() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/security.md");
        let page = std::fs::read_to_string(path).unwrap();
        let prose = page.split(START).next().unwrap();
        let mut rows = std::collections::BTreeMap::<_, Vec<_>>::new();
        for platform in PLATFORMS {
            for row in super::allowed(platform).into_values() {
                rows.entry(row).or_default().push(platform);
            }
        }
        let rows: Vec<_> = rows
            .iter()
            .map(|((name, reasons), on)| {
                let only = match on[..] {
                    [platform] => format!("; only on {platform}"),
                    _ => String::new(),
                };
                format!("| `{name}` | {}{only} |\n", reasons.join("; "))
            })
            .collect();
        let sockets: Vec<_> = super::HOST_SOCKETS
            .iter()
            .map(|(name, _, reason)| format!("| `{name}` | {reason} |\n"))
            .collect();
        let wanted = format!(
            "{prose}{START}\n{} calls.\n\n| call | for |\n|---|---|\n{}\n{SOCKETS}\nWith `--network=host-sockets`, {} calls besides.\n\n| call | for |\n|---|---|\n{}",
            rows.len(),
            rows.concat(),
            sockets.len(),
            sockets.concat()
        );
        if std::env::var_os("SECURITY").is_some() {
            std::fs::write(path, wanted).unwrap();
            return;
        }
        assert!(
            page == wanted,
            "docs/security.md is stale: SECURITY=write cargo test -p runsc-rs filter"
        );
    }

    #[test]
    fn sockets_widen_it_by_what_is_listed() {
        let len = |host_sockets| {
            super::program("systrap", host_sockets, false, &[])
                .unwrap()
                .len()
        };
        // (A program of more than 4096 instructions is refused by the kernel.)
        assert!(len(false) < len(true) && len(true) < 4096, "{}", len(true));
        let default = super::allowed("systrap");
        for (name, nr, _) in super::HOST_SOCKETS {
            assert!(!default.contains_key(nr), "{name}");
        }
        assert_eq!(super::rules(libc::SYS_socket).unwrap().len(), 2);
    }

    #[test]
    fn within_its_budget() {
        let allowed: Vec<_> = PLATFORMS
            .iter()
            .flat_map(|platform| super::allowed(platform).into_values())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        assert!(
            allowed.len() <= 55,
            "{} calls: {:?}",
            allowed.len(),
            allowed.iter().map(|v| v.0).collect::<Vec<_>>()
        );
        assert!(
            allowed
                .iter()
                .all(|(_, reasons)| reasons.iter().all(|r| !r.is_empty()))
        );
        // What would open, execute or connect is never on it (§8 of the design).
        for forbidden in [
            "open", "openat", "openat2", "execve", "execveat", "connect", "socket", "bind",
            "mount", "setns", "unshare", "fork", "vfork",
        ] {
            assert!(
                !allowed.iter().any(|(name, _)| *name == forbidden),
                "{forbidden}"
            );
        }
    }
}
