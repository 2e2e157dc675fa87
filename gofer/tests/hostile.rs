//! Hostile ends: a sentry that a guest has taken over sends anything to the gofer, a gofer that was taken over answers anything.
//! Neither falls over, neither hangs. The frames come from a seeded generator, so a failure can be run again.

mod common;

use abi::Errno;
use common::{Temp, all_flags, pair, serve_raw};
use gofer::client::Client;
use gofer::transport::{buffer, receive, send};
use gofer::wire::{
    Access, Attr, Encoder, Hello, HelloMount, Name, Names, NodeInfo, Op, Owner, ReplyHeader,
    Request, RequestHeader, VERSION, WalkFlags, WalkHead,
};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use zerocopy::IntoBytes;

/// xorshift64*: small and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// Changes a few bytes, or the length.
    fn mangle(&mut self, message: &mut Vec<u8>) {
        match self.below(8) {
            0 => message.truncate(self.below(message.len())),
            1 => message.extend(std::iter::repeat_n(0, 1 + self.below(64))),
            2 => {
                let extra = self.below(2000);
                let extra = self.bytes(extra);
                message.extend(extra);
            }
            _ => {
                for _ in 0..1 + self.below(4) {
                    let at = self.below(message.len());
                    let value = [
                        0,
                        1,
                        0x7f,
                        0x80,
                        0xff,
                        b'/',
                        b'.',
                        self.next().to_le_bytes()[0],
                    ][self.below(8)];
                    if let Some(byte) = message.get_mut(at) {
                        *byte = value;
                    }
                }
            }
        }
        // Mostly with a length that fits, or nothing beyond the first check would be reached.
        if self.below(4) != 0 && message.len() >= 4 {
            let len = u32::try_from(message.len()).unwrap();
            message[..4].copy_from_slice(&len.to_le_bytes());
        }
    }
}

/// A request of every kind, with ids that exist and ids that do not.
fn requests(random: &mut Random) -> Vec<Vec<u8>> {
    let node = [1 << 32, 1 << 32 | 1, 0, u64::MAX, random.next()][random.below(5)];
    let name = Name::new(b"file").unwrap();
    let owner = Owner {
        mode: 0o644,
        uid: 1,
        gid: 2,
    };
    let names = [Name::new(b"dir").unwrap(), name];
    let all = [
        Request::Hello { version: VERSION },
        Request::AddChannel,
        Request::Close,
        Request::Walk {
            dir: node,
            flags: WalkFlags::all(),
            access: Access::Read,
            names: Names::List(&names),
        },
        Request::GetAttr { node },
        Request::SetAttr {
            node,
            set: gofer::wire::SetAttr::default().with_mode(0o600),
        },
        Request::Open {
            node,
            access: Access::ReadWrite,
        },
        Request::Create {
            dir: node,
            access: Access::Write,
            owner,
            name,
        },
        Request::TmpFile {
            dir: node,
            access: Access::Write,
            owner,
        },
        Request::MkDir {
            dir: node,
            owner,
            name,
        },
        Request::MkNod {
            dir: node,
            owner,
            file_type: abi::stat::S_IFIFO,
            major: 0,
            minor: 0,
            name,
        },
        Request::Symlink {
            dir: node,
            uid: 0,
            gid: 0,
            name,
            target: b"/etc/passwd",
        },
        Request::Link {
            node,
            dir: node,
            name,
        },
        Request::Unlink {
            dir: node,
            rmdir: false,
            name,
        },
        Request::Rename {
            old_dir: node,
            old_name: name,
            new_dir: node,
            new_name: names[0],
            flags: gofer::wire::RenameFlags::empty(),
        },
        Request::ReadLink { node },
        Request::ReadDir {
            node,
            cookie: 0,
            flags: gofer::wire::ReadDirFlags::ATTRS,
            max: 0,
        },
        Request::GetXattr {
            node,
            name: b"user.x",
        },
        Request::SetXattr {
            node,
            flags: 0,
            name: b"user.x",
            value: b"value",
        },
        Request::ListXattr { node },
        Request::RemoveXattr {
            node,
            name: b"user.x",
        },
        Request::StatFs { node },
        Request::Fsync { node },
        Request::Connect {
            node,
            kind: gofer::wire::SocketKind::Stream,
        },
        Request::Bind {
            dir: node,
            kind: gofer::wire::SocketKind::Stream,
            owner,
            name,
        },
    ];
    assert_eq!(all.len(), Op::ALL.len());
    let mut out = Encoder::new();
    all.iter()
        .map(|request| {
            request.encode(&mut out, &[5, 6]).unwrap();
            out.as_bytes().to_vec()
        })
        .collect()
}

