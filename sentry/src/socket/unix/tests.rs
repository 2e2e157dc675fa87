use super::*;
use crate::socket::testing::TestCaller;
use crate::socket::{Control, of};
use fs::File;

fn pair(c: &TestCaller, kind: i32) -> (Arc<File>, Arc<File>) {
    let (a, b) = create_pair(c, kind, 0).unwrap();
    (a.into_file(c, 0), b.into_file(c, 0))
}
fn socket(c: &TestCaller, kind: i32) -> Arc<File> {
    SocketFile::new(create(c, kind, 0).unwrap()).into_file(c, 0)
}
fn s(f: &Arc<File>) -> &dyn Socket {
    &**of(f).unwrap()
}
fn send(c: &TestCaller, f: &Arc<File>, data: &[u8], control: &[Control]) -> Result<usize, Errno> {
    s(f).send(
        c,
        &SendMsg {
            data,
            to: None,
            control,
            flags: MsgFlags::empty(),
        },
    )
}
fn recv(f: &Arc<File>, len: usize) -> Result<(Vec<u8>, Received), Errno> {
    recv_flags(f, len, MsgFlags::empty())
}
fn recv_flags(f: &Arc<File>, len: usize, flags: MsgFlags) -> Result<(Vec<u8>, Received), Errno> {
    let mut buf = vec![0; len];
    let r = s(f).recv(&mut buf, flags)?;
    buf.truncate(r.len);
    Ok((buf, r))
}
fn data(f: &Arc<File>, len: usize) -> Result<Vec<u8>, Errno> {
    recv(f, len).map(|r| r.0)
}
fn addr(name: &[u8]) -> Vec<u8> {
    [&[1, 0, 0], name].concat()
}

#[test]
fn stream_flows_both_ways_and_ends() {
    let c = TestCaller::new(1);
    let (a, b) = pair(&c, SOCK_STREAM);
    assert_eq!(data(&b, 9), Err(Errno::EAGAIN));
    send(&c, &a, b"hello ", &[]).unwrap();
    send(&c, &a, b"world", &[]).unwrap();
    assert_eq!(
        recv_flags(&b, 99, MsgFlags::MSG_PEEK).unwrap().0,
        b"hello world"
    );
    assert_eq!(data(&b, 8).unwrap(), b"hello wo");
    assert_eq!(b.poll() & Events::IN, Events::IN);
    assert_eq!(data(&b, 8).unwrap(), b"rld");
    s(&a)
        .shutdown(Halves {
            read: false,
            write: true,
        })
        .unwrap();
    assert_eq!(data(&b, 8).unwrap(), b"");
    assert_eq!(
        b.poll(),
        Events::READ | Events::RDHUP | Events::WRITE | Events::WRBAND
    );
    assert_eq!(send(&c, &a, b"x", &[]), Err(Errno::EPIPE));
    assert_eq!(send(&c, &b, b"back", &[]), Ok(4));
    assert_eq!(data(&a, 8).unwrap(), b"back");
    drop(a);
    assert_eq!(send(&c, &b, b"x", &[]), Err(Errno::EPIPE));
    assert!(b.poll().contains(Events::HUP));
}

#[test]
fn close_with_unread_data_resets() {
    let c = TestCaller::new(1);
    let (a, b) = pair(&c, SOCK_STREAM);
    send(&c, &a, b"x", &[]).unwrap();
    drop(b);
    assert!(a.poll().contains(Events::ERR | Events::HUP));
    assert_eq!(data(&a, 8), Err(Errno::ECONNRESET));
    assert_eq!(data(&a, 8).unwrap(), b"");
}

#[test]
fn buffers_are_bounded() {
    let c = TestCaller::new(1);
    let (a, b) = pair(&c, SOCK_STREAM);
    let mut total = 0;
    while let Ok(n) = send(&c, &a, &[0; 10000], &[]) {
        total += n;
    }
    assert!((150_000..300_000).contains(&total), "{total}");
    assert!(!a.poll().contains(Events::OUT));
    let mut got = 0;
    while let Ok(d) = data(&b, 65536) {
        got += d.len();
    }
    assert_eq!(got, total);
    assert!(a.poll().contains(Events::OUT));
}

