//! Host calls without the C library: the zygote uses them between its fork and its jump into the stub's code, where the library's memory and
//! locks are another process's; and the few calls that `rustix` does not wrap.

use abi::{Errno, Result};

/// One system call. `Err` for -4095..=-1.
///
/// # Safety
/// The call and its arguments must leave this process's memory as Rust believes it to be.
#[inline(always)]
pub unsafe fn call(nr: i64, args: [u64; 6]) -> Result<u64> {
    let result: i64;
    // SAFETY: the syscall instruction clobbers rax, rcx and r11 only; what the call does is the caller's promise.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    Errno::from_return(result).map(|value| value as u64)
}

/// The processor's time-stamp counter: what short intervals are measured with.
pub fn rdtsc() -> u64 {
    // SAFETY: reads a counter; every x86-64 has it and Linux leaves it readable.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The processor the calling thread runs on, right now.
pub fn current_cpu() -> u32 {
    // SAFETY: no arguments; cannot fail on Linux.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Size and alignment of the area that the host keeps for rseq(2) (`AT_RSEQ_FEATURE_SIZE`, `AT_RSEQ_ALIGN`), if it does (Linux 6.3).
pub fn host_rseq() -> Option<(u64, u64)> {
    const AT_RSEQ_FEATURE_SIZE: u64 = 27;
    const AT_RSEQ_ALIGN: u64 = 28;
    // SAFETY: reads words that the kernel gave this process.
    let (size, align) = unsafe {
        (
            libc::getauxval(AT_RSEQ_FEATURE_SIZE),
            libc::getauxval(AT_RSEQ_ALIGN),
        )
    };
    (size != 0 && align != 0).then_some((size, align))
}
