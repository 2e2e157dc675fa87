//! Host sockets on the loopback interface of whoever runs the tests.

use super::*;
use crate::socket::testing::TestCaller;
use crate::socket::{interface, of};
use std::time::{Duration, Instant};

fn caller() -> TestCaller {
    let netlink = HostNet::socket().unwrap();
    TestCaller {
        net: Arc::new(NetNamespace::of_host(HostNet::new(netlink))),
        ..TestCaller::new(1)
    }
}

fn msg(data: &[u8]) -> SendMsg<'_> {
    SendMsg {
        data,
        to: None,
        control: &[],
        flags: MsgFlags::empty(),
    }
}

/// Waits, as a task would by the [`Pollee`].
fn eventually<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt() {
            Err(Errno::EAGAIN | Errno::EINPROGRESS | Errno::EALREADY) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done.unwrap(),
        }
    }
}

#[test]
fn a_connection() {
    let c = caller();
    let make = || {
        inet::create(&c, 2, SOCK_STREAM, 0)
            .unwrap()
            .into_file(&c, 0)
    };
    let (l, k) = (make(), make());
    let (l, k) = (of(&l).unwrap(), of(&k).unwrap());
    assert_eq!(
        l.bind(&c, &inet::to_bytes("127.0.0.1:80".parse().unwrap())),
        Err(Errno::EACCES)
    );
    l.bind(&c, &inet::to_bytes("127.0.0.1:0".parse().unwrap()))
        .unwrap();
    l.listen(&c, 5).unwrap();
    assert_eq!(l.accept(&c).err(), Some(Errno::EAGAIN));
    let name = l.local_name().unwrap();
    assert_eq!(k.connect(&c, &name), Err(Errno::EINPROGRESS));
    eventually(|| k.connect(&c, &name));
    let s = eventually(|| l.accept(&c));
    assert_eq!(s.socket().accepted_from(), k.local_name());
    let s = s.into_file(&c, 0);
    let s = of(&s).unwrap();
    assert_eq!(k.send(&c, &msg(b"hello")), Ok(5));
    let mut buf = [0; 8];
    let got = eventually(|| s.recv(&mut buf, MsgFlags::empty()));
    assert_eq!((got.len, got.full_len), (5, 5));
    assert!(s.poll().contains(Events::OUT) && !s.poll().contains(Events::IN));

    // /proc/net/tcp knows the three of them.
    let entries = c.net.host().unwrap().entries(SOCK_STREAM);
    let mut states: Vec<u8> = entries.iter().map(|e| e.state).collect();
    states.sort_unstable();
    assert_eq!(states, [TCP_ESTABLISHED, TCP_ESTABLISHED, TCP_LISTEN]);

    // Options: of the list, ours, and unknown ones.
    let get = |level, name| crate::socket::get_option(&**k, &c, level, name);
    assert_eq!(get(SOL_TCP, TCP_NODELAY), Ok(vec![0; 4]));
    assert_eq!(get(SOL_SOCKET, SO_TYPE), Ok(vec![1, 0, 0, 0]));
    assert!(get(SOL_TCP, TCP_INFO).unwrap().len() > 100);
    for (level, name) in [
        (SOL_SOCKET, SO_MARK),
        (SOL_SOCKET, SO_ATTACH_FILTER),
        (SOL_TCP, TCP_REPAIR),
        (SOL_TCP, TCP_ULP),
        (SOL_IP, IP_TRANSPARENT),
    ] {
        let value = 1i32.to_ne_bytes();
        let set = crate::socket::set_option(&**k, &c, level, name, &value);
        assert_eq!(set, Err(Errno::ENOPROTOOPT), "{level} {name}");
        assert_eq!(get(level, name), Err(Errno::ENOPROTOOPT));
    }
    assert_eq!(inet::create(&c, 2, SOCK_RAW, 1).err(), Some(Errno::EPERM));
}

#[test]
fn a_waiter_is_told() {
    struct Told(std::sync::mpsc::Sender<()>);
    impl fs::Observer for Told {
        fn on_events(&self, _events: Events) {
            let _ = self.0.send(());
        }
    }
    let c = caller();
    let a = inet::create(&c, 2, SOCK_DGRAM, 0).unwrap();
    let to = inet::to_bytes("127.0.0.1:0".parse().unwrap());
    a.socket().bind(&c, &to).unwrap();
    let (send, told) = std::sync::mpsc::channel();
    let key = a
        .socket()
        .pollee()
        .register(Arc::new(Told(send)), Events::IN);
    let b = inet::create(&c, 2, SOCK_DGRAM, 0).unwrap();
    let to = a.socket().local_name().unwrap();
    let message = SendMsg {
        to: Some(&to),
        ..msg(b"hello")
    };
    assert_eq!(b.socket().send(&c, &message), Ok(5));
    let mut buf = [0; 3];
    // (Its being made may have told it already; then it is told again.)
    let got = loop {
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        match a.socket().recv(&mut buf, MsgFlags::empty()) {
            Err(Errno::EAGAIN) => {}
            got => break got.unwrap(),
        }
    };
    a.socket().pollee().unregister(key);
    assert_eq!(
        (got.len, got.full_len, got.flags),
        (3, 5, MsgFlags::MSG_TRUNC)
    );
    assert_eq!(
        got.from,
        b.socket().local_name().ok().map(|mut name| {
            name[4..8].copy_from_slice(&[127, 0, 0, 1]);
            name
        })
    );
}

#[test]
fn links_and_routes() {
    let c = caller();
    let links = interface::links(&c.net).unwrap();
    let lo = links.iter().find(|l| l.name == "lo").unwrap();
    assert_eq!((lo.index, lo.hardware), (1, interface::HARDWARE));
    assert!(lo.addresses.iter().any(|a| a.ip == [127, 0, 0, 1]));
    let routes = c.net.host().unwrap().routes();
    assert_eq!(routes.route_to(2, &[127, 0, 0, 1]).unwrap().len(), 1);
    assert_eq!(routes.route_to(2, &[127]).err(), Some(Errno::EINVAL));
    // An error does not spoil the next question.
    assert!(routes.dump(0x3fe, 0).is_err());
    assert!(!routes.dump(26, 2).unwrap().is_empty());
}
