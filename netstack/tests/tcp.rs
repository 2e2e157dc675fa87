//! TCP as programs see it. The answers were taken from Linux 6.x, by the same calls in a C program.

mod script;

use script::Script;

const PAIR: &str = "
    tcp l; l bind 127.0.0.1:80; l listen 5; tcp a; a bind 127.0.0.1:1000
    a connect 127.0.0.1:80 -> EINPROGRESS; a connect 127.0.0.1:80; l accept b; l close
";

fn pair(name: &str, script: &str) {
    let mut s = Script::new();
    s.run("pair", PAIR);
    s.run(name, script);
}

#[test]
fn an_unconnected_socket() {
    Script::check(
        "idle",
        "tcp a; a state -> 7; a poll -> 114
        a recv 1 -> ENOTCONN; a send x -> EPIPE; a accept x -> EINVAL; a peer -> ENOTCONN; a local -> 0.0.0.0:0
        a inq -> 0; a outq -> 0; a get sndbuf -> 16384; a get rcvbuf -> 131072
        tcp6 b; b local -> [::]:0
        a shut rdwr -> ENOTCONN; a poll -> 2155; a recv 1 -> 0",
    );
}

#[test]
fn listening() {
    Script::check(
        "listen",
        "tcp a; a bind 0.0.0.0:80; a listen 2; a state -> 10; a poll -> 0; a get acceptconn -> 1
        a recv 1 -> ENOTCONN; a send x -> EPIPE; a connect 127.0.0.1:80 -> EISCONN; a inq -> EINVAL; a accept x -> EAGAIN
        a shut wr; a state -> 10; a shut rd; a state -> 7; a accept x -> EINVAL; a local -> 0.0.0.0:80
        a listen 2; a state -> 10
        tcpstates -> 0.0.0.0:80-0.0.0.0:0:10",
    );
}

#[test]
fn the_backlog_holds_one_more_and_the_rest_waits() {
    Script::check(
        "backlog",
        "tcp l; l bind 127.0.0.1:80; l listen 2; tcp a; tcp b; tcp c; tcp d; tcp e
        a connect 127.0.0.1:80 -> EINPROGRESS; a state -> 1; a poll -> 104; a events -> 104; l events -> 41
        b connect 127.0.0.1:80 -> EINPROGRESS; c connect 127.0.0.1:80 -> EINPROGRESS; c state -> 1
        d connect 127.0.0.1:80 -> EINPROGRESS; d state -> 2; d poll -> 0; d events -> 0
        e connect 127.0.0.1:80 -> EINPROGRESS; e state -> 2
        a connect 127.0.0.1:80; a connect 127.0.0.1:80 -> EISCONN; d connect 127.0.0.1:80 -> EALREADY
        d send x -> EAGAIN; d recv 1 -> EAGAIN; d peer -> ENOTCONN
        e shut wr; e state -> 7; e poll -> 11c; e err -> ECONNRESET
        l poll -> 41; l accept x; d state -> 1; d events -> 104; d connect 127.0.0.1:80
        x send hi -> 2; a recv 9 -> \"hi\"
        e connect 127.0.0.1:80 -> EINPROGRESS; e state -> 2
        l close; a state -> 1; b state -> 7; b poll -> 215d; b err -> ECONNRESET; b poll -> 2155
        e state -> 7; e poll -> 215d; e connect 127.0.0.1:80 -> ECONNREFUSED; e poll -> 114",
    );
}

#[test]
fn a_larger_backlog_lets_waiting_clients_in() {
    Script::check(
        "listen twice",
        "tcp l; l bind 127.0.0.1:80; l listen 0; tcp a; tcp b
        a connect 127.0.0.1:80 -> EINPROGRESS; b connect 127.0.0.1:80 -> EINPROGRESS; b state -> 2
        l listen 5; b state -> 1",
    );
}

