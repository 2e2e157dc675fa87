//! prctl(2).

use abi::Errno;
use abi::cap::CAP_SETPCAP;
use abi::prctl as op;
use abi::signal::Signal;
use sentry::kernel::{Credentials, Cx};
use sentry::syscall::SysResult;
use std::sync::atomic::Ordering;

fn change(cx: &Cx, edit: impl FnOnce(&mut Credentials)) -> SysResult {
    let mut new = (*cx.task().cred()).clone();
    edit(&mut new);
    cx.set_cred(std::sync::Arc::new(new));
    Ok(0)
}

/// The bit of a capability number: `EINVAL` past the last one.
fn cap_bit(cap: u64) -> Result<u64, Errno> {
    let bit = u32::try_from(cap)
        .ok()
        .and_then(|c| 1u64.checked_shl(c))
        .ok_or(Errno::EINVAL)?;
    if bit & sentry::kernel::cred::CAP_FULL == 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(bit)
    }
}

/// prctl(2)
pub fn prctl(cx: &mut Cx, option: i32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) -> SysResult {
    let rest_zero = arg3 == 0 && arg4 == 0 && arg5 == 0;
    let cred = cx.task().cred();
    let mm = cx.mm()?;
    match option {
        op::PR_SET_PDEATHSIG => {
            let signal = i32::try_from(arg2)
                .ok()
                .filter(|s| *s == 0 || Signal::new(*s).is_some())
                .ok_or(Errno::EINVAL)?;
            cx.pdeath_signal.store(signal, Ordering::Relaxed);
            Ok(0)
        }
        op::PR_GET_PDEATHSIG => mm
            .write_obj(arg2, &cx.pdeath_signal.load(Ordering::Relaxed))
            .map(|()| 0),
        op::PR_GET_DUMPABLE => Ok(u64::from(mm.dumpable())),
        op::PR_SET_DUMPABLE => {
            if arg2 > 1 {
                return Err(Errno::EINVAL);
            }
            mm.set_dumpable(arg2 as u32);
            Ok(0)
        }
        op::PR_SET_NAME => {
            let mut name = [0u8; 15];
            // A name may end at the end of mapped memory.
            let text = match mm.read_cstring(arg2, 16) {
                Ok(text) => text,
                Err(Errno::ENAMETOOLONG) => {
                    mm.read_bytes(arg2, &mut name)?;
                    name.to_vec()
                }
                Err(e) => return Err(e),
            };
            cx.set_comm(&text);
            Ok(0)
        }
        op::PR_GET_NAME => mm.write_bytes(arg2, &cx.comm_raw()).map(|()| 0),
        op::PR_GET_KEEPCAPS => Ok(u64::from(cred.securebits & op::SECBIT_KEEP_CAPS != 0)),
        op::PR_SET_KEEPCAPS => {
            if arg2 > 1 {
                return Err(Errno::EINVAL);
            }
            if cred.securebits & op::SECBIT_KEEP_CAPS_LOCKED != 0 {
                return Err(Errno::EPERM);
            }
            change(cx, |c| {
                c.securebits &= !op::SECBIT_KEEP_CAPS;
                if arg2 == 1 {
                    c.securebits |= op::SECBIT_KEEP_CAPS;
                }
            })
        }
        op::PR_CAPBSET_READ => Ok(u64::from(cred.bounding & cap_bit(arg2)? != 0)),
        op::PR_CAPBSET_DROP => {
            let bit = cap_bit(arg2)?;
            cred.require(CAP_SETPCAP)?;
            change(cx, |c| c.bounding &= !bit)
        }
        op::PR_GET_SECUREBITS => Ok(u64::from(cred.securebits)),
        op::PR_SET_SECUREBITS => set_securebits(cx, &cred, arg2),
        op::PR_CAP_AMBIENT => ambient(cx, &cred, arg2, arg3, arg4 == 0 && arg5 == 0),
        op::PR_SET_NO_NEW_PRIVS => {
            if arg2 != 1 || !rest_zero {
                return Err(Errno::EINVAL);
            }
            change(cx, |c| c.no_new_privs = true)
        }
        op::PR_GET_NO_NEW_PRIVS => {
            if arg2 != 0 || !rest_zero {
                return Err(Errno::EINVAL);
            }
            Ok(u64::from(cred.no_new_privs))
        }
        op::PR_SET_CHILD_SUBREAPER => {
            cx.group().subreaper.store(arg2 != 0, Ordering::Relaxed);
            Ok(0)
        }
        op::PR_GET_CHILD_SUBREAPER => mm
            .write_obj(
                arg2,
                &i32::from(cx.group().subreaper.load(Ordering::Relaxed)),
            )
            .map(|()| 0),
        op::PR_SET_TIMERSLACK => {
            cx.timer_slack
                .store(if arg2 == 0 { 50_000 } else { arg2 }, Ordering::Relaxed);
            Ok(0)
        }
        op::PR_GET_TIMERSLACK => Ok(cx.timer_slack.load(Ordering::Relaxed)),
        op::PR_GET_TIMING => Ok(0),
        op::PR_SET_TIMING if arg2 == 0 => Ok(0),
        op::PR_GET_TSC => mm.write_obj(arg2, &1i32).map(|()| 0),
        op::PR_SET_TSC if arg2 == 1 => Ok(0),
        op::PR_GET_TID_ADDRESS => mm.write_obj(arg2, &cx.state.clear_child_tid).map(|()| 0),
        op::PR_GET_SECCOMP => Ok(u64::from(cx.task().seccomp.mode().number())),
        op::PR_SET_SECCOMP => super::seccomp::set_mode(cx, arg2, arg3),
        // Yama is not here: as on a kernel without it.
        op::PR_SET_PTRACER => Err(Errno::EINVAL),
        op::PR_GET_THP_DISABLE if arg2 == 0 && rest_zero => Ok(0),
        op::PR_MCE_KILL_GET if arg2 == 0 && rest_zero => Ok(2),
        _ => Err(Errno::EINVAL),
    }
}