#[test]
fn listen_connect_accept() {
    let c = TestCaller::new(1);
    let c2 = c.sibling(2);
    let (l, k) = (socket(&c, SOCK_STREAM), socket(&c2, SOCK_STREAM));
    assert_eq!(k.poll(), Events::HUP | Events::WRITE | Events::WRBAND);
    assert_eq!(s(&l).listen(&c, 0), Err(Errno::EINVAL));
    assert_eq!(s(&k).connect(&c2, &addr(b"srv")), Err(Errno::ECONNREFUSED));
    s(&l).bind(&c, &addr(b"srv")).unwrap();
    assert_eq!(s(&l).bind(&c, &addr(b"srv2")), Err(Errno::EINVAL));
    assert_eq!(
        s(&socket(&c, SOCK_STREAM)).bind(&c, &addr(b"srv")),
        Err(Errno::EADDRINUSE)
    );
    s(&l).listen(&c, 0).unwrap();
    assert_eq!(s(&l).accept(&c).err(), Some(Errno::EAGAIN));
    s(&k).connect(&c2, &addr(b"srv")).unwrap();
    assert_eq!(s(&k).connect(&c2, &addr(b"srv")), Err(Errno::EISCONN));
    // The backlog is full with one.
    let k2 = socket(&c2, SOCK_STREAM);
    assert_eq!(s(&k2).connect(&c2, &addr(b"srv")), Err(Errno::EAGAIN));
    send(&c2, &k, b"early", &[]).unwrap();
    assert_eq!(l.poll(), Events::READ);
    let server = s(&l).accept(&c).unwrap().into_file(&c, 0);
    s(&k2).connect(&c2, &addr(b"srv")).unwrap();
    assert_eq!(data(&server, 9).unwrap(), b"early");
    assert_eq!(s(&server).local_name().unwrap(), addr(b"srv"));
    assert_eq!(s(&server).peer_name().unwrap(), [1, 0]);
    assert_eq!(s(&k).peer_name().unwrap(), addr(b"srv"));
    let cred = |f: &Arc<File>| {
        i32::from_ne_bytes(
            *s(f)
                .get_option(&c, SOL_SOCKET, SO_PEERCRED)
                .unwrap()
                .first_chunk()
                .unwrap(),
        )
    };
    assert_eq!((cred(&k), cred(&server)), (1, 2));
    // A listener that goes resets those it has not accepted, and its name is free.
    drop(l);
    assert_eq!(data(&k2, 1), Err(Errno::ECONNRESET));
    s(&socket(&c, SOCK_STREAM)).bind(&c, &addr(b"srv")).unwrap();
}

#[test]
fn datagrams() {
    let c = TestCaller::new(1);
    let (a, b) = (socket(&c, SOCK_DGRAM), socket(&c, SOCK_DGRAM));
    s(&a).bind(&c, &addr(b"a")).unwrap();
    s(&b).bind(&c, &[1, 0]).unwrap();
    assert_eq!(s(&b).local_name().unwrap(), addr(b"00000"));
    assert_eq!(send(&c, &b, b"x", &[]), Err(Errno::ENOTCONN));
    let to = addr(b"a");
    let msg = |data| SendMsg {
        data,
        to: Some(&to),
        control: &[],
        flags: MsgFlags::empty(),
    };
    s(&b).send(&c, &msg(b"hello")).unwrap();
    s(&b).send(&c, &msg(b"")).unwrap();
    let (d, r) = recv(&a, 3).unwrap();
    assert_eq!(
        (d, r.full_len, r.flags, r.from),
        (
            b"hel".to_vec(),
            5,
            MsgFlags::MSG_TRUNC,
            Some(addr(b"00000"))
        )
    );
    assert_eq!(data(&a, 3).unwrap(), b"");
    let mut n = 0;
    while s(&b).send(&c, &msg(b"x")).is_ok() {
        n += 1;
    }
    assert_eq!(n, 11);
    s(&b).connect(&c, &to).unwrap();
    assert!(!b.poll().contains(Events::OUT));
    data(&a, 1).unwrap();
    assert!(b.poll().contains(Events::OUT));
    drop(a);
    assert_eq!(send(&c, &b, b"x", &[]), Err(Errno::ECONNREFUSED));
    assert_eq!(
        s(&b).send(
            &c,
            &SendMsg {
                data: &vec![0; 300_000],
                ..msg(b"")
            }
        ),
        Err(Errno::ECONNREFUSED)
    );
}

