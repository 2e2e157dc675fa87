//! A new program's stack (`create_elf_tables`): strings at the top, then the auxiliary vector, pointers, `argc`.
//!
//! ```text
//!   top   8 zero bytes
//!         file name, environment, arguments          (strings)
//!         a random gap, "x86_64", 16 random bytes
//!         auxiliary vector
//!         envp[] NULL, argv[] NULL
//!   rsp → argc                                        (16-byte aligned)
//! ```

use super::{Built, Identity};
use crate::mm::layout::Random;
use crate::mm::{MemoryManager, Piece, Plan, VmFlags};
use abi::elf::*;
use abi::{Errno, PAGE_SIZE};
use platform::Prot;

/// The longest single string (`MAX_ARG_STRLEN`).
const MAX_STRING: usize = 131_072;
/// Arguments and environment may always take so much.
const MIN_ARGS: u64 = 131_072;
/// And never more than so much (three quarters of `_STK_LIM`).
const MAX_ARGS: u64 = (8 << 20) / 4 * 3;
/// How much stack a program starts with below its arguments.
const ROOM: u64 = 131_072;
const PLATFORM: &[u8] = b"x86_64\0";

/// What the host says of its processor: `AT_HWCAP`, `AT_HWCAP2`, `AT_MINSIGSTKSZ`. Asked once, before the sentry is locked in: later there is no file to read it from.
static HOST: sync::OnceLock<(usize, usize, usize)> = sync::OnceLock::new();

/// Asks the host what the auxiliary vector will say of the processor.
pub fn ask_host() -> (usize, usize, usize) {
    *HOST.get_or_init(|| {
        let (hwcap, hwcap2) = rustix::param::linux_hwcap();
        (hwcap, hwcap2, rustix::param::linux_minsigstksz())
    })
}

/// `E2BIG` if the strings and their pointers are too much for the stack limit.
pub fn check_size(
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
    filename: &[u8],
    stack_limit: u64,
) -> Result<(), Errno> {
    let limit = (stack_limit / 4).clamp(MIN_ARGS, MAX_ARGS);
    let mut size = filename.len().saturating_add(1);
    for string in argv.iter().chain(envp) {
        if string.len() >= MAX_STRING {
            return Err(Errno::E2BIG);
        }
        size = size
            .saturating_add(string.len())
            .saturating_add(1)
            .saturating_add(8);
    }
    if size as u64 > limit {
        Err(Errno::E2BIG)
    } else {
        Ok(())
    }
}

/// Everything the stack tells the program.
pub struct Tables<'a> {
    pub argv: &'a [Vec<u8>],
    pub envp: &'a [Vec<u8>],
    pub filename: &'a [u8],
    pub identity: Identity,
    pub program: &'a Built,
}

/// Where strings that the auxiliary vector names have come to lie.
pub struct Named {
    random: u64,
    execfn: u64,
    platform: u64,
}

