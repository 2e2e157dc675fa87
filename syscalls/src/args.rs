//! Typed arguments: from the raw register to what a handler takes, and to what a trace shows.

use abi::Errno;
use sentry::kernel::Cx;
pub use sentry::kernel::Fd;
use sentry::syscall::SysResult;
use std::fmt::Write;
use std::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest piece of a buffer or string that a trace shows, as strace(1)'s `-s`.
const SHOWN: usize = 32;

/// How a register becomes an argument.
pub trait FromArg: Sized {
    /// The call fills in what it points to.
    const OUT: bool = false;

    /// Converts, or refuses with the error the call then returns.
    fn from_raw(raw: u64) -> Result<Self, Errno>;

    /// Writes argument `index` as strace(1) would. `done` is the result once the call returned: what the kernel filled in is shown then.
    fn show(_cx: &Cx, args: &[u64; 6], index: usize, _done: Option<SysResult>, out: &mut String) {
        let _ = write!(out, "{:#x}", arg(args, index));
    }
}

/// The raw value of an argument.
pub fn arg(args: &[u64; 6], index: usize) -> u64 {
    args.get(index).copied().unwrap_or(0)
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl FromArg for $ty {
            fn from_raw(raw: u64) -> Result<Self, Errno> {
                // As the calling convention has it: the low bits of the register.
                Ok(raw as $ty)
            }
            fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
                let _ = write!(out, "{}", arg(args, index) as $ty);
            }
        }
    )*};
}
integers!(i32 u32 i64 u64 usize);

impl FromArg for Fd {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Fd::new(raw as i32)
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let _ = write!(out, "{}", arg(args, index) as i32);
    }
}

/// A directory descriptor of an `*at` call: `AT_FDCWD` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirFd {
    /// The current directory.
    Cwd,
    /// This descriptor (checked when it is used: an absolute path never looks at it).
    Fd(i32),
}

impl FromArg for DirFd {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(match raw as i32 {
            abi::fcntl::AT_FDCWD => Self::Cwd,
            fd => Self::Fd(fd),
        })
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        match arg(args, index) as i32 {
            abi::fcntl::AT_FDCWD => out.push_str("AT_FDCWD"),
            fd => {
                let _ = write!(out, "{fd}");
            }
        }
    }
}

/// A mode argument, shown in octal.
#[derive(Clone, Copy, Debug)]
pub struct Octal(pub u32);

impl FromArg for Octal {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw as u32))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let _ = write!(out, "0{:02o}", arg(args, index) as u32);
    }
}

/// An address of a `T` in guest memory, 0 for none.
pub struct UserAddr<T> {
    /// The address.
    pub addr: u64,
    of: PhantomData<T>,
}

impl<T> Clone for UserAddr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for UserAddr<T> {}

impl<T> UserAddr<T> {
    /// At this address.
    pub fn new(addr: u64) -> Self {
        Self {
            addr,
            of: PhantomData,
        }
    }
    /// A null pointer.
    pub fn is_null(self) -> bool {
        self.addr == 0
    }
    /// `None` for a null pointer.
    pub fn some(self) -> Option<Self> {
        (!self.is_null()).then_some(self)
    }
    /// The element `index` places further on.
    pub fn at(self, index: usize) -> Self {
        Self::new(
            self.addr
                .wrapping_add((index as u64).wrapping_mul(size_of::<T>() as u64)),
        )
    }
}

impl<T: FromBytes> UserAddr<T> {
    /// Copies it in: `EFAULT` when it is not all there.
    pub fn read(self, cx: &Cx) -> Result<T, Errno>
    where
        T: IntoBytes + Immutable + KnownLayout,
    {
        cx.mm()?.read_obj(self.addr)
    }
}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> UserAddr<T> {
    /// Copies in a structure that may have grown since the program was built, or since this kernel was (`copy_struct_from_user`): what the
    /// program does not know is zero; what this kernel does not know must be, or it is `E2BIG`.
    pub fn read_extensible(self, cx: &Cx, size: usize) -> Result<T, Errno> {
        let known = size_of::<T>();
        if size > abi::PAGE_SIZE as usize {
            return Err(Errno::E2BIG);
        }
        let mut bytes = vec![0; size.max(known)];
        let given = bytes.get_mut(..size).ok_or(Errno::E2BIG)?;
        cx.mm()?.read_bytes(self.addr, given)?;
        if given.iter().skip(known).any(|byte| *byte != 0) {
            return Err(Errno::E2BIG);
        }
        let (value, _) = T::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
        Ok(value)
    }
}

impl<T: IntoBytes + Immutable> UserAddr<T> {
    /// Copies it out.
    pub fn write(self, cx: &Cx, value: &T) -> Result<(), Errno> {
        cx.mm()?.write_obj(self.addr, value)
    }
    /// Copies it out unless the pointer is null.
    pub fn write_if_some(self, cx: &Cx, value: &T) -> Result<(), Errno> {
        if self.is_null() {
            Ok(())
        } else {
            self.write(cx, value)
        }
    }
}

impl<T> FromArg for UserAddr<T> {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self::new(raw))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_pointer(arg(args, index), out);
    }
}

/// Shows an address as strace(1) does.
pub fn show_pointer(addr: u64, out: &mut String) {
    if addr == 0 {
        out.push_str("NULL");
    } else {
        let _ = write!(out, "{addr:#x}");
    }
}

