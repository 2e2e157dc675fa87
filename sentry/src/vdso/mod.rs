//! A vDSO of our own: `linux-vdso.so.1`, whose functions tell the time without entering the sentry.
//!
//! ```text
//!   libc ──► __vdso_clock_gettime in our image ──jmp──► the host's vDSO, which every stub keeps outside the guest's range ──► the host's time page
//! ```
//!
//! The host's image cannot be shown to guests itself: its place is the platform's, and its data pages must not move. Where there is none, the
//! functions make the system call. One image serves all address spaces of a sandbox.

mod host;
mod image;
#[cfg(test)]
mod tests;

use crate::kernel::Kernel;
use crate::mm::{MemoryManager, Piece};
use platform::MemoryFile;
use std::sync::Arc;
use sync::OnceLock;

/// The image in the memory file.
pub struct Vdso {
    memory: Arc<MemoryFile>,
    offset: u64,
    /// Its length, whole pages.
    pub len: u64,
}

impl Vdso {
    /// To map it.
    pub fn piece(&self) -> Piece {
        Piece::Special {
            name: "[vdso]",
            offset: self.offset,
        }
    }
}

impl Drop for Vdso {
    fn drop(&mut self) {
        self.memory.free(self.offset, self.len);
    }
}

/// The kernel's one image, made when the first program is loaded.
#[derive(Default)]
struct Slot(OnceLock<Option<Vdso>>);

/// A reference to the image that lives as long as the kernel.
pub struct VdsoRef(Arc<Slot>);

impl VdsoRef {
    /// The image.
    pub fn get(&self) -> Option<&Vdso> {
        self.0.0.get().and_then(Option::as_ref)
    }
}

/// The image for programs of `kernel`; `mm` is any address space of it.
pub fn of(kernel: &Arc<Kernel>, mm: &MemoryManager) -> VdsoRef {
    let slot = kernel.extension(Slot::default);
    if slot.0.get().is_none() {
        let made = make(kernel, mm);
        // Two first programs at once: one image is dropped.
        let _ = slot.0.set(made);
    }
    VdsoRef(slot)
}

fn make(kernel: &Kernel, mm: &MemoryManager) -> Option<Vdso> {
    let functions = match kernel.platform.host_vdso() {
        Some(range) => host::functions(&range, |addr, buf| {
            mm.address_space()
                .read(addr, buf)
                .is_ok_and(|n| n == buf.len())
        }),
        None => Vec::new(),
    };
    let bytes = image::build(&functions)?;
    let memory = mm.memory_file().clone();
    let len = abi::PAGE_SIZE;
    let offset = memory.allocate(len).ok()?;
    let vdso = Vdso {
        memory,
        offset,
        len,
    };
    match vdso.memory.write_at(offset, &bytes) {
        Ok(()) => Some(vdso),
        Err(error) => {
            log::warn!("no vDSO: {error}");
            None
        }
    }
}
