//! What can be rewritten: the instructions around a `syscall` that a guest has just executed.
//!
//! | pattern | bytes | becomes |
//! |---|---|---|
//! | `mov eax, n; syscall` | `b8 n 0f 05` | `jmp [slot]`, 7 bytes |
//! | `mov rax, n; syscall` | `48 c7 c0 n 0f 05` | `jmp [slot]`, and the `syscall` stays |
//! | `syscall; cmp rax, n` | `0f 05 48 3d n` | `mov ecx, entrance; jmp rcx; nop` |
//! | `syscall; cmp eax, n` | `0f 05 3d n` | `mov ecx, entrance; jmp rcx` |
//!
//! What follows an executed `syscall` is an instruction for sure. What precedes it is believed to be a `mov` only if the number is the one that
//! the guest has called, and if whoever reads the code from anywhere before arrives at the `mov`. Branches into the middle need no look: see
//! [`super::code`].

use iced_x86::{Decoder, DecoderOptions};

/// `syscall`
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// How far before an instruction reading begins, at most.
pub const LEAD: usize = 64;
/// From how many places.
const SWEEPS: usize = 16;

/// What a site is made of.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `mov eax, value` before the `syscall`.
    Number,
    /// `mov rax, value` before it; the `syscall` itself stays.
    LongNumber,
    /// `cmp rax, value` (`wide`) or `cmp eax, value` behind it.
    Compare {
        /// 64 bits.
        wide: bool,
    },
}

/// A site in a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Of the first byte that is replaced, in its page.
    pub start: u16,
    /// Which pattern.
    pub kind: Kind,
    /// The number that is loaded, or what the result is compared with.
    pub value: u32,
}

impl Site {
    /// Of its `syscall`, in the page.
    pub fn call(&self) -> u64 {
        u64::from(self.start)
            + match self.kind {
                Kind::Number => 5,
                Kind::LongNumber => 7,
                Kind::Compare { .. } => 0,
            }
    }

    /// Of what is behind the `syscall`.
    pub fn after(&self) -> u64 {
        self.call() + 2
    }

    /// Of the first instruction behind it that is not part of the site.
    pub fn resume(&self) -> u64 {
        self.after()
            + match self.kind {
                Kind::Compare { wide: true } => 6,
                Kind::Compare { wide: false } => 5,
                _ => 0,
            }
    }

