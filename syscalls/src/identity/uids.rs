//! User ids (`credentials(7)`).

use crate::args::UserAddr;
use abi::Errno;
use abi::cap::CAP_SETUID;
use abi::prctl::{SECBIT_KEEP_CAPS, SECBIT_NO_SETUID_FIXUP};
use sentry::kernel::{Credentials, Cx};
use sentry::syscall::SysResult;
use std::sync::Arc;

/// "No change", and no id either.
const NONE: u32 = u32::MAX;
/// The capabilities that follow the filesystem user id (capabilities(7)): chown, dac*, fowner, fsetid, linux_immutable, mknod, mac_override.
const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

/// getuid(2)
pub fn getuid(cx: &mut Cx) -> SysResult {
    Ok(u64::from(cx.task().cred().ruid))
}

/// geteuid(2)
pub fn geteuid(cx: &mut Cx) -> SysResult {
    Ok(u64::from(cx.task().cred().euid))
}

/// Puts new ids in place, with their effect on capabilities (capabilities(7), "Effect of user ID changes").
fn commit(cx: &Cx, old: &Credentials, mut new: Credentials) {
    new.fsuid = new.euid;
    if old.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
        let had_root = old.ruid == 0 || old.euid == 0 || old.suid == 0;
        let has_root = new.ruid == 0 || new.euid == 0 || new.suid == 0;
        if had_root && !has_root {
            if old.securebits & SECBIT_KEEP_CAPS == 0 {
                new.permitted = 0;
            }
            new.effective = 0;
            new.ambient = 0;
        } else if old.euid == 0 && new.euid != 0 {
            new.effective = 0;
        } else if old.euid != 0 && new.euid == 0 {
            new.effective = new.permitted;
        }
        new.effective &= new.permitted;
    }
    finish(cx, old, new);
}

/// Changed identity ends dumpability and the parent-death signal, as Linux's commit_creds does.
pub(super) fn finish(cx: &Cx, old: &Credentials, new: Credentials) {
    if (old.euid, old.egid, old.fsuid, old.fsgid) != (new.euid, new.egid, new.fsuid, new.fsgid)
        || new.permitted & !old.permitted != 0
    {
        cx.pdeath_signal
            .store(0, std::sync::atomic::Ordering::Relaxed);
        if let Ok(mm) = cx.mm() {
            mm.set_dumpable(0);
        }
    }
    cx.set_cred(Arc::new(new));
}

/// setuid(2)
pub fn setuid(cx: &mut Cx, uid: u32) -> SysResult {
    if uid == NONE {
        return Err(Errno::EINVAL);
    }
    let old = cx.task().cred();
    let mut new = (*old).clone();
    if old.has_cap(CAP_SETUID) {
        new.set_ruid(uid);
        new.suid = uid;
    } else if uid != old.ruid && uid != old.suid {
        return Err(Errno::EPERM);
    }
    new.euid = uid;
    commit(cx, &old, new);
    Ok(0)
}

/// setreuid(2)
pub fn setreuid(cx: &mut Cx, ruid: u32, euid: u32) -> SysResult {
    let old = cx.task().cred();
    let privileged = old.has_cap(CAP_SETUID);
    let mut new = (*old).clone();
    if ruid != NONE {
        if !privileged && ruid != old.ruid && ruid != old.euid {
            return Err(Errno::EPERM);
        }
        new.set_ruid(ruid);
    }
    if euid != NONE {
        if !privileged && euid != old.ruid && euid != old.euid && euid != old.suid {
            return Err(Errno::EPERM);
        }
        new.euid = euid;
    }
    if ruid != NONE || (euid != NONE && euid != old.ruid) {
        new.suid = new.euid;
    }
    commit(cx, &old, new);
    Ok(0)
}

/// setresuid(2)
pub fn setresuid(cx: &mut Cx, ruid: u32, euid: u32, suid: u32) -> SysResult {
    let old = cx.task().cred();
    let known = |id: u32| id == NONE || id == old.ruid || id == old.euid || id == old.suid;
    if !old.has_cap(CAP_SETUID) && !(known(ruid) && known(euid) && known(suid)) {
        return Err(Errno::EPERM);
    }
    let mut new = (*old).clone();
    if ruid != NONE {
        new.set_ruid(ruid);
    }
    if euid != NONE {
        new.euid = euid;
    }
    if suid != NONE {
        new.suid = suid;
    }
    commit(cx, &old, new);
    Ok(0)
}

/// getresuid(2)
pub fn getresuid(
    cx: &mut Cx,
    ruid: UserAddr<u32>,
    euid: UserAddr<u32>,
    suid: UserAddr<u32>,
) -> SysResult {
    let cred = cx.task().cred();
    ruid.write(cx, &cred.ruid)?;
    euid.write(cx, &cred.euid)?;
    suid.write(cx, &cred.suid)?;
    Ok(0)
}

/// setfsuid(2): returns the old one, whatever happens.
pub fn setfsuid(cx: &mut Cx, uid: u32) -> SysResult {
    let old = cx.task().cred();
    let allowed = uid == old.ruid
        || uid == old.euid
        || uid == old.suid
        || uid == old.fsuid
        || old.has_cap(CAP_SETUID);
    if uid != NONE && uid != old.fsuid && allowed {
        let mut new = (*old).clone();
        new.fsuid = uid;
        if old.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
            if old.fsuid == 0 && uid != 0 {
                new.effective &= !FS_CAPS;
            } else if old.fsuid != 0 && uid == 0 {
                new.effective |= new.permitted & FS_CAPS;
            }
        }
        finish(cx, &old, new);
    }
    Ok(u64::from(old.fsuid))
}
