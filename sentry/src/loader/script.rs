//! `#!` lines (`fs/binfmt_script.c`).

use abi::Errno;

/// How much of a file the line may take (`BINPRM_BUF_SIZE`).
const LINE: usize = 256;

/// An interpreter and its one argument.
#[derive(Debug, PartialEq, Eq)]
pub struct Script<'a> {
    /// The path after `#!`.
    pub interpreter: &'a [u8],
    /// Everything after it, spaces inside included.
    pub argument: Option<&'a [u8]>,
}

fn blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Reads the line; `ENOEXEC` if it names nothing, or if the name may have been cut.
pub fn parse(bytes: &[u8]) -> Result<Script<'_>, Errno> {
    let line = bytes
        .get(..LINE.min(bytes.len()))
        .and_then(|b| b.get(2..))
        .ok_or(Errno::ENOEXEC)?;
    let newline = line.iter().position(|b| *b == b'\n');
    let text = match newline {
        Some(end) => line.get(..end).unwrap_or_default(),
        None => line,
    };
    // A zero ends the text as it ends a C string; a file shorter than the buffer is padded with them.
    let zero = text.iter().position(|b| *b == 0);
    let ended = newline.is_some() || zero.is_some() || bytes.len() < LINE;
    let text = text.get(..zero.unwrap_or(text.len())).unwrap_or_default();
    let start = text.iter().position(|b| !blank(*b)).ok_or(Errno::ENOEXEC)?;
    let text = text.get(start..).unwrap_or_default();
    let name_end = text.iter().position(|b| blank(*b));
    if name_end.is_none() && !ended {
        return Err(Errno::ENOEXEC);
    }
    let (interpreter, rest) = text.split_at(name_end.unwrap_or(text.len()));
    let from = rest.iter().position(|b| !blank(*b));
    let argument = from.and_then(|from| {
        let rest = rest.get(from..)?;
        let end = rest.iter().rposition(|b| !blank(*b))?;
        rest.get(..=end)
    });
    if interpreter.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(Script {
        interpreter,
        argument,
    })
}

impl Script<'_> {
    /// The arguments of the interpreter: its name, its argument, the script, what came after `argv[0]`.
    pub fn argv(&self, script: &[u8], argv: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = vec![self.interpreter.to_vec()];
        out.extend(self.argument.map(<[u8]>::to_vec));
        out.push(script.to_vec());
        out.extend(argv.iter().skip(1).cloned());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script<'a>(interpreter: &'a str, argument: Option<&'a str>) -> Result<Script<'a>, Errno> {
        Ok(Script {
            interpreter: interpreter.as_bytes(),
            argument: argument.map(str::as_bytes),
        })
    }

    #[test]
    fn lines() {
        assert_eq!(parse(b"#!/bin/sh\necho"), script("/bin/sh", None));
        assert_eq!(
            parse(b"#! \t/bin/sh  -e  -x \t\n"),
            script("/bin/sh", Some("-e  -x"))
        );
        assert_eq!(
            parse(b"#!/usr/bin/env python3"),
            script("/usr/bin/env", Some("python3"))
        );
        assert_eq!(parse(b"#!/bin/sh\0x\n"), script("/bin/sh", None));
        for bad in [&b"#!"[..], b"#!\n/bin/sh", b"#!  \t\n"] {
            assert_eq!(parse(bad), Err(Errno::ENOEXEC));
        }
        let mut long = b"#!/".to_vec();
        long.resize(300, b'a');
        assert_eq!(parse(&long), Err(Errno::ENOEXEC), "the name may go on");
        long[200] = b' ';
        assert_eq!(parse(&long).unwrap().interpreter.len(), 198);
    }

    #[test]
    fn arguments() {
        let parsed = parse(b"#!/bin/sh -e\n").unwrap();
        let argv = parsed.argv(b"./run", &[b"name".to_vec(), b"1".to_vec()]);
        assert_eq!(argv, [&b"/bin/sh"[..], b"-e", b"./run", b"1"]);
    }
}