#[test]
fn seqpacket_keeps_edges() {
    let c = TestCaller::new(1);
    let (a, b) = pair(&c, SOCK_SEQPACKET);
    send(&c, &a, b"one", &[]).unwrap();
    send(&c, &a, b"two", &[]).unwrap();
    assert_eq!(
        (data(&b, 9).unwrap(), data(&b, 9).unwrap()),
        (b"one".to_vec(), b"two".to_vec())
    );
    drop(a);
    assert_eq!(data(&b, 9).unwrap(), b"");
}

#[test]
fn credentials_pass() {
    let c = TestCaller::new(7);
    let (a, b) = pair(&c, SOCK_STREAM);
    crate::socket::set_option(s(&b), &c, SOL_SOCKET, SO_PASSCRED, &1i32.to_ne_bytes()).unwrap();
    send(&c, &a, b"x", &[]).unwrap();
    send(&c.sibling(8), &a, b"y", &[]).unwrap();
    let (d, r) = recv(&b, 9).unwrap();
    // Different writers are not glued together.
    assert_eq!(d, b"x");
    assert!(matches!(&r.control[..], [Control::Credentials(c)] if c.pid == 7 && c.uid == 1000));
    assert_eq!(data(&b, 9).unwrap(), b"y");
}

/// The last that knows of a process may be a listener or a message; its number is given back when that goes, whatever is locked then.
#[test]
fn the_dead_are_forgotten_under_any_lock() {
    let c = TestCaller::new(1);
    let ns = crate::kernel::PidNamespace::new(None).unwrap();
    let born = || {
        let pid = crate::kernel::Pid::new(&ns, &[]).unwrap();
        let mut process = c.sibling(pid.nr());
        process.process = Some(pid);
        process
    };
    let l = socket(&c, SOCK_STREAM);
    s(&l).bind(&c, &addr(b"\0l")).unwrap();
    let first = born();
    s(&l).listen(&first, 1).unwrap();
    let number = first.pid;
    drop(first);
    assert!(ns.lookup(number).is_some());
    s(&l).listen(&c, 1).unwrap();
    assert!(ns.lookup(number).is_none());

    for kind in [SOCK_STREAM, SOCK_SEQPACKET] {
        let (a, b) = pair(&c, kind);
        let (r, _w) = fs::pipe::pair(&c, 0).unwrap();
        let sender = born();
        let along = [
            Control::Credentials(sender.creds()),
            Control::Rights(vec![r]),
        ];
        send(&sender, &a, b"x", &along).unwrap();
        let number = sender.pid;
        drop((sender, along));
        assert!(ns.lookup(number).is_some());
        let (_, got) = recv(&b, 9).unwrap();
        assert!(matches!(&got.control[..], [Control::Rights(files)] if files.len() == 1));
        assert!(ns.lookup(number).is_none());
    }
}

#[test]
fn rights_travel_and_stop_a_stream() {
    let c = TestCaller::new(1);
    let (a, b) = pair(&c, SOCK_STREAM);
    let (r, w) = fs::pipe::pair(&c, 0).unwrap();
    send(&c, &a, b"one", &[]).unwrap();
    send(&c, &a, b"two", &[Control::Rights(vec![r.clone()])]).unwrap();
    send(&c, &a, b"three", &[]).unwrap();
    drop(r);
    // What lies before goes along, what comes after does not.
    let (d, m) = recv(&b, 99).unwrap();
    assert_eq!(d, b"onetwo");
    let [Control::Rights(files)] = &m.control[..] else {
        panic!()
    };
    w.write(&c, b"!").unwrap();
    assert_eq!(files[0].read(&mut [0; 4]), Ok(1));
    assert_eq!(data(&b, 99).unwrap(), b"three");
    // Descriptors that nobody receives are closed with the socket.
    send(&c, &a, b"x", &[Control::Rights(files.clone())]).unwrap();
    drop(m);
    drop(b);
    assert_eq!(w.write(&c, b"!"), Err(Errno::EPIPE));
}