#[test]
fn decoders_take_anything() {
    let mut random = Random(0x5eed);
    let mut accepted = 0;
    for round in 0..40_000 {
        let mut message = if round % 4 == 0 {
            let len = random.below(300);
            let mut message = random.bytes(len);
            if message.len() >= 8 {
                let header = RequestHeader {
                    len: u32::try_from(len).unwrap(),
                    op: 1 + u16::try_from(random.below(25)).unwrap(),
                    closes: 0,
                };
                message[..8].copy_from_slice(header.as_bytes());
            }
            message
        } else {
            let all = requests(&mut random);
            let mut message = all[random.below(all.len())].clone();
            random.mangle(&mut message);
            message
        };
        if let Ok((request, closes)) = Request::decode(&message) {
            // What is understood is understood whole: it encodes to the same bytes.
            accepted += 1;
            let mut out = Encoder::new();
            request
                .encode(&mut out, &closes.iter().collect::<Vec<_>>())
                .unwrap();
            assert_eq!(out.as_bytes(), message, "{request:?}");
        }
        message.truncate(2000);
        let op = Op::ALL[random.below(Op::ALL.len())];
        if let Ok((_, mut cursor)) = ReplyHeader::decode(&message, op, random.below(3)) {
            let mut copy = cursor;
            gofer::wire::Walked::decode(&mut copy, random.below(70), true, 0).ok();
            let mut copy = cursor;
            gofer::wire::DirEntries::decode(&mut copy).ok();
            Hello::decode(&mut cursor).ok();
        }
    }
    assert!(
        accepted > 1000,
        "only {accepted} messages were well-formed: the generator is no good"
    );
}

#[test]
fn a_hostile_sentry() {
    let tree = Temp::new("hostile");
    std::fs::create_dir(tree.path("dir")).unwrap();
    tree.write("dir/file", "x");
    let outside = Temp::new("hostile-outside");
    outside.write("file", "SECRET");
    std::os::unix::fs::symlink(&outside.0, tree.path("evil")).unwrap();
    let mut random = Random(0xbad);
    let mut buf = buffer();
    let mut hangups = 0;
    // Each hang-up ends one connection, and with the last the server: then the next one.
    for _ in 0..60 {
        let (socket, _, serving) = serve_raw(&[(&tree.0, all_flags())], 2);
        for _ in 0..200 {
            let all = requests(&mut random);
            let mut message = all[random.below(all.len())].clone();
            if random.below(2) == 0 {
                random.mangle(&mut message);
            }
            if message.is_empty() {
                continue;
            }
            let close =
                Request::decode(&message).is_ok_and(|(request, _)| request.op() == Op::Close);
            if send(&socket, &message, None).is_err() {
                hangups += 1;
                break;
            }
            if close {
                continue;
            }
            match receive(&socket, &mut buf) {
                // Well-formed requests have an answer, others a hang-up.
                Ok((len, fds)) => {
                    let (request, _) = Request::decode(&message).unwrap();
                    ReplyHeader::decode(&buf[..len], request.op(), fds.len())
                        .unwrap()
                        .0
                        .ok();
                }
                Err(_) => {
                    assert!(Request::decode(&message).is_err());
                    hangups += 1;
                    break;
                }
            }
        }
        drop(socket);
        serving.join().unwrap();
    }
    assert!(hangups > 20, "{hangups}");
    assert_eq!(
        std::fs::read_to_string(outside.path("file")).unwrap(),
        "SECRET"
    );
    assert_eq!(std::fs::read_dir(&outside.0).unwrap().count(), 1);
}

#[test]
fn a_descriptor_in_a_request_ends_the_connection() {
    let tree = Temp::new("fd");
    for fds in [1, 3, 8] {
        let (socket, _, serving) = serve_raw(&[(&tree.0, all_flags())], 2);
        let all = requests(&mut Random(1));
        send_fds(&socket, &all[0], fds);
        assert!(receive(&socket, &mut buffer()).is_err());
        serving.join().unwrap();
    }
}

#[test]
fn a_message_too_long_ends_the_connection() {
    let tree = Temp::new("long");
    let (socket, _, serving) = serve_raw(&[(&tree.0, all_flags())], 2);
    send(&socket, &vec![0; 70_000], None).unwrap();
    assert!(receive(&socket, &mut buffer()).is_err());
    serving.join().unwrap();
}

