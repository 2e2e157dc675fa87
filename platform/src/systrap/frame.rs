//! The frame in which a guest thread's registers are while it is in its handler: written by the host's kernel or, for a new thread, by the
//! sentry; in memory that guest threads can write.

use abi::ucontext::{RtSigFrame, SigContext, UContext};
use abi::x86::UserRegs;
use abi::{Errno, Result};
use zerocopy::{FromZeros, IntoBytes};

use crate::AddressSpace;
use crate::registers::{CODE_64, DATA_SEGMENT, sanitised};
use crate::stub;

const CONTEXT: u64 = std::mem::offset_of!(UContext, uc_mcontext) as u64;
/// The words behind those that `iretq` takes, in `reserved1`.
const FS_BASE: usize = 5;
const GS_BASE: usize = 6;

const _: () =
    assert!(8 + CONTEXT + std::mem::offset_of!(SigContext, reserved1) as u64 == stub::FRAME_RETURN);

/// A frame as the sentry has read it.
#[derive(Clone)]
pub struct Frame {
    /// Address of its ucontext.
    at: u64,
    /// The registers.
    pub context: SigContext,
    /// `si_code`
    pub code: i32,
    /// `si_addr`
    pub addr: u64,
}

impl Frame {
    /// That of a new thread: nothing is in it yet.
    pub fn blank(at: u64) -> Frame {
        Frame {
            at,
            context: SigContext::new_zeroed(),
            code: 0,
            addr: 0,
        }
    }

    /// Reads the one whose ucontext is said to be there.
    pub fn read(space: &dyn AddressSpace, at: u64) -> Result<Frame> {
        let mut frame = RtSigFrame::new_zeroed();
        let bytes = frame.as_mut_bytes();
        let start = at.checked_sub(8).ok_or(Errno::EFAULT)?;
        if space.read(start, bytes)? != bytes.len() {
            return Err(Errno::EFAULT);
        }
        let mut addr = [0; 8];
        let info = frame.info.as_bytes();
        addr.copy_from_slice(info.get(16..24).ok_or(Errno::EFAULT)?);
        Ok(Frame {
            at,
            context: frame.uc.uc_mcontext,
            code: frame.info.si_code,
            addr: u64::from_ne_bytes(addr),
        })
    }

    /// Address of its ucontext.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The stack pointer of a thread that is in its handler with it.
    pub fn stack(&self) -> u64 {
        self.at.wrapping_sub(8)
    }

    /// Can a frame with its ucontext there have been made while the thread worked with this one? Then it is below.
    pub fn is_above(&self, nested: u64) -> bool {
        let len = size_of::<RtSigFrame>() as u64;
        nested
            .checked_add(len)
            .is_some_and(|end| end <= self.at.saturating_sub(8))
    }

    /// The registers that the thread had.
    pub fn registers(&self) -> UserRegs {
        let c = &self.context;
        UserRegs {
            r15: c.r15,
            r14: c.r14,
            r13: c.r13,
            r12: c.r12,
            rbp: c.bp,
            rbx: c.bx,
            r11: c.r11,
            r10: c.r10,
            r9: c.r9,
            r8: c.r8,
            rax: c.ax,
            rcx: c.cx,
            rdx: c.dx,
            rsi: c.si,
            rdi: c.di,
            orig_rax: u64::MAX,
            rip: c.ip,
            cs: u64::from(c.cs),
            eflags: c.flags,
            rsp: c.sp,
            ss: u64::from(c.ss),
            fs_base: c.reserved1[FS_BASE],
            gs_base: c.reserved1[GS_BASE],
            ..UserRegs::default()
        }
    }

    /// Puts registers there for the thread to go on with.
    pub fn write(&mut self, space: &dyn AddressSpace, user: &UserRegs) -> Result<()> {
        let user = sanitised(user);
        let c = &mut self.context;
        (c.r8, c.r9, c.r10, c.r11) = (user.r8, user.r9, user.r10, user.r11);
        (c.r12, c.r13, c.r14, c.r15) = (user.r12, user.r13, user.r14, user.r15);
        (c.di, c.si, c.bp, c.bx) = (user.rdi, user.rsi, user.rbp, user.rbx);
        (c.dx, c.ax, c.cx) = (user.rdx, user.rax, user.rcx);
        c.reserved1 = [
            user.rip,
            user.cs,
            user.eflags,
            user.rsp,
            user.ss,
            user.fs_base,
            user.gs_base,
            0,
        ];
        put(space, self.at.wrapping_add(CONTEXT), c.as_bytes())
    }

    /// Has the thread, which is in the handler with another frame, go on from this one.
    pub fn write_way_back(&self, space: &dyn AddressSpace, from: u64) -> Result<()> {
        const FLAGS: u64 = 0x202;
        let [.., fs_base, gs_base, _] = self.context.reserved1;
        let back = [
            stub::resume_pc(),
            CODE_64,
            FLAGS,
            self.stack(),
            DATA_SEGMENT,
            fs_base,
            gs_base,
            0,
        ];
        let at = from.wrapping_sub(8).wrapping_add(stub::FRAME_RETURN);
        put(space, at, back.as_bytes())
    }
}

fn put(space: &dyn AddressSpace, at: u64, bytes: &[u8]) -> Result<()> {
    if space.write(at, bytes)? == bytes.len() {
        Ok(())
    } else {
        Err(Errno::EFAULT)
    }
}
