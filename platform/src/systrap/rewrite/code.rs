//! The code that stands for a rewritten call site, and what a program sees of a thread that is in it.
//!
//! ```text
//!   page of the program             the low page                      SITES_TEXT
//!   jmp [slot] ───────────────────▶ slot ───────────────────────────▶ mov eax, n
//!   mov ecx, entrance; jmp rcx ───▶ entrance: jmp [slot] ───────────▶ lea r11, L; jmp gate (which comes back to L, or to M)
//!                                                                     L: syscall
//!                                                                     M: mov rcx, [the page's word in BASES]
//!   next instruction ◀─────────────────────────────────────────────── lea rcx, [rcx + offset]; (cmp rax, n;) jmp rcx
//! ```
//!
//! Nothing in the page depends on where it is mapped, and nothing in the code: what does is in [`BASES`], which each family of address spaces
//! has for itself.
//!
//! A program may go to the middle of a site: a branch, a return from a signal handler, a thread that was in the call while it was rewritten. The
//! only instruction that begins there is the `syscall` behind a `mov`, or the `cmp` behind a `syscall`; the byte that is there now is no
//! instruction, for slots and entrances are where the address has such a byte. The thread comes to the sentry, which does what was there.

use abi::x86::UserRegs;

use super::decode::{Kind, SYSCALL, Site};
use super::gate::{self, GATE};
use crate::stub::{
    BASES, ENTRANCES, MAX_SITES, SITE_LEN, SITES_TEXT, SITES_TEXT_LEN, SLOTS, SLOTS_LEN,
};

/// Bytes that are no instruction in 64-bit mode, nor the beginning of one.
const INVALID: [u8; 16] = [
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x9a, 0xce, 0xea,
];
const ENTRANCE_LEN: u64 = 8;
const PER_BLOCK: u64 = 0x100 / ENTRANCE_LEN;
/// `int3`
const FILL: u8 = 0xcc;

/// Where in the two low ranges something is, from their start.
pub fn slot(number: u32) -> u64 {
    8 * u64::from(number)
}

/// The same for an entrance; `None` when all have been given away.
pub fn entrance(number: u32) -> Option<u64> {
    let (block, within) = (u64::from(number) / PER_BLOCK, u64::from(number) % PER_BLOCK);
    let byte = *INVALID.get(usize::try_from(block).ok()?)?;
    Some(ENTRANCES - SLOTS + (u64::from(byte) << 8) + within * ENTRANCE_LEN)
}

/// `jmp [slot]`
fn through(number: u32) -> [u8; 7] {
    let mut jump = [0xff, 0x24, 0x25, 0, 0, 0, 0];
    jump[3..].copy_from_slice(&(SLOTS as u32 + slot(number) as u32).to_le_bytes());
    jump
}

/// An entrance's code.
pub fn entrance_code(number: u32) -> [u8; 8] {
    let mut code = [FILL; 8];
    code[..7].copy_from_slice(&through(number));
    code
}

/// What a site's own bytes become, the first [`Site::len`] of these.
pub fn replacement(site: &Site, number: u32, entrance: u64) -> [u8; 8] {
    let mut code = [0x90; 8];
    match site.kind {
        Kind::Number | Kind::LongNumber => code[..7].copy_from_slice(&through(number)),
        Kind::Compare { .. } => {
            code[0] = 0xb9;
            code[1..5].copy_from_slice(&(SLOTS as u32 + entrance as u32).to_le_bytes());
            code[5..7].copy_from_slice(&[0xff, 0xe1]);
        }
    }
    code
}

/// The address of a site's code.
pub fn address(number: u32) -> u64 {
    SITES_TEXT + 0x1000 + u64::from(number) * SITE_LEN
}

/// Whose code an address is in, and how far.
pub fn number(address: u64) -> Option<(u32, u64)> {
    let within = address.checked_sub(SITES_TEXT + 0x1000)?;
    let number = within / SITE_LEN;
    (number < MAX_SITES).then_some((number as u32, within % SITE_LEN))
}

/// Is it an address of any of this?
pub fn contains(address: u64) -> bool {
    (SITES_TEXT..SITES_TEXT + SITES_TEXT_LEN).contains(&address)
        || (SLOTS..SLOTS + SLOTS_LEN).contains(&address)
}

/// `lea r11, [rip + …]; jmp …`
const TO_GATE: u64 = 12;

/// The parts of a site's code, by their ends.
struct Parts {
    number: u64,
    call: u64,
    compared: u64,
}

fn parts(site: &Site) -> Parts {
    let (number, compare) = match site.kind {
        Kind::Number | Kind::LongNumber => (5, 0),
        Kind::Compare { .. } => (0, site.resume() - site.after()),
    };
    let call = number + if gate::possible() { TO_GATE } else { 0 } + 2;
    Parts {
        number,
        call,
        compared: call + 14 + compare,
    }
}

/// A site's code. `page` is the number of its page.
pub fn code(site: &Site, number: u32, page: u32) -> [u8; SITE_LEN as usize] {
    let mut code = Vec::with_capacity(SITE_LEN as usize);
    if let Kind::Number | Kind::LongNumber = site.kind {
        code.push(0xb8);
        code.extend(site.value.to_le_bytes());
    }
    if gate::possible() {
        // lea r11, [rip + 5]; jmp …
        code.extend([0x4c, 0x8d, 0x1d, 5, 0, 0, 0, 0xe9]);
        let behind = address(number) + code.len() as u64 + 4;
        code.extend((GATE.wrapping_sub(behind) as u32).to_le_bytes());
    }
    code.extend(SYSCALL);
    // mov rcx, [rip + …]; lea rcx, [rcx + …]
    code.extend([0x48, 0x8b, 0x0d]);
    let behind = address(number) + code.len() as u64 + 4;
    code.extend(((BASES + 8 * u64::from(page)).wrapping_sub(behind) as u32).to_le_bytes());
    code.extend([0x48, 0x8d, 0x89]);
    code.extend((site.resume() as u32).to_le_bytes());
    if let Kind::Compare { wide } = site.kind {
        if wide {
            code.push(0x48);
        }
        code.push(0x3d);
        code.extend(site.value.to_le_bytes());
    }
    code.extend([0xff, 0xe1]);
    code.resize(SITE_LEN as usize, FILL);
    let mut piece = [FILL; SITE_LEN as usize];
    piece.copy_from_slice(&code);
    piece
}

