//! What the guest is told of the machine, from the host's own calls.

pub use platform::{CpuSet, processors};

/// `uname -r`: the Linux whose behaviour the calls follow.
pub const RELEASE: &str = "6.12.0";
/// `uname -v`
pub const VERSION: &str = "#1 SMP runsc-rs";

/// Memory of the machine, or of the sandbox's limit when that is lower. Bytes.
pub struct Memory {
    /// `MemTotal`
    pub total: u64,
    /// `MemFree`
    pub free: u64,
    /// `Shmem`
    pub shared: u64,
    /// `Buffers`
    pub buffers: u64,
    /// `SwapTotal`
    pub swap_total: u64,
    /// `SwapFree`
    pub swap_free: u64,
    /// Load averages, in 1/65536.
    pub loads: [u64; 3],
}

/// Memory now.
pub fn memory() -> Memory {
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit).max(1);
    Memory {
        total: info.totalram.saturating_mul(unit),
        free: info.freeram.saturating_mul(unit),
        shared: info.sharedram.saturating_mul(unit),
        buffers: info.bufferram.saturating_mul(unit),
        swap_total: info.totalswap.saturating_mul(unit),
        swap_free: info.freeswap.saturating_mul(unit),
        loads: info.loads,
    }
}

/// How many [`processors`] the sandbox may use; at least 1.
pub fn cpus() -> u32 {
    let bits = processors().iter().map(|word| word.count_ones());
    bits.fold(0, u32::saturating_add).max(1)
}

/// The processor this thread runs on.
pub fn current_cpu() -> u32 {
    u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(0)
}

/// Fills `buf` from the host's pool.
pub fn random(buf: &mut [u8]) {
    let mut done = 0usize;
    while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done = done.saturating_add(n),
            Err(rustix::io::Errno::INTR) => {}
            // The host has had a pool since its boot: nothing else can fail here.
            Err(e) => {
                log::error!("getrandom: {e}");
                std::process::abort();
            }
        }
    }
}