/// A description whose end can be seen: writing to the pipe fails once it is gone.
fn canary(c: &TestCaller) -> (Arc<File>, Arc<File>) {
    fs::pipe::pair(c, 0).unwrap()
}

#[test]
fn circles_are_collected() {
    let c = TestCaller::new(1);
    // A socket in its own queue; two in each other's; one in the backlog of a listener that is in it.
    let (watch, w) = canary(&c);
    {
        let (a, b) = pair(&c, SOCK_DGRAM);
        send(
            &c,
            &a,
            b"x",
            &[Control::Rights(vec![b.clone(), watch.clone()])],
        )
        .unwrap();
        let (p, q) = pair(&c, SOCK_DGRAM);
        let (x, y) = pair(&c, SOCK_STREAM);
        send(
            &c,
            &p,
            b"x",
            &[Control::Rights(vec![x.clone(), y.clone(), watch.clone()])],
        )
        .unwrap();
        send(&c, &x, b"x", &[Control::Rights(vec![q.clone()])]).unwrap();
        send(
            &c,
            &y,
            b"x",
            &[Control::Rights(vec![p.clone(), watch.clone()])],
        )
        .unwrap();
        let l = socket(&c, SOCK_STREAM);
        s(&l).bind(&c, &addr(b"gc")).unwrap();
        s(&l).listen(&c, 5).unwrap();
        let k = socket(&c, SOCK_STREAM);
        s(&k).connect(&c, &addr(b"gc")).unwrap();
        send(
            &c,
            &k,
            b"x",
            &[Control::Rights(vec![l.clone(), watch.clone()])],
        )
        .unwrap();
    }
    drop(watch);
    inflight::collect();
    assert_eq!(w.write(&c, b"!"), Err(Errno::EPIPE));
}

#[test]
fn what_can_be_received_is_kept() {
    let c = TestCaller::new(1);
    let (watch, w) = canary(&c);
    let (a, b) = pair(&c, SOCK_DGRAM);
    {
        // In a readable queue lies a socket whose queue holds itself and the canary.
        let (p, q) = pair(&c, SOCK_DGRAM);
        send(&c, &p, b"x", &[Control::Rights(vec![q.clone(), watch])]).unwrap();
        send(&c, &a, b"x", &[Control::Rights(vec![q.clone()])]).unwrap();
    }
    inflight::collect();
    assert_eq!(w.write(&c, b"!"), Ok(1));
    let (_, m) = recv(&b, 9).unwrap();
    let [Control::Rights(files)] = &m.control[..] else {
        panic!()
    };
    let (_, inner) = recv(&files[0], 9).unwrap();
    let [Control::Rights(files)] = &inner.control[..] else {
        panic!()
    };
    assert_eq!(files[1].read(&mut [0; 4]), Ok(1));
}

#[test]
fn long_chains_do_not_recurse() {
    let c = TestCaller {
        caps: u64::MAX,
        ..TestCaller::new(1)
    };
    let (watch, w) = canary(&c);
    let mut held = watch;
    for _ in 0..20_000 {
        let (a, b) = pair(&c, SOCK_DGRAM);
        send(&c, &a, b"x", &[Control::Rights(vec![held])]).unwrap();
        held = b;
    }
    drop(held);
    assert_eq!(w.write(&c, b"!"), Err(Errno::EPIPE));
}

#[test]
fn too_many_in_flight() {
    let c = TestCaller {
        uid: 4711,
        fd_limit: 3,
        ..TestCaller::new(1)
    };
    let (a, _b) = pair(&c, SOCK_DGRAM);
    let (r, _w) = canary(&c);
    for _ in 0..4 {
        send(&c, &a, b"x", &[Control::Rights(vec![r.clone()])]).unwrap();
    }
    assert_eq!(
        send(&c, &a, b"x", &[Control::Rights(vec![r.clone()])]),
        Err(Errno::ETOOMANYREFS)
    );
    assert_eq!(
        send(&c, &a, b"x", &[Control::Rights(vec![r; 254])]),
        Err(Errno::EINVAL)
    );
}
