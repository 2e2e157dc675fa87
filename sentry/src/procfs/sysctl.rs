//! `/proc/sys` (`proc_sys(5)`).

use super::Proc;
use crate::kernel::pid::PID_MAX;
use crate::kernel::{THREADS_MAX, Task};
use crate::pseudo::{Node, Tree, text, writable};
use crate::socket::NetNamespace;
use crate::socket::settings::{self, Setting};
use abi::Errno;
use fs::Caller;
use std::str::FromStr;
use std::sync::Arc;

/// A number as it is written to a sysctl: blanks around it do not count. `EINVAL` for anything else.
pub fn number<T: FromStr>(data: &[u8]) -> Result<T, Errno> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0')
        .parse()
        .map_err(|_| Errno::EINVAL)
}

fn fixed(value: &'static str) -> Node {
    text(0o444, move |_| format!("{value}\n"))
}

/// A setting of the caller's network namespace.
fn setting(setting: &'static Setting) -> Node {
    fn net(task: &Task) -> Option<Arc<NetNamespace>> {
        task.ns().net.content(NetNamespace::default)
    }
    writable(
        0o644,
        move |opener| {
            opener
                .and_then(|t| net(t))
                .map_or_else(String::new, |n| setting.show(&n))
        },
        move |caller, data| {
            let task = caller.as_any().downcast_ref::<Task>().ok_or(Errno::EPERM)?;
            let net = net(task).ok_or(Errno::EINVAL)?;
            if net.host().is_some() && !setting.is_ours() {
                // What is in force is the host's, which is not the guest's to change.
                return Err(Errno::EPERM);
            }
            setting.put(&net, data)
        },
    )
}

/// Host or domain name of the reader's uts namespace.
fn uts_name(domain: bool) -> Node {
    writable(
        0o644,
        move |opener| {
            let Some(uts) = opener.map(|t| t.ns().uts.clone()) else {
                return b"\n".to_vec();
            };
            let name = if domain {
                uts.domain_name()
            } else {
                uts.host_name()
            };
            let name = if domain && name.is_empty() {
                b"(none)".to_vec()
            } else {
                name
            };
            [name.as_slice(), b"\n"].concat()
        },
        move |caller: &dyn Caller, data| {
            let task = caller.as_any().downcast_ref::<Task>().ok_or(Errno::EPERM)?;
            let uts = task.ns().uts.clone();
            if !task.cred().has_cap_in(&uts.owner, abi::cap::CAP_SYS_ADMIN) {
                return Err(Errno::EPERM);
            }
            let name = data.split(|b| matches!(b, b'\n' | 0)).next().unwrap_or(&[]);
            let name = name.get(..64).unwrap_or(name);
            if domain {
                uts.set_domain_name(name)
            } else {
                uts.set_host_name(name)
            }
            Ok(())
        },
    )
}

fn uuid() -> String {
    let mut b = [0_u8; 16];
    crate::host::random(&mut b);
    // Version 4, variant 1 (RFC 4122).
    let word = (u128::from_be_bytes(b) & !(0xf << 76) & !(0x3 << 62)) | 0x4 << 76 | 0x2 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        word >> 96,
        word >> 80 & 0xffff,
        word >> 64 & 0xffff,
        word >> 48 & 0xffff,
        word & 0xffff_ffff_ffff
    )
}

/// Everything under `sys`.
pub fn fill(sys: &mut Tree, shared: &Arc<Proc>) {
    kernel(sys.at("kernel"), shared);
    vm(sys.at("vm"));
    filesystem(sys.at("fs"));
    net(sys.at("net"));
    // What clone and unshare make no second one of.
    for kind in ["user", "cgroup", "time"] {
        sys.at("user")
            .add(&format!("max_{kind}_namespaces"), fixed("0"));
    }
    sys.at("abi");
    sys.at("debug");
    sys.at("dev");
}