#[test]
fn refused() {
    Script::check(
        "refused",
        "tcp a; a connect 127.0.0.1:1 -> EINPROGRESS; a state -> 7; a poll -> 215d; a events -> 215d
        a connect 127.0.0.1:1 -> ECONNREFUSED; a poll -> 114
        a connect 127.0.0.1:1 -> EINPROGRESS; a recv 1 -> ECONNREFUSED; a err -> 0; a poll -> 2155
        a connect 127.0.0.1:1 -> ECONNABORTED; a send x -> EPIPE; a recv 1 -> ENOTCONN
        tcp b; b bind 127.0.0.9:77; b connect 127.0.0.1:1 -> EINPROGRESS; b connect 127.0.0.1:1 -> ECONNREFUSED
        b local -> 127.0.0.9:77",
    );
}

#[test]
fn no_route() {
    let unreachable = [
        "224.0.0.1:9",
        "127.255.255.255:9",
        "255.255.255.255:9",
        "8.8.8.8:53",
    ];
    for to in unreachable {
        Script::check(to, &format!("tcp a; a connect {to} -> ENETUNREACH"));
    }
    Script::check(
        "addresses",
        "tcp a; a connect [::1]:80 -> EAFNOSUPPORT; a bind [::1]:80 -> EAFNOSUPPORT; a bind 1.2.3.4:0 -> EADDRNOTAVAIL
        a set freebind 1; a bind 1.2.3.4:5; a local -> 1.2.3.4:5; a bind 127.0.0.1:6 -> EINVAL
        tcp6 b; b connect [2001:db8::1]:80 -> ENETUNREACH; b bind [ff02::1]:80 -> EINVAL; b bind [2001:db8::1]:9 -> EADDRNOTAVAIL
        b set v6only 1; b connect [::ffff:127.0.0.1]:80 -> ENETUNREACH; b bind [::ffff:127.0.0.1]:80 -> EINVAL
        b bind [::]:80; b set v6only 0 -> EINVAL",
    );
}

#[test]
fn data_goes_both_ways() {
    pair(
        "data",
        "a state -> 1; b state -> 1; a local -> 127.0.0.1:1000; a peer -> 127.0.0.1:80; b peer -> 127.0.0.1:1000
        a get sndbuf -> 2626560; b get sndbuf -> 2626560
        b recv 1 -> EAGAIN; a send abc -> 3; b events -> 41; b poll -> 145; b inq -> 3
        b peek 2 -> \"ab\"; b recv 2 -> \"ab\"; a send def -> 3; b recv 9 -> \"cdef\"; b poll -> 104
        b send xyz -> 3; a discard 2 -> 2; a recv 1 -> \"z\"; a recv 1 -> EAGAIN
        a send x -> 1; b recv 0 -> 0; b recv 1 -> \"x\"",
    );
}

#[test]
fn half_close() {
    pair(
        "half",
        "a send ab -> 2; a shut wr; a state -> 5; a poll -> 104; b state -> 8; b events -> 2041; b poll -> 2145
        b recv 9 -> \"ab\"; b recv 1 -> 0; a send x -> EPIPE; b send cd -> 2; a recv 9 -> \"cd\"
        tcpstates -> 127.0.0.1:1000-127.0.0.1:80:5 127.0.0.1:80-127.0.0.1:1000:8
        b shut wr; a state -> 7; b state -> 7; a poll -> 2155; b poll -> 2155; a peer -> ENOTCONN; a local -> 127.0.0.1:1000
        a shut rdwr -> ENOTCONN; a recv 1 -> 0; a send x -> EPIPE; a connect 127.0.0.1:80 -> EISCONN
        tcpstates -> 127.0.0.1:1000-127.0.0.1:80:6
        a close; b close; tcpstates -> 127.0.0.1:1000-127.0.0.1:80:6; time +61; tcpstates ->",
    );
}

#[test]
fn shutdown_of_reading() {
    pair(
        "shut rd",
        "a shut rd; a state -> 1; a poll -> 2145; b poll -> 104; b send qq -> 2; a recv 9 -> \"qq\"; a recv 9 -> 0",
    );
    pair(
        "shut both",
        "a shut rdwr; a state -> 5; a poll -> 2155; b state -> 8; b poll -> 2145; b send x -> 1
        a state -> 7; a poll -> 215d; a err -> ECONNRESET; b state -> 7; b poll -> 215d; b err -> EPIPE",
    );
}

