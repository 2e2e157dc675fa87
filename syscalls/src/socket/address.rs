//! Socket addresses in guest memory.

use super::show::show_address;
use crate::args::{FromArg, arg, show_pointer};
use abi::Errno;
use sentry::kernel::Cx;
use sentry::syscall::SysResult;
use std::fmt::Write;

/// `sizeof(struct sockaddr_storage)`
pub const MAX: usize = 128;

/// An address that the call reads; its length is the next argument.
#[derive(Clone, Copy)]
pub struct InAddr(pub u64);
/// An address that the call fills; the next argument points to its length.
#[derive(Clone, Copy)]
pub struct OutAddr(pub u64);

impl FromArg for InAddr {
    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, _: Option<SysResult>, out: &mut String) {
        let (addr, len) = (arg(args, index), arg(args, index.saturating_add(1)) as i32);
        match read(cx, addr, len) {
            Ok(bytes) if addr != 0 => show_address(&bytes, out),
            _ => show_pointer(addr, out),
        }
    }
}

impl FromArg for OutAddr {
    const OUT: bool = true;

    fn from_raw(raw: u64) -> Result<Self, Errno> {
        Ok(Self(raw))
    }
    fn show(cx: &Cx, args: &[u64; 6], index: usize, done: Option<SysResult>, out: &mut String) {
        let (addr, len) = (arg(args, index), arg(args, index.saturating_add(1)));
        let filled = || -> Result<Vec<u8>, Errno> {
            let len: i32 = cx.mm()?.read_obj(len)?;
            read(cx, addr, len.min(128))
        };
        match done {
            Some(Ok(_)) if addr != 0 => match filled() {
                Ok(bytes) => show_address(&bytes, out),
                Err(_) => {
                    let _ = write!(out, "{addr:#x}");
                }
            },
            _ => show_pointer(addr, out),
        }
    }
}

/// Copies an address in (`move_addr_to_kernel`).
pub fn read(cx: &Cx, addr: u64, len: i32) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX)
        .ok_or(Errno::EINVAL)?;
    let mut bytes = vec![0; len];
    cx.mm()?.read_bytes(addr, &mut bytes)?;
    Ok(bytes)
}

/// Copies an address out, as much as there is room for, and its true length (`move_addr_to_user`).
pub fn write(cx: &Cx, addr: u64, len_at: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mm = cx.mm()?;
    let room: i32 = mm.read_obj(len_at)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    mm.write_bytes(addr, bytes.get(..room).unwrap_or(bytes))?;
    mm.write_obj(len_at, &i32::try_from(bytes.len()).unwrap_or(0))
}