fn kernel(k: &mut Tree, shared: &Arc<Proc>) {
    k.add("hostname", uts_name(false));
    k.add("domainname", uts_name(true));
    k.add("ostype", fixed("Linux"));
    k.add("osrelease", fixed(crate::host::RELEASE));
    k.add("version", fixed(crate::host::VERSION));
    k.add("arch", fixed("x86_64"));
    k.add("pid_max", text(0o444, |_| format!("{PID_MAX}\n")));
    k.add("threads-max", text(0o444, |_| format!("{THREADS_MAX}\n")));
    k.add("ngroups_max", fixed("65536"));
    k.add("cap_last_cap", fixed("40"));
    k.add("overflowuid", fixed("65534"));
    k.add("overflowgid", fixed("65534"));
    k.add("core_pattern", fixed("core"));
    k.add("core_uses_pid", fixed("0"));
    k.add("randomize_va_space", fixed("2"));
    k.add("panic", fixed("0"));
    k.add("panic_on_oops", fixed("0"));
    k.add("printk", fixed("4\t4\t1\t7"));
    k.add("dmesg_restrict", fixed("1"));
    k.add("kptr_restrict", fixed("2"));
    k.add("perf_event_paranoid", fixed("4"));
    k.add("unprivileged_bpf_disabled", fixed("2"));
    k.add("sysrq", fixed("0"));
    k.add("tainted", fixed("0"));
    k.add("seccomp/actions_avail", fixed(""));
    k.add("auto_msgmni", fixed("0"));
    for (name, value) in [
        ("shmmax", "18446744073692774399"),
        ("shmall", "18446744073692774399"),
        ("shmmni", "4096"),
        ("sem", "32000\t1024000000\t500\t32000"),
        ("msgmax", "8192"),
        ("msgmnb", "16384"),
        ("msgmni", "32000"),
        ("shm_rmid_forced", "0"),
    ] {
        k.add(name, fixed(value));
    }
    for (name, value) in [
        ("sched_child_runs_first", "0"),
        ("sched_rt_period_us", "1000000"),
        ("sched_rt_runtime_us", "950000"),
        ("sched_rr_timeslice_ms", "100"),
        ("sched_autogroup_enabled", "0"),
        ("numa_balancing", "0"),
        ("hung_task_timeout_secs", "0"),
        ("nmi_watchdog", "0"),
        ("watchdog", "0"),
        ("timer_migration", "1"),
    ] {
        k.add(name, fixed(value));
    }
    let boot_id = uuid();
    k.add(
        "random/boot_id",
        text(0o444, move |_| format!("{boot_id}\n")),
    );
    k.add("random/uuid", text(0o444, |_| format!("{}\n", uuid())));
    k.add("random/entropy_avail", fixed("256"));
    k.add("random/poolsize", fixed("256"));
    k.add("random/write_wakeup_threshold", fixed("256"));
    k.add("random/urandom_min_reseed_secs", fixed("60"));
    k.add("keys/maxkeys", fixed("200"));
    let of = shared.clone();
    k.add(
        "ns_last_pid",
        text(0o444, move |_| format!("{}\n", of.ns.last_pid())),
    );
}

fn vm(v: &mut Tree) {
    for (name, value) in [
        ("overcommit_memory", "1"),
        ("overcommit_ratio", "50"),
        ("overcommit_kbytes", "0"),
        ("mmap_min_addr", "65536"),
        ("swappiness", "60"),
        ("dirty_ratio", "20"),
        ("dirty_background_ratio", "10"),
        ("dirty_bytes", "0"),
        ("dirty_background_bytes", "0"),
        ("dirty_expire_centisecs", "3000"),
        ("dirty_writeback_centisecs", "500"),
        ("vfs_cache_pressure", "100"),
        ("nr_hugepages", "0"),
        ("nr_overcommit_hugepages", "0"),
        ("zone_reclaim_mode", "0"),
        ("panic_on_oom", "0"),
        ("oom_kill_allocating_task", "0"),
        ("legacy_va_layout", "0"),
        ("page-cluster", "3"),
        ("admin_reserve_kbytes", "8192"),
        ("user_reserve_kbytes", "131072"),
        ("min_free_kbytes", "67584"),
        ("unprivileged_userfaultfd", "0"),
    ] {
        v.add(name, fixed(value));
    }
    v.add(
        "max_map_count",
        text(0o444, |_| format!("{}\n", crate::mm::MAX_MAP_COUNT)),
    );
}