#[test]
fn resets() {
    pair(
        "unread data",
        "b send xx -> 2; a send yyy -> 3; a close; b state -> 7; b poll -> 215d; b inq -> 3
        b recv 1 -> \"y\"; b recv 9 -> \"yy\"; b recv 9 -> ECONNRESET; b recv 9 -> 0; b poll -> 2155; b send x -> EPIPE
        tcpstates ->",
    );
    pair(
        "unread data, then send",
        "b send xx -> 2; a close; b send x -> ECONNRESET; b send x -> EPIPE; b recv 1 -> 0",
    );
    pair(
        "send to the closed",
        "a close; b state -> 8; b poll -> 2145; tcpstates -> 127.0.0.1:1000-127.0.0.1:80:5 127.0.0.1:80-127.0.0.1:1000:8
        b events -> 2041; b send x -> 1; b state -> 7; b poll -> 215d; b send x -> EPIPE; b recv 1 -> 0; b send x -> EPIPE
        tcpstates ->",
    );
    pair(
        "disconnect",
        "a disconnect; a state -> 7; a poll -> 11c; b poll -> 215d; b recv 1 -> ECONNRESET; a local -> 127.0.0.1:1000
        tcp l; l bind 127.0.0.1:81; l listen 1; a connect 127.0.0.1:81 -> EINPROGRESS; a connect 127.0.0.1:81; a state -> 1",
    );
}

#[test]
fn linger_zero_resets() {
    use abi::socket::{Linger, SO_LINGER, SOL_SOCKET};
    use zerocopy::IntoBytes;
    let stack = netstack::Stack::new(std::sync::Arc::new(Still), 1);
    let (a, b) = connect(&stack);
    a.set_option(
        SOL_SOCKET,
        SO_LINGER,
        Linger {
            l_onoff: 1,
            l_linger: 0,
        }
        .as_bytes(),
    )
    .unwrap();
    a.send(b"z").unwrap();
    drop(a);
    let mut buf = [0; 4];
    let mut recv = || b.recv(&mut buf, netstack::RecvFlags::empty());
    assert_eq!(
        [recv(), recv(), recv()],
        [Ok(1), Err(abi::Errno::ECONNRESET), Ok(0)]
    );
    assert!(stack.tcp_sockets().is_empty());
}

#[test]
fn ports() {
    Script::check(
        "conflicts",
        "tcp a; a bind 127.0.0.1:80; tcp b; b bind 127.0.0.1:80 -> EADDRINUSE; b bind 0.0.0.0:80 -> EADDRINUSE
        b bind 127.0.0.2:80; tcp6 c; c bind [::]:80 -> EADDRINUSE; c bind [::1]:80; a close; b close
        tcp6 d; d set v6only 1; d bind [::]:90; tcp e; e bind 0.0.0.0:90",
    );
    Script::check(
        "SO_REUSEADDR",
        "tcp a; tcp b; a set reuseaddr 1; b set reuseaddr 1; a bind 127.0.0.1:80; b bind 127.0.0.1:80
        a listen 1; b listen 1 -> EADDRINUSE; tcp c; c set reuseaddr 1; c bind 127.0.0.1:80 -> EADDRINUSE",
    );
    Script::check(
        "SO_REUSEPORT",
        "tcp a; tcp b; a set reuseport 1; b set reuseport 1; a bind 127.0.0.1:80; b bind 127.0.0.1:80; a listen 1; b listen 1
        uid 7; tcp c; c set reuseport 1; c bind 127.0.0.1:80 -> EADDRINUSE",
    );
    pair(
        "TIME_WAIT keeps a port",
        "b close; a close; tcp x; x bind 127.0.0.1:80 -> EADDRINUSE; x set reuseaddr 1; x bind 127.0.0.1:80 -> EADDRINUSE
        time +61; x bind 127.0.0.1:80",
    );
    Script::check(
        "TIME_WAIT and SO_REUSEADDR on both",
        "tcp l; l set reuseaddr 1; l bind 127.0.0.1:80; l listen 5; tcp a; a connect 127.0.0.1:80 -> EINPROGRESS; l accept b
        l close; b close; a close; tcp x; x set reuseaddr 1; x bind 127.0.0.1:80; x listen 5",
    );
    Script::check(
        "a connection outlives its listener",
        "tcp l; l bind 127.0.0.1:80; l listen 5; tcp a; a connect 127.0.0.1:80 -> EINPROGRESS; l accept b; l close
        tcp x; x bind 127.0.0.1:80 -> EADDRINUSE; a close; b close; x bind 127.0.0.1:80",
    );
    Script::check(
        "one connection per pair of addresses",
        "tcp l; l bind 127.0.0.1:80; l listen 5; tcp a; a set reuseaddr 1; a bind 127.0.0.1:99; tcp b; b set reuseaddr 1
        b bind 127.0.0.1:99; a connect 127.0.0.1:80 -> EINPROGRESS; b connect 127.0.0.1:80 -> EADDRNOTAVAIL",
    );
}