    /// How many bytes are replaced.
    pub fn len(&self) -> usize {
        match self.kind {
            Kind::Compare { wide: true } => 8,
            _ => 7,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The site of the `syscall` at offset `at` of a page, with which call `nr` was made. `lead` is what comes before the page, if that is code.
pub fn site(lead: &[u8], page: &[u8], at: usize, nr: u32) -> Option<Site> {
    if page.get(at..at.checked_add(2)?)? != SYSCALL {
        return None;
    }
    let before = |len: usize, head: &[u8]| {
        let start = at.checked_sub(len)?;
        let found = page.get(start..)?.starts_with(head)
            && word(page, at - 4)? == nr
            && i32::try_from(nr).is_ok()
            && boundary(lead, page, start);
        found.then_some(u16::try_from(start).ok()?)
    };
    let number = |start, kind| Site {
        start,
        kind,
        value: nr,
    };
    if let Some(start) = before(5, &[0xb8]) {
        return Some(number(start, Kind::Number));
    }
    if let Some(start) = before(7, &[0x48, 0xc7, 0xc0]) {
        return Some(number(start, Kind::LongNumber));
    }
    let behind = page.get(at + 2..)?;
    let (wide, head) = match behind {
        [0x48, 0x3d, ..] => (true, 2),
        [0x3d, ..] => (false, 1),
        _ => return None,
    };
    Some(Site {
        start: u16::try_from(at).ok()?,
        kind: Kind::Compare { wide },
        value: word(behind, head)?,
    })
}

/// Does every reading of the code arrive at `target`? Instructions have different lengths, so one that begins in the middle of another may read
/// something else at first; it is hardly ever more than a few that it takes to come back.
fn boundary(lead: &[u8], page: &[u8], target: usize) -> bool {
    let mut code = lead.to_vec();
    code.extend_from_slice(page.get(..target).unwrap_or_default());
    // A `mov` that is not one would be the end of a longer instruction: the bytes behind it must be there for that to be seen.
    let end = code.len();
    code.extend_from_slice(
        page.get(target..)
            .unwrap_or_default()
            .get(..16)
            .unwrap_or_default(),
    );
    let first = end.saturating_sub(LEAD);
    // With less than that before it, the text begins there.
    let starts = if end < LEAD { 1 } else { SWEEPS };
    (first..first + starts).all(|start| arrives(&code, start, end))
}

fn arrives(code: &[u8], mut at: usize, target: usize) -> bool {
    while at < target {
        let Some(rest) = code.get(at..) else {
            return false;
        };
        let mut decoder = Decoder::new(64, rest, DecoderOptions::NONE);
        let instruction = decoder.decode();
        at += if instruction.is_invalid() {
            1
        } else {
            instruction.len()
        };
    }
    at == target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(at: usize, code: &[u8]) -> Vec<u8> {
        let mut page = vec![0x90; 4096];
        page[at..at + code.len()].copy_from_slice(code);
        page
    }

    #[test]
    fn c_libraries_and_go() {
        // glibc, musl: mov eax, 110; syscall; ret
        let code = page(200, &[0xb8, 110, 0, 0, 0, 0x0f, 5, 0xc3]);
        let found = site(&[], &code, 205, 110).unwrap();
        assert_eq!((found.start, found.kind), (200, Kind::Number));
        assert_eq!(
            (found.call(), found.after(), found.resume()),
            (205, 207, 207)
        );
        // glibc's read: xor eax, eax; syscall; cmp rax, -4096; ja
        let code = page(
            200,
            &[
                0x31, 0xc0, 0x0f, 5, 0x48, 0x3d, 0, 0xf0, 0xff, 0xff, 0x77, 2,
            ],
        );
        let found = site(&[], &code, 202, 0).unwrap();
        assert_eq!(found.kind, Kind::Compare { wide: true });
        assert_eq!(
            (found.start, found.value, found.len()),
            (202, 0xffff_f000, 8)
        );
        assert_eq!((found.after(), found.resume()), (204, 210));
        // glibc, 32-bit results: syscall; cmp eax, -4096
        let code = page(200, &[0x0f, 5, 0x3d, 0, 0xf0, 0xff, 0xff]);
        let found = site(&[], &code, 200, 7).unwrap();
        assert_eq!(
            (found.kind, found.len()),
            (Kind::Compare { wide: false }, 7)
        );
        // Go's Syscall6: SYSCALL; CMPQ AX, $0xfffffffffffff001; JLS
        let code = page(200, &[0x0f, 5, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff, 0x76, 0x1a]);
        assert!(site(&[], &code, 200, 7).is_some());
        // Go's runtime: MOVQ $24, AX; SYSCALL
        let code = page(200, &[0x48, 0xc7, 0xc0, 24, 0, 0, 0, 0x0f, 5, 0xc3]);
        let found = site(&[], &code, 207, 24).unwrap();
        assert_eq!((found.start, found.kind), (200, Kind::LongNumber));
        assert_eq!((found.call(), found.resume()), (207, 209));
        // musl's cancellation point: syscall; ret
        assert_eq!(site(&[], &page(200, &[0x0f, 5, 0xc3]), 200, 7), None);
    }

    #[test]
    fn what_looks_like_a_mov() {
        // Another number than the one that was called.
        let code = page(200, &[0xb8, 110, 0, 0, 0, 0x0f, 5, 0xc3]);
        assert_eq!(site(&[], &code, 205, 39), None);
        // mov r8d, 39
        let code = page(199, &[0x41, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]);
        assert_eq!(site(&[], &code, 205, 39), None);
        // mov dword ptr [rbx - 0x48], 39
        let code = page(198, &[0xc7, 0x43, 0xb8, 39, 0, 0, 0, 0x0f, 5, 0xc3]);
        assert_eq!(site(&[], &code, 205, 39), None);
        // movabs rcx, with the bytes at the end of its value
        let code = page(195, &[0x48, 0xb9, 1, 2, 3, 0xb8, 39, 0, 0, 0, 0x0f, 5]);
        assert_eq!(site(&[], &code, 205, 39), None);
        // A negative number would be extended differently by the long form.
        let code = page(
            200,
            &[0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x0f, 5, 0xc3],
        );
        assert_eq!(site(&[], &code, 207, u32::MAX), None);
    }

    #[test]
    fn at_the_edges_of_a_page() {
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 5];
        // It begins in the page before; its end is in the next one.
        assert_eq!(site(&[0x90; 64], &page(0, &code[2..]), 3, 39), None);
        assert!(site(&[0x90; 64], &page(0, &code), 5, 39).is_some());
        // The start of a text: there is nothing before it.
        assert!(site(&[], &page(0, &code), 5, 39).is_some());
        assert!(site(&[0x90; 64], &page(4089, &code), 4094, 39).is_some());
        let compare = [0x0f, 5, 0x48, 0x3d, 1, 0xf0, 0xff, 0xff];
        assert!(site(&[], &page(4088, &compare), 4088, 39).is_some());
        assert_eq!(site(&[], &page(4089, &compare[..7]), 4089, 39), None);
        assert_eq!(site(&[], &page(4095, &code[5..6]), 4095, 39), None);
    }
}
