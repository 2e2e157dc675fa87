//! Readiness (`asm-generic/poll.h`, `linux/eventpoll.h`): poll(2), epoll(7). The low bits of both are the same numbers.
#![allow(missing_docs)]

bitflags::bitflags! {
    /// poll(2) events; `EpollEvents` without the flags of registration.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct PollEvents: u32 {
        const POLLIN = 0x0001;
        const POLLPRI = 0x0002;
        const POLLOUT = 0x0004;
        const POLLERR = 0x0008;
        const POLLHUP = 0x0010;
        const POLLNVAL = 0x0020;
        const POLLRDNORM = 0x0040;
        const POLLRDBAND = 0x0080;
        const POLLWRNORM = 0x0100;
        const POLLWRBAND = 0x0200;
        const POLLMSG = 0x0400;
        const POLLRDHUP = 0x2000;
    }
}

bitflags::bitflags! {
    /// epoll_ctl(2) events.
    #[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
    pub struct EpollEvents: u32 {
        const EPOLLIN = 0x1;
        const EPOLLPRI = 0x2;
        const EPOLLOUT = 0x4;
        const EPOLLERR = 0x8;
        const EPOLLHUP = 0x10;
        const EPOLLNVAL = 0x20;
        const EPOLLRDNORM = 0x40;
        const EPOLLRDBAND = 0x80;
        const EPOLLWRNORM = 0x100;
        const EPOLLWRBAND = 0x200;
        const EPOLLMSG = 0x400;
        const EPOLLRDHUP = 0x2000;
        const EPOLLEXCLUSIVE = 1 << 28;
        const EPOLLWAKEUP = 1 << 29;
        const EPOLLONESHOT = 1 << 30;
        const EPOLLET = 1 << 31;
    }
}

/// The bits of readiness as plain numbers, for files that report `u32`.
pub const EPOLLIN: u32 = 0x1;
pub const EPOLLPRI: u32 = 0x2;
pub const EPOLLOUT: u32 = 0x4;
pub const EPOLLERR: u32 = 0x8;
pub const EPOLLHUP: u32 = 0x10;
pub const EPOLLNVAL: u32 = 0x20;
pub const EPOLLRDNORM: u32 = 0x40;
pub const EPOLLRDBAND: u32 = 0x80;
pub const EPOLLWRNORM: u32 = 0x100;
pub const EPOLLWRBAND: u32 = 0x200;
pub const EPOLLMSG: u32 = 0x400;
pub const EPOLLRDHUP: u32 = 0x2000;
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
pub const EPOLLWAKEUP: u32 = 1 << 29;
pub const EPOLLONESHOT: u32 = 1 << 30;
pub const EPOLLET: u32 = 1 << 31;

pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;
pub const EPOLL_CLOEXEC: i32 = 0o2000000;

abi_struct! {
    /// `struct pollfd`.
    pub struct Pollfd [8] {
        pub fd: i32,
        pub events: i16,
        pub revents: i16,
    }
}

/// `struct epoll_event`: packed on x86-64, 12 bytes.
#[repr(C, packed)]
#[derive(
    Copy,
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
    zerocopy::Unaligned,
)]
pub struct EpollEvent {
    pub events: u32,
    pub data: u64,
}

const _: () = assert!(size_of::<EpollEvent>() == 12);