/// A path in guest memory.
#[derive(Clone, Copy)]
pub struct UserPath {
    /// Where it starts.
    pub addr: u64,
}

impl UserPath {
    /// Copies it in, without its zero: `EFAULT`, `ENAMETOOLONG`; an empty one is the caller's business.
    pub fn read(self, cx: &Cx) -> Result<Vec<u8>, Errno> {
        cx.mm()?.read_cstring(self.addr, abi::PATH_MAX)
    }
    /// A null pointer.
    pub fn is_null(self) -> bool {
        self.addr == 0
    }
}

impl FromArg for UserPath {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self { addr: raw })
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let addr = arg(args, index);
        match (Self { addr }).read(cx) {
            Ok(path) => show_string(&path, usize::MAX, out),
            Err(_) => show_pointer(addr, out),
        }
    }
}

/// A buffer the call reads, whose length is the next argument.
#[derive(Clone, Copy)]
pub struct InBuf(pub u64);
/// A buffer the call fills, whose length is the next argument; a trace shows as many bytes as the call returned.
#[derive(Clone, Copy)]
pub struct OutBuf(pub u64);

impl FromArg for InBuf {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_buffer(
            cx,
            arg(args, index),
            arg(args, index.saturating_add(1)),
            out,
        );
    }
}

impl FromArg for OutBuf {
    const OUT: bool = true;

    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        match done {
            Some(Ok(len)) => show_buffer(cx, arg(args, index), len, out),
            _ => show_pointer(arg(args, index), out),
        }
    }
}

fn show_buffer(cx: &Cx, addr: u64, len: u64, out: &mut String) {
    let shown = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(SHOWN.saturating_add(1));
    let mut bytes = vec![0; shown];
    match cx.mm().and_then(|mm| mm.read_bytes(addr, &mut bytes)) {
        Ok(()) => show_string(&bytes, SHOWN, out),
        Err(_) => show_pointer(addr, out),
    }
}

/// Shows bytes as a C string literal, cut after `most`.
pub fn show_string(bytes: &[u8], most: usize, out: &mut String) {
    out.push('"');
    for byte in bytes.iter().take(most) {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\{other:o}");
            }
        }
    }
    out.push('"');
    if bytes.len() > most {
        out.push_str("...");
    }
}

/// Flags that refuse bits Linux does not know with `EINVAL`.
#[derive(Clone, Copy, Debug)]
pub struct Flags<B>(pub B);
/// Flags whose unknown bits are ignored, as some old calls do.
#[derive(Clone, Copy, Debug)]
pub struct LooseFlags<B>(pub B);

/// Integers behind flag types.
pub trait FlagBits: Copy {
    /// The low bits of the register.
    fn from_register(raw: u64) -> Self;
}
macro_rules! flag_bits {
    ($($ty:ty)*) => {$(impl FlagBits for $ty {
        fn from_register(raw: u64) -> Self {
            raw as $ty
        }
    })*};
}
flag_bits!(i32 u32 u64 i64);

impl<B: bitflags::Flags> FromArg for Flags<B>
where
    B::Bits: FlagBits + std::fmt::LowerHex,
{
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        B::from_bits(B::Bits::from_register(raw))
            .map(Self)
            .ok_or(Errno::EINVAL)
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_flags(
            B::from_bits_retain(B::Bits::from_register(arg(args, index))),
            out,
        );
    }
}

impl<B: bitflags::Flags> FromArg for LooseFlags<B>
where
    B::Bits: FlagBits + std::fmt::LowerHex,
{
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(B::from_bits_truncate(B::Bits::from_register(raw))))
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        show_flags(
            B::from_bits_retain(B::Bits::from_register(arg(args, index))),
            out,
        );
    }
}

/// Shows flags by name, joined by `|`, unknown bits in hexadecimal.
pub fn show_flags<B: bitflags::Flags>(flags: B, out: &mut String)
where
    B::Bits: std::fmt::LowerHex,
{
    let mut any = false;
    let mut iter = flags.iter_names();
    for (name, _) in iter.by_ref() {
        if any {
            out.push('|');
        }
        out.push_str(name);
        any = true;
    }
    let rest = iter.remaining().bits();
    let rest_text = format!("{rest:#x}");
    if rest_text != "0x0" || !any {
        if any {
            out.push('|');
        }
        out.push_str(if any || rest_text != "0x0" {
            &rest_text
        } else {
            "0"
        });
    }
}

/// Shows one of a set of named numbers.
pub fn show_named(value: i64, names: &[(i64, &str)], out: &mut String) {
    match names.iter().find(|n| n.0 == value) {
        Some((_, name)) => out.push_str(name),
        None => {
            let _ = write!(out, "{value}");
        }
    }
}

/// A signal number as `kill` takes it: 0 probes.
#[derive(Clone, Copy, Debug)]
pub struct SigArg(pub Option<abi::signal::Signal>);

impl FromArg for SigArg {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        match raw as i32 {
            0 => Ok(Self(None)),
            n => abi::signal::Signal::new(n)
                .map(|s| Self(Some(s)))
                .ok_or(Errno::EINVAL),
        }
    }
    fn show(_: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let n = arg(args, index) as i32;
        match abi::signal::Signal::new(n) {
            Some(signal) => {
                let _ = write!(out, "{signal}");
            }
            None => {
                let _ = write!(out, "{n}");
            }
        }
    }
}
