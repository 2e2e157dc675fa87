//! The line discipline (`termios(3)`, Linux's N_TTY): what a terminal makes of the bytes that come in, and of those that go out. Pure: it holds no locks and calls nobody.

use abi::signal::Signal;
use abi::termios as t;
use abi::termios::Termios;
use std::collections::VecDeque;

/// The longest line that can be edited, its end included (`N_TTY_BUF_SIZE`).
const BUFFER: usize = 4096;
/// Input that waits for room there (Linux: the flip buffer of a pty).
const WAITING: usize = 8192;

/// What input caused besides data.
#[derive(Default)]
pub struct Effects {
    /// To be shown, processed for output already.
    pub echo: Vec<u8>,
    /// To be sent to the foreground process group.
    pub signals: Vec<Signal>,
    /// Output was stopped or started by ^S and ^Q.
    pub flow: Option<bool>,
}

/// The discipline's state.
#[derive(Default)]
pub struct LineDiscipline {
    /// Bytes a reader may have; in canonical mode whole lines.
    ready: VecDeque<u8>,
    /// Lengths of the lines at the front of `ready`; an end of file is a line of length 0.
    lines: VecDeque<usize>,
    /// The line being edited.
    line: Vec<u8>,
    /// What has come in and found no room yet.
    waiting: VecDeque<u8>,
    /// The next byte is literal (^V).
    literal: bool,
    /// Output column, for tabs and erasing.
    column: usize,
}

fn is(cc: &Termios, index: usize, byte: u8) -> bool {
    cc.c_cc
        .get(index)
        .is_some_and(|c| *c == byte && *c != t::POSIX_VDISABLE)
}

impl LineDiscipline {
    /// Takes bytes as the terminal's user typed them; without any, what waited and has room now.
    pub fn input(&mut self, bytes: &[u8], termios: &Termios) -> Effects {
        let mut effects = Effects::default();
        let mut rest = bytes.iter();
        while let Some(next) = self.waiting.front().or(rest.as_slice().first()).copied() {
            if !self.accepts(termios) {
                break;
            }
            if self.waiting.pop_front().is_none() {
                rest.next();
            }
            self.input_byte(next, termios, &mut effects);
        }
        self.waiting.extend(rest);
        effects
    }

    /// Whether the next byte is looked at now. A line that is too long goes on, and loses what is too much: its end must come through.
    fn accepts(&self, cc: &Termios) -> bool {
        let used = self.ready.len().saturating_add(self.line.len());
        let endless = cc.c_lflag & t::ICANON != 0 && self.lines.is_empty();
        (used < BUFFER - 1 && self.lines.len() < BUFFER) || endless
    }

    /// Whether input waits.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Drops the input that waits.
    pub fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    fn input_byte(&mut self, byte: u8, cc: &Termios, effects: &mut Effects) {
        let (iflag, lflag) = (cc.c_iflag, cc.c_lflag);
        let mut byte = if iflag & t::ISTRIP != 0 {
            byte & 0x7f
        } else {
            byte
        };
        if std::mem::take(&mut self.literal) {
            self.store(byte, cc, effects);
            return;
        }
        if lflag & t::IEXTEN != 0 && lflag & t::ICANON != 0 && is(cc, t::VLNEXT, byte) {
            self.literal = true;
            if lflag & t::ECHO != 0 && lflag & t::ECHOCTL != 0 {
                self.emit(b"^\x08", cc, effects);
            }
            return;
        }
        if iflag & t::IXON != 0 {
            if is(cc, t::VSTART, byte) {
                effects.flow = Some(true);
                return;
            }
            if is(cc, t::VSTOP, byte) {
                effects.flow = Some(false);
                return;
            }
        }
        if lflag & t::ISIG != 0 {
            for (index, signal) in [
                (t::VINTR, Signal::SIGINT),
                (t::VQUIT, Signal::SIGQUIT),
                (t::VSUSP, Signal::SIGTSTP),
            ] {
                if is(cc, index, byte) {
                    if lflag & t::NOFLSH == 0 {
                        self.flush();
                    }
                    self.echo(byte, cc, effects);
                    effects.signals.push(signal);
                    return;
                }
            }
        }
        match byte {
            b'\r' if iflag & t::IGNCR != 0 => return,
            b'\r' if iflag & t::ICRNL != 0 => byte = b'\n',
            b'\n' if iflag & t::INLCR != 0 => byte = b'\r',
            _ => {}
        }
        if lflag & t::ICANON != 0 && self.edit(byte, cc, effects) {
            return;
        }
        self.store(byte, cc, effects);
    }

