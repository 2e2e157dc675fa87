//! Netlink messages as bytes (`netlink(7)`): headers, attributes, padding.

/// `struct nlmsghdr`
pub const HEADER: usize = 16;
pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;
pub const NLMSG_MIN_TYPE: u16 = 0x10;
pub const NLM_F_REQUEST: u16 = 1;
pub const NLM_F_MULTI: u16 = 2;
pub const NLM_F_ACK: u16 = 4;
/// `NLM_F_ROOT | NLM_F_MATCH`
pub const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    /// What follows the header.
    pub body: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk::<2>()
        .map(|b| u16::from_ne_bytes(*b))
}
/// The `u32` at a place.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk::<4>()
        .map(|b| u32::from_ne_bytes(*b))
}

/// The requests in what a program sent; ends at the first malformed one, as Linux does.
pub fn requests(mut bytes: &[u8]) -> Vec<Request<'_>> {
    let mut out = Vec::new();
    while let Some(len) = u32_at(bytes, 0).and_then(|n| usize::try_from(n).ok()) {
        let (Some(whole), true) = (bytes.get(..len), len >= HEADER) else {
            break;
        };
        let (Some(kind), Some(flags), Some(seq)) =
            (u16_at(whole, 4), u16_at(whole, 6), u32_at(whole, 8))
        else {
            break;
        };
        out.push(Request {
            kind,
            flags,
            seq,
            body: whole.get(HEADER..).unwrap_or(&[]),
            whole,
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    out
}

/// The attributes after a fixed part of `skip` bytes: type and value.
pub fn attributes(body: &[u8], skip: usize) -> Vec<(u16, &[u8])> {
    let mut rest = body.get(skip.next_multiple_of(4)..).unwrap_or(&[]);
    let mut out = Vec::new();
    while let Some(len) = u16_at(rest, 0).map(usize::from) {
        let (Some(value), Some(kind)) = (rest.get(4..len), u16_at(rest, 2)) else {
            break;
        };
        out.push((kind & 0x3fff, value));
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    out
}

/// Replies to one request.
pub struct Reply {
    /// Messages of the datagrams that are complete, and of the one that is not.
    before: Vec<Vec<u8>>,
    bytes: Vec<u8>,
    seq: u32,
    port: u32,
}

impl Reply {
    pub fn new(seq: u32, port: u32) -> Self {
        Self {
            before: Vec::new(),
            bytes: Vec::new(),
            seq,
            port,
        }
    }

    /// Appends one message whose body `fill` writes.
    pub fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body)) {
        let mut body = Body(Vec::new());
        fill(&mut body);
        let len = u32::try_from(HEADER.saturating_add(body.0.len())).unwrap_or(0);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.seq.to_ne_bytes());
        self.bytes.extend_from_slice(&self.port.to_ne_bytes());
        self.bytes.append(&mut body.0);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The end of a dump, in a datagram of its own.
    pub fn done(&mut self) {
        self.split();
        self.message(NLMSG_DONE, NLM_F_MULTI, |b| b.raw(&0i32.to_ne_bytes()));
    }

    /// `nlmsgerr`: an error, or an acknowledgement (0). An error quotes the request, unless the program asked for its header alone.
    pub fn error(&mut self, errno: i32, request: &Request<'_>, capped: bool) {
        let header_only = errno == 0 || capped;
        let flags = if header_only { NLM_F_CAPPED } else { 0 };
        self.message(NLMSG_ERROR, flags, |b| {
            b.raw(&errno.saturating_neg().to_ne_bytes());
            b.raw(if header_only {
                request.whole.get(..HEADER).unwrap_or(&[])
            } else {
                request.whole
            });
        });
    }

    fn split(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.before.push(bytes);
        }
    }

    /// The datagrams.
    pub fn into_datagrams(mut self) -> Vec<Vec<u8>> {
        self.split();
        self.before
    }
}

/// The body of a message under construction.
pub struct Body(Vec<u8>);

impl Body {
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute, padded.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len().saturating_add(4)).unwrap_or(4);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub fn u32(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }
}