fn send_fds(socket: &OwnedFd, message: &[u8], count: usize) {
    let file = std::fs::File::open("/dev/null").unwrap();
    let fds = vec![file.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if count > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .ok();
}

fn sane_attr(mode: u32) -> Attr {
    Attr {
        ino: 7,
        mode,
        nlink: 1,
        size: 5,
        blksize: 4096,
        ..Attr::default()
    }
}

/// An answer as an honest gofer gives it, to be mangled.
fn answer(request: &Request<'_>) -> Vec<u8> {
    let mut out = Encoder::new();
    out.put(&ReplyHeader::default());
    let file = NodeInfo {
        id: 9,
        attr: sane_attr(0o100_644),
    };
    match request.op() {
        Op::Hello => {
            out.put(&Hello {
                version: VERSION,
                mounts: 1,
            });
            out.put(&HelloMount {
                root: NodeInfo {
                    id: 1,
                    attr: sane_attr(0o040_755),
                },
                flags: 0,
                zero: 0,
            });
        }
        Op::Walk => {
            out.put(&WalkHead {
                count: 0,
                stop: 2,
                ..WalkHead::default()
            });
        }
        Op::Create | Op::TmpFile => out.put(&file),
        Op::GetAttr | Op::SetAttr => out.put(&sane_attr(0o040_755)),
        Op::ReadLink => out.put_bytes(b"target"),
        Op::ReadDir => {
            out.put(&gofer::wire::DirHead { count: 1, end: 1 });
            gofer::wire::DirEntry {
                ino: 1,
                cookie: 2,
                kind: 8,
                attr: Some(sane_attr(0o100_644)),
                node: None,
                name: b"name",
            }
            .encode(&mut out);
        }
        Op::ListXattr => out.put_bytes(b"user.x\0user.y\0"),
        Op::StatFs => out.put(&gofer::wire::FsStat::default()),
        _ => {}
    }
    let len = out.finish().unwrap();
    out.patch(
        0,
        &ReplyHeader {
            len,
            errno: 0,
            op: request.op().raw(),
            fds: 0,
            zero: 0,
        },
    );
    out.as_bytes().to_vec()
}

#[test]
fn a_hostile_gofer() {
    let mut random = Random(0xdead_beef);
    let (mut deaths, mut survived) = (0, 0);
    for seed in 0..3000_u64 {
        let (ours, theirs) = pair();
        let gofer = std::thread::spawn(move || {
            let mut random = Random(seed | 1 << 40);
            let mut buf = buffer();
            // Some are honest: the client must not cry wolf.
            let (mut first, honest) = (true, seed % 4 == 0);
            while let Ok((len, _)) = receive(&theirs, &mut buf) {
                let Ok((request, _)) = Request::decode(&buf[..len]) else {
                    return;
                };
                if request.op() == Op::Close {
                    continue;
                }
                let mut message = answer(&request);
                if !first && !honest && random.below(2) == 0 {
                    random.mangle(&mut message);
                }
                first = false;
                let fds = if !honest && random.below(6) == 0 {
                    random.below(8)
                } else {
                    0
                };
                // To say nothing at all is beyond cure: the gofer is as trusted as a disk to answer.
                if message.is_empty() || !honest && random.below(20) == 0 {
                    return;
                }
                send_fds(&theirs, &message, fds);
            }
        });
        if let Ok((client, mounts)) = Client::connect(ours, 2) {
            let root = &mounts[0].root;
            for _ in 0..6 {
                // Whatever comes back is a value or an error, and descriptors only of the right type.
                match random.below(if seed % 4 == 0 { 6 } else { 9 }) {
                    0 => drop(root.attr()),
                    1 => drop(root.walk(&[b"a", b"b"], Some(Access::Read), true)),
                    2 => drop(root.read_dir(0, true)),
                    3 => drop(root.read_link()),
                    4 => drop(root.xattrs()),
                    5 => drop(root.stat_fs()),
                    6 => drop(
                        root.create(b"x", Access::Write, Owner::default())
                            .map(|_| panic!("no regular file was sent")),
                    ),
                    7 => drop(
                        root.open(Access::Read)
                            .map(|_| panic!("no directory was sent")),
                    ),
                    _ => drop(root.mkdir(b"x", Owner::default())),
                }
            }
            match client.death() {
                Some(reason) => {
                    assert_ne!(seed % 4, 0, "{reason}");
                    deaths += 1;
                    assert_eq!(root.attr().unwrap_err(), Errno::EIO);
                }
                None => survived += 1,
            }
            client.hung_up();
        }
        gofer.join().unwrap();
    }
    assert!(
        deaths > 500 && survived > 700,
        "{deaths} deaths, {survived} survived"
    );
}