impl Tables<'_> {
    /// The auxiliary vector, in Linux's order.
    fn auxv(&self, vdso: u64, named: &Named) -> Vec<(u64, u64)> {
        let ((uid, euid, gid, egid), secure) = self.identity;
        let (hwcap, hwcap2, minsigstksz) = ask_host();
        let mut auxv = Vec::with_capacity(24);
        if vdso != 0 {
            auxv.push((AT_SYSINFO_EHDR, vdso));
        }
        if minsigstksz != 0 {
            auxv.push((AT_MINSIGSTKSZ, minsigstksz as u64));
        }
        auxv.extend([
            (AT_HWCAP, hwcap as u64),
            (AT_PAGESZ, PAGE_SIZE),
            (AT_CLKTCK, 100),
            (AT_PHDR, self.program.phdr),
            (AT_PHENT, size_of::<Phdr>() as u64),
            (AT_PHNUM, self.program.phnum),
            (AT_BASE, self.program.base),
            (AT_FLAGS, 0),
            (AT_ENTRY, self.program.program_entry),
            (AT_UID, uid.into()),
            (AT_EUID, euid.into()),
            (AT_GID, gid.into()),
            (AT_EGID, egid.into()),
            (AT_SECURE, secure.into()),
            (AT_RANDOM, named.random),
            (AT_HWCAP2, hwcap2 as u64),
            (AT_EXECFN, named.execfn),
            (AT_PLATFORM, named.platform),
        ]);
        if let Some((size, align)) = platform::host_rseq() {
            auxv.extend([(AT_RSEQ_FEATURE_SIZE, size), (AT_RSEQ_ALIGN, align)]);
        }
        auxv.push((AT_NULL, 0));
        auxv
    }

    /// Plans the stack below `top`; returns the stack pointer and the bytes of the auxiliary vector.
    pub fn build(
        &self,
        plan: &mut Plan,
        mm: &MemoryManager,
        top: u64,
        limit: u64,
        exec: bool,
        random: &mut Random,
    ) -> Result<(u64, Vec<u8>), Errno> {
        // Strings, from the lowest: arguments, environment, file name, eight zeroes.
        let strings = || {
            self.argv
                .iter()
                .map(Vec::as_slice)
                .chain(self.envp.iter().map(Vec::as_slice))
                .chain([self.filename])
        };
        let len: usize = strings().map(|s| s.len().saturating_add(1)).sum();
        let base = top
            .checked_sub(len as u64)
            .and_then(|p| p.checked_sub(8))
            .ok_or(Errno::ENOMEM)?;
        let mut text = Vec::with_capacity(len);
        let mut addresses = Vec::new();
        for string in strings() {
            addresses.push(base.saturating_add(text.len() as u64));
            text.extend_from_slice(string);
            text.push(0);
        }
        let execfn = addresses.pop().unwrap_or(base);
        let (args, envs) = addresses.split_at(self.argv.len().min(addresses.len()));

        let mut at = base.saturating_sub(random.below(8192)) & !15;
        at = at.saturating_sub(PLATFORM.len() as u64);
        let platform = at;
        at = at.saturating_sub(16);
        let random_at = at;
        let named = Named {
            random: random_at,
            execfn,
            platform,
        };
        let auxv = self.auxv(plan.layout().vdso, &named);
        let words = 1usize
            .saturating_add(args.len())
            .saturating_add(1)
            .saturating_add(envs.len())
            .saturating_add(1)
            .saturating_add(auxv.len().saturating_mul(2));
        let pointer = at
            .checked_sub((words as u64).saturating_mul(8))
            .ok_or(Errno::ENOMEM)?
            & !15;

        let mut table: Vec<u8> = Vec::with_capacity(words.saturating_mul(8));
        let mut push = |word: u64| table.extend_from_slice(&word.to_le_bytes());
        push(args.len() as u64);
        args.iter()
            .copied()
            .chain([0])
            .chain(envs.iter().copied())
            .chain([0])
            .for_each(&mut push);
        let auxv_bytes: Vec<u8> = auxv
            .iter()
            .flat_map(|(kind, value)| [*kind, *value])
            .flat_map(u64::to_le_bytes)
            .collect();
        table.extend_from_slice(&auxv_bytes);

        let page = PAGE_SIZE - 1;
        let end = top.checked_add(page).ok_or(Errno::ENOMEM)? & !page;
        // As Linux: so much room at once, or as much as the limit gives.
        let lowest = end.saturating_sub(limit.saturating_add(page) & !page);
        let start = (pointer & !page)
            .saturating_sub(ROOM)
            .max(lowest)
            .min(pointer & !page)
            .max(mm.user_range().start);
        if !plan.is_free(start..end) {
            return Err(Errno::ENOMEM);
        }
        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::EXEC, exec);
        plan.map(start..end, prot, VmFlags::GROWSDOWN, Piece::Anonymous)?;
        plan.write(pointer, &table);
        plan.write(random_at, &random.bytes());
        plan.write(platform, PLATFORM);
        plan.write(base, &text);
        let layout = plan.layout();
        layout.start_stack = pointer;
        layout.arg_start = base;
        layout.arg_end = envs.first().copied().unwrap_or(execfn);
        layout.env_start = layout.arg_end;
        layout.env_end = execfn;
        Ok((pointer, auxv_bytes))
    }
}
