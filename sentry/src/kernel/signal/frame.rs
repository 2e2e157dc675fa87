//! The signal frame on the guest's stack, and the way back (`arch/x86/kernel/signal_64.c`, `rt_sigreturn(2)`).
//!
//! ```text
//!   sp before ──►  red zone (128 bytes)
//!                  XSAVE image, 64-byte aligned, then FP_XSTATE_MAGIC2
//!                  RtSigFrame { pretcode, ucontext, siginfo }     ◄── sp in the handler, ≡ 8 mod 16
//! ```

use crate::kernel::Cx;
use abi::Errno;
use abi::signal::{SaFlags, SigAction, SigInfo, SigSet};
use abi::ucontext::{
    MINSIGSTKSZ, RED_ZONE, RtSigFrame, SS_AUTODISARM, SS_DISABLE, SS_ONSTACK, StackT, UC_FP_XSTATE,
    UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS,
};
use abi::x86::{
    EFLAGS_DF, EFLAGS_RF, EFLAGS_TF, FIX_EFLAGS, FP_XSTATE_MAGIC1, FP_XSTATE_MAGIC2, FXSAVE_SIZE,
    FpxSwBytes, USER_CS, USER_DS, XSAVE_HEADER_OFFSET, XSAVE_MIN_SIZE,
};
use zerocopy::{FromBytes, IntoBytes};

/// Where `sw_reserved` lies in the legacy region.
const SW_BYTES_OFFSET: usize = 464;

/// Whether `sp` lies on the alternate stack.
pub fn on_altstack(stack: &StackT, sp: u64) -> bool {
    stack.ss_flags & SS_AUTODISARM == 0
        && sp > stack.ss_sp
        && sp.wrapping_sub(stack.ss_sp) <= stack.ss_size
}

/// The `ss_flags` that `sigaltstack` reports.
pub fn altstack_flags(stack: &StackT, sp: u64) -> i32 {
    if stack.ss_size == 0 {
        SS_DISABLE
    } else if on_altstack(stack, sp) {
        SS_ONSTACK
    } else {
        0
    }
}

/// The smallest alternate stack that holds a frame (`AT_MINSIGSTKSZ`).
pub fn min_stack_size(xsave_size: usize) -> u64 {
    const FRAME: usize = size_of::<RtSigFrame>() + 64 + 16;
    MINSIGSTKSZ.max(xsave_size.saturating_add(FRAME) as u64)
}