/// How far a thread in a site's code has come.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has yet to make the call.
    Before,
    /// It has made it.
    After,
}

/// Shows a thread that is at `within` of a site's code as it would be without; `base` is where its page is.
pub fn show(site: &Site, within: u64, base: u64, user: &mut UserRegs) -> Progress {
    let parts = parts(site);
    if within < parts.call {
        // The number is loaded, then, or will have been.
        if within < parts.number {
            user.rax = u64::from(site.value);
        }
        user.rip = base + site.call();
        return Progress::Before;
    }
    user.rip = base + site.after();
    if within < parts.compared {
        user.rcx = user.rip;
    } else {
        user.rip = base + site.resume();
    }
    Progress::After
}

/// Where a thread goes on that is to make the call of a site which begins with a `mov`.
pub fn own_call(site: &Site, number: u32) -> u64 {
    address(number) + parts(site).number
}

/// Does the comparison of a site.
pub fn compare(site: &Site, wide: bool, base: u64, user: &mut UserRegs) {
    const CARRY: u64 = 1;
    const PARITY: u64 = 4;
    const ADJUST: u64 = 16;
    const ZERO: u64 = 64;
    const SIGN: u64 = 128;
    const OVERFLOW: u64 = 0x800;
    let (a, b, top) = if wide {
        (user.rax, site.value as i32 as u64, 63)
    } else {
        (user.rax & 0xffff_ffff, u64::from(site.value), 31)
    };
    let mask = if wide { u64::MAX } else { 0xffff_ffff };
    let difference = a.wrapping_sub(b) & mask;
    let mut flags = 0;
    let mut flag = |set: bool, which: u64| flags |= if set { which } else { 0 };
    flag(a < b, CARRY);
    flag((difference as u8).count_ones().is_multiple_of(2), PARITY);
    flag((a ^ b ^ difference) & 16 != 0, ADJUST);
    flag(difference == 0, ZERO);
    flag(difference >> top & 1 != 0, SIGN);
    flag((a ^ b) & (a ^ difference) & 1 << top != 0, OVERFLOW);
    let all = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;
    user.eflags = user.eflags & !all | flags;
    user.rip = base + site.resume();
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Site = Site {
        start: 200,
        kind: Kind::Number,
        value: 39,
    };
    const COMPARE: Site = Site {
        start: 200,
        kind: Kind::Compare { wide: true },
        value: 0xffff_f001,
    };

    #[test]
    fn the_middle_is_no_instruction() {
        for n in 0..MAX_SITES as u32 {
            assert_eq!(replacement(&NUMBER, n, 0)[5], 0x06);
        }
        let mut n = 0;
        while let Some(at) = entrance(n) {
            assert!(at + ENTRANCE_LEN <= SLOTS_LEN);
            assert!(INVALID.contains(&replacement(&COMPARE, n, at)[2]));
            n += 1;
        }
        assert_eq!(n, 512);
        for byte in INVALID {
            let code = [byte, 0, 0, 0, 0, 0, 0, 0];
            let mut decoder = iced_x86::Decoder::new(64, &code, iced_x86::DecoderOptions::NONE);
            assert!(decoder.decode().is_invalid(), "{byte:#x}");
        }
    }

    #[test]
    fn the_code_is_as_long_as_its_parts() {
        for site in [NUMBER, COMPARE] {
            let code = code(&site, 3, 4);
            let parts = parts(&site);
            assert_eq!(code[parts.call as usize - 2..][..2], SYSCALL);
            assert_eq!(code[parts.compared as usize..][..3], [0xff, 0xe1, FILL]);
        }
    }

    /// What the processor makes of the same comparison.
    fn flags_of(a: u64, wide: bool) -> u64 {
        let flags: u64;
        // SAFETY: compares, and takes the flags by way of the stack.
        unsafe {
            if wide {
                std::arch::asm!("cmp {a}, -4095", "pushfq", "pop {f}", a = in(reg) a, f = out(reg) flags);
            } else {
                std::arch::asm!("cmp {a:e}, -4095", "pushfq", "pop {f}", a = in(reg) a, f = out(reg) flags);
            }
        }
        flags & 0x8d5
    }

    #[test]
    fn comparisons_are_the_processors() {
        for wide in [false, true] {
            for a in [
                0,
                1,
                0xff,
                -1i64 as u64,
                -38i64 as u64,
                -4095i64 as u64,
                -4096i64 as u64,
                1 << 63,
                1 << 31,
                i64::MAX as u64,
            ] {
                let mut user = UserRegs {
                    rax: a,
                    eflags: 0x8d5,
                    ..UserRegs::default()
                };
                let site = Site {
                    kind: Kind::Compare { wide },
                    ..COMPARE
                };
                compare(&site, wide, 0x1000, &mut user);
                assert_eq!(user.eflags, flags_of(a, wide), "{a:#x} {wide}");
                assert_eq!(user.rip, 0x1000 + site.resume());
            }
        }
    }
}
