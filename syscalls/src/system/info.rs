//! uname(2), sysinfo(2), getrandom(2), getcpu(2), personality(2), syslog(2).

use crate::args::{OutBuf, UserAddr};
use abi::Errno;
use abi::sysinfo::Sysinfo;
use abi::uts::Utsname;
use sentry::kernel::{Cx, UserNamespace};
use sentry::syscall::SysResult;

fn fill(out: &mut [u8], text: &[u8]) {
    for (to, from) in out.iter_mut().take(64).zip(text) {
        *to = *from;
    }
}

/// uname(2)
pub fn uname(cx: &mut Cx, buf: UserAddr<Utsname>) -> SysResult {
    let ns = cx.ns();
    let mut name = Utsname::default();
    fill(&mut name.sysname, b"Linux");
    fill(&mut name.nodename, &ns.uts.host_name());
    fill(&mut name.release, sentry::host::RELEASE.as_bytes());
    fill(&mut name.version, sentry::host::VERSION.as_bytes());
    fill(&mut name.machine, b"x86_64");
    let domain = ns.uts.domain_name();
    fill(
        &mut name.domainname,
        if domain.is_empty() {
            b"(none)"
        } else {
            &domain
        },
    );
    buf.write(cx, &name)?;
    Ok(0)
}

fn read_name(cx: &Cx, addr: u64, len: usize, owner: &UserNamespace) -> Result<Vec<u8>, Errno> {
    if !cx.task().cred().has_cap_in(owner, abi::cap::CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if len > 64 {
        return Err(Errno::EINVAL);
    }
    let mut name = vec![0; len];
    cx.mm()?.read_bytes(addr, &mut name)?;
    Ok(name)
}

/// sethostname(2)
pub fn sethostname(cx: &mut Cx, addr: u64, len: usize) -> SysResult {
    let uts = cx.ns().uts.clone();
    uts.set_host_name(&read_name(cx, addr, len, &uts.owner)?);
    Ok(0)
}

/// setdomainname(2)
pub fn setdomainname(cx: &mut Cx, addr: u64, len: usize) -> SysResult {
    let uts = cx.ns().uts.clone();
    uts.set_domain_name(&read_name(cx, addr, len, &uts.owner)?);
    Ok(0)
}

/// sysinfo(2)
pub fn sysinfo(cx: &mut Cx, info: UserAddr<Sysinfo>) -> SysResult {
    let host = sentry::host::memory();
    let uptime = cx.kernel().clock.boottime() / 1_000_000_000;
    let out = Sysinfo {
        loads: host.loads,
        sharedram: host.shared,
        bufferram: host.buffers,
        totalswap: host.swap_total,
        freeswap: host.swap_free,
        uptime: i64::try_from(uptime).unwrap_or(i64::MAX),
        totalram: host.total,
        freeram: host.free,
        procs: u16::try_from(cx.kernel().task_count()).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    info.write(cx, &out)?;
    Ok(0)
}

/// getrandom(2): the host's pool has been ready for long.
pub fn getrandom(cx: &mut Cx, buf: OutBuf, count: usize, flags: u32) -> SysResult {
    const INSECURE: u32 = 4;
    const RANDOM: u32 = 2;
    if flags & !7 != 0 || flags & (INSECURE | RANDOM) == INSECURE | RANDOM {
        return Err(Errno::EINVAL);
    }
    const PIECE: usize = 64 << 10;
    let count = count.min(0x1ff_ffff);
    let mut done = 0usize;
    let mut bytes = vec![0; count.min(PIECE)];
    let mm = cx.mm()?;
    while done < count {
        let part = bytes
            .get_mut(..count.saturating_sub(done).min(PIECE))
            .unwrap_or_default();
        sentry::host::random(part);
        match mm.write_bytes(buf.0.wrapping_add(done as u64), part) {
            Ok(()) => done = done.saturating_add(part.len()),
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
        if cx.signal_pending() && done >= 256 {
            break;
        }
    }
    Ok(done as u64)
}

/// getcpu(2)
pub fn getcpu(cx: &mut Cx, cpu: UserAddr<u32>, node: UserAddr<u32>, _unused: u64) -> SysResult {
    cpu.write_if_some(cx, &sentry::host::current_cpu())?;
    node.write_if_some(cx, &0)?;
    Ok(0)
}

/// personality(2). Accepted is what the next `execve` heeds and what no x86-64 kernel heeds; the rest would need system calls of other kinds.
pub fn personality(cx: &mut Cx, persona: u32) -> SysResult {
    use sentry::loader::{ADDR_COMPAT_LAYOUT, ADDR_NO_RANDOMIZE};
    use std::sync::atomic::Ordering;
    const PER_MASK: u32 = 0xff;
    const SHORT_INODE: u32 = 0x100_0000;
    const WHOLE_SECONDS: u32 = 0x200_0000;
    const KNOWN: u32 =
        PER_MASK | SHORT_INODE | WHOLE_SECONDS | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT;
    let now = &cx.task().personality;
    if persona == u32::MAX {
        return Ok(now.load(Ordering::Relaxed).into());
    }
    if persona & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(now.swap(persona, Ordering::Relaxed).into())
}

/// syslog(2): the container's log is empty.
pub fn syslog(cx: &mut Cx, op: i32, _buf: u64, len: i32) -> SysResult {
    const READ_ALL: i32 = 3;
    const SIZE_UNREAD: i32 = 9;
    const SIZE_BUFFER: i32 = 10;
    match op {
        READ_ALL | SIZE_BUFFER => {}
        0..=10 => cx.task().cred().require(abi::cap::CAP_SYSLOG)?,
        _ => return Err(Errno::EINVAL),
    }
    match op {
        2..=4 if len < 0 => Err(Errno::EINVAL),
        SIZE_UNREAD => Ok(0),
        SIZE_BUFFER => Ok(1 << 17),
        _ => Ok(0),
    }
}
