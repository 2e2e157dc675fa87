//! Classic BPF (`kernel/seccomp.c: seccomp_check_filter`, `net/core/filter.c: bpf_check_classic`): checked once into a program whose steps cannot go
//! wrong, then run on 16 words of `struct seccomp_data`, or on a packet (`SO_ATTACH_FILTER`).

use abi::Errno;
use abi::seccomp::*;

/// `struct seccomp_data` as the 32-bit words that a program loads.
pub type Words = [u32; 16];

/// The memory words of a program.
const MEMORY: usize = BPF_MEMWORDS as usize;

/// The other operand of an operation.
#[derive(Clone, Copy, Debug)]
enum Operand {
    K(u32),
    X,
}

/// What a program is for: seccomp loads aligned words and has no remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// `struct seccomp_data`
    Call,
    /// The bytes of a packet, most significant first.
    Packet,
}

#[derive(Clone, Copy, Debug)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
    Neg,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Eq,
    Gt,
    Ge,
    Set,
}

/// One step; jumps are relative to the next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A word of the data.
    Data(usize),
    /// So many bytes of the packet, from there on, or from there after X.
    Bytes(u8, u32, bool),
    /// Four times the low half of the packet's byte there: the length of an IPv4 header.
    HeaderX(u32),
    Len,
    LenX,
    Imm(u32),
    ImmX(u32),
    Load(usize),
    LoadX(usize),
    Store(usize),
    StoreX(usize),
    Alu(Alu, Operand),
    Jump(usize),
    Branch(Test, Operand, usize, usize),
    Return(u32),
    ReturnA,
    AToX,
    XToA,
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Vec<Step>);

impl Program {
    /// Checks one for seccomp(2): `EINVAL` for what Linux refuses.
    pub fn new(code: &[SockFilter]) -> Result<Self, Errno> {
        Self::checked(code, Input::Call)
    }

    /// Checks one for packets.
    pub fn for_packets(code: &[SockFilter]) -> Result<Self, Errno> {
        Self::checked(code, Input::Packet)
    }

    fn checked(code: &[SockFilter], input: Input) -> Result<Self, Errno> {
        if code.is_empty() || code.len() > usize::from(BPF_MAXINSNS) {
            return Err(Errno::EINVAL);
        }
        let mut steps = Vec::with_capacity(code.len());
        for (at, insn) in code.iter().enumerate() {
            // How many steps follow this one: a jump must land on one of them.
            let rest = code.len().saturating_sub(at).saturating_sub(1);
            steps.push(step(insn, rest, input)?);
        }
        if !matches!(steps.last(), Some(Step::Return(_) | Step::ReturnA)) {
            return Err(Errno::EINVAL);
        }
        let program = Self(steps);
        program.check_memory()?;
        Ok(program)
    }

