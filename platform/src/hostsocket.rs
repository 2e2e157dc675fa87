//! Sockets of the host, for the one mode in which a sandbox has them (`--network=host-sockets`).
//!
//! The calls as the host has them: addresses, options and control messages are bytes, which no typed wrapper takes. What may be asked is decided
//! above, in `sentry::socket::host`. Every socket is made non-blocking, so none of these calls waits.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::Errno;

use crate::{Result, stub::errno};

/// `sizeof(struct sockaddr_storage)`: no address is longer.
const ADDRESS: usize = 128;

fn checked(r: libc::c_int) -> Result<libc::c_int> {
    if r < 0 { Err(errno()) } else { Ok(r) }
}

fn counted(r: libc::ssize_t) -> Result<usize> {
    usize::try_from(r).map_err(|_| errno())
}

fn length(n: usize) -> Result<libc::socklen_t> {
    libc::socklen_t::try_from(n).map_err(|_| Errno::EINVAL)
}

/// socket(2), non-blocking.
pub fn open(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let fd = checked(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the host just made it, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// bind(2)
pub fn bind(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<()> {
    let len = length(addr.len())?;
    // SAFETY: the host reads `len` bytes of `addr`.
    checked(unsafe { libc::bind(fd.as_raw_fd(), addr.as_ptr().cast(), len) }).map(drop)
}

/// connect(2)
pub fn connect(fd: BorrowedFd<'_>, addr: &[u8]) -> Result<()> {
    let len = length(addr.len())?;
    // SAFETY: the host reads `len` bytes of `addr`.
    checked(unsafe { libc::connect(fd.as_raw_fd(), addr.as_ptr().cast(), len) }).map(drop)
}

/// listen(2)
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// shutdown(2)
pub fn shutdown(fd: BorrowedFd<'_>, how: i32) -> Result<()> {
    // SAFETY: takes numbers only.
    checked(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// A call that fills an address.
fn address(
    call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
) -> Result<(libc::c_int, Vec<u8>)> {
    let mut addr = vec![0; ADDRESS];
    let mut len = length(ADDRESS)?;
    let r = checked(call(addr.as_mut_ptr().cast(), &raw mut len))?;
    addr.truncate(usize::try_from(len).unwrap_or(0));
    Ok((r, addr))
}

/// accept4(2): the new socket, non-blocking, and its peer.
pub fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Vec<u8>)> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the host writes at most `len` bytes of address, which `address` gave room for.
    let (new, peer) = address(|a, len| unsafe { libc::accept4(fd.as_raw_fd(), a, len, flags) })?;
    // SAFETY: the host just made it, so nobody else owns it.
    Ok((unsafe { OwnedFd::from_raw_fd(new) }, peer))
}

/// getsockname(2)
pub fn local_name(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // SAFETY: as for `accept`.
    address(|a, len| unsafe { libc::getsockname(fd.as_raw_fd(), a, len) }).map(|(_, name)| name)
}

/// getpeername(2)
pub fn peer_name(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // SAFETY: as for `accept`.
    address(|a, len| unsafe { libc::getpeername(fd.as_raw_fd(), a, len) }).map(|(_, name)| name)
}

/// getsockopt(2): how much of `value` it filled.
pub fn get_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
    let mut len = length(value.len())?;
    let to = value.as_mut_ptr().cast();
    // SAFETY: the host writes at most `len` bytes, the length of `value`.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, to, &raw mut len) })?;
    Ok(usize::try_from(len).unwrap_or(0).min(value.len()))
}

/// setsockopt(2). Only for options whose value holds no pointer.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let len = length(value.len())?;
    // SAFETY: the host reads `len` bytes of `value`.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) })
        .map(drop)
}

/// A header whose fields are all zero, as the C structure's padding must be.
fn header() -> libc::msghdr {
    // SAFETY: numbers and pointers, for which zeroes are good values.
    unsafe { std::mem::zeroed() }
}

/// sendmsg(2). No signal is raised, whatever `flags` say.
pub fn send(
    fd: BorrowedFd<'_>,
    data: &[u8],
    to: Option<&[u8]>,
    control: &[u8],
    flags: i32,
) -> Result<usize> {
    let mut iov = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    let mut msg = header();
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if let Some(to) = to {
        msg.msg_name = to.as_ptr().cast_mut().cast();
        msg.msg_namelen = length(to.len())?;
    }
    if !control.is_empty() {
        msg.msg_control = control.as_ptr().cast_mut().cast();
        msg.msg_controllen = control.len();
    }
    let flags = flags | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: sendmsg(2) only reads what the header points to: slices and a vector that outlive the call, with their lengths.
    counted(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const msg, flags) })
}

