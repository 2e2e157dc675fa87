use super::message::*;
use super::*;
use crate::socket::testing::TestCaller;

fn ask(s: &dyn Socket, c: &TestCaller, kind: u16, flags: u16, body: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut request = Vec::new();
    request.extend_from_slice(&u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    request.extend_from_slice(&77u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(body);
    s.send(
        c,
        &SendMsg {
            data: &request,
            to: None,
            control: &[],
            flags: MsgFlags::empty(),
        },
    )
    .unwrap();
    let mut buf = [0; 8192];
    let mut out = Vec::new();
    while let Ok(got) = s.recv(&mut buf, MsgFlags::empty()) {
        for message in requests(&buf[..got.len]) {
            assert_eq!((message.seq, u32_at(message.whole, 12)), (77, Some(5)));
            out.push((message.kind, message.body.to_vec()));
        }
    }
    out
}

#[test]
fn dumps_and_errors() {
    let c = TestCaller::new(5);
    let file = create(&c, SOCK_RAW, 0).unwrap();
    let s = &**file.socket();
    s.bind(&c, &address(0, 0)).unwrap();
    assert_eq!(s.local_name().unwrap(), address(5, 0));
    let other = create(&c, SOCK_DGRAM, 0).unwrap();
    assert_eq!(
        other.socket().bind(&c, &address(5, 0)),
        Err(Errno::EADDRINUSE)
    );
    other.socket().bind(&c, &address(0, 0)).unwrap();
    assert_ne!(other.socket().local_name().unwrap(), address(5, 0));

    let links = ask(s, &c, 18, NLM_F_DUMP, &[0; 16]);
    assert_eq!(
        links.iter().map(|m| m.0).collect::<Vec<_>>(),
        [16, NLMSG_DONE]
    );
    let name = attributes(&links[0].1, 16)
        .into_iter()
        .find(|a| a.0 == 3)
        .unwrap()
        .1;
    assert_eq!(name, b"lo\0");
    assert_eq!(ask(s, &c, 22, NLM_F_DUMP, &[0; 8]).len(), 3);
    assert_eq!(
        ask(s, &c, 22, NLM_F_DUMP, &[10, 0, 0, 0, 0, 0, 0, 0]).len(),
        2
    );
    assert_eq!(ask(s, &c, 26, NLM_F_DUMP, &[0; 12]).len(), 5);
    assert_eq!(ask(s, &c, 34, NLM_F_DUMP, &[0; 12]).len(), 6);
    assert_eq!(ask(s, &c, 30, NLM_F_DUMP, &[0; 12]).len(), 1);
    let error = |messages: Vec<(u16, Vec<u8>)>| {
        assert_eq!(messages[0].0, NLMSG_ERROR);
        i32::from_ne_bytes(*messages[0].1.first_chunk().unwrap())
    };
    assert_eq!(
        error(ask(s, &c, 16, NLM_F_ACK, &[0; 16])),
        -Errno::EPERM.raw()
    );
    assert_eq!(
        error(ask(
            s,
            &c,
            18,
            0,
            &[[0, 0, 0, 0], [9, 0, 0, 0], [0; 4], [0; 4]].concat()
        )),
        -Errno::ENODEV.raw()
    );
    assert_eq!(
        ask(
            s,
            &c,
            18,
            0,
            &[[0, 0, 0, 0], [1, 0, 0, 0], [0; 4], [0; 4]].concat()
        )
        .len(),
        1
    );
    assert_eq!(error(ask(s, &c, 3, NLM_F_ACK, &[])), 0);
    assert_eq!(create(&c, SOCK_RAW, 15).err(), Some(Errno::EPROTONOSUPPORT));
}

#[test]
fn answers_are_bounded() {
    let c = TestCaller::new(5);
    let file = create(&c, SOCK_RAW, 0).unwrap();
    let s = file.socket();
    let mut request = vec![0; 32];
    request[0] = 32;
    request[4] = 18;
    request[6] = 1;
    request[7] = 3;
    for _ in 0..1000 {
        s.send(
            &c,
            &SendMsg {
                data: &request,
                to: None,
                control: &[],
                flags: MsgFlags::empty(),
            },
        )
        .unwrap();
    }
    let mut buf = [0; 8192];
    assert_eq!(
        s.recv(&mut buf, MsgFlags::empty()).err(),
        Some(Errno::ENOBUFS)
    );
    assert!(s.recv(&mut buf, MsgFlags::empty()).is_ok());
}
