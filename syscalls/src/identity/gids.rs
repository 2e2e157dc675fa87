//! Group ids and supplementary groups (`credentials(7)`).

use super::uids::finish;
use crate::args::UserAddr;
use abi::Errno;
use abi::cap::CAP_SETGID;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use zerocopy::IntoBytes;

const NONE: u32 = u32::MAX;
const NGROUPS_MAX: usize = 65_536;

/// getgid(2)
pub fn getgid(cx: &mut Cx) -> SysResult {
    Ok(u64::from(cx.task().cred().rgid))
}

/// getegid(2)
pub fn getegid(cx: &mut Cx) -> SysResult {
    Ok(u64::from(cx.task().cred().egid))
}

/// setgid(2)
pub fn setgid(cx: &mut Cx, gid: u32) -> SysResult {
    if gid == NONE {
        return Err(Errno::EINVAL);
    }
    let old = cx.task().cred();
    let mut new = (*old).clone();
    if old.has_cap(CAP_SETGID) {
        (new.rgid, new.sgid) = (gid, gid);
    } else if gid != old.rgid && gid != old.sgid {
        return Err(Errno::EPERM);
    }
    (new.egid, new.fsgid) = (gid, gid);
    finish(cx, &old, new);
    Ok(0)
}

/// setregid(2)
pub fn setregid(cx: &mut Cx, rgid: u32, egid: u32) -> SysResult {
    let old = cx.task().cred();
    let privileged = old.has_cap(CAP_SETGID);
    let mut new = (*old).clone();
    if rgid != NONE {
        if !privileged && rgid != old.rgid && rgid != old.egid {
            return Err(Errno::EPERM);
        }
        new.rgid = rgid;
    }
    if egid != NONE {
        if !privileged && egid != old.rgid && egid != old.egid && egid != old.sgid {
            return Err(Errno::EPERM);
        }
        new.egid = egid;
    }
    if rgid != NONE || (egid != NONE && egid != old.rgid) {
        new.sgid = new.egid;
    }
    new.fsgid = new.egid;
    finish(cx, &old, new);
    Ok(0)
}

/// setresgid(2)
pub fn setresgid(cx: &mut Cx, rgid: u32, egid: u32, sgid: u32) -> SysResult {
    let old = cx.task().cred();
    let known = |id: u32| id == NONE || id == old.rgid || id == old.egid || id == old.sgid;
    if !old.has_cap(CAP_SETGID) && !(known(rgid) && known(egid) && known(sgid)) {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    if rgid != NONE {
        new.rgid = rgid;
    }
    if egid != NONE {
        new.egid = egid;
    }
    if sgid != NONE {
        new.sgid = sgid;
    }
    new.fsgid = new.egid;
    finish(cx, &old, new);
    Ok(0)
}

/// getresgid(2)
pub fn getresgid(
    cx: &mut Cx,
    rgid: UserAddr<u32>,
    egid: UserAddr<u32>,
    sgid: UserAddr<u32>,
) -> SysResult {
    let cred = cx.task().cred();
    rgid.write(cx, &cred.rgid)?;
    egid.write(cx, &cred.egid)?;
    sgid.write(cx, &cred.sgid)?;
    Ok(0)
}

/// setfsgid(2): returns the old one, whatever happens.
pub fn setfsgid(cx: &mut Cx, gid: u32) -> SysResult {
    let old = cx.task().cred();
    let allowed = gid == old.rgid
        || gid == old.egid
        || gid == old.sgid
        || gid == old.fsgid
        || old.has_cap(CAP_SETGID);
    if gid != NONE && gid != old.fsgid && allowed {
        let mut new = (*old).clone();
        new.fsgid = gid;
        finish(cx, &old, new);
    }
    Ok(u64::from(old.fsgid))
}

/// getgroups(2)
pub fn getgroups(cx: &mut Cx, size: i32, list: u64) -> SysResult {
    let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
    let groups = cx.task().cred().groups.clone();
    if size != 0 {
        if groups.len() > size {
            return Err(Errno::EINVAL);
        }
        cx.mm()?.write_bytes(list, groups.as_bytes())?;
    }
    Ok(groups.len() as u64)
}

/// setgroups(2)
pub fn setgroups(cx: &mut Cx, size: i32, list: u64) -> SysResult {
    let old = cx.task().cred();
    old.require(CAP_SETGID)?;
    let size = usize::try_from(size)
        .ok()
        .filter(|s| *s <= NGROUPS_MAX)
        .ok_or(Errno::EINVAL)?;
    let mut groups = vec![0u32; size];
    cx.mm()?
        .read_bytes(list, groups.as_mut_slice().as_mut_bytes())?;
    if groups.contains(&NONE) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    let mut new = (*old).clone();
    new.groups = groups.into();
    finish(cx, &old, new);
    Ok(0)
}
