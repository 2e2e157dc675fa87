//! Restartable sequences (`kernel/rseq.c`, rseq(2)). The host keeps a guest thread's area, since it alone knows when the thread is moved or
//! preempted; what the sentry does itself is what the host cannot see: signal handlers of the guest.

use super::cx::Cx;
use abi::Errno;
use abi::sched::{RSEQ_FLAG_UNREGISTER, Rseq, RseqCs};
use platform::RseqArea;

/// Size of the original `struct rseq`, which is also its alignment.
const ORIGINAL: u32 = size_of::<Rseq>() as u32;
const RSEQ_CS: u64 = std::mem::offset_of!(Rseq, rseq_cs) as u64;

impl Cx {
    /// rseq(2)
    pub fn rseq(&mut self, addr: u64, len: u32, flags: i32, sig: u32) -> Result<(), Errno> {
        let Some((feature_size, align)) = platform::host_rseq() else {
            return Err(Errno::ENOSYS);
        };
        let asked = RseqArea { addr, len, sig };
        let known = self.state.rseq;
        let same = |area: RseqArea| (area.addr, area.len) == (addr, len);
        if flags & RSEQ_FLAG_UNREGISTER != 0 {
            return match known {
                Some(area) if flags == RSEQ_FLAG_UNREGISTER && same(area) => {
                    if area.sig != sig {
                        return Err(Errno::EPERM);
                    }
                    self.context.set_rseq(&mut self.regs, None)?;
                    self.state.rseq = None;
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            };
        }
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        if let Some(area) = known {
            return Err(match area {
                _ if !same(area) => Errno::EINVAL,
                _ if area.sig != sig => Errno::EPERM,
                _ => Errno::EBUSY,
            });
        }
        let fits = if len == ORIGINAL {
            addr.is_multiple_of(u64::from(ORIGINAL))
        } else {
            u64::from(len) >= feature_size.max(u64::from(ORIGINAL)) && addr.is_multiple_of(align)
        };
        if !fits {
            return Err(Errno::EINVAL);
        }
        // The host could not copy the page of a file, and would not find a sequence that is none of this thread's.
        let mm = self.mm()?;
        mm.write_obj(addr.wrapping_add(RSEQ_CS), &0u64)?;
        self.context.set_rseq(&mut self.regs, Some(asked))?;
        self.state.rseq = Some(asked);
        Ok(())
    }

    /// A handler is about to run: a sequence under way goes on where it says. `EFAULT` or `EINVAL` for one that the host, too, would refuse.
    pub(super) fn break_off_sequence(&mut self) -> Result<(), Errno> {
        let Some(area) = self.state.rseq else {
            return Ok(());
        };
        let mm = self.mm()?;
        let pointer = area.addr.wrapping_add(RSEQ_CS);
        let at: u64 = mm.read_obj(pointer)?;
        if at == 0 {
            return Ok(());
        }
        let cs: RseqCs = mm.read_obj(at)?;
        self.load_registers()?;
        let rip = self.regs.user.rip;
        let inside = |ip: u64| ip.wrapping_sub(cs.start_ip) < cs.post_commit_offset;
        if inside(rip) {
            let sound = cs.version == 0
                && cs.start_ip.checked_add(cs.post_commit_offset).is_some()
                && !inside(cs.abort_ip);
            let mark = cs.abort_ip.wrapping_sub(size_of::<u32>() as u64);
            if !sound || mm.read_obj::<u32>(mark)? != area.sig {
                return Err(Errno::EINVAL);
            }
            self.regs.user.rip = cs.abort_ip;
        }
        mm.write_obj(pointer, &0u64)
    }
}
