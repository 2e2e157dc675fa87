//! The extended state of a stopped guest thread: an XSAVE image in the standard format, of whatever size this host has.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use abi::{Errno, Result};

use super::sys::Tracee;

/// The FXSAVE part of an image, and the header behind it.
const LEGACY_LEN: usize = 512;
const HEADER_LEN: usize = 64;

/// The size that the host's kernel gives and takes, the same for every thread; 0 as long as it has not been asked. (CPUID would tell too, but
/// under a hypervisor it costs more than all else here.)
static LEN: AtomicUsize = AtomicUsize::new(0);

fn len(tracee: Tracee) -> Result<usize> {
    let known = LEN.load(Relaxed);
    if known != 0 {
        return Ok(known);
    }
    let leaf = core::arch::x86_64::__cpuid_count(0xd, 0);
    let mut image = vec![0; (leaf.ecx as usize).clamp(LEGACY_LEN + HEADER_LEN, 1 << 20)];
    tracee.xstate(&mut image)?;
    LEN.store(image.len(), Relaxed);
    Ok(image.len())
}

/// The thread's state.
pub fn get(tracee: Tracee) -> Result<Vec<u8>> {
    let mut image = vec![0; len(tracee)?];
    tracee.xstate(&mut image)?;
    Ok(image)
}

/// Replaces it. The host's kernel takes an image of exactly its own size, and checks it.
pub fn set(tracee: Tracee, image: &[u8]) -> Result<()> {
    let refused = |error| {
        if error == Errno::ESRCH {
            error
        } else {
            Errno::EINVAL
        }
    };
    let len = len(tracee)?;
    if image.len() == len {
        return tracee.set_xstate(image).map_err(refused);
    }
    let too_long = image
        .get(len..)
        .is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    if too_long || image.len() < LEGACY_LEN {
        return Err(Errno::EINVAL);
    }
    let mut whole = vec![0; len];
    let n = image.len().min(len);
    whole[..n].copy_from_slice(&image[..n]);
    if n < LEGACY_LEN + HEADER_LEN {
        // An FXSAVE image alone: x87 and SSE are in it, all else is initial.
        whole[LEGACY_LEN..].fill(0);
        whole[LEGACY_LEN] = 3;
    }
    tracee.set_xstate(&whole).map_err(refused)
}

/// Makes it what a program starts with.
pub fn reset(tracee: Tracee) -> Result<()> {
    let mut image = vec![0; len(tracee)?];
    // The control words; no component is marked as in use.
    image[..2].copy_from_slice(&0x37fu16.to_ne_bytes());
    image[24..28].copy_from_slice(&0x1f80u32.to_ne_bytes());
    tracee.set_xstate(&image)
}
