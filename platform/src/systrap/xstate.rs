//! The extended state of a guest thread that is in its handler: the XSAVE image of its frame, in the standard format.

use abi::{Errno, Result};

use super::frame::Above;
use crate::AddressSpace;

/// The FXSAVE part of an image, and the header behind it.
const LEGACY_LEN: usize = 512;
const HEADER_LEN: usize = 64;
/// Where the image says what it may hold, as PTRACE_GETREGSET has it.
const FEATURES_AT: usize = 464;
/// The tile registers of AMX, which frames hold only once they are used.
const TILES: u64 = 3 << 17;

/// What this host's processors have.
#[derive(Copy, Clone)]
struct Layout {
    /// The components that a frame always has room for.
    features: u64,
    /// The length of its image.
    len: usize,
    mxcsr_mask: u32,
}

fn layout() -> Layout {
    static LAYOUT: sync::OnceLock<Layout> = sync::OnceLock::new();
    *LAYOUT.get_or_init(|| {
        use core::arch::x86_64::{__cpuid_count, _fxsave64};
        let (low, high): (u32, u32);
        // SAFETY: reads a register; without XSAVE the platform is not made ([`super::missing`]).
        unsafe {
            std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack))
        };
        let enabled = u64::from(high) << 32 | u64::from(low);
        let features = enabled & !TILES;
        let len = if features == enabled {
            __cpuid_count(0xd, 0).ebx
        } else {
            (2..63)
                .filter(|n| features >> n & 1 != 0)
                .map(|n| __cpuid_count(0xd, n))
                .map(|leaf| leaf.ebx.saturating_add(leaf.eax))
                .max()
                .unwrap_or(0)
        };
        #[repr(C, align(16))]
        struct Image([u8; LEGACY_LEN]);
        let mut image = Image([0; LEGACY_LEN]);
        // SAFETY: every x86-64 has it; it writes 512 aligned bytes.
        unsafe { _fxsave64(image.0.as_mut_ptr()) };
        let mask = word(&image.0, 28);
        Layout {
            features,
            len: (len as usize).clamp(LEGACY_LEN + HEADER_LEN, 1 << 14),
            mxcsr_mask: if mask == 0 { 0xffbf } else { mask },
        }
    })
}

fn word(image: &[u8], at: usize) -> u32 {
    image
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

/// The length of an image.
pub fn len() -> usize {
    layout().len
}

/// The image of a program's first state.
pub fn initial() -> Vec<u8> {
    let layout = layout();
    let mut image = vec![0; layout.len];
    // The control words; no component is marked as in use.
    image[..2].copy_from_slice(&0x37fu16.to_ne_bytes());
    image[24..28].copy_from_slice(&0x1f80u32.to_ne_bytes());
    image[FEATURES_AT..FEATURES_AT + 8].copy_from_slice(&layout.features.to_ne_bytes());
    image
}

/// The image at an address that a frame tells, 0 for the initial state. Whatever the guest may have put there, it is one that the processor takes.
pub fn get(space: &dyn AddressSpace, above: &Above, at: u64) -> Result<Vec<u8>> {
    let mut image = initial();
    if at == 0 {
        return Ok(image);
    }
    let layout = layout();
    if above.read(space, at, &mut image)? != layout.len {
        return Err(Errno::EFAULT);
    }
    let mxcsr = word(&image, 24) & layout.mxcsr_mask;
    image[24..28].copy_from_slice(&mxcsr.to_ne_bytes());
    image[FEATURES_AT..LEGACY_LEN].fill(0);
    image[FEATURES_AT..FEATURES_AT + 8].copy_from_slice(&layout.features.to_ne_bytes());
    let present = header(&image) & layout.features;
    image[LEGACY_LEN..LEGACY_LEN + HEADER_LEN].fill(0);
    image[LEGACY_LEN..LEGACY_LEN + 8].copy_from_slice(&present.to_ne_bytes());
    Ok(image)
}

/// The components that an image says are in use.
fn header(image: &[u8]) -> u64 {
    u64::from(word(image, LEGACY_LEN + 4)) << 32 | u64::from(word(image, LEGACY_LEN))
}

/// An image of the host's length from one that a guest has made. `EINVAL` if the processor would refuse it.
pub fn complete(image: &[u8]) -> Result<Vec<u8>> {
    let layout = layout();
    let too_long = image
        .get(layout.len..)
        .is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
    if too_long || image.len() < LEGACY_LEN {
        return Err(Errno::EINVAL);
    }
    let mut whole = vec![0; layout.len];
    let n = image.len().min(layout.len);
    whole[..n].copy_from_slice(&image[..n]);
    if n < LEGACY_LEN + HEADER_LEN {
        // An FXSAVE image alone: x87 and SSE are in it, all else is initial.
        whole[LEGACY_LEN..].fill(0);
        whole[LEGACY_LEN] = 3;
    }
    let reserved = &whole[LEGACY_LEN + 8..LEGACY_LEN + HEADER_LEN];
    if header(&whole) & !layout.features != 0
        || reserved.iter().any(|byte| *byte != 0)
        || word(&whole, 24) & !layout.mxcsr_mask != 0
    {
        return Err(Errno::EINVAL);
    }
    Ok(whole)
}
