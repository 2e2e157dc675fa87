//! The frame in which a guest thread's registers are while it is in its handler: written by the host's kernel or, for a new thread, by the
//! sentry; in memory that guest threads can write.

use abi::ucontext::{RtSigFrame, SigContext, UContext};
use abi::x86::UserRegs;
use abi::{Errno, Iovec, Result};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::xstate;
use crate::AddressSpace;
use crate::registers::{CODE_64, DATA_SEGMENT, sanitised};
use crate::stub;

const CONTEXT: u64 = std::mem::offset_of!(UContext, uc_mcontext) as u64;
/// The words behind those that `iretq` takes, in `reserved1`.
const FS_BASE: usize = 5;
const GS_BASE: usize = 6;

const _: () =
    assert!(8 + CONTEXT + std::mem::offset_of!(SigContext, reserved1) as u64 == stub::FRAME_RETURN);

/// Between a frame and the extended state above it there may be so much.
const ALIGNMENT: usize = 64 + 16;

/// What was read with a frame.
#[derive(Default)]
pub struct Above {
    start: u64,
    bytes: Vec<u8>,
}

impl Above {
    /// Fills `buf` from guest memory at an address: from here if it is here.
    pub fn read(&self, space: &dyn AddressSpace, addr: u64, buf: &mut [u8]) -> Result<usize> {
        let found = addr
            .checked_sub(self.start)
            .and_then(|from| usize::try_from(from).ok())
            .and_then(|from| self.bytes.get(from..from.checked_add(buf.len())?));
        match found {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(buf.len())
            }
            None => Ok(space.read(addr, buf)?),
        }
    }
}

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

    /// Reads the one whose ucontext is said to be there, and with it what lies above: the extended state, if the host's kernel has put it there.
    pub fn read(space: &dyn AddressSpace, at: u64, above: &mut Above) -> Result<Frame> {
        let start = at.checked_sub(8).ok_or(Errno::EFAULT)?;
        above.start = start;
        above
            .bytes
            .resize(size_of::<RtSigFrame>() + ALIGNMENT + xstate::len(), 0);
        let done = space.read(start, &mut above.bytes)?;
        above.bytes.truncate(done);
        let frame = RtSigFrame::read_from_prefix(&above.bytes)
            .map_err(|_| Errno::EFAULT)?
            .0;
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

    /// Puts registers there for the thread to go on with, and elsewhere its extended state, if that is given.
    pub fn write(
        &mut self,
        space: &dyn AddressSpace,
        user: &UserRegs,
        state: Option<(u64, Vec<u8>)>,
    ) -> Result<()> {
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
        let Some((at, mut bytes)) = state else {
            return put(space, self.at.wrapping_add(CONTEXT), c.as_bytes());
        };
        c.fpstate = at;
        let places = [
            (at, bytes.len()),
            (self.at.wrapping_add(CONTEXT), size_of::<SigContext>()),
        ]
        .map(|(at, len)| Iovec {
            iov_base: at,
            iov_len: len as u64,
        });
        bytes.extend_from_slice(c.as_bytes());
        if space.writev(&places, &bytes)? == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
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