/// Writes the frame and points the registers at the handler. `EFAULT` when the stack cannot take it; registers are untouched then.
pub(super) fn push(
    cx: &mut Cx,
    info: &SigInfo,
    action: &SigAction,
    mask: SigSet,
) -> Result<(), Errno> {
    let flags = SaFlags::from_bits_retain(action.sa_flags);
    cx.load_registers()?;
    let user = cx.regs.user;
    let altstack = cx.state.altstack;
    let mut sp = user.rsp.wrapping_sub(RED_ZONE);
    let nested = on_altstack(&altstack, user.rsp);
    let mut entering_alt = false;
    if flags.contains(SaFlags::SA_ONSTACK) && altstack.ss_size != 0 && !nested {
        sp = altstack.ss_sp.wrapping_add(altstack.ss_size);
        entering_alt = true;
    }

    let mut xsave = cx.fp_state()?;
    let features = xsave
        .get(XSAVE_HEADER_OFFSET..)
        .and_then(|h| u64::read_from_prefix(h).ok())
        .map_or(3, |h| h.0);
    let xsave_size = xsave.len();
    let has_xstate = xsave_size >= XSAVE_MIN_SIZE;
    let sw = FpxSwBytes {
        magic1: if has_xstate { FP_XSTATE_MAGIC1 } else { 0 },
        extended_size: u32::try_from(xsave_size.saturating_add(4)).unwrap_or(0),
        xfeatures: cx.task().kernel().xfeatures() | features,
        xstate_size: u32::try_from(xsave_size).unwrap_or(0),
        ..FpxSwBytes::default()
    };
    if let Some(slot) = xsave.get_mut(SW_BYTES_OFFSET..FXSAVE_SIZE) {
        slot.copy_from_slice(sw.as_bytes());
    }
    xsave.extend_from_slice(FP_XSTATE_MAGIC2.as_bytes());

    let fp_addr = sp.wrapping_sub(xsave.len() as u64) & !63;
    let frame_addr = (fp_addr.wrapping_sub(size_of::<RtSigFrame>() as u64) & !15).wrapping_sub(8);
    if (entering_alt || nested)
        && !on_altstack(
            &StackT {
                ss_flags: 0,
                ..altstack
            },
            frame_addr,
        )
    {
        // Overflow of the alternate stack: never write below it.
        return Err(Errno::EFAULT);
    }

    let mut frame = RtSigFrame {
        pretcode: action.sa_restorer,
        info: *info,
        ..RtSigFrame::default()
    };
    frame.uc.uc_flags =
        UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | if has_xstate { UC_FP_XSTATE } else { 0 };
    frame.uc.uc_stack = StackT {
        ss_flags: altstack_flags(&altstack, user.rsp) | (altstack.ss_flags & SS_AUTODISARM),
        ..altstack
    };
    frame.uc.uc_sigmask = mask.0;
    let mc = &mut frame.uc.uc_mcontext;
    (mc.r8, mc.r9, mc.r10, mc.r11) = (user.r8, user.r9, user.r10, user.r11);
    (mc.r12, mc.r13, mc.r14, mc.r15) = (user.r12, user.r13, user.r14, user.r15);
    (mc.di, mc.si, mc.bp, mc.bx) = (user.rdi, user.rsi, user.rbp, user.rbx);
    (mc.dx, mc.ax, mc.cx, mc.sp) = (user.rdx, user.rax, user.rcx, user.rsp);
    (mc.ip, mc.flags) = (user.rip, user.eflags);
    (mc.cs, mc.ss) = (USER_CS as u16, USER_DS as u16);
    (mc.err, mc.trapno, mc.cr2) = (
        cx.state.fault_err,
        cx.state.fault_trapno,
        cx.state.fault_addr,
    );
    mc.oldmask = mask.0;
    mc.fpstate = fp_addr;

    // One write for both: each is a host call.
    let at = usize::try_from(fp_addr.wrapping_sub(frame_addr)).map_err(|_| Errno::EFAULT)?;
    let mut bytes = frame.as_bytes().to_vec();
    bytes.resize(at, 0);
    bytes.append(&mut xsave);
    cx.task().mm()?.write_bytes(frame_addr, &bytes)?;

    // A handler starts with the floating-point state of a new program (`fpu__clear_user_states`).
    cx.reset_fp_state()?;
    if altstack.ss_flags & SS_AUTODISARM != 0
        && (entering_alt || flags.contains(SaFlags::SA_ONSTACK))
    {
        cx.state.altstack = StackT {
            ss_flags: SS_DISABLE,
            ..StackT::default()
        };
    }
    let regs = &mut cx.regs.user;
    regs.rdi = u64::try_from(info.si_signo).unwrap_or(0);
    regs.rsi = frame_addr.wrapping_add(core::mem::offset_of!(RtSigFrame, info) as u64);
    regs.rdx = frame_addr.wrapping_add(core::mem::offset_of!(RtSigFrame, uc) as u64);
    regs.rax = 0;
    regs.rip = action.sa_handler;
    regs.rsp = frame_addr;
    regs.eflags &= !(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    (regs.cs, regs.ss) = (USER_CS, USER_DS);
    // The handler is no system call: nothing may rewind it.
    regs.orig_rax = u64::MAX;
    Ok(())
}

/// `rt_sigreturn`: restores what [`push`] saved, as far as a guest may set it. The frame lies where the handler's return left `rsp`.
pub fn sigreturn(cx: &mut Cx) -> Result<(), Errno> {
    cx.load_registers()?;
    let saved = Saved::read(cx, cx.regs.user.rsp.wrapping_sub(8))?;
    let frame = RtSigFrame::read_from_prefix(&saved.bytes)
        .map_err(|_| Errno::EFAULT)?
        .0;
    let mc = &frame.uc.uc_mcontext;
    if mc.fpstate == 0 {
        cx.reset_fp_state()?;
    } else {
        restore_fp(cx, &saved, mc.fpstate)?;
    }
    let regs = &mut cx.regs.user;
    (regs.r8, regs.r9, regs.r10, regs.r11) = (mc.r8, mc.r9, mc.r10, mc.r11);
    (regs.r12, regs.r13, regs.r14, regs.r15) = (mc.r12, mc.r13, mc.r14, mc.r15);
    (regs.rdi, regs.rsi, regs.rbp, regs.rbx) = (mc.di, mc.si, mc.bp, mc.bx);
    (regs.rdx, regs.rax, regs.rcx, regs.rsp) = (mc.dx, mc.ax, mc.cx, mc.sp);
    regs.rip = mc.ip;
    regs.eflags = (regs.eflags & !FIX_EFLAGS) | (mc.flags & FIX_EFLAGS);
    (regs.cs, regs.ss) = (USER_CS, USER_DS);
    regs.orig_rax = u64::MAX;
    cx.task().set_blocked(SigSet(frame.uc.uc_sigmask));
    let sp = cx.regs.user.rsp;
    // As Linux: a bad saved stack is not an error of sigreturn.
    let _ = set_altstack(cx, &frame.uc.uc_stack, sp);
    Ok(())
}

/// A frame and what lies above it, where its XSAVE image is unless the program has put that elsewhere: one read for both.
struct Saved {
    addr: u64,
    bytes: Vec<u8>,
}

impl Saved {
    fn read(cx: &Cx, addr: u64) -> Result<Saved, Errno> {
        /// Between the two, and behind them `FP_XSTATE_MAGIC2`.
        const ROOM: usize = 64 + 16 + 4;
        let mm = cx.task().mm()?;
        let image = cx.task().kernel().xsave_size();
        let mut bytes = vec![
            0;
            size_of::<RtSigFrame>()
                .saturating_add(image)
                .saturating_add(ROOM)
        ];
        let done = match mm.read_some(addr, &mut bytes) {
            Ok(done) if done >= size_of::<RtSigFrame>() => done,
            _ => {
                // It is at the very end of memory.
                let frame = bytes
                    .get_mut(..size_of::<RtSigFrame>())
                    .ok_or(Errno::EFAULT)?;
                mm.read_bytes(addr, frame)?;
                frame.len()
            }
        };
        bytes.truncate(done);
        Ok(Saved { addr, bytes })
    }

    /// Bytes of guest memory.
    fn get(&self, cx: &Cx, addr: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let here = addr
            .checked_sub(self.addr)
            .and_then(|from| usize::try_from(from).ok())
            .and_then(|from| self.bytes.get(from..from.checked_add(len)?));
        if let Some(bytes) = here {
            return Ok(bytes.to_vec());
        }
        let mut bytes = vec![0; len];
        cx.task().mm()?.read_bytes(addr, &mut bytes)?;
        Ok(bytes)
    }
}

fn restore_fp(cx: &mut Cx, saved: &Saved, addr: u64) -> Result<(), Errno> {
    let full = cx.task().kernel().xsave_size();
    let mut image = saved.get(cx, addr, FXSAVE_SIZE)?;
    let sw = image
        .get(SW_BYTES_OFFSET..)
        .and_then(|b| FpxSwBytes::read_from_prefix(b).ok())
        .map(|s| s.0)
        .unwrap_or_default();
    let size = sw.xstate_size as usize;
    let mut extended = false;
    if sw.magic1 == FP_XSTATE_MAGIC1
        && (XSAVE_MIN_SIZE..=full).contains(&size)
        && sw.extended_size as usize >= size.saturating_add(4)
    {
        let magic2 = saved.get(cx, addr.wrapping_add(size as u64), 4)?;
        if magic2 == FP_XSTATE_MAGIC2.as_bytes() {
            image = saved.get(cx, addr, size)?;
            extended = true;
        }
    }
    image.resize(full.max(XSAVE_MIN_SIZE), 0);
    if !extended {
        // Only the legacy region: x87 and SSE from it, the rest initial.
        if let Some(header) = image.get_mut(XSAVE_HEADER_OFFSET..XSAVE_MIN_SIZE) {
            header.fill(0);
            if let Some(first) = header.first_mut() {
                *first = 3;
            }
        }
    }
    cx.set_fp_state(&image)
}

/// `sigaltstack(2)`'s checks and effect; `sp` is the guest's stack pointer.
pub fn set_altstack(cx: &mut Cx, new: &StackT, sp: u64) -> Result<(), Errno> {
    if on_altstack(&cx.state.altstack, sp) {
        return Err(Errno::EPERM);
    }
    let mode = new.ss_flags & !SS_AUTODISARM;
    match mode {
        SS_DISABLE => {
            cx.state.altstack = StackT {
                ss_flags: SS_DISABLE,
                ..StackT::default()
            }
        }
        0 | SS_ONSTACK => {
            if new.ss_size < MINSIGSTKSZ {
                return Err(Errno::ENOMEM);
            }
            cx.state.altstack = StackT {
                ss_sp: new.ss_sp,
                ss_flags: new.ss_flags,
                ss_size: new.ss_size,
                ..StackT::default()
            };
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}
