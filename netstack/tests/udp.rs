//! UDP as programs see it.

mod script;

use script::Script;

#[test]
fn datagrams() {
    Script::check(
        "unconnected",
        "udp a; udp b; a poll -> 304; b bind 127.0.0.1:53; a send x -> EDESTADDRREQ; a bind 127.0.0.1:1000
        b recv 9 -> EAGAIN; a send abc 127.0.0.1:53 -> 3; b events -> 41; b poll -> 345; b inq -> 3
        b peek 2 -> ab/3 from 127.0.0.1:1000; b recv 2 -> ab/3 from 127.0.0.1:1000; b recv 2 -> EAGAIN
        b sendn 0 127.0.0.1:1000 -> 0; a recv 9 -> /0 from 127.0.0.1:53
        a sendn 65507 127.0.0.1:53 -> 65507; a sendn 65508 127.0.0.1:53 -> EMSGSIZE; a send x 127.0.0.1:0 -> EINVAL
        a send x 127.0.0.1:99 -> 1; a err -> 0; a peer -> ENOTCONN; a send x 8.8.8.8:53 -> ENETUNREACH
        a send hi 0.0.0.0:53 -> 2",
    );
}

#[test]
fn connected() {
    Script::check(
        "connected",
        "udp a; udp b; udp c; b bind 127.0.0.1:53; a bind 127.0.0.1:1000; a connect 127.0.0.1:53; a peer -> 127.0.0.1:53
        a send hi -> 2; b recv 9 -> hi/2 from 127.0.0.1:1000
        c send no 127.0.0.1:1000 -> 2; a recv 9 -> EAGAIN; b send yes 127.0.0.1:1000 -> 3; a recv 9 -> yes/3 from 127.0.0.1:53
        b close; a send x -> 1; a events -> 49; a poll -> 30c; a send x -> ECONNREFUSED; a send x -> 1; a recv 1 -> ECONNREFUSED
        a disconnect; a peer -> ENOTCONN; a local -> 127.0.0.1:1000; a send x -> EDESTADDRREQ
        udp d; d connect 127.0.0.1:9; d disconnect; d local -> 0.0.0.0:0",
    );
}

#[test]
fn both_families() {
    Script::check(
        "dual",
        "udp6 a; a bind [::]:53; udp b; b bind 127.0.0.1:1000; b send v4 127.0.0.1:53 -> 2; a recv 9 -> v4/2 from [::ffff:127.0.0.1]:1000
        a send back [::ffff:127.0.0.1]:1000 -> 4; b recv 9 -> back/4 from 127.0.0.1:53
        udp6 c; c bind [::1]:1001; c send v6 [::1]:53 -> 2; a recv 9 -> v6/2 from [::1]:1001
        udp6 d; d set v6only 1; d send x [::ffff:127.0.0.1]:53 -> ENETUNREACH; b send x [::1]:53 -> EAFNOSUPPORT
        c send x [::ffff:127.0.0.1]:53 -> ENETUNREACH",
    );
}

#[test]
fn who_gets_it() {
    Script::check(
        "the best fit",
        "udp any; any bind 0.0.0.0:53; udp one; one set reuseaddr 1; one bind 127.0.0.1:53 -> EADDRINUSE
        any close; udp any; any set reuseaddr 1; any bind 0.0.0.0:53; one bind 127.0.0.1:53
        udp a; a bind 127.0.0.1:1000; a send x 127.0.0.1:53 -> 1; one inq -> 1; any inq -> 0; a send x 127.0.0.2:53 -> 1; any inq -> 1
        udp peer; peer set reuseaddr 1; peer bind 127.0.0.1:53; peer connect 127.0.0.1:1000; a send yy 127.0.0.1:53 -> 2; peer inq -> 2
        udp new; new set reuseaddr 1; new bind 127.0.0.1:53; udp b; b send zzz 127.0.0.1:53 -> 3; new inq -> 3",
    );
    let mut s = Script::new();
    s.run("reuseport", "udp a; a set reuseport 1; a bind 127.0.0.1:53; udp b; b set reuseport 1; b bind 127.0.0.1:53; uid 3; udp c; c set reuseport 1; c bind 127.0.0.1:53 -> EADDRINUSE");
    for n in 0..40 {
        s.run(
            "senders",
            &format!("udp s{n}; s{n} send x 127.0.0.1:53 -> 1"),
        );
    }
    let queued: Vec<u32> = s
        .stack
        .udp_sockets()
        .iter()
        .filter(|e| e.local.port() == 53)
        .map(|e| e.rx_queue)
        .collect();
    assert!(
        queued.len() == 2 && queued.iter().all(|n| *n > 4 * 769),
        "{queued:?}"
    );
}

#[test]
fn a_full_queue_drops() {
    let mut s = Script::new();
    s.run(
        "full",
        "udp a; a bind 127.0.0.1:53; a set rcvbuf 2048; udp b",
    );
    for _ in 0..10 {
        s.run("flood", "b sendn 1000 127.0.0.1:53 -> 1000");
    }
    let entry = s
        .stack
        .udp_sockets()
        .into_iter()
        .find(|e| e.local.port() == 53)
        .unwrap();
    assert_eq!((entry.drops, entry.rx_queue), (7, 3 * 1768));
}

#[test]
fn shut() {
    Script::check(
        "shutdown",
        "udp a; a shut rd -> ENOTCONN; a recv 1 -> /0 from nobody; a poll -> 2345
        udp b; b connect 127.0.0.1:9; b shut wr; b send x -> EPIPE; b shut rd; b poll -> 2355",
    );
}

#[test]
fn broadcast_and_groups() {
    Script::check(
        "broadcast",
        "udp a; udp b; a bind 0.0.0.0:53; b send x 127.255.255.255:53 -> EACCES; b set broadcast 1
        b send x 127.255.255.255:53 -> 1; a inq -> 1; b send x 255.255.255.255:53 -> ENETUNREACH",
    );
    Script::check(
        "groups",
        "udp a; udp b; udp s; a set reuseaddr 1; b set reuseaddr 1; a bind 0.0.0.0:53; b bind 0.0.0.0:53
        s send x 224.1.2.3:53 -> ENETUNREACH; s multicastif 127.0.0.1; s send x 224.1.2.3:53 -> 1; a inq -> 0
        a join 224.1.2.3; a join 224.1.2.3 -> EADDRINUSE; a join 10.0.0.1 -> EINVAL; s send xy 224.1.2.3:53 -> 2
        a inq -> 2; a leave 224.1.2.3; a leave 224.1.2.3 -> EADDRNOTAVAIL",
    );
}