    /// Canonical mode's own characters; true when `byte` was one.
    fn edit(&mut self, byte: u8, cc: &Termios, effects: &mut Effects) -> bool {
        let lflag = cc.c_lflag;
        if is(cc, t::VERASE, byte) {
            self.erase(1, cc, effects);
        } else if is(cc, t::VKILL, byte) {
            let len = self.line.len();
            if lflag & t::ECHOKE != 0 && lflag & t::ECHOE != 0 {
                self.erase(len, cc, effects);
            } else {
                self.line.clear();
                self.echo(byte, cc, effects);
                if lflag & t::ECHOK != 0 && lflag & t::ECHO != 0 {
                    self.emit(b"\n", cc, effects);
                }
            }
        } else if lflag & t::IEXTEN != 0 && is(cc, t::VWERASE, byte) {
            let kept = self
                .line
                .iter()
                .rposition(|b| b.is_ascii_alphanumeric() || *b == b'_')
                .map_or(0, |last| {
                    let head = self.line.get(..=last).unwrap_or_default();
                    head.iter()
                        .rposition(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))
                        .map_or(0, |p| p.saturating_add(1))
                });
            let count = self.line.len().saturating_sub(kept);
            self.erase(count, cc, effects);
        } else if is(cc, t::VEOF, byte) {
            self.finish_line();
        } else if byte == b'\n' {
            if lflag & (t::ECHO | t::ECHONL) != 0 {
                self.emit(b"\n", cc, effects);
            }
            self.push(byte);
            self.finish_line();
        } else if is(cc, t::VEOL, byte) || (lflag & t::IEXTEN != 0 && is(cc, t::VEOL2, byte)) {
            self.echo(byte, cc, effects);
            self.push(byte);
            self.finish_line();
        } else {
            return false;
        }
        true
    }

    fn erase(&mut self, count: usize, cc: &Termios, effects: &mut Effects) {
        for _ in 0..count {
            let whole = |b: &u8| cc.c_iflag & t::IUTF8 == 0 || b & 0xc0 != 0x80;
            // The whole of a character, or nothing.
            let Some(start) = self.line.iter().rposition(whole) else {
                return;
            };
            let byte = self.line.get(start).copied().unwrap_or(0);
            self.line.truncate(start);
            if cc.c_lflag & t::ECHO == 0 {
                continue;
            }
            if cc.c_lflag & t::ECHOE == 0 {
                let erase = cc.c_cc.get(t::VERASE).copied().unwrap_or(127);
                self.echo(erase, cc, effects);
                continue;
            }
            let width = if byte < 0x20 && cc.c_lflag & t::ECHOCTL != 0 {
                2
            } else {
                1
            };
            for _ in 0..width {
                self.emit(b"\x08 \x08", cc, effects);
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.line.len().saturating_add(self.ready.len()) < BUFFER {
            self.line.push(byte);
        }
    }

    fn store(&mut self, byte: u8, cc: &Termios, effects: &mut Effects) {
        self.echo(byte, cc, effects);
        if cc.c_lflag & t::ICANON != 0 {
            // The last place is kept for the end of the line.
            if self.line.len().saturating_add(self.ready.len()) < BUFFER - 1 {
                self.line.push(byte);
            }
        } else if self.ready.len() < BUFFER {
            self.ready.push_back(byte);
        }
    }

    fn finish_line(&mut self) {
        self.lines.push_back(self.line.len());
        self.ready.extend(self.line.drain(..));
    }

    fn echo(&mut self, byte: u8, cc: &Termios, effects: &mut Effects) {
        if cc.c_lflag & t::ECHO == 0 {
            return;
        }
        let control = (byte < 0x20 && byte != b'\t' && byte != b'\n') || byte == 0x7f;
        if control && cc.c_lflag & t::ECHOCTL != 0 {
            self.emit(&[b'^', byte ^ 0x40], cc, effects);
        } else {
            self.emit(&[byte], cc, effects);
        }
    }

    fn emit(&mut self, bytes: &[u8], cc: &Termios, effects: &mut Effects) {
        let out = self.output(bytes, cc);
        effects.echo.extend(out);
    }

    /// What is sent to the terminal for `bytes` written by a program.
    pub fn output(&mut self, bytes: &[u8], cc: &Termios) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len().saturating_add(16));
        if cc.c_oflag & t::OPOST == 0 {
            out.extend_from_slice(bytes);
            return out;
        }
        for byte in bytes {
            match *byte {
                b'\n' => {
                    if cc.c_oflag & t::ONLCR != 0 {
                        out.push(b'\r');
                        self.column = 0;
                    }
                    if cc.c_oflag & t::ONLRET != 0 {
                        self.column = 0;
                    }
                    out.push(b'\n');
                }
                b'\r' if cc.c_oflag & t::ONOCR != 0 && self.column == 0 => {}
                b'\r' => {
                    let nl = cc.c_oflag & t::OCRNL != 0;
                    out.push(if nl { b'\n' } else { b'\r' });
                    self.column = 0;
                }
                b'\t' if cc.c_oflag & 0x1800 == 0x1800 => {
                    let spaces = 8usize.saturating_sub(self.column & 7);
                    out.extend(std::iter::repeat_n(b' ', spaces));
                    self.column = self.column.saturating_add(spaces);
                }
                b'\x08' => {
                    self.column = self.column.saturating_sub(1);
                    out.push(8);
                }
                other => {
                    let other = if cc.c_oflag & t::OLCUC != 0 {
                        other.to_ascii_uppercase()
                    } else {
                        other
                    };
                    if other >= 0x20 && other & 0xc0 != 0x80 {
                        self.column = self.column.saturating_add(1);
                    }
                    out.push(other);
                }
            }
        }
        out
    }

    /// Whether a read would return: a line in canonical mode, `VMIN` bytes else (any, when `VMIN` is 0).
    pub fn readable(&self, cc: &Termios) -> bool {
        if cc.c_lflag & t::ICANON != 0 {
            return !self.lines.is_empty();
        }
        let min = usize::from(cc.c_cc.get(t::VMIN).copied().unwrap_or(1)).max(1);
        self.ready.len()
            >= if cc.c_cc.get(t::VTIME).copied().unwrap_or(0) != 0 {
                1
            } else {
                min
            }
    }

    /// Takes what a read of `buf.len()` bytes gets: `None` when it must wait.
    pub fn read(&mut self, buf: &mut [u8], cc: &Termios) -> Option<usize> {
        let count = if cc.c_lflag & t::ICANON != 0 {
            let line = self.lines.front_mut()?;
            let count = (*line).min(buf.len());
            *line = line.saturating_sub(count);
            if *line == 0 {
                self.lines.pop_front();
            }
            count
        } else {
            let min = usize::from(cc.c_cc.get(t::VMIN).copied().unwrap_or(1));
            let time = cc.c_cc.get(t::VTIME).copied().unwrap_or(0);
            if self.ready.is_empty() {
                return (min == 0 && time == 0).then_some(0);
            }
            if time == 0 && self.ready.len() < min.min(buf.len()) {
                return None;
            }
            self.ready.len().min(buf.len())
        };
        for (to, from) in buf.iter_mut().zip(self.ready.drain(..count)) {
            *to = from;
        }
        Some(count)
    }

    /// Bytes that `FIONREAD` reports.
    pub fn available(&self, cc: &Termios) -> usize {
        if cc.c_lflag & t::ICANON != 0 {
            self.lines.iter().sum()
        } else {
            self.ready.len()
        }
    }

    /// Drops all input (`TCIFLUSH`, signals).
    pub fn flush(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.line.clear();
    }

    /// Room for more input; a full one makes the master wait.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < WAITING
    }

    /// Canonical mode was switched: what was typed so far becomes readable, or one line.
    pub fn mode_changed(&mut self, canonical: bool) {
        self.ready.extend(self.line.drain(..));
        self.lines.clear();
        if canonical && !self.ready.is_empty() {
            self.lines.push_back(self.ready.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8], cc: &Termios) -> (LineDiscipline, Effects) {
        let mut ldisc = LineDiscipline::default();
        let effects = ldisc.input(keys, cc);
        (ldisc, effects)
    }

    #[test]
    fn a_line_is_edited_before_it_is_read() {
        let (mut ldisc, effects) = typed(b"helxx\x7f\x7flo\r", &Termios::STD);
        let mut buf = [0; 32];
        assert_eq!(ldisc.read(&mut buf, &Termios::STD), Some(6));
        assert_eq!(&buf[..6], b"hello\n");
        assert_eq!(effects.echo, b"helxx\x08 \x08\x08 \x08lo\r\n");
        assert_eq!(ldisc.read(&mut buf, &Termios::STD), None);
    }

    #[test]
    fn control_characters_signal_and_end_files() {
        let (mut ldisc, effects) = typed(b"abc\x03\x04", &Termios::STD);
        assert_eq!(effects.signals, [Signal::SIGINT]);
        assert_eq!(effects.echo, b"abc^C");
        assert_eq!(ldisc.read(&mut [0; 8], &Termios::STD), Some(0));
    }

    #[test]
    fn raw_mode_gives_bytes_as_they_come() {
        let raw = Termios {
            c_lflag: 0,
            c_iflag: 0,
            c_oflag: 0,
            ..Termios::STD
        };
        let (mut ldisc, effects) = typed(b"\x03\r\x7f", &raw);
        assert!(effects.echo.is_empty() && effects.signals.is_empty());
        let mut buf = [0; 8];
        assert_eq!(ldisc.read(&mut buf, &raw), Some(3));
        assert_eq!(&buf[..3], b"\x03\r\x7f");
    }

    #[test]
    fn words_and_lines_are_killed() {
        let (mut ldisc, _) = typed(b"one two\x17x\n", &Termios::STD);
        let mut buf = [0; 32];
        assert_eq!(ldisc.read(&mut buf, &Termios::STD), Some(6));
        assert_eq!(&buf[..6], b"one x\n");
        let (mut ldisc, _) = typed(b"gone\x15kept\n", &Termios::STD);
        assert_eq!(ldisc.read(&mut buf, &Termios::STD), Some(5));
    }
}