fn filesystem(f: &mut Tree) {
    for (name, value) in [
        ("file-max", "9223372036854775807"),
        ("file-nr", "1024\t0\t9223372036854775807"),
        ("nr_open", "1048576"),
        ("pipe-max-size", "1048576"),
        ("pipe-user-pages-hard", "0"),
        ("pipe-user-pages-soft", "16384"),
        ("aio-max-nr", "65536"),
        ("aio-nr", "0"),
        ("inode-nr", "1024\t0"),
        ("inode-state", "1024\t0\t0\t0\t0\t0\t0"),
        ("dentry-state", "1024\t0\t45\t0\t0\t0"),
        ("lease-break-time", "45"),
        ("leases-enable", "1"),
        ("mount-max", "100000"),
        ("overflowuid", "65534"),
        ("overflowgid", "65534"),
        ("protected_hardlinks", "1"),
        ("protected_symlinks", "1"),
        ("protected_fifos", "0"),
        ("protected_regular", "0"),
        ("suid_dumpable", "0"),
        ("inotify/max_user_watches", "524288"),
        ("inotify/max_user_instances", "128"),
        ("inotify/max_queued_events", "16384"),
        ("epoll/max_user_watches", "5000000"),
    ] {
        f.add(name, fixed(value));
    }
    for (name, value) in [
        ("queues_max", "256"),
        ("msg_max", "10"),
        ("msgsize_max", "8192"),
        ("msg_default", "10"),
        ("msgsize_default", "8192"),
    ] {
        f.add(&format!("mqueue/{name}"), fixed(value));
    }
}

fn net(n: &mut Tree) {
    for (name, value) in [
        ("core/optmem_max", "131072"),
        ("core/netdev_max_backlog", "1000"),
        ("unix/max_dgram_qlen", "512"),
        ("ipv4/ip_default_ttl", "64"),
        ("ipv4/ip_nonlocal_bind", "0"),
        ("ipv4/ip_forward", "0"),
        ("ipv4/ping_group_range", "1\t0"),
        ("ipv4/tcp_rmem", "4096\t131072\t6291456"),
        ("ipv4/tcp_wmem", "4096\t16384\t4194304"),
        ("ipv4/tcp_mem", "188319\t251092\t376638"),
        ("ipv4/udp_mem", "376641\t502188\t753282"),
        ("ipv4/tcp_keepalive_time", "7200"),
        ("ipv4/tcp_keepalive_intvl", "75"),
        ("ipv4/tcp_keepalive_probes", "9"),
        ("ipv4/tcp_syn_retries", "6"),
        ("ipv4/tcp_synack_retries", "5"),
        ("ipv4/tcp_retries1", "3"),
        ("ipv4/tcp_retries2", "15"),
        ("ipv4/tcp_max_syn_backlog", "512"),
        ("ipv4/tcp_syncookies", "1"),
        ("ipv4/tcp_timestamps", "1"),
        ("ipv4/tcp_sack", "1"),
        ("ipv4/tcp_window_scaling", "1"),
        ("ipv4/tcp_tw_reuse", "2"),
        ("ipv4/tcp_fastopen", "0"),
        ("ipv4/tcp_ecn", "2"),
        ("ipv4/tcp_no_metrics_save", "0"),
        ("ipv4/tcp_slow_start_after_idle", "1"),
        ("ipv4/tcp_mtu_probing", "0"),
    ] {
        n.add(name, fixed(value));
    }
    for s in settings::ALL {
        n.add(s.file, setting(s));
    }
    n.add("ipv4/tcp_congestion_control", fixed("reno"));
    n.add("ipv4/tcp_available_congestion_control", fixed("reno"));
    n.add("ipv4/tcp_allowed_congestion_control", fixed("reno"));
    for interface in ["all", "default", "lo"] {
        for (name, value) in [
            ("forwarding", "0"),
            ("rp_filter", "0"),
            ("accept_redirects", "0"),
        ] {
            n.add(&format!("ipv4/conf/{interface}/{name}"), fixed(value));
        }
        for (name, value) in [
            ("disable_ipv6", "0"),
            ("forwarding", "0"),
            ("accept_ra", "0"),
            ("mtu", "65536"),
        ] {
            n.add(&format!("ipv6/conf/{interface}/{name}"), fixed(value));
        }
    }
    n.add("ipv6/bindv6only", fixed("0"));
}