    /// Its length in instructions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What was not stored on every way is not loaded (`check_load_and_stores`).
    fn check_memory(&self) -> Result<(), Errno> {
        // What is stored for sure before each step; jumps only go forward.
        let mut known = vec![u16::MAX; self.0.len()];
        let mut stored = 0u16;
        let meet = |known: &mut Vec<u16>, at: usize, stored: u16| {
            if let Some(k) = known.get_mut(at) {
                *k &= stored;
            }
        };
        for (at, step) in self.0.iter().enumerate() {
            stored &= known.get(at).copied().unwrap_or(0);
            let next = at.saturating_add(1);
            match *step {
                Step::Store(m) | Step::StoreX(m) => stored |= 1 << (m % MEMORY),
                Step::Load(m) | Step::LoadX(m) if stored & (1 << (m % MEMORY)) == 0 => {
                    return Err(Errno::EINVAL);
                }
                Step::Jump(by) => {
                    meet(&mut known, next.saturating_add(by), stored);
                    stored = u16::MAX;
                }
                Step::Branch(_, _, yes, no) => {
                    meet(&mut known, next.saturating_add(yes), stored);
                    meet(&mut known, next.saturating_add(no), stored);
                    stored = u16::MAX;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs it on a packet: how many of its bytes are to be kept.
    pub fn keep(&self, packet: &[u8]) -> usize {
        // A load beyond the end drops the packet.
        let keep = self.run_on(|_| None, packet).unwrap_or(0);
        usize::try_from(keep).unwrap_or(usize::MAX)
    }

    /// Runs it. `None` when it asks for a word that `data` does not give.
    pub fn run(&self, data: impl Fn(usize) -> Option<u32>) -> Option<u32> {
        self.run_on(data, &[])
    }

    #[inline]
    fn run_on(&self, data: impl Fn(usize) -> Option<u32>, packet: &[u8]) -> Option<u32> {
        let len = || u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY];
        let mut at = 0usize;
        // Every step goes forward and the last returns, so this ends.
        while let Some(step) = self.0.get(at) {
            at = at.saturating_add(1);
            match *step {
                Step::Data(word) => a = data(word)?,
                Step::Bytes(size, k, indexed) => {
                    let at = k.checked_add(if indexed { x } else { 0 })?;
                    let at = usize::try_from(at).ok()?;
                    let bytes = packet.get(at..)?.get(..usize::from(size))?;
                    a = bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte));
                }
                Step::HeaderX(k) => {
                    let byte = packet.get(usize::try_from(k).ok()?)?;
                    x = u32::from(byte & 15) << 2;
                }
                Step::Len => a = len(),
                Step::LenX => x = len(),
                Step::Imm(k) => a = k,
                Step::ImmX(k) => x = k,
                Step::Load(m) => a = memory.get(m).copied().unwrap_or(0),
                Step::LoadX(m) => x = memory.get(m).copied().unwrap_or(0),
                Step::Store(m) => memory.get_mut(m).into_iter().for_each(|w| *w = a),
                Step::StoreX(m) => memory.get_mut(m).into_iter().for_each(|w| *w = x),
                Step::Alu(op, operand) => {
                    let by = value(operand, x);
                    a = match op {
                        Alu::Add => a.wrapping_add(by),
                        Alu::Sub => a.wrapping_sub(by),
                        Alu::Mul => a.wrapping_mul(by),
                        // A division by zero ends the program with 0.
                        Alu::Div => match a.checked_div(by) {
                            Some(q) => q,
                            None => return Some(0),
                        },
                        Alu::Mod => match a.checked_rem(by) {
                            Some(r) => r,
                            None => return Some(0),
                        },
                        Alu::Or => a | by,
                        Alu::And => a & by,
                        Alu::Xor => a ^ by,
                        Alu::Lsh => a.wrapping_shl(by),
                        Alu::Rsh => a.wrapping_shr(by),
                        Alu::Neg => a.wrapping_neg(),
                    }
                }
                Step::Jump(by) => at = at.saturating_add(by),
                Step::Branch(test, operand, yes, no) => {
                    let with = value(operand, x);
                    let holds = match test {
                        Test::Eq => a == with,
                        Test::Gt => a > with,
                        Test::Ge => a >= with,
                        Test::Set => a & with != 0,
                    };
                    at = at.saturating_add(if holds { yes } else { no });
                }
                Step::Return(k) => return Some(k),
                Step::ReturnA => return Some(a),
                Step::AToX => x = a,
                Step::XToA => a = x,
            }
        }
        Some(SECCOMP_RET_KILL_PROCESS)
    }
}

fn value(operand: Operand, x: u32) -> u32 {
    match operand {
        Operand::K(k) => k,
        Operand::X => x,
    }
}

/// One instruction with `rest` more behind it.
fn step(insn: &SockFilter, rest: usize, input: Input) -> Result<Step, Errno> {
    let k = insn.k;
    let bad = Err(Errno::EINVAL);
    let memory = || {
        usize::try_from(k)
            .ok()
            .filter(|m| *m < MEMORY)
            .ok_or(Errno::EINVAL)
    };
    let size = u32::try_from(size_of::<SeccompData>()).unwrap_or(0);
    if input == Input::Packet
        && let Some(step) = packet_step(insn)
    {
        return Ok(step);
    }
    Ok(match insn.code & 7 {
        BPF_LD => match insn.code {
            c if c == BPF_LD | BPF_W | BPF_ABS
                && input == Input::Call
                && k < size
                && k & 3 == 0 =>
            {
                Step::Data(usize::try_from(k / 4).unwrap_or(0))
            }
            c if c == BPF_LD | BPF_W | BPF_LEN => Step::Imm(size),
            c if c == BPF_LD | BPF_IMM => Step::Imm(k),
            c if c == BPF_LD | BPF_MEM => Step::Load(memory()?),
            _ => return bad,
        },
        BPF_LDX => match insn.code {
            c if c == BPF_LDX | BPF_W | BPF_LEN => Step::ImmX(size),
            c if c == BPF_LDX | BPF_IMM => Step::ImmX(k),
            c if c == BPF_LDX | BPF_MEM => Step::LoadX(memory()?),
            _ => return bad,
        },
        BPF_ST if insn.code == BPF_ST => Step::Store(memory()?),
        BPF_STX if insn.code == BPF_STX => Step::StoreX(memory()?),
        BPF_ALU => {
            let by_x = insn.code & BPF_X != 0;
            let op = match insn.code & !7 & !BPF_X {
                BPF_ADD => Alu::Add,
                BPF_SUB => Alu::Sub,
                BPF_MUL => Alu::Mul,
                BPF_DIV if by_x || k != 0 => Alu::Div,
                BPF_MOD if input == Input::Packet && (by_x || k != 0) => Alu::Mod,
                BPF_OR => Alu::Or,
                BPF_AND => Alu::And,
                BPF_XOR => Alu::Xor,
                BPF_LSH if by_x || k < 32 => Alu::Lsh,
                BPF_RSH if by_x || k < 32 => Alu::Rsh,
                BPF_NEG if !by_x => Alu::Neg,
                _ => return bad,
            };
            Step::Alu(op, operand(insn))
        }
        BPF_JMP => {
            let (yes, no) = (usize::from(insn.jt), usize::from(insn.jf));
            let test = match insn.code & !7 & !BPF_X {
                BPF_JA if insn.code == BPF_JMP | BPF_JA => {
                    return match usize::try_from(k) {
                        Ok(by) if by < rest => Ok(Step::Jump(by)),
                        _ => bad,
                    };
                }
                BPF_JEQ => Test::Eq,
                BPF_JGT => Test::Gt,
                BPF_JGE => Test::Ge,
                BPF_JSET => Test::Set,
                _ => return bad,
            };
            if yes >= rest || no >= rest {
                return bad;
            }
            Step::Branch(test, operand(insn), yes, no)
        }
        BPF_RET if insn.code == BPF_RET | BPF_K => Step::Return(k),
        BPF_RET if insn.code == BPF_RET | BPF_A => Step::ReturnA,
        BPF_MISC if insn.code == BPF_MISC | BPF_TAX => Step::AToX,
        BPF_MISC if insn.code == BPF_MISC | BPF_TXA => Step::XToA,
        _ => return bad,
    })
}

/// What only programs for packets do. The places beside the packet that Linux gives (`SKF_AD_OFF`, `SKF_NET_OFF`) are refused: here is nothing but its bytes.
fn packet_step(insn: &SockFilter) -> Option<Step> {
    let size = match insn.code & (BPF_W | BPF_H | BPF_B) {
        BPF_H => 2,
        BPF_B => 1,
        BPF_W => 4,
        _ => return None,
    };
    let k = insn.k;
    let inside = i32::try_from(k).is_ok();
    match insn.code & !(BPF_H | BPF_B) {
        c if c == BPF_LD | BPF_ABS && inside => Some(Step::Bytes(size, k, false)),
        c if c == BPF_LD | BPF_IND && inside => Some(Step::Bytes(size, k, true)),
        c if c == BPF_LD | BPF_LEN && size == 4 => Some(Step::Len),
        c if c == BPF_LDX | BPF_LEN && size == 4 => Some(Step::LenX),
        c if c == BPF_LDX | BPF_MSH && size == 1 && inside => Some(Step::HeaderX(k)),
        _ => None,
    }
}

fn operand(insn: &SockFilter) -> Operand {
    if insn.code & BPF_X != 0 {
        Operand::X
    } else {
        Operand::K(insn.k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }
    const RET: u16 = BPF_RET | BPF_K;

    fn run(code: &[SockFilter], data: Words) -> Option<u32> {
        let program = Program::new(code).unwrap();
        program.run(|w| data.get(w).copied())
    }

    #[test]
    fn arithmetic_and_memory() {
        let code = [
            insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 16), // args[0], low word
            insn(BPF_ST, 0, 0, 3),
            insn(BPF_LDX | BPF_IMM, 0, 0, 5),
            insn(BPF_ALU | BPF_MUL | BPF_X, 0, 0, 0),
            insn(BPF_MISC | BPF_TAX, 0, 0, 0),
            insn(BPF_LD | BPF_MEM, 0, 0, 3),
            insn(BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0),
            insn(BPF_ALU | BPF_NEG, 0, 0, 0),
            insn(BPF_RET | BPF_A, 0, 0, 0),
        ];
        let mut data = [0; 16];
        data[4] = 7;
        assert_eq!(run(&code, data), Some(42u32.wrapping_neg()));
        let by_zero = [
            insn(BPF_LD | BPF_IMM, 0, 0, 9),
            insn(BPF_ALU | BPF_DIV | BPF_X, 0, 0, 0),
            insn(RET, 0, 0, 77),
        ];
        assert_eq!(run(&by_zero, data), Some(0));
    }

    #[test]
    fn branches() {
        let code = [
            insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
            insn(BPF_JMP | BPF_JEQ, 0, 1, 39),
            insn(RET, 0, 0, 1),
            insn(BPF_JMP | BPF_JGE, 1, 0, 100),
            insn(RET, 0, 0, 2),
            insn(RET, 0, 0, 3),
        ];
        for (nr, answer) in [(39, 1), (40, 2), (100, 3)] {
            let mut data = [0; 16];
            data[0] = nr;
            assert_eq!(run(&code, data), Some(answer), "{nr}");
        }
    }

    #[test]
    fn what_is_refused() {
        let ret = insn(RET, 0, 0, 0);
        let bad: &[&[SockFilter]] = &[
            &[],
            &[insn(BPF_LD | BPF_IMM, 0, 0, 0)], // no return
            &[insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 2), ret], // unaligned
            &[insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 64), ret], // past the end
            &[insn(BPF_LD | BPF_H | BPF_ABS, 0, 0, 0), ret], // half words
            &[insn(BPF_LD | BPF_MEM, 0, 0, 0), ret], // not stored
            &[insn(BPF_ST, 0, 0, 16), ret],     // no such word
            &[insn(BPF_JMP | BPF_JA, 0, 0, 1), ret], // past the end
            &[insn(BPF_JMP | BPF_JEQ, 0, 1, 0), ret], // the same
            &[insn(BPF_ALU | BPF_DIV, 0, 0, 0), ret], // by zero
            &[insn(BPF_ALU | BPF_LSH, 0, 0, 32), ret], // too far
            &[insn(BPF_ALU | BPF_MOD, 0, 0, 3), ret], // not in seccomp
            &[insn(0xffff, 0, 0, 0), ret],
        ];
        for (i, code) in bad.iter().enumerate() {
            assert_eq!(Program::new(code).err(), Some(Errno::EINVAL), "{i}");
        }
        assert!(Program::new(&vec![ret; 4096]).is_ok());
        assert!(Program::new(&vec![ret; 4097]).is_err());
    }

    #[test]
    fn a_word_stored_on_one_way_only_is_not_stored() {
        let code = [
            insn(BPF_JMP | BPF_JEQ, 0, 1, 0),
            insn(BPF_ST, 0, 0, 0),
            insn(BPF_LD | BPF_MEM, 0, 0, 0),
            insn(BPF_RET | BPF_A, 0, 0, 0),
        ];
        assert!(Program::new(&code).is_err());
    }

    #[test]
    fn packets() {
        let code = [
            insn(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0), // 4 * 5
            insn(BPF_LD | BPF_H | BPF_IND, 0, 0, 1),
            insn(BPF_ALU | BPF_MOD, 0, 0, 0x100),
            insn(BPF_JMP | BPF_JEQ, 0, 1, 0x22),
            insn(BPF_RET | BPF_K, 0, 0, 7),
            insn(BPF_LD | BPF_LEN, 0, 0, 0),
            insn(BPF_RET | BPF_A, 0, 0, 0),
        ];
        let program = Program::for_packets(&code).unwrap();
        assert!(Program::new(&code).is_err());
        let mut packet = [0x45; 23];
        assert_eq!(program.keep(&packet), 23);
        packet[22] = 0x22;
        assert_eq!(program.keep(&packet), 7);
        assert_eq!(program.keep(&packet[..22]), 0);
        let beside = [
            insn(BPF_LD | BPF_ABS, 0, 0, 0xffff_f000),
            insn(RET, 0, 0, 1),
        ];
        assert!(Program::for_packets(&beside).is_err());
    }
}