fn set_securebits(cx: &Cx, cred: &Credentials, bits: u64) -> SysResult {
    let bits = u32::try_from(bits).map_err(|_| Errno::EINVAL)?;
    const ALL: u32 = 0xff;
    const FLAGS: u32 = 0x55;
    let locked = (cred.securebits & !FLAGS) >> 1;
    // Unknown bits, lifted locks, changed locked bits.
    if bits & !ALL != 0
        || cred.securebits & !FLAGS & !bits != 0
        || (cred.securebits ^ bits) & locked != 0
    {
        return Err(Errno::EPERM);
    }
    cred.require(CAP_SETPCAP)?;
    change(cx, |c| c.securebits = bits)
}

fn ambient(cx: &Cx, cred: &Credentials, what: u64, cap: u64, rest_zero: bool) -> SysResult {
    const IS_SET: u64 = 1;
    const RAISE: u64 = 2;
    const LOWER: u64 = 3;
    const CLEAR_ALL: u64 = 4;
    if !rest_zero {
        return Err(Errno::EINVAL);
    }
    match what {
        CLEAR_ALL if cap == 0 => change(cx, |c| c.ambient = 0),
        IS_SET => Ok(u64::from(cred.ambient & cap_bit(cap)? != 0)),
        LOWER => {
            let bit = cap_bit(cap)?;
            change(cx, |c| c.ambient &= !bit)
        }
        RAISE => {
            let bit = cap_bit(cap)?;
            let forbidden = cred.securebits & op::SECBIT_NO_CAP_AMBIENT_RAISE != 0;
            if cred.permitted & cred.inheritable & bit == 0 || forbidden {
                return Err(Errno::EPERM);
            }
            change(cx, |c| c.ambient |= bit)
        }
        _ => Err(Errno::EINVAL),
    }
}
