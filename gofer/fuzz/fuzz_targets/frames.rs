//! Both decoders on arbitrary frames: a request that is accepted encodes to the same bytes, no reply makes the client fall over.
#![no_main]

use gofer::wire::{DirEntries, Encoder, Hello, Op, ReplyHeader, Request, Walked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok((request, closes)) = Request::decode(frame) {
        let mut out = Encoder::new();
        request.encode(&mut out, &closes.iter().collect::<Vec<_>>()).expect("what was decoded can be encoded");
        assert_eq!(out.as_bytes(), frame);
    }
    for op in Op::ALL {
        for fds in 0..2 {
            if let Ok((_, cursor)) = ReplyHeader::decode(frame, *op, fds) {
                let (mut a, mut b, mut c) = (cursor, cursor, cursor);
                let _ = Walked::decode(&mut a, 64, true, fds);
                let _ = DirEntries::decode(&mut b);
                let _ = Hello::decode(&mut c);
            }
        }
    }
});