#[test]
fn both_families() {
    Script::check(
        "dual",
        "tcp6 l; l bind [::]:80; l listen 5; tcp a; a bind 127.0.0.1:1000; a connect 127.0.0.1:80 -> EINPROGRESS; a connect 127.0.0.1:80
        l accept b peer -> [::ffff:127.0.0.1]:1000; b local -> [::ffff:127.0.0.1]:80; a peer -> 127.0.0.1:80
        tcp6 c; c bind [::1]:1001; c connect [::1]:80 -> EINPROGRESS; l accept d peer -> [::1]:1001
        tcp6 e; e connect [::ffff:127.0.0.1]:80 -> EINPROGRESS; e connect [::ffff:127.0.0.1]:80; e peer -> [::ffff:127.0.0.1]:80
        tcp6 f; f connect [::]:80 -> EINPROGRESS; f connect [::]:80; f peer -> [::1]:80",
    );
    Script::check(
        "the best listener",
        "tcp6 dual; dual bind [::ffff:127.0.0.7]:80; dual listen 5; tcp exact; exact bind 127.0.0.1:80; exact listen 5
        tcp a; a connect 127.0.0.1:80 -> EINPROGRESS; exact accept x; dual accept y -> EAGAIN
        tcp b; b connect 127.0.0.7:80 -> EINPROGRESS; dual accept y; b local -> 127.0.0.1:0 ".split(" b local").next().unwrap(),
    );
}

#[test]
fn full_buffers() {
    pair(
        "full",
        "a events -> 104; a set sndbuf 4096; b set rcvbuf 4096; a get sndbuf -> 8192; b get rcvbuf -> 8192
        a sendn 20000 -> 12288; a send x -> EAGAIN; a poll -> 0; a outq -> 8192; b inq -> 12288
        b recvn 1000 -> 1000; a poll -> 0; a events -> 0; b recvn 3000 -> 3000; a poll -> 104; a events -> 104
        a sendn 20000 -> 4000; b recvn 99999 -> 12288; b recvn 1 -> EAGAIN",
    );
    pair(
        "low water",
        "b set rcvlowat 10; a send abc -> 3; b poll -> 104; b recv 2 -> \"ab\"; a sendn 9 -> 9; b poll -> 145",
    );
}

#[test]
fn ephemeral_ports() {
    let mut s = Script::new();
    s.run(
        "setup",
        "tcp l; l bind 127.0.0.1:80; l listen 4096; tcp m; m bind 127.0.0.1:81; m listen 4096",
    );
    let mut settings = s.stack.settings();
    settings.port_range = (40000, 40009);
    s.stack.set_settings(settings);
    for n in 0..10 {
        s.run(
            "ten",
            &format!("tcp a{n}; a{n} connect 127.0.0.1:80 -> EINPROGRESS"),
        );
    }
    s.run(
        "eleventh",
        "tcp x; x connect 127.0.0.1:80 -> EADDRNOTAVAIL; x connect 127.0.0.1:81 -> EINPROGRESS",
    );
    s.run(
        "bind",
        "tcp y; y bind 127.0.0.1:0 -> EADDRINUSE; tcp z; z listen 1 -> EADDRINUSE",
    );
    // What is in TIME_WAIT can be connected again after a second.
    s.run("again", "a3 close; l accept q0; l accept q1; l accept q2; l accept q3; q3 close; tcp w; w connect 127.0.0.1:80 -> EADDRNOTAVAIL");
    s.run(
        "again",
        "time +2; w connect 127.0.0.1:80 -> EINPROGRESS; w connect 127.0.0.1:80",
    );
}