/// What [`recv`] got.
pub struct Message {
    /// What the call returned: bytes in the buffer, or with `MSG_TRUNC` the datagram's length.
    pub len: usize,
    /// The sender, if one is told.
    pub from: Option<Vec<u8>>,
    /// How much of `control` is filled.
    pub control: usize,
    /// `msg_flags`
    pub flags: i32,
}

/// recvmsg(2)
pub fn recv(
    fd: BorrowedFd<'_>,
    data: &mut [u8],
    control: &mut [u8],
    flags: i32,
) -> Result<Message> {
    let mut from = [0u8; ADDRESS];
    let mut iov = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    let mut msg = header();
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_name = from.as_mut_ptr().cast();
    msg.msg_namelen = length(ADDRESS)?;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = control.len();
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: recvmsg(2) writes within the buffers the header points to, which outlive the call and are ours alone.
    let len = counted(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut msg, flags) })?;
    let named = usize::try_from(msg.msg_namelen).unwrap_or(0);
    let from = from.get(..named).filter(|name| !name.is_empty());
    Ok(Message {
        len,
        from: from.map(<[u8]>::to_vec),
        control: msg.msg_controllen.min(control.len()),
        flags: msg.msg_flags,
    })
}

/// A question about a socket's queues.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// `SIOCINQ`: bytes to read.
    Input,
    /// `SIOCOUTQ`: bytes not delivered.
    Output,
    /// `SIOCATMARK`: is the urgent byte next?
    AtMark,
}

/// Answers it.
pub fn queue(fd: BorrowedFd<'_>, which: Queue) -> Result<i32> {
    let request = match which {
        Queue::Input => libc::FIONREAD,
        Queue::Output => libc::TIOCOUTQ,
        Queue::AtMark => 0x8905,
    };
    let mut n: libc::c_int = 0;
    // SAFETY: each of the three writes one int.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), request, &raw mut n) })?;
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn loopback(port: u16) -> Vec<u8> {
        let mut a = vec![0; 16];
        a[..2].copy_from_slice(&2u16.to_ne_bytes());
        a[2..4].copy_from_slice(&port.to_be_bytes());
        a[4..8].copy_from_slice(&[127, 0, 0, 1]);
        a
    }

    #[test]
    fn a_datagram_and_its_sender() {
        let (a, b) = (open(2, 2, 0).unwrap(), open(2, 2, 0).unwrap());
        bind(a.as_fd(), &loopback(0)).unwrap();
        bind(b.as_fd(), &loopback(0)).unwrap();
        let to = local_name(a.as_fd()).unwrap();
        assert_eq!(send(b.as_fd(), b"hello", Some(&to), &[], 0), Ok(5));
        let mut buf = [0; 3];
        let got = recv(a.as_fd(), &mut buf, &mut [0; 64], libc::MSG_TRUNC).unwrap();
        assert_eq!((got.len, &buf), (5, b"hel"));
        assert_eq!(got.from, local_name(b.as_fd()).ok());
        assert_eq!(
            recv(a.as_fd(), &mut buf, &mut [], 0).err(),
            Some(Errno::EAGAIN)
        );
        assert_eq!(peer_name(a.as_fd()), Err(Errno::ENOTCONN));
        set_option(a.as_fd(), 1, 2, &1i32.to_ne_bytes()).unwrap();
        let mut value = [0; 8];
        assert_eq!(get_option(a.as_fd(), 1, 2, &mut value), Ok(4));
        assert_eq!(queue(a.as_fd(), Queue::Input), Ok(0));
    }
}
