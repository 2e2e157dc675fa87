//! Who may look at a process (`ptrace(2)`, "Ptrace access mode checking"; `kernel/ptrace.c`, `security/commoncap.c`).

use crate::kernel::Task;
use abi::Errno;
use abi::cap::CAP_SYS_PTRACE;
use std::sync::Arc;

/// `PTRACE_MODE_READ_FSCREDS`: `EACCES` unless `caller` may read `target`'s secrets.
pub fn may_access(caller: &Task, target: &Task) -> Result<(), Errno> {
    if Arc::ptr_eq(caller.group(), target.group()) {
        return Ok(());
    }
    let (own, other) = (caller.cred(), target.cred());
    let capable = || own.has_cap_in(&other.user_ns, CAP_SYS_PTRACE);
    let same_user = [other.euid, other.suid, other.ruid]
        .iter()
        .all(|uid| *uid == own.fsuid);
    let same_group = [other.egid, other.sgid, other.rgid]
        .iter()
        .all(|gid| *gid == own.fsgid);
    if !(same_user && same_group) && !capable() {
        return Err(Errno::EACCES);
    }
    if target.mm_opt().is_some_and(|mm| mm.dumpable() != 1) && !capable() {
        return Err(Errno::EACCES);
    }
    // One may not look into a process that can do more than oneself.
    let same_ns = own.user_ns.id() == other.user_ns.id();
    if !(same_ns && other.permitted & !own.effective == 0) && !capable() {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// Whom a task's files belong to: its user, or root when it must not be looked at. Directories that everybody may enter (0555) are its user's always.
pub fn owner_of(task: &Task, open_dir: bool) -> (u32, u32) {
    let cred = task.cred();
    if open_dir || task.mm_opt().is_some_and(|mm| mm.dumpable() == 1) {
        (cred.euid, cred.egid)
    } else {
        (0, 0)
    }
}