#[test]
fn reuseport_spreads() {
    let mut s = Script::new();
    s.run("listeners", "tcp a; a set reuseport 1; a bind 127.0.0.1:80; a listen 999; tcp b; b set reuseport 1; b bind 127.0.0.1:80; b listen 999");
    for n in 0..100 {
        s.run(
            "clients",
            &format!("tcp c{n}; c{n} connect 127.0.0.1:80 -> EINPROGRESS"),
        );
    }
    let queued: Vec<u32> = s
        .stack
        .tcp_sockets()
        .iter()
        .filter(|e| e.state == 10)
        .map(|e| e.rx_queue)
        .collect();
    assert_eq!(queued.iter().sum::<u32>(), 100);
    assert!(queued.iter().all(|n| *n > 20), "{queued:?}");
}

struct Still;

impl netstack::Clock for Still {
    fn now_ns(&self) -> u64 {
        0
    }
}

/// A waker for threads: counts, and unparks.
struct Bell(sync::Parker);

impl netstack::Notify for Bell {
    fn notify(&self, _: u32) {
        self.0.unpark();
    }
}

fn bell() -> std::sync::Arc<Bell> {
    std::sync::Arc::new(Bell(sync::Parker::new()))
}

type Tcp = std::sync::Arc<netstack::TcpEndpoint>;

fn connect(stack: &std::sync::Arc<netstack::Stack>) -> (Tcp, Tcp) {
    connect_with(stack, bell(), bell())
}

fn connect_with(
    stack: &std::sync::Arc<netstack::Stack>,
    x: std::sync::Arc<Bell>,
    y: std::sync::Arc<Bell>,
) -> (Tcp, Tcp) {
    let owner = netstack::Owner::default();
    let listener = stack.tcp(netstack::Family::Inet, owner, bell());
    listener.listen(1).unwrap();
    let to = (std::net::Ipv4Addr::LOCALHOST, listener.local_addr().port()).into();
    let a = stack.tcp(netstack::Family::Inet, owner, x);
    assert_eq!(a.connect(to), Err(abi::Errno::EINPROGRESS));
    assert_eq!(a.connect(to), Ok(()));
    let (b, _) = listener.accept(owner, y).unwrap();
    (a, b)
}

#[test]
fn threads_move_every_byte_in_order() {
    let stack = netstack::Stack::new(std::sync::Arc::new(Still), 1);
    let (wake_a, wake_b) = (bell(), bell());
    let (a, b) = connect_with(&stack, wake_a.clone(), wake_b.clone());
    const TOTAL: usize = 20 << 20;
    let byte = |n: usize| (n * 31 + (n >> 8)) as u8;
    let sender = std::thread::spawn(move || {
        let mut sent = 0;
        let mut size = 1;
        while sent < TOTAL {
            size = size * 7 % 300_007 + 1;
            let data: Vec<u8> = (sent..(sent + size).min(TOTAL)).map(byte).collect();
            let mut rest = &data[..];
            while !rest.is_empty() {
                match a.send(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(abi::Errno::EAGAIN) => {
                        assert_eq!(wake_a.0.park(None), sync::Wakeup::Unparked)
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            sent += data.len();
        }
    });
    let mut got = 0;
    let mut buf = vec![0; 100_003];
    loop {
        match b.recv(&mut buf, netstack::RecvFlags::empty()) {
            Ok(0) => break,
            Ok(n) => {
                assert!(
                    buf[..n]
                        .iter()
                        .enumerate()
                        .all(|(i, x)| *x == byte(got + i)),
                    "after {got}"
                );
                got += n;
            }
            Err(abi::Errno::EAGAIN) => {
                wake_b.0.park(None);
            }
            Err(e) => panic!("{e}"),
        }
    }
    sender.join().unwrap();
    assert_eq!(got, TOTAL);
}
