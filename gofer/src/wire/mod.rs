//! The wire protocol: what a sentry asks its gofer and what it is answered.
//!
//! One message is one datagram of a `SOCK_SEQPACKET` socket, so a message is whole or it is refused; nothing is
//! reassembled. A request is [`RequestHeader`], the fixed body of its operation, the operation's variable tail (names, a
//! value), and last the ids of nodes the sentry has dropped since (`closes` of them), which ride along on whatever is asked
//! next. A reply is [`ReplyHeader`], a fixed body and a tail; an error is the header alone. Descriptors travel by
//! `SCM_RIGHTS`, only in replies, at most one per message, and the header says how many.
//!
//! Both ends decode with the code in this module and trust nothing: lengths must come out exact, reserved fields must be
//! zero, names must be single components, numbers must be in range. What does not decode is [`Malformed`]: the server then
//! hangs up, and the client declares the gofer dead.
//!
//! ```
//! use gofer::wire::{Encoder, Request};
//! let mut buf = Encoder::new();
//! Request::GetAttr { node: 7 }.encode(&mut buf, &[3, 4]).unwrap();
//! let (request, closes) = Request::decode(buf.as_bytes()).unwrap();
//! assert_eq!(request, Request::GetAttr { node: 7 });
//! assert_eq!(closes.iter().collect::<Vec<_>>(), [3, 4]);
//! ```

mod args;
mod attr;
mod codec;
mod frame;
mod reply;
mod request;

pub use args::{Access, Name, Names, Owner, ReadDirFlags, RenameFlags, SocketKind, WalkFlags};
pub use attr::{Attr, FsStat, MountFlags, NodeInfo, SetAttr, SetAttrMask, SetTime, Time};
pub use codec::{Cursor, Encoder, Malformed};
pub use reply::{
    DirEntries, DirEntry, DirEntryHead, DirHead, Hello, HelloMount, Opened, ReplyHeader, WalkHead,
    Walked,
};
pub use request::{Closes, ClosesIter, Op, Request, RequestHeader};

/// Changes whenever the layout of a message does. Sentry and gofer are the same binary, so a mismatch means two
/// installations were mixed; it is refused in the first message.
pub const VERSION: u32 = 1;
/// The longest message, header and tail included.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// `NAME_MAX`.
pub const MAX_NAME: usize = 255;
/// `PATH_MAX` less the final NUL: the longest symbolic-link target.
pub const MAX_TARGET: usize = 4095;
/// The most components one walk may take.
pub const MAX_WALK: usize = 64;
/// The most closes that ride along with one request.
pub const MAX_CLOSES: usize = 512;
/// The most mounts of one gofer.
pub const MAX_MOUNTS: usize = 256;
/// The longest extended-attribute value that fits a message. Linux's own limit is 64 KiB; the difference is refused
/// with `E2BIG`.
pub const MAX_XATTR: usize = MAX_MESSAGE - 1024;
/// `XATTR_NAME_MAX`.
pub const MAX_XATTR_NAME: usize = 255;
